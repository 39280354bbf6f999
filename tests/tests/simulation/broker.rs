//! The broker, simulated: clients produce and consume while it is killed, its power is cut, its network hiccups and
//! its store loses answers; afterwards everything that was acknowledged is there, once and in order.

use esker_storage::env::mutation::{Mutation, switch_on};
use esker_tests::sim::checker::{self, Event, History, Sent};
use esker_tests::sim::client::{CallError, SimClient, value_of, values_batch};
use esker_tests::sim::{
    Chance, Config, Crash, CrashOdds, Exit, NetFaults, NodeEnv, NodeId, StoreFaults, World, broker, check,
    first_failure, run,
};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const TOPIC: &str = "events";

/// Segments and tails that are small enough for everything to happen within a minute.
const SETTINGS: [&str; 5] = [
    "log.segment.bytes=2048",
    "tail.max.bytes=1024",
    "tail.max.ms=2000",
    "log.local.retention.bytes=4096",
    "log.retention.check.interval.ms=1000",
];

fn main_of(settings: Vec<String>) -> impl Fn(NodeEnv) -> futures_util::future::BoxFuture<'static, ()> + Send + Sync {
    move |node| {
        let settings = settings.clone();
        Box::pin(async move {
            // A process that is gone sees errors that are nobody's.
            if let Err(error) = broker::serve(node.clone(), &settings).await
                && node.is_alive()
            {
                panic!("the broker does not start: {error:#}");
            }
        })
    }
}

fn add_broker(world: &World, settings: &[&str]) -> (NodeId, SocketAddr) {
    let settings = SETTINGS.iter().chain(settings).map(|setting| (*setting).to_owned()).collect();
    let node = world.add_node("broker", main_of(settings));
    (node, SocketAddr::new(world.ip(node), broker::PORT))
}

fn client(world: &World, address: SocketAddr) -> SimClient {
    SimClient::new(world.net().clone(), world.env().clone(), address)
}

/// What a client does about an error: again after a pause.
async fn pause(world: &World) {
    let pause = world.draw(|rng| rng.duration(Duration::from_millis(1)..Duration::from_millis(300)));
    world.sleep(pause).await;
}

async fn create(world: &World, address: SocketAddr, partitions: i32, configs: &[(&str, &str)]) {
    let mut client = client(world, address);
    loop {
        match client.create_topic(TOPIC, partitions, configs).await {
            Ok(()) | Err(CallError::Kafka(36)) => return,
            Err(_) => pause(world).await,
        }
    }
}

struct Story {
    world: World,
    address: SocketAddr,
    history: Mutex<History>,
    partitions: i32,
}

