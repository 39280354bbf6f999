//! Tests of the tables of keys and of what they resolve to.

use super::*;
use crate::config::{
    CleanupPolicy, Kind, Source, TopicConfig, check_topic_values, describe_broker, describe_topic, parse_properties,
};
use esker_protocol::record::StoredAs;
use proptest::prelude::*;
use std::sync::Arc;

fn values(pairs: &[(&str, &str)]) -> Values {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn config(pairs: &[(&str, &str)]) -> Result<BrokerConfig, ConfigError> {
    BrokerConfig::from_values(values(pairs), "box")
}

#[test]
fn tables_are_sorted_documented_and_their_defaults_are_valid() {
    for scope in [Scope::Topic, Scope::Group, Scope::Broker] {
        let keys = scope.keys();
        for pair in keys.windows(2) {
            assert!(pair[0].name < pair[1].name, "{} must come before {}", pair[1].name, pair[0].name);
        }
        for key in keys {
            assert!(std::ptr::eq(find(scope, key.name).unwrap(), key));
            assert!(key.doc.ends_with('.') && !key.doc.contains("  "), "{}: {:?}", key.name, key.doc);
            if let Some(default) = key.default {
                key.validate(default).unwrap();
            }
            for (synonym, factor) in key.synonyms {
                let broker = find(Scope::Broker, synonym).unwrap();
                assert!(
                    *factor > 0 && (broker.kind == key.kind || matches!(broker.kind, Kind::Int | Kind::String)),
                    "{}",
                    key.name
                );
            }
            if scope == Scope::Topic {
                let dynamic = key.synonyms.first().is_none_or(|(name, _)| find(Scope::Broker, name).unwrap().dynamic);
                assert!(dynamic, "the broker's {:?} must be dynamic", key.synonyms);
            }
        }
    }
}

/// `LogConfig` of Kafka 4.3.
const KAFKAS_TOPIC_KEYS: [&str; 33] = [
    "cleanup.policy",
    "compression.gzip.level",
    "compression.lz4.level",
    "compression.type",
    "compression.zstd.level",
    "delete.retention.ms",
    "file.delete.delay.ms",
    "flush.messages",
    "flush.ms",
    "follower.replication.throttled.replicas",
    "index.interval.bytes",
    "leader.replication.throttled.replicas",
    "local.retention.bytes",
    "local.retention.ms",
    "max.compaction.lag.ms",
    "max.message.bytes",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "message.timestamp.type",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "min.insync.replicas",
    "preallocate",
    "remote.log.copy.disable",
    "remote.log.delete.on.disable",
    "remote.storage.enable",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
    "segment.index.bytes",
    "segment.jitter.ms",
    "segment.ms",
    "unclean.leader.election.enable",
];

#[test]
fn every_topic_key_of_kafka_is_known() {
    let ours = Scope::Topic.keys().iter().map(|key| key.name).filter(|name| !name.starts_with("tail."));
    assert_eq!(ours.collect::<Vec<_>>(), KAFKAS_TOPIC_KEYS);
}

#[test]
fn keys_of_one_value_take_no_other() {
    let takes = |name: &str, value: &str| find(Scope::Topic, name).unwrap().validate(value).is_ok();
    for name in ["leader.replication.throttled.replicas", "follower.replication.throttled.replicas"] {
        assert!(takes(name, "") && !takes(name, "*") && !takes(name, "0:1,1:1"));
    }
    let unclean = "unclean.leader.election.enable";
    assert!(takes(unclean, "false") && takes(unclean, "False") && !takes(unclean, "true") && !takes(unclean, "no"));
    let gzip = "compression.gzip.level";
    assert!(takes(gzip, "-1") && takes(gzip, "9") && !takes(gzip, "0") && !takes(gzip, "10") && !takes(gzip, "x"));
}

#[test]
fn a_codec_comes_with_its_level() {
    let stored_as = |pairs: &[(&str, &str)]| TopicConfig::resolve(&values(pairs), &Layers::default()).stored_as;
    assert_eq!(stored_as(&[]), None);
    assert_eq!(stored_as(&[("compression.type", "uncompressed")]), Some(StoredAs::Uncompressed));
    assert_eq!(stored_as(&[("compression.type", "snappy")]), Some(StoredAs::Snappy));
    assert_eq!(stored_as(&[("compression.type", "gzip")]), Some(StoredAs::Gzip(-1)));
    assert_eq!(stored_as(&[("compression.type", "lz4"), ("compression.lz4.level", "12")]), Some(StoredAs::Lz4(12)));
    assert_eq!(stored_as(&[("compression.type", "zstd"), ("compression.zstd.level", "-5")]), Some(StoredAs::Zstd(-5)));
    assert_eq!(stored_as(&[("compression.zstd.level", "7")]), None, "the producer's codec, at the producer's level");
}

#[test]
fn a_topic_default_equals_its_brokers_default() {
    let defaults = Layers::default();
    for described in describe_topic(&Values::new(), &defaults) {
        assert_eq!(described.value.as_deref(), described.key.default, "{}", described.key.name);
        assert_eq!(described.source, Source::Default);
        assert!(!described.read_only);
    }
}

#[test]
fn a_dev_broker_needs_no_settings() {
    let config = config(&[]).unwrap();
    assert_eq!(config.listeners[0].to_string(), "PLAINTEXT://127.0.0.1:9092");
    assert_eq!(config.advertised_listeners, config.listeners);
    assert_eq!(config.log_dirs, [PathBuf::from("esker-data/log")]);
    assert_eq!(config.default_store_directory(), PathBuf::from("esker-data/store"));
    assert_eq!(config.durability, Durability::Fsync);
    assert_eq!(config.node_id, BrokerId::new(1));
    assert_eq!(config.group_initial_rebalance_delay_ms, 0);
}

#[test]
fn every_number_of_the_broker_is_read_from_its_own_key() {
    // A misspelled name in `from_values` would read as zero.
    let text = format!("{:?}", config(&[]).unwrap());
    for zero in text.split(", ").filter(|field| field.ends_with(": 0")) {
        assert_eq!(zero, "group_initial_rebalance_delay_ms: 0");
    }
}

#[test]
fn reads_kafkas_own_names() {
    let file = "broker.id=7\nlisteners=INSIDE://0.0.0.0:9092,OUTSIDE://0.0.0.0:0\nlog.dirs=/d/one,/d/two\n\
                advertised.listeners=OUTSIDE://public.example:19092\n\
                listener.security.protocol.map=INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT\nlog.retention.hours=1\n";
    let mut config = BrokerConfig::from_values(parse_properties(file).unwrap(), "box").unwrap();
    assert_eq!(config.node_id, BrokerId::new(7));
    assert_eq!(config.advertised_listeners[0].to_string(), "INSIDE://box:9092");
    assert_eq!(config.advertised_listeners[1].to_string(), "OUTSIDE://public.example:19092");
    assert_eq!(config.default_store_directory(), PathBuf::from("/d/store"));
    config.set_bound_port("OUTSIDE", 5000);
    assert_eq!(config.listeners[1].port, 5000);
    assert_eq!(TopicConfig::resolve(&Values::new(), &config.layers).retention_ms, Some(3_600_000));
}

#[test]
fn refuses_and_says_what_was_meant() {
    let message = |pairs: &[(&str, &str)]| config(pairs).unwrap_err().to_string();
    assert_eq!(
        message(&[("num.partition", "3")]),
        "Unknown broker configuration \"num.partition\"; did you mean \"num.partitions\"?"
    );
    assert_eq!(message(&[("zookeeper.connect", "x")]), "Unknown broker configuration \"zookeeper.connect\"");
    for (name, value) in [
        ("num.partitions", "0"),
        ("num.partitions", "many"),
        ("num.partitions", "4294967297"),
        ("log.durability", "none"),
        ("auto.create.topics.enable", "yes"),
        ("compression.type", "brotli"),
        ("listeners", ""),
        ("listeners", "SSL://:9093"),
        ("advertised.listeners", "PLAINTEXT://0.0.0.0:9092"),
        ("advertised.listeners", "OTHER://h:9092"),
        ("cluster.id", "a/b"),
        ("log.dirs", " , "),
        ("max.connections.per.ip.overrides", "localhost:5"),
        ("group.min.session.timeout.ms", "1800001"),
        ("group.consumer.assignors", "uniform,sticky"),
        ("group.consumer.assignors", " , "),
        ("group.consumer.heartbeat.interval.ms", "4999"),
        ("group.consumer.session.timeout.ms", "60001"),
        ("group.consumer.migration.policy", "sometimes"),
        ("log.cleanup.policy", "delete,shrink"),
    ] {
        assert!(message(&[(name, value)]).starts_with("Invalid value "), "{name}={value}");
    }
}

#[test]
fn the_most_specific_layer_wins_and_the_rest_are_synonyms() {
    let layers = Layers {
        broker: Arc::new(values(&[("log.retention.ms", "3")])),
        cluster: Arc::new(values(&[("log.retention.ms", "4")])),
        fixed: Arc::new(values(&[("log.retention.hours", "2"), ("log.retention.minutes", "5")])),
    };
    let chain = |overrides: &Values| {
        let all = describe_topic(overrides, &layers);
        let retention = all.into_iter().find(|d| d.key.name == "retention.ms").unwrap();
        let synonyms: Vec<_> =
            retention.synonyms.iter().map(|s| (s.name, s.value.clone().unwrap(), s.source)).collect();
        (retention.value.unwrap(), retention.source, synonyms)
    };
    let (value, source, synonyms) = chain(&values(&[("retention.ms", "2")]));
    assert_eq!((value.as_str(), source), ("2", Source::Topic));
    let expected = [
        ("retention.ms", "2", Source::Topic),
        ("log.retention.ms", "3", Source::Broker),
        ("log.retention.ms", "4", Source::ClusterDefault),
        ("log.retention.minutes", "5", Source::Static),
        ("log.retention.hours", "2", Source::Static),
        ("log.retention.hours", "168", Source::Default),
    ];
    assert_eq!(synonyms, expected.map(|(n, v, s)| (n, v.to_owned(), s)));
    let (value, source, synonyms) = chain(&Values::new());
    assert_eq!((value.as_str(), source), ("3", Source::Broker));
    assert_eq!(synonyms, expected[1..].iter().map(|(n, v, s)| (*n, (*v).to_owned(), *s)).collect::<Vec<_>>());

    let minutes = Layers::fixed(values(&[("log.retention.minutes", "5")]));
    assert_eq!(TopicConfig::resolve(&Values::new(), &minutes).retention_ms, Some(300_000));
    let forever = Layers::fixed(values(&[("log.retention.hours", "-1")]));
    assert_eq!(TopicConfig::resolve(&Values::new(), &forever).retention_ms, None);
}

#[test]
fn a_value_that_is_not_taken_any_more_is_passed_over() {
    let resolved =
        TopicConfig::resolve(&values(&[("retention.ms", "soon"), ("segment.bytes", "1")]), &Layers::default());
    assert_eq!(resolved, TopicConfig::resolve(&Values::new(), &Layers::default()));
}

#[test]
fn a_broker_shows_null_where_nothing_is_set() {
    let all = describe_broker(&config(&[("num.partitions", "3")]).unwrap().layers);
    let get = |name: &str| all.iter().find(|d| d.key.name == name).unwrap();
    assert_eq!(get("store").value, None);
    assert_eq!(get("log.dirs").value.as_deref(), Some("esker-data/log"));
    assert_eq!((get("num.partitions").value.as_deref(), get("num.partitions").source), (Some("3"), Source::Static));
    assert!(get("num.partitions").read_only && !get("log.retention.ms").read_only);
    // Debezium reads this one from a broker and parses it.
    assert_eq!(get("default.replication.factor").value.as_deref(), Some("1"));
}

#[test]
fn local_retention_stays_within_the_total() {
    let resolve = |pairs: &[(&str, &str)]| TopicConfig::resolve(&values(pairs), &Layers::default());
    assert_eq!(resolve(&[("retention.ms", "10")]).local_retention_ms, Some(10));
    assert_eq!(resolve(&[("retention.ms", "-1"), ("local.retention.ms", "7")]).local_retention_ms, Some(7));
    assert_eq!(resolve(&[("retention.bytes", "9"), ("local.retention.bytes", "-1")]).local_retention_bytes, Some(9));
    let check = |pairs: &[(&str, &str)]| check_topic_values(&values(pairs), &Layers::default());
    assert!(check(&[("retention.ms", "10"), ("local.retention.ms", "10")]).is_ok());
    assert!(check(&[("retention.ms", "10"), ("local.retention.ms", "11")]).is_err());
    assert!(check(&[("retention.ms", "10"), ("local.retention.ms", "-1")]).is_err());
    assert!(check(&[("retention.ms", "-1"), ("local.retention.ms", "-1")]).is_ok());
    assert!(check(&[("retention.ms", "10")]).is_ok());
}

#[test]
fn compacted_topics_keep_every_key_and_are_tiered() {
    let resolved = TopicConfig::resolve(&values(&[("cleanup.policy", "compact")]), &Layers::default());
    assert_eq!(resolved.cleanup, CleanupPolicy { delete: false, compact: true });
    assert_eq!((resolved.retention_ms, resolved.retention_bytes), (None, None));
    assert!(resolved.is_tiered());
    let both = TopicConfig::resolve(&values(&[("cleanup.policy", "compact, delete")]), &Layers::default());
    assert_eq!(both.retention_ms, Some(604_800_000));
    assert!(both.is_tiered());
}

proptest! {
    /// What DescribeConfigs shows, AlterConfigs takes (redpanda#4310).
    #[test]
    fn described_values_are_accepted_again(index in 0usize..64, number in -5i64..5_000_000_000) {
        let keys = Scope::Topic.keys();
        let key = &keys[index % keys.len()];
        let mut overrides = Values::new();
        if key.validate(&number.to_string()).is_ok() {
            overrides.insert(key.name.to_owned(), number.to_string());
        }
        for described in describe_topic(&overrides, &Layers::default()) {
            described.key.validate(&described.value.unwrap()).unwrap();
        }
    }

    #[test]
    fn any_text_is_taken_or_refused(name in "[a-z.]{0,30}", value in "\\PC{0,30}") {
        let _ = config(&[(&name, &value)]);
        for key in Scope::Broker.keys().iter().chain(Scope::Topic.keys()).chain(Scope::Group.keys()) {
            let _ = key.validate(&value);
        }
    }
}
