//! From one protocol to the other with members in the group, and classic members in a consumer group.

use super::*;
use crate::coordinators::group::config::MigrationPolicy;
use crate::coordinators::group::records::embedded::{Assignment, encode_assignment};
use std::collections::BTreeSet;

fn t(partitions: &[i32]) -> Partitions {
    of("t", partitions)
}

/// An assignment of partitions of "t" as classic members read it.
fn assignment(partitions: &[i32]) -> Bytes {
    let own: BTreeSet<i32> = partitions.iter().copied().collect();
    encode_assignment(1, &[("t".to_owned(), own)].into_iter().filter(|(_, own)| !own.is_empty()).collect()).unwrap()
}

fn read(assignment: &Bytes) -> Vec<i32> {
    Assignment::decode(assignment).unwrap().partitions.remove("t").into_iter().flatten().collect()
}

/// A classic member's metadata: it subscribes to "t" and holds `owned` of it.
fn metadata(owned: &[i32]) -> Bytes {
    let mut out = b"\x00\x01\x00\x00\x00\x01\x00\x01t\xff\xff\xff\xff".to_vec();
    out.extend(u32::from(!owned.is_empty()).to_be_bytes());
    if !owned.is_empty() {
        out.extend(b"\x00\x01t");
        out.extend(u32::try_from(owned.len()).unwrap().to_be_bytes());
        owned.iter().for_each(|partition| out.extend(partition.to_be_bytes()));
    }
    Bytes::from(out)
}

fn classic(member: &str, owned: &[i32]) -> Join {
    let mut join = join("classic").id(member);
    join.0.protocols = vec![("range".to_owned(), metadata(owned))];
    join
}

fn assigned(script: &mut Script, member: &str, generation: i32) -> Result<Vec<i32>, ResponseError> {
    let token = script.ask(sync(member, generation, Vec::new()));
    script.synced(token).map(|assignment| read(&assignment))
}

/// A stable classic group with one member that has all of "t", in generation 1.
fn lone_classic(script: &mut Script) -> String {
    let token = script.ask(classic("", &[]).request());
    let (id, joined) = script.joined(token);
    let token = script.ask(sync(&id, joined.generation, vec![(id.clone(), assignment(&[0, 1, 2, 3, 4, 5]))]));
    script.synced(token).unwrap();
    id
}

/// A consumer group with the classic member that is returned and "new" of the consumer protocol, three partitions each.
fn mixed(script: &mut Script) -> String {
    let old = lone_classic(script);
    let joined = script.beat(joins("new", &["t"])).unwrap();
    assert_eq!((joined.epoch, joined.assignment), (2, Some(Partitions::new())));
    assert_eq!(script.listed().unwrap().1, GroupKind::Consumer);
    // The classic member is told to join again, says what it has, gives half of it up, and joins again.
    assert_eq!(script.heartbeat(&old, 1), Err(ResponseError::RebalanceInProgress));
    let token = script.ask(classic(&old, &[0, 1, 2, 3, 4, 5]).request());
    let (_, joined) = script.joined(token);
    assert_eq!((joined.generation, joined.protocol.as_str(), joined.leader.as_str()), (1, "range", ""));
    assert_eq!(assigned(script, &old, 1), Ok(vec![0, 1, 2]));
    assert_eq!(script.heartbeat(&old, 1), Err(ResponseError::RebalanceInProgress), "it has not said that it did");
    let token = script.ask(classic(&old, &[0, 1, 2]).request());
    assert_eq!(script.joined(token).1.generation, 2);
    assert_eq!(assigned(script, &old, 2), Ok(vec![0, 1, 2]));
    assert_eq!(script.heartbeat(&old, 2), Ok(()));
    assert_eq!(script.beat(heart("new", 2)).unwrap().assignment, Some(t(&[3, 4, 5])));
    assert_eq!(script.listed(), Some(("Stable", GroupKind::Consumer)));
    old
}

