//! DescribeGroups (key 15, versions 0 to 6): groups with their members and assignments, as opaque bytes.
//!
//! A group that does not exist, or that is not of the classic protocol, is in state Dead; from version 6 on it is also
//! GROUP_ID_NOT_FOUND with a message (KIP-1043). ConsumerGroupDescribe is for the others.

use super::group_wire::{GROUP_OPERATIONS, owned};
use super::wire::{NO_OPERATIONS, text};
use crate::coordinators::group::request::{DescribedGroup as Described, GroupState};
use crate::coordinators::group::{Caller, GroupCoordinator};
use futures_util::future::join_all;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse};

/// Every group of the request, in its order.
pub async fn handle(
    coordinator: &GroupCoordinator,
    caller: &Caller,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let names_operations = caller.api_version >= 3 && request.include_authorized_operations;
    let groups = request.groups.into_iter().map(|group| async move {
        let described = coordinator.describe(owned(&group)).await;
        let response = match described {
            Err(error) => DescribedGroup::default().with_error_code(error.code()),
            Ok(group) if group.state == GroupState::Dead => dead(caller),
            Ok(group) => known(group, caller).with_authorized_operations(if names_operations {
                GROUP_OPERATIONS
            } else {
                NO_OPERATIONS
            }),
        };
        response.with_group_id(group)
    });
    DescribeGroupsResponse::default().with_groups(join_all(groups).await)
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
