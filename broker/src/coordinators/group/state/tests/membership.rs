//! Who may join, under which id, with which protocols; and who may leave.

use super::*;

#[test]
fn a_new_dynamic_member_must_come_back_with_its_id() {
    let mut script = Script::new();
    let token = script.ask(join("c").modern().request());
    let (error, id) = script.join_error(token);
    assert_eq!(error, ResponseError::MemberIdRequired);
    assert!(id.starts_with("c-"));
    assert_eq!(script.describe().members, Vec::new());
    let token = script.ask(join("c").modern().id(&id).request());
    assert_eq!(script.joined(token).0, id);
}

#[test]
fn an_id_that_is_not_used_expires_and_the_group_is_forgotten() {
    let mut script = Script::new();
    let token = script.ask(join("c").modern().request());
    let (_, id) = script.join_error(token);
    script.pass(SESSION);
    assert_eq!(script.state(), GroupState::Dead);
    let token = script.ask(join("c").modern().id(&id).request());
    assert_eq!(script.join_error(token), (ResponseError::UnknownMemberId, id));
    assert_eq!(script.log, Vec::new());
}

#[test]
fn a_rebalance_waits_for_pending_members() {
    let mut script = Script::new();
    let ids = script.stable(1);
    let token = script.ask(join("p").modern().request());
    let (_, pending) = script.join_error(token);
    let first = script.ask(join("c0").id(&ids[0]).request());
    assert!(script.waits(first), "the pending member may come");
    let second = script.ask(join("p").modern().id(&pending).request());
    assert_eq!(script.joined(first).1.members.len(), 2);
    assert_eq!(script.joined(second).1.generation, 2);
}

#[test]
fn a_rebalance_goes_on_when_a_pending_member_does_not_come() {
    let mut script = Script::new();
    let ids = script.stable(1);
    script.ask(join("p").modern().request());
    let first = script.ask(join("c0").id(&ids[0]).request());
    script.pass(SESSION);
    assert_eq!(script.joined(first).1.members.len(), 1);
}

#[test]
fn a_pending_member_can_leave() {
    let mut script = Script::new();
    let ids = script.stable(1);
    let token = script.ask(join("p").modern().request());
    let (_, pending) = script.join_error(token);
    let first = script.ask(join("c0").id(&ids[0]).request());
    let token = script.ask(leave(&pending, None));
    assert!(matches!(script.answer(token), Answer::Leave(Ok(left)) if left[0].1.is_none()));
    assert_eq!(script.joined(first).1.generation, 2);
}

#[test]
fn pending_members_are_bounded() {
    let mut script = Script::with(GroupConfig { max_pending: 2, ..GroupConfig::default() });
    for (seed, expected) in [
        (1, ResponseError::MemberIdRequired),
        (2, ResponseError::MemberIdRequired),
        (3, ResponseError::GroupMaxSizeReached),
    ] {
        let token = script.ask(join("c").modern().fresh(seed).request());
        assert_eq!(script.join_error(token).0, expected);
    }
}

#[test]
fn session_timeouts_have_bounds() {
    let mut script = Script::new();
    let cases = [
        (None, false),
        (Some(Duration::from_millis(5999)), false),
        (Some(Duration::from_secs(6)), true),
        (Some(Duration::from_secs(1800)), true),
        (Some(Duration::from_millis(1_800_001)), false),
    ];
    for (session, is_valid) in cases {
        let token = script.ask(join("c").modern().session(session).request());
        let expected = if is_valid { ResponseError::MemberIdRequired } else { ResponseError::InvalidSessionTimeout };
        assert_eq!(script.join_error(token).0, expected, "{session:?}");
    }
}

#[test]
fn unknown_members_are_refused() {
    let mut script = Script::new();
    let token = script.ask(join("c").id("nobody").request());
    assert_eq!(script.join_error(token), (ResponseError::UnknownMemberId, "nobody".to_owned()));
    assert_eq!(script.state(), GroupState::Dead);
    script.stable(1);
    let token = script.ask(join("c").id("nobody").request());
    assert_eq!(script.join_error(token).0, ResponseError::UnknownMemberId);
    assert_eq!(script.heartbeat("nobody", 1), Err(ResponseError::UnknownMemberId));
}

