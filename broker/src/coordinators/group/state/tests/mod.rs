//! The machine by calls alone: time is what the test says, and every answer is where a client would find it.

mod bounds;
mod consumers;
mod consumers_random;
mod lifecycle;
mod membership;
mod migration;
mod offsets;
mod properties;
mod statics;

use super::{GroupMachine, Output};
use crate::coordinators::group::config::GroupConfig;
use crate::coordinators::group::consumer_request::*;
use crate::coordinators::group::fixed_topics::{FixedTopics, topic_id};
use crate::coordinators::group::records::Partitions;
use crate::coordinators::group::records::{GroupRecord, LogRecord};
use crate::coordinators::group::request::*;
use bytes::Bytes;
use esker_storage::env::{Monotonic, Timestamp};
use kafka_protocol::error::ResponseError;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

pub(super) const SESSION: Duration = Duration::from_secs(10);
pub(super) const REBALANCE: Duration = Duration::from_secs(60);
const EPOCH: i64 = 1_700_000_000_000;

/// A machine, its clock, and everything that came out of it.
pub(super) struct Script {
    pub(super) config: Arc<GroupConfig>,
    pub(super) machine: GroupMachine,
    pub(super) topics: FixedTopics,
    pub(super) elapsed: Duration,
    pub(super) log: Vec<LogRecord>,
    pub(super) answers: BTreeMap<Token, Answer>,
    /// The groups that were found to contradict themselves when the log was loaded.
    pub(super) contradictory: Vec<(String, &'static str)>,
    next: u64,
}

impl Script {
    pub(super) fn new() -> Script {
        Script::with(GroupConfig { initial_rebalance_delay: Duration::ZERO, ..GroupConfig::default() })
    }

    pub(super) fn with(config: GroupConfig) -> Script {
        let config = Arc::new(config);
        let mut script = Script {
            machine: GroupMachine::new(Arc::clone(&config)),
            config,
            topics: FixedTopics::new(&[("orders", 4), ("t", 6)]),
            elapsed: Duration::ZERO,
            log: Vec::new(),
            answers: BTreeMap::new(),
            contradictory: Vec::new(),
            next: 0,
        };
        let mut out = Output::default();
        script.look();
        assert_eq!(script.machine.loaded(script.now(), &mut out), []);
        script.take(out);
        script
    }

    /// The same log, loaded by a machine of its own at the same time.
    pub(super) fn reloaded(&self) -> Script {
        let loaded = self.reloaded_in_part();
        assert_eq!(loaded.contradictory, []);
        loaded
    }

    /// The same log, of which groups may contradict themselves.
    pub(super) fn reloaded_in_part(&self) -> Script {
        let mut machine = GroupMachine::new(Arc::clone(&self.config));
        for record in &self.log {
            machine.replay(GroupRecord::decode(&record.key, record.value.as_deref()).unwrap());
        }
        let mut script = Script {
            config: Arc::clone(&self.config),
            machine,
            topics: self.topics.clone(),
            elapsed: self.elapsed,
            log: self.log.clone(),
            answers: BTreeMap::new(),
            contradictory: Vec::new(),
            next: self.next,
        };
        let mut out = Output::default();
        script.look();
        script.contradictory = script.machine.loaded(script.now(), &mut out);
        script.take(out);
        script
    }

    pub(super) fn now(&self) -> Now {
        Now {
            monotonic: Monotonic::from_origin(self.elapsed),
            wall: Timestamp::from_millis(EPOCH + i64::try_from(self.elapsed.as_millis()).unwrap()),
        }
    }

    /// Shows the topics to the machine, as the runtime does before each call.
    fn look(&mut self) {
        self.machine.see_topics(Arc::new(self.topics.clone()));
    }

    /// There is another topic, or it has another number of partitions; none for no such topic any more.
    pub(super) fn topic(&mut self, name: &str, partitions: Option<i32>) {
        self.topics.version += 1;
        match partitions {
            Some(partitions) => {
                let info = crate::coordinators::group::topics::TopicInfo { id: topic_id(name), partitions };
                self.topics.topics.insert(name.to_owned(), info);
            }
            None => {
                self.topics.topics.remove(name);
            }
        }
    }

    fn take(&mut self, out: Output) {
        self.log.extend(out.records);
        for reply in out.replies {
            let again = self.answers.insert(reply.token, reply.answer);
            assert_eq!(again, None, "{:?} was answered twice", reply.token);
        }
    }

    /// Hands in `request` without letting time pass.
    pub(super) fn send(&mut self, request: Request) -> Token {
        self.next += 1;
        let token = Token(self.next);
        let mut out = Output::default();
        self.look();
        self.machine.handle(self.now(), token, request, &mut out);
        self.take(out);
        token
    }

    /// Hands in `request`, and does what is due at this very moment.
    pub(super) fn ask(&mut self, request: Request) -> Token {
        let token = self.send(request);
        self.pass(Duration::ZERO);
        token
    }

