//! Lengths and counts as the wire writes them, for the messages that we encode ourselves.
//!
//! In the compact form of flexible versions (KIP-482) every length is a varint of one more than what it counts, so that 0
//! is null. Before, it is an `i32`, for strings an `i16`, and -1 is null.

use bytes::{BufMut, BytesMut};

/// Something is longer than its length field can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("longer than its length field can say")]
pub(crate) struct TooLong;

/// The length of bytes or the count of an array.
pub(crate) fn put_length(buffer: &mut BytesMut, length: usize, flexible: bool) -> Result<(), TooLong> {
    if flexible {
        put_varint(buffer, one_more(length)?);
    } else {
        buffer.put_i32(i32::try_from(length).map_err(|_| TooLong)?);
    }
    Ok(())
}

/// In place of the length of bytes or the count of an array.
pub(crate) fn put_null(buffer: &mut BytesMut, flexible: bool) {
    if flexible { buffer.put_u8(0) } else { buffer.put_i32(-1) }
}

/// A string with its length, or null.
pub(crate) fn put_text(buffer: &mut BytesMut, text: Option<&str>, flexible: bool) -> Result<(), TooLong> {
    match text {
        None if flexible => buffer.put_u8(0),
        None => buffer.put_i16(-1),
        Some(text) => {
            if flexible {
                put_varint(buffer, one_more(text.len())?);
            } else {
                buffer.put_i16(i16::try_from(text.len()).map_err(|_| TooLong)?);
            }
            buffer.put_slice(text.as_bytes());
        }
    }
    Ok(())
}

/// Seven bits per byte, the least significant first; the high bit says that more follow.
pub(crate) fn put_varint(buffer: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        buffer.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    buffer.put_u8(value as u8);
}

fn one_more(length: usize) -> Result<u32, TooLong> {
    u32::try_from(length).ok().and_then(|length| length.checked_add(1)).ok_or(TooLong)
}
