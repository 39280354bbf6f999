//! Static members (KIP-345, KIP-814): an instance id that outlives member ids.

use super::*;

/// A stable group of static members `i0`, `i1`; their ids, the leader first.
fn stable() -> (Script, Vec<String>) {
    let config = GroupConfig { initial_rebalance_delay: Duration::from_secs(1), ..GroupConfig::default() };
    let mut script = Script::with(config);
    let tokens = [
        script.ask(join("c0").modern().instance("i0").fresh(1).request()),
        script.ask(join("c1").modern().instance("i1").fresh(2).request()),
    ];
    script.pass(Duration::from_secs(2));
    let ids: Vec<String> = tokens.iter().map(|token| script.joined(*token).0).collect();
    assert_eq!(script.joined(tokens[0]).1.leader, ids[0]);
    let assignments = vec![(ids[0].clone(), Bytes::from("a0")), (ids[1].clone(), Bytes::from("a1"))];
    script.ask(sync(&ids[0], 1, assignments));
    script.ask(sync(&ids[1], 1, Vec::new()));
    assert_eq!(script.state(), GroupState::Stable);
    (script, ids)
}

#[test]
fn static_members_need_no_second_join() {
    let (script, ids) = stable();
    assert!(ids[0].starts_with("i0-") && ids[1].starts_with("i1-"), "{ids:?}");
    assert_eq!(script.log.len(), 1);
}

#[test]
fn a_static_follower_that_is_back_gets_its_assignment_without_a_rebalance() {
    let (mut script, ids) = stable();
    let mut request = join("renamed").modern().instance("i1").fresh(3);
    request.0.client_host = "/10.9.9.9".to_owned();
    let token = script.ask(request.request());
    let (id, joined) = script.joined(token);
    assert_ne!(id, ids[1]);
    assert_eq!((joined.generation, joined.skip_assignment, joined.members.len()), (1, false, 0));
    assert_eq!(script.log.len(), 2, "the new id is written");
    let token = script.ask(sync(&id, 1, Vec::new()));
    assert_eq!(script.synced(token).unwrap(), "a1");
    let described = script.describe();
    let member = described.members.iter().find(|member| member.id == id).unwrap();
    assert_eq!((member.client_id.as_str(), member.client_host.as_str()), ("renamed", "/10.9.9.9"));
    // The old one is fenced, everywhere.
    let mut request = from(&ids[1], 1);
    request.instance = Some("i1".to_owned());
    let token = script.ask(Request::Heartbeat(request.clone()));
    assert_eq!(script.answer(token), &Answer::Heartbeat(Err(ResponseError::FencedInstanceId)));
    let token = script.ask(Request::Sync(SyncRequest {
        from: request,
        protocol_type: None,
        protocol: None,
        assignments: Vec::new(),
    }));
    assert_eq!(script.synced(token), Err(ResponseError::FencedInstanceId));
    let token = script.ask(join("c1").modern().instance("i1").id(&ids[1]).request());
    assert_eq!(script.join_error(token).0, ResponseError::FencedInstanceId);
    let token = script.ask(leave(&ids[1], Some("i1")));
    assert!(
        matches!(script.answer(token), Answer::Leave(Ok(left)) if left[0].1 == Some(ResponseError::FencedInstanceId))
    );
    assert_eq!(script.heartbeat(&ids[1], 1), Err(ResponseError::UnknownMemberId));
    assert_eq!(script.heartbeat(&id, 1), Ok(()));
}

#[test]
fn a_static_leader_that_is_back_skips_the_assignment() {
    let (mut script, _) = stable();
    let token = script.ask(join("c0").modern().instance("i0").fresh(3).request());
    let (id, joined) = script.joined(token);
    assert_eq!((joined.leader.as_str(), joined.skip_assignment, joined.members.len()), (id.as_str(), true, 2));
    let token = script.ask(sync(&id, 1, Vec::new()));
    assert_eq!(script.synced(token).unwrap(), "a0");
    assert_eq!(script.state(), GroupState::Stable);
}

#[test]
fn a_static_leader_of_old_does_not_learn_that_it_leads() {
    let (mut script, ids) = stable();
    let token = script.ask(join("c0").instance("i0").fresh(3).request());
    let (id, joined) = script.joined(token);
    assert_eq!((joined.leader.as_str(), joined.skip_assignment, joined.members.len()), (ids[0].as_str(), false, 0));
    // But it does: its next join rebalances.
    let token = script.ask(join("c0").instance("i0").id(&id).request());
    assert!(script.waits(token));
}

#[test]
fn a_static_member_that_changes_the_protocol_rebalances() {
    let (mut script, _) = stable();
    let follower =
        script.ask(join("c1").modern().instance("i1").fresh(3).protocols(&[("range", b""), ("x", b"")]).request());
    assert!(!script.waits(follower), "range stands");
    let config = GroupConfig { initial_rebalance_delay: Duration::from_secs(1), ..GroupConfig::default() };
    let mut script = Script::with(config);
    for (client, instance) in [("a", "i0"), ("b", "i1")] {
        script.ask(join(client).modern().instance(instance).protocols(&[("x", b""), ("y", b"")]).request());
    }
    script.pass(Duration::from_secs(2));
    let leader = script.describe().members.into_iter().find(|member| member.instance.as_deref() == Some("i0")).unwrap();
    script.ask(sync(&leader.id, 1, Vec::new()));
    let token = script.ask(join("b").modern().instance("i1").fresh(9).protocols(&[("y", b"")]).request());
    assert!(script.waits(token));
    assert_eq!(script.state(), GroupState::PreparingRebalance);
}

