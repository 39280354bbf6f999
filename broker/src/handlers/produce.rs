//! Produce (key 0): a client's batches into the logs of their partitions.
//!
//! [`append`] does everything that happens in arrival order, on the connection's own thread: find the partition,
//! check the batch, append it. What is left is waiting: with acks=-1, until the high watermark has passed the last
//! record of each partition.
//!
//! A request with a batch that its topic stores under another codec ([`must_recompress`]) is handled in the same way, but
//! on a thread of the pool for work, while its connection is held: compressing a megabyte takes milliseconds with zstd
//! and tens of them with gzip or lz4 at level 9, and a runtime serves many connections.

use super::Handlers;
use crate::config::{TimestampType, TopicConfig, Validation};
use crate::metadata::is_internal;
use crate::net::Client;
use crate::partition::{Commit, NotCommitted, Partition, append_code};
use esker_protocol::error_code::ErrorCode;
use esker_protocol::record::{self, BatchHeader, Rejection, Rules, Scratch, Walk};
use esker_storage::env::Timestamp;
use esker_storage::log::AppendError;
use kafka_protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};
use kafka_protocol::protocol::StrBytes;
use std::sync::Arc;
use std::time::Duration;

/// Versions that name topics by id (KIP-516).
const TOPIC_ID_VERSION: i16 = 13;
/// The first version whose clients can read zstd (KIP-110).
const ZSTD_VERSION: i16 = 7;

/// A produce whose batches are appended, or refused.
pub(super) struct Appended {
    response: ProduceResponse,
    /// Where in the response an answer still waits for its commit.
    waits: Vec<(usize, usize, Commit)>,
    timeout: Duration,
    acks: i16,
}

/// What becomes of a produce after its appends.
pub(super) enum Outcome {
    /// acks=0: nothing is answered.
    Silence,
    /// acks=0 and something was refused: the only way to tell the client is to close the connection.
    Close,
    /// The answer.
    Now(ProduceResponse),
    /// The answer, once [`Appended::committed`].
    Later(Appended),
}

/// Whether a batch of `request` is to be stored under another codec than it came with. Costs a look at a flag as long as
/// no topic asks for that.
pub(super) fn must_recompress(handlers: &Handlers, request: &ProduceRequest, version: i16) -> bool {
    handlers.hosted.recompresses()
        && request.topic_data.iter().any(|topic| {
            topic.partition_data.iter().any(|data| {
                // What is not a batch, or not for us, is refused as ever.
                let header = data.records.as_deref().and_then(|records| BatchHeader::parse(records).ok());
                let partition = find(handlers, topic, data.index, version).ok();
                let stored_as = partition.and_then(|partition| partition.topic_config().stored_as);
                header.zip(stored_as).is_some_and(|(header, stored_as)| header.compression() != stored_as.codec())
            })
        })
}

/// Appends the batches of `request`, in order.
pub(super) fn append(
    handlers: &Handlers,
    client: &Client,
    request: ProduceRequest,
    version: i16,
    scratch: &mut Scratch,
    place: Place,
) -> Outcome {
    let refused = refusal(&request);
    let acks = request.acks;
    let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let asked = Asked { version, acks, now: handlers.env.wall(), runtime: client.runtime, place };
    let mut waits = Vec::new();
    let mut failed = false;
    let mut responses = Vec::with_capacity(request.topic_data.len());
    for topic in request.topic_data {
        let mut partitions = Vec::with_capacity(topic.partition_data.len());
        for data in &topic.partition_data {
            let mut answer = PartitionProduceResponse::default().with_index(data.index);
            let result = match &refused {
                Some((code, message)) => Err(Refusal::new(*code, message)),
                None => one(handlers, &topic, data, &asked, scratch),
            };
            match result {
                Ok(done) => {
                    answer.base_offset = done.base_offset;
                    answer.log_append_time_ms = done.log_append_time.map_or(-1, Timestamp::millis);
                    answer.log_start_offset = done.log_start;
                    if let Some(commit) = done.commit {
                        waits.push((responses.len(), partitions.len(), commit));
                    }
                }
                Err(refusal) => {
                    failed = true;
                    handlers.metrics.failed_produce.inc();
                    refusal.write(&mut answer);
                }
            }
            partitions.push(answer);
        }
        let mut answer = TopicProduceResponse::default().with_partition_responses(partitions);
        // A copy: as a slice of the frame it would keep the frame's memory for as long as the answer waits, and the
        // connection reads the next frame into that memory.
        answer.name = StrBytes::from_string(topic.name.as_str().to_owned()).into();
        answer.topic_id = topic.topic_id;
        responses.push(answer);
    }
    let response = ProduceResponse::default().with_responses(responses);
    match (acks, failed) {
        (0, true) => Outcome::Close,
        (0, false) => Outcome::Silence,
        _ if waits.is_empty() => Outcome::Now(response),
        _ => Outcome::Later(Appended { response, waits, timeout, acks }),
    }
}

