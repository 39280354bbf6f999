//! Reads what is there: every partition from its start to its end, by some connections, once or several times at once.

use super::crew::{Crew, Go, Job, Meters, ReadJob};
use super::fetcher::{Cursor, Cursors, Part};
use super::generator;
use super::meter::Meter;
use super::options::Consume;
use super::payload::Tracker;
use super::reader::{Reader, SharedBook};
use super::report;
use super::schedule::Schedule;
use super::stage::Extent;
use super::workload::{Endpoint, Limits, Topics};
use super::{Clock, runtime};
use crate::client::ClientError;
use crate::probe;
use crate::probe::process::Sampler;
use crate::results::{
    ClientSide, Direction, FailureKind, Flow, Process, Repeat, Report, Run, Second, Verification, Work,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Between two samples, in nanoseconds.
const SECOND: u64 = 1_000_000_000;
/// Between two looks at whether everybody is done.
const TICK: Duration = Duration::from_millis(2);

/// What is read, and how.
#[derive(Clone, Debug)]
pub(crate) struct WholeTopic {
    /// Where.
    pub(crate) endpoint: Endpoint,
    /// Which topic.
    pub(crate) topic: String,
    /// Connections that share the partitions.
    pub(crate) connections: usize,
    /// Times that everything is read at once.
    pub(crate) fan_out: usize,
    /// The most bytes of a fetch.
    pub(crate) fetch: i32,
}

/// What one pass came to.
pub(crate) struct Pass {
    /// Records that were read, by all readers.
    pub(crate) records: u64,
    /// Bytes of their values.
    pub(crate) bytes: u64,
    /// Seconds from the first request to the last record.
    pub(crate) seconds: f64,
    /// What each reader of everything saw.
    pub(crate) trackers: Vec<Tracker>,
    /// Whether the generator was the bottleneck.
    pub(crate) generator: generator::Verdict,
    /// What the broker's process spent.
    pub(crate) broker: Option<Process>,
    /// What was read in each whole second.
    series: Vec<Second>,
    /// Partitions of the topic.
    partitions: u64,
}

/// The `consume` command.
///
/// # Errors
/// What the broker refuses, and a verification that fails.
pub fn run(options: &Consume) -> anyhow::Result<()> {
    let reading = WholeTopic {
        endpoint: options.target.endpoint()?,
        topic: options.target.topic.clone(),
        connections: options.connections,
        fan_out: options.fan_out,
        fetch: options.fetch,
    };
    let name = options.disclose.name.clone().unwrap_or_else(|| "consume".to_owned());
    // What is there is looked at before any load disturbs it; how much there is to read is known behind it.
    let (client, side) = (reading.endpoint.client(), client_side(&reading));
    let disclosing = probe::disclose(&options.disclose, Work::default(), side, &client, Some(&reading.topic));
    let mut run = Run { name, disclosure: runtime()?.block_on(disclosing)?, ..Run::default() };
    for _ in 0..options.warmup_passes {
        read_everything(&reading)?;
    }
    for _ in 0..options.passes.max(1) {
        let pass = read_everything(&reading)?;
        run.repeats.push(repeat(&pass, options.slow_generator));
        run.disclosure.work = work(&reading, &pass);
    }
    options.output.emit(&Report { runs: vec![run] })
}

fn repeat(pass: &Pass, slow_generator: bool) -> Repeat {
    let flow = Flow {
        name: "readers".to_owned(),
        direction: Direction::Consume,
        records: pass.records,
        bytes: pass.bytes,
        requests: None,
        seconds: pass.seconds,
        latency: None,
        delay: None,
        following: None,
        series: pass.series.clone(),
    };
    let mut verification = Verification::default();
    for tracker in &pass.trackers {
        let faults = tracker.faults(&BTreeMap::new());
        verification.records += tracker.seen();
        verification.lost += faults.lost;
        verification.duplicated += faults.duplicated;
        verification.reordered += faults.reordered;
        verification.corrupt += faults.corrupt;
    }
    let mut repeat = Repeat {
        flows: vec![flow],
        verification: Some(verification),
        process: pass.broker.clone(),
        ..Repeat::default()
    };
    if !verification.is_clean() {
        repeat.fail(FailureKind::Verification, format!("what was read is not what was written: {verification}"));
    }
    pass.generator.report(!slow_generator, &mut repeat);
    repeat
}

fn work(reading: &WholeTopic, pass: &Pass) -> Work {
    Work {
        name: "consume".to_owned(),
        record_bytes: pass.bytes.checked_div(pass.records).unwrap_or_default(),
        topics: 1,
        partitions: pass.partitions,
        consumers: (reading.connections * reading.fan_out) as u64,
        parameters: BTreeMap::from([("fan-out".to_owned(), reading.fan_out.to_string())]),
        data_bytes: pass.bytes / reading.fan_out.max(1) as u64,
        ..Work::default()
    }
}

fn client_side(reading: &WholeTopic) -> ClientSide {
    ClientSide {
        name: reading.endpoint.driver.name().to_owned(),
        version: super::account::driver_version(reading.endpoint.driver),
        fetch_bytes: Some(reading.fetch as u64),
        connections: (reading.connections * reading.fan_out) as u64,
        threads: reading.endpoint.threads as u64,
        security: reading.endpoint.security.protocol().to_owned(),
        ..ClientSide::default()
    }
}

/// Reads the whole topic once, as many times at once as asked for.
///
/// # Errors
/// What the broker refuses, and a partition that has fewer or more records than offsets.
pub(crate) fn read_everything(reading: &WholeTopic) -> anyhow::Result<Pass> {
    let clock = Clock::start();
    let client = reading.endpoint.client();
    let (topics, extent) = runtime()?.block_on(async {
        let found = client.topics(Some(&reading.topic)).await?;
        let topic = found.first().ok_or_else(|| anyhow::anyhow!("no metadata of the topic"))?;
        ClientError::check(topic.error, "Metadata")?;
        let topics = Topics {
            name: reading.topic.clone(),
            count: 1,
            partitions: topic.partitions.len() as i32,
            configs: Vec::new(),
        };
        let extent = Extent::now(&client, &topics).await?;
        anyhow::Ok((topics, extent))
    })?;
    let names: Arc<[String]> = topics.names().into();
    let (_over, is_over) = watch::channel(false);
    let books: Vec<SharedBook> = (0..reading.fan_out.max(1)).map(|_| SharedBook::default()).collect();
    let mut jobs = Vec::new();
    for book in &books {
        for connection in 0..reading.connections.max(1) {
            let share = |(part, end): (&Part, &i64)| {
                let next = extent.starts.get(part).copied().unwrap_or(0);
                (*part, Cursor { next, end: *end })
            };
            let parts = extent.ends.iter().skip(connection).step_by(reading.connections.max(1));
            let cursors: Cursors = parts.map(share).filter(|(_, cursor)| cursor.next < cursor.end).collect();
            if cursors.is_empty() {
                continue;
            }
            let reader = Reader {
                client: reading.endpoint.client(),
                topics: Arc::clone(&names),
                fetch: reading.fetch,
                clock,
                book: book.clone(),
                meter: None,
                over: is_over.clone(),
                leaves_off: false,
            };
            let passes = Arc::default();
            jobs.push(Job::Read(Box::new(ReadJob { kind: 0, reader, cursors, again: false, passes })));
        }
    }
    let crew = Crew::start(&reading.endpoint, clock, jobs)?;
    crew.wait_ready();
    let now = clock.now();
    let schedule = Schedule::one(now, now..u64::MAX);
    let meters: Vec<Meters> = (0..crew.threads())
        .map(|_| Meters { sent: Meter::new(&schedule), read: vec![Meter::new(&schedule)] })
        .collect();
    let sampler = reading.endpoint.pid.map(Sampler::start).transpose()?;
    let generator = generator::Watch::start();
    crew.go(Go { schedule: schedule.clone(), meters: meters.clone() });
    let mut busy = generator.end();
    let (mut series, mut next_sample) = (Vec::new(), now + SECOND);
    while !crew.has_ended() {
        std::thread::sleep(TICK);
        if !crew.is_ending() {
            busy = generator.end();
        }
        if clock.now() >= next_sample {
            series.push(second(&meters));
            next_sample += SECOND;
        }
    }
    let ended = clock.now();
    crew.end()?;
    let broker = sampler.map(Sampler::end).transpose()?;
    let mut last = now;
    for meter in meters.iter().flat_map(|meters| &meters.read) {
        let counts = meter.lock();
        last = last.max(counts.active.as_ref().map_or(now, |active| active.end));
    }
    let last = if last > now { last } else { ended };
    let (mut records, mut bytes, mut trackers) = (0, 0, Vec::new());
    for book in books {
        let mut book = book.lock();
        records += book.records;
        bytes += book.bytes;
        trackers.push(std::mem::take(&mut book.tracker));
    }
    let seconds = last.saturating_sub(now).max(1) as f64 / 1e9;
    let generator = generator::Verdict::new(busy, &report::histogram(), Limits::default());
    let partitions = topics.partitions as u64;
    Ok(Pass { records, bytes, seconds, trackers, generator, broker, series, partitions })
}

/// What was read since this was last asked.
fn second(meters: &[Meters]) -> Second {
    let samples = meters.iter().flat_map(|meters| &meters.read).map(Meter::sample);
    // Nobody knows when what was there already should have arrived.
    samples.fold(Second::default(), |sum, sample| Second {
        records: sum.records + sample.records,
        bytes: sum.bytes + sample.bytes,
        ..sum
    })
}
