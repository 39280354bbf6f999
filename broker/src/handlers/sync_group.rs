//! SyncGroup (key 14, versions 0 to 5): the leader hands in the assignment, every member gets its own.

use super::group_wire::{owned, owned_option};
use super::wire::text;
use crate::coordinators::group::request::{MemberRequest, SyncRequest};
use crate::coordinators::group::{Caller, GroupCoordinator};
use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};

/// Ready when the leader has handed in the assignment.
pub async fn handle(coordinator: &GroupCoordinator, caller: &Caller, request: SyncGroupRequest) -> SyncGroupResponse {
    // From version 5 on a member says what it takes the group for (KIP-559).
    let says_protocol = request.protocol_type.is_some() && request.protocol_name.is_some();
    if caller.api_version >= 5 && !says_protocol {
        return SyncGroupResponse::default().with_error_code(ResponseError::InconsistentGroupProtocol.code());
    }
    let assignments = request.assignments.iter();
    let sync = SyncRequest {
        from: MemberRequest {
            group: owned(&request.group_id),
            member: owned(&request.member_id),
            instance: owned_option(request.group_instance_id.as_ref()),
            generation: request.generation_id,
        },
        protocol_type: owned_option(request.protocol_type.as_ref()),
        protocol: owned_option(request.protocol_name.as_ref()),
        assignments: assignments
            .map(|assignment| (owned(&assignment.member_id), Bytes::copy_from_slice(&assignment.assignment)))
            .collect(),
    };
    match coordinator.sync(sync).await {
        Err(error) => SyncGroupResponse::default().with_error_code(error.code()),
        Ok(synced) => {
            let has_protocol = caller.api_version >= 5;
            SyncGroupResponse::default()
                .with_protocol_type(synced.protocol_type.map(text).filter(|_| has_protocol))
                .with_protocol_name(synced.protocol.map(text).filter(|_| has_protocol))
                .with_assignment(synced.assignment)
        }
    }
}
