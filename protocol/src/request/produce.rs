//! The Produce request's encoder, which borrows the records instead of copying them: the benchmark's and the tests'
//! side of what `response::fetch` does for the broker.

use crate::lengths::{TooLong, put_length, put_null, put_text};
use crate::segments::SegmentWriter;
use bytes::BufMut;
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::messages::produce_request::TopicProduceData;

/// The first version in compact form with tagged fields.
const FLEXIBLE: i16 = 9;
/// The first version with topic ids in place of names (KIP-516).
const TOPIC_IDS: i16 = 13;

/// Writes the body of `request`.
pub(super) fn encode(writer: &mut SegmentWriter, request: &ProduceRequest, version: i16) -> Result<(), TooLong> {
    let flexible = version >= FLEXIBLE;
    let buffer = writer.buffer();
    put_text(buffer, request.transactional_id.as_ref().map(|id| id.0.as_str()), flexible)?;
    buffer.put_i16(request.acks);
    buffer.put_i32(request.timeout_ms);
    put_length(buffer, request.topic_data.len(), flexible)?;
    for topic in &request.topic_data {
        encode_topic(writer, topic, version)?;
    }
    if flexible {
        writer.buffer().put_u8(0);
    }
    Ok(())
}

fn encode_topic(writer: &mut SegmentWriter, topic: &TopicProduceData, version: i16) -> Result<(), TooLong> {
    let flexible = version >= FLEXIBLE;
    let buffer = writer.buffer();
    if version >= TOPIC_IDS {
        buffer.put_slice(topic.topic_id.as_bytes());
    } else {
        put_text(buffer, Some(&topic.name), flexible)?;
    }
    put_length(buffer, topic.partition_data.len(), flexible)?;
    for partition in &topic.partition_data {
        let buffer = writer.buffer();
        buffer.put_i32(partition.index);
        match &partition.records {
            None => put_null(buffer, flexible),
            Some(records) => {
                put_length(buffer, records.len(), flexible)?;
                writer.append(records);
            }
        }
        if flexible {
            writer.buffer().put_u8(0);
        }
    }
    if flexible {
        writer.buffer().put_u8(0);
    }
    Ok(())
}
