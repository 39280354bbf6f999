//! Why a produced batch is refused, in the terms of the Produce answer.
//!
//! A [`Rejection`] has one error code for the partition, a message, and the records that are to blame where single
//! ones are (KIP-467). Nothing of a refused batch is stored.

/// The error code of a refused batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectionKind {
    /// The checksum is wrong: the client sends the batch again.
    CorruptMessage,
    /// Too large, on the wire or once decompressed: the Java client splits the batch and sends its parts.
    MessageTooLarge,
    /// A timestamp that the topic does not allow.
    InvalidTimestamp,
    /// A codec that this version of the request may not use.
    UnsupportedCompression,
    /// Everything else that is wrong with a batch; clients do not retry.
    InvalidRecord,
}

impl RejectionKind {
    /// Kafka's error code.
    pub const fn code(self) -> i16 {
        match self {
            RejectionKind::CorruptMessage => 2,
            RejectionKind::MessageTooLarge => 10,
            RejectionKind::InvalidTimestamp => 32,
            RejectionKind::UnsupportedCompression => 76,
            RejectionKind::InvalidRecord => 87,
        }
    }
}

/// A refused batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// The error code.
    pub kind: RejectionKind,
    /// What is wrong, for people.
    pub message: String,
    /// The records that are wrong, by their index in the batch, with what is wrong with each; empty when it is the
    /// batch itself. At most [`Rejection::MAX_RECORD_ERRORS`].
    pub record_errors: Vec<(i32, String)>,
}

impl Rejection {
    /// How many wrong records are named; a batch may have a hundred thousand of them.
    pub const MAX_RECORD_ERRORS: usize = 100;

    pub(super) fn new(kind: RejectionKind, message: impl Into<String>) -> Rejection {
        Rejection { kind, message: message.into(), record_errors: Vec::new() }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Rejection {
        Rejection::new(RejectionKind::InvalidRecord, message)
    }

    /// Kafka's error code.
    pub fn code(&self) -> i16 {
        self.kind.code()
    }
}
