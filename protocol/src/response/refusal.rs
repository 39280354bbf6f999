//! The answer that refuses a request as a whole: for every API, the response that its clients understand as an error.
//!
//! Where a response has an error code at its top, that carries the error; where it has one per topic, partition, group
//! or resource, every item of the request is echoed with it, since clients look for what they asked for. Offsets,
//! epochs and ids are -1 then, as in Kafka's `getErrorResponse`.

use super::admin_refusal;
use crate::api;
use crate::error_code::ErrorCode;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
use kafka_protocol::messages::describe_groups_response::DescribedGroup;
use kafka_protocol::messages::describe_log_dirs_response::DescribeLogDirsResult;
use kafka_protocol::messages::describe_topic_partitions_response::DescribeTopicPartitionsResponseTopic;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse as IncrementalResource;
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;

/// The response to `request`, of `version`, that says `error` and nothing else; `None` for an API that Esker does not
/// have.
///
/// An acks=0 Produce request is not exempt: who sends must know that it has no answer.
pub fn error_response(request: &RequestKind, version: i16, error: ErrorCode) -> Option<ResponseKind> {
    let code = error.code();
    Some(match request {
        RequestKind::Produce(request) => produce(request, code).into(),
        RequestKind::Fetch(request) => fetch(request, version, code).into(),
        RequestKind::ListOffsets(request) => list_offsets(request, code).into(),
        RequestKind::Metadata(request) => metadata(request, code).into(),
        RequestKind::OffsetCommit(request) => offset_commit(request, code).into(),
        RequestKind::OffsetFetch(request) => offset_fetch(request, version, code).into(),
        RequestKind::FindCoordinator(request) => find_coordinator(request, version, code).into(),
        RequestKind::JoinGroup(_) => {
            JoinGroupResponse::default().with_error_code(code).with_generation_id(-1).with_protocol_name(None).into()
        }
        RequestKind::Heartbeat(_) => HeartbeatResponse::default().with_error_code(code).into(),
        RequestKind::LeaveGroup(_) => LeaveGroupResponse::default().with_error_code(code).into(),
        RequestKind::SyncGroup(_) => SyncGroupResponse::default().with_error_code(code).into(),
        RequestKind::DescribeGroups(request) => describe_groups(request, code).into(),
        RequestKind::ListGroups(_) => ListGroupsResponse::default().with_error_code(code).into(),
        RequestKind::ApiVersions(_) => api::versions_refused(error).into(),
        RequestKind::CreateTopics(request) => create_topics(request, code).into(),
        RequestKind::DeleteTopics(request) => delete_topics(request, version, code).into(),
        RequestKind::DeleteRecords(request) => delete_records(request, code).into(),
        RequestKind::InitProducerId(_) => InitProducerIdResponse::default()
            .with_error_code(code)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1)
            .into(),
        RequestKind::OffsetForLeaderEpoch(request) => offset_for_leader_epoch(request, code).into(),
        RequestKind::DescribeConfigs(request) => describe_configs(request, code).into(),
        RequestKind::AlterConfigs(request) => alter_configs(request, code).into(),
        RequestKind::DescribeLogDirs(_) => describe_log_dirs(version, code).into(),
        RequestKind::IncrementalAlterConfigs(request) => incremental_alter_configs(request, code).into(),
        RequestKind::CreatePartitions(request) => create_partitions(request, code).into(),
        RequestKind::DeleteGroups(request) => delete_groups(request, code).into(),
        RequestKind::OffsetDelete(_) => OffsetDeleteResponse::default().with_error_code(code).into(),
        RequestKind::ConsumerGroupHeartbeat(_) => {
            ConsumerGroupHeartbeatResponse::default().with_error_code(code).with_error_message(None).into()
        }
        RequestKind::ConsumerGroupDescribe(request) => consumer_group_describe(request, code).into(),
        RequestKind::DescribeTopicPartitions(request) => describe_topic_partitions(request, code).into(),
        request => return admin_refusal::error_response(request, code),
    })
}

