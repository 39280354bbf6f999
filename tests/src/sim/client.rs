//! A Kafka client for simulated brokers: one connection, one request at a time, every time limit virtual.
//!
//! It knows a single address and speaks fixed versions, so that what a run does depends on the broker alone. A call
//! either has an answer or is [`Lost`], in which case nobody knows whether it took effect.

use super::net::{SimNet, SimStream};
use bytes::Bytes;
use esker_bench::batch::{self, Builder, Codec, Record};
use esker_bench::client::{fetch_request, produce_request};
use esker_protocol::api::Api;
use esker_protocol::guard::Limits;
use esker_protocol::{request, response};
use esker_storage::env::Env;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, FindCoordinatorRequest, InitProducerIdRequest, ListOffsetsRequest,
    OffsetCommitRequest, OffsetFetchRequest, RequestKind, ResponseKind,
};
use kafka_protocol::protocol::StrBytes;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long a call may take.
const LIMIT: Duration = Duration::from_secs(20);
/// How much one fetch asks for.
const FETCH_BYTES: i32 = 64 << 10;
/// The largest answer that is taken.
const MAX_FRAME: usize = 16 << 20;

/// The answer did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

/// Kafka's number of an error that an answer holds.
pub type ErrorNumber = i16;

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallError {
    /// Nobody knows.
    Lost,
    /// The broker says no, with Kafka's number.
    Kafka(ErrorNumber),
}

impl From<Lost> for CallError {
    fn from(_: Lost) -> CallError {
        CallError::Lost
    }
}

impl CallError {
    fn check(code: ErrorNumber) -> Result<(), CallError> {
        if code == 0 { Ok(()) } else { Err(CallError::Kafka(code)) }
    }
}

/// A part of a partition's log.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The first offset there is.
    pub log_start: u64,
    /// What consumers may read lies below.
    pub high_watermark: u64,
    /// The records at and above the offset asked for.
    pub records: Vec<Record>,
}

/// A client with at most one connection.
pub struct SimClient {
    net: SimNet,
    env: Env,
    address: SocketAddr,
    stream: Option<SimStream>,
    correlation: i32,
}

fn name(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

impl SimClient {
    /// A client of the broker at `address`; it connects with its first call.
    pub fn new(net: SimNet, env: Env, address: SocketAddr) -> SimClient {
        SimClient { net, env, address, stream: None, correlation: 0 }
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// [`Lost`]; the connection is closed then.
    pub async fn call(&mut self, version: i16, body: &RequestKind) -> Result<ResponseKind, Lost> {
        let env = self.env.clone();
        let stream = self.stream.take();
        let answer = env.timeout(LIMIT, self.exchange(stream, version, body)).await;
        match answer {
            Ok(Ok((stream, answer))) => {
                self.stream = Some(stream);
                Ok(answer)
            }
            Ok(Err(_)) | Err(_) => Err(Lost),
        }
    }

    async fn exchange(
        &mut self,
        stream: Option<SimStream>,
        version: i16,
        body: &RequestKind,
    ) -> io::Result<(SimStream, ResponseKind)> {
        let mut stream = match stream {
            Some(stream) => stream,
            None => self.net.connect(self.address).await?,
        };
        self.correlation += 1;
        let frame = request::encode(self.correlation, Some("simulated"), version, body).map_err(io::Error::other)?;
        stream.write_all(&frame.to_bytes()).await?;
        let len = usize::try_from(stream.read_u32().await?).map_err(io::Error::other)?;
        if len > MAX_FRAME {
            return Err(io::Error::other("an absurd frame"));
        }
        let mut frame = vec![0; len];
        stream.read_exact(&mut frame).await?;
        let api = request::key_of(body).and_then(Api::of).ok_or(io::ErrorKind::InvalidInput)?;
        let (correlation, answer) = response::decode(api, version, Bytes::from(frame), &Limits::default())
            .expect("a broker's answer can be decoded");
        assert_eq!(correlation, self.correlation, "an answer to another request");
        Ok((stream, answer))
    }

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
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
        let ResponseKind::CreateTopics(answer) = self.call(5, &request.into()).await? else { return Err(Lost.into()) };
        answer.topics.iter().try_for_each(|topic| CallError::check(topic.error_code))
    }

    /// A new producer id and its epoch.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn init_producer(&mut self) -> Result<(i64, i16), CallError> {
        let request = InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
        let ResponseKind::InitProducerId(answer) = self.call(4, &request.into()).await? else {
            return Err(Lost.into());
        };
        CallError::check(answer.error_code)?;
        Ok((answer.producer_id.0, answer.producer_epoch))
    }

    /// Sends a batch with acks=all; the offset of its first record, `None` if it is a duplicate of one that the broker
    /// remembers no offset of.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn produce(&mut self, topic: &str, partition: i32, batch: Bytes) -> Result<Option<u64>, CallError> {
        let request = produce_request(topic, partition, batch, -1);
        let ResponseKind::Produce(answer) = self.call(9, &request.into()).await? else { return Err(Lost.into()) };
        let answer = answer.responses.first().and_then(|topic| topic.partition_responses.first());
        let answer = answer.expect("a Produce answer has the partition that was asked for");
        CallError::check(answer.error_code)?;
        Ok(u64::try_from(answer.base_offset).ok())
    }

    /// Records at and above `offset`, waiting up to `wait_ms` milliseconds if there are none.
    ///
    /// # Errors
    /// [`CallError`], for example 1 if `offset` is out of range.
    pub async fn fetch(
        &mut self,
        topic: &str,
        partition: i32,
        offset: u64,
        wait_ms: i32,
    ) -> Result<Fetched, CallError> {
        let request = fetch_request(topic, partition, offset as i64, FETCH_BYTES, wait_ms);
        let ResponseKind::Fetch(answer) = self.call(12, &request.into()).await? else { return Err(Lost.into()) };
        CallError::check(answer.error_code)?;
        let answer = answer.responses.into_iter().flat_map(|topic| topic.partitions).next();
        let answer = answer.expect("a Fetch answer outside of a session has the partition that was asked for");
        CallError::check(answer.error_code)?;
        let mut records = batch::read_all(&answer.records.unwrap_or_default()).expect("batches can be read");
        records.retain(|record| record.offset >= offset as i64);
        Ok(Fetched {
            log_start: u64::try_from(answer.log_start_offset).expect("an answer without error has a log start"),
            high_watermark: u64::try_from(answer.high_watermark).expect("an answer without error has a high watermark"),
            records,
        })
    }

    /// The offset of a time or of one of Kafka's marks (-1 end, -2 start, -4 local start, -5 last tiered).
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn list_offset(&mut self, topic: &str, partition: i32, at: i64) -> Result<Option<u64>, CallError> {
        let partition = ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(at);
        let topic = ListOffsetsTopic::default().with_name(name(topic).into()).with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
        let ResponseKind::ListOffsets(answer) = self.call(9, &request.into()).await? else { return Err(Lost.into()) };
        let answer = answer.topics.into_iter().flat_map(|topic| topic.partitions).next();
        let answer = answer.expect("a ListOffsets answer has the partition that was asked for");
        CallError::check(answer.error_code)?;
        Ok(u64::try_from(answer.offset).ok())
    }
}

