//! Reading partitions, by one connection to each broker that leads some of them, until they end or the run does.
//!
//! A [`Reader`] goes on after failures that may pass: it looks for the leaders again and reads on where it was.

use super::Clock;
use super::fetcher::{self, Cursors, Fetcher, Part};
use super::meter::Meter;
use super::payload::Tracker;
use crate::client::{At, Client, ClientError};
use kafka_protocol::messages::FetchResponse;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long a reader goes on without a record that it knows to be there, or without a broker.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a fetch may wait for records, in milliseconds.
const WAIT_MS: i32 = 500;

/// What readers of the same partitions know together.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// What was read.
    pub(super) tracker: Tracker,
    /// The offset behind the last record that was read of each partition. What comes again below it was given to
    /// another member before, and is not looked at twice.
    pub(super) read: BTreeMap<Part, i64>,
    /// How many records came again.
    pub(super) again: u64,
    /// Records that were read.
    pub(super) records: u64,
    /// Bytes of their values.
    pub(super) bytes: u64,
}

/// A [`Book`] that is shared; clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedBook(Arc<Mutex<Book>>);

impl SharedBook {
    /// A new one, that follows what is read with `tracker`.
    pub(super) fn new(tracker: Tracker) -> Self {
        Self(Arc::new(Mutex::new(Book { tracker, ..Book::default() })))
    }

