//! What a partition's log is told about itself: the settings that may change while it is open, and what is known of
//! the partition when it is opened.

use crate::offset::{LeaderEpoch, LogStart, TierEnd};
use esker_protocol::record::TimestampType;

/// Settings of one log, from the topic's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment that a batch would take beyond this is sealed first.
    pub segment_bytes: u64,
    /// `segment.ms`: a segment older than this is sealed at the next append or check.
    pub segment_ms: i64,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `producer.id.expiration.ms`.
    pub producer_expiration_ms: i64,
    /// Bytes appended after which a checkpoint is due: what a restart after a crash scans at most, more or less.
    pub checkpoint_bytes: u64,
    /// Whether it may use half of what the directory keeps free.
    pub reserve: bool,
}

impl Default for LogConfig {
    /// Kafka's defaults.
    fn default() -> LogConfig {
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3600 * 1000,
            timestamp_type: TimestampType::CreateTime,
            producer_expiration_ms: 24 * 3600 * 1000,
            checkpoint_bytes: 64 << 20,
            reserve: false,
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
