//! ListOffsets (key 2): offsets by timestamp, or one of Kafka's special timestamps (KIP-79, KIP-405, KIP-734, KIP-1005,
//! KIP-1023).

use super::Handlers;
use crate::partition::{Found, Partition, lookup_code};
use esker_protocol::error_code::ErrorCode;
use esker_storage::env::Timestamp;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;
/// A look-up may read from the tier; requests before version 10 do not say how long they wait.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const READ_COMMITTED: i8 = 1;

/// Answers `request`.
pub(super) async fn handle(handlers: &Handlers, request: ListOffsetsRequest, version: i16) -> ListOffsetsResponse {
    let limit = match u64::try_from(request.timeout_ms) {
        Ok(millis) if millis > 0 => Duration::from_millis(millis),
        _ => DEFAULT_TIMEOUT,
    };
    // Of the whole request: its partitions together do not take longer.
    let deadline = handlers.env.now().plus(limit);
    let committed = request.isolation_level == READ_COMMITTED;
    // A replica id of 0 or more would be a broker, and there are no other brokers.
    let refused = (request.replica_id.0 >= 0).then_some(ErrorCode::CLUSTER_AUTHORIZATION_FAILED);
    let mut times: BTreeMap<(TopicName, i32), usize> = BTreeMap::new();
    for topic in &request.topics {
        for wanted in &topic.partitions {
            *times.entry((topic.name.clone(), wanted.partition_index)).or_default() += 1;
        }
    }
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in &topic.partitions {
            // A partition that is asked for twice is refused, once.
            let asked = times.insert((topic.name.clone(), wanted.partition_index), 0).unwrap_or(0);
            let refused = match asked {
                0 => continue,
                1 => refused,
                _ => Some(ErrorCode::INVALID_REQUEST),
            };
            let mut answer = ListOffsetsPartitionResponse::default()
                .with_partition_index(wanted.partition_index)
                .with_timestamp(-1)
                .with_offset(-1)
                .with_leader_epoch(-1);
            let left = deadline.since(handlers.env.now());
            let found = match refused {
                Some(code) => Err(code),
                None => match handlers.partition_by_name(&topic.name, wanted.partition_index) {
                    Ok(partition) => handlers
                        .env
                        .timeout(left, look_up(&partition, wanted, committed, version))
                        .await
                        .unwrap_or(Err(ErrorCode::REQUEST_TIMED_OUT)),
                    Err(code) => Err(code),
                },
            };
            match found {
                Ok(Some(found)) => {
                    answer.offset = found.offset.to_wire();
                    answer.timestamp = found.timestamp.map_or(-1, Timestamp::millis);
                    answer.leader_epoch = found.epoch.map_or(-1, |epoch| epoch.to_wire());
                }
                Ok(None) => {}
                Err(code) => answer.error_code = code.code(),
            }
            partitions.push(answer);
        }
        topics.push(ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions));
    }
    ListOffsetsResponse::default().with_topics(topics)
}

/// The first version in which a special timestamp has its meaning; before, it is refused.
fn since(timestamp: i64) -> i16 {
    match timestamp {
        MAX_TIMESTAMP => 7,
        EARLIEST_LOCAL => 8,
        LATEST_TIERED => 9,
        EARLIEST_PENDING_UPLOAD => 11,
        _ => 0,
    }
}

async fn look_up(
    partition: &Arc<Partition>,
    wanted: &ListOffsetsPartition,
    committed: bool,
    version: i16,
) -> Result<Option<Found>, ErrorCode> {
    partition.check_epoch(wanted.current_leader_epoch)?;
    if version < since(wanted.timestamp) {
        return Err(ErrorCode::UNSUPPORTED_VERSION);
    }
    match wanted.timestamp {
        LATEST => Ok(Some(partition.latest(committed))),
        EARLIEST => partition.earliest().await.map(Some).map_err(|error| lookup_code(&error)),
        EARLIEST_LOCAL => partition.earliest_local().await.map(Some).map_err(|error| lookup_code(&error)),
        LATEST_TIERED => Ok(partition.latest_tiered()),
        EARLIEST_PENDING_UPLOAD => partition.earliest_pending_upload().await.map_err(|error| lookup_code(&error)),
        MAX_TIMESTAMP => partition.max_timestamp(committed).await.map_err(|error| lookup_code(&error)),
        millis if millis >= 0 => {
            partition.at_timestamp(Timestamp::from_millis(millis), committed).await.map_err(|error| lookup_code(&error))
        }
        _ => Err(ErrorCode::UNSUPPORTED_VERSION),
    }
}
