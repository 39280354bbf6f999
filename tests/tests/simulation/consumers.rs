//! A consumer group (KIP-848) whose members come, go, die and sleep while its coordinator crashes.
//!
//! The members read no records: what a group promises is about partitions and offsets. Each says in the history which
//! partitions it held, from the answer that gave them to it until it let go of them, or until it had been silent for so long
//! that it may have been taken for dead; and it commits for what it holds, and late for what it held.

use super::mutations::catches;
use super::stage::{POWER_CUTS, STORM, Stage, Weather, add_broker};
use esker_storage::env::mutation::Mutation;
use esker_tests::checker::{self, Event, History, Outcome, Span, Term};
use esker_tests::sim::client::{CallError, Held, Membership, SimClient};
use esker_tests::sim::{Chance, Crash, World, check};
use kafka_protocol::protocol::StrBytes;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const TOPIC: &str = "shared";
/// How many partitions the topic has at first, and later.
const PARTITIONS: [i32; 2] = [4, 6];
/// The group, and its number in histories.
const CREW: (u32, &str) = (3, "crew");
/// How long a member may be silent.
const SESSION: Duration = Duration::from_secs(12);
/// The same, for the broker.
pub(crate) const SETTINGS: [&str; 4] = [
    "group.consumer.min.session.timeout.ms=6000",
    "group.consumer.session.timeout.ms=12000",
    "group.consumer.min.heartbeat.interval.ms=1000",
    "group.consumer.heartbeat.interval.ms=3000",
];

/// Kafka's numbers of errors.
const ILLEGAL_GENERATION: i16 = 22;
const UNKNOWN_MEMBER: i16 = 25;
const INVALID_PARTITIONS: i16 = 37;
const FENCED_MEMBER_EPOCH: i16 = 110;
const STALE_MEMBER_EPOCH: i16 = 113;

/// What the members of a run did, so that a run in which nothing happened is noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deeds {
    /// Tenures.
    tenures: u64,
    /// Commits that were acknowledged.
    commits: u64,
    /// Commits for what a member had lost.
    late: u64,
    /// Those of them that were refused.
    refused: u64,
    /// Times that a member was fenced, or unknown by then.
    fenced: u64,
}

/// The members of the group, and what they saw.
pub(crate) struct Crew {
    stage: Stage,
    topic: Uuid,
    history: Mutex<History>,
    deeds: Mutex<Deeds>,
    /// The last number that was given to a member, and the last offset that was committed.
    last: Mutex<(u32, u64)>,
}

/// A member, as it knows itself.
struct Member {
    number: u32,
    membership: Membership,
    /// What it holds: at which epoch it was given that, and when it knew.
    held: BTreeMap<i32, (i32, u64)>,
    /// When the last heartbeat that was answered began.
    heard: u64,
    /// What the next heartbeat says.
    says: Says,
    /// What it had once, and its epoch then.
    lost: Vec<(i32, i32)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    Nothing,
    Partitions,
    Everything,
}

impl Crew {
    /// Creates the topic and finds it, in whatever weather.
    pub(crate) async fn on(stage: &Stage) -> Arc<Crew> {
        stage.create(TOPIC, PARTITIONS[0], &[]).await;
        let mut client = stage.client();
        while client.find_coordinator(CREW.1).await.is_err() {
            stage.pause().await;
        }
        let topic = loop {
            match client.topic_id(TOPIC).await {
                Ok(id) => break id,
                Err(_) => stage.pause().await,
            }
        };
        let (stage, history) = (stage.clone(), Mutex::default());
        Arc::new(Crew { stage, topic, history, deeds: Mutex::default(), last: Mutex::default() })
    }

    /// One member after the other, until the stage is over.
    pub(crate) async fn work(self: Arc<Self>) {
        while !self.stage.is_over() {
            let number = {
                let mut last = self.last.lock();
                last.0 += 1;
                last.0
            };
            let id = Uuid::from_u64_pair(u64::from(number), self.stage.world.seed()).to_string();
            let membership = Membership { member: StrBytes::from_string(id), generation: 0 };
            let (held, heard, lost) = (BTreeMap::new(), 0, Vec::new());
            let mut member = Member { number, membership, held, heard, says: Says::Everything, lost };
            let mut client = self.stage.client();
            self.live(&mut client, &mut member).await;
            self.let_go_of_all(&mut member);
            self.stage.pause().await;
        }
    }

