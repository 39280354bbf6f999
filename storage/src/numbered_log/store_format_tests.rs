//! Formatting, and stores that must be refused.

use super::*;
use crate::env::store::testing::{Faults, FaultyStore, block_on, hasty_env};
use crate::env::store::{MemoryStore, ObjectEntry, Upload};
use futures_util::future::BoxFuture;
use std::ops::Range;
use std::sync::Arc;

#[test]
fn a_store_is_formatted_once() {
    let (env, clock) = hasty_env(1);
    let store = MemoryStore::new(clock);
    let first = block_on(open_or_format(&store, &env, None)).unwrap();
    let second = block_on(open_or_format(&store, &env, Some(Uuid::nil()))).unwrap();
    assert_eq!(first, second);
    assert_eq!(store.len(), 1, "the probe left something");
}

#[test]
fn formatting_survives_a_bad_network() {
    for seed in 0..50 {
        let (env, clock) = hasty_env(seed);
        let memory: Arc<dyn Store> = Arc::new(MemoryStore::new(clock));
        let faults = Faults { lost_answer: 3, unavailable: 3, late: 3, false_conflict: 3 };
        let store = FaultyStore::new(Arc::clone(&memory), seed, faults);
        let found = loop {
            match block_on(open_or_format(&store, &env, None)) {
                Ok(found) => break found,
                Err(FormatError::Retry { .. }) => {}
                // A false conflict in front of every racer cannot be told from a store that lies.
                Err(error) => panic!("seed {seed}: {error}"),
            }
        };
        assert_eq!(block_on(open_or_format(&*memory, &env, None)).unwrap(), found);
    }
}

#[test]
fn a_newer_store_is_refused_by_name() {
    let (env, clock) = hasty_env(1);
    let store = MemoryStore::new(clock);
    let newer = br#"{"esker":"store","format":9,"cluster":"00000000-0000-0000-0000-000000000000","created":1}"#;
    block_on(store.put(FORMAT_KEY, Bytes::from_static(newer))).unwrap();
    let error = block_on(open_or_format(&store, &env, None)).unwrap_err();
    assert_eq!(error, FormatError::Incompatible { reason: "format 9, this version knows 1".to_owned() });
}

/// Overwrites instead of creating, as stores do that do not know the condition.
struct Unconditional(MemoryStore);

impl Store for Unconditional {
    fn put_if_absent(&self, key: &str, bytes: Bytes) -> BoxFuture<'static, Result<(), StoreError>> {
        self.0.put(key, bytes)
    }
    fn put(&self, key: &str, bytes: Bytes) -> BoxFuture<'static, Result<(), StoreError>> {
        self.0.put(key, bytes)
    }
    fn upload(&self, key: &str) -> BoxFuture<'static, Result<Box<dyn Upload>, StoreError>> {
        self.0.upload(key)
    }
    fn get(&self, key: &str) -> BoxFuture<'static, Result<Bytes, StoreError>> {
        self.0.get(key)
    }
    fn get_range(&self, key: &str, range: Range<u64>) -> BoxFuture<'static, Result<Bytes, StoreError>> {
        self.0.get_range(key, range)
    }
    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<ObjectEntry>, StoreError>> {
        self.0.list(prefix, after, limit)
    }
    fn delete(&self, key: &str) -> BoxFuture<'static, Result<(), StoreError>> {
        self.0.delete(key)
    }
}

#[test]
fn a_store_that_overwrites_is_refused() {
    let (env, clock) = hasty_env(1);
    let store = Unconditional(MemoryStore::new(clock));
    assert!(matches!(block_on(open_or_format(&store, &env, None)), Err(FormatError::NotConditional { .. })));
}
