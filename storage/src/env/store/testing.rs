//! What the tests of everything above a store share: an environment, and a store that misbehaves on a seed.

use super::{ObjectEntry, Store, StoreError, Upload};
use crate::env::{Clock, Env, Monotonic, Random, RealClock, RealDisk, RealTasks, Timestamp};
use bytes::Bytes;
use futures_util::future::{self, BoxFuture, FutureExt};
use parking_lot::Mutex;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// A seeded generator.
pub(crate) struct SeededRandom(Mutex<u64>);

impl SeededRandom {
    pub(crate) fn new(seed: u64) -> SeededRandom {
        SeededRandom(Mutex::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1))
    }
}

impl Random for SeededRandom {
    fn next(&self) -> u64 {
        let mut state = self.0.lock();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// An environment of the real machine, with seeded chance.
pub(crate) fn env(seed: u64) -> Env {
    Env {
        clock: Arc::new(RealClock::start()),
        random: Arc::new(SeededRandom::new(seed)),
        tasks: Arc::new(RealTasks::start(1).unwrap()),
        disk: Arc::new(RealDisk),
    }
}

/// A clock whose sleeps end at once and take as long as they were asked to.
#[derive(Default)]
pub(crate) struct HastyClock(Mutex<Duration>);

impl HastyClock {
    pub(crate) fn advance(&self, by: Duration) {
        *self.0.lock() += by;
    }
}

impl Clock for HastyClock {
    fn now(&self) -> Monotonic {
        Monotonic::from_origin(*self.0.lock())
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(1_764_000_000_000 + self.0.lock().as_millis() as i64)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.advance(duration);
        future::ready(()).boxed()
    }
}

/// An environment in which nobody waits for a pause.
pub(crate) fn hasty_env(seed: u64) -> (Env, Arc<HastyClock>) {
    let clock = Arc::new(HastyClock::default());
    (Env { clock: Arc::<HastyClock>::clone(&clock), ..env(seed) }, clock)
}

/// Runs a future to its end on a runtime of its own.
pub(crate) fn block_on<F: Future>(work: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// How often what goes wrong, in percent of the calls.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// The call takes effect, its answer is lost.
    pub(crate) lost_answer: u64,
    /// The call has no effect, and its caller cannot know.
    pub(crate) unavailable: u64,
    /// The create takes effect later: at some call that comes after it.
    pub(crate) late: u64,
    /// A create answers `AlreadyExists` without an object there (S3's 409).
    pub(crate) false_conflict: u64,
}

/// A store with faults in front of it.
#[derive(Clone)]
pub(crate) struct FaultyStore {
    inner: Arc<dyn Store>,
    random: Arc<SeededRandom>,
    faults: Arc<Mutex<Faults>>,
    delayed: Arc<Mutex<Vec<(String, Bytes)>>>,
}

enum Fate {
    Fine,
    LostAnswer,
    Unavailable,
    Late,
    FalseConflict,
}

impl FaultyStore {
    pub(crate) fn new(inner: Arc<dyn Store>, seed: u64, faults: Faults) -> FaultyStore {
        FaultyStore {
            inner,
            random: Arc::new(SeededRandom::new(seed)),
            faults: Arc::new(Mutex::new(faults)),
            delayed: Arc::default(),
        }
    }

    pub(crate) fn set(&self, faults: Faults) {
        *self.faults.lock() = faults;
    }

    fn fate(&self) -> Fate {
        let faults = *self.faults.lock();
        let mut dice = self.random.below(100);
        for (share, fate) in [
            (faults.lost_answer, Fate::LostAnswer),
            (faults.unavailable, Fate::Unavailable),
            (faults.late, Fate::Late),
            (faults.false_conflict, Fate::FalseConflict),
        ] {
            if dice < share {
                return fate;
            }
            dice -= share;
        }
        Fate::Fine
    }

    /// Lets some creates that were under way land now.
    fn land(&self) {
        let due = {
            let mut delayed = self.delayed.lock();
            let keep = self.random.below(delayed.len() as u64 + 1) as usize;
            delayed.split_off(keep)
        };
        for (key, bytes) in due {
            let _ = self.inner.put_if_absent(&key, bytes).now_or_never();
        }
    }

    fn unavailable<T: Send + 'static>() -> BoxFuture<'static, Result<T, StoreError>> {
        future::ready(Err(StoreError::Indefinite { reason: "503 injected".to_owned() })).boxed()
    }

    fn write(
        &self,
        call: impl FnOnce() -> BoxFuture<'static, Result<(), StoreError>>,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        self.land();
        match self.fate() {
            Fate::LostAnswer => call().then(|_| Self::unavailable()).boxed(),
            Fate::Unavailable => Self::unavailable(),
            _ => call(),
        }
    }

    fn read<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> BoxFuture<'static, Result<T, StoreError>>,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        self.land();
        match self.fate() {
            Fate::LostAnswer | Fate::Unavailable => Self::unavailable(),
            _ => call(),
        }
    }
}

impl Store for FaultyStore {
    fn put_if_absent(&self, key: &str, bytes: Bytes) -> BoxFuture<'static, Result<(), StoreError>> {
        self.land();
        match self.fate() {
            Fate::Fine => self.inner.put_if_absent(key, bytes),
            Fate::LostAnswer => self.inner.put_if_absent(key, bytes).then(|_| Self::unavailable()).boxed(),
            Fate::Unavailable => Self::unavailable(),
            Fate::Late => {
                self.delayed.lock().push((key.to_owned(), bytes));
                Self::unavailable()
            }
            Fate::FalseConflict => future::ready(Err(StoreError::AlreadyExists { key: key.to_owned() })).boxed(),
        }
    }

    fn put(&self, key: &str, bytes: Bytes) -> BoxFuture<'static, Result<(), StoreError>> {
        self.write(|| self.inner.put(key, bytes))
    }

    fn upload(&self, key: &str) -> BoxFuture<'static, Result<Box<dyn Upload>, StoreError>> {
        self.read(|| self.inner.upload(key))
    }

    fn get(&self, key: &str) -> BoxFuture<'static, Result<Bytes, StoreError>> {
        self.read(|| self.inner.get(key))
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> BoxFuture<'static, Result<Bytes, StoreError>> {
        self.read(|| self.inner.get_range(key, range))
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<ObjectEntry>, StoreError>> {
        self.read(|| self.inner.list(prefix, after, limit))
    }

    fn delete(&self, key: &str) -> BoxFuture<'static, Result<(), StoreError>> {
        self.write(|| self.inner.delete(key))
    }
}
