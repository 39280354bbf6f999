//! The registry: the three tables of keys, and looking a name up in them.

use super::ConfigError;
use super::broker_keys::BROKER_KEYS;
use super::group_keys::GROUP_KEYS;
use super::key::Key;
use super::nearest::nearest;
use super::topic_keys::TOPIC_KEYS;

/// What a key configures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// One topic.
    Topic,
    /// One group.
    Group,
    /// A broker, or all of them.
    Broker,
}

impl Scope {
    /// The keys of this scope, sorted by name.
    pub const fn keys(self) -> &'static [Key] {
        match self {
            Scope::Topic => TOPIC_KEYS,
            Scope::Group => GROUP_KEYS,
            Scope::Broker => BROKER_KEYS,
        }
    }

    /// As an error message calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Scope::Topic => "topic",
            Scope::Group => "group",
            Scope::Broker => "broker",
        }
    }
}

/// The key called `name`.
///
/// # Errors
/// [`ConfigError::Unknown`], with the nearest name.
pub fn find(scope: Scope, name: &str) -> Result<&'static Key, ConfigError> {
    let keys = scope.keys();
    keys.binary_search_by(|key| key.name.cmp(name)).ok().and_then(|index| keys.get(index)).ok_or_else(|| {
        // The whole name may be as long as a request; what it looks like is told by its start.
        let shown: String = name.chars().take(128).collect();
        ConfigError::Unknown { scope: scope.name(), name: shown, nearest: nearest(name, keys.iter().map(|k| k.name)) }
    })
}

/// The topic key called `name`.
///
/// # Errors
/// As [`find`].
pub(super) fn topic_key(name: &str) -> Result<&'static Key, ConfigError> {
    find(Scope::Topic, name)
}
