//! The runtime through its facade, on a clock, an executor and a log that do what the test says.

use crate::coordinators::group::config::GroupConfig;
use crate::coordinators::group::coordinator::GroupCoordinator;
use crate::coordinators::group::log::{AppendError, CoordinatorLog, ReplayError};
use crate::coordinators::group::records::LogRecord;
use crate::coordinators::group::request::*;
use crate::coordinators::group::testbed::{Bench, MemoryLog, PARTITION, Pending, config, coordinator};
use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;

struct Stage {
    bench: Arc<Bench>,
    log: Arc<MemoryLog>,
    coordinator: Arc<GroupCoordinator>,
}

impl Stage {
    fn new() -> Stage {
        Stage::with(config())
    }

    fn with(config: GroupConfig) -> Stage {
        let (bench, log) = (Bench::new(), MemoryLog::new());
        let coordinator = coordinator(&bench, &log, config);
        Stage { bench, log, coordinator }
    }

    fn commit(&self, offset: i64) -> Pending<Result<CommitResults, ResponseError>> {
        self.commit_to("t", offset)
    }

    fn commit_to(&self, topic: &str, offset: i64) -> Pending<Result<CommitResults, ResponseError>> {
        let partition = CommitPartition { partition: 0, offset, leader_epoch: None, metadata: String::new() };
        let request = CommitRequest {
            group: "g".to_owned(),
            member: String::new(),
            instance: None,
            generation: None,
            retention: None,
            knows_member_epochs: false,
            topics: vec![(topic.to_owned(), vec![partition])],
        };
        let coordinator = Arc::clone(&self.coordinator);
        self.bench.start(async move { coordinator.commit(request).await })
    }

    fn fetch(&self) -> Pending<Result<FetchedTopics, ResponseError>> {
        let coordinator = Arc::clone(&self.coordinator);
        self.bench.start(async move { coordinator.fetch("g".to_owned(), None, None).await })
    }

    /// The committed offset of the one partition, if it can be had at once.
    fn offset(&self) -> Option<i64> {
        let topics = self.fetch().take()?.unwrap();
        topics.first().and_then(|(_, partitions)| partitions.first()?.1.clone()).map(|found| found.offset)
    }

    fn join(&self, member: &str) -> Pending<JoinAnswer> {
        let request = JoinRequest {
            group: "g".to_owned(),
            member: member.to_owned(),
            instance: None,
            fresh: self.coordinator.fresh_id(),
            client_id: "c".to_owned(),
            client_host: "/h".to_owned(),
            session_timeout: Some(Duration::from_secs(10)),
            rebalance_timeout: Duration::from_secs(60),
            protocol_type: "consumer".to_owned(),
            protocols: vec![("range".to_owned(), Bytes::new())],
            requires_member_id: false,
            supports_skipping_assignment: false,
        };
        let coordinator = Arc::clone(&self.coordinator);
        self.bench.start(async move { coordinator.join(request).await })
    }

    fn sync(&self, member: &str, generation: i32) -> Pending<Result<Synced, ResponseError>> {
        let from = MemberRequest { group: "g".to_owned(), member: member.to_owned(), instance: None, generation };
        let assignments = vec![(member.to_owned(), Bytes::from_static(b"mine"))];
        let request = SyncRequest { from, protocol_type: None, protocol: None, assignments };
        let coordinator = Arc::clone(&self.coordinator);
        self.bench.start(async move { coordinator.sync(request).await })
    }

    fn heartbeat(&self, member: &str, generation: i32) -> Pending<Result<(), ResponseError>> {
        let from = MemberRequest { group: "g".to_owned(), member: member.to_owned(), instance: None, generation };
        let coordinator = Arc::clone(&self.coordinator);
        self.bench.start(async move { coordinator.heartbeat(from).await })
    }

    fn state(&self) -> GroupState {
        let coordinator = Arc::clone(&self.coordinator);
        self.bench.run(async move { coordinator.describe("g".to_owned()).await }).unwrap().state
    }

    fn unload(&self) -> Pending<()> {
        let coordinator = Arc::clone(&self.coordinator);
        self.bench.start(async move { coordinator.unload(PARTITION).await })
    }

