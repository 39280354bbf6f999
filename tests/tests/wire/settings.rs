//! Settings of topics: what is taken, what is refused, and that a change takes effect on a partition in use.

use crate::ask::{NONE, list_at, name, produce, produce_request, record, records, text, topic};
use bytes::Bytes;
use esker_bench::batch::{Builder, Codec};
use esker_bench::client::{At, Client, Connection};
use esker_storage::offset::PartitionId;
use esker_tests::harness::records::FIRST_TIMESTAMP;
use esker_tests::harness::{Broker, Options, wait_for};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{CreateTopicsRequest, IncrementalAlterConfigsRequest};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use uuid::Uuid;

const INVALID_TIMESTAMP: i16 = 32;
const INVALID_CONFIG: i16 = 40;
const INVALID_REQUEST: i16 = 42;
const INVALID_RECORD: i16 = 87;
const EARLIEST: i64 = -2;
const EARLIEST_LOCAL: i64 = -4;
const LAST_TIERED: i64 = -5;
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const PATIENCE: Duration = Duration::from_secs(60);

/// Gives keys of a resource values, or takes them; what the answer says.
async fn alter(connection: &Connection, kind: i8, of: &str, changes: &[(&str, Option<&str>)]) -> (i16, String) {
    let changes = changes.iter().map(|(key, value)| {
        let operation = if value.is_some() { 0 } else { 1 };
        AlterableConfig::default().with_name(text(key)).with_config_operation(operation).with_value(value.map(text))
    });
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(of))
        .with_configs(changes.collect());
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let answer = connection.send_at(&request, 1).await.unwrap().answer().await.unwrap();
    let answer = &answer.responses[0];
    (answer.error_code, answer.error_message.as_ref().map(ToString::to_string).unwrap_or_default())
}

/// Sets keys of a topic.
pub(crate) async fn set(connection: &Connection, topic: &str, changes: &[(&str, &str)]) {
    let changes: Vec<_> = changes.iter().map(|(key, value)| (*key, Some(*value))).collect();
    assert_eq!(alter(connection, TOPIC, topic, &changes).await, (NONE, String::new()), "{changes:?}");
}

/// Creates a topic; error code and message.
async fn create(connection: &Connection, topic: &str, configs: &[(&str, &str)]) -> (i16, String) {
    let configs = configs
        .iter()
        .map(|(key, value)| CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value))));
    let topic = CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_configs(configs.collect());
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    let answer = connection.send_at(&request, 7).await.unwrap().answer().await.unwrap();
    let answer = &answer.topics[0];
    (answer.error_code, answer.error_message.as_ref().map(ToString::to_string).unwrap_or_default())
}

