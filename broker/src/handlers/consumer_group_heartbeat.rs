//! ConsumerGroupHeartbeat (key 68, versions 0 to 1): membership in a consumer group (KIP-848).
//!
//! One request does everything: epoch 0 joins, -1 leaves, -2 leaves for a while, any other says that the member is alive;
//! what is null has not changed. Version 1 has regular expressions, and members that make their own ids (KIP-1082).

use super::group_wire::{owned, owned_option};
use super::wire::text;
use crate::config::GroupTimeouts;
use crate::coordinators::group::consumer_request::{Beat, ConsumerHeartbeat};
use crate::coordinators::group::records::Partitions;
use crate::coordinators::group::{Caller, GroupCoordinator};
use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use std::time::Duration;

/// The answer to `request`, whose group goes by `timeouts`.
pub async fn handle(
    coordinator: &GroupCoordinator,
    caller: &Caller,
    timeouts: GroupTimeouts,
    request: ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    let topics = request.subscribed_topic_names.as_ref();
    let beat = ConsumerHeartbeat {
        group: owned(&request.group_id),
        member: owned(&request.member_id),
        brings_own_id: caller.api_version >= 1,
        fresh: coordinator.fresh_id(),
        epoch: request.member_epoch,
        instance: owned_option(request.instance_id.as_ref()),
        rack: owned_option(request.rack_id.as_ref()),
        rebalance_timeout_ms: Some(request.rebalance_timeout_ms).filter(|timeout| *timeout >= 0),
        topics: topics.map(|topics| topics.iter().map(|topic| owned(topic)).collect()),
        regex: owned_option(request.subscribed_topic_regex.as_ref()),
        assignor: owned_option(request.server_assignor.as_ref()),
        owned: request.topic_partitions.map(|topics| {
            let mut partitions = Partitions::new();
            for topic in topics.into_iter().filter(|topic| !topic.partitions.is_empty()) {
                partitions.entry(topic.topic_id).or_default().extend(topic.partitions);
            }
            partitions
        }),
        client_id: caller.client_id.clone(),
        client_host: caller.client_host.clone(),
        session_timeout: timeouts.session,
        heartbeat_interval: timeouts.heartbeat,
        assignment_interval: timeouts.assignment,
    };
    match coordinator.beat(beat).await {
        Ok(beat) => alive(beat),
        Err(refusal) => ConsumerGroupHeartbeatResponse::default()
            .with_error_code(refusal.error.code())
            .with_error_message(Some(text(refusal.message))),
    }
}

fn alive(beat: Beat) -> ConsumerGroupHeartbeatResponse {
    let assignment = beat.assignment.map(|partitions| {
        let topics = partitions.into_iter().map(|(topic, partitions)| {
            TopicPartitions::default().with_topic_id(topic).with_partitions(partitions.into_iter().collect())
        });
        Assignment::default().with_topic_partitions(topics.collect())
    });
    ConsumerGroupHeartbeatResponse::default()
        .with_member_id(Some(text(beat.member)))
        .with_member_epoch(beat.epoch)
        .with_heartbeat_interval_ms(millis(beat.interval))
        .with_assignment(assignment)
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
