//! How soon a cold read's first record is there, and how fast one cold reader goes on.
//!
//! A *round trip* is one small GET of the store, measured before each cold read. Each cold read is in a tier unit that
//! nobody has read, at an offset inside of it, so that its index and its data must both be fetched; it ends when its
//! first record is decoded. Goal: 95 of 100 in less than two round trips and 5 ms.
//!
//! Then one consumer reads a partition's history from end to end, in turn with plain GETs of the broker's own range
//! size, as many at a time as its readers. Goal: a median of at least 0.8 of what the store gives to those. The store
//! has a rate, without which it would be the machine that is measured: by default 400 MB/s in all, 100 MB/s a
//! connection.
//!
//! ```text
//! esker-bench cold                      half a minute
//! esker-bench cold --store-delay 50
//! ```
//!
//! Measured, 2 cores (Zen 4) shared by broker, store and reader, median [lowest-highest]:
//!
//! | store delay | first record p50 / p95, of what is allowed | a reader's part of the store |
//! | --- | --- | --- |
//! | 20 ms, both cores compiling meanwhile | not to be told | 1.01x [0.94-1.01] of 384 MB/s |
//! | 20 ms, nothing beside it | 25.1 ms / 46.5 ms, of 47.5 ms | 0.97x [0.91-0.98] of 383 MB/s |

use super::plain::{self, Plain};
use super::ratio::Ratios;
use crate::batch;
use crate::client::{Client, Connection};
use crate::load::{Cursor, Cursors, Fetcher, Tracker, runtime};
use crate::rig::store::{Store, StoreSpeed};
use crate::rig::{Broker, History};
use clap::Args;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a cold read may take besides its two round trips.
const ALLOWANCE: Duration = Duration::from_millis(5);
/// The least part of the store's throughput.
const GOAL: f64 = 0.8;
/// Bytes of a range, and ranges at a time: the broker's own.
const RANGE: u64 = 1 << 20;
const READERS: usize = 24;
/// How long a reader goes on without a record.
const STALLED: Duration = Duration::from_secs(60);
/// How long plain GETs go on in one turn.
const PLAIN: Duration = Duration::from_secs(1);

/// Options of `cold`.
#[derive(Args, Clone, Debug)]
pub struct Cold {
    /// The broker's binary; by default the one beside this program.
    #[arg(long)]
    pub esker: Option<PathBuf>,
    /// Cold reads, each in a unit of its own.
    #[arg(long, default_value_t = 25)]
    pub reads: usize,
    /// Times that the partition is read from end to end.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// MB of history.
    #[arg(long, default_value_t = 512)]
    pub history: u64,
    /// Bytes that one fetch asks for.
    #[arg(long, default_value_t = 4 << 20)]
    pub fetch: i32,
    /// How fast the store is.
    #[command(flatten)]
    pub store: StoreSpeed,
    /// Broker settings, key=value.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
}

/// The `cold` command.
///
/// # Errors
/// What fails, a record that is not what was written, and a goal that is not met.
pub fn run(options: &Cold) -> anyhow::Result<()> {
    let binary = Broker::binary(options.esker.as_deref())?;
    let speed = StoreSpeed {
        store_connection_rate: options.store.store_connection_rate.or(Some(100.0)),
        store_rate: options.store.store_rate.or(Some(400.0)),
        ..options.store
    };
    let store = Store::start(speed, false)?;
    let mut settings = vec![("log.retention.check.interval.ms", "200")];
    settings.extend(options.settings.iter().filter_map(|pair| pair.split_once('=')));
    let broker = Broker::start(&binary, &store, &settings)?;
    let history = History {
        topic: "history".to_owned(),
        partitions: 1,
        bytes_each: options.history * 1_000_000,
        size: 1024,
        segment_bytes: 8 << 20,
    };
    println!("{} MB of history in {speed}", options.history);
    let local_start = history.make(broker.bootstrap())?.first().copied().unwrap_or(0);
    let whole = Cursor { next: 0, end: local_start };
    let met = runtime()?.block_on(async {
        let client = Client::new(broker.bootstrap());
        let soon = first_records(options, &history, &client, &store, whole).await?;
        let fast = end_to_end(options, &history, &client, &store, whole).await?;
        anyhow::Ok(soon && fast)
    })?;
    broker.complaints().iter().for_each(|line| println!("broker: {line}"));
    anyhow::ensure!(met, "cold reads are slower than they should be");
    Ok(())
}

