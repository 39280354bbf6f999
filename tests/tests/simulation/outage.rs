//! Ten minutes without the store: produce and hot fetch go on, what is held in memory stays small, and all is caught up
//! with afterwards, unaided. Once more on a small disk, which fills up meanwhile: then the mark refuses what there is no
//! room for, and takes it again when the tier has taken the rest.
//!
//! The first minutes the store does not answer at all, which holds what was sent for as long as a time-out; the others it
//! refuses.

use super::failures::{TOPIC, client};
use bytes::Bytes;
use esker_bench::batch::{Builder, Codec, Record};
use esker_protocol::error_code::ErrorCode;
use esker_storage::env::store::{ObjectEntry, Store, StoreError, Upload};
use esker_storage::tier::{ScrubDepth, TierLog, scrub};
use esker_tests::sim::client::{CallError, SimClient};
use esker_tests::sim::watch::{Watch, watch_store};
use esker_tests::sim::{Chance, Config, Exit, NodeEnv, NodeId, StoreFaults, World, broker, run};
use futures_util::future::BoxFuture;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use uuid::Uuid;

const MINUTE: Duration = Duration::from_secs(60);
const HANGS: Duration = Duration::from_secs(3 * 60);
const OUTAGE: Duration = Duration::from_secs(10 * 60);

/// What is on its way to the store, which is what a broker holds in memory for it.
#[derive(Default)]
struct Held {
    bytes: AtomicU64,
    requests: AtomicU64,
    most_bytes: AtomicU64,
    most_requests: AtomicU64,
}

/// Counts while a request is on its way.
struct OnItsWay(Arc<Held>, u64);

impl OnItsWay {
    fn new(held: &Arc<Held>, bytes: usize) -> OnItsWay {
        let bytes = bytes as u64;
        let now = held.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        held.most_bytes.fetch_max(now, Ordering::Relaxed);
        let now = held.requests.fetch_add(1, Ordering::Relaxed) + 1;
        held.most_requests.fetch_max(now, Ordering::Relaxed);
        OnItsWay(Arc::clone(held), bytes)
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.0.bytes.fetch_sub(self.1, Ordering::Relaxed);
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A store that counts what is on its way to it.
struct Counted {
    inner: Arc<dyn Store>,
    held: Arc<Held>,
}

impl Counted {
    fn count<T: 'static>(
        &self,
        bytes: usize,
        call: BoxFuture<'static, Result<T, StoreError>>,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let on_its_way = OnItsWay::new(&self.held, bytes);
        Box::pin(async move {
            let answer = call.await;
            drop(on_its_way);
            answer
        })
    }
}

impl Store for Counted {
    fn put_if_absent(&self, key: &str, bytes: Bytes) -> BoxFuture<'static, Result<(), StoreError>> {
        self.count(bytes.len(), self.inner.put_if_absent(key, bytes))
    }

    fn put(&self, key: &str, bytes: Bytes) -> BoxFuture<'static, Result<(), StoreError>> {
        self.count(bytes.len(), self.inner.put(key, bytes))
    }

    fn upload(&self, key: &str) -> BoxFuture<'static, Result<Box<dyn Upload>, StoreError>> {
        self.count(0, self.inner.upload(key))
    }

    fn get(&self, key: &str) -> BoxFuture<'static, Result<Bytes, StoreError>> {
        self.count(0, self.inner.get(key))
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> BoxFuture<'static, Result<Bytes, StoreError>> {
        let bytes = usize::try_from(range.end.saturating_sub(range.start)).unwrap();
        self.count(bytes, self.inner.get_range(key, range))
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<ObjectEntry>, StoreError>> {
        self.count(0, self.inner.list(prefix, after, limit))
    }

    fn delete(&self, key: &str) -> BoxFuture<'static, Result<(), StoreError>> {
        self.count(0, self.inner.delete(key))
    }
}

/// What is uploaded soon, and kept nowhere else.
const SETTINGS: [&str; 4] =
    ["tail.max.bytes=65536", "tail.max.ms=5000", "log.local.retention.bytes=1", "log.retention.check.interval.ms=1000"];

/// What a broker may say of a store that is away.
const TROUBLE: [&str; 6] = [
    "a commit is unsettled",
    "trying again",
    "an upload failed",
    "retention could not be kept",
    "retention waits for the store",
    "the disk is nearly full",
];

struct Rig {
    world: World,
    node: NodeId,
    address: SocketAddr,
    held: Arc<Held>,
    /// Bytes of a record, which is a batch of its own.
    size: usize,
    sent: u64,
}

