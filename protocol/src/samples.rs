//! Requests made up from the guard's shapes, for tests of a whole broker: every API, every version, any seed.

use crate::api::{Api, ApiKey};
use crate::guard::fill;

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
