//! Carries out what the planner decided: reads ranges, writes objects, commits units.
//!
//! ```text
//! wake or tick -> plan -> one task per object: read_chunk (Maintenance) -> ObjectWriter -> store
//!                                              what is merged along ---------^
//!                                                                              -> TierCommits::commit(units, swaps)
//! ```
//!
//! Merging rides along: an object that small ranges share takes merged units as far as it has room, and its commit
//! their swaps, so that neither costs a request of its own. Only what is worth an object goes alone, and its commit
//! waits for the next one.
//!
//! The order of effects is the object first, then the commit, and only what the image shows counts. A crash or a
//! refusal between the two leaves an object that no unit names; the sweeper deletes it. A partition that failed waits
//! for a while that doubles with every failure, and does not keep back the others that shared its object.

use super::TierError;
use super::committer::TierCommits;
use super::key::ObjectKey;
use super::merging::Merging;
use super::plan::{DueRange, ObjectPlan, UploadConfig, UploadPlanner};
use super::record::{TierRecord, Verdict};
use super::rewrite::Rewriter;
use super::source::{PartitionView, SourceChunk, UnitSource, UnitSources};
use super::unit::UnitMeta;
use super::writer::{ObjectWriter, UnitState};
use crate::env::store::Store;
use crate::env::{Env, Monotonic, Pool, TaskHandle};
use crate::offset::{Offset, PartitionId};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use uuid::Uuid;

/// Bytes that are read from a log at a time.
const CHUNK_LEN: usize = 1 << 20;
/// How often the planner looks without being woken.
const TICK: Duration = Duration::from_secs(1);
/// The first pause of a partition whose upload failed; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often it is looked whether there is an object's worth to merge.
const MERGE_EVERY: Duration = Duration::from_secs(10);

/// Counts of what was done since the start, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UploadCounts {
    /// Units committed.
    pub units: u64,
    /// Objects written.
    pub objects: u64,
    /// Bytes of batches committed.
    pub bytes: u64,
    /// Objects whose writing or committing failed.
    pub failures: u64,
    /// Units that were merged into larger ones.
    pub merged: u64,
}

struct Paused {
    failures: u32,
    until: Monotonic,
}

#[derive(Default)]
struct Progress {
    busy: BTreeSet<PartitionId>,
    paused: BTreeMap<PartitionId, Paused>,
    /// An object that partitions share is on its way.
    sharing: bool,
    /// When to look next whether there is an object's worth to merge.
    next_look: Monotonic,
    /// When something went up last.
    last_object: Monotonic,
    counts: UploadCounts,
}

/// What the uploader and its tasks share.
struct Shared {
    env: Env,
    store: Arc<dyn Store>,
    commits: TierCommits,
    rewriter: Rewriter,
    merging: Arc<Merging>,
    sources: Arc<dyn UnitSources>,
    config: UploadConfig,
    permits: Arc<Semaphore>,
    wake: Arc<Notify>,
    progress: Mutex<Progress>,
}

/// Uploads what this broker leads, in the background, until it is dropped.
pub struct Uploader {
    shared: Arc<Shared>,
    task: TaskHandle,
}

/// An upload's failure, and the partition whose fault it is if it is one's alone.
struct Failure {
    error: TierError,
    culprit: Option<PartitionId>,
}

impl Uploader {
    /// Starts uploading to the tier of `cluster`.
    pub fn start(
        env: &Env,
        store: Arc<dyn Store>,
        cluster: Uuid,
        commits: TierCommits,
        sources: Arc<dyn UnitSources>,
        config: UploadConfig,
    ) -> Uploader {
        let shared = Arc::new(Shared {
            env: env.clone(),
            rewriter: Rewriter::new(env, Arc::clone(&store), cluster, commits.clone()),
            merging: Merging::new(env, Arc::clone(&store), cluster, config.merge),
            store,
            commits,
            sources,
            config,
            permits: Arc::new(Semaphore::new(config.concurrency.max(1))),
            wake: Arc::default(),
            progress: Mutex::default(),
        });
        let task = env.spawn_background("tier-uploader", Arc::clone(&shared).run());
        Uploader { shared, task }
    }

    /// Looks for work now: a segment was sealed, or a partition opened.
    pub fn wake(&self) {
        self.shared.wake.notify_one();
    }

    /// What was done since the start.
    pub fn counts(&self) -> UploadCounts {
        self.shared.progress.lock().counts
    }

