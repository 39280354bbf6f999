//! Fetch: offsets, limits, waits, epochs, and what every answer holds.

use crate::ask::{
    CLUSTER_AUTHORIZATION_FAILED, FENCED_LEADER_EPOCH, Fetch, NONE, OFFSET_OUT_OF_RANGE, UNKNOWN_LEADER_EPOCH,
    UNKNOWN_TOPIC_ID, UNKNOWN_TOPIC_OR_PARTITION, offsets, produce, record, records, size, topic,
};
use esker_bench::client::Client;
use esker_tests::harness::{Broker, Options};
use kafka_protocol::messages::fetch_request::{FetchPartition, ReplicaState};
use std::time::{Duration, Instant};
use uuid::Uuid;

#[tokio::test]
async fn fetches_are_answered_as_kafka_does() {
    let broker = Broker::start(Options::new()).await;
    let client = broker.client();
    every_version_reads(&client).await;
    offsets_decide_what_is_read(&client).await;
    sizes_are_limited_but_for_the_first_batch(&client).await;
    epochs_are_compared(&client).await;
    strangers_get_their_codes(&client).await;
}

#[tokio::test]
async fn waits_end_by_records_or_by_time() {
    let broker = Broker::start(Options::new()).await;
    let client = broker.client();
    an_append_wakes_a_wait(&client).await;
    an_idle_wait_lasts(&client).await;
    min_bytes_counts_all_partitions(&client).await;
    what_is_there_beyond_a_limit_is_not_waited_for(&client).await;
    a_deleted_topic_ends_a_wait(&client).await;
}

async fn every_version_reads(client: &Client) {
    let (connection, id) = topic(client, "versions", 1, &[]).await;
    let here = ("versions", id);
    produce(&connection, 9, here, 0, records(3, 10)).await;
    for version in 4..=18 {
        for isolation in [0, 1] {
            let fetch = Fetch::new(version).of(here, 0, 0).change(|request| request.with_isolation_level(isolation));
            let answer = fetch.one(&connection).await;
            assert_eq!((answer.error_code, offsets(&answer)), (NONE, vec![0, 1, 2]), "version {version}");
            assert_eq!((answer.high_watermark, answer.last_stable_offset), (3, 3));
            assert_eq!(answer.log_start_offset, if version >= 5 { 0 } else { -1 });
            assert_eq!(answer.aborted_transactions.is_some(), isolation == 1, "null for read_uncommitted, or empty");
            let end = Fetch::new(version).of(here, 0, 3).one(&connection).await;
            assert_eq!((end.error_code, size(&end), end.high_watermark), (NONE, 0, 3), "empty, with the marks");
        }
    }
}

async fn offsets_decide_what_is_read(client: &Client) {
    let (connection, id) = topic(client, "offsets", 1, &[]).await;
    let here = ("offsets", id);
    for _ in 0..3 {
        produce(&connection, 9, here, 0, records(10, 10)).await;
    }
    let whole = Fetch::new(12).of(here, 0, 14).one(&connection).await;
    assert_eq!(offsets(&whole), (10..30).collect::<Vec<_>>(), "the batch that holds the offset, whole, and the rest");
    for outside in [31, i64::MAX, -1, i64::MIN] {
        let answer = Fetch::new(12).of(here, 0, outside).one(&connection).await;
        assert_eq!((answer.error_code, size(&answer)), (OFFSET_OUT_OF_RANGE, 0), "offset {outside}");
        assert_eq!(answer.log_start_offset, 0);
    }
}

async fn sizes_are_limited_but_for_the_first_batch(client: &Client) {
    let (connection, id) = topic(client, "sizes", 3, &[]).await;
    let here = ("sizes", id);
    for partition in 0..3 {
        for _ in 0..4 {
            produce(&connection, 9, here, partition, records(1, 1000)).await;
        }
    }
    let all = |limits: [i32; 3], max_bytes: i32| {
        let fetch = limits.iter().zip(0..).fold(Fetch::new(12), |fetch, (limit, partition)| {
            fetch.with(here, FetchPartition::default().with_partition(partition), *limit)
        });
        fetch.change(|request| request.with_max_bytes(max_bytes))
    };
    let counts = async |fetch: Fetch| -> Vec<usize> {
        fetch.send(&connection).await.iter().map(|answer| offsets(answer).len()).collect()
    };
    assert_eq!(counts(all([9999; 3], 1 << 20)).await, [4, 4, 4]);
    assert_eq!(counts(all([2500; 3], 1 << 20)).await, [2, 2, 2], "each its own limit");
    assert_eq!(counts(all([1, 1, 2500], 1 << 20)).await, [1, 0, 2], "only the first batch of all may be too large");
    assert_eq!(counts(all([9999; 3], 1)).await, [1, 0, 0]);
    assert_eq!(counts(all([9999; 3], 0)).await, [1, 0, 0]);
    assert_eq!(counts(all([9999; 3], 5500)).await, [4, 1, 0], "what is left of the whole");
    // The first partition that has anything, not the first of the request.
    let end = Fetch::new(12)
        .with(here, FetchPartition::default().with_partition(0).with_fetch_offset(4), 1)
        .with(here, FetchPartition::default().with_partition(1), 1)
        .with(here, FetchPartition::default().with_partition(2), 1);
    assert_eq!(counts(end).await, [0, 1, 0]);
}

