//! A broker's settings, typed: read once, when it starts.

use super::ConfigError;
use super::broker_id::BrokerId;
use super::id_text::parse_id;
use super::key::list_items;
use super::layers::{BrokerReader, Layers, Read, Values};
use super::listener::Listener;
use super::per_ip::parse_per_ip;
use super::registry::{Scope, find};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use uuid::Uuid;

/// What `acks=all` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// An `fdatasync` of every in-sync replica.
    Fsync,
    /// The page cache of every in-sync replica.
    Os,
}

/// How much of a produced batch is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validation {
    /// Every record.
    Strict,
    /// The header and the checksum.
    Header,
}

/// Data files that stay open while nobody knows what the process may have: well below the usual limit on descriptors.
const OPEN_FILES: u32 = 4096;

/// What a broker's keys resolve to. Each field is the key of its name.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the key of the same name documents each, in broker_keys.rs")]
pub struct BrokerConfig {
    /// Where every value came from, and the defaults that topics fall back to.
    pub layers: Layers,
    pub node_id: BrokerId,
    pub cluster_id: Option<Uuid>,
    pub listeners: Vec<Listener>,
    /// One for each of `listeners`, with a host that clients can connect to.
    pub advertised_listeners: Vec<Listener>,
    pub admin_listeners: Vec<String>,
    pub log_dirs: Vec<PathBuf>,
    pub log_dirs_min_free_bytes: u64,
    pub store: Option<String>,
    pub durability: Durability,
    pub validation: Validation,

    pub auto_create_topics_enable: bool,
    pub delete_topic_enable: bool,
    pub num_partitions: u32,
    pub default_replication_factor: u32,
    pub topic_max_partitions: u32,
    pub cluster_max_partitions: u32,

    pub socket_request_max_bytes: u32,
    pub queued_max_request_bytes: u64,
    pub queued_max_request_stall_ms: u64,
    pub queued_max_response_bytes: u64,
    pub max_in_flight_requests: u32,
    pub max_request_array_elements: u32,
    pub max_connections: u32,
    /// Data files that stay open without being in use, over all log directories; no key, but what the process may have.
    pub open_files: u32,
    pub max_connections_per_ip: u32,
    pub max_connections_per_ip_overrides: BTreeMap<IpAddr, usize>,
    pub connections_max_idle_ms: u64,
    /// `None`: one per core.
    pub num_network_threads: Option<u32>,

    pub fetch_max_bytes: u32,
    pub fetch_session_slots: u32,
    pub fetch_session_partitions: u32,
    pub max_request_partition_size_limit: u32,
    pub retention_check_interval_ms: u64,
    pub scrub_bytes_per_second: u64,
    pub scrub_interval_ms: u64,

    pub log_cleaner_enable: bool,
    pub log_cleaner_threads: u32,
    pub log_cleaner_dedupe_buffer_size: u64,
    pub log_cleaner_io_max_bytes_per_second: f64,
    pub log_cleaner_backoff_ms: u64,

    /// The default first.
    pub group_consumer_assignors: Vec<String>,
    pub group_consumer_heartbeat_interval_ms: u64,
    pub group_consumer_max_heartbeat_interval_ms: u64,
    pub group_consumer_max_session_timeout_ms: u64,
    pub group_consumer_max_size: u32,
    pub group_consumer_migration_policy: String,
    pub group_consumer_min_heartbeat_interval_ms: u64,
    pub group_consumer_min_session_timeout_ms: u64,
    pub group_consumer_session_timeout_ms: u64,
    pub group_initial_rebalance_delay_ms: u64,
    pub group_min_session_timeout_ms: u64,
    pub group_max_session_timeout_ms: u64,
    pub group_max_size: u32,
    pub group_coordinator_max_bytes: u64,
    pub offset_metadata_max_bytes: u32,
    pub offsets_retention_minutes: u64,
    pub offsets_retention_check_interval_ms: u64,
    pub offsets_topic_num_partitions: u32,
    pub offsets_topic_replication_factor: u32,

    pub metadata_commit_timeout_ms: u64,
    pub metadata_max_pending_commands: u32,
    pub metadata_snapshot_commits: u32,

    pub remote_log_copier_threads: u32,
    pub remote_log_reader_threads: u32,
    pub tier_cache_bytes: u64,
}

