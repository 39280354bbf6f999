//! Raw connections, and what is watched while they misbehave: a [`Neighbour`] that works, and the broker's memory.

use bytes::Bytes;
use esker_bench::batch::{Builder, Codec, Record};
use esker_bench::client::Client;
use esker_protocol::api::{Api, ApiKey};
use esker_protocol::samples;
use esker_tests::harness::Broker;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// How long an answer or the end of a connection may take, on however busy a machine.
const PROMPT: Duration = Duration::from_secs(20);
/// How much the broker may compute, on all of its threads, until three requests of a neighbour are served: it says who is
/// given way to, and does not depend on who else uses the machine. A debug build needs seconds for what takes a release
/// build 100 ms.
const NEIGHBOURLY: Duration = Duration::from_secs(if cfg!(debug_assertions) { 8 } else { 3 });
/// How long they may take at all: whoever is kept waiting by something that computes nothing notices this.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn connect(broker: &Broker) -> TcpStream {
    TcpStream::connect(broker.bootstrap()).await.unwrap()
}

/// A frame of `body`, whatever that is.
pub(super) fn framed(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
}

/// An ApiVersions request in version 0.
pub(super) fn ask_versions(correlation_id: i32) -> Vec<u8> {
    samples::frame(Api::of(ApiKey::ApiVersions).unwrap(), 0, correlation_id, &[])
}

/// Sends `bytes` and no more, and returns all that comes back until the broker closes.
///
/// # Panics
/// If it does not close within two seconds.
pub(super) async fn exchange(broker: &Broker, bytes: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut stream = connect(broker).await;
    // The broker may close while we write.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    match tokio::time::timeout(PROMPT, stream.read_to_end(&mut answer)).await {
        // A reset is a close, too.
        Ok(_) => Ok(answer),
        Err(_) => Err("neither answered nor closed"),
    }
}

/// The correlation ids of the answers in `bytes`, which are whole frames.
pub(super) fn answered(mut bytes: &[u8]) -> Vec<i32> {
    let mut ids = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        assert!(length >= 4 && length <= rest.len(), "an answer was cut off");
        ids.push(i32::from_be_bytes(*rest.first_chunk().unwrap()));
        bytes = &rest[length..];
    }
    ids
}

/// Resident memory that is the broker's own, in MiB.
pub(super) fn anonymous_mib(broker: &Broker) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", broker.pid())).expect("the broker lives");
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}

/// What the broker has computed so far, on all of its threads.
pub(super) fn computed(broker: u32) -> Duration {
    /// A hundredth of a second, on every Linux.
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string(format!("/proc/{broker}/stat")).expect("the broker lives");
    // The name before may hold anything but the last parenthesis.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().collect();
    TICK * (fields[11].parse::<u32>().unwrap() + fields[12].parse::<u32>().unwrap())
}

/// A batch of one record.
pub(super) fn batch(value: &[u8]) -> Bytes {
    let record = Record { value: Some(Bytes::copy_from_slice(value)), ..Record::default() };
    Builder::new(Codec::None).record(&record).build().unwrap()
}

/// What it took until a neighbour's requests were served: of the broker's computing, and of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    computed: Duration,
    took: Duration,
}

/// Another client, which produces, reads and asks all the time.
pub(super) struct Neighbour {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Vec<Turn>>,
    broker: u32,
    before: u64,
}

impl Neighbour {
    pub(super) async fn of(broker: &Broker) -> Neighbour {
        let client = broker.client();
        let topic = "neighbour";
        client.create_topic(topic, 1, &[]).await.unwrap();
        client.retry(|| client.produce(topic, 0, batch(b"first"))).await.unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stop);
        let pid = broker.pid();
        let task = tokio::spawn(async move {
            let mut turns = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                let (started, before) = (Instant::now(), computed(pid));
                turn(&client, topic).await;
                let computed = computed(pid).saturating_sub(before);
                turns.push(Turn { computed, took: started.elapsed() });
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            turns
        });
        Neighbour { stop, task, broker: broker.pid(), before: anonymous_mib(broker) }
    }

    /// Ends it; fails if it was not served promptly, or if the broker's memory grew by more than `mib`.
    pub(super) async fn was_well(self, broker: &Broker, mib: u64) {
        let grown = anonymous_mib(broker).saturating_sub(self.before);
        // At least one whole turn after what happened.
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.stop.store(true, Ordering::Relaxed);
        let mut all = self.task.await.expect("the neighbour was refused");
        all.sort_unstable();
        let turns = all.len();
        let late = all.get(turns.saturating_sub(1 + turns / 100)).map_or(Duration::ZERO, |turn| turn.computed);
        let worst = all.last().map_or(Duration::ZERO, |turn| turn.computed);
        let longest = all.iter().map(|turn| turn.took).max().unwrap_or_default();
        println!(
            "{turns} turns of a neighbour, p99 after {late:?} of computing, the worst after {worst:?}, the longest {longest:?}; {grown} MiB more than {}",
            self.before
        );
        assert_eq!(broker.pid(), self.broker);
        assert!(turns > 0 && worst < NEIGHBOURLY, "the broker computed for {worst:?} and let a neighbour wait");
        assert!(
            turns < 200 || late < NEIGHBOURLY / 2,
            "one in a hundred of a neighbour's turns took {late:?} of computing"
        );
        assert!(longest < PATIENCE, "a neighbour waited {longest:?}");
        assert!(grown <= mib, "{grown} MiB held where {mib} are the bound");
    }
}

async fn turn(client: &Client, topic: &str) {
    let produced = client.produce(topic, 0, batch(b"again")).await.unwrap();
    let fetched = client.fetch(topic, 0, produced.base_offset, 100).await.unwrap();
    assert!(!fetched.batches.is_empty());
    client.topics(Some(topic)).await.unwrap();
}
