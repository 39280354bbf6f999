//! Looking for rot in segments, and what a log does about it.
//!
//! ```text
//!   scrub_step: some batches read by pread, each checked ----> the whole segment is as it was written
//!         |           `-- Rot: a batch that is not what was appended, or cannot be read
//!         |                  |-- the tier has the segment:  quarantine  it leaves the log, with all before it
//!         |                  `-- the tier has not:          note_rot    a damaged range: the tier stands in for what it has
//!         |                                                             of it, and nobody is given the rest
//!         |-- forget_damage: what was known as damaged, and is read as it was appended now
//!         `-- scrub_beside: its header and its index, made again if they are not as they were written
//!   scrub_checkpoint: the log's, taken again
//! ```
//!
//! Which of the two it is, is for the caller to say, who knows the tier. A segment in quarantine is kept as a file
//! `<name>.rot` for a person to look at, the newest one of a partition only.

use super::checkpoint::Checkpoint;
use super::damage::{DamagedRange, Met};
use super::error::{LogError, segment_error};
use super::local_log::{Log, SegmentList};
use super::scrub_record::{self, ScrubProgress, ScrubRecord};
use crate::env::mutation::{self, Mutation};
use crate::offset::{FilePosition, Offset};
use crate::segment::scan::{Stop, scan};
use crate::segment::{Boundary, FileName, HEADER_LEN, Segment, SegmentName, Spacing};
use crate::segment::{parse_mark, walk::SegmentError};
use esker_protocol::record::{BatchHeader, check_stored};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A batch that is not what was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rot {
    /// The segment.
    pub segment: SegmentName,
    /// Where the batch begins.
    pub at: Boundary,
    /// One past the segment's last offset.
    pub end: Offset,
    /// What is wrong.
    pub reason: &'static str,
}

/// What a step of a scrub came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scrubbed {
    /// All is well up to there.
    Until(Boundary),
    /// All is well to the segment's end.
    Whole,
    /// There is no such segment (any more).
    Gone,
    /// It is rotten.
    Rotten(Rot),
}

impl Log {
    /// Reads about `max_bytes` of a segment, from `from` or else its start, and checks every batch; of the active segment as
    /// far as it is synced. For the maintenance pool.
    ///
    /// # Errors
    /// [`LogError`], if the file cannot be opened or the directory has failed.
    pub fn scrub_step(&self, name: SegmentName, from: Option<Boundary>, max_bytes: u64) -> Result<Scrubbed, LogError> {
        self.dir.check()?;
        // Before the list: what was truncated since is in a segment of another name.
        let synced = self.synced_end().offset();
        let list = self.segments.load_full();
        let Some(segment) = list.named(name) else { return Ok(Scrubbed::Gone) };
        let is_sealed = list.active.name() != name;
        let is_removed = || self.segments.load().named(name).is_none();
        let file = match segment.open() {
            Ok(open) => open,
            Err(_) if is_removed() => return Ok(Scrubbed::Gone),
            Err(error) => return Err(segment_error(self.id, name, error)),
        };
        let end = segment.end();
        let goal = if is_sealed { end.offset } else { end.offset.min(synced) };
        let at = from.unwrap_or(Boundary { offset: name.base, position: FilePosition::new(HEADER_LEN) });
        if at.offset >= goal && !is_sealed {
            return Ok(Scrubbed::Whole);
        }
        let rotten = |at, reason| Ok(Scrubbed::Rotten(Rot { segment: name, at, end: end.offset, reason }));
        // Where to pause; if that cannot be told, something is wrong not far from here.
        let pause = FilePosition::new(at.position.get().saturating_add(max_bytes));
        let pause = segment.boundary_at_position(pause, end).unwrap_or(end);
        let limit = if pause.position > at.position { pause.offset.min(goal) } else { goal };
        let file = file.file();
        let epochs = self.epochs.read().clone();
        let look = || {
            let mut strange = None;
            scan(file.as_ref(), at, Spacing::of(name), Some(limit), (None, None), |mark, _, _| {
                if strange.is_none() && !epochs.may_have(mark.epoch, mark.base, mark.next) {
                    strange = Some(Boundary { offset: mark.base, position: mark.position });
                }
            })
            .map(|scanned| (scanned, strange))
        };
        // A sector that cannot be read is as lost as one that reads differently; an error that has passed at the second
        // look was not the sector's.
        let (scanned, strange) = match look().or_else(|_| look()) {
            Ok(looked) => looked,
            Err(_) => return rotten(at, "it cannot be read"),
        };
        if is_sealed {
            // It was read once, and nobody else may want it soon.
            let _ = file.drop_cache(at.position.get()..scanned.end.position.get());
        }
        if let Some(strange) = strange {
            return rotten(strange, "its leader epoch is not that of its offsets");
        }
        let reached = if is_sealed {
            scanned.end.position == end.position && (name.is_cleaned() || scanned.end.offset == end.offset)
        } else {
            scanned.end.offset >= goal
        };
        if reached {
            return Ok(Scrubbed::Whole);
        }
        match scanned.stop {
            Stop::Limit if scanned.end.position < end.position => Ok(Scrubbed::Until(scanned.end)),
            Stop::Broken(_) if mutation::active(Mutation::RotOverlooked) => Ok(Scrubbed::Whole),
            Stop::Broken(reason) => rotten(scanned.end, reason),
            _ => rotten(scanned.end, "the segment ends before it did when it was sealed"),
        }
    }

