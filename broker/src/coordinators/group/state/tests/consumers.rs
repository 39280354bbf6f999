//! A consumer group: joining, sharing, giving up before being given, static members, subscriptions, time, offsets.

use super::*;
use crate::coordinators::group::records::{ConsumerGroupValue, ConsumerRecord, TargetEpochValue};

/// Owned partitions of "t", as the member says them.
fn t(partitions: &[i32]) -> Partitions {
    of("t", partitions)
}

/// Two members that share "t" evenly: a has 0 to 2, b has 3 to 5.
fn two(script: &mut Script) {
    script.beat(joins("a", &["t"])).unwrap();
    script.beat(joins("b", &["t"])).unwrap();
    // a learns what it must give up, and does.
    let told = script.beat(heart("a", 1)).unwrap();
    assert_eq!((told.epoch, told.assignment), (1, Some(t(&[0, 1, 2]))));
    assert_eq!(script.beat(heart("b", 2)).unwrap().assignment, None, "not before a has given it up");
    assert_eq!(script.beat(heart("a", 1).owning(t(&[0, 1, 2]))).unwrap().epoch, 2);
    let told = script.beat(heart("b", 2)).unwrap();
    assert_eq!((told.epoch, told.assignment), (2, Some(t(&[3, 4, 5]))));
    assert_eq!(script.listed(), Some(("Stable", GroupKind::Consumer)));
}

#[test]
fn a_lone_member_gets_everything() {
    let mut script = Script::new();
    let joined = script.beat(joins("a", &["t", "nope"])).unwrap();
    assert_eq!((joined.member.as_str(), joined.epoch), ("a", 1));
    assert_eq!(joined.interval, Duration::from_secs(5));
    assert_eq!(joined.assignment, Some(t(&[0, 1, 2, 3, 4, 5])));
    assert_eq!(script.beat(heart("a", 1)).unwrap().assignment, None, "nothing new");
    let written = script.log.len();
    script.beat(heart("a", 1)).unwrap();
    assert_eq!(script.log.len(), written, "a heartbeat alone writes nothing");
    // A member that says everything is told everything.
    let mut full = joins("a", &["t", "nope"]).owning(t(&[0]));
    full.0.epoch = 1;
    assert_eq!(script.beat(full).unwrap().assignment, Some(t(&[0, 1, 2, 3, 4, 5])));
}

#[test]
fn partitions_are_given_up_before_they_are_given() {
    let mut script = Script::new();
    two(&mut script);
    let described = script.consumers();
    assert_eq!((described.epoch, described.target_epoch, described.assignor), (2, 2, "uniform"));
    let held: Vec<Vec<i32>> = described.members.iter().map(|member| member.assigned[0].partitions.clone()).collect();
    assert_eq!(held, [vec![0, 1, 2], vec![3, 4, 5]]);
    assert!(described.members.iter().all(|member| member.target == member.assigned && !member.is_classic));
}

#[test]
fn states_have_kafkas_names() {
    let mut script = Script::new();
    script.beat(joins("a", &["t"])).unwrap();
    script.beat(joins("b", &["t"])).unwrap();
    assert_eq!(script.listed(), Some(("Reconciling", GroupKind::Consumer)));
    script.beat(heart("b", -1)).unwrap();
    assert_eq!(script.listed(), Some(("Assigning", GroupKind::Consumer)));
    script.beat(heart("a", -1)).unwrap();
    assert_eq!(script.listed(), Some(("Empty", GroupKind::Consumer)));
}

#[test]
fn members_that_come_close_together_make_one_assignment() {
    let mut script = Script::new();
    let close = |mut heart: Heart| {
        heart.0.assignment_interval = Duration::from_secs(1);
        heart
    };
    assert_eq!(script.beat(close(joins("a", &["t"]))).unwrap().epoch, 1);
    script.pass(Duration::from_millis(400));
    for late in ["b", "c"] {
        let told = script.beat(close(joins(late, &["t"]))).unwrap();
        assert_eq!((told.epoch, told.assignment), (1, Some(Partitions::new())), "the assignment of a moment ago holds");
        assert_eq!(script.listed(), Some(("Assigning", GroupKind::Consumer)));
    }
    script.pass(Duration::from_millis(599));
    assert_eq!(script.beat(close(heart("a", 1))).unwrap().assignment, None);
    script.pass(Duration::from_millis(1));
    assert_eq!(script.beat(close(heart("a", 1))).unwrap().assignment, Some(t(&[0, 1])), "for all three at once");
    assert_eq!((script.consumers().epoch, script.consumers().target_epoch), (3, 3));
}

