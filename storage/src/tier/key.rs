//! The names of everything that the tier keeps in the store.
//!
//! ```text
//! data/<hh>/<topic id>-<partition>/<base offset, 20 digits>-<attempt>   an object with one unit, uploaded
//! data/<hh>/<topic id>-<partition>/<base offset>-r<revision>-<attempt>  an object with one unit, a rewrite
//! data/<hh>/shared/<attempt>                                            an object with several units
//! tier/log/<20 digits>, tier/snapshot/<20 digits>                       the tier log (see numbered_log)
//! tier/shard/<commit, 20 digits>-<attempt>                              a part of a snapshot
//! tier/page/<hh>/<topic id>-<partition>/<base>-r<revision>-<attempt>    units that left the snapshot
//! ```
//!
//! `<hh>` are two hexadecimal digits, a hash of what follows, which spread requests over a store's key ranges.
//! `<attempt>` is a random UUID: every attempt writes keys of its own, so that a retry never overwrites. `<revision>` is
//! that of the manifest which a rewrite or a page was made of: what tells the sweeper whether it can still be accepted.
//! One partition's objects list in the order of its offsets, as its manifest has them.

use super::unit::Revision;
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
    /// An object with one unit, which was uploaded.
    Partition {
        /// The partition.
        partition: PartitionId,
        /// Where the unit starts.
        base: Offset,
        /// The attempt that wrote it.
        attempt: Uuid,
    },
    /// An object with one unit, which is a rewrite.
    Rewrite {
        /// The partition.
        partition: PartitionId,
        /// Where the unit starts.
        base: Offset,
        /// The revision that it was made of.
        revision: Revision,
        /// The attempt that wrote it.
        attempt: Uuid,
    },
    /// An object with several units, of any partitions, uploaded or rewritten.
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
        /// The revision of the manifest that it is a part of.
        revision: Revision,
        /// The attempt that wrote it.
        attempt: Uuid,
    },
    /// A part of a snapshot.
    Shard {
        /// The commit after which it was written.
        number: u64,
        /// The attempt that wrote it.
        attempt: Uuid,
    },
}

/// Whether a key is that of an object with several units.
pub(super) fn is_shared(key: &str) -> bool {
    let name = key.strip_prefix(DATA_PREFIX).and_then(|rest| rest.split_once('/'));
    name.is_some_and(|(_, name)| name.starts_with("shared/"))
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
            ObjectKey::Rewrite { partition, base, revision, attempt } => {
                let (name, base, attempt) = (partition.to_string(), base.get(), attempt.simple());
                write!(f, "{DATA_PREFIX}{:02x}/{name}/{base:020}-r{revision}-{attempt}", spread(&name))
            }
            ObjectKey::Page { partition, base, revision, attempt } => {
                let (name, base, attempt) = (partition.to_string(), base.get(), attempt.simple());
                write!(f, "{PAGE_PREFIX}{:02x}/{name}/{base:020}-r{revision}-{attempt}", spread(&name))
            }
            ObjectKey::Shard { number, attempt } => write!(f, "{SHARD_PREFIX}{number:020}-{}", attempt.simple()),
        }
    }
}

impl FromStr for ObjectKey {
    type Err = ();

    fn from_str(text: &str) -> Result<ObjectKey, ()> {
        let parsed = if let Some(rest) = text.strip_prefix(SHARD_PREFIX) {
            let (number, attempt) = numbered(rest)?;
            ObjectKey::Shard { number, attempt }
        } else if let Some(rest) = text.strip_prefix(PAGE_PREFIX) {
            let (partition, base, revision, attempt) = positioned(rest)?;
            ObjectKey::Page { partition, base, revision: revision.ok_or(())?, attempt }
        } else {
            let rest = text.strip_prefix(DATA_PREFIX).ok_or(())?;
            match rest.get(2..).and_then(|rest| rest.strip_prefix("/shared/")) {
                Some(attempt) => ObjectKey::Shared { attempt: Uuid::try_parse(attempt).map_err(|_| ())? },
                None => {
                    let (partition, base, revision, attempt) = positioned(rest)?;
                    match revision {
                        None => ObjectKey::Partition { partition, base, attempt },
                        Some(revision) => ObjectKey::Rewrite { partition, base, revision, attempt },
                    }
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

fn positioned(text: &str) -> Result<(PartitionId, Offset, Option<Revision>, Uuid), ()> {
    let (_, rest) = text.split_once('/').ok_or(())?;
    let (partition, rest) = rest.split_once('/').ok_or(())?;
    let (base, rest) = rest.split_once('-').ok_or(())?;
    let (revision, attempt) = match rest.strip_prefix('r') {
        Some(rest) => {
            let (revision, attempt) = numbered(rest)?;
            (Some(Revision::new(revision)), attempt)
        }
        None => (None, Uuid::try_parse(rest).map_err(|_| ())?),
    };
    Ok((partition.parse()?, Offset::new(base.parse().map_err(|_| ())?), revision, attempt))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_key() -> impl Strategy<Value = ObjectKey> {
        (0..5, any::<u128>(), any::<u32>(), any::<u64>(), any::<u128>(), any::<u64>()).prop_map(
            |(kind, topic, partition, number, attempt, revision)| {
                let revision = Revision::new(revision);
                let partition = PartitionId { topic: Uuid::from_u128(topic), partition };
                let (base, attempt) = (Offset::new(number), Uuid::from_u128(attempt));
                match kind {
                    0 => ObjectKey::Partition { partition, base, attempt },
                    1 => ObjectKey::Shared { attempt },
                    2 => ObjectKey::Page { partition, base, revision, attempt },
                    3 => ObjectKey::Rewrite { partition, base, revision, attempt },
                    _ => ObjectKey::Shard { number, attempt },
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
