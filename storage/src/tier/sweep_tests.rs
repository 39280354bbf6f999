//! What the sweeper takes and what it leaves, up to a storm in which every upload may land late.

use super::super::committer::CommitterConfig;
use super::super::read::ReadConfig;
use super::super::retention::{TotalRetention, expired_before};
use super::super::scrub::{Finding, ScrubDepth, scrub};
use super::super::testing::{Bench, batches_of, epoch, offset, open, partition};
use super::super::writer::{ObjectWriter, UnitRange, UnitState};
use super::*;
use crate::env::store::testing::{Faults, FaultyStore, block_on};

const CLUSTER: Uuid = Uuid::from_u128(5);

struct Running {
    bench: Bench,
    store: Arc<dyn Store>,
    commits: TierCommits,
    reader: Arc<TierReader>,
}

async fn start_commits(store: &Arc<dyn Store>, env: &Env, snapshot_every: u64) -> TierCommits {
    let config = CommitterConfig { snapshot_every, keep: Duration::ZERO };
    loop {
        if let Ok(commits) = TierCommits::start(Arc::clone(store), env, CLUSTER, config).await {
            return commits;
        }
    }
}

async fn start(seed: u64, faults: Faults) -> (Running, FaultyStore) {
    let bench = Bench::new(seed);
    let faulty = FaultyStore::new(bench.store(), seed, faults);
    let store: Arc<dyn Store> = Arc::new(faulty.clone());
    let commits = start_commits(&store, &bench.env, 20).await;
    let reader = TierReader::new(&bench.env, Arc::clone(&store), CLUSTER, ReadConfig::default());
    (Running { bench, store, commits, reader }, faulty)
}

impl Running {
    fn sweeper(&self, grace: Duration) -> Sweeper {
        let config = SweepConfig { grace, shard_grace: grace, ..SweepConfig::default() };
        let (store, reader) = (Arc::clone(&self.store), Arc::clone(&self.reader));
        Sweeper::new(&self.bench.env, store, CLUSTER, self.commits.clone(), reader, config)
    }

    /// Writes an object with a unit of ten offsets for each of some partitions.
    async fn write(&self, starts: &[(u32, u64)]) -> Result<Vec<UnitMeta>, TierError> {
        let attempt = self.bench.env.random.uuid();
        let key = match starts {
            [(n, start)] => ObjectKey::Partition { partition: partition(*n), base: offset(*start), attempt },
            _ => ObjectKey::Shared { attempt },
        };
        let mut writer = ObjectWriter::new(Arc::clone(&self.store), key);
        for (n, start) in starts {
            let (start, upto) = (offset(*start), offset(start + 10));
            writer.begin_unit(UnitRange { partition: partition(*n), start, upto, leader_epoch: epoch(1) })?;
            writer.data(&batches_of(start.get(), upto.get(), 1, 20)[0]).await?;
            writer.end_unit(upto, UnitState::default()).await?;
        }
        writer.finish().await
    }

    async fn commit(&self, units: &[UnitMeta]) -> Vec<bool> {
        let records = units.iter().cloned().map(TierRecord::Unit).collect();
        self.commits.commit(records).await.unwrap().iter().map(|verdict| verdict.is_applied()).collect()
    }

    async fn upload(&self, starts: &[(u32, u64)]) -> Vec<bool> {
        let units = self.write(starts).await.unwrap();
        self.commit(&units).await
    }

    async fn findings(&self) -> Vec<Finding> {
        let image = self.commits.image();
        scrub(&*self.bench.memory, CLUSTER, &image, ScrubDepth::Everything).await.unwrap().findings
    }
}

