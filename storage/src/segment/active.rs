//! The segment that a partition appends to.
//!
//! Two nouns: the [`ActiveSegment`] is what readers share, and knows what was published; the [`ActiveWriter`] is the
//! one hand that appends, and is turned into a [`SealedSegment`] when the segment is full.
//!
//! ```text
//!  append: [head, tail] --one pwritev--> file --publish (end, index, recent)--> readers
//!
//!  file:   | header | batch | batch | batch | 0 0 0 0 0 0 0 0 |          . . . . . . . . .
//!                                           ^ published end   ^ allocated                 ^ mapped
//! ```
//!
//! The file grows ahead of the writer by `fallocate`, in chunks that double from 64 KiB to 16 MiB; the zeros tell a
//! scan where the log ends. It is mapped once, at the size that it will have at most: growth shows through the map.
//! Where each small batch is synced, zeros are also written a little ahead: see `ActiveWriter::write_ahead`.
//! Only bytes below the published end ever become slices. A failed write publishes nothing: the next one overwrites it.
//!
//! Readers never wait for a write: what they share with the writer is behind a lock that is held for a few
//! instructions, never over I/O.

use super::aborted::AbortedTransaction;
use super::header::{DataHeader, HEADER_LEN};
use super::index::{BatchMark, IndexLimits, SparseIndex};
use super::lookup::{Boundary, Segment, Target, floor_in, span_in};
use super::name::{FileName, SegmentName};
use super::open_files::{OpenFile, OpenFiles, SegmentFile};
use super::sealed::{SealedSegment, remove_segment_files};
use super::walk::SegmentError;
use crate::env::mutation::{self, Mutation};
use crate::env::{File, Open, Timestamp};
use crate::offset::{FilePosition, Offset};
use parking_lot::RwLock;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

const FIRST_CHUNK: u64 = 64 << 10;
const LAST_CHUNK: u64 = 16 << 20;
/// Bytes after which write-back of what was appended is worth starting.
const WRITEBACK: u64 = 4 << 20;
/// The largest batch that is worth writing ahead for, ...
const SMALL: u64 = 4 << 10;
/// ... the least that a file must have before, so that partitions that are hardly written stay small, ...
const AHEAD_FROM: u64 = 16 << 10;
/// ... and how far ahead zeros are written at most, else as far as the file reaches already.
const AHEAD: u64 = 256 << 10;
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
/// Batches whose boundaries are remembered one by one: a reader at the tail finds its place without a read.
const RECENT: usize = 256;

/// How a data file is made and indexed.
#[derive(Clone, Copy, Debug)]
pub struct FilePlan {
    /// The size in bytes at which the caller means to seal it.
    pub capacity: u64,
    /// Whether it gets that size at once.
    pub preallocate: bool,
    /// Whether every batch is synced soon after it was appended, and somebody waits for it.
    pub is_synced: bool,
    /// How fine its index is.
    pub index: IndexLimits,
}

/// An active segment as readers see it.
pub struct ActiveSegment {
    name: SegmentName,
    created: Timestamp,
    capacity: u64,
    file: SegmentFile,
    published: RwLock<Published>,
}

struct Published {
    end: Boundary,
    index: SparseIndex,
    recent: VecDeque<Boundary>,
    aborted: Vec<AbortedTransaction>,
}

/// The only one who appends to an active segment.
pub struct ActiveWriter {
    segment: Arc<ActiveSegment>,
    allocated: u64,
    chunk: u64,
    written_back: u64,
    /// `FilePlan::is_synced`
    is_synced: bool,
    /// Up to where every block was written once.
    ahead: u64,
}

impl ActiveSegment {
    /// When its file was made.
    pub fn created(&self) -> Timestamp {
        self.created
    }

    /// A copy of the index as it is now, with the boundary that it reaches.
    pub fn index(&self) -> (Boundary, SparseIndex) {
        let published = self.published.read();
        (published.end, published.index.clone())
    }

    /// The transactions whose abort markers it has, in the order of those.
    pub fn aborted(&self) -> Vec<AbortedTransaction> {
        self.published.read().aborted.clone()
    }

