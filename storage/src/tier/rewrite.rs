//! Rewriting units: the way that merging and compaction share.
//!
//! ```text
//!   manifest -> Stretch -> Run --- UnitBatches, read_state ---> batches, state     (plan, read: everything checked)
//!                           |             ObjectWriter <--- what is kept of them    (rewrite)
//!                           `--- Rewriter::commit ---> pages, one tier-log commit   (commit)
//! ```
//!
//! A *stretch* is what a manifest has of a partition in one place: its recent units, or those of adjacent pages. A *run*
//! is the part of a stretch that a rewrite replaces. Whoever rewrites writes new units over exactly the offsets of the
//! run, in the run's epoch and revision ([`Run::range`]), and hands both to [`Rewriter::commit`]. Nothing that was
//! rewritten can be read before that; a crash or a refusal leaves objects that no manifest names, and the sweeper takes
//! them. The replaced objects go the same way, after their readers have had the grace.

use super::TierError;
use super::committer::TierCommits;
use super::manifest::{Manifest, PAGE_UNITS, PageRef};
use super::persist::write_page;
use super::read::TierReader;
use super::record::{TierRecord, Verdict};
use super::swap::{Change, MAX_SWAPPED, RunMark, Swap};
use super::unit::{Revision, UnitMeta, total};
use super::writer::{UnitRange, UnitState};
use crate::env::Env;
use crate::env::mutation::{self, Mutation};
use crate::env::store::Store;
use crate::offset::{LeaderEpoch, LogStart, Offset, PartitionId};
use std::ops::Range;
use std::sync::Arc;
use uuid::Uuid;

/// Adjacent units of a partition in one place, as one manifest has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    partition: PartitionId,
    epoch: LeaderEpoch,
    revision: Revision,
    log_start: LogStart,
    /// The keys of the pages that they are in; none for units that are held one by one.
    pages: Vec<Arc<str>>,
    units: Arc<Vec<Arc<UnitMeta>>>,
}

impl Stretch {
    /// The units that a manifest holds one by one, to be rewritten by the leader of `epoch`.
    pub fn recent(partition: PartitionId, manifest: &Manifest, epoch: LeaderEpoch) -> Stretch {
        Stretch {
            partition,
            epoch,
            revision: manifest.revision(),
            log_start: manifest.log_start(),
            pages: Vec::new(),
            units: Arc::new(manifest.recent().to_vec()),
        }
    }

    /// The units of some adjacent pages of a manifest, which are read.
    ///
    /// # Errors
    /// [`TierError::Invalid`] for pages that there are not; as [`TierReader::page`].
    pub async fn paged(
        reader: &TierReader,
        partition: PartitionId,
        manifest: &Manifest,
        epoch: LeaderEpoch,
        pages: Range<usize>,
    ) -> Result<Stretch, TierError> {
        let chosen = manifest.pages().get(pages).filter(|pages| !pages.is_empty());
        let chosen = chosen.ok_or_else(|| TierError::Invalid { reason: "no such pages".to_owned() })?;
        let mut units = Vec::new();
        for page in chosen {
            units.extend(reader.page(page).await?.iter().cloned());
        }
        Ok(Stretch::of_pages(partition, manifest, epoch, chosen, units))
    }

    /// As [`Stretch::paged`], of pages that were read already.
    pub(super) fn of_pages(
        partition: PartitionId,
        manifest: &Manifest,
        epoch: LeaderEpoch,
        pages: &[PageRef],
        units: Vec<Arc<UnitMeta>>,
    ) -> Stretch {
        Stretch {
            partition,
            epoch,
            revision: manifest.revision(),
            log_start: manifest.log_start(),
            pages: pages.iter().map(|page| Arc::clone(&page.key)).collect(),
            units: Arc::new(units),
        }
    }

    /// The units, ascending. Those of a page whose end the log start has passed are among them; their objects may be
    /// gone already.
    pub fn units(&self) -> &[Arc<UnitMeta>] {
        &self.units
    }

    /// The first of the units that the log start has not passed.
    pub fn first_live(&self) -> usize {
        self.units.partition_point(|unit| unit.end <= self.log_start.offset())
    }

    /// The run of some of the units; `None` if there are none or too many, or the log start has passed one.
    pub fn run(&self, units: Range<usize>) -> Option<Run> {
        let chosen = self.units.get(units.clone())?;
        let fits = !chosen.is_empty() && chosen.len() <= MAX_SWAPPED && units.start >= self.first_live();
        fits.then(|| Run { stretch: self.clone(), units })
    }
}

