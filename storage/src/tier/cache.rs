//! A cache that loads: bounded by bytes, one load per key, and progress for every reader.
//!
//! ```text
//!          get                      load ends
//!  absent ------> loading(waiters) -----------> reserved ----first get, or 30 s----> cached ----> evicted
//!                 holds room                    holds room                           least recently used
//! ```
//!
//! *Loading*: the first who wants a key starts a task that outlives it; others wait for the same task. *Reserved*: what
//! was loaded stays until somebody has got it once. So a reader that gives up waiting and comes back finds its result,
//! however many others there are: more readers than cache cannot keep each other from moving on. *Cached*: everything
//! else, evicted in the order of its last use.
//!
//! Loads take *room* before they start, in the order in which they were asked for, and give it back when their result
//! is no longer reserved. So memory is bounded by the cache's bytes plus the room. Prefetches have room of their own
//! and do without if there is none; and they leave some of the [`Loads`] to those who wait for one.

use super::TierError;
use crate::env::{Env, Monotonic};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// How long a result is kept for a reader that does not come back.
const RESERVED_FOR: Duration = Duration::from_secs(30);
/// How often a load that waits for room looks for reservations that have run out.
const EXPIRY_TICK: Duration = Duration::from_secs(1);
/// Bytes of one permit.
const ROOM_UNIT: u64 = 1 << 10;

/// How much a cache may hold, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheBytes {
    /// What was used, in the order of its use.
    pub cached: u64,
    /// What readers wait for, and what was loaded for them.
    pub reserved: u64,
    /// What was loaded ahead of readers.
    pub prefetched: u64,
}

/// A counter of what a cache did, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// Gets that found their value.
    pub hits: u64,
    /// Gets that had to wait for a load.
    pub misses: u64,
    /// Loads that failed.
    pub failures: u64,
}

/// How many loads run at a time, over all caches that share it.
pub(super) struct Loads {
    all: Semaphore,
    /// What prefetches may have of them.
    ahead: Semaphore,
}

impl Loads {
    /// `concurrency` loads at a time, of which prefetches leave a quarter to others.
    pub(super) fn new(concurrency: usize) -> Loads {
        let all = concurrency.max(1);
        Loads { all: Semaphore::new(all), ahead: Semaphore::new((all - all / 4).max(1)) }
    }
}

type Loaded<V> = Option<Result<Arc<V>, TierError>>;
type Load<V> = BoxFuture<'static, Result<V, TierError>>;

enum Slot<V> {
    Loading(watch::Receiver<Loaded<V>>),
    Reserved { value: Arc<V>, bytes: u64, until: Monotonic, _room: OwnedSemaphorePermit },
    Cached { value: Arc<V>, bytes: u64, stamp: u64 },
}

struct State<K, V> {
    slots: BTreeMap<K, Slot<V>>,
    /// Reserved keys by the time until which they are.
    reserved: BTreeMap<(Monotonic, K), ()>,
    /// Cached keys by their last use.
    used: BTreeMap<u64, K>,
    cached_bytes: u64,
    next_stamp: u64,
    counts: CacheCounts,
}

struct Inner<K, V> {
    env: Env,
    limit: u64,
    room: Pool,
    ahead: Pool,
    loads: Arc<Loads>,
    state: Mutex<State<K, V>>,
}

struct Pool {
    permits: Arc<Semaphore>,
    total: u32,
}

impl Pool {
    fn new(bytes: u64) -> Pool {
        let total = u32::try_from(bytes / ROOM_UNIT).unwrap_or(u32::MAX >> 4).clamp(1, u32::MAX >> 4);
        Pool { permits: Arc::new(Semaphore::new(total as usize)), total }
    }

    /// Never more than there is: something larger than all of the room takes all of it.
    fn permits_for(&self, bytes: u64) -> u32 {
        u32::try_from(bytes.div_ceil(ROOM_UNIT)).unwrap_or(u32::MAX).clamp(1, self.total)
    }
}

/// A cache of `V` by `K`. Clones share it.
pub(super) struct LoadingCache<K, V> {
    inner: Arc<Inner<K, V>>,
}

impl<K, V> Clone for LoadingCache<K, V> {
    fn clone(&self) -> LoadingCache<K, V> {
        LoadingCache { inner: Arc::clone(&self.inner) }
    }
}

