//! Filtering a stored batch: what compaction leaves of it.
//!
//! A batch keeps its offsets, its producer and its sequences whatever is taken out of it: the records that stay keep
//! their own bytes (length, deltas, headers and all), only the head around them is written anew. Two nouns: [`Filtered`]
//! is what is left; a *delete horizon* (KIP-534) is the time after which tombstones and markers of a batch may go. It is
//! kept in the base timestamp, with attribute bit 6, so a batch that gets one has its timestamp deltas rebased.
//!
//! ```text
//!  stays         base offset, last offset delta, leader epoch, producer id, epoch, base sequence, codec
//!  written anew  length, CRC, record count, max timestamp, the compressed block; with a horizon base timestamp and deltas
//! ```

use super::checksum::crc32c;
use super::codec::{Compression, Scratch};
use super::compress::compress;
use super::header::{BatchHeader, TimestampType};
use super::records::{Base, Record, open};
use super::shape::{BAD_RECORD, Malformed, TRAILING};
use super::varint;
use super::window::Window;
use bytes::Bytes;

/// What is left of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filtered {
    /// All of it, as it is.
    Unchanged,
    /// A batch with fewer records, or with a delete horizon.
    Rewritten(Bytes),
    /// No record. What remembers the producer's sequence, if that is to stay, is [`without_records`].
    Nothing,
}

/// The delete horizon that a batch without one gets, if it needs one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewHorizon {
    /// The time, in milliseconds since 1970.
    pub at: i64,
    /// Whether the batch needs one whatever its records are: a marker whose transaction has no records left. Others need
    /// one as soon as a tombstone stays.
    pub marker: bool,
}

/// Takes the records out of `batch`, which starts with a whole batch, that `keep` does not want. Compressed ones are
/// decompressed piece by piece, up to `limit` bytes; what stays is held in memory until the batch is done.
///
/// # Errors
/// [`Malformed`]: the stored batch is damaged.
pub fn filter(
    batch: &[u8],
    scratch: &mut Scratch,
    limit: u64,
    horizon: NewHorizon,
    mut keep: impl FnMut(&Record<'_>) -> bool,
) -> Result<Filtered, Malformed> {
    let (header, input) = open(batch)?;
    let base = Base::of(&header);
    let mut window = Window::new(&header, input, scratch, limit)?;
    let mut kept = Kept { records: Vec::new(), count: 0, max_timestamp: None, tombstones: false };
    for _ in 0..header.record_count {
        let bytes = window.next_record()?;
        let record = base.record(bytes)?;
        if keep(&record) {
            kept.push(bytes, &record);
        }
    }
    if !window.at_end()? {
        return Err(TRAILING);
    }
    let wants_horizon = horizon.marker || kept.tombstones && !header.is_control();
    let horizon = (wants_horizon && header.delete_horizon().is_none()).then_some(horizon.at);
    if kept.count == 0 {
        return Ok(Filtered::Nothing);
    }
    if kept.count == header.record_count && horizon.is_none() {
        return Ok(Filtered::Unchanged);
    }
    kept.into_batch(header, horizon).map(Filtered::Rewritten)
}

/// A batch without records in the place of the one with `header`: it takes the same offsets and keeps its producer's last
/// sequence and epoch in the log.
pub fn without_records(header: &BatchHeader) -> Bytes {
    let mut header = *header;
    header.set_compression(Compression::None);
    header.clear_delete_horizon();
    header.record_count = 0;
    header.base_timestamp = -1;
    header.max_timestamp = -1;
    header.batch_length = (BatchHeader::SIZE - BatchHeader::PREFIX) as i32;
    sealed(header, header.encode().to_vec())
}

/// The records that stay, encoded as they were.
struct Kept {
    records: Vec<u8>,
    count: i32,
    max_timestamp: Option<i64>,
    tombstones: bool,
}

impl Kept {
    /// `bytes` are the record's, without its length.
    fn push(&mut self, bytes: &[u8], record: &Record<'_>) {
        // It came out of a batch, where its length was an i32.
        varint::write_i32(&mut self.records, i32::try_from(bytes.len()).unwrap_or(i32::MAX));
        self.records.extend_from_slice(bytes);
        self.count += 1;
        self.max_timestamp = self.max_timestamp.max(record.timestamp);
        self.tombstones |= record.value.is_none();
    }

    fn into_batch(self, mut header: BatchHeader, horizon: Option<i64>) -> Result<Bytes, Malformed> {
        let records = match horizon {
            Some(horizon) => rebased(&self.records, header.base_timestamp.wrapping_sub(horizon))?,
            None => self.records,
        };
        if let Some(horizon) = horizon {
            header.set_delete_horizon(horizon);
        }
        // The broker's time is the batch's, and all records have it.
        if header.timestamp_type() == TimestampType::CreateTime {
            header.max_timestamp = self.max_timestamp.unwrap_or(-1);
        }
        header.record_count = self.count;
        let mut bytes = vec![0; BatchHeader::SIZE];
        compress(header.compression().into(), &records, &mut bytes)
            .map_err(|error| Malformed::Codec(error.to_string()))?;
        let length = bytes.len() - BatchHeader::PREFIX;
        header.batch_length = i32::try_from(length).map_err(|_| Malformed::TooLarge { limit: i32::MAX as u64 })?;
        Ok(sealed(header, bytes))
    }
}

/// Records whose timestamp deltas are `by` greater; everything else of them is as it was.
fn rebased(records: &[u8], by: i64) -> Result<Vec<u8>, Malformed> {
    let (mut out, mut record) = (Vec::with_capacity(records.len() + records.len() / 8), Vec::new());
    let mut at = 0;
    while at < records.len() {
        let length = varint::read_i32(records, &mut at).and_then(|length| usize::try_from(length).ok());
        let bytes = length.and_then(|length| records.get(at..)?.get(..length)).ok_or(BAD_RECORD)?;
        at += bytes.len();
        let mut after = 1;
        let delta = varint::read_i64(bytes, &mut after).ok_or(BAD_RECORD)?;
        let (attributes, rest) = bytes.first().zip(bytes.get(after..)).ok_or(BAD_RECORD)?;
        record.clear();
        record.push(*attributes);
        varint::write_i64(&mut record, delta.wrapping_add(by));
        record.extend_from_slice(rest);
        varint::write_i32(&mut out, i32::try_from(record.len()).map_err(|_| BAD_RECORD)?);
        out.extend_from_slice(&record);
    }
    Ok(out)
}

/// `bytes` with `header` as their head, and the checksum of all.
fn sealed(mut header: BatchHeader, mut bytes: Vec<u8>) -> Bytes {
    for _ in 0..2 {
        if let Some(head) = bytes.first_chunk_mut() {
            *head = header.encode();
        }
        header.crc = crc32c(bytes.get(BatchHeader::CRC_START..).unwrap_or_default());
    }
    bytes.into()
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
