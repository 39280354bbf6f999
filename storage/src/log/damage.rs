//! What rot has taken of a log, as far as that is known: ranges that nobody may be given.
//!
//! A **damaged range** lies in one segment, from the start of the first batch that is not what was appended up to
//! where batches are good again. Readers are given what lies before it and after it, and an error within: see
//! [`Damage::ahead`]. The list survives a restart (`scrub_record`); were that lost, a scrub, or whoever stumbles over the rot,
//! would find it again. What the tier has of such a range is read from there.

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
    ranges: Mutex<Vec<DamagedRange>>,
}

impl Damage {
    /// What is known at the start.
    pub(super) fn of(mut ranges: Vec<DamagedRange>) -> Damage {
        ranges.sort_by_key(|range| range.from.offset);
        Damage { any: AtomicBool::new(!ranges.is_empty()), ranges: Mutex::new(ranges) }
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
        if self.any.load(Ordering::Acquire) {
            let mut ranges = self.ranges.lock();
            ranges.retain(|range| range.to > local_start);
            self.any.store(!ranges.is_empty(), Ordering::Release);
        }
    }

    /// Forgets what lies at or beyond `end`: it was cut off.
    pub(super) fn forget_from(&self, end: Offset) {
        if self.any.load(Ordering::Acquire) {
            let mut ranges = self.ranges.lock();
            ranges.retain(|range| range.from.offset < end);
            self.any.store(!ranges.is_empty(), Ordering::Release);
        }
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
    }
}
