//! The tier log, opened: replays commits into images, commits records, and writes snapshots.
//!
//! A commit's size is that of its records, a snapshot rewrites the shards that changed, and units that are old leave
//! both for pages. So neither grows with what the tier holds.

use super::TierError;
use super::image::{Shard, TierImage};
use super::manifest::Manifest;
use super::persist::{PackWriter, RootLine, ShardRef, TIER_LOG, read_image, write_page};
use super::record::{TierRecord, Verdict};
use crate::env::store::Store;
use crate::env::{Env, Timestamp};
use crate::numbered_log::{LogError, LogName, NumberedLog, Opened, Outcome, Reach, SnapshotOutcome};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Commits that are read at the same time while a log is opened.
const READ_AHEAD: usize = 16;
/// The pause before a log that is being opened asks a store again that is away.
const PAUSE: Duration = Duration::from_secs(1);
/// A partition with more recent units than this has its oldest ones folded into a page.
const FOLD_ABOVE: usize = 128;
/// How many recent units stay.
const FOLD_TO: usize = 28;
/// Page records of one commit.
const FOLDS: usize = 500;

/// What became of a commit of several records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Proposed {
    /// It took effect; what became of each record.
    Committed(Vec<Verdict>),
    /// It did not, and the image has moved on: decide again.
    Again,
    /// Not known yet: settle.
    Unsettled,
}

/// The last snapshot that is known, to write the next one as its difference.
struct Saved {
    number: u64,
    shards: Vec<(Arc<Shard>, Option<ShardRef>)>,
}

/// An opened tier log and its newest image.
pub struct TierLog {
    store: Arc<dyn Store>,
    env: Env,
    cluster: Uuid,
    log: NumberedLog<TierRecord, RootLine>,
    image: TierImage,
    saved: Option<Saved>,
    since_snapshot: u64,
}

impl TierLog {
    /// Opens the tier log of a cluster and replays it to its tail.
    ///
    /// # Errors
    /// [`TierError::Retry`], [`TierError::Refused`], and [`TierError::Corrupt`] if anything of it cannot be read.
    pub async fn open(store: Arc<dyn Store>, env: Env, cluster: Uuid) -> Result<TierLog, TierError> {
        let mut tier = TierLog::at_snapshot(store, env, cluster).await?;
        while !tier.follow().await? {
            tier = TierLog::at_snapshot(tier.store, tier.env, cluster).await?;
        }
        Ok(tier)
    }

    /// As [`TierLog::open`], but goes on where it was after a failure that may pass, which `told` hears of.
    ///
    /// # Errors
    /// What a person must look at.
    pub async fn open_patiently(
        store: Arc<dyn Store>,
        env: Env,
        cluster: Uuid,
        mut told: impl FnMut(&TierError) + Send,
    ) -> Result<TierLog, TierError> {
        let mut known: Option<TierLog> = None;
        loop {
            let failed = match known.take() {
                None => match TierLog::at_snapshot(Arc::clone(&store), env.clone(), cluster).await {
                    Ok(tier) => {
                        known = Some(tier);
                        continue;
                    }
                    Err(error) => error,
                },
                Some(mut tier) => match tier.follow().await {
                    Ok(true) => return Ok(tier),
                    // Behind a newer snapshot: begin again there.
                    Ok(false) => continue,
                    Err(error) => {
                        known = Some(tier);
                        error
                    }
                },
            };
            if !failed.is_retry() {
                return Err(failed);
            }
            told(&failed);
            env.sleep(PAUSE).await;
        }
    }

    /// The log at its newest snapshot.
    async fn at_snapshot(store: Arc<dyn Store>, env: Env, cluster: Uuid) -> Result<TierLog, TierError> {
        let name = LogName::new(TIER_LOG, cluster);
        let opened = NumberedLog::open(Arc::clone(&store), env.clone(), name).await?;
        TierLog::over(store, env, cluster, opened).await
    }

