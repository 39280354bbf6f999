//! What went wrong with a numbered log, by what the caller must do.

use crate::env::store::StoreError;

/// Why a log could not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The store is away or slow: try again after a pause.
    #[error("retry: {reason}")]
    Retry {
        /// What the store said.
        reason: String,
    },
    /// The store refuses: a person must look at credentials or the bucket.
    #[error("refused: {reason}")]
    Refused {
        /// What the store said.
        reason: String,
    },
    /// An object is not what was written. Nothing may go on from it.
    #[error("corrupt object {key}: {reason}")]
    Corrupt {
        /// The object's key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An object was written by a version that this one does not understand.
    #[error("incompatible object {key}: {reason}")]
    Incompatible {
        /// The object's key.
        key: String,
        /// What is not understood.
        reason: String,
    },
    /// The request itself is wrong: a commit that is too large, or one while another is unsettled.
    #[error("invalid: {reason}")]
    Invalid {
        /// What is wrong.
        reason: String,
    },
    /// The log has moved on and its older commits are gone: open it anew.
    #[error("the log has been truncated past commit {number}: open it anew")]
    Behind {
        /// The last commit that this log has seen.
        number: u64,
    },
    /// Whether a commit took effect cannot be found out any more: end this process, and start with a new writer id.
    #[error("commit {number} cannot be decided any more")]
    Undecided {
        /// The commit's number.
        number: u64,
    },
}

impl LogError {
    /// Whether another attempt may succeed without anybody doing anything.
    pub fn is_retry(&self) -> bool {
        matches!(self, LogError::Retry { .. })
    }
}

impl From<StoreError> for LogError {
    fn from(error: StoreError) -> LogError {
        match error {
            StoreError::Refused { reason } => LogError::Refused { reason },
            other => LogError::Retry { reason: other.to_string() },
        }
    }
}
