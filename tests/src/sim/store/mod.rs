//! The simulated object store: one bucket for all nodes, which loses requests and answers.
//!
//! The objects themselves are linearizable, as S3's are: `put_if_absent` creates a key at most once. What fails is the
//! way there and back. A request, once sent, is on its own: it takes effect even if its sender crashed meanwhile,
//! and maybe long after its sender was told that nothing is known.
//!
//! ```text
//!  caller --request--> (lost | refused | conflict | late) --> objects --answer--> (lost | own conflict) --> caller
//! ```
//!
//! Every effect is kept, bytes included, so that a test can look at what was ever there.

mod faults;
mod upload;

pub use faults::StoreFaults;

use super::chance::Rng;
use super::executor::Core;
use super::process::{Gate, Incarnation, Owner, owner_name};
use super::trace::fingerprint;
use super::view::EPOCH;
use bytes::Bytes;
use esker_storage::env::Timestamp;
use esker_storage::env::store::{ObjectEntry, Store, StoreError, Upload};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use upload::SimUpload;

/// What took effect on a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreEffect {
    /// The object was created.
    Created(Bytes),
    /// Its bytes were replaced.
    Replaced(Bytes),
    /// It was deleted.
    Deleted,
}

/// One effect, in the order in which they took place.
#[derive(Clone, Debug)]
pub struct StoreEvent {
    /// When, in virtual time.
    pub at: Duration,
    /// Which incarnation asked for it.
    pub who: String,
    /// On which key.
    pub key: String,
    /// What.
    pub effect: StoreEffect,
}

struct Object {
    bytes: Bytes,
    modified: Timestamp,
}

struct Bucket {
    objects: BTreeMap<String, Object>,
    history: Vec<StoreEvent>,
    faults: StoreFaults,
    outage: Option<Duration>,
    /// Below these prefixes an object never changes its bytes.
    immutable: Vec<String>,
    rng: Rng,
}

/// The store as one process sees it. Cheap to clone; every clone is the same store.
#[derive(Clone)]
pub struct SimStore {
    bucket: Arc<Mutex<Bucket>>,
    core: Arc<Core>,
    owner: Owner,
}

/// A change on its way.
enum Request {
    PutIfAbsent(String, Bytes),
    Put(String, Bytes),
    Delete(String),
}

impl Request {
    fn key(&self) -> &str {
        match self {
            Request::PutIfAbsent(key, _) | Request::Put(key, _) | Request::Delete(key) => key,
        }
    }

    fn describe(&self) -> String {
        match self {
            Request::PutIfAbsent(key, bytes) => format!("store create {key} {:08x}", fingerprint(bytes)),
            Request::Put(key, bytes) => format!("store put {key} {:08x}", fingerprint(bytes)),
            Request::Delete(key) => format!("store delete {key}"),
        }
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Fine,
    RequestLost,
    Unavailable,
    Conflict,
    OwnConflict,
    AnswerLost,
    Late(Duration),
}

fn indefinite(reason: &str) -> StoreError {
    StoreError::Indefinite { reason: format!("simulated: {reason}") }
}

impl SimStore {
    pub(super) fn new(core: Arc<Core>) -> SimStore {
        let bucket = Bucket {
            objects: BTreeMap::new(),
            history: Vec::new(),
            faults: StoreFaults::none(),
            outage: None,
            immutable: Vec::new(),
            rng: core.draw(Rng::fork),
        };
        SimStore { bucket: Arc::new(Mutex::new(bucket)), core, owner: None }
    }

    pub(super) fn seen_by(&self, incarnation: &Arc<Incarnation>) -> SimStore {
        SimStore { owner: Some(Arc::clone(incarnation)), ..self.clone() }
    }

    /// What goes wrong from now on.
    pub fn set_faults(&self, faults: StoreFaults) {
        self.bucket.lock().faults = faults;
    }

    /// Every request fails for as long as this.
    pub fn outage(&self, duration: Duration) {
        self.bucket.lock().outage = Some(self.core.now() + duration);
    }

    /// From now on, replacing the bytes of an object below `prefix` by others fails the run.
    pub fn immutable_below(&self, prefix: &str) {
        self.bucket.lock().immutable.push(prefix.to_owned());
    }

    /// What is there now, without asking through the network.
    pub fn objects(&self) -> BTreeMap<String, Bytes> {
        self.bucket.lock().objects.iter().map(|(key, object)| (key.clone(), object.bytes.clone())).collect()
    }

    /// Whether an object is there now, without asking through the network.
    pub fn contains(&self, key: &str) -> bool {
        self.bucket.lock().objects.contains_key(key)
    }

    /// How many changes have taken effect so far.
    pub fn changes(&self) -> usize {
        self.bucket.lock().history.len()
    }

    /// The changes after the first `seen` of them.
    pub fn changes_after(&self, seen: usize) -> Vec<StoreEvent> {
        self.bucket.lock().history.get(seen..).unwrap_or_default().to_vec()
    }