    /// Looks at what stands beside a sealed segment's batches, which are good: the header of its file, and its index. What
    /// is not as it was written is made again from them; whether anything was. For the maintenance pool.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn scrub_beside(&self, name: SegmentName) -> Result<bool, LogError> {
        self.dir.check()?;
        let list = self.segments.load_full();
        let Some(segment) = list.sealed.iter().find(|segment| segment.name() == name) else { return Ok(false) };
        let write_failed = |error| match error {
            _ if segment.is_removed() => LogError::Closed,
            SegmentError::Io(error) => self.dir.write_failed("mending what is beside a segment", error),
            broken => segment_error(self.id, name, broken),
        };
        let has_index = segment.has_sound_index();
        // What is removed meanwhile needs no mending, and must not come back.
        let headless = {
            let _one = self.upkeep.lock();
            !segment.is_removed() && segment.mend_header(self.id).map_err(|error| write_failed(error.into()))?
        };
        if !has_index {
            let producers = self.encoded_producers_at(segment.end().offset)?;
            let aborted = self.aborted_in_segment(name)?;
            let _one = self.upkeep.lock();
            if segment.is_removed() {
                return Ok(false);
            }
            segment.mend_index(&aborted, &producers).map_err(write_failed)?;
        }
        if headless || !has_index {
            tracing::warn!(
                partition = %self.id, segment = %name, header = headless, index = !has_index,
                "what is beside a segment's batches was rotten; it is written again"
            );
        }
        Ok(headless || !has_index)
    }

    /// Looks at the log's checkpoint, and takes another if it is not as it was written; whether it was so. For the
    /// maintenance pool.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn scrub_checkpoint(&self) -> Result<bool, LogError> {
        self.dir.check()?;
        if self.is_closed() || self.checkpointed.load(Ordering::Acquire) == 0 {
            return Ok(false);
        }
        let path = self.path.join(FileName::Checkpoint.to_string());
        let read = self.dir.disk().read(&path);
        if read.is_ok_and(|bytes| Checkpoint::decode(&bytes).is_ok()) {
            return Ok(false);
        }
        tracing::warn!(partition = %self.id, "a checkpoint was rotten; another is taken");
        self.checkpoint().map(|()| true)
    }

    /// Checks a whole sealed segment: see [`Log::scrub_step`].
    ///
    /// # Errors
    /// [`LogError::Corrupt`] names the first rotten batch.
    pub fn scrub(&self, name: SegmentName) -> Result<Option<u64>, LogError> {
        match self.scrub_step(name, None, u64::MAX)? {
            Scrubbed::Gone => Ok(None),
            Scrubbed::Rotten(rot) => Err(self.corrupt(&rot)),
            Scrubbed::Until(_) | Scrubbed::Whole => {
                let segments = self.segments();
                let bytes = segments.iter().find(|segment| segment.name == name).map(|segment| segment.bytes);
                Ok(bytes.map(|bytes| bytes.saturating_sub(HEADER_LEN)))
            }
        }
    }

    fn corrupt(&self, rot: &Rot) -> LogError {
        let Rot { segment, at, reason, .. } = *rot;
        LogError::Corrupt { partition: self.id, segment, position: at.position.get(), reason: reason.to_owned() }
    }

    /// Takes note of rot: nobody is given that range from this disk from now on, also after a restart. The range, and the
    /// boundary behind it; `None` if the segment is gone. `in_tier` says whether the tier has what lies between two offsets.
    /// Reads from the disk, and writes.
    pub fn note_rot(
        &self,
        rot: &Rot,
        in_tier: impl FnOnce(Offset, Offset) -> bool,
    ) -> Option<(DamagedRange, Boundary)> {
        let list = self.segments.load_full();
        let segment = list.named(rot.segment)?;
        let behind = behind_rot(&list, &segment, rot.at);
        let to = if mutation::active(Mutation::RotServed) { rot.at.offset } else { behind.offset };
        let range = DamagedRange { segment: rot.segment, from: rot.at, to, passed_over: false };
        if !self.damage.note(range) {
            return Some((range, behind));
        }
        let Rot { segment, at, reason, .. } = *rot;
        let position = at.position.get();
        if in_tier(at.offset, to) {
            tracing::error!(
                partition = %self.id, %segment, position, from = %at.offset, %to, reason,
                "a segment is rotten; the tier has those records"
            );
        } else {
            tracing::error!(
                partition = %self.id, %segment, position, from = %at.offset, %to, reason,
                "records are damaged, and the tier does not have them"
            );
        }
        if let Err(error) = self.save_scrub_record() {
            tracing::warn!(partition = %self.id, %error, "a restart will have to find the rot again");
        }
        Some((range, behind))
    }

    /// How far the scrubs of this log came, in this life or an earlier one.
    pub fn scrub_progress(&self) -> ScrubProgress {
        *self.scrubbed.lock()
    }

    /// Notes how far a scrub came, over restarts. Blocks.
    ///
    /// # Errors
    /// [`LogError`]; a restart does not know of it then.
    pub fn note_scrubbed(&self, progress: ScrubProgress) -> Result<(), LogError> {
        *self.scrubbed.lock() = progress;
        self.save_scrub_record()
    }

    pub(super) fn save_scrub_record(&self) -> Result<(), LogError> {
        self.write_beside_of(FileName::Scrubbed, || {
            scrub_record::encode(&ScrubRecord { progress: self.scrub_progress(), damage: self.damaged() })
        })
    }

    /// Takes note of all rot of a segment, of which the tier has nothing yet. Reads all of it.
    pub fn note_rot_of(&self, name: SegmentName) {
        let mut at = None;
        while let Ok(Scrubbed::Rotten(rot)) = self.scrub_step(name, at, u64::MAX) {
            match self.note_rot(&rot, |_, _| false) {
                Some((_, behind)) if behind.offset < rot.end && behind.position > rot.at.position => at = Some(behind),
                _ => return,
            }
        }
    }

    /// Whether nothing of a segment is known to be damaged.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] if something is.
    pub fn check_undamaged(&self, name: SegmentName) -> Result<(), LogError> {
        match self.damage.ranges().iter().find(|range| range.segment == name) {
            None => Ok(()),
            Some(range) => Err(LogError::Corrupt {
                partition: self.id,
                segment: name,
                position: range.from.position.get(),
                reason: format!("offsets {} to {} are damaged", range.from.offset, range.to),
            }),
        }
    }

    /// The ranges that cannot be read any more.
    pub fn damaged(&self) -> Vec<DamagedRange> {
        self.damage.ranges()
    }

    /// What is known to be damaged in a segment.
    pub fn damage_in(&self, name: SegmentName) -> Vec<Met> {
        self.damage.within(name)
    }

    /// The segments with damage that an earlier life's scrub left and nobody has looked at in this one; only the first
    /// who asks is told.
    pub fn take_remembered_damage(&self) -> Vec<SegmentName> {
        if !self.damage.take_remembered() {
            return Vec::new();
        }
        let damaged = self.damaged();
        let mut segments: Vec<SegmentName> =
            damaged.iter().filter(|range| !range.passed_over).map(|range| range.segment).collect();
        segments.dedup();
        segments
    }

    /// Whoever took them could not look at all of them.
    pub fn remember_damage(&self) {
        self.damage.remember();
    }

    /// Forgets damage that is none (any more): everything in these ranges was read as it had been appended since
    /// [`Log::damage_in`] told of them. Writes.
    pub fn forget_damage(&self, sound: &[Met]) {
        let forgotten = self.damage.forget(sound);
        if forgotten.is_empty() {
            return;
        }
        for DamagedRange { segment, from, to, .. } in &forgotten {
            tracing::warn!(
                partition = %self.id, %segment, position = from.position.get(), from = %from.offset, %to,
                "records that could not be read can be read again"
            );
        }
        if let Err(error) = self.save_scrub_record() {
            tracing::warn!(partition = %self.id, %error, "a restart will look at them once more");
        }
    }

    /// The first of them that somebody comes to who begins at `from`.
    pub fn damage_ahead(&self, from: Offset) -> Option<DamagedRange> {
        self.damage.ahead(from)
    }

    /// Takes a rotten segment out of the log, with all before it: the caller answers for it that the tier has them. Its data
    /// file stays, under another name. Blocks.
    ///
    /// # Errors
    /// As `Log::drop_local_before`.
    pub fn quarantine(&self, rot: &Rot) -> Result<u64, LogError> {
        let list = self.segments.load_full();
        let Some(segment) = list.sealed.iter().find(|segment| segment.name() == rot.segment) else { return Ok(0) };
        self.remove_quarantined();
        segment.condemn();
        tracing::error!(
            partition = %self.id, segment = %rot.segment, position = rot.at.position.get(), offset = %rot.at.offset,
            reason = rot.reason, "a segment is rotten; it is read from the tier from now on"
        );
        self.drop_local_before(rot.end)
    }

    /// One quarantined file is enough to look at.
    fn remove_quarantined(&self) {
        let disk = self.dir.env().disk.as_ref();
        let entries = disk.list(&self.path).unwrap_or_default();
        for entry in entries.iter().filter(|entry| matches!(entry.name.parse(), Ok(FileName::Rotten(_)))) {
            if let Err(error) = disk.remove_file(&self.path.join(&entry.name)) {
                tracing::debug!(partition = %self.id, %error, "an old rotten file stays");
            }
        }
    }
}

