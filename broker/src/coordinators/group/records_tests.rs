use super::*;
use proptest::prelude::*;

fn offset_record() -> GroupRecord {
    GroupRecord::Offset {
        key: OffsetKey { group: "g".to_owned(), topic: "orders".to_owned(), partition: 2 },
        value: Some(OffsetValue {
            offset: 258,
            leader_epoch: Some(5),
            metadata: "m".to_owned(),
            committed: Timestamp::from_millis(0x0102_0304),
            expires: None,
        }),
    }
}

/// The bytes that Kafka writes for the same content, laid out by hand from its published schemas.
#[test]
fn an_offset_has_kafkas_bytes() {
    let record = offset_record().encode().unwrap();
    assert_eq!(record.key.as_ref(), b"\x00\x01\x00\x01g\x00\x06orders\x00\x00\x00\x02");
    assert_eq!(
        record.value.unwrap().as_ref(),
        b"\x00\x03\x00\x00\x00\x00\x00\x00\x01\x02\x00\x00\x00\x05\x00\x01m\x00\x00\x00\x00\x01\x02\x03\x04"
    );
}

#[test]
fn an_offset_with_its_own_expiry_is_version_1() {
    let GroupRecord::Offset { key, value: Some(value) } = offset_record() else { unreachable!() };
    let value = OffsetValue { expires: Some(Timestamp::from_millis(9)), ..value };
    let record = GroupRecord::Offset { key, value: Some(value.clone()) }.encode().unwrap();
    let bytes = record.value.unwrap();
    assert_eq!(
        bytes.as_ref(),
        b"\x00\x01\x00\x00\x00\x00\x00\x00\x01\x02\x00\x01m\x00\x00\x00\x00\x01\x02\x03\x04\x00\x00\x00\x00\x00\x00\x00\x09"
    );
    let Ok(GroupRecord::Offset { value: Some(read), .. }) = GroupRecord::decode(&record.key, Some(&bytes)) else {
        panic!("not an offset");
    };
    assert_eq!(read, OffsetValue { leader_epoch: None, ..value });
}

#[test]
fn a_group_has_kafkas_bytes() {
    let record = GroupRecord::Group {
        group: "g".to_owned(),
        value: Some(GroupValue {
            protocol_type: "consumer".to_owned(),
            generation: 7,
            protocol: Some("range".to_owned()),
            leader: Some("a".to_owned()),
            state_since: Some(Timestamp::from_millis(1)),
            members: vec![MemberValue {
                id: "a".to_owned(),
                instance: None,
                client_id: "c".to_owned(),
                client_host: "/h".to_owned(),
                rebalance_timeout_ms: 300_000,
                session_timeout_ms: 10_000,
                subscription: Bytes::from_static(b"su"),
                assignment: Bytes::from_static(b"as"),
            }],
        }),
    };
    let encoded = record.encode().unwrap();
    assert_eq!(encoded.key.as_ref(), b"\x00\x02\x00\x01g");
    let expected: Vec<u8> = [
        b"\x00\x03\x00\x08consumer".as_slice(),
        b"\x00\x00\x00\x07\x00\x05range\x00\x01a",
        b"\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01",
        b"\x00\x01a\xff\xff\x00\x01c\x00\x02/h\x00\x04\x93\xe0\x00\x00\x27\x10",
        b"\x00\x00\x00\x02su\x00\x00\x00\x02as",
    ]
    .concat();
    assert_eq!(encoded.value.as_deref(), Some(expected.as_slice()));
    assert_eq!(GroupRecord::decode(&encoded.key, encoded.value.as_deref()), Ok(record));
}

