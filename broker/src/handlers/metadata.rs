//! Metadata: brokers, topics, partitions and leaders; and topics that are created because somebody asked for them.
//!
//! A topic that is not there is created before the answer and answered in full, unlike in Kafka, whose first answer is
//! UNKNOWN_TOPIC_OR_PARTITION: several clients take that for final.

use super::wire::{
    CLUSTER_OPERATIONS, NO_OPERATIONS, TOPIC_OPERATIONS, broker, brokers, text, topic_name, wait_applied,
};
use crate::config::{BrokerConfig, id_text};
use crate::controller::{Controller, CreateTopics, NewTopic, check_topic_name};
use crate::metadata::{Image, Partition, Publisher, Topic, is_internal};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{MetadataRequest, MetadataResponse};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use uuid::Uuid;

/// How long an answer waits for topics to be created: the client's other requests on the connection wait with it.
const CREATE_LIMIT: Duration = Duration::from_secs(5);

/// Answers a Metadata request that came in by listener `listener`.
pub async fn handle(
    request: &MetadataRequest,
    version: i16,
    listener: &str,
    publisher: &Publisher,
    controller: &Controller,
    config: &BrokerConfig,
) -> MetadataResponse {
    let asked = asked(request, version);
    if (10..12).contains(&version) && asked.iter().flatten().any(|asked| matches!(asked, Asked::Nothing(..))) {
        // These versions have a place for ids and no use for them (KIP-516): nothing of the request is answered.
        let refused = asked.iter().flatten().map(|asked| asked.refused(ResponseError::InvalidRequest));
        return MetadataResponse::default()
            .with_cluster_id(None)
            .with_controller_id(broker(None))
            .with_cluster_authorized_operations(NO_OPERATIONS)
            .with_topics(refused.collect());
    }
    let mut failed = BTreeMap::new();
    if let Some(asked) = &asked
        && config.auto_create_topics_enable
        && request.allow_auto_topic_creation
    {
        failed = create_missing(asked, publisher, controller, config).await;
    }
    let image = publisher.image();
    let operations =
        if version >= 8 && request.include_topic_authorized_operations { TOPIC_OPERATIONS } else { NO_OPERATIONS };
    let topics = match asked {
        None => image.topics().map(|topic| found(&image, topic, version, operations)).collect(),
        Some(asked) => asked
            .iter()
            .map(|asked| match asked.find(&image) {
                Ok(topic) => found(&image, topic, version, operations),
                Err(error) => asked.refused(asked.name().and_then(|name| failed.get(name)).copied().unwrap_or(error)),
            })
            .collect(),
    };
    let brokers = image
        .brokers()
        .filter_map(|broker| {
            let endpoint = broker.endpoint(listener)?;
            Some(
                MetadataResponseBroker::default()
                    .with_node_id(broker.id.to_wire().into())
                    .with_host(text(&endpoint.host))
                    .with_port(i32::from(endpoint.port))
                    .with_rack(None),
            )
        })
        .collect();
    let cluster_operations = (8..=10).contains(&version) && request.include_cluster_authorized_operations;
    MetadataResponse::default()
        .with_brokers(brokers)
        .with_cluster_id(image.cluster_id().map(|id| text(id_text(id))))
        .with_controller_id(controller_id(&image))
        .with_topics(topics)
        .with_cluster_authorized_operations(if cluster_operations { CLUSTER_OPERATIONS } else { NO_OPERATIONS })
}

/// The controller, if it is among the brokers that clients are told.
pub(super) fn controller_id(image: &Image) -> kafka_protocol::messages::BrokerId {
    broker(image.controller().map(|term| term.broker).filter(|id| image.broker(*id).is_some()))
}

/// A topic that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    Name(String),
    Id(Uuid),
    /// Neither, or an id in a version that cannot ask by id.
    Nothing(Option<String>, Uuid),
}

impl Asked {
    fn new(topic: &MetadataRequestTopic, version: i16) -> Asked {
        match (&topic.name, topic.topic_id) {
            (Some(name), id) if id.is_nil() => Asked::Name(name.0.to_string()),
            // Java's clients leave the name empty, not null, where they ask by id; as with Kafka, the id decides.
            (_, id) if !id.is_nil() && version >= 12 => Asked::Id(id),
            (name, id) => Asked::Nothing(name.as_ref().map(|name| name.0.to_string()), id),
        }
    }

    fn name(&self) -> Option<&str> {
        match self {
            Asked::Name(name) => Some(name),
            Asked::Id(_) | Asked::Nothing(..) => None,
        }
    }

