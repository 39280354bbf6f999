//! Opening a log: what the last process left is checked, completed or cut.
//!
//! ```text
//!  names in the directory                    which files there are; newer ones cut older ones (`segment::name`)
//!  checkpoint                                recovery point, producers, epochs, indexes so far
//!  sealed segments: index summaries          believed, since an index is written after its data was synced
//!     without a right one: scanned           and indexed again
//!  newest file: scanned from the point on    producers and epochs follow along
//!                |
//!                v  stops at zeros, at the end of the file, or at a batch that is not whole
//!     below the mark of what was synced:     rot
//!        the tier has all that there was:    the local log is dropped, and begins anew at the tier's end
//!        else                                a damaged range, up to where batches are good again (`good_again`). The tier
//!                                            stands in for it, or readers are refused; the log goes on behind it
//!     above it:                              a torn tail. It is cut, and what is left is synced
//! ```
//!
//! After a clean shutdown the point is the end, and nothing is scanned. What is left ends at or after the tier, or it is
//! dropped: the tier has all of it, and a log with a hole would be none.
//!
//! What is kept above the mark is written again as it is, and synced: the process before may have ended over a failed
//! sync, after which what is read is not on the disk, and no later sync would put it there.
//!
//! For the same reason the names of the files are synced before the log is open, unless nothing had to be scanned.
//!
//! Nothing is mapped before a log is open, so here a file may be cut in place.

use super::appender::Appender;
use super::checkpoint::{Checkpoint, RecoveryPoint};
use super::config::{LogConfig, OpenFrom};
use super::damage::DamagedRange;
use super::dir::{LogDir, is_full};
use super::epochs::LeaderEpochs;
use super::error::{LogError, segment_error};
use super::local_log::{Log, Parts};
use super::producers::Producers;
use super::recovery_scan::{Behind, Follow, Indexes, OpenReport, Recovery, start_of};
use super::scrub_record::ScrubProgress;
use super::survey::{DataFile, Survey, survey};
use crate::offset::{LogStart, Offset, PartitionId};
use crate::segment::scan::Stop;
use crate::segment::{ActiveWriter, Boundary, DataHeader, FileName, HEADER_LEN, SealedSegment, Segment, SegmentName};
use std::io;
use std::sync::{Arc, Weak};

impl Log {
    /// Opens the log of a partition in `dir`, or makes it. Blocks.
    ///
    /// # Errors
    /// [`LogError`]; `Corrupt` concerns this partition alone, and after `NoSpace` it opens once there is room.
    pub fn open(
        dir: &Arc<LogDir>,
        id: PartitionId,
        config: LogConfig,
        from: OpenFrom,
    ) -> Result<(Arc<Log>, OpenReport), LogError> {
        dir.check()?;
        if dir.is_open(id) {
            return Err(LogError::AlreadyOpen(id));
        }
        let opened = Log::recover(dir, id, config, from);
        if opened.is_err() {
            dir.note_unclosed(id);
        }
        match opened {
            Err(LogError::Io(error)) if is_full(&error) => Err(LogError::NoSpace),
            opened => opened,
        }
    }

    fn recover(
        dir: &Arc<LogDir>,
        id: PartitionId,
        config: LogConfig,
        from: OpenFrom,
    ) -> Result<(Arc<Log>, OpenReport), LogError> {
        let mut recovery = Recovery {
            dir,
            id,
            path: dir.path().join(id.to_string()),
            config,
            now: dir.env().wall(),
            mark: dir.synced_mark(id),
            newest_epoch: from.newest_epoch,
            tier_end: from.tier_end,
            producers: Producers::default(),
            epochs: LeaderEpochs::default(),
            sealed: Vec::new(),
            unfinished: Vec::new(),
            files: Vec::new(),
            damage: Vec::new(),
            new_damage: false,
            lost_end: None,
            scrubbed: ScrubProgress::default(),
            report: OpenReport::default(),
        };
        dir.env().disk.create_dir_all(&recovery.path).map_err(LogError::Io)?;
        let found = survey(dir.env().disk.as_ref(), &recovery.path, id).map_err(LogError::Io)?;
        let mut log_start = from.log_start;
        if let Some(checkpoint) = &found.checkpoint {
            log_start = log_start.max(checkpoint.log_start);
        }
        let first = log_start.offset().max(from.tier_end.map_or(Offset::ZERO, |end| end.offset()));
        let writer = recovery.run(found, first)?;
        let log = recovery.assemble(writer, log_start, from)?;
        let member: Weak<Log> = Arc::downgrade(&log.0);
        dir.register(id, member)?;
        Ok(log)
    }