impl Appended {
    /// The answer, once every batch is committed, or failed to be in time.
    pub(super) async fn committed(mut self, handlers: &Handlers) -> ProduceResponse {
        debug_assert_eq!(self.acks, -1, "only acks=-1 waits");
        let mut results: Vec<Option<ErrorCode>> = vec![Some(ErrorCode::REQUEST_TIMED_OUT); self.waits.len()];
        let wait = async {
            for ((_, _, commit), result) in self.waits.iter_mut().zip(&mut results) {
                *result = match commit.await {
                    Ok(Ok(())) => None,
                    Ok(Err(NotCommitted::Failed)) => Some(ErrorCode::KAFKA_STORAGE_ERROR),
                    Ok(Err(NotCommitted::Gone)) | Err(_) => Some(ErrorCode::NOT_LEADER_OR_FOLLOWER),
                };
            }
        };
        // What timed out may still be committed; an idempotent producer's retry finds out.
        let _ = handlers.env.timeout(self.timeout, wait).await;
        for ((topic, partition, _), result) in self.waits.iter().zip(results) {
            let answer =
                self.response.responses.get_mut(*topic).and_then(|topic| topic.partition_responses.get_mut(*partition));
            if let (Some(answer), Some(code)) = (answer, result) {
                Refusal::new(code, "").write(answer);
                handlers.metrics.failed_produce.inc();
            }
        }
        self.response
    }
}

/// Why nothing of a request can be appended.
fn refusal(request: &ProduceRequest) -> Option<(ErrorCode, &'static str)> {
    if !(-1..=1).contains(&request.acks) {
        return Some((ErrorCode::INVALID_REQUIRED_ACKS, "acks must be -1, 0 or 1"));
    }
    if request.transactional_id.is_some() {
        let message = "transactions are not supported by this version of Esker";
        return Some((ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED, message));
    }
    None
}

struct Done {
    base_offset: i64,
    log_append_time: Option<Timestamp>,
    log_start: i64,
    commit: Option<Commit>,
}

struct Refusal {
    code: ErrorCode,
    message: Option<String>,
    record_errors: Vec<(i32, String)>,
}

impl Refusal {
    fn new(code: ErrorCode, message: &str) -> Refusal {
        Refusal { code, message: (!message.is_empty()).then(|| message.to_owned()), record_errors: Vec::new() }
    }

    fn write(self, answer: &mut PartitionProduceResponse) {
        answer.error_code = self.code.code();
        answer.error_message = self.message.map(StrBytes::from_string);
        answer.base_offset = -1;
        answer.log_append_time_ms = -1;
        answer.log_start_offset = -1;
        answer.record_errors = self
            .record_errors
            .into_iter()
            .map(|(index, message)| {
                BatchIndexAndErrorMessage::default()
                    .with_batch_index(index)
                    .with_batch_index_error_message(Some(StrBytes::from_string(message)))
            })
            .collect();
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Refusal {
        Refusal {
            code: ErrorCode::new(rejection.code()),
            message: Some(rejection.message),
            record_errors: rejection.record_errors,
        }
    }
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Refusal {
        Refusal::new(append_code(&error), &error.to_string())
    }
}

/// Where a request is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On its connection's runtime: batches are stored as they came.
    Runtime,
    /// On a thread that may take its time: batches are stored as their topics ask.
    Pool,
}