impl Rig {
    async fn start(world: World, size: usize, more: &'static [&'static str]) -> Rig {
        world.announce(&TROUBLE);
        watch_store(&world);
        let (watch, held) = (Watch::over(&world), Arc::<Held>::default());
        let of_main = Arc::clone(&held);
        let node = world.add_node("broker", move |mut node: NodeEnv| {
            let (watch, held) = (watch.clone(), Arc::clone(&of_main));
            node.store = Arc::new(Counted { inner: Arc::clone(&node.store), held });
            Box::pin(async move {
                let settings: Vec<String> = SETTINGS.iter().chain(more).map(|setting| (*setting).to_owned()).collect();
                if let Err(error) = broker::serve(node.clone(), 1, &settings, &watch).await {
                    assert!(!node.is_alive(), "the broker does not start: {error:#}");
                }
            })
        });
        world.start(node);
        let address = SocketAddr::new(world.ip(node), broker::PORT);
        let rig = Rig { world, node, address, held, size, sent: 0 };
        let mut client = rig.client();
        while client.create_topic(TOPIC, 1, &[("retention.ms", "-1")]).await.is_err() {
            rig.world.sleep(Duration::from_millis(100)).await;
        }
        rig
    }

    fn client(&self) -> SimClient {
        client(&self.world, self.address)
    }

    fn go_away(&self) {
        self.world.store().set_faults(StoreFaults { request_lost: Chance::ALWAYS, ..StoreFaults::none() });
        let world = self.world.clone();
        self.world.spawn("the-store-goes-on-to-refuse", async move {
            world.sleep(HANGS).await;
            world.store().set_faults(StoreFaults::none());
            world.store().outage(OUTAGE - HANGS);
        });
    }

    fn record(&self, offset: u64) -> Bytes {
        let mut value = format!("{offset:016}").into_bytes();
        value.resize(self.size, offset as u8);
        Bytes::from(value)
    }

    /// Sends the next record; how long its acknowledgement took.
    async fn send(&mut self, client: &mut SimClient) -> Result<Duration, CallError> {
        let record = Record { value: Some(self.record(self.sent)), ..Record::default() };
        let batch = Builder::new(Codec::None).record(&record).build().unwrap();
        let asked = self.world.now();
        assert_eq!(client.produce(TOPIC, 0, batch).await?, Some(self.sent));
        self.sent += 1;
        Ok(self.world.now() - asked)
    }

    /// Whether these are the records from `from` on; where the next one begins.
    fn checked(&self, records: &[Record], from: u64) -> u64 {
        for (record, offset) in records.iter().zip(from..) {
            assert_eq!(record.offset as u64, offset);
            assert!(record.value == Some(self.record(offset)), "record {offset} is another");
        }
        from + records.len() as u64
    }

    /// Everything is in the tier, no more than two MiB are here, and it took no longer than `limit`.
    async fn caught_up(&self, limit: Duration) {
        let began = self.world.now();
        let mut client = self.client();
        loop {
            let tiered = client.list_offset(TOPIC, 0, -5).await.unwrap().map_or(0, |last| last + 1);
            let local = client.list_offset(TOPIC, 0, -4).await.unwrap().unwrap();
            if tiered == self.sent && local > 0 && (self.sent - local) * (self.size as u64) < 2 << 20 {
                println!("caught up {:?} after the outage", self.world.now() - began);
                return;
            }
            let late = self.world.now() - began;
            assert!(late < limit, "{late:?} after the outage {tiered} of {} are tiered, {local} start here", self.sent);
            self.world.sleep(Duration::from_secs(1)).await;
        }
    }

    /// Everything that was acknowledged is read, from the tier and from here; the store is whole.
    async fn is_whole(&self) {
        let mut client = self.client();
        let mut at = 0;
        while at < self.sent {
            let fetched = client.fetch(TOPIC, 0, at, 1000).await.unwrap();
            at = self.checked(&fetched.records, at);
        }
        let store: Arc<dyn Store> = Arc::new(self.world.store().clone());
        let format: serde_json::Value = serde_json::from_slice(&store.get("cluster/format").await.unwrap()).unwrap();
        let cluster: Uuid = format["cluster"].as_str().unwrap().parse().unwrap();
        self.world.terminate(self.node);
        assert_eq!(self.world.ended(self.node).await, Some(Exit::Returned));
        self.world.sleep(MINUTE).await;
        let log = TierLog::open(Arc::clone(&store), self.world.env().clone(), cluster).await.unwrap();
        let report = scrub(&*store, cluster, log.image(), ScrubDepth::Everything).await.unwrap();
        let harm: Vec<_> = report.findings.iter().filter(|found| !found.to_string().starts_with("orphan")).collect();
        assert!(harm.is_empty(), "{harm:?}");
    }
}

