//! History leaves for the object store, its local copies go, and everything is read back from there.
//!
//! Each story runs on a directory store and on an S3 server, the latter with faults as well. Tier settings are small,
//! so that a few megabytes see every step: produce -> seal -> upload -> commit -> drop locally -> read from the tier.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use bytes::Bytes;
use esker_bench::batch::{Builder, Codec, Record};
use esker_bench::client::{At, Client};
use esker_tests::harness::records::{FIRST_TIMESTAMP, Line, Noise, assert_same};
use esker_tests::harness::{Broker, Fault, Options, S3, wait_for};
use std::time::Duration;

const TOPIC: &str = "history";
const PARTITIONS: i32 = 2;
const PATIENCE: Duration = Duration::from_secs(60);

/// Small segments, and no local copy of what is tiered beyond one of them.
const TIERED: [(&str, &str); 4] =
    [("segment.bytes", "65536"), ("local.retention.bytes", "65536"), ("retention.ms", "-1"), ("retention.bytes", "-1")];

/// Produces about 2 MB, every codec in turns, and returns what must be read back, by partition and offset.
async fn produce_history(client: &Client, noise: &mut Noise, first: &[Line]) -> Vec<Line> {
    let mut lines = first.to_vec();
    for partition in 0..PARTITIONS {
        let before = lines.iter().filter(|line| line.partition == partition).count() as i64;
        let mut offset = before;
        for batch in 0..130 {
            let mut builder = Builder::new(Codec::ALL[batch % 5]);
            for _ in 0..8 {
                let size = noise.below(1900) as usize;
                let record = Record {
                    offset,
                    timestamp: FIRST_TIMESTAMP + offset,
                    key: (offset % 5 != 0).then(|| Bytes::from(format!("{offset}"))),
                    value: (offset % 7 != 0).then(|| noise.bytes(size)),
                    headers: vec![("n".to_owned(), Some(Bytes::from(offset.to_string())))],
                };
                builder = builder.record(&record);
                lines.push(Line { partition, record });
                offset += 1;
            }
            let produced = client.produce_surely(TOPIC, partition, builder.build().unwrap()).await.unwrap();
            assert_eq!(produced.base_offset, offset - 8);
        }
    }
    lines.sort_by_key(|line| (line.partition, line.record.offset));
    lines
}

async fn create_topic(client: &Client) {
    client.create_topic(TOPIC, PARTITIONS, &TIERED).await.unwrap();
}

async fn offset(client: &Client, partition: i32, at: At) -> i64 {
    let found = client.retry(|| client.offset(TOPIC, partition, at)).await.unwrap();
    found.map_or(-1, |(offset, _)| offset)
}

/// Waits until everything is tiered, and next to nothing is local.
async fn wait_until_tiered(client: &Client) {
    for partition in 0..PARTITIONS {
        let end = offset(client, partition, At::End).await;
        wait_for("everything to be in the tier", PATIENCE, || async {
            (offset(client, partition, At::LastTiered).await == end - 1).then_some(())
        })
        .await;
        wait_for("local copies to go", PATIENCE, || async {
            (offset(client, partition, At::LocalStart).await > end / 2).then_some(())
        })
        .await;
        assert_eq!(offset(client, partition, At::Start).await, 0, "the log still starts at 0");
    }
}

async fn assert_history(what: &str, client: &Client, expected: &[Line]) {
    for partition in 0..PARTITIONS {
        let expected: Vec<Line> = expected.iter().filter(|line| line.partition == partition).cloned().collect();
        let found = client.read(TOPIC, partition, 0, expected.len() as i64).await.unwrap();
        let found: Vec<Line> = found.into_iter().map(|record| Line { partition, record }).collect();
        assert_same(&format!("{what}, partition {partition}"), &found, &expected);
        for asked in [0, 1, 500, 900] {
            let found = client.offset(TOPIC, partition, At::Time(FIRST_TIMESTAMP + asked)).await.unwrap();
            assert_eq!(found, Some((asked, FIRST_TIMESTAMP + asked)), "{what}, {asked} ms after the first");
        }
        assert_eq!(client.offset(TOPIC, partition, At::Time(FIRST_TIMESTAMP + 1_000_000)).await.unwrap(), None);
    }
}

