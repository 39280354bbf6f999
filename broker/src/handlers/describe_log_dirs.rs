//! DescribeLogDirs (key 35): what is in each log directory, how large, and how much room there is (KIP-113, KIP-827).
//!
//! Sizes are of what lies on this broker's disk; what a partition has in the tier is not in any directory.

use super::Handlers;
use super::wire::{text, topic_name};
use crate::partition::Partition;
use esker_protocol::error_code::ErrorCode;
use esker_storage::env::Pool;
use esker_storage::log::LogDir;
use kafka_protocol::messages::describe_log_dirs_request::DescribeLogDirsRequest;
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// In place of a number of bytes that is not known.
const UNKNOWN: i64 = -1;

/// Answers `request`.
pub(super) async fn handle(handlers: &Handlers, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    let asked: Option<BTreeMap<String, BTreeSet<i32>>> = request.topics.map(|topics| {
        let mut asked: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
        for topic in topics {
            asked.entry(topic.topic.to_string()).or_default().extend(topic.partitions);
        }
        asked
    });
    let led = handlers.hosted.led();
    let mut results = Vec::new();
    for dir in handlers.hosted.dirs() {
        let result = DescribeLogDirsResult::default().with_log_dir(text(dir.path().display().to_string()));
        if dir.failure().is_some() {
            results.push(
                result
                    .with_error_code(ErrorCode::KAFKA_STORAGE_ERROR.code())
                    .with_total_bytes(UNKNOWN)
                    .with_usable_bytes(UNKNOWN),
            );
            continue;
        }
        let (total, usable) = space(handlers, dir).await;
        let here = led.iter().filter(|partition| Arc::ptr_eq(partition.log().local().dir(), dir));
        results
            .push(result.with_topics(topics(here, asked.as_ref())).with_total_bytes(total).with_usable_bytes(usable));
    }
    DescribeLogDirsResponse::default().with_results(results)
}

/// The size of a directory's file system and what of it may still be used, in bytes.
async fn space(handlers: &Handlers, dir: &Arc<LogDir>) -> (i64, i64) {
    let disk = Arc::clone(&handlers.env.disk);
    let path = dir.path().to_owned();
    let space = handlers.env.blocking(Pool::Maintenance, move || disk.space(&path)).await;
    let wire = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    match space {
        Ok(Ok(space)) => (wire(space.total), wire(space.available)),
        _ => (UNKNOWN, UNKNOWN),
    }
}

/// The partitions of one directory that are asked for, by topic.
fn topics<'a>(
    here: impl Iterator<Item = &'a Arc<Partition>>,
    asked: Option<&BTreeMap<String, BTreeSet<i32>>>,
) -> Vec<DescribeLogDirsTopic> {
    let mut by_topic: BTreeMap<&str, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for partition in here {
        let (topic, id) = (partition.topic().as_ref(), partition.id());
        let index = i32::try_from(id.partition).unwrap_or(i32::MAX);
        let wanted = asked.is_none_or(|asked| asked.get(topic).is_some_and(|indexes| indexes.contains(&index)));
        if wanted {
            let size = i64::try_from(partition.log().local().local_bytes()).unwrap_or(i64::MAX);
            // A leader has everything that is committed, and nothing moves between directories.
            by_topic.entry(topic).or_default().push(
                DescribeLogDirsPartition::default()
                    .with_partition_index(index)
                    .with_partition_size(size)
                    .with_offset_lag(0)
                    .with_is_future_key(false),
            );
        }
    }
    by_topic
        .into_iter()
        .map(|(name, mut partitions)| {
            partitions.sort_by_key(|partition| partition.partition_index);
            DescribeLogDirsTopic::default().with_name(topic_name(name)).with_partitions(partitions)
        })
        .collect()
}
