//! What the tier uploads of a log: its batches in **chunks**, and the state that travels with them.
//!
//! A chunk is whole batches, read by `pread`, and every batch is checked on the way: rot is never uploaded. The state
//! is that of the producers and the leader epochs at the end of what is uploaded, so that a replica can start there.

use super::appender::Appender;
use super::epochs::EpochStart;
use super::error::{LogError, ReadError, segment_error};
use super::local_log::{Log, SegmentList};
use super::producers::Producers;
use super::producers_codec;
use super::unstable::note_in;
use crate::env::mutation::{self, Mutation};
use crate::offset::{FilePosition, Offset};
use crate::segment::{AbortedTransaction, Boundary, Segment};
use bytes::Bytes;
use esker_protocol::record::{batches, check_stored};

/// Whole batches of a log, in a row, each checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadChunk {
    /// The batches.
    pub bytes: Bytes,
    /// One past the last offset: where the next chunk starts.
    pub next: Offset,
}

/// What a walk over batches tells of their producers.
pub(super) struct Replayed {
    /// The producers after the last one.
    pub(super) producers: Producers,
    /// The transactions that were aborted in them.
    pub(super) aborted: Vec<AbortedTransaction>,
}

impl Log {
    /// The batches from the one that holds `from`, of one segment, that end at or before `upto`: at most `max_bytes`,
    /// but at least one. Empty if there is none. Reads from the disk: for the maintenance pool.
    ///
    /// # Errors
    /// [`ReadError::BelowLocalStart`]; [`LogError::Corrupt`] if a batch is not what was appended.
    pub fn upload_chunk(&self, from: Offset, upto: Offset, max_bytes: u64) -> Result<UploadChunk, ReadError> {
        self.dir.check().map_err(LogError::from)?;
        let upto = upto.min(self.log_end().offset());
        self.on_segments(|list| self.chunk_of(list, from, upto, max_bytes))
    }

    fn chunk_of(
        &self,
        list: &SegmentList,
        from: Offset,
        upto: Offset,
        max_bytes: u64,
    ) -> Result<UploadChunk, ReadError> {
        let mut from = from;
        loop {
            if from >= upto {
                return Ok(UploadChunk { bytes: Bytes::new(), next: from });
            }
            let Some(segment) = list.holding(from) else {
                return Err(ReadError::BelowLocalStart { local_start: self.local_start() });
            };
            let error = |error| segment_error(self.id, segment.name(), error);
            let published = self.good_end(segment.as_ref(), from)?;
            let start = segment.boundary_at_offset(from, published).map_err(error)?;
            let mut end = segment.boundary_at_offset(upto, published).map_err(error)?;
            if start.position >= end.position {
                if published.offset >= upto || segment.name() == list.active.name() {
                    return Ok(UploadChunk { bytes: Bytes::new(), next: from });
                }
                self.check_sparse(segment.as_ref(), from)?;
                from = published.offset;
                continue;
            }
            if end.position.get() - start.position.get() > max_bytes {
                let limit = FilePosition::new(start.position.get().saturating_add(max_bytes));
                end = segment.boundary_at_position(limit, end).map_err(error)?;
                if end.position <= start.position {
                    let first = segment.batch_at(start, published).map_err(error)?;
                    let first = first.ok_or(LogError::Invalid("a batch that was there is gone"))?;
                    end = Boundary { offset: first.next, position: first.end() };
                }
            }
            let len = usize::try_from(end.position.get() - start.position.get())
                .map_err(|_| LogError::Invalid("a chunk beyond memory"))?;
            let mut bytes = vec![0; len];
            let file = segment.open().map_err(error)?;
            file.file().read_exact_at(&mut bytes, start.position.get()).map_err(LogError::Io)?;
            self.check_chunk(segment.as_ref(), start, &bytes)?;
            return Ok(UploadChunk { bytes: bytes.into(), next: end.offset.min(upto) });
        }
    }

