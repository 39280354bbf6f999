//! The controller's side of the tier log: one task that commits what the leaders of many partitions send.
//!
//! ```text
//! leaders -> TierCommits::commit -> queue -> committer: check, one commit for all that waits -> answers
//!                                                  \-> image -> watch -> readers, planners, retention
//! ```
//!
//! The task answers nobody while a commit is unsettled. A commit of another controller is replayed, and what waits is
//! checked again: records that the new image refuses are answered so and never committed.
//!
//! Every commit costs a PUT. So a request may be *patient*: it waits for the company of one that is not, for a while.
//!
//! The task does not die: where it can no longer find out what became of a commit, it opens the log anew, as another
//! writer, and decides again by what is there. While it cannot, [`TierCommits::trouble`] says why.

use super::TierError;
use super::image::TierImage;
use super::manifest::Refusal;
use super::record::{TierRecord, Verdict};
use super::tier_log::{Proposed, TierLog};
use crate::env::store::Store;
use crate::env::{Env, Monotonic};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

/// Requests that wait, beyond which their senders wait.
const QUEUE: usize = 1024;
/// Records of one commit, unless one request alone has more.
const MAX_RECORDS: usize = 2000;
/// The pause between attempts while the store is away.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest pause between attempts to open a log that cannot be gone on with.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// When the committer snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitterConfig {
    /// Commits after which a snapshot is written.
    pub snapshot_every: u64,
    /// How long commits and snapshots stay that a newer snapshot replaces.
    pub keep: Duration,
}

impl Default for CommitterConfig {
    fn default() -> CommitterConfig {
        CommitterConfig { snapshot_every: 256, keep: Duration::from_secs(24 * 3600) }
    }
}

struct Request {
    records: Vec<TierRecord>,
    /// Until when it can wait for company.
    until: Monotonic,
    answer: oneshot::Sender<Vec<Verdict>>,
}

/// Commits records to the tier log and watches its image. Clones share one committer; it ends when the last is
/// dropped.
#[derive(Clone)]
pub struct TierCommits {
    env: Env,
    requests: mpsc::Sender<Request>,
    image: watch::Receiver<Arc<TierImage>>,
    trouble: watch::Receiver<Option<String>>,
}

impl TierCommits {
    /// Opens the tier log and starts its committer in the background.
    ///
    /// # Errors
    /// As [`TierLog::open`].
    pub async fn start(
        store: Arc<dyn Store>,
        env: &Env,
        cluster: Uuid,
        config: CommitterConfig,
    ) -> Result<TierCommits, TierError> {
        let log = TierLog::open(store, env.clone(), cluster).await?;
        Ok(TierCommits::over(log, env, config))
    }

    /// Starts the committer of an opened log in the background.
    pub fn over(log: TierLog, env: &Env, config: CommitterConfig) -> TierCommits {
        let (requests, queue) = mpsc::channel(QUEUE);
        let (publish, image) = watch::channel(Arc::new(log.image().clone()));
        let (complain, trouble) = watch::channel(None);
        let next_snapshot = config.snapshot_every;
        let committer = Committer { env: env.clone(), log, queue, publish, complain, config, next_snapshot };
        drop(env.spawn_background("tier-committer", committer.run()));
        TierCommits { env: env.clone(), requests, image, trouble }
    }

    /// Commits records; what became of each. They are in one commit, together with those of others.
    ///
    /// If the future is dropped, the records may be committed nevertheless.
    ///
    /// # Errors
    /// [`TierError::Closed`] if the committer has ended.
    pub async fn commit(&self, records: Vec<TierRecord>) -> Result<Vec<Verdict>, TierError> {
        self.commit_within(Duration::ZERO, records).await
    }

    /// As [`TierCommits::commit`], together with the next records that are not patient, or alone after `patience`.
    ///
    /// # Errors
    /// As [`TierCommits::commit`].
    pub async fn commit_within(&self, patience: Duration, records: Vec<TierRecord>) -> Result<Vec<Verdict>, TierError> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        self.send(patience, records).await?.await.map_err(|_| TierError::Closed)
    }

    /// As [`TierCommits::commit_within`], for those who will see in the image what became of it.
    ///
    /// # Errors
    /// As [`TierCommits::commit`].
    pub async fn post(&self, patience: Duration, records: Vec<TierRecord>) -> Result<(), TierError> {
        self.send(patience, records).await.map(drop)
    }

    async fn send(
        &self,
        patience: Duration,
        records: Vec<TierRecord>,
    ) -> Result<oneshot::Receiver<Vec<Verdict>>, TierError> {
        let (answer, answered) = oneshot::channel();
        let request = Request { records, until: self.env.now().plus(patience), answer };
        self.requests.send(request).await.map_err(|_| TierError::Closed)?;
        Ok(answered)
    }

    /// Why nothing can be committed, while that is so for another reason than a store that is away.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// The newest image.
    pub fn image(&self) -> Arc<TierImage> {
        Arc::clone(&self.image.borrow())
    }

    /// To wait for the next image.
    pub fn watch(&self) -> watch::Receiver<Arc<TierImage>> {
        self.image.clone()
    }
}

impl std::fmt::Debug for TierCommits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TierCommits").field("number", &self.image().number()).finish_non_exhaustive()
    }
}

struct Committer {
    env: Env,
    log: TierLog,
    queue: mpsc::Receiver<Request>,
    publish: watch::Sender<Arc<TierImage>>,
    complain: watch::Sender<Option<String>>,
    config: CommitterConfig,
    /// After how many commits since the last snapshot the next one is due.
    next_snapshot: u64,
}