#[test]
fn a_classic_group_is_upgraded_member_by_member() {
    let mut script = Script::new();
    let old = mixed(&mut script);
    let described = script.consumers();
    let kinds: Vec<bool> = described.members.iter().map(|member| member.is_classic).collect();
    assert_eq!(kinds.iter().filter(|is_classic| **is_classic).count(), 1);
    // A load in the middle of it.
    let mut loaded = script.reloaded();
    assert_eq!(loaded.consumers(), described);
    assert_eq!(loaded.heartbeat(&old, 2), Ok(()));
    // The last classic member leaves, and nothing of the former group is left in the log.
    let token = script.ask(leave(&old, None));
    assert!(matches!(script.answer(token), Answer::Leave(Ok(left)) if left[0].1.is_none()));
    assert_eq!(script.beat(heart("new", 2)).unwrap().assignment, Some(t(&[0, 1, 2, 3, 4, 5])));
    assert!(script.reloaded().machine.groups().is_empty());
}

#[test]
fn a_consumer_group_is_downgraded_when_its_last_consumer_leaves() {
    let mut script = Script::new();
    let old = mixed(&mut script);
    script.beat(heart("new", -1)).unwrap();
    assert_eq!(script.listed(), Some(("PreparingRebalance", GroupKind::Classic)));
    assert_eq!(script.heartbeat(&old, 2), Err(ResponseError::RebalanceInProgress));
    assert_eq!(script.beat_error(heart("new", 2)), ResponseError::GroupIdNotFound);
    let token = script.ask(classic(&old, &[0, 1, 2]).request());
    let (_, joined) = script.joined(token);
    assert_eq!((joined.generation, joined.leader.as_str()), (3, old.as_str()));
    let token = script.ask(sync(&old, 3, vec![(old.clone(), assignment(&[5]))]));
    assert_eq!(read(&script.synced(token).unwrap()), [5]);
    let loaded = script.reloaded();
    assert!(loaded.machine.consumer_groups().is_empty());
    assert_eq!(loaded.machine.groups()["g"].members.len(), 1);
}

#[test]
fn a_silent_last_consumer_is_the_same_as_one_that_left() {
    let mut script = Script::new();
    let old = mixed(&mut script);
    for _ in 0..9 {
        script.pass(SESSION / 2);
        let _ = script.heartbeat(&old, 2);
    }
    assert_eq!(script.listed(), Some(("PreparingRebalance", GroupKind::Classic)));
}

#[test]
fn migration_is_a_matter_of_policy() {
    for (policy, upgrades, downgrades) in [
        (MigrationPolicy::Bidirectional, true, true),
        (MigrationPolicy::Upgrade, true, false),
        (MigrationPolicy::Downgrade, false, true),
        (MigrationPolicy::Disabled, false, false),
    ] {
        let delay = Duration::ZERO;
        let config = GroupConfig { migration_policy: policy, initial_rebalance_delay: delay, ..GroupConfig::default() };
        let mut script = Script::with(config.clone());
        let old = lone_classic(&mut script);
        let joined = script.beat(joins("new", &["t"]));
        assert_eq!(joined.is_ok(), upgrades, "{policy:?}");
        if !upgrades {
            assert_eq!(joined.unwrap_err().error, ResponseError::GroupIdNotFound);
            assert_eq!(script.heartbeat(&old, 1), Ok(()), "nothing happened to it");
        }
        let mut script =
            Script::with(GroupConfig { migration_policy: MigrationPolicy::Bidirectional, ..config.clone() });
        mixed(&mut script);
        script.config = Arc::new(config);
        let mut script = script.reloaded();
        script.beat(heart("new", -1)).unwrap();
        let kind = if downgrades { GroupKind::Classic } else { GroupKind::Consumer };
        assert_eq!(script.listed().unwrap().1, kind, "{policy:?}");
    }
}

#[test]
fn other_kinds_of_groups_are_not_upgraded() {
    let mut script = Script::new();
    let token = script.ask(join("c").kind("connect").request());
    let (id, _) = script.joined(token);
    assert_eq!(script.beat_error(joins("new", &["t"])), ResponseError::GroupIdNotFound);
    assert_eq!(script.heartbeat(&id, 1), Ok(()));
    // And a consumer's metadata that nobody can read.
    let mut script = Script::new();
    let token = script.ask(join("c").protocols(&[("range", b"what")]).request());
    let (id, _) = script.joined(token);
    assert_eq!(script.beat_error(joins("new", &["t"])), ResponseError::GroupIdNotFound);
    assert_eq!(script.heartbeat(&id, 1), Ok(()));
}

