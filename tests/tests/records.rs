//! Records in and out of one broker through our own client: codecs, keys, headers, acknowledgements, offsets, waits.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "tests measure real time")]

use bytes::Bytes;
use esker_bench::batch::{Builder, Codec, Record};
use esker_bench::client::{At, Client, produce_request};
use esker_tests::harness::records::{Abilities, FIRST_TIMESTAMP, Line, assert_same, sample, with_offsets};
use esker_tests::harness::{Broker, Options};
use std::time::{Duration, Instant};

const ALL: Abilities = Abilities { null_headers: true };

fn one(value: &str) -> Bytes {
    let value = Some(Bytes::copy_from_slice(value.as_bytes()));
    Builder::new(Codec::None)
        .record(&Record { timestamp: FIRST_TIMESTAMP, value, ..Record::default() })
        .build()
        .unwrap()
}

async fn code<T: std::fmt::Debug>(call: impl Future<Output = Result<T, esker_bench::client::ClientError>>) -> i16 {
    let error = call.await.unwrap_err();
    error.code().unwrap_or_else(|| panic!("not an error of the broker's: {error}"))
}

async fn read_topic(client: &Client, topic: &str, partitions: i32) -> Vec<Line> {
    let mut found = Vec::new();
    for partition in 0..partitions {
        let (end, _) = client.offset(topic, partition, At::End).await.unwrap().unwrap();
        let records = client.read(topic, partition, 0, end).await.unwrap();
        found.extend(records.into_iter().map(|record| Line { partition, record }));
    }
    found
}

#[tokio::test]
async fn every_codec_comes_back_byte_for_byte() {
    let broker = Broker::start(Options::new()).await;
    let client = broker.client();
    let lines = sample(200, 2, ALL);
    for codec in Codec::ALL {
        let topic = format!("codec-{}", codec.name());
        client.create_topic(&topic, 2, &[]).await.unwrap();
        for partition in 0..2 {
            let of_partition: Vec<&Line> = lines.iter().filter(|line| line.partition == partition).collect();
            // The large value compresses to nothing smaller, so a batch holds few records.
            for chunk in of_partition.chunks(7) {
                let batch = chunk.iter().fold(Builder::new(codec), |batch, line| batch.record(&line.record));
                client.produce(&topic, partition, batch.build().unwrap()).await.unwrap();
            }
        }
        assert_same(codec.name(), &read_topic(&client, &topic, 2).await, &with_offsets(&lines));
    }
}

#[tokio::test]
async fn a_batch_that_was_sent_twice_is_there_once() {
    let broker = Broker::start(Options::new()).await;
    let client = broker.client();
    client.create_topic("once", 1, &[]).await.unwrap();
    let producer = client.init_producer().await.unwrap();
    let batch = |sequence: i32| {
        let record = Record { value: Some(Bytes::from(format!("{sequence}"))), ..Record::default() };
        Builder::new(Codec::None).producer(producer.id, producer.epoch, sequence).record(&record).build().unwrap()
    };
    for sequence in 0..7 {
        let first = client.produce("once", 0, batch(sequence)).await.unwrap();
        let again = client.produce("once", 0, batch(sequence)).await.unwrap();
        assert_eq!((first.base_offset, again.base_offset), (i64::from(sequence), i64::from(sequence)));
    }
    assert_eq!(code(client.produce("once", 0, batch(9))).await, 45, "OUT_OF_ORDER_SEQUENCE_NUMBER");
    // Older than the five batches that are remembered.
    let late = code(client.produce("once", 0, batch(0))).await;
    assert!(matches!(late, 45 | 46), "DUPLICATE_SEQUENCE_NUMBER or OUT_OF_ORDER_SEQUENCE_NUMBER, not {late}");
    assert_eq!(client.offset("once", 0, At::End).await.unwrap().unwrap().0, 7);
}

#[tokio::test]
async fn producers_survive_restarts() {
    let mut broker = Broker::start(Options::new()).await;
    let client = broker.client();
    client.create_topic("once", 1, &[]).await.unwrap();
    let producer = client.init_producer().await.unwrap();
    let batch = |sequence: i32| {
        let record = Record { value: Some(Bytes::from_static(b"v")), ..Record::default() };
        Builder::new(Codec::None).producer(producer.id, producer.epoch, sequence).record(&record).build().unwrap()
    };
    client.produce("once", 0, batch(0)).await.unwrap();
    client.produce("once", 0, batch(1)).await.unwrap();
    broker.kill();
    broker.restart().await;
    assert_eq!(client.produce_surely("once", 0, batch(1)).await.unwrap().base_offset, 1, "a duplicate, after a kill");
    assert_eq!(client.produce_surely("once", 0, batch(2)).await.unwrap().base_offset, 2);
    assert!(broker.terminate().await.success());
    broker.restart().await;
    assert_eq!(client.produce_surely("once", 0, batch(2)).await.unwrap().base_offset, 2, "a duplicate, after SIGTERM");
    assert_eq!(client.produce_surely("once", 0, batch(3)).await.unwrap().base_offset, 3);
    let other = client.init_producer().await.unwrap();
    assert_ne!(other.id, producer.id, "producer ids are never given out twice");
}

