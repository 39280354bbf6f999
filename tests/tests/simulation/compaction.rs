//! Compaction beside transactions that are still open: what one of them wrote replaces nothing, since it may be aborted.
//!
//! Brokers do not take transactions yet, so this is a story of a log alone.

use esker_protocol::record::{BatchBuilder, Compression, Producer, ValidatedBatch, batches};
use esker_storage::compaction::{CompactionConfig, EVERYTHING, Pass, PassConfig, Step, look_at, read_progress};
use esker_storage::env::mutation::{Mutation, switch_on};
use esker_storage::log::{Durability, EndTransaction, Log, LogConfig, LogDir, LogDirConfig, OpenFrom};
use esker_storage::offset::{HighWatermark, LeaderEpoch, Offset, PartitionId};
use esker_tests::sim::{World, check, first_failure};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const EPOCH: LeaderEpoch = LeaderEpoch::new(1);
const PRODUCER: i64 = 7;

/// A batch of one record of each key; in a transaction, if it has a sequence.
fn batch(keys: u64, sequence: Option<i32>) -> ValidatedBatch {
    let mut builder = BatchBuilder::new(Compression::None);
    if let Some(sequence) = sequence {
        let producer = Producer { id: PRODUCER, epoch: 0, base_sequence: Some(sequence) };
        builder = builder.producer(producer).transactional();
    }
    for key in 0..keys {
        builder.push(1000, Some(&key.to_be_bytes()), Some(b"value"), &[]);
    }
    builder.build_trusted().unwrap()
}

async fn synced(world: &World, log: &Log) -> HighWatermark {
    while log.durable_end() < log.log_end().offset() {
        world.sleep(Duration::from_millis(1)).await;
    }
    HighWatermark::at(log.durable_end())
}

/// A pass, if one is due.
fn compact(world: &World, log: &Arc<Log>, stable: Offset) {
    let topic = CompactionConfig { min_dirty_ratio: 0.01, ..CompactionConfig::default() };
    let now = world.env().wall();
    let candidate = look_at(log, read_progress(log).unwrap().local, stable, &topic, now).unwrap();
    if !candidate.is_due(&topic) {
        return;
    }
    let config = PassConfig { topic, key_bytes: 1 << 20, seed: world.seed(), clean_below: EVERYTHING };
    let mut pass = Pass::begin(log, &candidate, config, now);
    while let Step::More(_) = pass.step(1 << 10).unwrap() {}
}

/// Offsets of the batches that have records.
fn offsets(log: &Log) -> Vec<u64> {
    let (mut at, end, mut found) = (log.local_start().offset(), log.log_end().offset(), Vec::new());
    while at < end {
        let read = log.read(at, end, 1 << 16, true).unwrap();
        let all = read.bytes();
        let with_records = batches(&all).filter(|batch| batch.header.record_count > 0);
        found.extend(with_records.map(|batch| batch.header.base_offset as u64));
        at = read.next;
    }
    found
}

async fn story(world: World) {
    let config = LogDirConfig { cluster: Uuid::from_u128(1), broker: 1, durability: Durability::Fsync, open_files: 8 };
    let dir = LogDir::open(world.env(), Path::new("/log"), config).unwrap();
    let id = PartitionId { topic: Uuid::from_u128(2), partition: 0 };
    let (log, _) = Log::open(&dir, id, LogConfig::default(), OpenFrom::default()).unwrap();
    log.begin_epoch(EPOCH).unwrap();
    let (keys, before, within) = world.draw(|rng| (1 + rng.below(3), 1 + rng.below(3), 1 + rng.below(3) as i32));
    let append = |batch: ValidatedBatch| {
        log.append(batch, EPOCH, world.env().wall()).unwrap();
        log.roll(world.env().wall()).unwrap();
    };
    (0..before).for_each(|_| append(batch(keys, None)));
    (0..within).for_each(|number| append(batch(keys, Some(number * keys as i32))));
    let high_watermark = synced(&world, &log).await;
    compact(&world, &log, log.last_stable(high_watermark).offset());
    // The last that is not of the transaction is what its keys have if it is aborted, as it is.
    let last = (before - 1) * keys;
    assert!(offsets(&log).contains(&last), "the batch at {last} is gone, of {:?}", offsets(&log));
    let end = EndTransaction { producer_id: PRODUCER, producer_epoch: 0, abort: true, coordinator_epoch: 0 };
    log.end_transaction(end, EPOCH, world.env().wall()).unwrap();
    log.roll(world.env().wall()).unwrap();
    let high_watermark = synced(&world, &log).await;
    compact(&world, &log, log.last_stable(high_watermark).offset());
    assert!(offsets(&log).contains(&last), "an aborted transaction replaced the batch at {last}");
    dir.close().await.unwrap();
}

#[test]
fn an_open_transaction_replaces_nothing() {
    check(0..20, story);
}

#[test]
fn mutation_cleaned_beyond_stable_is_caught() {
    let _on = switch_on(Mutation::CleanedBeyondStable);
    assert!(first_failure(0..20, story).is_some(), "nobody noticed");
}
