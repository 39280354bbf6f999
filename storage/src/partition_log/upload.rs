//! What the tier asks of a partition's local log: see [`UnitSource`].

use super::PartitionLog;
use crate::log::{Log, LogError, ReadError};
use crate::offset::{HighWatermark, LeaderEpoch, Offset};
use crate::tier::{PartitionView, SegmentView, SourceChunk, TailLimits, TierError, UnitSource, UnitState};
use std::sync::Arc;

/// A local log, read to be uploaded.
struct LocalSource(Arc<Log>);

impl PartitionLog {
    /// The local part, to be read for an upload.
    pub fn upload_source(&self) -> Arc<dyn UnitSource> {
        Arc::new(LocalSource(Arc::clone(&self.log)))
    }

    /// What the upload planner looks at. `enabled` says whether the topic is tiered.
    ///
    /// Only what is synced, committed and below the last stable offset may be uploaded: it can never be truncated.
    pub fn upload_view(
        &self,
        epoch: LeaderEpoch,
        committed: HighWatermark,
        tail: TailLimits,
        enabled: bool,
    ) -> PartitionView {
        let stable = self.last_stable(committed).offset();
        // What is damaged, and not in the tier, is waited for: units have no holes.
        let whole = self.lost().next().map_or(stable, |damaged| damaged.from.offset.min(stable));
        let segments = self.log.segments().into_iter().map(|segment| SegmentView {
            base: segment.name.base,
            end: segment.end,
            bytes: segment.bytes,
            sealed: segment.sealed,
        });
        PartitionView {
            partition: self.id(),
            leader_epoch: epoch,
            enabled,
            tail,
            uploadable_end: whole.min(self.synced_end().offset()),
            segments: segments.collect(),
        }
    }
}

impl UnitSource for LocalSource {
    fn read_chunk(&self, from: Offset, upto: Offset, max_bytes: usize) -> Result<SourceChunk, TierError> {
        let chunk = self.0.upload_chunk(from, upto, max_bytes as u64).inspect_err(|error| {
            // What is not uploaded yet cannot be in the tier.
            if let ReadError::Log(LogError::Corrupt { segment, .. }) = error {
                self.0.note_rot_of(*segment);
            }
        });
        let chunk = chunk.map_err(tier_error)?;
        let next = if chunk.bytes.is_empty() { upto } else { chunk.next };
        Ok(SourceChunk { bytes: chunk.bytes, next })
    }

    fn is_sparse(&self) -> bool {
        self.0.segments().iter().any(|segment| segment.name.is_cleaned())
    }

    fn state_at(&self, start: Offset, end: Offset) -> Result<UnitState, TierError> {
        let producers = self.0.encoded_producers_at(end).map_err(|error| tier_error(error.into()))?;
        let epochs = self.0.epochs_before(end).into_iter().map(|start| (start.epoch, start.start)).collect();
        // What is uploaded is stable, so all that overlaps it has ended, if only after it.
        let aborted = self.0.aborted_between(start, end).map_err(|error| tier_error(error.into()))?;
        Ok(UnitState { producers, epochs, aborted })
    }
}

fn tier_error(error: ReadError) -> TierError {
    match error {
        ReadError::BelowLocalStart { .. } => TierError::Gone { key: "the local log".into() },
        ReadError::Log(LogError::Corrupt { .. }) => TierError::corrupt("the local log", error),
        error => TierError::Retry { reason: error.to_string() },
    }
}
