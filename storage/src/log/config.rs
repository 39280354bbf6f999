//! What a partition's log is told about itself: the settings that may change while it is open, and what is known of
//! the partition when it is opened.

use super::dir::Durability;
use super::producers::DEFAULT_LIMIT;
use crate::offset::{LeaderEpoch, LogStart, TierEnd};
use crate::segment::{FilePlan, IndexLimits};
use esker_protocol::record::TimestampType;

/// Settings of one log, from the topic's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment that a batch would take beyond this is sealed first.
    pub segment_bytes: u64,
    /// `segment.ms`: a segment older than this is sealed at the next append or check.
    pub segment_ms: i64,
    /// `segment.jitter.ms`: of how much of that chance takes a part off, for each segment anew.
    pub segment_jitter_ms: i64,
    /// `segment.index.bytes` and `index.interval.bytes`, from the next segment on.
    pub index: IndexLimits,
    /// `preallocate`, from the next segment on.
    pub preallocate: bool,
    /// `file.delete.delay.ms`: how long the files of dropped segments stay.
    pub file_delete_delay_ms: i64,
    /// `flush.messages`: with `log.durability=os`, as many records wait for a sync before they are vouched for.
    pub flush_messages: u64,
    /// `flush.ms`: with `log.durability=os`, how long records wait for a sync at most.
    pub flush_ms: u64,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `producer.id.expiration.ms`.
    pub producer_expiration_ms: i64,
    /// `producer.ids.max.per.partition`: producers that are remembered at most.
    pub producer_limit: usize,
    /// Bytes appended after which a checkpoint is due: what a restart after a crash scans at most, more or less.
    pub checkpoint_bytes: u64,
}

impl Default for LogConfig {
    /// Kafka's defaults.
    fn default() -> LogConfig {
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3600 * 1000,
            segment_jitter_ms: 0,
            index: IndexLimits::default(),
            preallocate: false,
            file_delete_delay_ms: 0,
            flush_messages: i64::MAX as u64,
            flush_ms: i64::MAX as u64,
            timestamp_type: TimestampType::CreateTime,
            producer_expiration_ms: 24 * 3600 * 1000,
            producer_limit: DEFAULT_LIMIT,
            checkpoint_bytes: 64 << 20,
        }
    }
}

impl LogConfig {
    /// How its next data file is made, in a directory of this durability.
    pub(super) fn file_plan(&self, durability: Durability) -> FilePlan {
        FilePlan {
            capacity: self.segment_bytes,
            preallocate: self.preallocate,
            is_synced: durability == Durability::Fsync,
            index: self.index,
        }
    }
}

/// What is known elsewhere of a partition whose log is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenFrom {
    /// Where the tier ends; `None` if nothing was tiered. A local log that ends before it is dropped.
    pub tier_end: Option<TierEnd>,
    /// The first offset that the partition still has, as far as the caller knows. The log may know better.
    pub log_start: LogStart,
    /// The newest leader epoch that was ever given out: a batch of a newer one is damaged. Epochs lie outside of a
    /// batch's checksum.
    pub newest_epoch: Option<LeaderEpoch>,
}
