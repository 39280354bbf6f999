//! A partition's manifest: where its tier starts and ends, and its units.
//!
//! ```text
//!    log start                                               end
//!        v                                                    v
//!  [page 0][page 1] ... [page n][unit][unit][unit] ... [unit]
//!  \---- named, not held ------/\------- recent units -------/
//! ```
//!
//! Pages are immutable objects of at most [`PAGE_UNITS`] units, loaded when somebody reads that far back. The recent
//! units are held one by one; the last one always is, because it carries the state that a new replica starts from.

use super::unit::{Revision, UnitMeta, total, unit_is_sound};
use crate::env::Timestamp;
use crate::env::mutation::{self, Mutation};
use crate::offset::{LeaderEpoch, LogStart, Offset, TierEnd};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Units of one page at most.
pub const PAGE_UNITS: usize = 1000;

/// A page: units that are not held one by one any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageRef {
    /// The page's object.
    pub key: Arc<str>,
    /// Where its first unit starts.
    pub start: Offset,
    /// Where its last unit ends.
    pub end: Offset,
    /// How many units it has.
    pub units: u32,
    /// The bytes of their batches.
    pub bytes: u64,
    /// The latest timestamp in them.
    pub max_timestamp: Option<Timestamp>,
    /// The revision of the manifest that it is a part of.
    #[serde(default, skip_serializing_if = "Revision::is_first")]
    pub revision: Revision,
}

/// Where a unit is described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Located {
    /// Here.
    Unit(Arc<UnitMeta>),
    /// In a page.
    Page(PageRef),
}

/// Why a record changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The partition is not open in the record's epoch: another leader has it.
    #[error("fenced: the open epoch is {open:?}")]
    Fenced {
        /// The epoch that is open.
        open: Option<LeaderEpoch>,
    },
    /// A unit does not start where the tier of its partition ends: it was committed before, or another was.
    #[error("a unit must start at {expected}")]
    Misplaced {
        /// Where the next unit has to start.
        expected: Offset,
    },
    /// The object is being deleted.
    #[error("the object is doomed")]
    Doomed,
    /// The description contradicts itself.
    #[error("the description contradicts itself")]
    Unsound,
    /// What it is about has changed, or it says nothing new.
    #[error("nothing to change")]
    Stale,
}

/// What the tier has of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    pub(super) open: Option<LeaderEpoch>,
    pub(super) log_start: LogStart,
    pub(super) end: TierEnd,
    pub(super) bytes: u64,
    pub(super) pages: Vec<PageRef>,
    pub(super) recent: Vec<Arc<UnitMeta>>,
    pub(super) revision: Revision,
    pub(super) stay: u32,
}

/// Whether a unit may join a manifest: it comes from the leader that has the partition open, and starts where the
/// tier ends, or at the log start where that is higher. This is the fence of the whole tier: an upload that lands
/// late, twice, or from a deposed leader fails it, and so does one that was begun before the partition left the tier.
///
/// # Errors
/// Why not.
pub fn unit_fits(manifest: &Manifest, unit: &UnitMeta) -> Result<(), Refusal> {
    if mutation::active(Mutation::StaleUnitAccepted) {
        return Ok(());
    }
    if manifest.open != Some(unit.leader_epoch) {
        return Err(Refusal::Fenced { open: manifest.open });
    }
    let expected = manifest.next_start();
    if unit.start != expected {
        return Err(Refusal::Misplaced { expected });
    }
    if unit.stay != manifest.stay && !mutation::active(Mutation::EarlierStayAccepted) {
        return Err(Refusal::Stale);
    }
    // A rewrite comes by a swap only.
    if unit_is_sound(unit) && unit.revision.is_none() { Ok(()) } else { Err(Refusal::Unsound) }
}

/// Whether units tile: each starts where the one before it ended, except where the log start had moved past that.
pub fn units_tile(start: LogStart, units: &[Arc<UnitMeta>]) -> bool {
    units
        .iter()
        .zip(units.iter().skip(1))
        .all(|(a, b)| a.end == b.start || (a.end < b.start && b.start <= start.offset()))
}

impl Manifest {
    /// The epoch of the leader that has it open.
    pub fn open_epoch(&self) -> Option<LeaderEpoch> {
        self.open
    }

    /// The first offset that the partition still has.
    pub fn log_start(&self) -> LogStart {
        self.log_start
    }

    /// One past the last tiered offset.
    pub fn end(&self) -> TierEnd {
        self.end
    }

    /// The bytes of the batches of its units, those of a page counted until the whole page is gone.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where the next unit has to start.
    pub fn next_start(&self) -> Offset {
        self.end.offset().max(self.log_start.offset())
    }

    /// Its pages, ascending.
    pub fn pages(&self) -> &[PageRef] {
        &self.pages
    }

    /// The units that are held one by one, ascending.
    pub fn recent(&self) -> &[Arc<UnitMeta>] {
        &self.recent
    }

    /// How often its units were replaced.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// How often the partition has left the tier: units of an earlier stay are refused.
    pub fn stay(&self) -> u32 {
        self.stay
    }

