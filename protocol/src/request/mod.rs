//! Requests: a frame becomes a [`Request`], or a [`DecodeError`] that says what to do with the client.
//!
//! The order is that of Kafka: the prologue, the API and its version, the header, the body. The body is walked by the
//! guard before the `kafka-protocol` crate decodes it; strings and record data stay slices of the frame, so a request
//! pins its frame and allocates no more than its arrays.
//!
//! There are two ways to fail. An ApiVersions request that we cannot serve is *answered*, since that is how clients
//! find out what to speak (KIP-511); everything else that is not a request we know *closes* the connection, as in Kafka:
//! a client that asked for the versions never sends it. That includes Produce 0 to 2, which are advertised but gone.

mod produce;

use crate::api::{self, Api, ApiKey};
use crate::body as bodies;
use crate::error_code::ErrorCode;
use crate::frame::{Header, HeaderError, Prologue};
use crate::guard::{self, Fault, Limits, Malformed};
use crate::segments::{SegmentWriter, Segments};
use bytes::{BufMut, Bytes};
use kafka_protocol::messages::RequestKind;
use kafka_protocol::protocol::StrBytes;

/// A request, ready for its handler.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its API.
    pub api: &'static Api,
    /// Its version, one that [`Api::accepts`].
    pub version: i16,
    /// What the response must repeat.
    pub correlation_id: i32,
    /// How the client calls itself.
    pub client_id: Option<StrBytes>,
    /// The request itself.
    pub body: RequestKind,
}

/// Why a frame is no request.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DecodeError {
    /// Send this answer and go on with the connection.
    #[error(transparent)]
    Answer(Refused),
    /// Close the connection.
    #[error(transparent)]
    Close(Reason),
}

/// An answer that is an error. Only ApiVersions has one: `api::versions_refused`.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{} refused: {error}", api.name)]
pub struct Refused {
    /// The API that was asked.
    pub api: &'static Api,
    /// The version in which to answer, which is not always the one that was asked.
    pub version: i16,
    /// What the response must repeat.
    pub correlation_id: i32,
    /// What to say.
    pub error: ErrorCode,
}

/// Why a connection is closed for a frame that it sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The frame is shorter than the prologue of a request.
    #[error("a frame of {0} bytes is no request")]
    Short(usize),
    /// An API that does not exist or that Esker does not have.
    #[error("unknown API {key} (version {version})")]
    UnknownApi {
        /// Its number.
        key: i16,
        /// Its version.
        version: i16,
    },
    /// A version that is not accepted.
    #[error("{api} has no version {version}")]
    UnknownVersion {
        /// The name of the API.
        api: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// The header is broken.
    #[error("{api} version {version}: {fault}")]
    Header {
        /// The name of the API.
        api: &'static str,
        /// The version asked for.
        version: i16,
        /// What is wrong.
        fault: HeaderError,
    },
    /// The body is broken or asks for too much.
    #[error("{api} version {version}: {fault}")]
    Body {
        /// The name of the API.
        api: &'static str,
        /// The version asked for.
        version: i16,
        /// What is wrong.
        fault: Malformed,
    },
}

/// Decodes `frame`, which starts with the request's header; the length before it is gone.
///
/// # Errors
/// What to do with the client instead of handling a request.
pub fn decode(frame: Bytes, limits: &Limits) -> Result<Request, DecodeError> {
    let Some(Prologue { api_key, api_version: version, correlation_id }) = Prologue::peek(&frame) else {
        return Err(DecodeError::Close(Reason::Short(frame.len())));
    };
    let Some(api) = Api::with_code(api_key) else {
        return Err(DecodeError::Close(Reason::UnknownApi { key: api_key, version }));
    };
    if !api.accepts(version) {
        return Err(match api.key {
            // Neither header nor body is read: only the client knows what they look like.
            ApiKey::ApiVersions => {
                DecodeError::Answer(Refused { api, version: 0, correlation_id, error: ErrorCode::UNSUPPORTED_VERSION })
            }
            _ => DecodeError::Close(Reason::UnknownVersion { api: api.name, version }),
        });
    }
    let header = Header::split(frame, api, version)
        .map_err(|fault| DecodeError::Close(Reason::Header { api: api.name, version, fault }))?;
    let body = decode_body(api, version, header.body, limits)
        .map_err(|fault| DecodeError::Close(Reason::Body { api: api.name, version, fault }))?;
    if let RequestKind::ApiVersions(request) = &body
        && version >= 3
        && !(api::is_software_name(&request.client_software_name)
            && api::is_software_name(&request.client_software_version))
    {
        return Err(DecodeError::Answer(Refused { api, version, correlation_id, error: ErrorCode::INVALID_REQUEST }));
    }
    Ok(Request { api, version, correlation_id, client_id: header.client_id, body })
}

