//! The names of everything that the tier keeps in the store.
//!
//! ```text
//! data/<hh>/<topic id>-<partition>/<base offset, 20 digits>-<attempt>   an object with one partition's units
//! data/<hh>/shared/<attempt>                                            an object with several partitions' units
//! tier/log/<20 digits>, tier/snapshot/<20 digits>                       the tier log (see numbered_log)
//! tier/shard/<shard, 4 digits>/<commit, 20 digits>-<attempt>            a part of a snapshot
//! tier/page/<hh>/<topic id>-<partition>/<base offset>-<attempt>         units that left the snapshot
//! ```
//!
//! `<hh>` are two hexadecimal digits, a hash of what follows, which spread requests over a store's key ranges.
//! `<attempt>` is a random UUID: every attempt writes keys of its own, so that a retry never overwrites. One
//! partition's objects list in the order of its offsets, as its manifest has them, which is what lets the sweeper
//! compare the two in one pass.

use crate::offset::{Offset, PartitionId};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// What the keys of all data objects begin with.
pub const DATA_PREFIX: &str = "data/";
/// What the keys of all pages begin with.
pub const PAGE_PREFIX: &str = "tier/page/";
/// What the keys of all snapshot shards begin with.
pub const SHARD_PREFIX: &str = "tier/shard/";

/// The key of an object or a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectKey {
    /// An object whose units are one partition's.
    Partition {
        /// The partition.
        partition: PartitionId,
        /// Where its first unit starts.
        base: Offset,
        /// The attempt that wrote it.
        attempt: Uuid,
    },
    /// An object whose units are of several partitions.
    Shared {
        /// The attempt that wrote it.
        attempt: Uuid,
    },
    /// A page of units.
    Page {
        /// The partition.
        partition: PartitionId,
        /// Where its first unit starts.
        base: Offset,
        /// The attempt that wrote it.
        attempt: Uuid,
    },
    /// A part of a snapshot.
    Shard {
        /// Which part.
        shard: u16,
        /// The commit after which it was written.
        number: u64,
        /// The attempt that wrote it.
        attempt: Uuid,
    },
}

/// What spreads a partition's keys: the first byte of a checksum of its name.
fn spread(name: &str) -> u8 {
    crc32fast::hash(name.as_bytes()).to_be_bytes()[0]
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ObjectKey::Partition { partition, base, attempt } => {
                let name = partition.to_string();
                write!(f, "{DATA_PREFIX}{:02x}/{name}/{:020}-{}", spread(&name), base.get(), attempt.simple())
            }
            ObjectKey::Shared { attempt } => {
                write!(f, "{DATA_PREFIX}{:02x}/shared/{}", attempt.as_bytes()[0], attempt.simple())
            }
            ObjectKey::Page { partition, base, attempt } => {
                let name = partition.to_string();
                write!(f, "{PAGE_PREFIX}{:02x}/{name}/{:020}-{}", spread(&name), base.get(), attempt.simple())
            }
            ObjectKey::Shard { shard, number, attempt } => {
                write!(f, "{SHARD_PREFIX}{shard:04}/{number:020}-{}", attempt.simple())
            }
        }
    }
}

impl FromStr for ObjectKey {
    type Err = ();

    fn from_str(text: &str) -> Result<ObjectKey, ()> {
        let parsed = if let Some(rest) = text.strip_prefix(SHARD_PREFIX) {
            let (shard, rest) = rest.split_once('/').ok_or(())?;
            let (number, attempt) = numbered(rest)?;
            ObjectKey::Shard { shard: shard.parse().map_err(|_| ())?, number, attempt }
        } else if let Some(rest) = text.strip_prefix(PAGE_PREFIX) {
            let (partition, base, attempt) = positioned(rest)?;
            ObjectKey::Page { partition, base, attempt }
        } else {
            let rest = text.strip_prefix(DATA_PREFIX).ok_or(())?;
            match rest.get(2..).and_then(|rest| rest.strip_prefix("/shared/")) {
                Some(attempt) => ObjectKey::Shared { attempt: Uuid::try_parse(attempt).map_err(|_| ())? },
                None => {
                    let (partition, base, attempt) = positioned(rest)?;
                    ObjectKey::Partition { partition, base, attempt }
                }
            }
        };
        // One spelling only: keys are compared as text elsewhere.
        if parsed.to_string() == text { Ok(parsed) } else { Err(()) }
    }
}

fn numbered(text: &str) -> Result<(u64, Uuid), ()> {
    let (number, attempt) = text.split_once('-').ok_or(())?;
    Ok((number.parse().map_err(|_| ())?, Uuid::try_parse(attempt).map_err(|_| ())?))
}

fn positioned(text: &str) -> Result<(PartitionId, Offset, Uuid), ()> {
    let (_, rest) = text.split_once('/').ok_or(())?;
    let (partition, rest) = rest.split_once('/').ok_or(())?;
    let (base, attempt) = numbered(rest)?;
    Ok((partition.parse()?, Offset::new(base), attempt))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_key() -> impl Strategy<Value = ObjectKey> {
        (0..4, any::<u128>(), any::<u32>(), any::<u64>(), any::<u128>(), 0u16..9999).prop_map(
            |(kind, topic, partition, number, attempt, shard)| {
                let partition = PartitionId { topic: Uuid::from_u128(topic), partition };
                let (base, attempt) = (Offset::new(number), Uuid::from_u128(attempt));
                match kind {
                    0 => ObjectKey::Partition { partition, base, attempt },
                    1 => ObjectKey::Shared { attempt },
                    2 => ObjectKey::Page { partition, base, attempt },
                    _ => ObjectKey::Shard { shard, number, attempt },
                }
            },
        )
    }

    proptest! {
        #[test]
        fn keys_parse_back(key in any_key()) {
            prop_assert_eq!(key.to_string().parse(), Ok(key));
        }

        #[test]
        fn a_key_has_one_spelling(key in any_key(), at: prop::sample::Index, byte in 32u8..127) {
            let mut text = key.to_string().into_bytes();
            let at = at.index(text.len());
            text[at] = byte;
            let text = String::from_utf8(text).unwrap();
            if let Ok(parsed) = text.parse::<ObjectKey>() {
                prop_assert_eq!(parsed.to_string(), text);
            }
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<ObjectKey>();
            let _ = format!("data/{text}").parse::<ObjectKey>();
        }
    }
}
