use super::*;
use crate::coordinators::group::records::{
    ClassicMemberValue, ConsumerGroupValue, ConsumerMemberValue, CurrentValue, MemberState, MemberValue, Partitions,
    RegexValue, TargetEpochValue, subscribed_topics,
};
use esker_storage::env::Timestamp;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

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
    assert_eq!(GroupRecord::decode(b"\x00\x04\x00\x01g", None), Ok(GroupRecord::Other { version: 4 }));
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

/// Written by Kafka 4.3.1's own classes, in hexadecimal.
#[test]
fn a_consumer_group_has_kafkas_bytes() {
    let topic = Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
    let plain = ConsumerMemberValue {
        client_id: "c".to_owned(),
        client_host: "/h".to_owned(),
        topics: BTreeSet::from(["a".to_owned(), "bc".to_owned()]),
        rebalance_timeout_ms: 300_000,
        ..ConsumerMemberValue::default()
    };
    let full = ConsumerMemberValue {
        instance: Some("i".to_owned()),
        rack: Some("r".to_owned()),
        regex: Some("x.*".to_owned()),
        assignor: Some("range".to_owned()),
        classic: Some(ClassicMemberValue {
            session_timeout_ms: 45_000,
            protocols: vec![("range".to_owned(), Bytes::from_static(&[1, 2, 3]))],
        }),
        ..plain.clone()
    };
    let member = |value| ConsumerRecord::Member { member: "m".to_owned(), value: Some(value) };
    let group = |metadata_hash| ConsumerRecord::Group(Some(ConsumerGroupValue { epoch: 7, metadata_hash }));
    let target_epoch = |computed| ConsumerRecord::TargetEpoch(Some(TargetEpochValue { epoch: 9, computed }));
    let current = CurrentValue {
        epoch: 9,
        previous_epoch: 8,
        state: MemberState::UnrevokedPartitions,
        assigned: BTreeMap::from([(topic, BTreeMap::from([(0, 3), (2, 9)]))]),
        revoking: BTreeMap::new(),
    };
    let cases = [
        (group(0), "0003000167", "00000000000700"),
        (group(0x1122_3344_5566_7788), "0003000167", "0000000000070100081122334455667788"),
        (member(plain), "000500016700016d", "000000000263032f6803026103626300000493e00000"),
        (
            member(full),
            "000500016700016d",
            "0000026902720263032f6803026103626304782e2a000493e00672616e6765010012010000afc8020672616e6765040102030000",
        ),
        (target_epoch(0), "0006000167", "00000000000900"),
        (
            target_epoch(1_700_000_000_000),
            "0006000167",
            "000000000009010008000\
         0018bcfe56800",
        ),
        (
            ConsumerRecord::Target {
                member: "m".to_owned(),
                value: Some(Partitions::from([(topic, BTreeSet::from([0, 2]))])),
            },
            "000700016700016d",
            "0000020102030405060708090a0b0c0d0e0f100300000000000000020000",
        ),
        (
            ConsumerRecord::Current { member: "m".to_owned(), value: Some(current) },
            "000800016700016d",
            "0000000000090000000801020102030405060708090a0b0c0d0e0f1003000000000000000201000903000000030000000\
             90100",
        ),
        (
            ConsumerRecord::Regex {
                regex: "x.*".to_owned(),
                value: Some(RegexValue {
                    topics: BTreeSet::from(["xa".to_owned(), "xb".to_owned()]),
                    version: 12,
                    resolved: 1_700_000_000_000,
                }),
            },
            "00100001670003782e2a",
            "000003037861037862000000000000000c0000018bcfe5680000",
        ),
    ];
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for (record, key, value) in cases {
        let record = GroupRecord::Consumer { group: "g".to_owned(), record };
        let encoded = record.encode().unwrap();
        assert_eq!(hex(&encoded.key), key, "{record:?}");
        assert_eq!(hex(encoded.value.as_ref().unwrap()), value, "{record:?}");
        assert_eq!(GroupRecord::decode(&encoded.key, encoded.value.as_deref()), Ok(record));
    }
}

