//! Bodies of messages: read and written by the `kafka-protocol` crate, and by hand where Kafka is newer than it.
//!
//! The crate was made from Kafka 4.1. What Kafka 4.3 speaks beyond that, its structs can hold, but for one flag:
//!
//! | version | what is new | how |
//! | --- | --- | --- |
//! | ListOffsets 11 | the meaning of timestamp -6 (KIP-1023) | as version 10 |
//! | OffsetCommit 10, OffsetFetch 10 | requests name topics by id (KIP-848) | [`offsets_by_id`] |
//! | DescribeLogDirs 5 | whether a directory is cordoned | [`log_dirs`] |
//!
//! Nothing here is asked before the guard has walked the bytes.

mod log_dirs;
mod offsets_by_id;
mod reader;

use crate::api::ApiKey;
use crate::lengths::TooLong;
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{RequestKind, ResponseKind};

/// A body that cannot be read, or written: the reason, for a log.
#[derive(Debug)]
pub(crate) struct Failed(pub(crate) String);

impl From<TooLong> for Failed {
    fn from(error: TooLong) -> Failed {
        Failed(error.to_string())
    }
}

/// The newest version that is ours, of an API of which the crate does not have it.
#[cfg(test)]
pub(crate) fn newest_known(key: ApiKey) -> Option<i16> {
    match key {
        ApiKey::ListOffsets => Some(11),
        ApiKey::OffsetCommit | ApiKey::OffsetFetch => Some(offsets_by_id::VERSION),
        ApiKey::DescribeLogDirs => Some(log_dirs::VERSION),
        _ => None,
    }
}

/// The version of the crate whose bodies look like those of `version`.
fn alike(key: ApiKey, version: i16) -> i16 {
    match key {
        ApiKey::ListOffsets => version.min(10),
        ApiKey::DescribeLogDirs => version.min(4),
        _ => version,
    }
}

/// Reads a request's body from the start of `bytes`.
pub(crate) fn decode_request(key: ApiKey, bytes: &mut Bytes, version: i16) -> Result<RequestKind, Failed> {
    match (key, version) {
        (ApiKey::OffsetCommit, offsets_by_id::VERSION) => offsets_by_id::decode_commit(bytes).map(RequestKind::from),
        (ApiKey::OffsetFetch, offsets_by_id::VERSION) => offsets_by_id::decode_fetch(bytes).map(RequestKind::from),
        _ => RequestKind::decode(key, bytes, alike(key, version)).map_err(|error| Failed(format!("{error:#}"))),
    }
}

/// Writes a request's body.
pub(crate) fn encode_request(
    key: ApiKey,
    request: &RequestKind,
    buffer: &mut BytesMut,
    version: i16,
) -> Result<(), Failed> {
    match (request, version) {
        (RequestKind::OffsetCommit(request), offsets_by_id::VERSION) => {
            Ok(offsets_by_id::encode_commit(buffer, request)?)
        }
        (RequestKind::OffsetFetch(request), offsets_by_id::VERSION) => {
            Ok(offsets_by_id::encode_fetch(buffer, request)?)
        }
        _ => request.encode(buffer, alike(key, version)).map_err(|error| Failed(format!("{error:#}"))),
    }
}

/// Reads a response's body from the start of `bytes`.
pub(crate) fn decode_response(key: ApiKey, bytes: &mut Bytes, version: i16) -> Result<ResponseKind, Failed> {
    match (key, version) {
        (ApiKey::DescribeLogDirs, log_dirs::VERSION) => log_dirs::decode(bytes).map(ResponseKind::from),
        _ => ResponseKind::decode(key, bytes, alike(key, version)).map_err(|error| Failed(format!("{error:#}"))),
    }
}

/// Writes a response's body.
pub(crate) fn encode_response(
    key: ApiKey,
    response: &ResponseKind,
    buffer: &mut BytesMut,
    version: i16,
) -> Result<(), Failed> {
    match (response, version) {
        (ResponseKind::DescribeLogDirs(response), log_dirs::VERSION) => Ok(log_dirs::encode(buffer, response)?),
        _ => response.encode(buffer, alike(key, version)).map_err(|error| Failed(format!("{error:#}"))),
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
