//! Opening a log directory, and closing it.
//!
//! ```text
//!   open:   lock -> identity -> take the clean mark away -> remove what was being deleted -> record of what was synced
//!             -> the thread of the rounds
//!   close:  last round -> close every log (checkpoints) -> record of what was synced -> clean mark
//! ```
//!
//! The clean mark is there only if every log's checkpoint is at its end, so a start that finds it scans nothing. A log that
//! did not open, or that nobody opened after a crash, is not at its end.

use super::dir::{DELETED, Durability, LogDir};
use super::error::LogError;
use super::group_commit::SyncGroup;
use super::identity::{self, Identity};
use super::room::Room;
use super::rounds;
use super::synced_record::SyncedRecord;
use crate::env::{Env, Open, Pool, create_dir_durably};
use crate::segment::OpenFiles;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use uuid::Uuid;

const LOCK: &str = "lock";
const CLEAN: &str = "clean";

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
            room: Room::default(),
            syncing_names: Mutex::new(()),
            unclosed: AtomicBool::new(false),
            syncs_together,
            _lock: lock,
        });
        let handle = env.tasks.spawn_thread("esker-sync", Box::pin(rounds::run(Arc::clone(&dir))));
        *dir.syncing.lock() = Some(handle);
        Ok(dir)
    }

    /// Syncs what every log has, closes and checkpoints them, and marks the directory as cleanly shut down: if none was
    /// dropped before, that is, without [`Log::close`](super::Log::close). The directory stays locked until it is dropped.
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
        let all_closed = !self.unclosed.load(Ordering::Acquire)
            && self.is_each_accounted_for().map_err(|error| LogError::Failed(self.fail("listing logs", &error)))?;
        if !all_closed {
            tracing::info!(directory = %self.path.display(), "a log was not closed: the next start checks all");
            return writing.write().map_err(|error| self.write_failed("writing what was synced", error));
        }
        let clean = self.path.join(CLEAN);
        writing
            .write()
            .and_then(|()| self.env.disk.open(&clean, Open::Replace))
            .and_then(|_| self.env.disk.sync_dir(&self.path))
            .map_err(|error| self.write_failed("marking a clean shutdown", error))
    }
}

impl LogDir {
    /// Whether each partition that has a directory here was opened since the start, or was closed when it came. One that
    /// was left alone after a crash still has its tail beyond its checkpoint.
    fn is_each_accounted_for(&self) -> io::Result<bool> {
        if self.was_clean {
            return Ok(true);
        }
        let there = self.partitions()?;
        let logs = self.logs.lock();
        Ok(there.iter().all(|id| logs.contains_key(id)))
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
