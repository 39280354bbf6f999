//! Opening the tier log while it is written and swept, and on a store that fails.

use super::super::committer::{CommitterConfig, TierCommits};
use super::super::testing::{Bench, open, partition, unit};
use super::*;
use crate::env::store::testing::{Faults, FaultyStore, block_on};

const CLUSTER: Uuid = Uuid::from_u128(7);

async fn commit(commits: &TierCommits, units: std::ops::Range<u64>) {
    for at in units {
        let record = TierRecord::Unit(unit(0, 1, at * 10, at * 10 + 10, u128::from(at)));
        assert!(commits.commit(vec![record]).await.unwrap()[0].is_applied());
    }
}

#[test]
fn a_log_whose_next_commit_was_swept_is_not_at_its_tail() {
    block_on(async {
        let bench = Bench::new(1);
        let config = CommitterConfig { snapshot_every: 5, keep: Duration::ZERO };
        let commits = TierCommits::start(bench.store(), &bench.env, CLUSTER, config).await.unwrap();
        commits.commit(vec![open(0, 1)]).await.unwrap();
        commit(&commits, 0..6).await;
        let mut slow = TierLog::at_snapshot(bench.store(), bench.env.clone(), CLUSTER).await.unwrap();
        let number = slow.image().number();
        assert_eq!(number, 5);
        // Meanwhile the commits after it go, with a newer snapshot for them.
        commit(&commits, 6..30).await;
        assert!(!slow.follow().await.unwrap(), "it would take {number} for the tail");
        let opened = TierLog::open(bench.store(), bench.env.clone(), CLUSTER).await.unwrap();
        assert_eq!(opened.image().get(&partition(0)).unwrap().end().offset().get(), 300);
    });
}

#[test]
fn opening_goes_on_where_the_store_failed() {
    block_on(async {
        let bench = Bench::new(3);
        let config = CommitterConfig { snapshot_every: 40, keep: Duration::ZERO };
        let commits = TierCommits::start(bench.store(), &bench.env, CLUSTER, config).await.unwrap();
        // Every shard has something, and there are commits after the snapshot.
        let elsewhere = |n: u128| crate::offset::PartitionId { topic: Uuid::from_u128(n), partition: 0 };
        let open_at = |n| TierRecord::Open { partition: elsewhere(n), epoch: super::super::testing::epoch(1) };
        commits.commit((0..500).map(open_at).chain([open(0, 1)]).collect()).await.unwrap();
        commit(&commits, 0..70).await;
        let faulty = FaultyStore::new(bench.store(), 3, Faults { unavailable: 40, ..Faults::default() });
        let store: Arc<dyn Store> = Arc::new(faulty);
        let mut failures = 0;
        let opened = TierLog::open_patiently(store, bench.env.clone(), CLUSTER, |_| failures += 1).await.unwrap();
        assert_eq!(*opened.image(), *commits.image());
        assert!((1..200).contains(&failures), "{failures}");
    });
}
