//! Writes an object while its batches stream by.
//!
//! ```text
//! chunks of whole batches -> check each -> part buffer, 8 MiB -> Upload (or one put, for a small object)
//!                              \-> index, latest timestamp, last epoch
//! ```
//!
//! Every batch is checked before it leaves: its checksum, and that it follows the one before. So rot on a local disk
//! is found here at the latest and is never uploaded. Memory is bounded by the part buffer and the few parts that the
//! store has on their way.
//!
//! Nothing is visible until [`ObjectWriter::finish`] has returned, and nobody reads it until the tier log names it. A
//! writer that is dropped leaves nothing that a listing shows.

use super::TierError;
use super::footer::{HEAD_LEN, encode_head, encode_tail};
use super::key::ObjectKey;
use super::sections::{UnitIndex, encode_aborted, encode_epochs};
use super::unit::{AbortedTransaction, Revision, Section, UnitMeta};
use crate::env::Timestamp;
use crate::env::mutation::{self, Mutation};
use crate::env::store::{Store, Upload};
use crate::offset::{LeaderEpoch, Offset, PartitionId};
use bytes::{Bytes, BytesMut};
use esker_protocol::record::{batches, check_stored};
use std::sync::Arc;
use uuid::Uuid;

/// Bytes of one part of a large object. Equal parts, as some stores demand.
pub const PART_LEN: usize = 8 << 20;

/// What is to be uploaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitRange {
    /// The partition.
    pub partition: PartitionId,
    /// The first offset: in the first batch, or before it where compaction left records out.
    pub start: Offset,
    /// No batch reaches beyond it; the unit may end before.
    pub upto: Offset,
    /// The epoch of the leader that writes.
    pub leader_epoch: LeaderEpoch,
    /// For a rewrite, the revision that it is made of.
    pub revision: Option<Revision>,
    /// For what is uploaded, how often the partition had left the tier when it was planned.
    pub stay: u32,
}

/// What goes with a unit's batches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitState {
    /// The producers' state at the unit's end, as the log encodes it.
    pub producers: Bytes,
    /// Every leader epoch up to the unit's end, ascending, and where it began.
    pub epochs: Vec<(LeaderEpoch, Offset)>,
    /// The aborted transactions that overlap the unit.
    pub aborted: Vec<AbortedTransaction>,
}

struct OpenUnit {
    range: UnitRange,
    /// Whether records may be missing before its first batch.
    sparse: bool,
    position: u64,
    hasher: crc32fast::Hasher,
    index: UnitIndex,
    /// One past the last offset written, once a batch was.
    next: Option<Offset>,
    last_epoch: Option<LeaderEpoch>,
    max_timestamp: Option<Timestamp>,
}

/// An object being written.
pub struct ObjectWriter {
    store: Arc<dyn Store>,
    key: Arc<str>,
    head: [u8; HEAD_LEN as usize],
    part_len: usize,
    buffer: BytesMut,
    upload: Option<Box<dyn Upload>>,
    position: u64,
    unit: Option<OpenUnit>,
    units: Vec<UnitMeta>,
}

impl ObjectWriter {
    /// Starts an object under `key`, whose attempt no other writer has.
    pub fn new(store: Arc<dyn Store>, key: ObjectKey) -> ObjectWriter {
        let attempt = match key {
            ObjectKey::Partition { attempt, .. }
            | ObjectKey::Rewrite { attempt, .. }
            | ObjectKey::Shared { attempt }
            | ObjectKey::Page { attempt, .. }
            | ObjectKey::Shard { attempt, .. } => attempt,
        };
        ObjectWriter::with_attempt(store, Arc::from(key.to_string()), attempt)
    }

    fn with_attempt(store: Arc<dyn Store>, key: Arc<str>, attempt: Uuid) -> ObjectWriter {
        let head = encode_head(attempt);
        ObjectWriter {
            store,
            key,
            head,
            part_len: PART_LEN,
            buffer: BytesMut::from(head.as_slice()),
            upload: None,
            position: HEAD_LEN,
            unit: None,
            units: Vec::new(),
        }
    }

    /// The same object in one request, if it has no more bytes than this. They are kept until then.
    #[must_use]
    pub fn in_one_put_up_to(mut self, bytes: usize) -> ObjectWriter {
        self.part_len = bytes.max(PART_LEN);
        self
    }

