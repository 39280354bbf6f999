//! DescribeProducers (KIP-664): who wrote to a partition, with the last sequence of each.

use super::Handlers;
use super::answer_room::{AnswerRoom, TOO_MUCH, make_way};
use super::wire::text;
use crate::controller::check_topic_name;
use esker_protocol::error_code::ErrorCode;
use kafka_protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use kafka_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse, TopicName};

/// What a producer takes on the wire.
const PRODUCER_SIZE: usize = 41;
/// In place of a sequence, an epoch or an offset that is not there.
const NONE: i32 = -1;

/// Answers a DescribeProducers request.
pub(super) async fn handle(handlers: &Handlers, request: DescribeProducersRequest) -> DescribeProducersResponse {
    let mut room = AnswerRoom::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        for index in topic.partition_indexes {
            let answer = PartitionResponse::default().with_partition_index(index).with_error_message(None);
            let found =
                if room.is_full() { Err(ErrorCode::INVALID_REQUEST) } else { one(handlers, &topic.name, index) };
            partitions.push(match found {
                Ok(producers) if room.take(producers.len() * PRODUCER_SIZE) => answer.with_active_producers(producers),
                Ok(_) | Err(ErrorCode::INVALID_REQUEST) => {
                    answer.with_error_code(ErrorCode::INVALID_REQUEST.code()).with_error_message(Some(text(TOO_MUCH)))
                }
                Err(code) => answer.with_error_code(code.code()),
            });
            make_way().await;
        }
        topics.push(TopicResponse::default().with_name(topic.name).with_partitions(partitions));
    }
    DescribeProducersResponse::default().with_topics(topics)
}

fn one(handlers: &Handlers, topic: &TopicName, index: i32) -> Result<Vec<ProducerState>, ErrorCode> {
    check_topic_name(topic).map_err(|_| ErrorCode::INVALID_TOPIC_EXCEPTION)?;
    let partition = handlers.partition_by_name(topic, index)?;
    let producers = partition.log().local().active_producers().into_iter().map(|producer| {
        ProducerState::default()
            .with_producer_id(producer.id.into())
            .with_producer_epoch(producer.epoch.into())
            .with_last_sequence(producer.last_sequence.unwrap_or(NONE))
            .with_last_timestamp(producer.last_seen.millis())
            .with_coordinator_epoch(producer.coordinator_epoch.unwrap_or(NONE))
            .with_current_txn_start_offset(producer.transaction_start.map_or(NONE.into(), |start| start.to_wire()))
    });
    Ok(producers.collect())
}
