//! Retention of a partition: what leaves the tier for good, what leaves the local disk.
//!
//! ```text
//!   total retention: tier units first (a commit moves the log start), then local segments
//!   local retention: segments whose every record the tier has, by its newest committed image
//! ```
//!
//! A local copy goes only after the commit that makes its records visible in the tier.

use super::{LookupError, PartitionLog};
use crate::env::mutation::{self, Mutation};
use crate::env::{Pool, Timestamp};
use crate::log::retention::{RetentionConfig, RetentionState, plan};
use crate::offset::{HighWatermark, LeaderEpoch, LogStart, Offset, TierEnd};
use crate::tier::{Manifest, TierError, TierRecord, TotalRetention, Verdict, expired_before};
use std::sync::Arc;

/// What a partition keeps, and who asks.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// What is kept.
    pub keep: RetentionConfig,
    /// The leader's epoch.
    pub epoch: LeaderEpoch,
    /// Nothing at or beyond it is taken.
    pub committed: HighWatermark,
}

impl PartitionLog {
    /// Takes what retention no longer keeps. Waits for the store where the log start moves through the tier.
    ///
    /// # Errors
    /// [`LookupError`]; what was taken until then is gone, the rest is for the next time.
    pub async fn retain(&self, retention: Retention, now: Timestamp) -> Result<(), LookupError> {
        if let Some(manifest) = self.manifest() {
            self.retain_tier(&manifest, &retention, now).await?;
        }
        let manifest = self.manifest();
        let tiered = manifest.as_ref().filter(|manifest| manifest.last().is_some() || !manifest.pages().is_empty());
        let segments = self.log.segments();
        let local_start = self.local_start().offset();
        let state = RetentionState {
            segments: &segments,
            log_start: self.log_start(),
            tier_end: self.end_of_copies(tiered.map(|manifest| manifest.end())),
            tier_bytes_below: tiered.map_or(0, |manifest| bytes_below(manifest, local_start)),
            upto: retention.committed.offset(),
        };
        let plan = plan(&state, &retention.keep, now);
        if let Some(start) = plan.log_start {
            self.move_log_start(start, retention.epoch).await?;
        }
        if let Some(before) = plan.drop_before {
            let log = Arc::clone(&self.log);
            let freed = self.env.blocking(Pool::Maintenance, move || log.drop_local_before(before)).await??;
            if freed > 0 {
                tracing::debug!(partition = %self.id(), %before, freed, "dropped local segments");
            }
        }
        Ok(())
    }

    /// Up to where local copies may go.
    fn end_of_copies(&self, committed: Option<TierEnd>) -> Option<TierEnd> {
        if mutation::active(Mutation::LocalDropBeforeCommit) {
            return Some(TierEnd::at(self.synced_end().offset()));
        }
        committed
    }

    /// Total retention, as far as it concerns the tier.
    async fn retain_tier(
        &self,
        manifest: &Arc<Manifest>,
        retention: &Retention,
        now: Timestamp,
    ) -> Result<(), LookupError> {
        let total = TotalRetention { ms: retention.keep.total_ms, bytes: retention.keep.total_bytes };
        let end = manifest.end().offset();
        let beyond = self.log.segments().into_iter().filter(|segment| segment.end > end);
        let tail_bytes = beyond.map(|segment| segment.bytes).sum();
        let expired = expired_before(&self.tier.reader, manifest, total, tail_bytes, now).await?;
        if let Some(before) = expired.filter(|before| *before > self.log_start().offset()) {
            self.move_log_start(LogStart::at(before), retention.epoch).await?;
        }
        Ok(())
    }

    /// Moves the log start, in the tier first: a broker that starts with an empty disk must not have records back that
    /// others were told are gone.
    async fn move_log_start(&self, start: LogStart, epoch: LeaderEpoch) -> Result<(), LookupError> {
        let record = TierRecord::LogStart { partition: self.id(), epoch, offset: start.offset() };
        let verdicts = self.tier.commits.commit(vec![record]).await?;
        if let Some(Verdict::Ignored(refusal)) = verdicts.first()
            && self.manifest().is_none_or(|manifest| manifest.log_start() < start)
        {
            return Err(TierError::Retry { reason: format!("the log start could not be moved: {refusal}") }.into());
        }
        let log = Arc::clone(&self.log);
        self.env.blocking(Pool::Maintenance, move || log.advance_log_start(start)).await??;
        tracing::debug!(partition = %self.id(), log_start = %start, "retention moved the log start");
        Ok(())
    }
}

/// Bytes of units that end at or before `offset`, about: the units that are listed one by one are counted exactly,
/// those in pages count as a whole when their page ends there.
fn bytes_below(manifest: &Manifest, offset: Offset) -> u64 {
    let beyond: u64 = manifest.recent().iter().filter(|unit| unit.end > offset).map(|unit| unit.data.len()).sum();
    manifest.bytes().saturating_sub(beyond)
}
