//! The local side of an upload: what the tier asks of a partition's log.
//!
//! Calls block and are made on [`Pool::Maintenance`](crate::env::Pool). Bytes come by `pread`, never from a mapping:
//! a bad sector must be an error here.

use super::TierError;
use super::writer::UnitState;
use crate::offset::{LeaderEpoch, Offset, PartitionId};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// Some whole batches of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceChunk {
    /// The batches, verbatim.
    pub bytes: Bytes,
    /// One past the last offset: where to go on.
    pub next: Offset,
}

/// One partition's log, read to be uploaded.
pub trait UnitSource: Send + Sync {
    /// Whole batches, in order, from the one that holds `from` (or the first after it): about `max_bytes`, at least
    /// one batch, and none that reaches past `upto`. Empty if there is no batch before `upto`; `next` is then `upto`.
    ///
    /// # Errors
    /// [`TierError::Corrupt`] for bytes that are not batches, [`TierError::Gone`] if `from` is no longer on this disk,
    /// [`TierError::Retry`] for what may pass.
    fn read_chunk(&self, from: Offset, upto: Offset, max_bytes: usize) -> Result<SourceChunk, TierError>;

    /// Whether the log was compacted: then whole batches may be missing.
    fn is_sparse(&self) -> bool {
        false
    }

    /// The state that a replica needs which starts at `end`: producers and epochs as of there, and the aborted
    /// transactions that overlap `start..end`.
    ///
    /// # Errors
    /// As [`UnitSource::read_chunk`].
    fn state_at(&self, start: Offset, end: Offset) -> Result<UnitState, TierError>;
}

/// A segment of a local log, as the planner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentView {
    /// Its first offset.
    pub base: Offset,
    /// One past its last offset.
    pub end: Offset,
    /// Bytes of its batches.
    pub bytes: u64,
    /// Whether it is sealed.
    pub sealed: bool,
}

/// What may be missing of a partition in the tier: it bounds what a replacement must copy, and what a lost disk costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TailLimits {
    /// `tail.max.bytes`: beyond it the open segment is uploaded in part.
    pub max_bytes: u64,
    /// `tail.max.ms`: how long anything may be missing.
    pub max_age: Duration,
    /// The greatest unit that is uploaded: retention takes whole units, and one that an outage has made large would keep
    /// much that has expired.
    pub unit_max_bytes: u64,
    /// The greatest unit that small ones are merged into, and how far apart its latest timestamps may be: retention takes
    /// whole units, so they must not become coarser than segments are.
    pub merged_max_bytes: u64,
    /// See [`TailLimits::merged_max_bytes`].
    pub merged_max_span: Duration,
}

impl Default for TailLimits {
    fn default() -> TailLimits {
        let week = Duration::from_secs(7 * 24 * 3600);
        TailLimits {
            max_bytes: 64 << 20,
            max_age: Duration::from_secs(300),
            unit_max_bytes: u64::MAX,
            merged_max_bytes: 1 << 30,
            merged_max_span: week,
        }
    }
}

/// A partition that this broker leads, as the planner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionView {
    /// The partition.
    pub partition: PartitionId,
    /// The epoch in which this broker leads it.
    pub leader_epoch: LeaderEpoch,
    /// Whether it is tiered: `remote.storage.enable`, and nothing else that forbids it.
    pub enabled: bool,
    /// What may be missing of it in the tier.
    pub tail: TailLimits,
    /// Up to where it is synced and below the last stable offset: what can never be truncated.
    pub uploadable_end: Offset,
    /// Its segments, ascending.
    pub segments: Vec<SegmentView>,
}

/// The partitions that this broker leads.
pub trait UnitSources: Send + Sync {
    /// All of them now. Does not block.
    fn views(&self) -> Vec<PartitionView>;
    /// One of them, to be read; `None` if it is not led here any more.
    fn source(&self, partition: &PartitionId) -> Option<Arc<dyn UnitSource>>;
}
