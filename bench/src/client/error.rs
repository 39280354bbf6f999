//! What can go wrong with a call, by what the caller can do: [`ClientError::is_retriable`] or not.

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The network said no.
    #[error("network: {0}")]
    Io(#[from] std::io::Error),
    /// The broker closed the connection before it answered.
    #[error("the connection was closed")]
    Closed,
    /// No answer in time.
    #[error("no answer to {0} in time")]
    TimedOut(&'static str),
    /// The broker answered with an error.
    #[error("{what}: {name} ({code})")]
    Kafka {
        /// Kafka's number for it.
        code: i16,
        /// Kafka's name for it.
        name: String,
        /// Which request or part of it.
        what: &'static str,
    },
    /// The broker's answer cannot be read.
    #[error("malformed: {0}")]
    Malformed(String),
    /// The two sides do not trust each other: certificates, credentials.
    #[error("refused: {0}")]
    Refused(String),
    /// The two sides have no version of this request in common.
    #[error("the broker does not speak our versions of request {0}")]
    Unsupported(i16),
}

impl ClientError {
    /// The error with Kafka's number `code`.
    pub fn kafka(code: i16, what: &'static str) -> Self {
        let name =
            kafka_protocol::ResponseError::try_from_code(code).map_or_else(|| "NONE".to_owned(), |e| format!("{e:?}"));
        Self::Kafka { code, name, what }
    }

    /// `Ok` if `code` is 0.
    ///
    /// # Errors
    /// [`ClientError::Kafka`] otherwise.
    pub fn check(code: i16, what: &'static str) -> Result<(), Self> {
        if code == 0 { Ok(()) } else { Err(Self::kafka(code, what)) }
    }

    /// Kafka's number for it, if the broker gave one.
    pub fn code(&self) -> Option<i16> {
        match self {
            Self::Kafka { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the same call may succeed later.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Io(_) | Self::Closed | Self::TimedOut(_) => true,
            // Kafka's own list says nothing of UNKNOWN_TOPIC_OR_PARTITION after a restart: it is in it.
            Self::Kafka { code, .. } => {
                kafka_protocol::ResponseError::try_from_code(*code).is_some_and(|e| e.is_retriable())
            }
            Self::Malformed(_) | Self::Refused(_) | Self::Unsupported(_) => false,
        }
    }
}
