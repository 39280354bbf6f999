//! A topic's settings, typed.

use super::ConfigError;
use super::key::list_items;
use super::layers::{BrokerReader, Layers, Read, TopicReader, Values};
use esker_protocol::record::{self, StoredAs};
use esker_storage::log::LogConfig;
use esker_storage::segment::IndexLimits;

/// What becomes of old records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// They are dropped by age and size.
    pub delete: bool,
    /// Only the newest of each key is kept.
    pub compact: bool,
}

/// Whose clock a record's timestamp is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The broker's, when it appends.
    LogAppendTime,
}

/// What a topic's keys resolve to. Milliseconds and bytes; `None` means without a limit.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    /// `cleanup.policy`.
    pub cleanup: CleanupPolicy,
    /// `retention.ms`, in total.
    pub retention_ms: Option<u64>,
    /// `retention.bytes`, in total, per partition.
    pub retention_bytes: Option<u64>,
    /// `local.retention.ms`, never more than `retention_ms`.
    pub local_retention_ms: Option<u64>,
    /// `local.retention.bytes`, never more than `retention_bytes`.
    pub local_retention_bytes: Option<u64>,
    /// `segment.bytes`.
    pub segment_bytes: u32,
    /// `segment.ms`.
    pub segment_ms: u64,
    /// `segment.jitter.ms`.
    pub segment_jitter_ms: u64,
    /// `segment.index.bytes`.
    pub segment_index_bytes: u32,
    /// `index.interval.bytes`.
    pub index_interval_bytes: u32,
    /// `preallocate`.
    pub preallocate: bool,
    /// `file.delete.delay.ms`.
    pub file_delete_delay_ms: u64,
    /// `flush.messages`.
    pub flush_messages: u64,
    /// `flush.ms`.
    pub flush_ms: u64,
    /// `compression.type` with its level; `None` leaves batches as their producer compressed them.
    pub stored_as: Option<StoredAs>,
    /// `max.message.bytes`.
    pub max_message_bytes: u32,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: u64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: u64,
    /// `min.insync.replicas`.
    pub min_insync_replicas: u32,
    /// `remote.storage.enable`; see [`TopicConfig::is_tiered`].
    pub remote_storage_enable: bool,
    /// `min.cleanable.dirty.ratio`.
    pub min_cleanable_dirty_ratio: f64,
    /// `min.compaction.lag.ms`.
    pub min_compaction_lag_ms: u64,
    /// `max.compaction.lag.ms`.
    pub max_compaction_lag_ms: u64,
    /// `delete.retention.ms`.
    pub delete_retention_ms: u64,
    /// `remote.log.copy.disable`.
    pub remote_log_copy_disable: bool,
    /// `remote.log.delete.on.disable`.
    pub remote_log_delete_on_disable: bool,
    /// `tail.max.bytes`.
    pub tail_max_bytes: u64,
    /// `tail.max.ms`.
    pub tail_max_ms: u64,
    /// `producer.id.expiration.ms`, of the broker.
    pub producer_id_expiration_ms: u64,
    /// `producer.ids.max.per.partition`, of the broker.
    pub producer_ids_max: u64,
}

impl TopicConfig {
    /// What a topic with these `overrides` is set to on a broker with these `layers`. Never fails: a value that its key
    /// would refuse is passed over.
    pub fn resolve(overrides: &Values, layers: &Layers) -> TopicConfig {
        let read = TopicReader { layers, overrides };
        let policy = read.text("cleanup.policy").unwrap_or_default();
        let cleanup = CleanupPolicy {
            delete: list_items(&policy).any(|item| item == "delete"),
            compact: list_items(&policy).any(|item| item == "compact"),
        };
        let timestamp_type = match read.text("message.timestamp.type").as_deref().map(str::trim) {
            Some("LogAppendTime") => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        };
        let retention_ms = read.limit("retention.ms").filter(|_| cleanup.delete);
        let retention_bytes = read.limit("retention.bytes").filter(|_| cleanup.delete);
        TopicConfig {
            cleanup,
            retention_ms,
            retention_bytes,
            local_retention_ms: local(read.number("local.retention.ms"), retention_ms),
            local_retention_bytes: local(read.number("local.retention.bytes"), retention_bytes),
            segment_bytes: read.small("segment.bytes"),
            segment_ms: read.count("segment.ms"),
            segment_jitter_ms: read.count("segment.jitter.ms"),
            segment_index_bytes: read.small("segment.index.bytes"),
            index_interval_bytes: read.small("index.interval.bytes"),
            preallocate: read.flag("preallocate"),
            file_delete_delay_ms: read.count("file.delete.delay.ms"),
            flush_messages: read.count("flush.messages"),
            flush_ms: read.count("flush.ms"),
            stored_as: stored_as(&read),
            max_message_bytes: read.small("max.message.bytes"),
            timestamp_type,
            timestamp_before_max_ms: read.count("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: read.count("message.timestamp.after.max.ms"),
            min_insync_replicas: read.small("min.insync.replicas"),
            remote_storage_enable: read.flag("remote.storage.enable"),
            min_cleanable_dirty_ratio: read.decimal("min.cleanable.dirty.ratio"),
            min_compaction_lag_ms: read.count("min.compaction.lag.ms"),
            max_compaction_lag_ms: read.count("max.compaction.lag.ms"),
            delete_retention_ms: read.count("delete.retention.ms"),
            remote_log_copy_disable: read.flag("remote.log.copy.disable"),
            remote_log_delete_on_disable: read.flag("remote.log.delete.on.disable"),
            tail_max_bytes: read.count("tail.max.bytes"),
            tail_max_ms: read.count("tail.max.ms"),
            producer_id_expiration_ms: BrokerReader(layers).count("producer.id.expiration.ms"),
            producer_ids_max: BrokerReader(layers).count("producer.ids.max.per.partition"),
        }
    }

    /// What a log of the topic is told.
    pub fn log_config(&self) -> LogConfig {
        let millis = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX);
        LogConfig {
            segment_bytes: u64::from(self.segment_bytes),
            segment_ms: millis(if self.cleanup.compact {
                // What is never sealed is never compacted.
                self.segment_ms.min(self.max_compaction_lag_ms)
            } else {
                self.segment_ms
            }),
            segment_jitter_ms: millis(self.segment_jitter_ms),
            index: IndexLimits {
                interval: u64::from(self.index_interval_bytes),
                bytes: u64::from(self.segment_index_bytes),
            },
            preallocate: self.preallocate,
            file_delete_delay_ms: millis(self.file_delete_delay_ms),
            flush_messages: self.flush_messages,
            flush_ms: self.flush_ms,
            timestamp_type: match self.timestamp_type {
                TimestampType::CreateTime => record::TimestampType::CreateTime,
                TimestampType::LogAppendTime => record::TimestampType::LogAppendTime,
            },
            producer_expiration_ms: millis(self.producer_id_expiration_ms),
            producer_limit: usize::try_from(self.producer_ids_max).unwrap_or(usize::MAX),
            ..LogConfig::default()
        }
    }

