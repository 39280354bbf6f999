//! What the tier log says: the records of its commits, and what becomes of each when it is replayed.

use super::manifest::{PageRef, Refusal};
use super::swap::Swap;
use super::unit::{Revision, UnitMeta};
use crate::offset::{LeaderEpoch, Offset, PartitionId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A record of the tier log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TierRecord {
    /// The leader of `epoch` opens a partition: units of older epochs are refused from here on.
    Open {
        /// The partition.
        partition: PartitionId,
        /// The leader's epoch.
        epoch: LeaderEpoch,
    },
    /// A unit that was uploaded.
    Unit(UnitMeta),
    /// Everything of a partition before `offset` is gone: by retention, or because its records were deleted.
    LogStart {
        /// The partition.
        partition: PartitionId,
        /// The leader's epoch: the fence.
        epoch: LeaderEpoch,
        /// The first offset that remains.
        offset: Offset,
    },
    /// Everything that the tier has of a partition is given up, and its log starts at `offset`. What is uploaded from
    /// here on may count again; what was begun before never does.
    Leave {
        /// The partition.
        partition: PartitionId,
        /// The leader's epoch: the fence.
        epoch: LeaderEpoch,
        /// The first offset that remains, which is not in the tier.
        offset: Offset,
    },
    /// The oldest units that were listed one by one are in a page now.
    Page {
        /// The partition.
        partition: PartitionId,
        /// The page.
        page: PageRef,
    },
    /// Adjacent units are replaced by their rewrite.
    Swap(Swap),
    /// A partition and all of its units are gone, with its topic.
    Remove {
        /// The partition.
        partition: PartitionId,
    },
    /// The object is about to be deleted: nothing that names it is accepted from here on.
    Doom {
        /// The object's key.
        key: Arc<str>,
        /// What of it could still be accepted as uploaded: the partitions and starts of units.
        starts: Vec<(PartitionId, Offset)>,
        /// What of it could still be accepted as rewritten, a page included: the partitions, and the revisions that it
        /// was made of, which end with this.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        rewrites: Vec<(PartitionId, Revision)>,
    },
}

/// What became of a record when it was replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It took effect.
    Applied,
    /// It changed nothing.
    Ignored(Refusal),
}

impl Verdict {
    /// Whether the record took effect.
    pub fn is_applied(self) -> bool {
        self == Verdict::Applied
    }
}