/// What each of them gives the topics that it makes.
const FRAMEWORKS: [(&str, &[(&str, &str)]); 7] = [
    (
        "streams-repartition",
        &[
            ("cleanup.policy", "delete"),
            ("message.timestamp.type", "CreateTime"),
            ("retention.ms", "-1"),
            ("segment.bytes", "52428800"),
            ("segment.index.bytes", "52428800"),
        ],
    ),
    ("streams-changelog", &[("cleanup.policy", "compact"), ("message.timestamp.type", "CreateTime")]),
    ("streams-windowed", &[("cleanup.policy", "compact,delete"), ("retention.ms", "90000000")]),
    ("connect-offsets", &[("cleanup.policy", "compact"), ("min.insync.replicas", "1")]),
    (
        "debezium-history",
        &[("cleanup.policy", "delete"), ("retention.bytes", "-1"), ("retention.ms", "9223372036854775807")],
    ),
    ("registry-schemas", &[("cleanup.policy", "compact"), ("unclean.leader.election.enable", "false")]),
    // What DescribeConfigs of a Kafka 4.3 shows, as MirrorMaker and backup tools write it again.
    (
        "kafkas-defaults",
        &[
            ("cleanup.policy", "delete"),
            ("compression.gzip.level", "-1"),
            ("compression.lz4.level", "9"),
            ("compression.type", "producer"),
            ("compression.zstd.level", "3"),
            ("delete.retention.ms", "86400000"),
            ("file.delete.delay.ms", "60000"),
            ("flush.messages", "9223372036854775807"),
            ("flush.ms", "9223372036854775807"),
            ("follower.replication.throttled.replicas", ""),
            ("index.interval.bytes", "4096"),
            ("leader.replication.throttled.replicas", ""),
            ("local.retention.bytes", "-2"),
            ("local.retention.ms", "-2"),
            ("max.compaction.lag.ms", "9223372036854775807"),
            ("max.message.bytes", "1048588"),
            ("message.timestamp.after.max.ms", "3600000"),
            ("message.timestamp.before.max.ms", "9223372036854775807"),
            ("message.timestamp.type", "CreateTime"),
            ("min.cleanable.dirty.ratio", "0.5"),
            ("min.compaction.lag.ms", "0"),
            ("min.insync.replicas", "1"),
            ("preallocate", "false"),
            ("remote.log.copy.disable", "false"),
            ("remote.log.delete.on.disable", "false"),
            ("remote.storage.enable", "false"),
            ("retention.bytes", "-1"),
            ("retention.ms", "604800000"),
            ("segment.bytes", "1073741824"),
            ("segment.index.bytes", "10485760"),
            ("segment.jitter.ms", "0"),
            ("segment.ms", "604800000"),
            ("unclean.leader.election.enable", "false"),
        ],
    ),
];

/// What nothing here acts on.
const REFUSED: [(&str, &str); 15] = [
    ("compression.gzip.level", "0"),
    ("compression.gzip.level", "10"),
    ("compression.lz4.level", "0"),
    ("compression.lz4.level", "18"),
    ("compression.type", "brotli"),
    ("compression.zstd.level", "23"),
    ("flush.messages", "0"),
    ("follower.replication.throttled.replicas", "*"),
    ("leader.replication.throttled.replicas", "0:1"),
    ("message.downconversion.enable", "true"),
    ("message.format.version", "2.8"),
    ("message.timestamp.difference.max.ms", "1000"),
    ("remote.log.copy.disable", "perhaps"),
    ("segment.jitter.ms", "-1"),
    ("unclean.leader.election.enable", "true"),
];

