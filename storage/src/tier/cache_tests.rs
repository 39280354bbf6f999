//! The cache's promises: one load per key, bounded bytes, and progress for readers that come and go.

use super::*;
use crate::env::TaskHandle;
use crate::env::store::testing::{block_on, env, hasty_env};
use futures_util::future::{BoxFuture, join_all};
use std::sync::atomic::{AtomicU64, Ordering};

type Cache = LoadingCache<u32, Vec<u8>>;

const KIB: u64 = 1024;

fn cache(env: &Env, kib: u64) -> Cache {
    let bytes = CacheBytes { cached: kib * KIB, reserved: kib * KIB, prefetched: kib * KIB };
    LoadingCache::new(env, bytes, Arc::new(Loads::new(2)))
}

fn value(key: u32) -> Load<Vec<u8>> {
    Box::pin(async move { Ok(vec![key as u8; 1024]) })
}

#[test]
fn those_who_want_the_same_share_one_load() {
    block_on(async {
        let env = env(1);
        let cache = cache(&env, 10);
        let loads = Arc::new(AtomicU64::new(0));
        let load = || -> Load<Vec<u8>> {
            let (env, loads) = (env.clone(), Arc::clone(&loads));
            Box::pin(async move {
                loads.fetch_add(1, Ordering::Relaxed);
                env.sleep(Duration::from_millis(20)).await;
                Ok(vec![7])
            })
        };
        let got = join_all((0..10).map(|_| cache.get_or_load(&1, 10, load))).await;
        assert!(got.into_iter().all(|value| *value.unwrap() == [7]));
        cache.get_or_load(&1, 10, load).await.unwrap();
        assert_eq!(loads.load(Ordering::Relaxed), 1);
        assert_eq!(cache.counts(), CacheCounts { hits: 1, misses: 10, failures: 0 });
    });
}

#[test]
fn the_least_recently_used_goes_first() {
    block_on(async {
        let cache = cache(&env(1), 3);
        for key in [1, 2, 3, 1, 4] {
            cache.get_or_load(&key, KIB, || value(key)).await.unwrap();
        }
        assert!(cache.get(&2).is_none());
        assert!([1, 3, 4].iter().all(|key| cache.get(key).is_some()));
    });
}

#[test]
fn a_failure_is_told_to_all_and_kept_by_none() {
    block_on(async {
        let cache = cache(&env(1), 3);
        let fail = || -> Load<Vec<u8>> { Box::pin(async { Err(TierError::Retry { reason: "503".to_owned() }) }) };
        for outcome in join_all((0..3).map(|_| cache.get_or_load(&1, KIB, fail))).await {
            assert!(outcome.unwrap_err().is_retry());
        }
        assert_eq!(*cache.get_or_load(&1, KIB, || value(9)).await.unwrap(), vec![9; 1024]);
    });
}

/// Twenty readers that give up too early to get anything at once, each through its own keys, and room for two values.
#[test]
fn more_readers_than_cache_all_move_on() {
    block_on(async {
        let env = env(1);
        let cache = cache(&env, 2);
        let load = |key: u32| -> Load<Vec<u8>> {
            let env = env.clone();
            Box::pin(async move {
                env.sleep(Duration::from_millis(2)).await;
                Ok(vec![key as u8; 1024])
            })
        };
        let mut position = [0u32; 20];
        for _ in 0..20_000 {
            for (reader, position) in position.iter_mut().enumerate() {
                let key = reader as u32 * 100 + *position;
                let read = cache.get_or_load(&key, KIB, || load(key));
                if *position < 10 && env.timeout(Duration::ZERO, read).await.is_ok() {
                    *position += 1;
                }
            }
            if position == [10; 20] {
                return;
            }
            env.sleep(Duration::from_millis(1)).await;
        }
        panic!("readers are stuck: {position:?}");
    });
}

#[test]
fn a_reservation_runs_out() {
    block_on(async {
        let (hasty, clock) = hasty_env(1);
        let cache = cache(&hasty, 1);
        assert!(cache.prefetch(&1, KIB, || value(1)));
        while !matches!(cache.inner.state.lock().slots.get(&1), Some(Slot::Reserved { .. })) {
            tokio::task::yield_now().await;
        }
        assert!(!cache.prefetch(&2, KIB, || value(2)), "there is no room");
        clock.advance(RESERVED_FOR);
        assert!(cache.prefetch(&2, KIB, || value(2)), "nobody came for the first");
        assert!(cache.get(&1).is_some(), "it may still be cached");
    });
}

/// The tasks of a process that is ending: what is spawned is dropped at once.
struct Ending;

impl crate::env::Tasks for Ending {
    fn spawn(&self, _: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        drop(task);
        TaskHandle::new(|| (), Box::pin(std::future::pending()))
    }
    fn spawn_background(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        self.spawn(name, task)
    }
    fn runtimes(&self) -> usize {
        1
    }
    fn spawn_on(&self, _: usize, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        self.spawn(name, task)
    }
    fn blocking(&self, _: crate::env::Pool, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        drop(work);
        Box::pin(std::future::pending())
    }
    fn spawn_thread(&self, name: &'static str, work: BoxFuture<'static, ()>) -> TaskHandle {
        self.spawn(name, work)
    }
}

#[test]
fn a_load_that_an_ending_process_drops_at_once_blocks_nobody() {
    block_on(async {
        let cache = cache(&Env { tasks: Arc::new(Ending), ..env(1) }, 10);
        assert!(matches!(cache.get_or_load(&1, KIB, || value(1)).await, Err(TierError::Closed)));
        cache.prefetch(&2, KIB, || value(2));
        assert!(!cache.contains(&1) && !cache.contains(&2));
    });
}