    /// Access, for a moment.
    pub(super) fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What every reader is given.
#[derive(Clone)]
pub(super) struct Reader {
    /// Its own client.
    pub(super) client: Client,
    /// The topics' names by number.
    pub(super) topics: Arc<[String]>,
    /// The most bytes of a fetch.
    pub(super) fetch: i32,
    /// The run's clock.
    pub(super) clock: Clock,
    /// What is read.
    pub(super) book: SharedBook,
    /// What is counted; without, nothing is timed.
    pub(super) meter: Option<Meter>,
    /// Whether the run is over: what is there then is read to its end.
    pub(super) over: watch::Receiver<bool>,
    /// Whether it leaves off instead.
    pub(super) leaves_off: bool,
}

/// How a fetcher ended.
struct Ended {
    left: Cursors,
    moved: bool,
    result: Result<(), ClientError>,
}

impl Reader {
    /// Reads `cursors` to their ends; those without one (`i64::MAX`) until the run is over.
    pub(super) async fn read(&self, mut cursors: Cursors) -> anyhow::Result<()> {
        let mut moved = Instant::now();
        while !cursors.is_empty() {
            let failed = match self.by_leader(&cursors).await {
                Ok(shares) => {
                    let stop = Arc::new(AtomicBool::new(false));
                    // Who aborts the reader aborts these as well.
                    let mut tasks = JoinSet::new();
                    for (leader, share) in shares {
                        tasks.spawn(self.clone().follow(leader, share, Arc::clone(&stop)));
                    }
                    cursors = Cursors::new();
                    let mut failed = None;
                    while let Some(ended) = tasks.join_next().await {
                        let ended = ended?;
                        if ended.moved {
                            moved = Instant::now();
                        }
                        cursors.extend(ended.left);
                        failed = failed.or(ended.result.err());
                    }
                    failed
                }
                Err(error) => Some(error),
            };
            let Some(error) = failed else { continue };
            if !error.is_retriable() || moved.elapsed() > PATIENCE {
                return Err(error.into());
            }
            self.client.forget().await;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn by_leader(&self, cursors: &Cursors) -> Result<BTreeMap<String, Cursors>, ClientError> {
        let mut shares: BTreeMap<String, Cursors> = BTreeMap::new();
        for (number, topic) in self.topics.iter().enumerate() {
            let number = number as u32;
            let parts: Vec<i32> =
                cursors.range((number, i32::MIN)..=(number, i32::MAX)).map(|((_, part), _)| *part).collect();
            if parts.is_empty() {
                continue;
            }
            for (leader, parts) in self.client.by_leader(topic, parts).await? {
                let share = shares.entry(leader).or_default();
                share.extend(parts.into_iter().filter_map(|p| cursors.get(&(number, p)).map(|c| ((number, p), *c))));
            }
        }
        Ok(shares)
    }

    /// Reads from one broker; when one of them fails, all stop.
    async fn follow(mut self, leader: String, cursors: Cursors, stop: Arc<AtomicBool>) -> Ended {
        let mut ended = Ended { left: cursors.clone(), moved: false, result: Ok(()) };
        let connection = match self.client.own_at(&leader).await {
            Ok(connection) => connection,
            Err(error) => {
                stop.store(true, Ordering::Release);
                ended.result = Err(error);
                return ended;
            }
        };
        let mut fetcher = Fetcher::new(connection, Arc::clone(&self.topics), cursors, self.fetch, WAIT_MS);
        ended.result = self.drain(&mut fetcher, &stop, &mut ended.moved).await;
        if ended.result.is_err() {
            stop.store(true, Ordering::Release);
        }
        ended.left = fetcher.cursors().clone();
        ended
    }

    async fn drain(&mut self, fetcher: &mut Fetcher, stop: &AtomicBool, moved: &mut bool) -> Result<(), ClientError> {
        if fetcher.cursors().is_empty() {
            return Ok(());
        }
        let (mut last, mut ends_known) = (Instant::now(), false);
        let mut pending = fetcher.send().await?;
        loop {
            let answer = pending.answer().await?;
            let now = self.clock.now();
            let advanced = fetcher.advance(&answer);
            if matches!(advanced, Ok(true)) {
                *moved = true;
                last = Instant::now();
            }
            let result = match advanced {
                Ok(_) => self.prepare_next(fetcher, &mut ends_known).await,
                Err(error) => Err(error),
            };
            let next = match result {
                Ok(()) if fetcher.cursors().is_empty() || stop.load(Ordering::Acquire) => None,
                Ok(()) => Some(fetcher.send().await),
                Err(error) => Some(Err(error)),
            };
            // What has come is looked at, whatever comes next.
            self.take(fetcher, &answer, now);
            let knows = ends_known || fetcher.cursors().values().all(|cursor| cursor.end < i64::MAX);
            if knows && last.elapsed() > PATIENCE {
                let left = fetcher.cursors().len();
                let what = format!("no record for {PATIENCE:?}, {left} partitions are not read to their end");
                return Err(ClientError::Malformed(what));
            }
            match next {
                Some(next) => pending = next?,
                None => return Ok(()),
            }
        }
    }

    /// When the run is over, asks where it ended.
    async fn prepare_next(&mut self, fetcher: &mut Fetcher, ends_known: &mut bool) -> Result<(), ClientError> {
        if !*ends_known && *self.over.borrow_and_update() {
            if self.leaves_off {
                fetcher.end_at(&BTreeMap::new());
            } else if fetcher.cursors().values().any(|cursor| cursor.end == i64::MAX) {
                let ends = ends(&self.client, &self.topics, fetcher.cursors().keys().copied(), At::End).await?;
                fetcher.end_at(&ends);
            }
            *ends_known = true;
        }
        Ok(())
    }

    fn take(&self, fetcher: &Fetcher, answer: &FetchResponse, now: u64) {
        let mut book = self.book.lock();
        let book = &mut *book;
        let mut arrived = Vec::new();
        let (mut bytes, mut records) = (0, 0);
        fetcher.each_part(answer, |part, batches| {
            let from = book.read.get(&part).copied().unwrap_or(0);
            let found = fetcher::check(part, batches, from, &mut book.tracker, |intended| arrived.push(intended));
            book.again += found.before;
            bytes += found.bytes;
            records += found.records;
            let read = book.read.entry(part).or_default();
            *read = (*read).max(found.end);
        });
        book.records += records;
        book.bytes += bytes;
        if let (Some(meter), true) = (&self.meter, records > 0) {
            let mut counts = meter.lock();
            counts.take(now, &arrived, bytes / records);
        }
    }
}

/// The offset at `at` of partitions of several topics; 0 of those that have none.
pub(super) async fn ends(
    client: &Client,
    topics: &[String],
    parts: impl IntoIterator<Item = Part>,
    at: At,
) -> Result<BTreeMap<Part, i64>, ClientError> {
    let mut wanted: BTreeMap<u32, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in parts {
        wanted.entry(topic).or_default().push(partition);
    }
    let mut found = BTreeMap::new();
    for (number, partitions) in wanted {
        let Some(topic) = topics.get(number as usize) else { continue };
        let offsets = client.retry(|| client.offsets(topic, partitions.clone(), at)).await?;
        found.extend(partitions.iter().map(|p| ((number, *p), offsets.get(p).copied().unwrap_or(0))));
    }
    Ok(found)
}
