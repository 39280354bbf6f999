//! The sections of a unit that are not batches: their contents and bytes.
//!
//! ```text
//! index      entries of 24 bytes, ascending:  0 8 offset   8 8 position in the data   16 8 latest timestamp before
//!                                             (integers big-endian, as in Kafka's batches)
//! producers  as the log encodes them
//! epochs     JSON: [[epoch, start], ...], ascending
//! aborted    JSON: [{"producer_id":..,"first":..,"last":..,"last_stable":..}, ...]
//! ```
//!
//! An *index entry* names a batch, where it lies, and how late anything before it in the unit was. It is sparse: the
//! entries of a large unit are further apart, so that an index never has more than [`MAX_ENTRIES`].

use super::TierError;
use super::unit::AbortedTransaction;
use crate::env::Timestamp;
use crate::offset::{LeaderEpoch, Offset};
use bytes::Bytes;

/// Entries of one index at most.
pub(super) const MAX_ENTRIES: usize = 4096;
/// Bytes between two entries of a young index.
const FIRST_INTERVAL: u64 = 16 << 10;
const ENTRY_LEN: usize = 24;

/// A batch that a search can start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitIndexEntry {
    /// Its first offset.
    pub offset: Offset,
    /// Where it starts in the unit's data.
    pub position: u64,
    /// The latest timestamp of any batch before it in the unit; `i64::MIN` if there is none.
    pub max_timestamp_before: Timestamp,
}

/// A unit's index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitIndex {
    entries: Vec<UnitIndexEntry>,
    interval: u64,
}

impl Default for UnitIndex {
    fn default() -> UnitIndex {
        UnitIndex { entries: Vec::new(), interval: FIRST_INTERVAL }
    }
}

impl UnitIndex {
    /// Takes note of the next batch, if it is far enough from the last one noted.
    pub fn push(&mut self, offset: Offset, position: u64, max_timestamp_before: Timestamp) {
        let far = self.entries.last().is_none_or(|last| position >= last.position.saturating_add(self.interval));
        if !far {
            return;
        }
        if self.entries.len() >= MAX_ENTRIES {
            let mut keep = false;
            self.entries.retain(|_| {
                keep = !keep;
                keep
            });
            self.interval *= 2;
        }
        self.entries.push(UnitIndexEntry { offset, position, max_timestamp_before });
    }

    /// The entries, ascending.
    pub fn entries(&self) -> &[UnitIndexEntry] {
        &self.entries
    }

    /// Where in the data to start walking towards the batch that holds `offset`.
    pub fn floor_offset(&self, offset: Offset) -> u64 {
        self.before(self.entries.partition_point(|entry| entry.offset <= offset))
    }

    /// Where in the data to start walking towards the first batch whose latest timestamp is `target` or later.
    pub fn floor_timestamp(&self, target: Timestamp) -> u64 {
        self.before(self.entries.partition_point(|entry| entry.max_timestamp_before < target))
    }

    fn before(&self, index: usize) -> u64 {
        index.checked_sub(1).and_then(|index| self.entries.get(index)).map_or(0, |entry| entry.position)
    }

    /// The index's bytes.
    pub fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(self.entries.len() * ENTRY_LEN);
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.offset.get().to_be_bytes());
            bytes.extend_from_slice(&entry.position.to_be_bytes());
            bytes.extend_from_slice(&entry.max_timestamp_before.millis().to_be_bytes());
        }
        Bytes::from(bytes)
    }

    /// The index that `bytes` hold.
    ///
    /// # Errors
    /// [`TierError::Corrupt`] if entries are torn or do not ascend.
    pub fn decode(bytes: &[u8]) -> Result<UnitIndex, TierError> {
        let (chunks, rest) = bytes.as_chunks::<ENTRY_LEN>();
        let entries: Vec<UnitIndexEntry> = chunks.iter().map(decode_entry).collect();
        if !rest.is_empty() || entries.len() > MAX_ENTRIES || !entries_ascend(&entries) {
            return Err(TierError::corrupt("a unit's index", "entries are torn or do not ascend"));
        }
        Ok(UnitIndex { entries, ..UnitIndex::default() })
    }
}