#[test]
fn what_an_assignor_tells_its_members_is_not_lost_in_an_upgrade() {
    let mut script = Script::new();
    let token = script.ask(classic("", &[]).request());
    let (id, joined) = script.joined(token);
    let plain = assignment(&[0, 1]);
    let told = Bytes::from([&plain[..plain.len() - 4], b"\0\0\0\x01u"].concat());
    let token = script.ask(sync(&id, joined.generation, vec![(id.clone(), told.clone())]));
    assert_eq!(script.synced(token), Ok(told));
    let written = script.log.len();
    assert_eq!(script.beat_error(joins("new", &["t"])), ResponseError::GroupIdNotFound);
    assert_eq!((script.heartbeat(&id, 1), script.log.len()), (Ok(()), written), "nothing happened to it");
    // No bytes of it are none.
    let token = script.ask(classic(&id, &[]).request());
    let (_, joined) = script.joined(token);
    let empty = Bytes::from([&plain[..plain.len() - 4], b"\0\0\0\0"].concat());
    let token = script.ask(sync(&id, joined.generation, vec![(id.clone(), empty)]));
    script.synced(token).unwrap();
    script.beat(joins("new", &["t"])).unwrap();
}

#[test]
fn an_upgrade_that_fails_changes_nothing() {
    let mut script = Script::with(GroupConfig {
        consumer_max_size: 1,
        initial_rebalance_delay: Duration::ZERO,
        ..GroupConfig::default()
    });
    let old = lone_classic(&mut script);
    let written = script.log.len();
    assert_eq!(script.beat_error(joins("new", &["t"])), ResponseError::GroupMaxSizeReached);
    assert_eq!(script.log.len(), written);
    assert_eq!(script.heartbeat(&old, 1), Ok(()));
}

#[test]
fn who_waits_in_a_rebalance_is_told_to_join_again() {
    let mut script = Script::new();
    let old = lone_classic(&mut script);
    let waiting = script.ask(classic("", &[]).fresh(9).request());
    assert!(script.waits(waiting));
    script.beat(joins("new", &["t"])).unwrap();
    let (error, id) = script.join_error(waiting);
    assert_eq!(error, ResponseError::RebalanceInProgress);
    let token = script.ask(classic(&id, &[]).request());
    assert!(script.joined(token).1.generation >= 2);
    assert_eq!(script.heartbeat(&old, 1), Err(ResponseError::RebalanceInProgress));
}

#[test]
fn groups_without_members_change_their_kind_and_keep_their_offsets() {
    let mut script = Script::new();
    let offsets = |script: &mut Script| {
        let token = script.ask(Request::Fetch { group: "g".to_owned(), topics: None, member: None });
        let Answer::Offsets(Ok(topics)) = script.answer(token) else { panic!() };
        topics.iter().map(|(_, partitions)| partitions.len()).sum::<usize>()
    };
    let partition = CommitPartition { partition: 0, offset: 1, leader_epoch: None, metadata: String::new() };
    let request = CommitRequest {
        group: "g".to_owned(),
        member: String::new(),
        instance: None,
        generation: None,
        retention: None,
        knows_member_epochs: true,
        topics: vec![("t".to_owned(), vec![partition])],
    };
    script.ask(Request::Commit(request));
    // Bare offsets, a classic group, a consumer group, and a classic one again.
    let old = lone_classic(&mut script);
    script.ask(leave(&old, None));
    assert_eq!((script.listed(), offsets(&mut script)), (Some(("Empty", GroupKind::Classic)), 1));
    script.beat(joins("a", &["t"])).unwrap();
    assert_eq!((script.listed(), offsets(&mut script)), (Some(("Stable", GroupKind::Consumer)), 1));
    assert_eq!(offsets(&mut script.reloaded()), 1);
    script.beat(heart("a", -1)).unwrap();
    let token = script.ask(classic("stranger", &[]).request());
    assert_eq!(script.join_error(token).0, ResponseError::UnknownMemberId);
    lone_classic(&mut script);
    assert_eq!((script.listed(), offsets(&mut script)), (Some(("Stable", GroupKind::Classic)), 1));
    let mut loaded = script.reloaded();
    assert_eq!((loaded.listed(), offsets(&mut loaded)), (Some(("Stable", GroupKind::Classic)), 1));
}

