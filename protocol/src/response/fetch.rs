//! The Fetch response's encoder, which borrows the records instead of copying them.
//!
//! The crate's encoder copies everything into one buffer: 50 records sets of 1 MiB take it 60 ms, most of it page
//! faults. This one writes the same bytes (a test compares them for every version), but hands each set of records to
//! the [`SegmentWriter`] as a slice. The structs in tagged fields are encoded by the crate.
//!
//! It is written by hand because the crate encodes into a `BufMut`, which cannot be implemented without `unsafe`.

use crate::segments::SegmentWriter;
use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::FetchResponse;
use kafka_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
use kafka_protocol::protocol::Encodable;

/// The first version in compact form with tagged fields.
const FLEXIBLE: i16 = 12;
/// The first version with topic ids in place of names (KIP-516).
const TOPIC_IDS: i16 = 13;
/// The first version with the end points of new leaders (KIP-951).
const NODE_ENDPOINTS: i16 = 16;

/// Room that one partition takes beside its records, and one topic beside its name; generous, to encode in one go.
const PARTITION_SIZE: usize = 64;
const TOPIC_SIZE: usize = 32;

/// How many bytes will be encoded, about, and how many slices borrowed at most.
pub(super) fn capacity(response: &FetchResponse) -> (usize, usize) {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    let (mut size, mut borrowed) = (TOPIC_SIZE + response.responses.len() * TOPIC_SIZE, 0);
    for partition in partitions {
        let records = partition.records.as_ref().map_or(0, |records| records.len());
        let copied = records < crate::segments::COALESCE_BELOW;
        size += PARTITION_SIZE + if copied { records } else { 0 };
        borrowed += usize::from(!copied);
    }
    (size, borrowed)
}

/// Writes the body of `response`.
pub(super) fn encode(writer: &mut SegmentWriter, response: &FetchResponse, version: i16) -> Result<(), String> {
    let buffer = writer.buffer();
    buffer.put_i32(response.throttle_time_ms);
    if version >= 7 {
        buffer.put_i16(response.error_code);
        buffer.put_i32(response.session_id);
    }
    put_count(buffer, response.responses.len(), version)?;
    for topic in &response.responses {
        encode_topic(writer, topic, version)?;
    }
    if version >= FLEXIBLE {
        encode_node_endpoints(writer.buffer(), response, version)?;
    }
    Ok(())
}

fn encode_topic(writer: &mut SegmentWriter, topic: &FetchableTopicResponse, version: i16) -> Result<(), String> {
    let buffer = writer.buffer();
    if version >= TOPIC_IDS {
        buffer.put_slice(topic.topic_id.as_bytes());
    } else {
        let name = topic.topic.as_bytes();
        if version >= FLEXIBLE {
            put_varint(buffer, one_more(name.len())?);
        } else {
            buffer.put_i16(i16::try_from(name.len()).map_err(|_| "the topic's name is too long")?);
        }
        buffer.put_slice(name);
    }
    put_count(buffer, topic.partitions.len(), version)?;
    for partition in &topic.partitions {
        encode_partition(writer, partition, version)?;
    }
    if version >= FLEXIBLE {
        writer.buffer().put_u8(0);
    }
    Ok(())
}

fn encode_partition(writer: &mut SegmentWriter, partition: &PartitionData, version: i16) -> Result<(), String> {
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
    match &partition.records {
        None => put_null(buffer, version),
        Some(records) => {
            put_count(buffer, records.len(), version)?;
            writer.append(records);
        }
    }
    if version >= FLEXIBLE {
        encode_partition_tags(writer.buffer(), partition, version)?;
    }
    Ok(())
}

fn encode_aborted(buffer: &mut BytesMut, aborted: Option<&[AbortedTransaction]>, version: i16) -> Result<(), String> {
    let Some(aborted) = aborted else {
        put_null(buffer, version);
        return Ok(());
    };
    put_count(buffer, aborted.len(), version)?;
    for transaction in aborted {
        buffer.put_i64(transaction.producer_id.0);
        buffer.put_i64(transaction.first_offset);
        if version >= FLEXIBLE {
            buffer.put_u8(0);
        }
    }
    Ok(())
}

fn encode_partition_tags(buffer: &mut BytesMut, partition: &PartitionData, version: i16) -> Result<(), String> {
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

fn encode_node_endpoints(buffer: &mut BytesMut, response: &FetchResponse, version: i16) -> Result<(), String> {
    if version < NODE_ENDPOINTS || response.node_endpoints.is_empty() {
        buffer.put_u8(0);
        return Ok(());
    }
    let mut value = BytesMut::new();
    put_varint(&mut value, one_more(response.node_endpoints.len())?);
    for endpoint in &response.node_endpoints {
        endpoint.encode(&mut value, version).map_err(|error| format!("{error:#}"))?;
    }
    put_varint(buffer, 1);
    put_varint(buffer, 0);
    put_varint(buffer, u32::try_from(value.len()).map_err(|_| "too many end points")?);
    buffer.put_slice(&value);
    Ok(())
}

/// Tagged fields with their default value are left out.
fn is_set<T: Default + PartialEq>(field: &T) -> bool {
    *field != T::default()
}

fn put_tagged(buffer: &mut BytesMut, tag: u32, value: &impl Encodable, version: i16) -> Result<(), String> {
    let size = value.compute_size(version).map_err(|error| format!("{error:#}"))?;
    put_varint(buffer, tag);
    put_varint(buffer, u32::try_from(size).map_err(|_| "a tagged field is too long")?);
    value.encode(buffer, version).map_err(|error| format!("{error:#}"))
}

/// The length of bytes or the count of an array.
fn put_count(buffer: &mut BytesMut, count: usize, version: i16) -> Result<(), String> {
    if version >= FLEXIBLE {
        put_varint(buffer, one_more(count)?);
    } else {
        buffer.put_i32(i32::try_from(count).map_err(|_| "an array or its records are too long")?);
    }
    Ok(())
}

fn put_null(buffer: &mut BytesMut, version: i16) {
    if version >= FLEXIBLE { buffer.put_u8(0) } else { buffer.put_i32(-1) }
}

/// Compact lengths are one more than what they count, so that 0 is null.
fn one_more(count: usize) -> Result<u32, String> {
    u32::try_from(count).ok().and_then(|count| count.checked_add(1)).ok_or_else(|| "too long".to_owned())
}

fn put_varint(buffer: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        buffer.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    buffer.put_u8(value as u8);
}
