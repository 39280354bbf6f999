//! Against golden bytes, each written by the message classes of Apache Kafka's kafka-clients 4.3.1.

use super::*;
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

const TOPIC: Uuid = Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);

fn bytes(hex: &str) -> Bytes {
    hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

fn is_request(key: ApiKey, version: i16, request: RequestKind, golden: &str) {
    let mut left = bytes(golden);
    assert_eq!(decode_request(key, &mut left, version).unwrap(), request);
    assert!(left.is_empty());
    let mut encoded = BytesMut::new();
    encode_request(key, &request, &mut encoded, version).unwrap();
    assert_eq!(encoded, bytes(golden));
}

fn is_response(key: ApiKey, version: i16, response: ResponseKind, golden: &str) {
    let mut left = bytes(golden);
    assert_eq!(decode_response(key, &mut left, version).unwrap(), response);
    assert!(left.is_empty());
    let mut encoded = BytesMut::new();
    encode_response(key, &response, &mut encoded, version).unwrap();
    assert_eq!(encoded, bytes(golden));
}

#[test]
fn offset_commit_by_id() {
    let partitions = vec![
        OffsetCommitRequestPartition::default()
            .with_partition_index(1)
            .with_committed_offset(70)
            .with_committed_leader_epoch(2)
            .with_committed_metadata(Some(text("note"))),
        OffsetCommitRequestPartition::default()
            .with_partition_index(2)
            .with_committed_offset(-1)
            .with_committed_metadata(None),
    ];
    let request = OffsetCommitRequest::default()
        .with_group_id(text("group").into())
        .with_generation_id_or_member_epoch(3)
        .with_member_id(text("member"))
        .with_group_instance_id(Some(text("i")))
        .with_topics(vec![OffsetCommitRequestTopic::default().with_topic_id(TOPIC).with_partitions(partitions)]);
    is_request(
        ApiKey::OffsetCommit,
        10,
        request.into(),
        "0667726f757000000003076d656d6265720269020102030405060708090a0b0c0d0e0f100300000001000000000000004600000002056e6f\
         74650000000002ffffffffffffffffffffffff00000000",
    );
    let partition = OffsetCommitResponsePartition::default().with_partition_index(1).with_error_code(100);
    let topic = OffsetCommitResponseTopic::default().with_topic_id(TOPIC).with_partitions(vec![partition]);
    is_response(
        ApiKey::OffsetCommit,
        10,
        OffsetCommitResponse::default().with_topics(vec![topic]).into(),
        "00000000020102030405060708090a0b0c0d0e0f1002000000010064000000",
    );
}

#[test]
fn offset_fetch_by_id() {
    let topic = OffsetFetchRequestTopics::default().with_topic_id(TOPIC).with_partition_indexes(vec![0, 1]);
    let groups = vec![
        OffsetFetchRequestGroup::default()
            .with_group_id(text("group").into())
            .with_member_id(Some(text("member")))
            .with_member_epoch(4)
            .with_topics(Some(vec![topic])),
        OffsetFetchRequestGroup::default()
            .with_group_id(text("all").into())
            .with_member_id(None)
            .with_member_epoch(-1)
            .with_topics(None),
    ];
    is_request(
        ApiKey::OffsetFetch,
        10,
        OffsetFetchRequest::default().with_require_stable(true).with_groups(groups).into(),
        "030667726f7570076d656d62657200000004020102030405060708090a0b0c0d0e0f10030000000000000001000004616c6c00ffffffff00\
         000100",
    );
    let partition = OffsetFetchResponsePartitions::default()
        .with_partition_index(1)
        .with_committed_offset(70)
        .with_committed_leader_epoch(2)
        .with_metadata(Some(text("note")));
    let topic = OffsetFetchResponseTopics::default().with_topic_id(TOPIC).with_partitions(vec![partition]);
    let group = OffsetFetchResponseGroup::default().with_group_id(text("group").into()).with_topics(vec![topic]);
    is_response(
        ApiKey::OffsetFetch,
        10,
        OffsetFetchResponse::default().with_groups(vec![group]).into(),
        "00000000020667726f7570020102030405060708090a0b0c0d0e0f100200000001000000000000004600000002056e6f7465000000000000\
         0000",
    );
}

#[test]
fn list_offsets_of_what_is_not_uploaded_yet() {
    let partition =
        ListOffsetsPartition::default().with_partition_index(0).with_current_leader_epoch(5).with_timestamp(-6);
    let topic = ListOffsetsTopic::default().with_name(text("t").into()).with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_isolation_level(1)
        .with_timeout_ms(30_000)
        .with_topics(vec![topic]);
    is_request(
        ApiKey::ListOffsets,
        11,
        request.into(),
        "ffffffff01020274020000000000000005fffffffffffffffa00000000753000",
    );
}

#[test]
fn log_dirs_that_could_be_cordoned() {
    let partition = DescribeLogDirsPartition::default()
        .with_partition_index(1)
        .with_partition_size(77)
        .with_offset_lag(0)
        .with_is_future_key(true);
    let topic = DescribeLogDirsTopic::default().with_name(text("t").into()).with_partitions(vec![partition]);
    let directory = DescribeLogDirsResult::default()
        .with_log_dir(text("/d"))
        .with_total_bytes(1000)
        .with_usable_bytes(900)
        .with_topics(vec![topic]);
    is_response(
        ApiKey::DescribeLogDirs,
        5,
        DescribeLogDirsResponse::default().with_results(vec![directory]).into(),
        "000000000000020000032f640202740200000001000000000000004d000000000000000001000000000000000003e8000000000000038400\
         0000",
    );
}

#[test]
fn what_is_cut_off_or_not_text_is_not_decoded() {
    let whole = bytes("0667726f757000000003076d656d62657202690101").to_vec();
    for end in 0..whole.len() {
        let mut cut = Bytes::copy_from_slice(&whole[..end]);
        assert!(decode_request(ApiKey::OffsetCommit, &mut cut, 10).is_err(), "{end}");
    }
    let mut not_text = whole;
    not_text[1] = 0xff;
    assert!(decode_request(ApiKey::OffsetCommit, &mut not_text.into(), 10).is_err());
}
