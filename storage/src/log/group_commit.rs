//! The sync group of a log directory: who waits for the next round of syncs.
//!
//! ```text
//!  append --mark--> SyncGroup: dirty logs --taken by a round--> Capture of each --synced--> Member::publish_synced
//! ```
//!
//! The nouns: a log is **dirty** once something was appended since its last capture; a **round** (`rounds`) takes all dirty
//! logs; a [`Capture`] is what one log needs synced, and the end that is synced then; a [`Member`] is what the group, and
//! the directory, know of a log.

use super::error::LogError;
use super::synced_record::SyncedMark;
use crate::env::Disk;
use crate::env::mutation::{self, Mutation};
use crate::offset::{PartitionId, SyncedEnd};
use crate::segment::open_files::OpenFile;
use parking_lot::Mutex;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// `log.durability=os`: a round is due after this many bytes.
pub(super) const OS_BYTES: u64 = 64 << 20;

/// A log, as its directory knows it: something that is synced, kept up, closed and, if it must be, given up.
pub(super) trait Member: Send + Sync {
    /// Whose log it is.
    fn id(&self) -> PartitionId;

    /// What must be synced for everything appended so far to be durable; the log is clean from here on.
    fn capture(&self) -> Capture;

    /// What was captured is synced: the synced end moves, and the log's observer hears of it.
    fn publish_synced(&self, capture: &Capture);

    /// With `log.durability=os`: how long what is appended may wait for a round (`flush.ms`).
    fn flush_within(&self) -> Duration;

    /// The directory has failed: the log's observer hears of it.
    fn tell_failed(&self);

    /// What is held over a sync of the log's files: see `LogDir::syncing`.
    fn syncing(&self) -> &Mutex<()>;

    /// Whether segments are to be finished or a checkpoint is due; asked once for each time.
    fn take_wants_maintenance(&self) -> bool;

    /// Does that. Blocks.
    fn maintain(&self);

    /// Ends appending and takes a last checkpoint. Blocks.
    ///
    /// # Errors
    /// [`LogError`]; the next start scans what lies beyond the checkpoint before.
    fn close(&self) -> Result<(), LogError>;

    /// Whether it was closed.
    fn is_closed(&self) -> bool;

    /// Ends appending and upkeep, for a partition whose files are about to go.
    fn abandon(&self);

    /// Whether its files may be gone.
    fn is_abandoned(&self) -> bool;
}

/// The dirty logs of a directory.
#[derive(Default)]
pub struct SyncGroup {
    dirty: Mutex<Vec<Arc<dyn Member>>>,
    bytes: AtomicU64,
    /// With `log.durability=os`: a log has as many unsynced records as it may have.
    demanded: AtomicBool,
    /// With `log.durability=os`: what the disk may begin to write, long before anybody waits for it.
    unwritten: Mutex<Vec<(Arc<OpenFile>, Range<u64>)>>,
    wake: Notify,
    stopped: AtomicBool,
}

/// What one log needs synced, and what is synced then.
pub(super) struct Capture {
    /// Its data files, rolled ones included.
    pub(super) files: Vec<Arc<OpenFile>>,
    /// The directories that got new names.
    pub(super) directories: Vec<PathBuf>,
    /// The log end that is then synced.
    pub(super) end: SyncedEnd,
    /// How often the log had been truncated.
    pub(super) truncations: u64,
    /// The end as a place in the newest data file.
    pub(super) mark: SyncedMark,
}

impl SyncGroup {
    /// Adds a log that was clean until now; the next round wakes for it.
    pub(super) fn mark(&self, log: Arc<dyn Member>) {
        self.dirty.lock().push(log);
        self.wake.notify_one();
    }

    /// Counts appended bytes, which make a round due with `log.durability=os`.
    pub(super) fn appended(&self, bytes: u64) {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before < OS_BYTES && before + bytes >= OS_BYTES {
            self.wake.notify_one();
        }
    }

    /// Has the disk begin to write a range of a file, by the thread of the rounds: who appends has clients that wait. There
    /// is at most one range for every few MiB that a round has not synced yet, and a round begins every 64 MiB.
    pub(super) fn write_back(&self, file: Arc<OpenFile>, range: Range<u64>) {
        self.unwritten.lock().push((file, range));
        self.wake.notify_one();
    }

    /// Begins to write what was appended. Promises nothing: if it fails, so will the sync, which fences the directory.
    pub(super) fn start_writeback(&self) {
        let unwritten = std::mem::take(&mut *self.unwritten.lock());
        for (file, range) in unwritten {
            if let Err(error) = file.file().start_writeback(range) {
                tracing::debug!(%error, "write-back could not be started");
            }
        }
    }

    /// Has a round begin at once, whatever it would wait for with `log.durability=os`.
    pub(super) fn demand(&self) {
        if !self.demanded.swap(true, Ordering::AcqRel) {
            self.wake.notify_one();
        }
    }

    pub(super) fn is_demanded(&self) -> bool {
        self.demanded.load(Ordering::Acquire)
    }

    /// How long the dirty log that can wait least may wait for a round; `None` if none is dirty.
    pub(super) fn flush_within(&self) -> Option<Duration> {
        self.dirty.lock().iter().map(|log| log.flush_within()).min()
    }

    pub(super) fn unsynced_bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Ends the rounds after a last one.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    pub(super) fn has_dirty(&self) -> bool {
        !self.dirty.lock().is_empty()
    }

    /// The dirty logs, for a round that begins now.
    pub(super) fn take_dirty(&self) -> Vec<Arc<dyn Member>> {
        std::mem::take(&mut *self.dirty.lock())
    }

    /// A round begins, which takes everything that is dirty from here on: bytes count anew, and demands.
    pub(super) fn reset(&self) {
        self.bytes.store(0, Ordering::Relaxed);
        self.demanded.store(false, Ordering::Release);
    }

    /// Something was marked, enough bytes came, or the group was stopped.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }
}

impl Capture {
    /// Syncs the files.
    ///
    /// # Errors
    /// What the disk answers; it must not be tried again.
    pub(super) fn sync(&self) -> io::Result<()> {
        if mutation::active(Mutation::SyncLeftOut) {
            return Ok(());
        }
        for file in &self.files {
            match file.file().sync_data() {
                Err(_) if mutation::active(Mutation::FailedSyncIgnored) => {}
                synced => synced?,
            }
        }
        Ok(())
    }

    /// Syncs the names.
    ///
    /// # Errors
    /// As [`Capture::sync`].
    pub(super) fn sync_names(&self, disk: &dyn Disk) -> io::Result<()> {
        if mutation::active(Mutation::SyncLeftOut) || mutation::active(Mutation::DirectorySyncLeftOut) {
            return Ok(());
        }
        self.directories.iter().try_for_each(|directory| disk.sync_dir(directory))
    }
}
