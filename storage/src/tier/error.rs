//! What went wrong in the tier, by what the caller must do.

use crate::env::store::StoreError;
use crate::numbered_log::LogError;

/// Why the tier could not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TierError {
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
    /// Bytes are not what was written. They are neither uploaded nor served.
    #[error("corrupt {what}: {reason}")]
    Corrupt {
        /// Which bytes.
        what: String,
        /// What is wrong with them.
        reason: String,
    },
    /// The object is not there any more: look the unit up again.
    #[error("object {key} is gone")]
    Gone {
        /// The object's key.
        key: String,
    },
    /// The offset is not in the tier.
    #[error("offset {offset} is not in the tier")]
    OutOfRange {
        /// The offset.
        offset: crate::offset::Offset,
    },
    /// The request contradicts itself.
    #[error("invalid: {reason}")]
    Invalid {
        /// What is wrong.
        reason: String,
    },
    /// The tier log cannot go on in this process; why was logged. The broker must restart.
    #[error("the tier is closed")]
    Closed,
}

impl TierError {
    pub(crate) fn corrupt(what: &str, reason: impl ToString) -> TierError {
        TierError::Corrupt { what: what.to_owned(), reason: reason.to_string() }
    }

    /// Whether another attempt may succeed without anybody doing anything.
    pub fn is_retry(&self) -> bool {
        matches!(self, TierError::Retry { .. })
    }
}

impl From<StoreError> for TierError {
    fn from(error: StoreError) -> TierError {
        match error {
            StoreError::NotFound { key } => TierError::Gone { key },
            StoreError::Refused { reason } => TierError::Refused { reason },
            other => TierError::Retry { reason: other.to_string() },
        }
    }
}

impl From<LogError> for TierError {
    fn from(error: LogError) -> TierError {
        match error {
            LogError::Retry { reason } => TierError::Retry { reason },
            LogError::Refused { reason } => TierError::Refused { reason },
            LogError::Corrupt { key, reason } | LogError::Incompatible { key, reason } => {
                TierError::Corrupt { what: key, reason }
            }
            LogError::Invalid { reason } => TierError::Invalid { reason },
            LogError::Behind { .. } => TierError::Retry { reason: error.to_string() },
            LogError::Undecided { .. } => TierError::Closed,
        }
    }
}
