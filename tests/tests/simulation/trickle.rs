//! A trickle into many partitions: how many requests to write it costs, counted in the store.
//!
//! The promise: at most ten PUTs per 100 MB, or two per `tail.max.ms`, whichever is more; objects, commits, snapshots and
//! merging included. Clock and store are simulated; planner, uploader, committer and merging are the real ones.

use bytes::Bytes;
use esker_protocol::record::BatchBuilder;
use esker_storage::env::store::Store;
use esker_storage::offset::{LeaderEpoch, Offset, PartitionId};
use esker_storage::tier::{
    CommitterConfig, MergeConfig, PartitionView, ReadConfig, ScrubDepth, SegmentView, SourceChunk, SweepConfig,
    Sweeper, TailLimits, TierCommits, TierError, TierReader, TierRecord, UnitSource, UnitSources, UnitState,
    UploadConfig, Uploader, scrub,
};
use esker_tests::sim::{Config, StoreEffect, World, run};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const CLUSTER: Uuid = Uuid::from_u128(8);
pub(super) const EPOCH: LeaderEpoch = LeaderEpoch::new(1);

/// A log in memory: batches of one record.
#[derive(Default)]
pub(super) struct Log {
    batches: Mutex<Vec<Bytes>>,
}

impl Log {
    pub(super) fn append(&self, size: usize) {
        let mut batches = self.batches.lock();
        let offset = batches.len() as i64;
        let mut builder = BatchBuilder::default();
        builder.push(offset, None, Some(&vec![offset as u8; size]), &[]);
        batches.push(builder.build_trusted().unwrap().stamp(offset, 1, None).to_bytes());
    }

    /// Everything in it.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.batches.lock().concat()
    }
}

impl UnitSource for Log {
    fn read_chunk(&self, from: Offset, upto: Offset, max_bytes: usize) -> Result<SourceChunk, TierError> {
        let batches = self.batches.lock();
        let (mut bytes, mut next) = (Vec::new(), from.get());
        while next < upto.get() && (bytes.is_empty() || bytes.len() < max_bytes) {
            bytes.extend_from_slice(&batches[next as usize]);
            next += 1;
        }
        Ok(SourceChunk { bytes: bytes.into(), next: Offset::new(next) })
    }

    fn state_at(&self, _: Offset, _: Offset) -> Result<UnitState, TierError> {
        Ok(UnitState { epochs: vec![(EPOCH, Offset::ZERO)], ..UnitState::default() })
    }
}

/// A broker of such logs, which leads all of them.
pub(super) struct Broker {
    pub(super) logs: BTreeMap<PartitionId, Arc<Log>>,
    pub(super) tail: Duration,
}

impl UnitSources for Broker {
    fn views(&self) -> Vec<PartitionView> {
        let view = |(partition, log): (&PartitionId, &Arc<Log>)| {
            let batches = log.batches.lock();
            let (end, bytes) =
                (Offset::new(batches.len() as u64), batches.iter().map(|batch| batch.len() as u64).sum());
            PartitionView {
                partition: *partition,
                leader_epoch: EPOCH,
                enabled: true,
                tail: TailLimits { max_age: self.tail, ..TailLimits::default() },
                uploadable_end: end,
                segments: vec![SegmentView { base: Offset::ZERO, end, bytes, sealed: false }],
            }
        };
        self.logs.iter().map(view).collect()
    }

    fn source(&self, partition: &PartitionId) -> Option<Arc<dyn UnitSource>> {
        Some(Arc::clone(self.logs.get(partition)?) as Arc<dyn UnitSource>)
    }
}

#[derive(Clone, Copy)]
struct Trickle {
    partitions: u32,
    /// Bytes of a record.
    record: usize,
    /// Records of each partition in a period.
    records: u64,
    periods: u64,
    tail: Duration,
    snapshot_every: u64,
    upload: UploadConfig,
    /// What counts as 100 MB, for objects that are smaller than the real ones by the same factor.
    hundred_megabytes: f64,
}

/// What is left of a trickle.
#[derive(Debug)]
struct Cost {
    objects: usize,
    largest_manifest: usize,
    snapshots: usize,
}

