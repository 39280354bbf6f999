//! Appending to a log: one batch at a time, under one lock.
//!
//! The order of effects: check the directory, the epoch and the producer; seal the active segment if it is full; give
//! the batch its offsets; write it; publish it to readers; note its producer and epoch; queue the log for the sync
//! group. Nothing is noted that was not written, and a batch that was refused or could not be written leaves no trace.

use super::appender::Appender;
use super::dir::Durability;
use super::epochs::LeaderEpochs;
use super::error::{AppendError, LogError};
use super::local_log::Log;
use super::producers::{Claim, ProducerError, Producers, Verdict, WrittenBatch};
use super::unstable::note;
use crate::env::Timestamp;
use crate::env::mutation::{self, Mutation};
use crate::offset::{FilePosition, LeaderEpoch, Offset};
use crate::segment::{Segment, walk::mark_of};
use bytes::Bytes;
use esker_protocol::record::{TimestampType, ValidatedBatch};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A batch that is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The offset of its first record.
    pub base_offset: Offset,
    /// The offset of its last record.
    pub last_offset: Offset,
    /// The time that its records carry, for topics with LogAppendTime.
    pub log_append_time: Option<Timestamp>,
    /// Whether it was there before: the offsets are the original's, which may not be synced yet either.
    pub duplicate: bool,
}

impl Log {
    /// Appends a batch as the leader of `epoch`, at the log end. `now` is the broker's clock.
    ///
    /// It is durable once [`Log::durable_end`] has passed it; the observer hears of that.
    ///
    /// # Errors
    /// [`AppendError`]; nothing was appended then, except that with [`LogError::Failed`] nobody knows.
    pub fn append(&self, batch: ValidatedBatch, epoch: LeaderEpoch, now: Timestamp) -> Result<Appended, AppendError> {
        if batch.header().is_control() {
            return Err(LogError::Invalid("control batches have a door of their own").into());
        }
        let claim = Claim::of(batch.header());
        self.append_checked(batch, epoch, now, |producers| {
            match claim.map(|claim| producers.check(&claim)).transpose()? {
                Some(Verdict::Duplicate(original)) if !mutation::active(Mutation::DuplicateAppended) => {
                    Ok(Some(original))
                }
                _ => Ok(None),
            }
        })
    }

    /// Appends a batch unless `check` says, under the append lock, that it was appended before or may not be.
    pub(super) fn append_checked(
        &self,
        batch: ValidatedBatch,
        epoch: LeaderEpoch,
        now: Timestamp,
        check: impl FnOnce(&Producers) -> Result<Option<WrittenBatch>, ProducerError>,
    ) -> Result<Appended, AppendError> {
        self.dir.check().map_err(LogError::from)?;
        let size = batch.size() as u64;
        let mut appender = self.appender.lock();
        if self.is_closed() {
            return Err(LogError::Closed.into());
        }
        check_epoch(&self.epochs.read(), epoch)?;
        if let Some(original) = check(&appender.producers)? {
            return Ok(Appended {
                base_offset: original.base_offset,
                last_offset: original.last_offset,
                log_append_time: original.log_append_time,
                duplicate: true,
            });
        }
        let config = self.config();
        self.dir.check_room(size, self.reserve.load(Ordering::Relaxed))?;
        if self.is_due(&appender, size, now, &config) {
            self.roll_locked(&mut appender, now)?;
        }
        let log_append_time = (config.timestamp_type == TimestampType::LogAppendTime).then_some(now);
        let end = appender.writer.end();
        let stamped = batch.stamp(end.offset.to_wire(), epoch.to_wire(), log_append_time.map(Timestamp::millis));
        let mark = mark_of(&stamped.header, FilePosition::new(end.position.get()))
            .ok_or(LogError::Invalid("the batch's offsets or its size are out of range"))?;
        let file = appender
            .writer
            .append(&stamped.head, &stamped.tail, &mark)
            .map_err(|error| self.dir.write_failed("appending", error))?;
        let control = if stamped.header.is_control() { stamped.to_bytes() } else { Bytes::new() };
        let ended = note(&mut appender.producers, &stamped.header, &control, now);
        if let Some(aborted) = ended.and_then(|ended| ended.aborted()) {
            appender.writer.note_aborted(aborted);
        }
        // Before the log end moves: no reader may take for stable what is not.
        self.unstable.appended(appender.producers.first_open_transaction(), ended.as_ref());
        if self.epochs.read().would_begin(epoch) {
            self.epochs.write().begin(epoch, mark.base);
        }
        appender.first_append.get_or_insert(now);
        appender.since_checkpoint += size;
        if appender.since_checkpoint >= config.checkpoint_bytes {
            self.wants_maintenance.store(true, Ordering::Release);
        }
        let unwritten = appender.writer.take_unwritten().map(|range| (Arc::clone(&file), range));
        appender.note_unsynced(file);
        self.log_end.store(mark.next.get(), Ordering::Release);
        self.mark_dirty(&mut appender);
        drop(appender);
        // Failed since: nobody may answer for this batch any more, and the sync group has told its logs already.
        self.dir.check().map_err(LogError::from)?;
        self.dir.group().appended(size);
        if self.dir.durability() == Durability::Os {
            if let Some((file, range)) = unwritten {
                self.dir.group().write_back(file, range);
            }
            if self.wants_flush() {
                self.dir.group().demand();
            }
            if let Some(observer) = self.observer() {
                observer.durable(self);
            }
        }
        let last_offset = mark.next.previous().unwrap_or(mark.base);
        Ok(Appended { base_offset: mark.base, last_offset, log_append_time, duplicate: false })
    }

