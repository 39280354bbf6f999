//! Records in: what is taken, and every way to be refused.

use crate::session::{Session, hex};
use bytes::Bytes;
use esker_bench::batch::{Builder, Codec};
use esker_tests::harness::records::{FIRST_TIMESTAMP, changed};
use serde_json::{Value as Json, json};

const UNKNOWN: &str = "id:6ba7b810-9dad-11d1-80b4-00c04fd430c8";

/// A batch of `count` records.
pub(crate) fn batch(count: usize, codec: Codec) -> Bytes {
    let mut builder = Builder::new(codec);
    for i in 0..count {
        builder.push(FIRST_TIMESTAMP + i as i64, Some(b"key"), Some(b"value"), &[]);
    }
    builder.build().unwrap()
}

/// A request for one partition, by name and by id.
pub(crate) fn request(topic: &str, id: &str, partition: i32, records: Json, acks: i16) -> Json {
    json!({"transactional_id": null, "acks": acks, "timeout_ms": 10_000, "topic_data": [{"name": topic, "topic_id": id,
        "partition_data": [{"index": partition, "records": records}]}]})
}

pub(crate) fn play(s: &mut Session) {
    let id = s.topic("in", 2, &[]);
    let one = |records: &[u8]| request("in", &id, 0, json!(hex(records)), -1);
    s.each("three records", "Produce", one(&batch(3, Codec::None)));
    s.each("with acks=1", "Produce", request("in", &id, 1, json!(hex(&batch(1, Codec::None))), 1));
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        s.each(&format!("{codec:?}"), "Produce", one(&batch(3, codec)));
    }
    s.each("unknown topic", "Produce", request("nobody", UNKNOWN, 0, json!(hex(&batch(1, Codec::None))), -1));
    s.each("unknown partition", "Produce", request("in", &id, 2, json!(hex(&batch(1, Codec::None))), -1));
    s.each("a partition below 0", "Produce", request("in", &id, -1, json!(hex(&batch(1, Codec::None))), -1));
    s.each("acks=2", "Produce", request("in", &id, 0, json!(hex(&batch(1, Codec::None))), 2));
    // Records that are null are not asked about: Kafka's handler fails on them, and nobody is answered.
    s.each("nothing", "Produce", one(&[]));
    s.each(
        "no topics",
        "Produce",
        json!({"transactional_id": null, "acks": -1, "timeout_ms": 10_000, "topic_data": []}),
    );
    s.each(
        "no partitions",
        "Produce",
        json!({"transactional_id": null, "acks": -1, "timeout_ms": 10_000,
        "topic_data": [{"name": "in", "topic_id": id}]}),
    );
    broken(s, &id);
    ruled(s);
    numbered(s);
}

fn broken(s: &mut Session, id: &str) {
    let whole = batch(3, Codec::None);
    let two = [&whole[..], &whole].concat();
    let mut wrong_crc = whole.to_vec();
    wrong_crc[18] ^= 1;
    let mut wrong_length = whole.to_vec();
    wrong_length[11] += 1;
    let broken: &[(&str, Vec<u8>)] = &[
        ("two batches", two),
        ("a wrong checksum", wrong_crc),
        ("a wrong length", wrong_length),
        ("half a batch", whole[..whole.len() / 2].to_vec()),
        ("half a header", whole[..30].to_vec()),
        ("a byte too many", [&whole[..], &[0]].concat()),
        ("magic 1", changed(&whole, |b| b[16] = 1).to_vec()),
        ("magic 3", changed(&whole, |b| b[16] = 3).to_vec()),
        ("a base offset", changed(&whole, |b| b[7] = 9).to_vec()),
        ("an unknown codec", changed(&whole, |b| b[22] = 5).to_vec()),
        ("a count too high", changed(&whole, |b| b[60] = 4).to_vec()),
        ("a count too low", changed(&whole, |b| b[60] = 2).to_vec()),
        ("no count", changed(&whole, |b| b[60] = 0).to_vec()),
        ("a last offset too high", changed(&whole, |b| b[26] = 7).to_vec()),
        ("a control batch", changed(&whole, |b| b[22] = 0x20).to_vec()),
        ("a transactional batch", changed(&whole, |b| b[22] = 0x10).to_vec()),
        ("log append time", changed(&whole, |b| b[22] = 0x08).to_vec()),
        ("a producer without sequence", changed(&whole, |b| b[43..51].copy_from_slice(&7_i64.to_be_bytes())).to_vec()),
        ("records that are none", changed(&whole, |b| b[61..].fill(0xff)).to_vec()),
    ];
    for (what, records) in broken {
        let request = request("in", id, 0, json!(hex(records)), -1);
        s.ask(what, "Produce", 7, request.clone());
        s.ask(what, "Produce", 13, request);
    }
}

