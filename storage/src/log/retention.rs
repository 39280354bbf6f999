//! What retention takes from a partition: a pure planner.
//!
//! Its goals, in this order: never drop a record that the tier lacks, unless total retention takes it everywhere; keep
//! what local retention asks for; free the rest.
//!
//! ```text
//!   log start        tier end
//!      |--- tier -------|
//!             |----------------- local ------------|
//!      xxxxxxxxx                                      retention.ms / retention.bytes: the log start moves, here and there
//!             ooooooooooo                             local.retention.*: local copies go, up to the tier end
//! ```
//!
//! Segments are dropped whole, oldest first, never the active one. A [`RetentionPlan`] is carried out by
//! `Log::advance_log_start` and `Log::drop_local_before`; the tier's part of total retention follows the log start.

use super::local_log::SegmentInfo;
use crate::env::Timestamp;
use crate::offset::{LogStart, Offset, TierEnd};

/// How long and how much a partition keeps. `None` is without limit, Kafka's -1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionConfig {
    /// `retention.ms`.
    pub total_ms: Option<i64>,
    /// `retention.bytes`.
    pub total_bytes: Option<u64>,
    /// `local.retention.ms`; -2 stands for `retention.ms` at the wire, and is resolved by the caller.
    pub local_ms: Option<i64>,
    /// `local.retention.bytes`, likewise.
    pub local_bytes: Option<u64>,
    /// `remote.storage.enable`.
    pub tiered: bool,
}

/// What is known of the partition.
#[derive(Clone, Copy, Debug)]
pub struct RetentionState<'a> {
    /// Its local segments, oldest first, the active one last.
    pub segments: &'a [SegmentInfo],
    /// The log start now.
    pub log_start: LogStart,
    /// Where the tier ends; `None` if nothing was tiered.
    pub tier_end: Option<TierEnd>,
    /// No record at or beyond this may be taken: the high watermark.
    pub upto: Offset,
}

/// What to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionPlan {
    /// Where the log start moves.
    pub log_start: Option<LogStart>,
    /// Segments that end at or before this are dropped from the disk.
    pub drop_before: Option<Offset>,
}

/// What retention takes now.
///
/// Of total retention only what concerns the local segments is decided here: while the tier holds older records than the
/// disk, those are the first to be too old or too many, and the tier's own planner moves the log start through them. So
/// where something is decided here, the local segments are all that there is, and what the tier has of them too is not
/// counted twice.
pub fn plan(state: &RetentionState<'_>, config: &RetentionConfig, now: Timestamp) -> RetentionPlan {
    let sealed = || state.segments.iter().take_while(|segment| segment.sealed && segment.end <= state.upto);
    let local_bytes: u64 = state.segments.iter().map(|segment| segment.bytes).sum();
    let local_start = state.segments.first().map_or(state.log_start.offset(), |first| first.name.base);
    let total = Taking { ms: config.total_ms, over: over(local_bytes, config.total_bytes) };
    // The tier's part goes first.
    let tier_is_older = state.tier_end.is_some() && state.log_start.offset() < local_start;
    let expired = if tier_is_older { None } else { total.end(sealed(), now) };
    let tier_end = state.tier_end.map(TierEnd::offset);
    let tiered = sealed().take_while(|segment| tier_end.is_some_and(|end| segment.end <= end));
    let local = Taking { ms: config.local_ms, over: over(local_bytes, config.local_bytes) };
    let copied = if config.tiered { local.end(tiered, now) } else { None };
    // Somebody deleted those records, or the tier's part of retention passed by.
    let gone = sealed().take_while(|segment| segment.end <= state.log_start.offset()).last().map(|segment| segment.end);
    let plan = RetentionPlan {
        log_start: expired.map(LogStart::at).filter(|start| *start > state.log_start),
        drop_before: expired.max(copied).max(gone),
    };
    debug_assert!(drops_only_tiered_or_expired(&plan, state));
    plan
}

/// Every record of the active segment is committed and too old: it must be sealed for them to go, or those of a partition
/// that is no longer written to would stay until `segment.ms` is over.
pub fn active_is_expired(segments: &[SegmentInfo], upto: Offset, config: &RetentionConfig, now: Timestamp) -> bool {
    segments.last().is_some_and(|active| {
        let empty = active.end == active.name.base;
        !active.sealed && !empty && active.end <= upto && config.total_ms.is_some_and(|ms| is_older(active, ms, now))
    })
}

/// What may be dropped from this disk is in the tier, or before the log start.
pub fn drops_only_tiered_or_expired(plan: &RetentionPlan, state: &RetentionState<'_>) -> bool {
    let start = plan.log_start.unwrap_or(state.log_start).offset();
    let safe = state.tier_end.map_or(start, |end| end.offset().max(start));
    plan.drop_before.is_none_or(|before| before <= safe.max(state.log_start.offset()))
}

fn over(bytes: u64, limit: Option<u64>) -> u64 {
    limit.map_or(0, |limit| bytes.saturating_sub(limit))
}

/// A rule that takes segments from the oldest on.
struct Taking {
    ms: Option<i64>,
    /// Bytes that are too many.
    over: u64,
}

impl Taking {
    /// The end of the last segment that the rule takes.
    fn end<'a>(&self, segments: impl Iterator<Item = &'a SegmentInfo>, now: Timestamp) -> Option<Offset> {
        let mut over = self.over;
        let mut end = None;
        for segment in segments {
            let old = self.ms.is_some_and(|ms| is_older(segment, ms, now));
            // A segment goes for its bytes only if what remains is still as much as may remain.
            let too_many = over >= segment.bytes;
            if !old && !too_many {
                break;
            }
            over = over.saturating_sub(segment.bytes);
            end = Some(segment.end);
        }
        end
    }
}

fn is_older(segment: &SegmentInfo, ms: i64, now: Timestamp) -> bool {
    segment.max_timestamp.is_none_or(|latest| now.millis().saturating_sub(latest.millis()) > ms)
}

#[cfg(test)]
#[path = "retention_tests.rs"]
mod tests;
