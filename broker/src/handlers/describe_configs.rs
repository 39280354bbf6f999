//! DescribeConfigs: every key with its value, source, synonyms, type and documentation.

use super::answer_room::{AnswerRoom, TOO_MUCH, make_way};
use super::loggers;
use super::resource::{BROKER_LOGGER, resource};
use super::wire::text;
use crate::config::{BrokerConfig, Described, LogLevel, Source, describe_broker, describe_group, describe_topic};
use crate::controller::{Refusal, ResourceName, check_topic_name};
use crate::metadata::{Image, Publisher, Resource};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use kafka_protocol::protocol::StrBytes;

/// Resources that are described before others get their turn.
const AT_A_TIME: usize = 16;

/// Answers a DescribeConfigs request.
pub async fn handle(
    request: &DescribeConfigsRequest,
    version: i16,
    publisher: &Publisher,
    config: &BrokerConfig,
    log_level: &LogLevel,
) -> DescribeConfigsResponse {
    let image = publisher.image();
    let mut room = AnswerRoom::new();
    let mut results = Vec::with_capacity(request.resources.len());
    for (number, asked) in request.resources.iter().enumerate() {
        if number % AT_A_TIME == AT_A_TIME - 1 {
            make_way().await;
        }
        let result = DescribeConfigsResult::default()
            .with_resource_type(asked.resource_type)
            .with_resource_name(asked.resource_name.clone());
        let too_much = || Refusal::new(ResponseError::InvalidRequest, TOO_MUCH);
        let entries = if room.is_full() {
            Err(too_much())
        } else if asked.resource_type == BROKER_LOGGER {
            loggers::describe(log_level, config.node_id, &asked.resource_name)
        } else {
            let described = describe(&image, config, asked);
            described.map(|all| all.into_iter().map(|described| entry(described, request, version)).collect())
        };
        let entries = entries.and_then(|mut entries: Vec<_>| {
            entries.retain(|entry| is_asked(asked, &entry.name));
            if room.take(entries.iter().map(size).sum()) { Ok(entries) } else { Err(too_much()) }
        });
        results.push(match entries {
            Ok(entries) => result.with_error_message(None).with_configs(entries),
            Err(refusal) => {
                result.with_error_code(refusal.error.code()).with_error_message(Some(text(refusal.message)))
            }
        });
    }
    DescribeConfigsResponse::default().with_results(results)
}

/// What an entry takes on the wire and beside it, about.
fn size(entry: &DescribeConfigsResourceResult) -> usize {
    let text = |text: &Option<StrBytes>| text.as_ref().map_or(0, |text| text.len());
    let synonyms = entry.synonyms.iter().map(|synonym| 32 + synonym.name.len() + text(&synonym.value));
    64 + entry.name.len() + text(&entry.value) + text(&entry.documentation) + synonyms.sum::<usize>()
}

/// No keys mean all keys, and so does an empty list of them.
fn is_asked(asked: &DescribeConfigsResource, name: &str) -> bool {
    let keys = asked.configuration_keys.as_deref().unwrap_or_default();
    keys.is_empty() || keys.iter().any(|key| key.as_str() == name)
}

fn describe(image: &Image, config: &BrokerConfig, asked: &DescribeConfigsResource) -> Result<Vec<Described>, Refusal> {
    let layers = image.layers(config.node_id, &config.layers);
    match resource(asked.resource_type, &asked.resource_name)? {
        ResourceName::Topic(name) => {
            check_topic_name(&name)?;
            let topic = image.topic(&name).ok_or_else(|| {
                let message = "This server does not host this topic-partition.";
                Refusal::new(ResponseError::UnknownTopicOrPartition, message)
            })?;
            Ok(describe_topic(&topic.configs, &layers))
        }
        ResourceName::Group(name) => Ok(describe_group(&image.configs(&Resource::Group(name)), &layers)),
        // What is set for all brokers, and nothing else: no broker's own values, no defaults.
        ResourceName::Broker(None) => {
            let set = image.configs(&Resource::Cluster);
            let mut described = describe_broker(&layers);
            described.retain(|described| set.contains_key(described.key.name));
            for described in &mut described {
                described.synonyms.retain(|synonym| synonym.source == Source::ClusterDefault);
                described.source = Source::ClusterDefault;
                if !described.key.sensitive {
                    described.value = set.get(described.key.name).cloned();
                }
            }
            Ok(described)
        }
        ResourceName::Broker(Some(id)) if id == config.node_id => Ok(describe_broker(&layers)),
        ResourceName::Broker(Some(id)) => {
            let message =
                format!("Unexpected broker id, expected {} or empty string, but received {id}", config.node_id);
            Err(Refusal::new(ResponseError::InvalidRequest, message))
        }
    }
}

fn entry(described: Described, request: &DescribeConfigsRequest, version: i16) -> DescribeConfigsResourceResult {
    let Described { key, value, source, read_only, synonyms } = described;
    let mut entry = DescribeConfigsResourceResult::default()
        .with_name(text(key.name))
        .with_value(value.map(text))
        .with_read_only(read_only)
        .with_config_source(source as i8)
        .with_is_sensitive(key.sensitive);
    if request.include_synonyms {
        let synonyms = synonyms.into_iter().map(|synonym| {
            DescribeConfigsSynonym::default()
                .with_name(text(synonym.name))
                .with_value(synonym.value.map(text))
                .with_source(synonym.source as i8)
        });
        entry.synonyms = synonyms.collect();
    }
    if version >= 3 {
        entry.config_type = key.kind as i8;
        entry.documentation = request.include_documentation.then(|| text(key.doc));
    }
    entry
}

#[cfg(test)]
#[path = "describe_configs_tests.rs"]
mod tests;
