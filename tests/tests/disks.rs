//! Log directories of a real process: one of several that does not open, and a file system that is full.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests use real time and files")]

use bytes::Bytes;
use esker_bench::batch::{Builder, Codec, Record};
use esker_tests::harness::{Broker, Options};
use std::path::PathBuf;
use std::time::Duration;

const TOPIC: &str = "t";
const PARTITIONS: i32 = 4;

fn batch(value: &'static str) -> Bytes {
    let record = Record { value: Some(Bytes::from_static(value.as_bytes())), ..Record::default() };
    Builder::new(Codec::None).record(&record).build().unwrap()
}

fn flip_a_bit(path: PathBuf) {
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// A broker with two log directories, `a` and `b`.
fn prepare() -> (Broker, [PathBuf; 2]) {
    let mut broker = Broker::prepare(Options::new());
    let dirs = ["a", "b"].map(|name| broker.data().join(name));
    let list = format!("{},{}", dirs[0].display(), dirs[1].display());
    broker.reconfigure(|options| options.set("log.dirs", list));
    (broker, dirs)
}

#[tokio::test]
async fn a_directory_that_does_not_open_takes_down_its_own_partitions() {
    let (mut broker, [_, bad]) = prepare();
    broker.restart().await;
    let client = broker.client();
    client.create_topic(TOPIC, PARTITIONS, &[]).await.unwrap();
    for partition in 0..PARTITIONS {
        client.retry(|| client.produce(TOPIC, partition, batch("before"))).await.unwrap();
    }
    assert!(broker.terminate().await.success());
    let names: Vec<String> = std::fs::read_dir(&bad)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains('-'))
        .collect();
    let lost = |partition: i32| names.iter().any(|name| name.ends_with(&format!("-{partition}")));
    assert!((0..PARTITIONS).any(lost) && !(0..PARTITIONS).all(lost));

    flip_a_bit(bad.join("identity"));
    broker.announce("a log directory failed at the start");
    broker.announce("the partition is offline");
    broker.restart().await;
    let client = broker.client();
    for partition in 0..PARTITIONS {
        let produced = client.produce(TOPIC, partition, batch("while it is away")).await;
        assert_eq!(produced.is_err(), lost(partition), "partition {partition}: {produced:?}");
    }
    let (_, metrics) = broker.admin_get("/metrics").unwrap();
    let offline = "kafka_log_logmanager_offlinelogdirectorycount 1";
    assert!(metrics.lines().any(|line| line == offline), "{metrics}");
    client.create_topic("new", 2, &[]).await.unwrap();
    for partition in 0..2 {
        client.retry(|| client.produce("new", partition, batch("x"))).await.unwrap();
    }
    assert!(broker.terminate().await.success());

    // Mended, it has what it had.
    flip_a_bit(bad.join("identity"));
    broker.restart().await;
    let client = broker.client();
    for partition in 0..PARTITIONS {
        let expected = if lost(partition) { 1 } else { 2 };
        let read = client.retry(|| client.read(TOPIC, partition, 0, expected)).await.unwrap();
        assert_eq!(read.len() as i64, expected, "partition {partition}");
        client.retry(|| client.produce(TOPIC, partition, batch("after"))).await.unwrap();
    }
    assert!(broker.terminate().await.success());
}

#[tokio::test]
async fn without_any_directory_it_does_not_start() {
    let (mut broker, dirs) = prepare();
    broker.restart().await;
    assert!(broker.terminate().await.success());
    dirs.into_iter().for_each(|dir| flip_a_bit(dir.join("identity")));
    broker.announce("a log directory failed at the start");
    broker.announce("every log directory has failed");
    broker.launch();
    assert!(!broker.ended(Duration::from_secs(30)).await.success());
}
