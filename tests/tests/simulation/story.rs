//! The stories of a simulated broker: what happens to it, what its clients do meanwhile, and how they are judged.
//!
//! ```text
//!  a stage (a broker, its weather) -> clients: producers, consumers, a committer of offsets, topics that come and go
//!     -> calm: what is late lands, everything is tiered -> every partition is read from its start -> judgement
//! ```
//!
//! A [`Stage`] is a broker and what its lives have in common; a [`Weather`] is what goes wrong around it; a [`Cast`] is
//! the clients of one topic, with what they saw.

use super::judge::judge_store;
use esker_tests::sim::broker::{self, Watch};
use esker_tests::sim::checker::{self, Event, History, Sent};
use esker_tests::sim::client::{CallError, SimClient, value_of, values_batch};
use esker_tests::sim::{Chance, Crash, CrashOdds, NetFaults, NodeEnv, NodeId, StoreFaults, World};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub(crate) const TOPIC: &str = "events";
pub(crate) const PARTITIONS: i32 = 2;
/// Kafka's numbers of errors.
const UNKNOWN_TOPIC: i16 = 3;
const TOPIC_EXISTS: i16 = 36;

/// Segments, tails and local retention so small that a partition moves into the tier while one looks on.
pub(crate) const SETTINGS: [&str; 6] = [
    "log.segment.bytes=1024",
    "tail.max.bytes=1024",
    "tail.max.ms=2000",
    "log.local.retention.bytes=1",
    "log.retention.check.interval.ms=700",
    "offsets.topic.num.partitions=1",
];

/// After this long the weather clears up by itself: a broker that takes a minute to start in it gets no work done.
const LONGEST_STORM: Duration = Duration::from_secs(600);

/// What a broker says of a store that has a bad day.
const STORE_TROUBLE: [&str; 9] = [
    "waiting for the",
    "a commit is unsettled",
    "could not register with the cluster yet",
    "trying again",
    "could not write a snapshot of the metadata",
    "retention could not be kept",
    "retention waits for the store",
    "could not create __consumer_offsets",
    "an upload failed",
];

fn main_of(id: u32, settings: Vec<String>, watch: Watch) -> impl Fn(NodeEnv) -> BoxFuture<'static, ()> + Send + Sync {
    move |node| {
        let (settings, watch) = (settings.clone(), watch.clone());
        Box::pin(async move {
            // A process that is gone sees errors that are nobody's.
            if let Err(error) = broker::serve(node.clone(), id, &settings, &watch).await
                && node.is_alive()
            {
                panic!("the broker does not start: {error:#}");
            }
        })
    }
}

/// Adds broker `id`, with [`SETTINGS`] and more; it is not started yet.
pub(crate) fn add_broker(world: &World, name: &str, id: u32, settings: &[&str]) -> Stage {
    let settings = SETTINGS.iter().chain(settings).map(|setting| (*setting).to_owned()).collect();
    let watch = Watch::over(world);
    let node = world.add_node(name, main_of(id, settings, watch.clone()));
    let address = SocketAddr::new(world.ip(node), broker::PORT);
    Stage { world: world.clone(), node, address, watch, over: Arc::default() }
}

/// What goes wrong around a broker.
#[derive(Clone, Copy)]
pub(crate) struct Weather {
    pub(crate) crashes: CrashOdds,
    pub(crate) store: fn() -> StoreFaults,
    pub(crate) net: fn() -> NetFaults,
    /// Whether the store goes away as a whole now and then, and the broker is stopped in good order.
    pub(crate) upheaval: bool,
}

pub(crate) const CALM: Weather = Weather {
    crashes: CrashOdds { per_call: Chance::NEVER, per_step: Chance::NEVER, power_cut: Chance::NEVER, at_call: None },
    store: StoreFaults::none,
    net: NetFaults::none,
    upheaval: false,
};

