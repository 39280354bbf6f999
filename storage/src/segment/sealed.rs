//! A segment that never changes any more.
//!
//! Of a [`SealedSegment`] only a summary is held in memory; its file, mapping and index are opened when somebody
//! looks and let go when others are needed more (see `open_files`). A segment that has just been sealed holds its
//! index until [`SealedSegment::finish`] has written it. An index file that is missing or wrong is made again from the
//! data file by the first who needs it.

use super::aborted::AbortedTransaction;
use super::header::{DataHeader, HEADER_LEN, header_matches_name};
use super::index::{LatestTimestamp, SparseIndex};
use super::index_file::{self, Summary};
use super::lookup::{Boundary, Segment, Target, floor_in, span_in};
use super::name::{FileName, SegmentName};
use super::open_files::{OpenFile, OpenFiles, SegmentFile};
use super::walk::{SegmentError, Spacing, Walk};
use crate::env::{Disk, Open, Timestamp, write_atomically};
use crate::offset::{FilePosition, PartitionId};
use parking_lot::Mutex;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A sealed segment.
pub struct SealedSegment {
    summary: Summary,
    file: SegmentFile,
    index_path: PathBuf,
    /// Whether the file has nothing but zeros beyond the data end. A segment that was cut has records there, and
    /// slices of them may be in flight.
    trim: bool,
    /// Until they are in their file.
    unwritten: Mutex<Option<Indexes>>,
    removed: AtomicBool,
    /// Whether its data file stays, under another name, when it is removed.
    condemned: AtomicBool,
}

/// What is looked up in a segment, and the transactions that were aborted in it.
#[derive(Clone)]
struct Indexes {
    sparse: Arc<SparseIndex>,
    aborted: Arc<[AbortedTransaction]>,
}

impl SealedSegment {
    pub(super) fn just_sealed(
        files: &Arc<OpenFiles>,
        path: &Path,
        name: SegmentName,
        end: Boundary,
        (index, aborted): (SparseIndex, Vec<AbortedTransaction>),
    ) -> SealedSegment {
        let summary = Summary::of(name, end, &index, &aborted);
        SealedSegment {
            summary,
            file: SegmentFile::at(files, path.to_owned(), Open::Write),
            index_path: path.with_file_name(FileName::Index(name).to_string()),
            trim: true,
            unwritten: Mutex::new(Some(Indexes { sparse: Arc::new(index), aborted: aborted.into() })),
            removed: AtomicBool::new(false),
            condemned: AtomicBool::new(false),
        }
    }

    /// The segment that `summary` describes, in `directory`.
    pub fn at(files: &Arc<OpenFiles>, directory: &Path, summary: Summary) -> SealedSegment {
        SealedSegment {
            summary,
            file: SegmentFile::at(files, directory.join(FileName::Data(summary.name).to_string()), Open::Read),
            index_path: directory.join(FileName::Index(summary.name).to_string()),
            trim: false,
            unwritten: Mutex::new(None),
            removed: AtomicBool::new(false),
            condemned: AtomicBool::new(false),
        }
    }

    /// The part of a segment's data file that ends at `end`, with the indexes of just that; `finish` writes them. What lies
    /// beyond stays in the file, and is dead: a newer file starts at `end`.
    pub fn cut(
        files: &Arc<OpenFiles>,
        directory: &Path,
        name: SegmentName,
        end: Boundary,
        index: (SparseIndex, Vec<AbortedTransaction>),
    ) -> SealedSegment {
        let path = directory.join(FileName::Data(name).to_string());
        SealedSegment { trim: false, ..SealedSegment::just_sealed(files, &path, name, end, index) }
    }

