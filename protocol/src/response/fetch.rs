//! The Fetch response's encoder, which borrows the records instead of copying them.
//!
//! The crate's encoder copies everything into one buffer: 50 sets of records of 1 MiB take it 60 ms, most of it page
//! faults. This one writes the same bytes (a test compares them for every version), but hands each set of records to
//! the [`SegmentWriter`] as a slice, and writes null records as empty ones. The structs in tagged fields are encoded by
//! the crate.
//!
//! It is written by hand because the crate encodes into a `BufMut`, which cannot be implemented without `unsafe`.

use crate::lengths::{put_length, put_null, put_text, put_varint};
use crate::segments::{COALESCE_BELOW, SegmentWriter};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::FetchResponse;
use kafka_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
use kafka_protocol::protocol::Encodable;

/// What cannot be encoded, in the words of whoever noticed.
pub(super) struct Unencodable(pub(super) String);

impl<E: std::fmt::Display> From<E> for Unencodable {
    fn from(error: E) -> Unencodable {
        Unencodable(format!("{error:#}"))
    }
}

/// The first version in compact form with tagged fields.
const FLEXIBLE: i16 = 12;
/// The first version with topic ids in place of names (KIP-516).
const TOPIC_IDS: i16 = 13;
/// The first version with the end points of new leaders (KIP-951).
const NODE_ENDPOINTS: i16 = 16;

static NO_RECORDS: Bytes = Bytes::new();

/// Room that one partition takes beside its records, and one topic beside its name; generous, to encode in one go.
const PARTITION_SIZE: usize = 64;
const TOPIC_SIZE: usize = 32;

/// How many bytes will be encoded, about, and how many slices borrowed at most.
pub(super) fn capacity(response: &FetchResponse) -> (usize, usize) {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    let (mut size, mut borrowed) = (TOPIC_SIZE + response.responses.len() * TOPIC_SIZE, 0);
    for partition in partitions {
        let records = partition.records.as_ref().map_or(0, |records| records.len());
        let copied = records < COALESCE_BELOW;
        size += PARTITION_SIZE + if copied { records } else { 0 };
        borrowed += usize::from(!copied);
    }
    (size, borrowed)
}

/// Writes the body of `response`.
pub(super) fn encode(writer: &mut SegmentWriter, response: &FetchResponse, version: i16) -> Result<(), Unencodable> {
    let buffer = writer.buffer();
    buffer.put_i32(response.throttle_time_ms);
    if version >= 7 {
        buffer.put_i16(response.error_code);
        buffer.put_i32(response.session_id);
    }
    put_length(buffer, response.responses.len(), version >= FLEXIBLE)?;
    for topic in &response.responses {
        encode_topic(writer, topic, version)?;
    }
    if version >= FLEXIBLE {
        encode_node_endpoints(writer.buffer(), response, version)?;
    }
    Ok(())
}

fn encode_topic(writer: &mut SegmentWriter, topic: &FetchableTopicResponse, version: i16) -> Result<(), Unencodable> {
    let buffer = writer.buffer();
    if version >= TOPIC_IDS {
        buffer.put_slice(topic.topic_id.as_bytes());
    } else {
        put_text(buffer, Some(&topic.topic), version >= FLEXIBLE)?;
    }
    put_length(buffer, topic.partitions.len(), version >= FLEXIBLE)?;
    for partition in &topic.partitions {
        encode_partition(writer, partition, version)?;
    }
    if version >= FLEXIBLE {
        writer.buffer().put_u8(0);
    }
    Ok(())
}

fn encode_partition(writer: &mut SegmentWriter, partition: &PartitionData, version: i16) -> Result<(), Unencodable> {
    let buffer = writer.buffer();
    buffer.put_i32(partition.partition_index);
    buffer.put_i16(partition.error_code);
    buffer.put_i64(partition.high_watermark);
    buffer.put_i64(partition.last_stable_offset);
    if version >= 5 {
        buffer.put_i64(partition.log_start_offset);
    }
    encode_aborted(buffer, partition.aborted_transactions.as_deref(), version)?;
    if version >= 11 {
        buffer.put_i32(partition.preferred_read_replica.0);
    }
    // Never null, which librdkafka takes for a broken message.
    let records = partition.records.as_ref().unwrap_or(&NO_RECORDS);
    put_length(buffer, records.len(), version >= FLEXIBLE)?;
    writer.append(records);
    if version >= FLEXIBLE {
        encode_partition_tags(writer.buffer(), partition, version)?;
    }
    Ok(())
}

fn encode_aborted(
    buffer: &mut BytesMut,
    aborted: Option<&[AbortedTransaction]>,
    version: i16,
) -> Result<(), Unencodable> {
    let Some(aborted) = aborted else {
        put_null(buffer, version >= FLEXIBLE);
        return Ok(());
    };
    put_length(buffer, aborted.len(), version >= FLEXIBLE)?;
    for transaction in aborted {
        buffer.put_i64(transaction.producer_id.0);
        buffer.put_i64(transaction.first_offset);
        if version >= FLEXIBLE {
            buffer.put_u8(0);
        }
    }
    Ok(())
}

fn encode_partition_tags(buffer: &mut BytesMut, partition: &PartitionData, version: i16) -> Result<(), Unencodable> {
    let diverging = is_set(&partition.diverging_epoch);
    let leader = is_set(&partition.current_leader);
    let snapshot = is_set(&partition.snapshot_id);
    put_varint(buffer, [diverging, leader, snapshot].into_iter().map(u32::from).sum());
    if diverging {
        put_tagged(buffer, 0, &partition.diverging_epoch, version)?;
    }
    if leader {
        put_tagged(buffer, 1, &partition.current_leader, version)?;
    }
    if snapshot {
        put_tagged(buffer, 2, &partition.snapshot_id, version)?;
    }
    Ok(())
}

fn encode_node_endpoints(buffer: &mut BytesMut, response: &FetchResponse, version: i16) -> Result<(), Unencodable> {
    if version < NODE_ENDPOINTS || response.node_endpoints.is_empty() {
        buffer.put_u8(0);
        return Ok(());
    }
    let mut value = BytesMut::new();
    put_length(&mut value, response.node_endpoints.len(), true)?;
    for endpoint in &response.node_endpoints {
        endpoint.encode(&mut value, version)?;
    }
    put_varint(buffer, 1);
    put_varint(buffer, 0);
    put_varint(buffer, u32::try_from(value.len())?);
    buffer.put_slice(&value);
    Ok(())
}

/// Tagged fields with their default value are left out.
fn is_set<T: Default + PartialEq>(field: &T) -> bool {
    *field != T::default()
}

fn put_tagged(buffer: &mut BytesMut, tag: u32, value: &impl Encodable, version: i16) -> Result<(), Unencodable> {
    let size = value.compute_size(version)?;
    put_varint(buffer, tag);
    put_varint(buffer, u32::try_from(size)?);
    value.encode(buffer, version)?;
    Ok(())
}