#[test]
fn requests_are_checked() {
    let mut script = Script::new();
    let invalid = ResponseError::InvalidRequest;
    let with = |change: &dyn Fn(&mut ConsumerHeartbeat)| {
        let mut heart = joins("a", &["t"]);
        change(&mut heart.0);
        heart
    };
    assert_eq!(script.beat_error(with(&|heart| heart.member.clear())), invalid);
    assert_eq!(script.beat_error(with(&|heart| heart.group.clear())), invalid);
    assert_eq!(script.beat_error(with(&|heart| heart.instance = Some(String::new()))), invalid);
    assert_eq!(script.beat_error(with(&|heart| heart.rack = Some(String::new()))), invalid);
    assert_eq!(script.beat_error(with(&|heart| heart.rebalance_timeout_ms = None)), invalid);
    assert_eq!(script.beat_error(with(&|heart| heart.owned = None)), invalid);
    assert_eq!(script.beat_error(with(&|heart| heart.owned = Some(t(&[0])))), invalid);
    assert_eq!(script.beat_error(with(&|heart| heart.topics = Some(Vec::new()))), invalid);
    assert_eq!(script.beat_error(with(&|heart| heart.epoch = -3)), invalid);
    assert_eq!(script.beat_error(with(&|heart| heart.epoch = -2)), invalid);
    assert_eq!(script.beat_error(joins("a", &["t"]).assignor("sticky")), ResponseError::UnsupportedAssignor);
    assert_eq!(script.beat_error(joins("a", &[]).regex("(")), ResponseError::InvalidRegularExpression);
    assert_eq!(script.beat_error(heart("a", 1)), ResponseError::GroupIdNotFound);
    assert_eq!(script.beat_error(heart("a", -1)), ResponseError::GroupIdNotFound);
    assert_eq!(script.log, Vec::new());
    assert_eq!(script.listed(), None);
    // Version 0 joins without an id.
    let anonymous = script.beat(with(&|heart| {
        heart.member.clear();
        heart.brings_own_id = false;
        heart.fresh = Uuid::from_u128(5);
    }));
    assert_eq!(anonymous.unwrap().member, Uuid::from_u128(5).to_string());
}

#[test]
fn epochs_are_checked() {
    let mut script = Script::new();
    two(&mut script);
    assert_eq!(script.beat_error(heart("x", 1)), ResponseError::UnknownMemberId);
    assert_eq!(script.beat_error(heart("a", 3)), ResponseError::FencedMemberEpoch);
    assert_eq!(script.beat_error(heart("a", 1)), ResponseError::FencedMemberEpoch, "does not say what it has");
    assert_eq!(script.beat_error(heart("a", 1).owning(t(&[0, 5]))), ResponseError::FencedMemberEpoch);
    // Its answer was lost: it is at the epoch before with what it has.
    let again = script.beat(heart("a", 1).owning(t(&[0, 1]))).unwrap();
    assert_eq!((again.epoch, again.assignment), (2, None));
    // It lost everything and joins anew.
    let anew = script.beat(joins("a", &["t"])).unwrap();
    assert_eq!((anew.epoch, anew.assignment), (2, Some(t(&[0, 1, 2]))));
}

#[test]
fn who_leaves_leaves_its_partitions() {
    let mut script = Script::new();
    two(&mut script);
    let left = script.beat(heart("b", -1)).unwrap();
    assert_eq!((left.member.as_str(), left.epoch, left.assignment), ("b", -1, None));
    let all = script.beat(heart("a", 2)).unwrap();
    assert_eq!((all.epoch, all.assignment), (3, Some(t(&[0, 1, 2, 3, 4, 5]))));
    assert_eq!(script.beat_error(heart("b", 2)), ResponseError::UnknownMemberId);
    assert_eq!(script.beat_error(heart("b", -1)), ResponseError::UnknownMemberId);
}