async fn trickle(world: World, of: Trickle) -> Cost {
    let store: Arc<dyn Store> = Arc::new(world.store().clone());
    let env = world.env();
    let config = CommitterConfig { snapshot_every: of.snapshot_every, ..CommitterConfig::default() };
    let commits = TierCommits::start(Arc::clone(&store), env, CLUSTER, config).await.unwrap();
    let id = |partition| PartitionId { topic: Uuid::from_u128(4), partition };
    let logs = (0..of.partitions).map(|n| (id(n), Arc::new(Log::default()))).collect();
    let broker = Arc::new(Broker { logs, tail: of.tail });
    let opens = broker.logs.keys().map(|partition| TierRecord::Open { partition: *partition, epoch: EPOCH });
    commits.commit(opens.collect()).await.unwrap();
    let before = world.store().history().len();
    let sources = Arc::clone(&broker) as Arc<dyn UnitSources>;
    let uploader = Uploader::start(env, Arc::clone(&store), CLUSTER, commits.clone(), sources, of.upload);
    let began = world.now();
    let logs: Vec<Arc<Log>> = broker.logs.values().cloned().collect();
    let steps = 20;
    for step in 0..of.periods * steps {
        world.sleep(of.tail / steps as u32).await;
        for (n, log) in logs.iter().enumerate() {
            // Each in its own rhythm.
            let due = |step: u64| (step * of.records + n as u64 * 7) / steps;
            for _ in due(step)..due(step + 1) {
                log.append(of.record);
            }
        }
    }
    // What is on its way at the end counts, too.
    world.sleep(of.tail * 2).await;
    let periods = (world.now() - began).as_secs_f64() / of.tail.as_secs_f64();
    let history = world.store().history();
    let written = history.iter().skip(before).filter(|event| event.effect != StoreEffect::Deleted);
    let puts = written.count() as u64;
    let bytes: u64 =
        logs.iter().flat_map(|log| log.batches.lock().iter().map(Bytes::len).collect::<Vec<_>>()).sum::<usize>() as u64;
    let allowed = (10.0 * bytes as f64 / of.hundred_megabytes).max(2.0 * (periods.ceil() + 1.0));
    assert!(puts as f64 <= allowed, "{puts} PUTs for {bytes} bytes in {periods} periods, {allowed} are allowed");
    println!("{puts} PUTs for {bytes} bytes in {periods} periods, {allowed} are allowed");
    drop(uploader);

    // It is all there, and small units were merged.
    let image = commits.image();
    let reader = TierReader::new(env, Arc::clone(&store), CLUSTER, ReadConfig::default());
    for (partition, log) in &broker.logs {
        let manifest = image.get(partition).unwrap();
        let (mut at, mut read) = (Offset::ZERO, Vec::new());
        while at < manifest.end().offset() {
            let more = reader.read(*partition, manifest, at, 1 << 20, true).await.unwrap();
            read.extend(more.pieces.concat());
            at = more.next;
        }
        assert_eq!(read, log.bytes());
    }
    let sweep =
        SweepConfig { grace: Duration::from_secs(60), shard_grace: Duration::from_secs(60), ..SweepConfig::default() };
    let mut sweeper = Sweeper::new(env, Arc::clone(&store), CLUSTER, commits.clone(), reader, sweep);
    sweeper.pass().await.unwrap();
    world.sleep(Duration::from_secs(60)).await;
    sweeper.pass().await.unwrap();
    let report = scrub(&*store, CLUSTER, &commits.image(), ScrubDepth::Everything).await.unwrap();
    assert_eq!(report.findings, []);
    let objects = world.store().objects();
    let count = |prefix: &str| objects.keys().filter(|key| key.starts_with(prefix)).count();
    let largest_manifest = image.partitions().map(|(_, manifest)| manifest.recent().len()).max().unwrap();
    Cost { objects: count("data/"), largest_manifest, snapshots: count("tier/snapshot/") }
}

fn cost(of: Trickle) -> Cost {
    let time = of.tail * (of.periods as u32 + 10) + Duration::from_secs(3600);
    let config = Config { steps: 100_000_000, time, ..Config::seeded(1) };
    let finished = run(config, |world| async move { Arc::new(trickle(world, of).await) });
    let finished = finished.unwrap_or_else(|failure| panic!("{failure}"));
    let cost = Arc::into_inner(finished.output).unwrap();
    println!("{cost:?}");
    cost
}

const TRICKLE: Trickle = Trickle {
    partitions: 1000,
    record: 60,
    records: 2,
    periods: 20,
    tail: Duration::from_secs(60),
    snapshot_every: 256,
    upload: UploadConfig {
        unit_max_bytes: 256 << 20,
        shared_below_bytes: 16 << 20,
        shared_max_bytes: 64 << 20,
        concurrency: 4,
        merge: MergeConfig {
            small_bytes: 4 << 20,
            max_bytes: 16 << 20,
            fan_in: 16,
            max_objects: 256,
            max_span: Duration::MAX,
        },
    },
    hundred_megabytes: 100e6,
};

#[test]
fn a_thousand_partitions_with_a_trickle_each_cost_two_puts_a_period() {
    let cost = cost(TRICKLE);
    assert!(cost.largest_manifest <= 32, "{cost:?}");
    assert!(cost.objects <= 60, "{cost:?}");
}

#[test]
fn snapshots_are_in_the_price() {
    let cost = cost(Trickle { partitions: 15, periods: 270, ..TRICKLE });
    assert!(cost.snapshots > 0 && cost.largest_manifest <= 48, "{cost:?}");
}

#[test]
fn with_more_data_it_is_ten_puts_per_hundred_megabytes() {
    // Everything a hundredth: objects of 640 KiB, and ten PUTs per MB.
    let upload = UploadConfig {
        unit_max_bytes: 256 << 20,
        shared_below_bytes: 160 << 10,
        shared_max_bytes: 640 << 10,
        concurrency: 4,
        merge: MergeConfig {
            small_bytes: 40 << 10,
            max_bytes: 160 << 10,
            fan_in: 16,
            max_objects: 256,
            max_span: Duration::MAX,
        },
    };
    for (partitions, records, record) in [(200, 1, 1000), (100, 3, 3000)] {
        cost(Trickle { partitions, record, records, periods: 30, upload, hundred_megabytes: 1e6, ..TRICKLE });
    }
}
