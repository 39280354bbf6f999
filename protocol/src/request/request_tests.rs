use super::*;
use crate::api::APIS;
use crate::frame::{self, LENGTH_SIZE, LengthError};
use crate::guard::fill;
use bytes::{Buf, BytesMut};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiVersionsRequest, ProduceRequest};
use kafka_protocol::protocol::Encodable;
use proptest::prelude::*;

fn try_decode(frame: &[u8]) -> Result<Request, DecodeError> {
    decode(Bytes::copy_from_slice(frame), &Limits::default())
}

fn close_reason(frame: &[u8]) -> Reason {
    match try_decode(frame) {
        Err(DecodeError::Close(reason)) => reason,
        other => panic!("not closed: {other:?}"),
    }
}

fn refusal(frame: &[u8]) -> Refused {
    match try_decode(frame) {
        Err(DecodeError::Answer(refused)) => refused,
        other => panic!("not answered: {other:?}"),
    }
}

fn frame_of(correlation_id: i32, client_id: Option<&str>, version: i16, body: &RequestKind) -> Bytes {
    let mut frame = encode(correlation_id, client_id, version, body).unwrap().to_bytes();
    let length = frame.get_i32();
    assert_eq!(length as usize, frame.len());
    frame
}

#[test]
fn requests_of_every_version_come_back_as_they_were() {
    for api in APIS {
        for version in api.accepted_from..=api.newest {
            for seed in 0..10 {
                let body = match api.key {
                    // Its two strings have rules of their own.
                    ApiKey::ApiVersions if version >= 3 => ApiVersionsRequest::default()
                        .with_client_software_name(StrBytes::from_static_str("esker-test"))
                        .with_client_software_version(StrBytes::from_static_str("0.1.0"))
                        .into(),
                    _ => {
                        let body = fill::full(api.request, version, api.is_flexible(version), seed);
                        bodies::decode_request(api.key, &mut Bytes::from(body), version).unwrap()
                    }
                };
                assert_eq!(key_of(&body), Some(api.key));
                let client_id = [None, Some(""), Some("consumer-1")][seed as usize % 3];
                let request = try_decode(&frame_of(7, client_id, version, &body)).unwrap();
                assert_eq!(request.body, body, "{} v{version}", api.name);
                assert_eq!((request.correlation_id, request.version, request.api.key), (7, version, api.key));
                assert_eq!(request.client_id.as_deref(), client_id);
            }
        }
    }
}

#[test]
fn what_is_not_a_request_closes_the_connection() {
    assert_eq!(close_reason(&[]), Reason::Short(0));
    assert_eq!(close_reason(&[0, 3, 0, 1, 0, 0, 0]), Reason::Short(7));
    let prologue = |key: i16, version: i16| [&key.to_be_bytes()[..], &version.to_be_bytes(), &[0, 0, 0, 9]].concat();
    assert_eq!(close_reason(&prologue(4, 0)), Reason::UnknownApi { key: 4, version: 0 });
    assert_eq!(close_reason(&prologue(-1, 0)), Reason::UnknownApi { key: -1, version: 0 });
    assert_eq!(close_reason(&prologue(i16::MAX, i16::MIN)), Reason::UnknownApi { key: i16::MAX, version: i16::MIN });
    for api in APIS.iter().filter(|api| api.key != ApiKey::ApiVersions) {
        for version in [i16::MIN, -1, api.accepted_from - 1, api.newest + 1, i16::MAX] {
            let closed = Reason::UnknownVersion { api: api.name, version };
            assert_eq!(close_reason(&prologue(api.key as i16, version)), closed);
        }
    }
}

#[test]
fn produce_0_to_2_is_advertised_but_closes() {
    for version in 0..=2 {
        let frame = [&[0, 0, 0, version as u8, 0, 0, 0, 1, 0xff, 0xff][..], &[0; 20]].concat();
        assert_eq!(close_reason(&frame), Reason::UnknownVersion { api: "Produce", version });
    }
}

