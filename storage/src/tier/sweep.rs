//! The sweeper: deletes what no manifest names.
//!
//! ```text
//! list -> not named by the image -> suspect, since now -> a grace later still not named
//!                                                           -> could it still be accepted? commit its doom first
//!                                                           -> delete
//! ```
//!
//! Orphans come from uploads that failed or were refused, from units and pages that were replaced, from retention, and
//! from removed topics. An orphan that can never be named (another unit has its place, or the revision that it was made
//! of is over) is deleted after the grace. One that still could be is doomed first: the commit is refused if the object
//! was named meanwhile, and once it has taken effect nothing that names the object is accepted any more. So an upload
//! that lands at any later time loses nothing that was promised.
//!
//! The image that is looked at may be old, because another controller has committed since. What it shows as final is
//! final in every later image too, and everything else goes through a commit, which has to see the newest.
//!
//! The grace is what lets the readers of a replaced object finish, and a courtesy to uploads that are on their way; no
//! acknowledged record depends on its clock.

use super::TierError;
use super::committer::TierCommits;
use super::image::TierImage;
use super::key::{DATA_PREFIX, ObjectKey, PAGE_PREFIX, SHARD_PREFIX, is_shared};
use super::manifest::Manifest;
use super::object::read_footer;
use super::persist::NamedShards;
use super::read::TierReader;
use super::record::TierRecord;
use super::unit::{Revision, UnitMeta};
use crate::env::mutation::{self, Mutation};
use crate::env::store::{ObjectEntry, Store};
use crate::env::{Env, Monotonic, TaskHandle};
use crate::offset::{Offset, PartitionId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Keys of one listing.
const PAGE: usize = 1000;
/// Objects that are watched at the same time; the rest is found by a later pass.
const MAX_SUSPECTS: usize = 100_000;

/// How often and how patiently the sweeper works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SweepConfig {
    /// The pause between two passes.
    pub every: Duration,
    /// How long an object must have been seen as an orphan.
    pub grace: Duration,
    /// The same for shards of snapshots, which a controller that sleeps may still want to name.
    pub shard_grace: Duration,
}

impl Default for SweepConfig {
    fn default() -> SweepConfig {
        SweepConfig {
            every: Duration::from_secs(600),
            grace: Duration::from_secs(900),
            shard_grace: Duration::from_secs(24 * 3600),
        }
    }
}

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepCounts {
    /// Objects looked at.
    pub seen: usize,
    /// Orphans whose grace has not passed.
    pub suspects: usize,
    /// Objects deleted.
    pub deleted: usize,
    /// Objects whose names or footers cannot be understood; they stay.
    pub unknown: usize,
}

/// What becomes of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// A manifest names it.
    Named,
    /// Nothing names it, and nothing ever can.
    Lost,
    /// Nothing names it, but these parts of it could still be accepted.
    Pending(Parts),
    /// What it is cannot be told.
    Unknown,
}

/// Parts of an object that could still be accepted: units as uploaded, and units or a page as rewritten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Parts {
    starts: Vec<(PartitionId, Offset)>,
    rewrites: Vec<(PartitionId, Revision)>,
}

/// A unit in an object: whose, where it starts, and what it was made of if it is a rewrite.
type Part = (PartitionId, Offset, Option<Revision>);

/// An object that was seen as an orphan.
#[derive(Clone, Copy, Debug)]
struct Suspect {
    since: Monotonic,
    /// Whether it could never be named again.
    lost: bool,
}

/// Deletes orphans.
pub struct Sweeper {
    env: Env,
    store: Arc<dyn Store>,
    cluster: Uuid,
    commits: TierCommits,
    reader: Arc<TierReader>,
    config: SweepConfig,
    suspects: BTreeMap<String, Suspect>,
    /// The only keys to look at.
    only: Option<BTreeSet<String>>,
}

impl Sweeper {
    /// A sweeper that suspects nothing yet. Only the controller has one.
    pub fn new(
        env: &Env,
        store: Arc<dyn Store>,
        cluster: Uuid,
        commits: TierCommits,
        reader: Arc<TierReader>,
        config: SweepConfig,
    ) -> Sweeper {
        Sweeper { env: env.clone(), store, cluster, commits, reader, config, suspects: BTreeMap::new(), only: None }
    }

