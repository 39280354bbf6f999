//! Compacted topics: the newest record of each key is kept, while they are produced to and read, over kills and restarts;
//! and committed offsets, which live in one, outlive it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test looks at real files, in real time")]

use bytes::Bytes;
use esker_bench::batch::{Builder, Codec, Record};
use esker_bench::client::{At, Client};
use esker_tests::harness::{Broker, Options, wait_for};
use kafka_protocol::messages::IncrementalAlterConfigsRequest;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeMap;
use std::time::Duration;

const TOPIC: &str = "table";
const KEYS: u64 = 40;
const PATIENCE: Duration = Duration::from_secs(60);
const COMPACTED: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("segment.bytes", "8192"),
    ("min.cleanable.dirty.ratio", "0.01"),
    ("delete.retention.ms", "100"),
];

/// Cleans at once, whatever there is.
fn eager() -> Options {
    Options::new().set("log.cleaner.backoff.ms", 30).set("log.retention.check.interval.ms", 200)
}

/// What a topic says of each key: the offset and the value of its newest record, unless it is a tombstone.
type Table = BTreeMap<Bytes, (i64, Bytes)>;

fn apply(table: &mut Table, record: &Record) {
    let key = record.key.clone().unwrap();
    match &record.value {
        Some(value) => table.insert(key, (record.offset, value.clone())),
        None => table.remove(&key),
    };
}

fn table(records: &[Record]) -> Table {
    let mut table = Table::new();
    records.iter().for_each(|record| apply(&mut table, record));
    table
}

/// A batch of ten records from `number` on, every eleventh of them a tombstone.
fn batch(number: u64) -> Vec<Record> {
    let record = |n: u64| Record {
        offset: 0,
        timestamp: 1_700_000_000_000 + n as i64,
        key: Some(Bytes::from(format!("key-{}", (n * 7) % KEYS))),
        value: (!n.is_multiple_of(11)).then(|| Bytes::from(format!("value {n} {}", "x".repeat((n % 90) as usize)))),
        headers: vec![("same".to_owned(), None), ("same".to_owned(), Some(Bytes::from(n.to_string())))],
    };
    (number * 10..number * 10 + 10).map(record).collect()
}

async fn produce(client: &Client, number: u64, all: &mut Vec<Record>) {
    let mut records = batch(number);
    let mut builder = Builder::new(Codec::ALL[number as usize % 5]);
    for record in &records {
        builder = builder.record(record);
    }
    let produced = client.produce_surely(TOPIC, 0, builder.build().unwrap()).await.unwrap();
    for (n, record) in (0..).zip(&mut records) {
        record.offset = produced.base_offset + n;
    }
    all.append(&mut records);
}

/// Everything that is there now. The last record is in the active segment, which is never cleaned.
async fn read_all(client: &Client) -> Vec<Record> {
    let end = client.retry(|| client.offset(TOPIC, 0, At::End)).await.unwrap().unwrap().0;
    client.read(TOPIC, 0, 0, end).await.unwrap()
}

/// Survivors are as they were, and the newest of each key is among them.
fn assert_compacted(what: &str, found: &[Record], all: &[Record]) {
    let by_offset: BTreeMap<i64, &Record> = all.iter().map(|record| (record.offset, record)).collect();
    for record in found {
        assert_eq!(Some(&record), by_offset.get(&record.offset), "{what}");
    }
    assert!(found.is_sorted_by(|a, b| a.offset < b.offset), "{what}: each once, in order");
    assert_eq!(table(found), table(all), "{what}");
}