#[test]
fn api_versions_of_an_unknown_version_is_answered_in_version_0() {
    for version in [-1i16, 5, 99, i16::MAX] {
        // Whatever follows the prologue is not looked at.
        let frame = [&[0, 18][..], &version.to_be_bytes(), &[0, 0, 4, 210], &[0xff; 3]].concat();
        let refused = refusal(&frame);
        assert_eq!((refused.version, refused.correlation_id), (0, 1234));
        assert_eq!((refused.api.key, refused.error), (ApiKey::ApiVersions, ErrorCode::UNSUPPORTED_VERSION));
    }
}

#[test]
fn clients_must_say_who_they_are_properly() {
    let ask = |name: &'static str, version: &'static str| {
        ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str(name))
            .with_client_software_version(StrBytes::from_static_str(version))
            .into()
    };
    assert!(try_decode(&frame_of(1, None, 3, &ask("librdkafka", "2.0.2"))).is_ok());
    for body in [ask("", "1"), ask("ok", ""), ask("a b", "1"), ask("a", "1_0")] {
        let refused = refusal(&frame_of(1, None, 4, &body));
        assert_eq!((refused.version, refused.error), (4, ErrorCode::INVALID_REQUEST));
    }
    // Before version 3 there is nothing to check.
    assert!(try_decode(&frame_of(1, None, 2, &ApiVersionsRequest::default().into())).is_ok());
}

#[test]
fn broken_headers_close() {
    let heartbeat = |version: u8, rest: &[u8]| [&[0, 12, 0, version, 0, 0, 0, 1][..], rest].concat();
    for rest in [
        &[][..],
        &[0],
        &[0x80, 0],
        &[0, 5, b'a'],
        &[0, 1, 0xff],
        // Tagged fields of the flexible header: no count, a size beyond the end, a varint without end.
        &[0xff, 0xff],
        &[0xff, 0xff, 1, 0, 9],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    ] {
        let reason = close_reason(&heartbeat(4, rest));
        assert_eq!(reason, Reason::Header { api: "Heartbeat", version: 4, fault: HeaderError }, "{rest:?}");
    }
    // Unknown tagged fields of the header are skipped.
    let skipped = heartbeat(4, &[0xff, 0xff, 1, 9, 2, 1, 1, 2, b'g', 0, 0, 0, 0, 2, b'm', 0, 0]);
    assert!(try_decode(&skipped).is_ok());
}

#[test]
fn broken_bodies_close() {
    // Heartbeat v0: group "g", generation, member id that is not UTF-8.
    let frame = [0, 12, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0, 1, b'g', 0, 0, 0, 0, 0, 1, 0xff];
    match close_reason(&frame) {
        Reason::Body { fault, .. } => assert_eq!(fault.fault, Fault::Undecodable),
        other => panic!("{other}"),
    }
    match close_reason(&frame[..frame.len() - 1]) {
        Reason::Body { fault, .. } => assert_eq!((fault.fault, fault.field), (Fault::Truncated, "member_id")),
        other => panic!("{other}"),
    }
}

fn produce_of(records: &[Bytes]) -> ProduceRequest {
    let partitions = records.iter().enumerate().map(|(index, records)| {
        PartitionProduceData::default().with_index(index as i32).with_records(Some(records.clone()))
    });
    let topic = TopicProduceData::default()
        .with_name(StrBytes::from_static_str("topic").into())
        .with_topic_id(uuid::Uuid::from_u128(77))
        .with_partition_data(partitions.collect());
    ProduceRequest::default()
        .with_transactional_id(None)
        .with_acks(-1)
        .with_timeout_ms(30_000)
        .with_topic_data(vec![topic])
}