fn produce(request: &ProduceRequest, code: i16) -> ProduceResponse {
    let topics = request.topic_data.iter().map(|topic| {
        let partitions = topic.partition_data.iter().map(|partition| {
            PartitionProduceResponse::default()
                .with_index(partition.index)
                .with_error_code(code)
                .with_base_offset(-1)
                .with_error_message(None)
        });
        TopicProduceResponse::default()
            .with_name(topic.name.clone())
            .with_topic_id(topic.topic_id)
            .with_partition_responses(partitions.collect())
    });
    ProduceResponse::default().with_responses(topics.collect())
}

/// Clients of version 13 and above know the error at the top; older ones look at the partitions.
fn fetch(request: &FetchRequest, version: i16, code: i16) -> FetchResponse {
    let response = FetchResponse::default().with_error_code(code);
    if version >= 13 {
        return response;
    }
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            PartitionData::default()
                .with_partition_index(partition.partition)
                .with_error_code(code)
                .with_high_watermark(-1)
        });
        FetchableTopicResponse::default().with_topic(topic.topic.clone()).with_partitions(partitions.collect())
    });
    response.with_responses(topics.collect())
}

fn list_offsets(request: &ListOffsetsRequest, code: i16) -> ListOffsetsResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            ListOffsetsPartitionResponse::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code)
                .with_timestamp(-1)
                .with_offset(-1)
        });
        ListOffsetsTopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

fn metadata(request: &MetadataRequest, code: i16) -> MetadataResponse {
    let topics = request.topics.iter().flatten().map(|topic| {
        MetadataResponseTopic::default()
            .with_error_code(code)
            .with_name(topic.name.clone())
            .with_topic_id(topic.topic_id)
    });
    MetadataResponse::default().with_cluster_id(None).with_topics(topics.collect()).with_error_code(code)
}

fn offset_commit(request: &OffsetCommitRequest, code: i16) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code)
        });
        OffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_topic_id(topic.topic_id)
            .with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

/// At the top from 2 to 7, per group from 8 on; version 1 has it per partition only.
fn offset_fetch(request: &OffsetFetchRequest, version: i16, code: i16) -> OffsetFetchResponse {
    if version >= 8 {
        let groups = request.groups.iter().map(|group| {
            OffsetFetchResponseGroup::default().with_group_id(group.group_id.clone()).with_error_code(code)
        });
        return OffsetFetchResponse::default().with_groups(groups.collect());
    }
    if version >= 2 {
        return OffsetFetchResponse::default().with_error_code(code);
    }
    let topics = request.topics.iter().flatten().map(|topic| {
        let partitions = topic.partition_indexes.iter().map(|index| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(*index)
                .with_committed_offset(-1)
                .with_metadata(Some(StrBytes::default()))
                .with_error_code(code)
        });
        OffsetFetchResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    OffsetFetchResponse::default().with_topics(topics.collect())
}

fn find_coordinator(request: &FindCoordinatorRequest, version: i16, code: i16) -> FindCoordinatorResponse {
    if version < 4 {
        return FindCoordinatorResponse::default()
            .with_error_code(code)
            .with_error_message(None)
            .with_node_id((-1).into())
            .with_port(-1);
    }
    let coordinators = request.coordinator_keys.iter().map(|key| {
        Coordinator::default()
            .with_key(key.clone())
            .with_node_id((-1).into())
            .with_port(-1)
            .with_error_code(code)
            .with_error_message(None)
    });
    FindCoordinatorResponse::default().with_coordinators(coordinators.collect())
}

fn describe_groups(request: &DescribeGroupsRequest, code: i16) -> DescribeGroupsResponse {
    let groups = request.groups.iter().map(|group| {
        DescribedGroup::default().with_error_code(code).with_error_message(None).with_group_id(group.clone())
    });
    DescribeGroupsResponse::default().with_groups(groups.collect())
}

fn consumer_group_describe(request: &ConsumerGroupDescribeRequest, code: i16) -> ConsumerGroupDescribeResponse {
    let groups = request.group_ids.iter().map(|group| {
        consumer_group_describe_response::DescribedGroup::default()
            .with_error_code(code)
            .with_error_message(None)
            .with_group_id(group.clone())
    });
    ConsumerGroupDescribeResponse::default().with_groups(groups.collect())
}

fn create_topics(request: &CreateTopicsRequest, code: i16) -> CreateTopicsResponse {
    let topics = request.topics.iter().map(|topic| {
        CreatableTopicResult::default().with_name(topic.name.clone()).with_error_code(code).with_error_message(None)
    });
    CreateTopicsResponse::default().with_topics(topics.collect())
}

fn delete_topics(request: &DeleteTopicsRequest, version: i16, code: i16) -> DeleteTopicsResponse {
    let refused = DeletableTopicResult::default().with_error_code(code).with_error_message(None);
    let results = if version >= 6 {
        let topics = request.topics.iter();
        topics.map(|topic| refused.clone().with_name(topic.name.clone()).with_topic_id(topic.topic_id)).collect()
    } else {
        request.topic_names.iter().map(|name| refused.clone().with_name(Some(name.clone()))).collect()
    };
    DeleteTopicsResponse::default().with_responses(results)
}

fn delete_records(request: &DeleteRecordsRequest, code: i16) -> DeleteRecordsResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            DeleteRecordsPartitionResult::default()
                .with_partition_index(partition.partition_index)
                .with_low_watermark(-1)
                .with_error_code(code)
        });
        DeleteRecordsTopicResult::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    DeleteRecordsResponse::default().with_topics(topics.collect())
}

