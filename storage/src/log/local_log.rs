//! The local log of one partition: what is on this broker's disk of it.
//!
//! ```text
//!   append(ValidatedBatch) --append lock--> Appender: producers, epochs, ActiveWriter
//!                                              | publish: end of the active segment, then log end
//!                                              | mark dirty --> SyncGroup --> synced end --> observer
//!   read(from, upto) --no lock--> SegmentList --> one mapped slice of one segment
//!
//!   local start                                  synced end        log end
//!      | sealed | sealed | sealed |     active       |                |
//! ```
//!
//! The [`Log`] is shared by everyone who appends, reads, syncs, uploads or drops. Appends follow each other under one
//! lock; readers take a snapshot of the list of segments and never wait for an append. Offsets are published in one
//! order: bytes, then the segment's end, then the log end, then (once synced) the synced end: each is never beyond the
//! one before, see [`synced_not_beyond_end`].
//!
//! This file is the state and its simple questions. What acts on it: `append`, `read`, `upkeep` (sealing, checkpoints),
//! `cut` (dropping at the start, truncating at the end), `swap` (a cleaned segment for a run), `recovery` (opening), `unit_source` (what the tier uploads).

use super::appender::Appender;
use super::config::LogConfig;
use super::damage::{Damage, DamagedRange};
use super::dir::{Durability, LogDir};
use super::epochs::{EpochEnd, EpochStart};
use super::error::LogError;
use super::group_commit::{Capture, Member};
use super::producers::ActiveProducer;
use super::scrub_record::ScrubProgress;
use super::synced_record::SyncedMark;
use super::unstable::Unstable;
use crate::env::Timestamp;
use crate::offset::{LeaderEpoch, LocalStart, LogEnd, LogStart, Offset, PartitionId, SyncedEnd};
use crate::segment::{ActiveSegment, SealedSegment, Segment, SegmentName};
use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Hears of a log's progress. Called on the thread that made it, with no lock held: it should mark and wake, not work.
pub trait LogObserver: Send + Sync {
    /// The log is durable up to a new end, as `log.durability` means it: see [`Log::durable_end`].
    fn durable(&self, log: &Log);
    /// The log's directory has failed.
    fn failed(&self, log: &Log);
}

/// One partition's log on this broker's disk.
pub struct Log {
    pub(super) me: Weak<Log>,
    pub(super) dir: Arc<LogDir>,
    pub(super) id: PartitionId,
    pub(super) path: PathBuf,
    pub(super) config: ArcSwap<LogConfig>,
    pub(super) appender: Mutex<Appender>,
    pub(super) segments: ArcSwap<SegmentList>,
    pub(super) epochs: RwLock<super::epochs::LeaderEpochs>,
    pub(super) log_start: AtomicU64,
    pub(super) log_end: AtomicU64,
    pub(super) synced_end: AtomicU64,
    pub(super) unstable: Unstable,
    pub(super) damage: Damage,
    pub(super) scrubbed: Mutex<ScrubProgress>,
    /// Whether it may use half of what the directory keeps free.
    pub(super) reserve: AtomicBool,
    pub(super) wants_maintenance: AtomicBool,
    pub(super) closed: AtomicBool,
    pub(super) abandoned: AtomicBool,
    /// Held while segments are finished, dropped, cut or swapped, and while a checkpoint is taken and written, so that an
    /// older one never replaces a newer one.
    pub(super) upkeep: Mutex<()>,
    /// Held over a sync of its files, and until its failure was noted: see `LogDir::syncing`.
    pub(super) syncing: Mutex<()>,
    /// The serial of the file in which the recovery point of the last checkpoint lies; 0 before the first.
    pub(super) checkpointed: AtomicU32,
    /// How often the log was truncated: a sync that was under way then says nothing about the log as it is now.
    pub(super) truncations: Mutex<u64>,
    /// Segments that were dropped and whose files are still there, each with when they go: `file.delete.delay.ms`.
    pub(super) dropped: Mutex<VecDeque<(Timestamp, Arc<SealedSegment>)>>,
    /// The log start that the newest checkpoint has: what of it survives a crash.
    pub(super) log_start_saved: AtomicU64,
    observer: RwLock<Option<Weak<dyn LogObserver>>>,
}

/// The segments of a log at one moment, oldest first.
pub(super) struct SegmentList {
    pub(super) sealed: Vec<Arc<SealedSegment>>,
    pub(super) active: Arc<ActiveSegment>,
}

/// A segment, as planners see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Which one.
    pub name: SegmentName,
    /// One past its last record.
    pub end: Offset,
    /// Bytes of its batches and header.
    pub bytes: u64,
    /// The latest timestamp of its records; `None` if it has no batch.
    pub max_timestamp: Option<Timestamp>,
    /// Whether it is sealed.
    pub sealed: bool,
}