impl<K: Ord + Clone + Send + Sync + 'static, V: Send + Sync + 'static> LoadingCache<K, V> {
    /// An empty cache whose loads are among `loads`.
    pub(super) fn new(env: &Env, bytes: CacheBytes, loads: Arc<Loads>) -> LoadingCache<K, V> {
        let state = State {
            slots: BTreeMap::new(),
            reserved: BTreeMap::new(),
            used: BTreeMap::new(),
            cached_bytes: 0,
            next_stamp: 0,
            counts: CacheCounts::default(),
        };
        let inner = Inner {
            env: env.clone(),
            limit: bytes.cached,
            room: Pool::new(bytes.reserved),
            ahead: Pool::new(bytes.prefetched),
            loads,
            state: Mutex::new(state),
        };
        LoadingCache { inner: Arc::new(inner) }
    }

    pub(super) fn counts(&self) -> CacheCounts {
        self.inner.state.lock().counts
    }

    /// The value of `key`, if it is there.
    pub(super) fn get(&self, key: &K) -> Option<Arc<V>> {
        self.inner.state.lock().take_note(key, self.inner.limit)
    }

    /// Whether `key` is there or on its way.
    pub(super) fn contains(&self, key: &K) -> bool {
        self.inner.state.lock().slots.contains_key(key)
    }

    /// The value of `key`, loaded by `load` if need be. If the future is dropped, the load goes on, and its result is
    /// reserved.
    ///
    /// # Errors
    /// What `load` answers; everyone who waits for it gets the same, and the next get loads again.
    pub(super) async fn get_or_load(
        &self,
        key: &K,
        bytes: u64,
        load: impl FnOnce() -> Load<V>,
    ) -> Result<Arc<V>, TierError> {
        let (mut waiting, task) = {
            let mut state = self.inner.state.lock();
            if let Some(value) = state.take_note(key, self.inner.limit) {
                state.counts.hits += 1;
                return Ok(value);
            }
            state.counts.misses += 1;
            match state.slots.get(key) {
                Some(Slot::Loading(waiting)) => (waiting.clone(), None),
                _ => {
                    let (waiting, task) = self.prepare(&mut state, key, bytes, None, load());
                    (waiting, Some(task))
                }
            }
        };
        if let Some(task) = task {
            self.start(task);
        }
        // Ends with an error only if the load was dropped unfinished, because the process is ending.
        let loaded = waiting.wait_for(Option::is_some).await.map_err(|_| TierError::Closed)?.clone();
        if let Some(Ok(_)) = &loaded {
            self.get(key);
        }
        loaded.unwrap_or(Err(TierError::Closed))
    }

    /// Starts to load `key` unless it is there or on its way, or there is no room. Does not wait. Whether something
    /// was started.
    pub(super) fn prefetch(&self, key: &K, bytes: u64, load: impl FnOnce() -> Load<V>) -> bool {
        let mut state = self.inner.state.lock();
        if state.slots.contains_key(key) {
            return false;
        }
        let wanted = self.inner.ahead.permits_for(bytes);
        let mut room = Arc::clone(&self.inner.ahead.permits).try_acquire_many_owned(wanted);
        if room.is_err() {
            state.expire(self.inner.env.now(), self.inner.limit);
            room = Arc::clone(&self.inner.ahead.permits).try_acquire_many_owned(wanted);
        }
        let Ok(room) = room else { return false };
        let (_, task) = self.prepare(&mut state, key, bytes, Some(room), load());
        drop(state);
        self.start(task);
        true
    }

    /// Not under the lock: a runtime that is ending drops the task at once, and the slot is taken away then.
    fn start(&self, task: BoxFuture<'static, ()>) {
        drop(self.inner.env.spawn_history("tier-load", task));
    }

