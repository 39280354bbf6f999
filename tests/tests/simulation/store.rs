//! The store: atomic whatever the weather, and honest only about what is certain.

use bytes::Bytes;
use esker_storage::env::store::{Store, StoreError};
use esker_tests::sim::{Chance, Config, Crash, FailureKind, StoreEffect, StoreFaults, World, check, run};
use std::collections::BTreeMap;
use std::time::Duration;

#[test]
fn an_object_is_created_once_and_its_first_bytes_stay() {
    let mut kinds = BTreeMap::new();
    for finished in check(0..40, |world: World| async move {
        world.store().set_faults(StoreFaults::stormy());
        world.store().immutable_below("log/");
        let mut answers = Vec::new();
        let (sender, mut receiver) = tokio::sync::mpsc::channel(100);
        for writer in 0..4 {
            let (store, sender) = (world.store().clone(), sender.clone());
            world.spawn("writer", async move {
                for number in 0..10 {
                    let bytes = Bytes::from(format!("writer {writer}"));
                    let answer = store.put_if_absent(&format!("log/{number}"), bytes).await;
                    sender.send((writer, number, answer)).await.unwrap();
                }
            });
        }
        drop(sender);
        while let Some(answer) = receiver.recv().await {
            answers.push(answer);
        }
        // Late effects come later.
        world.sleep(Duration::from_secs(120)).await;
        let objects = world.store().objects();
        let mut created = BTreeMap::new();
        for event in world.store().history() {
            assert!(matches!(event.effect, StoreEffect::Created(_)));
            assert!(created.insert(event.key.clone(), event).is_none(), "created twice");
        }
        let mut seen = Vec::new();
        for (writer, number, answer) in answers {
            let own = Bytes::from(format!("writer {writer}"));
            let there = objects.get(&format!("log/{number}"));
            seen.push(match answer {
                Ok(()) => {
                    assert_eq!(there, Some(&own), "an answer of success is true");
                    "ok"
                }
                Err(StoreError::AlreadyExists { .. }) if there == Some(&own) => "own conflict",
                Err(StoreError::AlreadyExists { .. }) if there.is_none() => "conflict, and nothing there",
                Err(StoreError::AlreadyExists { .. }) => "lost the race",
                Err(StoreError::Indefinite { .. }) if there == Some(&own) => "unknown, and there",
                Err(StoreError::Indefinite { .. }) => "unknown, and not there",
                Err(other) => panic!("{other}"),
            });
        }
        seen
    }) {
        for kind in finished.output {
            *kinds.entry(kind).or_insert(0) += 1;
        }
    }
    assert!(kinds.len() >= 5 && kinds.values().all(|count| *count > 0), "{kinds:?}");
}

#[test]
fn a_request_outlives_the_process_that_sent_it() {
    let finished = check(0..60, |world: World| async move {
        let node = world.add_node("n", |node| {
            Box::pin(async move {
                let _ = node.store.put_if_absent("key", Bytes::from_static(b"x")).await;
            })
        });
        world.start(node);
        let pause = world.draw(|rng| rng.duration(Duration::ZERO..Duration::from_millis(5)));
        world.sleep(pause).await;
        world.crash(node, Crash::Kill);
        let before = world.store().objects().len();
        world.sleep(Duration::from_secs(1)).await;
        world.store().objects().len() - before
    });
    let arrived: usize = finished.iter().map(|finished| finished.output).sum();
    assert!(arrived > 5 || finished.len() < 60, "{arrived}");
}

#[test]
fn objects_are_read_listed_and_deleted() {
    run(Config::seeded(1), |world: World| async move {
        let store = world.store();
        for key in ["a/1", "a/2", "a/3", "b/1"] {
            store.put(key, Bytes::copy_from_slice(key.as_bytes())).await.unwrap();
        }
        let keys = async |prefix, after, limit| {
            let entries = store.list(prefix, after, limit).await.unwrap();
            entries.into_iter().map(|entry| entry.key).collect::<Vec<_>>()
        };
        assert_eq!(keys("a/", None, 2).await, ["a/1", "a/2"]);
        assert_eq!(keys("a/", Some("a/2"), 9).await, ["a/3"]);
        assert_eq!(keys("", None, 9).await.len(), 4);
        assert_eq!(store.get("a/1").await.unwrap(), "a/1");
        assert_eq!(store.get_range("a/1", 1..3).await.unwrap(), "/1");
        assert!(matches!(store.get_range("a/1", 1..4).await, Err(StoreError::Indefinite { .. })));
        assert!(matches!(store.put_if_absent("a/1", Bytes::new()).await, Err(StoreError::AlreadyExists { .. })));
        store.delete("a/1").await.unwrap();
        store.delete("a/1").await.unwrap();
        assert!(matches!(store.get("a/1").await, Err(StoreError::NotFound { .. })));
        let mut upload = store.upload("big").await.unwrap();
        upload.part(Bytes::from(vec![1; 5 << 20])).await.unwrap();
        upload.part(Bytes::from(vec![2; 10])).await.unwrap();
        assert!(matches!(store.get("big").await, Err(StoreError::NotFound { .. })));
        upload.complete().await.unwrap();
        assert_eq!(store.get("big").await.unwrap().len(), (5 << 20) + 10);
    })
    .unwrap();
}

#[test]
fn an_outage_ends() {
    run(Config::seeded(1), |world: World| async move {
        world.store().outage(Duration::from_secs(30));
        assert!(matches!(world.store().put("k", Bytes::new()).await, Err(StoreError::Indefinite { .. })));
        world.sleep(Duration::from_secs(31)).await;
        world.store().put("k", Bytes::new()).await.unwrap();
    })
    .unwrap();
}

#[test]
fn an_immutable_object_that_is_replaced_fails_the_run() {
    let failure = run(Config::seeded(1), |world: World| async move {
        world.store().immutable_below("log/");
        world.store().put("log/1", Bytes::from_static(b"a")).await.unwrap();
        world.store().put("log/1", Bytes::from_static(b"a")).await.unwrap();
        world.store().put("log/1", Bytes::from_static(b"b")).await.unwrap();
        world.sleep(Duration::from_millis(1)).await;
    })
    .unwrap_err();
    assert!(matches!(failure.kind, FailureKind::Violated { .. }), "{failure}");
}

/// The recipe of the numbered log, right and wrong: does every acknowledged record end up in it once?
async fn numbered(world: World, settle: bool) {
    world.store().set_faults(StoreFaults { answer_lost: Chance::percent(10), ..StoreFaults::none() });
    let store = world.store().clone();
    let mut number = 0;
    for record in 0..30 {
        let bytes = Bytes::from(format!("record {record}"));
        loop {
            let key = format!("log/{number:020}");
            let answer = store.put_if_absent(&key, bytes.clone()).await;
            let ours = match answer {
                Ok(()) => true,
                Err(_) if settle => match store.get(&key).await {
                    Ok(there) => there == bytes,
                    Err(_) => continue,
                },
                Err(_) => false,
            };
            number += 1;
            if ours {
                break;
            }
        }
    }
    let mut records: Vec<_> = world.store().objects().into_values().collect();
    records.sort();
    let all = records.len();
    records.dedup();
    assert_eq!((records.len(), all), (30, 30), "each record once");
}

#[test]
fn a_lost_answer_that_is_not_settled_is_caught() {
    check(0..20, |world| numbered(world, true));
    let caught = esker_tests::sim::first_failure(0..20, |world| numbered(world, false));
    assert!(caught.is_some_and(|failure| matches!(failure.kind, FailureKind::Panicked { .. })));
}