#[tokio::test]
async fn offsets_are_found_by_time() {
    let broker = Broker::start(Options::new()).await;
    let client = broker.client();
    client.create_topic("times", 1, &[]).await.unwrap();
    for i in 0..50_i64 {
        let mut batch = Builder::new(Codec::Zstd);
        for j in 0..10 {
            batch.push(FIRST_TIMESTAMP + i * 100 + j * 10, None, Some(&[b'x'; 500]), &[]);
        }
        client.produce("times", 0, batch.build().unwrap()).await.unwrap();
    }
    for (asked, offset) in [(0, 0), (1, 1), (4_990, 499), (2_345, 235), (2_340, 234)] {
        let found = client.offset("times", 0, At::Time(FIRST_TIMESTAMP + asked)).await.unwrap();
        assert_eq!(found, Some((offset, FIRST_TIMESTAMP + offset * 10)), "{asked} ms after the first");
    }
    assert_eq!(client.offset("times", 0, At::Time(FIRST_TIMESTAMP + 4_991)).await.unwrap(), None);
    assert_eq!(client.offset("times", 0, At::Start).await.unwrap().unwrap().0, 0);
    assert_eq!(client.offset("times", 0, At::End).await.unwrap().unwrap().0, 500);
    assert_eq!(client.offset("times", 0, At::MaxTimestamp).await.unwrap(), Some((499, FIRST_TIMESTAMP + 4_990)));
}

#[tokio::test]
async fn a_waiting_fetch_is_woken_by_a_record() {
    let broker = Broker::start(Options::new()).await;
    let client = broker.client();
    client.create_topic("wait", 1, &[]).await.unwrap();
    client.produce("wait", 0, one("first")).await.unwrap();
    let reader = broker.client();
    let fetch = tokio::spawn(async move {
        let started = Instant::now();
        let fetched = reader.fetch("wait", 0, 1, 20_000).await.unwrap();
        (started.elapsed(), fetched.batches.len())
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    client.produce("wait", 0, one("second")).await.unwrap();
    let (waited, bytes) = fetch.await.unwrap();
    assert!(bytes > 0, "woken for nothing");
    assert!(waited < Duration::from_secs(10), "waited {waited:?}");

    let started = Instant::now();
    assert!(client.fetch("wait", 0, 2, 300).await.unwrap().batches.is_empty());
    assert!(started.elapsed() >= Duration::from_millis(290), "answered before the wait was over");
}

#[tokio::test]
async fn every_acks_is_honoured() {
    let broker = Broker::start(Options::new()).await;
    let client = broker.client();
    client.create_topic("acks", 1, &[]).await.unwrap();
    assert_eq!(client.produce_with("acks", 0, one("all"), -1).await.unwrap().base_offset, 0);
    assert_eq!(client.produce_with("acks", 0, one("leader"), 1).await.unwrap().base_offset, 1);
    let connection = client.leader("acks", 0).await.unwrap();
    connection.send_unanswered(&produce_request("acks", 0, one("none"), 0)).await.unwrap();
    // On the same connection, so it is behind the unanswered one.
    assert_eq!(client.produce_with("acks", 0, one("after"), -1).await.unwrap().base_offset, 3);
    assert_eq!(code(client.produce_with("acks", 0, one("odd"), 7)).await, 21, "INVALID_REQUIRED_ACKS");
}

#[tokio::test]
async fn a_connection_carries_many_requests_in_order() {
    let broker = Broker::start(Options::new()).await;
    let client = broker.client();
    client.create_topic("pipe", 1, &[]).await.unwrap();
    let connection = client.leader("pipe", 0).await.unwrap();
    let mut pending = Vec::new();
    for i in 0..100 {
        pending.push(connection.send(&produce_request("pipe", 0, one(&i.to_string()), -1)).await.unwrap());
    }
    for (i, pending) in pending.into_iter().enumerate() {
        let produced = esker_bench::client::produced(&pending.answer().await.unwrap()).unwrap();
        assert_eq!(produced.base_offset, i as i64, "appended in the order of arrival");
    }
}

#[tokio::test]
async fn what_is_not_supported_is_refused_by_name() {
    let broker = Broker::start(Options::new()).await;
    let client = broker.client();
    client.create_topic("topic", 1, &[]).await.unwrap();
    assert_eq!(code(client.create_topic("topic", 1, &[])).await, 36, "TOPIC_ALREADY_EXISTS");
    assert_eq!(code(client.create_topic("no/good", 1, &[])).await, 17, "INVALID_TOPIC_EXCEPTION");
    assert_eq!(code(client.create_topic("other", 1, &[("no.such.key", "1")])).await, 40, "INVALID_CONFIG");
    assert_eq!(code(client.create_topic("other", 0, &[])).await, 37, "INVALID_PARTITIONS");
    assert_eq!(code(client.produce("none", 0, one("x"))).await, 3, "UNKNOWN_TOPIC_OR_PARTITION");
    assert_eq!(code(client.fetch("topic", 0, 5, 0)).await, 1, "OFFSET_OUT_OF_RANGE");
    let mut damaged = one("x").to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(code(client.produce("topic", 0, damaged.into())).await, 2, "CORRUPT_MESSAGE");
    assert_eq!(client.offset("topic", 0, At::End).await.unwrap().unwrap().0, 0, "nothing of it was appended");
}

#[tokio::test]
async fn a_topic_of_the_same_name_is_another_topic() {
    let broker = Broker::start(Options::new()).await;
    let client = broker.client();
    client.create_topic("again", 1, &[]).await.unwrap();
    client.produce("again", 0, one("old")).await.unwrap();
    let old = client.topics(Some("again")).await.unwrap()[0].id;
    client.delete_topic("again").await.unwrap();
    assert_eq!(client.topics(Some("again")).await.unwrap()[0].error, 3, "UNKNOWN_TOPIC_OR_PARTITION");
    client.create_topic("again", 1, &[]).await.unwrap();
    assert_ne!(client.topics(Some("again")).await.unwrap()[0].id, old);
    assert_eq!(client.offset("again", 0, At::End).await.unwrap().unwrap().0, 0);
}
