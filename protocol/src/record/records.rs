//! Reading records: borrowed views into a batch's bytes.
//!
//! [`records`] gives an iterator over a batch, decompressed into a [`Scratch`] as a whole if it is compressed;
//! [`stream`] gives the records one at a time out of a window, for whoever must not hold a whole decompressed batch.
//! Both take stored batches, so they trust the counts that validation checked, but not the memory: bytes that rotted
//! end in [`Malformed`], never in a panic.

use super::codec::{Compression, Scratch};
use super::header::{BatchHeader, Damage, TimestampType};
use super::shape::{BAD_RECORD, Cursor, ENDS_EARLY, Malformed, SliceCursor, TRAILING};
use super::varint;
use super::window::Window;

/// One record, borrowed from its batch.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Its offset in the partition.
    pub offset: i64,
    /// Its timestamp in milliseconds since 1970, `None` if it has none. With LogAppendTime, the batch's.
    pub timestamp: Option<i64>,
    /// The key; `None` is null, which is not the same as empty.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is null: a tombstone where there is a key.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: Headers<'a>,
}

/// A header of a record. Keys may be repeated and need not be text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value; `None` is null.
    pub value: Option<&'a [u8]>,
}

/// The headers of a record, in their order: an iterator that has been checked already.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl Headers<'_> {
    /// How many are left.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        self.count = self.count.checked_sub(1)?;
        let mut at = 0;
        let key = nullable(self.bytes, &mut at).ok()??;
        let value = nullable(self.bytes, &mut at).ok()?;
        self.bytes = self.bytes.get(at..)?;
        Some(Header { key, value })
    }
}

/// A length and its bytes.
fn nullable<'a>(bytes: &'a [u8], at: &mut usize) -> Result<Option<&'a [u8]>, Malformed> {
    let length = varint::read_i32(bytes, at).ok_or(BAD_RECORD)?;
    if length == -1 {
        return Ok(None);
    }
    let length = usize::try_from(length).map_err(|_| BAD_RECORD)?;
    let field = bytes.get(*at..).and_then(|rest| rest.get(..length)).ok_or(BAD_RECORD)?;
    *at += length;
    Ok(Some(field))
}

/// How a batch's header places its records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Base {
    offset: i64,
    timestamp: i64,
    /// The timestamp of all records, where it is the broker's.
    append_time: Option<i64>,
}

impl Base {
    pub(super) fn of(header: &BatchHeader) -> Base {
        let append_time = (header.timestamp_type() == TimestampType::LogAppendTime).then_some(header.max_timestamp);
        Base { offset: header.base_offset, timestamp: header.base_timestamp, append_time }
    }

    /// The record whose bytes after its length are `bytes`.
    pub(super) fn record<'a>(&self, bytes: &'a [u8]) -> Result<Record<'a>, Malformed> {
        // The attributes of a record are unused.
        let mut at = 1;
        let timestamp_delta = varint::read_i64(bytes, &mut at).ok_or(BAD_RECORD)?;
        let offset_delta = varint::read_i32(bytes, &mut at).ok_or(BAD_RECORD)?;
        let key = nullable(bytes, &mut at)?;
        let value = nullable(bytes, &mut at)?;
        let count = varint::read_i32(bytes, &mut at).ok_or(BAD_RECORD)?;
        let count = usize::try_from(count).map_err(|_| BAD_RECORD)?;
        let headers = bytes.get(at..).unwrap_or_default();
        let mut end = SliceCursor::new(headers);
        for _ in 0..count {
            super::shape::skip_header(&mut end)?;
        }
        if end.remaining() != 0 {
            return Err(BAD_RECORD);
        }
        let timestamp = self.append_time.unwrap_or_else(|| self.timestamp.wrapping_add(timestamp_delta));
        Ok(Record {
            offset: self.offset.wrapping_add(i64::from(offset_delta)),
            timestamp: (timestamp != -1).then_some(timestamp),
            key,
            value,
            headers: Headers { bytes: headers, count },
        })
    }
}

/// The header of the batch at the start of `batch`, and its records as they are stored.
pub(super) fn open(batch: &[u8]) -> Result<(BatchHeader, &[u8]), Malformed> {
    let header = BatchHeader::parse(batch)?;
    let needed = header.total_len();
    let input = batch.get(BatchHeader::SIZE..needed).ok_or(Damage::Truncated { needed })?;
    Ok((header, input))
}

/// An iterator over the records of one batch; see [`records`]. It ends after its first error.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    base: Base,
    bytes: &'a [u8],
    left: i32,
}

/// The records of the batch at the start of `batch`. A compressed one is decompressed into `scratch` as a whole, up to
/// `limit` bytes.
///
/// # Errors
/// [`Malformed`]: the header is damaged, or the records cannot be decompressed within `limit`.
pub fn records<'a>(batch: &'a [u8], scratch: &'a mut Scratch, limit: u64) -> Result<Records<'a>, Malformed> {
    let (header, input) = open(batch)?;
    let bytes = match header.compression() {
        Compression::None => input,
        _ => Window::new(&header, input, scratch, limit)?.read_all()?,
    };
    Ok(Records { base: Base::of(&header), bytes, left: header.record_count })
}

impl<'a> Records<'a> {
    fn advance(&mut self) -> Result<Record<'a>, Malformed> {
        let mut at = 0;
        let length = varint::read_i32(self.bytes, &mut at).ok_or(ENDS_EARLY)?;
        let length = usize::try_from(length).map_err(|_| BAD_RECORD)?;
        let (record, rest) = self.bytes.get(at..).and_then(|rest| rest.split_at_checked(length)).ok_or(ENDS_EARLY)?;
        self.bytes = rest;
        self.base.record(record)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 {
            let trailing = self.left == 0 && !self.bytes.is_empty();
            self.left = -1;
            return trailing.then_some(Err(TRAILING));
        }
        self.left -= 1;
        let record = self.advance();
        if record.is_err() {
            self.left = -1;
        }
        Some(record)
    }
}

/// The records of one batch, one at a time; see [`stream`].
pub struct RecordStream<'a> {
    base: Base,
    window: Window<'a>,
    left: i32,
}

/// The records of the batch at the start of `batch`, decompressed piece by piece: memory for the largest record (and 64
/// KiB), not for the batch. No more than `limit` bytes are decompressed.
///
/// # Errors
/// [`Malformed`]: the header is damaged, or the records are not of their codec.
pub fn stream<'a>(batch: &'a [u8], scratch: &'a mut Scratch, limit: u64) -> Result<RecordStream<'a>, Malformed> {
    let (header, input) = open(batch)?;
    let window = Window::new(&header, input, scratch, limit)?;
    Ok(RecordStream { base: Base::of(&header), window, left: header.record_count })
}

impl RecordStream<'_> {
    /// The next record, `None` after the last one.
    ///
    /// # Errors
    /// [`Malformed`]; the stream has ended then.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, Malformed> {
        if self.left <= 0 {
            return Ok(None);
        }
        let left = std::mem::replace(&mut self.left, 0);
        let record = self.base.record(self.window.next_record()?)?;
        self.left = left - 1;
        Ok(Some(record))
    }
}

impl std::fmt::Debug for RecordStream<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordStream").field("left", &self.left).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