/// Cold reads and round trips in turn.
async fn first_records(
    options: &Cold,
    history: &History,
    client: &Client,
    store: &Store,
    whole: Cursor,
) -> anyhow::Result<bool> {
    let connection = client.own_connection(&history.topic, 0).await?;
    let mut plain = Plain::connect(store.address()).await?;
    let objects = plain.list().await?;
    let object = objects.iter().max_by_key(|object| object.size).ok_or_else(|| anyhow::anyhow!("an empty store"))?;
    let apart = whole.end as u64 * history.size as u64 / options.reads.max(1) as u64;
    // A unit may have the end of one segment and most of the next.
    anyhow::ensure!(apart > 2 * history.segment_bytes, "{} reads are more than there are units", options.reads);
    let (mut trips, mut reads) = (Vec::new(), Vec::new());
    let reads_wanted = options.reads.max(1) as i64;
    for read in 0..reads_wanted {
        let started = Instant::now();
        plain.get(&object.key, 0..1024).await?;
        trips.push(started.elapsed());
        // Further apart than units are long, and not at the start of anything.
        let step = whole.end / reads_wanted;
        let at = read * step + step * 37 / 100;
        reads.push(first_record(&connection, history, Cursor { next: at, ..whole }, options.fetch).await?);
    }
    let trip = quantile(&mut trips, 0.5);
    let bound = 2 * trip + ALLOWANCE;
    let (half, most, all) = (quantile(&mut reads, 0.5), quantile(&mut reads, 0.95), quantile(&mut reads, 1.0));
    let met = most < bound;
    println!(
        "first record of {reads_wanted} cold reads: p50 {half:.1?}, p95 {most:.1?}, max {all:.1?}; a round trip is \
         {trip:.1?}, two and 5 ms are {bound:.1?}: {}",
        if met { "met" } else { "not met" }
    );
    Ok(met)
}

/// Reads the one partition from `cursor` on.
fn reader(connection: &Connection, history: &History, cursor: Cursor, fetch: i32, wait_ms: i32) -> Fetcher {
    let cursors = Cursors::from([((0, 0), cursor)]);
    Fetcher::new(connection.clone(), Arc::new([history.topic.clone()]), cursors, fetch, wait_ms)
}

/// The time until the record at the cursor is decoded.
async fn first_record(
    connection: &Connection,
    history: &History,
    cursor: Cursor,
    fetch: i32,
) -> anyhow::Result<Duration> {
    let mut fetcher = reader(connection, history, cursor, fetch, 5_000);
    let started = Instant::now();
    let answer = fetcher.send().await?.answer().await?;
    let mut found = None;
    for partition in answer.responses.iter().flat_map(|topic| &topic.partitions) {
        crate::client::ClientError::check(partition.error_code, "Fetch")?;
        batch::each_record(partition.records.as_deref().unwrap_or_default(), |record| {
            if record.offset == cursor.next {
                found.get_or_insert_with(|| started.elapsed());
            }
        })
        .map_err(|bad| anyhow::anyhow!("a bad batch: {bad}"))?;
    }
    found.ok_or_else(|| anyhow::anyhow!("offset {} did not come", cursor.next))
}

/// The whole history by one reader, and plain GETs, in turn.
async fn end_to_end(
    options: &Cold,
    history: &History,
    client: &Client,
    store: &Store,
    whole: Cursor,
) -> anyhow::Result<bool> {
    let objects = Plain::connect(store.address()).await?.list().await?;
    let get = || plain::throughput(store.address(), &objects, RANGE, READERS, PLAIN);
    let mut ratios = Ratios::default();
    let mut before = get().await?;
    for _ in 0..options.rounds.max(1) {
        let started = Instant::now();
        let connection = client.own_connection(&history.topic, 0).await?;
        let (tracker, bytes) = read(reader(&connection, history, whole, options.fetch, 1_000)).await?;
        let read = bytes as f64 / started.elapsed().as_secs_f64();
        let faults = tracker.faults(&BTreeMap::new());
        anyhow::ensure!(faults.none() && tracker.seen() >= whole.end as u64, "{faults}, {} records", tracker.seen());
        let after = get().await?;
        ratios.push(read, before, after);
        println!("read {:.0} MB/s, the store gives {:.0} and {:.0}", read / 1e6, before / 1e6, after / 1e6);
        before = after;
    }
    let met = ratios.median() >= GOAL;
    println!("a cold reader's part of what the store gives: {ratios}: {}", if met { "met" } else { "not met" });
    Ok(met)
}

/// Reads to the end, the next fetch under way while the last is checked; what was seen, and the bytes of the values.
async fn read(mut fetcher: Fetcher) -> anyhow::Result<(Tracker, u64)> {
    let (mut tracker, mut bytes) = (Tracker::default(), 0);
    let mut moved = Instant::now();
    let mut pending = fetcher.send().await?;
    loop {
        let answer = pending.answer().await?;
        if fetcher.advance(&answer)? {
            moved = Instant::now();
        }
        anyhow::ensure!(moved.elapsed() < STALLED, "no record for {STALLED:?}");
        let is_over = fetcher.cursors().is_empty();
        let following = if is_over { None } else { Some(fetcher.send().await?) };
        bytes += fetcher.check(&answer, &mut tracker, |_| {});
        match following {
            Some(following) => pending = following,
            None => return Ok((tracker, bytes)),
        }
    }
}

/// The value below which `part` of the values are.
fn quantile(values: &mut [Duration], part: f64) -> Duration {
    values.sort_unstable();
    let at = (values.len() as f64 * part) as usize;
    values.get(at.min(values.len().saturating_sub(1))).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_there() {
        let mut values: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        let mut at = |part| quantile(&mut values, part).as_millis();
        assert_eq!((at(0.0), at(0.5), at(0.95), at(1.0)), (1, 51, 96, 100));
    }
}
