//! DeleteGroups (key 42, versions 0 to 2): groups without members go, with their offsets.

use super::group_wire::{code, owned};
use crate::coordinators::group::GroupCoordinator;
use futures_util::future::join_all;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};
use std::collections::BTreeSet;

/// Every group of the request, once, in its order, each with its error.
pub async fn handle(coordinator: &GroupCoordinator, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    // A group that is named twice is deleted, and answered, once.
    let mut seen = BTreeSet::new();
    let mut named = request.groups_names;
    named.retain(|group| seen.insert(group.clone()));
    let results = named.into_iter().map(|group| async move {
        let error = coordinator.delete(owned(&group)).await.err();
        DeletableGroupResult::default().with_group_id(group).with_error_code(code(error))
    });
    DeleteGroupsResponse::default().with_results(join_all(results).await)
}