#[test]
fn a_static_member_that_is_back_during_a_rebalance_joins_it_and_the_old_one_is_fenced() {
    let (mut script, ids) = stable();
    let old = script.ask(join("c0").modern().instance("i0").id(&ids[0]).request());
    assert!(script.waits(old));
    let new = script.ask(join("c0").modern().instance("i0").fresh(7).request());
    assert_eq!(script.join_error(old).0, ResponseError::FencedInstanceId);
    assert!(script.waits(new));
    let other = script.ask(join("c1").modern().instance("i1").id(&ids[1]).request());
    assert_eq!(script.joined(new).1.members.len() + script.joined(other).1.members.len(), 2);
    assert_eq!(script.joined(new).1.generation, 2);
}

#[test]
fn a_static_member_that_is_back_while_the_leader_assigns_starts_over() {
    let (mut script, ids) = stable();
    script.ask(join("c0").modern().instance("i0").id(&ids[0]).request());
    script.ask(join("c1").modern().instance("i1").id(&ids[1]).request());
    assert_eq!(script.state(), GroupState::CompletingRebalance);
    let waiting = script.ask(sync(&ids[1], 2, Vec::new()));
    let new = script.ask(join("c1").modern().instance("i1").fresh(8).request());
    assert_eq!(script.synced(waiting), Err(ResponseError::FencedInstanceId));
    assert!(script.waits(new));
    assert_eq!(script.state(), GroupState::PreparingRebalance);
}

#[test]
fn a_static_member_outlives_a_rebalance_that_it_misses_until_its_session_ends() {
    let (mut script, ids) = stable();
    let first = script.ask(join("c0").modern().instance("i0").id(&ids[0]).rebalance(SESSION / 2).request());
    // The other one asked for a minute; it keeps its session alive without joining.
    for _ in 0..12 {
        script.pass(SESSION / 2);
        let _ = script.heartbeat(&ids[1], 1);
    }
    assert_eq!(script.joined(first).1.members.len(), 2, "the absent static member is still in");
}

#[test]
fn an_administrator_removes_a_static_member_by_its_instance_alone() {
    let (mut script, ids) = stable();
    let token = script.ask(leave("", Some("i1")));
    assert!(matches!(script.answer(token), Answer::Leave(Ok(left)) if left[0].1.is_none()));
    assert_eq!(script.heartbeat(&ids[1], 1), Err(ResponseError::UnknownMemberId));
    let token = script.ask(leave("", Some("nobody")));
    assert!(
        matches!(script.answer(token), Answer::Leave(Ok(left)) if left[0].1 == Some(ResponseError::UnknownMemberId))
    );
}

#[test]
fn an_unknown_instance_with_an_id_is_an_unknown_member() {
    let (mut script, ids) = stable();
    let token = script.ask(join("x").modern().instance("i9").id(&ids[0]).request());
    assert_eq!(script.join_error(token).0, ResponseError::UnknownMemberId);
}

#[test]
fn static_membership_survives_a_reload() {
    let (script, ids) = stable();
    let mut loaded = script.reloaded();
    let token = loaded.ask(join("c1").modern().instance("i1").fresh(3).request());
    let (id, joined) = loaded.joined(token);
    assert_ne!(id, ids[1]);
    assert_eq!(joined.generation, 1);
    let mut again = loaded.reloaded();
    assert_eq!(again.heartbeat(&id, 1), Ok(()));
    assert_eq!(again.heartbeat(&ids[1], 1), Err(ResponseError::UnknownMemberId));
}

#[test]
fn when_nobody_joins_again_static_members_keep_their_generation_until_their_sessions_end() {
    let (mut script, ids) = stable();
    script.ask(leave("", Some("i0")));
    for _ in 0..30 {
        script.pass(SESSION / 2);
        assert_eq!(script.heartbeat(&ids[1], 1), Err(ResponseError::RebalanceInProgress));
    }
    assert_eq!(script.state(), GroupState::PreparingRebalance);
    let token = script.ask(join("c1").modern().instance("i1").id(&ids[1]).request());
    assert_eq!(script.joined(token).1.generation, 2);
}

#[test]
fn a_static_member_that_is_back_begins_a_new_session() {
    let (mut script, ids) = stable();
    script.pass(SESSION - Duration::from_secs(1));
    script.heartbeat(&ids[0], 1).unwrap();
    let token = script.ask(join("c1").modern().instance("i1").fresh(3).request());
    script.pass(SESSION / 2);
    let (id, _) = script.joined(token);
    assert_eq!(script.heartbeat(&id, 1), Ok(()));
}
