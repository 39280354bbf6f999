//! A broker in this process behind counted doors, and its clients.

use super::doors::{CountedDisk, CountedNetwork, CountedStore, CountedTasks};
use super::meter::{Costs, Meter};
use bytes::{Bytes, BytesMut};
use esker_bench::batch::{Builder, Codec};
use esker_broker::config::{BrokerConfig, parse_set};
use esker_broker::partition::Partition;
use esker_broker::server::{self, Gauges, Outside, Server};
use esker_protocol::api::Api;
use esker_protocol::guard::Limits;
use esker_protocol::{request, response};
use esker_storage::env::store::MemoryStore;
use esker_storage::env::{Clock, Env, Monotonic, RealClock, RealDisk, RealRandom, RealTasks, Timestamp};
use futures_util::future::BoxFuture;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::{CreateTopicsRequest, RequestKind, ResponseKind};
use kafka_protocol::protocol::StrBytes;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;

/// More than any frame has: a frame is handed over whole.
const PIPE: usize = 8 << 20;
/// What the broker may still do for a request after it has answered: let go of it, and wait for the next.
const SETTLE: Duration = Duration::from_millis(2);

/// What goes on behind an answer from the tier, and behind a commit to it.
const AFTERWARDS: Duration = Duration::from_millis(50);
/// How long one waits for what is bound to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A clock that goes slowly: nothing takes long by it, and its timers hardly ever end, so that nothing is done in between
/// or put off that would not be on a fast machine.
struct SlowClock {
    real: RealClock,
    /// So many times as slowly as others.
    slow: u32,
}

/// How slowly, where nothing that is counted waits for a timer.
const SLOW: u32 = 100;

impl Clock for SlowClock {
    fn now(&self) -> Monotonic {
        Monotonic::from_origin(self.real.now().origin_elapsed() / self.slow)
    }

    fn wall(&self) -> Timestamp {
        self.real.wall()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.real.sleep(duration.saturating_mul(self.slow))
    }
}

/// A broker whose costs are counted.
pub(crate) struct Rig {
    pub(crate) meter: Meter,
    connect: mpsc::UnboundedSender<DuplexStream>,
    server: Server,
    _folder: tempfile::TempDir,
}

impl Rig {
    /// Starts one with these settings, each `key=value`.
    pub(crate) async fn start(settings: &[&str]) -> Rig {
        Self::start_in_time(settings, SLOW).await
    }

    /// As [`Rig::start`], with a clock that is `slow` times as slow as others.
    pub(crate) async fn start_in_time(settings: &[&str], slow: u32) -> Rig {
        let meter = Meter::default();
        let folder = tempfile::tempdir().unwrap();
        let tasks = CountedTasks { inner: RealTasks::start(1).unwrap(), meter: meter.clone() };
        let clock: Arc<dyn Clock> = Arc::new(SlowClock { real: RealClock::start(), slow });
        let env = Env {
            clock: Arc::clone(&clock),
            random: Arc::new(RealRandom::seeded().unwrap()),
            tasks: Arc::new(tasks),
            disk: Arc::new(CountedDisk { inner: RealDisk, meter: meter.clone() }),
        };
        let own = [
            "listeners=PLAINTEXT://127.0.0.1:9092".to_owned(),
            format!("log.dirs={}", folder.path().join("data").display()),
            "node.id=1".to_owned(),
        ];
        let all = own.iter().map(String::as_str).chain(settings.iter().copied());
        let settings = all.map(parse_set).collect::<Result<_, _>>().unwrap();
        let config = BrokerConfig::from_values(settings, "a test").unwrap();
        let (connect, connecting) = mpsc::unbounded_channel();
        let network = CountedNetwork { connecting: parking_lot::Mutex::new(Some(connecting)), meter: meter.clone() };
        let store = CountedStore { inner: MemoryStore::new(clock), meter: meter.clone() };
        let outside = Outside { env, network: Arc::new(network), store: Arc::new(store) };
        let server = server::start(outside, config, Gauges::new()).await.unwrap();
        Rig { meter, connect, server, _folder: folder }
    }

    pub(crate) fn client(&self) -> Caller {
        let (ours, theirs) = duplex(PIPE);
        self.connect.send(theirs).unwrap();
        Caller { pipe: ours, correlation: 0 }
    }

    pub(crate) async fn create(&self, topic: &str) {
        self.create_with(topic, 1, &[]).await;
    }

