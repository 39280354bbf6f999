//! What to compact next: a pure planner.
//!
//! Its goals, in this order:
//! 1. Nothing is touched that could still be cut off, or that somebody may not have seen yet: the active segment, what is
//!    not committed, synced and stable, what is younger than `min.compaction.lag.ms`.
//! 2. What waits for longer than `max.compaction.lag.ms` (KIP-354) is due, however little it is.
//! 3. Otherwise a log is due when its dirty part is more than `min.cleanable.dirty.ratio` of it.
//! 4. The dirtiest log comes first.
//!
//! ```text
//!    log start          first dirty                   upto            active
//!       |---- clean --------|------- cleanable ---------|-- too young --|------
//! ```

use crate::env::Timestamp;
use crate::env::mutation::{self, Mutation};
use crate::log::SegmentInfo;
use crate::offset::{LogStart, Offset, PartitionId};

/// When a log is compacted, and what of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CompactionConfig {
    /// `min.cleanable.dirty.ratio`: 0 to 1.
    pub min_dirty_ratio: f64,
    /// `min.compaction.lag.ms` (KIP-58).
    pub min_lag_ms: i64,
    /// `max.compaction.lag.ms`; `None` is without limit.
    pub max_lag_ms: Option<i64>,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// `segment.bytes`: small segments are put together up to this.
    pub segment_bytes: u64,
}

impl Default for CompactionConfig {
    /// Kafka's defaults.
    fn default() -> CompactionConfig {
        CompactionConfig {
            min_dirty_ratio: 0.5,
            min_lag_ms: 0,
            max_lag_ms: None,
            delete_retention_ms: 24 * 3600 * 1000,
            segment_bytes: 1 << 30,
        }
    }
}

/// A segment, as the planner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aged {
    /// The segment.
    pub segment: SegmentInfo,
    /// How old its youngest record is taken to be: its latest timestamp, or when it was sealed if that is earlier.
    pub youngest: Option<Timestamp>,
    /// How old its oldest record is taken to be, where that is asked for.
    pub oldest: Option<Timestamp>,
}

/// What is known of a log.
#[derive(Clone, Copy, Debug)]
pub struct CompactionState<'a> {
    /// Whose.
    pub partition: PartitionId,
    /// Its segments, oldest first, the active one last.
    pub segments: &'a [Aged],
    /// The first offset that it has.
    pub log_start: LogStart,
    /// Up to where the last passes came; `None` before the first.
    pub cleaned_to: Option<Offset>,
    /// What is committed, synced and below the first open transaction.
    pub stable: Offset,
}

/// A log that can be compacted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Whose.
    pub partition: PartitionId,
    /// From where on it is dirty.
    pub first_dirty: Offset,
    /// Up to where it may be compacted.
    pub upto: Offset,
    /// How much of what would be read is dirty, 0 to 1.
    pub dirty_ratio: f64,
    /// Bytes between these two.
    pub dirty_bytes: u64,
    /// Whether a record waits for longer than it should.
    pub overdue: bool,
}

impl Candidate {
    /// Whether it should be compacted now.
    pub fn is_due(&self, config: &CompactionConfig) -> bool {
        self.dirty_bytes > 0 && (self.overdue || self.dirty_ratio > config.min_dirty_ratio)
    }
}

/// What of a log can be compacted now.
pub fn candidate(state: &CompactionState<'_>, config: &CompactionConfig, now: Timestamp) -> Candidate {
    let first = state.segments.first().map_or(state.log_start.offset(), |first| first.segment.name.base);
    let first_dirty = state.cleaned_to.unwrap_or(first).max(first);
    let is_old = |aged: &Aged| {
        let age = aged.youngest.map_or(i64::MAX, |youngest| now.millis().saturating_sub(youngest.millis()));
        config.min_lag_ms <= 0 || age >= config.min_lag_ms
    };
    let stable =
        if mutation::active(Mutation::CleanedBeyondStable) { Offset::new(u64::MAX >> 1) } else { state.stable };
    let cleanable = |aged: &&Aged| {
        aged.segment.sealed && aged.segment.end <= stable && (aged.segment.end <= first_dirty || is_old(aged))
    };
    let whole = state.segments.iter().take_while(cleanable);
    let upto = whole.clone().last().map_or(first_dirty, |last| last.segment.end).max(first_dirty);
    let (mut clean_bytes, mut dirty_bytes, mut overdue) = (0, 0, false);
    for aged in whole {
        let dirty = share(&aged.segment, first_dirty);
        dirty_bytes += dirty;
        clean_bytes += aged.segment.bytes - dirty;
        overdue |= dirty > 0
            && config.max_lag_ms.is_some_and(|limit| {
                aged.oldest.is_some_and(|oldest| now.millis().saturating_sub(oldest.millis()) > limit)
            });
    }
    let total = clean_bytes + dirty_bytes;
    let dirty_ratio = if total == 0 { 0.0 } else { dirty_bytes as f64 / total as f64 };
    debug_assert!(only_settled(upto.max(first_dirty), first_dirty, state) || stable != state.stable);
    Candidate { partition: state.partition, first_dirty, upto, dirty_ratio, dirty_bytes, overdue }
}

/// The log to compact next: what is overdue, else the dirtiest; of equal ones the first by its id.
pub fn dirtiest(candidates: &[Candidate]) -> Option<&Candidate> {
    candidates.iter().min_by(|a, b| {
        let by_need = b.overdue.cmp(&a.overdue).then(b.dirty_ratio.total_cmp(&a.dirty_ratio));
        by_need.then(a.partition.cmp(&b.partition))
    })
}

/// What a pass may touch is sealed, committed, synced and stable: it can never be cut off.
pub fn only_settled(upto: Offset, first_dirty: Offset, state: &CompactionState<'_>) -> bool {
    let sealed_end = state.segments.iter().take_while(|aged| aged.segment.sealed).last().map(|aged| aged.segment.end);
    upto <= first_dirty || (upto <= state.stable && sealed_end.is_some_and(|end| upto <= end))
}

/// Runs of segments to be written as one: as many as fit, in their order, each at least one. `bytes` are those of the
/// segments.
pub fn group(bytes: &[u64], limit: u64) -> Vec<std::ops::Range<usize>> {
    let mut groups: Vec<std::ops::Range<usize>> = Vec::new();
    let mut filled = 0u64;
    for (index, bytes) in bytes.iter().enumerate() {
        match groups.last_mut() {
            Some(last) if filled.saturating_add(*bytes) <= limit => {
                last.end = index + 1;
                filled += bytes;
            }
            _ => {
                groups.push(index..index + 1);
                filled = *bytes;
            }
        }
    }
    groups
}

/// The bytes of a segment from `from` on, in proportion to its offsets.
fn share(segment: &SegmentInfo, from: Offset) -> u64 {
    if from <= segment.name.base {
        return segment.bytes;
    }
    let all = segment.end.since(segment.name.base).max(1);
    let part = segment.end.since(from.min(segment.end));
    (u128::from(segment.bytes) * u128::from(part) / u128::from(all)) as u64
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
