//! What the tier's tests share: partitions, batches, and a store to put them into.

use super::TierError;
use super::committer::{CommitterConfig, TierCommits};
use super::key::ObjectKey;
use super::object::{UnitBatches, read_state};
use super::read::{ReadConfig, TierReader};
use super::record::TierRecord;
use super::rewrite::{Rewriter, Run, joined_state};
use super::scrub::{Finding, ScrubDepth, scrub};
use super::source::{PartitionView, SegmentView, SourceChunk, UnitSource, UnitSources};
use super::sweep::{SweepConfig, Sweeper};
use super::unit::{Revision, Section, UnitMeta};
use super::writer::{ObjectWriter, UnitRange, UnitState};
use crate::env::store::testing::{Faults, FaultyStore, HastyClock, hasty_env};
use crate::env::store::{MemoryStore, Store};
use crate::env::{Env, Timestamp};
use crate::offset::{LeaderEpoch, Offset, PartitionId};
use bytes::Bytes;
use esker_protocol::record::{BatchBuilder, BatchHeader};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
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

/// A description of a unit whose object was never written.
pub(super) fn unit(n: u32, leader_epoch: u32, start: u64, end: u64, attempt: u128) -> UnitMeta {
    let key = ObjectKey::Partition { partition: partition(n), base: offset(start), attempt: Uuid::from_u128(attempt) };
    let data = 100 + end.saturating_sub(start);
    let at = |position| Section::new(32 + data + position, 10, 7);
    UnitMeta {
        partition: partition(n),
        start: offset(start),
        end: offset(end),
        leader_epoch: epoch(leader_epoch),
        last_epoch: epoch(leader_epoch),
        revision: None,
        stay: 0,
        max_timestamp: Some(Timestamp::from_millis(end as i64 * 10)),
        key: Arc::from(key.to_string()),
        data: Section::new(32, data, 1),
        index: at(0),
        producers: at(10),
        epochs: at(20),
        aborted: at(30),
    }
}

/// A description of a rewrite over `start..end`.
pub(super) fn rewritten(n: u32, leader_epoch: u32, start: u64, end: u64, revision: u64) -> UnitMeta {
    let (partition, base, attempt) = (partition(n), offset(start), Uuid::from_u128(u128::from(end)));
    let revision = Revision::new(revision);
    let key = ObjectKey::Rewrite { partition, base, revision, attempt };
    UnitMeta {
        key: Arc::from(key.to_string()),
        revision: Some(revision),
        ..unit(n, leader_epoch, start, end, u128::from(end))
    }
}

/// Rewrites a run as one unit with all of its batches.
pub(super) async fn joined(env: &Env, store: &Arc<dyn Store>, run: &Run) -> Result<Vec<UnitMeta>, TierError> {
    let (first, last) = (run.units().first().unwrap(), run.units().last().unwrap());
    let (partition, base, revision) = (run.partition(), first.start, run.revision());
    let key = ObjectKey::Rewrite { partition, base, revision, attempt: env.random.uuid() };
    let mut writer = ObjectWriter::new(Arc::clone(store), key);
    writer.begin_unit(run.range(first.start, last.end))?;
    let mut states = Vec::new();
    for unit in run.units() {
        let mut batches = UnitBatches::new(&**store, unit);
        while let Some(batches) = batches.next().await? {
            writer.data(&batches).await?;
        }
        states.push(read_state(&**store, unit).await?);
    }
    writer.end_unit(last.end, joined_state(states).unwrap()).await?;
    writer.finish().await
}

pub(super) fn open(n: u32, leader_epoch: u32) -> TierRecord {
    TierRecord::Open { partition: partition(n), epoch: epoch(leader_epoch) }
}

/// A log in memory, to upload from: batches with the offsets after them.
#[derive(Default)]
pub(super) struct FakeLog {
    pub(super) batches: Mutex<Vec<(Offset, Offset, Bytes)>>,
}

impl FakeLog {
    pub(super) fn append(&self, batches: &[Bytes]) {
        let mut log = self.batches.lock();
        for bytes in batches {
            let header = BatchHeader::parse(bytes).unwrap();
            let base = Offset::from_wire(header.base_offset).unwrap();
            log.push((base, Offset::from_wire(header.next_offset()).unwrap(), bytes.clone()));
        }
    }

    pub(super) fn end(&self) -> Offset {
        self.batches.lock().last().map_or(Offset::ZERO, |(_, end, _)| *end)
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.batches.lock().iter().map(|(_, _, bytes)| &bytes[..]).collect::<Vec<_>>().concat()
    }
}

impl UnitSource for FakeLog {
    fn read_chunk(&self, from: Offset, upto: Offset, max_bytes: usize) -> Result<SourceChunk, TierError> {
        let (mut bytes, mut next) = (Vec::new(), upto);
        for (_, end, batch) in self.batches.lock().iter().filter(|(_, end, _)| *end > from && *end <= upto) {
            if bytes.is_empty() || bytes.len() + batch.len() <= max_bytes {
                bytes.extend_from_slice(batch);
                next = *end;
            } else {
                break;
            }
        }
        Ok(SourceChunk { bytes: Bytes::from(bytes), next })
    }

