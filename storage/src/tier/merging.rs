//! Merging, carried out along with uploads: what it remembers between two plans, and what it reads.
//!
//! ```text
//! image, views -> plan_merges ------------------> runs -> gather -> written into the uploader's object -> swaps
//!            `-> pages_to_merge -> pages (read) --^
//! ```
//!
//! Nothing here writes an object of its own: the uploader takes what is planned along. What fails here fails for one
//! partition and is left alone for a while, and what can never be read is passed by.

use super::TierError;
use super::image::TierImage;
use super::manifest::{Manifest, PageRef};
use super::merge::{Gathered, MergeConfig, gather, pages_to_merge, plan_merges, run_to_merge};
use super::persist::read_page;
use super::rewrite::{Run, Stretch};
use super::source::PartitionView;
use super::writer::ObjectWriter;
use crate::env::store::Store;
use crate::env::{Env, Monotonic};
use crate::offset::{LeaderEpoch, Offset, PartitionId};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Bytes that are gathered at a time to be merged.
const GATHER_BYTES: u64 = 8 << 20;
/// How long merging may keep an upload that it goes along with from its end.
const MERGE_LIMIT: Duration = Duration::from_secs(10);
/// How long a partition is left alone whose units could not be merged.
const MERGE_PAUSE: Duration = Duration::from_secs(300);
/// How often pages are looked into.
const PAGES_EVERY: Duration = Duration::from_secs(10);

#[derive(Default)]
struct State {
    /// Partitions of which a run is on its way.
    busy: BTreeSet<PartitionId>,
    /// Until when partitions are left alone.
    paused: BTreeMap<PartitionId, Monotonic>,
    /// Some pages are being read.
    looking: bool,
    /// When to look into pages next.
    next_page: Monotonic,
    /// A run that was found in pages.
    paged: Option<Run>,
    /// Up to where the pages of partitions have nothing to merge.
    settled: BTreeMap<PartitionId, Offset>,
}

/// What is known of merging.
pub(super) struct Merging {
    env: Env,
    store: Arc<dyn Store>,
    cluster: Uuid,
    config: MergeConfig,
    state: Mutex<State>,
}

/// Pages to be read.
struct Look {
    partition: PartitionId,
    epoch: LeaderEpoch,
    manifest: Arc<Manifest>,
    config: MergeConfig,
    pages: Vec<PageRef>,
}

impl Merging {
    pub(super) fn new(env: &Env, store: Arc<dyn Store>, cluster: Uuid, config: MergeConfig) -> Arc<Merging> {
        Arc::new(Merging { env: env.clone(), store, cluster, config, state: Mutex::default() })
    }

    /// What to merge now, in at most `room` bytes.
    pub(super) fn plan(&self, image: &TierImage, views: &[PartitionView], room: u64) -> Vec<Run> {
        let now = self.env.now();
        let mut state = self.state.lock();
        state.paused.retain(|_, until| *until > now);
        let left_alone: BTreeSet<PartitionId> = state.busy.iter().chain(state.paused.keys()).copied().collect();
        let mut runs = plan_merges(&self.config, image, views, &left_alone, room);
        let left = room.saturating_sub(runs.iter().map(Run::bytes).sum());
        let is_current = |run: &Run| image.get(&run.partition()).is_some_and(|of| of.revision() == run.revision());
        if !state.paged.as_ref().is_some_and(is_current) {
            state.paged = None;
        }
        let fits = |run: &&Run| {
            // One swap of a partition at a time: the second would be of a revision that is over.
            let alone = runs.iter().all(|other| other.partition() != run.partition());
            run.bytes() <= left && alone && !left_alone.contains(&run.partition())
        };
        let paged = state.paged.as_ref().filter(fits).cloned();
        runs.extend(paged);
        runs
    }

    /// Runs are on their way.
    pub(super) fn begin(&self, runs: &[Run]) {
        let mut state = self.state.lock();
        state.busy.extend(runs.iter().map(Run::partition));
        if runs.iter().any(Run::is_paged) {
            state.paged = None;
        }
    }

    /// They have arrived, or not.
    pub(super) fn end(&self, runs: &[Run]) {
        let mut state = self.state.lock();
        for run in runs {
            state.busy.remove(&run.partition());
        }
    }

