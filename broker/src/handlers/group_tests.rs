//! The group APIs in every version: each answer is encoded, since the encoder refuses what a version lacks, and decoded
//! again, to be what a client of that version sees.

use super::find_coordinator::{GroupCoordinators, Node};
use super::{
    consumer_group_describe, consumer_group_heartbeat, delete_groups, describe_groups, find_coordinator, heartbeat,
    join_group, leave_group, list_groups, offset_commit, offset_delete, offset_fetch, sync_group,
};
use crate::config::{GroupTimeouts, Layers, Values};
use crate::coordinators::group::fixed_topics::topic_id;
use crate::coordinators::group::testbed::{Bench, MemoryLog, config, coordinator};
use crate::coordinators::group::{Caller, GroupCoordinator};
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use std::sync::Arc;

/// What a client of `version` sees of `response`.
fn seen<T: Encodable + Decodable>(response: &T, version: i16) -> T {
    let mut bytes = BytesMut::new();
    response.encode(&mut bytes, version).unwrap_or_else(|error| panic!("version {version}: {error}"));
    let mut bytes = bytes.freeze();
    let seen = T::decode(&mut bytes, version).unwrap();
    assert!(bytes.is_empty());
    seen
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group(name: &str) -> GroupId {
    GroupId(text(name))
}

fn topic(name: &str) -> TopicName {
    TopicName(text(name))
}

struct Stage {
    bench: Arc<Bench>,
    coordinator: Arc<GroupCoordinator>,
}

macro_rules! call {
    ($stage:expr, $version:expr, consumer_group_heartbeat, $request:expr) => {{
        let (coordinator, caller, request) = (Arc::clone(&$stage.coordinator), caller($version), $request);
        let at_once = Values::from([("consumer.assignment.interval.ms".to_owned(), "0".to_owned())]);
        let timeouts = GroupTimeouts::resolve(&at_once, &Layers::default());
        let response = $stage
            .bench
            .run(async move { consumer_group_heartbeat::handle(&coordinator, &caller, timeouts, request).await });
        seen(&response, $version)
    }};
    ($stage:expr, $version:expr, $api:ident, $request:expr) => {{
        let (coordinator, caller, request) = (Arc::clone(&$stage.coordinator), caller($version), $request);
        let response = $stage.bench.run(async move { $api::handle(&coordinator, &caller, request).await });
        seen(&response, $version)
    }};
    ($stage:expr, $version:expr, $api:ident same, $request:expr) => {{
        let (coordinator, request) = (Arc::clone(&$stage.coordinator), $request);
        let response = $stage.bench.run(async move { $api::handle(&coordinator, request).await });
        seen(&response, $version)
    }};
}

fn caller(api_version: i16) -> Caller {
    Caller { client_id: "client".to_owned(), client_host: "/10.0.0.1".to_owned(), api_version }
}

fn stage() -> Stage {
    let (bench, log) = (Bench::new(), MemoryLog::new());
    let coordinator = coordinator(&bench, &log, config());
    Stage { bench, coordinator }
}

fn join(version: i16) -> JoinGroupRequest {
    let protocol =
        JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(Bytes::from_static(b"meta"));
    JoinGroupRequest::default()
        .with_group_id(group("g"))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(if version >= 1 { 60_000 } else { -1 })
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

impl Stage {
    /// Joins and syncs in `version`; the member's id and generation.
    fn stable(&self, version: i16, instance: Option<&str>) -> (StrBytes, i32) {
        let request = join(version).with_group_instance_id(instance.map(text));
        let mut joined = call!(self, version, join_group, request.clone());
        if version >= 4 && instance.is_none() {
            assert_eq!(joined.error_code, ResponseError::MemberIdRequired.code());
            assert_eq!(joined.generation_id, -1);
            joined = call!(self, version, join_group, request.with_member_id(joined.member_id));
        }
        assert_eq!(joined.error_code, 0, "version {version}");
        let assignment = SyncGroupRequestAssignment::default()
            .with_member_id(joined.member_id.clone())
            .with_assignment(Bytes::from_static(b"\x00assigned"));
        let sync = SyncGroupRequest::default()
            .with_group_id(group("g"))
            .with_generation_id(joined.generation_id)
            .with_member_id(joined.member_id.clone())
            .with_assignments(vec![assignment]);
        let sync_version = version.min(5);
        let says_protocol = sync_version >= 5;
        let sync = sync
            .with_protocol_type(says_protocol.then(|| text("consumer")))
            .with_protocol_name(says_protocol.then(|| text("range")));
        let synced = call!(self, sync_version, sync_group, sync);
        assert_eq!((synced.error_code, synced.assignment.as_ref()), (0, b"\x00assigned".as_slice()));
        let has_protocol = sync_version >= 5;
        assert_eq!(synced.protocol_name, has_protocol.then(|| text("range")));
        assert_eq!(synced.protocol_type, has_protocol.then(|| text("consumer")));
        (joined.member_id, joined.generation_id)
    }
}

#[test]
fn join_and_sync_in_every_version() {
    for version in 0..=9 {
        let stage = stage();
        let (member, generation) = stage.stable(version, None);
        assert!(member.starts_with("client-"));
        // The only member leads, and joins again.
        let joined = call!(stage, version, join_group, join(version).with_member_id(member.clone()));
        assert_eq!((joined.error_code, joined.generation_id), (0, generation + 1));
        assert_eq!(joined.protocol_name.as_deref(), Some("range"));
        assert_eq!(joined.protocol_type.as_deref(), (version >= 7).then_some("consumer"));
        assert_eq!((joined.leader, joined.members.len()), (member, 1));
        assert_eq!(joined.members[0].metadata.as_ref(), b"meta");
        // An error has an empty name before null was allowed.
        let refused = call!(stage, version, join_group, join(version).with_session_timeout_ms(1));
        assert_eq!(refused.error_code, ResponseError::InvalidSessionTimeout.code());
        assert_eq!(refused.protocol_name, (version < 7).then(StrBytes::default));
        let nameless = call!(stage, version, join_group, join(version).with_group_id(group("")));
        assert_eq!(nameless.error_code, ResponseError::InvalidGroupId.code());
        let negative = call!(stage, version, join_group, join(version).with_session_timeout_ms(-5));
        assert_eq!(negative.error_code, ResponseError::InvalidSessionTimeout.code());
    }
}

#[test]
fn a_static_leader_that_is_back_in_every_version() {
    for version in 5..=9 {
        let stage = stage();
        let (member, generation) = stage.stable(version, Some("i"));
        let request = join(version).with_group_instance_id(Some(text("i")));
        let joined = call!(stage, version, join_group, request);
        assert_eq!((joined.error_code, joined.generation_id), (0, generation));
        assert_ne!(joined.member_id, member);
        assert_eq!(joined.skip_assignment, version >= 9);
        assert_eq!(joined.members.len(), usize::from(version >= 9));
        let instances: Vec<_> = joined.members.into_iter().map(|member| member.group_instance_id).collect();
        assert!(instances.iter().all(|instance| *instance == Some(text("i"))));
        assert_eq!(joined.leader == joined.member_id, version >= 9);
    }
}

#[test]
fn static_members_are_hidden_from_leaders_of_old() {
    let stage = stage();
    stage.stable(9, Some("i"));
    // A dynamic member of version 4 takes over as the leader after the static one has gone silent.
    let waiting = join(3);
    let (coordinator, context) = (Arc::clone(&stage.coordinator), caller(3));
    let mut joined = stage.bench.start(async move { join_group::handle(&coordinator, &context, waiting).await });
    stage.bench.pass(std::time::Duration::from_secs(11));
    let joined = seen(&joined.take().unwrap(), 3);
    assert_eq!(joined.members.len(), 1);
}

#[test]
fn heartbeats_in_every_version() {
    for version in 0..=4 {
        let stage = stage();
        let (member, generation) = stage.stable(3, None);
        let request =
            HeartbeatRequest::default().with_group_id(group("g")).with_member_id(member).with_generation_id(generation);
        assert_eq!(call!(stage, version, heartbeat same, request.clone()).error_code, 0);
        let stale = request.with_generation_id(generation + 1);
        let answer = call!(stage, version, heartbeat same, stale);
        assert_eq!(answer.error_code, ResponseError::IllegalGeneration.code());
    }
}

#[test]
fn leaving_in_every_version() {
    for version in 0..=5 {
        let stage = stage();
        let (member, _) = stage.stable(3, None);
        let request = LeaveGroupRequest::default().with_group_id(group("g"));
        let request = if version >= 3 {
            let members = [member, text("nobody")];
            let members = members.into_iter().map(|member| MemberIdentity::default().with_member_id(member));
            request.with_members(members.collect())
        } else {
            request.with_member_id(member)
        };
        let left = call!(stage, version, leave_group, request.clone());
        assert_eq!(left.error_code, 0);
        let unknown = ResponseError::UnknownMemberId.code();
        let errors: Vec<i16> = left.members.iter().map(|member| member.error_code).collect();
        assert_eq!(errors, if version >= 3 { vec![0, unknown] } else { Vec::new() });
        let again = call!(stage, version, leave_group, request);
        assert_eq!(again.error_code, if version >= 3 { 0 } else { unknown });
    }
}

fn commit(version: i16) -> OffsetCommitRequest {
    let partition = |index, metadata: Option<&str>| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(40 + i64::from(index))
            .with_committed_leader_epoch(if version >= 6 { 3 } else { -1 })
            .with_committed_metadata(metadata.map(text))
    };
    let of =
        |name: &str, partitions| OffsetCommitRequestTopic::default().with_name(topic(name)).with_partitions(partitions);
    OffsetCommitRequest::default().with_group_id(group("g")).with_generation_id_or_member_epoch(-1).with_topics(vec![
        of("nope", vec![partition(0, None)]),
        of("t", vec![partition(2, Some("note")), partition(1, None)]),
    ])
}

#[test]
fn offsets_in_every_version() {
    for version in 2..=9 {
        let stage = stage();
        let committed = call!(stage, version, offset_commit, commit(version));
        let errors: Vec<(&str, Vec<(i32, i16)>)> = committed
            .topics
            .iter()
            .map(|topic| {
                let partitions = topic.partitions.iter();
                (topic.name.as_str(), partitions.map(|one| (one.partition_index, one.error_code)).collect())
            })
            .collect();
        let unknown = ResponseError::UnknownTopicOrPartition.code();
        assert_eq!(errors, [("nope", vec![(0, unknown)]), ("t", vec![(2, 0), (1, 0)])]);
        let stranger = commit(version).with_generation_id_or_member_epoch(7).with_member_id(text("x"));
        let refused = call!(stage, version, offset_commit, stranger.clone());
        assert_eq!(refused.topics[1].partitions[1].error_code, ResponseError::UnknownMemberId.code());
        let refused = call!(stage, version, offset_commit, stranger.with_group_id(group("other")));
        let expected = if version >= 9 { ResponseError::GroupIdNotFound } else { ResponseError::IllegalGeneration };
        assert_eq!(refused.topics[1].partitions[0].error_code, expected.code());
    }
    for version in 1..=7 {
        let stage = stage();
        call!(stage, 9, offset_commit, commit(9));
        let asked = OffsetFetchRequestTopic::default().with_name(topic("t")).with_partition_indexes(vec![1, 5, 2]);
        let request = OffsetFetchRequest::default().with_group_id(group("g"));
        let fetched = call!(stage, version, offset_fetch, request.clone().with_topics(Some(vec![asked])));
        let found: Vec<(i32, i64, i32, Option<StrBytes>)> = fetched.topics[0]
            .partitions
            .iter()
            .map(|one| (one.partition_index, one.committed_offset, one.committed_leader_epoch, one.metadata.clone()))
            .collect();
        let epoch = if version >= 5 { 3 } else { -1 };
        let empty = || Some(StrBytes::default());
        assert_eq!(found, [(1, 41, epoch, empty()), (5, -1, -1, empty()), (2, 42, epoch, Some(text("note")))]);
        assert_eq!(fetched.error_code, 0);
        if version >= 2 {
            let all = call!(stage, version, offset_fetch, request.with_topics(None));
            assert_eq!((all.topics.len(), all.topics[0].partitions.len()), (1, 2));
        }
    }
    for version in 8..=9 {
        let stage = stage();
        call!(stage, 9, offset_commit, commit(9));
        let asked = OffsetFetchRequestTopics::default().with_name(topic("t")).with_partition_indexes(vec![2, 9]);
        let of = |name: &str, topics| OffsetFetchRequestGroup::default().with_group_id(group(name)).with_topics(topics);
        let groups = vec![of("g", Some(vec![asked.clone()])), of("unknown", Some(vec![asked])), of("g", None)];
        let fetched = call!(stage, version, offset_fetch, OffsetFetchRequest::default().with_groups(groups));
        let offsets: Vec<Vec<i64>> = fetched
            .groups
            .iter()
            .map(|group| group.topics[0].partitions.iter().map(|one| one.committed_offset).collect())
            .collect();
        assert_eq!(offsets, [vec![42, -1], vec![-1, -1], vec![41, 42]]);
        assert!(fetched.groups.iter().all(|group| group.error_code == 0));
    }
}

#[test]
fn offsets_that_cannot_be_had_are_an_error_in_every_version() {
    let stage = stage();
    let coordinator = Arc::clone(&stage.coordinator);
    stage.bench.run(async move { coordinator.unload_all().await });
    let error = ResponseError::NotCoordinator.code();
    let asked = OffsetFetchRequestTopic::default().with_name(topic("t")).with_partition_indexes(vec![1]);
    for version in 1..=7 {
        let request = OffsetFetchRequest::default().with_group_id(group("g")).with_topics(Some(vec![asked.clone()]));
        let fetched = call!(stage, version, offset_fetch, request);
        if version >= 2 {
            assert_eq!((fetched.error_code, fetched.topics.len()), (error, 0));
        } else {
            assert_eq!(fetched.topics[0].partitions[0].error_code, error);
        }
    }
    let groups = vec![OffsetFetchRequestGroup::default().with_group_id(group("g")).with_topics(None)];
    let fetched = call!(stage, 9, offset_fetch, OffsetFetchRequest::default().with_groups(groups));
    assert_eq!(fetched.groups[0].error_code, error);
}

#[test]
fn describing_in_every_version() {
    for version in 0..=6 {
        let stage = stage();
        let (member, _) = stage.stable(9, Some("i"));
        let request = DescribeGroupsRequest::default()
            .with_groups(vec![group("g"), group("unknown")])
            .with_include_authorized_operations(version >= 3);
        let described = call!(stage, version, describe_groups, request).groups;
        let known = &described[0];
        assert_eq!((known.error_code, known.group_state.as_str()), (0, "Stable"));
        assert_eq!((known.protocol_type.as_str(), known.protocol_data.as_str()), ("consumer", "range"));
        assert_eq!(known.authorized_operations, if version >= 3 { 3400 } else { i32::MIN });
        let found = &known.members[0];
        assert_eq!((found.member_id.clone(), found.client_id.as_str()), (member, "client"));
        assert_eq!(found.client_host.as_str(), "/10.0.0.1");
        assert_eq!(found.group_instance_id, (version >= 4).then(|| text("i")));
        assert_eq!(found.member_metadata.as_ref(), b"meta");
        assert_eq!(found.member_assignment.as_ref(), b"\x00assigned");
        let dead = &described[1];
        assert_eq!(dead.group_state.as_str(), "Dead");
        assert_eq!(dead.error_code, if version >= 6 { ResponseError::GroupIdNotFound.code() } else { 0 });
        assert_eq!(dead.error_message.is_some(), version >= 6);
    }
}

#[test]
fn listing_in_every_version() {
    for version in 0..=5 {
        let stage = stage();
        stage.stable(3, None);
        let listed = call!(stage, version, list_groups, ListGroupsRequest::default());
        assert_eq!((listed.error_code, listed.groups.len()), (0, 1));
        let found = &listed.groups[0];
        assert_eq!((found.group_id.as_str(), found.protocol_type.as_str()), ("g", "consumer"));
        assert_eq!(found.group_state.as_str(), if version >= 4 { "Stable" } else { "" });
        assert_eq!(found.group_type.as_str(), if version >= 5 { "classic" } else { "" });
    }
    let stage = stage();
    stage.stable(3, None);
    let count = |states: &[&str], types: &[&str]| {
        let request = ListGroupsRequest::default()
            .with_states_filter(states.iter().map(|state| text(state)).collect())
            .with_types_filter(types.iter().map(|kind| text(kind)).collect());
        call!(stage, 5, list_groups, request).groups.len()
    };
    assert_eq!(count(&["stable", "Empty"], &[]), 1);
    assert_eq!(count(&["Empty"], &[]), 0);
    assert_eq!(count(&[], &["Classic", "share"]), 1);
    assert_eq!(count(&[], &["consumer"]), 0);
}

#[test]
fn deleting_in_every_version() {
    for version in 0..=2 {
        let stage = stage();
        stage.stable(3, None);
        let simple = commit(9).with_group_id(group("simple"));
        call!(stage, 9, offset_commit, simple);
        let names = vec![group("g"), group("simple"), group("unknown")];
        let deleted =
            call!(stage, version, delete_groups same, DeleteGroupsRequest::default().with_groups_names(names));
        let errors: Vec<i16> = deleted.results.iter().map(|result| result.error_code).collect();
        assert_eq!(errors, [ResponseError::NonEmptyGroup.code(), 0, ResponseError::GroupIdNotFound.code()]);
    }
}

struct Here;

impl GroupCoordinators for Here {
    fn coordinator<'a>(&'a self, group: &'a str) -> BoxFuture<'a, Result<Node, ResponseError>> {
        Box::pin(async move {
            match group {
                "nowhere" => Err(ResponseError::CoordinatorNotAvailable),
                _ => Ok(Node { id: 3, host: "broker".to_owned(), port: 9092 }),
            }
        })
    }
}

#[test]
fn coordinators_are_found_in_every_version() {
    let bench = Bench::new();
    let find = |version: i16, kind: i8, keys: &[&str]| {
        let request = FindCoordinatorRequest::default().with_key_type(kind);
        let request = if version >= 4 {
            request.with_coordinator_keys(keys.iter().map(|key| text(key)).collect())
        } else {
            request.with_key(text(keys[0]))
        };
        let found = bench.run(async move { find_coordinator::handle(&Here, version, request).await });
        let found = seen(&found, version);
        if version >= 4 {
            found
                .coordinators
                .iter()
                .map(|one| (one.error_code, one.node_id.0, one.host.to_string(), one.port))
                .collect()
        } else {
            vec![(found.error_code, found.node_id.0, found.host.to_string(), found.port)]
        }
    };
    let nobody = |error: ResponseError| (error.code(), -1, String::new(), -1);
    for version in 0..=6 {
        let found = find(version, 0, &["g", "nowhere"]);
        assert_eq!(found[0], (0, 3, "broker".to_owned(), 9092));
        if version >= 4 {
            assert_eq!(found[1], nobody(ResponseError::CoordinatorNotAvailable));
        }
        if version >= 1 {
            assert_eq!(find(version, 1, &["x"]), [nobody(ResponseError::TransactionalIdAuthorizationFailed)]);
            assert_eq!(find(version, 2, &["x"]), [nobody(ResponseError::InvalidRequest)]);
            assert_eq!(find(version, 9, &["x"]), [nobody(ResponseError::InvalidRequest)]);
        }
    }
}

#[test]
fn offsets_of_partitions_that_do_not_exist_are_not_kept() {
    let stage = stage();
    let partition =
        |index| OffsetCommitRequestPartition::default().with_partition_index(index).with_committed_offset(5);
    let commit = OffsetCommitRequest::default()
        .with_group_id(group("g"))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![
            OffsetCommitRequestTopic::default()
                .with_name(topic("orders"))
                .with_partitions([0, 4, 3, -1, i32::MAX].map(partition).to_vec()),
            OffsetCommitRequestTopic::default().with_name(topic("none")).with_partitions(vec![partition(0)]),
        ]);
    let answer = call!(stage, 8, offset_commit, commit);
    let codes: Vec<Vec<i16>> = answer
        .topics
        .iter()
        .map(|topic| topic.partitions.iter().map(|partition| partition.error_code).collect())
        .collect();
    assert_eq!(codes, [vec![0, 3, 0, 3, 3], vec![3]]);
}

