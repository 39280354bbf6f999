//! Tests of CreateTopics, version by version.

use super::*;
use crate::controller::testing::{Bench, Fault, Node, block_on};
use crate::handlers::testing::{encodes, name};
use kafka_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopicConfig};

async fn ask(node: &Node, request: &CreateTopicsRequest, version: i16) -> CreateTopicsResponse {
    let answer = handle(request, version, &node.publisher, &node.controller, &node.config).await;
    encodes(&answer, version);
    answer
}

fn topic(n: &str, partitions: i32, factor: i16) -> CreatableTopic {
    CreatableTopic::default().with_name(name(n)).with_num_partitions(partitions).with_replication_factor(factor)
}

fn codes(answer: &CreateTopicsResponse) -> Vec<i16> {
    answer.topics.iter().map(|topic| topic.error_code).collect()
}

#[test]
fn every_version_says_what_it_can() {
    block_on(async {
        let bench = Bench::new(&[("log.retention.ms", "77")]);
        let node = bench.start().await;
        for version in 2..=7 {
            let config = CreatableTopicConfig::default().with_name(text("segment.ms")).with_value(Some(text("5000")));
            let topics = vec![topic(&format!("v{version}"), 2, 1).with_configs(vec![config]), topic("v2", 1, 1)];
            let dry = CreateTopicsRequest::default().with_topics(topics).with_validate_only(true);
            let exists = ResponseError::TopicAlreadyExists.code();
            // Version 2 names v2 twice, which is refused, once.
            let expected = if version == 2 { vec![ResponseError::InvalidRequest.code()] } else { vec![0, exists] };
            assert_eq!(codes(&ask(&node, &dry, version).await), expected);
            if version == 2 {
                let one = CreateTopicsRequest::default().with_topics(vec![topic("v2", 2, 1)]);
                assert_eq!(codes(&ask(&node, &one, version).await), [0]);
                continue;
            }
            let answer = ask(&node, &dry.with_validate_only(false), version).await;
            assert_eq!(codes(&answer), expected);
            let created = &answer.topics[0];
            let id = node.publisher.image().topic(&format!("v{version}")).unwrap().id;
            assert_eq!(created.topic_id, if version >= 7 { id } else { Uuid::nil() });
            assert_eq!(created.num_partitions, if version >= 5 { 2 } else { -1 });
            assert!(answer.topics[1].error_message.is_some());
            if version >= 5 {
                let configs = created.configs.as_ref().unwrap();
                let get = |key: &str| {
                    let config = configs.iter().find(|config| config.name.as_str() == key).unwrap();
                    (config.value.as_ref().unwrap().to_string(), config.config_source)
                };
                assert_eq!(get("segment.ms"), ("5000".into(), 1));
                assert_eq!(get("retention.ms"), ("77".into(), 4));
                assert_eq!(get("cleanup.policy"), ("delete".into(), 5));
            }
        }
    });
}

#[test]
fn what_cannot_be_is_refused_item_by_item() {
    block_on(async {
        let node = Bench::new(&[]).start().await;
        let assigned = |assignments: &[(i32, &[i32])]| -> Vec<CreatableReplicaAssignment> {
            let assign = |(partition, ids): &(i32, &[i32])| {
                CreatableReplicaAssignment::default()
                    .with_partition_index(*partition)
                    .with_broker_ids(ids.iter().map(|id| (*id).into()).collect())
            };
            assignments.iter().map(assign).collect()
        };
        let null = CreatableTopicConfig::default().with_name(text("retention.ms")).with_value(None);
        let unknown =
            CreatableTopicConfig::default().with_name(text("message.format.version")).with_value(Some(text("1")));
        use ResponseError::*;
        let cases: Vec<(CreatableTopic, i16)> = vec![
            (topic("defaults", -1, -1), 0),
            (topic("partitions", 0, 1), InvalidPartitions.code()),
            (topic("negative", -2, 1), InvalidPartitions.code()),
            (topic("many", i32::MAX, 1), InvalidPartitions.code()),
            (topic("factor", 1, 2), InvalidReplicationFactor.code()),
            (topic("factor2", 1, -2), InvalidReplicationFactor.code()),
            (topic("", 1, 1), InvalidTopicException.code()),
            (topic("null", 1, 1).with_configs(vec![null]), InvalidConfig.code()),
            (topic("unknown", 1, 1).with_configs(vec![unknown]), InvalidConfig.code()),
            (topic("manual", -1, -1).with_assignments(assigned(&[(1, &[1]), (0, &[1])])), 0),
            (topic("both", 1, -1).with_assignments(assigned(&[(0, &[1])])), InvalidRequest.code()),
            (topic("both2", -1, 1).with_assignments(assigned(&[(0, &[1])])), InvalidRequest.code()),
            (topic("hole", -1, -1).with_assignments(assigned(&[(1, &[1])])), InvalidReplicaAssignment.code()),
            (
                topic("twice", -1, -1).with_assignments(assigned(&[(0, &[1]), (0, &[1])])),
                InvalidReplicaAssignment.code(),
            ),
            (topic("minus", -1, -1).with_assignments(assigned(&[(0, &[-1])])), InvalidReplicaAssignment.code()),
            (topic("nobody", -1, -1).with_assignments(assigned(&[(0, &[5])])), InvalidReplicaAssignment.code()),
        ];
        let (topics, expected): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
        let answer = ask(&node, &CreateTopicsRequest::default().with_topics(topics), 7).await;
        assert_eq!(codes(&answer), expected);
        assert_eq!(node.publisher.image().topic_count(), 2);
        assert!(answer.topics.iter().all(|topic| (topic.error_code == 0) == topic.error_message.is_none()));
    });
}

#[test]
fn a_store_that_is_away_is_a_time_out() {
    block_on(async {
        let bench = Bench::new(&[]);
        let node = bench.start().await;
        bench.store.set(Fault::Away);
        let topics = vec![topic("a", 1, 1), topic("b", 0, 1)];
        let request = CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(50);
        assert_eq!(codes(&ask(&node, &request, 7).await), [ResponseError::RequestTimedOut.code(); 2]);
    });
}
