//! What the tier's tests share: partitions, batches, and a store to put them into.

use crate::env::Env;
use crate::env::store::testing::{HastyClock, hasty_env};
use crate::env::store::{MemoryStore, Store};
use crate::offset::{LeaderEpoch, Offset, PartitionId};
use bytes::Bytes;
use esker_protocol::record::BatchBuilder;
use std::sync::Arc;
use uuid::Uuid;

pub(super) fn partition(n: u32) -> PartitionId {
    PartitionId { topic: Uuid::from_u128(0xabcd), partition: n }
}

pub(super) fn epoch(n: u32) -> LeaderEpoch {
    LeaderEpoch::new(n)
}

pub(super) fn offset(n: u64) -> Offset {
    Offset::new(n)
}

/// A batch of `records` records of `size` bytes each; their timestamps are ten times their offsets.
pub(super) fn batch(base: u64, records: u64, leader_epoch: u32, size: usize) -> Bytes {
    let mut builder = BatchBuilder::default();
    for record in 0..records {
        let value = vec![(base + record) as u8; size];
        builder.push((base + record) as i64 * 10, None, Some(&value), &[]);
    }
    builder.build_trusted().unwrap().stamp(base as i64, leader_epoch as i32, None).to_bytes()
}

/// Batches of ten records each from `start` to `end`.
pub(super) fn batches_of(start: u64, end: u64, leader_epoch: u32, size: usize) -> Vec<Bytes> {
    (start..end).step_by(10).map(|base| batch(base, 10.min(end - base), leader_epoch, size)).collect()
}

pub(super) struct Bench {
    pub(super) env: Env,
    pub(super) clock: Arc<HastyClock>,
    pub(super) memory: Arc<MemoryStore>,
}

impl Bench {
    pub(super) fn new(seed: u64) -> Bench {
        let (env, clock) = hasty_env(seed);
        let memory = Arc::new(MemoryStore::new(Arc::<HastyClock>::clone(&clock)));
        Bench { env, clock, memory }
    }

    pub(super) fn store(&self) -> Arc<dyn Store> {
        Arc::<MemoryStore>::clone(&self.memory)
    }
}
