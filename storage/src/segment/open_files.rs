//! Open files and mappings, bounded in number.
//!
//! 10,000 partitions of many segments each would pass the limits on descriptors and on mappings
//! (`vm.max_map_count`). So a **segment file** knows only its path, and opens itself when somebody looks; the **open
//! files** of a log directory keep the most recently used ones open and let go of the rest (a clock: each gets a
//! second chance if it was used since the hand last passed). What is still being read or synced holds its own
//! reference, so letting go never pulls a file from under anybody, and slices of a mapping keep the mapping.

use super::aborted::AbortedTransaction;
use super::index::SparseIndex;
use crate::env::{Disk, File, Mapping, Open};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// The files of one log directory that are open now.
pub struct OpenFiles {
    disk: Arc<dyn Disk>,
    limit: usize,
    clock: Mutex<VecDeque<Arc<OpenFile>>>,
}

/// A data file that is open, with what was read or mapped of it.
pub struct OpenFile {
    file: Arc<dyn File>,
    mapping: Mutex<Option<(u64, Arc<dyn Mapping>)>>,
    index: OnceLock<Arc<SparseIndex>>,
    aborted: OnceLock<Arc<[AbortedTransaction]>>,
    used: AtomicBool,
}

/// A data file that is opened when it is needed.
pub struct SegmentFile {
    files: Arc<OpenFiles>,
    path: PathBuf,
    how: Open,
    open: Mutex<Weak<OpenFile>>,
}

impl OpenFiles {
    /// At most `limit` files stay open without being in use.
    pub fn new(disk: Arc<dyn Disk>, limit: usize) -> Arc<OpenFiles> {
        Arc::new(OpenFiles { disk, limit: limit.max(1), clock: Mutex::new(VecDeque::new()) })
    }

    /// The file system below.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// How many files are kept open.
    pub fn len(&self) -> usize {
        self.clock.lock().len()
    }

    /// Whether no file is kept open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn keep(&self, file: Arc<OpenFile>) {
        let mut clock = self.clock.lock();
        // Each round clears one mark, so this ends after at most one turn of the clock.
        while clock.len() >= self.limit {
            match clock.pop_front() {
                Some(candidate) if candidate.used.swap(false, Ordering::Relaxed) => clock.push_back(candidate),
                _ => break,
            }
        }
        clock.push_back(file);
    }

    fn let_go(&self, file: &Arc<OpenFile>) {
        self.clock.lock().retain(|kept| !Arc::ptr_eq(kept, file));
    }
}

impl OpenFile {
    fn new(file: Arc<dyn File>) -> Arc<OpenFile> {
        Arc::new(OpenFile {
            file,
            mapping: Mutex::new(None),
            index: OnceLock::new(),
            aborted: OnceLock::new(),
            used: AtomicBool::new(true),
        })
    }

    /// The file itself.
    pub fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    /// A mapping of at least `needed` bytes; a new one gets `wanted` bytes if that is more, so that a growing file is
    /// mapped once.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn mapping(&self, needed: u64, wanted: u64) -> io::Result<Arc<dyn Mapping>> {
        let mut held = self.mapping.lock();
        if let Some((len, mapping)) = held.as_ref()
            && *len >= needed
        {
            return Ok(Arc::clone(mapping));
        }
        let len = needed.max(wanted);
        let mapping = self.file.map(len)?;
        *held = Some((len, Arc::clone(&mapping)));
        Ok(mapping)
    }

    /// The segment's index, if it was loaded since the file was opened.
    pub fn index(&self) -> Option<&Arc<SparseIndex>> {
        self.index.get()
    }

    /// Keeps the segment's index for as long as the file is open.
    pub fn keep_index(&self, index: Arc<SparseIndex>) -> &Arc<SparseIndex> {
        self.index.get_or_init(|| index)
    }

    /// The transactions that were aborted in the segment, if they were loaded since the file was opened.
    pub fn aborted(&self) -> Option<&Arc<[AbortedTransaction]>> {
        self.aborted.get()
    }

    /// Keeps them for as long as the file is open.
    pub fn keep_aborted(&self, aborted: Arc<[AbortedTransaction]>) -> &Arc<[AbortedTransaction]> {
        self.aborted.get_or_init(|| aborted)
    }
}

