//! Frames: where one message ends in a stream of bytes, and what stands at the head of each.
//!
//! ```text
//!  +--------+---------+-------------+----------------+-----------------------+------------------+------
//!  | length | api key | api version | correlation id | client id (i16 length)| tagged fields    | body
//!  | i32    | i16     | i16         | i32            | nullable, not compact | header v2 only   |
//!  +--------+---------+-------------+----------------+-----------------------+------------------+------
//!           |<--------------------------- the frame, `length` bytes ------------------------------------>
//! ```
//!
//! [`length`] reads the first four bytes, so that a connection can refuse a frame, or wait for its share of the memory
//! budget, before it makes room. The frame is then read into one `Bytes`, of which everything decoded later is a slice.
//! [`Prologue`] is what can be read of any request, even of one that we do not know.

use crate::api::Api;
use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;

/// The size of the length before each frame.
pub const LENGTH_SIZE: usize = 4;

/// Kafka's default of `socket.request.max.bytes`.
pub const DEFAULT_MAX_FRAME: usize = 100 * 1024 * 1024;

/// A length that no frame has. The connection can only be closed, since nothing says where the next frame starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LengthError {
    /// Below zero.
    #[error("a frame of negative length {0}")]
    Negative(i32),
    /// Above the limit.
    #[error("a frame of {length} bytes where {limit} are allowed")]
    Oversized {
        /// What the client announced, in bytes.
        length: usize,
        /// What is allowed, in bytes.
        limit: usize,
    },
    /// Too short for the prologue.
    #[error("a frame of {0} bytes, shorter than a header")]
    TooShort(usize),
}

/// The length of the frame that `bytes` begin with, without the length itself; `None` while fewer than four bytes are
/// there.
///
/// # Errors
/// The length is negative, above `max_frame` or too short for a request or response header.
pub fn length(bytes: &[u8], max_frame: usize) -> Result<Option<usize>, LengthError> {
    let Some(prefix) = bytes.first_chunk::<LENGTH_SIZE>() else { return Ok(None) };
    let announced = i32::from_be_bytes(*prefix);
    let length = usize::try_from(announced).map_err(|_| LengthError::Negative(announced))?;
    if length > max_frame {
        return Err(LengthError::Oversized { length, limit: max_frame });
    }
    // Any message has at least a correlation id.
    if length < size_of::<i32>() {
        return Err(LengthError::TooShort(length));
    }
    Ok(Some(length))
}

/// Takes the first frame off `buffer`, without its length; `None` while it is not complete.
///
/// # Errors
/// As [`length`].
pub fn split(buffer: &mut BytesMut, max_frame: usize) -> Result<Option<Bytes>, LengthError> {
    match length(buffer, max_frame)? {
        Some(length) if buffer.len() - LENGTH_SIZE >= length => {
            buffer.advance(LENGTH_SIZE);
            Ok(Some(buffer.split_to(length).freeze()))
        }
        _ => Ok(None),
    }
}

/// The first eight bytes of every request, which all versions of all APIs share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prologue {
    /// The API's number, known to us or not.
    pub api_key: i16,
    /// The version of the API.
    pub api_version: i16,
    /// What the response must repeat.
    pub correlation_id: i32,
}

impl Prologue {
    /// The size of a prologue, in bytes.
    pub const SIZE: usize = 8;

    /// Reads it from a frame; `None` if the frame is too short.
    pub fn peek(frame: &[u8]) -> Option<Prologue> {
        let &[k0, k1, v0, v1, c0, c1, c2, c3] = frame.first_chunk::<{ Prologue::SIZE }>()?;
        Some(Prologue {
            api_key: i16::from_be_bytes([k0, k1]),
            api_version: i16::from_be_bytes([v0, v1]),
            correlation_id: i32::from_be_bytes([c0, c1, c2, c3]),
        })
    }
}

/// A request's header, and the body that follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) client_id: Option<StrBytes>,
    /// The rest of the frame.
    pub(crate) body: Bytes,
}

/// A header that breaks off or holds a client id that is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a malformed request header")]
pub struct HeaderError;

impl Header {
    /// Splits a frame of `api` in `version`. Tagged fields of the header are skipped: none is defined.
    pub(crate) fn split(mut frame: Bytes, api: &Api, version: i16) -> Result<Header, HeaderError> {
        skip(&mut frame, Prologue::SIZE)?;
        let client_id = match frame.try_get_i16().map_err(|_| HeaderError)? {
            -1 => None,
            length => {
                let length = usize::try_from(length).map_err(|_| HeaderError)?;
                if length > frame.len() {
                    return Err(HeaderError);
                }
                Some(StrBytes::from_utf8(frame.split_to(length)).map_err(|_| HeaderError)?)
            }
        };
        if api.request_header_version(version) >= 2 {
            for _ in 0..varint(&mut frame)? {
                varint(&mut frame)?;
                let size = varint(&mut frame)?;
                skip(&mut frame, size as usize)?;
            }
        }
        Ok(Header { client_id, body: frame })
    }
}

fn skip(frame: &mut Bytes, bytes: usize) -> Result<(), HeaderError> {
    if bytes > frame.len() {
        return Err(HeaderError);
    }
    frame.advance(bytes);
    Ok(())
}

fn varint(frame: &mut Bytes) -> Result<u32, HeaderError> {
    let mut value = 0u32;
    for shift in [0, 7, 14, 21, 28] {
        let byte = frame.try_get_u8().map_err(|_| HeaderError)?;
        value |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(HeaderError)
}
