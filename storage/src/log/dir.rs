//! A log directory: one disk's worth of partitions, with its lock, identity, sync group and failed state.
//!
//! ```text
//! <log dir>/
//!     lock                             held while a broker uses the directory (flock)
//!     identity                         whose it is, see `identity`
//!     clean                            present only between a clean shutdown and the next start
//!     synced                           what was synced, see `synced_record`
//!     <topic id>-<partition>/          a partition: data files, indexes, checkpoint
//!     <topic id>-<partition>.deleted/  a partition on its way out
//! ```
//!
//! A directory **fails** once: when a sync fails, or a write answers anything but that the disk is full. After a
//! failed sync nobody knows what is on the disk (Linux drops the dirty pages), so it is never tried again; everything
//! after answers [`DirFailed`]. Other directories go on.

use super::error::{DirFailed, LogError};
use super::group_commit::{Member, SyncGroup};
use super::identity::Identity;
use super::room::{Room, RoomLeft};
use super::synced_record::{SyncedMark, SyncedRecord};
use crate::env::mutation::{self, Mutation};
use crate::env::{Env, Lock, TaskHandle};
use crate::offset::PartitionId;
use crate::segment::OpenFiles;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

pub(super) const DELETED: &str = ".deleted";

/// What an acknowledgement with acks=all waits for: `log.durability`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// That the records are behind an `fdatasync`.
    #[default]
    Fsync,
    /// That they are in the page cache; syncs follow every 64 MiB or 10 s.
    Os,
}

/// An open log directory.
pub struct LogDir {
    pub(super) env: Env,
    pub(super) path: PathBuf,
    pub(super) identity: Identity,
    pub(super) durability: Durability,
    pub(super) was_clean: bool,
    pub(super) files: Arc<OpenFiles>,
    pub(super) failed: OnceLock<DirFailed>,
    pub(super) synced: Mutex<SyncedRecord>,
    pub(super) group: SyncGroup,
    pub(super) logs: Mutex<BTreeMap<PartitionId, Weak<dyn Member>>>,
    pub(super) syncing: Mutex<Option<TaskHandle>>,
    pub(super) closed: AtomicBool,
    pub(super) room: Room,
    /// Held over a sync of directories, and until its failure was noted: see `syncing`.
    pub(super) syncing_names: Mutex<()>,
    /// There is a log whose checkpoint may be behind.
    pub(super) unclosed: AtomicBool,
    /// Whether the file system can be synced as a whole.
    pub(super) syncs_together: bool,
    pub(super) _lock: Box<dyn Lock>,
}

impl LogDir {
    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What an acknowledgement waits for here.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// Whether the last broker that used it shut down cleanly.
    pub fn was_clean(&self) -> bool {
        self.was_clean
    }

