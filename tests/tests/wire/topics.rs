//! Topics that come, change and go: creation, partitions, configurations, deletion.

use crate::ask::{
    Fetch, NONE, UNKNOWN_TOPIC_ID, UNKNOWN_TOPIC_OR_PARTITION, list_at, name, offsets, produce, record, text, topic,
};
use esker_bench::client::{Client, Connection};
use esker_tests::harness::{Broker, Options};
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    CreatePartitionsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest, MetadataRequest,
};

const INVALID_PARTITIONS: i16 = 37;
const INVALID_CONFIG: i16 = 40;
const TOPIC: i8 = 2;
const SET: i8 = 0;
const DELETE: i8 = 1;

#[tokio::test]
async fn topics_come_change_and_go() {
    let broker = Broker::start(Options::new()).await;
    let client = broker.client();
    a_topic_that_metadata_creates_takes_records_at_once(&client).await;
    a_deleted_topic_is_gone_at_once_and_for_good(&client).await;
    partitions_are_added(&client).await;
    configurations_are_read_and_written(&client).await;
}

async fn a_topic_that_metadata_creates_takes_records_at_once(client: &Client) {
    let connection = client.any().await.unwrap();
    for version in [1, 4, 8, 12, 13] {
        let fresh = format!("auto-{version}");
        let asked = MetadataRequestTopic::default().with_name(Some(name(&fresh)));
        let request = MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(true);
        let answer = connection.send_at(&request, version).await.unwrap().answer().await.unwrap();
        let found = &answer.topics[0];
        assert_eq!(found.error_code, NONE, "version {version}: answered in full at once");
        assert!(!found.partitions.is_empty());
        assert!(found.partitions.iter().all(|p| p.error_code == NONE && p.leader_id == answer.brokers[0].node_id));
        let produced = produce(&connection, 9, (&fresh, found.topic_id), 0, record("x")).await;
        assert_eq!(produced.error_code, NONE, "no retriable error either");
        let fetched = Fetch::new(12).of((&fresh, found.topic_id), 0, 0).one(&connection).await;
        assert_eq!(offsets(&fetched), [0]);
        assert_eq!(list_at(&connection, 4, &fresh, -1).await.1, 1);
    }
    let asked = MetadataRequestTopic::default().with_name(Some(name("not-auto")));
    let request = MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(false);
    let answer = connection.send_at(&request, 12).await.unwrap().answer().await.unwrap();
    assert_eq!(answer.topics[0].error_code, UNKNOWN_TOPIC_OR_PARTITION);
}

async fn a_deleted_topic_is_gone_at_once_and_for_good(client: &Client) {
    let (connection, old) = topic(client, "again", 2, &[]).await;
    for round in 0..3 {
        let id = client.topics(Some("again")).await.unwrap()[0].id;
        assert_eq!(id == old, round == 0);
        let produced = produce(&connection, 13, ("", id), 1, record("x")).await;
        assert_eq!((produced.error_code, produced.base_offset), (NONE, 0), "a new log");
        client.delete_topic("again").await.unwrap();
        assert_eq!(produce(&connection, 9, ("again", id), 1, record("x")).await.error_code, UNKNOWN_TOPIC_OR_PARTITION);
        assert_eq!(produce(&connection, 13, ("", id), 1, record("x")).await.error_code, UNKNOWN_TOPIC_ID);
        assert_eq!(Fetch::new(13).of(("", id), 1, 0).one(&connection).await.error_code, UNKNOWN_TOPIC_ID);
        assert_eq!(list_at(&connection, 7, "again", -1).await.0, UNKNOWN_TOPIC_OR_PARTITION);
        client.create_topic("again", 2, &[]).await.unwrap();
        assert_eq!(produce(&connection, 13, ("", id), 1, record("x")).await.error_code, UNKNOWN_TOPIC_ID);
        let fetched = Fetch::new(12).of(("again", id), 1, 0).one(&connection).await;
        assert_eq!((fetched.error_code, fetched.high_watermark), (NONE, 0), "the name stands for the new one");
    }
}

