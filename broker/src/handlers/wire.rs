//! Small conversions between ours and the protocol's.

use crate::controller::{Controller, Refusal};
use crate::metadata::{BrokerId, Publisher};
use kafka_protocol::messages;
use kafka_protocol::protocol::StrBytes;
use std::time::Duration;

/// "Nobody asked for authorized operations."
pub(super) const NO_OPERATIONS: i32 = i32::MIN;
/// What may be done to a topic without an authorizer: everything (the bits of Kafka's `AclOperation`s READ, WRITE,
/// CREATE, DELETE, ALTER, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS).
pub(super) const TOPIC_OPERATIONS: i32 =
    (1 << 3) | (1 << 4) | (1 << 5) | (1 << 6) | (1 << 7) | (1 << 8) | (1 << 10) | (1 << 11);
/// What may be done to the cluster without an authorizer: everything (CREATE, ALTER, DESCRIBE, CLUSTER_ACTION,
/// DESCRIBE_CONFIGS, ALTER_CONFIGS, IDEMPOTENT_WRITE).
pub(super) const CLUSTER_OPERATIONS: i32 =
    (1 << 5) | (1 << 7) | (1 << 8) | (1 << 9) | (1 << 10) | (1 << 11) | (1 << 12);

/// A string of the protocol.
pub(super) fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

/// A topic's name.
pub(super) fn topic_name(name: &str) -> messages::TopicName {
    messages::TopicName(text(name))
}

/// A broker's number; -1 for none.
pub(super) fn broker(id: Option<BrokerId>) -> messages::BrokerId {
    messages::BrokerId(id.map_or(-1, BrokerId::to_wire))
}

/// Brokers' numbers.
pub(super) fn brokers(ids: &[BrokerId]) -> Vec<messages::BrokerId> {
    ids.iter().map(|id| messages::BrokerId(id.to_wire())).collect()
}

/// The error code and message of an item.
pub(super) fn outcome<T>(result: Result<T, &Refusal>) -> (i16, Option<StrBytes>) {
    match result {
        Ok(_) => (0, None),
        Err(refusal) => (refusal.error.code(), Some(text(&refusal.message))),
    }
}

/// Waits until this broker has acted on `version`, at most `limit`: what is answered next can be used at once.
pub(super) async fn wait_applied(controller: &Controller, publisher: &Publisher, version: u64, limit: Duration) {
    // Late is no error: the change is made, and clients retry what is not ready.
    let _ = controller.env().timeout(limit, publisher.wait_applied(version)).await;
}
