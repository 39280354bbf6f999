//! Tests of the controller on a real journal: batches, restarts, faults, fencing.

use super::*;
use crate::controller::testing::{Bench, Fault, block_on};
use crate::controller::{CreateTopics, DeleteTopics, NewTopic, ProducerIdPool, Refusal, TopicRef};
use crate::metadata::Image;
use futures_util::future::join_all;
use std::collections::BTreeSet;

fn create(bench: &Bench, names: &[String]) -> CreateTopics {
    let topics = names.iter().map(|name| NewTopic::automatic(name, bench.env.random.uuid(), &bench.config)).collect();
    CreateTopics { topics, validate_only: false }
}

fn one(bench: &Bench, name: &str) -> CreateTopics {
    create(bench, &[name.to_owned()])
}

#[test]
fn answers_come_after_the_image_is_published() {
    block_on(async {
        let bench = Bench::new(&[]);
        let node = bench.start().await;
        let settled = node.controller.submit(one(&bench, "a"), None).await.unwrap();
        let image = node.publisher.image();
        assert!(image.version() >= settled.version);
        assert_eq!(image.topic("a").unwrap().id, settled.answer[0].as_ref().unwrap().id);
        // What changes nothing commits nothing.
        let again = node.controller.submit(one(&bench, "a"), None).await.unwrap();
        assert!(again.answer[0].is_err());
        assert_eq!(node.publisher.image().version(), settled.version);
    });
}

#[test]
fn commands_that_wait_share_a_commit() {
    block_on(async {
        let bench = Bench::new(&[]);
        let node = bench.start().await;
        let before = node.publisher.image().version();
        let commands = (0..100).map(|n| node.controller.submit(one(&bench, &format!("t{}", n % 60)), None));
        let answers: Vec<_> = join_all(commands).await.into_iter().map(|settled| settled.unwrap().answer).collect();
        assert_eq!(answers.iter().filter(|answer| answer[0].is_ok()).count(), 60);
        let image = node.publisher.image();
        assert_eq!(image.topic_count(), 60);
        assert!(image.version() - before < 60, "{} commits for 60 topics", image.version() - before);
    });
}

#[test]
fn a_restart_finds_everything_and_takes_new_epochs() {
    block_on(async {
        let bench = Bench::new(&[("metadata.snapshot.commits", "4")]);
        let mut last: Option<std::sync::Arc<Image>> = None;
        for start in 0..6u32 {
            let node = bench.start().await;
            let image = node.publisher.image();
            if let Some(last) = &last {
                assert_eq!(
                    image.topics().map(|t| t.id).collect::<Vec<_>>(),
                    last.topics().map(|t| t.id).collect::<Vec<_>>()
                );
                let epochs = |image: &Image| -> Vec<u32> {
                    image.topics().flat_map(|t| &t.partitions).map(|p| p.leader_epoch.get()).collect()
                };
                assert!(epochs(last).iter().zip(epochs(&image)).all(|(before, now)| now == before + 1));
                assert_eq!(image.controller().unwrap().epoch, last.controller().unwrap().epoch + 1);
            }
            for topic in 0..3 {
                node.controller.submit(one(&bench, &format!("s{start}t{topic}")), None).await.unwrap();
            }
            let delete = DeleteTopics { topics: vec![TopicRef::Name(format!("s{start}t1"))] };
            node.controller.submit(delete, None).await.unwrap();
            last = Some(node.publisher.image());
        }
        assert_eq!(last.unwrap().topic_count(), 12);
        let keys = esker_storage::env::store::Store::list(&bench.store, "cluster/snapshot/", None, 100).await.unwrap();
        assert!(!keys.is_empty(), "snapshots were written");
    });
}

#[test]
fn lost_answers_change_nothing() {
    block_on(async {
        let bench = Bench::new(&[]);
        let node = bench.start().await;
        bench.store.set(Fault::LostAnswers);
        for n in 0..5 {
            let settled = node.controller.submit(one(&bench, &format!("t{n}")), None).await.unwrap();
            assert!(settled.answer[0].is_ok());
        }
        bench.store.set(Fault::None);
        assert_eq!(bench.start().await.publisher.image().topic_count(), 5);
    });
}

#[test]
fn while_the_store_is_away_requests_time_out_and_later_ones_go_on() {
    block_on(async {
        let bench = Bench::new(&[]);
        let node = bench.start().await;
        let before = node.publisher.image();
        bench.store.set(Fault::Away);
        let limit = Some(Duration::from_millis(100));
        let (first, second) = tokio::join!(
            node.controller.submit(one(&bench, "a"), limit),
            node.controller.submit(one(&bench, "b"), limit)
        );
        assert_eq!((first.unwrap_err(), second.unwrap_err()), (SubmitError::TimedOut, SubmitError::TimedOut));
        // Waits in the queue, gives up there, and is never done.
        let third = node.controller.submit(one(&bench, "c"), limit).await;
        assert_eq!(third.unwrap_err(), SubmitError::TimedOut);
        assert_eq!(node.publisher.image().version(), before.version());
        bench.store.set(Fault::None);
        let settled = node.controller.submit(one(&bench, "d"), None).await.unwrap();
        assert!(settled.answer[0].is_ok());
        let image = node.publisher.image();
        assert!(image.topic("c").is_none(), "nobody waited for it any more");
        assert!(image.topic("d").is_some());
    });
}

