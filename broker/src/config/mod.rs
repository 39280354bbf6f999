//! Configuration: the keys a broker honours, where their values come from, and the typed settings they resolve to.
//!
//! Four nouns. A [`Key`] is a name with Kafka's type, a default, a check and a sentence of documentation; there is one
//! table of them for topics, one for groups and one for brokers, and what is in none of the tables is refused with the nearest name.
//! [`Values`] are texts by key, as a file, a command line or the metadata log holds them. [`Layers`] stack the values
//! of a broker, the most specific first. A [`BrokerConfig`] or a [`TopicConfig`] is what they resolve to, typed: the
//! rest of the broker sees no text and no sentinel.
//!
//! ```text
//!  server.properties, --set  ->  Values ----------------------------\
//!  metadata image: cluster default, this broker  ->  Values  -> Layers -> BrokerConfig (read once, at the start)
//!  metadata image: one topic  ->  Values ----------------------------\--> TopicConfig  (again after every change)
//! ```
//!
//! A topic's key falls back to the broker keys that are its synonyms (`retention.ms` to `log.retention.ms`, then
//! `log.retention.minutes`, then `log.retention.hours`), as in Kafka; [`describe_topic`] lists that chain for DescribeConfigs.
//!
//! A key is in a table only while something acts on it: a setting that is stored and ignored would be a promise that
//! nobody keeps.

mod broker;
mod broker_id;
mod broker_keys;
mod describe;
mod error;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod group;
mod group_keys;
mod id_text;
mod key;
mod layers;
mod listener;
mod log_level;
mod nearest;
mod per_ip;
mod properties;
mod registry;
mod topic;
mod topic_keys;

pub use broker::{BrokerConfig, Durability, Validation};
pub use broker_id::BrokerId;
pub use broker_keys::BROKER_KEYS;
pub use describe::{Described, Synonym, describe_broker, describe_group, describe_topic};
pub use error::ConfigError;
pub use group::{GroupTimeouts, check_group_values};
pub use id_text::{id_text, parse_id};
pub use key::{Check, Key, Kind, list_items};
pub use layers::{Layers, Source, Values};
pub use listener::Listener;
pub use log_level::LogLevel;
pub use nearest::nearest;
pub use properties::{parse_properties, parse_set};
pub use registry::{Scope, find};
pub use topic::{CleanupPolicy, TimestampType, TopicConfig, check_topic_values};
pub use topic_keys::TOPIC_KEYS;