#[test]
fn older_and_newer_offset_values_are_read() {
    let key = offset_record().encode().unwrap().key;
    let old_key: Vec<u8> = [b"\x00\x00".as_slice(), &key[2..]].concat();
    let cases: [(&[u8], Option<i32>, Option<i64>); 5] = [
        (b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08\x00\x01m\x00\x00\x00\x00\x00\x00\x00\x02", None, None),
        (
            b"\x00\x01\x00\x00\x00\x00\x00\x00\x00\x08\x00\x01m\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x03",
            None,
            Some(3),
        ),
        (b"\x00\x02\x00\x00\x00\x00\x00\x00\x00\x08\x00\x01m\x00\x00\x00\x00\x00\x00\x00\x02", None, None),
        (
            b"\x00\x03\x00\x00\x00\x00\x00\x00\x00\x08\xff\xff\xff\xff\x00\x01m\x00\x00\x00\x00\x00\x00\x00\x02",
            None,
            None,
        ),
        // Version 4, with a tagged field (0, two bytes) as the topic id will be.
        (
            b"\x00\x04\x00\x00\x00\x00\x00\x00\x00\x08\x00\x00\x00\x09\x02m\x00\x00\x00\x00\x00\x00\x00\x02\x01\x00\x02xy",
            Some(9),
            None,
        ),
    ];
    for (bytes, leader_epoch, expires) in cases {
        let expected = OffsetValue {
            offset: 8,
            leader_epoch,
            metadata: "m".to_owned(),
            committed: Timestamp::from_millis(2),
            expires: expires.map(Timestamp::from_millis),
        };
        for key in [key.as_ref(), &old_key] {
            let Ok(GroupRecord::Offset { value: Some(value), .. }) = GroupRecord::decode(key, Some(bytes)) else {
                panic!("{bytes:?}");
            };
            assert_eq!(value, expected);
        }
    }
}

#[test]
fn group_values_of_every_version_are_read() {
    let head = b"\x00\x01t\x00\x00\x00\x01\x00\x01p\xff\xff";
    let since = b"\x00\x00\x00\x00\x00\x00\x00\x05";
    let one = b"\x00\x00\x00\x01";
    let tail = b"\x00\x00\x00\x0a\x00\x00\x00\x01s\x00\x00\x00\x00";
    let rebalance = b"\x00\x00\x00\x14";
    let names = b"\x00\x01c\x00\x01h";
    let v0 = [b"\x00\x00".as_slice(), head, one, b"\x00\x01a", names, tail].concat();
    let v1 = [b"\x00\x01".as_slice(), head, one, b"\x00\x01a", names, rebalance, tail].concat();
    let v2 = [b"\x00\x02".as_slice(), head, since, one, b"\x00\x01a", names, rebalance, tail].concat();
    let v3 = [b"\x00\x03".as_slice(), head, since, one, b"\x00\x01a\x00\x01i", names, rebalance, tail].concat();
    let v4 = [
        b"\x00\x04\x02t\x00\x00\x00\x01\x02p\x00".as_slice(),
        since,
        b"\x02\x02a\x02i\x02c\x02h",
        rebalance,
        b"\x00\x00\x00\x0a\x02s\x01\x00\x00",
    ]
    .concat();
    for (version, bytes) in [v0, v1, v2, v3, v4].into_iter().enumerate() {
        let read = GroupRecord::decode(b"\x00\x02\x00\x01g", Some(&bytes));
        let expected = GroupRecord::Group {
            group: "g".to_owned(),
            value: Some(GroupValue {
                protocol_type: "t".to_owned(),
                generation: 1,
                protocol: Some("p".to_owned()),
                leader: None,
                state_since: (version >= 2).then(|| Timestamp::from_millis(5)),
                members: vec![MemberValue {
                    id: "a".to_owned(),
                    instance: (version >= 3).then(|| "i".to_owned()),
                    client_id: "c".to_owned(),
                    client_host: "h".to_owned(),
                    rebalance_timeout_ms: if version >= 1 { 20 } else { -1 },
                    session_timeout_ms: 10,
                    subscription: Bytes::from_static(b"s"),
                    assignment: Bytes::new(),
                }],
            }),
        };
        assert_eq!(read, Ok(expected), "version {version}");
    }
}

#[test]
fn hostile_values_are_errors() {
    assert_eq!(GroupRecord::decode(b"\x00", None), Err(RecordError::Truncated));
    assert_eq!(GroupRecord::decode(b"\x00\x03\x00\x01g", None), Ok(GroupRecord::Other { version: 3 }));
    assert_eq!(GroupRecord::decode(b"\x00\x02\xff\xff", None), Err(RecordError::Length));
    assert_eq!(GroupRecord::decode(b"\x00\x02\x00\x01\xff", None), Err(RecordError::Utf8));
    let value = |bytes: &[u8]| GroupRecord::decode(b"\x00\x02\x00\x01g", Some(bytes)).map(|_| ());
    assert_eq!(value(b"\x00\x05"), Err(RecordError::Version(5)));
    // Two thousand million members that are not there: an error, not an allocation.
    assert_eq!(value(b"\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\x7f\xff\xff\xff"), Err(RecordError::Truncated));
    assert_eq!(value(b"\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xfe"), Err(RecordError::Length));
    let long = GroupRecord::Group { group: "g".repeat(40_000), value: None };
    assert_eq!(long.encode(), Err(RecordError::TooLong));
}

#[test]
fn the_subscription_of_a_consumer_names_its_topics() {
    assert_eq!(
        subscribed_topics(b"\x00\x01\x00\x00\x00\x02\x00\x01a\x00\x02bc\xff\xff\xff\xff"),
        Some(vec!["a".to_owned(), "bc".to_owned()])
    );
    assert_eq!(subscribed_topics(b"\x00\x00\x7f\xff\xff\xff"), None);
    assert_eq!(subscribed_topics(b""), None);
}

fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec(any::<char>(), 0..12).prop_map(|chars| chars.into_iter().collect())
}

