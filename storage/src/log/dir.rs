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
use super::group_commit::SyncGroup;
use super::identity::{self, Identity};
use super::local_log::Log;
use super::synced_record::{SyncedMark, SyncedRecord};
use crate::env::{Env, Lock, Open, Pool, TaskHandle, Timestamp, create_dir_durably};
use crate::offset::PartitionId;
use crate::segment::OpenFiles;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use uuid::Uuid;

const LOCK: &str = "lock";
const CLEAN: &str = "clean";
/// How often the room is looked at, at most.
const ROOM_EVERY_MS: i64 = 1000;
const DELETED: &str = ".deleted";

/// What an acknowledgement with acks=all waits for: `log.durability`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// That the records are behind an `fdatasync`.
    #[default]
    Fsync,
    /// That they are in the page cache; syncs follow every 64 MiB or 10 s.
    Os,
}

/// How a log directory is opened.
#[derive(Clone, Copy, Debug)]
pub struct LogDirConfig {
    /// The cluster that it must belong to.
    pub cluster: Uuid,
    /// The broker that it must belong to.
    pub broker: u32,
    /// What an acknowledgement waits for.
    pub durability: Durability,
    /// Data files that stay open without being in use.
    pub open_files: usize,
}

/// Why a log directory could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenDirError {
    /// Another process uses it.
    #[error("log directory {0} is in use by another process")]
    InUse(PathBuf),
    /// It belongs to somebody else.
    #[error("log directory {path} belongs to broker {broker} of cluster {cluster}")]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Whose cluster.
        cluster: Uuid,
        /// Which broker's.
        broker: u32,
    },
    /// The disk answered an error, or a file cannot be understood.
    #[error("log directory {path}: {error}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// The error.
        error: io::Error,
    },
}

/// An open log directory.
pub struct LogDir {
    env: Env,
    path: PathBuf,
    identity: Identity,
    durability: Durability,
    was_clean: bool,
    files: Arc<OpenFiles>,
    failed: OnceLock<DirFailed>,
    synced: Mutex<SyncedRecord>,
    group: SyncGroup,
    logs: Mutex<BTreeMap<PartitionId, Weak<Log>>>,
    syncing: Mutex<Option<TaskHandle>>,
    closed: AtomicBool,
    min_free_bytes: AtomicU64,
    /// When the room was looked at last, in milliseconds, and whether there was enough.
    room: Mutex<(Timestamp, bool)>,
    /// A log was dropped without being closed: its checkpoint may be behind.
    unclosed: AtomicBool,
    /// Whether the file system can be synced as a whole.
    syncs_together: bool,
    _lock: Box<dyn Lock>,
}

