//! The log cleaner: compacts the partitions of topics with `cleanup.policy=compact`, the dirtiest first, on the disk and in
//! the tier.
//!
//! `log.cleaner.threads` tasks each take the dirtiest log that no other has, and do a pass over it in steps on the
//! maintenance pool; where nothing is due they pause for `log.cleaner.backoff.ms`. All share one throttle
//! (`log.cleaner.io.max.bytes.per.second`) and the memory for keys (`log.cleaner.dedupe.buffer.size`). A partition with a
//! damaged batch is *uncleanable*: that is said once, and it is left alone until its log has that segment no more, or it is
//! opened again; the others go on.

use super::hosted::Hosted;
use super::leader::Partition;
use crate::config::{BrokerConfig, TopicConfig};
use crate::metrics::Metrics;
use esker_storage::compaction::{
    Candidate, CompactionConfig, Pass, PassConfig, PassReport, Progress, Step, TierCompactor, TierPartition, dirtiest,
    look_at, read_progress, tier_candidate, write_progress,
};
use esker_storage::env::{Env, Monotonic, Pool, TaskHandle};
use esker_storage::log::LogError;
use esker_storage::offset::{LeaderEpoch, PartitionId};
use esker_storage::segment::SegmentName;
use esker_storage::tier::TierError;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Bytes that a step reads and writes about: what the throttle and the pool's other work wait for at most.
const STEP: u64 = 4 << 20;

/// Compacts the logs of a broker.
pub struct Cleaner {
    env: Env,
    hosted: Arc<Hosted>,
    metrics: Arc<Metrics>,
    tier: TierCompactor,
    threads: u32,
    /// Bytes of keys that one pass holds.
    key_bytes: usize,
    bytes_per_second: f64,
    backoff: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    busy: BTreeSet<PartitionId>,
    /// In the epoch in which that was found, and the damaged segment if it is a local one.
    uncleanable: BTreeMap<PartitionId, (LeaderEpoch, Option<SegmentName>)>,
    /// When the throttle lets the next step begin.
    next_step: Option<Monotonic>,
    /// Up to where logs were cleaned, as their files tell, in the epoch in which that was read; read again after each pass.
    progress: BTreeMap<PartitionId, (LeaderEpoch, Progress)>,
    /// Passes that have ended.
    passes: u64,
}

/// A log, or its part in the tier, that is due, and how.
struct Due {
    partition: Arc<Partition>,
    place: Place,
    candidate: Candidate,
    config: CompactionConfig,
    progress: Progress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Disk,
    Tier,
}

impl Cleaner {
    /// For the partitions of `hosted`.
    pub fn new(
        env: &Env,
        config: &BrokerConfig,
        hosted: &Arc<Hosted>,
        metrics: &Arc<Metrics>,
        tier: TierCompactor,
    ) -> Arc<Cleaner> {
        let threads = if config.log_cleaner_enable { config.log_cleaner_threads } else { 0 };
        let share = config.log_cleaner_dedupe_buffer_size / u64::from(threads.max(1));
        Arc::new(Cleaner {
            env: env.clone(),
            hosted: Arc::clone(hosted),
            metrics: Arc::clone(metrics),
            tier,
            threads,
            key_bytes: usize::try_from(share).unwrap_or(usize::MAX),
            bytes_per_second: config.log_cleaner_io_max_bytes_per_second,
            backoff: Duration::from_millis(config.log_cleaner_backoff_ms),
            state: Mutex::new(State::default()),
        })
    }

    /// Starts its tasks, which go on until they are aborted.
    pub fn start(self: &Arc<Self>) -> Vec<TaskHandle> {
        let run = |_| {
            let cleaner = Arc::clone(self);
            self.env.spawn_background("log-cleaner", cleaner.run())
        };
        (0..self.threads).map(run).collect()
    }

    async fn run(self: Arc<Self>) {
        loop {
            let cleaned = match self.take_dirtiest().await {
                Some(due) => {
                    let id = due.partition.id();
                    let cleaned = match due.place {
                        Place::Disk => self.clean(due).await,
                        Place::Tier => self.clean_tier(due).await,
                    };
                    let mut state = self.state.lock();
                    state.progress.remove(&id);
                    state.passes += 1;
                    state.busy.remove(&id);
                    drop(state);
                    cleaned
                }
                None => false,
            };
            if !cleaned {
                self.env.sleep(self.backoff).await;
            }
        }
    }

