//! Responses: a message becomes the [`Segments`] of a frame.
//!
//! ```text
//!  ResponseKind -> fit: what the version cannot say is dropped or said in the older form
//!               -> header: correlation id, in flexible versions an empty tag section
//!               -> body: Fetch by our own encoder, which borrows the records; all others by `body`
//! ```
//!
//! The crate refuses to encode a field that the version lacks, where Kafka drops those that are marked ignorable.
//! [`fit`](fn@fit) does so here, so that handlers fill in everything they know and never think of versions. If encoding fails
//! nevertheless, that is a bug of ours: the connection logs it and closes.
//!
//! [`error_response`] makes the answer that refuses a request as a whole.

mod admin_refusal;
mod fetch;
mod fit;
mod refusal;

pub use fit::fit;
pub use refusal::error_response;

pub use crate::request::EncodeError;

use crate::api::{Api, ApiKey};
use crate::body;
use crate::error_code::ErrorCode;
use crate::guard::{self, Fault, Limits, Malformed};
use crate::segments::{SegmentWriter, Segments};
use bytes::{Buf, BufMut, Bytes};
use kafka_protocol::messages::ResponseKind;

/// The frame of `response`, with its length, in a version of `api` that it accepts.
///
/// Record data of a Fetch response is borrowed, not copied.
///
/// # Errors
/// [`EncodeError`] for a response that no client could read: a bug, or a string too long for its length field.
pub fn encode(
    api: &Api,
    version: i16,
    correlation_id: i32,
    mut response: ResponseKind,
) -> Result<Segments, EncodeError> {
    let failed = |reason: String| EncodeError { api: api.name, version, reason };
    if !api.accepts(version) {
        return Err(failed("no such version".to_owned()));
    }
    fit(&mut response, version);
    let (size, borrowed) = match &response {
        ResponseKind::Fetch(response) => fetch::capacity(response),
        _ => (256, 0),
    };
    let mut writer = SegmentWriter::with_capacity(size, borrowed);
    writer.buffer().put_i32(correlation_id);
    if api.response_header_version(version) >= 1 {
        writer.buffer().put_u8(0);
    }
    match &response {
        ResponseKind::Fetch(response) => {
            fetch::encode(&mut writer, response, version).map_err(|error| failed(error.0))?
        }
        response => {
            body::encode_response(api.key, response, writer.buffer(), version).map_err(|error| failed(error.0))?
        }
    }
    writer.finish().map_err(|error| failed(error.to_string()))
}

/// Decodes a response to a request of `api` in `version`: the client's side. `frame` starts with the correlation id,
/// which is returned.
///
/// # Errors
/// [`Malformed`] if this is no such response.
pub fn decode(api: &Api, version: i16, mut frame: Bytes, limits: &Limits) -> Result<(i32, ResponseKind), Malformed> {
    let undecodable = |position| Malformed { fault: Fault::Undecodable, field: "", position };
    let truncated = Malformed { fault: Fault::Truncated, field: "header", position: 0 };
    let correlation_id = frame.try_get_i32().map_err(|_| truncated)?;
    if api.response_header_version(version) >= 1 && frame.try_get_u8().map_err(|_| truncated)? != 0 {
        // No broker sends tagged fields in a response's header, since none is defined.
        return Err(undecodable(0));
    }
    let unsupported = ErrorCode::UNSUPPORTED_VERSION.code().to_be_bytes();
    let version = match api.key {
        // A broker that does not know the version answers in version 0 (KIP-511).
        ApiKey::ApiVersions if frame.starts_with(&unsupported) => 0,
        _ => version,
    };
    guard::check(api.response, version, api.is_flexible(version), &frame, limits)?;
    let size = frame.len();
    match body::decode_response(api.key, &mut frame, version) {
        Ok(response) if frame.is_empty() => Ok((correlation_id, response)),
        Ok(_) | Err(_) => Err(undecodable(size - frame.len())),
    }
}

#[cfg(test)]
#[path = "response_tests.rs"]
mod tests;
