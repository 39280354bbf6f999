//! The primitives of Kafka's record schemas: big-endian numbers, strings, bytes and arrays, in the old encoding with
//! fixed lengths and in the flexible one with varints and tagged fields.
//!
//! Reading never trusts a length: nothing is allocated that the record's own bytes do not back.

use bytes::{BufMut, Bytes, BytesMut};
use esker_storage::env::Timestamp;

/// Why a record could not be encoded or decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A field reaches beyond the record's end.
    #[error("the record ends within a field")]
    Truncated,
    /// A length is negative where that has no meaning.
    #[error("a field has an invalid length")]
    Length,
    /// A string is not UTF-8.
    #[error("a string is not UTF-8")]
    Utf8,
    /// The value has a version that is not known.
    #[error("version {0} of the value is not known")]
    Version(i16),
    /// A string or array is too long to be written.
    #[error("a field is too long for its length prefix")]
    TooLong,
}

/// -1 stands for an unknown time.
pub(super) fn known_time(millis: i64) -> Option<Timestamp> {
    (millis != -1).then(|| Timestamp::from_millis(millis))
}

#[derive(Default)]
pub(super) struct Writer {
    out: BytesMut,
}

impl Writer {
    pub(super) fn put_i16(&mut self, value: i16) {
        self.out.put_i16(value);
    }

    pub(super) fn put_i32(&mut self, value: i32) {
        self.out.put_i32(value);
    }

    pub(super) fn put_i64(&mut self, value: i64) {
        self.out.put_i64(value);
    }

    pub(super) fn put_string(&mut self, value: &str) -> Result<(), RecordError> {
        self.out.put_i16(i16::try_from(value.len()).map_err(|_| RecordError::TooLong)?);
        self.out.put_slice(value.as_bytes());
        Ok(())
    }

    pub(super) fn put_nullable(&mut self, value: Option<&str>) -> Result<(), RecordError> {
        match value {
            Some(value) => self.put_string(value),
            None => {
                self.out.put_i16(-1);
                Ok(())
            }
        }
    }

    pub(super) fn put_bytes(&mut self, value: &[u8]) -> Result<(), RecordError> {
        self.out.put_i32(i32::try_from(value.len()).map_err(|_| RecordError::TooLong)?);
        self.out.put_slice(value);
        Ok(())
    }

    /// An `i32` count of an array of the old encoding.
    pub(super) fn put_length(&mut self, length: usize) -> Result<(), RecordError> {
        self.put_i32(i32::try_from(length).map_err(|_| RecordError::TooLong)?);
        Ok(())
    }

    pub(super) fn put_i8(&mut self, value: i8) {
        self.out.put_i8(value);
    }

    pub(super) fn put_raw(&mut self, bytes: &[u8]) {
        self.out.put_slice(bytes);
    }

    fn put_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            // The low seven bits, and that more follow.
            self.out.put_u8((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.out.put_u8(value as u8);
    }

    /// A flexible count: one more than it is.
    pub(super) fn put_count(&mut self, count: usize) -> Result<(), RecordError> {
        let count = i32::try_from(count).map_err(|_| RecordError::TooLong)?;
        self.put_varint(count.unsigned_abs() + 1);
        Ok(())
    }

    /// A flexible string or bytes.
    pub(super) fn put_compact(&mut self, bytes: &[u8]) -> Result<(), RecordError> {
        self.put_count(bytes.len())?;
        self.out.put_slice(bytes);
        Ok(())
    }

    pub(super) fn put_compact_nullable(&mut self, text: Option<&str>) -> Result<(), RecordError> {
        match text {
            Some(text) => self.put_compact(text.as_bytes()),
            None => {
                self.put_varint(0);
                Ok(())
            }
        }
    }

    pub(super) fn put_no_tags(&mut self) {
        self.put_varint(0);
    }

    /// The tagged fields of a structure that has just this one.
    pub(super) fn put_tag(&mut self, tag: u32, bytes: &[u8]) -> Result<(), RecordError> {
        self.put_varint(1);
        self.put_varint(tag);
        self.put_varint(u32::try_from(bytes.len()).map_err(|_| RecordError::TooLong)?);
        self.out.put_slice(bytes);
        Ok(())
    }

    pub(super) fn finish(self) -> Bytes {
        self.out.freeze()
    }
}

pub(super) struct Reader<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(RecordError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(RecordError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn i16(&mut self) -> Result<i16, RecordError> {
        self.array().map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, RecordError> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, RecordError> {
        self.array().map(i64::from_be_bytes)
    }

    /// An `i32` length that must not be null.
    pub(super) fn length(&mut self) -> Result<usize, RecordError> {
        usize::try_from(self.i32()?).map_err(|_| RecordError::Length)
    }

    pub(super) fn varint(&mut self) -> Result<u32, RecordError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            let bits = u32::from(byte & 0x7f);
            value |= bits.checked_shl(shift).filter(|shifted| shifted >> shift == bits).ok_or(RecordError::Length)?;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(RecordError::Length)
    }

    /// A flexible length: one more than it is, 0 for null.
    pub(super) fn compact_length(&mut self) -> Result<Option<usize>, RecordError> {
        Ok(self.varint()?.checked_sub(1).and_then(|length| usize::try_from(length).ok()))
    }

    pub(super) fn text(&mut self, length: usize) -> Result<String, RecordError> {
        let taken = self.take(length)?;
        Ok(std::str::from_utf8(taken).map_err(|_| RecordError::Utf8)?.to_owned())
    }

    pub(super) fn nullable(&mut self) -> Result<Option<String>, RecordError> {
        match self.i16()? {
            -1 => Ok(None),
            length => self.text(usize::try_from(length).map_err(|_| RecordError::Length)?).map(Some),
        }
    }

    pub(super) fn string(&mut self) -> Result<String, RecordError> {
        self.nullable()?.ok_or(RecordError::Length)
    }

    pub(super) fn compact_string(&mut self) -> Result<Option<String>, RecordError> {
        self.compact_length()?.map(|length| self.text(length)).transpose()
    }

    pub(super) fn any_string(&mut self, flexible: bool) -> Result<Option<String>, RecordError> {
        if flexible { self.compact_string() } else { self.nullable() }
    }

    pub(super) fn any_bytes(&mut self, flexible: bool) -> Result<Bytes, RecordError> {
        let length = if flexible { self.compact_length()?.ok_or(RecordError::Length)? } else { self.length()? };
        self.take(length).map(Bytes::copy_from_slice)
    }

    pub(super) fn i8(&mut self) -> Result<i8, RecordError> {
        self.array().map(i8::from_be_bytes)
    }

    /// A flexible count that must not be null.
    pub(super) fn count(&mut self) -> Result<usize, RecordError> {
        self.compact_length()?.ok_or(RecordError::Length)
    }

    /// Reads the tagged fields of a structure; that with the number `wanted`, if it is there.
    pub(super) fn tag(&mut self, wanted: u32) -> Result<Option<Reader<'a>>, RecordError> {
        let mut found = None;
        for _ in 0..self.varint()? {
            let tag = self.varint()?;
            let length = usize::try_from(self.varint()?).map_err(|_| RecordError::Length)?;
            let field = Reader { rest: self.take(length)? };
            if tag == wanted {
                found = Some(field);
            }
        }
        Ok(found)
    }

    pub(super) fn skip_tags(&mut self) -> Result<(), RecordError> {
        // No field has this number.
        self.tag(u32::MAX).map(|_| ())
    }
}