impl SegmentList {
    pub(super) fn start(&self) -> Offset {
        self.sealed.first().map_or_else(|| self.active.name().base, |first| first.summary().name.base)
    }

    /// The segment that holds `offset`, or would once it is appended; `None` before the first.
    pub(super) fn holding(&self, offset: Offset) -> Option<Arc<dyn Segment>> {
        if offset >= self.active.name().base {
            return Some(Arc::clone(&self.active) as Arc<dyn Segment>);
        }
        let after = self.sealed.partition_point(|segment| segment.summary().name.base <= offset);
        self.sealed.get(after.checked_sub(1)?).map(|segment| Arc::clone(segment) as Arc<dyn Segment>)
    }

    /// The segment of that name.
    pub(super) fn named(&self, name: SegmentName) -> Option<Arc<dyn Segment>> {
        self.all().find(|segment| segment.name() == name)
    }

    pub(super) fn all(&self) -> impl DoubleEndedIterator<Item = Arc<dyn Segment>> + '_ {
        let sealed = self.sealed.iter().map(|segment| Arc::clone(segment) as Arc<dyn Segment>);
        sealed.chain(std::iter::once(Arc::clone(&self.active) as Arc<dyn Segment>))
    }
}

/// The parts of a log that recovery found.
pub(super) struct Parts {
    pub(super) dir: Arc<LogDir>,
    pub(super) id: PartitionId,
    pub(super) path: PathBuf,
    pub(super) config: LogConfig,
    pub(super) appender: Appender,
    pub(super) sealed: Vec<Arc<SealedSegment>>,
    pub(super) epochs: super::epochs::LeaderEpochs,
    pub(super) log_start: LogStart,
    pub(super) damage: Vec<DamagedRange>,
    pub(super) scrubbed: ScrubProgress,
}

impl Log {
    pub(super) fn assemble(parts: Parts) -> Arc<Log> {
        let active = Arc::clone(parts.appender.writer.segment());
        let end = active.end().offset;
        let open = parts.appender.producers.first_open_transaction();
        let list = SegmentList { sealed: parts.sealed, active };
        let log = Arc::new_cyclic(|me| Log {
            me: Weak::clone(me),
            dir: parts.dir,
            id: parts.id,
            path: parts.path,
            config: ArcSwap::from_pointee(parts.config),
            appender: Mutex::new(parts.appender),
            segments: ArcSwap::from_pointee(list),
            epochs: RwLock::new(parts.epochs),
            log_start: AtomicU64::new(parts.log_start.offset().get()),
            log_end: AtomicU64::new(end.get()),
            synced_end: AtomicU64::new(end.get()),
            unstable: Unstable::new(open),
            damage: Damage::of(parts.damage),
            scrubbed: Mutex::new(parts.scrubbed),
            reserve: AtomicBool::new(false),
            wants_maintenance: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            upkeep: Mutex::new(()),
            checkpointed: AtomicU32::new(0),
            truncations: Mutex::new(0),
            syncing: Mutex::new(()),
            dropped: Mutex::new(VecDeque::new()),
            log_start_saved: AtomicU64::new(0),
            observer: RwLock::new(None),
        });
        log.appender.lock().jitter_ms = log.jitter(&parts.config);
        log
    }

    /// Whose log it is.
    pub fn id(&self) -> PartitionId {
        self.id
    }

    /// Where it is.
    pub fn dir(&self) -> &Arc<LogDir> {
        &self.dir
    }

    /// The directory of its files.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its settings.
    pub fn config(&self) -> LogConfig {
        **self.config.load()
    }

    /// Changes its settings, from the next append on.
    pub fn set_config(&self, config: LogConfig) {
        self.config.store(Arc::new(config));
    }

    /// Every producer that is remembered, by id: a copy, made while appends wait.
    pub fn active_producers(&self) -> Vec<ActiveProducer> {
        self.appender.lock().producers.active()
    }

    /// Lets it use half of what its directory keeps free: a log of the broker's own.
    pub fn use_reserve(&self) {
        self.reserve.store(true, Ordering::Relaxed);
    }

    /// Names who hears of the log's progress; nobody is kept alive by it. The observer before is replaced.
    pub fn observe(&self, observer: Weak<dyn LogObserver>) {
        *self.observer.write() = Some(observer);
    }

    /// The first offset that the partition still has, as far as this log knows.
    pub fn log_start(&self) -> LogStart {
        LogStart::at(Offset::new(self.log_start.load(Ordering::Acquire)))
    }

    /// The first offset on this disk that may be read: where its first segment begins, or the log start if that is
    /// higher.
    pub fn local_start(&self) -> LocalStart {
        LocalStart::at(self.segments.load().start().max(self.log_start().offset()))
    }

    /// One past the last record.
    pub fn log_end(&self) -> LogEnd {
        LogEnd::at(Offset::new(self.log_end.load(Ordering::Acquire)))
    }

