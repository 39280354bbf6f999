//! DescribeLogDirs, the response of version 5: as version 4, and whether a directory is cordoned, which means that it is
//! given no new partitions.
//!
//! The crate's struct has no place for that flag: Esker cordons nothing, and its client side has no use for what others
//! cordon. So it is written as false and dropped when read.

use super::Failed;
use super::reader::Reader;
use crate::lengths::{TooLong, put_length, put_text};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::DescribeLogDirsResponse;
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};

/// The version with the flag.
pub(super) const VERSION: i16 = 5;

const COMPACT: bool = true;
const NO_TAGS: u8 = 0;
const NOT_CORDONED: u8 = 0;

pub(super) fn decode(bytes: &mut Bytes) -> Result<DescribeLogDirsResponse, Failed> {
    response(&mut Reader::new(bytes)).ok_or_else(|| Failed("not decodable".to_owned()))
}

fn response(reader: &mut Reader<'_>) -> Option<DescribeLogDirsResponse> {
    let response = DescribeLogDirsResponse::default()
        .with_throttle_time_ms(reader.int32()?)
        .with_error_code(reader.int16()?)
        .with_results(reader.list(directory)?);
    reader.skip_tags()?;
    Some(response)
}

fn directory(reader: &mut Reader<'_>) -> Option<DescribeLogDirsResult> {
    let directory = DescribeLogDirsResult::default()
        .with_error_code(reader.int16()?)
        .with_log_dir(reader.text()?)
        .with_topics(reader.list(topic)?)
        .with_total_bytes(reader.int64()?)
        .with_usable_bytes(reader.int64()?);
    let _cordoned = reader.boolean()?;
    reader.skip_tags()?;
    Some(directory)
}

fn topic(reader: &mut Reader<'_>) -> Option<DescribeLogDirsTopic> {
    let topic =
        DescribeLogDirsTopic::default().with_name(reader.text()?.into()).with_partitions(reader.list(partition)?);
    reader.skip_tags()?;
    Some(topic)
}

fn partition(reader: &mut Reader<'_>) -> Option<DescribeLogDirsPartition> {
    let partition = DescribeLogDirsPartition::default()
        .with_partition_index(reader.int32()?)
        .with_partition_size(reader.int64()?)
        .with_offset_lag(reader.int64()?)
        .with_is_future_key(reader.boolean()?);
    reader.skip_tags()?;
    Some(partition)
}

pub(super) fn encode(buffer: &mut BytesMut, response: &DescribeLogDirsResponse) -> Result<(), TooLong> {
    buffer.put_i32(response.throttle_time_ms);
    buffer.put_i16(response.error_code);
    put_length(buffer, response.results.len(), COMPACT)?;
    for directory in &response.results {
        buffer.put_i16(directory.error_code);
        put_text(buffer, Some(&directory.log_dir), COMPACT)?;
        put_length(buffer, directory.topics.len(), COMPACT)?;
        for topic in &directory.topics {
            put_text(buffer, Some(&topic.name), COMPACT)?;
            put_length(buffer, topic.partitions.len(), COMPACT)?;
            for partition in &topic.partitions {
                buffer.put_i32(partition.partition_index);
                buffer.put_i64(partition.partition_size);
                buffer.put_i64(partition.offset_lag);
                buffer.put_u8(partition.is_future_key.into());
                buffer.put_u8(NO_TAGS);
            }
            buffer.put_u8(NO_TAGS);
        }
        buffer.put_i64(directory.total_bytes);
        buffer.put_i64(directory.usable_bytes);
        buffer.put_u8(NOT_CORDONED);
        buffer.put_u8(NO_TAGS);
    }
    buffer.put_u8(NO_TAGS);
    Ok(())
}
