//! Log directories of a real process: one of several that does not open, and a real file system that is full.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests use real time and files")]

use bytes::Bytes;
use esker_bench::batch::{Builder, Codec, Record};
use esker_bench::client::{At, Client};
use esker_protocol::error_code::ErrorCode;
use esker_tests::harness::{Broker, Options, SmallDisk, wait_for};
use kafka_protocol::messages::DeleteRecordsRequest;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::protocol::StrBytes;
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

const MIB: u64 = 1 << 20;

/// A batch of a quarter of a megabyte.
fn large() -> Bytes {
    let record = Record { value: Some(Bytes::from(vec![7; 256 << 10])), ..Record::default() };
    Builder::new(Codec::None).record(&record).build().unwrap()
}

/// Produces until that is refused; how many batches were acknowledged, and with what the first was refused.
async fn produce_until_refused(client: &Client, most: i64) -> (i64, i16) {
    let mut acknowledged = 0;
    loop {
        match client.produce(TOPIC, 0, large()).await {
            Ok(_) => acknowledged += 1,
            Err(error) => return (acknowledged, error.code().unwrap_or_else(|| panic!("{error}"))),
        }
        assert!(acknowledged < most, "the disk is full, and nobody says so");
    }
}

async fn offset(client: &Client, at: At) -> i64 {
    client.retry(|| client.offset(TOPIC, 0, at)).await.unwrap().expect("an offset").0
}

async fn delete_before(client: &Client, offset: i64) {
    let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(offset);
    let topic = DeleteRecordsTopic::default().with_name(StrBytes::from_static_str(TOPIC).into());
    let request = DeleteRecordsRequest::default()
        .with_topics(vec![topic.with_partitions(vec![partition])])
        .with_timeout_ms(10_000);
    let answer = client.leader(TOPIC, 0).await.unwrap().call(&request).await.unwrap();
    assert_eq!(answer.topics[0].partitions[0].error_code, 0, "records can be deleted on a full disk");
}

async fn is_accepted_again(client: &Client) {
    wait_for("produce to be accepted again", Duration::from_secs(30), || async {
        client.produce(TOPIC, 0, large()).await.ok()
    })
    .await;
}

#[tokio::test]
async fn a_file_system_that_fills_up_refuses_produce_and_recovers_by_itself() {
    let disk = SmallDisk::new(48 * MIB);
    let dir = disk.path().join("data");
    let options = Options::new()
        .set("log.dirs", dir.display())
        .set("log.dirs.min.free.bytes", 16 * MIB)
        .set("log.retention.check.interval.ms", 200)
        .set("offsets.topic.num.partitions", 1);
    let mut broker = Broker::start(options).await;
    broker.announce("the disk is nearly full");
    let client = broker.client();
    // The records are of 1970.
    let untiered = [
        ("segment.bytes", "1048576"),
        ("remote.storage.enable", "false"),
        ("max.message.bytes", "1048576"),
        ("retention.ms", "-1"),
    ];
    client.create_topic(TOPIC, 1, &untiered).await.unwrap();
    let (acknowledged, code) = produce_until_refused(&client, 48 * 4).await;
    assert_eq!(code, ErrorCode::NOT_ENOUGH_REPLICAS.code(), "retriable, for every client");
    assert!(disk.available() >= 12 * MIB, "{} bytes are left: it was refused late", disk.available());
    let read = client.retry(|| client.read(TOPIC, 0, 0, acknowledged)).await.unwrap();
    assert_eq!(read.len() as i64, acknowledged, "fetch goes on");
    // Somebody makes room, and nobody tells the broker.
    delete_before(&client, acknowledged - 1).await;
    is_accepted_again(&client).await;

    // Without a mark there is nothing between it and the last byte.
    assert!(broker.terminate().await.success());
    broker.reconfigure(|options| options.set("log.dirs.min.free.bytes", 0));
    for announced in ["log maintenance was put off", "upkeep of a log failed", "the partition waits for room"] {
        broker.announce(announced);
    }
    broker.restart().await;
    let client = broker.client();
    let before = offset(&client, At::End).await;
    disk.take("all", u64::MAX);
    let (more, code) = produce_until_refused(&client, 64).await;
    assert_eq!(code, ErrorCode::NOT_ENOUGH_REPLICAS.code());
    // A topic that is made now has no place; it gets one.
    client.create_topic("later", 1, &untiered).await.unwrap();
    // Killed and started on a disk without a byte of room, it has everything that it had.
    broker.kill();
    broker.restart().await;
    let client = broker.client();
    let from = offset(&client, At::Start).await;
    let end = before + more;
    let read = client.retry(|| client.read(TOPIC, 0, from, end)).await.unwrap();
    assert_eq!(read.len() as i64, end - from, "all that was acknowledged");
    assert!(client.produce(TOPIC, 0, large()).await.is_err());
    disk.give_back("all");
    is_accepted_again(&client).await;
    wait_for("the topic that found no room", Duration::from_secs(30), || async {
        client.produce("later", 0, batch("x")).await.ok()
    })
    .await;
    let (_, metrics) = broker.admin_get("/metrics").unwrap();
    assert!(metrics.lines().any(|line| line == "kafka_log_logmanager_offlinelogdirectorycount 0"), "{metrics}");
    assert!(broker.terminate().await.success());
}
