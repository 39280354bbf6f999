//! JoinGroup (key 11, versions 0 to 9): a member joins its group, or joins again in a rebalance.
//!
//! Version 0 has no rebalance timeout: the session's stands for it. From version 4 on a new dynamic member is sent back
//! once to join with an id (KIP-394), from version 5 on there are static members (KIP-345), and version 9 can spare a
//! returning static leader the assignment (KIP-814).

use super::group_wire::{owned, owned_option};
use super::wire::text;
use crate::coordinators::group::request::{JoinAnswer, JoinRequest};
use crate::coordinators::group::{Caller, GroupCoordinator};
use bytes::Bytes;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use kafka_protocol::protocol::StrBytes;
use std::time::Duration;

/// What stands for the generation of who has none.
const NO_GENERATION: i32 = -1;

/// Ready when the rebalance has room for the member; that can take as long as its rebalance timeout.
pub async fn handle(coordinator: &GroupCoordinator, caller: &Caller, request: JoinGroupRequest) -> JoinGroupResponse {
    let version = caller.api_version;
    let session = u64::try_from(request.session_timeout_ms).ok().map(Duration::from_millis);
    let rebalance = if version >= 1 { request.rebalance_timeout_ms } else { request.session_timeout_ms };
    let protocols = request.protocols.iter();
    let join = JoinRequest {
        group: owned(&request.group_id),
        member: owned(&request.member_id),
        instance: owned_option(request.group_instance_id.as_ref()),
        fresh: coordinator.fresh_id(),
        client_id: caller.client_id.clone(),
        client_host: caller.client_host.clone(),
        session_timeout: session,
        rebalance_timeout: Duration::from_millis(u64::try_from(rebalance).unwrap_or(0)),
        protocol_type: owned(&request.protocol_type),
        protocols: protocols
            .map(|protocol| (owned(&protocol.name), Bytes::copy_from_slice(&protocol.metadata)))
            .collect(),
        requires_member_id: version >= 4,
        supports_skipping_assignment: version >= 9,
    };
    respond(version, coordinator.join(join).await)
}

fn respond(version: i16, answer: JoinAnswer) -> JoinGroupResponse {
    let response = JoinGroupResponse::default().with_member_id(text(answer.member));
    match answer.result {
        Err(error) => response
            .with_error_code(error.code())
            .with_generation_id(NO_GENERATION)
            // Null came with version 7.
            .with_protocol_name((version < 7).then(StrBytes::default)),
        Ok(joined) => {
            let members = joined.members.into_iter().map(|member| {
                JoinGroupResponseMember::default()
                    .with_member_id(text(member.id))
                    .with_group_instance_id(member.instance.map(text).filter(|_| version >= 5))
                    .with_metadata(member.metadata)
            });
            response
                .with_generation_id(joined.generation)
                .with_protocol_type(Some(text(joined.protocol_type)).filter(|_| version >= 7))
                .with_protocol_name(Some(text(joined.protocol)))
                .with_leader(text(joined.leader))
                .with_skip_assignment(joined.skip_assignment && version >= 9)
                .with_members(members.collect())
        }
    }
}
