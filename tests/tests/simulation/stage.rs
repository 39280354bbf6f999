//! The stage of a story: a broker whose lives have a disk and rules in common, and what goes wrong around it.
//!
//! A [`Stage`] starts its broker again whenever it ended. A [`Weather`] is what goes wrong meanwhile: crashes, the store,
//! the network, the disk, and orderly restarts. It clears up by itself, so that every story ends.

use super::cast::{PARTITIONS, TOPIC};
use esker_tests::sim::broker;
use esker_tests::sim::client::{CallError, SimClient};
use esker_tests::sim::watch::{Watch, watch_store};
use esker_tests::sim::{
    Chance, Crash, CrashOdds, DiskCall, DiskFault, DiskFaults, DiskPlan, NetFaults, NodeEnv, NodeId, StoreFaults, World,
};
use futures_util::future::BoxFuture;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Kafka's numbers of errors.
pub(crate) const UNKNOWN_TOPIC: i16 = 3;
pub(crate) const TOPIC_EXISTS: i16 = 36;

/// Segments, tails and local retention so small that a partition moves into the tier while one looks on.
const SETTINGS: [&str; 7] = [
    "log.segment.bytes=1024",
    "tail.max.bytes=1024",
    "tail.max.ms=2000",
    "log.local.retention.bytes=1",
    "log.retention.check.interval.ms=700",
    "log.cleaner.backoff.ms=700",
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

/// What it says of a disk that has one.
const DISK_TROUBLE: [&str; 23] = [
    "the partition waits for room on the disk",
    "no room to record the log start",
    "the disk is nearly full",
    "could not look how much room",
    "a log directory failed at the start",
    "compaction was put off",
    "the log directory is fenced",
    "could not close a log directory",
    "upkeep of a log failed",
    "the partition is offline",
    "could not delete the partition's files",
    "refusing appends",
    "a coordinator could not append",
    "a coordinator could not read its log",
    "log maintenance was put off",
    "a segment could not be scrubbed",
    // A sector that cannot be read is as lost as one that reads differently.
    "a segment is rotten",
    "records are damaged",
    "records that could not be read can be read again",
    "was rotten; ",
    "is damaged; it is written again",
    "a restart will have to find the rot again",
    "going without the checkpoint",
];

/// What goes wrong around a broker.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    pub(crate) crashes: CrashOdds,
    pub(crate) store: StoreFaults,
    pub(crate) net: NetFaults,
    pub(crate) disk: DiskFaults,
    /// Whether the store goes away as a whole now and then, and the broker is stopped in good order.
    pub(crate) upheaval: bool,
    /// Whether the disk is full now and then.
    pub(crate) full: bool,
    /// Log directories of which one fails now and then.
    pub(crate) failing: &'static [&'static str],
}

pub(crate) const CALM: Weather = Weather {
    crashes: CrashOdds { per_call: Chance::NEVER, per_step: Chance::NEVER, power_cut: Chance::NEVER, at_call: None },
    store: StoreFaults::none(),
    net: NetFaults::none(),
    disk: DiskFaults::none(),
    upheaval: false,
    full: false,
    failing: &[],
};

pub(crate) const STORM: Weather = Weather {
    crashes: CrashOdds {
        per_call: Chance::one_in(2500),
        per_step: Chance::one_in(5000),
        power_cut: Chance::percent(50),
        at_call: None,
    },
    store: StoreFaults::stormy(),
    net: NetFaults::stormy(),
    upheaval: true,
    ..CALM
};

/// A machine that loses its power all the time, and nothing else that could hide what that does.
pub(crate) const POWER_CUTS: Weather = Weather {
    crashes: CrashOdds {
        per_call: Chance::one_in(600),
        per_step: Chance::one_in(1200),
        power_cut: Chance::ALWAYS,
        at_call: None,
    },
    ..CALM
};

/// The same with a disk that fails to sync, which Linux says once, and drops what it was to sync.
pub(crate) const FAILING_SYNCS: Weather =
    Weather { disk: DiskFaults { sync: Chance::one_in(15), ..DiskFaults::none() }, ..POWER_CUTS };

impl Weather {
    /// Whether anything is wrong with the disk.
    fn spoils_disks(&self) -> bool {
        self.full || !self.failing.is_empty() || self.disk != DiskFaults::none()
    }
}

/// A broker, and what its lives have in common.
#[derive(Clone)]
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) node: NodeId,
    pub(crate) address: SocketAddr,
    pub(crate) watch: Watch,
    over: Arc<AtomicBool>,
    /// Whether a start may fail, because the disk does.
    may_fail: Arc<AtomicBool>,
}