    /// Sweeps now and then, in the background, until the handle is aborted.
    pub fn start(mut self) -> TaskHandle {
        let env = self.env.clone();
        env.spawn_background("tier-sweeper", async move {
            loop {
                self.env.sleep(self.config.every).await;
                match self.pass().await {
                    Ok(counts) if counts.deleted > 0 => tracing::info!(?counts, "swept the tier"),
                    Ok(counts) => tracing::debug!(?counts, "swept the tier"),
                    Err(TierError::Closed) => return,
                    Err(error) if error.is_retry() => tracing::info!(%error, "a sweep stopped; trying again later"),
                    Err(error) => tracing::warn!(%error, "a sweep stopped; trying again later"),
                }
            }
        })
    }

    /// Looks at nothing but these keys from now on: to mend what a scrub has found.
    #[must_use]
    pub fn only(mut self, keys: BTreeSet<String>) -> Sweeper {
        self.only = Some(keys);
        self
    }

    /// Looks at every object once, and deletes the orphans whose grace has passed.
    ///
    /// # Errors
    /// What the store or the tier log says; what was done until then stays done.
    pub async fn pass(&mut self) -> Result<SweepCounts, TierError> {
        let mut counts = SweepCounts::default();
        let mut orphans = BTreeSet::new();
        let named = Named {
            shards: NamedShards::read(&*self.store, self.cluster).await?,
            shared: shared_and_recent(&self.commits.image()),
        };
        for prefix in [DATA_PREFIX, PAGE_PREFIX, SHARD_PREFIX] {
            let mut after: Option<String> = None;
            loop {
                let page = self.store.list(prefix, after.as_deref(), PAGE).await?;
                let looked_at = |entry: &&ObjectEntry| self.only.as_ref().is_none_or(|only| only.contains(&entry.key));
                let entries: Vec<&ObjectEntry> = page.iter().filter(looked_at).collect();
                for entry in entries {
                    counts.seen += 1;
                    self.look_at(entry, &named, &mut orphans, &mut counts).await?;
                }
                match page.last() {
                    Some(last) if page.len() == PAGE => after = Some(last.key.clone()),
                    _ => break,
                }
            }
        }
        self.suspects.retain(|key, _| orphans.contains(key));
        counts.suspects = self.suspects.len();
        Ok(counts)
    }

    async fn look_at(
        &mut self,
        entry: &ObjectEntry,
        named: &Named,
        orphans: &mut BTreeSet<String>,
        counts: &mut SweepCounts,
    ) -> Result<(), TierError> {
        let standing = self.standing(entry, named).await?;
        match standing {
            Standing::Named => return Ok(()),
            Standing::Unknown => {
                counts.unknown += 1;
                tracing::warn!(key = %entry.key, "an object of the tier cannot be understood, and stays");
                return Ok(());
            }
            Standing::Lost | Standing::Pending(_) => {}
        }
        let now = self.env.now();
        if mutation::active(Mutation::ReplacedDeletedAtOnce) && standing == Standing::Lost {
            return Ok(self.store.delete(&entry.key).await?);
        }
        let lost = standing == Standing::Lost;
        // One that could have been named, and cannot any more, may have been in between: its readers began after that.
        let known = self.suspects.get(&entry.key).filter(|suspect| suspect.lost == lost).copied();
        let Some(Suspect { since, .. }) = known else {
            if self.suspects.len() < MAX_SUSPECTS || self.suspects.contains_key(&entry.key) {
                self.suspects.insert(entry.key.clone(), Suspect { since: now, lost });
                orphans.insert(entry.key.clone());
            }
            return Ok(());
        };
        let is_shard = entry.key.starts_with(SHARD_PREFIX);
        let grace = if is_shard { self.config.shard_grace } else { self.config.grace };
        let doomed = match standing {
            _ if now.since(since) < grace => {
                orphans.insert(entry.key.clone());
                return Ok(());
            }
            Standing::Pending(_) if mutation::active(Mutation::PendingDeletedUndoomed) => true,
            Standing::Pending(parts) => self.doom(&entry.key, parts).await?,
            _ => true,
        };
        if doomed {
            self.store.delete(&entry.key).await?;
            counts.deleted += 1;
            tracing::debug!(key = %entry.key, "deleted an orphan");
        }
        Ok(())
    }

    /// Makes sure that nothing will name the object; whether it may be deleted.
    async fn doom(&self, key: &str, parts: Parts) -> Result<bool, TierError> {
        let Parts { starts, rewrites } = parts;
        let record = TierRecord::Doom { key: Arc::from(key), starts, rewrites };
        let applied = self.commits.commit(vec![record]).await?.iter().all(|verdict| verdict.is_applied());
        // It may have been doomed before, by a sweeper that did not come to delete it.
        Ok(applied || self.commits.image().is_doomed(key))
    }

