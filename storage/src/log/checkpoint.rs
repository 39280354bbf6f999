//! A partition's checkpoint: what a restart need not work out again.
//!
//! The file `checkpoint` of a partition directory, replaced atomically, holds a **recovery point** - everything before it
//! is synced and was checked - with the state of the log at that point: its producers, its leader epochs, and the index
//! of the active segment so far. A restart loads it and scans only what lies beyond. It is written when a segment is
//! sealed, after every 64 MiB, when the log start moves, and on a clean shutdown.
//!
//! ```text
//! 0   8  magic "eskerckp"
//! 8   2  format version, 1                   (integers big-endian)
//! 10  2  flags, 0
//! 12  8  log start
//! 20  8  local start: segments that end there or before were dropped
//! 28  4  serial of the point's data file
//! 32  8  the point: offset
//! 40  8  the point: position
//!        leader epochs:   4 count | 4 epoch, 8 start each
//!        index so far:    8 latest timestamp | 8 its batch, -1 for none | 4 count | 24 each, as in index files
//!        aborted so far:  4 count | 32 each, as in index files
//!        producers:       4 bytes | a snapshot, see `producers_codec`
//!     4  CRC-32 of everything before
//! ```
//!
//! Without it everything that is on the disk is scanned, and nothing is lost but time, and the memory of producers that
//! wrote only what has left this disk.

use super::epochs::LeaderEpochs;
use super::producers::Producers;
use super::producers_codec::{self, SnapshotError};
use crate::env::Timestamp;
use crate::offset::{LocalStart, LogStart, Offset};
use crate::segment::aborted::{self, AbortedTransaction};
use crate::segment::fields::{BadField, Fields};
use crate::segment::{Boundary, IndexEntry, LatestTimestamp, SparseIndex};

const MAGIC: &[u8; 8] = b"eskerckp";
const VERSION: u16 = 1;

/// Where a scan may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryPoint {
    /// The data file.
    pub serial: u32,
    /// The boundary in it.
    pub at: Boundary,
}

/// A log's state at its recovery point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The first offset that the partition still has.
    pub log_start: LogStart,
    /// Where the first segment on this disk begins. Files of segments before it were being removed, in whichever order
    /// a power cut leaves that.
    pub local_start: LocalStart,
    /// Where a scan may start.
    pub point: RecoveryPoint,
    /// The leader epochs up to there.
    pub epochs: LeaderEpochs,
    /// The index of the point's segment up to there.
    pub index: SparseIndex,
    /// The transactions that were aborted in the point's segment up to there.
    pub aborted: Vec<AbortedTransaction>,
    /// The producers as they were there.
    pub producers: Producers,
}

/// Why bytes are not a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Torn, rotten, or of something else.
    #[error("not a checkpoint, or a damaged one")]
    Damaged,
    /// Written by a newer Esker.
    #[error("unknown checkpoint format version {0}")]
    Version(u16),
}

impl From<BadField> for CheckpointError {
    fn from(_: BadField) -> CheckpointError {
        CheckpointError::Damaged
    }
}

impl Checkpoint {
    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&self.log_start.offset().to_wire().to_be_bytes());
        bytes.extend_from_slice(&self.local_start.offset().to_wire().to_be_bytes());
        bytes.extend_from_slice(&self.point.serial.to_be_bytes());
        bytes.extend_from_slice(&self.point.at.offset.to_wire().to_be_bytes());
        bytes.extend_from_slice(&self.point.at.position.get().to_be_bytes());
        self.epochs.encode(&mut bytes);
        let latest = self.index.latest();
        let (timestamp, batch) = latest.map_or((-1, -1), |latest| (latest.timestamp.millis(), latest.batch.to_wire()));
        bytes.extend_from_slice(&timestamp.to_be_bytes());
        bytes.extend_from_slice(&batch.to_be_bytes());
        bytes.extend_from_slice(&(self.index.entries().len() as u32).to_be_bytes());
        for entry in self.index.entries() {
            bytes.extend_from_slice(&entry.offset.to_wire().to_be_bytes());
            bytes.extend_from_slice(&entry.position.get().to_be_bytes());
            bytes.extend_from_slice(&entry.max_timestamp_before.millis().to_be_bytes());
        }
        bytes.extend_from_slice(&(self.aborted.len() as u32).to_be_bytes());
        aborted::encode(&self.aborted, &mut bytes);
        let producers = producers_codec::encode(&self.producers);
        bytes.extend_from_slice(&(producers.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&producers);
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// Reads what [`Checkpoint::encode`] wrote.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn decode(bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or(CheckpointError::Damaged)?;
        if !body.starts_with(MAGIC) || crc32fast::hash(body).to_be_bytes() != *crc {
            return Err(CheckpointError::Damaged);
        }
        let mut fields = Fields::new(body);
        fields.take(MAGIC.len())?;
        let version = fields.u16()?;
        if version != VERSION {
            return Err(CheckpointError::Version(version));
        }
        let _flags = fields.u16()?;
        let log_start = LogStart::at(fields.offset()?);
        let local_start = LocalStart::at(fields.offset()?);
        let serial = fields.u32()?;
        let at = Boundary { offset: fields.offset()?, position: fields.position()? };
        let epochs = LeaderEpochs::decode(&mut fields)?;
        let index = index(&mut fields)?;
        let count = fields.count(aborted::ENTRY_LEN)?;
        let aborted = aborted::decode(&mut fields, count)?;
        let len = fields.count(1)?;
        let producers = producers_codec::decode(fields.take(len)?).map_err(|error| match error {
            SnapshotError::Damaged => CheckpointError::Damaged,
            SnapshotError::Version(version) => CheckpointError::Version(version),
        })?;
        if !fields.rest().is_empty() {
            return Err(CheckpointError::Damaged);
        }
        Ok(Checkpoint {
            log_start,
            local_start,
            point: RecoveryPoint { serial, at },
            epochs,
            index,
            aborted,
            producers,
        })
    }
}

fn index(fields: &mut Fields<'_>) -> Result<SparseIndex, CheckpointError> {
    let (timestamp, batch) = (Timestamp::from_millis(fields.i64()?), Offset::from_wire(fields.i64()?));
    let latest = batch.map(|batch| LatestTimestamp { timestamp, batch });
    let count = fields.count(24)?;
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        entries.push(IndexEntry {
            offset: fields.offset()?,
            position: fields.position()?,
            max_timestamp_before: Timestamp::from_millis(fields.i64()?),
        });
    }
    SparseIndex::from_parts(entries, latest).ok_or(CheckpointError::Damaged)
}
