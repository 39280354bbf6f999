//! Records in and out: produce, fetch, offsets, producer ids.
//!
//! Requests for a single partition are built here; a load generator that puts several into one request builds its own
//! on [`Connection`](super::Connection).

use super::{Client, ClientError};
use crate::batch::{self, Record};
use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    FetchRequest, InitProducerIdRequest, ListOffsetsRequest, ProduceRequest, ProduceResponse,
};
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a read goes on that brings nothing although it should.
const STALLED: Duration = Duration::from_secs(30);

/// How much one fetch asks for, in bytes.
const FETCH_BYTES: i32 = 4 << 20;

/// An idempotent producer's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    /// The producer id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
}

/// What the broker says of an appended batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produced {
    /// The first record's offset.
    pub base_offset: i64,
    /// The broker's time, where the topic asks for it.
    pub log_append_time: Option<i64>,
}

/// One partition's part of a fetch answer.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// What may be read lies below.
    pub high_watermark: i64,
    /// The first offset there is.
    pub log_start: i64,
    /// Batches, the last one perhaps cut off, the first one perhaps starting before the offset asked for.
    pub batches: Bytes,
}

/// A place in a log to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// One past the last record.
    End,
    /// The first offset, tiered or not.
    Start,
    /// The first offset on the broker's disk (KIP-405).
    LocalStart,
    /// The last offset that is in the tier (KIP-1005).
    LastTiered,
    /// The record with the greatest timestamp (KIP-734).
    MaxTimestamp,
    /// The first record with this timestamp or a later one.
    Time(i64),
}

impl At {
    fn wire(self) -> i64 {
        match self {
            At::End => -1,
            At::Start => -2,
            At::MaxTimestamp => -3,
            At::LocalStart => -4,
            At::LastTiered => -5,
            At::Time(timestamp) => timestamp,
        }
    }
}

/// A Produce request with one batch.
pub fn produce_request(topic: &str, partition: i32, batch: Bytes, acks: i16) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
    let topic = TopicProduceData::default()
        .with_name(StrBytes::from_string(topic.to_owned()).into())
        .with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(30_000).with_topic_data(vec![topic])
}

/// What a Produce answer says of its first partition.
///
/// # Errors
/// [`ClientError::Kafka`] for its error code, [`ClientError::Malformed`] if it holds no partition.
pub fn produced(answer: &ProduceResponse) -> Result<Produced, ClientError> {
    let partition = answer.responses.first().and_then(|t| t.partition_responses.first());
    let partition = partition.ok_or_else(|| ClientError::Malformed("no partition in a Produce answer".into()))?;
    ClientError::check(partition.error_code, "Produce")?;
    Ok(Produced {
        base_offset: partition.base_offset,
        log_append_time: (partition.log_append_time_ms >= 0).then_some(partition.log_append_time_ms),
    })
}

/// A Fetch request for one partition, outside of any session.
pub fn fetch_request(topic: &str, partition: i32, offset: i64, max_bytes: i32, wait_ms: i32) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(max_bytes);
    let topic = FetchTopic::default()
        .with_topic(StrBytes::from_string(topic.to_owned()).into())
        .with_partitions(vec![partition]);
    FetchRequest::default()
        .with_max_wait_ms(wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(max_bytes)
        .with_topics(vec![topic])
}