    /// Starts nothing new. What is on its way goes on and may still be committed.
    pub fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Uploader {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Uploader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uploader").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

impl Shared {
    async fn run(self: Arc<Shared>) {
        let mut planner = UploadPlanner::default();
        loop {
            for plan in self.plan(&mut planner) {
                // Waits for one of the objects on their way: plans are made for what can start soon only.
                let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else { return };
                let shared = Arc::clone(&self);
                drop(self.env.spawn_background("tier-upload", async move {
                    shared.upload_and_note(plan).await;
                    drop(permit);
                    shared.wake.notify_one();
                }));
            }
            let tick = self.env.sleep(TICK);
            tokio::select! {
                biased;
                () = self.wake.notified() => {}
                () = tick => {}
            }
        }
    }

    fn plan(&self, planner: &mut UploadPlanner) -> Vec<ObjectPlan> {
        let now = self.env.now();
        let (image, views) = (self.commits.image(), self.sources.views());
        let mut progress = self.progress.lock();
        let paused = progress.paused.iter().filter(|(_, paused)| paused.until > now).map(|(partition, _)| *partition);
        let busy: BTreeSet<PartitionId> = paused.chain(progress.busy.iter().copied()).collect();
        let mut plans = planner.plan(&self.config, &image, &views, &busy, now);
        // One shared object at a time: all of it is in memory.
        let mut sharing = progress.sharing;
        plans.retain(|plan| !plan.is_shared(&self.config) || !std::mem::replace(&mut sharing, true));
        plans.truncate(self.config.concurrency.max(1));
        self.merging.look_into_pages(&image, &views);
        let merges = |room| self.merging.plan(&image, &views, room);
        if let Some(plan) = plans.iter_mut().find(|plan| plan.is_shared(&self.config)) {
            plan.merges = merges(self.config.shared_max_bytes.saturating_sub(plan.bytes()));
        } else if !progress.sharing && now >= progress.next_look {
            progress.next_look = now.plus(MERGE_EVERY);
            let alone = ObjectPlan { ranges: Vec::new(), merges: merges(self.config.shared_max_bytes) };
            let idle = now.since(progress.last_object) >= pace(&views).saturating_mul(2);
            if alone.bytes() >= self.config.shared_max_bytes / 2 || (idle && !alone.merges.is_empty()) {
                plans.push(alone);
            }
        }
        for plan in &plans {
            progress.sharing |= plan.is_shared(&self.config);
            self.merging.begin(&plan.merges);
        }
        progress.busy.extend(plans.iter().flat_map(|plan| &plan.ranges).map(|due| due.range.partition));
        plans
    }

    async fn upload_and_note(&self, plan: ObjectPlan) {
        let outcome = self.upload(&plan).await;
        let mut progress = self.progress.lock();
        for due in &plan.ranges {
            progress.busy.remove(&due.range.partition);
        }
        self.merging.end(&plan.merges);
        if plan.is_shared(&self.config) {
            progress.sharing = false;
        }
        progress.last_object = self.env.now();
        match outcome {
            Ok(done) => {
                for due in &plan.ranges {
                    progress.paused.remove(&due.range.partition);
                }
                progress.counts.units += done.units;
                progress.counts.objects += done.objects;
                progress.counts.bytes += done.bytes;
                progress.counts.merged += done.merged;
            }
            Err(Failure { error, culprit }) => {
                progress.counts.failures += 1;
                if error.is_retry() {
                    tracing::info!(%error, "an upload failed and will be tried again");
                } else {
                    tracing::warn!(%error, "an upload failed");
                }
                let blamed = plan.ranges.iter().map(|due| due.range.partition);
                for partition in blamed.filter(|partition| culprit.is_none_or(|culprit| culprit == *partition)) {
                    self.pause(&mut progress, partition);
                }
            }
        }
    }

    fn pause(&self, progress: &mut Progress, partition: PartitionId) {
        let now = self.env.now();
        let paused = progress.paused.entry(partition).or_insert(Paused { failures: 0, until: now });
        let pause = FIRST_PAUSE.saturating_mul(1 << paused.failures.min(8)).min(LONGEST_PAUSE);
        paused.failures = paused.failures.saturating_add(1);
        let jitter = self.env.random.below(pause.as_millis() as u64 / 2 + 1);
        paused.until = now.plus(pause + Duration::from_millis(jitter));
    }

    async fn upload(&self, plan: &ObjectPlan) -> Result<UploadCounts, Failure> {
        let mut writer = self.writer(plan);
        let mut merged = Vec::new();
        let written = async {
            for due in &plan.ranges {
                self.write_unit(&mut writer, due).await?;
            }
            let common = |error: TierError| Failure { error, culprit: None };
            self.merging.merge_into(&mut writer, &plan.merges, &mut merged).await.map_err(common)
        };
        if let Err(failure) = written.await {
            writer.abandon().await;
            return Err(failure);
        }
        let common = |error: TierError| Failure { error, culprit: None };
        if writer.is_empty() {
            return Ok(UploadCounts::default());
        }
        let units = writer.finish().await.map_err(common)?;
        let (rewritten, uploaded): (Vec<UnitMeta>, Vec<UnitMeta>) =
            units.into_iter().partition(|unit| unit.revision.is_some());
        let mut records: Vec<TierRecord> = uploaded.iter().cloned().map(TierRecord::Unit).collect();
        for (run, unit) in merged.iter().zip(rewritten) {
            records.push(self.rewriter.record(run, vec![unit]).await.map_err(common)?);
        }
        let patience = if uploaded.is_empty() { pace(&self.sources.views()) } else { Duration::ZERO };
        let verdicts = self.commits.commit_within(patience, records).await.map_err(common)?;
        let mut done = UploadCounts { objects: 1, ..UploadCounts::default() };
        let (of_units, of_swaps) = verdicts.split_at_checked(uploaded.len()).unwrap_or_default();
        for (unit, verdict) in uploaded.iter().zip(of_units) {
            match verdict {
                Verdict::Applied => {
                    done.units += 1;
                    done.bytes += unit.data.len();
                    tracing::debug!(partition = %unit.partition, start = %unit.start, end = %unit.end, "tiered");
                }
                Verdict::Ignored(refusal) => {
                    tracing::info!(partition = %unit.partition, start = %unit.start, %refusal, "a unit was refused");
                }
            }
        }
        for (run, verdict) in merged.iter().zip(of_swaps) {
            if verdict.is_applied() {
                done.merged += run.units().len() as u64;
            }
            tracing::debug!(partition = %run.partition(), units = run.units().len(), ?verdict, "merged");
        }
        Ok(done)
    }

    /// A writer of what is planned, under a key of its own.
    fn writer(&self, plan: &ObjectPlan) -> ObjectWriter {
        let attempt = self.env.random.uuid();
        let key = match (plan.ranges.as_slice(), plan.merges.as_slice()) {
            ([only], []) => ObjectKey::Partition { partition: only.range.partition, base: only.range.start, attempt },
            _ => ObjectKey::Shared { attempt },
        };
        let writer = ObjectWriter::new(Arc::clone(&self.store), key);
        match usize::try_from(self.config.shared_max_bytes) {
            Ok(bytes) if plan.is_shared(&self.config) => writer.in_one_put_up_to(bytes),
            _ => writer,
        }
    }

    /// Streams one range into the object; nothing of it if the range has no batch.
    async fn write_unit(&self, writer: &mut ObjectWriter, due: &DueRange) -> Result<(), Failure> {
        let DueRange { range, max_bytes, .. } = *due;
        let own = |error: TierError| Failure { error, culprit: Some(range.partition) };
        let common = |error: TierError| match error {
            // Found while the batches were checked: this partition's fault.
            TierError::Corrupt { .. } | TierError::Invalid { .. } => own(error),
            error => Failure { error, culprit: None },
        };
        let Some(source) = self.sources.source(&range.partition) else { return Ok(()) };
        let (mut next, mut bytes) = (range.start, 0u64);
        while next < range.upto && bytes < max_bytes {
            let most = usize::try_from(max_bytes - bytes).unwrap_or(CHUNK_LEN).min(CHUNK_LEN);
            let chunk = self.read_chunk(&source, next, range.upto, most).await.map_err(own)?;
            if chunk.bytes.is_empty() {
                // No batch begins here any more: what is covered ends where the batches do.
                break;
            }
            if chunk.next <= next {
                let reason = format!("a log gave no progress at {next}");
                return Err(own(TierError::Invalid { reason }));
            }
            if bytes == 0 {
                let begun = if source.is_sparse() { writer.begin_sparse_unit(range) } else { writer.begin_unit(range) };
                begun.map_err(common)?;
            }
            writer.data(&chunk.bytes).await.map_err(common)?;
            bytes += chunk.bytes.len() as u64;
            next = chunk.next;
        }
        if bytes == 0 {
            return Ok(());
        }
        let state = self.state_at(&source, range.start, next).await.map_err(own)?;
        writer.end_unit(next, state).await.map_err(common)
    }

    async fn read_chunk(
        &self,
        source: &Arc<dyn UnitSource>,
        from: Offset,
        upto: Offset,
        most: usize,
    ) -> Result<SourceChunk, TierError> {
        let source = Arc::clone(source);
        let read = self.env.blocking(Pool::Maintenance, move || source.read_chunk(from, upto, most));
        read.await.map_err(|_| TierError::Closed)?
    }

    async fn state_at(&self, source: &Arc<dyn UnitSource>, start: Offset, end: Offset) -> Result<UnitState, TierError> {
        let source = Arc::clone(source);
        let read = self.env.blocking(Pool::Maintenance, move || source.state_at(start, end));
        read.await.map_err(|_| TierError::Closed)?
    }
}

/// The shortest time that anything may be missing in the tier: what costs a request of its own is not done more often.
fn pace(views: &[PartitionView]) -> Duration {
    let tails = views.iter().filter(|view| view.enabled).map(|view| view.tail.max_age);
    tails.min().unwrap_or_else(|| super::source::TailLimits::default().max_age)
}

#[cfg(test)]
#[path = "upload_tests.rs"]
mod tests;