    /// Calls `look` with the transactions whose abort markers it has.
    pub fn with_aborted<T>(&self, look: impl FnOnce(&[AbortedTransaction]) -> T) -> T {
        look(&self.published.read().aborted)
    }

    /// The latest timestamp of its batches.
    pub fn latest(&self) -> Option<super::index::LatestTimestamp> {
        self.published.read().index.latest()
    }

    /// Whether everything from `offset` on was appended so recently that its pages cannot have left memory, and its
    /// place is known without a read.
    pub fn is_recent(&self, offset: Offset) -> bool {
        let published = self.published.read();
        offset >= published.end.offset || published.recent.front().is_some_and(|oldest| offset >= oldest.offset)
    }

    /// Removes its file, when all of it was cut off. What is mapped of it stays readable.
    ///
    /// # Errors
    /// What the disk answers, except that the file is gone already.
    pub fn remove(&self) -> io::Result<()> {
        self.file.let_go();
        let index = self.file.path().with_file_name(FileName::Index(self.name).to_string());
        remove_segment_files(self.file.files().disk().as_ref(), self.file.path(), &index)
    }

    fn publish(&self, mark: &BatchMark) {
        let mut published = self.published.write();
        debug_assert_eq!(published.end.position, mark.position);
        published.index.push(mark);
        if published.recent.len() >= RECENT {
            published.recent.pop_front();
        }
        published.recent.push_back(Boundary { offset: mark.base, position: mark.position });
        published.end = Boundary { offset: mark.next, position: mark.end() };
    }
}

impl Segment for ActiveSegment {
    fn name(&self) -> SegmentName {
        self.name
    }

    fn end(&self) -> Boundary {
        self.published.read().end
    }

    fn floor(&self, target: Target) -> Result<FilePosition, SegmentError> {
        Ok(floor_in(&self.published.read().index, target))
    }

    fn span(&self, target: Target, end: Boundary) -> Option<Range<FilePosition>> {
        Some(span_in(&self.published.read().index, target, end))
    }

    fn open(&self) -> Result<Arc<OpenFile>, SegmentError> {
        Ok(self.file.open()?)
    }

    fn mapped_len(&self) -> u64 {
        self.capacity
    }

    fn known_boundary(&self, offset: Offset) -> Option<Boundary> {
        let published = self.published.read();
        if published.recent.front()?.offset > offset {
            return None;
        }
        let after = published.recent.partition_point(|boundary| boundary.offset <= offset);
        published.recent.get(after.checked_sub(1)?).copied()
    }
}

