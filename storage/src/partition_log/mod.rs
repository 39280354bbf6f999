//! One partition's log, wherever its bytes are: the local log, continued downwards by the tier.
//!
//! ```text
//!   read(offset) -- offset >= local start --> local log: hot (mapped) or cold (the disk)
//!                `- offset <  local start --> tier: unit -> ranged GETs -> whole batches
//! ```
//!
//! A **read** ([`Read`]) is hot when its bytes can go to a socket at once, and cold when they must be fetched first: by
//! a [`Source`], which [`PartitionLog::complete`] brings into memory, from the disk or from the object store. Look-ups
//! by time or leader epoch ask both sides. What is in both is read locally.

mod complaints;
mod error;
mod invariants;
mod lookup;
mod open;
mod read;
mod retention;
mod scrub;
mod upload;

pub use error::{LookupError, ReadError};
pub use invariants::{Marks, broken_rule};
pub use lookup::Found;
pub use open::OpenError;
pub use read::{Read, Records, Source, Want};
pub use retention::Retention;
pub use scrub::Finding;

use crate::compaction::EVERYTHING;
use crate::env::{Env, Timestamp};
use crate::log::{AppendError, Appended, Log, LogConfig};
use crate::offset::{
    HighWatermark, LastStable, LeaderEpoch, LocalStart, LogEnd, LogStart, Offset, PartitionId, SyncedEnd,
};
use crate::tier::{Manifest, TierCommits, TierReader};
use complaints::Complaints;
use esker_protocol::record::ValidatedBatch;
use parking_lot::Mutex;
use std::sync::Arc;

/// What the logs of a broker share of the tier.
#[derive(Clone)]
pub struct Tier {
    /// The tier log, and its newest image.
    pub commits: TierCommits,
    /// Reads what left the local disks.
    pub reader: Arc<TierReader>,
}

/// A partition's log.
pub struct PartitionLog {
    env: Env,
    log: Arc<Log>,
    tier: Tier,
    /// Of reads from the tier.
    complaints: Mutex<Complaints>,
}

impl PartitionLog {
    /// The log of which `log` is the local part, and `tier` has the rest.
    pub fn new(env: Env, log: Arc<Log>, tier: Tier) -> PartitionLog {
        PartitionLog { env, log, tier, complaints: Mutex::default() }
    }

    /// What the tier has of the partition now; `None` if it was never opened there.
    pub fn manifest(&self) -> Option<Arc<Manifest>> {
        self.tier.commits.image().get(&self.id()).cloned()
    }

    /// Whose log it is.
    pub fn id(&self) -> PartitionId {
        self.log.id()
    }

    /// The local part.
    pub fn local(&self) -> &Arc<Log> {
        &self.log
    }

    /// Changes its settings, from the next append on.
    pub fn configure(&self, config: LogConfig) {
        self.log.set_config(config);
    }

    /// Below which offset local tombstones have nothing left to hide. Where the tier has something of the partition, an
    /// older record may be there still, and be read again once the local copy of it is gone: a local tombstone waits until
    /// passes over the tier have come as far as `tier_cleaned_to`.
    pub fn clean_below(&self, tier_cleaned_to: Option<Offset>) -> Offset {
        let tiered = self.manifest().is_some_and(|manifest| manifest.last().is_some() || !manifest.pages().is_empty());
        if tiered || self.local_start().offset() > self.log_start().offset() {
            return tier_cleaned_to.unwrap_or(Offset::ZERO);
        }
        EVERYTHING
    }

    /// Up to where the local log may be compacted: what is committed and stable; and where it is copied to the tier, only
    /// what the tier has as well, so that uploads read what was appended.
    pub fn compactable_end(&self, committed: HighWatermark, copied: bool) -> Offset {
        let stable = self.last_stable(committed).offset();
        if !copied {
            return stable;
        }
        stable.min(self.manifest().map_or(Offset::ZERO, |manifest| manifest.end().offset()))
    }

    /// Appends a batch as the leader of `epoch`.
    ///
    /// # Errors
    /// [`AppendError`]; nothing was appended then.
    pub fn append(&self, batch: ValidatedBatch, epoch: LeaderEpoch, now: Timestamp) -> Result<Appended, AppendError> {
        self.log.append(batch, epoch, now)
    }

    /// Whether the directory of the local part has failed: nothing is appended, read or synced any more.
    pub fn is_failed(&self) -> bool {
        self.log.dir().failure().is_some()
    }

    /// The first offset that there still is. What the tier has committed counts from then on, though the local part
    /// follows a little later.
    pub fn log_start(&self) -> LogStart {
        let tiered = self.manifest().map(|manifest| manifest.log_start()).unwrap_or_default();
        self.log.log_start().max(tiered)
    }

    /// The first offset on the local disk.
    pub fn local_start(&self) -> LocalStart {
        self.log.local_start()
    }

    /// One past the last record.
    pub fn log_end(&self) -> LogEnd {
        self.log.log_end()
    }

    /// One past the last record that is synced.
    pub fn synced_end(&self) -> SyncedEnd {
        self.log.synced_end()
    }

    /// The last tiered offset and its leader epoch.
    pub fn last_tiered(&self) -> Option<(Offset, LeaderEpoch)> {
        let manifest = self.manifest()?;
        let last = manifest.last()?;
        Some((last.end.previous()?, last.last_epoch))
    }

    /// One past the last record that this replica vouches for: see [`Log::durable_end`].
    pub fn durable_end(&self) -> Offset {
        self.log.durable_end()
    }

    /// Up to where `read_committed` may read.
    pub fn last_stable(&self, high_watermark: HighWatermark) -> LastStable {
        self.log.last_stable(high_watermark)
    }
}

impl std::fmt::Debug for PartitionLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.log.fmt(f)
    }
}

#[cfg(test)]
#[path = "partition_log_tests.rs"]
mod tests;