#[test]
fn a_silent_member_is_put_out() {
    let mut script = Script::new();
    two(&mut script);
    script.pass(CONSUMER_SESSION / 2);
    script.beat(heart("a", 2)).unwrap();
    script.pass(CONSUMER_SESSION / 2);
    assert_eq!(script.beat_error(heart("b", 2)), ResponseError::UnknownMemberId);
    assert_eq!(script.beat(heart("a", 2)).unwrap().assignment, Some(t(&[0, 1, 2, 3, 4, 5])));
}

#[test]
fn who_does_not_give_up_in_time_is_put_out() {
    let mut script = Script::new();
    script.beat(joins("a", &["t"])).unwrap();
    script.beat(joins("b", &["t"])).unwrap();
    for _ in 0..2 {
        script.beat(heart("a", 1).owning(t(&[0, 1, 2, 3, 4, 5]))).unwrap();
        script.beat(heart("b", 2)).unwrap();
        script.pass(Duration::from_secs(15));
    }
    assert_eq!(script.beat_error(heart("a", 1)), ResponseError::UnknownMemberId);
    assert_eq!(script.beat(heart("b", 2)).unwrap().assignment, Some(t(&[0, 1, 2, 3, 4, 5])));
}

#[test]
fn topics_that_come_grow_and_go_are_noticed() {
    let mut script = Script::new();
    script.beat(joins("a", &["t", "later"])).unwrap();
    script.topic("later", Some(2));
    let told = script.beat(heart("a", 1)).unwrap();
    let both: Partitions = t(&[0, 1, 2, 3, 4, 5]).into_iter().chain(of("later", &[0, 1])).collect();
    assert_eq!((told.epoch, told.assignment), (2, Some(both)));
    script.topic("later", Some(3));
    let told = script.beat(heart("a", 2)).unwrap();
    assert_eq!(told.epoch, 3);
    assert_eq!(told.assignment.unwrap()[&topic_id("later")].len(), 3);
    script.topic("later", None);
    let told = script.beat(heart("a", 3)).unwrap();
    assert_eq!(told.assignment, Some(t(&[0, 1, 2, 3, 4, 5])));
    // Something else changed.
    script.topic("other", Some(1));
    let written = script.log.len();
    script.beat(heart("a", 3).owning(t(&[0, 1, 2, 3, 4, 5]))).unwrap();
    script.beat(heart("a", 4)).unwrap();
    assert!(script.log.len() <= written + 1, "only the member's own step");
}

#[test]
fn a_member_may_change_its_mind() {
    let mut script = Script::new();
    two(&mut script);
    // a gives up what it does not want any more, and gets the other topic.
    let told = script.beat(heart("a", 2).topics(&["orders"])).unwrap();
    assert_eq!((told.epoch, told.assignment), (2, Some(Partitions::new())));
    let told = script.beat(heart("a", 2).owning(Partitions::new())).unwrap();
    assert_eq!((told.epoch, told.assignment), (3, Some(of("orders", &[0, 1, 2, 3]))));
    assert_eq!(script.beat(heart("b", 2)).unwrap().assignment, Some(t(&[0, 1, 2, 3, 4, 5])));
}

#[test]
fn regular_expressions_follow_the_topics() {
    let mut script = Script::new();
    let joined = script.beat(joins("a", &[]).regex("log-.*")).unwrap();
    assert_eq!((joined.epoch, joined.assignment), (1, Some(Partitions::new())));
    script.topic("log-1", Some(1));
    script.topic("xlog-1", Some(1));
    assert_eq!(script.beat(heart("a", 1)).unwrap().assignment, None, "not looked at again so soon");
    script.pass(Duration::from_secs(10));
    let told = script.beat(heart("a", 1)).unwrap();
    assert_eq!((told.epoch, told.assignment), (2, Some(of("log-1", &[0]))));
    assert_eq!(script.consumers().members[0].regex.as_deref(), Some("log-.*"));
    // Both kinds together, and then neither expression nor its record.
    let told = script.beat(heart("a", 2).topics(&["orders"])).unwrap();
    let both: Partitions = of("log-1", &[0]).into_iter().chain(of("orders", &[0, 1, 2, 3])).collect();
    assert_eq!(told.assignment, Some(both));
    let told = script.beat(heart("a", 3).regex("").owning(of("log-1", &[0]))).unwrap();
    assert_eq!(told.assignment, Some(of("orders", &[0, 1, 2, 3])));
    assert_eq!(script.consumers().members[0].regex, None);
    let machine = &script.reloaded().machine;
    assert!(machine.consumer_groups()["g"].members["a"].about.regex.is_none());
}