/// Adds broker `id`, with [`SETTINGS`] and more; it is not started yet.
pub(crate) fn add_broker(world: &World, name: &str, id: u32, settings: &[&str]) -> Stage {
    let settings: Vec<String> = SETTINGS.iter().chain(settings).map(|setting| (*setting).to_owned()).collect();
    if world.nodes().is_empty() {
        watch_store(world);
    }
    let watch = Watch::over(world);
    let may_fail = Arc::<AtomicBool>::default();
    let main = {
        let (watch, may_fail) = (watch.clone(), Arc::clone(&may_fail));
        move |node: NodeEnv| -> BoxFuture<'static, ()> {
            let (settings, watch, may_fail) = (settings.clone(), watch.clone(), Arc::clone(&may_fail));
            Box::pin(async move {
                // A process that is gone sees errors that are nobody's.
                if let Err(error) = broker::serve(node.clone(), id, &settings, &watch).await
                    && node.is_alive()
                    && !may_fail.load(Ordering::Relaxed)
                {
                    panic!("the broker does not start: {error:#}");
                }
            })
        }
    };
    let node = world.add_node(name, main);
    let address = SocketAddr::new(world.ip(node), broker::PORT);
    Stage { world: world.clone(), node, address, watch, over: Arc::default(), may_fail }
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

    /// Whether clients should come to an end.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// The time of the world, as histories have it.
    pub(crate) fn clock(&self) -> u64 {
        self.world.now().as_nanos() as u64
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

    pub(crate) fn set_weather(&self, weather: &Weather) {
        self.world.announce(&STORE_TROUBLE);
        if weather.spoils_disks() {
            self.world.announce(&DISK_TROUBLE);
            self.may_fail.store(true, Ordering::Relaxed);
        }
        self.world.set_crash_odds(self.node, weather.crashes);
        self.world.store().set_faults(weather.store.clone());
        self.world.net().set_faults(weather.net.clone());
        self.world.disk(self.node).set_faults(weather.disk);
        // What a directory that failed holds comes back with a restart.
        if weather.upheaval || weather.spoils_disks() {
            self.world.spawn("upheaval", self.clone().upheaval());
        }
        if weather.full {
            self.world.spawn("full-disk", self.clone().fill_disk());
        }
        if !weather.failing.is_empty() {
            self.world.spawn("failing-directories", self.clone().fail_directories(weather.failing));
        }
        let stage = self.clone();
        self.world.spawn("weather", async move {
            stage.world.sleep(LONGEST_STORM).await;
            if !stage.is_over() {
                stage.clear_up();
                stage.world.terminate(stage.node);
            }
        });
    }

    pub(crate) async fn between(&self, least: u64, most: u64) {
        let pause = self.world.draw(|rng| rng.duration(Duration::from_secs(least)..Duration::from_secs(most)));
        self.world.sleep(pause).await;
    }

    fn is_calm(&self) -> bool {
        self.is_over() || self.world.now() > LONGEST_STORM
    }

    /// Stops the broker in good order, or takes the store away, now and then, until calm is restored.
    async fn upheaval(self) {
        loop {
            self.between(5, 60).await;
            if self.is_calm() {
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

    /// Leaves the disk little room for some seconds, now and then; then there is plenty again.
    async fn fill_disk(self) {
        let disk = self.world.disk(self.node);
        let plenty = disk.total();
        loop {
            self.between(2, 20).await;
            if self.is_calm() {
                return;
            }
            let room = self.world.draw(|rng| rng.below(64 << 10));
            disk.set_total(disk.used() + room);
            self.between(1, 10).await;
            disk.set_total(plenty);
        }
    }

    /// Lets a write or a sync in one of the directories fail, now and then.
    async fn fail_directories(self, dirs: &'static [&'static str]) {
        let disk = self.world.disk(self.node);
        loop {
            self.between(5, 40).await;
            if self.is_calm() {
                return;
            }
            let (dir, sync) = self.world.draw(|rng| (rng.index(dirs.len()), rng.happens(Chance::percent(60))));
            let call = if sync { DiskCall::Sync } else { DiskCall::Write };
            disk.plan(DiskPlan { call, path: format!("{}/", dirs[dir]), after: 0, fault: DiskFault::Io });
        }
    }

    fn clear_up(&self) {
        self.world.set_crash_odds(self.node, CrashOdds::default());
        self.world.store().set_faults(StoreFaults::none());
        self.world.net().set_faults(NetFaults::none());
        self.clear_disk();
    }

    fn clear_disk(&self) {
        let disk = self.world.disk(self.node);
        disk.set_faults(DiskFaults::none());
        disk.clear_plans();
        disk.set_total(64 << 30);
    }

    /// Ends the bad weather with a last crash, and waits until what is late has come. The broker is down then.
    pub(crate) async fn calm_down(&self, crash: Crash) {
        self.over.store(true, Ordering::Relaxed);
        self.world.set_crash_odds(self.node, CrashOdds::default());
        self.world.crash(self.node, crash);
        self.clear_disk();
        self.may_fail.store(false, Ordering::Relaxed);
        self.world.sleep(Duration::from_secs(100)).await;
        self.clear_up();
    }

    /// Creates a topic, unless it is there.
    pub(crate) async fn create(&self, topic: &str, partitions: i32, configs: &[(&str, &str)]) {
        let mut client = self.client();
        loop {
            match client.create_topic(topic, partitions, configs).await {
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

    /// One of Kafka's marks (-1 end, -2 start, -4 local start, -5 last tiered), however often it must be asked for.
    pub(crate) async fn mark(&self, topic: &str, partition: i32, mark: i64) -> Option<u64> {
        let mut client = self.client();
        loop {
            match client.list_offset(topic, partition, mark).await {
                Ok(offset) => return offset,
                Err(_) => self.pause().await,
            }
        }
    }

    /// One past the last tiered offset of the topic that stories are about.
    pub(crate) async fn tier_end(&self, partition: i32) -> u64 {
        self.mark(TOPIC, partition, -5).await.map_or(0, |last| last + 1)
    }

    /// In calm weather everything gets into the tier; and, with [`SETTINGS`], only the active segment stays here.
    pub(crate) async fn everything_is_tiered(&self, copies_go: bool) {
        for partition in 0..PARTITIONS {
            let mut patience = 300;
            loop {
                let end = self.mark(TOPIC, partition, -1).await.unwrap_or_default();
                let start = self.mark(TOPIC, partition, -2).await.unwrap_or_default();
                let tiered = self.tier_end(partition).await;
                let local = self.mark(TOPIC, partition, -4).await.unwrap_or_default();
                let gone = !copies_go || local > start || end - start < 30;
                if (tiered == end || start == end) && gone {
                    break;
                }
                patience -= 1;
                assert!(
                    patience > 0,
                    "partition {partition}: {tiered} of {start}..{end} tiered, {local} local, in calm weather"
                );
                self.world.sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
