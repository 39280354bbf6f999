//! The keys of a topic, sorted by name: Kafka's, and `tail.max.*` of ours.
//!
//! Every topic key of Kafka 4.3, and what it means here. All can be changed while records come and go; what concerns how
//! a file is made holds from the next segment on, as in Kafka.
//!
//! | key | here |
//! | --- | --- |
//! | `cleanup.policy`, `delete.retention.ms`, `min.`/`max.compaction.lag.ms`, `min.cleanable.dirty.ratio` | compaction and retention |
//! | `compression.type`, `compression.*.level` | recompression at the append (`esker_protocol::record`), off the connection's thread |
//! | `file.delete.delay.ms` | how long dropped segments' files stay; 0 by default, since who reads a file keeps it mapped |
//! | `flush.messages`, `flush.ms` | with `log.durability=os`, when a log is synced, and that what exceeds the first is acknowledged after that; `fsync` never waits so long |
//! | `follower.`/`leader.replication.throttled.replicas` | only empty: there is no traffic between brokers to throttle |
//! | `index.interval.bytes`, `segment.index.bytes` | how fine a segment's index is, and its largest size, at which it gets coarser where Kafka seals the segment |
//! | `local.retention.*`, `remote.storage.enable` | the tier; on by default |
//! | `max.message.bytes`, `message.timestamp.*`, `min.insync.replicas` | checked at each produce |
//! | `preallocate` | a segment's file gets its whole size at once, not chunks that double |
//! | `remote.log.copy.disable` | nothing more is uploaded; what the tier has is read, and expires |
//! | `remote.log.delete.on.disable` | what the tier has goes once `remote.storage.enable` is false |
//! | `retention.*`, `segment.bytes`, `segment.ms`, `segment.jitter.ms` | as in Kafka |
//! | `unclean.leader.election.enable` | only `false`: a replica that lacks committed records never leads |
//! | `tail.max.bytes`, `tail.max.ms` | ours: how much may exist on brokers only |
//!
//! Refused like any unknown key, as Kafka 4 refuses them: `message.format.version`, `message.downconversion.enable` and
//! `message.timestamp.difference.max.ms`, which Kafka 4 dropped.

use super::key::{Check, Key, Kind, check_ratio};
use esker_protocol::record::{GZIP_DEFAULT, GZIP_LEVELS, LZ4_LEVELS, ZSTD_LEVELS};

const fn int(name: &'static str, default: &'static str, doc: &'static str) -> Key {
    Key::new(name, Kind::Int, Some(default), doc).dynamic()
}

const fn long(name: &'static str, default: &'static str, doc: &'static str) -> Key {
    Key::new(name, Kind::Long, Some(default), doc).dynamic()
}

const fn of(kind: Kind, name: &'static str, default: &'static str, doc: &'static str) -> Key {
    Key::new(name, kind, Some(default), doc).dynamic()
}

/// The values of `compression.type`.
pub(super) const COMPRESSION_TYPES: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
pub(super) const GZIP: Check = Check::By(gzip_level);
pub(super) const LZ4: Check = Check::Between(*LZ4_LEVELS.start() as i64, *LZ4_LEVELS.end() as i64);
pub(super) const ZSTD: Check = Check::Between(*ZSTD_LEVELS.start() as i64, *ZSTD_LEVELS.end() as i64);
pub(super) const CLEAN_ONLY: Check = Check::By(clean_only);

fn gzip_level(text: &str) -> Result<(), String> {
    let level: Option<i32> = text.parse().ok().filter(|level| *level == GZIP_DEFAULT || GZIP_LEVELS.contains(level));
    level.map(|_| ()).ok_or_else(|| "must be between 1 and 9, or -1".to_owned())
}

fn clean_only(text: &str) -> Result<(), String> {
    let refused = || "only false is supported: a replica that lacks committed records never leads".to_owned();
    text.eq_ignore_ascii_case("false").then_some(()).ok_or_else(refused)
}

fn no_throttle(text: &str) -> Result<(), String> {
    let refused = || "only an empty list is supported: nothing is throttled".to_owned();
    text.is_empty().then_some(()).ok_or_else(refused)
}