    /// Bytes written so far.
    pub fn len(&self) -> u64 {
        self.position
    }

    /// Whether no unit was written.
    pub fn is_empty(&self) -> bool {
        self.units.is_empty() && self.unit.is_none()
    }

    /// Starts the next unit.
    ///
    /// # Errors
    /// [`TierError::Invalid`] if a unit is open.
    pub fn begin_unit(&mut self, range: UnitRange) -> Result<(), TierError> {
        self.begin(range, range.revision.is_some())
    }

    /// As [`ObjectWriter::begin_unit`], of a log that was compacted: its first records may be missing.
    ///
    /// # Errors
    /// [`TierError::Invalid`] if a unit is open.
    pub fn begin_sparse_unit(&mut self, range: UnitRange) -> Result<(), TierError> {
        self.begin(range, true)
    }

    fn begin(&mut self, range: UnitRange, sparse: bool) -> Result<(), TierError> {
        if self.unit.is_some() {
            return Err(TierError::Invalid { reason: "a unit is open".to_owned() });
        }
        self.unit = Some(OpenUnit { sparse, ..OpenUnit::at(range, self.position) });
        Ok(())
    }

    /// Writes some whole batches of the open unit.
    ///
    /// # Errors
    /// [`TierError::Corrupt`] for a batch that is not what was appended, [`TierError::Invalid`] if no unit is open;
    /// otherwise what the store says. The object is then lost: drop the writer.
    pub async fn data(&mut self, chunk: &Bytes) -> Result<(), TierError> {
        let Some(unit) = &mut self.unit else {
            return Err(TierError::Invalid { reason: "no unit is open".to_owned() });
        };
        let start = self.position - unit.position;
        unit.check(chunk, start)?;
        unit.hasher.update(chunk);
        self.write(chunk).await
    }

    /// Ends the open unit at `end`, one past the last offset that it covers, with the state as of there.
    ///
    /// # Errors
    /// [`TierError::Invalid`] if no unit is open, it has no batch, or `end` is not between its last batch and the
    /// range's end; otherwise what the store says.
    pub async fn end_unit(&mut self, end: Offset, state: UnitState) -> Result<(), TierError> {
        let Some(unit) = self.unit.take() else {
            return Err(TierError::Invalid { reason: "no unit is open".to_owned() });
        };
        let (Some(last_epoch), Some(next)) = (unit.last_epoch, unit.next) else {
            return Err(TierError::Invalid { reason: "a unit without batches".to_owned() });
        };
        if end < next || end > unit.range.upto {
            return Err(TierError::Invalid { reason: format!("a unit cannot end at {end}") });
        }
        let data = Section::new(unit.position, self.position - unit.position, unit.hasher.finalize());
        let meta = UnitMeta {
            partition: unit.range.partition,
            start: unit.range.start,
            end,
            leader_epoch: unit.range.leader_epoch,
            last_epoch,
            revision: unit.range.revision,
            stay: unit.range.stay,
            max_timestamp: unit.max_timestamp,
            key: Arc::clone(&self.key),
            data,
            index: self.section(&unit.index.encode()).await?,
            producers: self.section(&state.producers).await?,
            epochs: self.section(&encode_epochs(&state.epochs)).await?,
            aborted: self.section(&encode_aborted(&state.aborted)).await?,
        };
        self.units.push(meta);
        Ok(())
    }

    /// Ends the object and makes it visible; the units as the tier log takes them.
    ///
    /// # Errors
    /// [`TierError::Invalid`] if a unit is open or there is none; otherwise what the store says.
    pub async fn finish(mut self) -> Result<Vec<UnitMeta>, TierError> {
        if self.unit.is_some() || self.units.is_empty() {
            return Err(TierError::Invalid { reason: "an object needs complete units".to_owned() });
        }
        let tail = encode_tail(&self.head, self.position, &self.units)?;
        self.write(&tail).await?;
        let rest = std::mem::take(&mut self.buffer).freeze();
        match &mut self.upload {
            None => self.store.put(&self.key, rest).await?,
            Some(upload) => {
                if !rest.is_empty() {
                    upload.part(rest).await?;
                }
                upload.complete().await?;
            }
        }
        Ok(std::mem::take(&mut self.units))
    }

