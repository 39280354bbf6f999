//! `esker scrub` and `esker inspect`: what is whole is called whole, and each kind of damage is named.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "tests look at files")]

use bytes::Bytes;
use esker_bench::batch::{Builder, Codec, Record};
use esker_storage::env::Env;
use esker_storage::env::store::{Store, open};
use esker_storage::numbered_log::{FORMAT_KEY, StoreFormat};
use esker_storage::tier::{CommitterConfig, TierCommits, TierLog, TierRecord, write_page};
use esker_tests::harness::{Broker, Options, esker, machine, wait_for};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

fn files(below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(below).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

fn inspect(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(esker()).arg("inspect").args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status.code(), said)
}

/// A broker that has tiered some records and was stopped.
async fn tiered() -> Broker {
    let mut broker = Broker::start(Options::new().eager_tier()).await;
    broker.client().create_topic("t", 2, &[("retention.ms", "-1")]).await.unwrap();
    tier_more(&mut broker).await;
    broker
}

/// Twenty records for each of its two partitions, which are tiered; then it is stopped.
async fn tier_more(broker: &mut Broker) {
    let data = broker.store_folder().join("data");
    let before = files(&data).len();
    for n in 0..40u8 {
        let record = Record { value: Some(Bytes::from(vec![n; 500])), ..Record::default() };
        let batch = Builder::new(Codec::None).record(&record).build().unwrap();
        broker.client().produce("t", i32::from(n % 2), batch).await.unwrap();
    }
    wait_for("an object of the tier", Duration::from_secs(20), || {
        let some = files(&data).len() > before;
        async move { some.then_some(()) }
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(broker.terminate().await.success());
}

fn change(file: &Path, at: usize) -> Vec<u8> {
    let before = std::fs::read(file).unwrap();
    let mut rotten = before.clone();
    rotten[at] ^= 1;
    std::fs::write(file, rotten).unwrap();
    before
}

#[tokio::test]
async fn a_scrub_ends_with_0_only_where_nothing_is_wrong() {
    let mut broker = tiered().await;
    broker.damaged_store();
    let strict = ["--grace", "0"];
    let (status, said) = broker.scrub(&strict);
    assert!(status == Some(0) && said.contains("nothing is wrong"), "{said}");

    let objects = files(&broker.store_folder().join("data"));
    let object = objects.first().unwrap();
    let whole = change(object, 200);
    let (status, said) = broker.scrub(&strict);
    assert!(status == Some(1) && said.contains("damaged"), "{said}");
    std::fs::remove_file(object).unwrap();
    let (status, said) = broker.scrub(&["--quick"]);
    assert!(status == Some(1) && said.contains("missing"), "{said}");
    std::fs::write(object, &whole).unwrap();

    // What nothing names: a copy under another attempt. Young ones are left alone, old ones are deleted on demand.
    let name = object.file_name().unwrap().to_string_lossy().into_owned();
    let (start, last) = name.split_at(name.len() - 1);
    let orphan = object.with_file_name(format!("{start}{}", if last == "0" { "1" } else { "0" }));
    std::fs::write(&orphan, &whole).unwrap();
    assert_eq!(broker.scrub(&[]).0, Some(0), "it is young");
    let (status, said) = broker.scrub(&strict);
    assert!(status == Some(1) && said.contains("orphan"), "{said}");

    let commits = files(&broker.store_folder().join("tier/log"));
    let before = change(commits.last().unwrap(), 30);
    let (status, said) = broker.scrub(&strict);
    assert!(status == Some(1) && said.contains("tier log"), "{said}");
    std::fs::write(commits.last().unwrap(), before).unwrap();

    let metadata = files(&broker.store_folder().join("cluster/log"));
    let before = change(metadata.last().unwrap(), 30);
    let (status, said) = broker.scrub(&["--quick"]);
    assert!(status == Some(1) && said.contains("metadata log"), "{said}");
    std::fs::write(metadata.last().unwrap(), before).unwrap();

    std::fs::remove_file(&orphan).unwrap();
    assert_eq!(broker.scrub(&strict).0, Some(0), "all is as it was");
}

#[tokio::test]
async fn a_repair_deletes_orphans_and_nothing_else() {
    let broker = tiered().await;
    let folder = broker.store_folder();
    let object = files(&folder.join("data")).pop().unwrap();
    // An upload that came too late: where the tier ends, in an epoch of its own, whose object was never committed.
    let partition = "0000000000000000000000000000abcd-0";
    let late = folder.join(format!("data/ef/{partition}/00000000000000000000-00000000000000000000000000000001"));
    std::fs::create_dir_all(late.parent().unwrap()).unwrap();
    std::fs::copy(&object, &late).unwrap();
    let before = files(&folder.join("data")).len();
    assert_eq!(broker.scrub(&["--grace", "0"]).0, Some(1));
    let (status, said) = broker.scrub(&["--grace", "0", "--repair"]);
    assert!(status == Some(0) && said.contains("deleted data/ef/"), "{said}");
    assert_eq!(files(&folder.join("data")).len(), before - 1);
    assert_eq!(broker.scrub(&["--grace", "0"]).0, Some(0));
}

/// The tier of a stopped broker's store, to be changed beside it.
async fn tier(broker: &Broker) -> (Env, Arc<dyn Store>, Uuid, TierLog) {
    let (env, _) = machine();
    let store = open(&broker.store_url(), &env).unwrap();
    let format: StoreFormat = serde_json::from_slice(&store.get(FORMAT_KEY).await.unwrap()).unwrap();
    let log = TierLog::open(Arc::clone(&store), env.clone(), format.cluster).await.unwrap();
    (env, store, format.cluster, log)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_writes_a_page_anew_from_its_objects() {
    let mut broker = tiered().await;
    broker.restart().await;
    tier_more(&mut broker).await;
    let (env, store, cluster, log) = tier(&broker).await;
    let (partition, manifest) = log.image().partitions().next().map(|(id, manifest)| (*id, manifest.clone())).unwrap();
    // The oldest units leave a manifest for pages when there are more than a hundred; this one leaves it early.
    let page = write_page(&*store, &env, cluster, manifest.revision(), &manifest.recent()[..1]).await.unwrap();
    let key = broker.store_folder().join(&*page.key);
    let commits = TierCommits::over(log, &env, CommitterConfig::default());
    let paged = commits.commit(vec![TierRecord::Page { partition, page }]).await.unwrap();
    assert!(paged[0].is_applied(), "{paged:?}");
    drop(commits);
    let strict = ["--grace", "0"];
    assert_eq!(broker.scrub(&strict).0, Some(0));

    std::fs::remove_file(&key).unwrap();
    let (status, said) = broker.scrub(&strict);
    assert!(status == Some(1) && said.contains("missing"), "{said}");
    let (status, said) = broker.scrub(&[&strict[..], &["--repair"]].concat());
    assert!(status == Some(0) && said.contains("wrote tier/page/") && said.contains(" anew, as "), "{said}");
    assert_eq!(broker.scrub(&strict).0, Some(0), "{said}");
    // What the page names is read by a broker that has nothing else.
    std::fs::remove_dir_all(broker.data()).unwrap();
    broker.restart().await;
    for partition in 0..2 {
        assert_eq!(broker.client().read("t", partition, 0, 40).await.unwrap().len(), 40);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_deletes_damaged_snapshots_that_the_logs_are_whole_without() {
    let mut broker = tiered().await;
    let (_, _, _, mut log) = tier(&broker).await;
    log.write_snapshot().await.unwrap();
    drop(log);
    let strict = ["--grace", "0"];
    assert_eq!(broker.scrub(&strict).0, Some(0));
    let snapshot = files(&broker.store_folder().join("tier/snapshot")).pop().unwrap();
    change(&snapshot, 200);
    let (status, said) = broker.scrub(&strict);
    assert!(status == Some(1) && said.contains("tier log: corrupt"), "{said}");
    let (status, said) = broker.scrub(&[&strict[..], &["--repair"]].concat());
    assert!(status == Some(0) && said.contains("deleted tier/snapshot/"), "{said}");
    assert_eq!(broker.scrub(&strict).0, Some(0), "{said}");
    broker.restart().await;
    assert_eq!(broker.client().read("t", 0, 0, 20).await.unwrap().len(), 20);
}

#[tokio::test]
async fn a_store_that_cannot_be_asked_is_not_called_whole() {
    let folder = tempfile::tempdir().unwrap();
    for url in [format!("file://{}", folder.path().display()), "nonsense://x".to_owned()] {
        let output = Command::new(esker()).args(["scrub", "--store", &url]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{url}: {output:?}");
    }
}

#[tokio::test]
async fn every_file_and_object_is_explained() {
    let broker = tiered().await;
    let mut kinds = std::collections::BTreeSet::new();
    for file in files(&broker.data()).into_iter().chain(files(&broker.store_folder())) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        if name == "lock" || name == "clean" {
            continue;
        }
        let (status, said) = inspect(&[file.to_str().unwrap()]);
        assert_eq!(status, Some(0), "{}: {said}", file.display());
        kinds.insert(said.split(',').next().unwrap().split('\n').next().unwrap().to_owned());
    }
    for kind in ["a segment's data file", "the checkpoint of a partition", "an object of the tier", "sealed lines"] {
        assert!(kinds.contains(kind), "no {kind} among {kinds:?}");
    }
    let object = files(&broker.store_folder().join("data")).pop().unwrap();
    let key = object.strip_prefix(broker.store_folder()).unwrap().to_str().unwrap();
    let (status, said) = inspect(&[key, "--store", &broker.store_url()]);
    assert!(status == Some(0) && said.contains("every checksum is right"), "{said}");
    assert_eq!(inspect(&["/no/such/file"]).0, Some(2));
}

#[tokio::test]
async fn damage_in_any_file_is_named() {
    let mut broker = tiered().await;
    broker.damaged_store();
    for file in files(&broker.data()).into_iter().chain(files(&broker.store_folder())) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let len = std::fs::metadata(&file).unwrap().len() as usize;
        // The text of `identity` and `format` has no checksum, and a slot of `synced` that is wrong claims nothing.
        if ["lock", "clean", "identity", "format", "synced"].contains(&name.as_str()) || len < 80 {
            continue;
        }
        let before = change(&file, 70);
        let (status, said) = inspect(&[file.to_str().unwrap()]);
        assert!(status == Some(1) && said.contains("WRONG"), "{} of {len} bytes: {said}", file.display());
        std::fs::write(&file, before).unwrap();
    }
}
