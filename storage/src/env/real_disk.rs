//! The machine's file system.

use super::disk::{DirEntry, Disk, File, Lock, Mapping, Open, Space};
use super::real_map::RealMapping;
use rustix::fs::{Advice, FallocateFlags, FlockOperation};
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Buffers given to one `pwritev`; Linux takes 1,024.
const MAX_BUFFERS: usize = 1024;

/// The machine's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

#[allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "this is the door")]
impl Disk for RealDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // Removed between the listing and the look.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if let Ok(name) = entry.file_name().into_string() {
                entries.push(DirEntry { name, is_dir: metadata.is_dir(), len: metadata.len() });
            }
        }
        entries.sort();
        Ok(entries)
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let mut options = std::fs::OpenOptions::new();
        options.read(true);
        match how {
            Open::Read => &mut options,
            Open::Write => options.write(true),
            Open::Create => options.write(true).create_new(true),
            Open::Replace => options.write(true).create(true).truncate(true),
        };
        Ok(Arc::new(RealFile(options.open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::File::open(path)?.sync_all()
    }

    fn sync_file_system(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::syncfs(std::fs::File::open(path)?)?)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let file = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(RealLock { _file: file }))
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(Space {
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
            available: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        std::fs::exists(path)
    }
}

/// Closing the file releases the lock.
#[allow(clippy::disallowed_types, reason = "this is the door")]
struct RealLock {
    _file: std::fs::File,
}

impl Lock for RealLock {}

#[allow(clippy::disallowed_types, reason = "this is the door")]
struct RealFile(std::fs::File);

impl File for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, position)
    }

    fn write_all_at(&self, buffers: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        let mut position = position;
        for group in buffers.chunks(MAX_BUFFERS) {
            let total: usize = group.iter().map(|buffer| buffer.len()).sum();
            let mut written = write_once(&self.0, group, position)?;
            // A short write is rare (a signal, a disk that just became full): the rest goes buffer by buffer, and
            // the next attempt reports the error.
            if written < total {
                let mut before = 0;
                for buffer in group {
                    let end = before + buffer.len();
                    if end > written {
                        let rest = buffer.get(written.saturating_sub(before)..).unwrap_or_default();
                        self.0.write_all_at(rest, position + written as u64)?;
                        written = end;
                    }
                    before = end;
                }
            }
            position += total as u64;
        }
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let have = self.len()?;
        if len > have {
            rustix::fs::fallocate(&self.0, FallocateFlags::empty(), have, len - have)?;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(&self.0)?)
    }

    fn start_writeback(&self, range: Range<u64>) -> io::Result<()> {
        super::real_map::start_writeback(&self.0, range)
    }

    fn drop_cache(&self, range: Range<u64>) -> io::Result<()> {
        let len = NonZeroU64::new(range.end.saturating_sub(range.start));
        Ok(rustix::fs::fadvise(&self.0, range.start, len, Advice::DontNeed)?)
    }

    fn map(&self, len: u64) -> io::Result<Arc<dyn Mapping>> {
        Ok(Arc::new(RealMapping::new(&self.0, len)?))
    }
}

fn write_once(file: &impl std::os::fd::AsFd, buffers: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
    loop {
        match rustix::io::pwritev(file, buffers, position) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(0) if buffers.iter().any(|buffer| !buffer.is_empty()) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => return Ok(written),
        }
    }
}
