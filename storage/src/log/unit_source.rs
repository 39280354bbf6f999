//! What the tier uploads of a log: a range at batch boundaries, with everything that travels with it.
//!
//! A [`UnitSource`] is a plan: from where to where, how many bytes, and the index, producers and epochs of just that
//! range. Its bytes are then read in **chunks** of whole batches, by `pread`, and every batch is checked on the way:
//! rot is never uploaded.

use super::append::Appender;
use super::epochs::LeaderEpochs;
use super::error::{LogError, segment_error};
use super::local_log::{Log, SegmentList};
use super::producers::Producers;
use super::producers_codec;
use crate::env::Timestamp;
use crate::offset::{FilePosition, Offset, PartitionId};
use crate::segment::{Boundary, IndexEntry, LatestTimestamp, Segment, SegmentError, SparseIndex};
use bytes::Bytes;
use esker_protocol::record::check_stored;
use std::sync::Arc;

/// An aborted transaction within a unit, as read_committed readers need it (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose it was.
    pub producer_id: i64,
    /// Its first offset.
    pub first_offset: Offset,
    /// The offset of its abort marker.
    pub last_offset: Offset,
}

/// A range of one segment that is to become a tier unit.
#[derive(Clone)]
pub struct UnitSource {
    /// The partition.
    pub partition: PartitionId,
    /// Its first offset: a batch starts there.
    pub start: Offset,
    /// One past its last offset: a batch ends there.
    pub end: Offset,
    /// Its bytes.
    pub bytes: u64,
    /// The latest timestamp of its records, and the first batch that has it.
    pub latest: Option<LatestTimestamp>,
    /// Its sparse index; positions count from the start of the unit.
    pub index: Vec<IndexEntry>,
    /// The producers as they were at `end`: a snapshot, see `producers_codec`.
    pub producers: Bytes,
    /// The leader epochs within it; the first one begins at `start`.
    pub epochs: LeaderEpochs,
    /// The aborted transactions that it overlaps, by first offset. None today.
    pub aborted: Vec<AbortedTransaction>,
    /// When the segment that it is from was made.
    pub created: Option<Timestamp>,
    segment: Arc<dyn Segment>,
    from: Boundary,
    to: Boundary,
}

/// Whole batches of a unit, in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitChunk {
    /// The batches, each checked.
    pub bytes: Bytes,
    /// Where the next chunk starts, from the start of the unit; the unit's length after the last.
    pub next: u64,
}

impl Log {
    /// The range from `from` up to, at most, the last batch end at or before `upto`, of one segment, and, if that is
    /// more than one batch, of at most `max_bytes`. `None` if there is no whole batch. Reads from the disk: for the
    /// maintenance pool.
    ///
    /// `from` is where the last unit ended: the start of a batch.
    ///
    /// # Errors
    /// [`LogError`]; `Invalid` if `from` is not on this disk, or within a batch.
    pub fn unit_source(&self, from: Offset, upto: Offset, max_bytes: u64) -> Result<Option<UnitSource>, LogError> {
        self.dir.check()?;
        let list = self.segments.load_full();
        let log_end = self.log_end().offset();
        if from >= upto.min(log_end) {
            return Ok(None);
        }
        let Some(segment) = list.holding(from) else {
            return Err(LogError::Invalid("the unit would start before the local start"));
        };
        let error = |error| segment_error(self.id, segment.name(), error);
        let published = segment.end();
        let start = segment.boundary_at_offset(from, published).map_err(error)?;
        if start.offset != from {
            return Err(LogError::Invalid("the unit would start within a batch"));
        }
        let upto = segment.boundary_at_offset(upto, published).map_err(error)?;
        let Some((index, end)) = index_of(segment.as_ref(), start, upto, max_bytes).map_err(error)? else {
            return Ok(None);
        };
        let producers = self.producer_snapshot_at(end.offset)?;
        Ok(Some(UnitSource {
            partition: self.id,
            start: start.offset,
            end: end.offset,
            bytes: end.position.get() - start.position.get(),
            latest: index.latest(),
            index: index.entries().to_vec(),
            producers: producers_codec::encode(&producers).into(),
            epochs: self.epochs.read().within(start.offset, end.offset),
            aborted: Vec::new(),
            created: (segment.name() == list.active.name()).then(|| list.active.created()),
            segment,
            from: start,
            to: end,
        }))
    }