    fn state_at(&self, _: Offset, end: Offset) -> Result<UnitState, TierError> {
        let producers = Bytes::from(format!("producers at {end}"));
        Ok(UnitState { producers, epochs: vec![(epoch(1), Offset::ZERO)], aborted: Vec::new() })
    }
}

/// Some logs of which this broker is the leader in epoch 1; all but the last `open` batches of each are sealed.
#[derive(Default)]
pub(super) struct FakeBroker {
    pub(super) logs: Mutex<BTreeMap<PartitionId, Arc<FakeLog>>>,
}

impl FakeBroker {
    pub(super) fn log(&self, n: u32) -> Arc<FakeLog> {
        Arc::clone(self.logs.lock().entry(partition(n)).or_default())
    }
}

impl UnitSources for FakeBroker {
    fn views(&self) -> Vec<PartitionView> {
        let view = |(partition, log): (&PartitionId, &Arc<FakeLog>)| PartitionView {
            tail: super::source::TailLimits::default(),
            partition: *partition,
            leader_epoch: epoch(1),
            enabled: true,
            uploadable_end: log.end(),
            segments: vec![SegmentView {
                base: Offset::ZERO,
                end: log.end(),
                bytes: log.batches.lock().iter().map(|(_, _, bytes)| bytes.len() as u64).sum(),
                sealed: true,
            }],
        };
        self.logs.lock().iter().map(view).collect()
    }

    fn source(&self, partition: &PartitionId) -> Option<Arc<dyn UnitSource>> {
        self.logs.lock().get(partition).map(|log| Arc::clone(log) as Arc<dyn UnitSource>)
    }
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

pub(super) const CLUSTER: Uuid = Uuid::from_u128(5);

/// A tier in memory, with its committer, readers and sweepers.
pub(super) struct Running {
    pub(super) bench: Bench,
    pub(super) store: Arc<dyn Store>,
    pub(super) commits: TierCommits,
    pub(super) reader: Arc<TierReader>,
}

pub(super) async fn start_commits(store: &Arc<dyn Store>, env: &Env, snapshot_every: u64) -> TierCommits {
    let config = CommitterConfig { snapshot_every, keep: Duration::ZERO };
    loop {
        if let Ok(commits) = TierCommits::start(Arc::clone(store), env, CLUSTER, config).await {
            return commits;
        }
    }
}

pub(super) async fn start(seed: u64, faults: Faults) -> (Running, FaultyStore) {
    let bench = Bench::new(seed);
    let faulty = FaultyStore::new(bench.store(), seed, faults);
    let store: Arc<dyn Store> = Arc::new(faulty.clone());
    let commits = start_commits(&store, &bench.env, 20).await;
    let reader = TierReader::new(&bench.env, Arc::clone(&store), CLUSTER, ReadConfig::default());
    (Running { bench, store, commits, reader }, faulty)
}

impl Running {
    pub(super) fn sweeper(&self, grace: Duration) -> Sweeper {
        let config = SweepConfig { grace, shard_grace: grace, ..SweepConfig::default() };
        let (store, reader) = (Arc::clone(&self.store), Arc::clone(&self.reader));
        Sweeper::new(&self.bench.env, store, CLUSTER, self.commits.clone(), reader, config)
    }

    pub(super) fn rewriter(&self) -> Rewriter {
        Rewriter::new(&self.bench.env, Arc::clone(&self.store), CLUSTER, self.commits.clone())
    }

    /// Writes an object with a unit of ten offsets for each of some partitions.
    pub(super) async fn write(&self, starts: &[(u32, u64)]) -> Result<Vec<UnitMeta>, TierError> {
        let attempt = self.bench.env.random.uuid();
        let key = match starts {
            [(n, start)] => ObjectKey::Partition { partition: partition(*n), base: offset(*start), attempt },
            _ => ObjectKey::Shared { attempt },
        };
        let mut writer = ObjectWriter::new(Arc::clone(&self.store), key);
        for (n, start) in starts {
            let (start, upto) = (offset(*start), offset(start + 10));
            writer.begin_unit(UnitRange {
                partition: partition(*n),
                start,
                upto,
                leader_epoch: epoch(1),
                revision: None,
                stay: 0,
            })?;
            writer.data(&batches_of(start.get(), upto.get(), 1, 20)[0]).await?;
            writer.end_unit(upto, UnitState::default()).await?;
        }
        writer.finish().await
    }

    pub(super) async fn commit(&self, units: &[UnitMeta]) -> Vec<bool> {
        let records = units.iter().cloned().map(TierRecord::Unit).collect();
        self.commits.commit(records).await.unwrap().iter().map(|verdict| verdict.is_applied()).collect()
    }

    pub(super) async fn upload(&self, starts: &[(u32, u64)]) -> Vec<bool> {
        let units = self.write(starts).await.unwrap();
        self.commit(&units).await
    }

    pub(super) async fn findings(&self) -> Vec<Finding> {
        let image = self.commits.image();
        scrub(&*self.bench.memory, CLUSTER, &image, ScrubDepth::Everything).await.unwrap().findings
    }
}
