//! DeleteRecords (key 21): a partition's log starts later (KIP-107).
//!
//! Answered once that survives a crash, and the loss of the disk: the tier log has the new start first, then the
//! partition's checkpoint. All partitions of a request are moved at the same time, so that they share a commit or two.

use super::Handlers;
use crate::metadata::is_internal;
use esker_protocol::error_code::ErrorCode;
use esker_storage::offset::Offset;
use futures_util::stream::{self, StreamExt};
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsRequest};
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use std::time::Duration;

/// In place of an offset: everything that is committed.
const HIGH_WATERMARK: i64 = -1;
/// In place of the low watermark of a partition that is refused.
const NO_LOW_WATERMARK: i64 = -1;
/// Partitions of one request whose logs are moved at the same time.
const PARALLEL: usize = 64;

/// Answers `request`.
pub(super) async fn handle(handlers: &Handlers, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let deadline = handlers.env.now().plus(handlers.controller.limit_of(request.timeout_ms));
    let mut topics = Vec::with_capacity(request.topics.len());
    let mut asked = Vec::new();
    for (at, topic) in request.topics.into_iter().enumerate() {
        asked.extend(topic.partitions.into_iter().map(|partition| (at, topic.name.clone(), partition)));
        topics.push(DeleteRecordsTopicResult::default().with_name(topic.name));
    }
    let answers: Vec<(usize, DeleteRecordsPartitionResult)> = stream::iter(asked)
        .map(|(at, topic, asked)| async move {
            let left: Duration = deadline.since(handlers.env.now());
            let deleted = handlers.env.timeout(left, delete(handlers, &topic, &asked)).await;
            let answer = DeleteRecordsPartitionResult::default().with_partition_index(asked.partition_index);
            // What timed out may still come about.
            let answer = match deleted.unwrap_or(Err(ErrorCode::REQUEST_TIMED_OUT)) {
                Ok(start) => answer.with_low_watermark(start.to_wire()),
                Err(code) => answer.with_low_watermark(NO_LOW_WATERMARK).with_error_code(code.code()),
            };
            (at, answer)
        })
        .buffered(PARALLEL)
        .collect()
        .await;
    for (at, answer) in answers {
        if let Some(topic) = topics.get_mut(at) {
            topic.partitions.push(answer);
        }
    }
    DeleteRecordsResponse::default().with_topics(topics)
}

async fn delete(handlers: &Handlers, topic: &TopicName, asked: &DeleteRecordsPartition) -> Result<Offset, ErrorCode> {
    if is_internal(topic) {
        return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
    }
    let partition = handlers.partition_by_name(topic, asked.partition_index)?;
    let upto = match asked.offset {
        HIGH_WATERMARK => None,
        offset => Some(Offset::from_wire(offset).ok_or(ErrorCode::OFFSET_OUT_OF_RANGE)?),
    };
    let start = partition.delete_before(upto).await?;
    Ok(start.offset())
}
