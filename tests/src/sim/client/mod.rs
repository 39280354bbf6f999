//! A Kafka client for simulated brokers: one connection, one request at a time, every time limit virtual.
//!
//! It knows a single address and speaks fixed versions, so that what a run does depends on the broker alone. A call
//! either has an answer or is [`Lost`], in which case nobody knows whether it took effect.

mod admin;
mod consumers;
mod groups;

pub use consumers::{Beat, Held};
pub use groups::{Joined, Membership, SESSION_TIMEOUT_MS};

use super::net::{SimNet, SimStream};
use crate::checker::SentRecord;
use bytes::Bytes;
use esker_bench::batch::{self, Builder, Codec, Record};
use esker_bench::client::{fetch_request, produce_request};
use esker_protocol::api::Api;
use esker_protocol::guard::Limits;
use esker_protocol::{request, response};
use esker_storage::env::Env;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{InitProducerIdRequest, ListOffsetsRequest, RequestKind, ResponseKind};
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
    /// The answer holds a batch that is damaged, which its checksum tells.
    Damaged,
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
    /// One past the last batch, which may have no record any more; `None` without one.
    pub next: Option<u64>,
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
        self.fetch_some(topic, partition, offset, wait_ms, FETCH_BYTES).await
    }

    /// The same with no more than `max_bytes` of batches, but one batch at least.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn fetch_some(
        &mut self,
        topic: &str,
        partition: i32,
        offset: u64,
        wait_ms: i32,
        max_bytes: i32,
    ) -> Result<Fetched, CallError> {
        let request = fetch_request(topic, partition, offset as i64, max_bytes, wait_ms);
        let ResponseKind::Fetch(answer) = self.call(12, &request.into()).await? else { return Err(Lost.into()) };
        CallError::check(answer.error_code)?;
        let answer = answer.responses.into_iter().flat_map(|topic| topic.partitions).next();
        let answer = answer.expect("a Fetch answer outside of a session has the partition that was asked for");
        CallError::check(answer.error_code)?;
        let bytes = answer.records.unwrap_or_default();
        let mut records = batch::read_all(&bytes).map_err(|_| CallError::Damaged)?;
        records.retain(|record| record.offset >= offset as i64);
        Ok(Fetched {
            log_start: u64::try_from(answer.log_start_offset).expect("an answer without error has a log start"),
            high_watermark: u64::try_from(answer.high_watermark).expect("an answer without error has a high watermark"),
            records,
            next: batch::end_offset(&bytes).and_then(|next| u64::try_from(next).ok()),
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

/// A batch of one record per value. With a producer (id, epoch, first sequence) it is idempotent.
pub fn values_batch(values: &[u64], timestamp: i64, producer: Option<(i64, i16, i32)>) -> Bytes {
    let records: Vec<SentRecord> = values.iter().map(|value| SentRecord::plain(*value)).collect();
    records_batch(Codec::None, &records, timestamp, producer)
}

/// The header that carries a tombstone's value.
const TOMBSTONE: &str = "tombstone";

/// A batch of these records, read again by [`value_of`].
pub fn records_batch(codec: Codec, records: &[SentRecord], timestamp: i64, producer: Option<(i64, i16, i32)>) -> Bytes {
    large_batch(codec, records, &[], timestamp, producer)
}

/// The header that makes a record larger.
const PADDING: &str = "padding";

/// The same with so many more bytes in each record.
pub fn large_batch(
    codec: Codec,
    records: &[SentRecord],
    padding: &[u8],
    timestamp: i64,
    producer: Option<(i64, i16, i32)>,
) -> Bytes {
    let mut builder = Builder::new(codec);
    if let Some((id, epoch, sequence)) = producer {
        builder = builder.producer(id, epoch, sequence);
    }
    for record in records {
        let key = record.key.map(|key| format!("key {key}"));
        let key = key.as_ref().map(|key| key.as_bytes());
        let value = format!("value {:016}", record.value);
        let mut headers = Vec::new();
        if !padding.is_empty() {
            headers.push((PADDING.to_owned(), Some(Bytes::copy_from_slice(padding))));
        }
        if record.tombstone {
            headers.push((TOMBSTONE.to_owned(), Some(Bytes::from(value))));
            builder.push(timestamp, key, None, &headers);
        } else {
            builder.push(timestamp, key, Some(value.as_bytes()), &headers);
        }
    }
    builder.build().expect("a batch in memory can be built")
}

/// The value of a record of [`records_batch`].
pub fn value_of(record: &Record) -> u64 {
    let in_header = record.headers.iter().find(|(name, _)| name == TOMBSTONE).and_then(|(_, value)| value.as_deref());
    let text = record.value.as_deref().or(in_header).and_then(|value| std::str::from_utf8(value).ok());
    text.and_then(|text| text.strip_prefix("value ")).and_then(|text| text.parse().ok()).expect("a value of ours")
}
