//! The committer over stores that fail, against another controller, and across restarts.

use super::super::manifest::Refusal;
use super::super::testing::{Bench, offset, open, partition, unit};
use super::*;
use crate::env::store::testing::{Faults, FaultyStore, block_on};

const CLUSTER: Uuid = Uuid::from_u128(77);

async fn start(store: &Arc<dyn Store>, env: &Env, snapshot_every: u64) -> TierCommits {
    let config = CommitterConfig { snapshot_every, keep: Duration::ZERO };
    loop {
        match TierCommits::start(Arc::clone(store), env, CLUSTER, config).await {
            Ok(commits) => return commits,
            Err(error) => assert!(error.is_retry(), "{error}"),
        }
    }
}

fn unit_record(n: u32, start: u64, attempt: u128) -> TierRecord {
    TierRecord::Unit(unit(n, 1, start, start + 10, attempt))
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    block_on(async {
        let bench = Bench::new(1);
        let commits = start(&bench.store(), &bench.env, 5).await;
        let opened = commits.commit(vec![open(0, 1), open(1, 1), open(0, 1)]).await.unwrap();
        assert_eq!(opened, [Verdict::Applied, Verdict::Applied, Verdict::Ignored(Refusal::Stale)]);
        for at in 0..23 {
            let verdicts = commits.commit(vec![unit_record(at as u32 % 2, at / 2 * 10, u128::from(at))]).await.unwrap();
            assert_eq!(verdicts, [Verdict::Applied], "{at}");
        }
        let image = commits.image();
        assert_eq!(image.number(), 24);
        drop(commits);
        let again = start(&bench.store(), &bench.env, 5).await;
        assert_eq!(again.image(), image);
        let kept = bench.memory.list("tier/log/", None, 99).await.unwrap();
        assert!(kept.len() <= 5, "{} commits are still there", kept.len());
    });
}

#[test]
fn old_units_leave_for_pages() {
    block_on(async {
        let bench = Bench::new(1);
        let commits = start(&bench.store(), &bench.env, 4).await;
        commits.commit(vec![open(0, 1)]).await.unwrap();
        for at in 0..300 {
            commits.commit(vec![unit_record(0, at * 10, u128::from(at))]).await.unwrap();
        }
        let image = commits.image();
        let manifest = image.get(&partition(0)).unwrap();
        assert!(manifest.recent().len() <= 140, "{}", manifest.recent().len());
        assert_eq!(manifest.pages().len(), 2);
        let mut next = offset(0);
        for page in manifest.pages() {
            assert_eq!(page.start, next);
            let units = super::super::persist::read_page(&*bench.memory, CLUSTER, page).await.unwrap();
            assert_eq!(units.last().unwrap().end, page.end);
            next = page.end;
        }
        assert_eq!(manifest.recent()[0].start, next);
        assert_eq!(start(&bench.store(), &bench.env, 4).await.image(), image);
    });
}

#[test]
fn a_shard_that_did_not_change_is_not_written_again() {
    block_on(async {
        let bench = Bench::new(1);
        let commits = start(&bench.store(), &bench.env, 1).await;
        let elsewhere = |n: u128| crate::offset::PartitionId { topic: Uuid::from_u128(n), partition: 0 };
        for n in 0..40 {
            let record = TierRecord::Open { partition: elsewhere(n), epoch: super::super::testing::epoch(1) };
            commits.commit(vec![record]).await.unwrap();
        }
        let packs = bench.memory.list("tier/shard/", None, 9999).await.unwrap();
        let mut shards = 0;
        for pack in &packs {
            let bytes = bench.memory.get(&pack.key).await.unwrap();
            shards += String::from_utf8(bytes.to_vec()).unwrap().matches("tier-shard").count();
        }
        // Every commit has a snapshot, which writes the one shard that changed. The last one may be on its way.
        assert!(packs.len() == shards && shards >= 39, "{shards} shards in {} objects", packs.len());
    });
}

#[test]
fn a_snapshot_of_many_shards_is_two_objects() {
    block_on(async {
        let bench = Bench::new(1);
        let commits = start(&bench.store(), &bench.env, 2).await;
        let elsewhere = |n: u128| crate::offset::PartitionId { topic: Uuid::from_u128(n), partition: 0 };
        let open = |n| TierRecord::Open { partition: elsewhere(n), epoch: super::super::testing::epoch(1) };
        commits.commit((0..500).map(open).collect()).await.unwrap();
        commits.commit(vec![open(500)]).await.unwrap();
        commits.commit(vec![open(501)]).await.unwrap();
        let image = commits.image();
        assert_eq!(bench.memory.list("tier/shard/", None, 9999).await.unwrap().len(), 1);
        assert_eq!(bench.memory.list("tier/snapshot/", None, 9999).await.unwrap().len(), 1);
        assert_eq!(start(&bench.store(), &bench.env, 999).await.image(), image);
    });
}