    fn load(&self) -> Pending<()> {
        let (coordinator, log) = (Arc::clone(&self.coordinator), Arc::clone(&self.log));
        self.bench.start(async move { coordinator.load(PARTITION, log as Arc<dyn CoordinatorLog>).await })
    }
}

#[test]
fn a_commit_is_answered_when_it_is_committed_and_not_seen_before() {
    let stage = Stage::new();
    stage.log.hold();
    let mut commit = stage.commit(5);
    let mut fetch = stage.fetch();
    let mut heartbeat = stage.heartbeat("x", 1);
    assert!(commit.take().is_none() && fetch.take().is_none() && heartbeat.take().is_none());
    stage.log.decide(Ok(()), true);
    stage.bench.settle();
    assert!(commit.take().unwrap().is_ok());
    assert_eq!(fetch.take().unwrap().unwrap()[0].1[0].1.as_ref().unwrap().offset, 5);
    assert_eq!(heartbeat.take().unwrap(), Err(ResponseError::UnknownMemberId));
}

#[test]
fn what_arrives_together_shares_an_append_and_appends_overlap() {
    let stage = Stage::with(GroupConfig { max_in_flight: 2, ..config() });
    stage.log.hold();
    let mut first = stage.commit(1);
    let mut second = stage.commit(2);
    assert_eq!(stage.log.waiting(), 2, "appends overlap");
    // No more in flight: these wait for the next append, together.
    let mut third = stage.commit(3);
    let mut fourth = stage.commit(4);
    let mut fifth = stage.commit(5);
    assert_eq!(stage.log.waiting(), 2);
    stage.log.decide(Ok(()), true);
    stage.bench.settle();
    assert!(first.take().is_some() && second.take().is_none());
    stage.log.decide(Ok(()), true);
    stage.bench.settle();
    assert!(second.take().is_some());
    while stage.log.waiting() > 0 {
        stage.log.decide(Ok(()), true);
        stage.bench.settle();
    }
    assert!([&mut third, &mut fourth, &mut fifth].into_iter().all(|commit| commit.take().is_some()));
    assert_eq!(stage.log.batches(), [1, 1, 3]);
    assert_eq!(stage.offset(), Some(5));
}

#[test]
fn large_output_is_cut_into_batches() {
    let stage = Stage::with(GroupConfig { max_batch_bytes: 400, ..config() });
    let partitions: Vec<CommitPartition> = (0..50)
        .map(|partition| CommitPartition { partition, offset: 1, leader_epoch: None, metadata: String::new() })
        .collect();
    let request = CommitRequest {
        group: "g".to_owned(),
        member: String::new(),
        instance: None,
        generation: None,
        retention: None,
        knows_member_epochs: false,
        topics: vec![("many".to_owned(), partitions)],
    };
    let coordinator = Arc::clone(&stage.coordinator);
    stage.bench.run(async move { coordinator.commit(request).await }).unwrap();
    let batches = stage.log.batches();
    assert!(batches.len() > 5 && batches.iter().sum::<usize>() == 50, "{batches:?}");
}

#[test]
fn a_failed_append_takes_everything_back_that_came_after() {
    let stage = Stage::new();
    assert!(stage.commit(1).take().unwrap().is_ok());
    stage.log.hold();
    let (mut second, mut third, mut fetch) = (stage.commit(2), stage.commit(3), stage.fetch());
    stage.log.decide(Err(AppendError::Unavailable), false);
    stage.bench.settle();
    assert!(second.take().is_none(), "the other append is still in flight");
    stage.log.decide(Err(AppendError::Unavailable), false);
    stage.bench.settle();
    assert_eq!(second.take().unwrap(), Err(ResponseError::CoordinatorNotAvailable));
    assert_eq!(third.take().unwrap(), Err(ResponseError::CoordinatorNotAvailable));
    assert_eq!(fetch.take().unwrap(), Err(ResponseError::NotCoordinator), "what old consumers understand");
    assert_eq!(stage.offset(), Some(1));
}

