//! A real disk whose writes and syncs can be made to fail, for tests.

use crate::env::{DirEntry, Disk, File, Lock, Mapping, Open, RealDisk, Space};
use parking_lot::Mutex;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[derive(Default)]
pub(crate) struct Faults {
    pub(crate) read: Mutex<Option<io::ErrorKind>>,
    /// The next read fails, once.
    pub(crate) passing_read: Mutex<Option<io::ErrorKind>>,
    pub(crate) write: Mutex<Option<io::ErrorKind>>,
    pub(crate) sync: Mutex<Option<io::ErrorKind>>,
    pub(crate) syncs: AtomicU64,
    pub(crate) whole_syncs: AtomicU64,
    /// The next sync of a file fails, once, as the kernel tells it once; and its caller hears of it a while later.
    pub(crate) lingering: Mutex<Option<Arc<Lingering>>>,
    /// How many more times there is room for something: for the bytes of a write, for a file, for a name.
    pub(crate) room: Mutex<Option<u64>>,
    /// What the file system says it has room for, if that is not the truth.
    pub(crate) available: Mutex<Option<u64>>,
}

/// A sync that fails.
#[derive(Default)]
pub(crate) struct Lingering {
    /// The kernel has told.
    pub(crate) told: AtomicBool,
    /// The caller may hear of it.
    pub(crate) go_on: AtomicBool,
}

pub(crate) struct FaultyDisk(pub(crate) Arc<Faults>);

struct FaultyFile(Arc<dyn File>, Arc<Faults>);

impl Faults {
    fn fail(which: &Mutex<Option<io::ErrorKind>>) -> io::Result<()> {
        which.lock().map_or(Ok(()), |kind| Err(kind.into()))
    }

    fn take_room(&self) -> io::Result<()> {
        match self.room.lock().as_mut() {
            Some(0) => Err(io::ErrorKind::StorageFull.into()),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        Faults::fail(&self.sync)
    }
}

#[allow(clippy::disallowed_methods, reason = "a test waits for real threads")]
fn pause() {
    std::thread::sleep(std::time::Duration::from_millis(5));
}

impl Disk for FaultyDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        if !path.exists() {
            self.0.take_room()?;
        }
        RealDisk.create_dir_all(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        RealDisk.list(path)
    }
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        if matches!(how, Open::Create | Open::Replace) {
            self.0.take_room()?;
        }
        Ok(Arc::new(FaultyFile(RealDisk.open(path, how)?, Arc::clone(&self.0))))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.take_room()?;
        RealDisk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_file(path)
    }
    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_dir_all(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.sync()?;
        RealDisk.sync_dir(path)
    }
    fn sync_file_system(&self, path: &Path) -> io::Result<()> {
        self.0.whole_syncs.fetch_add(1, Ordering::Relaxed);
        self.0.sync()?;
        RealDisk.sync_file_system(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        RealDisk.lock(path)
    }
    fn space(&self, path: &Path) -> io::Result<Space> {
        let space = RealDisk.space(path)?;
        Ok(Space { available: self.0.available.lock().unwrap_or(space.available), ..space })
    }
}

impl File for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        Faults::fail(&self.1.read)?;
        if let Some(kind) = self.1.passing_read.lock().take() {
            return Err(kind.into());
        }
        self.0.read_exact_at(buffer, position)
    }
    fn write_all_at(&self, buffers: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        let kind = *self.1.write.lock();
        if let Some(kind) = kind.or(self.1.take_room().is_err().then_some(io::ErrorKind::StorageFull)) {
            // Half of it arrives, as it does when a disk fills up.
            if let Some(first) = buffers.first() {
                self.0.write_all_at(&[IoSlice::new(&first[..first.len() / 2])], position)?;
            }
            return Err(kind.into());
        }
        self.0.write_all_at(buffers, position)
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.1.take_room()?;
        self.0.allocate(len)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.1.sync()?;
        let lingering = self.1.lingering.lock().take();
        if let Some(lingering) = lingering {
            lingering.told.store(true, Ordering::Release);
            for _ in 0..200 {
                if lingering.go_on.load(Ordering::Acquire) {
                    break;
                }
                pause();
            }
            return Err(io::ErrorKind::Other.into());
        }
        self.0.sync_data()
    }
    fn start_writeback(&self, range: Range<u64>) -> io::Result<()> {
        self.0.start_writeback(range)
    }
    fn drop_cache(&self, range: Range<u64>) -> io::Result<()> {
        self.0.drop_cache(range)
    }
    fn map(&self, len: u64) -> io::Result<Arc<dyn Mapping>> {
        self.0.map(len)
    }
}