fn metric(broker: &Broker, name: &str) -> f64 {
    let (_, text) = broker.admin_get("/metrics").expect("metrics");
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_table_stays_right_while_it_is_compacted_killed_and_started_again() {
    let mut broker = Broker::start(eager()).await;
    let client = broker.client();
    client.create_topic(TOPIC, 1, &COMPACTED).await.unwrap();
    let mut all = Vec::new();
    for round in 0..4u64 {
        for number in round * 60..round * 60 + 60 {
            produce(&client, number, &mut all).await;
            if number % 20 == 7 {
                // Everything that was acknowledged is seen, whatever the cleaner does at the moment.
                assert_compacted("meanwhile", &read_all(&client).await, &all);
            }
        }
        if round % 2 == 0 {
            broker.kill()
        } else {
            assert!(broker.terminate().await.success())
        }
        broker.restart().await;
        assert_compacted("after a restart", &read_all(&client).await, &all);
    }
    for number in 240..270 {
        produce(&client, number, &mut all).await;
    }
    let left = wait_for("the log to be compacted", PATIENCE, || async {
        let found = read_all(&client).await;
        // The keys, and what the active segment and one that is not sealed yet may hold.
        (found.len() < 400 && metric(&broker, "esker_log_cleaner_passes_total") > 0.0).then_some(found)
    })
    .await;
    assert_compacted("in the end", &left, &all);
    assert_eq!(metric(&broker, "kafka_log_logcleanermanager_uncleanable_partitions_count"), 0.0);
    assert!(broker.terminate().await.success());
}

#[tokio::test]
async fn the_policy_and_the_lags_can_be_changed_while_it_runs() {
    let mut broker = Broker::start(eager()).await;
    let client = broker.client();
    let young = [("cleanup.policy", "compact"), ("segment.bytes", "8192"), ("min.cleanable.dirty.ratio", "0.01")];
    let young =
        [&young[..], &[("min.compaction.lag.ms", "86400000"), ("message.timestamp.type", "LogAppendTime")]].concat();
    client.create_topic(TOPIC, 1, &young).await.unwrap();
    let mut all = Vec::new();
    for number in 0..60 {
        produce(&client, number, &mut all).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(read_all(&client).await.len(), all.len(), "nothing is old enough");
    alter(&client, TOPIC, &[("min.compaction.lag.ms", "0")]).await;
    let found = wait_for("compaction", PATIENCE, || async {
        let found = read_all(&client).await;
        (found.len() < 300).then_some(found)
    })
    .await;
    // The broker's time is each record's.
    let stamped: Vec<Record> = all.iter().map(|record| Record { timestamp: 0, ..record.clone() }).collect();
    let found: Vec<Record> = found.into_iter().map(|record| Record { timestamp: 0, ..record }).collect();
    assert_compacted("old enough now", &found, &stamped);
    assert!(broker.terminate().await.success());
}

async fn alter(client: &Client, topic: &str, configs: &[(&str, &str)]) {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let config =
        |(key, value): &(&str, &str)| AlterableConfig::default().with_name(text(key)).with_value(Some(text(value)));
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text(topic))
        .with_configs(configs.iter().map(config).collect());
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let answer = client.coordinator("any").await.unwrap().call(&request).await.unwrap();
    assert!(answer.responses.iter().all(|response| response.error_code == 0), "{answer:?}");
}

#[tokio::test]
async fn committed_offsets_outlive_the_compaction_of_their_topic() {
    let mut broker = Broker::start(eager().set("offsets.topic.num.partitions", 1)).await;
    let client = broker.client();
    client.create_topic(TOPIC, 2, &[]).await.unwrap();
    client.retry(|| client.commit("group-0", TOPIC, 0, 1)).await.unwrap();
    alter(&client, "__consumer_offsets", &[("segment.bytes", "4096"), ("min.cleanable.dirty.ratio", "0.01")]).await;
    let mut expected = BTreeMap::new();
    for n in 1..400i64 {
        let (group, partition) = (format!("group-{}", n % 7), (n % 2) as i32);
        client.retry(|| client.commit(&group, TOPIC, partition, n)).await.unwrap();
        expected.insert((group, partition), n);
    }
    // Cleaned segments: base, serial and generation in their names.
    let cleaned = || {
        let entries = |path: &std::path::Path| std::fs::read_dir(path).into_iter().flatten().flatten();
        let names = entries(&broker.data()).flat_map(|dir| entries(&dir.path()).collect::<Vec<_>>());
        let names = names.filter_map(|file| file.file_name().into_string().ok());
        names.filter(|name| name.ends_with(".log") && name.matches('-').count() == 2).count()
    };
    wait_for("the offsets to be compacted", PATIENCE, || async { (cleaned() > 0).then_some(()) }).await;
    for kill in [true, false] {
        if kill {
            broker.kill()
        } else {
            assert!(broker.terminate().await.success())
        }
        broker.restart().await;
        for ((group, partition), offset) in &expected {
            let found = client.retry(|| client.committed(group, TOPIC, *partition)).await.unwrap();
            assert_eq!(found, Some(*offset), "{group} {partition}");
        }
    }
    assert!(broker.terminate().await.success());
}

/// What makes everything go to the tier at once, and be compacted there.
fn eager_tier() -> Options {
    eager().eager_tier().set("offsets.topic.num.partitions", 1)
}

#[tokio::test]
async fn a_table_is_compacted_in_the_tier_and_comes_back_without_the_disk() {
    let mut broker = Broker::start(eager_tier()).await;
    let client = broker.client();
    let config = [&COMPACTED[..], &[("tail.max.ms", "300")]].concat();
    client.create_topic(TOPIC, 1, &config).await.unwrap();
    let mut all = Vec::new();
    for number in 0..150 {
        produce(&client, number, &mut all).await;
        if number % 50 == 17 {
            broker.kill();
            broker.restart().await;
        }
    }
    let end = client.retry(|| client.offset(TOPIC, 0, At::End)).await.unwrap().unwrap().0;
    wait_for("everything to be in the tier", PATIENCE, || async {
        let tiered = client.retry(|| client.offset(TOPIC, 0, At::LastTiered)).await.unwrap();
        tiered.is_some_and(|(offset, _)| offset == end - 1).then_some(())
    })
    .await;
    assert_compacted("with the disk", &read_all(&client).await, &all);
    // The disk is lost; what the tier has is compacted while it is read.
    broker.kill();
    broker.wipe_disk();
    broker.restart().await;
    client.forget().await;
    let left = wait_for("the tier to be compacted", PATIENCE, || async {
        let found = read_all(&client).await;
        assert_compacted("from the tier", &found, &all);
        // The last record stays only until its tombstone, if it is one, has gone.
        (found.len() <= 2 * KEYS as usize).then_some(found)
    })
    .await;
    assert_compacted("from the tier, compacted", &left, &all);
    // It goes on: what is newer supersedes what is only in the tier.
    for number in 150..200 {
        produce(&client, number, &mut all).await;
    }
    assert_compacted("having gone on", &read_all(&client).await, &all);
    assert!(broker.terminate().await.success());
}

#[tokio::test]
async fn committed_offsets_come_back_without_the_disk() {
    let mut broker = Broker::start(eager_tier()).await;
    let client = broker.client();
    client.create_topic(TOPIC, 2, &[]).await.unwrap();
    let mut expected = BTreeMap::new();
    for n in 1..120i64 {
        let (group, partition) = (format!("group-{}", n % 7), (n % 2) as i32);
        client.retry(|| client.commit(&group, TOPIC, partition, n)).await.unwrap();
        expected.insert((group, partition), n);
    }
    let offsets = "__consumer_offsets";
    let end = client.retry(|| client.offset(offsets, 0, At::End)).await.unwrap().unwrap().0;
    wait_for("the offsets to be in the tier", PATIENCE, || async {
        let tiered = client.retry(|| client.offset(offsets, 0, At::LastTiered)).await.unwrap();
        tiered.is_some_and(|(offset, _)| offset == end - 1).then_some(())
    })
    .await;
    broker.kill();
    broker.wipe_disk();
    broker.restart().await;
    client.forget().await;
    for ((group, partition), offset) in &expected {
        let found = client.retry(|| client.committed(group, TOPIC, *partition)).await.unwrap();
        assert_eq!(found, Some(*offset), "{group} {partition}");
    }
    assert!(broker.terminate().await.success());
}