/// Topics with rules of their own.
fn ruled(s: &mut Session) {
    let small = s.topic("small", 1, &[("max.message.bytes", "100")]);
    s.from("too large", "Produce", 7, request("small", &small, 0, json!(hex(&batch(10, Codec::None))), -1));
    let compacted = s.topic("compacted", 1, &[("cleanup.policy", "compact")]);
    let mut keyless = Builder::new(Codec::None);
    for i in 0..3 {
        keyless.push(FIRST_TIMESTAMP, (i != 1).then_some(b"k".as_slice()), Some(b"v"), &[]);
    }
    let keyless = keyless.build().unwrap();
    s.from("without key", "Produce", 7, request("compacted", &compacted, 0, json!(hex(&keyless)), -1));
    let stamped = s.topic("stamped", 1, &[("message.timestamp.type", "LogAppendTime")]);
    s.from("stamped", "Produce", 7, request("stamped", &stamped, 0, json!(hex(&batch(2, Codec::None))), -1));
    let timed =
        s.topic("timed", 1, &[("message.timestamp.before.max.ms", "1000"), ("message.timestamp.after.max.ms", "1000")]);
    s.from("too old", "Produce", 7, request("timed", &timed, 0, json!(hex(&batch(2, Codec::None))), -1));
    let mut future = Builder::new(Codec::None);
    future.push(i64::MAX / 4, None, Some(b"v"), &[]);
    let future = future.build().unwrap();
    s.from("too new", "Produce", 7, request("timed", &timed, 0, json!(hex(&future)), -1));
    let mut negative = Builder::new(Codec::None);
    negative.push(-1, None, Some(b"v"), &[]);
    let negative = negative.build().unwrap();
    s.from("without time", "Produce", 7, request("in", UNKNOWN, 1, json!(hex(&negative)), -1));
    let recompressed = s.topic("recompressed", 1, &[("compression.type", "gzip")]);
    s.ask(
        "recompressed",
        "Produce",
        9,
        request("recompressed", &recompressed, 0, json!(hex(&batch(2, Codec::Lz4))), -1),
    );
    let wanted = s.topic("wanted", 1, &[("min.insync.replicas", "2")]);
    s.each("too few replicas", "Produce", request("wanted", &wanted, 0, json!(hex(&batch(1, Codec::None))), -1));
    s.ask(
        "too few replicas, acks=1",
        "Produce",
        9,
        request("wanted", &wanted, 0, json!(hex(&batch(1, Codec::None))), 1),
    );
    // No answer to acks=0, and none to what is wrong with it, but the end of the connection.
    s.on("silent").send("Produce", 9, &request("in", UNKNOWN, 0, json!(hex(&batch(1, Codec::None))), 0));
    s.hear_nothing("acks=0", "Produce", 9);
    s.send("Produce", 9, &request("nobody", UNKNOWN, 0, json!(hex(&batch(1, Codec::None))), 0));
    s.hear_end("acks=0 for an unknown topic");
    s.on("");
}

/// Producers with sequence numbers.
fn numbered(s: &mut Session) {
    // Kafka has to be given the first block of ids.
    while s.quietly("InitProducerId", 2, json!({"transactional_id": null, "transaction_timeout_ms": 60_000}))["error_code"]
        != 0
    {
        s.settle();
    }
    s.each(
        "a producer id",
        "InitProducerId",
        json!({"transactional_id": null, "transaction_timeout_ms": 60_000,
        "producer_id": -1, "producer_epoch": -1}),
    );
    s.from(
        "another for the same",
        "InitProducerId",
        3,
        json!({"transactional_id": null, "producer_id": 5,
        "producer_epoch": 3, "transaction_timeout_ms": 60_000}),
    );
    s.from(
        "half of one",
        "InitProducerId",
        3,
        json!({"transactional_id": null, "producer_id": 5, "producer_epoch": -1,
        "transaction_timeout_ms": 60_000}),
    );
    s.each(
        "no transactional id",
        "InitProducerId",
        json!({"transactional_id": "", "producer_id": -1,
        "producer_epoch": -1, "transaction_timeout_ms": 60_000}),
    );
    let id = s.topic("numbered", 1, &[]);
    let numbered = |producer: i64, epoch: i16, sequence: i32, count: usize| {
        let records = changed(&batch(count, Codec::None), |b| {
            b[43..51].copy_from_slice(&producer.to_be_bytes());
            b[51..53].copy_from_slice(&epoch.to_be_bytes());
            b[53..57].copy_from_slice(&sequence.to_be_bytes());
        });
        request("numbered", &id, 0, json!(hex(&records)), -1)
    };
    for (what, producer, epoch, sequence, count) in [
        ("the first", 9000, 0, 0, 3),
        ("the same again", 9000, 0, 0, 3),
        ("the second", 9000, 0, 3, 2),
        ("a gap", 9000, 0, 7, 1),
        ("part of the second", 9000, 0, 4, 1),
        ("the third", 9000, 0, 5, 1),
        ("the fourth", 9000, 0, 6, 1),
        ("the fifth", 9000, 0, 7, 1),
        ("the sixth", 9000, 0, 8, 1),
        ("the second again", 9000, 0, 3, 2),
        ("the first again", 9000, 0, 0, 3),
        ("a new epoch in the middle", 9000, 1, 9, 1),
        ("a new epoch", 9000, 1, 0, 1),
        ("the old epoch", 9000, 0, 9, 1),
        ("an unknown one in the middle", 9001, 0, 77, 1),
        ("an unknown one with a high epoch", 9002, 5, 0, 1),
        ("a wrap", 9003, 0, i32::MAX, 2),
        ("after the wrap", 9003, 0, 1, 1),
    ] {
        s.ask(what, "Produce", 9, numbered(producer, epoch, sequence, count));
    }
}