#[tokio::test]
async fn settings_are_taken_where_something_acts_on_them() {
    let broker = Broker::start(Options::new()).await;
    let client = broker.client();
    let connection = client.any().await.unwrap();
    for (name, configs) in FRAMEWORKS {
        assert_eq!(create(&connection, name, configs).await, (NONE, String::new()), "{name}");
        set(&connection, name, configs).await;
    }
    for (key, value) in REFUSED {
        let (code, message) = create(&connection, "never", &[(key, value)]).await;
        assert_eq!(code, INVALID_CONFIG, "{key}={value}");
        assert!(message.contains(key), "{message}");
        let (code, message) = alter(&connection, TOPIC, "kafkas-defaults", &[(key, Some(value))]).await;
        assert_eq!(code, INVALID_CONFIG, "{key}={value}");
        assert!(message.contains(key), "{message}");
    }
    assert!(client.topics(None).await.unwrap().iter().all(|topic| topic.name != "never"));
    changes_hold_for_the_next_batch(&client).await;
    a_default_of_all_brokers_holds_for_topics_without_a_value(&client).await;
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// Records with these timestamps, each with a key if so told.
fn at(timestamps: &[i64], keyed: bool) -> Bytes {
    let mut batch = Builder::new(Codec::None);
    for timestamp in timestamps {
        batch.push(*timestamp, keyed.then_some(b"key"), Some(b"value"), &[]);
    }
    batch.build().unwrap()
}

async fn changes_hold_for_the_next_batch(client: &Client) {
    let (connection, id) = topic(client, "changing", 1, &[]).await;
    let here = ("changing", id);
    let send = async |batch: Bytes| produce(&connection, 9, here, 0, batch).await;
    let wrong = |answer: &kafka_protocol::messages::produce_response::PartitionProduceResponse| {
        (answer.error_code, answer.record_errors.iter().map(|error| error.batch_index).collect::<Vec<_>>())
    };
    let (now, hour) = (now(), 3_600_000);
    let spread = [now, now - 3 * hour, now + 3 * hour, now + 30 * 60_000];
    assert_eq!(wrong(&send(at(&spread, true)).await), (INVALID_TIMESTAMP, vec![2]), "by default an hour ahead");
    set(&connection, "changing", &[("message.timestamp.after.max.ms", "60000")]).await;
    assert_eq!(wrong(&send(at(&spread, true)).await), (INVALID_TIMESTAMP, vec![2, 3]));
    set(&connection, "changing", &[("message.timestamp.before.max.ms", "60000")]).await;
    assert_eq!(wrong(&send(at(&spread, true)).await), (INVALID_TIMESTAMP, vec![1, 2, 3]));
    set(&connection, "changing", &[("message.timestamp.type", "LogAppendTime")]).await;
    let answer = send(at(&spread, true)).await;
    assert_eq!(answer.error_code, NONE, "the broker's clock is within any bounds");
    assert!(answer.log_append_time_ms >= now);
    set(&connection, "changing", &[("message.timestamp.type", "CreateTime")]).await;
    assert_eq!(send(at(&[now], true)).await.log_append_time_ms, -1);
    let bounds = [("message.timestamp.after.max.ms", None), ("message.timestamp.before.max.ms", None)];
    assert_eq!(alter(&connection, TOPIC, "changing", &bounds).await.0, NONE);
    assert_eq!(send(at(&spread[..2], true)).await.error_code, NONE);

    set(&connection, "changing", &[("cleanup.policy", "compact,delete")]).await;
    assert_eq!(wrong(&send(at(&spread[..2], false)).await), (INVALID_RECORD, vec![0, 1]));
    assert_eq!(send(at(&spread[..2], true)).await.error_code, NONE);
    set(&connection, "changing", &[("cleanup.policy", "delete")]).await;
    assert_eq!(send(at(&spread[..2], false)).await.error_code, NONE);

    set(&connection, "changing", &[("min.insync.replicas", "2")]).await;
    assert_eq!(send(record("x")).await.error_code, NONE, "more than it has replicas is all of them (KIP-966)");
    let leader = produce_request(9, here, 0, Some(record("x")), 1);
    assert_eq!(crate::ask::answered(&connection, 9, &leader).await.error_code, NONE, "acks=1 asks for no others");
    set(&connection, "changing", &[("min.insync.replicas", "1"), ("max.message.bytes", "200")]).await;
    assert_eq!(send(records(1, 300)).await.error_code, 10);
    assert_eq!(send(record("x")).await.error_code, NONE);
}

async fn a_default_of_all_brokers_holds_for_topics_without_a_value(client: &Client) {
    let (connection, id) = topic(client, "inherits", 1, &[]).await;
    let (_, other) = topic(client, "says-so-itself", 1, &[("compression.type", "lz4")]).await;
    let codec = async |topic: (&str, Uuid)| {
        let base = produce(&connection, 9, topic, 0, record("x")).await.base_offset;
        client.fetch(topic.0, 0, base, 0).await.unwrap().batches[22] & 7
    };
    assert_eq!((codec(("inherits", id)).await, codec(("says-so-itself", other)).await), (0, 3));
    let (zstd, gzip) = (Some("zstd"), Some("gzip"));
    assert_eq!(alter(&connection, BROKER, "", &[("compression.type", zstd)]).await.0, NONE);
    assert_eq!((codec(("inherits", id)).await, codec(("says-so-itself", other)).await), (4, 3));
    assert_eq!(alter(&connection, BROKER, "1", &[("compression.type", gzip)]).await.0, NONE);
    assert_eq!((codec(("inherits", id)).await, codec(("says-so-itself", other)).await), (1, 3));
    assert_eq!(alter(&connection, TOPIC, "says-so-itself", &[("compression.type", None)]).await.0, NONE);
    assert_eq!(codec(("says-so-itself", other)).await, 1);
    for broker in ["1", ""] {
        assert_eq!(alter(&connection, BROKER, broker, &[("compression.type", None)]).await.0, NONE);
    }
    assert_eq!(codec(("inherits", id)).await, 0);
    let (code, message) = alter(&connection, BROKER, "1", &[("num.partitions", Some("3"))]).await;
    assert_eq!(code, INVALID_REQUEST, "it is read at the start");
    assert!(message.contains("num.partitions"), "{message}");
}

async fn first_offset(connection: &Connection, topic: &str, which: i64) -> i64 {
    list_at(connection, 9, topic, which).await.1
}

#[tokio::test]
async fn what_is_kept_and_where_can_be_changed_while_it_is_used() {
    let broker = Broker::start(Options::new().eager_tier()).await;
    let client = broker.client();
    let connection = client.any().await.unwrap();
    assert_eq!(alter(&connection, BROKER_LOGGER, "1", &[("root", Some("DEBUG"))]).await, (NONE, String::new()));
    segments_and_retention(&client, &broker).await;
    a_batch_that_no_segment_holds(&client).await;
    the_tier_is_left_and_entered(&client).await;
    assert!(broker.log().contains(" DEBUG "), "the log has another level at once");
    assert_eq!(alter(&connection, BROKER_LOGGER, "1", &[("root", Some("ERROR"))]).await, (NONE, String::new()));
    let quiet = broker.log().len();
    let (other, _) = topic(&client, "quiet", 1, &[]).await;
    fill(&other, ("quiet", client.topics(Some("quiet")).await.unwrap()[0].id), 3).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(&broker.log()[quiet..], "");
}

async fn a_batch_that_no_segment_holds(client: &Client) {
    let (connection, id) = topic(client, "tight", 1, &[]).await;
    set(&connection, "tight", &[("segment.bytes", "2000")]).await;
    for batch in [records(3, 100), records(1, 5000), records(3, 100), records(1, 1700)] {
        // Kafka refuses it; here it has a segment of its own.
        assert_eq!(produce(&connection, 9, ("tight", id), 0, batch).await.error_code, NONE);
    }
    assert_eq!(client.read("tight", 0, 0, 8).await.unwrap().len(), 8);
    // What is being filled goes on beyond the size that it was made for.
    set(&connection, "tight", &[("segment.bytes", "100000")]).await;
    fill(&connection, ("tight", id), 20).await;
    assert_eq!(client.read("tight", 0, 0, 108).await.unwrap().len(), 108);
}

async fn fill(connection: &Connection, topic: (&str, Uuid), batches: usize) {
    for _ in 0..batches {
        assert_eq!(produce(connection, 9, topic, 0, records(5, 400)).await.error_code, NONE);
    }
}

fn data_files(broker: &Broker, id: Uuid) -> usize {
    let folder = broker.data().join(PartitionId { topic: id, partition: 0 }.to_string());
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().ends_with(".log")).count()
}

