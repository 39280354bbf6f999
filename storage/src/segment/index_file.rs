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
//! 68   4  aborted transactions
//! 72   8  the least first offset of those; -1 for none
//! 80   4  CRC-32 of bytes 0..80: a summary of a segment costs one read of 84 bytes
//! 84      entries, 24 bytes each: offset, position, latest timestamp before
//!         aborted transactions, 32 bytes each, see `aborted`
//!         attachment: what the log remembers of the segment's end (its producers); opaque here
//!      4  CRC-32 of everything from byte 84
//! ```
//!
//! It holds nothing that the data file could not tell: whoever finds it missing or wrong writes it again.

use super::aborted::{self, AbortedTransaction};
use super::fields::{BadField, Fields};
use super::index::{IndexEntry, LatestTimestamp, MAX_ENTRIES, SparseIndex};
use super::lookup::Boundary;
use super::name::SegmentName;
use crate::env::Timestamp;
use crate::offset::{FilePosition, Offset};

/// Bytes that hold a summary.
pub const SUMMARY_LEN: usize = 84;

const MAGIC: &[u8; 8] = b"eskeridx";
const VERSION: u16 = 1;
const ENTRY_LEN: usize = 24;
/// More than any partition's producers take; a longer attachment is damage.
const MAX_ATTACHMENT: usize = 256 << 20;
/// More markers than a segment of the greatest size has room for.
const MAX_ABORTED: usize = 32 << 20;

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
    /// How many transactions were aborted in it.
    pub aborted: u32,
    /// The least first offset of those.
    pub first_aborted: Option<Offset>,
}

impl Summary {
    /// The summary of a segment with this end and these indexes.
    pub fn of(name: SegmentName, end: Boundary, index: &SparseIndex, aborted: &[AbortedTransaction]) -> Summary {
        Summary {
            name,
            end: end.offset,
            data_end: end.position,
            latest: index.latest(),
            aborted: u32::try_from(aborted.len()).unwrap_or(u32::MAX),
            first_aborted: aborted.iter().map(|aborted| aborted.first).min(),
        }
    }

    /// Whether a transaction that began before `upto` was aborted in it.
    pub fn may_concern(&self, upto: Offset) -> bool {
        self.first_aborted.is_some_and(|first| first < upto)
    }
}

/// What an index file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents<'a> {
    /// The segment in short.
    pub summary: Summary,
    /// Where to look in it.
    pub index: SparseIndex,
    /// The transactions that were aborted in it.
    pub aborted: Vec<AbortedTransaction>,
    /// What the log gave to be kept.
    pub attachment: &'a [u8],
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
pub fn encode(summary: &Summary, index: &SparseIndex, aborted: &[AbortedTransaction], attachment: &[u8]) -> Vec<u8> {
    let entries = index.entries();
    let mut bytes = Vec::with_capacity(
        SUMMARY_LEN + entries.len() * ENTRY_LEN + aborted.len() * aborted::ENTRY_LEN + attachment.len() + 4,
    );
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
    bytes.extend_from_slice(&summary.aborted.to_be_bytes());
    bytes.extend_from_slice(&summary.first_aborted.map_or(-1, Offset::to_wire).to_be_bytes());
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    let mut body = crc32fast::Hasher::new();
    let body_start = bytes.len();
    for entry in entries {
        bytes.extend_from_slice(&entry.offset.get().to_be_bytes());
        bytes.extend_from_slice(&entry.position.get().to_be_bytes());
        bytes.extend_from_slice(&entry.max_timestamp_before.millis().to_be_bytes());
    }
    aborted::encode(aborted, &mut bytes);
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

/// The whole file.
///
/// # Errors
/// [`IndexFileError`].
pub fn decode(bytes: &[u8]) -> Result<Contents<'_>, IndexFileError> {
    let (summary, count, attachment_len) = head(bytes)?;
    let body = bytes.get(SUMMARY_LEN..).ok_or(IndexFileError::Damaged)?;
    let (body, crc) = body.split_last_chunk::<4>().ok_or(IndexFileError::Damaged)?;
    let transactions = summary.aborted as usize;
    let len = count * ENTRY_LEN + transactions * aborted::ENTRY_LEN + attachment_len;
    if crc32fast::hash(body).to_be_bytes() != *crc || body.len() != len {
        return Err(IndexFileError::Damaged);
    }
    let mut fields = Fields::new(body);
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        entries.push(IndexEntry {
            offset: fields.offset()?,
            position: fields.position()?,
            max_timestamp_before: Timestamp::from_millis(fields.i64()?),
        });
    }
    let index = SparseIndex::from_parts(entries, summary.latest).ok_or(IndexFileError::Damaged)?;
    let aborted = aborted::decode(&mut fields, transactions)?;
    Ok(Contents { summary, index, aborted, attachment: fields.take(attachment_len)? })
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
    let data_end = fields.position()?;
    let (timestamp, batch) = (fields.i64()?, fields.i64()?);
    let latest =
        Offset::from_wire(batch).map(|batch| LatestTimestamp { timestamp: Timestamp::from_millis(timestamp), batch });
    let (count, attachment) = (fields.u32()? as usize, fields.u32()? as usize);
    let (aborted, first_aborted) = (fields.u32()?, Offset::from_wire(fields.i64()?));
    if count > MAX_ENTRIES
        || attachment > MAX_ATTACHMENT
        || aborted as usize > MAX_ABORTED
        || first_aborted.is_some() != (aborted > 0)
        || end < name.base
    {
        return Err(IndexFileError::Damaged);
    }
    Ok((Summary { name, end, data_end, latest, aborted, first_aborted }, count, attachment))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::index::BatchMark;
    use proptest::prelude::*;

    fn example(batches: u64, attachment: &[u8]) -> (Contents<'_>, Vec<u8>) {
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
        let aborted: Vec<_> = (0..batches / 4)
            .map(|n| AbortedTransaction {
                producer_id: n as i64,
                first: Offset::new(n * 12 + 5),
                last: Offset::new(n * 12 + 9),
                last_stable: Offset::new(n * 12 + 10),
            })
            .collect();
        let name = SegmentName { base: Offset::ZERO, serial: 7, generation: 2 };
        let end = Boundary { offset: Offset::new(batches * 3), position: FilePosition::new(position) };
        let summary = Summary::of(name, end, &index, &aborted);
        let bytes = encode(&summary, &index, &aborted, attachment);
        (Contents { summary, index, aborted, attachment }, bytes)
    }

    proptest! {
        #[test]
        fn files_decode_back(batches in 0u64..50, attachment: Vec<u8>) {
            let (contents, bytes) = example(batches, &attachment);
            prop_assert_eq!(decode_summary(&bytes), Ok(contents.summary));
            prop_assert_eq!(decode(&bytes), Ok(contents));
        }

        #[test]
        fn damage_is_seen(flip: prop::sample::Index, cut: prop::sample::Index) {
            let (_, bytes) = example(9, b"attached");
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