#[test]
fn a_later_append_that_succeeds_does_not_make_up_for_one_that_failed() {
    let stage = Stage::new();
    stage.log.hold();
    let (mut first, mut second) = (stage.commit(1), stage.commit(2));
    stage.log.decide(Err(AppendError::Unavailable), false);
    stage.log.decide(Ok(()), true);
    stage.bench.settle();
    assert_eq!(first.take().unwrap(), Err(ResponseError::CoordinatorNotAvailable));
    assert_eq!(second.take().unwrap(), Err(ResponseError::CoordinatorNotAvailable));
    assert_eq!(stage.offset(), Some(2), "what the log has counts");
}

#[test]
fn an_append_that_failed_but_was_kept_is_found_again() {
    let stage = Stage::new();
    stage.log.hold();
    let mut commit = stage.commit(9);
    stage.log.decide(Err(AppendError::Unavailable), true);
    stage.bench.settle();
    assert_eq!(commit.take().unwrap(), Err(ResponseError::CoordinatorNotAvailable));
    assert_eq!(stage.offset(), Some(9));
}

#[test]
fn a_failed_append_sends_waiting_members_back() {
    let stage = Stage::new();
    assert!(stage.commit(1).take().unwrap().is_ok());
    let first = stage.join("").take().unwrap();
    assert!(stage.sync(&first.member, 1).take().unwrap().is_ok());
    let mut waiting = stage.join("");
    assert!(waiting.take().is_none());
    stage.log.hold();
    let coordinator = Arc::clone(&stage.coordinator);
    let mut deletion = stage.bench.start(async move { coordinator.topics_deleted(vec!["t".to_owned()]).await });
    assert!(deletion.take().is_none());
    stage.log.decide(Err(AppendError::Unavailable), false);
    stage.bench.settle();
    assert!(deletion.take().is_none(), "it is tried again");
    assert_eq!(waiting.take().unwrap().result, Err(ResponseError::CoordinatorNotAvailable));
    // The group is as the log has it: stable, with its one member.
    assert_eq!(stage.heartbeat(&first.member, 1).take().unwrap(), Ok(()));
    assert_eq!(stage.offset(), Some(1));
    stage.bench.pass(Duration::from_secs(1));
    stage.log.decide(Ok(()), true);
    stage.bench.settle();
    assert!(deletion.take().is_some());
    assert_eq!(stage.offset(), None);
}

#[test]
fn an_assignment_is_handed_out_when_it_is_committed() {
    let stage = Stage::new();
    let joined = stage.join("").take().unwrap();
    stage.log.hold();
    let mut sync = stage.sync(&joined.member, 1);
    assert!(sync.take().is_none());
    stage.log.decide(Ok(()), true);
    stage.bench.settle();
    assert_eq!(sync.take().unwrap().unwrap().assignment, "mine");
    assert_eq!(stage.heartbeat(&joined.member, 1).take().unwrap(), Ok(()));
}

#[test]
fn an_assignment_that_is_not_committed_is_not_handed_out() {
    let stage = Stage::new();
    let joined = stage.join("").take().unwrap();
    stage.log.hold();
    let mut sync = stage.sync(&joined.member, 1);
    stage.log.decide(Err(AppendError::Unavailable), false);
    stage.bench.settle();
    assert_eq!(sync.take().unwrap(), Err(ResponseError::CoordinatorNotAvailable));
    assert_eq!(stage.heartbeat(&joined.member, 1).take().unwrap(), Err(ResponseError::UnknownMemberId));
}

#[test]
fn answers_do_not_wait_for_ever_and_what_comes_late_still_counts() {
    let stage = Stage::new();
    stage.log.hold();
    let mut commit = stage.commit(4);
    stage.bench.pass(Duration::from_secs(5));
    assert_eq!(commit.take().unwrap(), Err(ResponseError::CoordinatorNotAvailable));
    stage.log.decide(Ok(()), true);
    stage.bench.settle();
    assert_eq!(stage.offset(), Some(4));
}

