//! Putting a cleaned segment in the place of the run that it stands for.
//!
//! ```text
//!   cleaned file: data and index synced     a crash here:  the next start removes it
//!   checkpoint, if the last one's point lies in the run
//!   rename, directory synced                a crash here:  the next start has the cleaned file, and removes the run
//!   new list of segments                    readers that have the old list go on with the files that they opened, and
//!                                           look again if one is gone
//!   run removed
//! ```
//!
//! All under the upkeep lock, which dropping and truncating take as well: the run is whole when it is swapped. Appends only
//! wait for the new list.

use super::error::{LogError, ReadError, segment_error};
use super::local_log::{Log, SegmentList};
use super::producers::LastBatch;
use crate::env::{Timestamp, write_atomically};
use crate::offset::Offset;
use crate::segment::header::DataHeader;
use crate::segment::name::cleaned_name;
use crate::segment::{CleanedFile, CleanedWriter, FileName, SealedSegment, Segment, SegmentError, SegmentName};
use esker_protocol::record::BatchHeader;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Log {
    /// The sealed segments, oldest first, each with its index written; what is sealed and not finished yet ends them.
    pub fn finished_segments(&self) -> Vec<Arc<SealedSegment>> {
        let list = self.segments.load();
        list.sealed.iter().take_while(|segment| !segment.is_unfinished()).cloned().collect()
    }

    /// Begins the file that is to stand for `run`.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn cleaned_writer(&self, run: &[Arc<SealedSegment>], now: Timestamp) -> Result<CleanedWriter, LogError> {
        self.dir.check()?;
        let names: Vec<_> = run.iter().map(|segment| segment.summary().name).collect();
        let name = cleaned_name(&names).ok_or(LogError::Invalid("no segments to be cleaned"))?;
        let end = run.last().map(|last| last.summary().end);
        let header = DataHeader { partition: self.id, name, created: now, stands_to: end };
        CleanedWriter::create(self.dir.files(), &self.path, name, &header, self.config().index)
            .map_err(|error| self.gone_or_failed("making a cleaned file", error))
    }

    /// Adds a batch to a cleaned file.
    ///
    /// # Errors
    /// [`LogError`]; the file is of no use then.
    pub fn push_cleaned(&self, writer: &mut CleanedWriter, batch: &[u8], header: &BatchHeader) -> Result<(), LogError> {
        writer.push(batch, header).map_err(|error| match error {
            SegmentError::Io(error) => self.gone_or_failed("writing a cleaned file", error),
            SegmentError::Broken { .. } => LogError::Invalid("batches of a cleaned file do not ascend"),
        })
    }

    /// Syncs what was written, with the producers at the end of `run`.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn finish_cleaned(&self, run: &[Arc<SealedSegment>], writer: CleanedWriter) -> Result<CleanedFile, LogError> {
        self.dir.check()?;
        let producers = match run.last() {
            Some(last) => last.attachment().map_err(LogError::Io)?.unwrap_or_default(),
            None => Vec::new(),
        };
        // A failed sync must not be tried again, wherever in there it was.
        writer.finish(&producers).map_err(|error| self.gone_or_failed("writing a cleaned file", error))
    }

    /// Swaps `run` for `cleaned`. `false`, and nothing is changed, if the run is not what the log has there any more.
    /// Blocks.
    ///
    /// # Errors
    /// [`LogError`]; with [`LogError::Failed`] nobody knows on which side a restart will find it, and both are right.
    pub fn swap(&self, run: &[Arc<SealedSegment>], cleaned: CleanedFile) -> Result<bool, LogError> {
        self.dir.check()?;
        let one = self.upkeep.lock();
        if self.is_closed() {
            cleaned.discard();
            return Err(LogError::Closed);
        }
        // A recovery point in a file that goes would be one in a file that is not there.
        let newest = run.last().map_or(0, |last| last.summary().name.serial);
        if self.checkpointed.load(Ordering::Acquire) <= newest {
            self.checkpoint_locked(&one)?;
        }
        let place = |list: &SegmentList| {
            let first = run.first()?;
            let at = list.sealed.iter().position(|segment| Arc::ptr_eq(segment, first))?;
            let there = list.sealed.get(at..at.checked_add(run.len())?)?;
            there.iter().zip(run).all(|(a, b)| Arc::ptr_eq(a, b)).then_some(at)
        };
        let Some(at) = place(&self.segments.load()) else {
            cleaned.discard();
            return Ok(false);
        };
        debug_assert!(stands_for(&cleaned, run));
        let cleaned = cleaned.publish().map_err(|error| self.dir.write_failed("swapping a segment", error))?;
        {
            // Under the upkeep lock the list only grows at its end.
            let _appender = self.appender.lock();
            let list = self.segments.load();
            let mut sealed = list.sealed.clone();
            sealed.splice(at..at + run.len(), [cleaned]);
            self.segments.store(Arc::new(SegmentList { sealed, active: Arc::clone(&list.active) }));
        }
        for segment in run {
            segment.remove().map_err(|error| self.dir.write_failed("removing a segment", error))?;
        }
        Ok(true)
    }

    /// Replaces the file `name` of the partition's directory, atomically. Blocks.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn write_beside(&self, name: FileName, bytes: &[u8]) -> Result<(), LogError> {
        self.write_beside_of(name, || bytes)
    }

    /// The same, of bytes that are made when nobody else writes any more: the newest state is what stays.
    pub(super) fn write_beside_of<B: AsRef<[u8]>>(
        &self,
        name: FileName,
        bytes: impl FnOnce() -> B,
    ) -> Result<(), LogError> {
        self.dir.check()?;
        let _one = self.upkeep.lock();
        if self.is_closed() {
            return Err(LogError::Closed);
        }
        write_atomically(self.dir.disk().as_ref(), &self.path.join(name.to_string()), bytes().as_ref())
            .map_err(|error| self.dir.write_failed("writing beside a log", error))
    }

    /// What a failed write means where the partition may be deleted at any time.
    fn gone_or_failed(&self, what: &str, error: io::Error) -> LogError {
        if error.kind() == io::ErrorKind::NotFound && self.is_closed() {
            return LogError::Closed;
        }
        self.dir.write_failed(what, error)
    }

    /// The last batch of each producer that is remembered: its head must stay in the log.
    pub fn last_batches(&self) -> BTreeMap<i64, LastBatch> {
        self.appender.lock().producers.last_batches()
    }

    /// A segment's trouble, named.
    pub fn segment_error(&self, segment: SegmentName, error: SegmentError) -> LogError {
        segment_error(self.id, segment, error)
    }

    /// When the segment that begins at the end of `segment` was made: `segment` was sealed then. `None` if that cannot be
    /// told. Reads from the disk.
    pub fn sealed_at(&self, segment: &SealedSegment) -> Option<Timestamp> {
        let list = self.segments.load();
        let end = segment.summary().end;
        if list.active.name().base == end {
            return Some(list.active.created());
        }
        let next = list.sealed.iter().find(|next| next.summary().name.base == end)?;
        next.created().ok()
    }

    /// What `look` finds in the list of segments as it is now; if a segment was replaced or dropped while it looked, and its
    /// file is gone, it looks again.
    pub(super) fn on_segments<T, E: MissingFile>(
        &self,
        look: impl Fn(&Arc<SegmentList>) -> Result<T, E>,
    ) -> Result<T, E> {
        loop {
            let list = self.segments.load_full();
            match look(&list) {
                Err(error) if error.is_missing_file() && !Arc::ptr_eq(&list, &self.segments.load()) => {}
                done => return done,
            }
        }
    }
}

/// An error that may say that a file is not there.
pub(super) trait MissingFile {
    fn is_missing_file(&self) -> bool;
}

impl MissingFile for LogError {
    fn is_missing_file(&self) -> bool {
        matches!(self, LogError::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

impl MissingFile for ReadError {
    fn is_missing_file(&self) -> bool {
        matches!(self, ReadError::Log(error) if error.is_missing_file())
    }
}

/// A cleaned segment tiles what it replaces: it begins where the run does, ends where the run does, and the run has no hole.
pub fn stands_for(cleaned: &CleanedFile, run: &[Arc<SealedSegment>]) -> bool {
    let summary = cleaned.summary();
    let spans: Vec<_> = run.iter().map(|segment| (segment.summary().name.base, segment.summary().end)).collect();
    tiles((summary.name.base, summary.end), &spans)
}

/// Whether spans of offsets follow each other and make up `whole`.
pub fn tiles(whole: (Offset, Offset), parts: &[(Offset, Offset)]) -> bool {
    let meet = parts.iter().zip(parts.iter().skip(1)).all(|(a, b)| a.1 == b.0);
    meet && parts.first().map(|first| first.0) == Some(whole.0) && parts.last().map(|last| last.1) == Some(whole.1)
}