#[test]
fn classic_members_of_a_consumer_group_are_checked() {
    let mut script = Script::new();
    let old = mixed(&mut script);
    assert_eq!(script.heartbeat(&old, 3), Err(ResponseError::IllegalGeneration));
    assert_eq!(script.heartbeat("new", 2), Err(ResponseError::UnknownMemberId), "not a classic one");
    assert_eq!(assigned(&mut script, &old, 1), Err(ResponseError::IllegalGeneration));
    let Request::Sync(mut request) = sync(&old, 2, Vec::new()) else { unreachable!() };
    request.protocol = Some("sticky".to_owned());
    let token = script.ask(Request::Sync(request));
    assert_eq!(script.synced(token), Err(ResponseError::InconsistentGroupProtocol));
    let token = script.ask(classic("", &[]).kind("connect").request());
    assert_eq!(script.join_error(token).0, ResponseError::InconsistentGroupProtocol);
    let mut other = classic("", &[]);
    other.0.protocols = vec![("sticky".to_owned(), metadata(&[]))];
    let token = script.ask(other.request());
    assert_eq!(script.join_error(token).0, ResponseError::InconsistentGroupProtocol);
    let token = script.ask(classic("", &[]).modern().request());
    let (error, id) = script.join_error(token);
    assert_eq!(error, ResponseError::MemberIdRequired);
    let token = script.ask(classic(&id, &[]).modern().request());
    assert_eq!(script.joined(token).0, id);
    let token = script.ask(leave("new", None));
    let unknown = Some(ResponseError::UnknownMemberId);
    assert!(matches!(script.answer(token), Answer::Leave(Ok(left)) if left[0].1 == unknown));
}

#[test]
fn a_classic_member_that_does_not_join_or_sync_is_put_out() {
    // Told to join again, and only sends heartbeats.
    let mut script = Script::new();
    let old = lone_classic(&mut script);
    script.beat(joins("new", &["t"])).unwrap();
    for _ in 0..12 {
        let _ = script.heartbeat(&old, 1);
        script.beat(heart("new", 2)).unwrap();
        script.pass(SESSION / 2);
    }
    assert_eq!(script.heartbeat(&old, 1), Err(ResponseError::UnknownMemberId));
    // Joined, and never syncs.
    let mut script = Script::new();
    let old = lone_classic(&mut script);
    script.beat(joins("new", &["t"])).unwrap();
    script.ask(classic(&old, &[]).request());
    for _ in 0..12 {
        let _ = script.heartbeat(&old, 2);
        script.beat(heart("new", 2)).unwrap();
        script.pass(SESSION / 2);
    }
    assert_eq!(script.heartbeat(&old, 2), Err(ResponseError::UnknownMemberId));
}

#[test]
fn a_static_member_crosses_over_and_back() {
    let mut script = Script::new();
    let token = script.ask(classic("", &[]).instance("i").request());
    let (id, joined) = script.joined(token);
    script.ask(sync(&id, joined.generation, vec![(id.clone(), assignment(&[0, 1, 2, 3, 4, 5]))]));
    // Restarted with the new protocol, under its instance id: it gets what it had.
    let moved = script.beat(joins("new", &["t"]).instance("i")).unwrap();
    assert_eq!(moved.assignment, Some(t(&[0, 1, 2, 3, 4, 5])));
    assert_eq!(script.consumers().members.len(), 1);
    // And back again: it was the last one of the new protocol.
    let token = script.ask(classic("", &[]).instance("i").fresh(77).request());
    let (back, joined) = script.joined(token);
    assert_eq!(script.listed(), Some(("Stable", GroupKind::Classic)));
    assert_eq!(assigned(&mut script, &back, joined.generation), Ok(vec![0, 1, 2, 3, 4, 5]));
}

#[test]
fn clients_that_gave_one_partition_to_two_are_sorted_out() {
    let mut script = Script::new();
    let first = lone_classic(&mut script);
    let second = script.ask(classic("", &[]).fresh(5).request());
    let again = script.ask(classic(&first, &[]).request());
    let (second, generation) = (script.joined(second).0, script.joined(again).1.generation);
    let both = [&first, &second].map(|id| (id.clone(), assignment(&[0, 1])));
    script.ask(sync(&first, generation, both.to_vec()));
    script.beat(joins("new", &["t"])).unwrap();
    assert_eq!(script.consumers().members.len(), 3);
}
