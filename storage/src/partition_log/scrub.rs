//! Rot in the local part of a partition: found, and made up for from the tier where that has it.

use super::{LookupError, PartitionLog};
use crate::env::Pool;
use crate::env::mutation::{self, Mutation};
use crate::log::{DamagedRange, Rot, Scrubbed};
use crate::offset::Offset;
use crate::segment::{Boundary, SegmentName};
use std::sync::Arc;
use std::time::Duration;

/// Bytes that are read at a time.
const STEP: u64 = 1 << 20;

/// What became of a segment that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is as it was sealed, or gone meanwhile.
    Sound,
    /// It was rotten, and is read from the tier now, with all before it.
    Quarantined(Rot),
    /// It is rotten, and the tier does not have it.
    Damaged(DamagedRange),
}

impl PartitionLog {
    /// Reads a sealed local segment at no more than `rate` bytes a second, checks every batch, and does what is to be done
    /// about rot. `read` hears of the bytes.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn scrub(
        &self,
        name: SegmentName,
        rate: u64,
        read: impl Fn(u64) + Send + Sync,
    ) -> Result<Finding, LookupError> {
        let mut at: Option<Boundary> = None;
        loop {
            let (log, from) = (Arc::clone(&self.log), at);
            match self.env.blocking(Pool::Maintenance, move || log.scrub_step(name, from, STEP)).await?? {
                Scrubbed::Until(next) => {
                    let before = at.map_or(0, |at| at.position.get());
                    let bytes = next.position.get().saturating_sub(before);
                    read(bytes);
                    at = Some(next);
                    self.env.sleep(Duration::from_millis(bytes.saturating_mul(1000) / rate.max(1))).await;
                }
                Scrubbed::Whole | Scrubbed::Gone => return Ok(Finding::Sound),
                Scrubbed::Rotten(rot) => return self.make_up_for(rot).await,
            }
        }
    }

    /// Has the tier stand in for a rotten segment, if it has all of that and of what lies before it; or names what is
    /// damaged.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn make_up_for(&self, rot: Rot) -> Result<Finding, LookupError> {
        let log = Arc::clone(&self.log);
        let tiered = self.tier_has(self.local_start().offset(), rot.end);
        if tiered || mutation::active(Mutation::QuarantinedUntiered) {
            self.env.blocking(Pool::Maintenance, move || log.quarantine(&rot)).await??;
            return Ok(Finding::Quarantined(rot));
        }
        let range = self.env.blocking(Pool::Maintenance, move || log.note_rot(&rot)).await?;
        Ok(range.map_or(Finding::Sound, Finding::Damaged))
    }

    /// Whether everything from `from` to, not including, `to` is in the tier.
    fn tier_has(&self, from: Offset, to: Offset) -> bool {
        self.manifest().is_some_and(|manifest| {
            let any = manifest.last().is_some() || !manifest.pages().is_empty();
            any && manifest.first_start() <= from && to <= manifest.end().offset()
        })
    }
}