#[test]
fn record_data_is_a_slice_of_the_frame() {
    for version in 3..=13 {
        let body = produce_of(&[Bytes::from(vec![7; 10_000]), Bytes::from(vec![8; 10])]).into();
        let frame = frame_of(1, Some("client"), version, &body);
        let range = frame.as_ptr_range();
        let request = decode(frame.clone(), &Limits::default()).unwrap();
        let RequestKind::Produce(produce) = request.body else { panic!() };
        for partition in &produce.topic_data[0].partition_data {
            let records = partition.records.as_ref().unwrap();
            assert!(range.contains(&records.as_ptr()));
        }
        assert!(range.contains(&request.client_id.unwrap().as_ptr()));
    }
}

#[test]
fn produce_is_encoded_as_the_crate_does_without_copying() {
    let large = Bytes::from(vec![7; 10_000]);
    for version in 3..=13 {
        for (transactional_id, records) in [
            (None, Some(large.clone())),
            (Some(StrBytes::from_static_str("tx").into()), None),
            (None, Some(Bytes::from_static(b"short"))),
        ] {
            let mut request = produce_of(&[Bytes::from(vec![9; 5000]), Bytes::new()]);
            request.transactional_id = transactional_id;
            request.topic_data[0].partition_data[1].records = records;
            let mut expected = BytesMut::new();
            request.encode(&mut expected, version).unwrap();
            let body = request.into();
            assert!(frame_of(5, None, version, &body).ends_with(&expected), "v{version}");
        }
        let segments = encode(1, None, version, &produce_of(std::slice::from_ref(&large)).into()).unwrap();
        assert!(segments.parts().any(|part| part.as_ptr() == large.as_ptr()));
    }
}

#[test]
fn lengths_are_checked_before_room_is_made() {
    assert_eq!(frame::length(&[0, 0, 0], 100), Ok(None));
    assert_eq!(frame::length(&[0, 0, 0, 100], 100), Ok(Some(100)));
    assert_eq!(frame::length(&[0, 0, 0, 101], 100), Err(LengthError::Oversized { length: 101, limit: 100 }));
    assert_eq!(frame::length(&[0xff, 0xff, 0xff, 0xff], 100), Err(LengthError::Negative(-1)));
    assert_eq!(frame::length(&[0x80, 0, 0, 0], 100), Err(LengthError::Negative(i32::MIN)));
    assert_eq!(frame::length(&[0, 0, 0, 3], 100), Err(LengthError::TooShort(3)));
    // A TLS hello or an HTTP request sent to the wrong port.
    assert!(frame::length(b"GET / HTTP/1.1", frame::DEFAULT_MAX_FRAME).is_err());
    assert!(frame::length(&[0x16, 3, 1, 2], frame::DEFAULT_MAX_FRAME).is_err());
}

proptest! {
    #[test]
    fn frames_are_found_however_the_stream_is_cut(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 4..50), 0..6),
        cuts in prop::collection::vec(1usize..20, 1..60),
    ) {
        let stream: Vec<u8> = bodies.iter().flat_map(|body| [&(body.len() as u32).to_be_bytes()[..], body].concat()).collect();
        let (mut buffer, mut rest, mut found) = (BytesMut::new(), &stream[..], Vec::new());
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            buffer.extend_from_slice(now);
            rest = later;
            while let Some(frame) = frame::split(&mut buffer, 50).unwrap() {
                found.push(frame.to_vec());
            }
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(found, bodies);
        prop_assert!(buffer.len() < LENGTH_SIZE);
    }

    #[test]
    fn random_frames_never_panic(mut frame in prop::collection::vec(any::<u8>(), 0..80), key in 0i16..80, version in 0i16..20) {
        let _ = try_decode(&frame);
        if let Some(prologue) = frame.first_chunk_mut::<4>() {
            let [k0, k1] = key.to_be_bytes();
            let [v0, v1] = version.to_be_bytes();
            *prologue = [k0, k1, v0, v1];
        }
        let _ = try_decode(&frame);
    }
}
