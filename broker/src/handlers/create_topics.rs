//! CreateTopics: new topics, item by item; what was created can be used when the answer comes.

use super::answer_room::AnswerRoom;
use super::wire::{outcome, text, wait_applied};
use crate::config::{BrokerConfig, BrokerId, Layers, Values, describe_topic};
use crate::controller::{Controller, CreateTopics, CreatedTopic, NewTopic, Refusal, Replicas};
use crate::metadata::Publisher;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Answers a CreateTopics request: when it returns, the topics that were created can be used.
pub async fn handle(
    request: &CreateTopicsRequest,
    version: i16,
    publisher: &Publisher,
    controller: &Controller,
    config: &BrokerConfig,
) -> CreateTopicsResponse {
    let limit = controller.limit_of(request.timeout_ms);
    let parsed: Vec<Result<NewTopic, Refusal>> =
        request.topics.iter().map(|topic| parse(topic, controller.env().random.uuid())).collect();
    let topics: Vec<NewTopic> = parsed.iter().filter_map(|parsed| parsed.as_ref().ok().cloned()).collect();
    let mut created = if topics.is_empty() {
        Ok(Vec::new())
    } else {
        let command = CreateTopics { topics, validate_only: request.validate_only };
        match controller.submit(command, Some(limit)).await {
            Ok(settled) => {
                wait_applied(controller, publisher, settled.version, limit).await;
                Ok(settled.answer)
            }
            Err(error) => Err(error),
        }
    }
    .map(Vec::into_iter);
    let layers = publisher.image().layers(config.node_id, &config.layers);
    let mut room = AnswerRoom::new();
    let results = request.topics.iter().zip(parsed).map(|(topic, parsed)| {
        let created = parsed.and_then(|_| match &mut created {
            Ok(answers) => answers.next().unwrap_or_else(|| {
                Err(Refusal::new(ResponseError::UnknownServerError, "The controller did not answer for this topic."))
            }),
            Err(error) => Err((*error).into()),
        });
        let (code, message) = outcome(created.as_ref());
        let result = CreatableTopicResult::default()
            .with_name(topic.name.clone())
            .with_error_code(code)
            .with_error_message(message);
        match created {
            Ok(created) => describe(result, &created, version, &layers, &mut room),
            Err(_) => result,
        }
    });
    // A topic that is named twice is refused, once.
    let mut results: Vec<CreatableTopicResult> = results.collect();
    let mut seen = BTreeSet::new();
    results.retain(|result| seen.insert(result.name.clone()));
    CreateTopicsResponse::default().with_topics(results)
}

/// Adds what a topic is like, in the versions that say so (KIP-525, KIP-516).
fn describe(
    mut result: CreatableTopicResult,
    created: &CreatedTopic,
    version: i16,
    layers: &Layers,
    room: &mut AnswerRoom,
) -> CreatableTopicResult {
    if version >= 7 {
        result.topic_id = created.id;
    }
    if version >= 5 {
        result.num_partitions = i32::try_from(created.partitions).unwrap_or(i32::MAX);
        result.replication_factor = i16::try_from(created.factor).unwrap_or(i16::MAX);
        let configs = describe_topic(&created.configs, layers).into_iter().map(|described| {
            CreatableTopicConfigs::default()
                .with_name(text(described.key.name))
                .with_value(described.value.map(text))
                .with_read_only(described.read_only)
                .with_config_source(described.source as i8)
                .with_is_sensitive(described.key.sensitive)
        });
        let configs: Vec<_> = configs.collect();
        let size = |config: &CreatableTopicConfigs| {
            64 + config.name.len() + config.value.as_ref().map_or(0, |value| value.len())
        };
        // Of very many topics the last are told without their settings, which can be asked for.
        result.configs = room.take(configs.iter().map(size).sum()).then_some(configs);
    }
    result
}

fn parse(topic: &CreatableTopic, id: Uuid) -> Result<NewTopic, Refusal> {
    let mut configs = Values::new();
    for config in &topic.configs {
        let Some(value) = &config.value else {
            let message = format!("Null value not supported for topic configs: {}", config.name);
            return Err(Refusal::new(ResponseError::InvalidConfig, message));
        };
        configs.insert(config.name.to_string(), value.to_string());
    }
    let replicas = if topic.assignments.is_empty() {
        Replicas::Automatic { partitions: count(topic.num_partitions), factor: count(topic.replication_factor.into()) }
    } else {
        Replicas::Manual(parse_assignments(topic)?)
    };
    Ok(NewTopic { name: topic.name.0.to_string(), id, replicas, configs })
}

/// -1 asks for the default; every other number that is not positive is refused as zero is.
fn count(number: i32) -> Option<u32> {
    (number != -1).then(|| u32::try_from(number).unwrap_or(0))
}

fn parse_assignments(topic: &CreatableTopic) -> Result<Vec<Vec<BrokerId>>, Refusal> {
    let invalid = |message: &str| Err(Refusal::new(ResponseError::InvalidRequest, message));
    if topic.replication_factor != -1 {
        return invalid("A manual partition assignment was specified, but replication factor was not set to -1.");
    }
    if topic.num_partitions != -1 {
        return invalid("A manual partition assignment was specified, but numPartitions was not set to -1.");
    }
    let misassigned = |message: String| Err(Refusal::new(ResponseError::InvalidReplicaAssignment, message));
    let mut by_partition = BTreeMap::new();
    for assignment in &topic.assignments {
        let index = assignment.partition_index;
        let replicas: Option<Vec<BrokerId>> =
            assignment.broker_ids.iter().map(|id| BrokerId::from_wire(id.0)).collect();
        let Some(replicas) = replicas else {
            return misassigned(format!("The manual assignment of partition {index} names a negative broker id."));
        };
        if by_partition.insert(index, replicas).is_some() {
            return misassigned(format!("Found multiple manual partition assignments for partition {index}"));
        }
    }
    if !by_partition.keys().copied().eq((0..).take(by_partition.len())) {
        return misassigned("partitions should be a consecutive 0-based integer sequence".to_owned());
    }
    Ok(by_partition.into_values().collect())
}

#[cfg(test)]
#[path = "create_topics_tests.rs"]
mod tests;