    /// Whether more of the topic's records are copied to the object store.
    pub fn is_copied(&self) -> bool {
        self.is_tiered() && !self.remote_log_copy_disable
    }

    /// Whether what the object store has of the topic is to be deleted.
    pub fn leaves_tier(&self) -> bool {
        !self.remote_storage_enable && self.remote_log_delete_on_disable
    }

    /// Whether the topic's records go to the object store.
    pub fn is_tiered(&self) -> bool {
        self.remote_storage_enable
    }
}

/// The codec that batches are stored with; `None` for the producer's.
fn stored_as(read: &TopicReader<'_>) -> Option<StoredAs> {
    let level = |key| i32::try_from(read.number(key)).unwrap_or_default();
    match read.text("compression.type").as_deref().map(str::trim) {
        Some("uncompressed") => Some(StoredAs::Uncompressed),
        Some("gzip") => Some(StoredAs::Gzip(level("compression.gzip.level"))),
        Some("snappy") => Some(StoredAs::Snappy),
        Some("lz4") => Some(StoredAs::Lz4(level("compression.lz4.level"))),
        Some("zstd") => Some(StoredAs::Zstd(level("compression.zstd.level"))),
        _ => None,
    }
}

/// Local retention: -2 follows the total, -1 is no limit, and nothing outlives the total.
fn local(number: i64, total: Option<u64>) -> Option<u64> {
    match (u64::try_from(number), total) {
        (Ok(own), Some(total)) => Some(own.min(total)),
        (Ok(own), None) => Some(own),
        (Err(_), total) => total,
    }
}

/// Whether a topic can have exactly these `overrides`: every key known, every value taken, no two at odds.
///
/// # Errors
/// The first that cannot be.
pub fn check_topic_values(overrides: &Values, layers: &Layers) -> Result<(), ConfigError> {
    for (name, value) in overrides {
        super::registry::topic_key(name)?.validate(value)?;
    }
    // Kafka's LogConfig.validateValues.
    let (min, max) = (TopicReader { layers, overrides }.count("min.compaction.lag.ms"), "max.compaction.lag.ms");
    let limit = TopicReader { layers, overrides }.count(max);
    if min > limit && (overrides.contains_key("min.compaction.lag.ms") || overrides.contains_key(max)) {
        let name = super::registry::topic_key("min.compaction.lag.ms")?.name;
        let reason = format!("must not be more than {max}, which is {limit}");
        return Err(ConfigError::Invalid { name, value: min.to_string(), reason });
    }
    // Kafka's LogConfig.validateRemoteStorageRetention*: local copies may not be asked to outlive the records.
    let read = TopicReader { layers, overrides };
    for (local, total) in [("local.retention.ms", "retention.ms"), ("local.retention.bytes", "retention.bytes")] {
        // Only what this topic says itself is at odds; an inherited local limit is cut to the total.
        let Some(text) = overrides.get(local) else { continue };
        let (own, limit) = (read.number(local), read.number(total));
        if limit >= 0 && own != -2 && (own == -1 || own > limit) {
            let name = super::registry::topic_key(local)?.name;
            let reason = format!("must not be more than {total}, which is {limit}");
            return Err(ConfigError::Invalid { name, value: text.clone(), reason });
        }
    }
    Ok(())
}