    /// Gives up and frees what the store holds of the object already, as well as that can be done.
    pub async fn abandon(mut self) {
        if let Some(upload) = &mut self.upload
            && let Err(error) = upload.abort().await
        {
            tracing::debug!(key = %self.key, %error, "an abandoned upload stays with the store");
        }
    }

    async fn section(&mut self, bytes: &[u8]) -> Result<Section, TierError> {
        let section = Section::new(self.position, bytes.len() as u64, crc32fast::hash(bytes));
        self.write(bytes).await?;
        Ok(section)
    }

    async fn write(&mut self, mut bytes: &[u8]) -> Result<(), TierError> {
        self.position += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = self.part_len.saturating_sub(self.buffer.len());
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() >= self.part_len {
                self.send_part().await?;
            }
        }
        Ok(())
    }

    async fn send_part(&mut self) -> Result<(), TierError> {
        let part = self.buffer.split().freeze();
        if self.upload.is_none() {
            self.upload = Some(self.store.upload(&self.key).await?);
        }
        match &mut self.upload {
            Some(upload) => Ok(upload.part(part).await?),
            None => Err(TierError::Invalid { reason: "an upload that is not there".to_owned() }),
        }
    }
}

/// Checks batches as they would be if they were written as a unit.
///
/// # Errors
/// As [`ObjectWriter::data`] and [`ObjectWriter::end_unit`].
pub(super) fn check_batches<'a>(range: UnitRange, chunks: impl Iterator<Item = &'a Bytes>) -> Result<(), TierError> {
    let (mut unit, mut position) = (OpenUnit::at(range, 0), 0);
    for chunk in chunks {
        unit.check(chunk, position)?;
        position += chunk.len() as u64;
    }
    match unit.next {
        Some(next) if next <= range.upto => Ok(()),
        _ => Err(TierError::Invalid { reason: "a unit without batches".to_owned() }),
    }
}

impl OpenUnit {
    fn at(range: UnitRange, position: u64) -> OpenUnit {
        let (hasher, index) = (crc32fast::Hasher::new(), UnitIndex::default());
        let sparse = range.revision.is_some();
        OpenUnit { range, sparse, position, hasher, index, next: None, last_epoch: None, max_timestamp: None }
    }

    /// Checks the batches of a chunk that starts at `position` of the unit's data, and notes them.
    fn check(&mut self, chunk: &[u8], position: u64) -> Result<(), TierError> {
        let what = |offset: i64| format!("batch {offset} of {}", self.range.partition);
        let mut split = batches(chunk);
        for batch in split.by_ref() {
            let header = match check_stored(batch.bytes) {
                Err(_) if mutation::active(Mutation::RotUploaded) => batch.header,
                checked => checked.map_err(|damage| TierError::corrupt(&what(batch.header.base_offset), damage))?,
            };
            let bounds = Offset::from_wire(header.base_offset)
                .zip(Offset::from_wire(header.next_offset()))
                .zip(LeaderEpoch::from_wire(header.partition_leader_epoch));
            let Some(((base, next), epoch)) = bounds.filter(|((base, next), _)| base < next) else {
                return Err(TierError::corrupt(&what(header.base_offset), "its offsets or epoch are impossible"));
            };
            let follows = match self.next {
                // What compaction left out may have been its first records.
                None => (base <= self.range.start || self.sparse) && self.range.start < next,
                Some(expected) => expected <= base,
            };
            if !follows || next > self.range.upto || self.last_epoch.is_some_and(|last| epoch < last) {
                return Err(TierError::corrupt(&what(header.base_offset), "it does not follow the batch before it"));
            }
            let before = self.max_timestamp.unwrap_or(Timestamp::from_millis(i64::MIN));
            self.index.push(base, position + batch.position as u64, before);
            self.max_timestamp = self.max_timestamp.max(header.max_timestamp().map(Timestamp::from_millis));
            self.next = Some(next);
            self.last_epoch = Some(epoch);
        }
        match split.rest() {
            None => Ok(()),
            Some(damage) => Err(TierError::corrupt(&format!("a chunk of {}", self.range.partition), damage)),
        }
    }
}

impl std::fmt::Debug for ObjectWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectWriter").field("key", &self.key).field("len", &self.position).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "object_tests.rs"]
mod tests;
