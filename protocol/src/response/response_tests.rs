use super::*;
use crate::api::{self, APIS};
use crate::guard::fill;
use crate::request;
use bytes::BytesMut;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable, StrBytes};

fn versions() -> impl Iterator<Item = (&'static Api, i16)> {
    APIS.iter().flat_map(|api| (api.accepted_from..=api.newest).map(move |version| (api, version)))
}

/// The frame without its length.
fn frame_of(api: &Api, version: i16, response: ResponseKind) -> Bytes {
    let segments = encode(api, version, 42, response).unwrap();
    let mut frame = segments.to_bytes();
    assert_eq!(segments.len(), frame.len());
    assert_eq!(frame.get_i32() as usize, frame.len());
    frame
}

fn there_and_back(api: &Api, version: i16, response: ResponseKind) -> ResponseKind {
    let (correlation_id, decoded) = decode(api, version, frame_of(api, version, response), &Limits::default()).unwrap();
    assert_eq!(correlation_id, 42);
    decoded
}

/// A response in which every field of `version` is set.
fn full(api: &Api, version: i16, seed: u64) -> ResponseKind {
    let body = fill::full(api.response, version, api.is_flexible(version), seed);
    body::decode_response(api.key, &mut Bytes::from(body), version).unwrap()
}

fn of(key: ApiKey) -> &'static Api {
    Api::of(key).unwrap()
}

#[test]
fn nothing_that_a_version_has_is_dropped() {
    for (api, version) in versions() {
        for seed in 0..10 {
            let response = full(api, version, seed);
            assert_eq!(there_and_back(api, version, response.clone()), response, "{} v{version}", api.name);
        }
    }
}

#[test]
fn responses_with_every_field_of_the_newest_version_fit_all_others() {
    for (api, version) in versions() {
        let newest = full(api, api.newest, 3);
        let fitted = there_and_back(api, version, newest);
        // What is left is all that the version has: it fits without change, now and again.
        assert_eq!(there_and_back(api, version, fitted.clone()), fitted, "{} v{version}", api.name);
    }
}

#[test]
fn default_responses_fit_every_version() {
    for (api, version) in versions() {
        let body = fill::full(api.request, version, api.is_flexible(version), 1);
        let request = body::decode_request(api.key, &mut Bytes::from(body), version).unwrap();
        let response = error_response(&request, version, ErrorCode::NONE).unwrap();
        there_and_back(api, version, response);
    }
}

#[test]
fn refusals_carry_the_error_in_every_version() {
    for (api, version) in versions() {
        let body = fill::full(api.request, version, api.is_flexible(version), 1);
        let request = body::decode_request(api.key, &mut Bytes::from(body), version).unwrap();
        let response = error_response(&request, version, ErrorCode::new(12345)).unwrap();
        let shown = format!("{:?}", there_and_back(api, version, response));
        assert!(shown.contains("error_code: 12345"), "{} v{version}: {shown}", api.name);
    }
}

#[test]
fn refusals_echo_what_was_asked() {
    let body = fill::full(of(ApiKey::Produce).request, 13, true, 5);
    let request = body::decode_request(ApiKey::Produce, &mut Bytes::from(body), 13).unwrap();
    let RequestKind::Produce(asked) = &request else { panic!() };
    let Some(ResponseKind::Produce(answer)) = error_response(&request, 13, ErrorCode::REQUEST_TIMED_OUT) else {
        panic!()
    };
    assert_eq!(answer.responses.len(), asked.topic_data.len());
    for (topic, asked) in answer.responses.iter().zip(&asked.topic_data) {
        assert_eq!(topic.topic_id, asked.topic_id);
        let answered = topic.partition_responses.iter().map(|partition| (partition.index, partition.base_offset));
        assert!(answered.eq(asked.partition_data.iter().map(|partition| (partition.index, -1))));
    }
}

#[test]
fn offset_fetch_before_8_answers_for_the_first_group() {
    let partition = OffsetFetchResponsePartitions::default()
        .with_partition_index(3)
        .with_committed_offset(70)
        .with_committed_leader_epoch(2)
        .with_metadata(Some(StrBytes::from_static_str("note")));
    let topic = OffsetFetchResponseTopics::default()
        .with_name(StrBytes::from_static_str("t").into())
        .with_partitions(vec![partition]);
    let group = OffsetFetchResponseGroup::default()
        .with_group_id(StrBytes::from_static_str("g").into())
        .with_error_code(15)
        .with_topics(vec![topic]);
    let response = OffsetFetchResponse::default().with_groups(vec![group]);
    for version in 1..=7 {
        let decoded = there_and_back(of(ApiKey::OffsetFetch), version, response.clone().into());
        let ResponseKind::OffsetFetch(decoded) = decoded else { panic!() };
        assert!(decoded.groups.is_empty());
        assert_eq!(decoded.error_code, if version >= 2 { 15 } else { 0 });
        let partition = &decoded.topics[0].partitions[0];
        assert_eq!((partition.partition_index, partition.committed_offset), (3, 70));
        assert_eq!(partition.committed_leader_epoch, if version >= 5 { 2 } else { -1 });
        assert_eq!(partition.metadata.as_deref(), Some("note"));
    }
    for version in 8..=9 {
        let decoded = there_and_back(of(ApiKey::OffsetFetch), version, response.clone().into());
        assert_eq!(decoded, response.clone().into());
    }
}

