//! Fits a response to a version: what the version cannot say is dropped, or said in its older form.
//!
//! Three answers have an older form that must not be lost: OffsetFetch before 8, FindCoordinator before 4 and LeaveGroup
//! before 3 answer for one group, key or member, which handlers fill in as the first of the list. Everything else that
//! is dropped here is what Kafka calls ignorable: the client did not ask for it and does not miss it. The fields of
//! Fetch need nothing, since our own encoder writes what the version has.
//!
//! An error code that came with a later version becomes the older one that makes a client do the same: to a client
//! that does not know a code it is UNKNOWN_SERVER_ERROR, and final.
//!
//! Strings that are null where an old version has no null become empty. An empty error message becomes null: it is
//! what the crate's structs start with, and Kafka never sends one.

use crate::error_code::ErrorCode;
use kafka_protocol::messages::offset_fetch_response::{OffsetFetchResponsePartition, OffsetFetchResponseTopic};
use kafka_protocol::messages::{
    DescribeGroupsResponse, DescribeQuorumResponse, FindCoordinatorResponse, ListOffsetsResponse, MetadataResponse,
    OffsetFetchResponse, ResponseKind,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

/// In place of a set of authorized operations: the client did not ask.
const NO_OPERATIONS: i32 = i32::MIN;

/// Changes `response` so that `version` can be encoded.
pub fn fit(response: &mut ResponseKind, version: i16) {
    match response {
        ResponseKind::Produce(response) => {
            for partition in response.responses.iter_mut().flat_map(|topic| &mut topic.partition_responses) {
                null_if_empty(&mut partition.error_message);
                storage_error(&mut partition.error_code, version >= 4);
            }
        }
        ResponseKind::Fetch(response) if version < 6 => {
            let partitions = response.responses.iter_mut().flat_map(|topic| &mut topic.partitions);
            partitions.for_each(|partition| storage_error(&mut partition.error_code, false));
        }
        ResponseKind::ListOffsets(response) => list_offsets(response, version),
        ResponseKind::Metadata(response) => metadata(response, version),
        ResponseKind::OffsetFetch(response) => offset_fetch(response, version),
        ResponseKind::FindCoordinator(response) => find_coordinator(response, version),
        ResponseKind::JoinGroup(response) => {
            response.skip_assignment &= version >= 9;
            if version < 7 {
                empty_if_null(&mut response.protocol_name);
            }
        }
        ResponseKind::LeaveGroup(response) if version < 3 => {
            let members = std::mem::take(&mut response.members);
            if let (0, Some(member)) = (response.error_code, members.first()) {
                response.error_code = member.error_code;
            }
        }
        ResponseKind::DescribeGroups(response) => describe_groups(response, version),
        ResponseKind::ConsumerGroupHeartbeat(response) => null_if_empty(&mut response.error_message),
        ResponseKind::ConsumerGroupDescribe(response) => {
            for group in &mut response.groups {
                null_if_empty(&mut group.error_message);
                if version < 1 {
                    group.members.iter_mut().for_each(|member| member.member_type = -1);
                }
            }
        }
        ResponseKind::CreateTopics(response) => {
            response.topics.iter_mut().for_each(|topic| null_if_empty(&mut topic.error_message));
        }
        ResponseKind::DeleteTopics(response) => {
            for topic in &mut response.responses {
                null_if_empty(&mut topic.error_message);
                if version < 6 {
                    topic.name.get_or_insert_default();
                }
            }
        }
        ResponseKind::InitProducerId(response) => {
            // Two-phase commit is in version 6 only, which is not stable.
            response.ongoing_txn_producer_id = (-1).into();
            response.ongoing_txn_producer_epoch = -1;
            if version < 4 {
                replace(&mut response.error_code, ErrorCode::PRODUCER_FENCED, ErrorCode::INVALID_PRODUCER_EPOCH);
            }
        }
        ResponseKind::DescribeAcls(response) => null_if_empty(&mut response.error_message),
        ResponseKind::DescribeConfigs(response) => {
            response.results.iter_mut().for_each(|result| null_if_empty(&mut result.error_message));
        }
        ResponseKind::AlterConfigs(response) => {
            response.responses.iter_mut().for_each(|resource| null_if_empty(&mut resource.error_message));
        }
        ResponseKind::IncrementalAlterConfigs(response) => {
            response.responses.iter_mut().for_each(|resource| null_if_empty(&mut resource.error_message));
        }
        ResponseKind::CreatePartitions(response) => {
            response.results.iter_mut().for_each(|result| null_if_empty(&mut result.error_message));
        }
        ResponseKind::ListPartitionReassignments(response) => null_if_empty(&mut response.error_message),
        ResponseKind::ElectLeaders(response) if version < 1 => response.error_code = 0,
        ResponseKind::DescribeQuorum(response) => describe_quorum(response, version),
        ResponseKind::DescribeCluster(response) => {
            null_if_empty(&mut response.error_message);
            if version < 1 {
                response.endpoint_type = 1;
            }
            response.brokers.iter_mut().for_each(|broker| broker.is_fenced &= version >= 2);
        }
        _ => {}
    }
}

fn list_offsets(response: &mut ListOffsetsResponse, version: i16) {
    for partition in response.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        if version < 4 {
            partition.leader_epoch = -1;
        }
        if version < 5 {
            replace(&mut partition.error_code, ErrorCode::OFFSET_NOT_AVAILABLE, ErrorCode::LEADER_NOT_AVAILABLE);
        }
    }
}

