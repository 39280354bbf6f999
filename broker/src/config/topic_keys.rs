//! The keys of a topic, sorted by name: Kafka's, and `tail.max.*` of ours.

use super::key::{Check, Key, Kind, check_ratio};

const fn int(name: &'static str, default: &'static str, doc: &'static str) -> Key {
    Key::new(name, Kind::Int, Some(default), doc).dynamic()
}

const fn long(name: &'static str, default: &'static str, doc: &'static str) -> Key {
    Key::new(name, Kind::Long, Some(default), doc).dynamic()
}

const fn of(kind: Kind, name: &'static str, default: &'static str, doc: &'static str) -> Key {
    Key::new(name, kind, Some(default), doc).dynamic()
}

/// Every key of a topic.
pub static TOPIC_KEYS: &[Key] = &[
    of(
        Kind::List,
        "cleanup.policy",
        "delete",
        "What becomes of old records: 'delete' drops them by age and size, 'compact' keeps only the newest of each key. \
         A compacted topic demands keys, and is not tiered yet.",
    )
    .check(Check::OneOf(&["compact", "delete"]))
    .falls_back_to(&[("log.cleanup.policy", 1)]),
    of(
        Kind::String,
        "compression.type",
        "producer",
        "The codec that batches are stored with. Only 'producer', which leaves them as they came, is supported.",
    )
    .check(Check::OneOf(&["producer"]))
    .falls_back_to(&[("compression.type", 1)]),
    long(
        "delete.retention.ms",
        "86400000",
        "Milliseconds that a compacted topic keeps a record without value (a tombstone) after it was first compacted.",
    )
    .check(Check::AtLeast(0))
    .falls_back_to(&[("log.cleaner.delete.retention.ms", 1)]),
    long(
        "local.retention.bytes",
        "-2",
        "Bytes of tiered records that a broker keeps on its disk besides, per partition; -2 means retention.bytes, -1 \
         all.",
    )
    .check(Check::AtLeast(-2))
    .falls_back_to(&[("log.local.retention.bytes", 1)]),
    long(
        "local.retention.ms",
        "-2",
        "Milliseconds that tiered records stay on a broker's disk besides; -2 means retention.ms, -1 for ever.",
    )
    .check(Check::AtLeast(-2))
    .falls_back_to(&[("log.local.retention.ms", 1)]),
    long(
        "max.compaction.lag.ms",
        "9223372036854775807",
        "Milliseconds after which a record is compacted however little there is to compact.",
    )
    .check(Check::AtLeast(1))
    .falls_back_to(&[("log.cleaner.max.compaction.lag.ms", 1)]),
    int("max.message.bytes", "1048588", "The largest batch that is accepted, in bytes, after compression.")
        .check(Check::AtLeast(0))
        .falls_back_to(&[("message.max.bytes", 1)]),
    long(
        "message.timestamp.after.max.ms",
        "3600000",
        "Milliseconds that a record's own timestamp may lie ahead of the broker's clock.",
    )
    .check(Check::AtLeast(0))
    .falls_back_to(&[("log.message.timestamp.after.max.ms", 1)]),
    long(
        "message.timestamp.before.max.ms",
        "9223372036854775807",
        "Milliseconds that a record's own timestamp may lie behind the broker's clock.",
    )
    .check(Check::AtLeast(0))
    .falls_back_to(&[("log.message.timestamp.before.max.ms", 1)]),
    of(
        Kind::String,
        "message.timestamp.type",
        "CreateTime",
        "Whether a record carries its producer's time (CreateTime) or the broker's (LogAppendTime).",
    )
    .check(Check::OneOf(&["CreateTime", "LogAppendTime"]))
    .falls_back_to(&[("log.message.timestamp.type", 1)]),
    of(
        Kind::Double,
        "min.cleanable.dirty.ratio",
        "0.5",
        "The share of a log that must be new since it was last compacted, before it is compacted again.",
    )
    .check(Check::By(check_ratio))
    .falls_back_to(&[("log.cleaner.min.cleanable.ratio", 1)]),
    long("min.compaction.lag.ms", "0", "Milliseconds for which a record is not compacted away.")
        .check(Check::AtLeast(0))
        .falls_back_to(&[("log.cleaner.min.compaction.lag.ms", 1)]),
    int(
        "min.insync.replicas",
        "1",
        "In-sync replicas that must have a batch before a producer with acks=all is answered; with fewer it is refused.",
    )
    .check(Check::AtLeast(1))
    .falls_back_to(&[("min.insync.replicas", 1)]),
    of(
        Kind::Boolean,
        "remote.storage.enable",
        "true",
        "Whether sealed segments go to the object store, from which the whole history is served.",
    ),
    long("retention.bytes", "-1", "Bytes that a partition keeps in total, tiered ones included; -1 for no limit.")
        .check(Check::AtLeast(-1))
        .falls_back_to(&[("log.retention.bytes", 1)]),
    long("retention.ms", "604800000", "Milliseconds that records are kept in total; -1 for ever.")
        .check(Check::AtLeast(-1))
        .falls_back_to(&[
            ("log.retention.ms", 1),
            ("log.retention.minutes", 60_000),
            ("log.retention.hours", 3_600_000),
        ]),
    int("segment.bytes", "1073741824", "The size at which a segment is sealed.")
        .check(Check::AtLeast(1024))
        .falls_back_to(&[("log.segment.bytes", 1)]),
    long("segment.ms", "604800000", "Milliseconds after which a segment is sealed even if it is not full.")
        .check(Check::AtLeast(1))
        .falls_back_to(&[("log.roll.ms", 1), ("log.roll.hours", 3_600_000)]),
    long("tail.max.bytes", "67108864", "Bytes of a partition that may exist on brokers only, before they are tiered.")
        .check(Check::AtLeast(1024))
        .falls_back_to(&[("tail.max.bytes", 1)]),
    long("tail.max.ms", "300000", "Milliseconds that records may exist on brokers only, before they are tiered.")
        .check(Check::AtLeast(100))
        .falls_back_to(&[("tail.max.ms", 1)]),
];
