//! A store that fails in every way that stores do, under a real broker: nothing that was acknowledged is lost, what the
//! broker holds in memory does not grow with what it cannot get rid of, and it catches up by itself.
//!
//! Each story produces while the store fails, lets it be well again, and waits; then everything is read, from the tier and
//! from the disk. That the store is whole in the end is checked when the broker is dropped. Faults of the protocol come
//! from the layer in front of the S3 server; a directory store has those of a file system, too: it is not mounted, a file is
//! gone, cut short, or rotten. In `store_faults/directory.rs` it has the others as well, by a layer in front of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "tests look at files and take their time")]

use bytes::Bytes;
use esker_bench::batch::{Builder, Codec, Record, read_all};
use esker_bench::client::{At, Client, ClientError};
use esker_tests::harness::{Asked, Broker, Fault, Options, S3, wait_for};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

mod store_faults {
    mod directory;
    mod files;
    mod readiness;
}

const TOPIC: &str = "history";
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const KAFKA_STORAGE_ERROR: Option<i16> = Some(56);

/// Small segments, and no local copy of what is tiered beyond one of them.
const CONFIGS: [(&str, &str); 4] =
    [("segment.bytes", "65536"), ("local.retention.bytes", "1"), ("retention.ms", "-1"), ("retention.bytes", "-1")];

/// A producer that knows what it was told is safe, by offset.
pub(crate) struct Log {
    pub(crate) client: Client,
    pub(crate) sent: i64,
    value: usize,
}

impl Log {
    /// A topic whose records have values of `value` bytes, of which something is in the tier.
    pub(crate) async fn begin(client: Client, value: usize) -> Log {
        client.create_topic(TOPIC, 1, &CONFIGS).await.unwrap();
        let mut log = Log { client, sent: 0, value };
        log.produce(40).await;
        log.caught_up().await;
        log
    }

    pub(crate) fn record(&self, offset: i64) -> Record {
        let seed = offset.unsigned_abs();
        let value: Vec<u8> = (0..self.value as u64).map(|at| (seed * 31 + at * (seed % 7 + 1)) as u8).collect();
        Record { offset, timestamp: 1_000 + offset, value: Some(Bytes::from(value)), ..Record::default() }
    }

    /// Produces batches of eight records.
    pub(crate) async fn produce(&mut self, batches: usize) {
        for _ in 0..batches {
            let mut builder = Builder::new(Codec::None);
            for offset in self.sent..self.sent + 8 {
                builder = builder.record(&self.record(offset));
            }
            let produced = self.client.produce_surely(TOPIC, 0, builder.build().unwrap()).await.unwrap();
            assert_eq!(produced.base_offset, self.sent);
            self.sent += 8;
        }
    }

    async fn offset(&self, at: At) -> i64 {
        let found = self.client.retry(|| self.client.offset(TOPIC, 0, at)).await.unwrap();
        found.map_or(-1, |(offset, _)| offset)
    }

    /// Everything is in the tier, and no more than the active segment is here.
    pub(crate) async fn caught_up(&self) {
        wait_for("everything to be in the tier", PATIENCE, || async {
            (self.offset(At::LastTiered).await + 1 == self.sent).then_some(())
        })
        .await;
        let segment = (65_536 / self.value as i64).max(8) + 8;
        wait_for("local copies to go", PATIENCE, || async {
            (self.sent - self.offset(At::LocalStart).await <= 2 * segment).then_some(())
        })
        .await;
    }

    /// Reads from `from` to the end; every record is what was acknowledged, and there once.
    pub(crate) async fn all_is_there(&self, from: i64, what: &str) {
        let found = self.client.read(TOPIC, 0, from, self.sent).await.unwrap();
        assert_eq!(found.len() as i64, self.sent - from, "{what}");
        for (record, offset) in found.iter().zip(from..) {
            let expected = self.record(offset);
            assert!(record.offset == offset && record.value == expected.value, "{what}: record {offset} is another");
        }
    }

