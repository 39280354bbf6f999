//! Reads what has left the local disks.
//!
//! ```text
//! offset -> Manifest -> (page) -> unit -> view: index, epochs, aborted -> chunk: checked batches -> slices
//!            memory     cached            cached                          cached, prefetched
//! ```
//!
//! Each arrow that leads to the store goes through a [`LoadingCache`], so that every step that was made stays made: a
//! reader that cannot wait drops its future, and the next try goes on from there. All of it has a bounded number of
//! requests and bytes of its own, and runs on threads that step back: a replay of history does not disturb the rest.
//!
//! Two kinds of readers are told apart. One that *begins* somewhere wants its first record soon: it gets a *piece*, a
//! small range that begins where the index says, while the chunk around it is loaded as well. One that *goes on* where
//! it ended wants what the store can give: chunks are loaded ahead of it, more with every read.

use super::TierError;
use super::cache::{CacheBytes, CacheCounts, LoadingCache, Loads};
use super::manifest::{Located, Manifest, PageRef};
use super::persist::read_page;
use super::streams::Streams;
use super::unit::{AbortedTransaction, UnitMeta};
use super::view::{TierChunk, UnitView};
use super::writer::UnitState;
use crate::env::Env;
use crate::env::store::Store;
use crate::offset::{Offset, PartitionId};
use bytes::Bytes;
use futures_util::future::join;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use uuid::Uuid;

/// Bytes of a unit's description in memory, about.
const UNIT_BYTES: u64 = 600;
/// Prefetches into a following unit at the same time.
const MAX_CROSSINGS: usize = 64;

/// Bounds of tiered reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadConfig {
    /// The least size of a chunk, which is what one GET reads.
    pub chunk_bytes: u64,
    /// The least size of what a reader that begins somewhere is given first.
    pub piece_bytes: u64,
    /// What the chunks may take.
    pub chunks: CacheBytes,
    /// What the indexes and other small sections of units may take.
    pub views: CacheBytes,
    /// What the pages of manifests may take.
    pub pages: CacheBytes,
    /// GETs at the same time. A quarter is left to those who wait for one, however much is loaded ahead of others.
    pub concurrency: usize,
    /// Chunks that are loaded ahead of one reader.
    pub prefetch_chunks: usize,
}

impl Default for ReadConfig {
    fn default() -> ReadConfig {
        let mib = 1 << 20;
        ReadConfig {
            chunk_bytes: mib,
            piece_bytes: mib / 16,
            chunks: CacheBytes { cached: 64 * mib, reserved: 64 * mib, prefetched: 64 * mib },
            views: CacheBytes { cached: 16 * mib, reserved: 16 * mib, prefetched: mib },
            pages: CacheBytes { cached: 16 * mib, reserved: 16 * mib, prefetched: mib },
            concurrency: 24,
            prefetch_chunks: 24,
        }
    }
}

/// Batches from the tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierRead {
    /// The first offset of the first batch: at or before the one asked for, or after it where records are missing.
    pub base: Offset,
    /// One past the last offset: where to go on.
    pub next: Offset,
    /// Whole batches, in order. Empty if the first one is larger than was asked for, or if there is none up to `next`,
    /// because they were compacted away.
    pub pieces: Vec<Bytes>,
    /// The aborted transactions that overlap what was read.
    pub aborted: Vec<AbortedTransaction>,
}

impl TierRead {
    fn nothing(next: Offset) -> TierRead {
        TierRead { base: next, next, pieces: Vec::new(), aborted: Vec::new() }
    }

    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len() as u64).sum()
    }

    /// Whether there is no batch.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}

type ViewKey = (Arc<str>, u64);
/// The object, and where in it a chunk or a piece of one starts and ends.
type ChunkKey = (Arc<str>, u64, u64);

#[derive(Default)]
struct Ahead {
    streams: Streams,
    /// Units into which a prefetch is on its way.
    crossings: BTreeSet<(PartitionId, Offset)>,
}

/// Reads the tier.
pub struct TierReader {
    env: Env,
    store: Arc<dyn Store>,
    cluster: Uuid,
    config: ReadConfig,
    pages: LoadingCache<Arc<str>, Vec<Arc<UnitMeta>>>,
    views: LoadingCache<ViewKey, UnitView>,
    chunks: LoadingCache<ChunkKey, TierChunk>,
    ahead: Mutex<Ahead>,
}

impl TierReader {
    /// A reader with empty caches.
    pub fn new(env: &Env, store: Arc<dyn Store>, cluster: Uuid, config: ReadConfig) -> Arc<TierReader> {
        let loads = Arc::new(Loads::new(config.concurrency));
        Arc::new(TierReader {
            env: env.clone(),
            store,
            cluster,
            config,
            pages: LoadingCache::new(env, config.pages, Arc::clone(&loads)),
            views: LoadingCache::new(env, config.views, Arc::clone(&loads)),
            chunks: LoadingCache::new(env, config.chunks, loads),
            ahead: Mutex::default(),
        })
    }

