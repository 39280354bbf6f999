//! A pass over what the tier has of a compacted partition.
//!
//! ```text
//!   map      dirty units: newest offset of each key, until the map is full
//!   filter   every unit that begins before the end of the map, oldest first, in runs of bounded size:
//!            batches -> rules -> a new unit over the same offsets -> one tier-log commit
//! ```
//!
//! The rules are those of the local pass. The tier is what lies deepest, so here a tombstone goes when its horizon has
//! passed: runs are committed in ascending order, what it hides is gone by then. A local tombstone waits for a pass over
//! the tier that covers it (see [`Rules`]). A run is refused if anything of it was replaced or given up meanwhile; the pass
//! ends then, and begins again some other time. Readers of the old objects finish on them, for as long as the sweeper's
//! grace.
//!
//! A unit has at least one batch: where nothing stays of a run, the head of its last batch does.

use super::key_map::KeyMap;
use super::pass::{PassConfig, PassReport, take_keys};
use super::plan::{Candidate, CompactionConfig};
use super::rules::{EVERYTHING, Kept, Rules};
use super::transactions::Aborted;
use crate::env::store::Store;
use crate::env::{Env, Pool, Timestamp};
use crate::log::LastBatch;
use crate::offset::{LeaderEpoch, Offset, PartitionId};
use crate::segment::AbortedTransaction;
use crate::tier::{
    Manifest, ObjectKey, ObjectWriter, Rewriter, Run, Stretch, TierCommits, TierError, TierReader, UnitBatches,
    UnitMeta, joined_state, read_state,
};
use bytes::{Bytes, BytesMut};
use esker_protocol::record::{BatchHeader, Scratch, batches, without_records};
use futures_util::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

/// Bytes of batches that one run has at most, unless a single unit has more.
const RUN_BYTES: u64 = 64 << 20;
/// Units that one run has at most.
const RUN_UNITS: usize = 500;

/// Compacts the tier of partitions.
#[derive(Clone)]
pub struct TierCompactor {
    env: Env,
    store: Arc<dyn Store>,
    cluster: Uuid,
    commits: TierCommits,
    reader: Arc<TierReader>,
}

/// Waits for as long as moving so many bytes may take.
pub type Pause = dyn Fn(u64) -> BoxFuture<'static, ()> + Send + Sync;

/// Which partition, and who leads it.
#[derive(Clone, Debug)]
pub struct TierPartition {
    /// The partition.
    pub id: PartitionId,
    /// The leader's epoch.
    pub epoch: LeaderEpoch,
    /// The last batch of each producer that the leader remembers.
    pub last_batches: BTreeMap<i64, LastBatch>,
}

/// What of a tier can be compacted now, of which everything before `cleaned_to` was.
pub fn tier_candidate(
    partition: PartitionId,
    manifest: &Manifest,
    cleaned_to: Option<Offset>,
    config: &CompactionConfig,
    now: Timestamp,
) -> Candidate {
    let start = manifest.first_start().max(manifest.log_start().offset());
    let first_dirty = cleaned_to.unwrap_or(start).max(start).min(manifest.end().offset());
    let pages = manifest.pages().iter().map(|page| (page.end, page.bytes, page.max_timestamp));
    let units = manifest.recent().iter().map(|unit| (unit.end, unit.data.len(), unit.max_timestamp));
    let age = |latest: Option<Timestamp>| latest.map(|latest| now.millis().saturating_sub(latest.millis()));
    let (mut upto, mut total, mut dirty_bytes, mut overdue) = (first_dirty, 0, 0, false);
    for (end, bytes, latest) in pages.chain(units) {
        if end > first_dirty {
            if config.min_lag_ms > 0 && age(latest).is_some_and(|age| age < config.min_lag_ms) {
                break;
            }
            dirty_bytes += bytes;
            upto = end;
            overdue |= config.max_lag_ms.zip(age(latest)).is_some_and(|(limit, age)| age > limit);
        }
        total += bytes;
    }
    let dirty_ratio = if total == 0 { 0.0 } else { dirty_bytes as f64 / total as f64 };
    Candidate { partition, first_dirty, upto, dirty_ratio, dirty_bytes, overdue }
}

impl TierCompactor {
    /// A compactor of this tier.
    pub fn new(
        env: &Env,
        store: Arc<dyn Store>,
        cluster: Uuid,
        commits: TierCommits,
        reader: Arc<TierReader>,
    ) -> TierCompactor {
        TierCompactor { env: env.clone(), store, cluster, commits, reader }
    }

