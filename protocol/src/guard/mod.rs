//! The guard before the decoder: a walk over a message's bytes that finds every length in it backed by bytes.
//!
//! The `kafka-protocol` crate reserves room for as many array elements as the wire says, before it reads the first:
//! a frame of eight bytes can ask for gigabytes. So no body is decoded that this walk did not pass. It follows the
//! message's shape without allocating and refuses
//!
//! - a length or count that the remaining bytes cannot hold, given the smallest size an element can have;
//! - more elements in all than [`Limits`] allow, since an element may take 30 times its wire size in memory;
//! - null where the message has no null, a varint longer than five bytes, a tagged field whose size is not its own;
//! - bytes that are missing and bytes that are left over.
//!
//! ```text
//!  frame -> header (frame.rs) -> walk (here) -> decode (kafka-protocol) -> Request
//! ```
//!
//! Whatever passes is decoded by the crate to the very same end; tests prove it for every API and version. Strings
//! are checked for UTF-8 by the decoder. Unknown tagged fields are skipped (KIP-482), but counted as elements.

mod admin_request_shapes;
mod admin_response_shapes;
mod group_response_shapes;
pub(crate) mod request_shapes;
pub(crate) mod response_shapes;
pub(crate) mod shape;
mod walk;

pub(crate) use walk::check;

/// What one message may hold, whatever its lengths say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many array elements and unknown tagged fields one message may have in all.
    pub max_array_elements: usize,
}

impl Default for Limits {
    /// 262,144 elements: a Metadata request for as many topics as a large cluster has; below 100 MB when decoded.
    fn default() -> Limits {
        Limits { max_array_elements: 1 << 18 }
    }
}

/// Why a message was not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault} at byte {position} ({field})")]
pub struct Malformed {
    /// What is wrong.
    pub fault: Fault,
    /// The field in which it was noticed.
    pub field: &'static str,
    /// Bytes from the start of the message's body.
    pub position: usize,
}

/// What can be wrong with a message's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It ends within a field.
    #[error("the message ends early")]
    Truncated,
    /// Bytes follow the last field.
    #[error("bytes are left over")]
    LeftOver,
    /// A length below -1.
    #[error("a negative length")]
    NegativeLength,
    /// A null where the message knows none.
    #[error("null is not allowed")]
    Null,
    /// A varint that goes on after its fifth byte or exceeds 32 bits.
    #[error("a varint of more than 32 bits")]
    LongVarint,
    /// An array count that the remaining bytes cannot hold.
    #[error("an array count beyond the end of the message")]
    CountBeyondEnd,
    /// More than [`Limits::max_array_elements`].
    #[error("too many array elements")]
    TooManyElements,
    /// A tag beyond 31 bits: decoders, Kafka's too, would take it for a negative one.
    #[error("a tag of more than 31 bits")]
    LongTag,
    /// A tagged field that is shorter or longer than it says.
    #[error("a tagged field of the wrong size")]
    WrongTagSize,
    /// The byte before an optional struct is neither 1 nor -1.
    #[error("an optional struct neither present nor absent")]
    NeitherPresentNorAbsent,
    /// The walk passed, and the decoder refused: a string that is not UTF-8.
    #[error("not decodable")]
    Undecodable,
}

#[cfg(any(test, feature = "samples"))]
pub(crate) mod fill;
#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
#[cfg(any(test, feature = "samples"))]
pub(crate) mod values;
