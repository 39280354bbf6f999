//! An opened numbered log: reads what others commit, commits and settles its own, snapshots and truncates.

use super::content::{self, Commit, Kind, Record, Stamp, WriterMark, Writers, decode_commit, encode};
use super::snapshot::{Swept, list_snapshots, read_snapshot, sweep};
use super::{LogError, LogName};
use crate::env::mutation::{self, Mutation};
use crate::env::store::{Store, StoreError};
use crate::env::{Env, Timestamp};
use bytes::Bytes;
use futures_util::future::join_all;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Attempts of one call to settle a commit.
const ATTEMPTS: u32 = 6;
/// The pause after the first attempt; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Writers that a snapshot remembers. One that slept while as many others wrote cannot settle its last commit.
const MAX_WRITERS: usize = 256;

/// What became of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<R> {
    /// It took effect, exactly once.
    Committed(Commit<R>),
    /// It did not and never will: another writer's commit has the number. The log's position is past that one: replay
    /// it, and decide again.
    Foreign(Commit<R>),
    /// It did not and never will: the log has moved on, and its older commits are gone. Open it anew.
    Behind,
    /// Not known yet, because the store is away. It may have taken effect or may yet: call
    /// [`NumberedLog::settle`] until it says otherwise, and answer nobody before.
    Unsettled {
        /// What the store said last.
        reason: String,
    },
}

/// What became of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotOutcome {
    /// It was written.
    Written,
    /// There was one of this commit already, and it stays.
    Existed,
}

/// A log as it is after opening: at its newest snapshot.
#[derive(Debug)]
pub struct Opened<R, S> {
    /// The log; its next commit to read is the one after the snapshot.
    pub log: NumberedLog<R, S>,
    /// The lines of the newest snapshot; `None` if there is none.
    pub snapshot: Option<Vec<S>>,
}

struct Pending<R> {
    commit: Commit<R>,
    bytes: Bytes,
}

/// A numbered log with records `R` and snapshot lines `S`, opened by one owner: one position, one writer.
pub struct NumberedLog<R, S> {
    store: Arc<dyn Store>,
    env: Env,
    name: LogName,
    writer: Uuid,
    sequence: u64,
    number: u64,
    writers: Writers,
    pending: Option<Pending<R>>,
    lines: PhantomData<fn() -> S>,
}

impl<R: Record, S: Record> NumberedLog<R, S> {
    /// Opens a log at its newest snapshot, as a new writer. Read on with [`NumberedLog::next`] or
    /// [`NumberedLog::read_ahead`] until there is no more.
    ///
    /// # Errors
    /// [`LogError::Retry`], [`LogError::Refused`], and [`LogError::Corrupt`] or [`LogError::Incompatible`] for the
    /// snapshot.
    pub async fn open(store: Arc<dyn Store>, env: Env, name: LogName) -> Result<Opened<R, S>, LogError> {
        NumberedLog::open_before(store, env, name, Timestamp::from_millis(i64::MAX)).await
    }

    /// As [`NumberedLog::open`], at the newest of the snapshots that were written by `horizon`: to look at the log as it
    /// was then.
    ///
    /// # Errors
    /// As [`NumberedLog::open`].
    pub async fn open_before(
        store: Arc<dyn Store>,
        env: Env,
        name: LogName,
        horizon: Timestamp,
    ) -> Result<Opened<R, S>, LogError> {
        let snapshots = list_snapshots(&*store, &name, 0).await?;
        let old = snapshots.into_iter().filter(|(_, modified)| *modified <= horizon);
        let newest = old.map(|(number, _)| number).max();
        NumberedLog::open_at(store, env, name, newest).await
    }

    /// As [`NumberedLog::open`], at the snapshot after this commit, or before the first commit.
    ///
    /// # Errors
    /// As [`NumberedLog::open`].
    pub async fn open_at(
        store: Arc<dyn Store>,
        env: Env,
        name: LogName,
        snapshot: Option<u64>,
    ) -> Result<Opened<R, S>, LogError> {
        let writer = env.random.uuid();
        let mut log = NumberedLog {
            store,
            env,
            name,
            writer,
            sequence: 0,
            number: 0,
            writers: Writers::new(),
            pending: None,
            lines: PhantomData,
        };
        let snapshot = match snapshot {
            Some(number) => {
                let (writers, lines) = read_snapshot(&*log.store, &log.name, number).await?;
                log.number = number;
                log.writers = writers;
                Some(lines)
            }
            None => None,
        };
        Ok(Opened { log, snapshot })
    }

