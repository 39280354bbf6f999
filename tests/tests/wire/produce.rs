//! Produce: what is appended, what is refused and with which code, and what the answer holds.

use crate::ask::{
    NONE, UNKNOWN_TOPIC_ID, UNKNOWN_TOPIC_OR_PARTITION, answered, changed, produce, produce_request, record, records,
    topic,
};
use bytes::Bytes;
use esker_bench::batch::{Builder, Codec};
use esker_bench::client::{At, Client, ClientError};
use esker_tests::harness::records::FIRST_TIMESTAMP;
use esker_tests::harness::{Broker, Options};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use std::time::{SystemTime, UNIX_EPOCH};
use uuid::Uuid;

const CORRUPT_MESSAGE: i16 = 2;
const MESSAGE_TOO_LARGE: i16 = 10;
const INVALID_TOPIC_EXCEPTION: i16 = 17;
const INVALID_REQUIRED_ACKS: i16 = 21;
const INVALID_TIMESTAMP: i16 = 32;
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
const INVALID_PRODUCER_EPOCH: i16 = 47;
const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: i16 = 53;
const UNSUPPORTED_COMPRESSION_TYPE: i16 = 76;
const INVALID_RECORD: i16 = 87;

const NOWHERE: Uuid = Uuid::from_u128(7);

fn idempotent(id: i64, epoch: i16, sequence: i32, count: usize) -> Bytes {
    let mut batch = Builder::new(Codec::None).producer(id, epoch, sequence);
    for _ in 0..count {
        batch.push(FIRST_TIMESTAMP, None, Some(b"value"), &[]);
    }
    batch.build().unwrap()
}

fn code_and_offset(answer: &PartitionProduceResponse) -> (i16, i64) {
    (answer.error_code, answer.base_offset)
}

#[tokio::test]
async fn batches_are_appended_or_refused_as_kafka_does() {
    let broker = Broker::start(Options::new()).await;
    let client = broker.client();
    every_version_appends(&client).await;
    refusals_have_their_codes(&client).await;
    batches_that_are_wrong_are_not_appended(&client).await;
    timestamps_are_checked_and_log_append_time_is_told(&client).await;
    without_acknowledgement_there_is_no_answer(&client).await;
    internal_topics_are_written_by_coordinators_alone(&client).await;
}

async fn every_version_appends(client: &Client) {
    let (connection, id) = topic(client, "every-version", 1, &[]).await;
    for (offset, version) in (3..=13).enumerate() {
        let answer = produce(&connection, version, ("every-version", id), 0, record("x")).await;
        assert_eq!(code_and_offset(&answer), (NONE, offset as i64), "version {version}");
        assert_eq!(answer.log_append_time_ms, -1);
        assert_eq!(answer.log_start_offset, if version >= 5 { 0 } else { -1 });
    }
    for version in 0..3 {
        let refused = client.own_connection("every-version", 0).await.unwrap();
        let request = produce_request(version, ("every-version", id), 0, Some(record("x")), -1);
        // The codec has no body for these any more; the frame of version 3 without its transactional id is one.
        if let Ok(pending) = refused.send_at(&request, version).await {
            assert!(matches!(pending.answer().await, Err(ClientError::Closed)), "version {version} is advertised only");
        }
    }
}

