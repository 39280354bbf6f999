//! Files as Esker uses them: positional reads and writes, explicit syncs, mappings that never disappear.
//!
//! Calls are synchronous; what may wait for a device for long is called on a [`Pool`](super::Pool). What is written
//! survives the process; it survives a power cut only once `sync_data` (for its bytes and size) and
//! [`Disk::sync_dir`] (for the name of a file that was created, renamed or removed) have returned.

use bytes::Bytes;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// An existing file, to be read.
    Read,
    /// An existing file, to be read and written.
    Write,
    /// A file that must not exist yet, to be read and written.
    Create,
    /// To be read and written, empty; an existing file is truncated. Never for a file that was mapped.
    Replace,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// Its name, without a path. Names that are not UTF-8 are not Esker's and are left out.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Bytes, for a file.
    pub len: u64,
}

/// The room of a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Its size.
    pub total: u64,
    /// What an unprivileged process may still use.
    pub available: u64,
}

/// Holds a directory's lock file; dropping it, or the death of the process, releases the lock.
pub trait Lock: Send + Sync {}

/// A file system.
pub trait Disk: Send + Sync {
    /// Creates a directory and its parents; no error if it is there.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// What a directory holds, sorted by name.
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>>;
    /// Opens a file.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>>;
    /// Renames a file or directory, replacing a file.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. What is mapped of it stays readable.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory and everything below it.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory survive a power cut.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes everything that was written to the file system of `path` survive a power cut, names included (`syncfs`);
    /// `Unsupported` where that cannot be promised, and the caller then syncs file by file.
    fn sync_file_system(&self, path: &Path) -> io::Result<()> {
        let _ = path;
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Locks a file, created if needed, for this process; `WouldBlock` if another holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;
    /// The room of the file system that holds `path`.
    fn space(&self, path: &Path) -> io::Result<Space>;

    /// Whether there is such a file or directory.
    fn exists(&self, path: &Path) -> io::Result<bool> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
            return Ok(false);
        };
        match self.list(parent) {
            Ok(entries) => Ok(entries.iter().any(|entry| entry.name == name)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path, Open::Read)?;
        let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

/// An open file.
pub trait File: Send + Sync {
    /// Its size in bytes, allocated zeros included.
    fn len(&self) -> io::Result<u64>;
    /// Whether it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Fills `buffer` from `position` (`pread`); `UnexpectedEof` if the file ends before.
    fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()>;
    /// Writes all of `buffers`, one after the other, at `position` (`pwritev`).
    fn write_all_at(&self, buffers: &[IoSlice<'_>], position: u64) -> io::Result<()>;
    /// Grows the file to `len` bytes, the new ones zero and with blocks of their own (`fallocate`). Never shrinks.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Cuts or grows the file to `len`. Never below what a mapping was sliced from.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes the bytes and the size survive a power cut (`fdatasync`).
    fn sync_data(&self) -> io::Result<()>;
    /// Starts write-back of a range without waiting for it (`sync_file_range`). Promises nothing.
    fn start_writeback(&self, range: Range<u64>) -> io::Result<()>;
    /// Tells the page cache that a range will not be read again soon.
    fn drop_cache(&self, range: Range<u64>) -> io::Result<()>;
    /// Maps the first `len` bytes, read-only; `len` may lie past the present end.
    fn map(&self, len: u64) -> io::Result<Arc<dyn Mapping>>;
}

/// A read-only view of a file's bytes, shared with the page cache.
///
/// A slice must lie below what was written and will never change. It may fault on a bad sector, so slices go to
/// sockets only; what our own code looks at is read by [`File::read_exact_at`].
pub trait Mapping: Send + Sync {
    /// The bytes of a range, uncopied. Empty if the range is outside of the mapping.
    fn slice(self: Arc<Self>, range: Range<u64>) -> Bytes;
    /// Whether every page of a range is in memory now.
    fn is_resident(&self, range: Range<u64>) -> bool;
    /// Brings a range into memory and waits for it. For the [`Pool::Cold`](super::Pool::Cold) threads.
    fn make_resident(&self, range: Range<u64>) -> io::Result<()>;
}

/// Replaces `path` by `bytes`: afterwards, whatever happens, it holds either its old content or all of the new.
///
/// # Errors
/// Whatever the disk answers; the old content is then still there.
pub fn write_atomically(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let file = disk.open(&temporary, Open::Replace)?;
    file.write_all_at(&[IoSlice::new(bytes)], 0)?;
    file.sync_data()?;
    disk.rename(&temporary, path)?;
    match path.parent() {
        Some(parent) => disk.sync_dir(parent),
        None => Ok(()),
    }
}

/// Creates a directory and its parents; afterwards a power cut takes none of them.
///
/// All parents are synced, not only the new ones: an earlier life may have died between making them and syncing them.
///
/// # Errors
/// Whatever the disk answers; a parent that was there before, and that cannot be opened or synced by this process, is
/// left alone.
pub fn create_dir_durably(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let is_missing = |path: &Path| disk.list(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    let missing = path.ancestors().take_while(|ancestor| !is_here(ancestor) && is_missing(ancestor)).count();
    disk.create_dir_all(path)?;
    for (depth, parent) in path.ancestors().skip(1).enumerate() {
        let parent = if is_here(parent) { Path::new(".") } else { parent };
        match disk.sync_dir(parent) {
            Err(error) if depth < missing || !cannot_be_synced(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Not a failure of the device: the directory is somebody else's, or of a file system that knows no such thing.
fn cannot_be_synced(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    matches!(error.kind(), InvalidInput | PermissionDenied | ReadOnlyFilesystem | Unsupported)
}

/// The parent of a relative path of one name.
fn is_here(path: &Path) -> bool {
    path.as_os_str().is_empty()
}