/// Every key of a topic.
pub static TOPIC_KEYS: &[Key] = &[
    of(
        Kind::List,
        "cleanup.policy",
        "delete",
        "What becomes of old records: 'delete' drops them by age and size, 'compact' keeps only the newest of each key. \
         A compacted topic demands keys.",
    )
    .check(Check::OneOf(&["compact", "delete"]))
    .falls_back_to(&[("log.cleanup.policy", 1)]),
    int("compression.gzip.level", "-1", "The level that gzip compresses with: 1 to 9, or -1 for zlib's default.")
        .check(GZIP)
        .falls_back_to(&[("compression.gzip.level", 1)]),
    int("compression.lz4.level", "9", "The level that lz4 compresses with, 1 to 17.")
        .check(LZ4)
        .falls_back_to(&[("compression.lz4.level", 1)]),
    of(
        Kind::String,
        "compression.type",
        "producer",
        "The codec that batches are stored with: 'gzip', 'snappy', 'lz4', 'zstd', 'uncompressed', or 'producer', which \
         leaves them as they came. A batch that came with another codec is compressed anew.",
    )
    .check(Check::OneOf(COMPRESSION_TYPES))
    .falls_back_to(&[("compression.type", 1)]),
    int("compression.zstd.level", "3", "The level that zstd compresses with, -131072 to 22.")
        .check(ZSTD)
        .falls_back_to(&[("compression.zstd.level", 1)]),
    long(
        "delete.retention.ms",
        "86400000",
        "Milliseconds that a compacted topic keeps a record without value (a tombstone) after it was first compacted.",
    )
    .check(Check::AtLeast(0))
    .falls_back_to(&[("log.cleaner.delete.retention.ms", 1)]),
    long(
        "file.delete.delay.ms",
        "0",
        "Milliseconds that the files of dropped segments stay on the disk. Readers need no delay: they keep what they read.",
    )
    .check(Check::AtLeast(0))
    .falls_back_to(&[("log.segment.delete.delay.ms", 1)]),
    long(
        "flush.messages",
        "9223372036854775807",
        "Records after which a partition is synced, and only then acknowledged, with log.durability=os; fsync syncs sooner.",
    )
    .check(Check::AtLeast(1))
    .falls_back_to(&[("log.flush.interval.messages", 1)]),
    long(
        "flush.ms",
        "9223372036854775807",
        "Milliseconds after which a partition is synced with log.durability=os, which does so every 10 s at the latest.",
    )
    .check(Check::AtLeast(0))
    .falls_back_to(&[("log.flush.interval.ms", 1), ("log.flush.scheduler.interval.ms", 1)]),
    of(
        Kind::List,
        "follower.replication.throttled.replicas",
        "",
        "Replicas whose replication is throttled at the follower. Only an empty list is supported.",
    )
    .check(Check::By(no_throttle)),
    int(
        "index.interval.bytes",
        "4096",
        "Bytes between two entries of a segment's index, as long as it has room for them.",
    )
    .check(Check::AtLeast(0))
    .falls_back_to(&[("log.index.interval.bytes", 1)]),
    of(
        Kind::List,
        "leader.replication.throttled.replicas",
        "",
        "Replicas whose replication is throttled at the leader. Only an empty list is supported.",
    )
    .check(Check::By(no_throttle)),
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
    of(Kind::Boolean, "preallocate", "false", "Whether a segment's file is allocated as a whole when it is made.")
        .falls_back_to(&[("log.preallocate", 1)]),
    of(
        Kind::Boolean,
        "remote.log.copy.disable",
        "false",
        "Whether nothing more is copied to the object store, while what is there is served, and expires.",
    ),
    of(
        Kind::Boolean,
        "remote.log.delete.on.disable",
        "false",
        "Whether what the object store has is deleted once remote.storage.enable is false; else it stays and is served.",
    ),
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
    int("segment.index.bytes", "10485760", "Bytes that a segment's index has at most; it gets coarser before.")
        .check(Check::AtLeast(4))
        .falls_back_to(&[("log.index.size.max.bytes", 1)]),
    long(
        "segment.jitter.ms",
        "0",
        "Milliseconds of which chance takes a part off segment.ms for each segment, so that not all are sealed at once.",
    )
    .check(Check::AtLeast(0))
    .falls_back_to(&[("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", 3_600_000)]),
    long("segment.ms", "604800000", "Milliseconds after which a segment is sealed even if it is not full.")
        .check(Check::AtLeast(1))
        .falls_back_to(&[("log.roll.ms", 1), ("log.roll.hours", 3_600_000)]),
    long("tail.max.bytes", "67108864", "Bytes of a partition that may exist on brokers only, before they are tiered.")
        .check(Check::AtLeast(1024))
        .falls_back_to(&[("tail.max.bytes", 1)]),
    long("tail.max.ms", "300000", "Milliseconds that records may exist on brokers only, before they are tiered.")
        .check(Check::AtLeast(100))
        .falls_back_to(&[("tail.max.ms", 1)]),
    of(
        Kind::Boolean,
        "unclean.leader.election.enable",
        "false",
        "Whether a replica that lacks committed records may lead when there is no other. Only false is supported.",
    )
    .check(CLEAN_ONLY)
    .falls_back_to(&[("unclean.leader.election.enable", 1)]),
];
