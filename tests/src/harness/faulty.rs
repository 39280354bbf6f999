//! Faults in front of any store: what [`S3`](super::S3) does to HTTP, done to the calls of a [`Store`], by the same plans.
//!
//! What cannot be told apart at this height is one and the same here: a refusal, a closed connection and a time-out are
//! all an answer that says nothing.

use bytes::Bytes;
use esker_bench::store::{Asked, Fault, Faults};
use esker_storage::env::Env;
use esker_storage::env::store::{ObjectEntry, Store, StoreError, Upload};
use futures_util::future::BoxFuture;
use hyper::Method;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// How much later than it could be a late answer is.
const LATE: Duration = Duration::from_millis(300);
/// A slow answer's bytes in a millisecond.
const SLOW: usize = 64;
/// How long a caller waits for an answer: what the stores of `storage::env` promise for a create.
const LIMIT: Duration = Duration::from_secs(10);

/// A store with faults in front of it.
#[derive(Clone)]
pub struct Faulty {
    inner: Arc<dyn Store>,
    env: Env,
    faults: Arc<Faults>,
}

fn indefinite(fault: Fault) -> StoreError {
    StoreError::Indefinite { reason: format!("a fault on purpose: {}", fault.name()) }
}

fn asked(method: Method, key: &str, is_create: bool, bytes: usize) -> Asked {
    Asked { method, path: format!("/{key}"), is_create, is_object: true, bytes: bytes as u64 }
}

/// How an answer with bytes is changed, and how many it has.
trait Answer: Sized + Send + 'static {
    fn changed(self) -> Self {
        self
    }

    fn len(&self) -> usize {
        0
    }
}

impl Answer for () {}
impl Answer for Vec<ObjectEntry> {}
impl Answer for Box<dyn Upload> {}

impl Answer for Bytes {
    fn changed(self) -> Bytes {
        let mut bytes = self.to_vec();
        let middle = bytes.len() / 2;
        if let Some(byte) = bytes.get_mut(middle) {
            *byte ^= 0x10;
        }
        bytes.into()
    }

    fn len(&self) -> usize {
        Bytes::len(self)
    }
}

impl Faulty {
    /// `inner`, as `faults` has it.
    pub fn new(inner: Arc<dyn Store>, env: &Env, faults: Arc<Faults>) -> Faulty {
        Faulty { inner, env: env.clone(), faults }
    }

    /// Makes a call as its fault has it: `call` starts it.
    async fn answer<T: Answer, F: Future<Output = Result<T, StoreError>>>(
        &self,
        asked: Asked,
        call: impl FnOnce() -> F,
    ) -> Result<T, StoreError> {
        let Some(fault) = self.faults.draw(&asked) else { return call().await };
        let key = asked.path.trim_start_matches('/').to_owned();
        match fault {
            Fault::Unavailable | Fault::Throttled | Fault::Outage => Err(indefinite(fault)),
            Fault::Conflict => Err(StoreError::AlreadyExists { key }),
            Fault::Missing => Err(StoreError::NotFound { key }),
            Fault::Hanging => {
                // Whichever is first: the answer is the same.
                let _ = self.env.timeout(LIMIT, self.faults.changed()).await;
                Err(indefinite(fault))
            }
            Fault::Lost | Fault::Failed | Fault::Truncated => {
                // It takes effect, or not: nobody hears of it.
                let _ = call().await;
                Err(indefinite(fault))
            }
            Fault::Late => {
                let answer = call().await;
                self.env.sleep(LATE).await;
                answer
            }
            Fault::Slow => {
                let answer = call().await?;
                self.env.sleep(Duration::from_millis((answer.len() / SLOW) as u64)).await;
                Ok(answer)
            }
            Fault::Wrong => call().await.map(Answer::changed),
        }
    }
}

impl Store for Faulty {
    fn put_if_absent(&self, key: &str, bytes: Bytes) -> BoxFuture<'static, Result<(), StoreError>> {
        let (store, key) = (self.clone(), key.to_owned());
        Box::pin(async move {
            let asked = asked(Method::PUT, &key, true, bytes.len());
            store.answer(asked, || store.inner.put_if_absent(&key, bytes)).await
        })
    }

    fn put(&self, key: &str, bytes: Bytes) -> BoxFuture<'static, Result<(), StoreError>> {
        let (store, key) = (self.clone(), key.to_owned());
        Box::pin(async move {
            let asked = asked(Method::PUT, &key, false, bytes.len());
            store.answer(asked, || store.inner.put(&key, bytes)).await
        })
    }

    fn upload(&self, key: &str) -> BoxFuture<'static, Result<Box<dyn Upload>, StoreError>> {
        let (store, key) = (self.clone(), key.to_owned());
        Box::pin(async move {
            let asked = asked(Method::POST, &key, false, 0);
            let inner = store.answer(asked, || store.inner.upload(&key)).await?;
            Ok(Box::new(FaultyUpload { inner, store, key }) as Box<dyn Upload>)
        })
    }

    fn get(&self, key: &str) -> BoxFuture<'static, Result<Bytes, StoreError>> {
        let (store, key) = (self.clone(), key.to_owned());
        Box::pin(async move { store.answer(asked(Method::GET, &key, false, 0), || store.inner.get(&key)).await })
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> BoxFuture<'static, Result<Bytes, StoreError>> {
        let (store, key) = (self.clone(), key.to_owned());
        Box::pin(async move {
            store.answer(asked(Method::GET, &key, false, 0), || store.inner.get_range(&key, range)).await
        })
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<ObjectEntry>, StoreError>> {
        let (store, prefix, after) = (self.clone(), prefix.to_owned(), after.map(str::to_owned));
        Box::pin(async move {
            let asked = Asked { is_object: false, ..asked(Method::GET, &prefix, false, 0) };
            store.answer(asked, || store.inner.list(&prefix, after.as_deref(), limit)).await
        })
    }

    fn delete(&self, key: &str) -> BoxFuture<'static, Result<(), StoreError>> {
        let (store, key) = (self.clone(), key.to_owned());
        Box::pin(async move { store.answer(asked(Method::DELETE, &key, false, 0), || store.inner.delete(&key)).await })
    }
}

struct FaultyUpload {
    inner: Box<dyn Upload>,
    store: Faulty,
    key: String,
}

impl Upload for FaultyUpload {
    fn part(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), StoreError>> {
        let asked = asked(Method::PUT, &self.key, false, bytes.len());
        Box::pin(async move { self.store.answer(asked, || self.inner.part(bytes)).await })
    }

    fn complete(&mut self) -> BoxFuture<'_, Result<(), StoreError>> {
        let asked = asked(Method::POST, &self.key, false, 0);
        Box::pin(async move { self.store.answer(asked, || self.inner.complete()).await })
    }

    fn abort(&mut self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.inner.abort().await })
    }
}
