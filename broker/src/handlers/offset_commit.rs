//! OffsetCommit (key 8, versions 2 to 10): a group's offsets, by one of its members or from outside.
//!
//! Generation -1 is from outside, and for groups without members. Versions 2 to 4 may choose a retention of their own;
//! the leader epoch came with version 6, static members with version 7. From version 10 on topics have ids in place of
//! names, and so they have in the answer.

use super::group_wire::{code, owned, owned_option};
use super::topic_ids::Named;
use crate::coordinators::group::request::{CommitPartition, CommitRequest};
use crate::coordinators::group::{Caller, GroupCoordinator};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use std::time::Duration;

/// The first version with topic ids.
const TOPIC_IDS: i16 = 10;

/// Every topic and partition of the request, in its order, each with its error.
pub async fn handle(
    coordinator: &GroupCoordinator,
    caller: &Caller,
    request: OffsetCommitRequest,
) -> OffsetCommitResponse {
    let version = caller.api_version;
    let image = coordinator.topics();
    let named: Vec<Named> = request
        .topics
        .iter()
        .map(|topic| Named::new(image.as_ref(), version >= TOPIC_IDS, &topic.name, topic.topic_id))
        .collect();
    let known = request.topics.iter().zip(&named).filter_map(|(topic, named)| Some((topic, named.known()?)));
    // -1 stands for the broker's own retention.
    let retention = u64::try_from(request.retention_time_ms).ok().filter(|_| version <= 4).map(Duration::from_millis);
    let commit = CommitRequest {
        group: owned(&request.group_id),
        member: owned(&request.member_id),
        instance: owned_option(request.group_instance_id.as_ref()),
        generation: Some(request.generation_id_or_member_epoch).filter(|generation| *generation >= 0),
        retention,
        knows_member_epochs: version >= 9,
        topics: known.map(|(topic, name)| (name.to_owned(), partitions(topic))).collect(),
    };
    let asks_nothing = commit.topics.is_empty() && !request.topics.is_empty();
    let committed = if asks_nothing { Ok(Vec::new()) } else { coordinator.commit(commit).await };
    let mut committed = committed.map(Vec::into_iter);
    let topics = request.topics.iter().zip(named).map(|(topic, named)| {
        let asked = topic.partitions.iter();
        let partitions: Vec<_> = match (named.known(), &mut committed) {
            (None, _) => {
                let unknown = ResponseError::UnknownTopicId.code();
                asked.map(|asked| partition(asked.partition_index, unknown)).collect()
            }
            (Some(_), Ok(committed)) => {
                let answered = committed.next().map(|(_, partitions)| partitions).unwrap_or_default();
                answered.into_iter().map(|(index, error)| partition(index, code(error))).collect()
            }
            // The answer has no place for an error of the whole request.
            (Some(_), Err(error)) => asked.map(|asked| partition(asked.partition_index, error.code())).collect(),
        };
        let answer = OffsetCommitResponseTopic::default().with_partitions(partitions);
        if version >= TOPIC_IDS { answer.with_topic_id(topic.topic_id) } else { answer.with_name(topic.name.clone()) }
    });
    let topics = topics.collect();
    OffsetCommitResponse::default().with_topics(topics)
}

fn partitions(topic: &OffsetCommitRequestTopic) -> Vec<CommitPartition> {
    let partitions = topic.partitions.iter().map(|partition| CommitPartition {
        partition: partition.partition_index,
        offset: partition.committed_offset,
        leader_epoch: Some(partition.committed_leader_epoch).filter(|epoch| *epoch >= 0),
        metadata: partition.committed_metadata.as_ref().map(owned).unwrap_or_default(),
    });
    partitions.collect()
}

fn partition(index: i32, error: i16) -> OffsetCommitResponsePartition {
    OffsetCommitResponsePartition::default().with_partition_index(index).with_error_code(error)
}
