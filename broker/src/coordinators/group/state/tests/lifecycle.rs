//! Join, sync, rebalance, expiry: one group from Empty to Stable and back.

use super::*;

#[test]
fn a_lone_member_joins_syncs_and_is_stable() {
    let mut script = Script::new();
    let token = script.join("c");
    let (id, joined) = script.joined(token);
    assert!(id.starts_with("c-"), "{id}");
    assert_eq!((joined.generation, joined.protocol.as_str(), joined.protocol_type.as_str()), (1, "range", "consumer"));
    assert_eq!(joined.leader, id);
    assert_eq!(joined.members.len(), 1);
    assert_eq!(joined.members[0].metadata, subscription(&["orders"]));
    assert_eq!(script.state(), GroupState::CompletingRebalance);
    assert_eq!(script.log, Vec::new());
    let token = script.ask(sync(&id, 1, vec![(id.clone(), Bytes::from_static(b"\x00\xff"))]));
    assert_eq!(script.synced(token).unwrap(), Bytes::from_static(b"\x00\xff"));
    assert_eq!(script.log.len(), 1);
    assert_eq!(script.heartbeat(&id, 1), Ok(()));
}

#[test]
fn the_first_rebalance_waits_for_more_and_longer_while_they_come() {
    let delay = Duration::from_secs(3);
    let mut script = Script::with(GroupConfig { initial_rebalance_delay: delay, ..GroupConfig::default() });
    let first = script.join("a");
    script.pass(Duration::from_secs(2));
    let second = script.join("b");
    script.pass(Duration::from_secs(2));
    assert!(script.waits(first), "the second one prolongs the wait");
    script.pass(Duration::from_secs(2));
    assert_eq!(script.joined(first).1.generation, 1);
    assert_eq!(script.joined(second).1.generation, 1);
    assert_eq!(script.joined(first).1.members.len() + script.joined(second).1.members.len(), 2);
}

#[test]
fn the_first_rebalance_is_prolonged_at_most_to_the_rebalance_timeout() {
    let delay = Duration::from_secs(3);
    let mut script = Script::with(GroupConfig { initial_rebalance_delay: delay, ..GroupConfig::default() });
    let limit = Duration::from_secs(7);
    let first = script.ask(join("m").rebalance(limit).request());
    for index in 0..10 {
        script.ask(join(&format!("m{index}")).rebalance(limit).request());
        script.pass(Duration::from_secs(1));
        if !script.waits(first) {
            assert!(script.elapsed <= limit + Duration::from_secs(1), "{:?}", script.elapsed);
            return;
        }
    }
    panic!("prolonged without end");
}

#[test]
fn a_second_member_makes_the_first_join_again() {
    let mut script = Script::new();
    let ids = script.stable(1);
    let second = script.join("d");
    assert!(script.waits(second));
    assert_eq!(script.heartbeat(&ids[0], 1), Err(ResponseError::RebalanceInProgress));
    let first = script.ask(join("c0").id(&ids[0]).request());
    let (_, joined) = script.joined(first);
    assert_eq!((joined.generation, joined.members.len()), (2, 2));
    assert_eq!(script.joined(second).1.members, Vec::new(), "only the leader gets the roster");
    // A follower's sync waits for the leader's.
    let second_id = script.joined(second).0;
    let follower = script.ask(sync(&second_id, 2, Vec::new()));
    assert!(script.waits(follower));
    script.ask(sync(&ids[0], 2, vec![(second_id, Bytes::from_static(b"two"))]));
    assert_eq!(script.synced(follower).unwrap(), "two");
    let uncovered = script.describe().members.into_iter().find(|member| member.id == ids[0]).unwrap();
    assert_eq!(uncovered.assignment, Bytes::new(), "whom the leader does not cover gets nothing");
}

#[test]
fn who_does_not_join_again_in_time_is_out() {
    let mut script = Script::new();
    let ids = script.stable(2);
    let third = script.join("x");
    for _ in 0..8 {
        // Both live, but the second one ignores the rebalance.
        script.pass(SESSION / 2);
        assert_eq!(script.heartbeat(&ids[0], 2), Err(ResponseError::RebalanceInProgress));
        assert_eq!(script.heartbeat(&ids[1], 2), Err(ResponseError::RebalanceInProgress));
    }
    let first = script.ask(join("c0").id(&ids[0]).request());
    assert!(script.waits(third) && script.waits(first));
    for _ in 0..4 {
        script.pass(SESSION / 2);
        let _ = script.heartbeat(&ids[1], 2);
    }
    assert_eq!(script.joined(first).1.members.len(), 2);
    assert_eq!(script.joined(third).1.generation, 3);
    assert_eq!(script.heartbeat(&ids[1], 3), Err(ResponseError::UnknownMemberId));
}

