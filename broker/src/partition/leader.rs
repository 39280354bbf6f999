//! A partition that this broker leads: appends, the high watermark, and reads within it.
//!
//! The only in-sync replica is this one so far, so the high watermark is what this broker holds as durably as
//! `log.durability` asks: its synced end, or its log end. It never goes back.
//!
//! ```text
//!  connection thread: append -> log end            [os: high watermark]  -> wake
//!  sync group:                  fdatasync -> synced end -> high watermark -> wake
//! ```

use super::codes::lookup_code;
use super::waiter::{Commit, NotCommitted, Waiter};
use super::waiters::Waiters;
use super::wakes::Wakes;
use crate::config::TopicConfig;
use arc_swap::ArcSwap;
use esker_protocol::error_code::ErrorCode;
use esker_protocol::record::ValidatedBatch;
use esker_storage::env::mutation::{self, Mutation};
use esker_storage::env::{Env, Monotonic, Timestamp};
use esker_storage::log::{AppendError, Appended, Log, LogObserver};
use esker_storage::offset::{HighWatermark, LastStable, LeaderEpoch, LocalStart, LogStart, Offset, PartitionId};
use esker_storage::partition_log::{self, LookupError, PartitionLog, ReadError, Records, Source, Want};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How far a reader may look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// To the high watermark (`read_uncommitted`).
    Uncommitted,
    /// To the last stable offset (`read_committed`).
    Committed,
}

/// An offset that a look-up found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The offset.
    pub offset: Offset,
    /// The timestamp of its record, where that was asked for.
    pub timestamp: Option<Timestamp>,
    /// The leader epoch of its record.
    pub epoch: Option<LeaderEpoch>,
}

/// What a read found.
pub enum Read {
    /// The offset is at the end.
    Nothing,
    /// Whole batches, in memory.
    Hot(Records),
    /// Whole batches, on the disk or in the tier.
    Cold(ColdRead),
}

/// Records that must be brought into memory first.
pub struct ColdRead {
    partition: Arc<Partition>,
    source: Source,
    limit: usize,
}

/// In place of the epoch that a client knows.
const NO_EPOCH: i32 = -1;

/// A partition that this broker leads.
pub struct Partition {
    env: Env,
    topic: Arc<str>,
    log: Arc<PartitionLog>,
    epoch: LeaderEpoch,
    config: ArcSwap<TopicConfig>,
    high_watermark: AtomicU64,
    waiters: Waiters,
}

impl Partition {
    /// Leads `log` from `epoch` on. What the log holds was committed, or is as good as: there is no other replica
    /// that could lack it.
    pub fn lead(
        env: Env,
        topic: Arc<str>,
        log: Arc<PartitionLog>,
        epoch: LeaderEpoch,
        config: Arc<TopicConfig>,
        wakes: Arc<Wakes>,
    ) -> Arc<Partition> {
        let partition = Partition {
            env,
            topic,
            epoch,
            config: ArcSwap::new(config),
            high_watermark: AtomicU64::new(0),
            waiters: Waiters::new(wakes),
            log,
        };
        partition.advance();
        Arc::new(partition)
    }

    /// The partition's id.
    pub fn id(&self) -> PartitionId {
        self.log.id()
    }

    /// The topic's name.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// Its log.
    pub fn log(&self) -> &Arc<PartitionLog> {
        &self.log
    }

    /// The epoch that it is led in.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// How many replicas it has, in sync or not: this one, as long as there is no other.
    pub fn replicas(&self) -> u32 {
        1
    }

    /// How many replicas have everything that is committed: this one, as long as there is no other.
    pub fn in_sync_replicas(&self) -> u32 {
        u32::from(!self.log.is_failed())
    }

    /// The settings of its topic.
    pub fn topic_config(&self) -> Arc<TopicConfig> {
        self.config.load_full()
    }

    /// The settings of its topic changed.
    pub fn configure(&self, config: Arc<TopicConfig>) {
        self.log.configure(config.log_config());
        self.config.store(config);
    }

    /// Compares the leader epoch that a client knows, -1 for none, with ours (KIP-320).
    ///
    /// # Errors
    /// `FENCED_LEADER_EPOCH` if the client's is older, `UNKNOWN_LEADER_EPOCH` if it is newer.
    pub fn check_epoch(&self, wire: i32) -> Result<(), ErrorCode> {
        match LeaderEpoch::from_wire(wire) {
            None if wire == NO_EPOCH => Ok(()),
            None => Err(ErrorCode::FENCED_LEADER_EPOCH),
            Some(known) if known < self.epoch => Err(ErrorCode::FENCED_LEADER_EPOCH),
            Some(known) if known > self.epoch => Err(ErrorCode::UNKNOWN_LEADER_EPOCH),
            Some(_) => Ok(()),
        }
    }

