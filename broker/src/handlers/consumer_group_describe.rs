//! ConsumerGroupDescribe (key 69, versions 0 to 1): consumer groups with their epochs, members and assignments.
//!
//! A classic group, and one that does not exist, is GROUP_ID_NOT_FOUND: DescribeGroups is for the former. Version 1 tells
//! which members speak the classic protocol.

use super::answer_room::{AnswerRoom, TOO_MUCH};
use super::group_wire::{GROUP_OPERATIONS, owned};
use super::wire::{NO_OPERATIONS, text, topic_name};
use crate::coordinators::group::consumer_request::{DescribedConsumer, DescribedConsumerGroup, NamedTopic};
use crate::coordinators::group::{Caller, GroupCoordinator};
use futures_util::stream::{self, StreamExt};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::consumer_group_describe_response::{Assignment, DescribedGroup, Member, TopicPartitions};
use kafka_protocol::messages::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};
use kafka_protocol::protocol::StrBytes;

/// Groups that are asked about at a time.
const AT_A_TIME: usize = 16;

/// A member of the classic protocol.
const CLASSIC: i8 = 0;
/// A member of the consumer protocol.
const CONSUMER: i8 = 1;

/// Every group of the request, in its order.
pub async fn handle(
    coordinator: &GroupCoordinator,
    caller: &Caller,
    request: ConsumerGroupDescribeRequest,
) -> ConsumerGroupDescribeResponse {
    let operations = if request.include_authorized_operations { GROUP_OPERATIONS } else { NO_OPERATIONS };
    // A few at a time: each answer is there as a whole before it is known to fit.
    let described = request.group_ids.into_iter().map(|group| async move {
        let described = coordinator.describe_consumers(owned(&group)).await;
        (group, described)
    });
    let mut described = stream::iter(described).buffered(AT_A_TIME);
    let (mut room, mut groups) = (AnswerRoom::new(), Vec::new());
    while let Some((id, described)) = described.next().await {
        let group = match described {
            Ok(group) if !room.take(size(&group)) => DescribedGroup::default()
                .with_error_code(ResponseError::InvalidRequest.code())
                .with_error_message(Some(text(TOO_MUCH.to_owned()))),
            Ok(group) => known(group, caller).with_authorized_operations(operations),
            Err(refusal) => DescribedGroup::default()
                .with_error_code(refusal.error.code())
                .with_error_message(Some(text(refusal.message))),
        };
        groups.push(group.with_group_id(id));
    }
    ConsumerGroupDescribeResponse::default().with_groups(groups)
}

/// What a group takes on the wire, about.
fn size(group: &DescribedConsumerGroup) -> usize {
    let assignment =
        |topics: &[NamedTopic]| topics.iter().map(|one| 24 + one.name.len() + 4 * one.partitions.len()).sum::<usize>();
    let member = |member: &DescribedConsumer| {
        let optional = [&member.instance, &member.rack, &member.regex].into_iter().flatten().map(String::len);
        let texts = member.id.len() + member.client_id.len() + member.client_host.len() + optional.sum::<usize>();
        let topics = member.topics.iter().map(|topic| 3 + topic.len()).sum::<usize>();
        64 + texts + topics + assignment(&member.assigned) + assignment(&member.target)
    };
    64 + group.members.iter().map(member).sum::<usize>()
}

fn known(group: DescribedConsumerGroup, caller: &Caller) -> DescribedGroup {
    DescribedGroup::default()
        .with_error_message(None)
        .with_group_state(StrBytes::from_static_str(group.state))
        .with_group_epoch(group.epoch)
        .with_assignment_epoch(group.target_epoch)
        .with_assignor_name(StrBytes::from_static_str(group.assignor))
        .with_members(group.members.into_iter().map(|one| member(one, caller)).collect())
}

fn member(member: DescribedConsumer, caller: &Caller) -> Member {
    let kind = if member.is_classic { CLASSIC } else { CONSUMER };
    Member::default()
        .with_member_id(text(member.id))
        .with_instance_id(member.instance.map(text))
        .with_rack_id(member.rack.map(text))
        .with_member_epoch(member.epoch)
        .with_client_id(text(member.client_id))
        .with_client_host(text(member.client_host))
        .with_subscribed_topic_names(member.topics.iter().map(|topic| topic_name(topic)).collect())
        .with_subscribed_topic_regex(member.regex.map(text))
        .with_assignment(assignment(member.assigned))
        .with_target_assignment(assignment(member.target))
        .with_member_type(if caller.api_version >= 1 { kind } else { -1 })
}

fn assignment(topics: Vec<NamedTopic>) -> Assignment {
    let topics = topics.into_iter().map(|topic| {
        TopicPartitions::default()
            .with_topic_id(topic.id)
            .with_topic_name(topic_name(&topic.name))
            .with_partitions(topic.partitions)
    });
    Assignment::default().with_topic_partitions(topics.collect())
}