#[test]
fn an_offset_that_is_asked_for_often_is_answered_once() {
    let stage = stage();
    let asked = OffsetFetchRequestTopics::default().with_name(topic("orders")).with_partition_indexes(vec![7, 7, 3, 7]);
    let fetch = OffsetFetchRequest::default().with_groups(vec![
        OffsetFetchRequestGroup::default().with_group_id(group("g")).with_topics(Some(vec![asked.clone(), asked])),
    ]);
    let answer = call!(stage, 8, offset_fetch, fetch);
    let indexes: Vec<Vec<i32>> = answer.groups[0]
        .topics
        .iter()
        .map(|topic| topic.partitions.iter().map(|partition| partition.partition_index).collect())
        .collect();
    assert_eq!(indexes, [vec![7, 3], vec![]]);
}

fn consumer(member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group("modern"))
        .with_member_id(text(member))
        .with_member_epoch(epoch)
        .with_instance_id(None)
        .with_rack_id(None)
        .with_rebalance_timeout_ms(-1)
        .with_subscribed_topic_names(None)
        .with_subscribed_topic_regex(None)
        .with_server_assignor(None)
        .with_topic_partitions(None)
}

fn consumer_joins(member: &str) -> ConsumerGroupHeartbeatRequest {
    consumer(member, 0)
        .with_rebalance_timeout_ms(30_000)
        .with_subscribed_topic_names(Some(vec![topic("t")]))
        .with_topic_partitions(Some(Vec::new()))
}

