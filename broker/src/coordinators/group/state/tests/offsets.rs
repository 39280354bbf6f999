//! Offsets: who may commit, what is fetched, what is forgotten and when.

use super::*;

fn commit(member: &str, generation: Option<i32>, offsets: &[(&str, i32, i64)]) -> CommitRequest {
    let mut topics: Vec<(String, Vec<CommitPartition>)> = Vec::new();
    for (topic, partition, offset) in offsets {
        let commit =
            CommitPartition { partition: *partition, offset: *offset, leader_epoch: Some(4), metadata: "m".to_owned() };
        topics.push(((*topic).to_owned(), vec![commit]));
    }
    CommitRequest {
        group: "g".to_owned(),
        member: member.to_owned(),
        instance: None,
        generation,
        retention: None,
        knows_member_epochs: false,
        topics,
    }
}

impl Script {
    fn commit(&mut self, request: CommitRequest) -> Result<CommitResults, ResponseError> {
        let token = self.ask(Request::Commit(request));
        match self.answer(token) {
            Answer::Commit(result) => result.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn fetch(&mut self, topics: Option<&[(&str, &[i32])]>) -> FetchedTopics {
        let own = |(topic, partitions): &(&str, &[i32])| ((*topic).to_owned(), partitions.to_vec());
        let topics = topics.map(|topics| topics.iter().map(own).collect());
        let token = self.ask(Request::Fetch { group: "g".to_owned(), topics, member: None });
        match self.answer(token) {
            Answer::Offsets(Ok(topics)) => topics.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn offset(&mut self, topic: &str, partition: i32) -> Option<i64> {
        self.fetch(Some(&[(topic, &[partition])]))[0].1[0].1.as_ref().map(|found| found.offset)
    }

    fn delete(&mut self) -> Result<(), ResponseError> {
        let token = self.ask(Request::Delete { group: "g".to_owned() });
        match self.answer(token) {
            Answer::Delete(result) => *result,
            other => panic!("{other:?}"),
        }
    }
}

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
const SWEEP: Duration = Duration::from_secs(600);

#[test]
fn anybody_may_commit_to_a_group_without_members() {
    let mut script = Script::new();
    assert_eq!(script.commit(commit("", None, &[("t", 1, 5)])), Ok(vec![("t".to_owned(), vec![(1, None)])]));
    let group = script.describe();
    assert_eq!((group.state, group.protocol_type.as_str()), (GroupState::Empty, ""));
    let fetched = script.fetch(Some(&[("u", &[0]), ("t", &[2, 1])]));
    let found = FetchedOffset { offset: 5, leader_epoch: Some(4), metadata: "m".to_owned() };
    let expected = vec![("u".to_owned(), vec![(0, None)]), ("t".to_owned(), vec![(2, None), (1, Some(found))])];
    assert_eq!(fetched, expected, "in the order of the request, with what is missing");
    assert_eq!(script.fetch(None).len(), 1);
    assert_eq!(script.reloaded().fetch(None), script.fetch(None));
}

#[test]
fn commits_are_checked_against_the_members() {
    let mut script = Script::new();
    assert_eq!(script.commit(commit("x", Some(1), &[])), Err(ResponseError::IllegalGeneration));
    let unknown = CommitRequest { knows_member_epochs: true, ..commit("x", Some(1), &[]) };
    assert_eq!(script.commit(unknown), Err(ResponseError::GroupIdNotFound));
    let ids = script.stable(1);
    let one = [("t", 0, 1)];
    assert!(script.commit(commit(&ids[0], Some(1), &one)).is_ok());
    assert_eq!(script.commit(commit(&ids[0], Some(2), &one)), Err(ResponseError::IllegalGeneration));
    assert_eq!(script.commit(commit(&ids[0], None, &one)), Err(ResponseError::IllegalGeneration));
    assert_eq!(script.commit(commit("x", Some(1), &one)), Err(ResponseError::UnknownMemberId));
    assert_eq!(script.commit(commit("", None, &one)), Err(ResponseError::UnknownMemberId));
    script.join("d");
    assert!(script.commit(commit(&ids[0], Some(1), &[("t", 0, 2)])).is_ok(), "while preparing, to hand over cleanly");
    script.ask(join("c0").id(&ids[0]).request());
    assert_eq!(script.commit(commit(&ids[0], Some(2), &one)), Err(ResponseError::RebalanceInProgress));
    assert_eq!(script.offset("t", 0), Some(2));
}

#[test]
fn members_of_a_classic_group_need_not_say_their_generation_to_read_offsets() {
    let mut script = Script::new();
    let ids = script.stable(1);
    script.commit(commit(&ids[0], Some(1), &[("t", 0, 1)])).unwrap();
    for (member, generation) in [(&*ids[0], -1), (&*ids[0], 7), ("x", 1)] {
        let member = Some((member.to_owned(), generation));
        let token = script.ask(Request::Fetch { group: "g".to_owned(), topics: None, member });
        let Answer::Offsets(fetched) = script.answer(token) else { panic!("not offsets") };
        assert_eq!(fetched.as_ref().map(Vec::len), Ok(1));
    }
}

#[test]
fn a_commit_is_a_sign_of_life() {
    let mut script = Script::new();
    let ids = script.stable(1);
    for _ in 0..6 {
        script.pass(SESSION / 2);
        assert!(script.commit(commit(&ids[0], Some(1), &[("t", 0, 1)])).is_ok());
    }
    assert_eq!(script.state(), GroupState::Stable);
}

#[test]
fn metadata_has_a_limit_per_partition() {
    let mut script = Script::new();
    let mut request = commit("", None, &[("t", 0, 1), ("t", 1, 1)]);
    request.topics[0].1[0].metadata = "x".repeat(4097);
    request.topics[1].1[0].metadata = "ö".repeat(4096);
    let results = script.commit(request).unwrap();
    assert_eq!(results[0].1, [(0, Some(ResponseError::OffsetMetadataTooLarge))]);
    assert_eq!(results[1].1, [(1, None)]);
    assert_eq!(script.offset("t", 0), None);
    assert_eq!(script.offset("t", 1), Some(1));
}

#[test]
fn offsets_of_an_empty_group_expire_a_while_after_it_became_empty() {
    let mut script = Script::new();
    let ids = script.stable(1);
    script.commit(commit(&ids[0], Some(1), &[("orders", 0, 1)])).unwrap();
    for _ in 0..200 {
        script.pass(SESSION / 2);
        script.heartbeat(&ids[0], 1).unwrap();
    }
    script.ask(leave(&ids[0], None));
    script.pass(WEEK - SWEEP);
    assert_eq!(script.offset("orders", 0), Some(1));
    script.pass(SWEEP * 2);
    assert_eq!(script.offset("orders", 0), None);
    assert_eq!(script.state(), GroupState::Dead, "and the group goes with its last offset");
    assert!(script.reloaded().machine.groups().is_empty());
}

#[test]
fn offsets_of_a_group_that_never_had_members_expire_after_their_commit() {
    let mut script = Script::new();
    script.commit(commit("", None, &[("t", 0, 1)])).unwrap();
    script.pass(WEEK / 2);
    script.commit(commit("", None, &[("t", 1, 1)])).unwrap();
    script.pass(WEEK / 2 + SWEEP);
    assert_eq!((script.offset("t", 0), script.offset("t", 1)), (None, Some(1)));
    script.pass(WEEK / 2 + SWEEP);
    assert_eq!(script.state(), GroupState::Dead);
    assert!(script.reloaded().machine.groups().is_empty());
}

#[test]
fn in_a_stable_group_only_what_nobody_subscribes_to_expires() {
    let config = GroupConfig {
        initial_rebalance_delay: Duration::ZERO,
        offsets_retention: Duration::from_secs(1200),
        ..GroupConfig::default()
    };
    let mut script = Script::with(config);
    let ids = script.stable(1);
    script.commit(commit(&ids[0], Some(1), &[("orders", 0, 1), ("former", 0, 1)])).unwrap();
    for _ in 0..400 {
        script.pass(SESSION / 2);
        script.heartbeat(&ids[0], 1).unwrap();
    }
    assert_eq!((script.offset("orders", 0), script.offset("former", 0)), (Some(1), None));
}

#[test]
fn a_group_of_an_opaque_kind_keeps_its_offsets_while_it_has_members() {
    let config = GroupConfig {
        initial_rebalance_delay: Duration::ZERO,
        offsets_retention: Duration::from_secs(60),
        ..GroupConfig::default()
    };
    let mut script = Script::with(config);
    let token = script.ask(join("w").kind("connect").request());
    let (id, _) = script.joined(token);
    script.ask(sync(&id, 1, Vec::new()));
    script.commit(commit(&id, Some(1), &[("t", 0, 1)])).unwrap();
    for _ in 0..200 {
        script.pass(SESSION / 2);
        script.heartbeat(&id, 1).unwrap();
    }
    assert_eq!(script.offset("t", 0), Some(1));
}

#[test]
fn an_old_client_can_choose_the_retention() {
    let mut script = Script::new();
    let short = CommitRequest { retention: Some(Duration::from_secs(60)), ..commit("", None, &[("t", 0, 1)]) };
    script.commit(short).unwrap();
    let mut loaded = script.reloaded();
    assert_eq!(loaded.fetch(None), script.fetch(None));
    for script in [&mut script, &mut loaded] {
        script.pass(SWEEP);
        assert_eq!(script.offset("t", 0), None);
    }
}

#[test]
fn only_a_group_without_members_can_be_deleted() {
    let mut script = Script::new();
    assert_eq!(script.delete(), Err(ResponseError::GroupIdNotFound));
    let ids = script.stable(1);
    script.commit(commit(&ids[0], Some(1), &[("t", 0, 1)])).unwrap();
    assert_eq!(script.delete(), Err(ResponseError::NonEmptyGroup));
    script.ask(leave(&ids[0], None));
    assert_eq!(script.delete(), Ok(()));
    assert_eq!(script.delete(), Err(ResponseError::GroupIdNotFound));
    assert_eq!(script.offset("t", 0), None);
    assert!(script.reloaded().machine.groups().is_empty());
}

#[test]
fn deleted_topics_take_their_offsets_along() {
    let mut script = Script::new();
    script.commit(commit("", None, &[("t", 0, 1), ("u", 0, 2)])).unwrap();
    script.ask(Request::TopicsDeleted { topics: vec!["t".to_owned()] });
    assert_eq!((script.offset("t", 0), script.offset("u", 0)), (None, Some(2)));
    assert_eq!(script.reloaded().fetch(None), script.fetch(None));
    script.ask(Request::TopicsDeleted { topics: vec!["u".to_owned()] });
    assert_eq!(script.state(), GroupState::Dead);
}

#[test]
fn groups_are_listed() {
    let mut script = Script::new();
    script.stable(1);
    let simple = CommitRequest { group: "a".to_owned(), ..commit("", None, &[("t", 0, 1)]) };
    script.commit(simple).unwrap();
    let token = script.ask(Request::List);
    let listed = |group: &str, kind: &str, state: GroupState| ListedGroup {
        group: group.to_owned(),
        protocol_type: kind.to_owned(),
        state: state.name(),
        kind: GroupKind::Classic,
    };
    let expected = vec![listed("a", "", GroupState::Empty), listed("g", "consumer", GroupState::Stable)];
    assert_eq!(script.answer(token), &Answer::List(Ok(expected)));
    assert_eq!(script.machine.count(), 2);
}