    /// Lets time pass, stopping at every deadline.
    pub(super) fn pass(&mut self, duration: Duration) {
        let end = self.elapsed + duration;
        loop {
            let due = self.machine.next_deadline().map(Monotonic::origin_elapsed).filter(|due| *due <= end);
            self.elapsed = due.unwrap_or(end).max(self.elapsed);
            let mut out = Output::default();
            self.look();
            self.machine.advance(self.now(), &mut out);
            self.take(out);
            if due.is_none() {
                return;
            }
        }
    }

    pub(super) fn answer(&self, token: Token) -> &Answer {
        self.answers.get(&token).unwrap_or_else(|| panic!("{token:?} still waits"))
    }

    pub(super) fn waits(&self, token: Token) -> bool {
        !self.answers.contains_key(&token)
    }

    pub(super) fn joined(&self, token: Token) -> (String, Joined) {
        match self.answer(token) {
            Answer::Join(JoinAnswer { result: Ok(joined), member }) => (member.clone(), joined.clone()),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn join_error(&self, token: Token) -> (ResponseError, String) {
        match self.answer(token) {
            Answer::Join(JoinAnswer { result: Err(error), member }) => (*error, member.clone()),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn synced(&self, token: Token) -> Result<Bytes, ResponseError> {
        match self.answer(token) {
            Answer::Sync(result) => result.clone().map(|synced| synced.assignment),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn heartbeat(&mut self, member: &str, generation: i32) -> Result<(), ResponseError> {
        let token = self.ask(Request::Heartbeat(from(member, generation)));
        match self.answer(token) {
            Answer::Heartbeat(result) => *result,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn describe(&mut self) -> DescribedGroup {
        let token = self.ask(Request::Describe { group: "g".to_owned() });
        match self.answer(token) {
            Answer::Describe(Ok(described)) => described.clone(),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn state(&mut self) -> GroupState {
        self.describe().state
    }

    /// Joins without an id as old clients do (v0-3), and returns the token.
    pub(super) fn join(&mut self, client: &str) -> Token {
        self.ask(join(client).request())
    }

    /// Brings `count` members to a stable group, assignments `a0`, `a1`, ... in the order of ids; the leader first.
    pub(super) fn stable(&mut self, count: usize) -> Vec<String> {
        let first = self.join("c0");
        let mut tokens = vec![(first, None)];
        for index in 1..count {
            let leader = tokens.first().map(|(token, _)| *token).unwrap();
            let leader_id = self.joined(leader).0;
            let token = self.join(&format!("c{index}"));
            let mut again = Vec::new();
            for (previous, _) in &tokens {
                let id = self.joined(*previous).0;
                again.push((self.ask(join("c").id(&id).request()), Some(id)));
            }
            tokens = again;
            tokens.push((token, None));
            assert_eq!(self.joined(token).1.leader, leader_id);
        }
        let ids: Vec<String> = tokens.iter().map(|(token, _)| self.joined(*token).0).collect();
        let generation = self.joined(tokens[0].0).1.generation;
        let assignments = ids.iter().enumerate().map(|(index, id)| (id.clone(), Bytes::from(format!("a{index}"))));
        let mut syncs: Vec<Token> = ids.iter().skip(1).map(|id| self.ask(sync(id, generation, Vec::new()))).collect();
        assert!(syncs.iter().all(|token| self.waits(*token)));
        syncs.insert(0, self.ask(sync(&ids[0], generation, assignments.collect())));
        for (index, token) in syncs.into_iter().enumerate() {
            assert_eq!(self.synced(token).unwrap(), format!("a{index}"));
        }
        assert_eq!(self.state(), GroupState::Stable);
        ids
    }
}

/// A heartbeat of a consumer group's member, to be filled in.
#[derive(Clone)]
pub(super) struct Heart(pub(super) ConsumerHeartbeat);

/// A heartbeat of `member` at `epoch` that says nothing new.
pub(super) fn heart(member: &str, epoch: i32) -> Heart {
    Heart(ConsumerHeartbeat {
        group: "g".to_owned(),
        member: member.to_owned(),
        brings_own_id: true,
        fresh: Uuid::from_u128(0),
        epoch,
        instance: None,
        rack: None,
        rebalance_timeout_ms: None,
        topics: None,
        regex: None,
        assignor: None,
        owned: None,
        client_id: "c".to_owned(),
        client_host: "/10.0.0.1".to_owned(),
        session_timeout: CONSUMER_SESSION,
        heartbeat_interval: Duration::from_secs(5),
        assignment_interval: Duration::ZERO,
    })
}

pub(super) const CONSUMER_SESSION: Duration = Duration::from_secs(45);

/// A first heartbeat, that subscribes to `topics`.
pub(super) fn joins(member: &str, topics: &[&str]) -> Heart {
    let mut joins = heart(member, 0).owning(Partitions::new());
    joins.0.rebalance_timeout_ms = Some(30_000);
    joins.0.topics = Some(topics.iter().map(|topic| (*topic).to_owned()).collect());
    joins
}

impl Heart {
    pub(super) fn owning(mut self, owned: Partitions) -> Heart {
        self.0.owned = Some(owned);
        self
    }

    pub(super) fn instance(mut self, instance: &str) -> Heart {
        self.0.instance = Some(instance.to_owned());
        self
    }

    pub(super) fn assignor(mut self, assignor: &str) -> Heart {
        self.0.assignor = Some(assignor.to_owned());
        self
    }

    pub(super) fn topics(mut self, topics: &[&str]) -> Heart {
        self.0.topics = Some(topics.iter().map(|topic| (*topic).to_owned()).collect());
        self
    }

    pub(super) fn regex(mut self, regex: &str) -> Heart {
        self.0.regex = Some(regex.to_owned());
        self
    }
}

/// Partitions of one topic.
pub(super) fn of(topic: &str, partitions: &[i32]) -> Partitions {
    if partitions.is_empty() {
        return Partitions::new();
    }
    Partitions::from([(topic_id(topic), partitions.iter().copied().collect())])
}

impl Script {
    pub(super) fn beat(&mut self, heart: Heart) -> Result<Beat, Refusal> {
        let token = self.ask(Request::Beat(Box::new(heart.0)));
        match self.answer(token) {
            Answer::Beat(result) => result.clone(),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn beat_error(&mut self, heart: Heart) -> ResponseError {
        self.beat(heart).unwrap_err().error
    }

    pub(super) fn consumers(&mut self) -> DescribedConsumerGroup {
        let token = self.ask(Request::DescribeConsumers { group: "g".to_owned() });
        match self.answer(token) {
            Answer::Consumers(Ok(described)) => described.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// The one group's state and protocol, as it is listed.
    pub(super) fn listed(&mut self) -> Option<(&'static str, GroupKind)> {
        let token = self.ask(Request::List);
        match self.answer(token) {
            Answer::List(Ok(listed)) => listed.first().map(|group| (group.state, group.kind)),
            other => panic!("{other:?}"),
        }
    }
}

/// A join to be filled in.
pub(super) struct Join(pub(super) JoinRequest);

pub(super) fn join(client: &str) -> Join {
    Join(JoinRequest {
        group: "g".to_owned(),
        member: String::new(),
        instance: None,
        fresh: Uuid::from_u128(client.bytes().fold(1u128, |sum, byte| sum.wrapping_mul(31) + u128::from(byte))),
        client_id: client.to_owned(),
        client_host: "/10.0.0.1".to_owned(),
        session_timeout: Some(SESSION),
        rebalance_timeout: REBALANCE,
        protocol_type: "consumer".to_owned(),
        protocols: vec![("range".to_owned(), subscription(&["orders"]))],
        requires_member_id: false,
        supports_skipping_assignment: false,
    })
}

impl Join {
    pub(super) fn request(self) -> Request {
        Request::Join(self.0)
    }

    pub(super) fn id(mut self, id: &str) -> Join {
        self.0.member = id.to_owned();
        self
    }

    pub(super) fn instance(mut self, instance: &str) -> Join {
        self.0.instance = Some(instance.to_owned());
        self
    }

    pub(super) fn modern(mut self) -> Join {
        self.0.requires_member_id = true;
        self.0.supports_skipping_assignment = true;
        self
    }

    pub(super) fn kind(mut self, protocol_type: &str) -> Join {
        self.0.protocol_type = protocol_type.to_owned();
        self
    }

    pub(super) fn protocols(mut self, protocols: &[(&str, &'static [u8])]) -> Join {
        let own = |(name, metadata): &(&str, &'static [u8])| ((*name).to_owned(), Bytes::from_static(metadata));
        self.0.protocols = protocols.iter().map(own).collect();
        self
    }

    pub(super) fn fresh(mut self, seed: u128) -> Join {
        self.0.fresh = Uuid::from_u128(seed);
        self
    }

    pub(super) fn session(mut self, session: Option<Duration>) -> Join {
        self.0.session_timeout = session;
        self
    }

    pub(super) fn rebalance(mut self, rebalance: Duration) -> Join {
        self.0.rebalance_timeout = rebalance;
        self
    }
}

pub(super) fn subscription(topics: &[&str]) -> Bytes {
    let mut out = vec![0, 1];
    out.extend(u32::try_from(topics.len()).unwrap().to_be_bytes());
    for topic in topics {
        out.extend(u16::try_from(topic.len()).unwrap().to_be_bytes());
        out.extend(topic.as_bytes());
    }
    out.extend([0xff; 4]);
    Bytes::from(out)
}

pub(super) fn from(member: &str, generation: i32) -> MemberRequest {
    MemberRequest { group: "g".to_owned(), member: member.to_owned(), instance: None, generation }
}

pub(super) fn sync(member: &str, generation: i32, assignments: Vec<(String, Bytes)>) -> Request {
    Request::Sync(SyncRequest { from: from(member, generation), protocol_type: None, protocol: None, assignments })
}

pub(super) fn leave(member: &str, instance: Option<&str>) -> Request {
    let leaver = Leaver { member: member.to_owned(), instance: instance.map(str::to_owned) };
    Request::Leave { group: "g".to_owned(), members: vec![leaver] }
}