impl SegmentFile {
    /// The file at `path`, opened later in the given way: `Read`, or `Write` while it is appended to.
    pub fn at(files: &Arc<OpenFiles>, path: PathBuf, how: Open) -> SegmentFile {
        SegmentFile { files: Arc::clone(files), path, how, open: Mutex::new(Weak::new()) }
    }

    /// Makes the file, which must not exist, and keeps it open.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn create(files: &Arc<OpenFiles>, path: PathBuf) -> io::Result<SegmentFile> {
        let open = OpenFile::new(files.disk.open(&path, Open::Create)?);
        files.keep(Arc::clone(&open));
        let file = SegmentFile::at(files, path, Open::Write);
        *file.open.lock() = Arc::downgrade(&open);
        Ok(file)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose files it belongs to.
    pub fn files(&self) -> &Arc<OpenFiles> {
        &self.files
    }

    /// The file, opened if it is not.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn open(&self) -> io::Result<Arc<OpenFile>> {
        let mut held = self.open.lock();
        if let Some(open) = held.upgrade() {
            open.used.store(true, Ordering::Relaxed);
            return Ok(open);
        }
        let open = OpenFile::new(self.files.disk.open(&self.path, self.how)?);
        *held = Arc::downgrade(&open);
        self.files.keep(Arc::clone(&open));
        Ok(open)
    }

    /// The file, if it is open.
    pub fn opened(&self) -> Option<Arc<OpenFile>> {
        self.open.lock().upgrade()
    }

    /// Stops keeping the file open: its name is about to go, and its room should too.
    pub fn let_go(&self) {
        if let Some(open) = self.open.lock().upgrade() {
            self.files.let_go(&open);
        }
    }
}

/// Nobody else looks at it through this one: what an active segment had open would outlive its sealing, and hold on to the
/// room of a file that is long removed.
impl Drop for SegmentFile {
    fn drop(&mut self) {
        self.let_go();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::RealDisk;
    use std::io::IoSlice;

    fn files(limit: usize, count: usize) -> (tempfile::TempDir, Arc<OpenFiles>, Vec<SegmentFile>) {
        let dir = tempfile::tempdir().unwrap();
        let files = OpenFiles::new(Arc::new(RealDisk), limit);
        let all = (0..count)
            .map(|n| {
                let file = SegmentFile::create(&files, dir.path().join(n.to_string())).unwrap();
                file.open().unwrap().file().write_all_at(&[IoSlice::new(&[n as u8; 100])], 0).unwrap();
                file
            })
            .collect();
        (dir, files, all)
    }

    #[test]
    fn no_more_than_the_limit_stay_open_and_all_can_be_read() {
        let (_dir, files, all) = files(3, 10);
        for round in 0..3 {
            for (n, file) in all.iter().enumerate() {
                let mut byte = [0];
                file.open().unwrap().file().read_exact_at(&mut byte, 99).unwrap();
                assert_eq!(byte[0], n as u8, "round {round}");
                assert!(files.len() <= 3);
            }
        }
    }

    #[test]
    fn a_file_that_is_used_between_passes_stays() {
        let (_dir, _files, all) = files(3, 3);
        let hot = Arc::downgrade(&all[0].open().unwrap());
        for _ in 0..3 {
            for cold in all.iter().skip(1) {
                cold.let_go();
                all[0].open().unwrap();
                cold.open().unwrap();
            }
        }
        assert!(hot.upgrade().is_some());
    }

    #[test]
    fn a_file_that_nobody_has_any_more_is_closed() {
        let (_dir, files, mut all) = files(5, 3);
        let open = Arc::downgrade(&all[2].open().unwrap());
        all.pop();
        assert!(open.upgrade().is_none() && files.len() == 2);
    }

    #[test]
    fn a_slice_outlives_the_file() {
        let (_dir, files, all) = files(1, 2);
        let slice = all[1].open().unwrap().mapping(100, 4096).unwrap().slice(0..100);
        all[1].let_go();
        assert!(files.is_empty());
        files.disk().remove_file(all[1].path()).unwrap();
        assert_eq!(&slice[..], [1; 100]);
    }

    #[test]
    fn a_mapping_is_made_once_while_it_suffices() {
        let (_dir, _files, all) = files(1, 1);
        let open = all[0].open().unwrap();
        let first = open.mapping(10, 8192).unwrap();
        assert!(Arc::ptr_eq(&first, &open.mapping(8192, 0).unwrap()));
        assert!(!Arc::ptr_eq(&first, &open.mapping(8193, 0).unwrap()));
    }
}