    /// The dirtiest log that is due and that no other task has; it counts as taken.
    async fn take_dirtiest(&self) -> Option<Due> {
        let compacted = self.hosted.led().into_iter().filter(|partition| {
            let log = partition.log();
            let has_some = log.local().segments().len() > 1 || log.last_tiered().is_some();
            partition.topic_config().cleanup.compact && !log.is_failed() && has_some
        });
        let all: Vec<Arc<Partition>> = compacted.collect();
        let (known, passes) = {
            let mut state = self.state.lock();
            let led = self.hosted.led();
            let epochs: BTreeMap<_, _> = led.iter().map(|led| (led.id(), led.leader_epoch())).collect();
            let has = |id: &PartitionId, name: SegmentName| {
                let led = led.iter().find(|led| led.id() == *id);
                led.is_some_and(|led| led.log().local().segments().iter().any(|segment| segment.name == name))
            };
            state.uncleanable.retain(|id, (epoch, segment)| {
                epochs.get(id) == Some(epoch) && segment.is_none_or(|segment| has(id, segment))
            });
            let count = i64::try_from(state.uncleanable.len()).unwrap_or(i64::MAX);
            self.metrics.uncleanable_partitions.set(count);
            state.progress.retain(|id, (epoch, _)| epochs.get(id) == Some(epoch));
            (state.progress.clone(), state.passes)
        };
        let now = self.env.wall();
        let looked = self.env.blocking(Pool::Maintenance, move || {
            let look = |partition: Arc<Partition>| {
                let topic = partition.topic_config();
                let config = compaction_config(&topic);
                let end = partition.log().compactable_end(partition.high_watermark(), topic.is_copied());
                let log = partition.log().local();
                let progress = match known.get(&partition.id()) {
                    Some((_, progress)) => Ok(*progress),
                    None => read_progress(log),
                };
                let found =
                    progress.and_then(|progress| Ok((progress, look_at(log, progress.local, end, &config, now)?)));
                (partition, config, found)
            };
            all.into_iter().map(look).collect::<Vec<_>>()
        });
        let mut due = Vec::new();
        let mut dirtiest_percent = 0.0f64;
        let looked = looked.await.ok()?;
        {
            // One pass that ended meanwhile may have been of any of them.
            let mut state = self.state.lock();
            let known = looked.iter().filter(|_| state.passes == passes).filter_map(|(partition, _, found)| {
                let (progress, _) = found.as_ref().ok()?;
                Some((partition.id(), (partition.leader_epoch(), *progress)))
            });
            let known: Vec<_> = known.collect();
            state.progress.extend(known);
        }
        for (partition, config, found) in looked {
            match found {
                Ok((progress, candidate)) => {
                    let manifest = partition.log().manifest().filter(|_| partition.topic_config().is_tiered());
                    let in_tier =
                        manifest.map(|manifest| tier_candidate(partition.id(), &manifest, progress.tier, &config, now));
                    let found = [(Place::Disk, Some(candidate)), (Place::Tier, in_tier)];
                    for (place, candidate) in found {
                        let Some(candidate) = candidate.filter(|candidate| candidate.is_due(&config)) else { continue };
                        dirtiest_percent = dirtiest_percent.max(candidate.dirty_ratio * 100.0);
                        let partition = Arc::clone(&partition);
                        due.push(Due { partition, place, candidate, config, progress });
                    }
                }
                Err(error) => self.cannot(&partition, &error),
            }
        }
        self.metrics.max_dirty_percent.set(dirtiest_percent as i64);
        let mut state = self.state.lock();
        due.retain(|due| {
            let id = due.partition.id();
            !state.busy.contains(&id) && !state.uncleanable.contains_key(&id)
        });
        let candidates: Vec<Candidate> = due.iter().map(|due| due.candidate).collect();
        let first = *dirtiest(&candidates)?;
        state.busy.insert(first.partition);
        due.into_iter().find(|due| due.candidate == first)
    }

    /// One pass over a log. Whether it was done.
    async fn clean(&self, due: Due) -> bool {
        let Due { partition, candidate, config, progress, .. } = due;
        let started = self.env.now();
        let log = Arc::clone(partition.log().local());
        let settings = PassConfig {
            topic: config,
            key_bytes: self.key_bytes,
            seed: self.env.random.next(),
            clean_below: partition.log().clean_below(progress.tier),
        };
        let mut pass = Pass::begin(&log, &candidate, settings, self.env.wall());
        loop {
            let step = self.env.blocking(Pool::Maintenance, move || {
                let step = pass.step(STEP);
                (pass, step)
            });
            let Ok((went_on, step)) = step.await else { return false };
            pass = went_on;
            match step {
                Ok(Step::More(bytes)) => self.throttle(bytes).await,
                Ok(Step::Done(report)) => {
                    self.done(&partition, &report, started);
                    return true;
                }
                Ok(Step::Overtaken) => return false,
                Err(error) => {
                    self.cannot(&partition, &error);
                    return false;
                }
            }
            if !partition.topic_config().cleanup.compact || partition.ended().is_some() {
                return false;
            }
        }
    }