#[test]
fn heartbeats_are_checked() {
    let mut script = Script::new();
    assert_eq!(script.heartbeat("x", 1), Err(ResponseError::UnknownMemberId));
    let ids = script.stable(1);
    assert_eq!(script.heartbeat(&ids[0], 0), Err(ResponseError::IllegalGeneration));
    assert_eq!(script.heartbeat(&ids[0], 2), Err(ResponseError::IllegalGeneration));
    assert_eq!(script.heartbeat(&ids[0], 1), Ok(()));
}

#[test]
fn protocols_must_have_something_in_common() {
    let mut script = Script::new();
    for request in [join("c").kind(""), join("c").protocols(&[])] {
        let token = script.ask(request.request());
        assert_eq!(script.join_error(token).0, ResponseError::InconsistentGroupProtocol);
        assert_eq!(script.state(), GroupState::Dead);
    }
    script.stable(1);
    for request in [join("d").kind("connect"), join("d").protocols(&[("sticky", b"")])] {
        let token = script.ask(request.request());
        assert_eq!(script.join_error(token).0, ResponseError::InconsistentGroupProtocol);
        assert_eq!(script.state(), GroupState::Stable, "refusing disturbs nobody");
    }
}

#[test]
fn an_empty_group_takes_another_kind() {
    let mut script = Script::new();
    let ids = script.stable(1);
    script.ask(leave(&ids[0], None));
    let token = script.ask(join("w").kind("connect").protocols(&[("sessioned", b"\x00\x02\xff")]).request());
    let (_, joined) = script.joined(token);
    assert_eq!((joined.protocol_type.as_str(), joined.protocol.as_str()), ("connect", "sessioned"));
    assert_eq!(joined.members[0].metadata, Bytes::from_static(b"\x00\x02\xff"));
}

#[test]
fn members_vote_among_what_all_support() {
    let mut script =
        Script::with(GroupConfig { initial_rebalance_delay: Duration::from_secs(1), ..GroupConfig::default() });
    let tokens = [
        script.ask(join("a").protocols(&[("x", b"1"), ("y", b"2"), ("z", b"3")]).request()),
        script.ask(join("b").protocols(&[("only-b", b"4"), ("y", b"5"), ("z", b"6")]).request()),
        script.ask(join("c").protocols(&[("z", b"7"), ("y", b"8")]).request()),
    ];
    script.pass(Duration::from_secs(3));
    for token in tokens {
        assert_eq!(script.joined(token).1.protocol, "y");
    }
}

#[test]
fn among_equal_votes_the_leader_decides() {
    let mut script =
        Script::with(GroupConfig { initial_rebalance_delay: Duration::from_secs(1), ..GroupConfig::default() });
    let first = script.ask(join("a").protocols(&[("z", b""), ("y", b"")]).request());
    script.ask(join("b").protocols(&[("y", b""), ("z", b"")]).request());
    script.pass(Duration::from_secs(2));
    assert_eq!(script.joined(first).1.protocol, "z");
}

#[test]
fn a_changed_follower_and_a_joining_leader_rebalance_and_an_unchanged_follower_does_not() {
    let mut script = Script::new();
    let ids = script.stable(2);
    let token = script.ask(join("c1").id(&ids[1]).request());
    assert_eq!(script.joined(token).1.generation, 2);
    assert_eq!(script.state(), GroupState::Stable);
    let mut changed = script.reloaded();
    let token = changed.ask(join("c1").id(&ids[1]).protocols(&[("range", b"new")]).request());
    assert!(changed.waits(token));
    let token = script.ask(join("c0").id(&ids[0]).request());
    assert!(script.waits(token));
    assert_eq!(script.state(), GroupState::PreparingRebalance);
}

#[test]
fn a_join_that_is_repeated_while_completing_gets_the_same_generation() {
    let mut script = Script::new();
    let token = script.join("c");
    let (id, joined) = script.joined(token);
    let token = script.ask(join("c").id(&id).request());
    assert_eq!(script.joined(token).1, joined);
    let token = script.ask(join("c").id(&id).protocols(&[("range", b"new")]).request());
    assert_eq!(script.joined(token).1.generation, 2);
}

