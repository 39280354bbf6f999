//! What a log does about transactions: it ends them, and tells readers of committed records what was aborted.
//!
//! ```text
//!   transactional batch --> producer: open since its first offset --> holds back the last stable offset (unstable)
//!   marker (end_transaction) --> ended: holds it back until the marker is committed
//!                                   `-- aborted: an entry of the segment's aborted index (segment::aborted)
//!   read_committed: below the last stable offset, with the entries that overlap what is read
//! ```
//!
//! How a transaction ends is decided by the one who has the marker written.

use super::append::Appended;
use super::error::{AppendError, LogError, segment_error};
use super::local_log::{Log, SegmentList};
use super::unit_source::Replayed;
use crate::env::Timestamp;
use crate::offset::{HighWatermark, LastStable, LeaderEpoch, Offset};
use crate::segment::aborted::collect;
use crate::segment::{AbortedTransaction, SealedSegment, Segment, SegmentName};
use esker_protocol::record::{ControlKind, end_transaction_marker};
use std::sync::Arc;

/// How a transaction ends, as its coordinator says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndTransaction {
    /// Whose.
    pub producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// Whether it is aborted, or else committed.
    pub abort: bool,
    /// The epoch of the coordinator.
    pub coordinator_epoch: i32,
}

impl Log {
    /// Appends the marker that ends a transaction, as the leader of `epoch`: for brokers, never on behalf of a producer.
    ///
    /// # Errors
    /// [`AppendError`]; `Producer` if a newer producer or coordinator has written already.
    pub fn end_transaction(
        &self,
        end: EndTransaction,
        epoch: LeaderEpoch,
        now: Timestamp,
    ) -> Result<Appended, AppendError> {
        let EndTransaction { producer_id, producer_epoch, abort, coordinator_epoch } = end;
        let kind = if abort { ControlKind::Abort } else { ControlKind::Commit };
        let marker = end_transaction_marker(kind, producer_id, producer_epoch, coordinator_epoch, now.millis())
            .map_err(|_| LogError::Invalid("a marker cannot be built"))?;
        self.append_checked(marker, epoch, now, |producers| {
            producers.check_marker(producer_id, producer_epoch, coordinator_epoch)?;
            Ok(None)
        })
    }

    /// Up to where `read_committed` may read, below `high_watermark`: where the oldest transaction began whose end is
    /// not committed.
    pub fn last_stable(&self, high_watermark: HighWatermark) -> LastStable {
        self.unstable.last_stable(high_watermark)
    }

    /// The aborted transactions that overlap `from..upto`, by their first offsets. `upto` is at most the last stable
    /// offset. May read index files.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn aborted_between(&self, from: Offset, upto: Offset) -> Result<Vec<AbortedTransaction>, LogError> {
        self.on_segments(|list| {
            let known = |segment: &Arc<SealedSegment>| {
                let error = |error| segment_error(self.id, segment.name(), error);
                match segment.aborted().map_err(error)? {
                    Some(aborted) => Ok(Some(aborted)),
                    None => self.work_out_aborted(list, segment).map(Some),
                }
            };
            Ok(aborted_in(list, from, upto, known)?.unwrap_or_default())
        })
    }

    /// As [`Log::aborted_between`], without a read; `None` if an index file must be read.
    pub fn aborted_in_memory(&self, from: Offset, upto: Offset) -> Option<Vec<AbortedTransaction>> {
        let list = self.segments.load();
        aborted_in(&list, from, upto, |segment| Ok::<_, LogError>(segment.aborted_in_memory())).ok().flatten()
    }

    /// What the damaged index file of a segment said, from the batches of it and of those before.
    fn work_out_aborted(
        &self,
        list: &SegmentList,
        segment: &SealedSegment,
    ) -> Result<Arc<[AbortedTransaction]>, LogError> {
        let name = segment.name();
        tracing::info!(partition = %self.id, segment = %name, "working out again which transactions were aborted");
        let before = self.stored_snapshot(list, name.base)?;
        let Replayed { aborted, .. } = self.replay_producers(list, before, segment.end().offset)?;
        let aborted = aborted.into_iter().filter(|entry| entry.last >= name.base).collect();
        segment.keep_aborted(aborted).map_err(|error| segment_error(self.id, name, error))
    }

    /// The aborted transactions whose markers lie in the segment. May read files.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn aborted_in_segment(&self, name: SegmentName) -> Result<Vec<AbortedTransaction>, LogError> {
        self.on_segments(|list| self.aborted_of(list, name))
    }

    pub(super) fn aborted_of(
        &self,
        list: &SegmentList,
        name: SegmentName,
    ) -> Result<Vec<AbortedTransaction>, LogError> {
        if name == list.active.name() {
            return Ok(list.active.aborted());
        }
        let Some(segment) = list.sealed.iter().find(|segment| segment.name() == name) else { return Ok(Vec::new()) };
        let known = segment.aborted().map_err(|error| segment_error(self.id, name, error))?;
        let known = known.map_or_else(|| self.work_out_aborted(list, segment), Ok)?;
        Ok(known.to_vec())
    }
}

/// The entries of the segments that overlap the range, by their first offsets; `None` if `known` does not know those of
/// a segment that matters.
fn aborted_in<E>(
    list: &SegmentList,
    from: Offset,
    upto: Offset,
    mut known: impl FnMut(&Arc<SealedSegment>) -> Result<Option<Arc<[AbortedTransaction]>>, E>,
) -> Result<Option<Vec<AbortedTransaction>>, E> {
    let mut found = Vec::new();
    // Whose marker lies before `from` is of no concern, so the segments that end there are not either.
    let after = list.sealed.partition_point(|segment| segment.summary().end <= from);
    let mut over = false;
    for segment in list.sealed.iter().skip(after).filter(|segment| segment.summary().may_concern(upto)) {
        let Some(entries) = known(segment)? else { return Ok(None) };
        over = collect(&entries, from, upto, &mut found);
        if over {
            break;
        }
    }
    if !over {
        list.active.with_aborted(|entries| collect(entries, from, upto, &mut found));
    }
    found.sort_by_key(|entry| (entry.first, entry.last));
    Ok(Some(found))
}

#[cfg(test)]
#[path = "transactions_tests.rs"]
mod tests;