    /// How far the log can be read from a snapshot on, or from before its first commit.
    ///
    /// # Errors
    /// [`TierError::Retry`], [`TierError::Refused`], and [`TierError::Corrupt`] for a snapshot that is of another format.
    pub(super) async fn reach(
        store: &Arc<dyn Store>,
        env: &Env,
        cluster: Uuid,
        snapshot: Option<u64>,
    ) -> Result<Reach, TierError> {
        let name = LogName::new(TIER_LOG, cluster);
        let opened = match NumberedLog::open_at(Arc::clone(store), env.clone(), name, snapshot).await {
            Err(LogError::Corrupt { .. }) => return Ok(Reach::Nowhere),
            opened => opened?,
        };
        let mut tier = match TierLog::over(Arc::clone(store), env.clone(), cluster, opened).await {
            Err(TierError::Corrupt { .. }) => return Ok(Reach::Nowhere),
            tier => tier?,
        };
        match tier.catch_up().await {
            Ok(()) | Err(TierError::Corrupt { .. }) => Ok(Reach::To(tier.log.number())),
            Err(error) => Err(error),
        }
    }

    async fn over(
        store: Arc<dyn Store>,
        env: Env,
        cluster: Uuid,
        opened: Opened<TierRecord, RootLine>,
    ) -> Result<TierLog, TierError> {
        let log = opened.log;
        let (mut image, mut saved) = (TierImage::default(), None);
        if let Some(root) = opened.snapshot {
            image = read_image(&*store, &env, cluster, log.number(), &root).await?;
            saved = Some(Saved::of(log.number(), &image, &root));
        }
        Ok(TierLog { store, env, cluster, log, image, saved, since_snapshot: 0 })
    }

    /// What the tier held at `horizon`, as far as commits and snapshots tell that are still there.
    ///
    /// # Errors
    /// As [`TierLog::open`].
    pub async fn image_at(
        store: Arc<dyn Store>,
        env: Env,
        cluster: Uuid,
        horizon: Timestamp,
    ) -> Result<TierImage, TierError> {
        let name = LogName::new(TIER_LOG, cluster);
        let opened =
            NumberedLog::<TierRecord, RootLine>::open_before(Arc::clone(&store), env.clone(), name, horizon).await?;
        let (mut log, mut image) = (opened.log, TierImage::default());
        if let Some(root) = opened.snapshot {
            image = read_image(&*store, &env, cluster, log.number(), &root).await?;
        }
        while let Some(commit) = log.next().await?.filter(|commit| commit.at <= horizon) {
            image = image.replay(commit.number, &commit.records).0;
        }
        Ok(image)
    }

    /// Replays to the tail; whether it is the tail. It is not where the next commit has been deleted since, because a
    /// newer snapshot has its effect: then the log has to be opened anew.
    async fn follow(&mut self) -> Result<bool, TierError> {
        self.catch_up().await?;
        Ok(!self.log.is_behind().await?)
    }

    /// Opens the log again, as another writer.
    ///
    /// # Errors
    /// As [`TierLog::open`]; this one stays as it was then.
    pub(super) async fn open_anew(&mut self) -> Result<(), TierError> {
        *self = TierLog::open(Arc::clone(&self.store), self.env.clone(), self.cluster).await?;
        Ok(())
    }

    /// The newest image.
    pub fn image(&self) -> &TierImage {
        &self.image
    }

    /// Commits replayed or made since the last snapshot.
    pub fn since_snapshot(&self) -> u64 {
        self.since_snapshot
    }

    /// Replays what others have committed since.
    ///
    /// # Errors
    /// As [`TierLog::open`]; the image is then that of the last commit that could be read.
    pub async fn catch_up(&mut self) -> Result<(), TierError> {
        loop {
            let commits = self.log.read_ahead(READ_AHEAD).await?;
            if commits.is_empty() {
                return Ok(());
            }
            for commit in commits {
                self.replay(commit.number, &commit.records);
            }
        }
    }

    fn replay(&mut self, number: u64, records: &[TierRecord]) -> Vec<Verdict> {
        let (image, verdicts) = self.image.replay(number, records);
        self.image = image;
        self.since_snapshot += 1;
        verdicts
    }

    /// Commits records, which have to be settled before anything else if the outcome is [`Proposed::Unsettled`].
    pub(super) async fn propose(&mut self, records: Vec<TierRecord>) -> Result<Proposed, TierError> {
        let outcome = self.log.commit(records).await?;
        self.conclude(outcome).await
    }

    /// Goes on with an unsettled commit.
    pub(super) async fn settle(&mut self) -> Result<Proposed, TierError> {
        let outcome = self.log.settle().await?;
        self.conclude(outcome).await
    }

    pub(super) fn is_unsettled(&self) -> bool {
        self.log.is_unsettled()
    }

