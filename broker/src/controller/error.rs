//! Refusals of single items, and failures of whole commands.

use crate::config::ConfigError;
use kafka_protocol::ResponseError;

/// Why one item of a command is not done: the protocol's error and a sentence for the person who reads it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error:?}: {message}")]
pub struct Refusal {
    /// The protocol's error.
    pub error: ResponseError,
    /// What is wrong, as a sentence.
    pub message: String,
}

impl Refusal {
    /// A refusal with `message`.
    pub fn new(error: ResponseError, message: impl Into<String>) -> Refusal {
        Refusal { error, message: message.into() }
    }
}

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Refusal {
        Refusal::new(ResponseError::InvalidConfig, error.to_string())
    }
}

/// Why a command has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// It was not settled in time. It may take effect yet; a client asks again.
    #[error("the change was not committed in time: the object store is slow or away, or too many changes wait")]
    TimedOut,
    /// Another broker is the controller, or this one has stopped.
    #[error("this broker is not the controller any more")]
    NotController,
    /// The plan broke a rule of the metadata: a defect of this program. Nothing was changed.
    #[error("the change was planned wrongly and not made; the broker's log has the details")]
    Defect,
}

impl SubmitError {
    /// The protocol's error.
    pub fn error(self) -> ResponseError {
        match self {
            SubmitError::TimedOut => ResponseError::RequestTimedOut,
            SubmitError::NotController => ResponseError::NotController,
            SubmitError::Defect => ResponseError::UnknownServerError,
        }
    }
}

impl From<SubmitError> for Refusal {
    fn from(error: SubmitError) -> Refusal {
        Refusal::new(error.error(), error.to_string())
    }
}