    /// The number of the last commit seen; 0 before the first.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// This opened log's id as a writer.
    pub fn writer(&self) -> Uuid {
        self.writer
    }

    /// The log's name.
    pub fn name(&self) -> &LogName {
        &self.name
    }

    /// Whether a commit is unsettled.
    pub fn is_unsettled(&self) -> bool {
        self.pending.is_some()
    }

    /// The next commit, if there is one yet, and moves past it. One GET.
    ///
    /// # Errors
    /// [`LogError::Retry`], [`LogError::Refused`], [`LogError::Corrupt`], [`LogError::Incompatible`];
    /// [`LogError::Invalid`] while a commit is unsettled.
    pub async fn next(&mut self) -> Result<Option<Commit<R>>, LogError> {
        Ok(self.read_ahead(1).await?.pop())
    }

    /// The next commits, at most `width`, read at the same time; moves past them. Empty at the tail.
    ///
    /// # Errors
    /// As [`NumberedLog::next`]; the position has not moved then.
    pub async fn read_ahead(&mut self, width: usize) -> Result<Vec<Commit<R>>, LogError> {
        self.require_settled()?;
        let numbers = self.number.saturating_add(1)..=self.number.saturating_add(width as u64);
        let reads = join_all(numbers.map(|number| {
            let object = self.store.get(&self.name.commit(number));
            async move { (number, object.await) }
        }));
        let mut commits = Vec::new();
        for (number, object) in reads.await {
            match object {
                Ok(bytes) => commits.push(decode_commit(&self.name, number, &bytes)?),
                Err(StoreError::NotFound { .. }) => break,
                Err(error) if commits.is_empty() => return Err(error.into()),
                Err(_) => break,
            }
        }
        for commit in &commits {
            self.advance(commit);
        }
        Ok(commits)
    }

    /// Every snapshot that there is, with its number: for whoever sweeps what snapshots name.
    ///
    /// # Errors
    /// As [`NumberedLog::open`]; [`LogError::Retry`] if one is deleted meanwhile.
    pub async fn snapshots(store: &dyn Store, name: &LogName) -> Result<Vec<(u64, Vec<S>)>, LogError> {
        let mut snapshots = Vec::new();
        for (number, _) in list_snapshots(store, name, 0).await? {
            let (_, lines) = read_snapshot(store, name, number).await?;
            snapshots.push((number, lines));
        }
        Ok(snapshots)
    }

    /// The number of the newest snapshot; `None` if there is none.
    ///
    /// # Errors
    /// [`LogError::Retry`], [`LogError::Refused`].
    pub async fn newest_snapshot_number(&self) -> Result<Option<u64>, LogError> {
        self.newest_snapshot(0).await
    }

    /// Whether the commits after this log's position may have been deleted already. A reader that is told of a
    /// commit which it cannot find asks this, and opens the log anew if so.
    ///
    /// # Errors
    /// [`LogError::Retry`], [`LogError::Refused`].
    pub async fn is_behind(&self) -> Result<bool, LogError> {
        Ok(self.newest_snapshot(self.number.saturating_add(1)).await?.is_some())
    }

    /// Commits `records` under the next number, and settles it.
    ///
    /// The future may be dropped: the commit is then unsettled, and [`NumberedLog::settle`] goes on with it.
    ///
    /// # Errors
    /// [`LogError::Invalid`] while another commit is unsettled, or for too many records; otherwise as
    /// [`NumberedLog::settle`].
    pub async fn commit(&mut self, records: Vec<R>) -> Result<Outcome<R>, LogError> {
        self.require_settled()?;
        let stamp = Stamp {
            number: self.number.saturating_add(1),
            writer: self.writer,
            sequence: self.sequence.saturating_add(1),
            at: self.env.wall(),
        };
        let bytes = encode(&self.name, stamp, None, &records)?;
        self.sequence = stamp.sequence;
        let commit =
            Commit { number: stamp.number, writer: stamp.writer, sequence: stamp.sequence, at: stamp.at, records };
        self.pending = Some(Pending { commit, bytes });
        if mutation::active(Mutation::LostAnswerNewNumber) {
            self.go_on_under_new_numbers().await?;
        }
        self.settle().await
    }