async fn segments_and_retention(client: &Client, broker: &Broker) {
    let (connection, id) =
        topic(client, "local", 1, &[("remote.storage.enable", "false"), ("retention.ms", "-1")]).await;
    let here = ("local", id);
    fill(&connection, here, 20).await;
    assert_eq!(data_files(broker, id), 1);
    set(&connection, "local", &[("segment.bytes", "8000")]).await;
    fill(&connection, here, 20).await;
    assert!(data_files(broker, id) > 5);
    let before = data_files(broker, id);
    set(&connection, "local", &[("segment.bytes", "1000000"), ("segment.ms", "100")]).await;
    wait_for("the last segment to be sealed by age", PATIENCE, || async {
        (data_files(broker, id) > before).then_some(())
    })
    .await;
    assert_eq!(first_offset(&connection, "local", EARLIEST).await, 0);
    set(&connection, "local", &[("segment.ms", "100000"), ("retention.bytes", "20000")]).await;
    wait_for("what is too much to go", PATIENCE, || async {
        (first_offset(&connection, "local", EARLIEST).await > 100).then_some(())
    })
    .await;
    wait_for("its files to go", PATIENCE, || async { (data_files(broker, id) < before).then_some(()) }).await;
    let end = client.offset("local", 0, At::End).await.unwrap().unwrap().0;
    // The records are from long ago.
    set(&connection, "local", &[("retention.ms", "3600000")]).await;
    assert!(now() - FIRST_TIMESTAMP > 7_200_000);
    wait_for("what is too old to go", PATIENCE, || async {
        (first_offset(&connection, "local", EARLIEST).await == end).then_some(())
    })
    .await;
}