async fn epochs_are_compared(client: &Client) {
    let (connection, id) = topic(client, "epochs", 1, &[]).await;
    let here = ("epochs", id);
    produce(&connection, 9, here, 0, records(2, 10)).await;
    let epoch = client.topics(Some("epochs")).await.unwrap()[0].partitions[0].1;
    let known = async |known: i32| {
        let wanted = FetchPartition::default().with_current_leader_epoch(known);
        Fetch::new(12).with(here, wanted, 9999).one(&connection).await.error_code
    };
    assert_eq!(known(epoch).await, NONE);
    assert_eq!(known(-1).await, NONE);
    assert_eq!(known(epoch + 1).await, UNKNOWN_LEADER_EPOCH);
    if epoch > 0 {
        assert_eq!(known(epoch - 1).await, FENCED_LEADER_EPOCH);
    }
    let last = async |last: i32, offset: i64| {
        let wanted = FetchPartition::default().with_last_fetched_epoch(last).with_fetch_offset(offset);
        let answer = Fetch::new(12).with(here, wanted, 9999).one(&connection).await;
        (answer.error_code, answer.diverging_epoch.end_offset, size(&answer) > 0)
    };
    assert_eq!(last(epoch, 0).await, (NONE, -1, true));
    assert_eq!(last(epoch, 9).await, (NONE, 2, false), "this epoch ended at 2");
    assert_eq!(last(epoch + 1, 0).await.0, OFFSET_OUT_OF_RANGE, "nobody knows of that epoch");
}

async fn strangers_get_their_codes(client: &Client) {
    let (connection, id) = topic(client, "here", 1, &[]).await;
    let here = ("here", id);
    let nowhere = ("nowhere", Uuid::from_u128(5));
    for (version, unknown) in [(12, UNKNOWN_TOPIC_OR_PARTITION), (13, UNKNOWN_TOPIC_ID), (18, UNKNOWN_TOPIC_ID)] {
        let answers = Fetch::new(version)
            .of(nowhere, 0, 0)
            .of(here, 0, 0)
            .of(here, 7, 0)
            .change(|request| request.with_max_wait_ms(20_000))
            .send(&connection)
            .await;
        let codes: Vec<_> = answers.iter().map(|answer| (answer.partition_index, answer.error_code)).collect();
        assert_eq!(codes, [(0, unknown), (0, NONE), (7, UNKNOWN_TOPIC_OR_PARTITION)], "version {version}, at once");
        assert!(answers.iter().all(|answer| answer.records.is_some()), "never null");
    }
    let replica = Fetch::new(14).of(here, 0, 0).change(|request| request.with_replica_id(0.into()));
    assert_eq!(refusal(&replica.whole(&connection).await), CLUSTER_AUTHORIZATION_FAILED);
    let replica = Fetch::new(17)
        .of(here, 0, 0)
        .change(|request| request.with_replica_state(ReplicaState::default().with_replica_id(3.into())));
    assert_eq!(refusal(&replica.whole(&connection).await), CLUSTER_AUTHORIZATION_FAILED);
}

fn refusal(answer: &kafka_protocol::messages::FetchResponse) -> i16 {
    answer.error_code
}

async fn an_append_wakes_a_wait(client: &Client) {
    let (connection, id) = topic(client, "woken", 1, &[]).await;
    let here = ("woken", id);
    let reader = client.own_connection("woken", 0).await.unwrap();
    let mut late = Vec::new();
    for offset in 0..20 {
        let fetch = Fetch::new(12).of(here, 0, offset).change(|request| request.with_max_wait_ms(20_000));
        let pending = reader.send_at(&fetch.request, 12).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        produce(&connection, 9, here, 0, record("x")).await;
        let acknowledged = Instant::now();
        let answer = crate::ask::partitions(pending.answer().await.unwrap()).remove(0);
        late.push(acknowledged.elapsed());
        assert_eq!(offsets(&answer), [offset]);
    }
    late.sort();
    // The median: others use this machine as well.
    assert!(late[10] < Duration::from_millis(50), "{late:?} after the acknowledgement");
}