    /// What is told of the oldest records, which only the store has, until it is what `expected` says. Wrong records fail
    /// the test whatever is expected.
    pub(crate) async fn oldest(&self, what: &str, expected: impl Fn(&Result<i64, ClientError>) -> bool) {
        wait_for(what, PATIENCE, || async {
            let told = self.client.fetch(TOPIC, 0, 0, 300).await.map(|fetched| {
                let records = read_all(&fetched.batches).unwrap();
                for record in &records {
                    assert_eq!(record.value, self.record(record.offset).value, "{what}: a record is another");
                }
                records.len() as i64
            });
            expected(&told).then_some(())
        })
        .await;
    }
}

/// A broker process, and what it was given.
pub(crate) struct Story {
    pub(crate) broker: Broker,
    pub(crate) log: Log,
}

impl Story {
    /// A broker that has tiered something already; records have values of `value` bytes.
    pub(crate) async fn begin(options: Options, value: usize) -> Story {
        let mut broker = Broker::start(options.eager_tier().set("remote.log.manager.copier.thread.pool.size", 2)).await;
        // What a store that fails makes the broker say is not an alarm of these tests.
        for said in ["store", "retry", "upload", "unsettled", "sweep", "merged"] {
            broker.announce(said);
        }
        let log = Log::begin(broker.client(), value).await;
        Story { broker, log }
    }

    /// The broker's own memory, in bytes.
    pub(crate) fn anonymous(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.broker.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
    }

    /// What the broker holds may not grow by more than this since it had `before`.
    pub(crate) fn is_small(&self, before: u64, allowed: u64, what: &str) {
        let now = self.anonymous();
        println!("{what}: {} kB of own memory before, {} kB now", before / 1024, now / 1024);
        assert!(now < before + allowed, "{what}: the broker's own memory grew from {before} to {now} bytes");
    }

    /// A broker with nothing in its caches, which has its history in the store alone.
    pub(crate) async fn restart(&mut self) {
        assert!(self.broker.terminate().await.success());
        self.broker.restart().await;
        self.log.client.forget().await;
    }
}

pub(crate) fn is_data(asked: &Asked) -> bool {
    asked.path.contains("/data/")
}

/// The store fails in this way, for every request that it fits, while records come; then it is well again.
async fn fails_for_a_while(story: &mut Story, s3: &S3, fault: Fault, least: Duration) {
    let (before, began, first) = (story.anonymous(), Instant::now(), story.log.sent);
    s3.set_faults(move |_| Some(fault));
    story.log.produce(40).await;
    story.log.all_is_there(first, &format!("{fault:?}: who reads the tail")).await;
    tokio::time::sleep(least.saturating_sub(began.elapsed())).await;
    story.log.produce(8).await;
    story.is_small(before, 48 * MIB, &format!("{fault:?}"));
    s3.heal();
    story.log.caught_up().await;
}

async fn each_fails_for_a_while(faults: &[Fault], least: Duration) {
    let s3 = S3::start();
    let mut story = Story::begin(s3.serve(Options::new()), 1_000).await;
    for fault in faults {
        fails_for_a_while(&mut story, &s3, *fault, least).await;
    }
    story.log.all_is_there(0, "in the end").await;
    story.broker.kill();
    story.broker.wipe_disk();
    story.broker.restart().await;
    story.log.client.forget().await;
    story.log.all_is_there(0, "without the disk").await;
}

pub(crate) const A_WHILE: Duration = Duration::from_millis(1_500);

#[tokio::test]
async fn requests_that_are_refused_are_made_again() {
    each_fails_for_a_while(&[Fault::Unavailable, Fault::Throttled, Fault::Conflict], A_WHILE).await;
}

#[tokio::test]
async fn an_answer_that_is_lost_after_the_write_took_effect_is_no_second_write() {
    each_fails_for_a_while(&[Fault::Lost, Fault::Failed, Fault::Late], A_WHILE).await;
}

#[tokio::test]
async fn a_request_that_is_never_answered_holds_nobody_up() {
    // Longer than the broker waits for a commit: its own time-out must get it out of this.
    each_fails_for_a_while(&[Fault::Hanging], Duration::from_secs(12)).await;
}