fn time() -> impl Strategy<Value = Option<Timestamp>> {
    proptest::option::of(0..i64::MAX).prop_map(|millis| millis.map(Timestamp::from_millis))
}

fn blob() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

prop_compose! {
    fn member()(
        id in text(), instance in proptest::option::of(text()), client_id in text(), client_host in text(),
        rebalance_timeout_ms: i32, session_timeout_ms: i32, subscription in blob(), assignment in blob(),
    ) -> MemberValue {
        MemberValue { id, instance, client_id, client_host, rebalance_timeout_ms, session_timeout_ms, subscription, assignment }
    }
}

prop_compose! {
    fn group_value()(
        protocol_type in text(), generation: i32, protocol in proptest::option::of(text()),
        leader in proptest::option::of(text()), state_since in time(), members in proptest::collection::vec(member(), 0..4),
    ) -> GroupValue {
        GroupValue { protocol_type, generation, protocol, leader, state_since, members }
    }
}

prop_compose! {
    fn offset_value()(
        offset: i64, epoch in proptest::option::of(0..i32::MAX), metadata in text(), committed: i64, expires in time(),
    ) -> OffsetValue {
        let leader_epoch = if expires.is_some() { None } else { epoch };
        OffsetValue { offset, leader_epoch, metadata, committed: Timestamp::from_millis(committed), expires }
    }
}

fn record() -> impl Strategy<Value = GroupRecord> {
    prop_oneof![
        (text(), proptest::option::of(group_value())).prop_map(|(group, value)| GroupRecord::Group { group, value }),
        (text(), text(), any::<i32>(), proptest::option::of(offset_value())).prop_map(
            |(group, topic, partition, value)| GroupRecord::Offset {
                key: OffsetKey { group, topic, partition },
                value
            }
        ),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(record in record()) {
        let bytes = record.encode().unwrap();
        prop_assert_eq!(GroupRecord::decode(&bytes.key, bytes.value.as_deref()), Ok(record));
    }

    #[test]
    fn a_cut_record_is_an_error(record in record(), cut: prop::sample::Index) {
        let bytes = record.encode().unwrap();
        let key = &bytes.key[..cut.index(bytes.key.len())];
        prop_assert!(GroupRecord::decode(key, None).is_err());
        if let Some(value) = &bytes.value {
            prop_assert!(GroupRecord::decode(&bytes.key, Some(&value[..cut.index(value.len())])).is_err());
        }
    }

    #[test]
    fn noise_never_panics(version in 0i16..5, key in 0i16..4, noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        let value = [version.to_be_bytes().as_slice(), &noise].concat();
        let key = [key.to_be_bytes().as_slice(), b"\x00\x01g\x00\x01t\x00\x00\x00\x00"].concat();
        let _ = GroupRecord::decode(&key, Some(&value));
        let _ = GroupRecord::decode(&noise, Some(&value));
        let _ = subscribed_topics(&noise);
    }
}