#[test]
fn consumer_groups_in_every_version() {
    for version in 0..=1 {
        let stage = stage();
        let joins = if version == 0 { consumer_joins("") } else { consumer_joins("m") };
        let joined = call!(stage, version, consumer_group_heartbeat, joins);
        assert_eq!((joined.error_code, joined.member_epoch, joined.heartbeat_interval_ms), (0, 1, 5000));
        assert_eq!(joined.error_message, None);
        let member = joined.member_id.unwrap();
        assert!(if version == 0 { !member.is_empty() } else { member.as_str() == "m" });
        let assigned = &joined.assignment.unwrap().topic_partitions[0];
        assert_eq!((assigned.topic_id, assigned.partitions.as_slice()), (topic_id("t"), [0, 1, 2, 3, 4, 5].as_slice()));
        let alive = call!(stage, version, consumer_group_heartbeat, consumer(&member, 1));
        assert_eq!((alive.error_code, alive.member_epoch, alive.assignment), (0, 1, None));
        let fenced = call!(stage, version, consumer_group_heartbeat, consumer(&member, 7));
        assert_eq!(fenced.error_code, ResponseError::FencedMemberEpoch.code());
        assert!(fenced.error_message.is_some_and(|message| message.contains("greater member epoch (7)")));
        if version >= 1 {
            let regex = consumer("m", 1).with_subscribed_topic_regex(Some(text("t|o.*")));
            assert_eq!(call!(stage, version, consumer_group_heartbeat, regex).error_code, 0);
            let broken = consumer("m", 1).with_subscribed_topic_regex(Some(text("t(")));
            let refused = call!(stage, version, consumer_group_heartbeat, broken);
            assert_eq!(refused.error_code, ResponseError::InvalidRegularExpression.code());
        }
        let request = ConsumerGroupDescribeRequest::default()
            .with_group_ids(vec![group("modern"), group("unknown")])
            .with_include_authorized_operations(true);
        let described = call!(stage, version, consumer_group_describe, request).groups;
        let known = &described[0];
        assert_eq!((known.error_code, known.assignor_name.as_str()), (0, "uniform"));
        assert_eq!((known.group_epoch, known.authorized_operations), (1 + i32::from(version), 3400));
        let found = &known.members[0];
        assert_eq!((found.member_id.clone(), found.client_id.as_str()), (member.clone(), "client"));
        assert_eq!(found.subscribed_topic_names, [topic("t")]);
        assert_eq!(found.subscribed_topic_regex, (version >= 1).then(|| text("t|o.*")));
        assert_eq!(found.member_type, if version >= 1 { 1 } else { -1 });
        assert_eq!(found.assignment.topic_partitions[0].topic_name, topic("t"));
        let unknown = &described[1];
        assert_eq!(unknown.error_code, ResponseError::GroupIdNotFound.code());
        assert_eq!(unknown.error_message, Some(text("Group unknown not found.")));
        // The other way of describing does not know it, and the list does.
        let request = DescribeGroupsRequest::default().with_groups(vec![group("modern")]);
        let dead = call!(stage, 6, describe_groups, request).groups;
        assert_eq!(dead[0].error_code, ResponseError::GroupIdNotFound.code());
        let request = ListGroupsRequest::default().with_types_filter(vec![text("Consumer")]);
        let listed = call!(stage, 5, list_groups, request).groups;
        assert_eq!((listed[0].group_type.as_str(), listed[0].protocol_type.as_str()), ("consumer", "consumer"));
        let left = call!(stage, version, consumer_group_heartbeat, consumer(&member, -1));
        assert_eq!((left.error_code, left.member_epoch, left.heartbeat_interval_ms), (0, -1, 0));
    }
}