/// Answers to reads go wrong in this way, now and then or always, while history is read that only the store has.
#[tokio::test]
async fn reads_that_are_slow_or_cut_short_come_to_the_right_bytes() {
    let s3 = S3::start();
    let mut story = Story::begin(s3.serve(Options::new()), 1_000).await;
    story.log.produce(40).await;
    story.log.caught_up().await;
    for fault in [Fault::Slow, Fault::Truncated, Fault::Unavailable] {
        story.restart().await;
        let before = story.anonymous();
        let mut every_other = false;
        s3.set_faults(move |_| {
            every_other = !every_other;
            every_other.then_some(fault)
        });
        story.log.all_is_there(0, &format!("{fault:?}")).await;
        story.log.produce(8).await;
        story.is_small(before, 64 * MIB, &format!("{fault:?}"));
        s3.heal();
        story.log.caught_up().await;
    }
    story.restart().await;
    story.log.all_is_there(0, "in the end").await;
}

/// A store that lies: what it gives is not what was written, or it says that it has nothing.
#[tokio::test]
async fn wrong_bytes_and_a_missing_object_are_an_error_and_nothing_worse() {
    let s3 = S3::start();
    let mut story = Story::begin(s3.serve(Options::new()), 1_000).await;
    story.broker.announce("a tiered read failed");
    for fault in [Fault::Wrong, Fault::Missing] {
        story.restart().await;
        let before = story.anonymous();
        s3.set_faults(move |asked| is_data(asked).then_some(fault));
        story
            .log
            .oldest(&format!("{fault:?} to be told"), |told| {
                told.as_ref().is_err_and(|error| error.code() == KAFKA_STORAGE_ERROR)
            })
            .await;
        // Everybody else goes on, uploads too.
        let first = story.log.sent;
        story.log.produce(40).await;
        story.log.all_is_there(first, "who reads the tail").await;
        story.is_small(before, 64 * MIB, &format!("{fault:?}"));
        s3.heal();
        story.log.caught_up().await;
        story
            .log
            .oldest(&format!("{fault:?} to be over"), |told| told.as_ref().is_ok_and(|records| *records > 0))
            .await;
    }
    story.log.all_is_there(0, "in the end").await;
}

/// An outage in which much more comes than the broker may hold: what waits, waits on the disk.
#[tokio::test]
async fn an_outage_is_waited_for_on_the_disk_and_not_in_memory() {
    let s3 = S3::start();
    let mut story = Story::begin(s3.serve(Options::new().set("log.segment.bytes", 4 << 20)), 64 << 10).await;
    story.log.client.forget().await;
    let before = story.anonymous();
    s3.set_faults(|_| Some(Fault::Outage));
    // 96 MiB, of which uploads have to hold their buffers only: two objects at a time.
    story.log.produce(192).await;
    tokio::time::sleep(A_WHILE).await;
    story.is_small(before, 64 * MIB, "an outage");
    assert_eq!(
        story.log.offset(At::LocalStart).await,
        story.log.offset(At::LocalStart).await.min(story.log.sent - 192 * 8)
    );
    story.log.all_is_there(story.log.sent - 80, "who reads the tail").await;
    s3.heal();
    story.log.caught_up().await;
    story.is_small(before, 96 * MIB, "after an outage");
    story.log.all_is_there(0, "in the end").await;
}