#[test]
fn a_deposed_controller_steps_down_without_a_change() {
    block_on(async {
        let bench = Bench::new(&[]);
        let old = bench.start().await;
        let new = bench.start().await;
        new.controller.submit(one(&bench, "new"), None).await.unwrap();
        let refused = old.controller.submit(one(&bench, "old"), None).await;
        assert_eq!(refused.unwrap_err(), SubmitError::NotController);
        assert_eq!(Refusal::from(SubmitError::NotController).error, kafka_protocol::ResponseError::NotController);
        assert!(matches!(*old.controller.state().borrow(), ControllerState::Deposed { .. }));
        assert!(old.controller.submit(one(&bench, "old"), None).await.is_err());
        assert_eq!(*new.controller.state().borrow(), ControllerState::Active);
        new.controller.submit(one(&bench, "newer"), None).await.unwrap();
        let image = bench.journal().await.image().clone();
        assert_eq!(image.topics().map(|t| t.name.to_string()).collect::<Vec<_>>(), ["new", "newer"]);
    });
}

#[test]
fn producer_ids_are_fetched_ahead_and_never_repeat() {
    block_on(async {
        let bench = Bench::new(&[("metadata.commit.timeout.ms", "300")]);
        let mut seen = BTreeSet::new();
        for _ in 0..2 {
            let node = bench.start().await;
            let pool = ProducerIdPool::new(bench.config.node_id);
            for id in join_all((0..2500).map(|_| pool.next(&node.controller))).await {
                assert!(seen.insert(id.unwrap()), "{id:?} was given twice");
            }
        }
        let node = bench.start().await;
        let pool = ProducerIdPool::new(bench.config.node_id);
        for _ in 0..600 {
            assert!(seen.insert(pool.next(&node.controller).await.unwrap()));
        }
        let fence = seen.last().unwrap().div_ceil(1000) * 1000 + 1000;
        while node.publisher.image().next_producer_id() < fence {
            bench.env.sleep(Duration::from_millis(1)).await;
        }
        bench.store.set(Fault::Away);
        let mut without_store = 0;
        while let Some(id) = pool.next(&node.controller).await {
            assert!(id < fence && seen.insert(id));
            without_store += 1;
        }
        assert_eq!(without_store, 1400, "the rest of this block and the one ahead");
    });
}

/// The bench's metadata log as anybody may write it, at its end.
async fn raw_log<R: esker_storage::numbered_log::Record>(
    bench: &Bench,
) -> esker_storage::numbered_log::NumberedLog<R, R> {
    use esker_storage::numbered_log::{LogName, NumberedLog};
    let store = std::sync::Arc::new(bench.store.clone());
    let name = LogName::new("cluster", crate::controller::testing::CLUSTER);
    let mut log = NumberedLog::open(store, bench.env.clone(), name).await.unwrap().log;
    while log.next().await.unwrap().is_some() {}
    log
}

#[test]
fn a_foreign_commit_is_replayed_and_everything_decided_again() {
    block_on(async {
        let bench = Bench::new(&[]);
        let node = bench.start().await;
        // A commit of a former controller, which landed late.
        let mut late = raw_log::<crate::metadata::Record>(&bench).await;
        let image = node.publisher.image();
        let plan = crate::controller::Command::plan(&one(&bench, "late"), &image, &Rules::new(&bench.config));
        late.commit(plan.records).await.unwrap();
        let (late, new) = tokio::join!(
            node.controller.submit(one(&bench, "late"), None),
            node.controller.submit(one(&bench, "new"), None)
        );
        let refused = late.unwrap().answer.remove(0).unwrap_err();
        assert_eq!(refused.error, kafka_protocol::ResponseError::TopicAlreadyExists);
        assert!(new.unwrap().answer[0].is_ok());
        assert_eq!(node.publisher.image().topic_count(), 2);
        assert_eq!(*node.controller.state().borrow(), ControllerState::Active);
        assert_eq!(bench.journal().await.image(), &node.publisher.image());
    });
}

#[test]
fn a_log_that_cannot_be_replayed_stops_the_broker_by_name() {
    block_on(async {
        for (record, named) in [
            (serde_json::json!({"kind": "SplitTopic", "id": 1}), "SplitTopic"),
            (serde_json::json!({"kind": "DeleteTopic", "id": uuid::Uuid::from_u128(5)}), "no topic"),
        ] {
            let bench = Bench::new(&[]);
            let node = bench.start().await;
            let mut log = raw_log::<serde_json::Value>(&bench).await;
            log.commit(vec![record]).await.unwrap();
            let store = std::sync::Arc::new(bench.store.clone());
            let opened = Journal::open(store, &bench.env, crate::controller::testing::CLUSTER, 10, |_| {}).await;
            let error = opened.err().unwrap();
            assert!(!error.is_retry() && error.to_string().contains(named), "{error}");
            // The controller that runs into it fails, and says so.
            node.controller.submit(one(&bench, "a"), None).await.unwrap_err();
            let state = node.controller.state().borrow().clone();
            assert!(matches!(&state, ControllerState::Failed { reason } if reason.contains(named)), "{state:?}");
        }
    });
}
