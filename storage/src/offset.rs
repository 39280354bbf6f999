//! Offsets: where a record stands in its partition, one type for each of the marks that a log keeps.
//!
//! A plain [`Offset`] counts records. The marks below are different types because mixing them up loses data: a high
//! watermark is not a log end. They convert by named functions only (`mark.offset()`, `LogEnd::at(offset)`), never by
//! a cast or an operator.
//!
//! ```text
//!  log start      last tiered     local start      last stable    high watermark     log end
//!      |---- in the object store ----|
//!                                   |------------------ on the local disk -----------------|
//! ```
//!
//! (Local start is at most one past the last tiered offset: the two ranges overlap or touch.)

use serde::{Deserialize, Serialize};
use std::fmt;

/// The position of a record in a partition: 0 for the first one ever written.
///
/// Never negative; the protocol's sentinels (-1, -2, ...) stay at the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(u64);

impl Offset {
    /// The first offset of a partition.
    pub const ZERO: Offset = Offset(0);

    /// The offset `n`.
    pub const fn new(n: u64) -> Offset {
        Offset(n)
    }

    /// From the wire or a batch header; `None` for a negative number.
    pub fn from_wire(n: i64) -> Option<Offset> {
        u64::try_from(n).ok().map(Offset)
    }

    /// As the protocol and batch headers write it.
    pub const fn to_wire(self) -> i64 {
        self.0 as i64
    }

    /// The number itself.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// `records` further on.
    #[must_use]
    pub const fn plus(self, records: u64) -> Offset {
        Offset(self.0 + records)
    }

    /// The offset after this one.
    #[must_use]
    pub const fn next(self) -> Offset {
        Offset(self.0 + 1)
    }

    /// The offset before this one; `None` at zero.
    pub const fn previous(self) -> Option<Offset> {
        match self.0.checked_sub(1) {
            Some(n) => Some(Offset(n)),
            None => None,
        }
    }

    /// How many offsets lie between `start` and this one; 0 when `start` is not before it.
    pub const fn since(self, start: Offset) -> u64 {
        self.0.saturating_sub(start.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! marks {
    ($($(#[$doc:meta])* $name:ident,)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Offset);

        impl $name {
            /// The mark at `offset`.
            pub const fn at(offset: Offset) -> $name {
                $name(offset)
            }

            /// Where the mark stands.
            pub const fn offset(self) -> Offset {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

marks! {
    /// The first offset that the partition still has, wherever it is.
    LogStart,
    /// The first offset on this broker's disk; everything before it is in the tier or gone.
    LocalStart,
    /// The first offset not yet tiered: one past the last tiered offset.
    TierEnd,
    /// The first offset of an open transaction, or the high watermark: `read_committed` stops below it.
    LastStable,
    /// One past the last offset that every in-sync replica has as durably as `log.durability` asks.
    HighWatermark,
    /// One past the last offset that this broker's disk would still have after a power cut.
    SyncedEnd,
    /// One past the last offset appended here.
    LogEnd,
}

/// A byte position in a file or an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FilePosition(u64);

impl FilePosition {
    /// The position `bytes` from the start.
    pub const fn new(bytes: u64) -> FilePosition {
        FilePosition(bytes)
    }

    /// Bytes from the start.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// Kafka's leader epoch: rises each time a partition gets a leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaderEpoch(u32);

impl LeaderEpoch {
    /// The epoch `n`.
    pub const fn new(n: u32) -> LeaderEpoch {
        LeaderEpoch(n)
    }

    /// From the wire or a batch header; `None` for a negative number.
    pub fn from_wire(n: i32) -> Option<LeaderEpoch> {
        u32::try_from(n).ok().map(LeaderEpoch)
    }

    /// As the protocol and batch headers write it.
    pub const fn to_wire(self) -> i32 {
        self.0 as i32
    }

    /// The number itself.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The epoch after this one.
    #[must_use]
    pub const fn next(self) -> LeaderEpoch {
        LeaderEpoch(self.0 + 1)
    }
}

impl fmt::Display for LeaderEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A partition of a topic, by the topic's id: what directories and object keys are named after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionId {
    /// The topic's id.
    pub topic: uuid::Uuid,
    /// The partition's number within the topic.
    pub partition: u32,
}

impl fmt::Display for PartitionId {
    /// `<topic id, 32 hex digits>-<partition>`, the name of its directory.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic.simple(), self.partition)
    }
}

impl std::str::FromStr for PartitionId {
    type Err = ();

    fn from_str(name: &str) -> Result<PartitionId, ()> {
        let (topic, partition) = name.split_once('-').ok_or(())?;
        let id = PartitionId {
            topic: uuid::Uuid::try_parse(topic).map_err(|_| ())?,
            partition: partition.parse().map_err(|_| ())?,
        };
        // One spelling only: names are compared as bytes elsewhere.
        if id.to_string() == name { Ok(id) } else { Err(()) }
    }
}
