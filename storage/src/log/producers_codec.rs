//! A snapshot of a partition's producers, as bytes: for checkpoints, sealed segments and tier units.
//!
//! ```text
//! 0   8  magic "eskerpid"
//! 8   2  format version, 1                   (integers big-endian)
//! 10  2  flags, 0
//! 12  4  producers
//!        for each, by ascending id:
//!          8 id | 2 epoch | 8 last seen | 8 transaction's first offset or -1 | 4 coordinator epoch or -1 | 1 batches
//!          for each batch: 4 first sequence | 4 last sequence | 8 base offset | 8 last offset | 1 has | 8 append time
//!     4  CRC-32 of everything before
//! ```

use super::producers::{ProducerState, Producers, WINDOW, WrittenBatch, windows_bounded};
use crate::env::Timestamp;
use crate::offset::Offset;
use crate::segment::fields::{BadField, Fields};
use std::collections::{BTreeMap, VecDeque};

const MAGIC: &[u8; 8] = b"eskerpid";
const VERSION: u16 = 1;
const PRODUCER_LEN: usize = 31;

/// Why bytes are not a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Torn, rotten, or of something else.
    #[error("not a producer snapshot, or a damaged one")]
    Damaged,
    /// Written by a newer Esker.
    #[error("unknown producer snapshot version {0}")]
    Version(u16),
}

impl From<BadField> for SnapshotError {
    fn from(_: BadField) -> SnapshotError {
        SnapshotError::Damaged
    }
}

/// The snapshot's bytes.
pub fn encode(producers: &Producers) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&[0; 2]);
    bytes.extend_from_slice(&(producers.len() as u32).to_be_bytes());
    for (id, state) in producers.iter() {
        bytes.extend_from_slice(&id.to_be_bytes());
        bytes.extend_from_slice(&state.epoch.to_be_bytes());
        bytes.extend_from_slice(&state.last_seen.millis().to_be_bytes());
        bytes.extend_from_slice(&state.transaction_start.map_or(-1, Offset::to_wire).to_be_bytes());
        bytes.extend_from_slice(&state.coordinator_epoch.unwrap_or(-1).to_be_bytes());
        bytes.push(state.batches.len() as u8);
        for batch in &state.batches {
            bytes.extend_from_slice(&batch.first_sequence.to_be_bytes());
            bytes.extend_from_slice(&batch.last_sequence.to_be_bytes());
            bytes.extend_from_slice(&batch.base_offset.to_wire().to_be_bytes());
            bytes.extend_from_slice(&batch.last_offset.to_wire().to_be_bytes());
            bytes.push(u8::from(batch.log_append_time.is_some()));
            bytes.extend_from_slice(&batch.log_append_time.unwrap_or_default().millis().to_be_bytes());
        }
    }
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes
}

/// The producers of a snapshot.
///
/// # Errors
/// [`SnapshotError`].
pub fn decode(bytes: &[u8]) -> Result<Producers, SnapshotError> {
    let (body, crc) = bytes.split_last_chunk::<4>().ok_or(SnapshotError::Damaged)?;
    if !body.starts_with(MAGIC) || crc32fast::hash(body).to_be_bytes() != *crc {
        return Err(SnapshotError::Damaged);
    }
    let mut fields = Fields::new(body);
    fields.take(MAGIC.len())?;
    let version = fields.u16()?;
    if version != VERSION {
        return Err(SnapshotError::Version(version));
    }
    let _flags = fields.u16()?;
    let count = fields.count(PRODUCER_LEN)?;
    let mut states = BTreeMap::new();
    for _ in 0..count {
        let id = fields.i64()?;
        states.insert(id, state(&mut fields)?);
    }
    let producers = Producers::from_states(states);
    if !fields.rest().is_empty() || producers.len() != count || !windows_bounded(&producers) {
        return Err(SnapshotError::Damaged);
    }
    Ok(producers)
}

fn state(fields: &mut Fields<'_>) -> Result<ProducerState, SnapshotError> {
    let epoch = fields.i16()?;
    let last_seen = Timestamp::from_millis(fields.i64()?);
    let transaction_start = Offset::from_wire(fields.i64()?);
    let coordinator_epoch = Some(fields.i32()?).filter(|epoch| *epoch >= 0);
    let count = usize::from(fields.u8()?);
    if count > WINDOW {
        return Err(SnapshotError::Damaged);
    }
    let mut batches = VecDeque::with_capacity(count);
    for _ in 0..count {
        let (first_sequence, last_sequence) = (fields.i32()?, fields.i32()?);
        let (base_offset, last_offset) = (fields.offset()?, fields.offset()?);
        let has = fields.u8()? != 0;
        let time = Timestamp::from_millis(fields.i64()?);
        let log_append_time = has.then_some(time);
        batches.push_back(WrittenBatch { first_sequence, last_sequence, base_offset, last_offset, log_append_time });
    }
    Ok(ProducerState { epoch, batches, transaction_start, coordinator_epoch, last_seen })
}
