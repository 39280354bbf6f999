//! A controller on a store in memory, for tests here and of the handlers.

use super::{Controller, Journal, RegisterBroker};
use crate::config::{BrokerConfig, Values};
use crate::metadata::Publisher;
use bytes::Bytes;
use esker_storage::env::store::{MemoryStore, ObjectEntry, Store, StoreError, Upload};
use esker_storage::env::{Env, RealClock, RealDisk, RealRandom, RealTasks};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use uuid::Uuid;

pub(crate) const CLUSTER: Uuid = Uuid::from_u128(0xC1);

/// What the store does to commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Nothing answers, nothing takes effect.
    Away,
    /// Creates take effect, but their answers are lost.
    LostAnswers,
}

/// A store in memory with faults.
#[derive(Clone)]
pub(crate) struct FaultyStore {
    inner: MemoryStore,
    fault: Arc<Mutex<Fault>>,
}

impl FaultyStore {
    pub(crate) fn set(&self, fault: Fault) {
        *self.fault.lock() = fault;
    }

    fn away<T: Send + 'static>(
        &self,
        work: BoxFuture<'static, Result<T, StoreError>>,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        match *self.fault.lock() {
            Fault::Away => async { Err(StoreError::Indefinite { reason: "away".into() }) }.boxed(),
            Fault::None | Fault::LostAnswers => work,
        }
    }
}

impl Store for FaultyStore {
    fn put_if_absent(&self, key: &str, bytes: Bytes) -> BoxFuture<'static, Result<(), StoreError>> {
        let lost = *self.fault.lock() == Fault::LostAnswers;
        let work = self.inner.put_if_absent(key, bytes);
        self.away(
            async move {
                let answer = work.await;
                if lost { Err(StoreError::Indefinite { reason: "lost".into() }) } else { answer }
            }
            .boxed(),
        )
    }

    fn put(&self, key: &str, bytes: Bytes) -> BoxFuture<'static, Result<(), StoreError>> {
        self.away(self.inner.put(key, bytes))
    }

    fn upload(&self, key: &str) -> BoxFuture<'static, Result<Box<dyn Upload>, StoreError>> {
        self.away(self.inner.upload(key))
    }

    fn get(&self, key: &str) -> BoxFuture<'static, Result<Bytes, StoreError>> {
        self.away(self.inner.get(key))
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> BoxFuture<'static, Result<Bytes, StoreError>> {
        self.away(self.inner.get_range(key, range))
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<ObjectEntry>, StoreError>> {
        self.away(self.inner.list(prefix, after, limit))
    }

    fn delete(&self, key: &str) -> BoxFuture<'static, Result<(), StoreError>> {
        self.away(self.inner.delete(key))
    }
}

/// A machine with a store.
pub(crate) struct Bench {
    pub(crate) env: Env,
    pub(crate) store: FaultyStore,
    pub(crate) config: BrokerConfig,
}

/// A broker that is the controller and registered.
pub(crate) struct Node {
    pub(crate) controller: Controller,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) env: Env,
    pub(crate) config: BrokerConfig,
}

impl Bench {
    pub(crate) fn new(settings: &[(&str, &str)]) -> Bench {
        let clock = Arc::new(RealClock::start());
        let env = Env {
            clock: Arc::<RealClock>::clone(&clock),
            random: Arc::new(RealRandom::seeded().unwrap()),
            tasks: Arc::new(RealTasks::start(1).unwrap()),
            disk: Arc::new(RealDisk),
        };
        let store = FaultyStore { inner: MemoryStore::new(clock), fault: Arc::new(Mutex::new(Fault::None)) };
        let values: Values = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let config = BrokerConfig::from_values(values, "box").unwrap();
        Bench { env, store, config }
    }

    pub(crate) async fn journal(&self) -> Journal {
        let every = self.config.metadata_snapshot_commits;
        Journal::open(Arc::new(self.store.clone()), &self.env, CLUSTER, every, |_| {}).await.unwrap()
    }

    /// Another start of the broker on the same store.
    pub(crate) async fn start(&self) -> Node {
        let journal = self.journal().await;
        let publisher = Arc::clone(journal.publisher());
        let incarnation = self.env.random.uuid();
        let (controller, _) = Controller::start(&self.env, journal, &self.config, incarnation, CLUSTER).await.unwrap();
        let register = RegisterBroker {
            id: self.config.node_id,
            incarnation,
            listeners: self.config.advertised_listeners.clone(),
            log_dirs: vec![],
        };
        controller.submit(register, None).await.unwrap();
        Node { controller, publisher, env: self.env.clone(), config: self.config.clone() }
    }
}

/// Runs a test on a runtime of its own.
#[allow(clippy::disallowed_methods, reason = "tests have no door")]
pub(crate) fn block_on<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(test)
}