    /// Everything that ever took effect.
    pub fn history(&self) -> Vec<StoreEvent> {
        self.bucket.lock().history.clone()
    }

    /// Changes an object behind everyone's back: rot, or an operator's hand.
    pub fn tamper(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        match self.bucket.lock().objects.get_mut(key) {
            Some(object) => {
                let mut bytes = object.bytes.to_vec();
                change(&mut bytes);
                object.bytes = bytes.into();
                true
            }
            None => false,
        }
    }

    fn apply(&self, request: &Request) -> Result<(), StoreError> {
        self.core.trace(&self.owner, format_args!("takes effect: {}", request.describe()));
        let at = self.core.now();
        let mut guard = self.bucket.lock();
        let bucket = &mut *guard;
        let key = request.key().to_owned();
        let who = owner_name(&self.owner).to_owned();
        let effect = match request {
            Request::Delete(_) => match bucket.objects.remove(&key) {
                Some(_) => StoreEffect::Deleted,
                None => return Ok(()),
            },
            Request::PutIfAbsent(_, bytes) | Request::Put(_, bytes) => {
                let old = bucket.objects.get(&key);
                if let (Some(_), Request::PutIfAbsent(..)) = (old, request) {
                    return Err(StoreError::AlreadyExists { key });
                }
                let effect = match old {
                    Some(old) => {
                        let immutable = bucket.immutable.iter().any(|prefix| key.starts_with(prefix));
                        if immutable && old.bytes != *bytes {
                            self.core.violated(format!("{who} replaces the immutable object {key} by other bytes"));
                        }
                        StoreEffect::Replaced(bytes.clone())
                    }
                    None => StoreEffect::Created(bytes.clone()),
                };
                let modified = Timestamp::from_millis(EPOCH.millis() + at.as_millis() as i64);
                bucket.objects.insert(key.clone(), Object { bytes: bytes.clone(), modified });
                effect
            }
        };
        bucket.history.push(StoreEvent { at, who, key, effect });
        Ok(())
    }

    /// (fate, time there, time back, the caller's limit).
    fn draw_fate(&self, conditional: bool) -> (Fate, Duration, Duration, Duration) {
        let now = self.core.now();
        let mut guard = self.bucket.lock();
        let Bucket { faults, rng, outage, .. } = &mut *guard;
        let there = travel(faults, rng);
        let back = travel(faults, rng);
        if outage.is_some_and(|until| now < until) {
            return (Fate::Unavailable, there, back, faults.limit);
        }
        let late = rng.duration(faults.late_by.clone());
        let odds = [
            (faults.request_lost, Fate::RequestLost),
            (faults.unavailable, Fate::Unavailable),
            (faults.answer_lost, Fate::AnswerLost),
            (faults.late, Fate::Late(late)),
            (faults.conflict, Fate::Conflict),
            (faults.own_conflict, Fate::OwnConflict),
        ];
        let mut fate = Fate::Fine;
        for (chance, which) in odds {
            let fits = conditional || !matches!(which, Fate::Conflict | Fate::OwnConflict);
            if rng.happens(chance) && fits && fate == Fate::Fine {
                fate = which;
            }
        }
        (fate, there, back, faults.limit)
    }

    /// Sends a change off. It goes its own way, whatever becomes of its sender.
    fn send(&self, request: Request) -> oneshot::Receiver<Result<(), StoreError>> {
        let conditional = matches!(request, Request::PutIfAbsent(..));
        let (fate, there, back, limit) = self.draw_fate(conditional);
        if fate != Fate::Fine {
            self.core.trace(&self.owner, format_args!("fate of {}: {fate:?}", request.describe()));
        }
        let (answer, answered) = oneshot::channel();
        let (store, core) = (self.clone(), Arc::clone(&self.core));
        let way = async move {
            // Nobody may be listening any more.
            match fate {
                Fate::Fine => {
                    core.sleep(there).await;
                    let result = store.apply(&request);
                    core.sleep(back).await;
                    let _ = answer.send(result);
                }
                Fate::RequestLost => {
                    core.sleep(limit).await;
                    let _ = answer.send(Err(indefinite("no answer")));
                }
                Fate::Unavailable => {
                    core.sleep(there + back).await;
                    let _ = answer.send(Err(indefinite("503")));
                }
                Fate::Conflict => {
                    core.sleep(there + back).await;
                    let _ = answer.send(Err(StoreError::AlreadyExists { key: request.key().to_owned() }));
                }
                Fate::OwnConflict => {
                    core.sleep(there).await;
                    // Its own success, or somebody else's: the answer is the same.
                    let _ = store.apply(&request);
                    core.sleep(back).await;
                    let _ = answer.send(Err(StoreError::AlreadyExists { key: request.key().to_owned() }));
                }
                Fate::AnswerLost => {
                    core.sleep(there).await;
                    let _ = store.apply(&request);
                    core.sleep(back).await;
                    let _ = answer.send(Err(indefinite("connection closed")));
                }
                Fate::Late(by) => {
                    core.sleep(there + back).await;
                    let _ = answer.send(Err(indefinite("timed out")));
                    core.sleep(by).await;
                    let _ = store.apply(&request);
                }
            }
        };
        // A task of the world: it does not end with the process that sent it.
        let _ = self.core.spawn(&None, "store-request", Box::pin(way));
        answered
    }