    /// Appends a batch. Its records are committed once the high watermark has passed the last one: see
    /// [`Partition::committed`].
    ///
    /// # Errors
    /// Whatever keeps the batch out of the log; nothing of it is there then.
    pub fn append(&self, batch: ValidatedBatch, now: Timestamp) -> Result<Appended, AppendError> {
        if mutation::active(Mutation::AnswerBeforeWrite) {
            return Ok(self.append_later(batch, now));
        }
        self.log.append(batch, self.epoch, now)
    }

    /// The mistake of [`Mutation::AnswerBeforeWrite`].
    fn append_later(&self, batch: ValidatedBatch, now: Timestamp) -> Appended {
        let base_offset = self.log.log_end().offset();
        let last_offset = base_offset.plus(u64::from(batch.offsets()) - 1);
        let (env, log, epoch) = (self.env.clone(), Arc::clone(&self.log), self.epoch);
        let write = async move {
            env.sleep(Duration::from_millis(1)).await;
            // Nobody is left to be told.
            drop(log.append(batch, epoch, now));
        };
        drop(self.env.spawn("append-later", write));
        Appended { base_offset, last_offset, log_append_time: None, duplicate: false }
    }

    /// Ends when the high watermark has reached `end`; `None` if it has already. `runtime` is the connection runtime
    /// that the caller waits on, if it is one.
    pub fn committed(&self, end: Offset, runtime: Option<usize>) -> Option<Commit> {
        if covers(self.high_watermark(), end) || mutation::active(Mutation::AnswerBeforeWrite) {
            return None;
        }
        let commit = self.waiters.commit(end, runtime);
        // It may have moved before the wait was registered.
        if covers(self.high_watermark(), end) {
            self.waiters.advanced(self.high_watermark());
        }
        if self.log.is_failed() {
            self.waiters.end(NotCommitted::Failed);
        }
        Some(commit)
    }

    /// Takes note of how far the log is durable now, and wakes who waited for it.
    pub fn advance(&self) {
        let durable = self.log.durable_end();
        let before = self.high_watermark.fetch_max(durable.get(), Ordering::AcqRel);
        if before < durable.get() {
            self.waiters.advanced(HighWatermark::at(durable));
        }
    }

    /// The log failed, or the partition leaves this broker: nothing more is committed here.
    pub fn end(&self, why: NotCommitted) {
        self.waiters.end(why);
    }

    /// Why nothing can be read or appended here any more, if so.
    pub fn ended(&self) -> Option<NotCommitted> {
        if self.log.is_failed() { Some(NotCommitted::Failed) } else { self.waiters.ended() }
    }

    /// Deletes the records before `offset`, or all that are committed; where the log starts then. It survives a crash when
    /// this returns.
    ///
    /// # Errors
    /// `POLICY_VIOLATION` for a topic whose records only compaction may take, `OFFSET_OUT_OF_RANGE` beyond the high
    /// watermark, or what the disk or the tier answers.
    pub async fn delete_before(&self, offset: Option<Offset>) -> Result<LogStart, ErrorCode> {
        if !self.topic_config().cleanup.delete {
            return Err(ErrorCode::POLICY_VIOLATION);
        }
        let committed = self.high_watermark().offset();
        let start = offset.unwrap_or(committed);
        if start > committed {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        let deleted = self.log.delete_before(LogStart::at(start), self.epoch).await;
        deleted.map_err(|error| lookup_code(&error))
    }

    /// Registers a long poll, woken when there may be more to read.
    pub fn register(&self, waiter: &Arc<Waiter>) {
        self.waiters.register(waiter);
    }

    /// Has long polls look again.
    pub fn wake_polls(&self) {
        self.waiters.wake_polls();
    }

    /// Forgets a long poll.
    pub fn forget(&self, waiter: &Arc<Waiter>) {
        self.waiters.forget(waiter);
    }

    /// The high watermark.
    pub fn high_watermark(&self) -> HighWatermark {
        HighWatermark::at(Offset::new(self.high_watermark.load(Ordering::Acquire)))
    }

    /// The last stable offset.
    pub fn last_stable(&self) -> LastStable {
        self.log.last_stable(self.high_watermark())
    }

    /// The log start.
    pub fn log_start(&self) -> LogStart {
        self.log.log_start()
    }

    /// The local start.
    pub fn local_start(&self) -> LocalStart {
        self.log.local_start()
    }

    fn end_of(&self, bound: Bound) -> Offset {
        match bound {
            Bound::Uncommitted if mutation::active(Mutation::UncommittedRead) => self.log.log_end().offset(),
            Bound::Uncommitted => self.high_watermark().offset(),
            Bound::Committed => self.last_stable().offset(),
        }
    }

    /// Reads whole batches from `offset` up to `bound`: at most `limit` bytes, but at least one batch if
    /// `at_least_one`.
    ///
    /// # Errors
    /// An offset before the log start or past the log end is out of range.
    pub fn read(
        self: &Arc<Self>,
        offset: Offset,
        bound: Bound,
        limit: usize,
        at_least_one: bool,
    ) -> Result<Read, ReadError> {
        if offset < self.log_start().offset() || offset > self.log.log_end().offset() {
            return Err(ReadError::OutOfRange);
        }
        let end = self.end_of(bound);
        if offset >= end {
            return Ok(Read::Nothing);
        }
        let committed = bound == Bound::Committed;
        let want = Want { from: offset, upto: end, max_bytes: limit as u64, at_least_one, committed };
        Ok(match self.log.read(want)? {
            partition_log::Read::Nothing => Read::Nothing,
            partition_log::Read::Hot(records) => Read::Hot(records),
            partition_log::Read::Cold(source) => Read::Cold(ColdRead { partition: Arc::clone(self), source, limit }),
        })
    }

    /// The end of what `committed` or any readers see, as ListOffsets' -1 answers it.
    pub fn latest(&self, committed: bool) -> Found {
        Found { offset: self.end_of(bound(committed)), timestamp: None, epoch: Some(self.epoch) }
    }

    /// The log start, with the epoch of its record.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn earliest(&self) -> Result<Found, LookupError> {
        let offset = self.log_start().offset();
        Ok(Found { offset, timestamp: None, epoch: self.log.epoch_at(offset).await? })
    }

