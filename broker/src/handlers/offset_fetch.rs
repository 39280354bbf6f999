//! OffsetFetch (key 9, versions 1 to 10): what groups have committed.
//!
//! Up to version 7 about one group, from version 8 on about several (KIP-709). A null list of topics means all that the
//! group has (from version 2 on). From version 9 on a member says that it is one, and at which epoch; from version 10 on
//! topics have ids in place of names. What is not committed is offset -1 and no error. `require_stable` (version 7) would
//! hold back offsets of transactions under way, of which there are none: an answer always waits for what was committed
//! before it.

use super::answer_room::AnswerRoom;
use super::group_wire::owned;
use super::topic_ids::Named;
use super::wire::text;
use crate::coordinators::group::request::{FetchedOffset, FetchedTopics};
use crate::coordinators::group::{Caller, GroupCoordinator, TopicsImage};
use futures_util::stream::{self, StreamExt};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use std::collections::{BTreeMap, BTreeSet};

/// Groups that are asked about at a time.
const AT_A_TIME: usize = 16;

/// The first version with topic ids.
const TOPIC_IDS: i16 = 10;

/// What stands for an offset or epoch that is not there.
const NONE: i64 = -1;

/// The answer to `request`: everything that was asked for, in its order.
pub async fn handle(
    coordinator: &GroupCoordinator,
    caller: &Caller,
    request: OffsetFetchRequest,
) -> OffsetFetchResponse {
    if caller.api_version >= 8 {
        return of_groups(coordinator, coordinator.topics().as_ref(), caller, request.groups).await;
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

/// Versions 8 and later.
async fn of_groups(
    coordinator: &GroupCoordinator,
    image: &dyn TopicsImage,
    caller: &Caller,
    groups: Vec<OffsetFetchRequestGroup>,
) -> OffsetFetchResponse {
    let by_id = caller.api_version >= TOPIC_IDS;
    // A few at a time: each answer is there as a whole before it is known to fit.
    let fetched = groups.into_iter().map(|group| async move {
        let asked = group.topics.as_deref().map(|topics| asked_for(image, by_id, topics));
        let known = asked.as_ref().map(|asked| {
            let known =
                asked.iter().filter_map(|(_, named, indexes)| Some((named.known()?.to_owned(), indexes.clone())));
            known.collect()
        });
        let id = group.member_id.as_ref().map(owned).unwrap_or_default();
        // Neither an id nor an epoch: from outside, or from a client of before version 9.
        let member = (!id.is_empty() || group.member_epoch >= 0).then_some((id, group.member_epoch));
        let fetched = coordinator.fetch(owned(&group.group_id), known, member).await;
        (group.group_id, fetched.map(|found| answers(image, by_id, asked, found)))
    });
    let mut fetched = stream::iter(fetched).buffered(AT_A_TIME);
    let (mut room, mut groups) = (AnswerRoom::new(), Vec::new());
    while let Some((id, fetched)) = fetched.next().await {
        let group = OffsetFetchResponseGroup::default().with_group_id(id);
        groups.push(match fetched {
            Ok(topics) if room.take(size(&topics)) => group.with_topics(topics),
            Ok(_) => group.with_error_code(ResponseError::InvalidRequest.code()),
            Err(error) => group.with_error_code(error.code()),
        });
    }
    OffsetFetchResponse::default().with_groups(groups)
}

/// The topics that a group is asked for: how the request has them, their names, and their partitions, each once.
type AskedTopics<'a> = Vec<(&'a OffsetFetchRequestTopics, Named, Vec<i32>)>;

fn asked_for<'a>(image: &dyn TopicsImage, by_id: bool, topics: &'a [OffsetFetchRequestTopics]) -> AskedTopics<'a> {
    let mut seen = Seen::default();
    topics
        .iter()
        .map(|topic| {
            let named = Named::new(image, by_id, &topic.name, topic.topic_id);
            // Topics that do not exist do not get mixed up with each other: nothing is found of any of them.
            let known = named.known().map_or_else(|| topic.topic_id.to_string(), str::to_owned);
            let indexes = seen.new_of(known, &topic.partition_indexes);
            (topic, named, indexes)
        })
        .collect()
}

/// What was found, as it was asked for; or, of all that a group has, what can be named.
fn answers(
    image: &dyn TopicsImage,
    by_id: bool,
    asked: Option<AskedTopics<'_>>,
    found: FetchedTopics,
) -> Vec<OffsetFetchResponseTopics> {
    let Some(asked) = asked else {
        let topics = found.into_iter().filter_map(|(name, partitions)| {
            let topic = OffsetFetchResponseTopics::default().with_partitions(to_partitions(partitions));
            if by_id {
                Some(topic.with_topic_id(image.by_name(&name)?.id))
            } else {
                Some(topic.with_name(TopicName(text(name))))
            }
        });
        return topics.collect();
    };
    let mut found = found.into_iter();
    let topics = asked.into_iter().map(|(topic, named, indexes)| {
        let partitions = match named.known() {
            Some(_) => to_partitions(found.next().map(|(_, partitions)| partitions).unwrap_or_default()),
            None => {
                let mut unknown = to_partitions(indexes.into_iter().map(|index| (index, None)).collect());
                let code = ResponseError::UnknownTopicId.code();
                unknown.iter_mut().for_each(|partition| partition.error_code = code);
                unknown
            }
        };
        OffsetFetchResponseTopics::default()
            .with_name(topic.name.clone())
            .with_topic_id(topic.topic_id)
            .with_partitions(partitions)
    });
    topics.collect()
}

/// What is asked for, each partition once: a request costs four bytes to name one again, and each answer its metadata.
fn once(asked: Vec<(String, Vec<i32>)>) -> Vec<(String, Vec<i32>)> {
    let mut seen = Seen::default();
    asked
        .into_iter()
        .map(|(topic, indexes)| {
            let new = seen.new_of(topic.clone(), &indexes);
            (topic, new)
        })
        .collect()
}

/// The partitions that were asked for already.
#[derive(Default)]
struct Seen(BTreeMap<String, BTreeSet<i32>>);

impl Seen {
    fn new_of(&mut self, topic: String, indexes: &[i32]) -> Vec<i32> {
        let seen = self.0.entry(topic).or_default();
        indexes.iter().copied().filter(|index| seen.insert(*index)).collect()
    }
}

/// What offsets take on the wire, about.
fn size(topics: &[OffsetFetchResponseTopics]) -> usize {
    let offset = |found: &OffsetFetchResponsePartitions| 32 + found.metadata.as_ref().map_or(0, |text| text.len());
    let topic =
        |topic: &OffsetFetchResponseTopics| 16 + topic.name.len() + topic.partitions.iter().map(offset).sum::<usize>();
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

fn to_partitions(found: Vec<(i32, Option<FetchedOffset>)>) -> Vec<OffsetFetchResponsePartitions> {
    let partitions = found.into_iter().map(|(index, found)| {
        let (offset, epoch, metadata) = values(found);
        OffsetFetchResponsePartitions::default()
            .with_partition_index(index)
            .with_committed_offset(offset)
            .with_committed_leader_epoch(epoch)
            .with_metadata(Some(metadata))
    });
    partitions.collect()
}

/// Offset, leader epoch and metadata as the wire has them.
fn values(found: Option<FetchedOffset>) -> (i64, i32, StrBytes) {
    match found {
        Some(found) => (found.offset, found.leader_epoch.unwrap_or(-1), text(found.metadata)),
        None => (NONE, -1, StrBytes::default()),
    }
}
