//! What decoding and encoding allocate, counted by the allocator: never what only a length field asked for, and for
//! record data nothing at all.
#![allow(missing_docs)]

#[path = "../../tests/fuzz/counting.rs"]
mod counting;

use bytes::{Buf, Bytes};
use counting::measure;
use esker_protocol::api::{APIS, Api, ApiKey};
use esker_protocol::guard::Limits;
use esker_protocol::segments::Segments;
use esker_protocol::{request, response};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;

#[global_allocator]
static COUNTING: counting::Counting = counting::Counting;

fn frame(segments: &Segments) -> Bytes {
    let mut frame = segments.to_bytes();
    frame.advance(4);
    frame
}

fn two<T: Default + Clone>() -> Vec<T> {
    vec![T::default(); 2]
}

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

/// A request of every API that has arrays, with arrays in its arrays.
fn requests() -> Vec<RequestKind> {
    vec![
        ProduceRequest::default()
            .with_topic_data(vec![produce_request::TopicProduceData::default().with_partition_data(two())])
            .into(),
        FetchRequest::default()
            .with_topics(vec![fetch_request::FetchTopic::default().with_partitions(two())])
            .with_forgotten_topics_data(vec![fetch_request::ForgottenTopic::default().with_partitions(vec![1])])
            .into(),
        FetchRequest::default().with_topics(two()).into(),
        ListOffsetsRequest::default()
            .with_topics(vec![list_offsets_request::ListOffsetsTopic::default().with_partitions(two())])
            .into(),
        MetadataRequest::default().with_topics(Some(two())).into(),
        OffsetCommitRequest::default()
            .with_topics(vec![offset_commit_request::OffsetCommitRequestTopic::default().with_partitions(two())])
            .into(),
        OffsetFetchRequest::default().with_topics(Some(two())).into(),
        OffsetFetchRequest::default().with_groups(two()).into(),
        FindCoordinatorRequest::default().with_coordinator_keys(two()).into(),
        JoinGroupRequest::default().with_protocols(two()).into(),
        LeaveGroupRequest::default().with_members(two()).into(),
        SyncGroupRequest::default().with_assignments(two()).into(),
        DescribeGroupsRequest::default().with_groups(two()).into(),
        ListGroupsRequest::default().with_states_filter(two()).into(),
        CreateTopicsRequest::default()
            .with_topics(vec![
                create_topics_request::CreatableTopic::default().with_assignments(two()).with_configs(two()),
            ])
            .into(),
        DeleteTopicsRequest::default().with_topic_names(two()).into(),
        DeleteTopicsRequest::default().with_topics(two()).into(),
        OffsetForLeaderEpochRequest::default()
            .with_topics(vec![offset_for_leader_epoch_request::OffsetForLeaderTopic::default().with_partitions(two())])
            .into(),
        DescribeConfigsRequest::default()
            .with_resources(vec![
                describe_configs_request::DescribeConfigsResource::default().with_configuration_keys(Some(two())),
            ])
            .into(),
        AlterConfigsRequest::default()
            .with_resources(vec![alter_configs_request::AlterConfigsResource::default().with_configs(two())])
            .into(),
        IncrementalAlterConfigsRequest::default()
            .with_resources(vec![
                incremental_alter_configs_request::AlterConfigsResource::default().with_configs(two()),
            ])
            .into(),
        CreatePartitionsRequest::default()
            .with_topics(vec![
                create_partitions_request::CreatePartitionsTopic::default().with_assignments(Some(two())),
            ])
            .into(),
        DeleteGroupsRequest::default().with_groups_names(two()).into(),
        ListPartitionReassignmentsRequest::default().with_topics(Some(two())).into(),
        DescribeTopicPartitionsRequest::default().with_topics(two()).into(),
        DeleteRecordsRequest::default()
            .with_topics(vec![delete_records_request::DeleteRecordsTopic::default().with_partitions(two())])
            .into(),
        DescribeLogDirsRequest::default()
            .with_topics(Some(vec![
                describe_log_dirs_request::DescribableLogDirTopic::default().with_partitions(vec![1, 2]),
            ]))
            .into(),
        OffsetDeleteRequest::default()
            .with_topics(vec![offset_delete_request::OffsetDeleteRequestTopic::default().with_partitions(two())])
            .into(),
        ConsumerGroupHeartbeatRequest::default()
            .with_subscribed_topic_names(Some(two()))
            .with_topic_partitions(Some(vec![
                consumer_group_heartbeat_request::TopicPartitions::default().with_partitions(vec![1, 2]),
            ]))
            .into(),
        ConsumerGroupDescribeRequest::default().with_group_ids(two()).into(),
        CreateAclsRequest::default().with_creations(two()).into(),
        DeleteAclsRequest::default().with_filters(two()).into(),
        ElectLeadersRequest::default()
            .with_topic_partitions(Some(vec![
                elect_leaders_request::TopicPartitions::default().with_partitions(vec![1, 2]),
            ]))
            .into(),
        AlterPartitionReassignmentsRequest::default()
            .with_topics(vec![
                alter_partition_reassignments_request::ReassignableTopic::default().with_partitions(two()),
            ])
            .into(),
        DescribeClientQuotasRequest::default().with_components(two()).into(),
        DescribeUserScramCredentialsRequest::default().with_users(Some(two())).into(),
        DescribeQuorumRequest::default()
            .with_topics(vec![describe_quorum_request::TopicData::default().with_partitions(two())])
            .into(),
        UpdateFeaturesRequest::default().with_feature_updates(two()).into(),
        DescribeProducersRequest::default()
            .with_topics(vec![describe_producers_request::TopicRequest::default().with_partition_indexes(vec![1, 2])])
            .into(),
        ListTransactionsRequest::default().with_state_filters(two()).into(),
        ListConfigResourcesRequest::default().with_resource_types(vec![1, 2]).into(),
    ]
}