async fn partitions_are_added(client: &Client) {
    let (connection, id) = topic(client, "grows", 1, &[]).await;
    let grow = async |count: i32, validate_only: bool| {
        let wanted = CreatePartitionsTopic::default().with_name(name("grows")).with_count(count).with_assignments(None);
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![wanted])
            .with_timeout_ms(10_000)
            .with_validate_only(validate_only);
        let answer = connection.send_at(&request, 3).await.unwrap().answer().await.unwrap();
        assert_eq!(answer.results[0].name, name("grows"), "the topic is named");
        answer.results[0].error_code
    };
    assert_eq!(grow(1, false).await, INVALID_PARTITIONS);
    assert_eq!(grow(3, true).await, NONE);
    assert_eq!(produce(&connection, 9, ("grows", id), 2, record("x")).await.error_code, UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(grow(3, false).await, NONE);
    for partition in 0..3 {
        let answer = produce(&connection, 9, ("grows", id), partition, record("x")).await;
        assert_eq!((answer.error_code, answer.base_offset), (NONE, 0), "partition {partition}, at once");
    }
}

async fn describe(connection: &Connection, topic: &str) -> Vec<(String, String, bool)> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text(topic))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let answer = connection.send_at(&request, 4).await.unwrap().answer().await.unwrap();
    assert_eq!(answer.results[0].error_code, NONE);
    let entry = |entry: &kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult| {
        let value = entry.value.as_ref().map(ToString::to_string).unwrap_or_default();
        // Source 1 is the topic itself.
        (entry.name.to_string(), value, entry.config_source == 1)
    };
    answer.results[0].configs.iter().map(entry).collect()
}

async fn alter(connection: &Connection, topic: &str, changes: &[(&str, i8, Option<&str>)]) -> i16 {
    let changes = changes.iter().map(|(key, operation, value)| {
        AlterableConfig::default().with_name(text(key)).with_config_operation(*operation).with_value(value.map(text))
    });
    let resource = AlterConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text(topic))
        .with_configs(changes.collect());
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let answer = connection.send_at(&request, 1).await.unwrap().answer().await.unwrap();
    answer.responses[0].error_code
}

async fn configurations_are_read_and_written(client: &Client) {
    let (connection, id) = topic(client, "configured", 1, &[("retention.ms", "3600000")]).await;
    let of = async |key: &str| {
        let all = describe(&connection, "configured").await;
        let (_, value, own) = all.into_iter().find(|(name, _, _)| name == key).expect("every key is described");
        (value, own)
    };
    assert_eq!(of("retention.ms").await, ("3600000".to_owned(), true));
    assert_eq!(of("cleanup.policy").await, ("delete".to_owned(), false));
    assert_eq!(alter(&connection, "configured", &[("max.message.bytes", SET, Some("1000"))]).await, NONE);
    assert_eq!(of("max.message.bytes").await, ("1000".to_owned(), true));
    assert_eq!(
        produce(&connection, 9, ("configured", id), 0, crate::ask::records(1, 2000)).await.error_code,
        10,
        "at once"
    );
    assert_eq!(alter(&connection, "configured", &[("max.message.bytes", DELETE, None)]).await, NONE);
    assert_eq!(of("max.message.bytes").await, ("1048588".to_owned(), false));
    assert_eq!(produce(&connection, 9, ("configured", id), 0, crate::ask::records(1, 2000)).await.error_code, NONE);
    // One key that nobody honours: nothing of the resource is changed, and the connection lives.
    let mixed = [("retention.ms", SET, Some("1")), ("no.such.key", SET, Some("1"))];
    assert_eq!(alter(&connection, "configured", &mixed).await, INVALID_CONFIG);
    assert_eq!(of("retention.ms").await.0, "3600000");
    // Everything that is read can be written back.
    let all = describe(&connection, "configured").await;
    let back: Vec<_> = all.iter().map(|(key, value, _)| (key.as_str(), SET, Some(value.as_str()))).collect();
    assert_eq!(alter(&connection, "configured", &back).await, NONE);
    // What every record of a compacted topic must have.
    let (connection, id) = topic(client, "compacted", 1, &[("cleanup.policy", "compact")]).await;
    assert_eq!(produce(&connection, 9, ("compacted", id), 0, record("no key")).await.error_code, 87, "INVALID_RECORD");
}