fn metadata(response: &mut MetadataResponse, version: i16) {
    if !(8..=10).contains(&version) {
        response.cluster_authorized_operations = NO_OPERATIONS;
    }
    for topic in &mut response.topics {
        if version < 8 {
            topic.topic_authorized_operations = NO_OPERATIONS;
        }
        if version < 12 {
            topic.name.get_or_insert_default();
        }
    }
}

fn offset_fetch(response: &mut OffsetFetchResponse, version: i16) {
    if version >= 8 {
        response.topics.clear();
        return;
    }
    let mut groups = std::mem::take(&mut response.groups);
    let Some(group) = groups.first_mut() else { return };
    response.error_code = group.error_code;
    response.topics = group
        .topics
        .drain(..)
        .map(|topic| {
            let partitions = topic.partitions.into_iter().map(|partition| {
                OffsetFetchResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_committed_offset(partition.committed_offset)
                    .with_committed_leader_epoch(partition.committed_leader_epoch)
                    .with_metadata(partition.metadata)
                    .with_error_code(partition.error_code)
            });
            OffsetFetchResponseTopic::default().with_name(topic.name).with_partitions(partitions.collect())
        })
        .collect();
}

fn find_coordinator(response: &mut FindCoordinatorResponse, version: i16) {
    if version >= 4 {
        response.error_code = 0;
        response.error_message = None;
        response.node_id = 0.into();
        response.host = StrBytes::default();
        response.port = 0;
        response.coordinators.iter_mut().for_each(|coordinator| null_if_empty(&mut coordinator.error_message));
        return;
    }
    let mut coordinators = std::mem::take(&mut response.coordinators);
    if let Some(coordinator) = coordinators.first_mut() {
        response.error_code = coordinator.error_code;
        response.error_message = coordinator.error_message.take();
        response.node_id = coordinator.node_id;
        response.host = std::mem::take(&mut coordinator.host);
        response.port = coordinator.port;
    }
    null_if_empty(&mut response.error_message);
}

fn describe_quorum(response: &mut DescribeQuorumResponse, version: i16) {
    null_if_empty(&mut response.error_message);
    let partitions = response.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
    for partition in partitions {
        null_if_empty(&mut partition.error_message);
        if version < 2 {
            let replicas = partition.current_voters.iter_mut().chain(&mut partition.observers);
            replicas.for_each(|replica| replica.replica_directory_id = Uuid::nil());
        }
    }
    if version < 2 {
        response.nodes.clear();
    }
}

fn describe_groups(response: &mut DescribeGroupsResponse, version: i16) {
    for group in &mut response.groups {
        null_if_empty(&mut group.error_message);
        if version < 6 {
            group.error_message = None;
        }
        if version < 3 {
            group.authorized_operations = NO_OPERATIONS;
        }
    }
}

/// KAFKA_STORAGE_ERROR, to a client that does not know it: look for another leader.
fn storage_error(code: &mut i16, known: bool) {
    if !known {
        replace(code, ErrorCode::KAFKA_STORAGE_ERROR, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    }
}

fn replace(code: &mut i16, newer: ErrorCode, older: ErrorCode) {
    if *code == newer.code() {
        *code = older.code();
    }
}

fn null_if_empty(text: &mut Option<StrBytes>) {
    if text.as_ref().is_some_and(|text| text.is_empty()) {
        *text = None;
    }
}

fn empty_if_null(text: &mut Option<StrBytes>) {
    text.get_or_insert_default();
}
