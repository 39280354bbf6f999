//! Pages that are lost or damaged, and what the objects still tell.

use super::super::scrub::Finding;
use super::super::testing::{CLUSTER, Running, joined, open, partition, start};
use super::super::{Stretch, testing};
use super::*;
use crate::env::store::testing::{Faults, block_on};
use bytes::Bytes;

/// A partition of 300 small units, of which the oldest are in pages, some rewritten.
async fn paged() -> Running {
    let (running, _) = start(1, Faults::default()).await;
    running.commits.commit(vec![open(0, 1), open(1, 1)]).await.unwrap();
    for unit in 0..300 {
        // Some share their objects with another partition.
        let starts: &[(u32, u64)] = if unit % 10 == 0 { &[(0, unit * 10), (1, unit)] } else { &[(0, unit * 10)] };
        running.upload(starts).await;
    }
    for _ in 0..2 {
        let image = running.commits.image();
        let manifest = image.get(&partition(0)).unwrap();
        let stretch = Stretch::paged(&running.reader, partition(0), manifest, testing::epoch(1), 0..1).await.unwrap();
        let run = stretch.run(3..6).unwrap();
        let new = joined(&running.bench.env, &running.store, &run).await.unwrap();
        assert!(running.rewriter().commit(vec![(run, new)]).await.unwrap()[0].is_applied());
    }
    running
}

fn pages(running: &Running) -> Vec<PageRef> {
    running.commits.image().get(&partition(0)).unwrap().pages().to_vec()
}

/// What is wrong, but for orphans: the replaced pages and objects, which the sweeper would take.
async fn harm(running: &Running) -> Vec<Finding> {
    let mut findings = running.findings().await;
    findings.retain(|finding| !matches!(finding, Finding::Orphan { .. }));
    findings
}

#[test]
fn a_page_that_is_lost_or_damaged_is_written_anew_from_the_objects() {
    block_on(async {
        let running = paged().await;
        assert_eq!(harm(&running).await, []);
        let before = pages(&running);
        assert!(before.len() >= 2 && before[0].revision.get() == 1, "{before:?}");
        let units = async |page: &PageRef| read_page(&*running.store, CLUSTER, page).await;
        let had = [units(&before[0]).await.unwrap(), units(&before[1]).await.unwrap()];
        running.bench.memory.delete(&before[0].key).await.unwrap();
        running.bench.memory.put(&before[1].key, Bytes::from_static(b"rot")).await.unwrap();
        let found = running.findings().await;
        assert!(found.iter().any(|finding| matches!(finding, Finding::Missing { .. })), "{found:?}");
        assert!(found.iter().any(|finding| matches!(finding, Finding::Damaged { .. })), "{found:?}");
        // What the pages name is not taken for orphans as long as nobody knows.
        let orphans = found.iter().filter(|found| matches!(found, Finding::Orphan { key } if key.starts_with("data/")));
        assert_eq!(orphans.count(), 0, "{found:?}");

        let mended = mend_pages(&running.bench.env, &running.store, CLUSTER, &running.commits).await.unwrap();
        let old: Vec<Arc<str>> = mended.iter().map(|mended| Arc::clone(&mended.old)).collect();
        assert_eq!(old, [Arc::clone(&before[0].key), Arc::clone(&before[1].key)]);
        let after = pages(&running);
        assert_eq!([units(&after[0]).await.unwrap(), units(&after[1]).await.unwrap()], had);
        assert_eq!(harm(&running).await, []);
        assert_eq!(mend_pages(&running.bench.env, &running.store, CLUSTER, &running.commits).await.unwrap(), []);
    });
}

#[test]
fn a_page_whose_objects_are_not_all_there_is_left_as_it_is() {
    block_on(async {
        let running = paged().await;
        let page = pages(&running)[1].clone();
        let unit = read_page(&*running.store, CLUSTER, &page).await.unwrap()[7].clone();
        running.bench.memory.delete(&page.key).await.unwrap();
        running.bench.memory.delete(&unit.key).await.unwrap();
        let mended = mend_pages(&running.bench.env, &running.store, CLUSTER, &running.commits).await.unwrap();
        assert_eq!(mended, []);
        assert!(harm(&running).await.contains(&Finding::Missing { key: page.key.to_string() }));
    });
}

#[test]
fn shards_that_no_snapshot_names_are_stale_and_can_be_swept() {
    use super::super::scrub::{ScrubDepth, Settled, scrub_settled};
    use super::super::{SweepConfig, Sweeper};
    use crate::env::Timestamp;
    use std::time::Duration;
    block_on(async {
        let running = paged().await;
        let (env, store) = (&running.bench.env, &running.store);
        let shards = async || {
            let all = running.bench.memory.list("tier/shard/", None, 1000).await.unwrap();
            all.into_iter().map(|entry| entry.key).collect::<Vec<_>>()
        };
        // A controller that died before it named them; and another's, for the snapshot that comes next.
        let key = |number| ObjectKey::Shard { number, attempt: env.random.uuid() }.to_string();
        let (stale, next) = (key(1), key(1_000_000));
        for key in [&stale, &next] {
            running.bench.memory.put(key, Bytes::from_static(b"shards")).await.unwrap();
        }
        let image = running.commits.image();
        let found = async |millis| {
            let (horizon, shards) = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(millis));
            let settled = Settled { horizon, then: &image, shards };
            let report = scrub_settled(&**store, CLUSTER, &image, ScrubDepth::Presence, settled).await.unwrap();
            let stale = report.findings.into_iter().filter_map(|finding| match finding {
                Finding::Stale { key } => Some(key),
                _ => None,
            });
            stale.collect::<std::collections::BTreeSet<String>>()
        };
        assert!(found(i64::MIN).await.is_empty(), "they are young");
        let all = found(i64::MAX).await;
        assert!(all.contains(&stale) && !all.contains(&next), "{all:?}");
        let before = shards().await.len();
        let config = SweepConfig { grace: Duration::ZERO, shard_grace: Duration::ZERO, ..SweepConfig::default() };
        let (commits, reader) = (running.commits.clone(), Arc::clone(&running.reader));
        let mut sweeper = Sweeper::new(env, Arc::clone(store), CLUSTER, commits, reader, config).only(all.clone());
        for _ in 0..3 {
            sweeper.pass().await.unwrap();
        }
        assert_eq!(shards().await.len(), before - all.len());
        assert!(found(i64::MAX).await.is_empty());
        // The log can still be opened by what is left.
        let again = testing::start_commits(store, env, 20).await;
        assert_eq!(again.image().shards, image.shards);
    });
}
