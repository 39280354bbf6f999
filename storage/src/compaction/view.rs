//! What the planner sees of a local log.

use super::plan::{Aged, Candidate, CompactionConfig, CompactionState, candidate};
use crate::env::Timestamp;
use crate::log::{Log, LogError};
use crate::offset::{FilePosition, Offset};
use crate::segment::{Boundary, HEADER_LEN, SealedSegment, Segment};
use std::sync::Arc;

/// What of `log`, which was cleaned up to `cleaned_to`, can be compacted now, below `stable`: what is committed and below the
/// first open transaction. Reads little from the disk: for the maintenance pool.
///
/// # Errors
/// [`LogError`].
pub fn look_at(
    log: &Log,
    cleaned_to: Option<Offset>,
    stable: Offset,
    config: &CompactionConfig,
    now: Timestamp,
) -> Result<Candidate, LogError> {
    log.dir().check()?;
    // A segment's index is written before it is cleaned.
    log.finish_sealed()?;
    let finished = log.finished_segments();
    let segments = log.segments();
    let first = cleaned_to.unwrap_or(Offset::ZERO);
    let mut aged = Vec::with_capacity(segments.len());
    for segment in segments {
        let of = finished.iter().find(|finished| finished.summary().name == segment.name);
        let of = of.filter(|_| segment.end > first);
        let youngest = segment.max_timestamp;
        // A client's clock may run ahead (or be set to years from now): nothing in it is younger than its sealing.
        let sealed_at = match (of, youngest) {
            (Some(of), Some(youngest)) if youngest > now => log.sealed_at(of),
            _ => None,
        };
        let youngest = youngest.map(|youngest| sealed_at.map_or(youngest, |sealed| youngest.min(sealed)));
        let oldest = match of {
            Some(of) if config.max_lag_ms.is_some() => first_timestamp(of),
            _ => None,
        };
        aged.push(Aged { segment, youngest, oldest });
    }
    // What is sealed and could not be finished is left for the next time.
    let unfinished = aged.iter().position(|aged| {
        aged.segment.sealed && !finished.iter().any(|finished| finished.summary().name == aged.segment.name)
    });
    aged.truncate(unfinished.unwrap_or(aged.len()));
    let stable = stable.min(log.synced_end().offset());
    let state = CompactionState {
        partition: log.id(),
        segments: &aged,
        log_start: log.log_start(),
        // After a truncation it may lie beyond the end.
        cleaned_to: cleaned_to.map(|to| to.min(log.log_end().offset())),
        stable,
    };
    Ok(candidate(&state, config, now))
}

/// The latest timestamp of a segment's first batch; `None` if there is none, or it cannot be read now.
fn first_timestamp(segment: &Arc<SealedSegment>) -> Option<Timestamp> {
    let start = Boundary { offset: segment.name().base, position: FilePosition::new(HEADER_LEN) };
    let segment: &dyn Segment = segment.as_ref();
    let first = segment.batch_at(start, segment.end()).ok()??;
    (first.max_timestamp.millis() >= 0).then_some(first.max_timestamp)
}
