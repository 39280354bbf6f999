//! ListOffsets and OffsetForLeaderEpoch.

use crate::ask::{
    CLUSTER_AUTHORIZATION_FAILED, FENCED_LEADER_EPOCH, NONE, UNKNOWN_LEADER_EPOCH, UNKNOWN_TOPIC_OR_PARTITION,
    UNSUPPORTED_VERSION, end_of_epoch, list, list_at, name, produce, record, topic,
};
use bytes::Bytes;
use esker_bench::batch::{Builder, Codec};
use esker_bench::client::Client;
use esker_tests::harness::records::FIRST_TIMESTAMP;
use esker_tests::harness::{Broker, Options};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::{ListOffsetsRequest, OffsetForLeaderEpochRequest};

const EARLIEST: i64 = -2;
const LATEST: i64 = -1;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

fn stamped(codec: Codec, timestamps: &[i64]) -> Bytes {
    let mut batch = Builder::new(codec);
    for timestamp in timestamps {
        batch.push(FIRST_TIMESTAMP + timestamp, None, Some(&[b'v'; 100]), &[]);
    }
    batch.build().unwrap()
}

#[tokio::test]
async fn offsets_are_listed_as_kafka_does() {
    let broker = Broker::start(Options::new()).await;
    let client = broker.client();
    special_timestamps_by_version(&client).await;
    records_are_found_within_batches(&client).await;
    log_append_time_is_every_records_time(&client).await;
    what_is_wrong_has_its_code(&client).await;
}

async fn special_timestamps_by_version(client: &Client) {
    let (connection, id) = topic(client, "special", 1, &[]).await;
    let epoch = client.topics(Some("special")).await.unwrap()[0].partitions[0].1;
    for version in 1..=10 {
        let known = if version >= 4 { epoch } else { -1 };
        assert_eq!(list_at(&connection, version, "special", EARLIEST).await, (NONE, 0, -1, known), "{version}, empty");
        assert_eq!(list_at(&connection, version, "special", LATEST).await, (NONE, 0, -1, known), "{version}, empty");
        assert_eq!(list_at(&connection, version, "special", 0).await, (NONE, -1, -1, -1), "{version}, empty");
    }
    assert_eq!(list_at(&connection, 10, "special", MAX_TIMESTAMP).await, (NONE, -1, -1, -1));
    produce(&connection, 9, ("special", id), 0, stamped(Codec::None, &[10, 50, 30])).await;
    for version in 1..=10 {
        let known = if version >= 4 { epoch } else { -1 };
        let since = |first: i16, found: (i16, i64, i64, i32)| {
            if version >= first { found } else { (UNSUPPORTED_VERSION, -1, -1, -1) }
        };
        let expected = [
            (EARLIEST, (NONE, 0, -1, known)),
            (LATEST, (NONE, 3, -1, known)),
            (MAX_TIMESTAMP, since(7, (NONE, 1, FIRST_TIMESTAMP + 50, known))),
            (EARLIEST_LOCAL, since(8, (NONE, 0, -1, known))),
            (LATEST_TIERED, since(9, (NONE, -1, -1, -1))),
            (-6, (UNSUPPORTED_VERSION, -1, -1, -1)),
            (i64::MIN, (UNSUPPORTED_VERSION, -1, -1, -1)),
        ];
        for (timestamp, expected) in expected {
            let found = list_at(&connection, version, "special", timestamp).await;
            assert_eq!(found, expected, "{timestamp} in version {version}");
        }
        let committed = ListOffsetsPartition::default().with_timestamp(LATEST);
        assert_eq!(list(&connection, version, "special", committed, 1).await, (NONE, 3, -1, known));
    }
}

async fn records_are_found_within_batches(client: &Client) {
    for codec in Codec::ALL {
        let topic_name = format!("times-{}", codec.name());
        let (connection, id) = topic(client, &topic_name, 1, &[]).await;
        // The second batch is older than the first, and neither is in order.
        for timestamps in [[100, 300, 200], [50, 60, 70], [400, 250, 500]] {
            produce(&connection, 9, (&topic_name, id), 0, stamped(codec, &timestamps)).await;
        }
        for (asked, offset, timestamp) in [(0, 0, 100), (101, 1, 300), (300, 1, 300), (301, 6, 400), (401, 8, 500)] {
            let (error, found, at, _) = list_at(&connection, 7, &topic_name, FIRST_TIMESTAMP + asked).await;
            assert_eq!((error, found, at), (NONE, offset, FIRST_TIMESTAMP + timestamp), "{asked}, {}", codec.name());
        }
        let (error, found, at, _) = list_at(&connection, 7, &topic_name, FIRST_TIMESTAMP + 501).await;
        assert_eq!((error, found, at), (NONE, -1, -1), "later than all");
        let (_, found, at, _) = list_at(&connection, 7, &topic_name, MAX_TIMESTAMP).await;
        assert_eq!((found, at), (8, FIRST_TIMESTAMP + 500));
    }
}