    /// Crosses the gate, sends, and waits for the answer; never ends for a process that is gone.
    async fn change(self, request: Request) -> Result<(), StoreError> {
        let gate = self.core.enter(&self.owner, format_args!("{}", request.describe()));
        if gate != Gate::Pass {
            if gate.takes_effect() {
                drop(self.send(request));
            }
            return std::future::pending().await;
        }
        let key = request.key().to_owned();
        let answer = self.send(request).await.unwrap_or_else(|_| Err(indefinite("the run is over")));
        self.cross(format!("answer for {key}: {answer:?}")).await;
        answer
    }

    /// A request goes or an answer comes: a process that is gone sees neither.
    async fn cross(&self, what: String) {
        let gate = self.core.enter(&self.owner, format_args!("{what}"));
        if gate != Gate::Pass {
            std::future::pending::<()>().await;
        }
    }

    /// A request that changes nothing: `look` sees the bucket at one instant on the way.
    async fn ask<T>(
        self,
        what: String,
        look: impl FnOnce(&mut Bucket) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError> {
        self.cross(what.clone()).await;
        let (fate, there, back, limit) = self.draw_fate(false);
        self.core.sleep(there).await;
        let result = match fate {
            Fate::Fine => look(&mut self.bucket.lock()),
            Fate::RequestLost | Fate::AnswerLost => {
                self.core.sleep(limit).await;
                Err(indefinite("no answer"))
            }
            _ => Err(indefinite("503")),
        };
        self.core.sleep(back).await;
        self.cross(format!("answer to {what}: {}", if result.is_ok() { "ok" } else { "error" })).await;
        result
    }
}

fn travel(faults: &StoreFaults, rng: &mut Rng) -> Duration {
    let slow = rng.duration(Duration::from_millis(500)..Duration::from_secs(4));
    let usual = rng.duration(faults.latency.clone());
    if rng.happens(faults.slow) { slow } else { usual }
}

fn whole(bucket: &Bucket, key: &str) -> Result<Bytes, StoreError> {
    let object = bucket.objects.get(key).ok_or_else(|| StoreError::NotFound { key: key.to_owned() })?;
    Ok(object.bytes.clone())
}

impl Store for SimStore {
    fn put_if_absent(&self, key: &str, bytes: Bytes) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(self.clone().change(Request::PutIfAbsent(key.to_owned(), bytes)))
    }

    fn put(&self, key: &str, bytes: Bytes) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(self.clone().change(Request::Put(key.to_owned(), bytes)))
    }

    fn upload(&self, key: &str) -> BoxFuture<'static, Result<Box<dyn Upload>, StoreError>> {
        let (store, key) = (self.clone(), key.to_owned());
        Box::pin(async move {
            let upload = SimUpload::new(store.clone(), key.clone());
            store.ask(format!("store upload {key}"), |_| Ok(())).await?;
            Ok(Box::new(upload) as Box<dyn Upload>)
        })
    }

    fn get(&self, key: &str) -> BoxFuture<'static, Result<Bytes, StoreError>> {
        let key = key.to_owned();
        Box::pin(self.clone().ask(format!("store get {key}"), move |bucket| whole(bucket, &key)))
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> BoxFuture<'static, Result<Bytes, StoreError>> {
        let key = key.to_owned();
        Box::pin(self.clone().ask(format!("store get {key} {range:?}"), move |bucket| {
            let bytes = whole(bucket, &key)?;
            let truncated = bucket.rng.happens(bucket.faults.truncated);
            let end = usize::try_from(range.end).unwrap_or(usize::MAX);
            let start = usize::try_from(range.start).unwrap_or(usize::MAX);
            if truncated || start > end || end > bytes.len() {
                return Err(indefinite("fewer bytes than asked for"));
            }
            Ok(bytes.slice(start..end))
        }))
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<ObjectEntry>, StoreError>> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        Box::pin(self.clone().ask(format!("store list {prefix} {after:?} {limit}"), move |bucket| {
            let matching = bucket
                .objects
                .range(prefix.clone()..)
                .take_while(|(key, _)| key.starts_with(&prefix))
                .filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after));
            let entry = |(key, object): (&String, &Object)| ObjectEntry {
                key: key.clone(),
                size: object.bytes.len() as u64,
                modified: object.modified,
            };
            Ok(matching.take(limit).map(entry).collect())
        }))
    }

    fn delete(&self, key: &str) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(self.clone().change(Request::Delete(key.to_owned())))
    }
}