    /// Where its first unit starts, which the log start may have passed; the tier's end if there is none.
    pub fn first_start(&self) -> Offset {
        let page = self.pages.first().map(|page| page.start);
        page.or(self.recent.first().map(|unit| unit.start)).unwrap_or(self.end.offset())
    }

    /// The last unit, with the state that a replica starts from which has nothing older.
    pub fn last(&self) -> Option<&Arc<UnitMeta>> {
        self.recent.last()
    }

    /// Where the unit that covers `offset` is described, or the first one after it if no unit covers it; `None` if
    /// the offset is before the log start or past the tier.
    pub fn locate(&self, offset: Offset) -> Option<Located> {
        if offset < self.log_start.offset() || offset >= self.end.offset() {
            return None;
        }
        let page = self.pages.partition_point(|page| page.end <= offset);
        if let Some(page) = self.pages.get(page) {
            return Some(Located::Page(page.clone()));
        }
        let unit = self.recent.partition_point(|unit| unit.end <= offset);
        self.recent.get(unit).map(|unit| Located::Unit(Arc::clone(unit)))
    }

    /// Where the first unit at or past `from` is described that has a record of `timestamp` or later. A page that is
    /// answered may have it only before `from`: then ask again from the page's end.
    pub fn locate_timestamp(&self, timestamp: Timestamp, from: Offset) -> Option<Located> {
        let late = |latest: Option<Timestamp>| latest.is_some_and(|latest| latest >= timestamp);
        let from = from.max(self.log_start.offset());
        if let Some(page) = self.pages.iter().find(|page| page.end > from && late(page.max_timestamp)) {
            return Some(Located::Page(page.clone()));
        }
        let unit = self.recent.iter().find(|unit| unit.end > from && late(unit.max_timestamp));
        unit.map(|unit| Located::Unit(Arc::clone(unit)))
    }

    pub(super) fn open(&mut self, epoch: LeaderEpoch) -> Result<(), Refusal> {
        match self.open {
            Some(open) if open > epoch => Err(Refusal::Fenced { open: self.open }),
            Some(open) if open == epoch => Err(Refusal::Stale),
            _ => {
                self.open = Some(epoch);
                Ok(())
            }
        }
    }

    pub(super) fn add(&mut self, unit: &UnitMeta) -> Result<(), Refusal> {
        unit_fits(self, unit)?;
        self.end = TierEnd::at(unit.end);
        self.bytes = self.bytes.saturating_add(unit.data.len());
        self.recent.push(Arc::new(unit.clone()));
        Ok(())
    }

    pub(super) fn start_at(&mut self, epoch: LeaderEpoch, offset: Offset) -> Result<(), Refusal> {
        if self.open != Some(epoch) {
            return Err(Refusal::Fenced { open: self.open });
        }
        if offset <= self.log_start.offset() {
            return Err(Refusal::Stale);
        }
        self.log_start = LogStart::at(offset);
        let gone = self.pages.partition_point(|page| page.end <= offset);
        for page in self.pages.drain(..gone) {
            self.bytes = self.bytes.saturating_sub(page.bytes);
        }
        let gone = self.recent.partition_point(|unit| unit.end <= offset);
        for unit in self.recent.drain(..gone) {
            self.bytes = self.bytes.saturating_sub(unit.data.len());
        }
        Ok(())
    }

    /// Gives up every unit; the log starts at `offset`, and so will the next unit, which has to be begun after this.
    pub(super) fn leave(&mut self, epoch: LeaderEpoch, offset: Offset) -> Result<(), Refusal> {
        if self.open != Some(epoch) {
            return Err(Refusal::Fenced { open: self.open });
        }
        let (log_start, revision) = (LogStart::at(offset).max(self.log_start), self.revision.next());
        let stay = self.stay.saturating_add(1);
        *self = Manifest { open: self.open, log_start, revision, stay, ..Manifest::default() };
        Ok(())
    }

    pub(super) fn fold(&mut self, page: &PageRef) -> Result<(), Refusal> {
        if !page_fits(self, page) {
            return Err(Refusal::Stale);
        }
        self.recent.drain(..page.units as usize);
        self.pages.push(page.clone());
        Ok(())
    }

    /// Whether an uploaded unit that starts at `start` could still be accepted.
    pub(super) fn could_accept(&self, start: Offset) -> bool {
        start >= self.next_start()
    }

    /// From now on nothing is accepted that was made of `revision`.
    pub(super) fn rule_out(&mut self, revision: Revision) {
        self.revision = self.revision.max(revision.next());
    }
}

/// Whether a page holds exactly the oldest units that are held one by one, of which none was replaced meanwhile, and
/// leaves the last of them.
pub fn page_fits(manifest: &Manifest, page: &PageRef) -> bool {
    let units = page.units as usize;
    let Some(held) = manifest.recent.get(..units) else { return false };
    units > 0
        && units <= PAGE_UNITS
        && units < manifest.recent.len()
        && page.revision == manifest.revision
        && held.first().is_some_and(|first| first.start == page.start)
        && held.last().is_some_and(|last| last.end == page.end)
        && total(held.iter().map(|unit| unit.data.len())) == page.bytes
        && held.iter().filter_map(|unit| unit.max_timestamp).max() == page.max_timestamp
}