#[test]
fn while_loading_requests_are_turned_away_and_heartbeats_succeed() {
    let (bench, log) = (Bench::new(), MemoryLog::new());
    let gate = log.gate_replay();
    let coordinator = coordinator(&bench, &log, config());
    let stage = Stage { bench, log, coordinator };
    assert_eq!(stage.commit(1).take().unwrap(), Err(ResponseError::CoordinatorLoadInProgress));
    assert_eq!(stage.fetch().take().unwrap(), Err(ResponseError::CoordinatorLoadInProgress));
    assert_eq!(stage.join("").take().unwrap().result, Err(ResponseError::CoordinatorLoadInProgress));
    assert_eq!(stage.heartbeat("x", 1).take().unwrap(), Ok(()));
    let listing = Arc::clone(&stage.coordinator);
    assert_eq!(stage.bench.run(async move { listing.list().await }), Err(ResponseError::CoordinatorLoadInProgress));
    assert_eq!(stage.coordinator.loading(), [PARTITION]);
    gate.send(()).unwrap();
    stage.bench.settle();
    assert!(stage.coordinator.loading().is_empty());
    assert!(stage.commit(1).take().unwrap().is_ok());
}

#[test]
fn topics_that_are_deleted_during_a_load_are_forgotten_after_it() {
    let stage = Stage::new();
    assert!(stage.commit(1).take().unwrap().is_ok());
    let gate = stage.log.gate_replay();
    assert!(stage.load().take().is_some());
    let coordinator = Arc::clone(&stage.coordinator);
    let mut deletion = stage.bench.start(async move { coordinator.topics_deleted(vec!["t".to_owned()]).await });
    assert!(deletion.take().is_none());
    gate.send(()).unwrap();
    stage.bench.settle();
    assert!(deletion.take().is_some());
    assert_eq!(stage.offset(), None);
}

#[test]
fn a_load_that_fails_is_tried_again() {
    let (bench, log) = (Bench::new(), MemoryLog::new());
    log.fail_replay(ReplayError::Unavailable);
    log.fail_replay(ReplayError::Unavailable);
    let coordinator = coordinator(&bench, &log, config());
    let stage = Stage { bench, log, coordinator };
    assert_eq!(stage.commit(1).take().unwrap(), Err(ResponseError::CoordinatorLoadInProgress));
    stage.bench.pass(Duration::from_secs(1));
    assert_eq!(stage.commit(1).take().unwrap(), Err(ResponseError::CoordinatorLoadInProgress));
    stage.bench.pass(Duration::from_secs(1));
    assert!(stage.commit(1).take().unwrap().is_ok());
}

#[test]
fn elsewhere_led_partitions_are_not_coordinated() {
    let stage = Stage::new();
    stage.log.hold();
    let mut commit = stage.commit(1);
    stage.log.decide(Err(AppendError::NotLeader), false);
    stage.bench.settle();
    assert_eq!(commit.take().unwrap(), Err(ResponseError::NotCoordinator));
    assert_eq!(stage.commit(2).take().unwrap(), Err(ResponseError::NotCoordinator));
    // Until it leads again.
    stage.log.hold();
    assert!(stage.load().take().is_some());
    let mut commit = stage.commit(3);
    stage.log.decide(Ok(()), true);
    stage.bench.settle();
    assert!(commit.take().unwrap().is_ok());
}

#[test]
fn unloading_waits_for_what_is_in_flight_and_sends_the_rest_away() {
    let stage = Stage::new();
    let first = stage.join("").take().unwrap();
    assert!(stage.sync(&first.member, 1).take().unwrap().is_ok());
    let mut waiting = stage.join("");
    stage.log.hold();
    let mut fetch = stage.fetch();
    assert!(fetch.take().is_some());
    let mut unloading = stage.unload();
    assert!(unloading.take().is_some());
    assert_eq!(waiting.take().unwrap().result, Err(ResponseError::NotCoordinator));
    assert_eq!(stage.heartbeat(&first.member, 1).take().unwrap(), Err(ResponseError::NotCoordinator));
    assert!(stage.load().take().is_some());
    assert_eq!(stage.heartbeat(&first.member, 1).take().unwrap(), Ok(()), "the group is in the log");
}

#[test]
fn unloading_commits_what_was_appended() {
    let stage = Stage::new();
    stage.log.hold();
    let mut commit = stage.commit(1);
    let mut unloading = stage.unload();
    assert!(unloading.take().is_none());
    stage.log.decide(Ok(()), true);
    stage.bench.settle();
    assert!(unloading.take().is_some());
    assert!(commit.take().unwrap().is_ok());
}

