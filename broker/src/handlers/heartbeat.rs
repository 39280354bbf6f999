//! Heartbeat (key 12, versions 0 to 4): a member is alive, and learns whether it must join again.

use super::group_wire::{code, owned, owned_option};
use crate::coordinators::group::GroupCoordinator;
use crate::coordinators::group::request::MemberRequest;
use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

/// The answer is the same in every version.
pub async fn handle(coordinator: &GroupCoordinator, request: HeartbeatRequest) -> HeartbeatResponse {
    let from = MemberRequest {
        group: owned(&request.group_id),
        member: owned(&request.member_id),
        instance: owned_option(request.group_instance_id.as_ref()),
        generation: request.generation_id,
    };
    HeartbeatResponse::default().with_error_code(code(coordinator.heartbeat(from).await.err()))
}