#[test]
fn a_static_member_comes_back_to_its_partitions() {
    let mut script = Script::new();
    script.beat(joins("a", &["t"]).instance("i")).unwrap();
    assert_eq!(script.beat_error(joins("b", &["t"]).instance("i")), ResponseError::UnreleasedInstanceId);
    assert_eq!(script.beat_error(heart("b", 1).instance("i")), ResponseError::FencedInstanceId);
    assert_eq!(script.beat_error(heart("b", -2).instance("i")), ResponseError::FencedInstanceId);
    assert_eq!(script.beat_error(heart("a", 1).instance("j")), ResponseError::UnknownMemberId);
    // Its first answer was lost.
    assert_eq!(script.beat(joins("a", &["t"]).instance("i")).unwrap().epoch, 1);
    let away = script.beat(heart("a", -2).instance("i")).unwrap();
    assert_eq!((away.member.as_str(), away.epoch), ("a", -2));
    assert_eq!(script.listed(), Some(("Reconciling", GroupKind::Consumer)));
    let epoch = script.consumers().epoch;
    let back = script.beat(joins("b", &["t"]).instance("i")).unwrap();
    assert_eq!((back.epoch, back.assignment), (1, Some(t(&[0, 1, 2, 3, 4, 5]))));
    let described = script.consumers();
    assert_eq!(described.epoch, epoch, "nobody else has to know");
    assert_eq!(described.members.len(), 1);
    assert_eq!(script.beat_error(heart("a", 1).instance("i")), ResponseError::FencedInstanceId);
    assert_eq!(script.beat_error(heart("a", 1)), ResponseError::UnknownMemberId);
}

#[test]
fn a_static_member_that_stays_away_is_put_out() {
    let mut script = Script::new();
    script.beat(joins("a", &["t"]).instance("i")).unwrap();
    script.beat(heart("a", -2).instance("i")).unwrap();
    script.pass(CONSUMER_SESSION);
    assert_eq!(script.listed(), Some(("Empty", GroupKind::Consumer)));
    assert_eq!(script.beat(joins("c", &["t"]).instance("i")).unwrap().epoch, 3);
}

#[test]
fn members_vote_for_their_assignor() {
    let mut script = Script::new();
    script.topic("t", Some(3));
    script.beat(joins("a", &["t"]).assignor("range")).unwrap();
    script.beat(joins("b", &["t"]).assignor("range")).unwrap();
    script.beat(joins("c", &["t"])).unwrap();
    assert_eq!(script.consumers().assignor, "range");
}

#[test]
fn a_full_group_takes_nobody_new() {
    let mut script = Script::with(GroupConfig { consumer_max_size: 1, ..GroupConfig::default() });
    script.beat(joins("a", &["t"]).instance("i")).unwrap();
    assert_eq!(script.beat_error(joins("b", &["t"])), ResponseError::GroupMaxSizeReached);
    script.beat(heart("a", -2).instance("i")).unwrap();
    assert!(script.beat(joins("b", &["t"]).instance("i")).is_ok(), "its place is its own");
}

#[test]
fn what_does_not_fit_the_log_changes_nothing() {
    let mut script = Script::with(GroupConfig { max_record_bytes: 200, ..GroupConfig::default() });
    script.beat(joins("a", &["t"])).unwrap();
    let before = (script.log.len(), script.consumers());
    script.topic("t", Some(100));
    let refused = script.beat(heart("a", 1)).unwrap_err();
    assert_eq!(refused.error, ResponseError::UnknownServerError);
    assert_eq!((script.log.len(), script.consumers()), before);
}