#[test]
fn sessions_end_without_requests() {
    let stage = Stage::new();
    let joined = stage.join("").take().unwrap();
    assert!(stage.sync(&joined.member, 1).take().unwrap().is_ok());
    assert_eq!(stage.state(), GroupState::Stable);
    stage.bench.pass(Duration::from_secs(9));
    assert_eq!(stage.state(), GroupState::Stable);
    stage.bench.pass(Duration::from_secs(2));
    assert_eq!(stage.state(), GroupState::Empty);
}

#[test]
fn records_of_other_protocols_and_unreadable_ones_are_left_alone() {
    let (bench, log) = (Bench::new(), MemoryLog::new());
    log.put(LogRecord { key: Bytes::from_static(b"\x00\x08whatever"), value: Some(Bytes::new()) });
    log.put(LogRecord { key: Bytes::from_static(b"\x00\x02\x00\x01g"), value: Some(Bytes::from_static(b"\x7f\xff")) });
    let coordinator = coordinator(&bench, &log, config());
    let stage = Stage { bench, log, coordinator };
    assert!(stage.commit(1).take().unwrap().is_ok());
}

#[test]
fn offsets_survive_a_reload() {
    let stage = Stage::new();
    for offset in 0..20 {
        assert!(stage.commit(offset).take().unwrap().is_ok());
    }
    assert!(stage.load().take().is_some());
    assert_eq!(stage.offset(), Some(19));
}

#[test]
fn commits_to_unknown_topics_are_told_apart() {
    let stage = Stage::new();
    let error = Some(ResponseError::UnknownTopicOrPartition);
    assert_eq!(stage.commit_to("nope", 1).take().unwrap(), Ok(vec![("nope".to_owned(), vec![(0, error)])]));
    let partition = |partition| CommitPartition { partition, offset: 1, leader_epoch: None, metadata: String::new() };
    let request = CommitRequest {
        group: "g".to_owned(),
        member: String::new(),
        instance: None,
        generation: None,
        retention: None,
        knows_member_epochs: false,
        topics: vec![
            ("nope".to_owned(), vec![partition(0)]),
            ("t".to_owned(), vec![partition(1)]),
            ("neither".to_owned(), vec![partition(2)]),
            ("orders".to_owned(), vec![partition(3)]),
        ],
    };
    let coordinator = Arc::clone(&stage.coordinator);
    let results = stage.bench.run(async move { coordinator.commit(request).await }).unwrap();
    let expected = [("nope", 0, error), ("t", 1, None), ("neither", 2, error), ("orders", 3, None)];
    let expected: CommitResults =
        expected.into_iter().map(|(topic, index, error)| (topic.to_owned(), vec![(index, error)])).collect();
    assert_eq!(results, expected);
}

#[test]
fn heartbeats_count_while_appends_are_slow() {
    let stage = Stage::with(GroupConfig { max_in_flight: 1, commit_timeout: Duration::from_secs(60), ..config() });
    let joined = stage.join("").take().unwrap();
    assert!(stage.sync(&joined.member, 1).take().unwrap().is_ok());
    stage.log.hold();
    for seconds in 0..5 {
        let member_commit = CommitRequest {
            group: "g".to_owned(),
            member: joined.member.clone(),
            instance: None,
            generation: Some(1),
            retention: None,
            knows_member_epochs: false,
            topics: vec![(
                "t".to_owned(),
                vec![CommitPartition { partition: seconds, offset: 1, leader_epoch: None, metadata: String::new() }],
            )],
        };
        let coordinator = Arc::clone(&stage.coordinator);
        stage.bench.start(async move { coordinator.commit(member_commit).await });
        stage.heartbeat(&joined.member, 1);
        stage.bench.pass(Duration::from_secs(8));
    }
    while stage.log.waiting() > 0 {
        stage.log.decide(Ok(()), true);
        stage.bench.settle();
    }
    assert_eq!(stage.state(), GroupState::Stable);
}

#[test]
fn the_queue_is_bounded() {
    let stage = Stage::with(GroupConfig { max_queued: 2, max_in_flight: 1, max_batch_bytes: 200, ..config() });
    stage.log.hold();
    let mut commits: Vec<_> = (0..20).map(|offset| stage.commit(offset)).collect();
    assert_eq!(stage.log.waiting(), 1);
    while stage.log.waiting() > 0 {
        stage.log.decide(Ok(()), true);
        stage.bench.settle();
    }
    assert!(commits.iter_mut().all(|commit| commit.take().unwrap().is_ok()));
    assert_eq!(stage.offset(), Some(19));
}