    /// One pass over what `candidate` names; `None` if somebody else changed the partition's tier meanwhile. `pause` is
    /// called with bytes that were moved, and waits for as long as they may take.
    ///
    /// # Errors
    /// [`TierError`]; with `Corrupt` the partition's tier cannot be compacted. Nothing is lost.
    pub async fn pass(
        &self,
        partition: &TierPartition,
        candidate: &Candidate,
        config: PassConfig,
        now: Timestamp,
        pause: &Pause,
    ) -> Result<Option<PassReport>, TierError> {
        let Some(learnt) = self.learn(partition, candidate, &config, pause).await? else { return Ok(None) };
        let Learnt { newest, covered, aborted } = learnt;
        let (keys, map_bytes) = (newest.len(), newest.bytes());
        let mut work = Work {
            rules: Rules::new(
                newest,
                covered,
                Aborted::of(&aborted),
                partition.last_batches.clone(),
                now,
                config.topic.delete_retention_ms,
                EVERYTHING,
            ),
            scratch: Scratch::default(),
        };
        let rewriter = Rewriter::new(&self.env, Arc::clone(&self.store), self.cluster, self.commits.clone());
        let (mut at, mut swaps) = (Offset::ZERO, 0);
        loop {
            let Some(run) = self.next_run(partition, at, covered).await? else { break };
            at = run.units().last().map_or(covered, |last| last.end);
            let (went_on, new) = self.rewrite(&run, work, covered, pause).await?;
            work = went_on;
            let Some(new) = new else { continue };
            if !rewriter.commit(vec![(run, new)]).await?.first().is_some_and(|verdict| verdict.is_applied()) {
                return Ok(None);
            }
            swaps += 1;
        }
        let map_percent = map_bytes as u64 * 100 / (config.key_bytes as u64).max(1);
        Ok(Some(PassReport { counts: work.rules.counts(), keys, map_percent, swaps, cleaned_to: covered }))
    }

    fn manifest(&self, partition: &TierPartition) -> Option<Arc<Manifest>> {
        let image = self.commits.image();
        image.get(&partition.id).filter(|manifest| manifest.open_epoch() == Some(partition.epoch)).cloned()
    }

