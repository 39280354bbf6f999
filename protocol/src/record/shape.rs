//! The shape of one record: its lengths and deltas, checked without keeping what they frame.
//!
//! ```text
//!  length     varint   of everything after it
//!  attributes i8       unused
//!  timestamp  varlong  relative to the batch's base timestamp
//!  offset     varint   relative to the batch's base offset
//!  key        varint length (-1: null), bytes
//!  value      varint length (-1: null), bytes
//!  headers    varint count, then each: key (varint length, bytes), value (varint length, -1: null, bytes)
//! ```
//!
//! A [`Cursor`] is where the fields come from: a slice that holds the whole record ([`SliceCursor`], the fast path), or
//! the decoder of a record that is larger than its window. [`shape`] is the one parser for both.

use super::varint;

/// Why records cannot be read. A stored batch never gives this, unless its bytes rotted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The header is wrong.
    #[error(transparent)]
    Damaged(#[from] super::header::Damage),
    /// A field does not fit its record, a record its batch, or the count of records its header.
    #[error("{0}")]
    Structure(&'static str),
    /// The codec gave up.
    #[error("cannot be decompressed: {0}")]
    Codec(String),
    /// The records take more room than allowed once decompressed.
    #[error("decompresses to more than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
}

pub(super) const ENDS_EARLY: Malformed = Malformed::Structure("the records end before the declared count");
pub(super) const BAD_RECORD: Malformed = Malformed::Structure("a record's fields do not fit its length");
pub(super) const TRAILING: Malformed = Malformed::Structure("bytes remain after the declared count of records");

/// What the checks of a batch need of a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i32,
    pub(super) has_key: bool,
}

/// One record's bytes, from its attributes on.
pub(super) trait Cursor {
    fn read_i32(&mut self) -> Result<i32, Malformed>;
    fn read_i64(&mut self) -> Result<i64, Malformed>;
    fn skip(&mut self, length: usize) -> Result<(), Malformed>;
    /// Bytes of the record that are still unread.
    fn remaining(&self) -> usize;
}

/// A record that lies in memory as a whole.
pub(super) struct SliceCursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> SliceCursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> SliceCursor<'a> {
        SliceCursor { bytes, at: 0 }
    }
}

impl Cursor for SliceCursor<'_> {
    #[inline(always)]
    fn read_i32(&mut self) -> Result<i32, Malformed> {
        varint::read_i32(self.bytes, &mut self.at).ok_or(BAD_RECORD)
    }

    #[inline(always)]
    fn read_i64(&mut self) -> Result<i64, Malformed> {
        varint::read_i64(self.bytes, &mut self.at).ok_or(BAD_RECORD)
    }

    #[inline(always)]
    fn skip(&mut self, length: usize) -> Result<(), Malformed> {
        // Both are at most 2^31.
        let end = self.at + length;
        if end > self.bytes.len() {
            return Err(BAD_RECORD);
        }
        self.at = end;
        Ok(())
    }

    #[inline(always)]
    fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }
}

/// Reads one record, whose length was read before.
#[inline(always)]
pub(super) fn shape(cursor: &mut impl Cursor) -> Result<Shape, Malformed> {
    cursor.skip(1)?;
    let timestamp_delta = cursor.read_i64()?;
    let offset_delta = cursor.read_i32()?;
    let has_key = skip_nullable(cursor)?;
    skip_nullable(cursor)?;
    let headers = cursor.read_i32()?;
    if headers != 0 {
        skip_headers(cursor, headers)?;
    }
    if cursor.remaining() != 0 {
        return Err(BAD_RECORD);
    }
    Ok(Shape { timestamp_delta, offset_delta, has_key })
}

/// Skips a length and its bytes; whether there are any (an empty one counts, a null does not).
#[inline(always)]
fn skip_nullable(cursor: &mut impl Cursor) -> Result<bool, Malformed> {
    let length = cursor.read_i32()?;
    match usize::try_from(length) {
        Ok(length) => cursor.skip(length).map(|()| true),
        Err(_) if length == -1 => Ok(false),
        Err(_) => Err(BAD_RECORD),
    }
}

#[inline(never)]
fn skip_headers(cursor: &mut impl Cursor, count: i32) -> Result<(), Malformed> {
    if count < 0 {
        return Err(BAD_RECORD);
    }
    // A count that lies ends with the record's bytes: each header takes two at least.
    for _ in 0..count {
        skip_header(cursor)?;
    }
    Ok(())
}

/// Skips one header.
pub(super) fn skip_header(cursor: &mut impl Cursor) -> Result<(), Malformed> {
    if !skip_nullable(cursor)? {
        return Err(Malformed::Structure("a header's key is null"));
    }
    skip_nullable(cursor).map(|_| ())
}