async fn ten_minutes(world: World) {
    let mut rig = Rig::start(world, 48 << 10, &["log.segment.bytes=1048576"]).await;
    let mut producer = rig.client();
    for _ in 0..200 {
        rig.send(&mut producer).await.unwrap();
        rig.world.sleep(Duration::from_millis(100)).await;
    }
    rig.caught_up(MINUTE).await;
    let before = rig.held.most_bytes.load(Ordering::Relaxed);
    let local_before = rig.client().list_offset(TOPIC, 0, -4).await.unwrap();

    rig.go_away();
    let (away, first) = (rig.world.now(), rig.sent);
    let mut slowest = Duration::ZERO;
    let (mut reader, mut read) = (rig.client(), first);
    while rig.world.now() - away < OUTAGE {
        slowest = slowest.max(rig.send(&mut producer).await.expect("produce goes on"));
        let asked = rig.world.now();
        let fetched = reader.fetch(TOPIC, 0, read, 1000).await.expect("hot fetch goes on");
        slowest = slowest.max(rig.world.now() - asked);
        read = rig.checked(&fetched.records, read);
        rig.world.sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(read, rig.sent, "who reads the tail has all of it");
    let came = (rig.sent - first) * rig.size as u64;
    assert!(came > 48 << 20, "{came} bytes came in the outage");
    assert!(slowest < Duration::from_secs(1), "somebody waited {slowest:?} for a store that nobody asked");
    assert_eq!(
        rig.client().list_offset(TOPIC, 0, -4).await.unwrap(),
        local_before,
        "nothing goes that the tier has not"
    );
    let (most, requests) =
        (rig.held.most_bytes.load(Ordering::Relaxed), rig.held.most_requests.load(Ordering::Relaxed));
    println!(
        "{came} bytes, slowest {slowest:?}, {before} bytes held at most before and {most} then, {requests} requests"
    );
    // One object of the partition at a time, in memory up to 16 MiB and in parts of 8 beyond: the rest waits on the disk.
    assert!(most < 24 << 20 && requests < 64, "{most} bytes and {requests} requests are held");

    rig.caught_up(2 * MINUTE).await;
    rig.is_whole().await;
}

#[test]
fn ten_minutes_without_the_store_cost_nobody_anything() {
    for seed in 1..3 {
        run(Config { steps: 20_000_000, ..Config::seeded(seed) }, ten_minutes)
            .unwrap_or_else(|failure| panic!("{failure}"));
    }
}

const REFUSED: CallError = CallError::Kafka(ErrorCode::NOT_ENOUGH_REPLICAS.code());

/// A disk of 8 MiB, of which 2 are kept free, and which has nowhere to put its history.
async fn full_meanwhile(world: World) {
    let mut rig = Rig::start(world, 4 << 10, &["log.segment.bytes=65536", "log.dirs.min.free.bytes=2097152"]).await;
    rig.world.disk(rig.node).set_total(8 << 20);
    let mut producer = rig.client();
    rig.go_away();
    let away = rig.world.now();
    let mut refused_at = None;
    while rig.world.now() - away < OUTAGE {
        match rig.send(&mut producer).await {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error, REFUSED, "a client tries this again");
                refused_at.get_or_insert(rig.world.now() - away);
            }
        }
        let used = rig.world.disk(rig.node).used();
        assert!(used < 7 << 20, "{used} bytes of 8 MiB are used: the mark was passed by far");
        rig.world.sleep(Duration::from_millis(200)).await;
    }
    let refused_at = refused_at.expect("the disk fills up in the outage");
    assert!(refused_at > MINUTE, "it was refused after {refused_at:?} already");
    // Hot fetch goes on, whatever is refused.
    let mut at = rig.sent - 10;
    while at < rig.sent {
        at = rig.checked(&rig.client().fetch(TOPIC, 0, at, 1000).await.unwrap().records, at);
    }

    // The store is back: nobody does anything, and there is room again.
    let back = rig.world.now();
    while rig.send(&mut producer).await.is_err() {
        assert!(rig.world.now() - back < 3 * MINUTE, "produce is still refused");
        rig.world.sleep(Duration::from_secs(1)).await;
    }
    println!("refused after {refused_at:?}, taken again {:?} after the outage", rig.world.now() - back);
    rig.caught_up(2 * MINUTE).await;
    rig.is_whole().await;
}

#[test]
fn a_disk_that_fills_up_in_an_outage_refuses_and_recovers_unaided() {
    run(Config::seeded(1), full_meanwhile).unwrap_or_else(|failure| panic!("{failure}"));
}