    /// The units that come next, from the one that covers `at`: adjacent ones of one place, of bounded size, that begin before
    /// `covered`.
    async fn next_run(&self, partition: &TierPartition, at: Offset, covered: Offset) -> Result<Option<Run>, TierError> {
        let Some(manifest) = self.manifest(partition) else { return Ok(None) };
        let mut at = at.max(manifest.log_start().offset());
        while at < covered {
            let page = manifest.pages().iter().position(|page| page.end > at);
            let stretch = match page {
                Some(page) => {
                    let pages = page..page + 1;
                    Stretch::paged(&self.reader, partition.id, &manifest, partition.epoch, pages).await?
                }
                None => Stretch::recent(partition.id, &manifest, partition.epoch),
            };
            let first = stretch.units().partition_point(|unit| unit.end <= at).max(stretch.first_live());
            let (mut bytes, mut past) = (0u64, first);
            for unit in stretch.units().iter().skip(first).take(RUN_UNITS) {
                if unit.start >= covered || (past > first && bytes.saturating_add(unit.data.len()) > RUN_BYTES) {
                    break;
                }
                bytes += unit.data.len();
                past += 1;
            }
            if let Some(run) = stretch.run(first..past) {
                return Ok(Some(run));
            }
            // Nothing lives in this page any more.
            match page.and_then(|page| manifest.pages().get(page)) {
                Some(page) => at = page.end,
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Reads the dirty units.
    async fn learn(
        &self,
        partition: &TierPartition,
        candidate: &Candidate,
        config: &PassConfig,
        pause: &Pause,
    ) -> Result<Option<Learnt>, TierError> {
        let (from, upto) = (candidate.first_dirty, candidate.upto);
        let mut state = (KeyMap::new(config.key_bytes, config.seed), Scratch::default());
        let mut aborted: Vec<AbortedTransaction> = Vec::new();
        let (mut at, mut full) = (from, None);
        'units: while at < upto {
            let Some(run) = self.next_run(partition, at, upto).await? else { return Ok(None) };
            for unit in run.units() {
                aborted.extend(read_state(self.store.as_ref(), unit).await?.aborted);
            }
            let known = Aborted::of(&aborted);
            for unit in run.units() {
                let mut reading = UnitBatches::new(self.store.as_ref(), unit);
                while let Some(chunk) = reading.next().await? {
                    pause(chunk.len() as u64).await;
                    let (known, key) = (known.clone(), Arc::clone(&unit.key));
                    let work = self.env.blocking(Pool::Maintenance, move || {
                        let (mut newest, mut scratch) = state;
                        let mut full = None;
                        for batch in batches(&chunk) {
                            if batch.header.is_control() || known.has(&batch.header) {
                                continue;
                            }
                            full = take_keys(&mut newest, batch.bytes, from, upto, &mut scratch)
                                .map_err(|why| TierError::corrupt(&key, why))?;
                            if full.is_some() {
                                break;
                            }
                        }
                        Ok::<_, TierError>(((newest, scratch), full))
                    });
                    let (back, ends) = work.await.map_err(|_| TierError::Closed)??;
                    state = back;
                    if ends.is_some() {
                        full = ends;
                        break 'units;
                    }
                }
            }
            at = run.units().last().map_or(upto, |last| last.end);
        }
        aborted.sort_by_key(|entry| (entry.last, entry.first, entry.producer_id));
        aborted.dedup();
        Ok(Some(Learnt { newest: state.0, covered: full.unwrap_or(upto), aborted }))
    }

    /// Writes what stays of a run; `None` if all of it does.
    async fn rewrite(
        &self,
        run: &Run,
        mut work: Work,
        covered: Offset,
        pause: &Pause,
    ) -> Result<(Work, Option<Vec<UnitMeta>>), TierError> {
        let units = run.units();
        let (Some(start), Some(end)) = (units.first().map(|unit| unit.start), units.last().map(|unit| unit.end)) else {
            return Ok((work, None));
        };
        let attempt = self.env.random.uuid();
        let key = ObjectKey::Rewrite { partition: run.partition(), base: start, revision: run.revision(), attempt };
        let mut writer = ObjectWriter::new(Arc::clone(&self.store), key);
        writer.begin_unit(run.range(start, end))?;
        let (mut states, mut markers) = (Vec::new(), BTreeSet::new());
        let (mut changed, mut kept_bytes, mut seen, mut last) = (false, 0, 0, None);
        for unit in units {
            states.push(read_state(self.store.as_ref(), unit).await?);
            let mut reading = UnitBatches::new(self.store.as_ref(), unit);
            while let Some(chunk) = reading.next().await? {
                pause(chunk.len() as u64).await;
                let name = Arc::clone(&unit.key);
                let filtered = self.env.blocking(Pool::Maintenance, move || work.filter(&name, &chunk));
                let (back, filtered) = filtered.await.map_err(|_| TierError::Closed)??;
                work = back;
                changed |= filtered.changed;
                markers.extend(filtered.markers);
                last = filtered.last.or(last);
                seen += filtered.seen;
                kept_bytes += filtered.bytes.len();
                if !filtered.bytes.is_empty() {
                    pause(filtered.bytes.len() as u64).await;
                    writer.data(&filtered.bytes).await?;
                }
            }
        }
        let Some(mut state) = joined_state(states) else { return Ok((work, None)) };
        // Readers skip what a marker ends until they have met it: without it they must not hear of the transaction.
        let entries = state.aborted.len();
        state.aborted.retain(|entry| entry.last >= covered || markers.contains(&entry.last));
        // Nothing but the head that stands for an empty unit: it was rewritten before.
        let stands_empty = kept_bytes == 0 && seen == 1 && last.is_some_and(|last| last.record_count == 0);
        changed = changed && !stands_empty || state.aborted.len() != entries;
        if !changed {
            writer.abandon().await;
            return Ok((work, None));
        }
        if let (0, Some(last)) = (kept_bytes, &last) {
            writer.data(&without_records(last)).await?;
        }
        writer.end_unit(end, state).await?;
        Ok((work, Some(writer.finish().await?)))
    }
}

/// What the dirty units told.
struct Learnt {
    newest: KeyMap,
    covered: Offset,
    aborted: Vec<AbortedTransaction>,
}

/// What goes along while units are filtered.
struct Work {
    rules: Rules,
    scratch: Scratch,
}

/// What stays of some batches.
struct Filtered {
    bytes: Bytes,
    changed: bool,
    /// The offsets of markers that stay.
    markers: Vec<Offset>,
    /// How many batches there were, and the last of them.
    seen: usize,
    last: Option<BatchHeader>,
}

impl Work {
    fn filter(mut self, key: &str, chunk: &Bytes) -> Result<(Work, Filtered), TierError> {
        let mut out = BytesMut::with_capacity(chunk.len());
        let (mut changed, mut markers, mut seen, mut last) = (false, Vec::new(), 0, None);
        for batch in batches(chunk) {
            let kept = self.rules.apply(&batch.header, batch.bytes, &mut self.scratch);
            let stays = match kept.map_err(|why| TierError::corrupt(key, why))? {
                Kept::AsIs => {
                    out.extend_from_slice(batch.bytes);
                    batch.header.record_count > 0
                }
                Kept::As(bytes) => {
                    out.extend_from_slice(&bytes);
                    changed = true;
                    BatchHeader::parse(&bytes).is_ok_and(|header| header.record_count > 0)
                }
                Kept::Nothing => {
                    changed = true;
                    false
                }
            };
            if stays && batch.header.is_control() {
                markers.extend(Offset::from_wire(batch.header.base_offset));
            }
            seen += 1;
            last = Some(batch.header);
        }
        Ok((self, Filtered { bytes: out.freeze(), changed, markers, seen, last }))
    }
}

impl std::fmt::Debug for TierCompactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TierCompactor").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "tier_pass_tests.rs"]
mod tests;
