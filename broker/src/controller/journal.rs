//! The journal: the metadata log, the image that it replays to, and the publisher of that image.
//!
//! Everything that changes this broker's image goes through here: what is replayed when it starts, its own commits, and
//! the foreign ones that it finds in their place. An image is published only when the commit that leads to it has
//! settled.

use crate::metadata::{Delta, Image, Publisher, Record, ReplayError, Violation};
use esker_storage::env::Env;
use esker_storage::env::store::Store;
use esker_storage::numbered_log::{self, Commit, LogError, LogName, NumberedLog, Opened, Outcome, Reach};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The prefix of the metadata log's keys.
const PREFIX: &str = "cluster";
/// Commits that are read at a time when the log is replayed.
const READ_AHEAD: usize = 16;
/// The pause before a store that is away is asked again.
const PAUSE: Duration = Duration::from_secs(1);
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
    /// As whom this broker was elected.
    elected: Option<Uuid>,
}

/// Deletes the damaged snapshots of the metadata log of `cluster` that it can do without; their keys.
///
/// # Errors
/// See [`JournalError`]; with [`JournalError::is_retry`], the store could not be asked.
pub async fn delete_damaged_snapshots(
    store: &Arc<dyn Store>,
    env: &Env,
    cluster: Uuid,
) -> Result<Vec<String>, JournalError> {
    let name = LogName::new(PREFIX, cluster);
    numbered_log::delete_damaged_snapshots::<Record, _>(&**store, &name, async |from| {
        let opened = NumberedLog::open_at(Arc::clone(store), env.clone(), name.clone(), from).await;
        let mut replayed = match opened.map_err(JournalError::from).and_then(|opened| Replayed::over(opened, u64::MAX))
        {
            Err(JournalError::Log(LogError::Corrupt { .. })) => return Ok(Reach::Nowhere),
            replayed => replayed?,
        };
        match replayed.follow().await {
            Ok(_) | Err(JournalError::Log(LogError::Corrupt { .. })) => Ok(Reach::To(replayed.log.number())),
            Err(error) => Err(error),
        }
    })
    .await
}

/// A metadata log on its way to its end.
struct Replayed {
    log: NumberedLog<Record, Record>,
    image: Arc<Image>,
    snapshot_at: u64,
}

impl Replayed {
    /// At the newest snapshot.
    async fn at_snapshot(
        store: &Arc<dyn Store>,
        env: &Env,
        cluster: Uuid,
        snapshot_every: u64,
    ) -> Result<Replayed, JournalError> {
        let name = LogName::new(PREFIX, cluster);
        Replayed::over(NumberedLog::open(Arc::clone(store), env.clone(), name).await?, snapshot_every)
    }

    fn over(opened: Opened<Record, Record>, snapshot_every: u64) -> Result<Replayed, JournalError> {
        let Opened { log, snapshot } = opened;
        let empty = Arc::new(Image::empty());
        let image = match snapshot {
            Some(records) => replay(&empty, &records, log.number())?,
            None => empty,
        };
        let snapshot_at = log.number().saturating_add(snapshot_every);
        Ok(Replayed { log, image, snapshot_at })
    }

    /// Replays up to where there is no more; whether that is the log's end. It is not where the next commit has been
    /// deleted since, because a newer snapshot has its effect.
    async fn follow(&mut self) -> Result<bool, JournalError> {
        loop {
            let commits = self.log.read_ahead(READ_AHEAD).await?;
            if commits.is_empty() {
                return Ok(!self.log.is_behind().await?);
            }
            for commit in &commits {
                self.image = replay(&self.image, &commit.records, commit.number)?;
            }
        }
    }
}

impl Journal {
    /// Opens the metadata log of `cluster` and replays it to its end. Writes a snapshot after every `snapshot_every`
    /// commits. Goes on where it was after a failure that may pass, which `told` hears of.
    ///
    /// # Errors
    /// See [`JournalError`]: what a person must look at.
    pub async fn open(
        store: Arc<dyn Store>,
        env: &Env,
        cluster: Uuid,
        snapshot_every: u32,
        mut told: impl FnMut(&LogError) + Send,
    ) -> Result<Journal, JournalError> {
        let snapshot_every = u64::from(snapshot_every.max(1));
        let mut known: Option<Replayed> = None;
        loop {
            let failed = match known.take() {
                None => match Replayed::at_snapshot(&store, env, cluster, snapshot_every).await {
                    Ok(replayed) => {
                        known = Some(replayed);
                        continue;
                    }
                    Err(error) => error,
                },
                Some(mut replayed) => match replayed.follow().await {
                    Ok(true) => return Journal::over(replayed, snapshot_every),
                    // Behind a newer snapshot: begin again there.
                    Ok(false) => continue,
                    Err(error) => {
                        known = Some(replayed);
                        error
                    }
                },
            };
            match failed {
                JournalError::Log(error) if error.is_retry() => {
                    told(&error);
                    env.sleep(PAUSE).await;
                }
                error => return Err(error),
            }
        }
    }

    /// The metadata log of `cluster` as it is now, to be looked at.
    ///
    /// # Errors
    /// See [`JournalError`]; with [`JournalError::is_retry`], the store could not be asked.
    pub async fn read(store: Arc<dyn Store>, env: &Env, cluster: Uuid) -> Result<Journal, JournalError> {
        let mut replayed = Replayed::at_snapshot(&store, env, cluster, u64::MAX).await?;
        while !replayed.follow().await? {
            replayed = Replayed::at_snapshot(&store, env, cluster, u64::MAX).await?;
        }
        Journal::over(replayed, u64::MAX)
    }

    fn over(replayed: Replayed, snapshot_every: u64) -> Result<Journal, JournalError> {
        let Replayed { log, image, snapshot_at } = replayed;
        image.check().map_err(|violation| JournalError::Broken { number: log.number(), violation })?;
        let publisher = Publisher::new(Arc::clone(&image));
        Ok(Journal { log, image, publisher, snapshot_every, snapshot_at, elected: None })
    }

    /// The number of the last commit that it has replayed or made.
    pub fn number(&self) -> u64 {
        self.log.number()
    }

    /// Replays and publishes what others have committed since.
    ///
    /// # Errors
    /// See [`JournalError`]; with [`JournalError::is_retry`], the next call goes on.
    pub(super) async fn catch_up(&mut self) -> Result<(), JournalError> {
        while let Some(commit) = self.log.next().await? {
            self.follow(&commit)?;
        }
        if self.log.is_behind().await? {
            return Err(LogError::Behind { number: self.log.number() }.into());
        }
        Ok(())
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

    /// From now on nothing is published of what comes after the election of somebody else: that may be another start of
    /// this very broker, whose leader epochs are not this one's to use.
    pub(super) fn elected_as(&mut self, incarnation: Uuid) {
        self.elected = Some(incarnation);
    }

    fn publish(&mut self, image: Arc<Image>) {
        self.image = image;
        let deposed =
            self.elected.is_some_and(|elected| self.image.controller().is_some_and(|term| term.incarnation != elected));
        if !deposed {
            self.publisher.publish(Arc::clone(&self.image));
        }
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