    /// One pass over what the tier has of a log. Whether it was done.
    async fn clean_tier(self: &Arc<Self>, due: Due) -> bool {
        let Due { partition, candidate, config, .. } = due;
        let started = self.env.now();
        let log = Arc::clone(partition.log().local());
        let of =
            TierPartition { id: partition.id(), epoch: partition.leader_epoch(), last_batches: log.last_batches() };
        let (key_bytes, seed) = (self.key_bytes, self.env.random.next());
        let clean_below = partition.log().clean_below(None);
        let settings = PassConfig { topic: config, key_bytes, seed, clean_below };
        let cleaner = Arc::clone(self);
        let pause = move |bytes| -> BoxFuture<'static, ()> {
            let cleaner = Arc::clone(&cleaner);
            Box::pin(async move { cleaner.throttle(bytes).await })
        };
        match self.tier.pass(&of, &candidate, settings, self.env.wall(), &pause).await {
            Ok(Some(report)) => {
                let written = self.env.blocking(Pool::Maintenance, move || {
                    let before = read_progress(&log)?;
                    write_progress(&log, Progress { tier: Some(report.cleaned_to), ..before })
                });
                if let Ok(Err(error)) = written.await {
                    self.cannot(&partition, &error);
                    return false;
                }
                self.done(&partition, &report, started);
                true
            }
            Ok(None) | Err(TierError::Closed) => false,
            Err(error @ TierError::Corrupt { .. }) => {
                self.cannot_now(&partition, None, &error);
                false
            }
            Err(error) => {
                tracing::info!(partition = %partition.id(), %error, "compaction in the tier was put off");
                false
            }
        }
    }

    /// Waits for as long as reading and writing `bytes` may take.
    async fn throttle(&self, bytes: u64) {
        let seconds = (bytes as f64 / self.bytes_per_second).min(3600.0);
        let Ok(costs) = Duration::try_from_secs_f64(seconds) else { return };
        let now = self.env.now();
        let next = {
            let mut state = self.state.lock();
            let next = state.next_step.filter(|next| *next > now).unwrap_or(now).plus(costs);
            state.next_step = Some(next);
            next
        };
        let wait = next.since(now);
        // Shorter pauses add up until they are worth a timer.
        if wait >= Duration::from_millis(5) {
            self.env.sleep(wait).await;
        }
    }

    fn done(&self, partition: &Partition, report: &PassReport, started: Monotonic) {
        let PassReport { counts, keys, map_percent, swaps, cleaned_to } = *report;
        let took = self.env.now().since(started);
        self.metrics.cleaner_buffer_percent.set(i64::try_from(map_percent).unwrap_or(i64::MAX));
        let recopied = counts.bytes_kept * 100 / counts.bytes_read.max(1);
        self.metrics.cleaner_recopy_percent.set(i64::try_from(recopied).unwrap_or(i64::MAX));
        self.metrics.cleaner_clean_seconds.set(i64::try_from(took.as_secs()).unwrap_or(i64::MAX));
        self.metrics.cleaner_passes.inc();
        self.metrics.cleaner_bytes_removed.inc_by(counts.bytes_read.saturating_sub(counts.bytes_kept));
        tracing::debug!(
            partition = %partition.id(), topic = %partition.topic(), %cleaned_to, keys, swaps,
            read = counts.records_read, kept = counts.records_kept, keyless = counts.keyless,
            bytes_read = counts.bytes_read, bytes_kept = counts.bytes_kept, "compacted"
        );
    }

    /// Why a log was not compacted.
    fn cannot(&self, partition: &Partition, error: &LogError) {
        match error {
            LogError::Closed | LogError::Failed(_) => {}
            _ if partition.log().local().is_closed() => {}
            LogError::Corrupt { segment, .. } => self.cannot_now(partition, Some(*segment), error),
            error => tracing::warn!(partition = %partition.id(), %error, "compaction was put off"),
        }
    }

    fn cannot_now(&self, partition: &Partition, segment: Option<SegmentName>, error: &dyn std::fmt::Display) {
        let found = (partition.leader_epoch(), segment);
        let before = self.state.lock().uncleanable.insert(partition.id(), found);
        if before != Some(found) {
            let topic = partition.topic();
            tracing::error!(partition = %partition.id(), %topic, %error, "the partition cannot be compacted");
        }
    }
}

/// How a topic is compacted.
fn compaction_config(config: &TopicConfig) -> CompactionConfig {
    let millis = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX);
    let max_lag = millis(config.max_compaction_lag_ms);
    CompactionConfig {
        min_dirty_ratio: config.min_cleanable_dirty_ratio,
        min_lag_ms: millis(config.min_compaction_lag_ms),
        max_lag_ms: (max_lag < i64::MAX).then_some(max_lag),
        delete_retention_ms: millis(config.delete_retention_ms),
        segment_bytes: u64::from(config.segment_bytes),
    }
}