pub(crate) const STORM: Weather = Weather {
    crashes: CrashOdds {
        per_call: Chance::one_in(2500),
        per_step: Chance::one_in(5000),
        power_cut: Chance::percent(50),
        at_call: None,
    },
    store: StoreFaults::stormy,
    net: NetFaults::stormy,
    upheaval: true,
};

/// A broker, and what its lives have in common.
#[derive(Clone)]
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) node: NodeId,
    pub(crate) address: SocketAddr,
    pub(crate) watch: Watch,
    over: Arc<AtomicBool>,
}

impl Stage {
    /// A client of the broker.
    pub(crate) fn client(&self) -> SimClient {
        SimClient::new(self.world.net().clone(), self.world.env().clone(), self.address)
    }

    /// What a client does about an error: again after a pause.
    pub(crate) async fn pause(&self) {
        let pause = self.world.draw(|rng| rng.duration(Duration::from_millis(1)..Duration::from_millis(300)));
        self.world.sleep(pause).await;
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Starts the broker each time it ended, whatever the way.
    pub(crate) fn keep_running(&self) {
        let stage = self.clone();
        self.world.spawn("supervisor", async move {
            while !stage.is_over() {
                stage.world.start(stage.node);
                stage.world.ended(stage.node).await;
                stage.pause().await;
            }
        });
    }

    pub(crate) fn set_weather(&self, weather: Weather) {
        self.world.announce(&STORE_TROUBLE);
        self.world.set_crash_odds(self.node, weather.crashes);
        self.world.store().set_faults((weather.store)());
        self.world.net().set_faults((weather.net)());
        if weather.upheaval {
            self.world.spawn("upheaval", self.clone().upheaval());
        }
        let stage = self.clone();
        self.world.spawn("weather", async move {
            stage.world.sleep(LONGEST_STORM).await;
            stage.clear_up();
        });
    }

    /// Stops the broker in good order, or takes the store away, now and then, until calm is restored.
    async fn upheaval(self) {
        loop {
            let pause = self.world.draw(|rng| rng.duration(Duration::from_secs(5)..Duration::from_secs(60)));
            self.world.sleep(pause).await;
            if self.is_over() || self.world.now() > LONGEST_STORM {
                return;
            }
            if self.world.draw(|rng| rng.happens(Chance::percent(50))) {
                self.world.terminate(self.node);
            } else {
                let outage = self.world.draw(|rng| rng.duration(Duration::from_secs(1)..Duration::from_secs(15)));
                self.world.store().outage(outage);
            }
        }
    }

    fn clear_up(&self) {
        self.world.set_crash_odds(self.node, CrashOdds::default());
        self.world.store().set_faults(StoreFaults::none());
        self.world.net().set_faults(NetFaults::none());
    }

    /// Ends the bad weather with a last crash, and waits until what is late has come.
    pub(crate) async fn calm_down(&self, crash: Crash) {
        self.over.store(true, Ordering::Relaxed);
        self.world.set_crash_odds(self.node, CrashOdds::default());
        self.world.crash(self.node, crash);
        self.world.sleep(Duration::from_secs(100)).await;
        self.clear_up();
    }

    /// Creates a topic, unless it is there.
    pub(crate) async fn create(&self, topic: &str, partitions: i32) {
        let mut client = self.client();
        loop {
            match client.create_topic(topic, partitions, &[]).await {
                Ok(()) | Err(CallError::Kafka(TOPIC_EXISTS)) => return,
                Err(_) => self.pause().await,
            }
        }
    }

    /// Whether a topic is there, however often it must be asked for.
    pub(crate) async fn exists(&self, topic: &str) {
        let mut client = self.client();
        loop {
            match client.create_topic(topic, 1, &[]).await {
                Err(CallError::Kafka(TOPIC_EXISTS)) => return,
                Ok(()) => panic!("{topic} was not there any more"),
                Err(_) => self.pause().await,
            }
        }
    }

    /// One of Kafka's marks (-1 end, -4 local start, -5 last tiered), however often it must be asked for.
    pub(crate) async fn mark(&self, partition: i32, mark: i64) -> Option<u64> {
        let mut client = self.client();
        loop {
            match client.list_offset(TOPIC, partition, mark).await {
                Ok(offset) => return offset,
                Err(_) => self.pause().await,
            }
        }
    }

    /// In calm weather everything gets into the tier, and only the active segment stays here.
    async fn everything_is_tiered(&self) {
        for partition in 0..PARTITIONS {
            let mut patience = 300;
            loop {
                let end = self.mark(partition, -1).await.unwrap_or_default();
                let tiered = self.mark(partition, -5).await.map_or(0, |last| last + 1);
                let local = self.mark(partition, -4).await.unwrap_or_default();
                if tiered == end && (local > 0 || end < 30) {
                    break;
                }
                patience -= 1;
                assert!(
                    patience > 0,
                    "partition {partition}: {tiered} of {end} tiered, {local} local, in calm weather"
                );
                self.world.sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// The clients of one topic, and what they saw.
pub(crate) struct Cast {
    pub(crate) stage: Stage,
    pub(crate) history: Mutex<History>,
}

impl Cast {
    pub(crate) fn on(stage: &Stage) -> Arc<Cast> {
        Arc::new(Cast { stage: stage.clone(), history: Mutex::default() })
    }

    fn sent(&self, client: u32, partition: i32, values: &[u64], began: Duration, sent: impl Fn(u64) -> Sent) {
        let ended = self.stage.world.now().as_nanos() as u64;
        for (at, value) in values.iter().enumerate() {
            self.history.lock().push(Event::Send {
                client,
                partition: partition as u32,
                value: *value,
                began: began.as_nanos() as u64,
                ended,
                sent: sent(at as u64),
            });
        }
    }

    /// Sends batches of one to three values, each until it is acknowledged.
    pub(crate) async fn produce_surely(self: Arc<Self>, number: u32, batches: u64) {
        let world = &self.stage.world;
        let mut client = self.stage.client();
        let (id, epoch) = loop {
            match client.init_producer().await {
                Ok(producer) => break producer,
                Err(_) => self.stage.pause().await,
            }
        };
        let mut sequences = [0; PARTITIONS as usize];
        let mut value = u64::from(number) * 1_000_000;
        for _ in 0..batches {
            let (count, partition) = world.draw(|rng| (1 + rng.below(3), rng.below(PARTITIONS as u64) as i32));
            let values: Vec<u64> = (0..count).map(|n| value + n).collect();
            value += count;
            let sequence = &mut sequences[partition as usize];
            let batch = values_batch(&values, world.env().wall().millis(), Some((id, epoch, *sequence)));
            *sequence += count as i32;
            let began = world.now();
            let offset = loop {
                match client.produce(TOPIC, partition, batch.clone()).await {
                    Ok(offset) => break offset,
                    // Those that say that a retry is wrong.
                    Err(CallError::Kafka(code @ (45 | 46 | 47 | 59))) => {
                        panic!("sequence error {code} of a producer that is right")
                    }
                    Err(_) => self.stage.pause().await,
                }
            };
            self.sent(number, partition, &values, began, |at| {
                offset.map_or(Sent::AckedSomewhere, |offset| Sent::Acked(offset + at))
            });
            if world.draw(|rng| rng.happens(Chance::percent(60))) {
                self.stage.pause().await;
            }
        }
    }

    /// Sends each batch once, without a producer id.
    pub(crate) async fn produce_once(self: Arc<Self>, number: u32, batches: u64) {
        let world = &self.stage.world;
        let mut client = self.stage.client();
        let mut value = u64::from(number) * 1_000_000;
        for _ in 0..batches {
            let partition = world.draw(|rng| rng.below(PARTITIONS as u64) as i32);
            let values = [value, value + 1];
            value += 2;
            let began = world.now();
            let batch = values_batch(&values, world.env().wall().millis(), None);
            match client.produce(TOPIC, partition, batch).await {
                Ok(Some(offset)) => self.sent(number, partition, &values, began, |at| Sent::Acked(offset + at)),
                _ => self.sent(number, partition, &values, began, |_| Sent::Unknown),
            }
            self.stage.pause().await;
        }
    }

    /// Reads a partition again and again from its start, until the stage is over.
    pub(crate) async fn consume(self: Arc<Self>, number: u32, partition: i32) {
        let mut client = self.stage.client();
        let mut position = 0;
        while !self.stage.is_over() {
            match client.fetch(TOPIC, partition, position, 300).await {
                Ok(fetched) => {
                    let records: Vec<_> =
                        fetched.records.iter().map(|record| (record.offset as u64, value_of(record))).collect();
                    let end = fetched.high_watermark;
                    assert!(records.iter().all(|(offset, _)| *offset < end), "above the high watermark");
                    let partition = partition as u32;
                    if let Some((last, _)) = records.last() {
                        position = last + 1;
                        self.history.lock().push(Event::Poll { client: number, partition, records });
                    }
                    if self.stage.world.draw(|rng| rng.happens(Chance::percent(3))) {
                        position = 0;
                        self.history.lock().push(Event::Seek { client: number, partition });
                    }
                }
                Err(CallError::Kafka(1)) => panic!("partition {partition}: {position} was read and is out of range"),
                Err(_) => self.stage.pause().await,
            }
        }
    }

    /// Commits ever higher offsets for a group, and asks for them.
    pub(crate) async fn commit_offsets(self: Arc<Self>, group: &'static str, commits: i64) {
        let mut client = self.stage.client();
        while client.find_coordinator(group).await.is_err() {
            self.stage.pause().await;
        }
        // The last one that was acknowledged, and those of which nobody knows.
        let (mut acked, mut unknown) = (None, BTreeSet::new());
        for offset in 1..=commits {
            match client.commit_offset(group, TOPIC, offset).await {
                Ok(()) => acked = Some(offset),
                Err(_) => {
                    unknown.insert(Some(offset));
                }
            }
            self.stage.pause().await;
            if let Ok(found) = client.committed_offset(group, TOPIC).await {
                assert!(
                    found == acked || unknown.contains(&found),
                    "group {group} committed {acked:?}, perhaps {unknown:?}, and is told {found:?}"
                );
            }
        }
        // Once more when it must work, whatever happened meanwhile.
        while !self.stage.is_over() {
            self.stage.pause().await;
        }
        let found = loop {
            match client.committed_offset(group, TOPIC).await {
                Ok(found) => break found,
                Err(_) => self.stage.pause().await,
            }
        };
        assert!(found == acked || unknown.contains(&found), "of {acked:?} and {unknown:?}, {found:?} is left");
    }

    /// Creates and deletes a topic of one name; no new one holds what an old one acknowledged.
    pub(crate) async fn churn(self: Arc<Self>, topic: &'static str, rounds: u64) {
        let mut client = self.stage.client();
        let mut gone = BTreeSet::new();
        for round in 0..rounds {
            self.stage.create(topic, 1).await;
            let mut values = BTreeSet::new();
            for n in 0..3 {
                let value = round * 100 + n;
                if let Ok(Some(_)) = client.produce(topic, 0, values_batch(&[value], 0, None)).await {
                    values.insert(value);
                }
            }
            if let Ok(fetched) = client.fetch(topic, 0, 0, 100).await {
                let old = fetched.records.iter().map(value_of).find(|value| gone.contains(value));
                assert_eq!(old, None, "a new topic has a record of an old one");
            }
            loop {
                match client.delete_topic(topic).await {
                    Ok(()) | Err(CallError::Kafka(UNKNOWN_TOPIC)) => break,
                    Err(_) => self.stage.pause().await,
                }
            }
            gone.append(&mut values);
        }
    }

    /// Reads a partition from its start to its end, in calm weather.
    pub(crate) async fn drain(&self, partition: i32) {
        let mut client = self.stage.client();
        let (mut records, mut position, mut start) = (Vec::new(), 0, None);
        let mut patience = 400;
        loop {
            match client.fetch(TOPIC, partition, position, 100).await {
                Ok(fetched) if position < fetched.log_start => position = fetched.log_start,
                Ok(fetched) => {
                    start.get_or_insert(fetched.log_start);
                    records.extend(fetched.records.iter().map(|record| (record.offset as u64, value_of(record))));
                    if fetched.records.is_empty() {
                        patience -= 1;
                    }
                    position = records.last().map_or(fetched.log_start, |(last, _)| last + 1);
                    if position >= fetched.high_watermark {
                        break;
                    }
                }
                Err(_) => {
                    patience -= 1;
                    self.stage.pause().await;
                }
            }
            assert!(patience > 0, "partition {partition} cannot be read at {position} in calm weather");
        }
        let start = start.unwrap_or_default();
        self.history.lock().push(Event::Drain { partition: partition as u32, start, records });
    }

    /// The judgement over a broker that runs in calm weather: clients first, then the store.
    pub(crate) async fn judge(&self) -> usize {
        for partition in 0..PARTITIONS {
            self.drain(partition).await;
        }
        let acknowledged = {
            let history = self.history.lock();
            let anomalies = checker::check(&history);
            assert!(anomalies.is_empty(), "{anomalies:?}");
            history.acknowledged()
        };
        self.stage.world.terminate(self.stage.node);
        self.stage.world.ended(self.stage.node).await;
        judge_store(&self.stage.world).await;
        acknowledged
    }
}

/// Clients, weather, and the judgement. Returns (acknowledged records, lives of the broker).
pub(crate) async fn story(world: World, weather: Weather) -> (usize, u32) {
    let stage = add_broker(&world, "broker", 1, &[]);
    stage.keep_running();
    stage.create(TOPIC, PARTITIONS).await;
    stage.set_weather(weather);
    let cast = Cast::on(&stage);
    for partition in 0..PARTITIONS {
        world.spawn("consumer", Arc::clone(&cast).consume(100 + partition as u32, partition));
    }
    let mut clients = Vec::new();
    for number in 1..4 {
        clients.push(world.spawn("producer", Arc::clone(&cast).produce_surely(number, 15)));
    }
    clients.push(world.spawn("producer-once", Arc::clone(&cast).produce_once(4, 10)));
    clients.push(world.spawn("churn", Arc::clone(&cast).churn("churn", 3)));
    let committer = world.spawn("committer", Arc::clone(&cast).commit_offsets("group", 12));
    for client in clients {
        client.ended().await;
    }
    stage.calm_down(Crash::PowerCut).await;
    world.start(stage.node);
    committer.ended().await;
    stage.everything_is_tiered().await;
    let acknowledged = cast.judge().await;
    (acknowledged, world.lives(stage.node))
}

/// The disk is lost between two lives: what was tiered is there, at its offsets, and the topics go on from it.
pub(crate) async fn story_of_a_lost_disk(world: World, weather: Weather) -> (usize, u32) {
    let stage = add_broker(&world, "broker", 1, &[]);
    stage.keep_running();
    for topic in [TOPIC, "other"] {
        stage.create(topic, PARTITIONS).await;
    }
    stage.set_weather(weather);
    let before = Cast::on(&stage);
    let mut clients = Vec::new();
    for number in 1..3 {
        clients.push(world.spawn("producer", Arc::clone(&before).produce_surely(number, 15)));
    }
    clients.push(world.spawn("producer-once", Arc::clone(&before).produce_once(3, 10)));
    for client in clients {
        client.ended().await;
    }
    stage.pause().await;
    let mut promised = Vec::new();
    for partition in 0..PARTITIONS {
        promised.push(stage.mark(partition, -5).await.map_or(0, |last| last + 1));
    }
    world.crash(stage.node, Crash::PowerCut);
    world.disk(stage.node).wipe();
    stage.watch.disk_lost();
    // The next life serves only what the tier has: where it ends now, it ended when the disk was lost.
    let after = Cast::on(&stage);
    let mut ends = Vec::new();
    for partition in 0..PARTITIONS {
        ends.push(stage.mark(partition, -5).await.map_or(0, |last| last + 1));
        let end = stage.mark(partition, -1).await;
        assert_eq!(end, ends.last().copied(), "partition {partition} goes on at the tier's end");
    }
    assert!(promised.iter().zip(&ends).all(|(before, after)| before <= after), "{promised:?} became {ends:?}");
    stage.exists("other").await;
    *after.history.lock() = what_is_below(&before.history.lock(), &ends);
    let mut clients = Vec::new();
    for partition in 0..PARTITIONS {
        world.spawn("consumer", Arc::clone(&after).consume(100 + partition as u32, partition));
        clients.push(world.spawn("producer", Arc::clone(&after).produce_surely(11 + partition as u32, 15)));
    }
    for client in clients {
        client.ended().await;
    }
    stage.calm_down(Crash::Kill).await;
    world.start(stage.node);
    stage.everything_is_tiered().await;
    let acknowledged = after.judge().await;
    (acknowledged, world.lives(stage.node))
}

/// A history without what lay beyond `ends`, of which nothing is promised.
pub(crate) fn what_is_below(history: &History, ends: &[u64]) -> History {
    let end_of = |partition: &u32| ends[*partition as usize];
    let mut below = History::default();
    for event in history.events() {
        below.push(match event.clone() {
            Event::Send { client, partition, value, began, ended, sent } => {
                let kept = matches!(sent, Sent::Acked(offset) if offset < end_of(&partition));
                let sent = if kept || sent == Sent::Refused { sent } else { Sent::Unknown };
                Event::Send { client, partition, value, began, ended, sent }
            }
            Event::Poll { client, partition, mut records } => {
                records.retain(|(offset, _)| *offset < end_of(&partition));
                Event::Poll { client, partition, records }
            }
            other => other,
        });
    }
    below
}

/// A broker was replaced while it still ran: what it uploads afterwards counts for nothing.
pub(crate) async fn story_of_a_late_leader(world: World, store: fn() -> StoreFaults) -> usize {
    let late = world.draw(|rng| format!("tail.max.ms={}", rng.within(3000..9000)));
    let settings = ["log.segment.bytes=65536", "tail.max.bytes=65536", &late];
    let old = add_broker(&world, "old", 1, &settings);
    world.announce(&["another controller was elected", "stopping"]);
    world.start(old.node);
    old.create(TOPIC, PARTITIONS).await;
    let before = Cast::on(&old);
    Arc::clone(&before).produce_surely(1, 10).await;
    for partition in 0..PARTITIONS {
        let end = old.mark(partition, -1).await.unwrap_or_default();
        while old.mark(partition, -5).await.map_or(0, |last| last + 1) < end {
            old.pause().await;
        }
    }
    old.set_weather(Weather { store, ..CALM });
    // Its tail, which is not due yet.
    Arc::clone(&before).produce_surely(2, 6).await;
    let new = add_broker(&world, "new", 1, &["log.segment.bytes=65536", "tail.max.bytes=65536"]);
    world.start(new.node);
    let mut ends = Vec::new();
    for partition in 0..PARTITIONS {
        ends.push(new.mark(partition, -5).await.map_or(0, |last| last + 1));
    }
    let after = Cast::on(&new);
    *after.history.lock() = what_is_below(&before.history.lock(), &ends);
    Arc::clone(&after).produce_surely(11, 12).await;
    // The old one tries to upload what it has.
    world.sleep(Duration::from_secs(30)).await;
    world.crash(old.node, Crash::Kill);
    new.calm_down(Crash::PowerCut).await;
    world.start(new.node);
    after.judge().await
}
