//! Reading as a member of a consumer group: join, read what one is assigned, commit, and begin again at a rebalance.
//!
//! The members of a group keep one [`GroupBook`]. What was read and not committed may be given to another member again:
//! that is counted and not held against anybody. A committed offset that goes back, or that was never committed, is.

use super::fetcher::{Cursor, Cursors, Part};
use super::reader::{self, Reader};
use super::report;
use crate::client::{Assignment, At, ClientError, Member};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Between two looks at what is to do.
const TICK: Duration = Duration::from_millis(50);
/// Between two heartbeats.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// Between two commits.
const COMMIT: Duration = Duration::from_secs(1);
/// How long a member tries to become one, or waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);
/// After how long without a heartbeat the coordinator gives a member up, in milliseconds.
const SESSION_MS: i32 = 10_000;
/// How long one who left stays away.
const AWAY: Duration = Duration::from_millis(500);

/// What the members of a group know together.
#[derive(Clone, Debug)]
pub(super) struct GroupBook(Arc<Mutex<Group>>);

/// What is in a [`GroupBook`].
#[derive(Debug)]
pub(super) struct Group {
    /// What the coordinator said it committed.
    committed: BTreeMap<Part, i64>,
    /// Where every partition ends, once the run is over.
    ends: Option<BTreeMap<Part, i64>>,
    /// How long each member was without partitions at each rebalance, in nanoseconds.
    pub(super) rebalances: Histogram<u64>,
}

impl GroupBook {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        let rebalances = report::histogram();
        Self(Arc::new(Mutex::new(Group { committed: BTreeMap::new(), ends: None, rebalances })))
    }

    /// Access, for a moment.
    pub(super) fn lock(&self) -> MutexGuard<'_, Group> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One member.
pub(super) struct GroupReader {
    /// What it reads with; the book is that of the group.
    pub(super) reader: Reader,
    /// The group's name.
    pub(super) group: String,
    /// What the group knows.
    pub(super) known: GroupBook,
    /// Where the group begins in each partition of its topics.
    pub(super) starts: Arc<BTreeMap<Part, i64>>,
    /// When it leaves and joins again, in nanoseconds of the clock, ascending.
    pub(super) leaves: Vec<u64>,
}

/// Why a member stops reading for a moment.
#[derive(PartialEq)]
enum Why {
    Rebalance,
    Leaves,
    Over,
}

impl GroupReader {
    /// Is a member until the run is over and everything was read.
    pub(super) async fn run(mut self) -> anyhow::Result<()> {
        let client = &self.reader.client;
        let topics = self.reader.topics.to_vec();
        let mut member = client.retry(|| Member::new(client.clone(), &self.group, &topics, SESSION_MS)).await?;
        self.leaves.reverse();
        let mut since = None;
        loop {
            let assignment = join(&mut member).await?;
            if let Some(since) = since {
                let pause = self.reader.clock.now().saturating_sub(since);
                self.known.lock().rebalances.saturating_record(pause);
            }
            let cursors = self.begin(&member, &assignment).await?;
            let parts: Vec<Part> = cursors.keys().copied().collect();
            let reader = self.reader.clone();
            let mut reading = tokio::spawn(async move { reader.read(cursors).await });
            let why = self.be_member(&mut member, &parts, &mut reading).await;
            since = Some(self.reader.clock.now());
            reading.abort();
            // It is aborted, or it ended when its partitions did.
            let _ = (&mut reading).await;
            match why? {
                Why::Rebalance => drop(self.commit(&member, &parts).await),
                Why::Leaves => {
                    drop(self.commit(&member, &parts).await);
                    drop(member.leave().await);
                    tokio::time::sleep(AWAY).await;
                }
                Why::Over => {
                    drop(self.commit(&member, &parts).await);
                    drop(member.leave().await);
                    return Ok(());
                }
            }
        }
    }

    /// Where to begin in what is assigned.
    async fn begin(&self, member: &Member, assignment: &Assignment) -> anyhow::Result<Cursors> {
        let committed = self.reader.client.retry(|| member.committed(assignment)).await?;
        let mut cursors = Cursors::new();
        for (number, topic) in self.reader.topics.iter().enumerate() {
            for partition in assignment.get(topic).into_iter().flatten() {
                let part = (number as u32, *partition);
                let found = committed.get(&(topic.clone(), *partition)).copied();
                let known = self.known.lock().committed.get(&part).copied();
                let read = self.reader.book.lock().read.get(&part).copied();
                let start = self.starts.get(&part).copied().unwrap_or(0);
                // An answer to a commit may be lost, so more than is known may be committed, but not more than was read.
                let least = known.unwrap_or(start);
                let most = read.unwrap_or(start).max(least);
                let next = found.unwrap_or(start);
                anyhow::ensure!(
                    (least..=most).contains(&next),
                    "{topic}-{partition} of group {} goes on at {next}: {least} was committed, and {most} read",
                    self.group
                );
                cursors.insert(part, Cursor { next, end: i64::MAX });
            }
        }
        Ok(cursors)
    }

