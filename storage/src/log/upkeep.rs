//! What a log does beside appending and reading: sealing, checkpoints, closing.
//!
//! Sealing has two halves. Under the append lock the active segment becomes a sealed one and a new file takes its
//! place: an open and a write of 64 bytes. In the background the sealed file is trimmed and synced and its index
//! written, and a checkpoint moves the recovery point to the new file.

use super::append::{filling_since, is_full, is_old};
use super::appender::Appender;
use super::checkpoint::{Checkpoint, RecoveryPoint};
use super::error::{LogError, segment_error};
use super::group_commit::Member;
use super::local_log::{Log, SegmentList};
use super::producers_codec;
use crate::env::{Timestamp, write_atomically};
use crate::offset::LocalStart;
use crate::segment::{ActiveWriter, DataHeader, FileName, Segment, SegmentName};
use parking_lot::MutexGuard;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Log {
    /// Seals the active segment and starts a new one, unless it is empty. Blocks briefly.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn roll(&self, now: Timestamp) -> Result<(), LogError> {
        self.dir.check()?;
        let mut appender = self.appender.lock();
        if self.is_closed() {
            return Err(LogError::Closed);
        }
        self.roll_locked(&mut appender, now)
    }

    /// Seals the active segment if it is full or old enough, and forgets silent producers. For a periodic check: a
    /// partition that is no longer written to seals its last segment too.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn tick(&self, now: Timestamp) -> Result<(), LogError> {
        self.dir.check()?;
        self.remove_dropped(now)?;
        let config = self.config();
        let mut appender = self.appender.lock();
        if self.is_closed() {
            return Err(LogError::Closed);
        }
        appender.producers.set_limit(config.producer_limit);
        appender.producers.expire(now, config.producer_expiration_ms);
        let full = is_full(appender.writer.end().position.get(), 1, config.segment_bytes);
        if full || is_old(filling_since(&appender), now, config.segment_ms - appender.jitter_ms) {
            self.roll_locked(&mut appender, now)?;
        }
        Ok(())
    }

    pub(super) fn roll_locked(&self, appender: &mut Appender, now: Timestamp) -> Result<(), LogError> {
        let end = appender.writer.end().offset;
        let name = appender.writer.segment().name();
        if end == name.base {
            return Ok(());
        }
        let writer = self.create_writer(SegmentName::appended(end, next_serial(appender)?), now)?;
        let new = writer.segment();
        // Its header is not synced, and the round that syncs its name says that it is as long as its header.
        let file = new.open().map_err(|error| segment_error(self.id, new.name(), error))?;
        let producers = appender.remember_snapshot(end);
        let sealed = std::mem::replace(&mut appender.writer, writer).seal();
        appender.unfinished.push((Arc::clone(&sealed), Some(producers)));
        appender.note_unsynced(file);
        appender.note_new_name(&self.path);
        appender.first_append = None;
        appender.jitter_ms = self.jitter(&self.config());
        let list = self.segments.load();
        let mut all = list.sealed.clone();
        all.push(sealed);
        let active = Arc::clone(appender.writer.segment());
        self.segments.store(Arc::new(SegmentList { sealed: all, active }));
        self.wants_maintenance.store(true, Ordering::Release);
        self.mark_dirty(appender);
        Ok(())
    }

    pub(super) fn create_writer(&self, name: SegmentName, now: Timestamp) -> Result<ActiveWriter, LogError> {
        let header = DataHeader { partition: self.id, name, created: now, stands_to: None };
        ActiveWriter::create(self.dir.files(), &self.path, header, self.config().file_plan(self.dir.durability()))
            .map_err(|error| self.dir.write_failed("making a data file", error))
    }

    /// Finishes sealed segments, and takes a checkpoint. The sync group calls it when it is due. Blocks.
    pub fn maintain(&self) {
        if self.is_closed() || self.dir.check().is_err() {
            return;
        }
        let done = self.finish_and_checkpoint();
        if let Err(error) = done {
            tracing::warn!(partition = %self.id, %error, "log maintenance was put off");
        }
    }

    /// Writes the indexes of segments that were sealed since the last call. Blocks.
    ///
    /// # Errors
    /// [`LogError`]; what was not done is done by the next call.
    pub fn finish_sealed(&self) -> Result<(), LogError> {
        let one = self.upkeep.lock();
        self.finish_locked(&one)
    }

    /// Syncs what is there and records it as the point from which a restart need look. Blocks.
    ///
    /// # Errors
    /// [`LogError`]; the checkpoint before stays.
    pub fn checkpoint(&self) -> Result<(), LogError> {
        let one = self.upkeep.lock();
        self.checkpoint_locked(&one)
    }

    fn finish_and_checkpoint(&self) -> Result<(), LogError> {
        let one = self.upkeep.lock();
        self.finish_locked(&one)?;
        self.checkpoint_locked(&one)
    }

    fn finish_locked(&self, _one: &MutexGuard<'_, ()>) -> Result<(), LogError> {
        if self.is_abandoned() {
            return Err(LogError::Closed);
        }
        let unfinished = self.appender.lock().unfinished.clone();
        for (segment, producers) in unfinished {
            let producers = producers.map_or_else(Vec::new, |producers| producers_codec::encode(&producers));
            self.dir.syncing(&self.syncing, || segment.sync())?;
            segment.finish(&producers).map_err(|error| self.dir.write_failed("sealing a segment", error))?;
        }
        self.appender.lock().unfinished.retain(|(segment, _)| segment.is_unfinished() && !segment.is_removed());
        Ok(())
    }

    pub(super) fn checkpoint_locked(&self, _one: &MutexGuard<'_, ()>) -> Result<(), LogError> {
        self.dir.check()?;
        if self.is_abandoned() {
            return Err(LogError::Closed);
        }
        let (checkpoint, active, unfinished) = {
            let mut appender = self.appender.lock();
            let active = Arc::clone(appender.writer.segment());
            let end = appender.writer.end();
            appender.since_checkpoint = 0;
            let producers = appender.remember_snapshot(end.offset);
            let ((_, index), aborted) = (active.index(), active.aborted());
            let point = RecoveryPoint { serial: active.name().serial, at: end };
            let epochs = self.epochs.read().clone();
            let checkpoint = Checkpoint {
                log_start: self.log_start(),
                local_start: LocalStart::at(self.segments.load().start()),
                point,
                epochs,
                index,
                aborted,
                producers: (*producers).clone(),
            };
            (checkpoint, active, appender.unfinished.clone())
        };
        // A round may have taken these from the lists of what is unsynced and be at it still: that is no promise yet.
        for (segment, _) in unfinished {
            self.dir.syncing(&self.syncing, || segment.sync())?;
        }
        let file = active.open().map_err(|error| segment_error(self.id, active.name(), error))?;
        self.dir.syncing(&self.syncing, || file.file().sync_data())?;
        self.dir.sync_names(&[&self.path, self.dir.path()])?;
        let disk = self.dir.env().disk.as_ref();
        let path = self.path.join(FileName::Checkpoint.to_string());
        write_atomically(disk, &path, &checkpoint.encode())
            .map_err(|error| self.dir.write_failed("writing a checkpoint", error))?;
        self.log_start_saved.fetch_max(checkpoint.log_start.offset().get(), Ordering::AcqRel);
        self.checkpointed.store(checkpoint.point.serial, Ordering::Release);
        Ok(())
    }

    /// Ends appending and takes a last checkpoint, so that the next start scans nothing. Blocks.
    ///
    /// # Errors
    /// [`LogError`]; the next start scans what lies beyond the checkpoint before.
    pub fn close(&self) -> Result<(), LogError> {
        {
            let _appender = self.appender.lock();
            if self.closed.swap(true, Ordering::AcqRel) {
                return Ok(());
            }
        }
        self.finish_and_checkpoint()
    }

    /// Ends appending and upkeep, for a partition whose files are about to go: from here on it is no failure that they
    /// are not there.
    pub(super) fn give_up(&self) {
        let _upkeep = self.upkeep.lock();
        let _appender = self.appender.lock();
        self.abandoned.store(true, Ordering::Release);
        self.closed.store(true, Ordering::Release);
    }
}

/// The serial of the next data file; it counts as used from here on.
///
/// # Errors
/// [`LogError::Invalid`] after four thousand million files.
pub(super) fn next_serial(appender: &mut Appender) -> Result<u32, LogError> {
    appender.last_serial = appender.last_serial.checked_add(1).ok_or(LogError::Invalid("out of segment serials"))?;
    Ok(appender.last_serial)
}