    /// The partitions that have a directory here, in order.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn partitions(&self) -> io::Result<Vec<PartitionId>> {
        let entries = self.env.disk.list(&self.path)?;
        Ok(entries.iter().filter(|entry| entry.is_dir).filter_map(|entry| entry.name.parse().ok()).collect())
    }

    /// Removes a partition's directory. Its log must be closed and dropped, or be about to: files in use stay readable.
    /// Blocks.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn delete_partition(&self, id: PartitionId) -> io::Result<()> {
        if let Some(log) = self.logs.lock().remove(&id).and_then(|log| log.upgrade()) {
            log.abandon();
        }
        self.synced.lock().forget(id);
        let (from, to) = (self.path.join(id.to_string()), self.path.join(format!("{id}{DELETED}")));
        match self.env.disk.rename(&from, &to) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        self.env.disk.remove_dir_all(&to)?;
        self.env.disk.sync_dir(&self.path)
    }

    /// [`DirFailed`] if the directory has failed.
    ///
    /// # Errors
    /// [`DirFailed`].
    pub fn check(&self) -> Result<(), DirFailed> {
        match self.failed.get() {
            Some(failed) => Err(failed.clone()),
            None => Ok(()),
        }
    }

    /// Why the directory has failed, if it has.
    pub fn failure(&self) -> Option<&DirFailed> {
        self.failed.get()
    }

    /// Fences the directory: from here on everything answers [`DirFailed`]. The first reason stays.
    pub fn fail(&self, what: &str, error: &io::Error) -> DirFailed {
        let failed =
            DirFailed { directory: self.path.display().to_string().into(), reason: format!("{what}: {error}").into() };
        if self.failed.set(failed.clone()).is_ok() {
            tracing::error!(directory = %self.path.display(), %error, "{what}; the log directory is fenced");
        }
        self.failed.get().cloned().unwrap_or(failed)
    }

    /// Appends are refused while the file system has less room than `bytes`, as of the last look: see
    /// [`LogDir::look_at_room`]. 0 refuses none, as at first.
    pub fn set_min_free_bytes(&self, bytes: u64) {
        self.room.set_least(bytes);
    }

    /// Asks the file system how much room it has, which is what appends go by until the next look. Blocks briefly.
    ///
    /// # Errors
    /// What the disk answers; the look before counts.
    pub fn look_at_room(&self) -> io::Result<RoomLeft> {
        let available = self.env.disk.space(&self.path)?.available;
        if self.room.looked(available) {
            let directory = self.path.display();
            if self.room.left().refusing {
                tracing::warn!(%directory, available, "the disk is nearly full: produce is refused until there is room");
            } else {
                tracing::info!(%directory, available, "there is room again: produce is accepted");
            }
        }
        Ok(self.room.left())
    }

    /// How much room there was at the last look.
    pub fn room(&self) -> RoomLeft {
        self.room.left()
    }

    /// Refuses an append while there is too little room.
    pub(super) fn check_room(&self, bytes: u64, reserve: bool) -> Result<(), LogError> {
        let taken = self.room.take(bytes, reserve) || mutation::active(Mutation::MarkIgnored);
        if taken { Ok(()) } else { Err(LogError::NoSpace) }
    }

    /// Syncs something, and fences the directory if that fails, before anybody else syncs what `one` stands for.
    ///
    /// The kernel tells of a failed write-back once. Whoever syncs the same file after that is told that all is well; so
    /// nobody may, until the directory is fenced.
    ///
    /// # Errors
    /// [`DirFailed`].
    pub(super) fn syncing(&self, one: &Mutex<()>, sync: impl FnOnce() -> io::Result<()>) -> Result<(), DirFailed> {
        let _one = one.lock();
        self.check()?;
        sync().map_err(|error| self.fail("a sync failed", &error))
    }

    /// Makes the names in directories survive, as [`LogDir::syncing`] does.
    ///
    /// # Errors
    /// [`DirFailed`].
    pub(super) fn sync_names(&self, directories: &[&Path]) -> Result<(), DirFailed> {
        self.syncing(&self.syncing_names, || directories.iter().try_for_each(|path| self.env.disk.sync_dir(path)))
    }

    /// Bytes that were appended since the last round of syncs began.
    pub fn unsynced_bytes(&self) -> u64 {
        self.group.unsynced_bytes()
    }

    /// What a failed write means: no room is a passing condition, anything else fences the directory.
    pub(super) fn write_failed(&self, what: &str, error: io::Error) -> LogError {
        if is_full(&error) { LogError::NoSpace } else { LogError::Failed(self.fail(what, &error)) }
    }

    /// A log was dropped without being closed, or did not open: its checkpoint may be behind.
    pub(super) fn note_unclosed(&self, id: PartitionId) {
        tracing::debug!(partition = %id, "not closed");
        self.unclosed.store(true, Ordering::Release);
    }

    pub(super) fn syncs_together(&self) -> bool {
        self.syncs_together
    }

    /// The file system that it is on.
    pub fn disk(&self) -> &Arc<dyn crate::env::Disk> {
        &self.env.disk
    }

    pub(super) fn env(&self) -> &Env {
        &self.env
    }

    pub(super) fn files(&self) -> &Arc<OpenFiles> {
        &self.files
    }

    pub(super) fn group(&self) -> &SyncGroup {
        &self.group
    }

    pub(crate) fn synced_mark(&self, id: PartitionId) -> Option<SyncedMark> {
        self.synced.lock().mark(id)
    }

    pub(super) fn synced_record(&self) -> &Mutex<SyncedRecord> {
        &self.synced
    }

    /// Takes note of an open log, of which there is one per partition.
    pub(super) fn register(&self, id: PartitionId, log: Weak<dyn Member>) -> Result<(), LogError> {
        let mut logs = self.logs.lock();
        if logs.get(&id).and_then(Weak::upgrade).is_some_and(|open| !open.is_closed()) {
            return Err(LogError::AlreadyOpen(id));
        }
        logs.insert(id, log);
        Ok(())
    }

    pub(super) fn is_open(&self, id: PartitionId) -> bool {
        self.logs.lock().get(&id).and_then(Weak::upgrade).is_some_and(|open| !open.is_closed())
    }
}

/// No room: a condition that passes, and that tears nothing which is not written again.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl std::fmt::Debug for LogDir {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogDir").field("path", &self.path).finish_non_exhaustive()
    }
}