#[test]
fn a_consumer_group_that_is_asked_for_many_times_does_not_make_an_answer_without_end() {
    let stage = stage();
    let names: Vec<TopicName> = (0..2000).map(|n| topic(&format!("{n:0>240}"))).collect();
    let joins = consumer_joins("m").with_subscribed_topic_names(Some(names));
    assert_eq!(call!(stage, 1, consumer_group_heartbeat, joins).error_code, 0);
    let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group("modern"); 200]);
    let described = call!(stage, 1, consumer_group_describe, request).groups;
    assert_eq!(described.len(), 200, "an answer for each");
    let (whole, refused): (Vec<_>, Vec<_>) = described.iter().partition(|group| group.error_code == 0);
    let bytes: usize = whole.iter().map(|group| group.compute_size(1).unwrap()).sum();
    assert!(bytes > 8 << 20 && bytes < 17 << 20, "{bytes} bytes");
    assert!(refused.iter().all(|group| group.error_code == ResponseError::InvalidRequest.code()));
    assert!(refused.iter().all(|group| group.members.is_empty() && group.error_message.is_some()));
}

#[test]
fn members_of_consumer_groups_commit_and_fetch_at_their_epoch() {
    let stage = stage();
    call!(stage, 1, consumer_group_heartbeat, consumer_joins("m"));
    let by_member = |epoch| {
        let commit = commit(9).with_group_id(group("modern")).with_member_id(text("m"));
        call!(stage, 9, offset_commit, commit.with_generation_id_or_member_epoch(epoch)).topics[1].partitions[0]
            .error_code
    };
    assert_eq!((by_member(1), by_member(2)), (0, ResponseError::StaleMemberEpoch.code()));
    let fetch = |member: Option<&str>, epoch| {
        let asked = OffsetFetchRequestGroup::default()
            .with_group_id(group("modern"))
            .with_member_id(member.map(text))
            .with_member_epoch(epoch)
            .with_topics(None);
        let fetched = call!(stage, 9, offset_fetch, OffsetFetchRequest::default().with_groups(vec![asked]));
        (fetched.groups[0].error_code, fetched.groups[0].topics.len())
    };
    assert_eq!(fetch(None, -1), (0, 1));
    assert_eq!(fetch(Some(""), -1), (0, 1));
    assert_eq!(fetch(Some("m"), 1), (0, 1));
    assert_eq!(fetch(Some("m"), 2), (ResponseError::StaleMemberEpoch.code(), 0));
    assert_eq!(fetch(Some("x"), 1), (ResponseError::UnknownMemberId.code(), 0));
}

