//! Tests of Metadata, version by version.

use super::*;
use crate::config::BrokerId;
use crate::controller::testing::{Bench, CLUSTER, Fault, Node, block_on};
use crate::handlers::testing::{create, encodes, name};

async fn ask(node: &Node, request: &MetadataRequest, version: i16) -> MetadataResponse {
    let answer = handle(request, version, "PLAINTEXT", &node.publisher, &node.controller, &node.config).await;
    encodes(&answer, version);
    answer
}

fn request(names: &[&str]) -> MetadataRequest {
    let topics = names.iter().map(|n| MetadataRequestTopic::default().with_name(Some(name(n)))).collect();
    MetadataRequest::default().with_topics(Some(topics)).with_allow_auto_topic_creation(false)
}

fn names(answer: &MetadataResponse) -> Vec<(String, i16)> {
    let text = |topic: &MetadataResponseTopic| topic.name.as_ref().map(|n| n.0.to_string()).unwrap_or_default();
    answer.topics.iter().map(|topic| (text(topic), topic.error_code)).collect()
}

#[test]
fn brokers_and_topics_in_every_version() {
    block_on(async {
        let bench = Bench::new(&[]);
        let node = bench.start().await;
        create(&node, "b", 2).await;
        create(&node, "a", 1).await;
        for version in 0..=13 {
            let all = MetadataRequest::default().with_topics(if version == 0 { Some(vec![]) } else { None });
            let answer = ask(&node, &all, version).await;
            assert_eq!(names(&answer), [("a".into(), 0), ("b".into(), 0)]);
            assert_eq!(answer.brokers.len(), 1);
            assert_eq!((answer.brokers[0].host.as_str(), answer.brokers[0].port), ("127.0.0.1", 9092));
            assert_eq!(answer.controller_id, answer.brokers[0].node_id);
            assert_eq!(answer.cluster_id.as_ref().unwrap().as_str(), id_text(CLUSTER));
            let partitions = &answer.topics[1].partitions;
            assert_eq!(partitions.iter().map(|p| p.partition_index).collect::<Vec<_>>(), [0, 1]);
            assert!(partitions.iter().all(|p| p.leader_id.0 == 1 && p.isr_nodes == p.replica_nodes));
            let none = MetadataRequest::default().with_topics(Some(vec![]));
            assert_eq!(ask(&node, &none, version).await.topics.is_empty(), version > 0);
            // In the request's order, each once, the unknown and the impossible with their errors.
            let answer = ask(&node, &request(&["x", "b", "a b", "a", "b"]), version).await;
            assert_eq!(names(&answer), [("x".into(), 3), ("b".into(), 0), ("a b".into(), 17), ("a".into(), 0)]);
        }
        assert_eq!(node.publisher.image().topic_count(), 2);
    });
}

#[test]
fn topics_are_found_by_id_from_version_12_on() {
    block_on(async {
        let bench = Bench::new(&[]);
        let node = bench.start().await;
        let id = create(&node, "a", 1).await;
        let by_id = |n: Option<&str>, id| {
            let topic = MetadataRequestTopic::default().with_name(n.map(name)).with_topic_id(id);
            MetadataRequest::default().with_topics(Some(vec![topic]))
        };
        for version in 10..=13 {
            let invalid = ResponseError::InvalidRequest.code();
            let (found, unknown) = (ask(&node, &by_id(None, id), version).await, Uuid::from_u128(9));
            if version < 12 {
                assert_eq!(names(&found), [(String::new(), invalid)]);
            } else {
                assert_eq!(names(&found), [("a".into(), 0)]);
                // As Java's consumers ask, who are assigned ids.
                let found = ask(&node, &by_id(Some(""), id), version).await;
                assert_eq!(names(&found), [("a".into(), 0)]);
                let answer = ask(&node, &by_id(None, unknown), version).await;
                assert_eq!(answer.topics[0].error_code, ResponseError::UnknownTopicId.code());
                assert_eq!((answer.topics[0].name.clone(), answer.topics[0].topic_id), (None, unknown));
            }
            // With both, the id decides.
            let both = ask(&node, &by_id(Some("b"), id), version).await;
            assert_eq!(names(&both), if version < 12 { [("b".into(), invalid)] } else { [("a".into(), 0)] });
            assert_eq!(ask(&node, &by_id(None, Uuid::nil()), version).await.topics[0].error_code, invalid);
        }
    });
}

