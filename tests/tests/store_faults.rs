//! A store that fails in every way that stores do, under a real broker: nothing that was acknowledged is lost, what the
//! broker holds in memory does not grow with what it cannot get rid of, and it catches up by itself.
//!
//! Each story produces while the store fails, lets it be well again, and waits; then everything is read, from the tier and
//! from the disk. That the store is whole in the end is checked when the broker is dropped. Faults of the protocol come
//! from the layer in front of the S3 server; a directory store has those of a file system: it is not mounted, a file is
//! gone, cut short, or rotten.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "tests look at files and take their time")]

use bytes::Bytes;
use esker_bench::batch::{Builder, Codec, Record, read_all};
use esker_bench::client::{At, Client, ClientError};
use esker_tests::harness::{Asked, Broker, Fault, Options, S3, wait_for};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const TOPIC: &str = "history";
const PATIENCE: Duration = Duration::from_secs(90);
const MIB: u64 = 1 << 20;
const KAFKA_STORAGE_ERROR: Option<i16> = Some(56);

/// Small segments, and no local copy of what is tiered beyond one of them.
const CONFIGS: [(&str, &str); 4] =
    [("segment.bytes", "65536"), ("local.retention.bytes", "1"), ("retention.ms", "-1"), ("retention.bytes", "-1")];

/// A producer that knows what it was told is safe, by offset.
struct Story {
    broker: Broker,
    client: Client,
    sent: i64,
    value: usize,
}

impl Story {
    /// A broker that has tiered something already; records have values of `value` bytes.
    async fn begin(options: Options, value: usize) -> Story {
        let mut broker = Broker::start(options.eager_tier().set("remote.log.manager.copier.thread.pool.size", 2)).await;
        // What a store that fails makes the broker say is not an alarm of these tests.
        for said in ["store", "retry", "upload", "unsettled", "sweep", "merged"] {
            broker.announce(said);
        }
        let client = broker.client();
        client.create_topic(TOPIC, 1, &CONFIGS).await.unwrap();
        let mut story = Story { broker, client, sent: 0, value };
        story.produce(40).await;
        story.caught_up().await;
        story
    }

    fn record(&self, offset: i64) -> Record {
        let seed = offset.unsigned_abs();
        let value: Vec<u8> = (0..self.value as u64).map(|at| (seed * 31 + at * (seed % 7 + 1)) as u8).collect();
        Record { offset, timestamp: 1_000 + offset, value: Some(Bytes::from(value)), ..Record::default() }
    }