#[test]
fn offsets_are_deleted() {
    use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
    let stage = stage();
    call!(stage, 9, offset_commit, commit(9));
    let of = |name: &str, partitions: &[i32]| {
        let partitions = partitions.iter();
        let partitions = partitions.map(|index| OffsetDeleteRequestPartition::default().with_partition_index(*index));
        OffsetDeleteRequestTopic::default().with_name(topic(name)).with_partitions(partitions.collect())
    };
    let request =
        OffsetDeleteRequest::default().with_group_id(group("g")).with_topics(vec![of("t", &[1, 9]), of("nope", &[0])]);
    let deleted = call!(stage, 0, offset_delete same, request.clone());
    let unknown = ResponseError::UnknownTopicOrPartition.code();
    let errors: Vec<Vec<i16>> =
        deleted.topics.iter().map(|topic| topic.partitions.iter().map(|one| one.error_code).collect()).collect();
    assert_eq!((deleted.error_code, errors), (0, vec![vec![0, unknown], vec![unknown]]));
    let groups = vec![OffsetFetchRequestGroup::default().with_group_id(group("g")).with_topics(None)];
    let fetched = call!(stage, 9, offset_fetch, OffsetFetchRequest::default().with_groups(groups));
    assert_eq!(fetched.groups[0].topics[0].partitions.len(), 1, "one of two is left");
    let unknown = call!(stage, 0, offset_delete same, request.with_group_id(group("unknown")));
    assert_eq!(unknown.error_code, ResponseError::GroupIdNotFound.code());
}