    pub(crate) async fn create_with(&self, topic: &str, partitions: i32, configs: &[(&str, String)]) {
        let configs = configs.iter().map(|(key, value)| {
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_string((*key).to_owned()))
                .with_value(Some(StrBytes::from_string(value.clone())))
        });
        let new = CreatableTopic::default()
            .with_name(StrBytes::from_string(topic.to_owned()).into())
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default().with_topics(vec![new]).with_timeout_ms(30_000);
        let ResponseKind::CreateTopics(answer) = self.client().call(7, &request.into()).await else { panic!() };
        assert_eq!(answer.topics[0].error_code, 0);
    }

    /// What `ask` usually costs, of `rounds` times.
    pub(crate) async fn usual(&self, rounds: usize, mut ask: impl AsyncFnMut()) -> Costs {
        let mut costs = Vec::new();
        for _ in 0..rounds {
            self.meter.take();
            ask().await;
            tokio::time::sleep(SETTLE).await;
            costs.push(self.meter.take());
        }
        Costs::usual(&costs)
    }

    /// What all of `ask` costs, and what it leaves to be done behind it.
    pub(crate) async fn whole(&self, ask: impl AsyncFnOnce()) -> Costs {
        self.meter.take();
        ask().await;
        tokio::time::sleep(AFTERWARDS).await;
        self.meter.take()
    }

    /// Waits until the one partition of `topic` is as `is` says.
    pub(crate) async fn until(&self, topic: &str, is: impl Fn(&Partition) -> bool) {
        let led = self.server.hosted().led();
        let partition = led.iter().find(|partition| &**partition.topic() == topic).unwrap();
        let started = Instant::now();
        while !is(partition) {
            assert!(started.elapsed() < PATIENCE, "{topic} does not get there in {PATIENCE:?}");
            tokio::time::sleep(SETTLE).await;
        }
    }

    pub(crate) async fn stop(self) {
        self.server.stop().await;
    }
}

/// A client with one connection.
pub(crate) struct Caller {
    pipe: DuplexStream,
    correlation: i32,
}

impl Caller {
    pub(crate) async fn call(&mut self, version: i16, body: &RequestKind) -> ResponseKind {
        self.send(version, body).await;
        self.answer(version, body).await
    }

    pub(crate) async fn send(&mut self, version: i16, body: &RequestKind) {
        self.correlation += 1;
        let frame = request::encode(self.correlation, Some("costs"), version, body).unwrap().to_bytes();
        self.pipe.write_all(&frame).await.unwrap();
    }

    pub(crate) async fn answer(&mut self, version: i16, body: &RequestKind) -> ResponseKind {
        let size = self.pipe.read_u32().await.unwrap();
        let mut frame = BytesMut::zeroed(size as usize);
        self.pipe.read_exact(&mut frame).await.unwrap();
        let api = Api::of(request::key_of(body).unwrap()).unwrap();
        let (correlation, answer) = response::decode(api, version, frame.freeze(), &Limits::default()).unwrap();
        assert_eq!(correlation, self.correlation);
        answer
    }
}

/// One batch of `count` records with values of 100 bytes.
pub(crate) fn records(count: usize) -> Bytes {
    let mut batch = Builder::new(Codec::None);
    for _ in 0..count {
        batch.push(now(), None, Some(&[b'v'; 100]), &[]);
    }
    batch.build().unwrap()
}

/// As [`records`], of an idempotent producer, from this sequence on.
pub(crate) fn sequenced(producer: (i64, i16), sequence: usize, count: usize) -> Bytes {
    let mut batch = Builder::new(Codec::None).producer(producer.0, producer.1, sequence as i32);
    for _ in 0..count {
        batch.push(now(), None, Some(&[b'v'; 100]), &[]);
    }
    batch.build().unwrap()
}

/// As [`records`], compressed to about half.
pub(crate) fn compressed(codec: Codec, count: usize) -> Bytes {
    let mut batch = Builder::new(codec);
    // The multiplier and increment of Knuth's MMIX.
    let mut noise = 1_u64;
    for _ in 0..count {
        let mut value = [b'v'; 100];
        for byte in &mut value[..50] {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (noise >> 56) as u8;
        }
        batch.push(now(), None, Some(&value), &[]);
    }
    batch.build().unwrap()
}

fn now() -> i64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64
}