async fn refusals_have_their_codes(client: &Client) {
    let (connection, id) = topic(client, "refused", 2, &[]).await;
    let here = ("refused", id);
    assert_eq!(produce(&connection, 9, ("nowhere", id), 0, record("x")).await.error_code, UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(produce(&connection, 13, ("", NOWHERE), 0, record("x")).await.error_code, UNKNOWN_TOPIC_ID);
    for version in [9, 13] {
        for partition in [2, -1, i32::MAX] {
            let answer = produce(&connection, version, here, partition, record("x")).await;
            assert_eq!(code_and_offset(&answer), (UNKNOWN_TOPIC_OR_PARTITION, -1), "version {version}, {partition}");
        }
    }
    let odd = produce_request(9, here, 0, Some(record("x")), 2);
    assert_eq!(answered(&connection, 9, &odd).await.error_code, INVALID_REQUIRED_ACKS);
    let transactional =
        produce_request(9, here, 0, Some(record("x")), -1).with_transactional_id(Some(crate::ask::text("tx").into()));
    assert_eq!(answered(&connection, 9, &transactional).await.error_code, TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    let batch = changed(&idempotent(4000, 0, 0, 1), |bytes| bytes[22] |= 0x10);
    let refused = produce(&connection, 9, here, 0, batch).await;
    assert_eq!(refused.error_code, TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    assert_eq!(client.offset("refused", 0, At::End).await.unwrap().unwrap().0, 0, "nothing of all that is there");
}

async fn batches_that_are_wrong_are_not_appended(client: &Client) {
    let (connection, id) = topic(client, "wrong", 1, &[("max.message.bytes", "5000")]).await;
    let here = ("wrong", id);
    let two = [record("a"), record("b")].concat().into();
    let mut torn = record("x").to_vec();
    torn[60] ^= 1;
    let cases: Vec<(&str, Option<Bytes>, i16)> = vec![
        ("no records", None, INVALID_RECORD),
        ("empty records", Some(Bytes::new()), INVALID_RECORD),
        ("two batches", Some(two), INVALID_RECORD),
        ("a bad checksum", Some(torn.into()), CORRUPT_MESSAGE),
        ("too large", Some(records(10, 1000)), MESSAGE_TOO_LARGE),
        ("a control batch", Some(changed(&record("x"), |bytes| bytes[22] |= 0x20)), INVALID_RECORD),
        ("a count that lies", Some(changed(&record("x"), |bytes| bytes[60] = 2)), INVALID_RECORD),
        ("a last offset that lies", Some(changed(&record("x"), |bytes| bytes[26] = 3)), INVALID_RECORD),
        (
            "a producer without a sequence",
            Some(changed(&idempotent(1, 0, 0, 1), |b| b[53..57].fill(0xff))),
            INVALID_RECORD,
        ),
        ("log append time", Some(changed(&record("x"), |bytes| bytes[22] |= 0x08)), INVALID_TIMESTAMP),
    ];
    for (what, batch, code) in cases {
        for version in [3, 9, 13] {
            let answer = answered(&connection, version, &produce_request(version, here, 0, batch.clone(), -1)).await;
            assert_eq!(code_and_offset(&answer), (code, -1), "{what}, version {version}: {:?}", answer.error_message);
        }
    }
    let mut zstd = Builder::new(Codec::Zstd);
    zstd.push(FIRST_TIMESTAMP, None, Some(b"x"), &[]);
    let zstd = zstd.build().unwrap();
    assert_eq!(produce(&connection, 6, here, 0, zstd.clone()).await.error_code, UNSUPPORTED_COMPRESSION_TYPE);
    assert_eq!(code_and_offset(&produce(&connection, 7, here, 0, zstd).await), (NONE, 0));
}

async fn timestamps_are_checked_and_log_append_time_is_told(client: &Client) {
    let (connection, id) = topic(client, "late", 1, &[("message.timestamp.before.max.ms", "1000")]).await;
    let answer = produce(&connection, 9, ("late", id), 0, record("x")).await;
    assert_eq!((answer.error_code, answer.record_errors.len()), (INVALID_TIMESTAMP, 1));

    let (connection, id) = topic(client, "stamped", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let answer = produce(&connection, 9, ("stamped", id), 0, record("x")).await;
    let late = answer.log_append_time_ms - before;
    assert!((0..20_000).contains(&late), "log append time is {late} ms after the request");
    let fetched = client.fetch("stamped", 0, 0, 0).await.unwrap();
    assert_eq!(fetched.batches[22] & 0x08, 0x08, "the batch says so");
    assert_eq!(fetched.batches[35..43], answer.log_append_time_ms.to_be_bytes(), "max timestamp");
}

async fn without_acknowledgement_there_is_no_answer(client: &Client) {
    let (connection, id) = topic(client, "silent", 1, &[]).await;
    let here = ("silent", id);
    connection.send_unanswered(&produce_request(12, here, 0, Some(record("none")), 0)).await.unwrap();
    let leader = produce_request(12, here, 0, Some(record("leader")), 1);
    assert_eq!(code_and_offset(&answered(&connection, 12, &leader).await), (NONE, 1));
    connection.send_unanswered(&produce_request(12, here, 5, Some(record("refused")), 0)).await.unwrap();
    // There is no other way to tell.
    let next = connection.send_at(&leader, 12).await;
    let next = match next {
        Ok(pending) => pending.answer().await.map(|_| ()),
        Err(error) => Err(error),
    };
    assert!(matches!(next, Err(ClientError::Closed | ClientError::Io(_))), "{next:?}");
}

async fn internal_topics_are_written_by_coordinators_alone(client: &Client) {
    client.create_topic("__consumer_offsets", 1, &[]).await.unwrap();
    let id = client.topics(Some("__consumer_offsets")).await.unwrap()[0].id;
    let connection = client.any().await.unwrap();
    for version in [9, 13] {
        let answer = produce(&connection, version, ("__consumer_offsets", id), 0, record("x")).await;
        assert_eq!(answer.error_code, INVALID_TOPIC_EXCEPTION, "version {version}");
    }
}

#[tokio::test]
async fn idempotent_producers_have_their_batches_once_and_in_order() {
    let mut broker = Broker::start(Options::new()).await;
    let client = broker.client();
    let (connection, id) = topic(&client, "order", 1, &[]).await;
    let here = ("order", id);
    let producer = client.init_producer().await.unwrap();
    let send = async |epoch: i16, sequence: i32, count: usize| {
        let batch = idempotent(producer.id, epoch, sequence, count);
        code_and_offset(&produce(&connection, 12, here, 0, batch).await)
    };
    assert_eq!(send(0, 0, 3).await, (NONE, 0));
    assert_eq!(send(0, 3, 2).await, (NONE, 3));
    assert_eq!(send(0, 0, 3).await, (NONE, 0), "a duplicate");
    assert_eq!(send(0, 6, 1).await.0, OUT_OF_ORDER_SEQUENCE_NUMBER, "5 is missing");
    assert_eq!(send(0, 3, 1).await.0, OUT_OF_ORDER_SEQUENCE_NUMBER, "a part of a duplicate is none");
    assert_eq!(send(1, 5, 1).await.0, OUT_OF_ORDER_SEQUENCE_NUMBER, "a new epoch begins at 0");
    assert_eq!(send(1, 0, 1).await, (NONE, 5));
    assert_eq!(send(0, 5, 1).await.0, INVALID_PRODUCER_EPOCH);

    // Five in flight: each is checked in the order of arrival, before any is answered.
    let mut pending = Vec::new();
    for sequence in [1, 2, 3, 4, 5, 5, 1] {
        let batch = idempotent(producer.id, 1, sequence, 1);
        let request = produce_request(12, here, 0, Some(batch), -1);
        pending.push(connection.send_at(&request, 12).await.unwrap());
    }
    let mut offsets = Vec::new();
    for pending in pending {
        let answer = pending.answer().await.unwrap();
        offsets.push(code_and_offset(&answer.responses[0].partition_responses[0]));
    }
    assert_eq!(offsets, [6, 7, 8, 9, 10, 10, 6].map(|offset| (NONE, offset)));

    // A producer that nobody knows may be in the middle of its sequence, which goes round.
    let stranger = async |sequence: i32, count: usize| {
        code_and_offset(&produce(&connection, 12, here, 0, idempotent(999_999, 4, sequence, count)).await)
    };
    assert_eq!(stranger(i32::MAX - 1, 3).await, (NONE, 11));
    assert_eq!(stranger(1, 1).await, (NONE, 14));

    broker.kill();
    broker.restart().await;
    let connection = client.retry(|| client.own_connection("order", 0)).await.unwrap();
    let send = async |epoch: i16, sequence: i32| {
        code_and_offset(&produce(&connection, 12, here, 0, idempotent(producer.id, epoch, sequence, 1)).await)
    };
    assert_eq!(send(1, 5).await, (NONE, 10), "a duplicate, with the offset of the original");
    assert_eq!(send(1, 1).await, (NONE, 6), "all five are remembered");
    assert_eq!(send(1, 7).await.0, OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(send(0, 6).await.0, INVALID_PRODUCER_EPOCH);
    assert_eq!(send(1, 6).await, (NONE, 15));
}
