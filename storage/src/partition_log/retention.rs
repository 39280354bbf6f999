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
use crate::log::retention::{RetentionConfig, RetentionState, active_is_expired, plan};
use crate::log::{LogError, SegmentInfo};
use crate::offset::{HighWatermark, LeaderEpoch, LogStart, Offset, TierEnd};
use crate::tier::{Manifest, TierError, TierRecord, TotalRetention, Verdict, expired_before};
use std::sync::Arc;
use std::time::Duration;

/// What a partition keeps, and who asks.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// What is kept.
    pub keep: RetentionConfig,
    /// Whether all that the tier has is to go, and the log to start where the local part does
    /// (`remote.log.delete.on.disable`).
    pub leaves_tier: bool,
    /// The leader's epoch.
    pub epoch: LeaderEpoch,
    /// Nothing at or beyond it is taken.
    pub committed: HighWatermark,
    /// How long a commit that moves the log start through the tier may wait for others; what it frees is freed by a
    /// later call then.
    pub patience: Duration,
}

impl PartitionLog {
    /// Takes what retention no longer keeps. Waits for the store where the log start moves through the tier.
    ///
    /// # Errors
    /// [`LookupError`]; what was taken until then is gone, the rest is for the next time.
    pub async fn retain(&self, retention: Retention, now: Timestamp) -> Result<(), LookupError> {
        if let Some(manifest) = self.manifest() {
            // Its commit may have been waited for in vain, and have come later.
            if manifest.log_start() > self.log.log_start() {
                self.move_local_start(manifest.log_start()).await?;
            }
            if retention.leaves_tier {
                self.leave_tier(&manifest, retention.epoch).await?;
            }
            self.retain_tier(&manifest, &retention, now).await?;
        }
        let manifest = self.manifest();
        let tiered = manifest.as_ref().filter(|manifest| manifest.last().is_some() || !manifest.pages().is_empty());
        let mut segments = self.log.segments();
        if active_is_expired(&segments, retention.committed.offset(), &retention.keep, now) {
            let log = Arc::clone(&self.log);
            self.env.blocking(Pool::Maintenance, move || log.roll(now)).await??;
            segments = self.log.segments();
        }
        let state = RetentionState {
            segments: &segments,
            log_start: self.log_start(),
            tier_end: self.end_of_copies(tiered.map(|manifest| manifest.end())),
            upto: retention.committed.offset(),
        };
        let plan = plan(&state, &retention.keep, now);
        if let Some(start) = plan.log_start {
            self.move_log_start(start, retention.epoch, retention.patience).await?;
        }
        // What total retention takes goes once the log start has moved, and that may have to wait.
        let taken = self.log_start().offset().max(state.tier_end.map(TierEnd::offset).unwrap_or_default());
        let drop_before = plan.drop_before.map(|before| before.min(taken)).filter(|before| *before > Offset::ZERO);
        if let Some(before) = drop_before {
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
        let tail_bytes = bytes_beyond(&self.log.segments(), manifest);
        let expired = expired_before(&self.tier.reader, manifest, total, tail_bytes, now).await?;
        if let Some(before) = expired.filter(|before| *before > self.log_start().offset()) {
            self.move_log_start(LogStart::at(before), retention.epoch, retention.patience).await?;
        }
        Ok(())
    }

    /// Deletes every record before `start`, wherever it is; where the log starts then. When this returns, that survives a
    /// crash, and a lost disk too. Waits for the store.
    ///
    /// # Errors
    /// [`LookupError`]: the records may be gone, and may come back.
    pub async fn delete_before(&self, start: LogStart, epoch: LeaderEpoch) -> Result<LogStart, LookupError> {
        if start > self.log_start() {
            self.move_log_start(start, epoch, Duration::ZERO).await?;
        } else {
            // Whoever moved it this far may not have saved that yet.
            self.move_local_start(start).await?;
        }
        Ok(self.log_start())
    }

    /// Gives up everything that the tier has. What may be uploaded later begins where the local part starts; what is
    /// being uploaded now does not count any more, even if it begins just there.
    async fn leave_tier(&self, manifest: &Manifest, epoch: LeaderEpoch) -> Result<(), LookupError> {
        if manifest.last().is_none() && manifest.pages().is_empty() || manifest.open_epoch() != Some(epoch) {
            return Ok(());
        }
        let (partition, start) = (self.id(), LogStart::at(self.local_start().offset()));
        let record = TierRecord::Leave { partition, epoch, offset: start.offset() };
        if let Some(Verdict::Ignored(refusal)) = self.tier.commits.commit(vec![record]).await?.first() {
            return Err(
                TierError::Retry { reason: format!("the partition could not leave the tier: {refusal}") }.into()
            );
        }
        tracing::info!(%partition, log_start = %start, "the partition left the tier");
        self.move_local_start(start).await
    }

    /// Moves the log start, in the tier first: a broker that starts with an empty disk must not have records back that
    /// others were told are gone.
    async fn move_log_start(&self, start: LogStart, epoch: LeaderEpoch, patience: Duration) -> Result<(), LookupError> {
        let record = TierRecord::LogStart { partition: self.id(), epoch, offset: start.offset() };
        if !patience.is_zero() {
            return Ok(self.tier.commits.post(patience, vec![record]).await?);
        }
        let verdicts = self.tier.commits.commit(vec![record]).await?;
        if let Some(Verdict::Ignored(refusal)) = verdicts.first()
            && self.manifest().is_none_or(|manifest| manifest.log_start() < start)
        {
            return Err(TierError::Retry { reason: format!("the log start could not be moved: {refusal}") }.into());
        }
        self.move_local_start(start).await
    }

    /// Moves the log start of the local part after the tier's.
    async fn move_local_start(&self, start: LogStart) -> Result<(), LookupError> {
        let log = Arc::clone(&self.log);
        match self.env.blocking(Pool::Maintenance, move || log.advance_log_start(start)).await? {
            // The tier log has it already. Who waited for room here would wait for what only retention makes.
            Err(LogError::NoSpace) => {
                tracing::warn!(partition = %self.id(), log_start = %start, "no room to record the log start");
            }
            moved => moved?,
        }
        tracing::debug!(partition = %self.id(), log_start = %start, "the log start moved");
        Ok(())
    }
}

/// Bytes of local segments that the tier lacks, and never more than that: of a segment that is uploaded in part, what the
/// tier's newest units have of it is not counted again. A unit that begins before the segment counts as its whole.
fn bytes_beyond(segments: &[SegmentInfo], manifest: &Manifest) -> u64 {
    let end = manifest.end().offset();
    let beyond = segments.iter().filter(|segment| segment.end > end);
    let tiered = |base: Offset| -> u64 {
        manifest.recent().iter().filter(|unit| unit.end > base).map(|unit| unit.data.len()).sum()
    };
    beyond.map(|segment| segment.bytes.saturating_sub(tiered(segment.name.base))).sum()
}