/// The units of a stretch that a rewrite replaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    stretch: Stretch,
    units: Range<usize>,
}

impl Run {
    /// The partition.
    pub fn partition(&self) -> PartitionId {
        self.stretch.partition
    }

    /// The epoch in which the rewrite is committed.
    pub fn epoch(&self) -> LeaderEpoch {
        self.stretch.epoch
    }

    /// The revision that the rewrite is made of.
    pub fn revision(&self) -> Revision {
        self.stretch.revision
    }

    /// What is replaced, ascending.
    pub fn units(&self) -> &[Arc<UnitMeta>] {
        self.stretch.units.get(self.units.clone()).unwrap_or_default()
    }

    /// Whether its units are in pages.
    pub fn is_paged(&self) -> bool {
        !self.stretch.pages.is_empty()
    }

    /// The bytes of its batches.
    pub fn bytes(&self) -> u64 {
        total(self.units().iter().map(|unit| unit.data.len()))
    }

    /// What a new unit over `start..upto` is begun with.
    pub fn range(&self, start: Offset, upto: Offset) -> UnitRange {
        let (partition, leader_epoch, revision) = (self.partition(), self.epoch(), Some(self.revision()));
        UnitRange { partition, start, upto, leader_epoch, revision, stay: 0 }
    }
}

/// Commits rewrites.
#[derive(Clone)]
pub struct Rewriter {
    env: Env,
    store: Arc<dyn Store>,
    cluster: Uuid,
    commits: TierCommits,
}

impl Rewriter {
    /// A committer of rewrites to this tier.
    pub fn new(env: &Env, store: Arc<dyn Store>, cluster: Uuid, commits: TierCommits) -> Rewriter {
        Rewriter { env: env.clone(), store, cluster, commits }
    }

    /// Replaces each run by its new units, all in one commit; what became of each. A run is refused if its partition
    /// has another leader, or if any unit of it was replaced or given up since.
    ///
    /// # Errors
    /// As [`Rewriter::record`]; [`TierError::Closed`] if the committer has ended.
    pub async fn commit(&self, rewrites: Vec<(Run, Vec<UnitMeta>)>) -> Result<Vec<Verdict>, TierError> {
        let mut records = Vec::new();
        for (run, new) in rewrites {
            records.push(self.record(&run, new).await?);
        }
        self.commits.commit(records).await
    }

    /// The record that replaces a run by its new units, for a commit together with others. Pages that it needs are
    /// written now, and are orphans until it is committed.
    ///
    /// # Errors
    /// What the store says.
    pub async fn record(&self, run: &Run, new: Vec<UnitMeta>) -> Result<TierRecord, TierError> {
        let Stretch { partition, epoch, revision, pages, units, .. } = &run.stretch;
        let change = if pages.is_empty() {
            let old =
                RunMark::of(run.units()).ok_or_else(|| TierError::Invalid { reason: "an empty run".to_owned() })?;
            Change::Units { old, new }
        } else {
            let before = units.get(..run.units.start).unwrap_or_default();
            let after = units.get(run.units.end..).unwrap_or_default();
            let all: Vec<Arc<UnitMeta>> =
                before.iter().cloned().chain(new.into_iter().map(Arc::new)).chain(after.iter().cloned()).collect();
            // Pages of about the same size, rather than one with a few units behind full ones.
            let each = all.len().div_ceil(all.len().div_ceil(PAGE_UNITS).max(1)).max(1);
            let mut written = Vec::new();
            for units in all.chunks(each) {
                written.push(write_page(&*self.store, &self.env, self.cluster, *revision, units).await?);
            }
            Change::Pages { old: pages.clone(), new: written }
        };
        Ok(TierRecord::Swap(Swap { partition: *partition, epoch: *epoch, revision: *revision, change }))
    }
}

impl std::fmt::Debug for Rewriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rewriter").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

/// The state that goes with one unit over the offsets of several: that of the last, and every aborted transaction that
/// overlaps any. `None` for none.
pub fn joined_state(states: Vec<UnitState>) -> Option<UnitState> {
    let mut aborted: Vec<_> = states.iter().flat_map(|state| state.aborted.iter().copied()).collect();
    aborted.sort_by_key(|aborted| (aborted.last, aborted.first, aborted.producer_id));
    aborted.dedup();
    let oldest = mutation::active(Mutation::OldestStateKept);
    let kept = if oldest { states.into_iter().next() } else { states.into_iter().last() };
    kept.map(|kept| UnitState { aborted, ..kept })
}

#[cfg(test)]
#[path = "rewrite_tests.rs"]
mod tests;
