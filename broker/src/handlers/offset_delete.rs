//! OffsetDelete (key 47, version 0): offsets of topics that a group does not consume are forgotten (KIP-496).

use super::group_wire::{code, owned};
use super::wire::topic_name;
use crate::coordinators::group::GroupCoordinator;
use kafka_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

/// Every topic and partition of the request, in its order, each with its error; or an error of the whole group.
pub async fn handle(coordinator: &GroupCoordinator, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| partition.partition_index);
        (owned(&topic.name), partitions.collect())
    });
    match coordinator.delete_offsets(owned(&request.group_id), topics.collect()).await {
        Err(error) => OffsetDeleteResponse::default().with_error_code(error.code()),
        Ok(results) => {
            let topics = results.into_iter().map(|(topic, partitions)| {
                let partitions = partitions.into_iter().map(|(index, error)| {
                    OffsetDeleteResponsePartition::default().with_partition_index(index).with_error_code(code(error))
                });
                OffsetDeleteResponseTopic::default().with_name(topic_name(&topic)).with_partitions(partitions.collect())
            });
            OffsetDeleteResponse::default().with_topics(topics.collect())
        }
    }
}
