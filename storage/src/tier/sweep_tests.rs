//! What the sweeper takes and what it leaves, up to a storm in which every upload may land late.

use super::super::retention::{TotalRetention, expired_before};
use super::super::rewrite::{Run, Stretch};
use super::super::scrub::Finding;
use super::super::testing::{Running, epoch, joined, offset, open, partition, start, start_commits};
use super::*;
use crate::env::store::testing::{Faults, block_on};

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
        assert_eq!(running.commits.image().doomed_len(), 0, "another unit has its place");
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

/// A rewrite of some run of a partition, of its pages or of its recent units, as one unit; not committed.
async fn some_rewrite(running: &Running, n: u32) -> Option<(Run, Vec<UnitMeta>)> {
    let (image, random) = (running.commits.image(), &running.bench.env.random);
    let manifest = image.get(&partition(n))?;
    let pages = manifest.pages().len();
    let stretch = if pages > 0 && random.below(2) == 0 {
        let from = random.below(pages as u64) as usize;
        Stretch::paged(&running.reader, partition(n), manifest, epoch(1), from..pages.min(from + 2)).await.ok()?
    } else {
        Stretch::recent(partition(n), manifest, epoch(1))
    };
    let live = stretch.units().len() - stretch.first_live();
    let from = stretch.first_live() + random.below(live.max(1) as u64) as usize;
    let run = stretch.run(from..stretch.units().len().min(from + 1 + random.below(4) as usize))?;
    let new = joined(&running.bench.env, &running.store, &run).await.ok()?;
    Some((run, new))
}

/// Uploads and rewrites that are committed at once, late, or never; log starts; sweeps without patience; two
/// controllers.
async fn storm(seed: u64) {
    let faults = Faults { lost_answer: 6, unavailable: 6, late: 3, false_conflict: 3 };
    let (mut running, faulty) = start(seed, faults).await;
    let mut other = start_commits(&running.store, &running.bench.env, 13).await;
    running.commits.commit((0..3).map(|n| open(n, 1)).collect()).await.unwrap();
    let mut late: Vec<Vec<UnitMeta>> = Vec::new();
    let mut sweeper = running.sweeper(Duration::ZERO);
    let mut rewrites = Vec::new();
    for _ in 0..100 {
        std::mem::swap(&mut running.commits, &mut other);
        let dice = running.bench.env.random.below(13);
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
            9 => rewrites.extend(some_rewrite(&running, n).await),
            10 if !rewrites.is_empty() => {
                let at = running.bench.env.random.below(rewrites.len() as u64) as usize;
                let (run, new) = rewrites.swap_remove(at);
                let rewriter = running.rewriter();
                let _ = rewriter.commit(vec![(run, new)]).await;
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
    for _ in 0..3 {
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