#[test]
fn a_loaded_group_goes_on_where_it_was() {
    let mut script = Script::new();
    two(&mut script);
    script.beat(joins("c", &["t"]).instance("i")).unwrap();
    let mut loaded = script.reloaded();
    assert_eq!(loaded.consumers(), script.consumers());
    // Everybody has a session again, and who must give something up has the time for it again.
    loaded.pass(Duration::from_secs(29));
    assert!(loaded.beat(heart("a", 2).owning(t(&[0, 1]))).is_ok());
    assert!(loaded.beat(heart("b", 2).owning(t(&[3, 4]))).is_ok());
    let told = loaded.beat(heart("c", 3)).unwrap();
    assert_eq!(told.assignment.map(|own| own[&topic_id("t")].len()), Some(2));
    assert_eq!(loaded.listed(), Some(("Stable", GroupKind::Consumer)));
}

fn commit(member: &str, epoch: Option<i32>, partition: i32) -> CommitRequest {
    let partition = CommitPartition { partition, offset: 7, leader_epoch: None, metadata: String::new() };
    CommitRequest {
        group: "g".to_owned(),
        member: member.to_owned(),
        instance: None,
        generation: epoch,
        retention: None,
        knows_member_epochs: true,
        topics: vec![("t".to_owned(), vec![partition])],
    }
}

impl Script {
    fn commits(&mut self, request: CommitRequest) -> Result<(), ResponseError> {
        let token = self.ask(Request::Commit(request));
        match self.answer(token) {
            Answer::Commit(result) => result.clone().map(|results| assert_eq!(results[0].1[0].1, None)),
            other => panic!("{other:?}"),
        }
    }