    /// What the cache of chunks did.
    pub fn counts(&self) -> CacheCounts {
        self.chunks.counts()
    }

    /// Batches of a partition from the one that holds `from` on, at most `max_bytes`; a first batch that is larger is
    /// given whole if `at_least_one` is set. Waits for one chunk at most; more comes along only if it is here already.
    ///
    /// If the future is dropped (because `fetch.max.wait.ms` has passed), its work goes on, and what it was for is
    /// kept for 30 seconds, outside of eviction: asking again makes progress.
    ///
    /// # Errors
    /// [`TierError::OutOfRange`] if the manifest does not have the offset; [`TierError::Gone`] if an object is not
    /// there any more: get the newest manifest and try again; [`TierError::Corrupt`], [`TierError::Retry`],
    /// [`TierError::Refused`].
    pub async fn read(
        self: &Arc<TierReader>,
        partition: PartitionId,
        manifest: &Arc<Manifest>,
        from: Offset,
        max_bytes: u64,
        at_least_one: bool,
    ) -> Result<TierRead, TierError> {
        let mut at = from;
        let goes_on = self.ahead.lock().streams.knows(partition, from);
        loop {
            let Some(unit) = self.unit_at(manifest, at).await? else {
                // What comes next is not in the tier; whether anything was in between tells the two cases apart.
                return if at > from { Ok(TierRead::nothing(at)) } else { Err(TierError::OutOfRange { offset: from }) };
            };
            let view = self.view(&unit).await?;
            let first = view.chunk_of_offset(at);
            if !goes_on && let Some(read) = self.begin(&view, first, at, max_bytes, at_least_one).await? {
                self.read_ahead(partition, manifest, &view, first, from, &read);
                return Ok(read);
            }
            for chunk in first..view.chunks() {
                let loaded = self.chunk(&view, chunk).await?;
                if loaded.batches.last().is_none_or(|last| last.next <= at) {
                    continue;
                }
                let Some((batch, next, bytes)) = loaded.slice(at, max_bytes, at_least_one) else {
                    return Ok(TierRead::nothing(at));
                };
                let mut read = TierRead { base: batch.base, next, pieces: vec![bytes], aborted: Vec::new() };
                let last = self.extend(&view, chunk, &loaded, &mut read, max_bytes);
                read.aborted = overlapping(&view.aborted, read.base, read.next);
                self.read_ahead(partition, manifest, &view, last, from, &read);
                return Ok(read);
            }
            // What is left of the unit has no batches: they were compacted away.
            at = unit.end;
        }
    }

    /// What a reader that begins at `at` is given first: a piece of `chunk`, while the rest comes. `None` if the chunk is
    /// here or on its way already, or no larger than a piece.
    async fn begin(
        &self,
        view: &UnitView,
        chunk: usize,
        at: Offset,
        max_bytes: u64,
        at_least_one: bool,
    ) -> Result<Option<TierRead>, TierError> {
        let (Some(whole), Some(piece)) =
            (view.chunk_range(chunk), view.piece_range(chunk, at, self.config.piece_bytes))
        else {
            return Ok(None);
        };
        if piece == whole || self.chunks.contains(&chunk_key(view, whole)) {
            return Ok(None);
        }
        // The piece is asked for first.
        let (loaded, ()) = join(self.range(view, piece), async { self.prefetch_chunk(view, chunk) }).await;
        Ok(loaded?.slice(at, max_bytes, at_least_one).map(|(batch, next, bytes)| {
            let aborted = overlapping(&view.aborted, batch.base, next);
            TierRead { base: batch.base, next, pieces: vec![bytes], aborted }
        }))
    }

    /// Adds what is here already of the chunks after `chunk`, as long as there is room; the last chunk that was used.
    fn extend(&self, view: &UnitView, chunk: usize, loaded: &TierChunk, read: &mut TierRead, max_bytes: u64) -> usize {
        let mut used = chunk;
        let mut complete = loaded.batches.last().is_some_and(|last| last.next <= read.next);
        while complete && read.len() < max_bytes {
            let Some(range) = view.chunk_range(used + 1) else { break };
            let Some(next) = self.chunks.get(&chunk_key(view, range)) else { break };
            let Some((_, end, bytes)) = next.slice(read.next, max_bytes - read.len(), false) else { break };
            read.next = end;
            read.pieces.push(bytes);
            complete = next.batches.last().is_some_and(|last| last.next <= end);
            used += 1;
        }
        used
    }

    /// The unit that covers `offset`, or the first one after it.
    pub(super) async fn unit_at(
        &self,
        manifest: &Manifest,
        offset: Offset,
    ) -> Result<Option<Arc<UnitMeta>>, TierError> {
        match manifest.locate(offset) {
            None => Ok(None),
            Some(Located::Unit(unit)) => Ok(Some(unit)),
            Some(Located::Page(page)) => {
                let units = self.page(&page).await?;
                Ok(units.get(units.partition_point(|unit| unit.end <= offset)).cloned())
            }
        }
    }