#[test]
fn a_leader_that_does_not_join_again_is_replaced() {
    let mut script = Script::new();
    let ids = script.stable(2);
    let second = script.ask(join("c1").id(&ids[1]).protocols(&[("range", b"changed")]).request());
    script.pass(SESSION);
    let (_, joined) = script.joined(second);
    assert_eq!((joined.leader.as_str(), joined.members.len()), (ids[1].as_str(), 1));
}

#[test]
fn a_silent_member_is_expired_and_the_others_rebalance() {
    let mut script = Script::new();
    let ids = script.stable(2);
    script.pass(SESSION / 2);
    assert_eq!(script.heartbeat(&ids[0], 2), Ok(()));
    script.pass(SESSION / 2);
    assert_eq!(script.state(), GroupState::PreparingRebalance);
    assert_eq!(script.heartbeat(&ids[0], 2), Err(ResponseError::RebalanceInProgress));
    assert_eq!(script.heartbeat(&ids[1], 2), Err(ResponseError::UnknownMemberId));
}

#[test]
fn a_member_that_waits_here_is_not_silent() {
    let mut script = Script::new();
    let ids = script.stable(2);
    // The leader joins again; the other one keeps its session alive and does not.
    let first = script.ask(join("c0").id(&ids[0]).request());
    for _ in 0..5 {
        script.pass(SESSION / 2);
        assert_eq!(script.heartbeat(&ids[1], 2), Err(ResponseError::RebalanceInProgress));
    }
    assert!(script.waits(first));
    let second = script.ask(join("c1").id(&ids[1]).request());
    assert_eq!(script.joined(first).1.generation, 3);
    assert_eq!(script.joined(second).1.generation, 3);
}

#[test]
fn a_first_join_that_waits_too_long_is_given_up() {
    let mut script = Script::new();
    let long = Duration::from_secs(3600);
    let first = script.ask(join("a").rebalance(long).request());
    let id = script.joined(first).0;
    script.ask(sync(&id, 1, Vec::new()));
    let second = script.join("b");
    for _ in 0..70 {
        script.pass(SESSION / 2);
        let _ = script.heartbeat(&id, 1);
    }
    assert_eq!(script.join_error(second).0, ResponseError::UnknownMemberId);
}

#[test]
fn the_last_one_leaving_leaves_an_empty_group() {
    let mut script = Script::new();
    let ids = script.stable(1);
    let token = script.ask(leave(&ids[0], None));
    assert!(matches!(script.answer(token), Answer::Leave(Ok(left)) if left[0].1.is_none()));
    let group = script.describe();
    assert_eq!((group.state, group.protocol_type.as_str()), (GroupState::Empty, "consumer"));
    assert_eq!(script.heartbeat(&ids[0], 1), Err(ResponseError::UnknownMemberId));
    // The generation goes on.
    let token = script.join("z");
    assert_eq!(script.joined(token).1.generation, 3);
}

#[test]
fn members_that_never_sync_are_removed() {
    let mut script = Script::new();
    let ids = script.stable(2);
    let first = script.ask(join("c0").id(&ids[0]).request());
    script.ask(join("c1").id(&ids[1]).request());
    assert_eq!(script.joined(first).1.generation, 3);
    // Both are alive, but only the follower syncs.
    let follower = script.ask(sync(&ids[1], 3, Vec::new()));
    for _ in 0..11 {
        script.pass(SESSION / 2);
        assert_eq!(script.heartbeat(&ids[0], 3), Ok(()));
        assert_eq!(script.heartbeat(&ids[1], 3), Ok(()));
    }
    script.pass(SESSION / 2);
    assert_eq!(script.synced(follower), Err(ResponseError::RebalanceInProgress));
    assert_eq!(script.heartbeat(&ids[0], 3), Err(ResponseError::UnknownMemberId));
    assert_eq!(script.describe().members.len(), 1);
}

