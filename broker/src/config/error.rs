//! What is wrong with a configuration. Every one of these is INVALID_CONFIG at the wire and a refused start at the
//! command line.

/// Why a key or its value is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No such key is honoured.
    #[error("Unknown {scope} configuration {name:?}{}", hint(*.nearest))]
    Unknown {
        /// The table that was searched: "topic" or "broker".
        scope: &'static str,
        /// What was asked for.
        name: String,
        /// The known key that is spelled most like it.
        nearest: Option<&'static str>,
    },
    /// The key cannot be changed while the broker runs.
    #[error("Cannot update the configuration {name:?}: it is read when the broker starts")]
    ReadOnly {
        /// The key.
        name: &'static str,
    },
    /// The key takes no such value.
    #[error("Invalid value {value:?} for configuration {name:?}: {reason}")]
    Invalid {
        /// The key.
        name: &'static str,
        /// The value, hidden if the key is sensitive.
        value: String,
        /// What it should have been.
        reason: String,
    },
    /// The text is no configuration.
    #[error("Line {line}: {reason}")]
    Syntax {
        /// Counted from one.
        line: usize,
        /// What was expected.
        reason: String,
    },
    /// The file names a key twice.
    #[error("Line {line}: {name:?} is set a second time")]
    Duplicate {
        /// Counted from one.
        line: usize,
        /// The key.
        name: String,
    },
}

fn hint(nearest: Option<&'static str>) -> String {
    nearest.map(|name| format!("; did you mean {name:?}?")).unwrap_or_default()
}