impl Committer {
    async fn run(mut self) {
        while let Some(batch) = self.next_batch().await {
            self.commit(batch).await;
            self.snapshot_if_due().await;
        }
    }

    /// What to commit next: all that waits, once one of them cannot wait any longer or there is enough.
    async fn next_batch(&mut self) -> Option<Vec<Request>> {
        let mut batch = vec![self.queue.recv().await?];
        let records = |batch: &[Request]| batch.iter().map(|request| request.records.len()).sum::<usize>();
        loop {
            while records(&batch) < MAX_RECORDS
                && let Ok(request) = self.queue.try_recv()
            {
                batch.push(request);
            }
            let now = self.env.now();
            let left = batch.iter().map(|request| request.until.since(now)).min().unwrap_or_default();
            if left.is_zero() || records(&batch) >= MAX_RECORDS {
                return Some(batch);
            }
            match self.env.timeout(left, self.queue.recv()).await {
                Ok(Some(request)) => batch.push(request),
                // Whoever is left waits for a log that nobody will write any more.
                Ok(None) => return None,
                Err(_) => return Some(batch),
            }
        }
    }

    async fn commit(&mut self, batch: Vec<Request>) {
        let mut records = Vec::new();
        for request in &batch {
            records.extend(request.records.iter().cloned());
        }
        let mut verdicts = self.commit_records(&records).await.into_iter();
        for request in batch {
            let own = verdicts.by_ref().take(request.records.len()).collect();
            // Whoever asked may have gone.
            let _ = request.answer.send(own);
        }
    }

    /// Commits those of `records` that would take effect, however often the log has to be followed first; what became
    /// of each.
    async fn commit_records(&mut self, records: &[TierRecord]) -> Vec<Verdict> {
        loop {
            let (_, expected) = self.log.image().replay(self.log.image().number(), records);
            let useful: Vec<TierRecord> = records
                .iter()
                .zip(&expected)
                .filter(|(_, v)| v.is_applied())
                .map(|(record, _)| record.clone())
                .collect();
            if useful.is_empty() {
                return expected;
            }
            let committed = self.propose_settled(useful).await;
            self.publish();
            if let Some(applied) = committed {
                let mut applied = applied.into_iter();
                return expected
                    .into_iter()
                    .map(|v| if v.is_applied() { applied.next().unwrap_or(v) } else { v })
                    .collect();
            }
        }
    }

    /// Proposes records until it is known what became of them: `None` if they have to be decided again.
    async fn propose_settled(&mut self, records: Vec<TierRecord>) -> Option<Vec<Verdict>> {
        let count = records.len();
        let mut proposed = self.log.propose(records).await;
        loop {
            match proposed {
                Ok(Proposed::Committed(verdicts)) => return Some(verdicts),
                Ok(Proposed::Again) => return None,
                Ok(Proposed::Unsettled) => self.env.sleep(PAUSE).await,
                // Only following a log that has moved on can fail like this; nothing is unsettled then.
                Err(error) if error.is_retry() || matches!(error, TierError::Refused { .. }) => {
                    tracing::warn!(%error, "the tier log could not be read; trying again");
                    self.env.sleep(PAUSE).await;
                    if !self.log.is_unsettled() {
                        return None;
                    }
                }
                // They do not fit into a commit, and never will.
                Err(TierError::Invalid { reason }) if !self.log.is_unsettled() => {
                    tracing::error!(%reason, records = count, "the tier log refuses what it was to commit");
                    return Some(vec![Verdict::Ignored(Refusal::Unsound); count]);
                }
                Err(error) => {
                    self.open_anew(error).await;
                    return None;
                }
            }
            proposed = self.log.settle().await;
        }
    }

    /// Opens the log again, as another writer, after an error that the present one cannot go on from. What was proposed
    /// last is decided by what the log turns out to have.
    async fn open_anew(&mut self, mut error: TierError) {
        let mut pause = PAUSE;
        loop {
            tracing::error!(%error, "the tier log cannot be gone on with, and is opened anew");
            // Without receivers there is nobody to tell.
            let _ = self.complain.send(Some(error.to_string()));
            self.env.sleep(pause).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
            match self.log.open_anew().await {
                Ok(()) => {
                    let _ = self.complain.send(None);
                    tracing::info!(number = self.log.image().number(), "the tier log goes on");
                    return;
                }
                Err(next) => error = next,
            }
        }
    }

    fn publish(&self) {
        let image = Arc::new(self.log.image().clone());
        // Without receivers there is nobody to tell.
        let _ = self.publish.send(image);
    }

    /// Folds and snapshots now and then. That it fails is no matter: the log is only longer to replay.
    async fn snapshot_if_due(&mut self) {
        if self.log.since_snapshot() < self.next_snapshot {
            return;
        }
        // A store that refuses it now is not asked again with every commit.
        self.next_snapshot = self.log.since_snapshot() + (self.config.snapshot_every / 8).max(1);
        match self.log.write_folds().await {
            Ok(folds) if !folds.is_empty() => drop(self.commit_records(&folds).await),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "pages of the tier could not be written; trying again later"),
        }
        if let Err(error) = self.log.write_snapshot().await {
            tracing::warn!(%error, "the tier log could not be snapshotted; trying again later");
            return;
        }
        self.next_snapshot = self.config.snapshot_every;
        if let Err(error) = self.log.numbered().sweep(self.config.keep).await {
            tracing::warn!(%error, "old commits of the tier log could not be deleted; trying again later");
        }
    }
}

#[cfg(test)]
#[path = "committer_tests.rs"]
mod tests;
