//! The leader epochs of a partition, and the offsets at which they began (KIP-101, KIP-320).
//!
//! An [`EpochStart`] says that from an offset on, batches were appended by the leader of an epoch. [`LeaderEpochs`]
//! keeps them in order; it tells a follower or a consumer up to where a log with an older epoch agrees with this one.
//! An epoch in which nothing was appended leaves no trace: the next one starts at the same offset and takes its place.

use crate::offset::{LeaderEpoch, LogEnd, Offset};
use crate::segment::fields::{BadField, Fields};

/// Where an epoch began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// The first offset appended in it, or the log end when it began.
    pub start: Offset,
}

/// Up to where a log that knows an epoch agrees with this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The greatest epoch known here that is not above the one asked for.
    pub epoch: LeaderEpoch,
    /// Where that epoch ended.
    pub end: Offset,
}

/// The epochs of a partition, ascending in epoch and in offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    starts: Vec<EpochStart>,
}

impl LeaderEpochs {
    /// From entries that ascend; `None` if they do not.
    pub fn from_entries(starts: Vec<EpochStart>) -> Option<LeaderEpochs> {
        let epochs = LeaderEpochs { starts };
        epochs_ascend(&epochs).then_some(epochs)
    }

    /// Every epoch with where it began.
    pub fn entries(&self) -> &[EpochStart] {
        &self.starts
    }

    /// The newest epoch.
    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.starts.last().map(|start| start.epoch)
    }

    /// Notes that `epoch` began at `start`, unless it began before. An older epoch than the newest is ignored: it can
    /// only come from a batch that was checked before.
    pub fn begin(&mut self, epoch: LeaderEpoch, start: Offset) {
        if self.latest().is_some_and(|latest| latest >= epoch) {
            return;
        }
        // Epochs that begin here or later had no batch of their own.
        while self.starts.last().is_some_and(|last| last.start >= start) {
            self.starts.pop();
        }
        self.starts.push(EpochStart { epoch, start });
    }

    /// Whether a call of [`LeaderEpochs::begin`] would change anything.
    pub fn would_begin(&self, epoch: LeaderEpoch) -> bool {
        self.latest().is_none_or(|latest| latest < epoch)
    }

    /// The epoch in which `offset` was appended.
    pub fn at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.starts.partition_point(|start| start.start <= offset);
        self.starts.get(after.checked_sub(1)?).map(|start| start.epoch)
    }

    /// Whether a batch of offsets `base..next` may be of `epoch`: no older than what its first offset was appended in, and
    /// no newer than its last one's. Says yes where nothing is known.
    pub fn may_have(&self, epoch: LeaderEpoch, base: Offset, next: Offset) -> bool {
        let newest = next.previous().and_then(|last| self.at(last));
        self.at(base).is_none_or(|oldest| oldest <= epoch) && newest.is_none_or(|newest| epoch <= newest)
    }

    /// The answer to OffsetForLeaderEpoch: `None` if `asked` is above everything known; for the newest epoch the log
    /// end; between two, the older one and where the newer began; below all, `asked` itself and where the first known
    /// one began.
    pub fn end_of(&self, asked: LeaderEpoch, log_end: LogEnd) -> Option<EpochEnd> {
        let latest = self.latest()?;
        if asked > latest {
            return None;
        }
        if asked == latest {
            return Some(EpochEnd { epoch: asked, end: log_end.offset() });
        }
        let above = self.starts.partition_point(|start| start.epoch <= asked);
        let end = self.starts.get(above)?.start;
        let epoch = above.checked_sub(1).and_then(|below| self.starts.get(below)).map_or(asked, |start| start.epoch);
        Some(EpochEnd { epoch, end })
    }

    /// Forgets what lies at or beyond a new log end.
    pub fn truncate_end(&mut self, end: Offset) {
        self.starts.retain(|start| start.start < end);
    }

    /// Forgets what lies before a new log start; the epoch of the start itself begins there now.
    pub fn truncate_start(&mut self, log_start: Offset) {
        let before = self.starts.partition_point(|start| start.start <= log_start);
        if let Some(last) = before.checked_sub(1) {
            self.starts.drain(..last);
            if let Some(first) = self.starts.first_mut() {
                first.start = log_start;
            }
        }
    }

    /// The epochs that offsets of `start..end` were appended in, the first one beginning at `start`.
    pub fn within(&self, start: Offset, end: Offset) -> LeaderEpochs {
        let mut part = self.clone();
        part.truncate_end(end);
        part.truncate_start(start);
        part
    }

    /// `4 count`, then `4 epoch | 8 start` each; big-endian. Checksummed by what holds it.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&(self.starts.len() as u32).to_be_bytes());
        for start in &self.starts {
            bytes.extend_from_slice(&start.epoch.to_wire().to_be_bytes());
            bytes.extend_from_slice(&start.start.to_wire().to_be_bytes());
        }
    }

    /// Reads what [`LeaderEpochs::encode`] wrote.
    ///
    /// # Errors
    /// [`BadField`], also if the entries do not ascend.
    pub fn decode(fields: &mut Fields<'_>) -> Result<LeaderEpochs, BadField> {
        let count = fields.count(12)?;
        let mut starts = Vec::with_capacity(count);
        for _ in 0..count {
            starts.push(EpochStart { epoch: fields.epoch()?, start: fields.offset()? });
        }
        LeaderEpochs::from_entries(starts).ok_or(BadField)
    }
}

/// Epochs and their starts rise together: no offset has two epochs.
pub fn epochs_ascend(epochs: &LeaderEpochs) -> bool {
    epochs.starts.is_sorted_by(|a, b| a.epoch < b.epoch && a.start < b.start)
}

#[cfg(test)]
#[path = "epochs_tests.rs"]
mod tests;
