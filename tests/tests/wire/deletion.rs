//! DeleteRecords: where a log starts afterwards, over crashes, lost disks and the border to the tier.

use crate::ask::{
    Fetch, NONE, OFFSET_OUT_OF_RANGE, UNKNOWN_TOPIC_OR_PARTITION, list_at, name, offsets, produce, record, records,
    topic,
};
use esker_bench::client::{At, Client, Connection};
use esker_tests::harness::{Broker, Fault, Options, S3, wait_for};
use kafka_protocol::messages::DeleteRecordsRequest;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use std::time::Duration;

const REQUEST_TIMED_OUT: i16 = 7;
const INVALID_TOPIC_EXCEPTION: i16 = 17;
const POLICY_VIOLATION: i16 = 44;
const EARLIEST: i64 = -2;
const EARLIEST_LOCAL: i64 = -4;
const PATIENCE: Duration = Duration::from_secs(60);

fn request(topic: &str, partitions: &[(i32, i64)], timeout: i32) -> DeleteRecordsRequest {
    let partition = |(index, offset): &(i32, i64)| {
        DeleteRecordsPartition::default().with_partition_index(*index).with_offset(*offset)
    };
    let topic = DeleteRecordsTopic::default()
        .with_name(name(topic))
        .with_partitions(partitions.iter().map(partition).collect());
    DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(timeout)
}

/// Error code and low watermark of each partition, in the order of the answer.
async fn delete(connection: &Connection, version: i16, topic: &str, partitions: &[(i32, i64)]) -> Vec<(i16, i64)> {
    delete_within(connection, version, topic, partitions, 30_000).await
}

async fn delete_within(
    connection: &Connection,
    version: i16,
    topic: &str,
    partitions: &[(i32, i64)],
    timeout: i32,
) -> Vec<(i16, i64)> {
    let request = request(topic, partitions, timeout);
    let answer = connection.send_at(&request, version).await.unwrap().answer().await.unwrap();
    assert_eq!(answer.topics.len(), 1);
    assert_eq!(answer.topics[0].name, name(topic));
    let answers = &answer.topics[0].partitions;
    assert!(
        answers.iter().map(|p| p.partition_index).eq(partitions.iter().map(|p| p.0)),
        "in the order of the request"
    );
    answers.iter().map(|p| (p.error_code, p.low_watermark)).collect()
}

#[tokio::test]
async fn records_before_an_offset_go_for_good() {
    let mut broker = Broker::start(Options::new()).await;
    let client = broker.client();
    let (connection, id) = topic(&client, "purged", 3, &[("remote.storage.enable", "false")]).await;
    let here = ("purged", id);
    for partition in 0..3 {
        for _ in 0..5 {
            assert_eq!(produce(&connection, 9, here, partition, records(4, 50)).await.error_code, NONE);
        }
    }
    // In the middle of a batch, everything, and nothing.
    assert_eq!(delete(&connection, 0, "purged", &[(0, 6), (1, -1), (2, 0)]).await, [(NONE, 6), (NONE, 20), (NONE, 0)]);
    assert_eq!(list_at(&connection, 7, "purged", EARLIEST).await.1, 6);
    let early = Fetch::new(12).of(here, 0, 5).one(&connection).await;
    assert_eq!((early.error_code, early.log_start_offset), (OFFSET_OUT_OF_RANGE, 6));
    let found = Fetch::new(12).of(here, 0, 6).one(&connection).await;
    assert_eq!((found.error_code, found.log_start_offset), (NONE, 6));
    assert_eq!(offsets(&found)[0], 4, "a batch is sent whole");
    assert_eq!(offsets(&found).last(), Some(&19));
    let empty = Fetch::new(12).of(here, 1, 20).one(&connection).await;
    assert_eq!((empty.error_code, empty.high_watermark, empty.log_start_offset), (NONE, 20, 20));

    // Again, and below: as if it had been done. Beyond what is committed: no.
    for version in 0..=2 {
        assert_eq!(delete(&connection, version, "purged", &[(0, 6), (1, 3)]).await, [(NONE, 6), (NONE, 20)]);
        assert_eq!(
            delete(&connection, version, "purged", &[(0, 21), (0, -2), (9, 0), (2, 1)]).await,
            [(OFFSET_OUT_OF_RANGE, -1), (OFFSET_OUT_OF_RANGE, -1), (UNKNOWN_TOPIC_OR_PARTITION, -1), (NONE, 1)]
        );
    }
    assert_eq!(delete(&connection, 2, "nowhere", &[(0, 0)]).await, [(UNKNOWN_TOPIC_OR_PARTITION, -1)]);
    refusals_by_policy(&client).await;

    broker.kill();
    broker.restart().await;
    let connection = client.retry(|| client.own_connection("purged", 0)).await.unwrap();
    assert_eq!(list_at(&connection, 7, "purged", EARLIEST).await.1, 6, "what was answered survives a kill");
    assert_eq!(Fetch::new(12).of(here, 1, 19).one(&connection).await.error_code, OFFSET_OUT_OF_RANGE);
    assert_eq!(produce(&connection, 9, here, 1, record("x")).await.base_offset, 20);
    assert_eq!(offsets(&Fetch::new(12).of(here, 1, 20).one(&connection).await), [20]);
}

