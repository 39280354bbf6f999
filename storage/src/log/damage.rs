//! What rot has taken of a log, as far as that is known: ranges that nobody may be given.
//!
//! A **damaged range** lies in one segment, from the start of the first batch that is not what was appended up to
//! where batches are good again. Readers are given what lies before it and after it, and an error within: see
//! [`Damage::ahead`]. The list survives a restart (`scrub_record`); were that lost, a scrub, or whoever stumbles over the rot,
//! would find it again. What the tier has of such a range is read from there.
//!
//! A disk that could not read a sector once may read it the next time, so nothing here is for good: each scrub looks at
//! the whole segment, and what it finds as it was appended is **forgotten** here. What an earlier life left is
//! looked at soon after the start.

use crate::offset::Offset;
use crate::segment::{Boundary, SegmentName};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Records that cannot be read any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DamagedRange {
    /// The segment that they are in.
    pub segment: SegmentName,
    /// Where they begin.
    pub from: Boundary,
    /// One past the last of them.
    pub to: Offset,
}

/// The damaged ranges of a log.
#[derive(Debug, Default)]
pub(super) struct Damage {
    any: AtomicBool,
    /// Whether there are ranges of an earlier life that nobody has looked at in this one.
    remembered: AtomicBool,
    ranges: Mutex<Vec<DamagedRange>>,
}

impl Damage {
    /// What is known at the start.
    pub(super) fn of(mut ranges: Vec<DamagedRange>) -> Damage {
        ranges.sort_by_key(|range| range.from.offset);
        let any = !ranges.is_empty();
        Damage { any: AtomicBool::new(any), remembered: AtomicBool::new(any), ranges: Mutex::new(ranges) }
    }

    /// Whether there is damage that was known at the start and that nobody has asked about since.
    pub(super) fn take_remembered(&self) -> bool {
        self.remembered.swap(false, Ordering::AcqRel)
    }

    /// Takes note of a range; whether it is news.
    pub(super) fn note(&self, range: DamagedRange) -> bool {
        let mut ranges = self.ranges.lock();
        if ranges.iter().any(|known| known.from.offset <= range.from.offset && range.to <= known.to) {
            return false;
        }
        ranges.push(range);
        ranges.sort_by_key(|range| range.from.offset);
        self.any.store(true, Ordering::Release);
        true
    }

    /// Forgets what lies below the local start: it is gone from this disk.
    pub(super) fn forget_before(&self, local_start: Offset) {
        self.retain(|range| range.to > local_start);
    }

    /// Forgets what lies at or beyond `end`: it was cut off.
    pub(super) fn forget_from(&self, end: Offset) {
        self.retain(|range| range.from.offset < end);
    }

    /// Forgets these ranges: they were read as they had been appended. Whether any of them was known.
    pub(super) fn forget(&self, sound: &[DamagedRange]) -> bool {
        self.retain(|range| !sound.contains(range))
    }

    /// Whether anything was forgotten.
    fn retain(&self, keep: impl Fn(&DamagedRange) -> bool) -> bool {
        if !self.any.load(Ordering::Acquire) {
            return false;
        }
        let mut ranges = self.ranges.lock();
        let before = ranges.len();
        ranges.retain(keep);
        self.any.store(!ranges.is_empty(), Ordering::Release);
        ranges.len() < before
    }

    /// The first damaged range that a reader comes to who begins at `from`.
    pub(super) fn ahead(&self, from: Offset) -> Option<DamagedRange> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        self.ranges.lock().iter().find(|range| range.to > from).copied()
    }

    pub(super) fn ranges(&self) -> Vec<DamagedRange> {
        self.ranges.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offset::FilePosition;

    #[test]
    fn ranges_are_met_in_order_and_forgotten_with_what_they_were_in() {
        let range = |from, to| DamagedRange {
            segment: SegmentName::appended(Offset::ZERO, 1),
            from: Boundary { offset: Offset::new(from), position: FilePosition::new(from * 10) },
            to: Offset::new(to),
        };
        let damage = Damage::default();
        assert_eq!(damage.ahead(Offset::ZERO), None);
        assert!(damage.note(range(20, 25)) && damage.note(range(3, 5)));
        assert!(!damage.note(range(20, 25)) && !damage.note(range(21, 24)));
        let ahead = |from| damage.ahead(Offset::new(from)).map(|range| range.from.offset.get());
        assert_eq!([ahead(0), ahead(4), ahead(5), ahead(24), ahead(25)], [Some(3), Some(3), Some(20), Some(20), None]);
        damage.forget_before(Offset::new(5));
        assert_eq!(ahead(0), Some(20));
        damage.forget_from(Offset::new(20));
        assert_eq!((ahead(0), damage.ranges().len()), (None, 0));
        let damage = Damage::of(vec![range(20, 25), range(3, 5)]);
        assert!(damage.take_remembered() && !damage.take_remembered(), "it is to be looked at once");
        assert!(damage.forget(&[range(3, 5), range(21, 24)]) && !damage.forget(&[range(3, 5)]));
        assert_eq!(damage.ranges(), [range(20, 25)]);
    }
}