#[test]
fn a_patient_request_waits_for_company() {
    block_on(async {
        let env = crate::env::store::testing::env(1);
        let memory = Arc::new(crate::env::store::MemoryStore::new(Arc::clone(&env.clock)));
        let store: Arc<dyn Store> = memory;
        let commits = start(&store, &env, 999).await;
        let hour = Duration::from_secs(3600);
        commits.post(hour, vec![open(0, 1)]).await.unwrap();
        let patient = commits.commit_within(hour, vec![open(1, 1)]);
        let mut patient = std::pin::pin!(patient);
        assert!(env.timeout(Duration::from_millis(100), &mut patient).await.is_err());
        assert_eq!(commits.image().number(), 0);
        assert_eq!(commits.commit(vec![open(2, 1)]).await.unwrap(), [Verdict::Applied]);
        assert_eq!(patient.await.unwrap(), [Verdict::Applied]);
        assert_eq!((commits.image().number(), commits.image().partitions().count()), (1, 3));
        // And not for ever.
        commits.commit_within(Duration::from_millis(50), vec![open(3, 1)]).await.unwrap();
        assert_eq!(commits.image().number(), 2);
    });
}

#[test]
fn a_commit_that_can_no_longer_be_decided_does_not_end_the_committer() {
    block_on(async {
        let bench = Bench::new(1);
        let faulty = FaultyStore::new(bench.store(), 1, Faults::default());
        let store: Arc<dyn Store> = Arc::new(faulty.clone());
        let commits = start(&store, &bench.env, 9).await;
        commits.commit(vec![open(0, 1)]).await.unwrap();
        // Somebody has written nonsense under the next number.
        let key = "tier/log/00000000000000000002";
        bench.memory.put(key, bytes::Bytes::from_static(b"nonsense")).await.unwrap();
        let asked = commits.commit(vec![unit_record(0, 0, 1)]);
        let mended = async {
            while commits.trouble().is_none() {
                tokio::task::yield_now().await;
            }
            bench.memory.delete(key).await.unwrap();
        };
        let (verdicts, ()) = tokio::join!(asked, mended);
        assert_eq!(verdicts.unwrap(), [Verdict::Applied]);
        assert_eq!((commits.trouble(), commits.image().number()), (None, 2));
    });
}

/// Two controllers that both believe in themselves, on a store that loses, delays and denies.
async fn storm(seed: u64) {
    let bench = Bench::new(seed);
    let faults = Faults { lost_answer: 10, unavailable: 10, late: 5, false_conflict: 5 };
    let faulty = FaultyStore::new(bench.store(), seed, faults);
    let store: Arc<dyn Store> = Arc::new(faulty.clone());
    let mut controllers = [start(&store, &bench.env, 7).await, start(&store, &bench.env, 9).await];
    let mut accepted: Vec<Arc<str>> = Vec::new();
    for round in 0..60u128 {
        let which = bench.env.random.below(2) as usize;
        if bench.env.random.below(10) == 0 {
            controllers[which] = start(&store, &bench.env, 7).await;
        }
        let controller = &controllers[which];
        controller.commit(vec![open(0, 1)]).await.unwrap();
        let image = controller.image();
        let next = image.get(&partition(0)).map_or(0, |manifest| manifest.next_start().get());
        let proposed = unit(0, 1, next, next + 10, round);
        let verdicts = controller.commit(vec![TierRecord::Unit(proposed.clone())]).await.unwrap();
        if verdicts[0].is_applied() {
            accepted.push(proposed.key);
        }
    }
    faulty.set(Faults::default());
    let image = start(&bench.store(), &bench.env, 999).await.image();
    let manifest = image.get(&partition(0)).unwrap();
    let mut keys: Vec<Arc<str>> = Vec::new();
    for page in manifest.pages() {
        let units = super::super::persist::read_page(&*bench.memory, CLUSTER, page).await.unwrap();
        keys.extend(units.iter().map(|unit| Arc::clone(&unit.key)));
    }
    keys.extend(manifest.recent().iter().map(|unit| Arc::clone(&unit.key)));
    assert_eq!(keys, accepted, "seed {seed}");
    assert!(accepted.len() > 20, "seed {seed}: only {} units", accepted.len());
}

#[test]
fn units_are_committed_once_and_tile_whatever_the_store_does() {
    block_on(async {
        for seed in 0..40 {
            storm(seed).await;
        }
    });
}
