//! Look-ups by time and by leader epoch.

use super::{LookupError, PartitionLog};
use crate::env::{Pool, Timestamp};
use crate::log::LogError;
use crate::offset::{LeaderEpoch, Offset};
use crate::tier::{Manifest, TierError};
use esker_protocol::record::RecordPosition;
use std::sync::Arc;

/// A record that a look-up found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// The leader epoch in which it was appended, if known.
    pub epoch: Option<LeaderEpoch>,
}

impl PartitionLog {
    /// The first record below `upto` whose timestamp is `target` or later.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn at_timestamp(&self, target: Timestamp, upto: Offset) -> Result<Option<Found>, LookupError> {
        // Whether the disk has something that is not as it was written: the tier is asked, even if it has nothing older.
        let mut is_rotten = false;
        loop {
            let local_start = self.local_start();
            // What is older comes first. The tier has everything from the log start to its end, so what it finds is the
            // answer, even if it is on the disk too: it may be dropped from there at any time.
            if let Some(manifest) = if is_rotten { self.manifest() } else { self.older_in_tier() } {
                let found = match self.tier.reader.offset_for_timestamp(&manifest, target).await {
                    // It was replaced, or retention passed by.
                    Err(TierError::Gone { .. }) if self.has_moved_on_from(&manifest) => continue,
                    found => found?,
                };
                if let Some(found) = self.known(found) {
                    return Ok(Some(found).filter(|found| found.offset < upto));
                }
            }
            let log = Arc::clone(&self.log);
            let found = self.env.blocking(Pool::Cold, move || log.offset_for_timestamp(target, upto)).await?;
            if matches!(found, Err(LogError::Corrupt { .. })) && !std::mem::replace(&mut is_rotten, true) {
                continue;
            }
            // Segments that were dropped meanwhile were perhaps looked at on neither side. Each turn takes one drop.
            if self.local_start() == local_start {
                return Ok(self.known(found?));
            }
        }
    }

    /// The first record with the greatest timestamp.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn max_timestamp(&self) -> Result<Option<Found>, LookupError> {
        let log = Arc::clone(&self.log);
        let local = self.env.blocking(Pool::Cold, move || log.max_timestamp_offset()).await?;
        let local = self.known(local?);
        let tiered = loop {
            let Some(manifest) = self.older_in_tier() else { return Ok(local) };
            match self.tier.reader.max_timestamp_offset(&manifest).await {
                Err(TierError::Gone { .. }) if self.has_moved_on_from(&manifest) => {}
                found => break self.known(found?),
            }
        };
        // Of equal ones the first.
        Ok(match (tiered, local) {
            (Some(tiered), Some(local)) if local.timestamp > tiered.timestamp => Some(local),
            (Some(tiered), _) => Some(tiered),
            (None, local) => local,
        })
    }

    /// What the tier has, if it has anything that the local disk has not.
    fn older_in_tier(&self) -> Option<Arc<Manifest>> {
        if self.log_start().offset() >= self.local_start().offset() {
            return None;
        }
        self.manifest()
    }

    fn has_moved_on_from(&self, manifest: &Arc<Manifest>) -> bool {
        self.manifest().is_none_or(|newest| !Arc::ptr_eq(&newest, manifest))
    }

    fn known(&self, position: Option<RecordPosition>) -> Option<Found> {
        let position = position?;
        let offset = Offset::from_wire(position.offset)?;
        let timestamp = Timestamp::from_millis(position.timestamp);
        Some(Found { offset, timestamp, epoch: self.log.epoch_at(offset) })
    }

    /// The leader epoch in which the record at `offset` was, or would be, appended.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn epoch_at(&self, offset: Offset) -> Result<Option<LeaderEpoch>, LookupError> {
        Ok(self.log.epoch_at(offset))
    }

    /// Where `epoch` ended: the greatest known epoch that is not above it, and one past its last offset. `None` for an
    /// epoch above all known.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn end_of_epoch(&self, epoch: LeaderEpoch) -> Result<Option<(LeaderEpoch, Offset)>, LookupError> {
        Ok(self.local_end_of_epoch(epoch))
    }

    /// As [`PartitionLog::end_of_epoch`], from what is in memory.
    pub fn local_end_of_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.log.end_offset_for_epoch(epoch).map(|end| (end.epoch, end.end))
    }
}