#[test]
fn an_orphan_is_doomed_then_deleted_and_never_accepted() {
    block_on(async {
        let (running, _) = start(1, Faults::default()).await;
        running.commits.commit(vec![open(0, 1)]).await.unwrap();
        assert_eq!(running.upload(&[(0, 0)]).await, [true]);
        let late = running.write(&[(0, 10)]).await.unwrap();
        assert_eq!(running.findings().await, [Finding::Orphan { key: late[0].key.to_string() }]);

        let mut sweeper = running.sweeper(Duration::from_secs(60));
        assert_eq!(sweeper.pass().await.unwrap(), SweepCounts { seen: 2, suspects: 1, ..SweepCounts::default() });
        running.bench.clock.advance(Duration::from_secs(59));
        assert_eq!(sweeper.pass().await.unwrap().deleted, 0);
        running.bench.clock.advance(Duration::from_secs(1));
        assert_eq!(sweeper.pass().await.unwrap(), SweepCounts { seen: 2, deleted: 1, ..SweepCounts::default() });
        assert_eq!(running.commit(&late).await, [false], "its object is gone");
        assert_eq!(running.upload(&[(0, 10)]).await, [true]);
        assert_eq!(running.findings().await, []);
        assert_eq!(running.commits.image().doomed_len(), 1, "the unit that has its place could still leave for a page");
    });
}

#[test]
fn an_object_that_is_named_before_its_grace_ends_stays() {
    block_on(async {
        let (running, _) = start(1, Faults::default()).await;
        running.commits.commit(vec![open(0, 1)]).await.unwrap();
        let units = running.write(&[(0, 0)]).await.unwrap();
        let mut sweeper = running.sweeper(Duration::from_secs(60));
        sweeper.pass().await.unwrap();
        assert_eq!(running.commit(&units).await, [true]);
        running.bench.clock.advance(Duration::from_secs(90));
        assert_eq!(sweeper.pass().await.unwrap(), SweepCounts { seen: 1, ..SweepCounts::default() });
        assert_eq!(running.findings().await, []);
    });
}

#[test]
fn a_shared_object_goes_when_no_unit_of_it_is_left() {
    block_on(async {
        let (running, _) = start(1, Faults::default()).await;
        running.commits.commit(vec![open(0, 1), open(1, 1)]).await.unwrap();
        assert_eq!(running.upload(&[(0, 0), (1, 0)]).await, [true, true]);
        running.upload(&[(0, 10)]).await;
        let mut sweeper = running.sweeper(Duration::ZERO);
        let drop_first = |n| TierRecord::LogStart { partition: partition(n), epoch: epoch(1), offset: offset(10) };
        running.commits.commit(vec![drop_first(0)]).await.unwrap();
        sweeper.pass().await.unwrap();
        assert_eq!(sweeper.pass().await.unwrap().deleted, 0, "partition 1 has a unit in it");
        running.commits.commit(vec![drop_first(1)]).await.unwrap();
        sweeper.pass().await.unwrap();
        assert_eq!(sweeper.pass().await.unwrap().deleted, 1);
        running.commits.commit(vec![TierRecord::Remove { partition: partition(0) }]).await.unwrap();
        sweeper.pass().await.unwrap();
        assert_eq!(sweeper.pass().await.unwrap().deleted, 1, "its topic is gone");
        assert_eq!(running.bench.memory.list(DATA_PREFIX, None, 9).await.unwrap(), []);
    });
}

#[test]
fn total_retention_gives_up_the_oldest_units() {
    block_on(async {
        let (running, _) = start(1, Faults::default()).await;
        running.commits.commit(vec![open(0, 1)]).await.unwrap();
        for unit in 0..200 {
            running.upload(&[(0, unit * 10)]).await;
        }
        let image = running.commits.image();
        let manifest = image.get(&partition(0)).unwrap();
        assert!(!manifest.pages().is_empty());
        let expired = async |retention, tail_bytes, millis| {
            let now = crate::env::Timestamp::from_millis(millis);
            expired_before(&running.reader, manifest, retention, tail_bytes, now).await.unwrap().map(Offset::get)
        };
        let by_time = |ms| TotalRetention { ms: Some(ms), bytes: None };
        let by_size = |bytes| TotalRetention { ms: None, bytes: Some(bytes) };
        // The latest timestamp of the unit that ends at 10 is 90, and so on.
        assert_eq!(expired(by_time(1000), 0, 1090).await, None);
        assert_eq!(expired(by_time(1000), 0, 1091).await, Some(10));
        assert_eq!(expired(by_time(0), 0, 15_000).await, Some(1500));
        assert_eq!(expired(by_time(0), 0, 99_000).await, Some(2000));
        let unit = manifest.recent()[0].data.len();
        assert_eq!(expired(by_size(unit * 200), 0, 0).await, None);
        assert_eq!(expired(by_size(unit * 199), 0, 0).await, Some(10));
        assert_eq!(expired(by_size(unit * 50), unit * 30, 0).await, Some(1800));
        assert_eq!(expired(TotalRetention::default(), 0, 99_000).await, None);

        let cut = TierRecord::LogStart { partition: partition(0), epoch: epoch(1), offset: offset(1500) };
        running.commits.commit(vec![cut]).await.unwrap();
        let mut sweeper = running.sweeper(Duration::ZERO);
        sweeper.pass().await.unwrap();
        let swept = sweeper.pass().await.unwrap();
        assert!(swept.deleted >= 150, "{swept:?}");
        assert_eq!(running.findings().await, []);
    });
}

