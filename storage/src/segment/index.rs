//! The sparse index of a segment: where to start looking for an offset, a position or a time.
//!
//! Three nouns: a **mark** is one batch as a scan sees it; an **entry** says of some batch where it starts and how late
//! anything before it was; the **index** is a growing list of entries at least an interval of bytes apart. A look-up
//! finds the last entry that is not too far, and its caller walks batch headers from there.
//!
//! An index never holds more than [`MAX_ENTRIES`]: when it is full, every second entry goes and the interval doubles.
//! By default it starts at 4 KiB and ends at 512 KiB for a segment of 1 GiB, whose index is then below 100 KiB: small enough that
//! the indexes of many thousand segments are no matter, while a walk of half a MiB of cached headers costs less than
//! 50 microseconds and happens only far from the end (the newest batches are remembered one by one, see `active`).

use super::header::HEADER_LEN;
use crate::env::Timestamp;
use crate::offset::{FilePosition, LeaderEpoch, Offset};

/// Entries that an index holds at most.
pub const MAX_ENTRIES: usize = 4096;

/// Bytes of an entry in an index file.
const ENTRY_BYTES: u64 = 24;

/// Bytes between two entries of a young index, unless its topic says otherwise.
const FIRST_INTERVAL: u64 = 4 << 10;

/// How fine an index is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexLimits {
    /// `index.interval.bytes`: bytes between two entries at first.
    pub interval: u64,
    /// `segment.index.bytes`: bytes that the entries take at most, besides what [`MAX_ENTRIES`] allows. Before that the
    /// index gets coarser, so that no segment is sealed for its index.
    pub bytes: u64,
}

impl Default for IndexLimits {
    /// Kafka's defaults.
    fn default() -> IndexLimits {
        IndexLimits { interval: FIRST_INTERVAL, bytes: 10 << 20 }
    }
}

impl IndexLimits {
    /// Entries that the index may have: always two, between which a look-up can choose.
    fn entries(self) -> usize {
        usize::try_from(self.bytes / ENTRY_BYTES).map_or(MAX_ENTRIES, |entries| entries.clamp(2, MAX_ENTRIES))
    }
}

/// One batch, as its header describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchMark {
    /// Where it starts in its file.
    pub position: FilePosition,
    /// Its bytes, header included.
    pub len: u32,
    /// Its first offset.
    pub base: Offset,
    /// One past its last offset.
    pub next: Offset,
    /// The latest timestamp of its records.
    pub max_timestamp: Timestamp,
    /// The epoch of the leader that appended it.
    pub epoch: LeaderEpoch,
}

impl BatchMark {
    /// Where the next batch starts.
    pub fn end(&self) -> FilePosition {
        FilePosition::new(self.position.get() + u64::from(self.len))
    }
}

/// A batch that a look-up can start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The batch's first offset.
    pub offset: Offset,
    /// Where it starts.
    pub position: FilePosition,
    /// The latest timestamp of any batch before it in the segment; `i64::MIN` if there is none.
    pub max_timestamp_before: Timestamp,
}

/// The latest timestamp of a segment, and the batch that first had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatestTimestamp {
    /// The timestamp.
    pub timestamp: Timestamp,
    /// The first offset of the first batch with it.
    pub batch: Offset,
}

/// A segment's index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SparseIndex {
    entries: Vec<IndexEntry>,
    interval: u64,
    /// Entries that it may have.
    most: usize,
    latest: Option<LatestTimestamp>,
}

impl Default for SparseIndex {
    fn default() -> SparseIndex {
        SparseIndex { entries: Vec::new(), interval: FIRST_INTERVAL, most: MAX_ENTRIES, latest: None }
    }
}

impl SparseIndex {
    /// An index read back: `None` if the parts contradict each other.
    pub fn from_parts(entries: Vec<IndexEntry>, latest: Option<LatestTimestamp>) -> Option<SparseIndex> {
        let span = entries.last().map_or(0, |last| last.position.get());
        let index = SparseIndex { entries, interval: interval_for(span), most: MAX_ENTRIES, latest };
        entries_ascend(&index.entries).then_some(index)
    }