/// What a whole request says about each of its batches.
struct Asked {
    place: Place,
    version: i16,
    acks: i16,
    now: Timestamp,
    runtime: usize,
}

fn one(
    handlers: &Handlers,
    topic: &TopicProduceData,
    data: &PartitionProduceData,
    asked: &Asked,
    scratch: &mut Scratch,
) -> Result<Done, Refusal> {
    let partition = find(handlers, topic, data.index, asked.version)?;
    if is_internal(partition.topic()) {
        return Err(Refusal::new(ErrorCode::INVALID_TOPIC_EXCEPTION, "only coordinators write to internal topics"));
    }
    let config = partition.topic_config();
    // More than there are replicas cannot be wanted: then all of them are (KIP-966).
    let wanted = config.min_insync_replicas.min(partition.replicas());
    if asked.acks == -1 && wanted > partition.in_sync_replicas() {
        let message = "fewer in-sync replicas than min.insync.replicas";
        return Err(Refusal::new(ErrorCode::NOT_ENOUGH_REPLICAS, message));
    }
    let records = data.records.clone().unwrap_or_default();
    let mut rules = rules(handlers, &config, asked);
    let stored_as = config.stored_as.filter(|_| asked.place == Place::Pool);
    if stored_as.is_some() {
        // What we compress ourselves we answer for.
        rules.walk = Walk::Strict;
    }
    let mut batch = record::validate(records, &rules, scratch)?;
    if batch.header().is_transactional() {
        let message = "transactions are not supported by this version of Esker";
        return Err(Refusal::new(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED, message));
    }
    if let Some(stored_as) = stored_as.filter(|stored_as| batch.differs_from(*stored_as)) {
        batch = batch.recompressed(stored_as, &rules, scratch)?;
    }
    let (records, bytes) = (batch.offsets(), batch.size());
    let appended = partition.append(batch, asked.now)?;
    if !appended.duplicate {
        handlers.metrics.messages_in.inc_by(u64::from(records));
        handlers.metrics.bytes_in.inc_by(bytes as u64);
    }
    let commit =
        if asked.acks == -1 { partition.committed(appended.last_offset.next(), Some(asked.runtime)) } else { None };
    Ok(Done {
        base_offset: appended.base_offset.to_wire(),
        log_append_time: appended.log_append_time,
        log_start: partition.log_start().offset().to_wire(),
        commit,
    })
}

fn find(handlers: &Handlers, topic: &TopicProduceData, index: i32, version: i16) -> Result<Arc<Partition>, Refusal> {
    let found = if version >= TOPIC_ID_VERSION {
        handlers.partition_by_id(topic.topic_id, index)
    } else {
        handlers.partition_by_name(&topic.name, index)
    };
    found.map_err(|code| Refusal::new(code, ""))
}

fn rules(handlers: &Handlers, config: &TopicConfig, asked: &Asked) -> Rules {
    Rules {
        max_message_bytes: usize::try_from(config.max_message_bytes).unwrap_or(usize::MAX),
        compacted: config.cleanup.compact,
        timestamp_type: match config.timestamp_type {
            TimestampType::CreateTime => record::TimestampType::CreateTime,
            TimestampType::LogAppendTime => record::TimestampType::LogAppendTime,
        },
        before_max_ms: i64::try_from(config.timestamp_before_max_ms).unwrap_or(i64::MAX),
        after_max_ms: i64::try_from(config.timestamp_after_max_ms).unwrap_or(i64::MAX),
        now_ms: asked.now.millis(),
        walk: match handlers.config.validation {
            Validation::Strict => Walk::Strict,
            Validation::Header => Walk::HeaderOnly,
        },
        // Older clients cannot read zstd, so they may not write it either (KIP-110).
        zstd_allowed: asked.version >= ZSTD_VERSION,
        ..Rules::default()
    }
}
