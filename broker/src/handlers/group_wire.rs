//! Between the message structs' words and ours: strings and error codes.
//!
//! A string of a request is a slice of its whole frame. What outlives the request is copied out of it, or a group
//! would hold on to every frame that ever named it.

use kafka_protocol::error::ResponseError;
use kafka_protocol::protocol::StrBytes;

/// The operations on groups, as bits: READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS. Without an authorizer
/// everybody may all of them.
pub(super) const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

/// A copy of `text` that does not hold on to the frame.
pub(super) fn owned(text: &StrBytes) -> String {
    text.as_str().to_owned()
}

/// The same of a text that may be null.
pub(super) fn owned_option(text: Option<&StrBytes>) -> Option<String> {
    text.map(owned)
}

/// The code of an error, 0 for none.
pub(super) fn code(error: Option<ResponseError>) -> i16 {
    error.map_or(0, |error| error.code())
}
