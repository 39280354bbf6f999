//! The answers that refuse requests of tools: see `refusal`, which has the others.

use kafka_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use kafka_protocol::messages::create_acls_response::AclCreationResult;
use kafka_protocol::messages::delete_acls_response::DeleteAclsFilterResult;
use kafka_protocol::messages::describe_producers_response::{PartitionResponse, TopicResponse};
use kafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kafka_protocol::messages::*;

/// As [`error_response`](super::error_response), for the requests that only tools send.
pub(super) fn error_response(request: &RequestKind, code: i16) -> Option<ResponseKind> {
    Some(match request {
        RequestKind::DescribeAcls(_) => {
            DescribeAclsResponse::default().with_error_code(code).with_error_message(None).into()
        }
        RequestKind::CreateAcls(request) => {
            let refused = AclCreationResult::default().with_error_code(code).with_error_message(None);
            CreateAclsResponse::default().with_results(vec![refused; request.creations.len()]).into()
        }
        RequestKind::DeleteAcls(request) => {
            let refused = DeleteAclsFilterResult::default().with_error_code(code).with_error_message(None);
            DeleteAclsResponse::default().with_filter_results(vec![refused; request.filters.len()]).into()
        }
        RequestKind::ElectLeaders(request) => elect_leaders(request, code).into(),
        RequestKind::AlterPartitionReassignments(request) => alter_partition_reassignments(request, code).into(),
        RequestKind::ListPartitionReassignments(_) => {
            ListPartitionReassignmentsResponse::default().with_error_code(code).with_error_message(None).into()
        }
        RequestKind::DescribeClientQuotas(_) => DescribeClientQuotasResponse::default()
            .with_error_code(code)
            .with_error_message(None)
            .with_entries(None)
            .into(),
        RequestKind::DescribeUserScramCredentials(_) => {
            DescribeUserScramCredentialsResponse::default().with_error_code(code).with_error_message(None).into()
        }
        RequestKind::DescribeQuorum(_) => {
            DescribeQuorumResponse::default().with_error_code(code).with_error_message(None).into()
        }
        RequestKind::UpdateFeatures(_) => {
            UpdateFeaturesResponse::default().with_error_code(code).with_error_message(None).into()
        }
        RequestKind::DescribeCluster(request) => DescribeClusterResponse::default()
            .with_error_code(code)
            .with_error_message(None)
            .with_endpoint_type(request.endpoint_type)
            .into(),
        RequestKind::DescribeProducers(request) => describe_producers(request, code).into(),
        RequestKind::ListTransactions(_) => ListTransactionsResponse::default().with_error_code(code).into(),
        RequestKind::ListConfigResources(_) => ListConfigResourcesResponse::default().with_error_code(code).into(),
        _ => return None,
    })
}

/// At the top from version 1 on, and for each partition in all of them.
fn elect_leaders(request: &ElectLeadersRequest, code: i16) -> ElectLeadersResponse {
    let results = request.topic_partitions.iter().flatten().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            PartitionResult::default().with_partition_id(*partition).with_error_code(code).with_error_message(None)
        });
        ReplicaElectionResult::default().with_topic(topic.topic.clone()).with_partition_result(partitions.collect())
    });
    ElectLeadersResponse::default().with_error_code(code).with_replica_election_results(results.collect())
}

fn alter_partition_reassignments(
    request: &AlterPartitionReassignmentsRequest,
    code: i16,
) -> AlterPartitionReassignmentsResponse {
    let responses = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            ReassignablePartitionResponse::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code)
                .with_error_message(None)
        });
        ReassignableTopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    AlterPartitionReassignmentsResponse::default().with_error_message(None).with_responses(responses.collect())
}

fn describe_producers(request: &DescribeProducersRequest, code: i16) -> DescribeProducersResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partition_indexes.iter().map(|index| {
            PartitionResponse::default().with_partition_index(*index).with_error_code(code).with_error_message(None)
        });
        TopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    DescribeProducersResponse::default().with_topics(topics.collect())
}
