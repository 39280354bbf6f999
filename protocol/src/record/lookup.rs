//! Finding a record in a batch by its timestamp, as ListOffsets asks.
//!
//! The time index leads to a batch; these look into it. Both give the [`RecordPosition`] of a real record with its real
//! timestamp: a position without one makes Java clients fail.

use super::codec::Scratch;
use super::header::BatchHeader;
use super::records::{Record, stream};
use super::shape::Malformed;

/// A record found by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordPosition {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp, in milliseconds since 1970.
    pub timestamp: i64,
}

impl RecordPosition {
    fn of(record: &Record<'_>) -> Option<RecordPosition> {
        record.timestamp.map(|timestamp| RecordPosition { offset: record.offset, timestamp })
    }
}

/// The first record of `batch` from offset `from` on whose timestamp is `timestamp` or later; `None` if there is none.
/// At most `limit` bytes are decompressed.
///
/// # Errors
/// [`Malformed`]: the stored batch is damaged.
pub fn first_at_or_after(
    batch: &[u8],
    timestamp: i64,
    from: i64,
    scratch: &mut Scratch,
    limit: u64,
) -> Result<Option<RecordPosition>, Malformed> {
    let header = BatchHeader::parse(batch)?;
    if header.max_timestamp().is_none_or(|max| max < timestamp) || header.last_offset() < from {
        return Ok(None);
    }
    let mut records = stream(batch, scratch, limit)?;
    while let Some(record) = records.next_record()? {
        if record.offset >= from && record.timestamp.is_some_and(|found| found >= timestamp) {
            return Ok(RecordPosition::of(&record));
        }
    }
    Ok(None)
}

/// The first of the records with the greatest timestamp of `batch` (KIP-734); with LogAppendTime, where all have the
/// same one, the first record. `None` if no record has a timestamp. At most `limit` bytes are decompressed.
///
/// # Errors
/// [`Malformed`]: the stored batch is damaged.
pub fn max_timestamp_record(
    batch: &[u8],
    scratch: &mut Scratch,
    limit: u64,
) -> Result<Option<RecordPosition>, Malformed> {
    let header = BatchHeader::parse(batch)?;
    let mut records = stream(batch, scratch, limit)?;
    let mut found: Option<RecordPosition> = None;
    while let Some(record) = records.next_record()? {
        let position = RecordPosition::of(&record);
        if position.map(|p| p.timestamp) > found.map(|p| p.timestamp) {
            found = position;
        }
        // The header's maximum is computed when the batch is appended: no later record exceeds it.
        if found.is_some_and(|found| found.timestamp == header.max_timestamp) {
            break;
        }
    }
    Ok(found)
}

#[cfg(test)]
#[path = "lookup_tests.rs"]
mod tests;