    async fn commit(&self, member: &Member, parts: &[Part]) -> Result<(), ClientError> {
        let read: Vec<(Part, i64)> = {
            let book = self.reader.book.lock();
            parts.iter().filter_map(|part| book.read.get(part).map(|read| (*part, *read))).collect()
        };
        let name = |part: &Part| self.reader.topics.get(part.0 as usize).map_or("", String::as_str);
        let offsets: Vec<(&str, i32, i64)> = read.iter().map(|(part, read)| (name(part), part.1, *read)).collect();
        if offsets.is_empty() {
            return Ok(());
        }
        member.commit(&offsets).await?;
        let mut known = self.known.lock();
        for (part, read) in read {
            let committed = known.committed.entry(part).or_default();
            *committed = (*committed).max(read);
        }
        Ok(())
    }

    /// Heartbeats and commits while `reading` goes on, until something else is to do.
    async fn be_member(
        &mut self,
        member: &mut Member,
        parts: &[Part],
        reading: &mut tokio::task::JoinHandle<anyhow::Result<()>>,
    ) -> anyhow::Result<Why> {
        let (mut beat, mut committed) = (Instant::now(), Instant::now());
        let mut over_since: Option<Instant> = None;
        loop {
            tokio::time::sleep(TICK).await;
            if self.leaves.last().is_some_and(|at| *at <= self.reader.clock.now()) && over_since.is_none() {
                self.leaves.pop();
                return Ok(Why::Leaves);
            }
            if reading.is_finished() && over_since.is_none() && !parts.is_empty() && !*self.reader.over.borrow() {
                return match reading.await? {
                    Ok(()) => anyhow::bail!("a member stopped reading before the run was over"),
                    Err(error) => Err(error),
                };
            }
            if beat.elapsed() >= HEARTBEAT {
                beat = Instant::now();
                match member.heartbeat().await {
                    Ok(()) => {}
                    Err(error) if error.code().is_some() => return Ok(Why::Rebalance),
                    // A broker that is away: the coordinator is looked for while joining.
                    Err(_) => return Ok(Why::Rebalance),
                }
            }
            if committed.elapsed() >= COMMIT {
                committed = Instant::now();
                if self.commit(member, parts).await.is_err() {
                    return Ok(Why::Rebalance);
                }
            }
            if *self.reader.over.borrow() {
                let since = *over_since.get_or_insert_with(Instant::now);
                if self.everything_was_read().await? {
                    return Ok(Why::Over);
                }
                anyhow::ensure!(since.elapsed() < PATIENCE, "group {} does not read to the end", self.group);
            }
        }
    }

    async fn everything_was_read(&self) -> anyhow::Result<bool> {
        let known = self.known.lock().ends.clone();
        let ends = match known {
            Some(ends) => ends,
            None => {
                let (client, topics) = (&self.reader.client, &self.reader.topics);
                let ends = reader::ends(client, topics, self.starts.keys().copied(), At::End).await?;
                self.known.lock().ends = Some(ends.clone());
                ends
            }
        };
        let book = self.reader.book.lock();
        Ok(ends.iter().all(|(part, end)| {
            let start = self.starts.get(part).copied().unwrap_or(0);
            book.read.get(part).copied().unwrap_or(start) >= *end
        }))
    }
}

/// Joins, however often the group changes meanwhile.
async fn join(member: &mut Member) -> anyhow::Result<Assignment> {
    let started = Instant::now();
    loop {
        match member.join().await {
            Ok(assignment) => return Ok(assignment),
            Err(error) => {
                // REBALANCE_IN_PROGRESS and ILLEGAL_GENERATION: the group has moved on.
                let again = error.is_retriable() || matches!(error.code(), Some(22 | 25 | 27));
                if !again || started.elapsed() > PATIENCE {
                    return Err(error.into());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
                if !matches!(error.code(), Some(22 | 25 | 27)) {
                    drop(member.find_coordinator().await);
                }
            }
        }
    }
}
