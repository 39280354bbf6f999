//! Small units that left the manifest for pages before they were merged are merged there, a few at a time, by the same
//! uploads that go on anyway; and a store of which nothing can be read keeps none of these uploads back.

use super::trickle::{Broker, EPOCH, Log};
use bytes::Bytes;
use esker_storage::env::store::{ObjectEntry, Store, StoreError, Upload};
use esker_storage::offset::{Offset, PartitionId};
use esker_storage::tier::{
    CommitterConfig, MergeConfig, ReadConfig, ScrubDepth, SweepConfig, Sweeper, TierCommits, TierReader, TierRecord,
    UnitSources, UploadConfig, Uploader, pages_to_merge, scrub,
};
use esker_tests::sim::{Config, StoreEffect, World, run};
use futures_util::future::BoxFuture;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const CLUSTER: Uuid = Uuid::from_u128(21);
const ID: PartitionId = PartitionId { topic: Uuid::from_u128(22), partition: 0 };
const TAIL: Duration = Duration::from_secs(60);

async fn trickle(world: &World, log: &Log, periods: u64) {
    for _ in 0..periods {
        world.sleep(TAIL / 2).await;
        log.append(200);
        world.sleep(TAIL / 2).await;
    }
}

async fn story(world: World) {
    let store: Arc<dyn Store> = Arc::new(world.store().clone());
    let env = world.env();
    let config = CommitterConfig { snapshot_every: 40, ..CommitterConfig::default() };
    let commits = TierCommits::start(Arc::clone(&store), env, CLUSTER, config).await.unwrap();
    commits.commit(vec![TierRecord::Open { partition: ID, epoch: EPOCH }]).await.unwrap();
    let log = Arc::new(Log::default());
    let broker = Arc::new(Broker { logs: [(ID, Arc::clone(&log))].into(), tail: TAIL });
    let start = |upload| {
        let sources = Arc::clone(&broker) as Arc<dyn UnitSources>;
        Uploader::start(env, Arc::clone(&store), CLUSTER, commits.clone(), sources, upload)
    };
    let units = || {
        let image = commits.image();
        let manifest = image.get(&ID).unwrap();
        (manifest.pages().iter().map(|page| page.units as usize).sum::<usize>(), manifest.recent().len())
    };

    // For hours nothing is merged: as if each attempt had failed.
    let never =
        UploadConfig { merge: MergeConfig { fan_in: usize::MAX, ..MergeConfig::default() }, ..UploadConfig::default() };
    let uploader = start(never);
    trickle(&world, &log, 420).await;
    drop(uploader);
    let (paged, recent) = units();
    assert!(paged > 250 && paged + recent > 400, "{paged} units are in pages, {recent} are not");

    let before = world.store().history().len();
    let uploader = start(UploadConfig::default());
    trickle(&world, &log, 60).await;
    world.sleep(TAIL * 3).await;
    let puts = world.store().history().iter().skip(before).filter(|event| event.effect != StoreEffect::Deleted).count();
    drop(uploader);
    let (paged, recent) = units();
    println!("{paged} units in pages and {recent} not, {puts} PUTs in 63 periods");
    assert!(paged + recent < 48, "{paged} units are in pages, {recent} are not");
    assert!(puts <= 2 * 64, "{puts} PUTs: merging costs requests of its own");
    let image = commits.image();
    let manifest = image.get(&ID).unwrap();
    assert_eq!(pages_to_merge(&MergeConfig::default(), manifest.pages(), Offset::ZERO), None, "{:?}", manifest.pages());

    // All of it is there.
    let reader = TierReader::new(env, Arc::clone(&store), CLUSTER, ReadConfig::default());
    let (mut at, mut read) = (Offset::ZERO, Vec::new());
    while at < manifest.end().offset() {
        let more = reader.read(ID, manifest, at, 1 << 20, true).await.unwrap();
        read.extend(more.pieces.concat());
        at = more.next;
    }
    assert!(read == log.bytes(), "byte for byte");
    let grace = Duration::from_secs(60);
    let sweep = SweepConfig { grace, shard_grace: grace, ..SweepConfig::default() };
    let mut sweeper = Sweeper::new(env, Arc::clone(&store), CLUSTER, commits.clone(), reader, sweep);
    for _ in 0..3 {
        sweeper.pass().await.unwrap();
        world.sleep(grace).await;
    }
    let report = scrub(&*store, CLUSTER, &commits.image(), ScrubDepth::Everything).await.unwrap();
    assert_eq!(report.findings, []);
}

/// A store that takes everything, and gives no range of it.
struct Unread(Arc<dyn Store>);

impl Store for Unread {
    fn put_if_absent(&self, key: &str, bytes: Bytes) -> BoxFuture<'static, Result<(), StoreError>> {
        self.0.put_if_absent(key, bytes)
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

    fn get_range(&self, _: &str, _: Range<u64>) -> BoxFuture<'static, Result<Bytes, StoreError>> {
        Box::pin(std::future::pending())
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

async fn unread(world: World) {
    let store: Arc<dyn Store> = Arc::new(Unread(Arc::new(world.store().clone())));
    let env = world.env();
    let commits = TierCommits::start(Arc::clone(&store), env, CLUSTER, CommitterConfig::default()).await.unwrap();
    commits.commit(vec![TierRecord::Open { partition: ID, epoch: EPOCH }]).await.unwrap();
    let log = Arc::new(Log::default());
    let broker = Arc::new(Broker { logs: [(ID, Arc::clone(&log))].into(), tail: TAIL });
    let sources = Arc::clone(&broker) as Arc<dyn UnitSources>;
    let uploader = Uploader::start(env, store, CLUSTER, commits.clone(), sources, UploadConfig::default());
    // There is enough to merge after sixteen of them.
    for period in 1..60 {
        trickle(&world, &log, 1).await;
        let tiered = commits.image().get(&ID).unwrap().end().offset().get();
        assert!(tiered + 2 >= period, "{tiered} of {period} records are in the tier: merging keeps uploads back");
    }
    drop(uploader);
}

#[test]
fn a_store_that_gives_nothing_back_keeps_no_upload_back() {
    run(Config { time: Duration::from_secs(48 * 3600), ..Config::seeded(1) }, unread)
        .unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn small_units_in_pages_are_merged_along_with_uploads() {
    let config = Config { steps: 50_000_000, time: Duration::from_secs(48 * 3600), ..Config::seeded(1) };
    run(config, story).unwrap_or_else(|failure| panic!("{failure}"));
}
