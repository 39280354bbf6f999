//! Requests at chosen versions, with nothing between the test and the broker's answer.

use bytes::{BufMut, Bytes, BytesMut};
use esker_bench::batch::{Builder, Codec, Record, read_all};
use esker_bench::client::{Client, Connection};
use esker_tests::harness::records::FIRST_TIMESTAMP;
pub(crate) use esker_tests::harness::records::changed;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    FetchRequest, FetchResponse, ListOffsetsRequest, OffsetForLeaderEpochRequest, ProduceRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

pub(crate) const NONE: i16 = 0;
pub(crate) const OFFSET_OUT_OF_RANGE: i16 = 1;
pub(crate) const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
pub(crate) const CLUSTER_AUTHORIZATION_FAILED: i16 = 31;
pub(crate) const UNSUPPORTED_VERSION: i16 = 35;
pub(crate) const FENCED_LEADER_EPOCH: i16 = 74;
pub(crate) const UNKNOWN_LEADER_EPOCH: i16 = 75;
pub(crate) const UNKNOWN_TOPIC_ID: i16 = 100;

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(crate) fn name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// A batch of `count` records of `size` bytes, one millisecond apart.
pub(crate) fn records(count: usize, size: usize) -> Bytes {
    let mut batch = Builder::new(Codec::None);
    let value = vec![b'v'; size];
    for i in 0..count {
        batch.push(FIRST_TIMESTAMP + i as i64, None, Some(&value), &[]);
    }
    batch.build().unwrap()
}

/// One small record.
pub(crate) fn record(value: &str) -> Bytes {
    let value = Some(Bytes::copy_from_slice(value.as_bytes()));
    Builder::new(Codec::None)
        .record(&Record { timestamp: FIRST_TIMESTAMP, value, ..Record::default() })
        .build()
        .unwrap()
}

/// A topic of `partitions` on a connection of its own to its leader, and its id.
pub(crate) async fn topic(
    client: &Client,
    name: &str,
    partitions: i32,
    configs: &[(&str, &str)],
) -> (Connection, Uuid) {
    client.create_topic(name, partitions, configs).await.unwrap();
    let id = client.topics(Some(name)).await.unwrap()[0].id;
    (client.own_connection(name, 0).await.unwrap(), id)
}

/// A Produce request for one partition: by id from version 13 on.
pub(crate) fn produce_request(
    version: i16,
    topic: (&str, Uuid),
    partition: i32,
    batch: Option<Bytes>,
    acks: i16,
) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(batch);
    let data = TopicProduceData::default().with_partition_data(vec![data]);
    let data = if version >= 13 { data.with_topic_id(topic.1) } else { data.with_name(name(topic.0)) };
    ProduceRequest::default().with_acks(acks).with_timeout_ms(30_000).with_topic_data(vec![data])
}

/// Produces one batch with acks=all; what the answer says of its partition.
pub(crate) async fn produce(
    connection: &Connection,
    version: i16,
    topic: (&str, Uuid),
    partition: i32,
    batch: Bytes,
) -> PartitionProduceResponse {
    answered(connection, version, &produce_request(version, topic, partition, Some(batch), -1)).await
}

/// Sends a Produce request; what the answer says of its only partition.
pub(crate) async fn answered(
    connection: &Connection,
    version: i16,
    request: &ProduceRequest,
) -> PartitionProduceResponse {
    let answer = connection.send_at(request, version).await.unwrap().answer().await.unwrap();
    assert_eq!(answer.responses.len(), 1);
    assert_eq!(answer.responses[0].partition_responses.len(), 1);
    answer.responses[0].partition_responses[0].clone()
}

/// A fetch that is put together step by step.
#[derive(Clone)]
pub(crate) struct Fetch {
    pub(crate) version: i16,
    pub(crate) request: FetchRequest,
}

impl Fetch {
    /// Of nothing, outside of a session, that waits for nothing.
    pub(crate) fn new(version: i16) -> Fetch {
        let request = FetchRequest::default()
            .with_replica_id((-1).into())
            .with_max_wait_ms(0)
            .with_min_bytes(1)
            .with_max_bytes(10 << 20)
            .with_session_epoch(-1);
        Fetch { version, request }
    }