    /// Every batch of a chunk is what was appended, and they fill it.
    fn check_chunk(&self, segment: &dyn Segment, start: Boundary, bytes: &[u8]) -> Result<(), LogError> {
        let corrupt = |position: usize, reason: String| LogError::Corrupt {
            partition: self.id,
            segment: segment.name(),
            position: start.position.get() + position as u64,
            reason,
        };
        let mut split = batches(bytes);
        for batch in split.by_ref() {
            match check_stored(batch.bytes) {
                Err(_) if mutation::active(Mutation::RotUploaded) => {}
                checked => drop(checked.map_err(|damage| corrupt(batch.position, damage.to_string()))?),
            }
        }
        match split.rest() {
            None => Ok(()),
            Some(damage) => Err(corrupt(split.position(), damage.to_string())),
        }
    }

    /// The producers as they were at `offset`, as a snapshot is stored; see [`Log::producer_snapshot_at`].
    ///
    /// # Errors
    /// [`LogError`].
    pub fn encoded_producers_at(&self, offset: Offset) -> Result<Bytes, LogError> {
        Ok(producers_codec::encode(&self.producer_snapshot_at(offset)?).into())
    }

    /// The leader epochs that began before `end`, with where they began, as far as is known locally.
    pub fn epochs_before(&self, end: Offset) -> Vec<EpochStart> {
        self.epochs.read().entries().iter().copied().filter(|start| start.start < end).collect()
    }

    /// The producers as they were at `offset`, a batch boundary on this disk: the newest snapshot before it, and what was
    /// appended since. Reads from the disk.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn producer_snapshot_at(&self, offset: Offset) -> Result<Producers, LogError> {
        self.on_segments(|list| {
            let (end, base) = {
                let appender = self.appender.lock();
                (appender.writer.end().offset, best_snapshot(&appender, offset))
            };
            if offset > end {
                return Err(LogError::Invalid("there is no such offset yet"));
            }
            let base = base.map_or_else(|| self.stored_snapshot(list, offset), Ok)?;
            Ok(self.replay_producers(list, base, offset)?.producers)
        })
    }

    /// As [`Log::producer_snapshot_at`], by who has the append lock.
    pub(super) fn producers_at(
        &self,
        appender: &Appender,
        list: &SegmentList,
        offset: Offset,
    ) -> Result<Producers, LogError> {
        let base = best_snapshot(appender, offset).map_or_else(|| self.stored_snapshot(list, offset), Ok)?;
        Ok(self.replay_producers(list, base, offset)?.producers)
    }

    /// The producers at `offset`, from those at a point before it.
    pub(super) fn replay_producers(
        &self,
        list: &SegmentList,
        (mut at, mut producers): (Offset, Producers),
        offset: Offset,
    ) -> Result<Replayed, LogError> {
        let mut aborted = Vec::new();
        let now = self.dir.env().wall();
        while at < offset {
            let Some(segment) = list.holding(at) else {
                return Err(LogError::Invalid("the offset is not on this disk"));
            };
            let error = |error| segment_error(self.id, segment.name(), error);
            let published = self.good_end(segment.as_ref(), at)?;
            let start = segment.boundary_at_offset(at, published).map_err(error)?;
            let end = segment.boundary_at_offset(offset, published).map_err(error)?;
            let mut walk = segment.walk(start.position, end).map_err(error)?;
            let file = segment.open().map_err(error)?;
            while let Some((mark, header)) = walk.next_header().map_err(error)? {
                let ended = note_in(file.file().as_ref(), &mut producers, (&mark, &header), now).map_err(error)?;
                aborted.extend(ended.and_then(|ended| ended.aborted()));
            }
            if end.offset <= at {
                break;
            }
            at = end.offset;
        }
        Ok(Replayed { producers, aborted })
    }

    /// The newest snapshot with a sealed segment's index that is not beyond `offset`, or nothing at the local start.
    pub(super) fn stored_snapshot(&self, list: &SegmentList, offset: Offset) -> Result<(Offset, Producers), LogError> {
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

fn best_snapshot(appender: &Appender, offset: Offset) -> Option<(Offset, Producers)> {
    if appender.writer.end().offset == offset {
        return Some((offset, appender.producers.clone()));
    }
    let known = appender.snapshots.iter().filter(|(at, _)| *at <= offset);
    known.max_by_key(|(at, _)| *at).map(|(at, producers)| (*at, Producers::clone(producers)))
}
