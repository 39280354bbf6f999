//! OffsetForLeaderEpoch (key 23): where a leader epoch ended, for consumers that check for truncation (KIP-320).

use super::Handlers;
use crate::partition::lookup_code;
use esker_protocol::error_code::ErrorCode;
use esker_storage::offset::LeaderEpoch;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};

/// Answers `request`.
pub(super) async fn handle(handlers: &Handlers, request: OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
    // A replica id of 0 or more would be a broker, and there are no other brokers.
    let refused = (request.replica_id.0 >= 0).then_some(ErrorCode::CLUSTER_AUTHORIZATION_FAILED);
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in &topic.partitions {
            let mut answer =
                EpochEndOffset::default().with_partition(wanted.partition).with_leader_epoch(-1).with_end_offset(-1);
            match refused {
                Some(code) => answer.error_code = code.code(),
                None => match one(handlers, &topic.topic, wanted).await {
                    Ok(Some((epoch, end))) => {
                        answer.leader_epoch = epoch.to_wire();
                        answer.end_offset = end;
                    }
                    Ok(None) => {}
                    Err(code) => answer.error_code = code.code(),
                },
            }
            partitions.push(answer);
        }
        topics.push(OffsetForLeaderTopicResult::default().with_topic(topic.topic).with_partitions(partitions));
    }
    OffsetForLeaderEpochResponse::default().with_topics(topics)
}

async fn one(
    handlers: &Handlers,
    topic: &TopicName,
    wanted: &OffsetForLeaderPartition,
) -> Result<Option<(LeaderEpoch, i64)>, ErrorCode> {
    let partition = handlers.partition_by_name(topic, wanted.partition)?;
    partition.check_epoch(wanted.current_leader_epoch)?;
    let Some(epoch) = LeaderEpoch::from_wire(wanted.leader_epoch) else { return Ok(None) };
    let found = partition.end_of_epoch(epoch).await.map_err(|error| lookup_code(&error))?;
    Ok(found.map(|(epoch, end)| (epoch, end.to_wire())))
}