    /// In short.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// When its file was made. Reads from the disk.
    ///
    /// # Errors
    /// What the disk answers, `InvalidData` for a damaged header.
    pub fn created(&self) -> io::Result<crate::env::Timestamp> {
        let mut bytes = [0; HEADER_LEN as usize];
        self.file.open()?.file().read_exact_at(&mut bytes, 0)?;
        let header = super::header::DataHeader::decode(&bytes);
        header.map(|header| header.created).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Its latest timestamp.
    pub fn latest(&self) -> Option<LatestTimestamp> {
        self.summary.latest
    }

    /// Whether its index is not in a file yet.
    pub fn is_unfinished(&self) -> bool {
        self.unwritten.lock().is_some()
    }

    /// Whether it was removed: there is nothing to be finished then.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    /// Cuts off what was allocated and not used, never below what was published, and syncs the data.
    ///
    /// # Errors
    /// What the disk answers; it must not be tried again.
    pub fn sync(&self) -> io::Result<()> {
        let open = match self.file.open() {
            Err(_) if self.is_removed() => return Ok(()),
            open => open?,
        };
        if self.trim && open.file().len()? > self.summary.data_end.get() {
            open.file().set_len(self.summary.data_end.get())?;
        }
        open.file().sync_data()
    }

    /// Writes the index with `attachment`. Does nothing if that was done. Call [`SealedSegment::sync`] first: recovery
    /// believes an index without looking at the data again, so that must not be the less durable of the two.
    ///
    /// # Errors
    /// What the disk answers; the segment can be read as before.
    pub fn finish(&self, attachment: &[u8]) -> io::Result<()> {
        let Some(indexes) = self.unwritten.lock().clone() else { return Ok(()) };
        let bytes = index_file::encode(&self.summary, &indexes.sparse, &indexes.aborted, attachment);
        write_atomically(self.file.files().disk().as_ref(), &self.index_path, &bytes)?;
        *self.unwritten.lock() = None;
        Ok(())
    }

    /// What `finish` was given; `None` if there is no intact index file.
    ///
    /// # Errors
    /// What the disk answers, except that there is no such file.
    pub fn attachment(&self) -> io::Result<Option<Vec<u8>>> {
        match self.file.files().disk().read(&self.index_path) {
            Ok(bytes) => Ok(match index_file::decode(&bytes) {
                Ok(contents) if contents.summary == self.summary => Some(contents.attachment.to_vec()),
                _ => None,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Its index.
    ///
    /// # Errors
    /// [`SegmentError`] if neither the index file nor the data file can be read.
    pub fn index(&self) -> Result<Arc<SparseIndex>, SegmentError> {
        if let Some(indexes) = self.unwritten.lock().as_ref() {
            return Ok(Arc::clone(&indexes.sparse));
        }
        let open = self.file.open()?;
        if let Some(index) = open.index() {
            return Ok(Arc::clone(index));
        }
        let index = match self.read_indexes() {
            Some((index, aborted)) => {
                open.keep_aborted(aborted.into());
                index
            }
            None => {
                tracing::info!(segment = %self.summary.name, "rebuilding the index of a sealed segment");
                self.rebuild_index()?
            }
        };
        Ok(Arc::clone(open.keep_index(Arc::new(index))))
    }

    /// The transactions that were aborted in it, if they are in memory.
    pub fn aborted_in_memory(&self) -> Option<Arc<[AbortedTransaction]>> {
        if self.summary.aborted == 0 {
            return Some(Arc::from([]));
        }
        let unwritten = self.unwritten.lock().as_ref().map(|indexes| Arc::clone(&indexes.aborted));
        unwritten.or_else(|| self.file.opened()?.aborted().cloned())
    }

    /// The transactions that were aborted in it; `None` if its index file is damaged, and they must be worked out again
    /// (see [`SealedSegment::keep_aborted`]).
    ///
    /// # Errors
    /// [`SegmentError::Io`].
    pub fn aborted(&self) -> Result<Option<Arc<[AbortedTransaction]>>, SegmentError> {
        if let Some(known) = self.aborted_in_memory() {
            return Ok(Some(known));
        }
        Ok(match self.read_indexes() {
            Some((_, aborted)) => Some(self.keep_aborted(aborted)?),
            None => None,
        })
    }

    /// Keeps the transactions that were aborted in it for as long as its file is open.
    ///
    /// # Errors
    /// [`SegmentError::Io`].
    pub fn keep_aborted(&self, aborted: Vec<AbortedTransaction>) -> Result<Arc<[AbortedTransaction]>, SegmentError> {
        Ok(Arc::clone(self.file.open()?.keep_aborted(aborted.into())))
    }

    /// Whether its index file says what it should; one that is not written yet does.
    pub fn has_sound_index(&self) -> bool {
        self.is_unfinished() || self.read_indexes().is_some()
    }

    /// Writes its index file again, from its data, with the transactions that were aborted in it.
    ///
    /// # Errors
    /// [`SegmentError`]; it can do without.
    pub fn mend_index(&self, aborted: &[AbortedTransaction], attachment: &[u8]) -> Result<(), SegmentError> {
        let index = self.rebuild_index()?;
        let bytes = index_file::encode(&self.summary, &index, aborted, attachment);
        Ok(write_atomically(self.file.files().disk().as_ref(), &self.index_path, &bytes)?)
    }

    /// Whether the header of its data file is the one that it was given; if not, that is written again.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn mend_header(&self, partition: PartitionId) -> io::Result<bool> {
        let open = self.file.open()?;
        let mut bytes = [0; HEADER_LEN as usize];
        let name = self.summary.name;
        let read = open.file().read_exact_at(&mut bytes, 0);
        let header = read.ok().and_then(|()| DataHeader::decode(&bytes).ok());
        if header.is_some_and(|header| header_matches_name(&header, partition, name)) {
            return Ok(false);
        }
        let stands_to = name.is_cleaned().then_some(self.summary.end);
        let header = DataHeader { partition, name, created: Timestamp::from_millis(0), stands_to };
        let file = self.file.files().disk().open(self.file.path(), Open::Write)?;
        file.write_all_at(&[IoSlice::new(&header.encode())], 0)?;
        file.sync_data()?;
        Ok(true)
    }

    fn read_indexes(&self) -> Option<(SparseIndex, Vec<AbortedTransaction>)> {
        let bytes = self.file.files().disk().read(&self.index_path).ok()?;
        let contents = index_file::decode(&bytes).ok()?;
        (contents.summary == self.summary).then_some((contents.index, contents.aborted))
    }

    fn rebuild_index(&self) -> Result<SparseIndex, SegmentError> {
        let open = self.file.open()?;
        let start = FilePosition::new(HEADER_LEN);
        let spacing = Spacing::of(self.summary.name);
        let walk = Walk::new(Arc::clone(open.file()), start, self.summary.data_end, spacing);
        let mut walk = walk.expecting(self.summary.name.base);
        let mut index = SparseIndex::default();
        while let Some(mark) = walk.next_mark()? {
            index.push(&mark);
        }
        Ok(index)
    }

    /// It is rotten: when it is removed its data file stays, under another name, for a person to look at.
    pub fn condemn(&self) {
        self.condemned.store(true, Ordering::Release);
    }

    /// Removes its files. What is mapped of them stays readable.
    ///
    /// # Errors
    /// What the disk answers, except that a file is gone already.
    pub fn remove(&self) -> io::Result<()> {
        self.removed.store(true, Ordering::Release);
        self.file.let_go();
        if self.condemned.load(Ordering::Acquire) {
            let kept = self.file.path().with_file_name(FileName::Rotten(self.summary.name).to_string());
            match self.file.files().disk().rename(self.file.path(), &kept) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        remove_segment_files(self.file.files().disk().as_ref(), self.file.path(), &self.index_path)
    }
}

/// Removes a data file and its index; one that is gone already is fine. The index goes first: without its data it
/// would be an orphan, and the data can do without it.
///
/// # Errors
/// What the disk answers.
pub fn remove_segment_files(disk: &dyn Disk, data: &Path, index: &Path) -> io::Result<()> {
    for path in [index, data] {
        match disk.remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

impl Segment for SealedSegment {
    fn name(&self) -> SegmentName {
        self.summary.name
    }

    fn end(&self) -> Boundary {
        Boundary { offset: self.summary.end, position: self.summary.data_end }
    }

    fn floor(&self, target: Target) -> Result<FilePosition, SegmentError> {
        Ok(floor_in(self.index()?.as_ref(), target))
    }

    fn span(&self, target: Target, end: Boundary) -> Option<Range<FilePosition>> {
        let open = self.file.opened()?;
        let unwritten = self.unwritten.lock().as_ref().map(|indexes| Arc::clone(&indexes.sparse));
        let index = unwritten.or_else(|| open.index().cloned())?;
        Some(span_in(&index, target, end))
    }

    fn open(&self) -> Result<Arc<OpenFile>, SegmentError> {
        Ok(self.file.open()?)
    }

    fn mapped_len(&self) -> u64 {
        self.summary.data_end.get()
    }

    fn known_boundary(&self, offset: crate::offset::Offset) -> Option<Boundary> {
        // The first batch of a cleaned one may lie beyond the base.
        (offset == self.summary.name.base && !self.summary.name.is_cleaned())
            .then(|| Boundary { offset, position: FilePosition::new(HEADER_LEN) })
    }
}