impl LogDir {
    /// Opens or makes the directory at `path`, and starts its sync thread. Blocks.
    ///
    /// # Errors
    /// [`OpenDirError`].
    pub fn open(env: &Env, path: &Path, config: LogDirConfig) -> Result<Arc<LogDir>, OpenDirError> {
        let io_error = |error| OpenDirError::Io { path: path.to_owned(), error };
        let disk = env.disk.as_ref();
        create_dir_durably(disk, path).map_err(io_error)?;
        let lock = disk.lock(&path.join(LOCK)).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => OpenDirError::InUse(path.to_owned()),
            _ => io_error(error),
        })?;
        let identity = match identity::read(disk, path).map_err(io_error)? {
            Some(identity) if identity.cluster == config.cluster && identity.broker == config.broker => identity,
            Some(Identity { cluster, broker, .. }) => {
                return Err(OpenDirError::Foreign { path: path.to_owned(), cluster, broker });
            }
            None => {
                let directory = env.random.uuid();
                let identity = Identity { cluster: config.cluster, broker: config.broker, directory };
                identity::write(disk, path, &identity).map_err(io_error)?;
                sync_ancestors(env, path).map_err(io_error)?;
                identity
            }
        };
        let was_clean = take_clean_mark(env, path).map_err(io_error)?;
        remove_deleted(env, path).map_err(io_error)?;
        let synced = SyncedRecord::open(disk, path).map_err(io_error)?;
        let syncs_together = match disk.sync_file_system(path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::Unsupported => false,
            Err(error) => return Err(io_error(error)),
        };
        let dir = Arc::new(LogDir {
            env: env.clone(),
            path: path.to_owned(),
            identity,
            durability: config.durability,
            was_clean,
            files: OpenFiles::new(Arc::clone(&env.disk), config.open_files),
            failed: OnceLock::new(),
            synced: Mutex::new(synced),
            group: SyncGroup::default(),
            logs: Mutex::new(BTreeMap::new()),
            syncing: Mutex::new(None),
            closed: AtomicBool::new(false),
            min_free_bytes: AtomicU64::new(0),
            room: Mutex::new((Timestamp::from_millis(i64::MIN), true)),
            unclosed: AtomicBool::new(false),
            syncs_together,
            _lock: lock,
        });
        let handle = env.tasks.spawn_thread("esker-sync", Box::pin(SyncGroup::run(Arc::clone(&dir))));
        *dir.syncing.lock() = Some(handle);
        Ok(dir)
    }

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

    /// Appends are refused from now on while the file system has less room than `bytes`; 0 refuses none, as at first.
    pub fn set_min_free_bytes(&self, bytes: u64) {
        self.min_free_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Refuses an append while there is too little room. The file system is asked once a second at most.
    pub(super) fn check_room(&self, now: Timestamp) -> Result<(), LogError> {
        let least = self.min_free_bytes.load(Ordering::Relaxed);
        if least == 0 {
            return Ok(());
        }
        let mut room = self.room.lock();
        let age = now.millis().saturating_sub(room.0.millis());
        if !(0..ROOM_EVERY_MS).contains(&age) {
            let space = self.env.disk.space(&self.path).map_err(LogError::Io)?;
            let enough = space.available >= least;
            if room.1 && !enough {
                tracing::warn!(directory = %self.path.display(), available = space.available, "refusing appends: the disk is nearly full");
            }
            *room = (now, enough);
        }
        if room.1 { Ok(()) } else { Err(LogError::NoSpace) }
    }

    /// Bytes that were appended since the last round of syncs began.
    pub fn unsynced_bytes(&self) -> u64 {
        self.group.unsynced_bytes()
    }

    /// What a failed write means: no room is a passing condition, anything else fences the directory.
    pub(super) fn write_failed(&self, what: &str, error: io::Error) -> LogError {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => LogError::NoSpace,
            _ => LogError::Failed(self.fail(what, &error)),
        }
    }

    /// Syncs what every log has, closes and checkpoints them, and marks the directory as cleanly shut down: if none was
    /// dropped before, that is, without [`Log::close`]. The directory stays locked until it is dropped.
    ///
    /// # Errors
    /// [`LogError`]; the next start scans what lies beyond the checkpoints.
    pub async fn close(self: &Arc<Self>) -> Result<(), LogError> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.group.stop();
        let syncing = self.syncing.lock().take();
        if let Some(handle) = syncing {
            handle.ended().await;
        }
        let dir = Arc::clone(self);
        self.env.blocking(Pool::Maintenance, move || dir.close_logs()).await.map_err(|_| LogError::Closed)?
    }

    fn close_logs(&self) -> Result<(), LogError> {
        self.check()?;
        let logs: Vec<_> = self.logs.lock().values().filter_map(Weak::upgrade).collect();
        for log in logs {
            log.close()?;
        }
        let writing = self.synced.lock().take();
        if self.unclosed.load(Ordering::Acquire) {
            tracing::info!(directory = %self.path.display(), "a log was not closed: the next start checks all");
            return writing.write().map_err(|error| LogError::Failed(self.fail("writing what was synced", &error)));
        }
        let clean = self.path.join(CLEAN);
        writing
            .write()
            .and_then(|()| self.env.disk.open(&clean, Open::Replace))
            .and_then(|_| self.env.disk.sync_dir(&self.path))
            .map_err(|error| LogError::Failed(self.fail("marking a clean shutdown", &error)))
    }

    pub(super) fn note_unclosed(&self, id: PartitionId) {
        tracing::debug!(partition = %id, "dropped without being closed");
        self.unclosed.store(true, Ordering::Release);
    }

    pub(super) fn syncs_together(&self) -> bool {
        self.syncs_together
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

    pub(super) fn synced_mark(&self, id: PartitionId) -> Option<SyncedMark> {
        self.synced.lock().mark(id)
    }

    pub(super) fn synced_record(&self) -> &Mutex<SyncedRecord> {
        &self.synced
    }

    /// Takes note of an open log, of which there is one per partition.
    pub(super) fn register(&self, id: PartitionId, log: &Arc<Log>) -> Result<(), LogError> {
        let mut logs = self.logs.lock();
        if logs.get(&id).and_then(Weak::upgrade).is_some_and(|open| !open.is_closed()) {
            return Err(LogError::AlreadyOpen(id));
        }
        logs.insert(id, Arc::downgrade(log));
        Ok(())
    }

    pub(super) fn is_open(&self, id: PartitionId) -> bool {
        self.logs.lock().get(&id).and_then(Weak::upgrade).is_some_and(|open| !open.is_closed())
    }
}

impl std::fmt::Debug for LogDir {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogDir").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Whether there is a mark of a clean shutdown; it is gone, durably, before anything is appended.
fn take_clean_mark(env: &Env, path: &Path) -> io::Result<bool> {
    match env.disk.remove_file(&path.join(CLEAN)) {
        Ok(()) => env.disk.sync_dir(path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes the name of a new directory durable, and those of the directories above it, which may be new as well.
fn sync_ancestors(env: &Env, path: &Path) -> io::Result<()> {
    for ancestor in path.ancestors().skip(1) {
        let here = Path::new(".");
        env.disk.sync_dir(if ancestor.as_os_str().is_empty() { here } else { ancestor })?;
    }
    Ok(())
}

fn remove_deleted(env: &Env, path: &Path) -> io::Result<()> {
    for entry in env.disk.list(path)? {
        if entry.is_dir && entry.name.ends_with(DELETED) {
            env.disk.remove_dir_all(&path.join(entry.name))?;
        }
    }
    Ok(())
}
