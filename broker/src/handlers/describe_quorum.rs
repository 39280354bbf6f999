//! DescribeQuorum (KIP-595, KIP-836): who writes the metadata, and how far.
//!
//! In Kafka's words: the log of partition 0 of `__cluster_metadata` is the metadata log in the object store, its leader
//! the controller, the leader's epoch the number of its election, and an offset the number of a commit. Nobody votes: a
//! controller is elected by its commit. So the one voter is the controller, and the other brokers observe.

use super::wire::{broker, text, topic_name};
use crate::metadata::{Broker, Image, Publisher};
use esker_storage::env::Timestamp;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_quorum_response::{Listener, Node, PartitionData, ReplicaState, TopicData};
use kafka_protocol::messages::{DescribeQuorumRequest, DescribeQuorumResponse};

const TOPIC: &str = "__cluster_metadata";
const NO_TIMESTAMP: i64 = -1;

/// Answers a DescribeQuorum request: about the metadata log, and about nothing beside it.
pub fn handle(
    request: &DescribeQuorumRequest,
    version: i16,
    now: Timestamp,
    publisher: &Publisher,
) -> DescribeQuorumResponse {
    let image = publisher.image();
    let is_known = match request.topics.as_slice() {
        [topic] => {
            topic.topic_name.as_str() == TOPIC && topic.partitions.iter().map(|asked| asked.partition_index).eq([0])
        }
        _ => false,
    };
    let topics = if is_known {
        let metadata = partition(&image, version, now);
        vec![TopicData::default().with_topic_name(topic_name(TOPIC)).with_partitions(vec![metadata])]
    } else {
        let unknown = |index| {
            let answer = PartitionData::default().with_partition_index(index).with_error_message(None);
            refused(answer, ResponseError::UnknownTopicOrPartition)
        };
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| unknown(asked.partition_index));
            TopicData::default().with_topic_name(topic.topic_name.clone()).with_partitions(partitions.collect())
        });
        topics.collect()
    };
    let nodes =
        if is_known && version >= 2 { image.brokers().map(|broker| node(broker)).collect() } else { Vec::new() };
    DescribeQuorumResponse::default().with_error_message(None).with_topics(topics).with_nodes(nodes)
}

fn refused(partition: PartitionData, error: ResponseError) -> PartitionData {
    partition.with_error_code(error.code()).with_error_message(Some(text(message(error))))
}

fn message(error: ResponseError) -> &'static str {
    match error {
        ResponseError::UnknownTopicOrPartition => "This server does not host this topic-partition.",
        _ => "There is no leader for this topic-partition as we are in the middle of a leadership election.",
    }
}

fn partition(image: &Image, version: i16, now: Timestamp) -> PartitionData {
    let answer = PartitionData::default().with_partition_index(0).with_error_message(None);
    let Some(term) = image.controller() else { return refused(answer, ResponseError::LeaderNotAvailable) };
    let end = i64::try_from(image.version()).unwrap_or(i64::MAX);
    let state = |broker: &Broker| {
        // This broker knows of the others only what the image says: that they are there.
        let is_leader = broker.id == term.broker;
        let seen = if is_leader && version >= 1 { now.millis() } else { NO_TIMESTAMP };
        let mut state = ReplicaState::default()
            .with_replica_id(super::wire::broker(Some(broker.id)))
            .with_log_end_offset(if is_leader { end } else { -1 })
            .with_last_fetch_timestamp(seen)
            .with_last_caught_up_timestamp(seen);
        if version >= 2 {
            state.replica_directory_id = broker.log_dirs.first().copied().unwrap_or_default();
        }
        state
    };
    let (voters, observers) =
        image.brokers().map(AsRef::as_ref).partition::<Vec<&Broker>, _>(|broker| broker.id == term.broker);
    answer
        .with_leader_id(broker(Some(term.broker)))
        .with_leader_epoch(i32::try_from(term.epoch).unwrap_or(i32::MAX))
        .with_high_watermark(end)
        .with_current_voters(voters.into_iter().map(state).collect())
        .with_observers(observers.into_iter().map(state).collect())
}

fn node(broker: &Broker) -> Node {
    let listeners = broker.listeners.iter().map(|listener| {
        Listener::default().with_name(text(&listener.name)).with_host(text(&listener.host)).with_port(listener.port)
    });
    Node::default().with_node_id(super::wire::broker(Some(broker.id))).with_listeners(listeners.collect())
}
