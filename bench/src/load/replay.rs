//! Replaying: each connection reads one partition's tiered history, again and again, as fast as it comes.
//!
//! A pass ends where the local log begins, so that every byte is one that the broker has to fetch from its store or
//! from its cache of it. Whoever started this ends it by closing its standard input; it says then what it read:
//!
//! ```text
//! replayed RECORDS BYTES SECONDS
//! ```

use super::fetcher::{Cursor, Cursors, Fetcher};
use super::options::Replay;
use super::payload::Tracker;
use super::runtime;
use crate::client::At;
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a reader goes on without a record before that is an error.
const STALLED: Duration = Duration::from_secs(30);

/// What was replayed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Replayed {
    /// Records.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// In how many seconds.
    pub seconds: f64,
}

impl std::fmt::Display for Replayed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "replayed {} {} {:.6}", self.records, self.bytes, self.seconds)
    }
}

impl std::str::FromStr for Replayed {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> anyhow::Result<Self> {
        match line.split_ascii_whitespace().collect::<Vec<_>>()[..] {
            ["replayed", records, bytes, seconds] => {
                Ok(Self { records: records.parse()?, bytes: bytes.parse()?, seconds: seconds.parse()? })
            }
            _ => anyhow::bail!("not what a replay says: {line:?}"),
        }
    }
}

/// The `replay` command.
///
/// # Errors
/// What the broker refuses, and a verification that fails.
pub fn run(options: &Replay) -> anyhow::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let threads = options.target.threads.unwrap_or(1).clamp(1, options.connections.max(1));
    let started = Instant::now();
    let handles: Vec<_> = (0..threads)
        .map(|thread| {
            let (options, stop) = (options.clone(), Arc::clone(&stop));
            std::thread::spawn(move || -> anyhow::Result<Replayed> {
                runtime()?.block_on(async {
                    let tasks: Vec<_> = (thread..options.connections)
                        .step_by(threads)
                        .map(|connection| tokio::spawn(replay(options.clone(), connection, Arc::clone(&stop))))
                        .collect();
                    let mut total = Replayed::default();
                    for task in tasks {
                        let one = task.await??;
                        total.records += one.records;
                        total.bytes += one.bytes;
                    }
                    Ok(total)
                })
            })
        })
        .collect();
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let seconds = started.elapsed().as_secs_f64();
    stop.store(true, Ordering::Release);
    let mut total = Replayed { seconds, ..Replayed::default() };
    for handle in handles {
        let one = handle.join().map_err(|_| anyhow::anyhow!("a reader died"))??;
        total.records += one.records;
        total.bytes += one.bytes;
    }
    println!("{total}");
    Ok(())
}

/// One connection's passes.
async fn replay(options: Replay, connection: usize, stop: Arc<AtomicBool>) -> anyhow::Result<Replayed> {
    let topic = &options.target.topic;
    let client = options.target.own_client()?;
    let partitions = client.topics(Some(topic)).await?.first().map_or(0, |topic| topic.partitions.len());
    anyhow::ensure!(partitions > 0, "there is no topic {topic}");
    let partition = (connection % partitions) as i32;
    let from = client.retry(|| client.offset(topic, partition, At::Start)).await?.map_or(0, |(offset, _)| offset);
    let end = client.retry(|| client.offset(topic, partition, At::LocalStart)).await?.map_or(0, |(offset, _)| offset);
    anyhow::ensure!(from < end, "partition {partition} has no history but the local one");
    let connection = client.own_connection(topic, partition).await?;
    let mut read = Replayed::default();
    let whole = Cursors::from([((0, partition), Cursor { next: from, end })]);
    let topics: Arc<[String]> = Arc::new([topic.clone()]);
    let begin = || Fetcher::new(connection.clone(), Arc::clone(&topics), whole.clone(), options.fetch, 500);
    let (mut fetcher, mut tracker) = (begin(), Tracker::default());
    let mut moved = Instant::now();
    let mut pending = fetcher.send().await?;
    while !stop.load(Ordering::Acquire) {
        let answer = pending.answer().await?;
        if fetcher.advance(&answer)? {
            moved = Instant::now();
        }
        anyhow::ensure!(moved.elapsed() < STALLED, "no record of partition {partition} for {STALLED:?}");
        let pass_is_over = fetcher.cursors().is_empty();
        if pass_is_over {
            fetcher = begin();
        }
        pending = fetcher.send().await?;
        read.bytes += fetcher.check(&answer, &mut tracker, |_| {});
        // The last answer of a pass may go on behind its end, into what is local.
        let faults = tracker.faults(&BTreeMap::new());
        anyhow::ensure!(faults.none(), "partition {partition} reads otherwise than it was written: {faults}");
        if pass_is_over {
            anyhow::ensure!(tracker.seen() >= (end - from) as u64, "a pass had {} records", tracker.seen());
            read.records += std::mem::take(&mut tracker).seen();
        }
    }
    read.records += tracker.seen();
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_at_the_end_can_be_read() {
        let replayed = Replayed { records: 7, bytes: 7_168, seconds: 1.5 };
        assert_eq!(replayed.to_string().parse::<Replayed>().unwrap(), replayed);
        assert!("replayed 1 2".parse::<Replayed>().is_err());
    }
}