/// At the top from 3 on; before, an answer has errors of directories only, so that one without a name stands for all.
fn describe_log_dirs(version: i16, code: i16) -> DescribeLogDirsResponse {
    if version >= 3 {
        return DescribeLogDirsResponse::default().with_error_code(code);
    }
    DescribeLogDirsResponse::default().with_results(vec![DescribeLogDirsResult::default().with_error_code(code)])
}

fn offset_for_leader_epoch(request: &OffsetForLeaderEpochRequest, code: i16) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            EpochEndOffset::default()
                .with_error_code(code)
                .with_partition(partition.partition)
                .with_leader_epoch(-1)
                .with_end_offset(-1)
        });
        OffsetForLeaderTopicResult::default().with_topic(topic.topic.clone()).with_partitions(partitions.collect())
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}

fn describe_configs(request: &DescribeConfigsRequest, code: i16) -> DescribeConfigsResponse {
    let results = request.resources.iter().map(|resource| {
        DescribeConfigsResult::default()
            .with_error_code(code)
            .with_error_message(None)
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone())
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn alter_configs(request: &AlterConfigsRequest, code: i16) -> AlterConfigsResponse {
    let resources = request.resources.iter().map(|resource| {
        AlterConfigsResourceResponse::default()
            .with_error_code(code)
            .with_error_message(None)
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone())
    });
    AlterConfigsResponse::default().with_responses(resources.collect())
}

fn incremental_alter_configs(request: &IncrementalAlterConfigsRequest, code: i16) -> IncrementalAlterConfigsResponse {
    let resources = request.resources.iter().map(|resource| {
        IncrementalResource::default()
            .with_error_code(code)
            .with_error_message(None)
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone())
    });
    IncrementalAlterConfigsResponse::default().with_responses(resources.collect())
}

fn create_partitions(request: &CreatePartitionsRequest, code: i16) -> CreatePartitionsResponse {
    let results = request.topics.iter().map(|topic| {
        CreatePartitionsTopicResult::default()
            .with_name(topic.name.clone())
            .with_error_code(code)
            .with_error_message(None)
    });
    CreatePartitionsResponse::default().with_results(results.collect())
}

fn delete_groups(request: &DeleteGroupsRequest, code: i16) -> DeleteGroupsResponse {
    let results = request
        .groups_names
        .iter()
        .map(|group| DeletableGroupResult::default().with_group_id(group.clone()).with_error_code(code));
    DeleteGroupsResponse::default().with_results(results.collect())
}

fn describe_topic_partitions(request: &DescribeTopicPartitionsRequest, code: i16) -> DescribeTopicPartitionsResponse {
    let topics = request.topics.iter().map(|topic| {
        DescribeTopicPartitionsResponseTopic::default().with_error_code(code).with_name(Some(topic.name.clone()))
    });
    DescribeTopicPartitionsResponse::default().with_topics(topics.collect())
}
