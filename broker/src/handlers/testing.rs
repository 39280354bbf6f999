//! What the tests of several handlers use.

use crate::controller::testing::Node;
use crate::controller::{CreateTopics, NewTopic, Replicas};
use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use uuid::Uuid;

/// Proves that a response can be sent in `version`, and is read back whole.
pub(crate) fn encodes<R: Encodable + Decodable + PartialEq + std::fmt::Debug>(response: &R, version: i16) {
    let mut bytes = bytes::BytesMut::new();
    response.encode(&mut bytes, version).unwrap();
    let mut bytes = bytes.freeze();
    R::decode(&mut bytes, version).unwrap();
    assert!(bytes.is_empty(), "{} bytes are left", bytes.len());
}

pub(crate) fn name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// Creates a topic; its id.
pub(crate) async fn create(node: &Node, name: &str, partitions: u32) -> Uuid {
    let topic = NewTopic {
        name: name.to_owned(),
        id: node.env.random.uuid(),
        replicas: Replicas::Automatic { partitions: Some(partitions), factor: None },
        configs: Default::default(),
    };
    let settled = node.controller.submit(CreateTopics { topics: vec![topic], validate_only: false }, None).await;
    settled.unwrap().answer.remove(0).unwrap().id
}