    fn fetches(&mut self, member: Option<(&str, i32)>) -> Result<usize, ResponseError> {
        let member = member.map(|(member, epoch)| (member.to_owned(), epoch));
        let token = self.ask(Request::Fetch { group: "g".to_owned(), topics: None, member });
        match self.answer(token) {
            Answer::Offsets(result) => result.clone().map(|topics| topics.len()),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn members_commit_and_fetch_at_their_epoch() {
    let mut script = Script::new();
    two(&mut script);
    assert_eq!(script.commits(commit("a", Some(2), 0)), Ok(()));
    assert_eq!(script.commits(commit("a", Some(1), 0)), Ok(()), "it has held this since epoch 1");
    assert_eq!(script.commits(commit("b", Some(1), 3)), Err(ResponseError::StaleMemberEpoch), "since epoch 2");
    assert_eq!(script.commits(commit("a", Some(1), 5)), Err(ResponseError::StaleMemberEpoch), "not any more");
    assert_eq!(script.commits(commit("a", Some(3), 0)), Err(ResponseError::StaleMemberEpoch));
    assert_eq!(script.commits(commit("x", Some(2), 0)), Err(ResponseError::UnknownMemberId));
    assert_eq!(script.commits(commit("", None, 0)), Err(ResponseError::UnknownMemberId));
    let old = CommitRequest { knows_member_epochs: false, ..commit("a", Some(2), 0) };
    assert_eq!(script.commits(old), Err(ResponseError::UnsupportedVersion));
    assert_eq!(script.fetches(None), Ok(1));
    assert_eq!(script.fetches(Some(("a", 2))), Ok(1));
    assert_eq!(script.fetches(Some(("a", 1))), Err(ResponseError::StaleMemberEpoch));
    assert_eq!(script.fetches(Some(("x", 1))), Err(ResponseError::UnknownMemberId));
    // Without members anybody may.
    script.beat(heart("a", -1)).unwrap();
    script.beat(heart("b", -1)).unwrap();
    assert_eq!(script.commits(commit("", None, 1)), Ok(()));
}

#[test]
fn offsets_of_topics_that_are_consumed_stay() {
    let mut script = Script::new();
    let day = Duration::from_secs(24 * 60 * 60);
    let mut patient = joins("a", &["t"]);
    patient.0.session_timeout = day * 10;
    script.beat(patient).unwrap();
    script.commits(commit("a", Some(1), 0)).unwrap();
    let delete = |script: &mut Script| {
        let topics = vec![("t".to_owned(), vec![0, 3])];
        let token = script.ask(Request::DeleteOffsets { group: "g".to_owned(), topics });
        match script.answer(token) {
            Answer::Commit(Ok(results)) => results[0].1.clone(),
            other => panic!("{other:?}"),
        }
    };
    let subscribed = Some(ResponseError::GroupSubscribedToTopic);
    assert_eq!(delete(&mut script), [(0, subscribed), (3, subscribed)]);
    script.pass(day * 8);
    assert_eq!(script.fetches(None), Ok(1));
    script.beat(heart("a", -1)).unwrap();
    assert_eq!(delete(&mut script), [(0, None), (3, None)]);
    assert_eq!(script.fetches(None), Ok(0));
    // Nobody and nothing is left of it.
    script.pass(day);
    assert_eq!(script.listed(), None);
    assert!(script.reloaded().machine.consumer_groups().is_empty());
    let unknown = script.ask(Request::DeleteOffsets { group: "g".to_owned(), topics: Vec::new() });
    assert_eq!(*script.answer(unknown), Answer::Commit(Err(ResponseError::GroupIdNotFound)));
}

/// Found by fuzzing the records: a coordinator took them for what they said, and went on with that.
#[test]
fn a_group_whose_records_contradict_each_other_begins_anew_with_its_offsets() {
    let ahead = ConsumerRecord::TargetEpoch(Some(TargetEpochValue { epoch: 99, computed: 0 }));
    let negative = ConsumerRecord::Group(Some(ConsumerGroupValue { epoch: -1, metadata_hash: 0 }));
    for record in [ahead, negative] {
        let mut script = Script::new();
        two(&mut script);
        script.commits(commit("a", Some(2), 0)).unwrap();
        script.log.push(GroupRecord::Consumer { group: "g".to_owned(), record }.encode().unwrap());
        let mut loaded = script.reloaded_in_part();
        assert_eq!(loaded.contradictory, [("g".to_owned(), "no epoch is ahead of what it follows")]);
        assert!(loaded.consumers().members.is_empty());
        // Its members are told to join again, and it is whole, also when this log is loaded.
        assert_eq!(loaded.beat(heart("a", 2)).unwrap_err().error, ResponseError::UnknownMemberId);
        loaded.beat(joins("a", &["t"])).unwrap();
        let mut again = loaded.reloaded();
        assert_eq!(again.consumers(), loaded.consumers());
        assert_eq!(loaded.fetches(None), Ok(1), "what was committed is there");
    }
}

#[test]
fn an_empty_group_is_deleted_with_everything() {
    let mut script = Script::new();
    script.beat(joins("a", &[]).regex("t")).unwrap();
    script.commits(commit("a", Some(1), 0)).unwrap();
    let delete = |script: &mut Script| {
        let token = script.ask(Request::Delete { group: "g".to_owned() });
        script.answer(token).clone()
    };
    assert_eq!(delete(&mut script), Answer::Delete(Err(ResponseError::NonEmptyGroup)));
    script.beat(heart("a", -1)).unwrap();
    assert_eq!(delete(&mut script), Answer::Delete(Ok(())));
    let loaded = script.reloaded();
    assert!(loaded.machine.consumer_groups().is_empty() && loaded.machine.groups().is_empty());
}

#[test]
fn each_kind_of_group_is_described_by_its_own_request() {
    let mut script = Script::new();
    script.beat(joins("a", &["t"])).unwrap();
    assert_eq!(script.state(), GroupState::Dead, "not of the classic protocol");
    let mut script = Script::new();
    script.stable(1);
    let token = script.ask(Request::DescribeConsumers { group: "g".to_owned() });
    let Answer::Consumers(Err(refusal)) = script.answer(token) else { panic!() };
    assert_eq!(
        (refusal.error, refusal.message.as_str()),
        (ResponseError::GroupIdNotFound, "Group g is not a consumer group.")
    );
}