    /// Makes the slot of a load, and the task that fills it.
    fn prepare(
        &self,
        state: &mut State<K, V>,
        key: &K,
        bytes: u64,
        room: Option<OwnedSemaphorePermit>,
        load: Load<V>,
    ) -> (watch::Receiver<Loaded<V>>, BoxFuture<'static, ()>) {
        let (done, waiting) = watch::channel(None);
        state.slots.insert(key.clone(), Slot::Loading(waiting.clone()));
        let (cache, key) = (self.clone(), key.clone());
        // The slot goes with the task, however it ends.
        let unfinished = Unfinished { cache: cache.clone(), key: Some(key.clone()) };
        let task = async move {
            let mut unfinished = unfinished;
            let is_ahead = room.is_some();
            let room = match room {
                Some(room) => room,
                None => match cache.inner.wait_for_room(bytes).await {
                    Some(room) => room,
                    None => return,
                },
            };
            let loads = &cache.inner.loads;
            // Neither is ever closed.
            let ahead = if is_ahead { loads.ahead.acquire().await.ok() } else { None };
            let result = match loads.all.acquire().await {
                Ok(_one) => load.await.map(Arc::new),
                Err(_) => Err(TierError::Closed),
            };
            drop(ahead);
            unfinished.key = None;
            {
                let mut state = cache.inner.state.lock();
                state.slots.remove(&key);
                match &result {
                    Ok(value) => {
                        let until = cache.inner.env.now().plus(RESERVED_FOR);
                        state.reserved.insert((until, key.clone()), ());
                        let slot = Slot::Reserved { value: Arc::clone(value), bytes, until, _room: room };
                        state.slots.insert(key, slot);
                    }
                    Err(_) => state.counts.failures += 1,
                }
            }
            // Nobody may be waiting.
            let _ = done.send(Some(result));
        };
        (waiting, Box::pin(task))
    }
}

/// Takes a key's slot away if its load is dropped, so that the next get starts another.
struct Unfinished<K: Ord, V> {
    cache: LoadingCache<K, V>,
    key: Option<K>,
}

impl<K: Ord, V> Drop for Unfinished<K, V> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.cache.inner.state.lock().slots.remove(&key);
        }
    }
}

impl<K: Ord + Clone, V> Inner<K, V> {
    /// Room for a load, after those who asked before.
    async fn wait_for_room(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let wanted = self.room.permits_for(bytes);
        let mut room = Box::pin(Arc::clone(&self.room.permits).acquire_many_owned(wanted));
        loop {
            let tick = self.env.sleep(EXPIRY_TICK);
            tokio::select! {
                biased;
                room = &mut room => return room.ok(),
                () = tick => self.state.lock().expire(self.env.now(), self.limit),
            }
        }
    }
}

impl<K: Ord + Clone, V> State<K, V> {
    /// The value of a key, which counts as used now.
    fn take_note(&mut self, key: &K, limit: u64) -> Option<Arc<V>> {
        match self.slots.get(key)? {
            Slot::Loading(_) => None,
            Slot::Cached { value, stamp, .. } => {
                let (value, stamp) = (Arc::clone(value), *stamp);
                self.used.remove(&stamp);
                self.touch(key);
                Some(value)
            }
            Slot::Reserved { value, bytes, until, .. } => {
                let (value, bytes, until) = (Arc::clone(value), *bytes, *until);
                self.reserved.remove(&(until, key.clone()));
                self.cache(key, Arc::clone(&value), bytes, limit);
                Some(value)
            }
        }
    }

    fn touch(&mut self, key: &K) {
        let now = self.next_stamp;
        self.next_stamp += 1;
        if let Some(Slot::Cached { stamp, .. }) = self.slots.get_mut(key) {
            *stamp = now;
            self.used.insert(now, key.clone());
        }
    }

    /// Moves a reserved value among those that may be evicted, and gives its room back.
    fn cache(&mut self, key: &K, value: Arc<V>, bytes: u64, limit: u64) {
        self.slots.insert(key.clone(), Slot::Cached { value, bytes, stamp: 0 });
        self.cached_bytes += bytes;
        self.touch(key);
        while self.cached_bytes > limit {
            let Some((_, oldest)) = self.used.pop_first() else { break };
            if let Some(Slot::Cached { bytes, .. }) = self.slots.remove(&oldest) {
                self.cached_bytes = self.cached_bytes.saturating_sub(bytes);
            }
        }
    }

    /// Ends the reservations that have run out.
    fn expire(&mut self, now: Monotonic, limit: u64) {
        while let Some(((until, _), ())) = self.reserved.first_key_value() {
            if *until > now {
                return;
            }
            let Some(((_, key), ())) = self.reserved.pop_first() else { return };
            if let Some(Slot::Reserved { value, bytes, .. }) = self.slots.get(&key) {
                let (value, bytes) = (Arc::clone(value), *bytes);
                self.cache(&key, value, bytes, limit);
            }
        }
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