/// Uploads that are committed at once, late, or never; log starts; sweeps without patience; two controllers.
async fn storm(seed: u64) {
    let faults = Faults { lost_answer: 6, unavailable: 6, late: 3, false_conflict: 3 };
    let (mut running, faulty) = start(seed, faults).await;
    let mut other = start_commits(&running.store, &running.bench.env, 13).await;
    running.commits.commit((0..3).map(|n| open(n, 1)).collect()).await.unwrap();
    let mut late: Vec<Vec<UnitMeta>> = Vec::new();
    let mut sweeper = running.sweeper(Duration::ZERO);
    for _ in 0..80 {
        std::mem::swap(&mut running.commits, &mut other);
        let dice = running.bench.env.random.below(10);
        let image = running.commits.image();
        let next = |n: u32| (n, image.get(&partition(n)).map_or(0, |manifest| manifest.next_start().get()));
        let n = running.bench.env.random.below(3) as u32;
        match dice {
            0..=3 => {
                let starts = if dice == 0 { vec![next(0), next(1), next(2)] } else { vec![next(n)] };
                if let Ok(units) = running.write(&starts).await {
                    running.commit(&units).await;
                }
            }
            4 | 5 => late.extend(running.write(&[next(n)]).await),
            6 if !late.is_empty() => {
                let at = running.bench.env.random.below(late.len() as u64) as usize;
                let units = late.swap_remove(at);
                running.commit(&units).await;
            }
            7 => {
                let at = offset(next(n).1.saturating_sub(15));
                let cut = TierRecord::LogStart { partition: partition(n), epoch: epoch(1), offset: at };
                running.commits.commit(vec![cut]).await.unwrap();
            }
            8 => {
                let _ = sweeper.pass().await;
            }
            _ => {
                running.commits = start_commits(&running.store, &running.bench.env, 20).await;
                sweeper = running.sweeper(Duration::ZERO);
                let _ = sweeper.pass().await;
            }
        }
    }
    faulty.set(Faults::default());
    let clean = bench_commits(&running).await;
    running.commits = clean;
    let tiered = running.commits.image().partitions().map(|(_, manifest)| manifest.end().offset().get()).sum::<u64>();
    assert!(tiered > 50, "seed {seed}: only {tiered} offsets were tiered");
    let harm = |finding: &Finding| !matches!(finding, Finding::Orphan { .. });
    let findings = running.findings().await;
    assert!(!findings.iter().any(harm), "seed {seed}: {findings:?}");
    let mut sweeper = running.sweeper(Duration::ZERO);
    for _ in 0..2 {
        sweeper.pass().await.unwrap();
    }
    assert_eq!(running.findings().await, [], "seed {seed}");
}

async fn bench_commits(running: &Running) -> TierCommits {
    start_commits(&running.store, &running.bench.env, 999).await
}

#[test]
fn nothing_is_missing_and_nothing_leaks_whatever_lands_late() {
    block_on(async {
        for seed in 0..40 {
            storm(seed).await;
        }
    });
}
