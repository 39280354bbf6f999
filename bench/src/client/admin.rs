//! Topics as a client sees them: creating, deleting, looking up.

use super::{Client, ClientError};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{CreateTopicsRequest, DeleteTopicsRequest, MetadataRequest};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

/// How long the broker may take to settle a change, in milliseconds.
const TIMEOUT_MS: i32 = 30_000;

/// A topic in a metadata answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicView {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: Uuid,
    /// Leader and leader epoch by partition, in order.
    pub partitions: Vec<(i32, i32)>,
    /// Kafka's error number, 0 for none.
    pub error: i16,
}

impl Client {
    /// Creates a topic with one replica.
    ///
    /// # Errors
    /// [`ClientError::Kafka`], for example TOPIC_ALREADY_EXISTS.
    pub async fn create_topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Result<(), ClientError> {
        let configs = configs.iter().map(|(key, value)| {
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_string((*key).to_owned()))
                .with_value(Some(StrBytes::from_string((*value).to_owned())))
        });
        let topic = CreatableTopic::default()
            .with_name(StrBytes::from_string(name.to_owned()).into())
            .with_num_partitions(partitions)
            .with_replication_factor(-1)
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(TIMEOUT_MS);
        let answer = self.any().await?.call(&request).await?;
        answer.topics.iter().try_for_each(|t| ClientError::check(t.error_code, "CreateTopics"))
    }

    /// Deletes a topic.
    ///
    /// # Errors
    /// [`ClientError::Kafka`], for example UNKNOWN_TOPIC_OR_PARTITION.
    pub async fn delete_topic(&self, name: &str) -> Result<(), ClientError> {
        let name = StrBytes::from_string(name.to_owned());
        // Versions up to 5 read the names, later ones the states.
        let connection = self.any().await?;
        let request = DeleteTopicsRequest::default().with_timeout_ms(TIMEOUT_MS);
        let request = if connection.version::<DeleteTopicsRequest>()? < 6 {
            request.with_topic_names(vec![name.into()])
        } else {
            request.with_topics(vec![DeleteTopicState::default().with_name(Some(name.into()))])
        };
        let answer = connection.call(&request).await?;
        self.forget().await;
        answer.responses.iter().try_for_each(|t| ClientError::check(t.error_code, "DeleteTopics"))
    }

    /// All topics, or the named one, without creating any.
    ///
    /// # Errors
    /// [`ClientError`] if the broker does not answer; a topic's own error is in its view.
    pub async fn topics(&self, name: Option<&str>) -> Result<Vec<TopicView>, ClientError> {
        let named = name.map(|name| {
            vec![MetadataRequestTopic::default().with_name(Some(StrBytes::from_string(name.to_owned()).into()))]
        });
        let request = MetadataRequest::default().with_topics(named).with_allow_auto_topic_creation(false);
        let answer = self.any().await?.call(&request).await?;
        let view = |topic: kafka_protocol::messages::metadata_response::MetadataResponseTopic| {
            let mut partitions: Vec<_> =
                topic.partitions.iter().map(|p| (p.partition_index, (p.leader_id.0, p.leader_epoch))).collect();
            partitions.sort_unstable();
            TopicView {
                name: topic.name.map(|n| n.0.as_str().to_owned()).unwrap_or_default(),
                id: topic.topic_id,
                partitions: partitions.into_iter().map(|(_, leader)| leader).collect(),
                error: topic.error_code,
            }
        };
        Ok(answer.topics.into_iter().map(view).collect())
    }
}