async fn the_tier_is_left_and_entered(client: &Client) {
    let configs = [("segment.bytes", "16384"), ("retention.ms", "-1"), ("remote.log.copy.disable", "true")];
    let (connection, id) = topic(client, "tiered", 1, &configs).await;
    let here = ("tiered", id);
    fill(&connection, here, 30).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(first_offset(&connection, "tiered", LAST_TIERED).await, -1, "nothing is copied");
    set(&connection, "tiered", &[("remote.log.copy.disable", "false")]).await;
    wait_for("all to be copied", PATIENCE, || async {
        (first_offset(&connection, "tiered", LAST_TIERED).await == 149).then_some(())
    })
    .await;
    assert_eq!(first_offset(&connection, "tiered", EARLIEST_LOCAL).await, 0);
    set(&connection, "tiered", &[("local.retention.bytes", "20000")]).await;
    let local_start = wait_for("local copies to go", PATIENCE, || async {
        let start = first_offset(&connection, "tiered", EARLIEST_LOCAL).await;
        (start > 50).then_some(start)
    })
    .await;
    // Read-only: what is there stays and is read, what is new is not copied.
    set(&connection, "tiered", &[("remote.log.copy.disable", "true")]).await;
    fill(&connection, here, 10).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(first_offset(&connection, "tiered", LAST_TIERED).await, 149);
    assert_eq!(client.read("tiered", 0, 0, 200).await.unwrap().len(), 200);
    // Off: the same. Off and deleted: the log starts where the disk does.
    set(&connection, "tiered", &[("remote.storage.enable", "false"), ("remote.log.copy.disable", "false")]).await;
    tokio::time::sleep(Duration::from_millis(1000)).await;
    assert_eq!(client.read("tiered", 0, 0, 200).await.unwrap().len(), 200);
    set(&connection, "tiered", &[("remote.log.delete.on.disable", "true")]).await;
    let start = wait_for("the tier to be left", PATIENCE, || async {
        let start = first_offset(&connection, "tiered", EARLIEST).await;
        (start > 0 && first_offset(&connection, "tiered", LAST_TIERED).await == -1).then_some(start)
    })
    .await;
    assert!(start >= local_start, "{start} {local_start}");
    assert_eq!(client.read("tiered", 0, start, 200).await.unwrap().len() as i64, 200 - start);
    assert_eq!(client.fetch("tiered", 0, start - 1, 0).await.unwrap_err().code(), Some(1));
    // And on again, from here.
    set(&connection, "tiered", &[("remote.storage.enable", "true")]).await;
    wait_for("all to be copied again", PATIENCE, || async {
        (first_offset(&connection, "tiered", LAST_TIERED).await == 199).then_some(())
    })
    .await;
    assert_eq!(client.read("tiered", 0, start, 200).await.unwrap().len() as i64, 200 - start);
}
