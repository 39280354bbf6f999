//! AlterPartitionReassignments (KIP-455): partitions are asked to move to other brokers.
//!
//! With one broker there is one assignment that makes sense, and every partition has it already: to ask for that succeeds,
//! as in Kafka, and everything else is refused by the rules for assignments.

use super::wire::outcome;
use crate::config::BrokerId;
use crate::controller::{Refusal, check_assignment};
use crate::metadata::{Image, Partition, Publisher};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::alter_partition_reassignments_request::ReassignablePartition;
use kafka_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use kafka_protocol::messages::{AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse};

/// Answers an AlterPartitionReassignments request.
pub fn handle(
    request: &AlterPartitionReassignmentsRequest,
    version: i16,
    publisher: &Publisher,
) -> AlterPartitionReassignmentsResponse {
    let image = publisher.image();
    let may_change_factor = version < 1 || request.allow_replication_factor_change;
    let responses = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let answer = reassign(&image, &topic.name, asked, may_change_factor);
            let (code, message) = outcome(answer.as_ref());
            ReassignablePartitionResponse::default()
                .with_partition_index(asked.partition_index)
                .with_error_code(code)
                .with_error_message(message)
        });
        ReassignableTopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    AlterPartitionReassignmentsResponse::default()
        .with_allow_replication_factor_change(may_change_factor || request.topics.is_empty())
        .with_error_message(None)
        .with_responses(responses.collect())
}

fn reassign(image: &Image, topic: &str, asked: &ReassignablePartition, may_change_factor: bool) -> Result<(), Refusal> {
    let unknown = |message| Refusal::new(ResponseError::UnknownTopicOrPartition, message);
    let found = image.topic(topic).ok_or_else(|| unknown(format!("Unable to find a topic named {topic}.")))?;
    let index = asked.partition_index;
    let partition = u32::try_from(index).ok().and_then(|index| found.partition(index));
    let partition = partition.ok_or_else(|| unknown(format!("Unable to find partition {topic}:{index}.")))?;
    let Some(replicas) = &asked.replicas else {
        let message = "No partition reassignment is in progress.";
        return Err(Refusal::new(ResponseError::NoReassignmentInProgress, message));
    };
    // A negative id is no broker's, as the greatest one is not.
    let replicas: Vec<BrokerId> =
        replicas.iter().map(|id| BrokerId::from_wire(id.0).unwrap_or(BrokerId::new(u32::MAX))).collect();
    check_assignment(image, &replicas)?;
    place(partition, topic, index, &replicas, may_change_factor)
}

fn place(
    partition: &Partition,
    topic: &str,
    index: i32,
    replicas: &[BrokerId],
    may_change_factor: bool,
) -> Result<(), Refusal> {
    if !may_change_factor && replicas.len() != partition.replicas.len() {
        let message =
            format!("The replication factor is changed from {} to {}", partition.replicas.len(), replicas.len());
        return Err(Refusal::new(ResponseError::InvalidReplicationFactor, message));
    }
    if replicas == partition.replicas {
        return Ok(());
    }
    let message = format!("Partition {topic}-{index} cannot move: brokers do not replicate partitions yet.");
    Err(Refusal::new(ResponseError::InvalidReplicaAssignment, message))
}