impl BrokerConfig {
    /// What `values` (of files and command lines, later ones already laid over earlier) resolve to. `hostname` is what
    /// this machine calls itself, advertised where a listener is bound to every interface.
    ///
    /// # Errors
    /// The first key that is not known or value that is not taken.
    pub fn from_values(values: Values, hostname: &str) -> Result<BrokerConfig, ConfigError> {
        for (name, value) in &values {
            find(Scope::Broker, name)?.validate(value)?;
        }
        let layers = Layers::fixed(values);
        let read = BrokerReader(&layers);
        let listeners = parse_listeners(&read, "listeners")?.unwrap_or_default();
        check_protocols(&listeners, &read.text("listener.security.protocol.map").unwrap_or_default())?;
        let mut advertised_listeners = Vec::with_capacity(listeners.len());
        let given = parse_listeners(&read, "advertised.listeners")?.unwrap_or_default();
        if let Some(stray) = given.iter().find(|given| !listeners.iter().any(|bound| bound.name == given.name)) {
            return Err(invalid("advertised.listeners", stray, "there is no such listener"));
        }
        for listener in &listeners {
            let mut advertised = given.iter().find(|given| given.name == listener.name).unwrap_or(listener).clone();
            if advertised.is_any_host() {
                hostname.clone_into(&mut advertised.host);
            }
            advertised_listeners.push(advertised);
        }
        let log_dirs: Vec<PathBuf> =
            list_items(&read.text("log.dirs").unwrap_or_default()).map(PathBuf::from).collect();
        let config = BrokerConfig {
            node_id: BrokerId::new(read.small("node.id")),
            cluster_id: read.text("cluster.id").and_then(|text| parse_id(text.trim())),
            listeners,
            advertised_listeners,
            admin_listeners: list_items(&read.text("admin.listeners").unwrap_or_default()).map(str::to_owned).collect(),
            log_dirs,
            log_dirs_min_free_bytes: read.count("log.dirs.min.free.bytes"),
            store: read.text("store"),
            durability: match read.text("log.durability").as_deref().map(str::trim) {
                Some("os") => Durability::Os,
                _ => Durability::Fsync,
            },
            validation: match read.text("log.batch.validation").as_deref().map(str::trim) {
                Some("header") => Validation::Header,
                _ => Validation::Strict,
            },
            auto_create_topics_enable: read.flag("auto.create.topics.enable"),
            delete_topic_enable: read.flag("delete.topic.enable"),
            num_partitions: read.small("num.partitions"),
            default_replication_factor: read.small("default.replication.factor"),
            topic_max_partitions: read.small("topic.max.partitions"),
            cluster_max_partitions: read.small("cluster.max.partitions"),
            socket_request_max_bytes: read.small("socket.request.max.bytes"),
            queued_max_request_bytes: read.count("queued.max.request.bytes"),
            queued_max_request_stall_ms: read.count("queued.max.request.stall.ms"),
            queued_max_response_bytes: read.count("queued.max.response.bytes"),
            max_in_flight_requests: read.small("max.in.flight.requests.per.connection"),
            max_request_array_elements: read.small("max.request.array.elements"),
            max_connections: read.small("max.connections"),
            open_files: OPEN_FILES,
            max_connections_per_ip: read.small("max.connections.per.ip"),
            max_connections_per_ip_overrides: parse_per_ip(
                &read.text("max.connections.per.ip.overrides").unwrap_or_default(),
            )
            .unwrap_or_default(),
            connections_max_idle_ms: read.count("connections.max.idle.ms"),
            num_network_threads: read.text("num.network.threads").map(|_| read.small("num.network.threads")),
            fetch_max_bytes: read.small("fetch.max.bytes"),
            fetch_session_partitions: read.small("max.incremental.fetch.session.cache.partitions"),
            fetch_session_slots: read.small("max.incremental.fetch.session.cache.slots"),
            max_request_partition_size_limit: read.small("max.request.partition.size.limit"),
            retention_check_interval_ms: read.count("log.retention.check.interval.ms"),
            scrub_bytes_per_second: read.count("log.scrub.bytes.per.second"),
            scrub_interval_ms: read.count("log.scrub.interval.ms"),
            log_cleaner_enable: read.flag("log.cleaner.enable"),
            log_cleaner_threads: read.small("log.cleaner.threads"),
            log_cleaner_dedupe_buffer_size: read.count("log.cleaner.dedupe.buffer.size"),
            log_cleaner_io_max_bytes_per_second: read.decimal("log.cleaner.io.max.bytes.per.second"),
            log_cleaner_backoff_ms: read.count("log.cleaner.backoff.ms"),
            group_consumer_assignors: list_items(&read.text("group.consumer.assignors").unwrap_or_default())
                .map(str::to_owned)
                .collect(),
            group_consumer_heartbeat_interval_ms: read.count("group.consumer.heartbeat.interval.ms"),
            group_consumer_max_heartbeat_interval_ms: read.count("group.consumer.max.heartbeat.interval.ms"),
            group_consumer_max_session_timeout_ms: read.count("group.consumer.max.session.timeout.ms"),
            group_consumer_max_size: read.small("group.consumer.max.size"),
            group_consumer_migration_policy: read.text("group.consumer.migration.policy").unwrap_or_default(),
            group_consumer_min_heartbeat_interval_ms: read.count("group.consumer.min.heartbeat.interval.ms"),
            group_consumer_min_session_timeout_ms: read.count("group.consumer.min.session.timeout.ms"),
            group_consumer_session_timeout_ms: read.count("group.consumer.session.timeout.ms"),
            group_initial_rebalance_delay_ms: read.count("group.initial.rebalance.delay.ms"),
            group_min_session_timeout_ms: read.count("group.min.session.timeout.ms"),
            group_max_session_timeout_ms: read.count("group.max.session.timeout.ms"),
            group_max_size: read.small("group.max.size"),
            group_coordinator_max_bytes: read.count("group.coordinator.max.bytes"),
            offset_metadata_max_bytes: read.small("offset.metadata.max.bytes"),
            offsets_retention_minutes: read.count("offsets.retention.minutes"),
            offsets_retention_check_interval_ms: read.count("offsets.retention.check.interval.ms"),
            offsets_topic_num_partitions: read.small("offsets.topic.num.partitions"),
            offsets_topic_replication_factor: read.small("offsets.topic.replication.factor"),
            metadata_commit_timeout_ms: read.count("metadata.commit.timeout.ms"),
            metadata_max_pending_commands: read.small("metadata.max.pending.commands"),
            metadata_snapshot_commits: read.small("metadata.snapshot.commits"),
            remote_log_copier_threads: read.small("remote.log.manager.copier.thread.pool.size"),
            remote_log_reader_threads: read.small("remote.log.reader.threads"),
            tier_cache_bytes: read.count("tier.cache.bytes"),
            layers: layers.clone(),
        };
        config.check_groups()?;
        Ok(config)
    }

