//! Looking for rot in sealed segments, and what a log does about it.
//!
//! ```text
//!   scrub_step: some batches read by pread, each checked ----> the whole segment is as it was sealed
//!                     `-- Rot: a batch that is not what was appended, or cannot be read
//!                            |-- the tier has the segment:  quarantine  it leaves the log, with all before it
//!                            `-- the tier has not:          note_rot    a damaged range: nobody is given it
//! ```
//!
//! Which of the two it is, is for the caller to say, who knows the tier. A segment in quarantine is kept as a file
//! `<name>.rot` for a person to look at, the newest one of a partition only.

use super::damage::DamagedRange;
use super::error::{LogError, segment_error};
use super::local_log::Log;
use crate::env::mutation::{self, Mutation};
use crate::offset::{FilePosition, Offset};
use crate::segment::scan::{Stop, scan};
use crate::segment::{Boundary, FileName, HEADER_LEN, SealedSegment, Segment, SegmentName, Spacing};
use crate::segment::{parse_mark, walk::SegmentError};
use esker_protocol::record::{BatchHeader, check_stored};
use std::sync::Arc;

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
    /// There is no such sealed segment (any more).
    Gone,
    /// It is rotten.
    Rotten(Rot),
}

impl Log {
    /// Reads about `max_bytes` of a sealed segment, from `from` or else its start, and checks every batch. For the
    /// maintenance pool.
    ///
    /// # Errors
    /// [`LogError`], if the file cannot be opened or the directory has failed.
    pub fn scrub_step(&self, name: SegmentName, from: Option<Boundary>, max_bytes: u64) -> Result<Scrubbed, LogError> {
        self.dir.check()?;
        let list = self.segments.load_full();
        let Some(segment) = list.sealed.iter().find(|segment| segment.name() == name) else {
            return Ok(Scrubbed::Gone);
        };
        let file = match segment.open() {
            Ok(open) => open,
            Err(_) if segment.is_removed() => return Ok(Scrubbed::Gone),
            Err(error) => return Err(segment_error(self.id, name, error)),
        };
        let end = segment.end();
        let at = from.unwrap_or(Boundary { offset: name.base, position: FilePosition::new(HEADER_LEN) });
        let rotten = |at, reason| Ok(Scrubbed::Rotten(Rot { segment: name, at, end: end.offset, reason }));
        // Where to pause; if that cannot be told, something is wrong not far from here.
        let pause = FilePosition::new(at.position.get().saturating_add(max_bytes));
        let pause = (&**segment as &dyn Segment).boundary_at_position(pause, end).unwrap_or(end);
        let limit = if pause.position > at.position { pause.offset } else { end.offset };
        let file = file.file();
        let scanned = match scan(file.as_ref(), at, Spacing::of(name), Some(limit), (None, None), |_, _, _| {}) {
            Ok(scanned) => scanned,
            // A sector that cannot be read is as lost as one that reads differently.
            Err(_) => return rotten(at, "it cannot be read"),
        };
        // It was read once, and nobody else may want it soon.
        let _ = file.drop_cache(at.position.get()..scanned.end.position.get());
        if scanned.end.position == end.position && (name.is_cleaned() || scanned.end.offset == end.offset) {
            return Ok(Scrubbed::Whole);
        }
        match scanned.stop {
            Stop::Limit if scanned.end.position < end.position => Ok(Scrubbed::Until(scanned.end)),
            Stop::Broken(_) if mutation::active(Mutation::RotOverlooked) => Ok(Scrubbed::Whole),
            Stop::Broken(reason) => rotten(scanned.end, reason),
            _ => rotten(scanned.end, "the segment ends before it did when it was sealed"),
        }
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

    /// Takes note of rot that the tier cannot make up for: nobody is given that range from now on. The range; `None` if
    /// the segment is gone. Reads from the disk.
    pub fn note_rot(&self, rot: &Rot) -> Option<DamagedRange> {
        let list = self.segments.load_full();
        let segment = list.sealed.iter().find(|segment| segment.name() == rot.segment)?;
        let to = if mutation::active(Mutation::RotServed) { rot.at.offset } else { good_again(segment, rot.at) };
        let range = DamagedRange { segment: rot.segment, from: rot.at, to };
        if self.damage.note(range) {
            tracing::error!(
                partition = %self.id, segment = %rot.segment, position = rot.at.position.get(), from = %rot.at.offset,
                to = %to, reason = rot.reason, "records are damaged, and the tier does not have them"
            );
        }
        Some(range)
    }

    /// The ranges that cannot be read any more.
    pub fn damaged(&self) -> Vec<DamagedRange> {
        self.damage.ranges()
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

/// The first offset after the rotten batch at `rot` from which on batches may be good again: after that batch, if its header
/// still tells where it ends and the next one follows; else at the next entry of the index with a good batch; else the end.
fn good_again(segment: &Arc<SealedSegment>, rot: Boundary) -> Offset {
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
            return mark.next.min(end.offset);
        }
    }
    let Ok(index) = segment.index() else { return end.offset };
    let good = index.entries().iter().filter(|entry| entry.position > rot.position).find(|entry| {
        let mark = head(entry.position).map(|(mark, _)| mark).filter(|mark| mark.base == entry.offset);
        let fits = mark.filter(|mark| mark.end() <= end.position);
        fits.and_then(|mark| read(entry.position, mark.len as usize).ok())
            .is_some_and(|bytes| check_stored(&bytes).is_ok())
    });
    good.map_or(end.offset, |entry| entry.offset)
}