/// What a client and a log can do to one group's offset.
#[derive(Clone, Debug)]
enum Deed {
    Commit,
    Fetch,
    Decide { error: Option<AppendError>, is_kept: bool },
    Pass { millis: u64 },
    Reload,
}

fn deed() -> impl Strategy<Value = Deed> {
    let error = prop_oneof![
        6 => Just(None),
        2 => Just(Some(AppendError::Unavailable)),
        1 => Just(Some(AppendError::NotLeader)),
        1 => Just(Some(AppendError::TooLarge)),
    ];
    prop_oneof![
        6 => Just(Deed::Commit),
        4 => Just(Deed::Fetch),
        5 => (error, any::<bool>()).prop_map(|(error, is_kept)| Deed::Decide { error, is_kept }),
        2 => (0u64..7000).prop_map(|millis| Deed::Pass { millis }),
        1 => Just(Deed::Reload),
    ]
}

struct History {
    stage: Stage,
    commits: Vec<(i64, Pending<Result<CommitResults, ResponseError>>)>,
    /// Fetches, each with what was acknowledged or seen before it was asked.
    fetches: Vec<(i64, Pending<Result<FetchedTopics, ResponseError>>)>,
    loading: Vec<Pending<()>>,
    next: i64,
    /// The highest offset that anybody was told is committed.
    known: i64,
}

impl History {
    fn perform(&mut self, deed: &Deed) {
        match deed {
            Deed::Commit => {
                self.next += 1;
                self.commits.push((self.next, self.stage.commit(self.next)));
            }
            Deed::Fetch => self.fetches.push((self.known, self.stage.fetch())),
            Deed::Decide { error, is_kept } if self.stage.log.waiting() > 0 => {
                self.stage.log.decide(error.map_or(Ok(()), Err), error.is_none() || *is_kept);
                self.stage.bench.settle();
            }
            Deed::Decide { .. } => {}
            Deed::Pass { millis } => self.stage.bench.pass(Duration::from_millis(*millis)),
            Deed::Reload if self.loading.is_empty() => self.loading.push(self.stage.load()),
            Deed::Reload => {}
        }
        self.listen();
    }

    fn listen(&mut self) {
        self.loading.retain_mut(|loading| loading.take().is_none());
        let mut known = self.known;
        self.fetches.retain_mut(|(before, fetch)| match fetch.take() {
            None => true,
            Some(Err(_)) => false,
            Some(Ok(topics)) => {
                let seen = topics.first().and_then(|(_, found)| found[0].1.as_ref()).map_or(0, |found| found.offset);
                assert!(seen >= *before, "fetched {seen} after {before} was known to be committed");
                known = known.max(seen);
                false
            }
        });
        self.commits.retain_mut(|(offset, commit)| match commit.take() {
            None => true,
            Some(Err(_)) => false,
            Some(Ok(_)) => {
                known = known.max(*offset);
                false
            }
        });
        self.known = known;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever the log does, what was acknowledged or shown is never taken back, and everybody is answered.
    #[test]
    fn what_was_told_stays_true(deeds in proptest::collection::vec(deed(), 1..80), max_in_flight in 1usize..4) {
        let stage = Stage::with(GroupConfig { max_in_flight, ..config() });
        stage.log.hold();
        let mut history =
            History { stage, commits: Vec::new(), fetches: Vec::new(), loading: Vec::new(), next: 0, known: 0 };
        for deed in &deeds {
            history.perform(deed);
        }
        while history.stage.log.waiting() > 0 || !history.loading.is_empty() {
            history.perform(&Deed::Decide { error: None, is_kept: true });
        }
        history.perform(&Deed::Pass { millis: 10_000 });
        prop_assert!(history.commits.is_empty() && history.fetches.is_empty());
        history.perform(&Deed::Reload);
        history.perform(&Deed::Fetch);
        prop_assert!(history.fetches.is_empty());
    }
}