    /// What the keys of groups must satisfy together.
    fn check_groups(&self) -> Result<(), ConfigError> {
        let between = |key, value: u64, (min_key, min): (&str, u64), (max_key, max): (&str, u64)| {
            if (min..=max).contains(&value) {
                return Ok(());
            }
            Err(invalid(key, value, &format!("is not between {min_key} ({min}) and {max_key} ({max})")))
        };
        let (min, max) = (self.group_min_session_timeout_ms, self.group_max_session_timeout_ms);
        if min > max {
            return Err(invalid("group.min.session.timeout.ms", min, "is more than group.max.session.timeout.ms"));
        }
        if self.group_consumer_assignors.is_empty() {
            return Err(invalid("group.consumer.assignors", "", "must not be empty"));
        }
        between(
            "group.consumer.heartbeat.interval.ms",
            self.group_consumer_heartbeat_interval_ms,
            ("group.consumer.min.heartbeat.interval.ms", self.group_consumer_min_heartbeat_interval_ms),
            ("group.consumer.max.heartbeat.interval.ms", self.group_consumer_max_heartbeat_interval_ms),
        )?;
        between(
            "group.consumer.session.timeout.ms",
            self.group_consumer_session_timeout_ms,
            ("group.consumer.min.session.timeout.ms", self.group_consumer_min_session_timeout_ms),
            ("group.consumer.max.session.timeout.ms", self.group_consumer_max_session_timeout_ms),
        )?;
        let (heartbeat, session) = (self.group_consumer_heartbeat_interval_ms, self.group_consumer_session_timeout_ms);
        if heartbeat >= session {
            let key = "group.consumer.heartbeat.interval.ms";
            return Err(invalid(key, heartbeat, "is not less than group.consumer.session.timeout.ms"));
        }
        Ok(())
    }

    /// The directory that is the object store when `store` is not set: `store`, beside the first log directory.
    pub fn default_store_directory(&self) -> PathBuf {
        let beside = self.log_dirs.first().and_then(|dir| dir.parent()).map(PathBuf::from).unwrap_or_default();
        beside.join("store")
    }

    /// Tells clients the port that listener `name` got, where its configured port was 0.
    pub fn set_bound_port(&mut self, name: &str, port: u16) {
        for listener in self.listeners.iter_mut().chain(&mut self.advertised_listeners) {
            if listener.name == name && listener.port == 0 {
                listener.port = port;
            }
        }
    }
}

/// The listeners that key `name` names; `None` if it has no value.
fn parse_listeners(read: &BrokerReader<'_>, name: &'static str) -> Result<Option<Vec<Listener>>, ConfigError> {
    let Some(text) = read.text(name) else { return Ok(None) };
    Listener::parse_list(&text).map(Some).map_err(|reason| invalid(name, text, &reason))
}

/// Every listener needs a protocol: its own name, or what the map says of it.
fn check_protocols(listeners: &[Listener], map: &str) -> Result<(), ConfigError> {
    for listener in listeners {
        let mapped = list_items(map)
            .filter_map(|item| item.split_once(':'))
            .any(|(name, _)| name.trim().eq_ignore_ascii_case(&listener.name));
        if !mapped && listener.name != "PLAINTEXT" {
            return Err(invalid("listeners", listener, "listener.security.protocol.map does not name its protocol"));
        }
    }
    Ok(())
}

fn invalid(name: &'static str, value: impl ToString, reason: &str) -> ConfigError {
    ConfigError::Invalid { name, value: value.to_string(), reason: reason.to_owned() }
}

#[cfg(test)]
#[path = "broker_tests.rs"]
mod tests;