    /// Produces batches of eight records.
    async fn produce(&mut self, batches: usize) {
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
    async fn caught_up(&self) {
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
    async fn all_is_there(&self, from: i64, what: &str) {
        let found = self.client.read(TOPIC, 0, from, self.sent).await.unwrap();
        assert_eq!(found.len() as i64, self.sent - from, "{what}");
        for (record, offset) in found.iter().zip(from..) {
            let expected = self.record(offset);
            assert!(record.offset == offset && record.value == expected.value, "{what}: record {offset} is another");
        }
    }

    /// The broker's own memory, in bytes.
    fn anonymous(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.broker.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
    }

    /// What the broker holds may not grow by more than this since it had `before`.
    fn is_small(&self, before: u64, allowed: u64, what: &str) {
        let now = self.anonymous();
        println!("{what}: {} kB of own memory before, {} kB now", before / 1024, now / 1024);
        assert!(now < before + allowed, "{what}: the broker's own memory grew from {before} to {now} bytes");
    }

    /// A broker with nothing in its caches, which has its history in the store alone.
    async fn restart(&mut self) {
        assert!(self.broker.terminate().await.success());
        self.broker.restart().await;
        self.client.forget().await;
    }

    /// What is told of the oldest records, which only the store has, until it is what `expected` says. Wrong records fail
    /// the test whatever is expected.
    async fn oldest(&self, what: &str, expected: impl Fn(&Result<i64, ClientError>) -> bool) {
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

fn is_data(asked: &Asked) -> bool {
    asked.path.contains("/data/")
}

/// The store fails in this way, for every request that it fits, while records come; then it is well again.
async fn fails_for_a_while(story: &mut Story, s3: &S3, fault: Fault, least: Duration) {
    let (before, began, first) = (story.anonymous(), Instant::now(), story.sent);
    s3.set_faults(move |_| Some(fault));
    story.produce(40).await;
    story.all_is_there(first, &format!("{fault:?}: who reads the tail")).await;
    tokio::time::sleep(least.saturating_sub(began.elapsed())).await;
    story.produce(8).await;
    story.is_small(before, 48 * MIB, &format!("{fault:?}"));
    s3.heal();
    story.caught_up().await;
}

async fn each_fails_for_a_while(faults: &[Fault], least: Duration) {
    let s3 = S3::start();
    let mut story = Story::begin(s3.serve(Options::new()), 1_000).await;
    for fault in faults {
        fails_for_a_while(&mut story, &s3, *fault, least).await;
    }
    story.all_is_there(0, "in the end").await;
    story.broker.kill();
    story.broker.wipe_disk();
    story.broker.restart().await;
    story.client.forget().await;
    story.all_is_there(0, "without the disk").await;
}

const A_WHILE: Duration = Duration::from_millis(1_500);

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
    story.produce(40).await;
    story.caught_up().await;
    for fault in [Fault::Slow, Fault::Truncated, Fault::Unavailable] {
        story.restart().await;
        let before = story.anonymous();
        let mut every_other = false;
        s3.set_faults(move |_| {
            every_other = !every_other;
            every_other.then_some(fault)
        });
        story.all_is_there(0, &format!("{fault:?}")).await;
        story.produce(8).await;
        story.is_small(before, 64 * MIB, &format!("{fault:?}"));
        s3.heal();
        story.caught_up().await;
    }
    story.restart().await;
    story.all_is_there(0, "in the end").await;
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
            .oldest(&format!("{fault:?} to be told"), |told| {
                told.as_ref().is_err_and(|error| error.code() == KAFKA_STORAGE_ERROR)
            })
            .await;
        // Everybody else goes on, uploads too.
        let first = story.sent;
        story.produce(40).await;
        story.all_is_there(first, "who reads the tail").await;
        story.is_small(before, 64 * MIB, &format!("{fault:?}"));
        s3.heal();
        story.caught_up().await;
        story.oldest(&format!("{fault:?} to be over"), |told| told.as_ref().is_ok_and(|records| *records > 0)).await;
    }
    story.all_is_there(0, "in the end").await;
}

/// An outage in which much more comes than the broker may hold: what waits, waits on the disk.
#[tokio::test]
async fn an_outage_is_waited_for_on_the_disk_and_not_in_memory() {
    let s3 = S3::start();
    let mut story = Story::begin(s3.serve(Options::new().set("log.segment.bytes", 4 << 20)), 64 << 10).await;
    story.client.forget().await;
    let before = story.anonymous();
    s3.set_faults(|_| Some(Fault::Outage));
    // 96 MiB, of which uploads have to hold their buffers only: two objects at a time.
    story.produce(192).await;
    tokio::time::sleep(A_WHILE).await;
    story.is_small(before, 64 * MIB, "an outage");
    assert_eq!(story.offset(At::LocalStart).await, story.offset(At::LocalStart).await.min(story.sent - 192 * 8));
    story.all_is_there(story.sent - 80, "who reads the tail").await;
    s3.heal();
    story.caught_up().await;
    story.is_small(before, 96 * MIB, "after an outage");
    story.all_is_there(0, "in the end").await;
}

/// Kill -9 while uploads are on their way: what the store has is not sent again.
#[tokio::test]
async fn a_restart_in_the_middle_of_uploads_sends_nothing_that_is_there_already() {
    let s3 = S3::start();
    let mut story = Story::begin(s3.serve(Options::new()), 1_000).await;
    // Each answer takes its time, so that there always is an upload that has not ended.
    s3.set_faults(|asked| (asked.method == "PUT").then_some(Fault::Late));
    story.produce(200).await;
    wait_for("some of it to be in the tier, and some not", PATIENCE, || async {
        let tiered = story.offset(At::LastTiered).await + 1;
        (tiered > 8 * 40 && tiered < story.sent).then_some(())
    })
    .await;
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
    story.client.forget().await;
    s3.heal();
    story.produce(40).await;
    story.caught_up().await;

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
    story.all_is_there(0, "in the end").await;
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

fn objects(folder: &Path) -> Vec<PathBuf> {
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

#[tokio::test]
async fn a_directory_that_is_not_mounted_is_a_store_that_is_away() {
    let mut story = Story::begin(Options::new(), 1_000).await;
    let (here, away) = (story.broker.store_folder(), story.broker.store_folder().with_extension("unmounted"));
    let before = story.anonymous();
    for place_taken in [false, true] {
        std::fs::rename(&here, &away).unwrap();
        if place_taken {
            // What a mount leaves behind.
            std::fs::create_dir(&here).unwrap();
        }
        let first = story.sent;
        story.produce(40).await;
        tokio::time::sleep(A_WHILE).await;
        story.all_is_there(first, "who reads the tail").await;
        story.is_small(before, 48 * MIB, "a directory that is not mounted");
        assert_eq!(objects(&here), Vec::<PathBuf>::new(), "nothing is written beside the store");
        if place_taken {
            std::fs::remove_dir(&here).unwrap();
        }
        std::fs::rename(&away, &here).unwrap();
        story.caught_up().await;
    }
    story.all_is_there(0, "in the end").await;
}

/// Spoils a file that has these bytes.
type Spoil = fn(&Path, &[u8]);

#[tokio::test]
async fn a_file_of_a_directory_store_that_is_gone_cut_or_rotten_is_an_error_and_nothing_worse() {
    let mut story = Story::begin(Options::new(), 1_000).await;
    story.broker.announce("a tiered read failed");
    let spoils: [(&str, Spoil); 3] = [
        ("gone", |file, _| std::fs::remove_file(file).unwrap()),
        ("cut short", |file, whole| std::fs::write(file, &whole[..whole.len() / 3]).unwrap()),
        ("rotten", |file, whole| {
            let rotten: Vec<u8> = whole.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at % 100 == 60)).collect();
            std::fs::write(file, rotten).unwrap();
        }),
    ];
    for (name, spoil) in spoils {
        story.restart().await;
        let data = objects(&story.broker.store_folder().join("data"));
        let whole: Vec<(PathBuf, Vec<u8>)> =
            data.into_iter().map(|file| (file.clone(), std::fs::read(file).unwrap())).collect();
        whole.iter().for_each(|(file, bytes)| spoil(file, bytes));
        story
            .oldest(name, |told| match told {
                Err(error) => error.code() == KAFKA_STORAGE_ERROR,
                // A file that is cut short may be on its way: it is waited for.
                Ok(records) => *records == 0 && name == "cut short",
            })
            .await;
        let first = story.sent;
        story.produce(40).await;
        story.all_is_there(first, "who reads the tail").await;
        whole.iter().for_each(|(file, bytes)| std::fs::write(file, bytes).unwrap());
        story.caught_up().await;
        story.oldest("what is whole again", |told| told.as_ref().is_ok_and(|records| *records > 0)).await;
    }
    story.all_is_there(0, "in the end").await;
}

/// Something else lies where the next commit of the tier log must go: nobody can tell any more what the log says.
#[tokio::test]
async fn a_tier_log_that_cannot_be_gone_on_with_is_told_and_is_gone_on_with_when_it_is_mended() {
    let mut story = Story::begin(Options::new(), 1_000).await;
    story.broker.announce("the tier log");
    assert_eq!(story.broker.admin_get("/readyz").unwrap().0, 200);
    let log = story.broker.store_folder().join("tier/log");
    let last = objects(&log).pop().unwrap();
    let number: u64 = last.file_name().unwrap().to_str().unwrap().parse().unwrap();
    // Several, because one may be committed meanwhile.
    let wrong: Vec<PathBuf> = (number + 1..number + 8).map(|number| log.join(format!("{number:020}"))).collect();
    for file in &wrong {
        // As a writer would that never overwrites: made beside it, and linked.
        let beside = file.with_extension("beside");
        std::fs::write(&beside, b"not a commit").unwrap();
        let _ = std::fs::hard_link(&beside, file);
        std::fs::remove_file(&beside).unwrap();
    }
    let first = story.sent;
    story.produce(40).await;
    let told = wait_for("/readyz to tell", PATIENCE, || async {
        let (status, body) = story.broker.admin_get("/readyz")?;
        (status == 503).then_some(body)
    })
    .await;
    assert!(told.contains("tier: "), "{told}");
    story.produce(8).await;
    story.all_is_there(first, "who reads the tail").await;
    for file in &wrong {
        if std::fs::read(file).is_ok_and(|bytes| bytes == b"not a commit") {
            std::fs::remove_file(file).unwrap();
        }
    }
    wait_for("/readyz to be content", PATIENCE, || async {
        (story.broker.admin_get("/readyz")?.0 == 200).then_some(())
    })
    .await;
    story.caught_up().await;
    story.all_is_there(0, "in the end").await;
}

/// What goes wrong with a request.
type Plan = fn(&Asked) -> Option<Fault>;

/// Wherever a start has to wait for the store, `/readyz` says that it is the store that it waits for.
#[tokio::test]
async fn a_start_that_waits_for_the_store_says_so() {
    let s3 = S3::start();
    let mut story = Story::begin(s3.serve(Options::new()), 1_000).await;
    story.broker.announce("could not register");
    let waits: [(&str, Plan); 3] = [
        ("everything", |_| Some(Fault::Outage)),
        ("the tier log", |asked| asked.path.contains("/tier/").then_some(Fault::Unavailable)),
        ("writes", |asked| (asked.method == "PUT").then_some(Fault::Unavailable)),
    ];
    for (what, fault) in waits {
        story.broker.kill();
        s3.set_faults(fault);
        story.broker.launch();
        wait_for(&format!("/readyz to tell of {what}"), PATIENCE, || async {
            let (status, body) = story.broker.admin_get("/readyz")?;
            (status == 503 && body.contains("store: ")).then_some(())
        })
        .await;
        s3.heal();
        wait_for("the broker to be ready", PATIENCE, || async {
            (story.broker.admin_get("/readyz")?.0 == 200).then_some(())
        })
        .await;
        story.client.forget().await;
        story.produce(8).await;
    }
    story.caught_up().await;
    story.all_is_there(0, "in the end").await;
}