fn decode_body(api: &Api, version: i16, mut body: Bytes, limits: &Limits) -> Result<RequestKind, Malformed> {
    guard::check(api.request, version, api.is_flexible(version), &body, limits)?;
    let size = body.len();
    match bodies::decode_request(api.key, &mut body, version) {
        Ok(request) if body.is_empty() => Ok(request),
        Ok(_) | Err(_) => Err(Malformed { fault: Fault::Undecodable, field: "", position: size - body.len() }),
    }
}

/// A request that cannot be written down: a field is set that the version does not have, or the API is not ours.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{api} version {version} cannot be encoded: {reason}")]
pub struct EncodeError {
    /// The name of the API.
    pub api: &'static str,
    /// The version.
    pub version: i16,
    /// What the encoder said.
    pub reason: String,
}

/// The frame of a request, with its length: the client's side. Record data of a Produce request is borrowed.
///
/// # Errors
/// [`EncodeError`] when a field is set that `version` does not have.
pub fn encode(
    correlation_id: i32,
    client_id: Option<&str>,
    version: i16,
    body: &RequestKind,
) -> Result<Segments, EncodeError> {
    let Some(api) = key_of(body).and_then(Api::of) else {
        return Err(EncodeError { api: "an API that Esker does not have", version, reason: String::new() });
    };
    let failed = |reason: String| EncodeError { api: api.name, version, reason };
    let mut writer = SegmentWriter::with_capacity(256, 0);
    let buffer = writer.buffer();
    buffer.put_i16(api.key as i16);
    buffer.put_i16(version);
    buffer.put_i32(correlation_id);
    match client_id {
        None => buffer.put_i16(-1),
        Some(id) => {
            let length = i16::try_from(id.len()).map_err(|_| failed("the client id is too long".to_owned()))?;
            buffer.put_i16(length);
            buffer.put_slice(id.as_bytes());
        }
    }
    if api.request_header_version(version) >= 2 {
        buffer.put_u8(0);
    }
    match body {
        RequestKind::Produce(request) if api.accepts(version) => {
            produce::encode(&mut writer, request, version).map_err(|error| failed(error.to_string()))?;
        }
        body => bodies::encode_request(api.key, body, buffer, version).map_err(|error| failed(error.0))?,
    }
    writer.finish().map_err(|error| failed(error.to_string()))
}

macro_rules! keys {
    ($($name:ident)*) => {
        /// The API of a request; `None` for one that Esker does not have.
        pub fn key_of(body: &RequestKind) -> Option<ApiKey> {
            match body {
                $(RequestKind::$name(_) => Some(ApiKey::$name),)*
                _ => None,
            }
        }
    };
}

keys! {
    Produce Fetch ListOffsets Metadata OffsetCommit OffsetFetch FindCoordinator JoinGroup Heartbeat LeaveGroup
    SyncGroup DescribeGroups ListGroups ApiVersions CreateTopics DeleteTopics DeleteRecords InitProducerId
    OffsetForLeaderEpoch DescribeAcls CreateAcls DeleteAcls DescribeConfigs AlterConfigs DescribeLogDirs
    CreatePartitions DeleteGroups ElectLeaders IncrementalAlterConfigs AlterPartitionReassignments
    ListPartitionReassignments OffsetDelete DescribeClientQuotas DescribeUserScramCredentials DescribeQuorum
    UpdateFeatures DescribeCluster DescribeProducers ListTransactions ConsumerGroupHeartbeat ConsumerGroupDescribe
    ListConfigResources DescribeTopicPartitions
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