    /// The same index, to be continued within these limits.
    pub fn within(mut self, limits: IndexLimits) -> SparseIndex {
        self.most = limits.entries();
        while self.entries.len() > self.most {
            self.thin();
        }
        let span = self.entries.last().map_or(0, |last| last.position.get());
        // As far apart as the entries are that it has already, or as it is told for those to come.
        self.interval =
            span.checked_div(self.entries.len() as u64).unwrap_or(0).min(self.interval).max(limits.interval);
        self
    }

    /// Takes note of the batch that follows those before.
    pub fn push(&mut self, mark: &BatchMark) {
        let far = match self.entries.last() {
            Some(last) => mark.position.get() >= last.position.get() + self.interval,
            None => true,
        };
        self.note(mark, far);
    }

    /// The same, of a batch behind something that no walk gets over: it has an entry in any case.
    pub fn push_behind_damage(&mut self, mark: &BatchMark) {
        self.note(mark, true);
    }

    fn note(&mut self, mark: &BatchMark, enter: bool) {
        if enter {
            if self.entries.len() >= self.most {
                self.thin();
            }
            self.entries.push(IndexEntry {
                offset: mark.base,
                position: mark.position,
                max_timestamp_before: self.latest.map_or(Timestamp::from_millis(i64::MIN), |latest| latest.timestamp),
            });
        }
        if self.latest.is_none_or(|latest| mark.max_timestamp > latest.timestamp) {
            self.latest = Some(LatestTimestamp { timestamp: mark.max_timestamp, batch: mark.base });
        }
    }

    fn thin(&mut self) {
        let mut keep = false;
        self.entries.retain(|_| {
            keep = !keep;
            keep
        });
        self.interval = self.interval.saturating_mul(2).max(1);
    }

    /// The entries, ascending.
    pub fn entries(&self) -> &[IndexEntry] {
        &self.entries
    }

    /// The segment's latest timestamp; `None` while it has no batch.
    pub fn latest(&self) -> Option<LatestTimestamp> {
        self.latest
    }

    /// Where to start walking towards the batch that holds `offset`.
    pub fn floor_offset(&self, offset: Offset) -> FilePosition {
        self.before(self.entries.partition_point(|entry| entry.offset <= offset))
    }

    /// Where to start walking towards the batch that holds the byte at `position`.
    pub fn floor_position(&self, position: FilePosition) -> FilePosition {
        self.before(self.entries.partition_point(|entry| entry.position <= position))
    }

    /// Where to start walking towards the first batch whose latest timestamp is `target` or later.
    pub fn floor_timestamp(&self, target: Timestamp) -> FilePosition {
        self.before(self.entries.partition_point(|entry| entry.max_timestamp_before < target))
    }

    /// The bytes that a walk to `position`, of a floor, may look at: up to the next entry, if there is one.
    pub fn span(&self, floor: FilePosition) -> (FilePosition, Option<FilePosition>) {
        let next = self.entries.partition_point(|entry| entry.position <= floor);
        (floor, self.entries.get(next).map(|entry| entry.position))
    }

    fn before(&self, index: usize) -> FilePosition {
        let entry = index.checked_sub(1).and_then(|index| self.entries.get(index));
        entry.map_or(FilePosition::new(HEADER_LEN), |entry| entry.position)
    }
}

fn interval_for(span: u64) -> u64 {
    let mut interval = FIRST_INTERVAL;
    while interval.saturating_mul(MAX_ENTRIES as u64) < span {
        interval *= 2;
    }
    interval
}

/// Offsets and positions rise from entry to entry, and no time falls: what every look-up relies on.
pub fn entries_ascend(entries: &[IndexEntry]) -> bool {
    entries.is_sorted_by(|a, b| {
        a.offset < b.offset && a.position < b.position && a.max_timestamp_before <= b.max_timestamp_before
    })
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