#[test]
fn a_superseded_join_is_answered() {
    let mut script = Script::new();
    let ids = script.stable(2);
    let first = script.ask(join("c0").id(&ids[0]).request());
    let again = script.ask(join("c0").id(&ids[0]).request());
    assert_eq!(script.join_error(first), (ResponseError::RebalanceInProgress, ids[0].clone()));
    assert!(script.waits(again));
}

#[test]
fn a_superseded_sync_is_answered() {
    let mut script = Script::new();
    let ids = script.stable(2);
    script.ask(join("c0").id(&ids[0]).request());
    script.ask(join("c1").id(&ids[1]).request());
    let first = script.ask(sync(&ids[1], 3, Vec::new()));
    let again = script.ask(sync(&ids[1], 3, Vec::new()));
    assert_eq!(script.synced(first), Err(ResponseError::RebalanceInProgress));
    assert!(script.waits(again));
}

#[test]
fn a_full_group_refuses() {
    let config = GroupConfig { max_size: 2, initial_rebalance_delay: Duration::ZERO, ..GroupConfig::default() };
    let mut script = Script::with(config);
    let ids = script.stable(2);
    let token = script.join("x");
    assert_eq!(script.join_error(token), (ResponseError::GroupMaxSizeReached, String::new()));
    assert_eq!(script.state(), GroupState::Stable);
    // Members are not refused.
    let token = script.ask(join("c0").id(&ids[0]).request());
    assert!(script.waits(token));
}

#[test]
fn a_static_member_that_is_back_needs_no_more_room_than_it_has() {
    let config = GroupConfig { max_size: 1, initial_rebalance_delay: Duration::ZERO, ..GroupConfig::default() };
    let mut script = Script::with(config);
    let token = script.ask(join("a").instance("i").modern().request());
    let (id, _) = script.joined(token);
    script.ask(sync(&id, 1, Vec::new()));
    let token = script.ask(join("a").instance("i").modern().fresh(9).request());
    assert_eq!(script.joined(token).1.generation, 1);
    let token = script.ask(join("b").instance("j").modern().request());
    assert_eq!(script.join_error(token).0, ResponseError::GroupMaxSizeReached);
}

#[test]
fn those_who_leave_together_cause_one_rebalance() {
    let mut script = Script::new();
    let ids = script.stable(3);
    let members = [ids[1].clone(), ids[2].clone(), "nobody".to_owned()];
    let members = members.into_iter().map(|member| Leaver { member, instance: None }).collect();
    let token = script.ask(Request::Leave { group: "g".to_owned(), members });
    let Answer::Leave(Ok(left)) = script.answer(token) else { panic!() };
    let errors: Vec<_> = left.iter().map(|(_, error)| *error).collect();
    assert_eq!(errors, [None, None, Some(ResponseError::UnknownMemberId)]);
    let token = script.ask(join("c0").id(&ids[0]).request());
    assert_eq!((script.joined(token).1.generation, script.joined(token).1.members.len()), (4, 1));
}

#[test]
fn leaving_an_unknown_group_or_twice_is_said_per_member() {
    let mut script = Script::new();
    let token = script.ask(leave("x", None));
    let unknown = |answer: &Answer| matches!(answer, Answer::Leave(Ok(left)) if left[0].1 == Some(ResponseError::UnknownMemberId));
    assert!(unknown(script.answer(token)));
    let ids = script.stable(1);
    script.ask(leave(&ids[0], None));
    let token = script.ask(leave(&ids[0], None));
    assert!(unknown(script.answer(token)));
}

#[test]
fn a_member_that_leaves_while_it_waits_is_answered() {
    let mut script = Script::new();
    let ids = script.stable(2);
    let waiting = script.ask(join("c0").id(&ids[0]).request());
    script.ask(leave(&ids[0], None));
    assert_eq!(script.join_error(waiting), (ResponseError::UnknownMemberId, String::new()));
}

#[test]
fn names_that_no_record_can_hold_are_refused() {
    let mut script = Script::new();
    let mut request = join("c");
    request.0.group = "g".repeat(40_000);
    let token = script.ask(request.request());
    assert_eq!(script.join_error(token).0, ResponseError::InvalidRequest);
    // A long client id is shortened, at a character.
    let token = script.ask(join(&"ö".repeat(10_000)).request());
    assert_eq!(script.joined(token).0.len(), 254 + 37);
}
