//! A tier unit: what of a partition is where in which object.
//!
//! A *unit* is a range of one partition's log, cut at batch boundaries. Its bytes are five *sections* of an object:
//! the batches, their index, and the state that a replica needs which starts after the unit: producers, leader epochs
//! and aborted transactions. A [`UnitMeta`] is what the tier log, a page and the object's footer all say of it.

use crate::env::Timestamp;
use crate::offset::{LeaderEpoch, Offset, PartitionId};
pub use crate::segment::AbortedTransaction;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// How often a partition's units were replaced by rewrites, or a rewrite was ruled out: what a rewrite is made of, and
/// what must still be so when it is committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(u64);

impl Revision {
    /// The revision after `n` changes.
    pub const fn new(n: u64) -> Revision {
        Revision(n)
    }

    /// The number itself.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The revision after this one.
    #[must_use]
    pub const fn next(self) -> Revision {
        Revision(self.0.saturating_add(1))
    }

    /// Whether it is that of a manifest whose units were never replaced.
    pub const fn is_first(&self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A checksummed range of an object's bytes, written as `[position, length, crc]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section(u64, u64, u32);

impl Section {
    /// The section of `len` bytes at `position` whose CRC-32 (IEEE) is `crc`.
    pub const fn new(position: u64, len: u64, crc: u32) -> Section {
        Section(position, len, crc)
    }

    /// Where it starts in the object.
    pub const fn position(self) -> u64 {
        self.0
    }

    /// Its bytes.
    pub const fn len(self) -> u64 {
        self.1
    }

    /// Whether it has no bytes.
    pub const fn is_empty(self) -> bool {
        self.1 == 0
    }

    /// Its CRC-32 (IEEE).
    pub const fn crc(self) -> u32 {
        self.2
    }

    /// Its range of the object.
    pub const fn range(self) -> Range<u64> {
        self.0..self.0.saturating_add(self.1)
    }
}

/// Everything about a unit but its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitMeta {
    /// Whose records it holds.
    pub partition: PartitionId,
    /// The first offset that it covers; its first batch may begin before, if records were deleted up to here.
    pub start: Offset,
    /// One past the last offset that it covers.
    pub end: Offset,
    /// The epoch of the leader that wrote it: the fence.
    pub leader_epoch: LeaderEpoch,
    /// The epoch in which its last batch was appended.
    pub last_epoch: LeaderEpoch,
    /// For a rewrite, the revision of the manifest that it was made of; `None` for what was uploaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// For what was uploaded, how often its partition had left the tier before: it counts in that stay alone. 0 for a
    /// rewrite, of which its revision tells as much.
    #[serde(default, skip_serializing_if = "is_first_stay")]
    pub stay: u32,
    /// The latest timestamp of its records; `None` if none has one.
    pub max_timestamp: Option<Timestamp>,
    /// The object.
    pub key: Arc<str>,
    /// The batches, verbatim.
    pub data: Section,
    /// Where in the data to look for an offset or a time.
    pub index: Section,
    /// The producers' state after the unit, as the log encodes it.
    pub producers: Section,
    /// Every leader epoch up to the unit's end, and where it began.
    pub epochs: Section,
    /// The aborted transactions that overlap the unit.
    pub aborted: Section,
}

/// Whether a partition never left the tier; as serde asks it.
pub(super) const fn is_first_stay(stay: &u32) -> bool {
    *stay == 0
}

impl UnitMeta {
    /// Whether it covers `offset`.
    pub fn covers(&self, offset: Offset) -> bool {
        (self.start..self.end).contains(&offset)
    }

    /// Its sections with their names, in the order in which they lie in the object.
    pub fn sections(&self) -> [(&'static str, Section); 5] {
        [
            ("data", self.data),
            ("index", self.index),
            ("producers", self.producers),
            ("epochs", self.epochs),
            ("aborted", self.aborted),
        ]
    }
}

/// Whether a unit's description contradicts itself: what is checked before it is believed.
pub fn unit_is_sound(unit: &UnitMeta) -> bool {
    let mut position = unit.data.position();
    let tiles = unit.sections().iter().all(|(_, section)| {
        let adjoins = section.position() == position;
        position = section.range().end;
        adjoins
    });
    tiles && unit.start < unit.end && !unit.data.is_empty() && unit.last_epoch <= unit.leader_epoch
}

/// The sum of sizes that somebody wrote down: as large as a number can be rather than wrong.
pub(super) fn total(sizes: impl IntoIterator<Item = u64>) -> u64 {
    sizes.into_iter().fold(0, u64::saturating_add)
}