#[test]
fn find_coordinator_before_4_answers_for_the_first_key() {
    let coordinator = Coordinator::default()
        .with_key(StrBytes::from_static_str("g"))
        .with_node_id(4.into())
        .with_host(StrBytes::from_static_str("h"))
        .with_port(9092);
    let response = FindCoordinatorResponse::default().with_coordinators(vec![coordinator]);
    for version in 0..=6 {
        let decoded = there_and_back(of(ApiKey::FindCoordinator), version, response.clone().into());
        let ResponseKind::FindCoordinator(decoded) = decoded else { panic!() };
        if version < 4 {
            assert_eq!((decoded.node_id.0, &*decoded.host, decoded.port), (4, "h", 9092));
        } else {
            let coordinator = &decoded.coordinators[0];
            assert_eq!((coordinator.node_id.0, &*coordinator.key, coordinator.port), (4, "g", 9092));
            assert_eq!(coordinator.error_message, None);
        }
    }
}

#[test]
fn leave_group_before_3_answers_for_the_first_member() {
    let member = leave_group_response::MemberResponse::default().with_error_code(25);
    let response = LeaveGroupResponse::default().with_members(vec![member]);
    for version in 0..=5 {
        let decoded = there_and_back(of(ApiKey::LeaveGroup), version, response.clone().into());
        let ResponseKind::LeaveGroup(decoded) = decoded else { panic!() };
        let expected = if version < 3 { (25, 0) } else { (0, 1) };
        assert_eq!((decoded.error_code, decoded.members.len()), expected, "{version}");
    }
}

#[test]
fn codes_that_a_version_does_not_know_become_older_ones() {
    let refused = |key: ApiKey, version: i16, error: ErrorCode| {
        let api = of(key);
        let body = fill::full(api.request, version, api.is_flexible(version), 1);
        let request = body::decode_request(key, &mut Bytes::from(body), version).unwrap();
        let mut response = error_response(&request, version, error).unwrap();
        fit(&mut response, version);
        response
    };
    let says = |response: ResponseKind, code: ErrorCode| {
        format!("{response:?}").contains(&format!("error_code: {},", code.code()))
    };
    for (key, since, newer, older) in [
        (ApiKey::Produce, 4, ErrorCode::KAFKA_STORAGE_ERROR, ErrorCode::NOT_LEADER_OR_FOLLOWER),
        (ApiKey::Fetch, 6, ErrorCode::KAFKA_STORAGE_ERROR, ErrorCode::NOT_LEADER_OR_FOLLOWER),
        (ApiKey::ListOffsets, 5, ErrorCode::OFFSET_NOT_AVAILABLE, ErrorCode::LEADER_NOT_AVAILABLE),
        (ApiKey::InitProducerId, 4, ErrorCode::PRODUCER_FENCED, ErrorCode::INVALID_PRODUCER_EPOCH),
    ] {
        let api = of(key);
        for version in api.accepted_from..=api.newest {
            let expected = if version < since { older } else { newer };
            assert!(says(refused(key, version, newer), expected), "{} v{version}", api.name);
            assert!(says(refused(key, version, ErrorCode::NOT_COORDINATOR), ErrorCode::NOT_COORDINATOR));
        }
    }
}

/// Fetch responses with short, long, empty and null records.
fn fetch_responses(version: i16) -> impl Iterator<Item = FetchResponse> {
    (0..20u64).map(move |seed| {
        let api = of(ApiKey::Fetch);
        let body = fill::known(api.response, version, api.is_flexible(version), seed);
        let mut body = Bytes::from(body);
        let ResponseKind::Fetch(mut response) = body::decode_response(api.key, &mut body, version).unwrap() else {
            panic!()
        };
        let partitions = response.responses.iter_mut().flat_map(|topic| &mut topic.partitions);
        for (index, partition) in partitions.enumerate() {
            let size = [3, 4095, 4096, 20_000, 0][(seed as usize + index) % 5];
            partition.records = (size > 0).then(|| Bytes::from(vec![index as u8; size]));
        }
        response
    })
}

#[test]
fn fetch_is_encoded_as_the_crate_does() {
    for version in 4..=18 {
        for response in fetch_responses(version) {
            let mut never_null = response.clone();
            for partition in never_null.responses.iter_mut().flat_map(|topic| &mut topic.partitions) {
                partition.records.get_or_insert_default();
            }
            let mut expected = BytesMut::new();
            never_null.encode(&mut expected, version).unwrap();
            let frame = frame_of(of(ApiKey::Fetch), version, response.into());
            let header = if version >= 12 { 5 } else { 4 };
            assert_eq!(frame.slice(header..), expected, "v{version}");
        }
    }
}