async fn an_idle_wait_lasts(client: &Client) {
    let (connection, id) = topic(client, "idle", 1, &[]).await;
    for wait in [0, 300] {
        let started = Instant::now();
        let fetch = Fetch::new(12).of(("idle", id), 0, 0).change(|request| request.with_max_wait_ms(wait));
        assert_eq!(size(&fetch.one(&connection).await), 0);
        let took = started.elapsed().as_millis() as i32;
        assert!((wait - 1..wait + 2000).contains(&took), "{took} ms for a max_wait of {wait}");
    }
    // Neither nothing asked for, nor no bytes needed, is waited for.
    for fetch in [Fetch::new(12), Fetch::new(12).of(("idle", id), 0, 0).change(|request| request.with_min_bytes(0))] {
        let started = Instant::now();
        fetch.change(|request| request.with_max_wait_ms(20_000)).whole(&connection).await;
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}

async fn min_bytes_counts_all_partitions(client: &Client) {
    let (connection, id) = topic(client, "sum", 2, &[]).await;
    let here = ("sum", id);
    let reader = client.own_connection("sum", 0).await.unwrap();
    let fetch = Fetch::new(12)
        .of(here, 0, 0)
        .of(here, 1, 0)
        .change(|request| request.with_min_bytes(1500).with_max_wait_ms(20_000));
    let mut pending = tokio::spawn({
        let (reader, fetch) = (reader.clone(), fetch.clone());
        async move { fetch.send(&reader).await }
    });
    produce(&connection, 9, here, 0, records(1, 1000)).await;
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut pending).await.is_err(), "1,000 bytes are too few");
    produce(&connection, 9, here, 1, records(1, 1000)).await;
    let answers = pending.await.unwrap();
    assert_eq!(answers.iter().map(|answer| offsets(answer).len()).collect::<Vec<_>>(), [1, 1]);
    // Too few to the end: what is there is given when time is up.
    let started = Instant::now();
    let answers = fetch.change(|request| request.with_min_bytes(1 << 20).with_max_wait_ms(300)).send(&reader).await;
    assert!(started.elapsed() >= Duration::from_millis(299));
    assert_eq!(answers.len(), 2);
}

async fn what_is_there_beyond_a_limit_is_not_waited_for(client: &Client) {
    let (connection, id) = topic(client, "full", 1, &[("segment.bytes", "1048576")]).await;
    let here = ("full", id);
    for _ in 0..4 {
        produce(&connection, 9, here, 0, records(3, 100_000)).await;
    }
    // More is there, but this partition may give no more: waiting would not help.
    let limited = Fetch::new(12)
        .with(here, FetchPartition::default(), 500_000)
        .change(|request| request.with_min_bytes(2_000_000).with_max_wait_ms(20_000));
    let started = Instant::now();
    assert_eq!(offsets(&limited.one(&connection).await), [0, 1, 2]);
    assert!(started.elapsed() < Duration::from_secs(10), "waited for what a limit forbids");
    // A read ends with its segment. The next one has the rest, which nothing wakes anybody for.
    let mut next = 0;
    let started = Instant::now();
    while next < 12 {
        let fetch = Fetch::new(12)
            .with(here, FetchPartition::default().with_fetch_offset(next), 1 << 20)
            .change(|request| request.with_min_bytes(1_000_000).with_max_wait_ms(if next < 9 { 20_000 } else { 0 }));
        next = offsets(&fetch.one(&connection).await).last().expect("there is more") + 1;
    }
    assert!(started.elapsed() < Duration::from_secs(10), "waited at the end of a segment");
}

async fn a_deleted_topic_ends_a_wait(client: &Client) {
    for version in [12, 13] {
        let name = format!("gone-{version}");
        let (connection, id) = topic(client, &name, 1, &[]).await;
        let fetch = Fetch::new(version).of((&name, id), 0, 0).change(|request| request.with_max_wait_ms(20_000));
        let pending = connection.send_at(&fetch.request, version).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let started = Instant::now();
        client.delete_topic(&name).await.unwrap();
        let answer = crate::ask::partitions(pending.answer().await.unwrap()).remove(0);
        assert!(started.elapsed() < Duration::from_secs(10));
        let unknown = if version == 12 { UNKNOWN_TOPIC_OR_PARTITION } else { UNKNOWN_TOPIC_ID };
        assert_eq!(answer.error_code, unknown);
    }
}
