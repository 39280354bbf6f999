//! What must be told beside a figure for it to mean something: [`Disclosure`].
//!
//! Whatever is not known is absent, never guessed.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What was asked, of whom, on which machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disclosure {
    /// When, in UTC: `2026-11-26T03:15:00Z`.
    pub date: String,
    /// The command line, argument by argument.
    pub command: Vec<String>,
    /// The workload.
    pub work: Work,
    /// The side of the client.
    pub client: ClientSide,
    /// The side of the broker.
    pub broker: BrokerSide,
    /// The machine of the load.
    pub machine: Machine,
}

/// The workload and its size.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// Its name, for example `produce`.
    pub name: String,
    /// Its parameters, by name.
    pub parameters: BTreeMap<String, String>,
    /// Bytes of a record's value.
    pub record_bytes: u64,
    /// Topics.
    pub topics: u64,
    /// Partitions of each.
    pub partitions: u64,
    /// Producers of each topic.
    pub producers: u64,
    /// Consumers of each topic.
    pub consumers: u64,
    /// Records a second that were asked for; absent where it was as fast as possible.
    pub rate: Option<f64>,
    /// Seconds of warm-up, which are in no figure.
    pub warmup_seconds: f64,
    /// Bytes of values that were written, warm-up and backlog included, or read; to be held against the machine's memory.
    pub data_bytes: u64,
}

/// The side of the client.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientSide {
    /// Which client, for example `esker-bench` or `librdkafka`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Acknowledgements: `0`, `1` or `all`.
    pub acks: String,
    /// Compression codec.
    pub codec: String,
    /// The most bytes of a batch, before compression.
    pub batch_bytes: u64,
    /// How long a batch waits for more records, in milliseconds.
    pub linger_ms: f64,
    /// Batches that a connection has under way.
    pub in_flight: u64,
    /// Whether producers are idempotent.
    pub idempotent: bool,
    /// The most bytes that a fetch asks for, if anything is fetched.
    pub fetch_bytes: Option<u64>,
    /// Connections of each kind.
    pub connections: u64,
    /// Threads of the load.
    pub threads: u64,
    /// `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`.
    pub security: String,
}

/// The side of the broker, as far as the wire tells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerSide {
    /// What it is and its version, if whoever started it knows; the protocol does not tell.
    pub software: Option<String>,
    /// Where it was found, `host:port`.
    pub bootstrap: String,
    /// Ids of the cluster's brokers.
    pub brokers: Vec<i32>,
    /// Finalised features and their levels, `metadata.version` for example.
    pub features: BTreeMap<String, i16>,
    /// Newest version of each API, by its key.
    pub apis: BTreeMap<i16, i16>,
    /// Replicas of each partition.
    pub replication: Option<i32>,
    /// `min.insync.replicas` of the topic.
    pub min_isr: Option<i32>,
    /// When an acknowledged record is on disk, in words; see [`BrokerSide::durability_of`].
    pub durability: Option<String>,
    /// Configurations of the broker that are not defaults, or that bear on durability.
    pub configs: BTreeMap<String, String>,
    /// Configurations of the topic that are not defaults.
    pub topic_configs: BTreeMap<String, String>,
}

impl BrokerSide {
    /// When an acknowledged record is on disk, by the configurations that tell: ours, Kafka's, or nothing.
    pub fn durability_of(configs: &BTreeMap<String, String>, topic: &BTreeMap<String, String>) -> Option<String> {
        if let Some(durability) = configs.get("log.durability") {
            return Some(match durability.as_str() {
                "fsync" => "synced before the answer (log.durability=fsync)".to_owned(),
                other => format!("page cache (log.durability={other})"),
            });
        }
        let messages = topic.get("flush.messages").or_else(|| configs.get("log.flush.interval.messages"))?;
        Some(match messages.as_str() {
            "1" => "synced per batch (flush.messages=1)".to_owned(),
            "9223372036854775807" => "page cache".to_owned(),
            other => format!("page cache, synced every {other} messages"),
        })
    }
}

/// The machine of the load, which is the broker's as well where its process was watched.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// The kernel, as `uname -sr` says it.
    pub kernel: String,
    /// The processor's name.
    pub cpu: String,
    /// Processors that may be used.
    pub cpus: u64,
    /// Memory in bytes; the page cache is in it.
    pub memory_bytes: u64,
    /// Of it, what was available at the start.
    pub available_bytes: u64,
    /// Which part of its processors others kept busy just before the run, from 0 to 1.
    pub busy: f64,
    /// How fast its disk syncs, if that was tried.
    pub sync: Option<SyncProbe>,
}

/// 4 KiB appends, each with fdatasync.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncProbe {
    /// The file system, for example `ext4`.
    pub file_system: String,
    /// How many were made.
    pub count: u64,
    /// The median, in microseconds.
    pub p50_us: f64,
    /// 99 %, in microseconds.
    pub p99_us: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durability_is_read_where_it_is_configured() {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let told = |configs: &[(&str, &str)], topic: &[(&str, &str)]| {
            BrokerSide::durability_of(&map(configs), &map(topic)).unwrap_or_default()
        };
        assert!(told(&[("log.durability", "fsync")], &[]).starts_with("synced before the answer"));
        assert!(told(&[("log.durability", "os")], &[]).starts_with("page cache"));
        assert_eq!(told(&[("log.flush.interval.messages", "9223372036854775807")], &[]), "page cache");
        let synced = "synced per batch (flush.messages=1)";
        assert_eq!(told(&[("log.flush.interval.messages", "1")], &[]), synced);
        assert_eq!(told(&[("log.flush.interval.messages", "9223372036854775807")], &[("flush.messages", "1")]), synced);
        assert_eq!(told(&[], &[]), "");
    }
}