#[test]
fn records_are_borrowed_and_short_ones_coalesced() {
    let large = Bytes::from(vec![1; 1 << 20]);
    let partition = |index: i32, records: &Bytes| {
        PartitionData::default().with_partition_index(index).with_records(Some(records.clone()))
    };
    let partitions =
        (0..50).flat_map(|index| [partition(index, &large), partition(index, &Bytes::from_static(b"short"))]);
    let topic = FetchableTopicResponse::default().with_partitions(partitions.collect());
    let response = FetchResponse::default().with_responses(vec![topic]);
    let segments = encode(of(ApiKey::Fetch), 12, 1, response.into()).unwrap();
    let borrowed = segments.parts().filter(|part| part.as_ptr() == large.as_ptr() && part.len() == large.len());
    assert_eq!(borrowed.count(), 50);
    assert_eq!(segments.parts().count(), 101);
}

#[test]
fn what_old_versions_lack_is_not_an_error() {
    let name = |version: i16, first_null: i16| if version < first_null { Some("") } else { None };
    for version in 0..=13 {
        let topic = metadata_response::MetadataResponseTopic::default().with_name(None);
        let response = MetadataResponse::default().with_cluster_authorized_operations(7).with_topics(vec![topic]);
        let decoded = there_and_back(of(ApiKey::Metadata), version, response.into());
        let ResponseKind::Metadata(decoded) = decoded else { panic!() };
        assert_eq!(decoded.topics[0].name.as_ref().map(|name| name.as_str()), name(version, 12), "{version}");
        let operations = if (8..=10).contains(&version) { 7 } else { i32::MIN };
        assert_eq!(decoded.cluster_authorized_operations, operations);
    }
    for version in 0..=9 {
        let response = JoinGroupResponse::default().with_protocol_name(None).with_skip_assignment(true);
        let decoded = there_and_back(of(ApiKey::JoinGroup), version, response.into());
        let ResponseKind::JoinGroup(decoded) = decoded else { panic!() };
        assert_eq!(decoded.protocol_name.as_deref(), name(version, 7), "{version}");
        assert_eq!(decoded.skip_assignment, version >= 9);
    }
    for version in 1..=6 {
        let topic = delete_topics_response::DeletableTopicResult::default().with_name(None);
        let response = DeleteTopicsResponse::default().with_responses(vec![topic]);
        let decoded = there_and_back(of(ApiKey::DeleteTopics), version, response.into());
        let ResponseKind::DeleteTopics(decoded) = decoded else { panic!() };
        let topic = &decoded.responses[0];
        assert_eq!(topic.name.as_ref().map(|name| name.as_str()), name(version, 6), "{version}");
        assert_eq!(topic.error_message, None);
    }
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_and_understood() {
    let api = of(ApiKey::ApiVersions);
    let refused = api::versions_refused(ErrorCode::UNSUPPORTED_VERSION);
    let frame = frame_of(api, 0, refused.clone().into());
    assert_eq!(&frame[..], [0, 0, 0, 42, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4]);
    // The client asked in version 4 and gets version 0.
    assert_eq!(decode(api, 4, frame, &Limits::default()).unwrap(), (42, refused.into()));
    let ResponseKind::ApiVersions(all) = there_and_back(api, 3, api::versions().into()) else { panic!() };
    assert_eq!(all.api_keys.len(), APIS.len());
}

#[test]
fn a_refused_request_is_answered_on_the_wire() {
    let asked = Bytes::from_static(&[0, 18, 0, 99, 0, 0, 0, 7, 1, 2, 3]);
    let Err(request::DecodeError::Answer(refused)) = request::decode(asked, &Limits::default()) else { panic!() };
    let body = api::versions_refused(refused.error).into();
    let answer = encode(refused.api, refused.version, refused.correlation_id, body).unwrap().to_bytes();
    assert_eq!(&answer[..], [0, 0, 0, 16, 0, 0, 0, 7, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4]);
}

#[test]
fn hostile_responses_are_refused() {
    let api = of(ApiKey::Metadata);
    let decode = |bytes: &'static [u8]| decode(api, 1, Bytes::from_static(bytes), &Limits::default());
    assert_eq!(decode(&[0, 0]).unwrap_err().fault, Fault::Truncated);
    assert_eq!(decode(&[0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff]).unwrap_err().fault, Fault::CountBeyondEnd);
}

#[test]
fn a_response_that_cannot_be_written_is_an_error() {
    let long = StrBytes::from_string("x".repeat(40_000));
    let topic = FetchableTopicResponse::default().with_topic(long.into());
    let fetch = FetchResponse::default().with_responses(vec![topic]);
    assert!(encode(of(ApiKey::Fetch), 4, 1, fetch.clone().into()).is_err());
    assert!(encode(of(ApiKey::Fetch), 12, 1, fetch.into()).is_ok());
    assert!(encode(of(ApiKey::Heartbeat), 99, 1, HeartbeatResponse::default().into()).is_err());
    // The client's side does not fit: a field that the version lacks is the caller's mistake.
    let heartbeat = HeartbeatRequest::default().with_group_instance_id(Some(StrBytes::from_static_str("i")));
    assert!(request::encode(1, None, 2, &heartbeat.into()).is_err());
}