    /// The mistake of [`Mutation::LostAnswerNewNumber`].
    async fn go_on_under_new_numbers(&mut self) -> Result<(), LogError> {
        while let Some(pending) = &mut self.pending {
            let key = self.name.commit(pending.commit.number);
            let put = self.store.put_if_absent(&key, pending.bytes.clone()).await;
            if !matches!(put, Err(StoreError::Indefinite { .. })) {
                break;
            }
            self.number = pending.commit.number;
            pending.commit.number += 1;
            let Commit { number, writer, sequence, at, records } = &pending.commit;
            let stamp = Stamp { number: *number, writer: *writer, sequence: *sequence, at: *at };
            pending.bytes = encode(&self.name, stamp, None, records)?;
        }
        Ok(())
    }

    /// Goes on with an unsettled commit: a bounded number of attempts with pauses between them.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] or [`LogError::Incompatible`] if the number holds an object that cannot be understood;
    /// [`LogError::Undecided`]; [`LogError::Invalid`] if nothing is unsettled.
    pub async fn settle(&mut self) -> Result<Outcome<R>, LogError> {
        let Some(pending) = &self.pending else {
            return Err(LogError::Invalid { reason: "no commit is unsettled".to_owned() });
        };
        let (number, bytes) = (pending.commit.number, pending.bytes.clone());
        let mut reason = String::new();
        for attempt in 0..ATTEMPTS {
            self.pause(attempt).await;
            let found = match self.try_number(number, &bytes).await {
                Ok(found) => found,
                Err(error) => {
                    reason = error.to_string();
                    continue;
                }
            };
            let snapshot = match self.newest_snapshot(number).await {
                Ok(snapshot) => snapshot,
                Err(error) => {
                    reason = error.to_string();
                    continue;
                }
            };
            let outcome = match (snapshot, found) {
                (None, None) => Decision::Ours,
                (None, Some(foreign)) => Decision::Foreign(decode_commit(&self.name, number, &foreign)?),
                (Some(snapshot), _) => match self.decide_by_snapshot(snapshot).await {
                    Ok(decision) => decision,
                    Err(error @ (LogError::Retry { .. } | LogError::Refused { .. })) => {
                        reason = error.to_string();
                        continue;
                    }
                    Err(error) => return Err(error),
                },
            };
            return Ok(self.conclude(outcome));
        }
        tracing::warn!(log = %self.name.prefix, number, %reason, "a commit is unsettled");
        Ok(Outcome::Unsettled { reason })
    }

    /// Creates the number, or finds out what it holds: `None` for our bytes, or the foreign ones.
    async fn try_number(&self, number: u64, bytes: &Bytes) -> Result<Option<Bytes>, StoreError> {
        let key = self.name.commit(number);
        match self.store.put_if_absent(&key, bytes.clone()).await {
            Ok(()) => Ok(None),
            // Whatever the store said, even that the object exists: only what is there counts.
            Err(_) => {
                let found = self.store.get(&key).await?;
                Ok(if found == *bytes { None } else { Some(found) })
            }
        }
    }

    /// Decides the unsettled commit by a snapshot at or past its number: the object under the number may have been
    /// created a second time, after the first one was deleted.
    async fn decide_by_snapshot(&self, snapshot: u64) -> Result<Decision<R>, LogError> {
        let (writers, _) = read_snapshot::<S>(&*self.store, &self.name, snapshot).await?;
        match writers.get(&self.writer) {
            Some(mark) if mark.sequence >= self.sequence => Ok(Decision::Ours),
            None if writers.len() >= MAX_WRITERS && self.sequence > 0 => {
                Err(LogError::Undecided { number: self.number.saturating_add(1) })
            }
            Some(_) | None => Ok(Decision::Behind),
        }
    }

