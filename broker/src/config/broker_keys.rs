//! The keys of a broker, sorted by name: Kafka's where Kafka has one, ours for the store, durability and bounds.
//!
//! Changeable while the broker runs are those that a topic's settings fall back to, since these are resolved again after
//! every change of the metadata. The others are read once, at the start.

use super::id_text::parse_id;
use super::key::{Check, Key, Kind, check_positive, check_ratio};
use super::listener::{check_advertised, check_listeners, check_protocol_map};
use super::per_ip::check_per_ip;
use super::topic_keys::{CLEAN_ONLY, COMPRESSION_TYPES, GZIP, LZ4, ZSTD};

const fn int(name: &'static str, default: &'static str, doc: &'static str) -> Key {
    Key::new(name, Kind::Int, Some(default), doc)
}

const fn long(name: &'static str, default: &'static str, doc: &'static str) -> Key {
    Key::new(name, Kind::Long, Some(default), doc)
}

const fn boolean(name: &'static str, default: &'static str, doc: &'static str) -> Key {
    Key::new(name, Kind::Boolean, Some(default), doc)
}

const fn string(name: &'static str, default: &'static str, doc: &'static str) -> Key {
    Key::new(name, Kind::String, Some(default), doc)
}

const fn list(name: &'static str, default: &'static str, doc: &'static str) -> Key {
    Key::new(name, Kind::List, Some(default), doc)
}

const fn of_double(name: &'static str, default: &'static str, doc: &'static str) -> Key {
    Key::new(name, Kind::Double, Some(default), doc)
}

const fn unset(kind: Kind, name: &'static str, doc: &'static str) -> Key {
    Key::new(name, kind, None, doc)
}

/// One MiB, the least that a cache or a budget makes sense with.
const MIB: i64 = 1 << 20;