async fn refusals_by_policy(client: &Client) {
    let (connection, _) = topic(client, "kept", 1, &[("cleanup.policy", "compact")]).await;
    assert_eq!(delete(&connection, 2, "kept", &[(0, 0)]).await, [(POLICY_VIOLATION, -1)]);
    let (connection, _) = topic(client, "both", 1, &[("cleanup.policy", "compact,delete")]).await;
    assert_eq!(delete(&connection, 2, "both", &[(0, -1)]).await, [(NONE, 0)]);
    client.create_topic("__consumer_offsets", 1, &[]).await.unwrap();
    assert_eq!(delete(&connection, 2, "__consumer_offsets", &[(0, 0)]).await, [(INVALID_TOPIC_EXCEPTION, -1)]);
}

#[tokio::test]
async fn records_in_the_tier_go_for_good_too() {
    let s3 = S3::start();
    let mut broker = Broker::start(s3.serve(Options::new()).eager_tier()).await;
    broker.announce("store");
    let client = broker.client();
    let configs = [("segment.bytes", "16384"), ("local.retention.bytes", "16384"), ("retention.ms", "-1")];
    let (connection, id) = topic(&client, "old", 1, &configs).await;
    let here = ("old", id);
    for _ in 0..60 {
        assert_eq!(produce(&connection, 9, here, 0, records(5, 400)).await.error_code, NONE);
    }
    let local_start = wait_for("local copies to go", PATIENCE, || async {
        let start = list_at(&connection, 8, "old", EARLIEST_LOCAL).await.1;
        (start > 150).then_some(start)
    })
    .await;
    assert_eq!(list_at(&connection, 8, "old", EARLIEST).await.1, 0);

    // A batch in the tier, in its middle.
    assert_eq!(delete(&connection, 2, "old", &[(0, 52)]).await, [(NONE, 52)]);
    let check = async |connection: &Connection, start: i64, batch: i64| {
        assert_eq!(list_at(connection, 8, "old", EARLIEST).await.1, start);
        let early = Fetch::new(12).of(here, 0, start - 1).one(connection).await;
        assert_eq!((early.error_code, early.log_start_offset), (OFFSET_OUT_OF_RANGE, start));
        let found = wait_for("the tier to answer", PATIENCE, || async {
            let found = Fetch::new(12).change(|r| r.with_max_wait_ms(1000)).of(here, 0, start).one(connection).await;
            assert_eq!(found.error_code, NONE);
            found.records.as_ref().is_some_and(|records| !records.is_empty()).then_some(found)
        })
        .await;
        assert_eq!(offsets(&found)[0], batch);
        assert_eq!(client.offset("old", 0, At::Time(0)).await.unwrap().map(|(offset, _)| offset), Some(start));
    };
    check(&connection, 52, 50).await;

    // While the store is away it cannot be known that it would last, so that it is not answered.
    s3.set_faults(|_| Some(Fault::Unavailable));
    assert_eq!(delete_within(&connection, 2, "old", &[(0, 77)], 300).await, [(REQUEST_TIMED_OUT, -1)]);
    assert_eq!(list_at(&connection, 8, "old", EARLIEST).await.1, 52);
    s3.heal();
    assert_eq!(delete(&connection, 2, "old", &[(0, 78)]).await, [(NONE, 78)]);
    check(&connection, 78, 75).await;

    // Without the disk, the tier knows.
    broker.kill();
    broker.wipe_disk();
    broker.restart().await;
    client.forget().await;
    let connection = client.retry(|| client.own_connection("old", 0)).await.unwrap();
    check(&connection, 78, 75).await;
    let end = client.offset("old", 0, At::End).await.unwrap().unwrap().0;
    assert!(end > local_start);

    // Everything: what is tiered, what is not, and it goes on from there.
    assert_eq!(delete(&connection, 2, "old", &[(0, -1)]).await, [(NONE, end)]);
    assert_eq!(produce(&connection, 9, here, 0, record("x")).await.base_offset, end);
    assert_eq!(offsets(&Fetch::new(12).of(here, 0, end).one(&connection).await), [end]);
    assert_eq!(Fetch::new(12).of(here, 0, end - 1).one(&connection).await.error_code, OFFSET_OUT_OF_RANGE);
}
