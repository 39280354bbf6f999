//! The aborted index: which transactions whose records lie in a segment, or before it, were aborted in it.
//!
//! A reader of committed records skips those of aborted transactions, and can tell them only by this list. An **entry**
//! belongs to the segment that has the abort marker: `last`. Entries of a log are in the order of their markers, so a
//! transaction of one segment may be listed in a later one; `last_stable` tells a search when there can be no more.
//!
//! ```text
//!   first        last         32 bytes each, big-endian: 8 producer id | 8 first | 8 last | 8 last stable
//!     |--- txn ---|A
//!   what is read: [from, upto)   overlaps if first < upto and last >= from
//! ```

use super::fields::{BadField, Fields};
use crate::offset::Offset;
use serde::{Deserialize, Serialize};

/// Bytes of an entry.
pub const ENTRY_LEN: usize = 32;

/// A transaction that was aborted, as Kafka's aborted index has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbortedTransaction {
    /// The producer.
    pub producer_id: i64,
    /// The first offset of the transaction.
    pub first: Offset,
    /// The offset of its abort marker.
    pub last: Offset,
    /// The last stable offset when it was aborted: no transaction that was aborted later began before.
    pub last_stable: Offset,
}

impl AbortedTransaction {
    /// Whether a reader of the offsets from `from` to, not including, `upto` must know of it.
    pub fn overlaps(&self, from: Offset, upto: Offset) -> bool {
        self.first < upto && self.last >= from
    }
}

/// Adds what of `entries` overlaps the range to `found`. Whether no later entry can.
pub fn collect(
    entries: &[AbortedTransaction],
    from: Offset,
    upto: Offset,
    found: &mut Vec<AbortedTransaction>,
) -> bool {
    let after = entries.partition_point(|entry| entry.last < from);
    for entry in entries.iter().skip(after) {
        if entry.overlaps(from, upto) {
            found.push(*entry);
        }
        if entry.last_stable >= upto {
            return true;
        }
    }
    false
}

/// Markers ascend, each lies after its transaction's first record, and none was stable beyond its own marker.
pub fn aborted_ascend(entries: &[AbortedTransaction]) -> bool {
    entries.is_sorted_by(|a, b| a.last < b.last)
        && entries.iter().all(|entry| entry.first < entry.last && entry.last_stable <= entry.last.next())
}

/// The entries' bytes, appended to `bytes`.
pub fn encode(entries: &[AbortedTransaction], bytes: &mut Vec<u8>) {
    for entry in entries {
        bytes.extend_from_slice(&entry.producer_id.to_be_bytes());
        for offset in [entry.first, entry.last, entry.last_stable] {
            bytes.extend_from_slice(&offset.to_wire().to_be_bytes());
        }
    }
}

/// The next `count` entries, of which the caller knows that there is room for them.
///
/// # Errors
/// [`BadField`] if they end early or contradict each other.
pub fn decode(fields: &mut Fields<'_>, count: usize) -> Result<Vec<AbortedTransaction>, BadField> {
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let producer_id = fields.i64()?;
        let (first, last, last_stable) = (fields.offset()?, fields.offset()?, fields.offset()?);
        entries.push(AbortedTransaction { producer_id, first, last, last_stable });
    }
    if aborted_ascend(&entries) { Ok(entries) } else { Err(BadField) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Entries as a log makes them: transactions that begin and are aborted in some order.
    fn entries(steps: &[(u64, u8)]) -> Vec<AbortedTransaction> {
        let (mut at, mut open, mut entries) = (0, Vec::<(i64, u64)>::new(), Vec::new());
        for (n, (gap, which)) in (0i64..).zip(steps) {
            at += gap + 1;
            if which % 2 == 0 || open.is_empty() {
                open.push((n, at));
            } else {
                let (producer_id, first) = open.remove(usize::from(*which) % open.len());
                let stable = open.iter().map(|(_, first)| *first).min().unwrap_or(at + 1);
                let (first, last) = (Offset::new(first), Offset::new(at));
                entries.push(AbortedTransaction { producer_id, first, last, last_stable: Offset::new(stable) });
            }
        }
        entries
    }

    proptest! {
        #[test]
        fn a_search_finds_what_a_full_one_finds(
            steps in prop::collection::vec((0u64..4, any::<u8>()), 0..60), from in 0u64..200, len in 0u64..60,
        ) {
            let (all, from) = (entries(&steps), Offset::new(from));
            prop_assert!(aborted_ascend(&all));
            let upto = from.plus(len);
            let expected: Vec<_> = all.iter().filter(|entry| entry.overlaps(from, upto)).copied().collect();
            let mut found = Vec::new();
            let over = collect(&all, from, upto, &mut found);
            prop_assert_eq!(&found, &expected);
            prop_assert!(over || all.last().is_none_or(|last| last.last_stable < upto));
            let mut bytes = Vec::new();
            encode(&all, &mut bytes);
            prop_assert_eq!(decode(&mut Fields::new(&bytes), all.len()), Ok(all));
        }
    }
}
