//! Taking records away: at the start when they are in the tier or too old, at the end when they diverged.
//!
//! At the start only whole segments go: their files are removed, and slices that were given out stay valid, since they
//! keep the mapping. What remains before the log start in the first segment is refused by offset.
//!
//! At the end nothing that may be mapped is ever cut. A new file that starts at the new end **is** the record that
//! everything at or beyond it in older files is gone (`segment::name`); once its name is durable, the older files
//! that lie beyond go. The part of a segment below the cut becomes a sealed segment of its own.

use super::appender::Appender;
use super::error::{LogError, segment_error};
use super::local_log::{Log, SegmentList};
use super::upkeep::next_serial;
use crate::env::Timestamp;
use crate::env::mutation::{self, Mutation};
use crate::offset::{LogEnd, LogStart, Offset};
use crate::segment::{Boundary, SealedSegment, Segment, SegmentName, SparseIndex};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Log {
    /// Moves the log start forward, durably; never back, and never beyond the log end. When this returns, a log start at
    /// or beyond `to` survives a crash, whoever moved it there. Blocks.
    ///
    /// # Errors
    /// [`LogError::Invalid`] beyond the log end; otherwise what writing the checkpoint answers: the log start has moved
    /// then, and a crash may move it back.
    pub fn advance_log_start(&self, to: LogStart) -> Result<(), LogError> {
        self.dir.check()?;
        if to.offset() > self.log_end().offset() {
            return Err(LogError::Invalid("the log start cannot lie beyond the log end"));
        }
        if self.log_start.fetch_max(to.offset().get(), Ordering::AcqRel) < to.offset().get() {
            self.epochs.write().truncate_start(to.offset());
        }
        if mutation::active(Mutation::LogStartNotSaved) {
            return Ok(());
        }
        let one = self.upkeep.lock();
        // Another may have moved it this far, and its checkpoint be under way or have failed.
        if self.log_start_saved.load(Ordering::Acquire) >= to.offset().get() {
            return Ok(());
        }
        self.checkpoint_locked(&one)
    }

    /// Removes the sealed segments that end at or before `offset`, and returns how many bytes that freed. The caller
    /// answers for it that nobody needs them from here: that the tier has them, or that they lie before the log start.
    /// Blocks.
    ///
    /// # Errors
    /// [`LogError`]; the segments that were not removed are gone from the log all the same, and a restart that finds
    /// their files has them back.
    pub fn drop_local_before(&self, offset: Offset) -> Result<u64, LogError> {
        self.dir.check()?;
        let one = self.upkeep.lock();
        let dropped = {
            // The append lock is what orders changes of the list.
            let mut appender = self.appender.lock();
            let list = self.segments.load();
            let keep = list.sealed.partition_point(|segment| segment.summary().end <= offset);
            let (dropped, kept) = list.sealed.split_at_checked(keep).unwrap_or_default();
            if dropped.is_empty() {
                return Ok(0);
            }
            let dropped = dropped.to_vec();
            appender.unfinished.retain(|(segment, _)| segment.summary().end > offset);
            self.segments.store(Arc::new(SegmentList { sealed: kept.to_vec(), active: Arc::clone(&list.active) }));
            dropped
        };
        self.damage.forget_before(self.local_start().offset());
        // The names may vanish in any order if the power goes now: the checkpoint says that none of them counts. On a full
        // disk there may be no room for it, and never will be if nothing goes; then the order is made sure of instead.
        let recorded = self.checkpoint_locked(&one);
        let freed = dropped.iter().map(|segment| segment.summary().data_end.get()).sum();
        let now = self.dir.env().wall();
        self.dropped.lock().extend(dropped.into_iter().map(|segment| (now, segment)));
        if matches!(recorded, Err(LogError::NoSpace)) {
            self.remove_one_by_one()?;
            self.checkpoint_locked(&one)?;
        }
        match recorded {
            Err(LogError::NoSpace) => {}
            recorded => recorded?,
        }
        self.remove_dropped(now)?;
        Ok(freed)
    }

    /// Removes the files of segments that were dropped `file.delete.delay.ms` ago. Those that a crash or an end of the
    /// process leaves go at the next start. Blocks.
    pub(super) fn remove_dropped(&self, now: Timestamp) -> Result<(), LogError> {
        // Whoever waits for room waits for nothing else.
        let delay = if self.dir.room().refusing { 0 } else { self.config().file_delete_delay_ms };
        let mut dropped = self.dropped.lock();
        while let Some((since, segment)) = dropped.front()
            && now.millis().saturating_sub(since.millis()) >= delay
        {
            segment.remove().map_err(|error| self.dir.write_failed("removing a segment", error))?;
            dropped.pop_front();
        }
        Ok(())
    }

    /// Removes the files of all dropped segments, each before the next.
    fn remove_one_by_one(&self) -> Result<(), LogError> {
        let mut dropped = self.dropped.lock();
        while let Some((_, segment)) = dropped.front() {
            segment.remove().map_err(|error| self.dir.write_failed("removing a segment", error))?;
            self.dir.sync_names(&[&self.path])?;
            dropped.pop_front();
        }
        Ok(())
    }

    /// Cuts off everything from `to` on, durably: what a replica does whose tail diverged from its leader's. `to` is
    /// rounded down to the start of the batch that holds it; the new log end is returned. Blocks, and keeps appends
    /// waiting.
    ///
    /// # Errors
    /// [`LogError::Invalid`] below the local start, or what the disk answers.
    pub fn truncate_to(&self, to: LogEnd, now: Timestamp) -> Result<LogEnd, LogError> {
        self.dir.check()?;
        if to.offset() < self.local_start().offset() {
            return Err(LogError::Invalid("cannot truncate below the local start"));
        }
        let one = self.upkeep.lock();
        let cut = {
            let mut appender = self.appender.lock();
            if self.is_closed() {
                return Err(LogError::Closed);
            }
            if to >= self.log_end() {
                return Ok(self.log_end());
            }
            self.truncate_locked(&mut appender, to.offset(), now)?
        };
        self.checkpoint_locked(&one)?;
        Ok(LogEnd::at(cut))
    }

    fn truncate_locked(&self, appender: &mut Appender, to: Offset, now: Timestamp) -> Result<Offset, LogError> {
        let list = self.segments.load_full();
        let Some(segment) = list.holding(to) else { return Err(LogError::Invalid("no segment holds the offset")) };
        let error = |error| segment_error(self.id, segment.name(), error);
        let at = segment.boundary_at_offset(to, segment.end()).map_err(error)?;
        // A cleaned segment may have nothing there, and the next batch only beyond.
        let at = Boundary { offset: at.offset.min(to), ..at };
        if at.offset < self.local_start().offset() {
            return Err(LogError::Invalid("the cut lies in the batch of the log start: nothing would be left"));
        }
        let producers = self.producers_at(appender, &list, at.offset)?;
        let index = index_up_to(segment.as_ref(), at).map_err(error)?;
        let mut aborted = self.aborted_of(&list, segment.name())?;
        aborted.retain(|entry| entry.last < at.offset);
        let serial = next_serial(appender)?;
        let writer = self.create_writer(SegmentName::appended(at.offset, serial), now)?;
        // The record of the cut must survive before anything relies on it.
        let open = writer.segment().open().map_err(error)?;
        self.dir.syncing(&self.syncing, || open.file().sync_data())?;
        self.dir.sync_names(&[&self.path])?;
        let below = list.sealed.partition_point(|sealed| sealed.summary().end <= at.offset);
        let (kept, gone) = list.sealed.split_at_checked(below).unwrap_or_default();
        let mut sealed = kept.to_vec();
        let whole_segment_gone = at.offset == segment.name().base;
        let dead = gone.iter().filter(|gone| whole_segment_gone || gone.summary().name != segment.name());
        let dead: Vec<_> = dead.cloned().collect();
        appender.unfinished.retain(|(segment, _)| segment.summary().end <= at.offset);
        let producers = Arc::new(producers);
        if !whole_segment_gone && !sealed.iter().any(|sealed| sealed.summary().name == segment.name()) {
            let part = SealedSegment::cut(self.dir.files(), &self.path, segment.name(), at, (index, aborted));
            let part = Arc::new(part);
            appender.unfinished.push((Arc::clone(&part), Some(Arc::clone(&producers))));
            sealed.push(part);
        }
        appender.producers = (*producers).clone();
        appender.snapshots.retain(|(offset, _)| *offset <= at.offset);
        appender.writer = writer;
        appender.first_append = None;
        self.epochs.write().truncate_end(at.offset);
        self.unstable.reset(appender.producers.first_open_transaction(), at.offset);
        self.damage.forget_from(at.offset);
        {
            let mut truncations = self.truncations.lock();
            *truncations += 1;
            self.synced_end.fetch_min(at.offset.get(), Ordering::AcqRel);
            self.log_end.store(at.offset.get(), Ordering::Release);
        }
        let active = Arc::clone(appender.writer.segment());
        self.segments.store(Arc::new(SegmentList { sealed, active }));
        self.mark_dirty(appender);
        // Their names are superseded already: a file that stays is removed by the next start.
        if whole_segment_gone && segment.name() == list.active.name() {
            list.active.remove().map_err(|error| self.dir.write_failed("removing a segment", error))?;
        }
        for segment in dead {
            segment.remove().map_err(|error| self.dir.write_failed("removing a segment", error))?;
        }
        Ok(at.offset)
    }
}

/// The index of a segment's batches before `end`.
fn index_up_to(segment: &dyn Segment, end: Boundary) -> Result<SparseIndex, crate::segment::SegmentError> {
    let mut index = SparseIndex::default();
    let start = crate::offset::FilePosition::new(crate::segment::HEADER_LEN);
    let mut walk = segment.walk(start, end)?;
    while let Some(mark) = walk.next_mark()? {
        index.push(&mark);
    }
    Ok(index)
}