    /// The producers as they were at `offset`, a batch boundary on this disk: the newest snapshot before it, and what was
    /// appended since. Reads from the disk.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn producer_snapshot_at(&self, offset: Offset) -> Result<Producers, LogError> {
        let list = self.segments.load_full();
        let (end, base) = {
            let appender = self.appender.lock();
            (appender.writer.end().offset, best_snapshot(&appender, offset))
        };
        if offset > end {
            return Err(LogError::Invalid("there is no such offset yet"));
        }
        self.replay_producers(&list, base, offset)
    }

    /// As [`Log::producer_snapshot_at`], by who has the append lock.
    pub(super) fn producers_at(
        &self,
        appender: &Appender,
        list: &SegmentList,
        offset: Offset,
    ) -> Result<Producers, LogError> {
        self.replay_producers(list, best_snapshot(appender, offset), offset)
    }

    fn replay_producers(
        &self,
        list: &SegmentList,
        in_memory: Option<(Offset, Arc<Producers>)>,
        offset: Offset,
    ) -> Result<Producers, LogError> {
        let (mut at, mut producers) = match in_memory {
            Some((at, producers)) => (at, (*producers).clone()),
            None => self.stored_snapshot(list, offset)?,
        };
        let now = self.dir.env().wall();
        while at < offset {
            let Some(segment) = list.holding(at) else {
                return Err(LogError::Invalid("the offset is not on this disk"));
            };
            let error = |error| segment_error(self.id, segment.name(), error);
            let published = segment.end();
            let start = segment.boundary_at_offset(at, published).map_err(error)?;
            let end = segment.boundary_at_offset(offset, published).map_err(error)?;
            let mut walk = segment.walk(start.position, end).map_err(error)?;
            while let Some((_, header)) = walk.next_header().map_err(error)? {
                producers.record(&header, now);
            }
            if end.offset <= at {
                break;
            }
            at = end.offset;
        }
        Ok(producers)
    }

    /// The newest snapshot with a sealed segment's index that is not beyond `offset`, or nothing at the local start.
    fn stored_snapshot(&self, list: &SegmentList, offset: Offset) -> Result<(Offset, Producers), LogError> {
        for segment in list.sealed.iter().rev().filter(|segment| segment.summary().end <= offset) {
            if let Some(bytes) = segment.attachment().map_err(LogError::Io)?
                && let Ok(producers) = producers_codec::decode(&bytes)
            {
                return Ok((segment.summary().end, producers));
            }
        }
        Ok((list.start(), Producers::default()))
    }
}

fn best_snapshot(appender: &Appender, offset: Offset) -> Option<(Offset, Arc<Producers>)> {
    if appender.writer.end().offset == offset {
        return Some((offset, Arc::new(appender.producers.clone())));
    }
    let known = appender.snapshots.iter().filter(|(at, _)| *at <= offset);
    known.max_by_key(|(at, _)| *at).map(|(at, producers)| (*at, Arc::clone(producers)))
}

/// The index of a range, with positions from its start, and where it ends.
fn index_of(
    segment: &dyn Segment,
    start: Boundary,
    upto: Boundary,
    max_bytes: u64,
) -> Result<Option<(SparseIndex, Boundary)>, SegmentError> {
    let mut index = SparseIndex::default();
    let mut end = start;
    let mut walk = segment.walk(start.position, upto)?.expecting(start.offset);
    while let Some(mut mark) = walk.next_mark()? {
        let next = Boundary { offset: mark.next, position: mark.end() };
        if end.position > start.position && next.position.get() - start.position.get() > max_bytes {
            break;
        }
        mark.position = FilePosition::new(mark.position.get() - start.position.get());
        index.push(&mark);
        end = next;
    }
    Ok((end.position > start.position).then_some((index, end)))
}

impl UnitSource {
    /// The batches from `at` on, a number of bytes from the unit's start at which a batch starts: as many whole ones as
    /// fit into `max_bytes`, and at least one. `None` at the end. Reads from the disk.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] if a batch is not what was appended; [`LogError::Io`].
    pub fn read_chunk(&self, at: u64, max_bytes: u64) -> Result<Option<UnitChunk>, LogError> {
        if at >= self.bytes {
            return Ok(None);
        }
        let error = |error| segment_error(self.partition, self.segment.name(), error);
        let start = FilePosition::new(self.from.position.get() + at);
        let mut walk = self.segment.walk(start, self.to).map_err(error)?;
        if at == 0 {
            walk = walk.expecting(self.start);
        }
        let mut lens = Vec::new();
        let mut total = 0;
        while let Some(mark) = walk.next_mark().map_err(error)? {
            if total > 0 && total + u64::from(mark.len) > max_bytes {
                break;
            }
            total += u64::from(mark.len);
            lens.push(mark.len as usize);
        }
        let mut bytes = vec![0; usize::try_from(total).map_err(|_| LogError::Invalid("a chunk beyond memory"))?];
        let open = self.segment.open().map_err(error)?;
        open.file().read_exact_at(&mut bytes, start.get()).map_err(LogError::Io)?;
        let mut rest = bytes.as_slice();
        for len in lens {
            let (batch, after) = rest.split_at_checked(len).unwrap_or_default();
            if let Err(damage) = check_stored(batch) {
                let position = start.get() + total - rest.len() as u64;
                let reason = damage.to_string();
                return Err(LogError::Corrupt {
                    partition: self.partition,
                    segment: self.segment.name(),
                    position,
                    reason,
                });
            }
            rest = after;
        }
        Ok(Some(UnitChunk { bytes: bytes.into(), next: at + total }))
    }
}

impl std::fmt::Debug for UnitSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UnitSource({} {}..{}, {} bytes)", self.partition, self.start, self.end, self.bytes)
    }
}
