//! LeaveGroup (key 13, versions 0 to 5): members leave, or an administrator removes static ones.
//!
//! Versions 0 to 2 name one member, whose error is the whole answer's; later ones name several, each with its own.

use super::group_wire::{code, owned, owned_option};
use super::wire::text;
use crate::coordinators::group::request::Leaver;
use crate::coordinators::group::{Caller, GroupCoordinator};
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

/// The answer to `request`.
pub async fn handle(coordinator: &GroupCoordinator, caller: &Caller, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let is_batch = caller.api_version >= 3;
    let leavers = if is_batch {
        let members = request.members.iter();
        members
            .map(|member| Leaver {
                member: owned(&member.member_id),
                instance: owned_option(member.group_instance_id.as_ref()),
            })
            .collect()
    } else {
        vec![Leaver { member: owned(&request.member_id), instance: None }]
    };
    match coordinator.leave(owned(&request.group_id), leavers).await {
        Err(error) => LeaveGroupResponse::default().with_error_code(error.code()),
        Ok(left) if is_batch => {
            let members = left.into_iter().map(|(leaver, error)| {
                MemberResponse::default()
                    .with_member_id(text(leaver.member))
                    .with_group_instance_id(leaver.instance.map(text))
                    .with_error_code(code(error))
            });
            LeaveGroupResponse::default().with_members(members.collect())
        }
        Ok(left) => {
            let error = left.into_iter().next().and_then(|(_, error)| error);
            LeaveGroupResponse::default().with_error_code(code(error))
        }
    }
}