/// The first boundary after the rotten batch at `rot` from which on batches may be good again: after that batch, if its header
/// still tells where it ends and the next one follows; else at the next entry of the index with a good batch; else the end.
fn behind_rot(list: &SegmentList, segment: &Arc<dyn Segment>, rot: Boundary) -> Boundary {
    let end = segment.end();
    let read = |position: FilePosition, len: usize| -> Result<Vec<u8>, SegmentError> {
        let mut bytes = vec![0; len];
        segment.open()?.file().read_exact_at(&mut bytes, position.get())?;
        Ok(bytes)
    };
    let head = |position| read(position, BatchHeader::SIZE).ok().and_then(|head| parse_mark(&head, position).ok());
    if let Some((mark, _)) = head(rot.position)
        && Spacing::of(segment.name()).holds(rot.offset, &mark)
    {
        let follows = |next: &crate::segment::BatchMark| Spacing::of(segment.name()).holds(mark.next, next);
        if mark.end() == end.position || head(mark.end()).is_some_and(|(next, _)| follows(&next)) {
            return Boundary { offset: mark.next.min(end.offset), position: mark.end() };
        }
    }
    let sealed = list.sealed.iter().find(|sealed| sealed.name() == segment.name());
    let index = match sealed {
        Some(sealed) => sealed.index().ok(),
        None => Some(Arc::new(list.active.index().1)),
    };
    let Some(index) = index else { return end };
    let good = index.entries().iter().filter(|entry| entry.position > rot.position).find(|entry| {
        let mark = head(entry.position).map(|(mark, _)| mark).filter(|mark| mark.base == entry.offset);
        let fits = mark.filter(|mark| mark.end() <= end.position);
        fits.and_then(|mark| read(entry.position, mark.len as usize).ok())
            .is_some_and(|bytes| check_stored(&bytes).is_ok())
    });
    good.map_or(end, |entry| Boundary { offset: entry.offset, position: entry.position })
}
