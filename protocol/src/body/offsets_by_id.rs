//! OffsetCommit and OffsetFetch, requests of version 10: as version 9, but topics have ids in place of names (KIP-848).
//!
//! ```text
//!  OffsetCommit: group_id generation_or_epoch member_id group_instance_id? [topic_id [index offset epoch metadata?]]
//!  OffsetFetch:  [group_id member_id? member_epoch [topic_id [index]]?] require_stable
//! ```
//!
//! Names of the structs are empty then, and ids are nil in the versions before. Their responses are the crate's.

use super::Failed;
use super::reader::Reader;
use crate::lengths::{TooLong, put_length, put_null, put_text};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetFetchRequest};

/// The version with ids.
pub(super) const VERSION: i16 = 10;

const COMPACT: bool = true;
const NO_TAGS: u8 = 0;

fn undecodable() -> Failed {
    Failed("not decodable".to_owned())
}

pub(super) fn decode_commit(bytes: &mut Bytes) -> Result<OffsetCommitRequest, Failed> {
    commit(&mut Reader::new(bytes)).ok_or_else(undecodable)
}

fn commit(reader: &mut Reader<'_>) -> Option<OffsetCommitRequest> {
    let request = OffsetCommitRequest::default()
        .with_group_id(reader.text()?.into())
        .with_generation_id_or_member_epoch(reader.int32()?)
        .with_member_id(reader.text()?)
        .with_group_instance_id(reader.nullable_text()?)
        .with_topics(reader.list(committed_topic)?);
    reader.skip_tags()?;
    Some(request)
}

fn committed_topic(reader: &mut Reader<'_>) -> Option<OffsetCommitRequestTopic> {
    let topic = OffsetCommitRequestTopic::default()
        .with_topic_id(reader.uuid()?)
        .with_partitions(reader.list(committed_partition)?);
    reader.skip_tags()?;
    Some(topic)
}

fn committed_partition(reader: &mut Reader<'_>) -> Option<OffsetCommitRequestPartition> {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(reader.int32()?)
        .with_committed_offset(reader.int64()?)
        .with_committed_leader_epoch(reader.int32()?)
        .with_committed_metadata(reader.nullable_text()?);
    reader.skip_tags()?;
    Some(partition)
}

pub(super) fn encode_commit(buffer: &mut BytesMut, request: &OffsetCommitRequest) -> Result<(), TooLong> {
    put_text(buffer, Some(&request.group_id), COMPACT)?;
    buffer.put_i32(request.generation_id_or_member_epoch);
    put_text(buffer, Some(&request.member_id), COMPACT)?;
    put_text(buffer, request.group_instance_id.as_deref(), COMPACT)?;
    put_length(buffer, request.topics.len(), COMPACT)?;
    for topic in &request.topics {
        buffer.put_slice(topic.topic_id.as_bytes());
        put_length(buffer, topic.partitions.len(), COMPACT)?;
        for partition in &topic.partitions {
            buffer.put_i32(partition.partition_index);
            buffer.put_i64(partition.committed_offset);
            buffer.put_i32(partition.committed_leader_epoch);
            put_text(buffer, partition.committed_metadata.as_deref(), COMPACT)?;
            buffer.put_u8(NO_TAGS);
        }
        buffer.put_u8(NO_TAGS);
    }
    buffer.put_u8(NO_TAGS);
    Ok(())
}

pub(super) fn decode_fetch(bytes: &mut Bytes) -> Result<OffsetFetchRequest, Failed> {
    fetch(&mut Reader::new(bytes)).ok_or_else(undecodable)
}

fn fetch(reader: &mut Reader<'_>) -> Option<OffsetFetchRequest> {
    let request =
        OffsetFetchRequest::default().with_groups(reader.list(asked_group)?).with_require_stable(reader.boolean()?);
    reader.skip_tags()?;
    Some(request)
}

fn asked_group(reader: &mut Reader<'_>) -> Option<OffsetFetchRequestGroup> {
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(reader.text()?.into())
        .with_member_id(reader.nullable_text()?)
        .with_member_epoch(reader.int32()?)
        .with_topics(reader.nullable_list(asked_topic)?);
    reader.skip_tags()?;
    Some(group)
}

fn asked_topic(reader: &mut Reader<'_>) -> Option<OffsetFetchRequestTopics> {
    let topic = OffsetFetchRequestTopics::default()
        .with_topic_id(reader.uuid()?)
        .with_partition_indexes(reader.list(|reader| reader.int32())?);
    reader.skip_tags()?;
    Some(topic)
}

pub(super) fn encode_fetch(buffer: &mut BytesMut, request: &OffsetFetchRequest) -> Result<(), TooLong> {
    put_length(buffer, request.groups.len(), COMPACT)?;
    for group in &request.groups {
        put_text(buffer, Some(&group.group_id), COMPACT)?;
        put_text(buffer, group.member_id.as_deref(), COMPACT)?;
        buffer.put_i32(group.member_epoch);
        match &group.topics {
            None => put_null(buffer, COMPACT),
            Some(topics) => {
                put_length(buffer, topics.len(), COMPACT)?;
                for topic in topics {
                    buffer.put_slice(topic.topic_id.as_bytes());
                    put_length(buffer, topic.partition_indexes.len(), COMPACT)?;
                    topic.partition_indexes.iter().for_each(|index| buffer.put_i32(*index));
                    buffer.put_u8(NO_TAGS);
                }
            }
        }
        buffer.put_u8(NO_TAGS);
    }
    buffer.put_u8(request.require_stable.into());
    buffer.put_u8(NO_TAGS);
    Ok(())
}