impl ActiveWriter {
    /// Makes a new data file in `directory`. Its name and bytes are durable once both were synced.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn create(
        files: &Arc<OpenFiles>,
        directory: &Path,
        header: DataHeader,
        plan: FilePlan,
    ) -> io::Result<ActiveWriter> {
        let file = SegmentFile::create(files, directory.join(FileName::Data(header.name).to_string()))?;
        let open = file.open()?;
        open.file().write_all_at(&[IoSlice::new(&header.encode())], 0)?;
        let mut allocated = HEADER_LEN;
        if plan.preallocate {
            allocated = plan.capacity.max(HEADER_LEN);
            open.file().allocate(allocated)?;
        }
        let end = Boundary { offset: header.name.base, position: FilePosition::new(HEADER_LEN) };
        let index = SparseIndex::default().within(plan.index);
        Ok(ActiveWriter::over(file, header, plan, end, (index, Vec::new()), allocated))
    }

    /// Goes on with a data file whose batches end at `end` and are indexed by `index`; with those indexes go the aborted
    /// transactions whose markers it has.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn resume(
        files: &Arc<OpenFiles>,
        directory: &Path,
        header: DataHeader,
        plan: FilePlan,
        end: Boundary,
        index: (SparseIndex, Vec<AbortedTransaction>),
    ) -> io::Result<ActiveWriter> {
        let file = SegmentFile::at(files, directory.join(FileName::Data(header.name).to_string()), Open::Write);
        let allocated = file.open()?.file().len()?;
        let (index, aborted) = index;
        Ok(ActiveWriter::over(file, header, plan, end, (index.within(plan.index), aborted), allocated))
    }

    fn over(
        file: SegmentFile,
        header: DataHeader,
        plan: FilePlan,
        end: Boundary,
        (index, aborted): (SparseIndex, Vec<AbortedTransaction>),
        allocated: u64,
    ) -> ActiveWriter {
        let segment = ActiveSegment {
            name: header.name,
            created: header.created,
            capacity: plan.capacity.saturating_add(HEADER_LEN),
            file,
            published: RwLock::new(Published { end, index, recent: VecDeque::new(), aborted }),
        };
        let written_back = end.position.get();
        let (is_synced, chunk) = (plan.is_synced, FIRST_CHUNK);
        ActiveWriter { segment: Arc::new(segment), allocated, chunk, written_back, is_synced, ahead: 0 }
    }

    /// What readers share.
    pub fn segment(&self) -> &Arc<ActiveSegment> {
        &self.segment
    }

    /// Where the next batch will be.
    pub fn end(&self) -> Boundary {
        self.segment.end()
    }

    /// Writes a batch, `head` followed by `tail`, at the end, and publishes it. `mark` describes it at that place.
    ///
    /// Returns the file, which is to be synced.
    ///
    /// # Errors
    /// What the disk answers; nothing is published then, and the next append takes the same place.
    pub fn append(&mut self, head: &[u8], tail: &[u8], mark: &BatchMark) -> io::Result<Arc<OpenFile>> {
        let open = self.segment.file.open()?;
        let position = mark.position.get();
        let end = mark.end().get();
        self.grow(open.file().as_ref(), end)?;
        self.write_ahead(open.file().as_ref(), position, end)?;
        open.file().write_all_at(&[IoSlice::new(head), IoSlice::new(tail)], position)?;
        self.segment.publish(mark);
        Ok(open)
    }

    /// What was appended since the last call, once that is enough for its write-back to be started: it never piles up then.
    pub fn take_unwritten(&mut self) -> Option<Range<u64>> {
        let end = self.end().position.get();
        if end - self.written_back < WRITEBACK {
            return None;
        }
        Some(std::mem::replace(&mut self.written_back, end)..end)
    }

    /// Takes note of a transaction whose abort marker was the last batch.
    pub fn note_aborted(&mut self, aborted: AbortedTransaction) {
        self.segment.published.write().aborted.push(aborted);
    }

    fn grow(&mut self, file: &dyn File, needed: u64) -> io::Result<()> {
        if needed > self.allocated {
            let target = needed.max(self.allocated.saturating_add(self.chunk));
            file.allocate(target)?;
            self.allocated = target;
            self.chunk = (self.chunk * 2).min(LAST_CHUNK);
        }
        Ok(())
    }

    /// Writes zeros behind a small batch, over `start..end`, which is synced by itself.
    ///
    /// A sync of bytes in blocks that were allocated and never written has to have the file system's journal commit that
    /// they are written now; one in blocks that were written before has nothing to do but to write. Measured on the
    /// reference machine, 4 KiB: 146 and 90 us, p99 243 and 148.
    fn write_ahead(&mut self, file: &dyn File, start: u64, end: u64) -> io::Result<()> {
        if !self.is_synced || end <= self.ahead || end - start > SMALL || start < AHEAD_FROM {
            return Ok(());
        }
        let upto = end.saturating_add(end.min(AHEAD)).min(self.allocated).min(self.segment.capacity);
        let mut at = if mutation::active(Mutation::ZerosOverTail) { start - 8 } else { end };
        while at < upto {
            let zeros = ZEROS.get(..usize::try_from(upto - at).unwrap_or(usize::MAX)).unwrap_or(&ZEROS);
            file.write_all_at(&[IoSlice::new(zeros)], at)?;
            at += zeros.len() as u64;
        }
        self.ahead = upto.max(end);
        Ok(())
    }

    /// Ends appending. The sealed segment knows its index; [`SealedSegment::finish`] trims the file and writes it.
    pub fn seal(self) -> Arc<SealedSegment> {
        let (end, index) = self.segment.index();
        let files = self.segment.file.files();
        let indexes = (index, self.segment.aborted());
        Arc::new(SealedSegment::just_sealed(files, self.segment.file.path(), self.segment.name, end, indexes))
    }
}

#[cfg(test)]
#[path = "active_tests.rs"]
mod tests;