    /// Gives an empty log the producers and epochs of the point that it starts at, from the tier.
    ///
    /// # Errors
    /// [`LogError::Invalid`] if anything was appended already.
    pub fn install_state(&self, producers: Producers, epochs: LeaderEpochs) -> Result<(), LogError> {
        let mut appender = self.appender.lock();
        let start = self.segments.load().start();
        if appender.writer.end().offset != start {
            return Err(LogError::Invalid("the log is not empty"));
        }
        self.unstable.reset(producers.first_open_transaction(), start);
        appender.producers = producers;
        appender.producers.set_limit(self.config().producer_limit);
        appender.snapshots.clear();
        *self.epochs.write() = epochs;
        Ok(())
    }
}

impl Recovery<'_> {
    /// Recovers what was found; `first` is the least offset at which the log may end.
    fn run(&mut self, found: Survey, first: Offset) -> Result<ActiveWriter, LogError> {
        let highest = found.highest_serial.max(self.mark.map_or(0, |mark| mark.serial));
        let highest = highest.max(found.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.point.serial));
        if !found.dead.is_empty() {
            // The names that say so must outlive them.
            let disk = self.dir.env().disk.as_ref();
            disk.sync_dir(&self.path).map_err(|error| self.sync_failed(&error))?;
        }
        for dead in &found.dead {
            self.remove(*dead)?;
        }
        self.lost_end = self.end_of_lost(&found)?;
        let mut files = found.files;
        self.files.clone_from(&files);
        self.damage = found.scrubbed.damage;
        self.scrubbed = found.scrubbed.progress;
        let recovered = match self.recover_files(&mut files, found.checkpoint) {
            // Rot below what was synced: nothing is lost if the tier has all that there was.
            Err(LogError::Corrupt { segment, position, reason, .. }) if self.tier_has_all() => {
                tracing::error!(partition = %self.id, %segment, position, reason, "the local log is rotten; the tier has all of it");
                self.keep_rotten(segment)?;
                self.drop_all(self.files.clone())?;
                self.report.needs_state = first > Offset::ZERO;
                return self.create(first, highest);
            }
            recovered => recovered?,
        };
        // Only now: had one of these held synced records, the others would have had a hole, which is an error.
        for name in &found.headless {
            self.remove(*name)?;
        }
        let end = recovered.as_ref().map(|writer| writer.end().offset).or(self.sealed_end());
        match (recovered, end) {
            (Some(writer), Some(end)) if end >= first => Ok(writer),
            (None, Some(end)) if end >= first => self.create(end, highest),
            _ => {
                self.drop_all(files)?;
                self.report.needs_state = first > Offset::ZERO;
                self.create(first, highest)
            }
        }
    }

    fn sealed_end(&self) -> Option<Offset> {
        self.sealed.last().map(|segment| segment.summary().end)
    }

    /// One past what a newest file held that was synced, by the record of that, and that is not there, or has neither a right
    /// header nor a first batch to tell it from.
    fn end_of_lost(&self, found: &Survey) -> Result<Option<Offset>, LogError> {
        if let Some(name) = found.headless.iter().find(|name| name.is_cleaned()) {
            // A cleaned file has its name only once it is synced, and nothing but its header says where it ends.
            return Err(self.corrupt(*name, 0, "its header is damaged"));
        }
        // A mark at the header alone says nothing of the file: only an append makes a round sync it.
        let Some(mark) = self.mark.filter(|mark| mark.position.get() > HEADER_LEN) else { return Ok(None) };
        let headless = found.headless.iter().find(|name| name.serial == mark.serial).copied();
        if headless.is_none() && found.highest_serial >= mark.serial {
            return Ok(None);
        }
        let name = headless.unwrap_or(SegmentName::appended(Offset::ZERO, mark.serial));
        let reason =
            if headless.is_some() { "its header is damaged" } else { "a data file that was synced is not there" };
        match found.files.last() {
            // Its predecessor ends where the newer one begins: what is missing between is found there.
            Some(last) if last.name.serial > mark.serial => {}
            Some(last) if last.name.base < mark.offset => {}
            None if self.tier_end.is_some_and(|end| mark.offset <= end.offset()) => {}
            _ => return Err(self.corrupt(name, 0, reason)),
        }
        tracing::error!(partition = %self.id, segment = %name, reason, "a segment is rotten");
        if headless.is_some() {
            self.keep_rotten(name)?;
        }
        let is_newest = found.files.last().is_some_and(|last| last.name.serial < mark.serial);
        Ok(is_newest.then_some(mark.offset))
    }

    fn recover_files(
        &mut self,
        files: &mut Vec<DataFile>,
        checkpoint: Option<Checkpoint>,
    ) -> Result<Option<ActiveWriter>, LogError> {
        let Some(last) = files.last().copied() else { return Ok(None) };
        let mut point = None;
        if let Some(checkpoint) = checkpoint
            && covered(files, &checkpoint)
        {
            self.producers = checkpoint.producers;
            self.epochs = checkpoint.epochs;
            point = Some((checkpoint.point, (checkpoint.index, checkpoint.aborted)));
        }
        for index in 0..files.len().saturating_sub(1) {
            let (Some(file), Some(next)) = (files.get(index).copied(), files.get(index + 1).copied()) else { break };
            if !self.recover_sealed(file, next.name.base, behind(file.name, point.as_ref()))? {
                // A hole: what lies behind it was never synced.
                for later in files.drain(index + 1..).rev() {
                    self.report.cut_bytes += later.len;
                    self.remove(later.name)?;
                }
                return Ok(None);
            }
        }
        if let Some(end) = self.lost_end.or(stands_to(&last)) {
            // What was appended to behind it is not there: a new file begins at its end.
            self.recover_sealed(last, end, behind(last.name, point.as_ref()))?;
            return Ok(None);
        }
        let (from, index) = match point {
            Some((point, index)) if point.serial == last.name.serial => (point.at, index),
            _ => (start_of(last.name), Indexes::default()),
        };
        self.recover_newest(last, from, index)
    }

    /// A file that a newer one continues at `end`. Whether it reaches that far.
    fn recover_sealed(&mut self, file: DataFile, end: Offset, behind: Behind) -> Result<bool, LogError> {
        if stands_to(&file).is_some_and(|to| to < end) {
            // It was there, synced, when the run before it was cleaned.
            return Err(self.corrupt(file.name, file.len, "the segment that follows the cleaned one is not there"));
        }
        if let Some(summary) = self.summary(file, end) {
            let segment = Arc::new(SealedSegment::at(self.dir.files(), &self.path, summary));
            if self.follows(&segment, &behind)? {
                self.sealed.push(segment);
                return Ok(true);
            }
        }
        let start = start_of(file.name);
        let mut indexes = Indexes::default();
        let (follow, later) = match behind {
            Behind::Part(from, aborted) => {
                indexes.1 = aborted;
                (Follow { from, epochs: true }, None)
            }
            // What the checkpoint knows of the producers is newer than this file.
            Behind::All => {
                let before = self.producers_before()?;
                (Follow { from: start, epochs: false }, Some(std::mem::replace(&mut self.producers, before)))
            }
        };
        let scanned = self.scan_file(file, start, Some(end), &mut indexes, follow)?;
        let producers = Some(Arc::new(self.producers.clone()));
        if let Some(later) = later {
            self.producers = later;
        }
        if scanned.end.offset > end {
            return Err(self.corrupt(
                file.name,
                scanned.end.position.get(),
                "the next segment starts inside of a batch",
            ));
        }
        let cleaned = file.name.is_cleaned();
        if scanned.end.offset == start.offset && !cleaned {
            // Nothing of it is left: the one before it is the last.
            self.remove(file.name)?;
            return Ok(false);
        }
        let reached = if cleaned { Boundary { offset: end, ..scanned.end } } else { scanned.end };
        let segment = Arc::new(SealedSegment::cut(self.dir.files(), &self.path, file.name, reached, indexes));
        segment.sync().map_err(|error| self.sync_failed(&error))?;
        self.unfinished.push((Arc::clone(&segment), producers));
        self.sealed.push(segment);
        Ok(reached.offset == end)
    }

    fn recover_newest(
        &mut self,
        file: DataFile,
        from: Boundary,
        mut indexes: Indexes,
    ) -> Result<Option<ActiveWriter>, LogError> {
        let header = file.header.ok_or(LogError::Invalid("a data file without header"))?;
        let plan = self.config.file_plan(self.dir.durability());
        let (files, path) = (Arc::clone(self.dir.files()), self.path.clone());
        let resume =
            |end, indexes| ActiveWriter::resume(&files, &path, header, plan, end, indexes).map_err(LogError::Io);
        if self.dir.was_clean() && from.position.get() > HEADER_LEN {
            return resume(from, indexes).map(Some);
        }
        let scanned = self.scan_file(file, from, None, &mut indexes, Follow { from, epochs: true })?;
        if self.is_damaged(file.name) {
            // It ends here: what is appended from now on is in a file without damage.
            let segment = Arc::new(SealedSegment::cut(&files, &path, file.name, scanned.end, indexes));
            segment.sync().map_err(|error| self.sync_failed(&error))?;
            self.unfinished.push((Arc::clone(&segment), Some(Arc::new(self.producers.clone()))));
            self.sealed.push(segment);
            return Ok(None);
        }
        let writer = resume(scanned.end, indexes)?;
        if scanned.end != from || scanned.stop != Stop::EndOfFile || from == start_of(file.name) {
            let open = writer.segment().open().map_err(|error| segment_error(self.id, file.name, error))?;
            open.file().sync_data().map_err(|error| self.sync_failed(&error))?;
        }
        Ok(Some(writer))
    }

    fn create(&mut self, base: Offset, highest_serial: u32) -> Result<ActiveWriter, LogError> {
        let serial = highest_serial.checked_add(1).ok_or(LogError::Invalid("out of segment serials"))?;
        let name = SegmentName::appended(base, serial);
        let header = DataHeader { partition: self.id, name, created: self.now, stands_to: None };
        ActiveWriter::create(self.dir.files(), &self.path, header, self.config.file_plan(self.dir.durability()))
            .map_err(|error| self.dir.write_failed("making a data file", error))
    }

    /// A rotten data file stays under another name, for a person to look at.
    fn keep_rotten(&self, segment: SegmentName) -> Result<(), LogError> {
        let data = self.path.join(FileName::Data(segment).to_string());
        let kept = self.path.join(FileName::Rotten(segment).to_string());
        match self.dir.env().disk.rename(&data, &kept) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(LogError::Io(error)),
            _ => Ok(()),
        }
    }

    fn drop_all(&mut self, files: Vec<DataFile>) -> Result<(), LogError> {
        if !files.is_empty() {
            tracing::info!(partition = %self.id, "dropping a local log that ends before the tier");
        }
        self.sealed.clear();
        self.unfinished.clear();
        self.producers = Producers::default();
        self.epochs = LeaderEpochs::default();
        files.into_iter().try_for_each(|file| self.remove(file.name))
    }

    fn remove(&self, name: SegmentName) -> Result<(), LogError> {
        let data = self.path.join(crate::segment::FileName::Data(name).to_string());
        let index = self.path.join(crate::segment::FileName::Index(name).to_string());
        crate::segment::sealed::remove_segment_files(self.dir.env().disk.as_ref(), &data, &index).map_err(LogError::Io)
    }

    fn sync_failed(&self, error: &io::Error) -> LogError {
        LogError::Failed(self.dir.fail("a sync failed", error))
    }

    fn assemble(
        mut self,
        writer: ActiveWriter,
        log_start: LogStart,
        from: OpenFrom,
    ) -> Result<(Arc<Log>, OpenReport), LogError> {
        self.producers.set_limit(self.config.producer_limit);
        self.producers.expire(self.now, self.config.producer_expiration_ms);
        let mut appender = Appender::new(writer, self.producers);
        let scanned = self.report.scanned_bytes > 0 || !self.unfinished.is_empty();
        if scanned {
            // What was found counts as synced from here on, and whether its files' names were is not known after a crash.
            self.dir.sync_names(&[&self.path, self.dir.path()])?;
        }
        // Those of a log that was just made: its first round makes sure.
        appender.note_new_name(&self.path);
        appender.note_new_name(self.dir.path());
        appender.unfinished = self.unfinished;
        let local =
            self.sealed.first().map_or(appender.writer.segment().name().base, |first| first.summary().name.base);
        let reached = from.tier_end.map_or(log_start.offset(), |end| end.offset().max(log_start.offset()));
        if local > reached {
            self.report.hole = Some((reached, local));
        }
        let active = appender.writer.segment();
        let is_there = |range: &DamagedRange| {
            let sealed = self.sealed.iter().find(|segment| segment.name() == range.segment);
            let end = sealed.map(|segment| segment.end().offset);
            let end = end.or((range.segment == active.name()).then(|| active.end().offset));
            end.is_some_and(|end| range.from.offset < end)
        };
        // What is known of files that were dropped, cut off or cleaned since is of no concern.
        self.damage.retain(is_there);
        let log = Log::assemble(Parts {
            dir: Arc::clone(self.dir),
            id: self.id,
            path: self.path,
            config: self.config,
            appender,
            sealed: self.sealed,
            epochs: self.epochs,
            log_start,
            damage: self.damage,
            scrubbed: self.scrubbed,
        });
        if self.new_damage {
            // Before an index says of the file that all is well with it.
            log.save_scrub_record()?;
        }
        if scanned {
            log.wants_maintenance.store(true, std::sync::atomic::Ordering::Release);
            let mut appender = log.appender.lock();
            log.mark_dirty(&mut appender);
        }
        Ok((log, self.report))
    }
}

