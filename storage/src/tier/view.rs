//! A unit as its readers hold it: its small sections in memory, its data in chunks.
//!
//! ```text
//! data:    |batch|batch  |batch|batch|  batch  |batch|batch|batch|
//! index:    ^             ^           ^         ^           ^
//! chunks:  |------ 0 ----------------|------- 1 ------------| 2 --|   about a MiB, cut where the index has a batch
//! ```
//!
//! Chunks begin at batches, so each is checked once, when it is loaded, and readers get slices of it.

use super::TierError;
use super::object::slice_of;
use super::sections::{Epochs, UnitIndex, decode_aborted, decode_epochs};
use super::unit::{AbortedTransaction, UnitMeta};
use super::writer::UnitState;
use crate::env::Timestamp;
use crate::env::store::Store;
use crate::offset::Offset;
use bytes::Bytes;
use esker_protocol::record::{batches, check_stored};
use std::ops::Range;
use std::sync::Arc;

/// A unit's description and its small sections.
#[derive(Clone, Debug)]
pub(super) struct UnitView {
    pub(super) meta: Arc<UnitMeta>,
    pub(super) index: UnitIndex,
    pub(super) producers: Bytes,
    pub(super) epochs: Epochs,
    pub(super) aborted: Vec<AbortedTransaction>,
    /// Where each chunk starts in the data.
    starts: Vec<u64>,
}

impl UnitView {
    /// Bytes that a view of `meta` takes, about.
    pub(super) fn bytes(meta: &UnitMeta) -> u64 {
        meta.aborted.range().end.saturating_sub(meta.index.position()).saturating_mul(2) + 512
    }

    /// Reads the small sections, which lie side by side: one GET.
    pub(super) async fn load(
        store: Arc<dyn Store>,
        meta: Arc<UnitMeta>,
        chunk_len: u64,
    ) -> Result<UnitView, TierError> {
        let (start, end) = (meta.index.position(), meta.aborted.range().end);
        let all = store.get_range(&meta.key, start..end).await?;
        let section = |section| slice_of(&meta.key, section, start, &all);
        let index = UnitIndex::decode(&section(meta.index)?)?;
        let starts = chunk_starts(&index, meta.data.len(), chunk_len);
        Ok(UnitView {
            index,
            producers: section(meta.producers)?,
            epochs: decode_epochs(&section(meta.epochs)?)?,
            aborted: decode_aborted(&section(meta.aborted)?)?,
            starts,
            meta,
        })
    }

    /// How many chunks there are.
    pub(super) fn chunks(&self) -> usize {
        self.starts.len()
    }

    /// Where a chunk lies in the object; `None` past the last.
    pub(super) fn chunk_range(&self, chunk: usize) -> Option<Range<u64>> {
        let start = *self.starts.get(chunk)?;
        let end = self.starts.get(chunk + 1).copied().unwrap_or(self.meta.data.len());
        let data = self.meta.data.position();
        Some(data + start..data + end)
    }

    /// Where a piece of a chunk lies in the object: at least `bytes` from where the index says to look for `offset`, as
    /// far as the chunk has them.
    pub(super) fn piece_range(&self, chunk: usize, offset: Offset, bytes: u64) -> Option<Range<u64>> {
        let (data, whole) = (self.meta.data.position(), self.chunk_range(chunk)?);
        let start = whole.start.max(data + self.index.floor_offset(offset));
        let entries = self.index.entries();
        let next = entries.partition_point(|entry| data + entry.position < start.saturating_add(bytes));
        let end = entries.get(next).map_or(whole.end, |entry| whole.end.min(data + entry.position));
        (start < end).then_some(start..end)
    }

    /// The chunk to look for `offset` in.
    pub(super) fn chunk_of_offset(&self, offset: Offset) -> usize {
        self.chunk_at(self.index.floor_offset(offset))
    }

    /// The first chunk that can have a record of `timestamp` or later.
    pub(super) fn chunk_of_timestamp(&self, timestamp: Timestamp) -> usize {
        self.chunk_at(self.index.floor_timestamp(timestamp))
    }

    fn chunk_at(&self, position: u64) -> usize {
        self.starts.partition_point(|start| *start <= position).saturating_sub(1)
    }

    /// The state that a replica needs which starts after the unit.
    pub(super) fn state(&self) -> UnitState {
        UnitState { producers: self.producers.clone(), epochs: self.epochs.clone(), aborted: self.aborted.clone() }
    }
}

/// Where chunks of at least `chunk_len` bytes start: at batches that the index knows.
fn chunk_starts(index: &UnitIndex, data_len: u64, chunk_len: u64) -> Vec<u64> {
    let mut starts = vec![0];
    let mut last = 0;
    for entry in index.entries() {
        if entry.position >= last + chunk_len && entry.position < data_len {
            last = entry.position;
            starts.push(last);
        }
    }
    starts
}

/// A batch within a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChunkBatch {
    pub(super) base: Offset,
    pub(super) next: Offset,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) max_timestamp: Option<Timestamp>,
}

/// Whole batches, checked.
#[derive(Clone, Debug)]
pub(super) struct TierChunk {
    pub(super) bytes: Bytes,
    pub(super) batches: Vec<ChunkBatch>,
}

impl TierChunk {
    /// Reads a chunk and checks every batch of it: one GET.
    pub(super) async fn load(store: Arc<dyn Store>, key: Arc<str>, range: Range<u64>) -> Result<TierChunk, TierError> {
        let bytes = store.get_range(&key, range).await?;
        TierChunk::check(&key, bytes)
    }

    pub(super) fn check(key: &str, bytes: Bytes) -> Result<TierChunk, TierError> {
        let mut checked = Vec::new();
        let mut split = batches(&bytes);
        for batch in split.by_ref() {
            let header = check_stored(batch.bytes).map_err(|damage| TierError::corrupt(key, damage))?;
            let offsets = Offset::from_wire(header.base_offset).zip(Offset::from_wire(header.next_offset()));
            let follows = |base: Offset| checked.last().is_none_or(|last: &ChunkBatch| last.next <= base);
            let Some((base, next)) = offsets.filter(|(base, next)| base < next && follows(*base)) else {
                return Err(TierError::corrupt(key, format!("batch {} is out of order", header.base_offset)));
            };
            checked.push(ChunkBatch {
                base,
                next,
                start: batch.position,
                end: batch.position + batch.bytes.len(),
                max_timestamp: header.max_timestamp().map(Timestamp::from_millis),
            });
        }
        match split.rest() {
            None => Ok(TierChunk { bytes, batches: checked }),
            Some(damage) => Err(TierError::corrupt(key, damage)),
        }
    }

    /// The batches from the one that holds `from` on, as many as `max_bytes` has room for; the first one anyway if
    /// `at_least_one`. `None` if there are none.
    pub(super) fn slice(
        &self,
        from: Offset,
        max_bytes: u64,
        at_least_one: bool,
    ) -> Option<(ChunkBatch, Offset, Bytes)> {
        let first = self.batches.partition_point(|batch| batch.next <= from);
        let found = *self.batches.get(first)?;
        let fits = |batch: &&ChunkBatch| (batch.end - found.start) as u64 <= max_bytes;
        let last = self.batches.iter().skip(first).take_while(fits).last().or(at_least_one.then_some(&found))?;
        Some((found, last.next, self.bytes.slice(found.start..last.end)))
    }
}