    /// The units of a page.
    ///
    /// # Errors
    /// [`TierError::Corrupt`], [`TierError::Retry`], [`TierError::Refused`].
    pub async fn page(&self, page: &PageRef) -> Result<Arc<Vec<Arc<UnitMeta>>>, TierError> {
        let (store, cluster, wanted) = (Arc::clone(&self.store), self.cluster, page.clone());
        let load = || -> futures_util::future::BoxFuture<'static, _> {
            Box::pin(async move { read_page(&*store, cluster, &wanted).await })
        };
        self.pages.get_or_load(&page.key, u64::from(page.units) * UNIT_BYTES, load).await
    }

    pub(super) async fn view(&self, unit: &Arc<UnitMeta>) -> Result<Arc<UnitView>, TierError> {
        let key = (Arc::clone(&unit.key), unit.data.position());
        let (store, meta, chunk_bytes) = (Arc::clone(&self.store), Arc::clone(unit), self.config.chunk_bytes);
        self.views.get_or_load(&key, UnitView::bytes(unit), || Box::pin(UnitView::load(store, meta, chunk_bytes))).await
    }

    pub(super) async fn chunk(&self, view: &UnitView, chunk: usize) -> Result<Arc<TierChunk>, TierError> {
        match view.chunk_range(chunk) {
            Some(range) => self.range(view, range).await,
            None => Err(TierError::Invalid { reason: format!("a unit without chunk {chunk}") }),
        }
    }

    async fn range(&self, view: &UnitView, range: Range<u64>) -> Result<Arc<TierChunk>, TierError> {
        let key = chunk_key(view, range.clone());
        let (store, object) = (Arc::clone(&self.store), Arc::clone(&view.meta.key));
        let bytes = range.end - range.start;
        self.chunks.get_or_load(&key, bytes, || Box::pin(TierChunk::load(store, object, range))).await
    }

    /// The state that a replica needs which starts where the tier of its partition ends; `None` if the tier has no
    /// unit to tell.
    ///
    /// # Errors
    /// As [`TierReader::read`].
    pub async fn last_state(&self, manifest: &Manifest) -> Result<Option<UnitState>, TierError> {
        match manifest.last() {
            None => Ok(None),
            Some(unit) => Ok(Some(self.view(unit).await?.state())),
        }
    }

    fn read_ahead(
        self: &Arc<TierReader>,
        partition: PartitionId,
        manifest: &Arc<Manifest>,
        view: &UnitView,
        last: usize,
        from: Offset,
        read: &TierRead,
    ) {
        let limit = self.config.prefetch_chunks;
        let window = self.ahead.lock().streams.note(partition, from, read.next, limit);
        let within = window.min(view.chunks().saturating_sub(last + 1));
        for chunk in last + 1..=last + within {
            self.prefetch_chunk(view, chunk);
        }
        let next_unit = view.meta.end;
        if within >= window || next_unit >= manifest.end().offset() {
            return;
        }
        let crossing = (partition, next_unit);
        {
            let mut ahead = self.ahead.lock();
            if ahead.crossings.len() >= MAX_CROSSINGS || !ahead.crossings.insert(crossing) {
                return;
            }
        }
        let (reader, manifest) = (Arc::clone(self), Arc::clone(manifest));
        drop(self.env.spawn_history("tier-prefetch", async move {
            let (mut left, mut at) = (window - within, next_unit);
            // Whoever reads on will see what is wrong.
            while left > 0
                && let Ok(Some(unit)) = reader.unit_at(&manifest, at).await
                && let Ok(view) = reader.view(&unit).await
            {
                let chunks = left.min(view.chunks());
                (0..chunks).for_each(|chunk| reader.prefetch_chunk(&view, chunk));
                (left, at) = (left - chunks, unit.end);
            }
            reader.ahead.lock().crossings.remove(&crossing);
        }));
    }

    fn prefetch_chunk(&self, view: &UnitView, chunk: usize) {
        let Some(range) = view.chunk_range(chunk) else { return };
        let key = chunk_key(view, range.clone());
        if !self.chunks.contains(&key) {
            let (store, object) = (Arc::clone(&self.store), Arc::clone(&view.meta.key));
            let bytes = range.end - range.start;
            self.chunks.prefetch(&key, bytes, || Box::pin(TierChunk::load(store, object, range)));
        }
    }

    pub(super) fn env(&self) -> &Env {
        &self.env
    }
}

fn chunk_key(view: &UnitView, range: Range<u64>) -> ChunkKey {
    (Arc::clone(&view.meta.key), range.start, range.end)
}

fn overlapping(aborted: &[AbortedTransaction], base: Offset, next: Offset) -> Vec<AbortedTransaction> {
    aborted.iter().filter(|aborted| aborted.overlaps(base, next)).copied().collect()
}

impl std::fmt::Debug for TierReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TierReader").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
