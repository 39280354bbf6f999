//! The tier at one commit: an immutable image, cheap to clone.
//!
//! Partitions are spread over shards by a hash of their topic's id. An image shares with the one before it every shard
//! that no record touched, and a snapshot rewrites only those that differ from the last snapshot's.

use super::manifest::{Manifest, Refusal};
use super::record::{TierRecord, Verdict};
use super::unit::Revision;
use crate::env::mutation::{self, Mutation};
use crate::offset::{Offset, PartitionId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many shards there are. Every root snapshot records it.
pub const SHARDS: usize = 64;

/// The manifests of one shard.
pub(super) type Shard = BTreeMap<PartitionId, Arc<Manifest>>;
/// Objects about to be deleted, with what of each could still be accepted.
pub(super) type Doomed = BTreeMap<Arc<str>, Vec<(PartitionId, Offset)>>;

/// What the tier holds, after one commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierImage {
    pub(super) number: u64,
    pub(super) shards: Vec<Arc<Shard>>,
    pub(super) doomed: Arc<Doomed>,
}

impl Default for TierImage {
    fn default() -> TierImage {
        TierImage { number: 0, shards: vec![Arc::default(); SHARDS], doomed: Arc::default() }
    }
}

/// The shard of a partition.
pub(super) fn shard_of(partition: &PartitionId) -> usize {
    crc32fast::hash(partition.topic.as_bytes()) as usize % SHARDS
}

impl TierImage {
    /// The commit that it follows; 0 for none.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What the tier has of a partition; `None` if it was never opened or is removed.
    pub fn get(&self, partition: &PartitionId) -> Option<&Arc<Manifest>> {
        self.shards.get(shard_of(partition))?.get(partition)
    }

    /// Every partition with its manifest, shard by shard.
    pub fn partitions(&self) -> impl Iterator<Item = (&PartitionId, &Arc<Manifest>)> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    /// Whether an object is about to be deleted.
    pub fn is_doomed(&self, key: &str) -> bool {
        self.doomed.contains_key(key)
    }

    /// How many objects are doomed.
    pub fn doomed_len(&self) -> usize {
        self.doomed.len()
    }

    /// The image after commit `number`, and what became of each of its records. Pure: every broker that replays the
    /// same commits comes to the same images.
    #[must_use]
    pub fn replay(&self, number: u64, records: &[TierRecord]) -> (TierImage, Vec<Verdict>) {
        let mut image = self.clone();
        let verdicts = records
            .iter()
            .map(|record| match image.apply(record) {
                Ok(()) => {
                    image.forget_doomed();
                    Verdict::Applied
                }
                Err(refusal) => Verdict::Ignored(refusal),
            })
            .collect();
        image.number = number;
        (image, verdicts)
    }

    fn apply(&mut self, record: &TierRecord) -> Result<(), Refusal> {
        match record {
            TierRecord::Open { partition, epoch } => self.change(partition, |manifest| manifest.open(*epoch)),
            TierRecord::Unit(unit) if self.is_doomed(&unit.key) && !mutation::active(Mutation::DoomedUnitAccepted) => {
                Err(Refusal::Doomed)
            }
            TierRecord::Unit(unit) => self.change_known(&unit.partition, |manifest| manifest.add(unit)),
            TierRecord::LogStart { partition, epoch, offset } => {
                self.change_known(partition, |manifest| manifest.start_at(*epoch, *offset))
            }
            TierRecord::Leave { partition, epoch, offset } => {
                self.change_known(partition, |manifest| manifest.leave(*epoch, *offset))
            }
            TierRecord::Page { page, .. } if self.is_doomed(&page.key) => Err(Refusal::Doomed),
            TierRecord::Page { partition, page } => self.change_known(partition, |manifest| manifest.fold(page)),
            TierRecord::Remove { partition } => {
                let removed = self.shard_mut(partition).and_then(|shard| shard.remove(partition));
                if removed.is_some() { Ok(()) } else { Err(Refusal::Stale) }
            }
            TierRecord::Swap(swap) if swap.units().any(|unit| self.is_doomed(&unit.key)) => Err(Refusal::Doomed),
            TierRecord::Swap(swap) => self.change_known(&swap.partition, |manifest| manifest.swap(swap)),
            TierRecord::Doom { key, starts, rewrites } => self.doom(key, starts, rewrites),
        }
    }

    /// An object may be doomed only while none of its parts can have been accepted since its sweeper looked. What of it
    /// was uploaded is remembered; what was rewritten needs no more than that its revision is over.
    fn doom(
        &mut self,
        key: &Arc<str>,
        starts: &[(PartitionId, Offset)],
        rewrites: &[(PartitionId, Revision)],
    ) -> Result<(), Refusal> {
        let uploaded = |(partition, start): &(PartitionId, Offset)| {
            self.get(partition).is_some_and(|manifest| !manifest.could_accept(*start))
        };
        let swapped = |(partition, revision): &(PartitionId, Revision)| {
            self.get(partition).is_some_and(|manifest| manifest.revision() > *revision)
        };
        if starts.iter().any(uploaded) || rewrites.iter().any(swapped) || self.is_doomed(key) {
            return Err(Refusal::Stale);
        }
        for (partition, revision) in rewrites {
            // One that is gone accepts nothing anyway.
            let _ = self.change_known(partition, |manifest| {
                manifest.rule_out(*revision);
                Ok(())
            });
        }
        if !starts.is_empty() {
            Arc::make_mut(&mut self.doomed).insert(Arc::clone(key), starts.to_vec());
        }
        Ok(())
    }

    /// Drops what no record could name any more, so that the doomed do not pile up.
    fn forget_doomed(&mut self) {
        let live = |starts: &[(PartitionId, Offset)]| {
            starts
                .iter()
                .any(|(partition, start)| self.get(partition).is_some_and(|manifest| manifest.could_accept(*start)))
        };
        let over: Vec<Arc<str>> =
            self.doomed.iter().filter(|(_, starts)| !live(starts)).map(|(key, _)| Arc::clone(key)).collect();
        if !over.is_empty() {
            let doomed = Arc::make_mut(&mut self.doomed);
            for key in over {
                doomed.remove(&key);
            }
        }
    }

    fn shard_mut(&mut self, partition: &PartitionId) -> Option<&mut Shard> {
        self.shards.get_mut(shard_of(partition)).map(Arc::make_mut)
    }

    fn change(
        &mut self,
        partition: &PartitionId,
        change: impl FnOnce(&mut Manifest) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let mut manifest = self.get(partition).map(|manifest| Manifest::clone(manifest)).unwrap_or_default();
        change(&mut manifest)?;
        if let Some(shard) = self.shard_mut(partition) {
            shard.insert(*partition, Arc::new(manifest));
        }
        Ok(())
    }

    fn change_known(
        &mut self,
        partition: &PartitionId,
        change: impl FnOnce(&mut Manifest) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        match self.get(partition) {
            Some(_) => self.change(partition, change),
            None => Err(Refusal::Fenced { open: None }),
        }
    }
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