async fn log_append_time_is_every_records_time(client: &Client) {
    let (connection, id) = topic(client, "appended", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let here = ("appended", id);
    let first = produce(&connection, 9, here, 0, stamped(Codec::Lz4, &[0, 5, 9])).await.log_append_time_ms;
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let second = produce(&connection, 9, here, 0, stamped(Codec::Lz4, &[0, 5, 9])).await.log_append_time_ms;
    assert!(second > first);
    for (asked, offset, timestamp) in [(0, 0, first), (first, 0, first), (first + 1, 3, second), (second, 3, second)] {
        let (error, found, at, _) = list_at(&connection, 7, "appended", asked).await;
        assert_eq!((error, found, at), (NONE, offset, timestamp));
    }
    assert_eq!(list_at(&connection, 7, "appended", second + 1).await.1, -1);
    let (_, found, at, _) = list_at(&connection, 7, "appended", MAX_TIMESTAMP).await;
    assert_eq!((found, at), (3, second), "the first record of the last batch");
}

async fn what_is_wrong_has_its_code(client: &Client) {
    let (connection, _) = topic(client, "listed", 1, &[]).await;
    let epoch = client.topics(Some("listed")).await.unwrap()[0].partitions[0].1;
    assert_eq!(list_at(&connection, 7, "nowhere", LATEST).await, (UNKNOWN_TOPIC_OR_PARTITION, -1, -1, -1));
    let second = ListOffsetsPartition::default().with_partition_index(1).with_timestamp(LATEST);
    assert_eq!(list(&connection, 7, "listed", second, 0).await.0, UNKNOWN_TOPIC_OR_PARTITION);
    let known = |epoch| ListOffsetsPartition::default().with_timestamp(LATEST).with_current_leader_epoch(epoch);
    assert_eq!(list(&connection, 7, "listed", known(epoch), 0).await.0, NONE);
    assert_eq!(list(&connection, 7, "listed", known(epoch + 1), 0).await.0, UNKNOWN_LEADER_EPOCH);
    let topic = ListOffsetsTopic::default()
        .with_name(name("listed"))
        .with_partitions(vec![ListOffsetsPartition::default().with_timestamp(LATEST)]);
    let replica = ListOffsetsRequest::default().with_replica_id(1.into()).with_topics(vec![topic]);
    let answer = connection.send_at(&replica, 7).await.unwrap().answer().await.unwrap();
    assert_eq!(answer.topics[0].partitions[0].error_code, CLUSTER_AUTHORIZATION_FAILED);
}

#[tokio::test]
async fn leader_epochs_rise_with_every_start_and_end_where_the_next_began() {
    let mut broker = Broker::start(Options::new()).await;
    let client = broker.client();
    let (connection, id) = topic(&client, "epochs", 1, &[]).await;
    produce(&connection, 9, ("epochs", id), 0, record("a")).await;
    let first = client.topics(Some("epochs")).await.unwrap()[0].partitions[0].1;
    assert!(broker.terminate().await.success());
    broker.restart().await;
    let connection = client.retry(|| client.own_connection("epochs", 0)).await.unwrap();
    let second = client.retry(|| client.topics(Some("epochs"))).await.unwrap()[0].partitions[0].1;
    assert!(second > first, "{first} before, {second} after");
    for value in ["b", "c"] {
        produce(&connection, 9, ("epochs", id), 0, record(value)).await;
    }
    broker.kill();
    broker.restart().await;
    let connection = client.retry(|| client.own_connection("epochs", 0)).await.unwrap();
    let third = client.retry(|| client.topics(Some("epochs"))).await.unwrap()[0].partitions[0].1;
    assert!(third > second);

    let asked = |epoch: i32| OffsetForLeaderPartition::default().with_current_leader_epoch(-1).with_leader_epoch(epoch);
    assert_eq!(end_of_epoch(&connection, "epochs", asked(first)).await, (NONE, first, 1));
    assert_eq!(end_of_epoch(&connection, "epochs", asked(second)).await, (NONE, second, 3));
    assert_eq!(end_of_epoch(&connection, "epochs", asked(third)).await, (NONE, third, 3), "the log end");
    assert_eq!(end_of_epoch(&connection, "epochs", asked(third + 1)).await, (NONE, -1, -1), "above all");
    assert_eq!(end_of_epoch(&connection, "epochs", asked(-1)).await, (NONE, -1, -1), "undefined");
    if first > 0 {
        assert_eq!(end_of_epoch(&connection, "epochs", asked(first - 1)).await, (NONE, first - 1, 0), "below all");
    }
    let current = |epoch: i32| asked(third).with_current_leader_epoch(epoch);
    assert_eq!(end_of_epoch(&connection, "epochs", current(third)).await.0, NONE);
    assert_eq!(end_of_epoch(&connection, "epochs", current(second)).await.0, FENCED_LEADER_EPOCH);
    assert_eq!(end_of_epoch(&connection, "epochs", current(third + 1)).await.0, UNKNOWN_LEADER_EPOCH);
    assert_eq!(end_of_epoch(&connection, "nowhere", asked(first)).await.0, UNKNOWN_TOPIC_OR_PARTITION);
    let fetched = client.read("epochs", 0, 0, 3).await.unwrap();
    assert_eq!(fetched.len(), 3);
    let replica = OffsetForLeaderEpochRequest::default().with_replica_id(2.into()).with_topics(vec![
        kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderTopic::default()
            .with_topic(name("epochs"))
            .with_partitions(vec![asked(first)]),
    ]);
    let answer = connection.send_at(&replica, 4).await.unwrap().answer().await.unwrap();
    assert_eq!(answer.topics[0].partitions[0].error_code, CLUSTER_AUTHORIZATION_FAILED);
    // What a record's epoch is found by is told with it.
    let (_, offset, _, epoch) = list_at(&connection, 7, "epochs", FIRST_TIMESTAMP).await;
    assert_eq!((offset, epoch), (0, first));
    assert_eq!(list_at(&connection, 7, "epochs", EARLIEST).await.3, first);
    assert_eq!(list_at(&connection, 7, "epochs", LATEST).await.3, third);
}