/// The whole story: out, back, over restarts, and without the disk.
async fn history_survives_everything(options: Options) {
    let mut broker = Broker::start(options.eager_tier()).await;
    let client = broker.client();
    let mut noise = Noise(42);
    create_topic(&client).await;
    let id = client.topics(Some(TOPIC)).await.unwrap()[0].id;

    let first = produce_history(&client, &mut noise, &[]).await;
    wait_until_tiered(&client).await;
    assert_history("from the tier", &client, &first).await;

    assert!(broker.terminate().await.success());
    broker.restart().await;
    assert_history("after a restart", &client, &first).await;

    let second = produce_history(&client, &mut noise, &first).await;
    broker.kill();
    broker.restart().await;
    assert_history("after a kill", &client, &second).await;
    wait_until_tiered(&client).await;

    broker.kill();
    broker.wipe_disk();
    broker.restart().await;
    client.forget().await;
    let topic = client.topics(Some(TOPIC)).await.unwrap().remove(0);
    assert_eq!((topic.id, topic.partitions.len()), (id, PARTITIONS as usize), "the topic is known without the disk");
    assert_history("without the disk", &client, &second).await;

    // And it goes on from there.
    let third = produce_history(&client, &mut noise, &second).await;
    assert_history("after going on", &client, &third).await;
}

#[tokio::test]
async fn history_survives_everything_in_a_directory() {
    history_survives_everything(Options::new()).await;
}

#[tokio::test]
async fn history_survives_everything_in_s3() {
    let s3 = S3::start();
    history_survives_everything(s3.serve(Options::new())).await;
    assert!(!s3.keys().is_empty());
}

#[tokio::test]
async fn a_store_that_fails_costs_time_and_nothing_else() {
    let s3 = S3::start();
    let mut broker = Broker::start(s3.serve(Options::new()).eager_tier()).await;
    let client = broker.client();
    create_topic(&client).await;
    // What a store that fails makes the broker say is not an alarm of this test.
    broker.announce("store");
    let mut chance = Noise(7);
    s3.set_faults(move |_| match chance.below(12) {
        0 => Some(Fault::Unavailable),
        1 => Some(Fault::Failed),
        2 => Some(Fault::Lost),
        3 => Some(Fault::Conflict),
        4 => Some(Fault::Late),
        _ => None,
    });
    let mut noise = Noise(3);
    let first = produce_history(&client, &mut noise, &[]).await;
    wait_until_tiered(&client).await;
    broker.kill();
    broker.restart().await;
    let second = produce_history(&client, &mut noise, &first).await;
    wait_until_tiered(&client).await;
    s3.heal();
    assert_history("after the faults", &client, &second).await;
    broker.kill();
    broker.wipe_disk();
    broker.restart().await;
    assert_history("without the disk", &client, &second).await;
}

#[tokio::test]
async fn produce_and_consume_go_on_while_the_store_is_away() {
    let s3 = S3::start();
    let mut broker = Broker::start(s3.serve(Options::new()).eager_tier()).await;
    broker.announce("store");
    let client = broker.client();
    create_topic(&client).await;
    s3.set_faults(|_| Some(Fault::Unavailable));
    let lines = produce_history(&client, &mut Noise(5), &[]).await;
    assert_history("with the store away", &client, &lines).await;
    for partition in 0..PARTITIONS {
        assert_eq!(offset(&client, partition, At::LocalStart).await, 0, "nothing goes before it is in the tier");
    }
    s3.heal();
    wait_until_tiered(&client).await;
    assert_history("when the store is back", &client, &lines).await;
}

#[tokio::test]
async fn what_is_older_than_the_retention_leaves_the_tier_too() {
    let broker = Broker::start(Options::new().eager_tier()).await;
    let client = broker.client();
    let configs = [
        ("segment.bytes", "65536"),
        ("local.retention.bytes", "65536"),
        ("retention.bytes", "400000"),
        ("retention.ms", "-1"),
    ];
    client.create_topic(TOPIC, PARTITIONS, &configs).await.unwrap();
    let lines = produce_history(&client, &mut Noise(9), &[]).await;
    for partition in 0..PARTITIONS {
        let start = wait_for("the log to start later", PATIENCE, || async {
            let start = offset(&client, partition, At::Start).await;
            // About 1 MB was written, so less than half of it may stay.
            (start > 400).then_some(start)
        })
        .await;
        let end = offset(&client, partition, At::End).await;
        let found = client.read(TOPIC, partition, start, end).await.unwrap();
        let found: Vec<Line> = found.into_iter().map(|record| Line { partition, record }).collect();
        let expected: Vec<Line> =
            lines.iter().filter(|l| l.partition == partition && l.record.offset >= start).cloned().collect();
        assert_same("what is left", &found, &expected);
        let early = client.fetch(TOPIC, partition, 0, 0).await.unwrap_err();
        assert_eq!(early.code(), Some(1), "OFFSET_OUT_OF_RANGE");
    }
}