/// Of a cleaned file: one past the last offset that it stands for.
fn stands_to(file: &DataFile) -> Option<Offset> {
    file.header.and_then(|header| header.stands_to)
}

/// How much of a file the checkpoint knows of.
fn behind(name: SegmentName, point: Option<&(RecoveryPoint, Indexes)>) -> Behind {
    match point {
        Some((point, _)) if point.serial > name.serial => Behind::All,
        Some((point, (_, aborted))) if point.serial == name.serial => Behind::Part(point.at, aborted.clone()),
        _ => Behind::Part(start_of(name), Vec::new()),
    }
}

/// The checkpoint's point lies in one of these files, and not beyond where the next one cuts it off: of a log that was
/// truncated, and not checkpointed after that, it tells producers and epochs that are gone.
fn covered(files: &[DataFile], checkpoint: &Checkpoint) -> bool {
    let Some(at) = files.iter().position(|file| covers(file, checkpoint)) else { return false };
    files.get(at + 1).is_none_or(|next| checkpoint.point.at.offset <= next.name.base)
}

/// The checkpoint's point lies in this file.
fn covers(file: &DataFile, checkpoint: &Checkpoint) -> bool {
    let point = checkpoint.point;
    file.header.is_some()
        && !file.name.is_cleaned()
        && file.name.serial == point.serial
        && file.name.base <= point.at.offset
        && point.at.position.get() <= file.len
        && point.at.position.get() >= HEADER_LEN
}