impl Client {
    /// A new idempotent producer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn init_producer(&self) -> Result<Producer, ClientError> {
        let request = InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
        let answer = self.any().await?.call(&request).await?;
        ClientError::check(answer.error_code, "InitProducerId")?;
        Ok(Producer { id: answer.producer_id.0, epoch: answer.producer_epoch })
    }

    /// Sends one batch with acks=all, once.
    ///
    /// # Errors
    /// [`ClientError`]; after anything but [`ClientError::Kafka`] the batch may be in the log or not.
    pub async fn produce(&self, topic: &str, partition: i32, batch: Bytes) -> Result<Produced, ClientError> {
        self.produce_with(topic, partition, batch, -1).await
    }

    /// Sends one batch with acks 1 or all (-1), once.
    ///
    /// # Errors
    /// As [`Client::produce`].
    pub async fn produce_with(
        &self,
        topic: &str,
        partition: i32,
        batch: Bytes,
        acks: i16,
    ) -> Result<Produced, ClientError> {
        let connection = self.leader(topic, partition).await?;
        produced(&connection.call(&produce_request(topic, partition, batch, acks)).await?)
    }

    /// Sends one batch with acks=all until it is in the log. The batch must be idempotent, or it may be there twice.
    ///
    /// # Errors
    /// What no retry can mend, or the last error when patience ends.
    pub async fn produce_surely(&self, topic: &str, partition: i32, batch: Bytes) -> Result<Produced, ClientError> {
        self.retry(|| self.produce(topic, partition, batch.clone())).await
    }

    /// What is in the log from `offset` on, waiting up to `wait_ms` milliseconds if there is nothing.
    ///
    /// # Errors
    /// [`ClientError`], for example OFFSET_OUT_OF_RANGE.
    pub async fn fetch(&self, topic: &str, partition: i32, offset: i64, wait_ms: i32) -> Result<Fetched, ClientError> {
        let connection = self.leader(topic, partition).await?;
        let answer = connection.call(&fetch_request(topic, partition, offset, FETCH_BYTES, wait_ms)).await?;
        ClientError::check(answer.error_code, "Fetch")?;
        let found = answer.responses.into_iter().flat_map(|t| t.partitions).next();
        let found = found.ok_or_else(|| ClientError::Malformed("no partition in a Fetch answer".into()))?;
        ClientError::check(found.error_code, "Fetch")?;
        Ok(Fetched {
            high_watermark: found.high_watermark,
            log_start: found.log_start_offset,
            batches: found.records.unwrap_or_default(),
        })
    }

    /// The offset at `at`, with its timestamp where the broker gives one; `None` if there is no such record.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn offset(&self, topic: &str, partition: i32, at: At) -> Result<Option<(i64, i64)>, ClientError> {
        let part = ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(at.wire());
        let request =
            ListOffsetsRequest::default().with_replica_id((-1).into()).with_timeout_ms(30_000).with_topics(vec![
                ListOffsetsTopic::default()
                    .with_name(StrBytes::from_string(topic.to_owned()).into())
                    .with_partitions(vec![part]),
            ]);
        let answer = self.leader(topic, partition).await?.call(&request).await?;
        let found = answer.topics.into_iter().flat_map(|t| t.partitions).next();
        let found = found.ok_or_else(|| ClientError::Malformed("no partition in a ListOffsets answer".into()))?;
        ClientError::check(found.error_code, "ListOffsets")?;
        Ok((found.offset >= 0).then_some((found.offset, found.timestamp)))
    }

    /// The offset at `at` of each partition, one request to each of their leaders; those without one are left out.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn offsets(
        &self,
        topic: &str,
        partitions: impl IntoIterator<Item = i32>,
        at: At,
    ) -> Result<BTreeMap<i32, i64>, ClientError> {
        let mut offsets = BTreeMap::new();
        for (leader, partitions) in self.by_leader(topic, partitions).await? {
            let parts = partitions.into_iter().map(|partition| {
                ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(at.wire())
            });
            let topic = ListOffsetsTopic::default()
                .with_name(StrBytes::from_string(topic.to_owned()).into())
                .with_partitions(parts.collect());
            let request = ListOffsetsRequest::default()
                .with_replica_id((-1).into())
                .with_timeout_ms(30_000)
                .with_topics(vec![topic]);
            let answer = self.at(&leader).await?.call(&request).await?;
            for found in answer.topics.into_iter().flat_map(|t| t.partitions) {
                ClientError::check(found.error_code, "ListOffsets")?;
                if found.offset >= 0 {
                    offsets.insert(found.partition_index, found.offset);
                }
            }
        }
        Ok(offsets)
    }

    /// Every record of `from..to`, retried until it is all there.
    ///
    /// # Errors
    /// What no retry can mend, a bad batch, or no progress for half a minute.
    pub async fn read(&self, topic: &str, partition: i32, from: i64, to: i64) -> Result<Vec<Record>, ClientError> {
        let mut records = Vec::new();
        let mut next = from;
        let mut moved = std::time::Instant::now();
        while next < to {
            let fetched = self.retry(|| self.fetch(topic, partition, next, 500)).await?;
            let mut got = batch::read_all(&fetched.batches).map_err(|e| ClientError::Malformed(e.to_string()))?;
            got.retain(|record| record.offset >= next && record.offset < to);
            if let Some(last) = got.last() {
                next = last.offset + 1;
                moved = std::time::Instant::now();
            } else if moved.elapsed() > STALLED {
                return Err(ClientError::TimedOut("a read"));
            }
            records.append(&mut got);
        }
        Ok(records)
    }
}