    /// The local start, with the epoch of its record.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn earliest_local(&self) -> Result<Found, LookupError> {
        let offset = self.local_start().offset().max(self.log_start().offset());
        Ok(Found { offset, timestamp: None, epoch: self.log.epoch_at(offset).await? })
    }

    /// The last tiered offset; `None` if nothing is tiered.
    pub fn latest_tiered(&self) -> Option<Found> {
        let (offset, epoch) = self.log.last_tiered()?;
        Some(Found { offset, timestamp: None, epoch: Some(epoch) })
    }

    /// The first offset that is not in the tier (KIP-1023); `None` if the topic is not copied there.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn earliest_pending_upload(&self) -> Result<Option<Found>, LookupError> {
        if !self.topic_config().remote_storage_enable {
            return Ok(None);
        }
        let tiered = self.log.last_tiered().map(|(offset, _)| offset.plus(1));
        let offset = tiered.map_or(self.log_start().offset(), |next| next.max(self.log_start().offset()));
        Ok(Some(Found { offset, timestamp: None, epoch: self.log.epoch_at(offset).await? }))
    }

    /// The first record at or after `timestamp`, among those that `committed` or any readers see.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn at_timestamp(&self, timestamp: Timestamp, committed: bool) -> Result<Option<Found>, LookupError> {
        Ok(self.log.at_timestamp(timestamp, self.end_of(bound(committed))).await?.map(Found::from))
    }

    /// The record with the greatest timestamp, among those that `committed` or any readers see.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn max_timestamp(&self, committed: bool) -> Result<Option<Found>, LookupError> {
        let found = self.log.max_timestamp().await?;
        Ok(found.filter(|found| found.offset < self.end_of(bound(committed))).map(Found::from))
    }

    /// Where `epoch` ended: the greatest epoch known that is not above it, and that one's end (KIP-101). `None` for
    /// an epoch above all known.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn end_of_epoch(&self, epoch: LeaderEpoch) -> Result<Option<(LeaderEpoch, Offset)>, LookupError> {
        self.log.end_of_epoch(epoch).await
    }

    /// As [`Partition::end_of_epoch`], from what is in memory; `None` if that does not reach back so far.
    pub fn local_end_of_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.log.local_end_of_epoch(epoch)
    }
}

impl LogObserver for Partition {
    fn durable(&self, _: &Log) {
        self.advance();
    }

    fn failed(&self, _: &Log) {
        self.waiters.end(NotCommitted::Failed);
    }
}

impl From<partition_log::Found> for Found {
    fn from(found: partition_log::Found) -> Found {
        Found { offset: found.offset, timestamp: Some(found.timestamp), epoch: found.epoch }
    }
}

fn bound(committed: bool) -> Bound {
    if committed { Bound::Committed } else { Bound::Uncommitted }
}

/// Whether records up to `end` are committed.
fn covers(mark: HighWatermark, end: Offset) -> bool {
    end <= mark.offset()
}

impl ColdRead {
    /// Whether they come from the tier.
    pub fn is_tiered(&self) -> bool {
        self.source.is_tiered()
    }

    /// The most bytes that it gives.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The records, or `None` if they are not there by `deadline`; the read goes on then, for the next attempt.
    ///
    /// # Errors
    /// If the disk or the tier cannot give them.
    pub async fn complete(self, deadline: Monotonic) -> Result<Option<Records>, ReadError> {
        let left = deadline.since(self.partition.env.now());
        self.partition.log.complete(self.source, left).await
    }
}
