//! The index file of a sealed segment: its sparse index, and what else is known of it once it no longer changes.
//!
//! ```text
//! 0    8  magic "eskeridx"
//! 8    2  format version, 1                    (integers big-endian)
//! 10   2  flags, 0
//! 12   8  base offset
//! 20   4  serial
//! 24   4  generation
//! 28   8  end offset: one past the last record; of a cleaned segment, past the last one that it stands for
//! 36   8  data end: where the last batch ends in the data file, which is also its size
//! 44   8  latest timestamp, and
//! 52   8  the first offset of the first batch with it; -1 for a segment without batches
//! 60   4  entries
//! 64   4  bytes of the attachment
//! 68   4  CRC-32 of bytes 0..68: a summary of a segment costs one read of 72 bytes
//! 72      entries, 24 bytes each: offset, position, latest timestamp before
//!         attachment: what the log remembers of the segment's end (its producers); opaque here
//!      4  CRC-32 of everything from byte 72
//! ```
//!
//! It holds nothing that the data file could not tell: whoever finds it missing or wrong writes it again.

use super::fields::{BadField, Fields};
use super::index::{IndexEntry, LatestTimestamp, MAX_ENTRIES, SparseIndex};
use super::name::SegmentName;
use crate::env::Timestamp;
use crate::offset::{FilePosition, Offset};

/// Bytes that hold a summary.
pub const SUMMARY_LEN: usize = 72;

const MAGIC: &[u8; 8] = b"eskeridx";
const VERSION: u16 = 1;
const ENTRY_LEN: usize = 24;
/// More than any partition's producers take; a longer attachment is damage.
const MAX_ATTACHMENT: usize = 256 << 20;

/// A sealed segment in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Which segment.
    pub name: SegmentName,
    /// One past its last record; of a cleaned segment, past the last one that it stands for.
    pub end: Offset,
    /// Where its last batch ends in the data file.
    pub data_end: FilePosition,
    /// Its latest timestamp; `None` if it has no batch.
    pub latest: Option<LatestTimestamp>,
}

/// Why bytes are not the index of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexFileError {
    /// Torn, rotten, or of something else.
    #[error("not a segment index, or a damaged one")]
    Damaged,
    /// Written by a newer Esker.
    #[error("unknown index format version {0}")]
    Version(u16),
}

impl From<BadField> for IndexFileError {
    fn from(_: BadField) -> IndexFileError {
        IndexFileError::Damaged
    }
}

/// The whole file.
pub fn encode(summary: &Summary, index: &SparseIndex, attachment: &[u8]) -> Vec<u8> {
    let entries = index.entries();
    let mut bytes = Vec::with_capacity(SUMMARY_LEN + entries.len() * ENTRY_LEN + attachment.len() + 4);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&[0; 2]);
    bytes.extend_from_slice(&summary.name.base.get().to_be_bytes());
    bytes.extend_from_slice(&summary.name.serial.to_be_bytes());
    bytes.extend_from_slice(&summary.name.generation.to_be_bytes());
    bytes.extend_from_slice(&summary.end.get().to_be_bytes());
    bytes.extend_from_slice(&summary.data_end.get().to_be_bytes());
    let (timestamp, batch) =
        summary.latest.map_or((-1, -1), |latest| (latest.timestamp.millis(), latest.batch.to_wire()));
    bytes.extend_from_slice(&timestamp.to_be_bytes());
    bytes.extend_from_slice(&batch.to_be_bytes());
    bytes.extend_from_slice(&(entries.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&(attachment.len() as u32).to_be_bytes());
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    let mut body = crc32fast::Hasher::new();
    let body_start = bytes.len();
    for entry in entries {
        bytes.extend_from_slice(&entry.offset.get().to_be_bytes());
        bytes.extend_from_slice(&entry.position.get().to_be_bytes());
        bytes.extend_from_slice(&entry.max_timestamp_before.millis().to_be_bytes());
    }
    bytes.extend_from_slice(attachment);
    body.update(bytes.get(body_start..).unwrap_or_default());
    bytes.extend_from_slice(&body.finalize().to_be_bytes());
    bytes
}

/// The summary at the start of `bytes`.
///
/// # Errors
/// [`IndexFileError`].
pub fn decode_summary(bytes: &[u8]) -> Result<Summary, IndexFileError> {
    Ok(head(bytes)?.0)
}

