//! Reads the compact form of flexible versions (KIP-482): the counterpart of `lengths`, for bodies that the guard passed.
//!
//! `None` is "not decodable", which after the guard can only be a string that is not UTF-8. Strings are slices of what
//! they are read from. An array is as long as the elements that were read, whatever its count says.

use bytes::{Buf, Bytes};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

/// What is left to read.
pub(super) struct Reader<'a> {
    rest: &'a mut Bytes,
}

impl<'a> Reader<'a> {
    pub(super) fn new(rest: &'a mut Bytes) -> Reader<'a> {
        Reader { rest }
    }

    pub(super) fn boolean(&mut self) -> Option<bool> {
        Some(self.rest.try_get_u8().ok()? != 0)
    }

    pub(super) fn int16(&mut self) -> Option<i16> {
        self.rest.try_get_i16().ok()
    }

    pub(super) fn int32(&mut self) -> Option<i32> {
        self.rest.try_get_i32().ok()
    }

    pub(super) fn int64(&mut self) -> Option<i64> {
        self.rest.try_get_i64().ok()
    }

    pub(super) fn uuid(&mut self) -> Option<Uuid> {
        self.rest.try_get_u128().ok().map(Uuid::from_u128)
    }

    /// A string; the inner `None` is null.
    pub(super) fn nullable_text(&mut self) -> Option<Option<StrBytes>> {
        let Some(length) = self.length()? else { return Some(None) };
        if length > self.rest.len() {
            return None;
        }
        StrBytes::from_utf8(self.rest.split_to(length)).ok().map(Some)
    }

    /// A string that is not null.
    pub(super) fn text(&mut self) -> Option<StrBytes> {
        self.nullable_text()?
    }

    /// An array; the inner `None` is null.
    pub(super) fn nullable_list<T>(
        &mut self,
        mut element: impl FnMut(&mut Reader<'_>) -> Option<T>,
    ) -> Option<Option<Vec<T>>> {
        let Some(count) = self.length()? else { return Some(None) };
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(element(self)?);
        }
        Some(Some(list))
    }

    /// An array that is not null.
    pub(super) fn list<T>(&mut self, element: impl FnMut(&mut Reader<'_>) -> Option<T>) -> Option<Vec<T>> {
        self.nullable_list(element)?
    }

    /// The tagged fields at the end of a struct, of which none is known.
    pub(super) fn skip_tags(&mut self) -> Option<()> {
        let count = self.varint()?;
        for _ in 0..count {
            self.varint()?;
            let size = self.varint()? as usize;
            if size > self.rest.len() {
                return None;
            }
            self.rest.advance(size);
        }
        Some(())
    }

    /// A length or count; the inner `None` is null.
    fn length(&mut self) -> Option<Option<usize>> {
        Some((self.varint()? as usize).checked_sub(1))
    }

    fn varint(&mut self) -> Option<u32> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let byte = u32::from(self.rest.try_get_u8().ok()?);
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}
