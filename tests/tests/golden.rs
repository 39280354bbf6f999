//! Data of every format that was ever released can still be opened.
//!
//! `golden/NAME/` holds `data/` and `store/` as a broker of that time left them; nothing in there ever changes. Each test
//! works on a copy. `ESKER_GOLDEN=NAME cargo test -p esker-tests --test golden` writes a new one: do that once for a
//! release that changes a format, and commit it. A folder without `data/` has answers of Apache Kafka, for `differential`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "tests copy files")]

use esker_bench::batch::{Builder, Codec};
use esker_bench::client::{At, Client};
use esker_tests::harness::records::{Abilities, Line, assert_same, sample, with_offsets};
use esker_tests::harness::{Broker, Options, wait_for};
use std::path::{Path, PathBuf};
use std::time::Duration;

const TOPIC: &str = "golden";
const PARTITIONS: i32 = 2;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// What the topic holds: every codec, keys, headers and nulls, but nothing large.
fn contents() -> Vec<Line> {
    let mut lines = sample(400, PARTITIONS, Abilities { null_headers: true });
    lines.retain(|line| line.record.value.as_ref().is_none_or(|value| value.len() < 10_000));
    with_offsets(&lines)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).unwrap();
        }
    }
}

async fn check(what: &str, client: &Client) {
    let expected = contents();
    for partition in 0..PARTITIONS {
        let expected: Vec<Line> = expected.iter().filter(|line| line.partition == partition).cloned().collect();
        let end = client.retry(|| client.offset(TOPIC, partition, At::End)).await.unwrap();
        assert_eq!(end.unwrap().0, expected.len() as i64, "{what}: end of partition {partition}");
        let found = client.read(TOPIC, partition, 0, expected.len() as i64).await.unwrap();
        let found: Vec<Line> = found.into_iter().map(|record| Line { partition, record }).collect();
        assert_same(&format!("{what}, partition {partition}"), &found, &expected);
    }
}

#[tokio::test]
async fn every_released_format_can_be_opened() {
    let mut opened = 0;
    for entry in std::fs::read_dir(folder()).expect("tests/golden") {
        let golden = entry.unwrap().path();
        if !golden.join("data").is_dir() {
            continue;
        }
        let what = golden.file_name().unwrap().to_string_lossy().into_owned();
        let mut broker = Broker::prepare(Options::new());
        copy(&golden.join("data"), &broker.data());
        copy(&golden.join("store"), &broker.store_folder());
        broker.restart().await;
        let client = broker.client();
        check(&what, &client).await;
        let committed = client.retry(|| client.committed("golden-group", TOPIC, 1)).await.unwrap();
        assert_eq!(committed, Some(42), "{what}: the group's offset");

        broker.kill();
        broker.wipe_disk();
        broker.restart().await;
        check(&format!("{what}, the store alone"), &broker.client()).await;
        opened += 1;
    }
    assert!(opened > 0, "there is no golden data");
}

/// Writes `golden/$ESKER_GOLDEN`; without the variable, there is nothing to do.
#[tokio::test]
async fn write_golden_data_if_asked_to() {
    let Some(name) = std::env::var_os("ESKER_GOLDEN") else { return };
    let target = folder().join(name);
    assert!(!target.exists(), "{} is there already, and never changes", target.display());
    let options = Options::new().eager_tier().set("offsets.topic.num.partitions", 1);
    let mut broker = Broker::start(options).await;
    let client = broker.client();
    let configs = [("segment.bytes", "4096"), ("local.retention.bytes", "4096"), ("retention.ms", "-1")];
    client.create_topic(TOPIC, PARTITIONS, &configs).await.unwrap();
    for partition in 0..PARTITIONS {
        let lines: Vec<Line> = contents().into_iter().filter(|line| line.partition == partition).collect();
        for (i, chunk) in lines.chunks(10).enumerate() {
            let batch = chunk.iter().fold(Builder::new(Codec::ALL[i % 5]), |batch, line| batch.record(&line.record));
            client.produce(TOPIC, partition, batch.build().unwrap()).await.unwrap();
        }
    }
    client.retry(|| client.commit("golden-group", TOPIC, 1, 42)).await.unwrap();
    for partition in 0..PARTITIONS {
        let end = client.offset(TOPIC, partition, At::End).await.unwrap().unwrap().0;
        wait_for("everything to be in the tier, and little on the disk", Duration::from_secs(60), || async {
            let tiered = client.offset(TOPIC, partition, At::LastTiered).await.unwrap();
            let local = client.offset(TOPIC, partition, At::LocalStart).await.unwrap();
            (tiered?.0 == end - 1 && local?.0 > 0).then_some(())
        })
        .await;
    }
    assert!(broker.terminate().await.success());
    copy(&broker.data(), &target.join("data"));
    copy(&broker.store_folder(), &target.join("store"));
}
