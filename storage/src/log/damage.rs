//! What rot has taken of a log, as far as that is known: ranges that nobody may be given.
//!
//! A **damaged range** lies in one segment, from the start of the first batch that is not what was appended up to
//! where batches are good again. Readers are given what lies before it and after it, and an error within: see
//! [`Damage::ahead`]. The list survives a restart (`scrub_record`); were that lost, a scrub, or whoever stumbles over the rot,
//! would find it again. What the tier has of such a range is read from there.
//!
//! A disk that could not read a sector once may read it the next time, so what a scrub found is not for good: each
//! looks at the whole segment, and what it finds as it was appended is **forgotten** here. What an earlier life left is
//! looked at soon after the start. What a recovery **passed over** stays: the segment's index, the producers and the epochs
//! were made without it, and some of what rots (a leader epoch) can only be told by a recovery.

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
    /// Whether a recovery made index, producers and epochs without them.
    pub passed_over: bool,
}

impl DamagedRange {
    /// Whether another range of the same segment lies within this one.
    pub(super) fn covers(&self, other: &DamagedRange) -> bool {
        self.segment == other.segment && self.from.offset <= other.from.offset && other.to <= self.to
    }
}

/// A damaged range, and how often its rot was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Met {
    /// The range.
    pub range: DamagedRange,
    /// How often somebody came upon rot within it.
    pub times: u64,
}

/// The damaged ranges of a log.
#[derive(Debug, Default)]
pub(super) struct Damage {
    any: AtomicBool,
    /// Whether there are ranges that an earlier life's scrub found, and that nobody has looked at in this one.
    remembered: AtomicBool,
    ranges: Mutex<Vec<Met>>,
}

impl Damage {
    /// What is known at the start.
    pub(super) fn of(mut ranges: Vec<DamagedRange>) -> Damage {
        ranges.sort_by_key(|range| range.from.offset);
        let any = !ranges.is_empty();
        let remembered = ranges.iter().any(|range| !range.passed_over);
        Damage {
            any: AtomicBool::new(any),
            remembered: AtomicBool::new(remembered),
            ranges: Mutex::new(ranges.into_iter().map(|range| Met { range, times: 1 }).collect()),
        }
    }

    /// Whether there is damage to be looked at that nobody has asked about since the start.
    pub(super) fn take_remembered(&self) -> bool {
        self.remembered.swap(false, Ordering::AcqRel)
    }

    /// Somebody who asked could not look.
    pub(super) fn remember(&self) {
        self.remembered.store(true, Ordering::Release);
    }

    /// Takes note of a range; whether it is news.
    pub(super) fn note(&self, range: DamagedRange) -> bool {
        let mut ranges = self.ranges.lock();
        if let Some(known) = ranges.iter_mut().find(|known| known.range.covers(&range)) {
            known.times += 1;
            return false;
        }
        ranges.push(Met { range, times: 1 });
        ranges.sort_by_key(|known| known.range.from.offset);
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

    /// Forgets these ranges, which were read as they had been appended, but those that a recovery passed over, and those in
    /// which anybody has met rot meanwhile. The ones that are forgotten.
    pub(super) fn forget(&self, sound: &[Met]) -> Vec<DamagedRange> {
        let mut ranges = self.ranges.lock();
        let is_over = |known: &mut Met| !known.range.passed_over && sound.contains(known);
        let forgotten = ranges.extract_if(.., is_over).map(|known| known.range).collect();
        self.any.store(!ranges.is_empty(), Ordering::Release);
        forgotten
    }

    fn retain(&self, keep: impl Fn(&DamagedRange) -> bool) {
        if !self.any.load(Ordering::Acquire) {
            return;
        }
        let mut ranges = self.ranges.lock();
        ranges.retain(|known| keep(&known.range));
        self.any.store(!ranges.is_empty(), Ordering::Release);
    }

    /// The first damaged range that a reader comes to who begins at `from`.
    pub(super) fn ahead(&self, from: Offset) -> Option<DamagedRange> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        self.ranges.lock().iter().map(|known| known.range).find(|range| range.to > from)
    }

    pub(super) fn ranges(&self) -> Vec<DamagedRange> {
        self.ranges.lock().iter().map(|known| known.range).collect()
    }

    /// The ranges in one segment.
    pub(super) fn within(&self, segment: SegmentName) -> Vec<Met> {
        self.ranges.lock().iter().filter(|known| known.range.segment == segment).copied().collect()
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
            passed_over: false,
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
        let segment = range(3, 5).segment;
        let [first, second] = damage.within(segment)[..] else { panic!("{damage:?}") };
        let other = Met { range: range(21, 24), times: 1 };
        assert_eq!(damage.forget(&[first, other]), [range(3, 5)]);
        assert_eq!((damage.forget(&[first]), damage.ranges()), (vec![], vec![range(20, 25)]));
        assert!(!damage.note(range(21, 24)), "it is known");
        assert_eq!(damage.forget(&[second]), [], "it was met since");
        assert_eq!(damage.forget(&damage.within(segment)), [range(20, 25)]);
    }

    #[test]
    fn what_a_recovery_passed_over_is_never_forgotten() {
        let range = DamagedRange {
            segment: SegmentName::appended(Offset::ZERO, 1),
            from: Boundary { offset: Offset::ZERO, position: FilePosition::new(64) },
            to: Offset::new(2),
            passed_over: true,
        };
        let damage = Damage::of(vec![range]);
        assert!(!damage.take_remembered(), "there is nothing to be looked at");
        assert_eq!((damage.forget(&damage.within(range.segment)), damage.ranges()), (vec![], vec![range]));
    }
}
