//! Sending and reading at once: how long a record takes from when it should have been sent to when it was read.

use super::consume::{self, Cursor};
use super::options::{Produce, Target};
use super::payload::Tracker;
use super::produce::{self, Window};
use super::report::{self, Measured};
use super::{Clock, runtime};
use crate::client::Client;
use hdrhistogram::Histogram;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long the reader waits for what was acknowledged, after the last record came.
const PATIENCE: Duration = Duration::from_secs(10);

/// No answer to "how many were acknowledged" yet.
const UNKNOWN: u64 = u64::MAX;

/// The `e2e` command.
///
/// # Errors
/// What the broker refuses, and a verification that fails.
pub fn run(options: &Produce) -> anyhow::Result<()> {
    anyhow::ensure!(options.rate.is_some(), "end to end is measured at a rate: --rate");
    anyhow::ensure!(options.acks != 0, "end to end needs acknowledgements, to know what must arrive");
    let clock = Clock::start();
    produce::prepare(options)?;
    let window = produce::window(options, clock);
    let expected = Arc::new(AtomicU64::new(UNKNOWN));
    let reader = {
        let (target, expected) = (options.target.clone(), Arc::clone(&expected));
        let cursors = runtime()?.block_on(consume::cursors(&target))?;
        std::thread::spawn(move || runtime()?.block_on(follow(&target, cursors, clock, window, &expected)))
    };
    let (sent, broker) = produce::send_all(options, clock, window)?;
    expected.store(sent.acknowledged.values().sum(), Ordering::Release);
    let (tracker, latency) = reader.join().map_err(|_| anyhow::anyhow!("the reader died"))??;
    let seconds = (window.end - window.measure) as f64 / 1e9;
    let bytes = sent.records * options.size as u64;
    let acknowledged = Some(("acknowledged after", sent.latency));
    let measured = Measured { what: "produce", records: sent.records, bytes, seconds, latency: acknowledged, broker };
    println!("{measured}");
    let records = latency.len();
    let bytes = records * options.size as u64;
    let latency = Some(("read after", latency));
    println!("{}", Measured { what: "end to end", records, bytes, seconds, latency, broker: None });
    report::verdict(tracker.seen(), tracker.faults(&sent.acknowledged))
}

/// Reads what comes, from the present end on, until everything expected is there.
async fn follow(
    target: &Target,
    cursors: Vec<Cursor>,
    clock: Clock,
    window: Window,
    expected: &AtomicU64,
) -> anyhow::Result<(Tracker, Histogram<u64>)> {
    let client = Client::new(&target.bootstrap);
    let connection = client.own_connection(&target.topic, 0).await?;
    let mut cursors: Vec<Cursor> = cursors.into_iter().map(|c| Cursor { next: c.end, end: i64::MAX, ..c }).collect();
    let mut tracker = Tracker::default();
    let mut latency = report::histogram();
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
        consume::check(&answer, &mut tracker, |intended| {
            if intended >= window.measure && intended < window.end {
                latency.saturating_record(now.saturating_sub(intended));
            }
        });
    }
}
