//! DescribeGroups (key 15, versions 0 to 6): groups with their members and assignments, as opaque bytes.
//!
//! A group that does not exist, or that is not of the classic protocol, is in state Dead; from version 6 on it is also
//! GROUP_ID_NOT_FOUND with a message (KIP-1043). ConsumerGroupDescribe is for the others.

use super::answer_room::{AnswerRoom, TOO_MUCH};
use super::group_wire::{GROUP_OPERATIONS, owned};
use super::wire::{NO_OPERATIONS, text};
use crate::coordinators::group::request::{DescribedGroup as Described, DescribedMember, GroupState};
use crate::coordinators::group::{Caller, GroupCoordinator};
use futures_util::stream::{self, StreamExt};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse};

/// Groups that are asked about at a time.
const AT_A_TIME: usize = 16;

/// Every group of the request, in its order.
pub async fn handle(
    coordinator: &GroupCoordinator,
    caller: &Caller,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let names_operations = caller.api_version >= 3 && request.include_authorized_operations;
    // A few at a time: each answer is there as a whole before it is known to fit.
    let described = request.groups.into_iter().map(|group| async move {
        let described = coordinator.describe(owned(&group)).await;
        (group, described)
    });
    let mut described = stream::iter(described).buffered(AT_A_TIME);
    let (mut room, mut groups) = (AnswerRoom::new(), Vec::new());
    while let Some((id, described)) = described.next().await {
        let group = match described {
            Err(error) => DescribedGroup::default().with_error_code(error.code()),
            Ok(group) if group.state == GroupState::Dead => dead(caller),
            Ok(group) if !room.take(size(&group)) => too_much(caller),
            Ok(group) => known(group, caller).with_authorized_operations(if names_operations {
                GROUP_OPERATIONS
            } else {
                NO_OPERATIONS
            }),
        };
        groups.push(group.with_group_id(id));
    }
    DescribeGroupsResponse::default().with_groups(groups)
}

/// What a group takes on the wire, about.
fn size(group: &Described) -> usize {
    let member = |member: &DescribedMember| {
        let texts = member.id.len() + member.client_id.len() + member.client_host.len();
        64 + texts + member.instance.as_deref().map_or(0, str::len) + member.metadata.len() + member.assignment.len()
    };
    64 + group.members.iter().map(member).sum::<usize>()
}

fn too_much(caller: &Caller) -> DescribedGroup {
    let group = DescribedGroup::default().with_error_code(ResponseError::InvalidRequest.code());
    if caller.api_version < 6 { group } else { group.with_error_message(Some(text(TOO_MUCH.to_owned()))) }
}

fn dead(caller: &Caller) -> DescribedGroup {
    let group = DescribedGroup::default().with_group_state(text(GroupState::Dead.name().to_owned()));
    if caller.api_version < 6 {
        return group;
    }
    group
        .with_error_code(ResponseError::GroupIdNotFound.code())
        .with_error_message(Some(text("The group does not exist.".to_owned())))
}

fn known(group: Described, caller: &Caller) -> DescribedGroup {
    let members = group.members.into_iter().map(|member| {
        DescribedGroupMember::default()
            .with_member_id(text(member.id))
            .with_group_instance_id(member.instance.map(text).filter(|_| caller.api_version >= 4))
            .with_client_id(text(member.client_id))
            .with_client_host(text(member.client_host))
            .with_member_metadata(member.metadata)
            .with_member_assignment(member.assignment)
    });
    DescribedGroup::default()
        .with_group_state(text(group.state.name().to_owned()))
        .with_protocol_type(text(group.protocol_type))
        .with_protocol_data(text(group.protocol))
        .with_members(members.collect())
}
