//! The journal: the metadata log, the image that it replays to, and the publisher of that image.
//!
//! Everything that changes this broker's image goes through here: what is replayed when it starts, its own commits, and
//! the foreign ones that it finds in their place. An image is published only when the commit that leads to it has
//! settled.

use crate::metadata::{Delta, Image, Publisher, Record, ReplayError, Violation};
use esker_storage::env::Env;
use esker_storage::env::store::Store;
use esker_storage::numbered_log::{Commit, LogError, LogName, NumberedLog, Outcome};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The prefix of the metadata log's keys.
const PREFIX: &str = "cluster";
/// Commits that are read at a time when the log is replayed.
const READ_AHEAD: usize = 16;
/// How long commits stay after a snapshot made them superfluous: far longer than any broker sleeps.
const GRACE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Why the journal cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// See [`LogError`]; [`LogError::is_retry`] says whether to try again.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A record does not fit what came before it. A person must look.
    #[error("commit {number} of the metadata log cannot be replayed: {error}")]
    Replay {
        /// The commit, or the snapshot.
        number: u64,
        /// What does not fit.
        error: ReplayError,
    },
    /// Replaying led to an image that breaks a rule. A person must look.
    #[error("commit {number} of the metadata log breaks a rule: {violation}")]
    Broken {
        /// The commit, or the snapshot.
        number: u64,
        /// The rule.
        violation: Violation,
    },
}

impl JournalError {
    /// Whether another attempt may succeed without anybody doing anything.
    pub fn is_retry(&self) -> bool {
        matches!(self, JournalError::Log(error) if error.is_retry())
    }
}

/// What became of records that were to be committed.
#[derive(Debug)]
pub(super) enum Decided {
    /// They are committed, and published as this image.
    Committed(Arc<Image>),
    /// Another commit had their number; it was replayed and published. Decide again.
    Foreign,
}

/// The metadata log of one broker.
#[derive(Debug)]
pub struct Journal {
    log: NumberedLog<Record, Record>,
    image: Arc<Image>,
    publisher: Arc<Publisher>,
    snapshot_every: u64,
    snapshot_at: u64,
}

impl Journal {
    /// Opens the metadata log of `cluster` and replays it to its end. Writes a snapshot after every `snapshot_every`
    /// commits.
    ///
    /// # Errors
    /// See [`JournalError`]; with [`JournalError::is_retry`], open it again after a pause.
    pub async fn open(
        store: Arc<dyn Store>,
        env: &Env,
        cluster: Uuid,
        snapshot_every: u32,
    ) -> Result<Journal, JournalError> {
        let opened = NumberedLog::open(store, env.clone(), LogName::new(PREFIX, cluster)).await?;
        let mut log = opened.log;
        let mut image = Arc::new(Image::empty());
        if let Some(records) = opened.snapshot {
            image = replay(&image, &records, log.number())?;
        }
        let snapshot_every = u64::from(snapshot_every.max(1));
        let snapshot_at = log.number().saturating_add(snapshot_every);
        loop {
            let commits = log.read_ahead(READ_AHEAD).await?;
            if commits.is_empty() {
                break;
            }
            for commit in &commits {
                image = replay(&image, &commit.records, commit.number)?;
            }
        }
        image.check().map_err(|violation| JournalError::Broken { number: log.number(), violation })?;
        let publisher = Publisher::new(Arc::clone(&image));
        Ok(Journal { log, image, publisher, snapshot_every, snapshot_at })
    }

    /// Where the images are published.
    pub fn publisher(&self) -> &Arc<Publisher> {
        &self.publisher
    }

    /// The newest image.
    pub fn image(&self) -> &Arc<Image> {
        &self.image
    }

    /// Commits `records`, which were replayed on `delta` already. Returns when it is known what became of them, however
    /// long the store is away.
    pub(super) async fn commit(&mut self, records: Vec<Record>, delta: Delta) -> Result<Decided, JournalError> {
        let mut outcome = self.log.commit(records).await?;
        loop {
            match outcome {
                Outcome::Committed(commit) => {
                    let (image, _) = delta.finish(commit.number);
                    self.publish(image);
                    return Ok(Decided::Committed(Arc::clone(&self.image)));
                }
                Outcome::Foreign(commit) => {
                    self.follow(&commit)?;
                    return Ok(Decided::Foreign);
                }
                Outcome::Behind => return Err(LogError::Behind { number: self.log.number() }.into()),
                Outcome::Unsettled { .. } => outcome = self.log.settle().await?,
            }
        }
    }

    /// Replays another writer's commit.
    fn follow(&mut self, commit: &Commit<Record>) -> Result<(), JournalError> {
        let image = replay(&self.image, &commit.records, commit.number)?;
        self.publish(image);
        Ok(())
    }

    fn publish(&mut self, image: Arc<Image>) {
        self.image = image;
        self.publisher.publish(Arc::clone(&self.image));
    }

    /// Writes a snapshot if one is due, and deletes what snapshots made superfluous long ago. A store that is away costs
    /// nothing but a longer replay.
    pub(super) async fn snapshot_if_due(&mut self) {
        if self.log.number() < self.snapshot_at {
            return;
        }
        self.snapshot_at = self.log.number().saturating_add(self.snapshot_every);
        let number = self.log.number();
        let written = self.log.write_snapshot(&self.image.to_records()).await;
        let swept = match written {
            Ok(_) => self.log.sweep(GRACE).await,
            Err(error) => Err(error),
        };
        match swept {
            Ok(swept) => tracing::debug!(number, ?swept, "wrote a snapshot of the metadata"),
            Err(error) => tracing::warn!(number, %error, "could not write a snapshot of the metadata"),
        }
    }
}

fn replay(base: &Arc<Image>, records: &[Record], number: u64) -> Result<Arc<Image>, JournalError> {
    let mut delta = Delta::new(Arc::clone(base));
    for record in records {
        delta.apply(record).map_err(|error| JournalError::Replay { number, error })?;
    }
    delta.check().map_err(|violation| JournalError::Broken { number, violation })?;
    Ok(delta.finish(number).0)
}