    /// The life of a member.
    async fn live(&self, client: &mut SimClient, member: &mut Member) {
        while !self.stage.is_over() {
            match self.beat(client, member).await {
                Ok(()) => {}
                Err(CallError::Kafka(FENCED_MEMBER_EPOCH | UNKNOWN_MEMBER)) => {
                    self.deeds.lock().fenced += 1;
                    self.let_go_of_all(member);
                    // It joins again, as itself.
                    member.membership.generation = 0;
                }
                Err(_) => self.stage.pause().await,
            }
            self.commit_something(client, member).await;
            match self.stage.world.draw(|rng| rng.below(100)) {
                0..4 => {
                    self.let_go_of_all(member);
                    let leaves = Membership { generation: -1, ..member.membership.clone() };
                    // If nobody hears of it, its session ends some time.
                    let _ = client.consumer_beat(CREW.1, &leaves, (TOPIC, self.topic), None).await;
                    return;
                }
                4..7 => return,
                7..14 => {
                    self.stage.between(3, 25).await;
                    self.commit_something(client, member).await;
                }
                _ => self.stage.between(0, 3).await,
            }
        }
    }

    /// Sends a heartbeat, and does what the answer says.
    async fn beat(&self, client: &mut SimClient, member: &mut Member) -> Result<(), CallError> {
        let began = self.stage.clock();
        let partitions: BTreeSet<i32> = member.held.keys().copied().collect();
        let held = Held { partitions: &partitions, in_full: member.says == Says::Everything };
        let held = (member.says != Says::Nothing).then_some(held);
        // As long as nobody answers nobody knows what was heard.
        member.says = Says::Everything;
        let beat = client.consumer_beat(CREW.1, &member.membership, (TOPIC, self.topic), held).await?;
        (member.says, member.heard) = (Says::Nothing, began);
        let assignment = beat.assignment.unwrap_or_else(|| partitions.clone());
        // What it loses it held at the epoch before.
        for partition in partitions.difference(&assignment) {
            self.let_go(member, *partition);
            member.says = Says::Partitions;
        }
        member.membership.generation = beat.epoch;
        for partition in assignment.difference(&partitions) {
            member.held.insert(*partition, (beat.epoch, self.stage.clock()));
        }
        for partition in assignment.difference(&partitions) {
            // An owner begins with what was committed before it.
            let _ = self.committed(client, *partition).await;
        }
        Ok(())
    }

    fn let_go(&self, member: &mut Member, partition: i32) {
        let Some((epoch, began)) = member.held.remove(&partition) else { return };
        member.lost.push((partition, member.membership.generation));
        let ended = self.stage.clock().min(member.heard + SESSION.as_nanos() as u64);
        if began < ended {
            let (term, span) = (Term { client: member.number, epoch }, Span { began, ended });
            self.deeds.lock().tenures += 1;
            self.push(Event::Held { group: CREW.0, partition: partition as u32, term, span });
        }
    }

    fn let_go_of_all(&self, member: &mut Member) {
        let all: Vec<i32> = member.held.keys().copied().collect();
        all.into_iter().for_each(|partition| self.let_go(member, partition));
    }

    fn push(&self, event: Event) {
        self.history.lock().push(event);
    }

    /// Commits for one of the partitions that it has, and now and then for one that it had, as a consumer does whose commit
    /// comes late.
    async fn commit_something(&self, client: &mut SimClient, member: &mut Member) {
        let held: Vec<i32> = member.held.keys().copied().collect();
        if !held.is_empty() {
            let partition = held[self.stage.world.draw(|rng| rng.index(held.len()))];
            if self.commit(client, member, partition, member.membership.generation).await == Outcome::Done {
                self.deeds.lock().commits += 1;
            }
        }
        // A member that must give up still more stays at its epoch, at which it commits whatever it likes: Kafka looks at
        // the epoch alone. What it lost at an epoch that is over is not its own any more.
        let is_over = |(partition, epoch): &&(i32, i32)| {
            *epoch != member.membership.generation && !member.held.contains_key(partition)
        };
        let lost: Vec<(i32, i32)> = member.lost.iter().filter(is_over).copied().collect();
        if !lost.is_empty() && self.stage.world.draw(|rng| rng.happens(Chance::percent(40))) {
            let (partition, epoch) = lost[self.stage.world.draw(|rng| rng.index(lost.len()))];
            let outcome = self.commit(client, member, partition, epoch).await;
            let mut deeds = self.deeds.lock();
            deeds.late += 1;
            deeds.refused += u64::from(outcome == Outcome::Refused);
        }
    }