/// The whole file: summary, index, attachment.
///
/// # Errors
/// [`IndexFileError`].
pub fn decode(bytes: &[u8]) -> Result<(Summary, SparseIndex, &[u8]), IndexFileError> {
    let (summary, count, attachment_len) = head(bytes)?;
    let body = bytes.get(SUMMARY_LEN..).ok_or(IndexFileError::Damaged)?;
    let (body, crc) = body.split_last_chunk::<4>().ok_or(IndexFileError::Damaged)?;
    if crc32fast::hash(body).to_be_bytes() != *crc || body.len() != count * ENTRY_LEN + attachment_len {
        return Err(IndexFileError::Damaged);
    }
    let mut fields = Fields::new(body);
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        entries.push(IndexEntry {
            offset: fields.offset()?,
            position: FilePosition::new(fields.u64()?),
            max_timestamp_before: Timestamp::from_millis(fields.i64()?),
        });
    }
    let index = SparseIndex::from_parts(entries, summary.latest).ok_or(IndexFileError::Damaged)?;
    Ok((summary, index, fields.take(attachment_len)?))
}

fn head(bytes: &[u8]) -> Result<(Summary, usize, usize), IndexFileError> {
    let (head, _) = bytes.split_at_checked(SUMMARY_LEN).ok_or(IndexFileError::Damaged)?;
    let (head, crc) = head.split_last_chunk::<4>().ok_or(IndexFileError::Damaged)?;
    if !head.starts_with(MAGIC) || crc32fast::hash(head).to_be_bytes() != *crc {
        return Err(IndexFileError::Damaged);
    }
    let mut fields = Fields::new(head);
    fields.take(MAGIC.len())?;
    let version = fields.u16()?;
    if version != VERSION {
        return Err(IndexFileError::Version(version));
    }
    let _flags = fields.u16()?;
    let name = SegmentName { base: fields.offset()?, serial: fields.u32()?, generation: fields.u32()? };
    let end = fields.offset()?;
    let data_end = FilePosition::new(fields.u64()?);
    let (timestamp, batch) = (fields.i64()?, fields.i64()?);
    let latest =
        Offset::from_wire(batch).map(|batch| LatestTimestamp { timestamp: Timestamp::from_millis(timestamp), batch });
    let (count, attachment) = (fields.u32()? as usize, fields.u32()? as usize);
    if count > MAX_ENTRIES || attachment > MAX_ATTACHMENT || end < name.base {
        return Err(IndexFileError::Damaged);
    }
    Ok((Summary { name, end, data_end, latest }, count, attachment))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::index::BatchMark;
    use proptest::prelude::*;

    fn example(batches: u64, attachment: &[u8]) -> (Summary, SparseIndex, Vec<u8>) {
        let mut index = SparseIndex::default();
        let mut position = 64;
        for n in 0..batches {
            index.push(&BatchMark {
                position: FilePosition::new(position),
                len: 5000,
                base: Offset::new(n * 3),
                next: Offset::new(n * 3 + 3),
                max_timestamp: Timestamp::from_millis(n as i64),
                epoch: crate::offset::LeaderEpoch::new(0),
            });
            position += 5000;
        }
        let summary = Summary {
            name: SegmentName { base: Offset::ZERO, serial: 7, generation: 2 },
            end: Offset::new(batches * 3),
            data_end: FilePosition::new(position),
            latest: index.latest(),
        };
        let bytes = encode(&summary, &index, attachment);
        (summary, index, bytes)
    }

    proptest! {
        #[test]
        fn files_decode_back(batches in 0u64..50, attachment: Vec<u8>) {
            let (summary, index, bytes) = example(batches, &attachment);
            prop_assert_eq!(decode_summary(&bytes), Ok(summary));
            prop_assert_eq!(decode(&bytes), Ok((summary, index, &attachment[..])));
        }

        #[test]
        fn damage_is_seen(flip: prop::sample::Index, cut: prop::sample::Index) {
            let (_, _, bytes) = example(9, b"attached");
            let mut flipped = bytes.clone();
            let bit = flip.index(bytes.len() * 8);
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(decode(&flipped), Err(IndexFileError::Damaged));
            prop_assert_eq!(decode(&bytes[..cut.index(bytes.len())]), Err(IndexFileError::Damaged));
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let _ = decode(&bytes);
            let _ = decode_summary(&bytes);
        }
    }
}