    /// Notes that this broker leads the partition in `epoch` from now on: batches of older leaders are refused, and the
    /// epoch begins at the log end.
    ///
    /// # Errors
    /// [`AppendError::Fenced`] if a newer epoch has begun.
    pub fn begin_epoch(&self, epoch: LeaderEpoch) -> Result<(), AppendError> {
        let appender = self.appender.lock();
        check_epoch(&self.epochs.read(), epoch)?;
        self.epochs.write().begin(epoch, appender.writer.end().offset);
        Ok(())
    }

    pub(super) fn mark_dirty(&self, appender: &mut Appender) {
        if !appender.queued
            && let Some(me) = self.me.upgrade()
        {
            appender.queued = true;
            self.dir.group().mark(me);
        }
    }
}

fn check_epoch(epochs: &LeaderEpochs, epoch: LeaderEpoch) -> Result<(), AppendError> {
    match epochs.latest() {
        Some(newest) if epoch < newest => Err(AppendError::Fenced { epoch, newest }),
        _ => Ok(()),
    }
}

/// How long an active segment has been filling, by what is known of it.
pub(super) fn filling_since(appender: &Appender) -> Timestamp {
    appender.first_append.unwrap_or_else(|| appender.writer.segment().created())
}

/// Whether a segment of `bytes` must be sealed before a batch of `next` bytes is appended: it would become too large.
pub(super) fn is_full(bytes: u64, next: u64, segment_bytes: u64) -> bool {
    bytes.saturating_add(next) > segment_bytes
}

/// Whether a segment that has been filling since `since` is sealed for its age.
pub(super) fn is_old(since: Timestamp, now: Timestamp, segment_ms: i64) -> bool {
    now.millis().saturating_sub(since.millis()) >= segment_ms
}

impl Log {
    /// Rolls the dice for a segment that begins.
    pub(super) fn jitter(&self, config: &super::config::LogConfig) -> i64 {
        let most = u64::try_from(config.segment_jitter_ms.min(config.segment_ms)).unwrap_or(0);
        if most == 0 { 0 } else { i64::try_from(self.dir.env().random.below(most)).unwrap_or(0) }
    }

    fn is_due(&self, appender: &Appender, next: u64, now: Timestamp, config: &super::config::LogConfig) -> bool {
        let end = appender.writer.end();
        let empty = end.offset == appender.writer.segment().name().base;
        !empty
            && (is_full(end.position.get(), next, config.segment_bytes)
                || is_old(filling_since(appender), now, config.segment_ms - appender.jitter_ms))
    }
}