    async fn conclude(&mut self, outcome: Outcome<TierRecord>) -> Result<Proposed, TierError> {
        match outcome {
            Outcome::Committed(commit) => Ok(Proposed::Committed(self.replay(commit.number, &commit.records))),
            Outcome::Foreign(commit) => {
                self.replay(commit.number, &commit.records);
                Ok(Proposed::Again)
            }
            Outcome::Behind => {
                self.open_anew().await?;
                Ok(Proposed::Again)
            }
            Outcome::Unsettled { .. } => Ok(Proposed::Unsettled),
        }
    }

    /// Writes the pages for partitions with many recent units, and the records that put them into effect. The pages
    /// are orphans until these are committed.
    pub(super) async fn write_folds(&self) -> Result<Vec<TierRecord>, TierError> {
        let mut records = Vec::new();
        for (partition, manifest) in self.image.partitions().filter(|(_, manifest)| must_fold(manifest)) {
            let recent = manifest.recent();
            let units = recent.get(..recent.len().saturating_sub(FOLD_TO)).unwrap_or_default();
            for units in units.chunks(super::manifest::PAGE_UNITS) {
                let page = write_page(&*self.store, &self.env, self.cluster, manifest.revision(), units).await?;
                records.push(TierRecord::Page { partition: *partition, page });
            }
            if records.len() >= FOLDS {
                break;
            }
        }
        Ok(records)
    }

    /// Writes the image as a snapshot: the shards that changed since the last one, and a root that names all.
    ///
    /// # Errors
    /// [`TierError::Retry`] and [`TierError::Refused`]: nothing is lost, try again later.
    pub async fn write_snapshot(&mut self) -> Result<(), TierError> {
        let number = self.log.number();
        // Shards of another root than the newest one may be swept: then nothing of it can be kept.
        let newest = self.log.newest_snapshot_number().await?;
        let saved = self.saved.take().filter(|saved| newest == Some(saved.number));
        let image = &self.image;
        let known = |index: usize| saved.as_ref().and_then(|saved| saved.shards.get(index));
        let mut shards: Vec<(Arc<Shard>, Option<ShardRef>)> = Vec::new();
        let mut packs = PackWriter::new(&*self.store, &self.env, self.cluster, number);
        for (index, shard) in image.shards.iter().enumerate() {
            let kept = known(index).filter(|(old, _)| Arc::ptr_eq(old, shard)).map(|(_, written)| written.clone());
            match kept {
                Some(kept) => shards.push((Arc::clone(shard), kept)),
                None => {
                    if !shard.is_empty() {
                        packs.add(index as u16, shard).await?;
                    }
                    shards.push((Arc::clone(shard), None));
                }
            }
        }
        for written in packs.finish().await? {
            if let Some(slot) = shards.get_mut(usize::from(written.index)) {
                slot.1 = Some(written);
            }
        }
        let refs = shards.iter().filter_map(|(_, shard)| shard.clone()).map(RootLine::Shard);
        let doomed = image.doomed.iter();
        let doomed = doomed.map(|(key, starts)| RootLine::Doomed { key: Arc::clone(key), starts: starts.clone() });
        let root: Vec<RootLine> = refs.chain(doomed).collect();
        let outcome = self.log.write_snapshot(&root).await?;
        self.since_snapshot = 0;
        // Another's root names other shards: the next snapshot writes all of them anew.
        self.saved = (outcome == SnapshotOutcome::Written).then_some(Saved { number, shards });
        Ok(())
    }

    /// The numbered log, to be swept.
    pub(super) fn numbered(&self) -> &NumberedLog<TierRecord, RootLine> {
        &self.log
    }
}

/// Whether a manifest has so many recent units that the oldest should leave for a page.
fn must_fold(manifest: &Manifest) -> bool {
    manifest.recent().len() > FOLD_ABOVE
}

impl Saved {
    fn of(number: u64, image: &TierImage, root: &[RootLine]) -> Saved {
        let mut shards: Vec<(Arc<Shard>, Option<ShardRef>)> =
            image.shards.iter().map(|shard| (Arc::clone(shard), None)).collect();
        for line in root {
            if let RootLine::Shard(shard) = line
                && let Some(slot) = shards.get_mut(usize::from(shard.index))
            {
                slot.1 = Some(shard.clone());
            }
        }
        Saved { number, shards }
    }
}

impl std::fmt::Debug for TierLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TierLog").field("number", &self.log.number()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "tier_log_tests.rs"]
mod tests;
