//! Swaps: adjacent units of a partition are replaced by their rewrite, in one commit.
//!
//! ```text
//!   units:   [u0][u1][u2][u3][u4]   --swap u1..=u3-->   [u0][   w   ][u4]
//!   pages:   [page A][page B][u7]   --swap A..=B---->   [ page C  ][u7]       C: what A and B had, rewritten in part
//! ```
//!
//! A rewrite is made of what a manifest had at one *revision*, and every swap begins the next one. So a rewrite is
//! accepted only while nothing that it was made of has been replaced, whoever tried; and once the revision has moved on,
//! everybody can tell that it never will be, which is how the sweeper knows a lost rewrite from one that is on its way.
//! What is appended, folded into a page or given up by retention meanwhile does not end a revision: a run that lost a
//! unit to one of these is not found any more.
//!
//! Units in pages are swapped with their pages, which are immutable: the new ones are written before the commit, and
//! replay, which reads no objects, compares names.

use super::manifest::{Manifest, PAGE_UNITS, PageRef, Refusal};
use super::unit::{Revision, UnitMeta, total, unit_is_sound};
use crate::env::mutation::{self, Mutation};
use crate::offset::{LeaderEpoch, Offset, PartitionId};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Arc;

/// Units, or pages, that one swap takes away or brings at most.
pub const MAX_SWAPPED: usize = PAGE_UNITS;

/// A run of adjacent units, or of pages of them, and what takes its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    /// The partition.
    pub partition: PartitionId,
    /// The leader's epoch: the fence.
    pub epoch: LeaderEpoch,
    /// The revision that the rewrite was made of.
    pub revision: Revision,
    /// What is swapped.
    pub change: Change,
}

/// What a swap takes away and brings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Of the units that are held one by one.
    Units {
        /// The ones that go.
        old: RunMark,
        /// The ones that come, over the same offsets.
        new: Vec<UnitMeta>,
    },
    /// Of the pages.
    Pages {
        /// The keys of those that go.
        old: Vec<Arc<str>>,
        /// Those that come, over the same offsets.
        new: Vec<PageRef>,
    },
}

/// What tells a run of units from any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunMark {
    /// Where its first unit starts.
    pub start: Offset,
    /// Where its last unit ends.
    pub end: Offset,
    /// How many units it has.
    pub units: u32,
    /// CRC-32 (IEEE) of where each of them is.
    pub crc: u32,
}

impl RunMark {
    /// The mark of adjacent units; `None` for none.
    pub fn of(units: &[Arc<UnitMeta>]) -> Option<RunMark> {
        let (first, last) = units.first().zip(units.last())?;
        let mut hasher = crc32fast::Hasher::new();
        for unit in units {
            hasher.update(unit.key.as_bytes());
            hasher.update(&unit.data.position().to_be_bytes());
            hasher.update(&unit.start.get().to_be_bytes());
            hasher.update(&unit.end.get().to_be_bytes());
        }
        Some(RunMark { start: first.start, end: last.end, units: units.len() as u32, crc: hasher.finalize() })
    }
}

impl Swap {
    /// The units that it brings, as far as it names them.
    pub(super) fn units(&self) -> impl Iterator<Item = &UnitMeta> {
        match &self.change {
            Change::Units { new, .. } => new.iter(),
            Change::Pages { .. } => [].iter(),
        }
    }
}

/// Whether a swap may take effect: it comes from the leader that has the partition open, nothing that its rewrite was
/// made of has been replaced, what it takes away is there, and what it brings covers the same offsets. The answer is where
/// the manifest's units, or pages, are that it takes away.
///
/// # Errors
/// Why not.
pub fn swap_fits(manifest: &Manifest, swap: &Swap) -> Result<Range<usize>, Refusal> {
    if manifest.open != Some(swap.epoch) {
        return Err(Refusal::Fenced { open: manifest.open });
    }
    let careless = mutation::active(Mutation::ChangedUnitSwapped);
    if manifest.revision != swap.revision && !careless {
        return Err(Refusal::Stale);
    }
    match &swap.change {
        Change::Units { old, new } => {
            let first = manifest.recent.partition_point(|unit| unit.start < old.start);
            let past = manifest.recent.partition_point(|unit| unit.end <= old.end);
            let run = manifest.recent.get(first..past).unwrap_or_default();
            let covers = |mark: RunMark| (mark.start, mark.end) == (old.start, old.end);
            if !RunMark::of(run).is_some_and(|mark| mark == *old || (careless && covers(mark))) {
                return Err(Refusal::Stale);
            }
            let sound = |unit: &UnitMeta| {
                let own = (unit.partition, unit.leader_epoch, unit.revision);
                own == (swap.partition, swap.epoch, Some(swap.revision)) && unit_is_sound(unit)
            };
            let cover = covers_exactly(old.start..old.end, new.iter().map(|unit| unit.start..unit.end));
            let whole = new.len() <= MAX_SWAPPED && run.len() <= MAX_SWAPPED && cover && new.iter().all(sound);
            if whole { Ok(first..past) } else { Err(Refusal::Unsound) }
        }
        Change::Pages { old, new } => {
            let first = old.first().and_then(|key| manifest.pages.iter().position(|page| page.key == *key));
            let run = first.and_then(|first| Some(first..first.checked_add(old.len())?)).ok_or(Refusal::Stale)?;
            let pages = manifest.pages.get(run.clone()).ok_or(Refusal::Stale)?;
            if !pages.iter().map(|page| &page.key).eq(old) {
                return Err(Refusal::Stale);
            }
            let (start, end) = pages.first().zip(pages.last()).map(|(a, b)| (a.start, b.end)).ok_or(Refusal::Stale)?;
            let sound =
                |page: &PageRef| (1..=PAGE_UNITS as u32).contains(&page.units) && page.revision == swap.revision;
            let cover = covers_exactly(start..end, new.iter().map(|page| page.start..page.end));
            let whole = new.len() <= MAX_SWAPPED && cover && new.iter().all(sound);
            if whole { Ok(run) } else { Err(Refusal::Unsound) }
        }
    }
}

/// Whether `parts`, of which none is empty, follow each other and make up `whole`.
fn covers_exactly(whole: Range<Offset>, parts: impl Iterator<Item = Range<Offset>>) -> bool {
    let mut next = Some(whole.start);
    for part in parts {
        next = next.filter(|next| *next == part.start && part.start < part.end).map(|_| part.end);
    }
    next == Some(whole.end)
}

impl Manifest {
    pub(super) fn swap(&mut self, swap: &Swap) -> Result<(), Refusal> {
        let run = swap_fits(self, swap)?;
        let (gone, come): (u64, u64) = match &swap.change {
            Change::Units { new, .. } => {
                let gone = self.recent.splice(run, new.iter().cloned().map(Arc::new));
                (total(gone.map(|unit| unit.data.len())), total(new.iter().map(|unit| unit.data.len())))
            }
            Change::Pages { new, .. } => {
                let gone = self.pages.splice(run, new.iter().cloned());
                (total(gone.map(|page| page.bytes)), total(new.iter().map(|page| page.bytes)))
            }
        };
        self.bytes = self.bytes.saturating_sub(gone).saturating_add(come);
        self.revision = self.revision.next();
        Ok(())
    }
}

#[cfg(test)]
#[path = "swap_tests.rs"]
mod tests;
