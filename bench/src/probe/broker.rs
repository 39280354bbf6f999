//! The broker as far as the wire tells: its APIs and features, its cluster, and the configurations that bear on what an
//! acknowledgement means.

use crate::client::{Client, ClientError};
use crate::results::BrokerSide;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::{ApiVersionsRequest, DescribeClusterRequest, DescribeConfigsRequest};
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeMap;

/// Configurations that are told whatever their value: what an acknowledgement means depends on them.
const TELLING: [&str; 7] = [
    "log.durability",
    "log.flush.interval.messages",
    "log.flush.interval.ms",
    "flush.messages",
    "min.insync.replicas",
    "unclean.leader.election.enable",
    "remote.storage.enable",
];

/// `ConfigResource.Type.TOPIC`.
const TOPIC: i8 = 2;
/// `ConfigResource.Type.BROKER`.
const BROKER: i8 = 4;
/// `ConfigEntry.ConfigSource.DEFAULT_CONFIG`.
const DEFAULT: i8 = 5;

/// Asks the broker that `client` knows about itself, and about `topic` if one is named.
///
/// A broker that does not speak a request, or refuses it, is described without what it would have said.
///
/// # Errors
/// If there is no broker.
pub async fn ask(client: &Client, topic: Option<&str>) -> Result<BrokerSide, ClientError> {
    let connection = client.any().await?;
    let apis = connection.versions().iter().map(|(key, (_, newest))| (*key, *newest)).collect();
    let mut side = BrokerSide { bootstrap: client.bootstrap().to_owned(), apis, ..BrokerSide::default() };
    let request = ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("esker-bench"))
        .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
    let versions = connection.call(&request).await?;
    let features = versions.finalized_features.iter();
    side.features = features.map(|f| (f.name.as_str().to_owned(), f.max_version_level)).collect();
    if let Ok(cluster) = connection.call(&DescribeClusterRequest::default()).await {
        side.brokers = cluster.brokers.iter().map(|broker| broker.broker_id.0).collect();
        side.brokers.sort_unstable();
    }
    if let Some(first) = side.brokers.first() {
        side.configs = configs(client, BROKER, &first.to_string()).await.unwrap_or_default();
    }
    if let Some(topic) = topic {
        side.topic_configs = configs(client, TOPIC, topic).await.unwrap_or_default();
        side.replication = replication(client, topic).await.ok();
    }
    let min_isr = side.topic_configs.get("min.insync.replicas").or_else(|| side.configs.get("min.insync.replicas"));
    side.min_isr = min_isr.and_then(|value| value.parse().ok());
    side.durability = BrokerSide::durability_of(&side.configs, &side.topic_configs);
    Ok(side)
}

/// What of a resource's configurations is no default, or telling.
async fn configs(client: &Client, kind: i8, name: &str) -> Result<BTreeMap<String, String>, ClientError> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(StrBytes::from_string(name.to_owned()))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let answer = client.any().await?.call(&request).await?;
    let mut found = BTreeMap::new();
    for result in &answer.results {
        ClientError::check(result.error_code, "DescribeConfigs")?;
        for config in &result.configs {
            let is_told = config.config_source != DEFAULT || TELLING.contains(&config.name.as_str());
            if let Some(value) = config.value.as_ref().filter(|_| is_told && !config.is_sensitive) {
                found.insert(config.name.as_str().to_owned(), value.as_str().to_owned());
            }
        }
    }
    Ok(found)
}

/// How many replicas the topic's first partition has.
async fn replication(client: &Client, topic: &str) -> Result<i32, ClientError> {
    use kafka_protocol::messages::MetadataRequest;
    use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
    let named = MetadataRequestTopic::default().with_name(Some(StrBytes::from_string(topic.to_owned()).into()));
    let request = MetadataRequest::default().with_topics(Some(vec![named])).with_allow_auto_topic_creation(false);
    let answer = client.any().await?.call(&request).await?;
    let first = answer.topics.first().and_then(|topic| topic.partitions.first());
    first.map(|p| p.replica_nodes.len() as i32).ok_or(ClientError::kafka(3, "Metadata"))
}
