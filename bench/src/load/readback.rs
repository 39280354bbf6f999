//! Reading back what should be there when a run is over: everything, what retention left, or what compaction left.

use super::Clock;
use super::fetcher::{Cursor, Cursors};
use super::outcome::{GroupRead, Outcome};
use super::payload::{Expect, Tracker};
use super::reader::{Reader, SharedBook};
use super::runtime;
use super::stage::Extent;
use super::workload::{Check, Workload};
use crate::client::{Client, ClientError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long retention or compaction may take to act after the last record.
const PATIENCE: Duration = Duration::from_secs(60);
/// Kafka's OFFSET_OUT_OF_RANGE.
const OUT_OF_RANGE: i16 = 1;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// Reads back what `workload` asks for; `before` is what lay there before the run.
pub(super) fn check(workload: &Workload, clock: Clock, before: &Extent, outcome: &mut Outcome) -> anyhow::Result<()> {
    let client = workload.endpoint.client();
    runtime()?.block_on(async {
        let mut expected = outcome.acknowledged.clone();
        expected.extend(outcome.backlog.iter().map(|(key, count)| (*key, *count)));
        let written: u64 = expected.values().sum();
        let started = Instant::now();
        loop {
            let extent = Extent::now(&client, &workload.topics).await?;
            let expect = match workload.check {
                Check::Retained => Expect::Newest,
                Check::Compacted => Expect::NewestOfKeys,
                _ => Expect::All,
            };
            let mut starts = extent.starts.clone();
            if workload.check == Check::Everything {
                // What a log had before is somebody else's. What is gone of our own is missed.
                for (part, start) in &mut starts {
                    *start = before.ends.get(part).copied().unwrap_or(0).max(*start);
                }
            }
            let extent = Extent { starts, ends: extent.ends };
            let book = match read(workload, &client, clock, &extent, expect).await {
                // Retention has gone on meanwhile.
                Err(error) if is_out_of_range(&error) && started.elapsed() < PATIENCE => continue,
                book => book?,
            };
            let records = book.lock().records;
            let acted = match workload.check {
                Check::Nothing | Check::Everything => true,
                Check::Retained | Check::Compacted => records < written,
            };
            if !acted && started.elapsed() < PATIENCE {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            if !acted {
                outcome.wrong.push(format!(
                    "nothing of {written} records was gone {PATIENCE:?} after the last one: neither retention nor \
                     compaction has acted, so nothing was shown. How often a broker looks is its own setting: \
                     log.retention.check.interval.ms, log.cleaner.backoff.ms; a longer run helps as well"
                ));
            }
            let mut book = book.lock();
            let mut read = GroupRead::new(&mut book, &expected, false);
            if workload.check == Check::Compacted {
                let stale = book.tracker.stale_keys(&outcome.newest);
                read.faults.lost += stale;
                let keys = outcome.newest.len() as f64;
                outcome.measures.push(("keys, each with its newest record".to_owned(), keys - stale as f64, "keys"));
            }
            if matches!(workload.check, Check::Retained | Check::Compacted) {
                let gone = written.saturating_sub(book.records) as f64;
                outcome.measures.push(("records that retention or compaction took".to_owned(), gone, "records"));
            }
            outcome.groups.push(read);
            return Ok(());
        }
    })
}

fn is_out_of_range(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ClientError>().and_then(ClientError::code) == Some(OUT_OF_RANGE)
}

async fn read(
    workload: &Workload,
    client: &Client,
    clock: Clock,
    extent: &Extent,
    expect: Expect,
) -> anyhow::Result<SharedBook> {
    let (_over, is_over) = watch::channel(false);
    let book = SharedBook::new(Tracker::expecting(expect));
    let reader = Reader {
        client: client.clone(),
        topics: workload.topics.names().into(),
        fetch: 8 << 20,
        clock,
        book: book.clone(),
        meter: None,
        over: is_over,
        leaves_off: false,
    };
    let cursors: Cursors = extent
        .ends
        .iter()
        .map(|(part, end)| (*part, Cursor { next: extent.starts.get(part).copied().unwrap_or(0), end: *end }))
        .filter(|(_, cursor)| cursor.next < cursor.end)
        .collect();
    reader.read(cursors).await?;
    Ok(book)
}