impl SimClient {
    /// Deletes a topic.
    ///
    /// # Errors
    /// [`CallError`], for example 3 if there is none.
    pub async fn delete_topic(&mut self, topic: &str) -> Result<(), CallError> {
        let request = DeleteTopicsRequest::default().with_topic_names(vec![name(topic).into()]).with_timeout_ms(10_000);
        let ResponseKind::DeleteTopics(answer) = self.call(5, &request.into()).await? else { return Err(Lost.into()) };
        answer.responses.iter().try_for_each(|topic| CallError::check(topic.error_code))
    }

    /// Asks for the coordinator of a group, which is the only broker there is.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn find_coordinator(&mut self, group: &str) -> Result<(), CallError> {
        let request = FindCoordinatorRequest::default().with_key(name(group)).with_key_type(0);
        let ResponseKind::FindCoordinator(answer) = self.call(3, &request.into()).await? else {
            return Err(Lost.into());
        };
        CallError::check(answer.error_code)
    }

    /// Commits an offset of partition 0 for a group without members.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn commit_offset(&mut self, group: &str, topic: &str, offset: i64) -> Result<(), CallError> {
        let partition =
            OffsetCommitRequestPartition::default().with_committed_offset(offset).with_committed_leader_epoch(-1);
        let topic = OffsetCommitRequestTopic::default().with_name(name(topic).into()).with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(name(group).into())
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic]);
        let ResponseKind::OffsetCommit(answer) = self.call(8, &request.into()).await? else { return Err(Lost.into()) };
        let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.into_iter().try_for_each(|partition| CallError::check(partition.error_code))
    }

    /// What a group committed for partition 0; `None` for nothing.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn committed_offset(&mut self, group: &str, topic: &str) -> Result<Option<i64>, CallError> {
        let topic = OffsetFetchRequestTopic::default().with_name(name(topic).into()).with_partition_indexes(vec![0]);
        let request = OffsetFetchRequest::default().with_group_id(name(group).into()).with_topics(Some(vec![topic]));
        let ResponseKind::OffsetFetch(answer) = self.call(6, &request.into()).await? else { return Err(Lost.into()) };
        CallError::check(answer.error_code)?;
        let partition = answer.topics.into_iter().flat_map(|topic| topic.partitions).next();
        let partition = partition.expect("an OffsetFetch answer has the partition that was asked for");
        CallError::check(partition.error_code)?;
        Ok(Some(partition.committed_offset).filter(|offset| *offset >= 0))
    }
}

/// A batch of one record per value. With a producer (id, epoch, first sequence) it is idempotent.
pub fn values_batch(values: &[u64], timestamp: i64, producer: Option<(i64, i16, i32)>) -> Bytes {
    let mut builder = Builder::new(Codec::None);
    if let Some((id, epoch, sequence)) = producer {
        builder = builder.producer(id, epoch, sequence);
    }
    for value in values {
        builder.push(timestamp, None, Some(format!("value {value:016}").as_bytes()), &[]);
    }
    builder.build().expect("a batch without compression can be built")
}

/// The value of a record of [`values_batch`].
pub fn value_of(record: &Record) -> u64 {
    let text = record.value.as_deref().and_then(|value| std::str::from_utf8(value).ok());
    text.and_then(|text| text.strip_prefix("value ")).and_then(|text| text.parse().ok()).expect("a value of ours")
}