#[test]
fn syncs_are_checked() {
    let mut script = Script::new();
    let token = script.join("c");
    let (id, _) = script.joined(token);
    let error = |script: &mut Script, request| {
        let token = script.ask(request);
        script.synced(token).unwrap_err()
    };
    assert_eq!(error(&mut script, sync(&id, 2, Vec::new())), ResponseError::IllegalGeneration);
    assert_eq!(error(&mut script, sync("other", 1, Vec::new())), ResponseError::UnknownMemberId);
    let Request::Sync(mut request) = sync(&id, 1, Vec::new()) else { unreachable!() };
    request.from.group = "unknown".to_owned();
    assert_eq!(error(&mut script, Request::Sync(request.clone())), ResponseError::UnknownMemberId);
    request.from.group = "g".to_owned();
    request.protocol_type = Some("connect".to_owned());
    assert_eq!(error(&mut script, Request::Sync(request.clone())), ResponseError::InconsistentGroupProtocol);
    request.protocol_type = Some("consumer".to_owned());
    request.protocol = Some("sticky".to_owned());
    assert_eq!(error(&mut script, Request::Sync(request.clone())), ResponseError::InconsistentGroupProtocol);
    request.protocol = Some("range".to_owned());
    let token = script.ask(Request::Sync(request));
    assert_eq!(script.synced(token).unwrap(), Bytes::new());
    script.join("d");
    assert_eq!(error(&mut script, sync(&id, 1, Vec::new())), ResponseError::RebalanceInProgress);
}

#[test]
fn a_sync_in_a_stable_group_gets_the_assignment_again() {
    let mut script = Script::new();
    let ids = script.stable(2);
    let token = script.ask(sync(&ids[1], 2, Vec::new()));
    assert_eq!(script.synced(token).unwrap(), "a1");
    // Even from the leader, and whatever it says now.
    let token = script.ask(sync(&ids[0], 2, vec![(ids[0].clone(), Bytes::from_static(b"new"))]));
    assert_eq!(script.synced(token).unwrap(), "a0");
}

#[test]
fn an_assignment_that_does_not_fit_the_log_is_refused() {
    let config =
        GroupConfig { initial_rebalance_delay: Duration::ZERO, max_record_bytes: 1000, ..GroupConfig::default() };
    let mut script = Script::with(config);
    let token = script.join("c");
    let (id, _) = script.joined(token);
    let token = script.ask(sync(&id, 1, vec![(id.clone(), Bytes::from(vec![0; 1000]))]));
    assert_eq!(script.synced(token), Err(ResponseError::UnknownServerError));
    assert_eq!(script.state(), GroupState::PreparingRebalance);
    assert_eq!(script.log, Vec::new());
    // With less it works.
    let token = script.ask(join("c").id(&id).request());
    assert_eq!(script.joined(token).1.generation, 2);
    let token = script.ask(sync(&id, 2, vec![(id.clone(), Bytes::from_static(b"x"))]));
    assert_eq!(script.synced(token).unwrap(), "x");
}

#[test]
fn a_loaded_group_goes_on_where_it_was() {
    let mut script = Script::new();
    let ids = script.stable(2);
    let mut loaded = script.reloaded();
    assert_eq!(loaded.describe(), script.describe());
    assert_eq!(loaded.heartbeat(&ids[0], 2), Ok(()));
    let token = loaded.ask(sync(&ids[1], 2, Vec::new()));
    assert_eq!(loaded.synced(token).unwrap(), "a1");
    // Sessions run anew.
    loaded.pass(SESSION / 2);
    assert_eq!(loaded.heartbeat(&ids[0], 2), Ok(()));
    loaded.pass(SESSION / 2);
    assert_eq!(loaded.heartbeat(&ids[1], 2), Err(ResponseError::UnknownMemberId));
}

#[test]
fn a_loaded_group_that_is_too_large_rebalances() {
    let mut script = Script::new();
    script.stable(3);
    let config = GroupConfig { max_size: 2, initial_rebalance_delay: Duration::ZERO, ..GroupConfig::default() };
    script.config = Arc::new(config);
    let mut loaded = script.reloaded();
    assert_eq!(loaded.state(), GroupState::PreparingRebalance);
    let ids: Vec<String> = loaded.describe().members.into_iter().map(|member| member.id).collect();
    let tokens: Vec<Token> = ids.iter().map(|id| loaded.ask(join("c").id(id).request())).collect();
    assert_eq!(loaded.join_error(tokens[2]).0, ResponseError::GroupMaxSizeReached);
    assert_eq!(loaded.joined(tokens[0]).1.generation, 4);
    assert_eq!(loaded.describe().members.len(), 2);
}

#[test]
fn an_abandoned_machine_answers_everybody() {
    let mut script = Script::new();
    script.stable(1);
    let waiting = script.join("d");
    assert!(script.waits(waiting));
    let machine = std::mem::replace(&mut script.machine, GroupMachine::new(Arc::clone(&script.config)));
    let replies = machine.abandon(ResponseError::NotCoordinator);
    assert_eq!(replies.len(), 1);
    assert_eq!(replies[0].token, waiting);
    assert!(matches!(&replies[0].answer, Answer::Join(join) if join.result == Err(ResponseError::NotCoordinator)));
}
