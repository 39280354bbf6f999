//! Topics, made, changed and deleted by a simulated client.

use super::{CallError, Lost, SimClient, name};
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
    IncrementalAlterConfigsRequest, ResponseKind,
};

/// Milliseconds that the broker may take for a change.
const TIMEOUT_MS: i32 = 10_000;
/// A topic, as resources of configurations are numbered.
const TOPIC: i8 = 2;

impl SimClient {
    /// Creates a topic of one replica.
    ///
    /// # Errors
    /// [`CallError`], for example 36 if there is such a topic.
    pub async fn create_topic(
        &mut self,
        topic: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> Result<(), CallError> {
        let configs = configs
            .iter()
            .map(|(key, value)| CreatableTopicConfig::default().with_name(name(key)).with_value(Some(name(value))));
        let topic = CreatableTopic::default()
            .with_name(name(topic).into())
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(TIMEOUT_MS);
        let ResponseKind::CreateTopics(answer) = self.call(5, &request.into()).await? else { return Err(Lost.into()) };
        answer.topics.iter().try_for_each(|topic| CallError::check(topic.error_code))
    }

    /// Deletes a topic.
    ///
    /// # Errors
    /// [`CallError`], for example 3 if there is none.
    pub async fn delete_topic(&mut self, topic: &str) -> Result<(), CallError> {
        let request =
            DeleteTopicsRequest::default().with_topic_names(vec![name(topic).into()]).with_timeout_ms(TIMEOUT_MS);
        let ResponseKind::DeleteTopics(answer) = self.call(5, &request.into()).await? else { return Err(Lost.into()) };
        answer.responses.iter().try_for_each(|topic| CallError::check(topic.error_code))
    }

    /// Gives a topic more partitions, `count` in all.
    ///
    /// # Errors
    /// [`CallError`], for example 37 if it has as many.
    pub async fn create_partitions(&mut self, topic: &str, count: i32) -> Result<(), CallError> {
        let topic =
            CreatePartitionsTopic::default().with_name(name(topic).into()).with_count(count).with_assignments(None);
        let request = CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(TIMEOUT_MS);
        let ResponseKind::CreatePartitions(answer) = self.call(2, &request.into()).await? else {
            return Err(Lost.into());
        };
        answer.results.iter().try_for_each(|topic| CallError::check(topic.error_code))
    }

    /// Deletes the records of a partition below `before`; the log start then.
    ///
    /// # Errors
    /// [`CallError`], for example 1 if there is no such offset yet.
    pub async fn delete_records(&mut self, topic: &str, partition: i32, before: u64) -> Result<u64, CallError> {
        let partition = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(before as i64);
        let topic = DeleteRecordsTopic::default().with_name(name(topic).into()).with_partitions(vec![partition]);
        let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(TIMEOUT_MS);
        let ResponseKind::DeleteRecords(answer) = self.call(2, &request.into()).await? else {
            return Err(Lost.into());
        };
        let answer = answer.topics.into_iter().flat_map(|topic| topic.partitions).next();
        let answer = answer.expect("a DeleteRecords answer has the partition that was asked for");
        CallError::check(answer.error_code)?;
        Ok(u64::try_from(answer.low_watermark).expect("an answer without error has a low watermark"))
    }

    /// Sets one key of a topic's configuration.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn alter_topic(&mut self, topic: &str, key: &str, value: &str) -> Result<(), CallError> {
        let config = AlterableConfig::default().with_name(name(key)).with_value(Some(name(value)));
        let resource = AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(name(topic))
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let ResponseKind::IncrementalAlterConfigs(answer) = self.call(1, &request.into()).await? else {
            return Err(Lost.into());
        };
        answer.responses.iter().try_for_each(|resource| CallError::check(resource.error_code))
    }

    /// One key of a topic's configuration, as it is in force; empty if the answer has none.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn topic_config(&mut self, topic: &str, key: &str) -> Result<String, CallError> {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(name(topic))
            .with_configuration_keys(Some(vec![name(key)]));
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        let ResponseKind::DescribeConfigs(answer) = self.call(4, &request.into()).await? else {
            return Err(Lost.into());
        };
        let result = answer.results.into_iter().next();
        let result = result.expect("a DescribeConfigs answer has the topic that was asked for");
        CallError::check(result.error_code)?;
        let value = result.configs.into_iter().next().and_then(|config| config.value);
        Ok(value.map(|value| value.to_string()).unwrap_or_default())
    }
}
