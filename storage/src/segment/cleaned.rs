//! Writing a cleaned segment: what compaction leaves of a run of segments.
//!
//! ```text
//!   CleanedWriter --push--> <name>.log.tmp      batches, in order, with gaps
//!        | finish           data synced, index written and synced
//!        v
//!   CleanedFile --publish-> rename to <name>.log, directory synced: from here on it stands for its run
//! ```
//!
//! Until it is published the file has a name that a start removes; afterwards its own name says what it stands for (see
//! `name`). All of it is synced before, so nothing in it can be a torn tail. It is never appended to again.

use super::aborted::AbortedTransaction;
use super::header::{DataHeader, HEADER_LEN};
use super::index::{IndexLimits, SparseIndex};
use super::index_file::{self, Summary};
use super::lookup::Boundary;
use super::name::{FileName, SegmentName};
use super::open_files::OpenFiles;
use super::sealed::SealedSegment;
use super::walk::{SegmentError, mark_of, offsets_ascend};
use crate::env::mutation::{self, Mutation};
use crate::env::{Disk, File, Open, write_atomically};
use crate::offset::{FilePosition, Offset};
use esker_protocol::record::BatchHeader;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes that are gathered before they are written.
const BUFFER: usize = 1 << 20;

/// A cleaned segment in the making.
pub struct CleanedWriter {
    files: Arc<OpenFiles>,
    directory: PathBuf,
    name: SegmentName,
    stands_to: Offset,
    file: Arc<dyn File>,
    index: SparseIndex,
    aborted: Vec<AbortedTransaction>,
    /// Where the next batch goes, and the least offset that it may have.
    end: FilePosition,
    next: Offset,
    unwritten: Vec<u8>,
}

/// A cleaned segment that is complete and synced, under a temporary name.
pub struct CleanedFile {
    files: Arc<OpenFiles>,
    directory: PathBuf,
    summary: Summary,
}

impl CleanedWriter {
    /// Begins the file that `header` describes, which must say what it stands for, as the segment `name`.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn create(
        files: &Arc<OpenFiles>,
        directory: &Path,
        name: SegmentName,
        header: &DataHeader,
        limits: IndexLimits,
    ) -> io::Result<CleanedWriter> {
        let stands_to = header.stands_to.ok_or(io::ErrorKind::InvalidInput)?;
        let file = files.disk().open(&temporary(directory, name), Open::Replace)?;
        file.write_all_at(&[IoSlice::new(&header.encode())], 0)?;
        Ok(CleanedWriter {
            files: Arc::clone(files),
            directory: directory.to_owned(),
            name,
            stands_to,
            file,
            index: SparseIndex::default().within(limits),
            aborted: Vec::new(),
            end: FilePosition::new(HEADER_LEN),
            next: name.base,
            unwritten: Vec::new(),
        })
    }

    /// Adds a batch, which must lie behind those before, and before the end of what the file stands for.
    ///
    /// # Errors
    /// [`SegmentError`]; the file is of no use then.
    pub fn push(&mut self, batch: &[u8], header: &BatchHeader) -> Result<(), SegmentError> {
        let broken = |reason| SegmentError::Broken { position: self.end.get(), reason };
        let mark = mark_of(header, self.end).ok_or_else(|| broken("its offsets or epoch are out of range"))?;
        if !offsets_ascend(self.next, &mark) || mark.next > self.stands_to || mark.len as usize != batch.len() {
            return Err(broken("it does not fit behind the batch before"));
        }
        self.index.push(&mark);
        (self.end, self.next) = (mark.end(), mark.next);
        self.unwritten.extend_from_slice(batch);
        if self.unwritten.len() >= BUFFER { Ok(self.flush()?) } else { Ok(()) }
    }

    /// Takes note of an aborted transaction whose marker is the batch that was added last.
    pub fn note_aborted(&mut self, entry: AbortedTransaction) {
        self.aborted.push(entry);
    }

    /// Bytes of the file so far, its header included.
    pub fn len(&self) -> u64 {
        self.end.get()
    }

    /// Whether there is no batch in it: also such a segment stands for its run.
    pub fn is_empty(&self) -> bool {
        self.len() == HEADER_LEN
    }

    fn flush(&mut self) -> io::Result<()> {
        let at = self.end.get() - self.unwritten.len() as u64;
        self.file.write_all_at(&[IoSlice::new(&self.unwritten)], at)?;
        self.unwritten.clear();
        Ok(())
    }

    /// Syncs the data, and writes the index with `attachment`: what the log remembers of the run's end.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn finish(mut self, attachment: &[u8]) -> io::Result<CleanedFile> {
        self.flush()?;
        if !mutation::active(Mutation::SwapWithoutSync) {
            self.file.sync_data()?;
        }
        let end = Boundary { offset: self.stands_to, position: self.end };
        let summary = Summary::of(self.name, end, &self.index, &self.aborted);
        let index = self.directory.join(FileName::Index(self.name).to_string());
        let bytes = index_file::encode(&summary, &self.index, &self.aborted, attachment);
        write_atomically(self.files.disk().as_ref(), &index, &bytes)?;
        Ok(CleanedFile { files: self.files, directory: self.directory, summary })
    }

    /// Gives up: removes what was written.
    pub fn discard(self) {
        discard(self.files.disk().as_ref(), &self.directory, self.name);
    }
}

impl CleanedFile {
    /// In short.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Gives the file its name. When this returns the swap is durable, and the run that it stands for may go; if it fails,
    /// nobody knows.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn publish(self) -> io::Result<Arc<SealedSegment>> {
        let disk = self.files.disk();
        let name = self.summary.name;
        disk.rename(&temporary(&self.directory, name), &self.directory.join(FileName::Data(name).to_string()))?;
        if !mutation::active(Mutation::SwapWithoutSync) {
            disk.sync_dir(&self.directory)?;
        }
        Ok(Arc::new(SealedSegment::at(&self.files, &self.directory, self.summary)))
    }

    /// Removes it.
    pub fn discard(self) {
        discard(self.files.disk().as_ref(), &self.directory, self.summary.name);
    }
}

fn temporary(directory: &Path, name: SegmentName) -> PathBuf {
    directory.join(format!("{}.tmp", FileName::Data(name)))
}

/// What cannot be removed now, the next start removes.
fn discard(disk: &dyn Disk, directory: &Path, name: SegmentName) {
    for path in [temporary(directory, name), directory.join(FileName::Index(name).to_string())] {
        if let Err(error) = disk.remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::debug!(path = %path.display(), %error, "could not remove what was not needed");
        }
    }
}