impl Story {
    fn sent(&self, client: u32, partition: i32, values: &[u64], began: Duration, sent: impl Fn(u64) -> Sent) {
        let ended = self.world.now().as_nanos() as u64;
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
    async fn produce_surely(self: Arc<Self>, number: u32, batches: u64) {
        let mut client = client(&self.world, self.address);
        let (id, epoch) = loop {
            match client.init_producer().await {
                Ok(producer) => break producer,
                Err(_) => pause(&self.world).await,
            }
        };
        let mut sequences = vec![0; self.partitions as usize];
        let mut value = u64::from(number) * 1_000_000;
        for _ in 0..batches {
            let (count, partition) =
                self.world.draw(|rng| (1 + rng.below(3), rng.below(self.partitions as u64) as i32));
            let values: Vec<u64> = (0..count).map(|n| value + n).collect();
            value += count;
            let sequence = &mut sequences[partition as usize];
            let wall = self.world.env().wall().millis();
            let batch = values_batch(&values, wall, Some((id, epoch, *sequence)));
            *sequence += count as i32;
            let began = self.world.now();
            let offset = loop {
                match client.produce(TOPIC, partition, batch.clone()).await {
                    Ok(offset) => break offset,
                    // Those that say that a retry is wrong.
                    Err(CallError::Kafka(code @ (45 | 46 | 47 | 59))) => {
                        panic!("sequence error {code} of a producer that is right")
                    }
                    Err(_) => pause(&self.world).await,
                }
            };
            self.sent(number, partition, &values, began, |at| {
                offset.map_or(Sent::AckedSomewhere, |offset| Sent::Acked(offset + at))
            });
            if self.world.draw(|rng| rng.happens(Chance::percent(60))) {
                pause(&self.world).await;
            }
        }
    }

    /// Sends each batch once, without a producer id.
    async fn produce_once(self: Arc<Self>, number: u32, batches: u64) {
        let mut client = client(&self.world, self.address);
        let mut value = u64::from(number) * 1_000_000;
        for _ in 0..batches {
            let partition = self.world.draw(|rng| rng.below(self.partitions as u64) as i32);
            let values = [value, value + 1];
            value += 2;
            let began = self.world.now();
            let batch = values_batch(&values, self.world.env().wall().millis(), None);
            match client.produce(TOPIC, partition, batch).await {
                Ok(Some(offset)) => self.sent(number, partition, &values, began, |at| Sent::Acked(offset + at)),
                _ => self.sent(number, partition, &values, began, |_| Sent::Unknown),
            }
            pause(&self.world).await;
        }
    }

    /// Reads a partition again and again from its start, until the world ends.
    async fn consume(self: Arc<Self>, number: u32, partition: i32) {
        let mut client = client(&self.world, self.address);
        let mut position = 0;
        loop {
            match client.fetch(TOPIC, partition, position, 300).await {
                Ok(fetched) => {
                    let records: Vec<_> =
                        fetched.records.iter().map(|record| (record.offset as u64, value_of(record))).collect();
                    assert!(
                        records.iter().all(|(offset, _)| *offset < fetched.high_watermark),
                        "above the high watermark"
                    );
                    let partition = partition as u32;
                    if let Some((last, _)) = records.last() {
                        position = last + 1;
                        self.history.lock().push(Event::Poll { client: number, partition, records });
                    }
                    if self.world.draw(|rng| rng.happens(Chance::percent(3))) {
                        position = 0;
                        self.history.lock().push(Event::Seek { client: number, partition });
                    }
                }
                Err(CallError::Kafka(1)) => panic!("partition {partition}: {position} was read and is out of range"),
                Err(_) => pause(&self.world).await,
            }
        }
    }

    async fn drain(&self, partition: i32) {
        let mut client = client(&self.world, self.address);
        let (mut records, mut position, mut start) = (Vec::new(), 0, None);
        let mut patience = 400;
        loop {
            match client.fetch(TOPIC, partition, position, 100).await {
                Ok(fetched) if position < fetched.log_start => position = fetched.log_start,
                Ok(fetched) => {
                    start.get_or_insert(fetched.log_start);
                    records.extend(fetched.records.iter().map(|record| (record.offset as u64, value_of(record))));
                    position = records.last().map_or(fetched.log_start, |(last, _)| last + 1);
                    if position >= fetched.high_watermark {
                        break;
                    }
                }
                Err(error) => {
                    patience -= 1;
                    assert!(
                        patience > 0,
                        "partition {partition} cannot be read at {position} in calm weather: {error:?}"
                    );
                    pause(&self.world).await;
                }
            }
        }
        let start = start.unwrap_or_default();
        self.history.lock().push(Event::Drain { partition: partition as u32, start, records });
    }
}

#[derive(Clone, Copy)]
struct Weather {
    crashes: CrashOdds,
    store: fn() -> StoreFaults,
    net: fn() -> NetFaults,
}

const STORM: Weather = Weather {
    crashes: CrashOdds {
        per_call: Chance::one_in(600),
        per_step: Chance::one_in(1200),
        power_cut: Chance::percent(50),
        at_call: None,
    },
    store: StoreFaults::stormy,
    net: NetFaults::stormy,
};

/// Clients, weather, and the judgement. Returns (acknowledged records, lives of the broker).
async fn story(world: World, weather: Weather, settings: &'static [&'static str]) -> (usize, u32) {
    let (node, address) = add_broker(&world, settings);
    world.keep_running(node, Duration::from_millis(5)..Duration::from_secs(3));
    let partitions = 2;
    create(&world, address, partitions, &[]).await;
    world.set_crash_odds(node, weather.crashes);
    world.store().set_faults((weather.store)());
    world.net().set_faults((weather.net)());
    let story = Arc::new(Story { world: world.clone(), address, history: Mutex::default(), partitions });
    for partition in 0..partitions {
        world.spawn("consumer", Arc::clone(&story).consume(100 + partition as u32, partition));
    }
    let mut producers = Vec::new();
    for number in 1..4 {
        producers.push(world.spawn("producer", Arc::clone(&story).produce_surely(number, 15)));
    }
    producers.push(world.spawn("producer-once", Arc::clone(&story).produce_once(4, 10)));
    for producer in producers {
        producer.ended().await;
    }
    world.set_crash_odds(node, CrashOdds::default());
    world.crash(node, Crash::PowerCut);
    // What is late comes now.
    world.sleep(Duration::from_secs(100)).await;
    world.store().set_faults(StoreFaults::none());
    world.net().set_faults(NetFaults::none());
    for partition in 0..partitions {
        story.drain(partition).await;
    }
    let history = story.history.lock();
    let anomalies = checker::check(&history);
    assert!(anomalies.is_empty(), "{anomalies:?}");
    (history.acknowledged(), world.lives(node))
}

#[test]
fn a_broker_starts_whatever_call_it_crashed_in() {
    for crash in [Crash::Kill, Crash::PowerCut] {
        for call in 0..150 {
            let config = Config { trace_lines: 60, ..Config::seeded(call) };
            let finished = run(config, move |world: World| async move {
                let (node, address) = add_broker(&world, &[]);
                world.set_crash_odds(node, CrashOdds { at_call: Some((call, crash)), ..CrashOdds::default() });
                world.start(node);
                world.sleep(Duration::from_secs(10)).await;
                world.crash(node, crash);
                world.set_crash_odds(node, CrashOdds::default());
                world.start(node);
                create(&world, address, 1, &[]).await;
                world.terminate(node);
                assert_eq!(world.ended(node).await, Some(Exit::Returned));
            });
            if let Err(failure) = finished {
                panic!("{crash:?} in call {call}: {failure}");
            }
        }
    }
}

#[test]
fn what_was_acknowledged_is_read_in_calm_weather() {
    const CALM: Weather = Weather {
        crashes: CrashOdds {
            per_call: Chance::NEVER,
            per_step: Chance::NEVER,
            power_cut: Chance::NEVER,
            at_call: None,
        },
        store: StoreFaults::none,
        net: NetFaults::none,
    };
    for finished in check(0..10, |world| story(world, CALM, &[])) {
        println!("{finished:?}");
    }
}

#[test]
fn what_was_acknowledged_survives_the_storm() {
    for finished in check(0..100, |world| story(world, STORM, &[])) {
        println!("{finished:?}");
    }
}

/// The mutation is caught by the seeds that run without it, and by them alone.
fn catches(mutation: Mutation) {
    let caught = {
        let _on = switch_on(mutation);
        first_failure(0..100, |world| story(world, STORM, &[]))
    };
    let failure = caught.unwrap_or_else(|| panic!("{} is not caught", mutation.name()));
    println!("{} is caught by seed {}: {:?}", mutation.name(), failure.seed, failure.kind);
}

#[test]
fn a_sync_left_out_is_caught() {
    catches(Mutation::SyncLeftOut);
}