fn decode_entry(chunk: &[u8; ENTRY_LEN]) -> UnitIndexEntry {
    let word = |at: usize| {
        let mut word = [0; 8];
        word.iter_mut().zip(chunk.iter().skip(at)).for_each(|(to, from)| *to = *from);
        u64::from_be_bytes(word)
    };
    UnitIndexEntry {
        offset: Offset::new(word(0)),
        position: word(8),
        max_timestamp_before: Timestamp::from_millis(word(16) as i64),
    }
}

/// Whether each entry lies after the one before it, in offsets and bytes, and is no earlier in time.
pub(super) fn entries_ascend(entries: &[UnitIndexEntry]) -> bool {
    entries.iter().zip(entries.iter().skip(1)).all(|(a, b)| {
        a.offset < b.offset && a.position < b.position && a.max_timestamp_before <= b.max_timestamp_before
    })
}

/// The leader epochs of a partition up to a point, each with the offset at which it began.
pub type Epochs = Vec<(LeaderEpoch, Offset)>;

/// The bytes of the epochs section.
pub(super) fn encode_epochs(epochs: &[(LeaderEpoch, Offset)]) -> Bytes {
    // Numbers in arrays: nothing of it can fail to be written.
    Bytes::from(serde_json::to_vec(epochs).unwrap_or_default())
}

/// The epochs that a section holds.
///
/// # Errors
/// [`TierError::Corrupt`] if they are not readable or do not ascend.
pub fn decode_epochs(bytes: &[u8]) -> Result<Epochs, TierError> {
    let epochs: Epochs =
        serde_json::from_slice(bytes).map_err(|error| TierError::corrupt("a unit's leader epochs", error))?;
    let ascend = epochs.iter().zip(epochs.iter().skip(1)).all(|(a, b)| a.0 < b.0 && a.1 <= b.1);
    if ascend { Ok(epochs) } else { Err(TierError::corrupt("a unit's leader epochs", "they do not ascend")) }
}

/// The bytes of the section of aborted transactions.
pub(super) fn encode_aborted(aborted: &[AbortedTransaction]) -> Bytes {
    Bytes::from(serde_json::to_vec(aborted).unwrap_or_default())
}

/// The aborted transactions that a section holds.
///
/// # Errors
/// [`TierError::Corrupt`] if they are not readable.
pub fn decode_aborted(bytes: &[u8]) -> Result<Vec<AbortedTransaction>, TierError> {
    serde_json::from_slice(bytes).map_err(|error| TierError::corrupt("a unit's aborted transactions", error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_large_unit_has_a_bounded_index() {
        let mut index = UnitIndex::default();
        let batches = 1u64 << 18;
        for batch in 0..batches {
            index.push(Offset::new(batch), batch << 12, Timestamp::from_millis(batch as i64 - 1));
        }
        assert!(index.entries().len() <= MAX_ENTRIES && index.entries().len() >= MAX_ENTRIES / 2);
        for offset in [0, 1, 77_777, batches - 1] {
            let floor = index.floor_offset(Offset::new(offset));
            assert!(floor <= offset << 12 && (offset << 12) - floor <= 1 << 20, "{offset}: {floor}");
            assert!(index.floor_timestamp(Timestamp::from_millis(offset as i64)) <= offset << 12);
        }
    }

    proptest! {
        #[test]
        fn indexes_decode_back(steps in proptest::collection::vec((1u64..100, 1u64..100_000, 0i64..50), 0..200)) {
            let mut index = UnitIndex::default();
            let (mut offset, mut position, mut time) = (0, 0, i64::MIN);
            for (records, bytes, later) in steps {
                index.push(Offset::new(offset), position, Timestamp::from_millis(time));
                offset += records;
                position += bytes;
                time = time.max(0) + later;
            }
            let decoded = UnitIndex::decode(&index.encode()).unwrap();
            prop_assert_eq!(decoded.entries(), index.entries());
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = UnitIndex::decode(&bytes);
            let _ = decode_epochs(&bytes);
            let _ = decode_aborted(&bytes);
        }
    }
}