    pub(crate) fn of(self, topic: (&str, Uuid), partition: i32, offset: i64) -> Fetch {
        self.with(topic, FetchPartition::default().with_partition(partition).with_fetch_offset(offset), 1 << 20)
    }

    pub(crate) fn with(mut self, topic: (&str, Uuid), partition: FetchPartition, max_bytes: i32) -> Fetch {
        let wanted = FetchTopic::default().with_partitions(vec![partition.with_partition_max_bytes(max_bytes)]);
        let wanted = if self.version >= 13 { wanted.with_topic_id(topic.1) } else { wanted.with_topic(name(topic.0)) };
        self.request.topics.push(wanted);
        self
    }

    pub(crate) fn change(mut self, change: impl FnOnce(FetchRequest) -> FetchRequest) -> Fetch {
        self.request = change(self.request);
        self
    }

    pub(crate) async fn whole(&self, connection: &Connection) -> FetchResponse {
        connection.send_at(&self.request, self.version).await.unwrap().answer().await.unwrap()
    }

    /// The answers by partition, in their order; fails on an error of the whole.
    pub(crate) async fn send(&self, connection: &Connection) -> Vec<PartitionData> {
        let answer = self.whole(connection).await;
        assert_eq!(answer.error_code, NONE);
        partitions(answer)
    }

    /// The answer for the only partition.
    pub(crate) async fn one(&self, connection: &Connection) -> PartitionData {
        let mut answers = self.send(connection).await;
        assert_eq!(answers.len(), 1);
        answers.remove(0)
    }
}

pub(crate) fn partitions(answer: FetchResponse) -> Vec<PartitionData> {
    answer.responses.into_iter().flat_map(|topic| topic.partitions).collect()
}

/// The offsets in what was fetched.
pub(crate) fn offsets(answer: &PartitionData) -> Vec<i64> {
    let bytes = answer.records.as_ref().expect("records are empty, never null");
    read_all(bytes).unwrap().iter().map(|record| record.offset).collect()
}

pub(crate) fn size(answer: &PartitionData) -> usize {
    answer.records.as_ref().expect("records are empty, never null").len()
}

/// What ListOffsets says of one partition: error, offset, timestamp, leader epoch.
pub(crate) async fn list(
    connection: &Connection,
    version: i16,
    topic: &str,
    partition: ListOffsetsPartition,
    isolation: i8,
) -> (i16, i64, i64, i32) {
    let request = ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_topics(vec![ListOffsetsTopic::default().with_name(name(topic)).with_partitions(vec![partition])]);
    let request = if version >= 2 { request.with_isolation_level(isolation) } else { request };
    let request = if version >= 10 { request.with_timeout_ms(10_000) } else { request };
    let answer = connection.send_at(&request, version).await.unwrap().answer().await.unwrap();
    let found = &answer.topics[0].partitions[0];
    (found.error_code, found.offset, found.timestamp, found.leader_epoch)
}

/// As [`list`], by timestamp alone.
pub(crate) async fn list_at(
    connection: &Connection,
    version: i16,
    topic: &str,
    timestamp: i64,
) -> (i16, i64, i64, i32) {
    let partition = ListOffsetsPartition::default().with_partition_index(0).with_timestamp(timestamp);
    list(connection, version, topic, partition, 0).await
}

/// What OffsetForLeaderEpoch says of partition 0: error, epoch, end offset.
pub(crate) async fn end_of_epoch(
    connection: &Connection,
    topic: &str,
    partition: OffsetForLeaderPartition,
) -> (i16, i32, i64) {
    let topic = OffsetForLeaderTopic::default().with_topic(name(topic)).with_partitions(vec![partition]);
    let request = OffsetForLeaderEpochRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
    let answer = connection.send_at(&request, 4).await.unwrap().answer().await.unwrap();
    let found = &answer.topics[0].partitions[0];
    (found.error_code, found.leader_epoch, found.end_offset)
}

/// A frame with its length.
pub(crate) fn frame(key: i16, version: i16, correlation: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.put_i32(10 + body.len() as i32);
    frame.put_i16(key);
    frame.put_i16(version);
    frame.put_i32(correlation);
    frame.put_i16(-1);
    frame.put_slice(body);
    frame.to_vec()
}
