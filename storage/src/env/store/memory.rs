//! A store in memory, for tests and for brokers that may forget: `memory://`.
//!
//! A map behind one lock. Every call takes effect when it is made and answers at once, so it needs no runtime and
//! behaves the same in the simulation, which puts its delays and faults around it.

use super::{ObjectEntry, Store, StoreError, Upload};
use crate::env::{Clock, Timestamp};
use bytes::{Bytes, BytesMut};
use futures_util::future::{self, BoxFuture, FutureExt};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::Arc;

struct Object {
    bytes: Bytes,
    modified: Timestamp,
}

type Objects = Arc<Mutex<BTreeMap<String, Object>>>;

/// A store in memory. Clones share their objects.
#[derive(Clone)]
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    objects: Objects,
}

impl MemoryStore {
    /// An empty store that takes modification times from `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> MemoryStore {
        MemoryStore { clock, objects: Objects::default() }
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.objects.lock().len()
    }

    /// Whether there are no objects.
    pub fn is_empty(&self) -> bool {
        self.objects.lock().is_empty()
    }

    fn write(&self, key: &str, bytes: Bytes) {
        let object = Object { bytes, modified: self.clock.wall() };
        self.objects.lock().insert(key.to_owned(), object);
    }

    fn read(&self, key: &str) -> Result<Bytes, StoreError> {
        match self.objects.lock().get(key) {
            Some(object) => Ok(object.bytes.clone()),
            None => Err(StoreError::NotFound { key: key.to_owned() }),
        }
    }
}

impl Store for MemoryStore {
    fn put_if_absent(&self, key: &str, bytes: Bytes) -> BoxFuture<'static, Result<(), StoreError>> {
        let object = Object { bytes, modified: self.clock.wall() };
        let mut objects = self.objects.lock();
        if objects.contains_key(key) {
            return future::ready(Err(StoreError::AlreadyExists { key: key.to_owned() })).boxed();
        }
        objects.insert(key.to_owned(), object);
        future::ready(Ok(())).boxed()
    }

    fn put(&self, key: &str, bytes: Bytes) -> BoxFuture<'static, Result<(), StoreError>> {
        self.write(key, bytes);
        future::ready(Ok(())).boxed()
    }

    fn upload(&self, key: &str) -> BoxFuture<'static, Result<Box<dyn Upload>, StoreError>> {
        let upload = MemoryUpload { store: self.clone(), key: key.to_owned(), bytes: BytesMut::new() };
        future::ready(Ok(Box::new(upload) as Box<dyn Upload>)).boxed()
    }

    fn get(&self, key: &str) -> BoxFuture<'static, Result<Bytes, StoreError>> {
        future::ready(self.read(key)).boxed()
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> BoxFuture<'static, Result<Bytes, StoreError>> {
        let part = self.read(key).and_then(|bytes| {
            let within = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
            match within.filter(|(start, end)| start <= end && *end <= bytes.len()) {
                Some((start, end)) => Ok(bytes.slice(start..end)),
                None => Err(StoreError::Indefinite { reason: format!("{key} ends before {}", range.end) }),
            }
        });
        future::ready(part).boxed()
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<ObjectEntry>, StoreError>> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let objects = self.objects.lock();
        let entries = objects
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit)
            .map(|(key, object)| ObjectEntry {
                key: key.clone(),
                size: object.bytes.len() as u64,
                modified: object.modified,
            })
            .collect();
        future::ready(Ok(entries)).boxed()
    }

    fn delete(&self, key: &str) -> BoxFuture<'static, Result<(), StoreError>> {
        self.objects.lock().remove(key);
        future::ready(Ok(())).boxed()
    }
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryStore").field("objects", &self.len()).finish_non_exhaustive()
    }
}

struct MemoryUpload {
    store: MemoryStore,
    key: String,
    bytes: BytesMut,
}

impl Upload for MemoryUpload {
    fn part(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), StoreError>> {
        self.bytes.extend_from_slice(&bytes);
        future::ready(Ok(())).boxed()
    }

    fn complete(&mut self) -> BoxFuture<'_, Result<(), StoreError>> {
        let bytes = std::mem::take(&mut self.bytes).freeze();
        self.store.write(&self.key, bytes);
        future::ready(Ok(())).boxed()
    }

    fn abort(&mut self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.bytes.clear();
        future::ready(Ok(())).boxed()
    }
}