#[test]
fn no_length_field_alone_makes_room() {
    let mut tried = 0;
    for body in requests() {
        let api = Api::of(request::key_of(&body).unwrap()).unwrap();
        for version in api.accepted_from..=api.newest {
            // Some arrays are there in some versions only.
            let Ok(segments) = request::encode(1, Some("client"), version, &body) else { continue };
            let good = frame(&segments);
            for place in 8..good.len() {
                for lie in
                    [&[0x7f, 0xff, 0xff, 0xff][..], &[0x80, 0, 0, 0], &[0xff, 0xff, 0xff, 0xff, 0x0f], &[0xff, 0x7f]]
                {
                    let mut bad = good.to_vec();
                    bad.resize(bad.len().max(place + lie.len()), 0);
                    bad[place..place + lie.len()].copy_from_slice(lie);
                    let bad = Bytes::from(bad);
                    let size = bad.len();
                    let (_, measured) = measure(|| request::decode(bad, &Limits::default()).is_ok());
                    assert!(
                        measured.peak <= 64 * size + 1024,
                        "{} v{version}: {} bytes for a frame of {size}",
                        api.name,
                        measured.peak
                    );
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 10_000, "{tried}");
}

#[test]
fn the_limit_of_elements_bounds_what_a_large_frame_takes() {
    // A million group names of no letters: a byte each on the wire, 32 in memory.
    let groups = DescribeGroupsRequest::default().with_groups(vec![Default::default(); 1 << 20]);
    let frame = frame(&request::encode(1, None, 5, &groups.into()).unwrap());
    let limits = Limits { max_array_elements: 1000 };
    let (decoded, measured) = measure(|| request::decode(frame.clone(), &limits).is_ok());
    assert!(!decoded && measured.peak < 1024);
    let (decoded, measured) = measure(|| request::decode(frame, &Limits { max_array_elements: 1 << 20 }).is_ok());
    assert!(decoded && measured.peak >= 32 << 20);
}

/// The counter sees what the guard is for: without it, the crate makes room for whatever it is told.
#[test]
fn without_the_guard_the_crate_makes_room() {
    let body = Bytes::from_static(&[0, 16, 0, 0]);
    let (decoded, measured) = measure(|| RequestKind::decode(ApiKey::Metadata, &mut body.clone(), 1).is_ok());
    assert!(!decoded && measured.peak > 32 << 20, "{}", measured.peak);
    let body = Bytes::from_static(&[0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0, 16, 0, 0]);
    let (decoded, measured) = measure(|| request::decode(body, &Limits::default()).is_ok());
    assert!(!decoded && measured.peak == 0, "{}", measured.peak);
}

#[test]
fn a_produce_request_allocates_its_arrays_only() {
    let records = Bytes::from(vec![1; 1 << 20]);
    let partition = produce_request::PartitionProduceData::default().with_records(Some(records));
    let topic = produce_request::TopicProduceData::default()
        .with_name(text("topic").into())
        .with_partition_data(vec![partition; 8]);
    let body = ProduceRequest::default().with_transactional_id(None).with_topic_data(vec![topic]).into();
    for version in [3, 8, 9, 12, 13] {
        let frame = frame(&request::encode(1, Some("producer"), version, &body).unwrap());
        let (decoded, measured) = measure(|| request::decode(frame, &Limits::default()));
        assert!(decoded.is_ok());
        // Topics, partitions, and the count of the frame's slices.
        assert!(measured.allocations <= 3 && measured.peak < 2048, "{} {}", measured.allocations, measured.peak);
    }
}

#[test]
fn a_fetch_response_allocates_a_few_lists_and_its_headers() {
    for (partitions, records) in [(1, 100), (1, 1 << 20), (50, 1 << 20), (1000, 1024)] {
        let records = Bytes::from(vec![1; records]);
        let partition = PartitionData::default().with_aborted_transactions(None).with_records(Some(records.clone()));
        let topic = FetchableTopicResponse::default()
            .with_topic(text("topic").into())
            .with_partitions(vec![partition; partitions]);
        let body: ResponseKind = FetchResponse::default().with_responses(vec![topic]).into();
        let copied = if records.len() < 4096 { partitions * records.len() } else { 0 };
        for version in [4, 11, 12, 13, 18] {
            let api = Api::of(ApiKey::Fetch).unwrap();
            let body = body.clone();
            let (segments, measured) = measure(|| response::encode(api, version, 1, body).unwrap());
            let headers = segments.len() - partitions * records.len();
            assert!(headers < 100 + partitions * 64, "{headers}");
            assert!(measured.allocations <= 4, "{partitions} partitions: {}", measured.allocations);
            assert!(measured.peak <= copied + partitions * 256 + 1024, "{partitions} partitions: {}", measured.peak);
        }
    }
}

#[test]
fn every_api_with_arrays_is_tried() {
    let tried: Vec<_> = requests().iter().filter_map(request::key_of).collect();
    let without =
        [ApiKey::Heartbeat, ApiKey::ApiVersions, ApiKey::InitProducerId, ApiKey::DescribeAcls, ApiKey::DescribeCluster];
    for api in APIS {
        assert!(tried.contains(&api.key) || without.contains(&api.key), "{}", api.name);
    }
}