#[test]
fn operations_are_told_only_when_asked_for() {
    block_on(async {
        let bench = Bench::new(&[]);
        let node = bench.start().await;
        create(&node, "a", 1).await;
        let both = MetadataRequest::default()
            .with_topics(None)
            .with_include_cluster_authorized_operations(true)
            .with_include_topic_authorized_operations(true);
        for version in 0..=13 {
            let request = if version == 0 { both.clone().with_topics(Some(vec![])) } else { both.clone() };
            let answer = ask(&node, &request, version).await;
            let cluster = if (8..=10).contains(&version) { 8096 } else { i32::MIN };
            let topic = if version >= 8 { 3576 } else { i32::MIN };
            assert_eq!(answer.cluster_authorized_operations, cluster);
            assert_eq!(answer.topics[0].topic_authorized_operations, topic);
        }
    });
}

#[test]
fn asking_creates_and_the_first_answer_is_complete() {
    block_on(async {
        let bench = Bench::new(&[("num.partitions", "3")]);
        let node = bench.start().await;
        let ask_for = |names: &[&str]| request(names).with_allow_auto_topic_creation(true);
        let answer = ask(&node, &ask_for(&["new", "n w", "new.er", "new_er"]), 4).await;
        let expected = [("new", 0), ("n w", 17), ("new.er", 0), ("new_er", 17)];
        assert_eq!(names(&answer), expected.map(|(n, e)| (n.to_owned(), e)));
        assert_eq!(answer.topics[0].partitions.len(), 3);
        assert!(answer.topics[0].partitions.iter().all(|p| p.error_code == 0 && p.leader_id.0 == 1));
        // Internal topics as their coordinators need them, or not at all.
        let answer = ask(&node, &ask_for(&["__consumer_offsets", "__transaction_state"]), 9).await;
        assert_eq!(names(&answer).iter().map(|(_, code)| *code).collect::<Vec<_>>(), [0, 3]);
        assert!(answer.topics[0].is_internal && answer.topics[1].is_internal);
        assert_eq!(answer.topics[0].partitions.len(), 16);
        let offsets = node.publisher.image().topic("__consumer_offsets").unwrap().clone();
        assert_eq!(offsets.configs.get("cleanup.policy").map(String::as_str), Some("compact"));
    });
}

#[test]
fn nothing_is_created_when_that_is_off_or_the_store_away() {
    block_on(async {
        let bench = Bench::new(&[("auto.create.topics.enable", "false")]);
        let node = bench.start().await;
        let answer = ask(&node, &request(&["new"]).with_allow_auto_topic_creation(true), 4).await;
        assert_eq!(names(&answer), [("new".into(), 3)]);

        let bench = Bench::new(&[("metadata.commit.timeout.ms", "50")]);
        let node = bench.start().await;
        bench.store.set(Fault::Away);
        let answer = ask(&node, &request(&["new"]).with_allow_auto_topic_creation(true), 4).await;
        assert_eq!(names(&answer), [("new".into(), ResponseError::LeaderNotAvailable.code())]);
    });
}

#[test]
fn the_answer_waits_until_the_partitions_are_open() {
    block_on(async {
        let bench = Bench::new(&[]);
        let node = bench.start().await;
        let applier = node.publisher.applier();
        let mut news = node.publisher.subscribe(node.publisher.image());
        let request = request(&["new"]).with_allow_auto_topic_creation(true);
        let (mut opened, ask) = (false, ask(&node, &request, 12));
        let open = async {
            let published = news.next().await.unwrap();
            node.env.sleep(Duration::from_millis(30)).await;
            opened = true;
            applier.applied(published.image.version());
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            answer = ask => assert_eq!(names(&answer), [("new".into(), 0)]),
            () = open => {}
        }
        assert!(opened);
    });
}

#[test]
fn a_replica_of_no_registered_broker_is_offline() {
    use crate::metadata::{Assignment, CreateTopic, Delta, Record};
    use esker_storage::offset::LeaderEpoch;
    let ids = vec![BrokerId::new(7)];
    let mut delta = Delta::new(std::sync::Arc::new(Image::empty()));
    delta
        .apply(&Record::CreateTopic(CreateTopic {
            name: "a".into(),
            id: Uuid::from_u128(1),
            partitions: vec![Assignment {
                replicas: ids.clone(),
                isr: ids.clone(),
                leader: Some(BrokerId::new(7)),
                leader_epoch: LeaderEpoch::new(4),
            }],
            configs: Default::default(),
        }))
        .unwrap();
    let (image, _) = delta.finish(1);
    let partition = found(&image, image.topic("a").unwrap(), 13, NO_OPERATIONS).partitions.remove(0);
    assert_eq!((partition.error_code, partition.leader_id.0, partition.leader_epoch), (5, -1, 4));
    assert_eq!(partition.offline_replicas, brokers(&ids));
}
