//! The controller's side of the tier log: one task that commits what the leaders of many partitions send.
//!
//! ```text
//! leaders -> TierCommits::commit -> queue -> committer: check, one commit for all that waits -> answers
//!                                                  \-> image -> watch -> readers, planners, retention
//! ```
//!
//! The task answers nobody while a commit is unsettled. A commit of another controller is replayed, and what waits is
//! checked again: records that the new image refuses are answered so and never committed.

use super::TierError;
use super::image::TierImage;
use super::record::{TierRecord, Verdict};
use super::tier_log::{Proposed, TierLog};
use crate::env::Env;
use crate::env::store::Store;
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
    answer: oneshot::Sender<Vec<Verdict>>,
}

/// Commits records to the tier log and watches its image. Clones share one committer; it ends when the last is
/// dropped.
#[derive(Clone)]
pub struct TierCommits {
    requests: mpsc::Sender<Request>,
    image: watch::Receiver<Arc<TierImage>>,
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
        let (requests, queue) = mpsc::channel(QUEUE);
        let (publish, image) = watch::channel(Arc::new(log.image().clone()));
        let committer = Committer { env: env.clone(), log, queue, publish, config };
        drop(env.spawn_background("tier-committer", committer.run()));
        Ok(TierCommits { requests, image })
    }

    /// Commits records; what became of each. They are in one commit, together with those of others.
    ///
    /// If the future is dropped, the records may be committed nevertheless.
    ///
    /// # Errors
    /// [`TierError::Closed`] if the committer has ended.
    pub async fn commit(&self, records: Vec<TierRecord>) -> Result<Vec<Verdict>, TierError> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request { records, answer }).await.map_err(|_| TierError::Closed)?;
        answered.await.map_err(|_| TierError::Closed)
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
    config: CommitterConfig,
}

impl Committer {
    async fn run(mut self) {
        while let Some(first) = self.queue.recv().await {
            let mut batch = vec![first];
            let mut records = batch.iter().map(|request| request.records.len()).sum::<usize>();
            while records < MAX_RECORDS {
                let Ok(request) = self.queue.try_recv() else { break };
                records += request.records.len();
                batch.push(request);
            }
            let worked = async {
                self.commit(batch).await?;
                self.snapshot_if_due().await
            };
            if let Err(error) = worked.await {
                tracing::error!(%error, "the tier log cannot go on; nothing is tiered until the broker restarts");
                return;
            }
        }
    }

    async fn commit(&mut self, batch: Vec<Request>) -> Result<(), TierError> {
        let (mut records, mut verdicts) = (Vec::new(), Vec::new());
        for request in &batch {
            records.extend(request.records.iter().cloned());
        }
        self.commit_records(&records, &mut verdicts).await?;
        let mut verdicts = verdicts.into_iter();
        for request in batch {
            let own = verdicts.by_ref().take(request.records.len()).collect();
            // Whoever asked may have gone.
            let _ = request.answer.send(own);
        }
        Ok(())
    }

    /// Commits those of `records` that would take effect, however often the log has to be followed first, and tells
    /// what became of each.
    async fn commit_records(&mut self, records: &[TierRecord], verdicts: &mut Vec<Verdict>) -> Result<(), TierError> {
        loop {
            let (_, expected) = self.log.image().replay(self.log.image().number(), records);
            let useful: Vec<TierRecord> = records
                .iter()
                .zip(&expected)
                .filter(|(_, v)| v.is_applied())
                .map(|(record, _)| record.clone())
                .collect();
            if useful.is_empty() {
                *verdicts = expected;
                return Ok(());
            }
            let committed = self.propose_settled(useful).await?;
            self.publish();
            if let Some(applied) = committed {
                let mut applied = applied.into_iter();
                *verdicts = expected
                    .into_iter()
                    .map(|v| if v.is_applied() { applied.next().unwrap_or(v) } else { v })
                    .collect();
                return Ok(());
            }
        }
    }

    /// Proposes records until it is known what became of them: `None` if they were not committed.
    async fn propose_settled(&mut self, records: Vec<TierRecord>) -> Result<Option<Vec<Verdict>>, TierError> {
        let mut proposed = self.log.propose(records).await;
        loop {
            match proposed {
                Ok(Proposed::Committed(verdicts)) => return Ok(Some(verdicts)),
                Ok(Proposed::Again) => return Ok(None),
                Ok(Proposed::Unsettled) => self.env.sleep(PAUSE).await,
                // Only following a log that has moved on can fail like this; nothing is unsettled then.
                Err(error) if error.is_retry() || matches!(error, TierError::Refused { .. }) => {
                    tracing::warn!(%error, "the tier log could not be read; trying again");
                    self.env.sleep(PAUSE).await;
                    if !self.log.is_unsettled() {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error),
            }
            proposed = self.log.settle().await;
        }
    }

    fn publish(&self) {
        let image = Arc::new(self.log.image().clone());
        // Without receivers there is nobody to tell.
        let _ = self.publish.send(image);
    }

    /// Folds and snapshots now and then. That it fails is no matter: the log is only longer to replay.
    async fn snapshot_if_due(&mut self) -> Result<(), TierError> {
        if self.log.since_snapshot() < self.config.snapshot_every {
            return Ok(());
        }
        match self.log.write_folds().await {
            Ok(folds) if !folds.is_empty() => self.commit_records(&folds, &mut Vec::new()).await?,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "pages of the tier could not be written; trying again later"),
        }
        if let Err(error) = self.log.write_snapshot().await {
            tracing::warn!(%error, "the tier log could not be snapshotted; trying again later");
            return Ok(());
        }
        if let Err(error) = self.log.numbered().sweep(self.config.keep).await {
            tracing::warn!(%error, "old commits of the tier log could not be deleted; trying again later");
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "committer_tests.rs"]
mod tests;