    fn find<'a>(&self, image: &'a Image) -> Result<&'a Topic, ResponseError> {
        match self {
            Asked::Name(name) => match image.topic(name) {
                Some(topic) => Ok(topic),
                None if check_topic_name(name).is_err() => Err(ResponseError::InvalidTopicException),
                None => Err(ResponseError::UnknownTopicOrPartition),
            },
            Asked::Id(id) => image.topic_by_id(*id).map(AsRef::as_ref).ok_or(ResponseError::UnknownTopicId),
            Asked::Nothing(..) => Err(ResponseError::InvalidRequest),
        }
    }

    /// The answer for a topic that there is no other answer for.
    fn refused(&self, error: ResponseError) -> MetadataResponseTopic {
        let (name, id) = match self {
            Asked::Name(name) => (Some(topic_name(name)), Uuid::nil()),
            // Only version 12 and later get here, which have a null name.
            Asked::Id(id) => (None, *id),
            Asked::Nothing(name, id) => (Some(topic_name(name.as_deref().unwrap_or_default())), *id),
        };
        let internal = self.name().is_some_and(is_internal);
        MetadataResponseTopic::default()
            .with_error_code(error.code())
            .with_name(name)
            .with_topic_id(id)
            .with_is_internal(internal)
            .with_topic_authorized_operations(NO_OPERATIONS)
    }
}

/// The topics that a request asks for, each once, in its order; `None` for all. Before version 1, an empty list meant all.
fn asked(request: &MetadataRequest, version: i16) -> Option<Vec<Asked>> {
    let topics = request.topics.as_ref()?;
    if version == 0 && topics.is_empty() {
        return None;
    }
    let mut seen = BTreeSet::new();
    let asked = topics.iter().map(|topic| Asked::new(topic, version));
    Some(asked.filter(|asked| seen.insert(asked.clone())).collect())
}

/// Creates the topics that are not there. What the answer for a topic should be that could not be created.
async fn create_missing(
    asked: &[Asked],
    publisher: &Publisher,
    controller: &Controller,
    config: &BrokerConfig,
) -> BTreeMap<String, ResponseError> {
    let image = publisher.image();
    let topics: Vec<NewTopic> = asked
        .iter()
        .filter_map(Asked::name)
        .filter(|name| image.topic(name).is_none() && check_topic_name(name).is_ok())
        // Those of coordinators that are not there yet are not theirs to find.
        .filter(|name| !is_internal(name) || *name == "__consumer_offsets")
        .map(|name| NewTopic::automatic(name, controller.env().random.uuid(), config))
        .collect();
    if topics.is_empty() {
        return BTreeMap::new();
    }
    let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
    let limit = controller.default_limit().min(CREATE_LIMIT);
    match controller.submit(CreateTopics { topics, validate_only: false }, Some(limit)).await {
        Ok(settled) => {
            wait_applied(controller, publisher, settled.version, limit).await;
            let refused = names.into_iter().zip(settled.answer);
            refused.filter_map(|(name, answer)| Some((name, answer.err()?.error))).collect()
        }
        // Clients retry LEADER_NOT_AVAILABLE, all of them: it is what a topic without leaders always was.
        Err(_) => names.into_iter().map(|name| (name, ResponseError::LeaderNotAvailable)).collect(),
    }
}

fn found(image: &Image, topic: &Topic, version: i16, operations: i32) -> MetadataResponseTopic {
    let partitions = (0i32..)
        .zip(&topic.partitions)
        .map(|(index, state)| {
            let (error, leader) = leader(image, state);
            let mut partition = MetadataResponsePartition::default()
                .with_error_code(error)
                .with_partition_index(index)
                .with_leader_id(leader)
                .with_replica_nodes(brokers(&state.replicas))
                .with_isr_nodes(brokers(&state.isr));
            if version >= 5 {
                partition.offline_replicas = offline(image, state);
            }
            if version >= 7 {
                partition.leader_epoch = state.leader_epoch.to_wire();
            }
            partition
        })
        .collect();
    MetadataResponseTopic::default()
        .with_name(Some(topic_name(&topic.name)))
        .with_topic_id(topic.id)
        .with_is_internal(topic.is_internal())
        .with_partitions(partitions)
        .with_topic_authorized_operations(operations)
}

/// A partition's leader, and the error that says that there is none to be reached.
pub(super) fn leader(image: &Image, partition: &Partition) -> (i16, kafka_protocol::messages::BrokerId) {
    match partition.leader.filter(|id| image.broker(*id).is_some()) {
        Some(id) => (0, broker(Some(id))),
        None => (ResponseError::LeaderNotAvailable.code(), broker(None)),
    }
}

/// The replicas that no registered broker has.
pub(super) fn offline(image: &Image, partition: &Partition) -> Vec<kafka_protocol::messages::BrokerId> {
    let offline: Vec<_> = partition.replicas.iter().copied().filter(|id| image.broker(*id).is_none()).collect();
    brokers(&offline)
}

#[cfg(test)]
#[path = "metadata_tests.rs"]
mod tests;
