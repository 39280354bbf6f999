//! OffsetFetch (key 9, versions 1 to 9): what groups have committed.
//!
//! Up to version 7 about one group, from version 8 on about several (KIP-709). A null list of topics means all that the
//! group has (from version 2 on). From version 9 on a member says that it is one, and at which epoch. What is not committed is offset -1 and no error. `require_stable` (version 7) would
//! hold back offsets of transactions under way, of which there are none: an answer always waits for what was committed
//! before it.

use super::answer_room::AnswerRoom;
use super::group_wire::owned;
use super::wire::text;
use crate::coordinators::group::request::{FetchedOffset, FetchedTopics};
use crate::coordinators::group::{Caller, GroupCoordinator};
use futures_util::stream::{self, StreamExt};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use std::collections::{BTreeMap, BTreeSet};

/// Groups that are asked about at a time.
const AT_A_TIME: usize = 16;

/// What stands for an offset or epoch that is not there.
const NONE: i64 = -1;

/// The answer to `request`: everything that was asked for, in its order.
pub async fn handle(
    coordinator: &GroupCoordinator,
    caller: &Caller,
    request: OffsetFetchRequest,
) -> OffsetFetchResponse {
    if caller.api_version >= 8 {
        // A few at a time: each answer is there as a whole before it is known to fit.
        let fetched = request.groups.into_iter().map(|group| async move {
            let topics = group.topics.map(|topics| {
                once(topics.iter().map(|topic| (owned(&topic.name), topic.partition_indexes.clone())).collect())
            });
            let id = group.member_id.as_ref().map(owned).unwrap_or_default();
            // Neither an id nor an epoch: from outside, or from a client of before version 9.
            let member = (!id.is_empty() || group.member_epoch >= 0).then_some((id, group.member_epoch));
            let fetched = coordinator.fetch(owned(&group.group_id), topics, member).await;
            (group.group_id, fetched)
        });
        let mut fetched = stream::iter(fetched).buffered(AT_A_TIME);
        let (mut room, mut groups) = (AnswerRoom::new(), Vec::new());
        while let Some((id, fetched)) = fetched.next().await {
            let group = OffsetFetchResponseGroup::default().with_group_id(id);
            groups.push(match fetched {
                Ok(topics) if room.take(size(&topics)) => {
                    group.with_topics(topics.into_iter().map(to_topics).collect())
                }
                Ok(_) => group.with_error_code(ResponseError::InvalidRequest.code()),
                Err(error) => group.with_error_code(error.code()),
            });
        }
        return OffsetFetchResponse::default().with_groups(groups);
    }
    let asked = request.topics.as_deref().map(|topics| once(asked(topics)));
    match coordinator.fetch(owned(&request.group_id), asked, None).await {
        Ok(topics) => OffsetFetchResponse::default().with_topics(to_topics_before_8(topics, None, caller)),
        // Version 1 has no place for an error of the whole request.
        Err(error) => {
            let topics = if caller.api_version >= 2 { Vec::new() } else { unknown(request.topics.as_deref()) };
            OffsetFetchResponse::default()
                .with_error_code(if caller.api_version >= 2 { error.code() } else { 0 })
                .with_topics(to_topics_before_8(topics, Some(error), caller))
        }
    }
}

/// What is asked for, each partition once: a request costs four bytes to name one again, and each answer its metadata.
fn once(asked: Vec<(String, Vec<i32>)>) -> Vec<(String, Vec<i32>)> {
    let mut seen: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
    asked
        .into_iter()
        .map(|(topic, mut indexes)| {
            let seen = seen.entry(topic.clone()).or_default();
            indexes.retain(|index| seen.insert(*index));
            (topic, indexes)
        })
        .collect()
}

/// What offsets take on the wire, about.
fn size(topics: &FetchedTopics) -> usize {
    let offset = |found: &Option<FetchedOffset>| 32 + found.as_ref().map_or(0, |found| found.metadata.len());
    let topic = |(name, partitions): &(String, Vec<(i32, Option<FetchedOffset>)>)| {
        16 + name.len() + partitions.iter().map(|(_, found)| offset(found)).sum::<usize>()
    };
    topics.iter().map(topic).sum()
}

fn asked(topics: &[OffsetFetchRequestTopic]) -> Vec<(String, Vec<i32>)> {
    topics.iter().map(|topic| (owned(&topic.name), topic.partition_indexes.clone())).collect()
}

/// What was asked for, with nothing found.
fn unknown(topics: Option<&[OffsetFetchRequestTopic]>) -> FetchedTopics {
    let topics = topics.map(asked).unwrap_or_default().into_iter();
    topics.map(|(topic, indexes)| (topic, indexes.into_iter().map(|index| (index, None)).collect())).collect()
}

fn to_topics_before_8(
    topics: FetchedTopics,
    error: Option<ResponseError>,
    caller: &Caller,
) -> Vec<OffsetFetchResponseTopic> {
    let topics = topics.into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter().map(|(index, found)| {
            let (offset, epoch, metadata) = values(found);
            OffsetFetchResponsePartition::default()
                .with_partition_index(index)
                .with_committed_offset(offset)
                .with_committed_leader_epoch(if caller.api_version >= 5 { epoch } else { -1 })
                .with_metadata(Some(metadata))
                .with_error_code(error.map_or(0, |error| error.code()))
        });
        OffsetFetchResponseTopic::default().with_name(TopicName(text(topic))).with_partitions(partitions.collect())
    });
    topics.collect()
}

fn to_topics((topic, partitions): (String, Vec<(i32, Option<FetchedOffset>)>)) -> OffsetFetchResponseTopics {
    let partitions = partitions.into_iter().map(|(index, found)| {
        let (offset, epoch, metadata) = values(found);
        OffsetFetchResponsePartitions::default()
            .with_partition_index(index)
            .with_committed_offset(offset)
            .with_committed_leader_epoch(epoch)
            .with_metadata(Some(metadata))
    });
    OffsetFetchResponseTopics::default().with_name(TopicName(text(topic))).with_partitions(partitions.collect())
}

/// Offset, leader epoch and metadata as the wire has them.
fn values(found: Option<FetchedOffset>) -> (i64, i32, StrBytes) {
    match found {
        Some(found) => (found.offset, found.leader_epoch.unwrap_or(-1), text(found.metadata)),
        None => (NONE, -1, StrBytes::default()),
    }
}