    /// One past the last record that is synced.
    pub fn synced_end(&self) -> SyncedEnd {
        SyncedEnd::at(Offset::new(self.synced_end.load(Ordering::Acquire)))
    }

    /// One past the last record that this replica may vouch for: the synced end, or with `log.durability=os` the log
    /// end, unless `flush.messages` records or more wait for a sync.
    pub fn durable_end(&self) -> Offset {
        match self.dir.durability() {
            Durability::Os if !self.wants_flush() => self.log_end().offset(),
            Durability::Os | Durability::Fsync => self.synced_end().offset(),
        }
    }

    /// Whether as many records wait for a sync as may.
    pub(super) fn wants_flush(&self) -> bool {
        let synced = self.synced_end.load(Ordering::Acquire);
        self.log_end.load(Ordering::Acquire).saturating_sub(synced) >= self.config.load().flush_messages
    }

    /// The newest leader epoch in which anything was appended, or that was begun here.
    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.read().latest()
    }

    /// The epoch in which the record at `offset` was appended, if that is known locally.
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.epochs.read().at(offset)
    }

    /// The answer to OffsetForLeaderEpoch, as far as is known locally: see `LeaderEpochs::end_of`.
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<EpochEnd> {
        self.epochs.read().end_of(epoch, self.log_end())
    }

    /// The epochs known locally, with where they began.
    pub fn epochs(&self) -> Vec<EpochStart> {
        self.epochs.read().entries().to_vec()
    }

    /// Every segment, oldest first, the active one last.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let list = self.segments.load();
        let sealed = list.sealed.iter().map(|segment| {
            let summary = segment.summary();
            SegmentInfo {
                name: summary.name,
                end: summary.end,
                bytes: summary.data_end.get(),
                max_timestamp: summary.latest.map(|latest| latest.timestamp),
                sealed: true,
            }
        });
        let end = list.active.end();
        let active = SegmentInfo {
            name: list.active.name(),
            end: end.offset,
            bytes: end.position.get(),
            max_timestamp: list.active.latest().map(|latest| latest.timestamp),
            sealed: false,
        };
        sealed.chain(std::iter::once(active)).collect()
    }

    /// Bytes on this disk, without what is allocated ahead.
    pub fn local_bytes(&self) -> u64 {
        self.segments().iter().map(|segment| segment.bytes).sum()
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(super) fn observer(&self) -> Option<Arc<dyn LogObserver>> {
        self.observer.read().as_ref().and_then(Weak::upgrade)
    }
}

impl Member for Log {
    fn id(&self) -> PartitionId {
        self.id
    }

    fn tell_failed(&self) {
        if let Some(observer) = self.observer() {
            observer.failed(self);
        }
    }

    fn capture(&self) -> Capture {
        let mut appender = self.appender.lock();
        appender.queued = false;
        let end = appender.writer.end();
        Capture {
            files: std::mem::take(&mut appender.unsynced_files),
            directories: std::mem::take(&mut appender.unsynced_directories),
            end: SyncedEnd::at(end.offset),
            truncations: *self.truncations.lock(),
            mark: SyncedMark {
                serial: appender.writer.segment().name().serial,
                position: end.position,
                offset: end.offset,
            },
        }
    }

    fn publish_synced(&self, capture: &Capture) {
        // The synced end moves forward, never back, except by a truncation.
        {
            let truncations = self.truncations.lock();
            if *truncations != capture.truncations {
                return;
            }
            self.synced_end.fetch_max(capture.end.offset().get(), Ordering::AcqRel);
        }
        debug_assert!(synced_not_beyond_end(self.synced_end(), self.log_end()));
        if let Some(observer) = self.observer() {
            observer.durable(self);
        }
    }

    fn syncing(&self) -> &Mutex<()> {
        &self.syncing
    }

    fn flush_within(&self) -> Duration {
        Duration::from_millis(self.config.load().flush_ms)
    }

    fn take_wants_maintenance(&self) -> bool {
        self.wants_maintenance.swap(false, Ordering::AcqRel)
    }

    fn maintain(&self) {
        Log::maintain(self);
    }

    fn close(&self) -> Result<(), LogError> {
        Log::close(self)
    }

    fn is_closed(&self) -> bool {
        Log::is_closed(self)
    }

    fn abandon(&self) {
        self.give_up();
    }

    fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // Its checkpoint may be behind: whoever marks the directory as clean must know.
        if !self.is_closed() {
            self.dir.note_unclosed(self.id);
        }
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("id", &self.id).field("log_end", &self.log_end()).finish_non_exhaustive()
    }
}

/// Nothing is synced that was not appended.
pub fn synced_not_beyond_end(synced: SyncedEnd, end: LogEnd) -> bool {
    synced.offset() <= end.offset()
}

/// The local log begins at or before the tier's end: no offset lies in neither.
pub fn local_reaches_tier(local_start: LocalStart, tier_end: crate::offset::TierEnd) -> bool {
    local_start.offset() <= tier_end.offset()
}
