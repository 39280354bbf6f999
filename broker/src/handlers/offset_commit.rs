//! OffsetCommit (key 8, versions 2 to 9): a group's offsets, by one of its members or from outside.
//!
//! Generation -1 is from outside, and for groups without members. Versions 2 to 4 may choose a retention of their own;
//! the leader epoch came with version 6, static members with version 7.

use super::group_wire::{code, owned, owned_option};
use super::wire::text;
use crate::coordinators::group::request::{CommitPartition, CommitRequest};
use crate::coordinators::group::{Caller, GroupCoordinator};
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse, TopicName};
use std::time::Duration;

/// Every topic and partition of the request, in its order, each with its error.
pub async fn handle(
    coordinator: &GroupCoordinator,
    caller: &Caller,
    request: OffsetCommitRequest,
) -> OffsetCommitResponse {
    let version = caller.api_version;
    // -1 stands for the broker's own retention.
    let retention = u64::try_from(request.retention_time_ms).ok().filter(|_| version <= 4).map(Duration::from_millis);
    let commit = CommitRequest {
        group: owned(&request.group_id),
        member: owned(&request.member_id),
        instance: owned_option(request.group_instance_id.as_ref()),
        generation: Some(request.generation_id_or_member_epoch).filter(|generation| *generation >= 0),
        retention,
        knows_member_epochs: version >= 9,
        topics: request.topics.iter().map(|topic| (owned(&topic.name), partitions(topic))).collect(),
    };
    let topics = match coordinator.commit(commit).await {
        Ok(results) => results
            .into_iter()
            .map(|(topic, partitions)| {
                let partitions = partitions.into_iter().map(|(index, error)| partition(index, code(error)));
                OffsetCommitResponseTopic::default()
                    .with_name(TopicName(text(topic)))
                    .with_partitions(partitions.collect())
            })
            .collect(),
        // The answer has no place for an error of the whole request.
        Err(error) => request
            .topics
            .iter()
            .map(|topic| {
                let partitions = topic.partitions.iter();
                let partitions = partitions.map(|asked| partition(asked.partition_index, error.code()));
                OffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
            })
            .collect(),
    };
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