    /// Writes those of some runs that can be read now, and tells which. Failures are failures of runs, as long as the
    /// object can be written.
    ///
    /// # Errors
    /// As [`ObjectWriter::data`].
    pub(super) async fn merge_into(
        &self,
        writer: &mut ObjectWriter,
        merges: &[Run],
        merged: &mut Vec<Run>,
    ) -> Result<(), TierError> {
        let end = self.env.now().plus(MERGE_LIMIT);
        let mut rest = merges;
        while !rest.is_empty() && self.env.now() < end {
            let mut bytes = 0;
            let more = rest.iter().take_while(|run| {
                bytes += run.bytes();
                bytes <= GATHER_BYTES
            });
            let (now, later) = rest.split_at(more.count().clamp(1, rest.len()));
            rest = later;
            // A store whose reads hang, or threads that get no time, keep the upload back no longer than this.
            let Ok(gathered) = self.env.timeout(end.since(self.env.now()), self.gather(now)).await else {
                tracing::info!(runs = now.len(), "units are merged later: reading them takes too long");
                now.iter().for_each(|run| self.leave_alone(run.partition()));
                break;
            };
            for gathered in gathered {
                let run = gathered.run().clone();
                gathered.write(writer).await?;
                merged.push(run);
            }
        }
        Ok(())
    }

    /// What can be read of some runs. A run that cannot is left alone for a while.
    async fn gather(&self, runs: &[Run]) -> Vec<Gathered> {
        if let Ok(gathered) = gather(&*self.store, runs).await {
            return gathered;
        }
        // One by one: the fault of one is not that of all.
        let mut gathered = Vec::new();
        for run in runs {
            match gather(&*self.store, std::slice::from_ref(run)).await {
                Ok(mut one) => gathered.append(&mut one),
                Err(error) if error.is_retry() => {
                    tracing::info!(partition = %run.partition(), %error, "units are merged later");
                    self.leave_alone(run.partition());
                }
                Err(error) => {
                    tracing::warn!(partition = %run.partition(), %error, "units cannot be merged");
                    self.leave_alone(run.partition());
                    if let Some(last) = run.units().last().filter(|_| run.is_paged()) {
                        self.state.lock().settled.insert(run.partition(), last.end);
                    }
                }
            }
        }
        gathered
    }

    fn leave_alone(&self, partition: PartitionId) {
        let until = self.env.now().plus(MERGE_PAUSE);
        self.state.lock().paused.insert(partition, until);
    }

    /// Looks for a run in the pages of one partition, if it is time; in the background, since that waits for the store.
    pub(super) fn look_into_pages(self: &Arc<Merging>, image: &TierImage, views: &[PartitionView]) {
        let Some(look) = self.where_to_look(image, views) else { return };
        let merging = Arc::clone(self);
        drop(self.env.spawn_background("tier-pages", async move { merging.look(look).await }));
    }

    fn where_to_look(&self, image: &TierImage, views: &[PartitionView]) -> Option<Look> {
        let now = self.env.now();
        let mut state = self.state.lock();
        if state.looking || state.paged.is_some() || now < state.next_page {
            return None;
        }
        state.next_page = now.plus(PAGES_EVERY);
        let led: BTreeSet<PartitionId> = views.iter().map(|view| view.partition).collect();
        state.settled.retain(|partition, _| led.contains(partition));
        let found = views.iter().filter(|view| view.enabled).find_map(|view| {
            let (partition, epoch) = (view.partition, view.leader_epoch);
            let manifest = image.get(&partition).filter(|manifest| manifest.open_epoch() == Some(epoch))?;
            if state.busy.contains(&partition) || state.paused.contains_key(&partition) {
                return None;
            }
            let from = state.settled.get(&partition).copied().unwrap_or_default();
            let config = self.config.of_view(view);
            let pages = pages_to_merge(&config, manifest.pages(), from)?;
            let pages = manifest.pages().get(pages)?.to_vec();
            Some(Look { partition, epoch, manifest: Arc::clone(manifest), config, pages })
        });
        state.looking = found.is_some();
        found
    }

    async fn look(&self, look: Look) {
        let Look { partition, epoch, manifest, config, pages } = look;
        let mut units = Vec::new();
        let mut failed = None;
        for page in &pages {
            match read_page(&*self.store, self.cluster, page).await {
                Ok(read) => units.extend(read),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        if let Some(error) = failed {
            tracing::info!(%partition, %error, "pages are looked into later");
            self.leave_alone(partition);
            self.state.lock().looking = false;
            return;
        }
        let stretch = Stretch::of_pages(partition, &manifest, epoch, &pages, units);
        let gone = stretch.first_live();
        let live = stretch.units().get(gone..).unwrap_or_default();
        let found = run_to_merge(&config, live).and_then(|run| stretch.run(gone + run.start..gone + run.end));
        let mut state = self.state.lock();
        state.looking = false;
        if let (None, Some(last)) = (&found, pages.last()) {
            state.settled.insert(partition, last.end);
        }
        state.paged = found;
    }
}

impl std::fmt::Debug for Merging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Merging").field("config", &self.config).finish_non_exhaustive()
    }
}
