//! What can go wrong with a read or a look-up, by what its caller must do about it.

use crate::log;
use crate::tier::TierError;

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Before the log start or after the log end.
    #[error("the offset is out of range")]
    OutOfRange,
    /// The local part failed.
    #[error(transparent)]
    Log(#[from] log::LogError),
    /// The tier failed, and trying again will not help by itself.
    #[error(transparent)]
    Tier(#[from] TierError),
}

impl From<log::ReadError> for ReadError {
    fn from(error: log::ReadError) -> ReadError {
        match error {
            log::ReadError::BelowLocalStart { .. } | log::ReadError::AboveEnd { .. } => ReadError::OutOfRange,
            log::ReadError::Log(error) => ReadError::Log(error),
        }
    }
}

/// Why a look-up found no answer.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The local part failed.
    #[error(transparent)]
    Log(#[from] log::LogError),
    /// The tier failed.
    #[error(transparent)]
    Tier(#[from] TierError),
    /// The process is ending.
    #[error(transparent)]
    Ended(#[from] crate::env::Ended),
}