/// Before KIP-1251 an assignment had no epochs: those of the member stand for them.
#[test]
fn an_assignment_without_epochs_is_read() {
    let bytes = b"\x00\x00\x00\x00\x00\x09\x00\x00\x00\x08\x01\x01\x02\
        \x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x02\x00\x00\x00\x05\x00\x00";
    let read = GroupRecord::decode(b"\x00\x08\x00\x01g\x00\x01m", Some(bytes));
    let topic = Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
    let value = CurrentValue {
        epoch: 9,
        previous_epoch: 8,
        state: MemberState::UnrevokedPartitions,
        assigned: BTreeMap::new(),
        revoking: BTreeMap::from([(topic, BTreeMap::from([(5, 9)]))]),
    };
    let record = ConsumerRecord::Current { member: "m".to_owned(), value: Some(value) };
    assert_eq!(read, Ok(GroupRecord::Consumer { group: "g".to_owned(), record }));
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

fn names() -> impl Strategy<Value = BTreeSet<String>> {
    proptest::collection::btree_set(text(), 0..4)
}

fn held() -> impl Strategy<Value = BTreeMap<Uuid, BTreeMap<i32, i32>>> {
    let partitions = proptest::collection::btree_map(any::<i32>(), any::<i32>(), 1..4);
    proptest::collection::btree_map(any::<u128>().prop_map(Uuid::from_u128), partitions, 0..4)
}

prop_compose! {
    fn consumer_member()(
        instance in proptest::option::of(text()), rack in proptest::option::of(text()), client_id in text(),
        client_host in text(), topics in names(), regex in proptest::option::of(text()), rebalance_timeout_ms: i32,
        assignor in proptest::option::of(text()),
        classic in proptest::option::of((any::<i32>(), proptest::collection::vec((text(), blob()), 0..3))),
    ) -> ConsumerMemberValue {
        let classic =
            classic.map(|(session_timeout_ms, protocols)| ClassicMemberValue { session_timeout_ms, protocols });
        ConsumerMemberValue { instance, rack, client_id, client_host, topics, regex, rebalance_timeout_ms, assignor, classic }
    }
}

fn consumer_record() -> impl Strategy<Value = ConsumerRecord> {
    let state = prop_oneof![
        Just(MemberState::Stable),
        Just(MemberState::UnrevokedPartitions),
        Just(MemberState::UnreleasedPartitions),
        Just(MemberState::Unknown),
    ];
    let current = (any::<i32>(), any::<i32>(), state, held(), held()).prop_map(
        |(epoch, previous_epoch, state, assigned, revoking)| CurrentValue {
            epoch,
            previous_epoch,
            state,
            assigned,
            revoking,
        },
    );
    let partitions = proptest::collection::btree_set(any::<i32>(), 1..4);
    let target = proptest::collection::btree_map(any::<u128>().prop_map(Uuid::from_u128), partitions, 0..4);
    let regex = (names(), any::<i64>(), any::<i64>()).prop_map(|(topics, version, resolved)| RegexValue {
        topics,
        version,
        resolved,
    });
    prop_oneof![
        proptest::option::of((any::<i32>(), any::<i64>())).prop_map(|value| ConsumerRecord::Group(
            value.map(|(epoch, metadata_hash)| ConsumerGroupValue { epoch, metadata_hash })
        )),
        proptest::option::of((any::<i32>(), any::<i64>())).prop_map(|value| ConsumerRecord::TargetEpoch(
            value.map(|(epoch, computed)| TargetEpochValue { epoch, computed })
        )),
        (text(), proptest::option::of(consumer_member()))
            .prop_map(|(member, value)| ConsumerRecord::Member { member, value }),
        (text(), proptest::option::of(target)).prop_map(|(member, value)| ConsumerRecord::Target { member, value }),
        (text(), proptest::option::of(current)).prop_map(|(member, value)| ConsumerRecord::Current { member, value }),
        (text(), proptest::option::of(regex)).prop_map(|(regex, value)| ConsumerRecord::Regex { regex, value }),
    ]
}

fn record() -> impl Strategy<Value = GroupRecord> {
    prop_oneof![
        (text(), consumer_record()).prop_map(|(group, record)| GroupRecord::Consumer { group, record }),
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
    fn noise_never_panics(version in 0i16..5, key in 0i16..18, noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        let value = [version.to_be_bytes().as_slice(), &noise].concat();
        let key = [key.to_be_bytes().as_slice(), b"\x00\x01g\x00\x01t\x00\x00\x00\x00"].concat();
        let _ = GroupRecord::decode(&key, Some(&value));
        let _ = GroupRecord::decode(&noise, Some(&value));
        let _ = subscribed_topics(&noise);
    }
}
