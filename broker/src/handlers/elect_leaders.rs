//! ElectLeaders (KIP-183, KIP-460): the preferred leader, or any replica, is asked to lead.
//!
//! A partition's first replica leads it for as long as its broker is there, so that an election is never needed; where the
//! broker is away there is nobody else to elect.

use super::wire::text;
use crate::metadata::{Image, Publisher};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kafka_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};

/// Elects the first of a partition's replicas; before version 1 there is no other kind.
const PREFERRED: i8 = 0;
/// Elects any replica where there is no leader.
const UNCLEAN: i8 = 1;

/// Answers an ElectLeaders request.
pub fn handle(request: &ElectLeadersRequest, version: i16, publisher: &Publisher) -> ElectLeadersResponse {
    let kind = if version >= 1 { request.election_type } else { PREFERRED };
    let image = publisher.image();
    if kind != PREFERRED && kind != UNCLEAN {
        let refused =
            |index: &i32| result(*index, ResponseError::InvalidRequest, format!("Unknown election type {kind}"));
        let results = request.topic_partitions.iter().flatten().map(|topic| {
            ReplicaElectionResult::default()
                .with_topic(topic.topic.clone())
                .with_partition_result(topic.partitions.iter().map(refused).collect())
        });
        return ElectLeadersResponse::default()
            .with_error_code(ResponseError::InvalidRequest.code())
            .with_replica_election_results(results.collect());
    }
    let results = match &request.topic_partitions {
        // Of all partitions those are left out that have the leader they should have.
        None => image
            .topics()
            .map(|topic| {
                let partitions = (0..).zip(&topic.partitions).filter_map(|(index, _)| {
                    let (error, message) = elect(&image, &topic.name, index, kind);
                    (error != ResponseError::ElectionNotNeeded).then(|| result(index, error, message))
                });
                ReplicaElectionResult::default()
                    .with_topic(super::wire::topic_name(&topic.name))
                    .with_partition_result(partitions.collect())
            })
            .collect(),
        Some(topics) => topics
            .iter()
            .map(|topic| {
                let partitions = topic.partitions.iter().map(|index| {
                    let (error, message) = elect(&image, &topic.topic, *index, kind);
                    result(*index, error, message)
                });
                ReplicaElectionResult::default()
                    .with_topic(topic.topic.clone())
                    .with_partition_result(partitions.collect())
            })
            .collect(),
    };
    ElectLeadersResponse::default().with_replica_election_results(results)
}

fn elect(image: &Image, topic: &str, index: i32, kind: i8) -> (ResponseError, String) {
    let Some(found) = image.topic(topic) else {
        return (ResponseError::UnknownTopicOrPartition, format!("No such topic as {topic}"));
    };
    let Some(partition) = u32::try_from(index).ok().and_then(|index| found.partition(index)) else {
        return (ResponseError::UnknownTopicOrPartition, format!("No such partition as {topic}-{index}"));
    };
    let led = partition.leader.filter(|leader| image.broker(*leader).is_some());
    let preferred = led.is_some() && led == partition.replicas.first().copied();
    match kind {
        PREFERRED if preferred => not_needed(),
        UNCLEAN if led.is_some() => not_needed(),
        PREFERRED => (ResponseError::PreferredLeaderNotAvailable, "The preferred leader was not available.".to_owned()),
        _ => (
            ResponseError::EligibleLeadersNotAvailable,
            "Eligible topic partition leaders are not available.".to_owned(),
        ),
    }
}

fn not_needed() -> (ResponseError, String) {
    (ResponseError::ElectionNotNeeded, "Leader election not needed for topic partition.".to_owned())
}

fn result(index: i32, error: ResponseError, message: String) -> PartitionResult {
    PartitionResult::default()
        .with_partition_id(index)
        .with_error_code(error.code())
        .with_error_message(Some(text(message)))
}
