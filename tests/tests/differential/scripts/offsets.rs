//! Offsets of records: by time, by epoch, by name; records deleted; producers; directories.

use super::produce::{batch, request};
use crate::session::{Session, hex};
use esker_bench::batch::Codec;
use esker_tests::harness::records::FIRST_TIMESTAMP;
use serde_json::{Value as Json, json};

fn list(topic: &str, partition: Json) -> Json {
    json!({"replica_id": -1, "timeout_ms": 5000, "topics": [{"name": topic, "partitions": [partition]}]})
}

pub(crate) fn play(s: &mut Session) {
    // Kafka has no tier here.
    s.topic("listed", 2, &[("remote.storage.enable", "false")]);
    let records = json!(hex(&batch(3, Codec::None)));
    s.quietly("Produce", 9, request("listed", "id:6ba7b810-9dad-11d1-80b4-00c04fd430c8", 0, records.clone(), -1));
    s.quietly("Produce", 9, request("listed", "id:6ba7b810-9dad-11d1-80b4-00c04fd430c8", 0, records, -1));
    let at = |index: i32, timestamp: i64| {
        list("listed", json!({"partition_index": index, "current_leader_epoch": -1, "timestamp": timestamp}))
    };
    for timestamp in [-1, -2, -3, -4, -5, -6, -7, i64::MIN] {
        s.each(&format!("timestamp {timestamp}"), "ListOffsets", at(0, timestamp));
        s.each(&format!("timestamp {timestamp}, empty"), "ListOffsets", at(1, timestamp));
    }
    for timestamp in [0, FIRST_TIMESTAMP, FIRST_TIMESTAMP + 1, FIRST_TIMESTAMP + 2, FIRST_TIMESTAMP + 3, i64::MAX] {
        s.each(&format!("timestamp {timestamp}"), "ListOffsets", at(0, timestamp));
    }
    s.each("unknown partition", "ListOffsets", at(2, -1));
    s.each("a partition below 0", "ListOffsets", at(-1, -1));
    s.each(
        "unknown topic",
        "ListOffsets",
        list(
            "nobody",
            json!({"partition_index": 0, "timestamp": -1,
        "current_leader_epoch": -1}),
        ),
    );
    s.each("nothing", "ListOffsets", json!({"replica_id": -1, "topics": []}));
    for epoch in [0, 1, -2] {
        s.from(
            &format!("epoch {epoch}"),
            "ListOffsets",
            4,
            list(
                "listed",
                json!({"partition_index": 0, "timestamp": -1,
            "current_leader_epoch": epoch}),
            ),
        );
    }
    let mut committed = at(0, -1);
    committed["isolation_level"] = json!(1);
    s.from("committed", "ListOffsets", 2, committed);
    let twice = json!({"replica_id": -1, "topics": [{"name": "listed", "partitions": [
        {"partition_index": 0, "timestamp": -1, "current_leader_epoch": -1},
        {"partition_index": 0, "timestamp": -2, "current_leader_epoch": -1},
        {"partition_index": 1, "timestamp": -2, "current_leader_epoch": -1},
    ]}]});
    s.each("one twice", "ListOffsets", twice);
    epochs(s);
    producers(s);
    deletes(s);
    directories(s);
}

fn epochs(s: &mut Session) {
    let of = |topic: &str, index: i32, current: i32, epoch: i32| {
        json!({"replica_id": -1, "topics": [{"topic": topic, "partitions": [
            {"partition": index, "current_leader_epoch": current, "leader_epoch": epoch}]}]})
    };
    for (topic, index, current, epoch) in [
        ("listed", 0, -1, 0),
        ("listed", 0, 0, 0),
        ("listed", 0, -1, 1),
        ("listed", 0, -1, -1),
        ("listed", 0, 1, 0),
        ("listed", 1, -1, 0),
        ("listed", 2, -1, 0),
        ("nobody", 0, -1, 0),
        ("listed", 0, -2, 0),
        ("listed", 0, -1, -2),
    ] {
        let what = format!("{topic} {index} {current} {epoch}");
        s.each(&what, "OffsetForLeaderEpoch", of(topic, index, current, epoch));
    }
    s.each("nothing", "OffsetForLeaderEpoch", json!({"replica_id": -1, "topics": []}));
}

fn producers(s: &mut Session) {
    for (topic, indexes) in [
        ("numbered", json!([0])),
        ("numbered", json!([1])),
        ("listed", json!([0, 1])),
        ("nobody", json!([0])),
        ("listed", json!([])),
        ("listed", json!([0, 0])),
        ("a b", json!([0])),
    ] {
        s.ask(
            &format!("{topic} {indexes}"),
            "DescribeProducers",
            0,
            json!({"topics": [{"name": topic,
            "partition_indexes": indexes}]}),
        );
    }
    s.ask("none", "DescribeProducers", 0, json!({"topics": []}));
}

fn deletes(s: &mut Session) {
    let before = |topic: &str, index: i32, offset: i64| {
        json!({"timeout_ms": 10_000, "topics": [{"name": topic, "partitions": [
            {"partition_index": index, "offset": offset}]}]})
    };
    for (topic, index, offset) in [
        ("listed", 0, 0),
        ("listed", 0, 2),
        ("listed", 0, 1),
        ("listed", 0, 7),
        ("listed", 0, -2),
        ("listed", 1, 0),
        ("listed", 1, -1),
        ("listed", 2, 0),
        ("nobody", 0, 0),
        ("listed", 0, -1),
        ("compacted", 0, 0),
    ] {
        s.each(&format!("{topic} {index} before {offset}"), "DeleteRecords", before(topic, index, offset));
    }
    s.each("nothing", "DeleteRecords", json!({"timeout_ms": 10_000, "topics": []}));
    s.ask(
        "all are gone",
        "ListOffsets",
        7,
        list(
            "listed",
            json!({"partition_index": 0, "current_leader_epoch": -1,
        "timestamp": -2}),
        ),
    );
    s.ask(
        "from below the start",
        "Fetch",
        12,
        json!({"replica_id": -1, "min_bytes": 0, "max_bytes": 1 << 20,
        "session_epoch": -1, "topics": [{"topic": "listed", "partitions": [{"partition": 0, "fetch_offset": 1,
            "partition_max_bytes": 1 << 20, "current_leader_epoch": -1, "last_fetched_epoch": -1,
            "log_start_offset": -1}]}]}),
    );
}

fn directories(s: &mut Session) {
    for topics in [
        json!([{"topic": "listed", "partitions": [0, 1]}]),
        json!([{"topic": "listed", "partitions": [1]}, {"topic": "out", "partitions": [0]}]),
        json!([{"topic": "listed", "partitions": [7]}]),
        json!([{"topic": "nobody", "partitions": [0]}]),
        json!([]),
    ] {
        s.each(&topics.to_string(), "DescribeLogDirs", json!({"topics": topics}));
    }
}