    async fn commit(&self, client: &mut SimClient, member: &Member, partition: i32, epoch: i32) -> Outcome {
        let offset = {
            let mut last = self.last.lock();
            last.1 += 1;
            last.1
        };
        let began = self.stage.clock();
        let membership = Membership { generation: epoch, ..member.membership.clone() };
        let outcome = match client.commit_as_consumer(CREW.1, &membership, (TOPIC, partition), offset).await {
            Ok(()) => Outcome::Done,
            Err(CallError::Kafka(ILLEGAL_GENERATION | UNKNOWN_MEMBER | FENCED_MEMBER_EPOCH | STALE_MEMBER_EPOCH)) => {
                Outcome::Refused
            }
            Err(_) => Outcome::Unknown,
        };
        let span = Span { began, ended: self.stage.clock() };
        let term = Some(Term { client: member.number, epoch });
        self.push(Event::Commit { group: CREW.0, partition: partition as u32, offset, term, span, outcome });
        outcome
    }

    async fn committed(&self, client: &mut SimClient, partition: i32) -> Result<(), CallError> {
        let began = self.stage.clock();
        let found = client.committed_offset(CREW.1, TOPIC, partition).await?;
        let span = Span { began, ended: self.stage.clock() };
        self.push(Event::Committed { group: CREW.0, partition: partition as u32, found, span });
        Ok(())
    }

    /// Gives the topic more partitions, which is news for every member.
    pub(crate) async fn widen(self: Arc<Self>) {
        self.stage.between(5, 60).await;
        let mut client = self.stage.client();
        loop {
            match client.create_partitions(TOPIC, PARTITIONS[1]).await {
                Ok(()) | Err(CallError::Kafka(INVALID_PARTITIONS)) => return,
                Err(_) => self.stage.pause().await,
            }
        }
    }

    /// The judgement, over a broker that runs in calm weather, when every member has ended.
    pub(crate) async fn judge(&self) -> Deeds {
        let mut client = self.stage.client();
        for partition in 0..PARTITIONS[1] {
            while self.committed(&mut client, partition).await.is_err() {
                self.stage.pause().await;
            }
        }
        let anomalies = checker::check(&self.history.lock());
        assert!(anomalies.is_empty(), "{}: {anomalies:?}", CREW.1);
        *self.deeds.lock()
    }
}

async fn story(world: World, weather: Weather) -> Deeds {
    let stage = add_broker(&world, "broker", 1, &SETTINGS);
    stage.keep_running();
    let crew = Crew::on(&stage).await;
    stage.set_weather(&weather);
    let members = [(); 3].map(|()| world.spawn("crew", Arc::clone(&crew).work()));
    let widen = world.spawn("widen", Arc::clone(&crew).widen());
    stage.between(60, 150).await;
    widen.ended().await;
    stage.calm_down(Crash::PowerCut).await;
    world.start(stage.node);
    for member in members {
        member.ended().await;
    }
    crew.judge().await
}

/// How many seeds each of these stories runs with.
const SEEDS: u64 = 30;

fn in_weather(weather: &Weather) {
    let mut all = Deeds::default();
    let finished = check(0..SEEDS, |world| story(world, weather.clone()));
    for finished in &finished {
        let Deeds { tenures, commits, late, refused, fenced } = finished.output;
        println!("{finished:?}");
        all.tenures += tenures;
        all.commits += commits;
        all.late += late;
        all.refused += refused;
        all.fenced += fenced;
    }
    println!("{all:?}");
    let enough = [all.tenures > 8, all.commits > 8, all.late > 4, all.refused > 4];
    assert!(enough.iter().all(|enough| *enough) || (finished.len() as u64) < SEEDS, "{all:?}");
}

#[test]
fn a_partition_has_one_owner_in_the_storm() {
    in_weather(&STORM);
}

#[test]
fn a_partition_has_one_owner_whenever_the_power_fails() {
    in_weather(&POWER_CUTS);
}

#[test]
fn mutation_stale_epoch_accepted_is_caught() {
    catches(Mutation::StaleEpochAccepted, SEEDS, |world| story(world, STORM));
}

#[test]
fn mutation_unreleased_assigned_is_caught() {
    catches(Mutation::UnreleasedAssigned, SEEDS, |world| story(world, STORM));
}