    fn conclude(&mut self, decision: Decision<R>) -> Outcome<R> {
        let pending = self.pending.take();
        match (decision, pending) {
            (Decision::Ours, Some(pending)) => {
                self.advance(&pending.commit);
                Outcome::Committed(pending.commit)
            }
            (Decision::Foreign(commit), _) => {
                self.advance(&commit);
                Outcome::Foreign(commit)
            }
            (Decision::Behind | Decision::Ours, _) => Outcome::Behind,
        }
    }

    /// Writes the state after the last commit seen as a snapshot.
    ///
    /// # Errors
    /// [`LogError::Retry`] if the store is away (nothing is lost: try again later), [`LogError::Refused`],
    /// [`LogError::Invalid`] while a commit is unsettled.
    pub async fn write_snapshot(&self, lines: &[S]) -> Result<SnapshotOutcome, LogError> {
        self.require_settled()?;
        let (number, at) = (self.number, self.env.wall());
        let stamp = Stamp { number, writer: self.writer, sequence: self.sequence, at };
        let bytes = encode(&self.name, stamp, Some(&self.writers), lines)?;
        let key = self.name.snapshot(number);
        let mut last = LogError::Retry { reason: "no attempt".to_owned() };
        for attempt in 0..ATTEMPTS {
            self.pause(attempt).await;
            if self.store.put_if_absent(&key, bytes.clone()).await.is_ok() {
                return Ok(SnapshotOutcome::Written);
            }
            match self.store.get(&key).await {
                Ok(found) if found == bytes => return Ok(SnapshotOutcome::Written),
                // Another owner's: the same state, since it follows from the same commits.
                Ok(found) => {
                    content::decode::<S>(&self.name, Kind::Snapshot, number, &key, &found)?;
                    return Ok(SnapshotOutcome::Existed);
                }
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    /// Deletes the commits and snapshots that no reader needs which began within the last `grace`: those at or below
    /// the newest snapshot that is older than `grace`, oldest first. That snapshot itself stays.
    ///
    /// # Errors
    /// [`LogError::Retry`], [`LogError::Refused`]; what was deleted until then stays deleted.
    pub async fn sweep(&self, grace: Duration) -> Result<Swept, LogError> {
        let horizon = self.env.wall().millis().saturating_sub(i64::try_from(grace.as_millis()).unwrap_or(i64::MAX));
        sweep(&*self.store, &self.name, Timestamp::from_millis(horizon)).await
    }

    fn require_settled(&self) -> Result<(), LogError> {
        match &self.pending {
            None => Ok(()),
            Some(pending) => {
                Err(LogError::Invalid { reason: format!("commit {} is unsettled", pending.commit.number) })
            }
        }
    }

    fn advance(&mut self, commit: &Commit<R>) {
        self.number = commit.number;
        let mark = WriterMark { sequence: commit.sequence, number: commit.number };
        self.writers.insert(commit.writer, mark);
        while self.writers.len() > MAX_WRITERS {
            let oldest = self.writers.iter().min_by_key(|(_, mark)| mark.number).map(|(writer, _)| *writer);
            if let Some(oldest) = oldest {
                self.writers.remove(&oldest);
            }
        }
    }

    async fn pause(&self, attempt: u32) {
        if attempt > 0 {
            let longest = FIRST_PAUSE.saturating_mul(1 << attempt.min(10)).min(LONGEST_PAUSE);
            let millis = longest.as_millis() as u64;
            let jittered = millis / 2 + self.env.random.below(millis / 2 + 1);
            self.env.sleep(Duration::from_millis(jittered)).await;
        }
    }

    /// The number of the newest snapshot at or past `from`.
    async fn newest_snapshot(&self, from: u64) -> Result<Option<u64>, LogError> {
        Ok(list_snapshots(&*self.store, &self.name, from).await?.into_iter().map(|(number, _)| number).max())
    }
}

enum Decision<R> {
    Ours,
    Foreign(Commit<R>),
    Behind,
}

impl<R, S> std::fmt::Debug for NumberedLog<R, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NumberedLog")
            .field("prefix", &self.name.prefix)
            .field("number", &self.number)
            .field("unsettled", &self.pending.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
