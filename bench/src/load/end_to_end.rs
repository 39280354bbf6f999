//! Sending and reading at once: how long a record takes from when it should have been sent to when it was read.

use super::consume::{self, Cursor};
use super::options::{Produce, Target};
use super::payload::Tracker;
use super::produce::{self, Sent};
use super::report::{self, Measured, Spent};
use super::schedule::{Latencies, Schedule};
use super::{Clock, runtime};
use crate::client::Client;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long the reader waits for what was acknowledged, after the last record came.
const PATIENCE: Duration = Duration::from_secs(10);

/// No answer to "how many were acknowledged" yet.
const UNKNOWN: u64 = u64::MAX;

/// What was sent, and what was read meanwhile.
pub(crate) struct Outcome {
    /// What was sent and acknowledged.
    pub(crate) sent: Sent,
    /// From when a record should have been sent to its arrival at the reader.
    pub(crate) read: Latencies,
    /// What was read.
    pub(crate) tracker: Tracker,
    /// What the broker spent between the start of the first phase and the end of the last.
    pub(crate) broker: Option<Spent>,
}

impl Outcome {
    /// Prints what was verified.
    ///
    /// # Errors
    /// If what was read is not what was acknowledged.
    pub(crate) fn verdict(&self) -> anyhow::Result<()> {
        report::verdict(self.tracker.seen(), self.tracker.faults(&self.sent.acknowledged))
    }
}

/// The `e2e` command.
///
/// # Errors
/// What the broker refuses, and a verification that fails.
pub fn run(options: &Produce) -> anyhow::Result<()> {
    let clock = Clock::start();
    produce::prepare(options)?;
    let schedule = produce::schedule(options, clock);
    let outcome = measure(options, clock, &schedule)?;
    let Outcome { sent, read, broker, .. } = &outcome;
    let (seconds, bytes) = (schedule.seconds(), sent.records * options.size as u64);
    let (latency, broker) = (Some(("acknowledged after", sent.latency.total())), *broker);
    println!("{}", Measured { what: "produce", records: sent.records, bytes, seconds, latency, broker });
    let latency = read.total();
    let (records, bytes) = (latency.len(), latency.len() * options.size as u64);
    let latency = Some(("read after", latency));
    println!("{}", Measured { what: "end to end", records, bytes, seconds, latency, broker: None });
    outcome.verdict()
}

/// Sends through the schedule to a topic that is there, and reads until everything acknowledged has come.
///
/// # Errors
/// What the broker refuses.
pub(crate) fn measure(options: &Produce, clock: Clock, schedule: &Schedule) -> anyhow::Result<Outcome> {
    anyhow::ensure!(options.rate.is_some(), "end to end is measured at a rate: --rate");
    anyhow::ensure!(options.acks != 0, "end to end needs acknowledgements, to know what must arrive");
    let expected = Arc::new(AtomicU64::new(UNKNOWN));
    let reader = {
        let (target, expected, schedule) = (options.target.clone(), Arc::clone(&expected), schedule.clone());
        let cursors = runtime()?.block_on(consume::cursors(&target))?;
        std::thread::spawn(move || runtime()?.block_on(follow(&target, cursors, clock, &schedule, &expected)))
    };
    let (sent, broker) = produce::send_all(options, clock, schedule)?;
    expected.store(sent.acknowledged.values().sum(), Ordering::Release);
    let (tracker, read) = reader.join().map_err(|_| anyhow::anyhow!("the reader died"))??;
    Ok(Outcome { sent, read, tracker, broker })
}

/// Reads what comes, from the present end on, until everything expected is there.
async fn follow(
    target: &Target,
    cursors: Vec<Cursor>,
    clock: Clock,
    schedule: &Schedule,
    expected: &AtomicU64,
) -> anyhow::Result<(Tracker, Latencies)> {
    let client = Client::new(&target.bootstrap);
    let connection = client.own_connection(&target.topic, 0).await?;
    let mut cursors: Vec<Cursor> = cursors.into_iter().map(|c| Cursor { next: c.end, end: i64::MAX, ..c }).collect();
    let mut tracker = Tracker::default();
    let mut latency = Latencies::new(schedule);
    let mut moved = Instant::now();
    loop {
        let known = expected.load(Ordering::Acquire);
        if known != UNKNOWN && (tracker.seen() >= known || moved.elapsed() > PATIENCE) {
            return Ok((tracker, latency));
        }
        let answer = consume::send(&connection, &target.topic, &cursors, 8 << 20, 500).await?.answer().await?;
        let now = clock.now();
        if consume::advance(&answer, &mut cursors)? {
            moved = Instant::now();
        }
        consume::check(&answer, &mut tracker, |intended| latency.record(intended, now, 1));
    }
}
