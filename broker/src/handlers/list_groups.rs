//! ListGroups (key 16, versions 0 to 5): the groups that this broker coordinates.
//!
//! Version 4 filters by state and shows it (KIP-518), version 5 by type as well (KIP-848): `classic` or `consumer`.
//! Filters ignore case, and an empty one lets everything pass.

use super::wire::text;
use crate::coordinators::group::{Caller, GroupCoordinator};
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};
use kafka_protocol::protocol::StrBytes;

/// The answer to `request`.
pub async fn handle(coordinator: &GroupCoordinator, caller: &Caller, request: ListGroupsRequest) -> ListGroupsResponse {
    let version = caller.api_version;
    let groups = match coordinator.list().await {
        Ok(groups) => groups,
        Err(error) => return ListGroupsResponse::default().with_error_code(error.code()),
    };
    let is_listed = |filter: &[StrBytes], name: &str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
    };
    let listed = groups
        .into_iter()
        .filter(|group| is_listed(&request.states_filter, group.state))
        .filter(|group| is_listed(&request.types_filter, group.kind.name()))
        .map(|group| {
            let state = if version >= 4 { group.state } else { "" };
            let kind = if version >= 5 { group.kind.name() } else { "" };
            ListedGroup::default()
                .with_group_id(GroupId(text(group.group)))
                .with_protocol_type(text(group.protocol_type))
                .with_group_state(StrBytes::from_static_str(state))
                .with_group_type(StrBytes::from_static_str(kind))
        });
    ListGroupsResponse::default().with_groups(listed.collect())
}