    async fn standing(&self, entry: &ObjectEntry, named: &Named) -> Result<Standing, TierError> {
        let Ok(key) = entry.key.parse::<ObjectKey>() else { return Ok(Standing::Unknown) };
        // Taken after the listing: whatever was committed before is in it.
        let image = self.commits.image();
        match key {
            ObjectKey::Shard { .. } if named.shards.is_stale(&entry.key) => Ok(Standing::Lost),
            ObjectKey::Shard { .. } => Ok(Standing::Named),
            ObjectKey::Page { partition, revision, .. } => Ok(page_standing(&image, &entry.key, partition, revision)),
            ObjectKey::Partition { partition, base, .. } => {
                self.units_standing(&image, &entry.key, &[(partition, base, None)]).await
            }
            ObjectKey::Rewrite { partition, base, revision, .. } => {
                self.units_standing(&image, &entry.key, &[(partition, base, Some(revision))]).await
            }
            ObjectKey::Shared { .. } if named.shared.contains(entry.key.as_str()) => Ok(Standing::Named),
            ObjectKey::Shared { .. } => match read_footer(&*self.store, &entry.key, entry.size).await {
                Ok(units) => {
                    let parts: Vec<Part> =
                        units.iter().map(|unit| (unit.partition, unit.start, unit.revision)).collect();
                    self.units_standing(&image, &entry.key, &parts).await
                }
                Err(TierError::Corrupt { .. }) => Ok(Standing::Unknown),
                Err(error) => Err(error),
            },
        }
    }

    async fn units_standing(&self, image: &TierImage, key: &str, parts: &[Part]) -> Result<Standing, TierError> {
        let mut pending = Parts::default();
        for (partition, start, revision) in parts {
            let manifest = image.get(partition);
            if let Some(manifest) = manifest.filter(|manifest| !manifest.could_accept(*start)) {
                let unit = unit_starting(&self.reader, manifest, *start).await?;
                if unit.is_some_and(|unit| &*unit.key == key && unit.end > manifest.log_start().offset()) {
                    return Ok(Standing::Named);
                }
            }
            match (manifest, revision) {
                (Some(manifest), None) if !manifest.could_accept(*start) => {}
                (Some(manifest), Some(revision)) if manifest.revision() > *revision => {}
                // A partition that this image does not have may have been opened since.
                (_, None) => pending.starts.push((*partition, *start)),
                (_, Some(revision)) => pending.rewrites.push((*partition, *revision)),
            }
        }
        Ok(if pending == Parts::default() { Standing::Lost } else { Standing::Pending(pending) })
    }
}

impl std::fmt::Debug for Sweeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sweeper").field("suspects", &self.suspects.len()).finish_non_exhaustive()
    }
}

/// What is known to be named, before a manifest is looked at.
struct Named {
    shards: NamedShards,
    /// Shared objects with a unit that is held one by one: their footers need not be read.
    shared: BTreeSet<Arc<str>>,
}

fn shared_and_recent(image: &TierImage) -> BTreeSet<Arc<str>> {
    let units = image.partitions().flat_map(|(_, manifest)| manifest.recent());
    units.filter(|unit| is_shared(&unit.key)).map(|unit| Arc::clone(&unit.key)).collect()
}

fn page_standing(image: &TierImage, key: &str, partition: PartitionId, revision: Revision) -> Standing {
    match image.get(&partition) {
        Some(manifest) if manifest.pages().iter().any(|page| &*page.key == key) => Standing::Named,
        Some(manifest) if manifest.revision() > revision => Standing::Lost,
        _ => Standing::Pending(Parts { starts: Vec::new(), rewrites: vec![(partition, revision)] }),
    }
}

/// The unit that starts at `start`, even if the log start has passed that.
pub(super) async fn unit_starting(
    reader: &TierReader,
    manifest: &Manifest,
    start: Offset,
) -> Result<Option<Arc<UnitMeta>>, TierError> {
    let at = |units: &[Arc<UnitMeta>]| {
        let found = units.partition_point(|unit| unit.start < start);
        units.get(found).filter(|unit| unit.start == start).cloned()
    };
    match manifest.pages().iter().find(|page| page.start <= start && start < page.end) {
        Some(page) => Ok(at(&reader.page(page).await?)),
        None => Ok(at(manifest.recent())),
    }
}

#[cfg(test)]
#[path = "sweep_tests.rs"]
mod tests;
