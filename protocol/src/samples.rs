//! Requests made up from the guard's shapes, for tests of a whole broker: every API, every version, any seed.

use crate::api::{Api, ApiKey};
pub use crate::guard::values::Value;
use crate::guard::{Malformed, fill, values};
use crate::record::BatchHeader;

/// The body of a well-formed request; its numbers and names mean nothing. Odd seeds give one in which everything is
/// there that can be, even ones leave things out and add tagged fields that nobody knows.
pub fn body(api: &Api, version: i16, seed: u64) -> Vec<u8> {
    if api.key == ApiKey::ApiVersions && api.is_flexible(version) {
        // Its strings have rules of their own.
        return b"\x06esker\x041.0\0".to_vec();
    }
    let make = if seed % 2 == 1 { fill::full } else { fill::some };
    make(api.request, version, api.is_flexible(version), seed)
}

/// A frame, its length included, of a request with `body`.
pub fn frame(api: &Api, version: i16, correlation_id: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 4];
    frame.extend((api.key as i16).to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend(correlation_id.to_be_bytes());
    frame.extend(b"\0\x06sample");
    if api.request_header_version(version) >= 2 {
        frame.push(0);
    }
    frame.extend(body);
    let length = u32::try_from(frame.len() - 4).unwrap_or(u32::MAX);
    frame.splice(..4, length.to_be_bytes());
    frame
}

/// The body of a request that says `value`, in the fields that `version` has; what it leaves out is 0, null or empty.
///
/// # Errors
/// The name of a field that no version has, or that is of another kind.
pub fn request_of(api: &Api, version: i16, value: &Value) -> Result<Vec<u8>, String> {
    values::write(api.request, version, api.is_flexible(version), value)
}

/// The fields of a response, from its body. In versions that we do not have, nothing is promised.
///
/// # Errors
/// [`Malformed`] if this is no such response.
pub fn response_fields(api: &Api, version: i16, body: &[u8]) -> Result<Value, Malformed> {
    values::read(api.response, version, api.is_flexible(version), body)
}

/// A batch as it is but for its base offset, 0, and its magic, length and checksum, which are those that they should be.
pub fn sealed(records: &[u8]) -> Vec<u8> {
    let mut batch = records.to_vec();
    if let Ok(header) = BatchHeader::parse(&with_length(batch.clone())) {
        batch = with_length(batch);
        let crc = crc32c(batch.get(BatchHeader::CRC_START..).unwrap_or_default());
        let head = BatchHeader { crc, base_offset: 0, ..header }.encode();
        if let Some(start) = batch.get_mut(..BatchHeader::SIZE) {
            start.copy_from_slice(&head);
        }
    }
    batch
}

fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// `batch` with magic 2 and the length that it has.
fn with_length(mut batch: Vec<u8>) -> Vec<u8> {
    let length = (batch.len() as i32 - 12).to_be_bytes();
    if let Some(field) = batch.get_mut(8..12) {
        field.copy_from_slice(&length);
    }
    if let Some(magic) = batch.get_mut(16) {
        *magic = 2;
    }
    batch
}