/// Kill -9 while uploads are on their way: what the store has is not sent again.
#[tokio::test]
async fn a_restart_in_the_middle_of_uploads_sends_nothing_that_is_there_already() {
    let s3 = S3::start();
    let mut story = Story::begin(s3.serve(Options::new()), 1_000).await;
    // Each answer takes its time, so that there always is an upload that has not ended.
    s3.set_faults(|asked| (asked.method == "PUT").then_some(Fault::Late));
    let began = Instant::now();
    loop {
        // An upload takes longer than this: what comes now is not in the tier when it is looked at.
        story.log.produce(20).await;
        let tiered = story.log.offset(At::LastTiered).await + 1;
        if tiered > 8 * 40 && tiered < story.log.sent {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "in vain for some of it to be in the tier, and some not");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    story.broker.kill();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = s3.seen().len();
    // The last word on what the tier has: nobody writes now.
    let image = tier::image(&s3).await;
    let tiered = tier::ends(&image);
    // What had arrived and was not committed is sent again, and that is bounded: one object for each that may be on its way.
    let unnamed = tier::unnamed(&s3, &image);
    assert!(unnamed.len() <= 2, "{unnamed:?}");
    story.broker.restart().await;
    story.log.client.forget().await;
    s3.heal();
    story.log.produce(40).await;
    story.log.caught_up().await;

    let seen = s3.seen().split_off(before);
    let sent: Vec<&Asked> = seen.iter().filter(|asked| asked.method == "PUT" && is_data(asked)).collect();
    let mut bytes_again = 0;
    let mut bytes_new = 0;
    for unit in tier::units_of(&s3, &sent).await {
        let known = tiered.get(&unit.partition).copied().unwrap_or_default();
        // A rewrite is of what is there by its nature.
        if unit.revision.is_none() && unit.start < known {
            bytes_again += unit.data.len();
        } else if unit.revision.is_none() {
            bytes_new += unit.data.len();
        }
    }
    let requests: u64 = sent.iter().map(|asked| asked.bytes).sum();
    println!("after the restart {requests} bytes in {} requests: {bytes_new} new, {bytes_again} again", sent.len());
    assert!(bytes_new > 40 * 8 * 1_000, "something was sent after the restart");
    assert_eq!(bytes_again, 0, "the store had this already");
    // And no request to write brought an object that another one had brought.
    let keys: BTreeSet<&str> = sent.iter().map(|asked| asked.path.as_str()).collect();
    assert_eq!(keys.len(), sent.len());
    story.log.all_is_there(0, "in the end").await;
}

/// What the tier log and the objects say, as a broker would read them, from the server's own files.
mod tier {
    use super::{Asked, BTreeMap, BTreeSet, S3};
    use esker_storage::env::store::{Store, open};
    use esker_storage::env::{Env, RealClock, RealDisk, RealRandom, RealTasks};
    use esker_storage::numbered_log::{FORMAT_KEY, StoreFormat};
    use esker_storage::offset::{Offset, PartitionId};
    use esker_storage::tier::{TierImage, TierLog, UnitMeta, read_footer};
    use std::sync::Arc;

    fn store(s3: &S3) -> (Env, Arc<dyn Store>) {
        let env = Env {
            clock: Arc::new(RealClock::start()),
            random: Arc::new(RealRandom::seeded().unwrap()),
            tasks: Arc::new(RealTasks::start(1).unwrap()),
            disk: Arc::new(RealDisk),
        };
        let store = open(&format!("file://{}", s3.file("cluster").display()), &env).unwrap();
        (env, store)
    }

    pub(super) async fn image(s3: &S3) -> TierImage {
        let (env, store) = store(s3);
        let format: StoreFormat = serde_json::from_slice(&store.get(FORMAT_KEY).await.unwrap()).unwrap();
        let log = TierLog::open(store, env, format.cluster).await.unwrap();
        log.image().clone()
    }

    /// How far the tier of each partition reaches.
    pub(super) fn ends(image: &TierImage) -> BTreeMap<PartitionId, Offset> {
        image.partitions().map(|(partition, manifest)| (*partition, manifest.end().offset())).collect()
    }

    /// The objects that hold units and that no manifest names.
    pub(super) fn unnamed(s3: &S3, image: &TierImage) -> BTreeSet<String> {
        let units = image.partitions().flat_map(|(_, manifest)| manifest.recent());
        let named: BTreeSet<String> = units.map(|unit| unit.key.to_string()).collect();
        let keys = s3.keys().into_iter().filter_map(|key| Some(key.strip_prefix("cluster/")?.to_owned()));
        keys.filter(|key| key.starts_with("data/") && !named.contains(key)).collect()
    }

    /// Every unit that these requests brought, by the footers of their objects.
    pub(super) async fn units_of(s3: &S3, sent: &[&Asked]) -> Vec<UnitMeta> {
        let (_env, store) = store(s3);
        let mut units = Vec::new();
        for asked in sent {
            let (_, key) = asked.path.split_once("/cluster/").unwrap();
            let size = std::fs::metadata(s3.file(&format!("cluster/{key}"))).unwrap().len();
            units.extend(read_footer(&*store, key, size).await.unwrap());
        }
        units
    }
}

pub(crate) fn objects(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(objects(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}