/// Every key of a broker.
pub static BROKER_KEYS: &[Key] = &[
    string("admin.listeners", "127.0.0.1:9644", "Addresses, host:port, of the HTTP endpoints for health and metrics."),
    unset(
        Kind::List,
        "advertised.listeners",
        "The addresses that clients are told to connect to, by listener name; by default those of 'listeners'.",
    )
    .check(Check::By(check_advertised)),
    boolean("auto.create.topics.enable", "true", "Whether asking for a topic that does not exist creates it."),
    int("broker.id", "1", "The broker's number in its cluster, if 'node.id' is not set.").check(Check::AtLeast(0)),
    unset(
        Kind::String,
        "cluster.id",
        "The cluster that the store must hold; a new store is formatted with it. By default whatever is there, or chance.",
    )
    .check(Check::By(check_cluster_id)),
    int(
        "cluster.max.partitions",
        "100000",
        "Partitions that may exist in the cluster; creating more is refused. Metadata of all of them is in memory.",
    )
    .check(Check::AtLeast(1)),
    int("compression.gzip.level", "-1", "The default of topics' compression.gzip.level.").check(GZIP).dynamic(),
    int("compression.lz4.level", "9", "The default of topics' compression.lz4.level.").check(LZ4).dynamic(),
    string("compression.type", "producer", "The default of topics' compression.type.")
        .check(Check::OneOf(COMPRESSION_TYPES))
        .dynamic(),
    int("compression.zstd.level", "3", "The default of topics' compression.zstd.level.").check(ZSTD).dynamic(),
    long("connections.max.idle.ms", "600000", "Milliseconds without a request after which a connection is closed.")
        .check(Check::AtLeast(1)),
    int("default.replication.factor", "1", "Replicas of a topic that is created without saying how many.")
        .check(Check::AtLeast(1)),
    boolean("delete.topic.enable", "true", "Whether topics can be deleted."),
    int("fetch.max.bytes", "57671680", "The most bytes that one fetch is answered with, apart from its first batch.")
        .check(Check::AtLeast(1024)),
    int(
        "group.consumer.assignment.interval.ms",
        "1000",
        "Milliseconds between two assignments of a consumer group: what changes meanwhile goes into the next one.",
    )
    .check(Check::AtLeast(0)),
    list("group.consumer.assignors", "uniform,range", "The assignors that members of consumer groups choose from.")
        .check(Check::OneOf(&["uniform", "range"])),
    int("group.consumer.heartbeat.interval.ms", "5000", "Milliseconds between two heartbeats of a consumer group's member.")
        .check(Check::AtLeast(1)),
    int(
        "group.consumer.max.assignment.interval.ms",
        "15000",
        "The longest assignment interval that a consumer group may have.",
    )
    .check(Check::AtLeast(0)),
    int("group.consumer.max.heartbeat.interval.ms", "15000", "The longest heartbeat interval that a consumer group may have.")
        .check(Check::AtLeast(1)),
    int("group.consumer.max.session.timeout.ms", "60000", "The longest session timeout that a consumer group may have.")
        .check(Check::AtLeast(1)),
    int("group.consumer.max.size", "10000", "Members that a consumer group may have.").check(Check::AtLeast(1)),
    string(
        "group.consumer.migration.policy",
        "bidirectional",
        "Whether a group with members becomes a consumer group when the first member of the consumer protocol joins \
         ('upgrade'), a classic group when the last one leaves ('downgrade'), both ('bidirectional') or neither \
         ('disabled').",
    )
    .check(Check::OneOf(&["bidirectional", "disabled", "downgrade", "upgrade"])),
    int(
        "group.consumer.min.assignment.interval.ms",
        "0",
        "The shortest assignment interval that a consumer group may have.",
    )
    .check(Check::AtLeast(0)),
    int("group.consumer.min.heartbeat.interval.ms", "5000", "The shortest heartbeat interval that a consumer group may have.")
        .check(Check::AtLeast(1)),
    int("group.consumer.min.session.timeout.ms", "45000", "The shortest session timeout that a consumer group may have.")
        .check(Check::AtLeast(1)),
    int("group.consumer.session.timeout.ms", "45000", "Milliseconds that a consumer group's member may be silent.")
        .check(Check::AtLeast(1)),
    long(
        "group.coordinator.max.bytes",
        "67108864",
        "Bytes, about, that the groups of one partition of __consumer_offsets may take in memory; beyond it, members and \
         offsets that would add to it are refused.",
    )
    .check(Check::AtLeast(MIB)),
    int(
        "group.initial.rebalance.delay.ms",
        "0",
        "Milliseconds that a new group waits for more members before its first rebalance.",
    )
    .check(Check::AtLeast(0)),
    int("group.max.session.timeout.ms", "1800000", "The longest session timeout that a member may ask for.")
        .check(Check::AtLeast(1)),
    int("group.max.size", "10000", "Members that a group may have.").check(Check::AtLeast(1)),
    int("group.min.session.timeout.ms", "6000", "The shortest session timeout that a member may ask for.")
        .check(Check::AtLeast(1)),
    string(
        "listener.security.protocol.map",
        "PLAINTEXT:PLAINTEXT",
        "The protocol of each listener, NAME:PROTOCOL, separated by commas. Only PLAINTEXT is supported yet.",
    )
    .check(Check::By(check_protocol_map)),
    list("listeners", "PLAINTEXT://127.0.0.1:9092", "The addresses that the broker accepts Kafka clients at.")
        .check(Check::By(check_listeners)),
    string(
        "log.batch.validation",
        "strict",
        "'strict' walks every record of a batch, decompressing it, as Kafka does; 'header' trusts what lies below a \
         batch's checksum.",
    )
    .check(Check::OneOf(&["header", "strict"])),
    long("log.cleaner.backoff.ms", "15000", "Milliseconds that a cleaner pauses when there is nothing to compact.")
        .check(Check::AtLeast(1)),
    long(
        "log.cleaner.dedupe.buffer.size",
        "134217728",
        "Bytes of memory for keys that all cleaners have together; a pass covers as many records as fit.",
    )
    .check(Check::AtLeast(MIB)),
    long("log.cleaner.delete.retention.ms", "86400000", "The default of topics' delete.retention.ms.")
        .check(Check::AtLeast(0))
        .dynamic(),
    boolean("log.cleaner.enable", "true", "Whether topics with cleanup.policy=compact are compacted."),
    of_double(
        "log.cleaner.io.max.bytes.per.second",
        "1.7976931348623157E308",
        "Bytes per second that all cleaners together read and write at most.",
    )
    .check(Check::By(check_positive)),
    long(
        "log.cleaner.max.compaction.lag.ms",
        "9223372036854775807",
        "The default of topics' max.compaction.lag.ms.",
    )
    .check(Check::AtLeast(1))
    .dynamic(),
    of_double("log.cleaner.min.cleanable.ratio", "0.5", "The default of topics' min.cleanable.dirty.ratio.")
        .check(Check::By(check_ratio))
        .dynamic(),
    long("log.cleaner.min.compaction.lag.ms", "0", "The default of topics' min.compaction.lag.ms.")
        .check(Check::AtLeast(0))
        .dynamic(),
    int("log.cleaner.threads", "1", "Logs that are compacted at a time.").check(Check::Between(1, 64)),
    list("log.cleanup.policy", "delete", "The default of topics' cleanup.policy.")
        .check(Check::OneOf(&["compact", "delete"]))
        .dynamic(),
    string("log.dir", "esker-data/log", "The directory of the logs, if 'log.dirs' is not set.").check(Check::NotEmpty),
    unset(Kind::List, "log.dirs", "The directories of the logs, separated by commas; partitions are spread over them.")
        .check(Check::NotEmpty)
        .falls_back_to(&[("log.dir", 1)]),
    long(
        "log.dirs.min.free.bytes",
        "268435456",
        "Bytes that are kept free in the file system of each log directory: below them produce is refused, for clients to \
         try again, until retention has made room. 0 refuses nothing.",
    )
    .check(Check::AtLeast(0)),
    string(
        "log.durability",
        "fsync",
        "What acks=all means: 'fsync' answers when a batch would survive a power cut, 'os' when it would survive the \
         process, as Kafka does.",
    )
    .check(Check::OneOf(&["fsync", "os"])),
    long("log.flush.interval.messages", "9223372036854775807", "The default of topics' flush.messages.")
        .check(Check::AtLeast(1))
        .dynamic(),
    unset(Kind::Long, "log.flush.interval.ms", "The default of topics' flush.ms.")
        .check(Check::AtLeast(0))
        .dynamic()
        .falls_back_to(&[("log.flush.scheduler.interval.ms", 1)]),
    long(
        "log.flush.scheduler.interval.ms",
        "9223372036854775807",
        "The default of topics' flush.ms where 'log.flush.interval.ms' is not set.",
    )
    .check(Check::AtLeast(0)),
    int("log.index.interval.bytes", "4096", "The default of topics' index.interval.bytes.")
        .check(Check::AtLeast(0))
        .dynamic(),
    int("log.index.size.max.bytes", "10485760", "The default of topics' segment.index.bytes.")
        .check(Check::AtLeast(4))
        .dynamic(),
    long("log.local.retention.bytes", "-2", "The default of topics' local.retention.bytes.")
        .check(Check::AtLeast(-2))
        .dynamic(),
    long("log.local.retention.ms", "-2", "The default of topics' local.retention.ms.").check(Check::AtLeast(-2)).dynamic(),
    long("log.message.timestamp.after.max.ms", "3600000", "The default of topics' message.timestamp.after.max.ms.")
        .check(Check::AtLeast(0))
        .dynamic(),
    long(
        "log.message.timestamp.before.max.ms",
        "9223372036854775807",
        "The default of topics' message.timestamp.before.max.ms.",
    )
    .check(Check::AtLeast(0))
    .dynamic(),
    string("log.message.timestamp.type", "CreateTime", "The default of topics' message.timestamp.type.")
        .check(Check::OneOf(&["CreateTime", "LogAppendTime"]))
        .dynamic(),
    boolean("log.preallocate", "false", "The default of topics' preallocate.").dynamic(),
    long("log.retention.bytes", "-1", "The default of topics' retention.bytes.").check(Check::AtLeast(-1)).dynamic(),
    long("log.retention.check.interval.ms", "300000", "Milliseconds between two looks for what retention drops.")
        .check(Check::AtLeast(1)),
    int("log.retention.hours", "168", "The default of topics' retention.ms, in hours; -1 for ever.")
        .check(Check::AtLeast(-1)),
    unset(Kind::Int, "log.retention.minutes", "The default of topics' retention.ms, in minutes; -1 for ever.")
        .check(Check::AtLeast(-1)),
    unset(Kind::Long, "log.retention.ms", "The default of topics' retention.ms; -1 for ever.")
        .check(Check::AtLeast(-1))
        .dynamic()
        .falls_back_to(&[("log.retention.minutes", 60_000), ("log.retention.hours", 3_600_000)]),
    int("log.roll.hours", "168", "The default of topics' segment.ms, in hours.").check(Check::AtLeast(1)),
    int("log.roll.jitter.hours", "0", "The default of topics' segment.jitter.ms, in hours.").check(Check::AtLeast(0)),
    unset(Kind::Long, "log.roll.jitter.ms", "The default of topics' segment.jitter.ms.")
        .check(Check::AtLeast(0))
        .dynamic()
        .falls_back_to(&[("log.roll.jitter.hours", 3_600_000)]),
    unset(Kind::Long, "log.roll.ms", "The default of topics' segment.ms.")
        .check(Check::AtLeast(1))
        .dynamic()
        .falls_back_to(&[("log.roll.hours", 3_600_000)]),
    long(
        "log.scrub.bytes.per.second",
        "16777216",
        "Bytes of sealed local segments that are read in a second, at most, to find what has rotted.",
    )
    .check(Check::AtLeast(1024)),
    long(
        "log.scrub.interval.ms",
        "604800000",
        "Milliseconds from the begin of one scrub of the local segments to that of the next.",
    )
    .check(Check::AtLeast(1)),
    int("log.segment.bytes", "1073741824", "The default of topics' segment.bytes.")
        .check(Check::AtLeast(1024))
        .dynamic(),
    long("log.segment.delete.delay.ms", "0", "The default of topics' file.delete.delay.ms.")
        .check(Check::AtLeast(0))
        .dynamic(),
    int("max.connections", "10000", "Connections that are open at a time; more are closed at once.")
        .check(Check::AtLeast(1)),
    int("max.connections.per.ip", "2147483647", "Connections from one address that are open at a time; more are closed at once.")
        .check(Check::AtLeast(0)),
    string(
        "max.connections.per.ip.overrides",
        "",
        "What 'max.connections.per.ip' is for single addresses, ADDRESS:COUNT, separated by commas. Host names are not \
         resolved.",
    )
    .check(Check::By(check_per_ip)),
    int(
        "max.in.flight.requests.per.connection",
        "64",
        "Requests of one connection that are in progress at a time; it is not read from beyond them.",
    )
    .check(Check::Between(1, 10_000)),
    int(
        "max.incremental.fetch.session.cache.partitions",
        "500000",
        "Partitions that all incremental fetch sessions of the broker remember together; a client that would add more \
         fetches without a session.",
    )
    .check(Check::AtLeast(0)),
    int("max.incremental.fetch.session.cache.slots", "1000", "Incremental fetch sessions that the broker keeps.")
        .check(Check::AtLeast(0)),
    int(
        "max.request.array.elements",
        "262144",
        "Array elements that one request may have in all; a connection that sends one with more is closed.",
    )
    .check(Check::AtLeast(1)),
    int(
        "max.request.partition.size.limit",
        "2000",
        "Partitions that one answer to DescribeTopicPartitions lists at most; the client asks on from there.",
    )
    .check(Check::AtLeast(1)),
    int("message.max.bytes", "1048588", "The default of topics' max.message.bytes.").check(Check::AtLeast(0)).dynamic(),
    int(
        "metadata.commit.timeout.ms",
        "15000",
        "Milliseconds that a request waits for its change of the metadata to be committed, if it does not say itself.",
    )
    .check(Check::AtLeast(1)),
    int("metadata.max.pending.commands", "1000", "Changes of the metadata that wait for the controller; more are refused.")
        .check(Check::AtLeast(1)),
    int("metadata.snapshot.commits", "200", "Commits of the metadata log between two of its snapshots.")
        .check(Check::AtLeast(1)),
    int("min.insync.replicas", "1", "The default of topics' min.insync.replicas.").check(Check::AtLeast(1)).dynamic(),
    unset(Kind::Int, "node.id", "The broker's number in its cluster.").check(Check::AtLeast(0)).falls_back_to(&[("broker.id", 1)]),
    unset(Kind::Int, "num.network.threads", "Threads that serve connections; by default one per core.")
        .check(Check::Between(1, 1024)),
    int("num.partitions", "1", "Partitions of a topic that is created without saying how many.")
        .check(Check::AtLeast(1)),
    int("offset.metadata.max.bytes", "4096", "Bytes of metadata that may be committed with an offset.")
        .check(Check::AtLeast(0)),
    long("offsets.retention.check.interval.ms", "600000", "Milliseconds between two looks for offsets to expire.")
        .check(Check::AtLeast(1)),
    int("offsets.retention.minutes", "10080", "Minutes that the offsets of an empty group are kept.")
        .check(Check::AtLeast(1)),
    int("offsets.topic.num.partitions", "16", "Partitions of __consumer_offsets when it is created; fixed from then on.")
        .check(Check::AtLeast(1)),
    int("offsets.topic.replication.factor", "1", "Replicas of __consumer_offsets when it is created.")
        .check(Check::AtLeast(1)),
    int("producer.id.expiration.ms", "86400000", "Milliseconds after which an idle idempotent producer is forgotten.")
        .check(Check::AtLeast(1))
        .dynamic(),
    int(
        "producer.ids.max.per.partition",
        "100000",
        "Idempotent producers that a partition remembers; beyond it those that were silent longest are forgotten.",
    )
    .check(Check::AtLeast(1))
    .dynamic(),
    long(
        "queued.max.request.bytes",
        "268435456",
        "Bytes of requests that all connections hold together; beyond it they are not read from.",
    )
    .check(Check::AtLeast(MIB)),
    long(
        "queued.max.request.stall.ms",
        "5000",
        "Milliseconds that a request may stay incomplete, or an answer unread, without a MiB of progress while others wait \
         for its share of 'queued.max.request.bytes' or 'queued.max.response.bytes'; then its connection is closed.",
    )
    .check(Check::AtLeast(1)),
    long(
        "queued.max.response.bytes",
        "268435456",
        "Bytes of answers, apart from records, that wait for their clients to read them; beyond it no more are made.",
    )
    .check(Check::AtLeast(MIB)),
    int("remote.log.manager.copier.thread.pool.size", "4", "Uploads to the object store that run at a time.")
        .check(Check::Between(1, 1024)),
    int("remote.log.reader.threads", "24", "Reads from the object store that run at a time.").check(Check::Between(1, 1024)),
    int("socket.request.max.bytes", "104857600", "The largest request that is read, in bytes.").check(Check::AtLeast(1024)),
    unset(
        Kind::String,
        "store",
        "The object store: s3://bucket/prefix, gs://, az://, file:///path or memory://. By default the directory 'store' \
         beside the first log directory.",
    ),
    long("tail.max.bytes", "67108864", "The default of topics' tail.max.bytes.").check(Check::AtLeast(1024)).dynamic(),
    long("tail.max.ms", "300000", "The default of topics' tail.max.ms.").check(Check::AtLeast(100)).dynamic(),
    long("tier.cache.bytes", "268435456", "Bytes of the object store's data that are cached in memory.")
        .check(Check::AtLeast(MIB)),
    int("topic.max.partitions", "10000", "Partitions that one topic may have; creating more is refused.")
        .check(Check::AtLeast(1)),
    boolean(
        "unclean.leader.election.enable",
        "false",
        "The default of topics' unclean.leader.election.enable. Only false is supported.",
    )
    .check(CLEAN_ONLY)
    .dynamic(),
];

/// A cluster's id is a UUID in Kafka's spelling.
fn check_cluster_id(text: &str) -> Result<(), String> {
    let parsed = parse_id(text).map(|_| ());
    parsed.ok_or_else(|| "must be a UUID in 22 letters of URL-safe base64, as kafka-storage makes them".to_owned())
}
