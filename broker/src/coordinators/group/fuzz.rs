//! Fuzz targets of group coordination: the records of `__consumer_offsets`, and what consumers say of themselves.
//!
//! See `esker_protocol::fuzz` for what a target is.

use super::config::GroupConfig;
use super::records::embedded::{Assignment, Subscription, encode_assignment};
use super::records::{GroupRecord, GroupValue, LogRecord, MemberValue, OffsetKey, OffsetValue, subscribed_topics};
use super::request::{Now, Request, Token};
use super::state::{GroupMachine, Output};
use bytes::Bytes;
use esker_protocol::fuzz::{MEMORY, PER_BYTE, Target};
use esker_storage::env::{Monotonic, Timestamp};
use std::sync::Arc;

/// The targets of this module.
pub const TARGETS: &[Target] = &[
    Target {
        name: "group_records",
        covers: &[
            "broker/src/coordinators/group/records/classic.rs",
            "broker/src/coordinators/group/records/consumer.rs",
            "broker/src/coordinators/group/records/offset.rs",
            "broker/src/coordinators/group/records/record.rs",
            "broker/src/coordinators/group/records/wire.rs",
            "broker/src/coordinators/group/state/replay.rs",
        ],
        memory: MEMORY,
        per_byte: PER_BYTE,
        run: records,
        seeds: record_seeds,
    },
    Target {
        name: "consumer_protocol",
        covers: &["broker/src/coordinators/group/records/embedded.rs"],
        memory: MEMORY,
        per_byte: PER_BYTE,
        run: subscription,
        seeds: subscription_seeds,
    },
];

/// A length of two bytes, and as many bytes.
fn take<'a>(data: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = data.split_first_chunk::<2>()?;
    let (taken, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
    *data = rest;
    Some(taken)
}

/// Keys and values by turns, each after its length; an empty value is a tombstone. What is understood is written and
/// understood again, and a coordinator that loads them comes to groups that hold together and can be asked.
fn records(mut data: &[u8]) {
    let mut machine = GroupMachine::new(Arc::new(GroupConfig::default()));
    while let Some(key) = take(&mut data) {
        let value = take(&mut data).filter(|value| !value.is_empty());
        let Ok(record) = GroupRecord::decode(key, value) else { continue };
        // A text of the flexible form can be longer than the form that is written has room for; and what is written may
        // leave something out, an expiry no place for the leader epoch, but only once.
        if let Ok(first) = record.encode() {
            let again = GroupRecord::decode(&first.key, first.value.as_deref());
            let second = again.as_ref().map(GroupRecord::encode);
            assert!(matches!(&second, Ok(Ok(second)) if *second == first), "{record:?} becomes {again:?}");
        }
        machine.replay(record);
    }
    let now = |seconds| Now {
        monotonic: Monotonic::default().plus(std::time::Duration::from_secs(seconds)),
        wall: Timestamp::from_millis(seconds as i64 * 1000),
    };
    let mut out = Output::default();
    machine.loaded(now(0), &mut out);
    machine.handle(now(1), Token(1), Request::List, &mut out);
    machine.handle(now(1), Token(2), Request::TopicsDeleted { topics: vec!["t".to_owned()] }, &mut out);
    // Members that never come back, and offsets that expire.
    machine.advance(now(3600), &mut out);
    machine.advance(now(30 * 24 * 3600), &mut out);
    assert!(out.replies.len() >= 2);
}

fn example_member(id: &str, instance: Option<&str>) -> MemberValue {
    MemberValue {
        id: id.to_owned(),
        instance: instance.map(str::to_owned),
        client_id: "c".to_owned(),
        client_host: "/h".to_owned(),
        rebalance_timeout_ms: 60_000,
        session_timeout_ms: 10_000,
        subscription: Bytes::from_static(&[0, 0, 0, 0, 0, 1, 0, 1, b't']),
        assignment: Bytes::from_static(b"a"),
    }
}

fn record_seeds() -> Vec<Vec<u8>> {
    let offset = |partition, value| GroupRecord::Offset {
        key: OffsetKey { group: "g".to_owned(), topic: "t".to_owned(), partition },
        value,
    };
    let value = |expires| OffsetValue {
        offset: 5,
        leader_epoch: Some(2),
        metadata: "m".to_owned(),
        committed: Timestamp::from_millis(1),
        expires,
    };
    let group = |members: Vec<MemberValue>| GroupRecord::Group {
        group: "g".to_owned(),
        value: Some(GroupValue {
            protocol_type: "consumer".to_owned(),
            generation: 3,
            protocol: Some("range".to_owned()).filter(|_| !members.is_empty()),
            leader: members.first().map(|member| member.id.clone()),
            state_since: Some(Timestamp::from_millis(1)),
            members,
        }),
    };
    let gone = GroupRecord::Group { group: "g".to_owned(), value: None };
    let histories = [
        vec![offset(0, Some(value(None))), offset(1, Some(value(Some(Timestamp::from_millis(9))))), offset(0, None)],
        vec![group(vec![example_member("a", None), example_member("b", Some("i"))]), offset(0, Some(value(None)))],
        vec![group(vec![example_member("a", None)]), group(Vec::new()), offset(0, Some(value(None))), gone],
    ];
    histories.iter().map(|history| history.iter().flat_map(framed).collect()).collect()
}

fn framed(record: &GroupRecord) -> Vec<u8> {
    let Ok(LogRecord { key, value }) = record.encode() else { return Vec::new() };
    let value = value.unwrap_or_default();
    [&(key.len() as u16).to_be_bytes()[..], &key, &(value.len() as u16).to_be_bytes(), &value].concat()
}

/// A consumer's subscription, or its assignment: as many topics as were named, and what is written is read again.
fn subscription(data: &[u8]) {
    let _ = Subscription::decode(data);
    if let Ok(assigned) = Assignment::decode(data)
        && let Ok(first) = encode_assignment(0, &assigned.partitions)
    {
        let second = Assignment::decode(&first).map(|again| encode_assignment(0, &again.partitions));
        assert!(matches!(&second, Ok(Ok(second)) if *second == first), "{assigned:?} becomes {second:?}");
    }
    if let Some(topics) = subscribed_topics(data) {
        assert!(topics.iter().map(|topic| topic.len() + 2).sum::<usize>() <= data.len());
    }
}

fn subscription_seeds() -> Vec<Vec<u8>> {
    vec![
        vec![0, 0, 0, 0, 0, 2, 0, 1, b'a', 0, 2, b'b', b'c', 0xff, 0xff, 0xff, 0xff],
        vec![0, 0, 0, 0, 0, 1, 0, 1, b'a', 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff],
        vec![0, 3, 0, 0, 0, 1, 0, 1, b'a', 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0],
    ]
}
