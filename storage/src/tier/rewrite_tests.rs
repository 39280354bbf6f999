//! Rewrites over a whole tier: readers before, during and after, pages, and what becomes of the replaced objects.

use super::super::manifest::PAGE_UNITS;
use super::super::object::{UnitBatches, read_state};
use super::super::sweep::SweepCounts;
use super::super::testing::{Running, epoch, joined, offset, open, partition, start};
use super::super::unit::AbortedTransaction;
use super::*;
use crate::env::store::testing::{Faults, block_on};
use bytes::Bytes;
use std::time::Duration;

/// A tier with so many units of ten offsets of partition 0; a snapshot and perhaps pages every twenty commits.
async fn tiered(units: u64) -> Running {
    let (running, _) = start(1, Faults::default()).await;
    running.commits.commit(vec![open(0, 1)]).await.unwrap();
    for unit in 0..units {
        assert_eq!(running.upload(&[(0, unit * 10)]).await, [true]);
    }
    running
}

fn manifest(running: &Running) -> Arc<Manifest> {
    Arc::clone(running.commits.image().get(&partition(0)).unwrap())
}

async fn read_all(running: &Running, manifest: &Arc<Manifest>) -> Result<Vec<u8>, TierError> {
    // A reader of its own: nothing of the objects is cached.
    let (env, store) = (&running.bench.env, Arc::clone(&running.store));
    let reader = TierReader::new(env, store, super::super::testing::CLUSTER, super::super::ReadConfig::default());
    let (mut at, mut bytes) = (manifest.log_start().offset(), Vec::new());
    while at < manifest.end().offset() {
        let read = reader.read(partition(0), manifest, at, 1 << 20, true).await?;
        bytes.extend(read.pieces.concat());
        at = read.next;
    }
    Ok(bytes)
}

#[test]
fn readers_of_replaced_units_finish_on_them_and_then_the_objects_go() {
    block_on(async {
        let running = tiered(8).await;
        let before = manifest(&running);
        let all = read_all(&running, &before).await.unwrap();
        let run = Stretch::recent(partition(0), &before, epoch(1)).run(1..7).unwrap();
        let new = joined(&running.bench.env, &running.store, &run).await.unwrap();
        assert!(running.rewriter().commit(vec![(run, new)]).await.unwrap()[0].is_applied());
        let after = manifest(&running);
        assert_eq!(after.recent().len(), 3);
        assert_eq!(read_all(&running, &after).await.unwrap(), all);

        let mut sweeper = running.sweeper(Duration::from_secs(60));
        let mut pass = async || sweeper.pass().await.unwrap();
        assert_eq!(pass().await, SweepCounts { seen: 9, suspects: 6, ..SweepCounts::default() });
        running.bench.clock.advance(Duration::from_secs(59));
        assert_eq!(pass().await.deleted, 0);
        assert_eq!(read_all(&running, &before).await.unwrap(), all, "a reader in the middle finishes");
        running.bench.clock.advance(Duration::from_secs(1));
        assert_eq!(pass().await.deleted, 6);
        assert!(matches!(read_all(&running, &before).await, Err(TierError::Gone { .. })));
        assert_eq!(read_all(&running, &after).await.unwrap(), all);
        assert_eq!(running.findings().await, []);
    });
}

#[test]
fn units_in_pages_are_rewritten_with_their_pages() {
    block_on(async {
        let running = tiered(300).await;
        let before = manifest(&running);
        let pages = before.pages().len();
        assert!(pages >= 2, "{pages}");
        let all = read_all(&running, &before).await.unwrap();
        let reader = &running.reader;
        let stretch = Stretch::paged(reader, partition(0), &before, epoch(1), 0..pages).await.unwrap();
        assert!(Stretch::paged(reader, partition(0), &before, epoch(1), pages..pages + 1).await.is_err());
        let run = stretch.run(3..stretch.units().len() - 2).unwrap();
        let new = joined(&running.bench.env, &running.store, &run).await.unwrap();
        let late = running.rewriter().record(&run, new.clone()).await.unwrap();
        assert!(running.rewriter().commit(vec![(run, new)]).await.unwrap()[0].is_applied());
        let after = manifest(&running);
        assert_eq!(after.pages().iter().map(|page| page.units).collect::<Vec<_>>(), [6]);
        assert_eq!(after.bytes(), before.bytes());
        assert_eq!(read_all(&running, &after).await.unwrap(), all);
        assert!(!running.commits.commit(vec![late]).await.unwrap()[0].is_applied(), "its pages are gone");
        // Old pages go as objects do, and so does the page that came too late.
        let mut sweeper = running.sweeper(Duration::from_secs(60));
        sweeper.pass().await.unwrap();
        assert_eq!(read_all(&running, &before).await.unwrap(), all);
        running.bench.clock.advance(Duration::from_secs(60));
        assert!(sweeper.pass().await.unwrap().deleted > pages);
        assert_eq!(read_all(&running, &after).await.unwrap(), all);
        let left = running.bench.memory.list(super::super::PAGE_PREFIX, None, 99).await.unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!(running.findings().await, []);
        // And what was replaced survives a restart.
        let again = super::super::testing::start_commits(&running.store, &running.bench.env, 20).await;
        assert_eq!(again.image().get(&partition(0)), Some(&after));
    });
}

#[test]
fn a_page_that_would_be_too_large_becomes_two() {
    block_on(async {
        let running = tiered(300).await;
        let before = manifest(&running);
        let pages = before.pages().len();
        let stretch = Stretch::paged(&running.reader, partition(0), &before, epoch(1), 0..pages).await.unwrap();
        let run = stretch.run(0..1).unwrap();
        // As if one unit became as many as a page has room for: no reader comes to them here.
        let meta = |at| super::super::testing::rewritten(0, 1, at, at + 1, 0);
        let new: Vec<UnitMeta> = (0..10).map(meta).collect();
        let more = stretch.units().len() - 1 + new.len();
        let TierRecord::Swap(swap) = running.rewriter().record(&run, new).await.unwrap() else { panic!() };
        let Change::Pages { new, .. } = &swap.change else { panic!() };
        assert_eq!(new.iter().map(|page| page.units as usize).sum::<usize>(), more);
        assert!(new.len() == more.div_ceil(PAGE_UNITS));
        assert!(running.commits.commit(vec![TierRecord::Swap(swap)]).await.unwrap()[0].is_applied());
    });
}

#[test]
fn a_rewrite_on_its_way_is_doomed_before_it_is_deleted() {
    block_on(async {
        let running = tiered(8).await;
        let stretch = Stretch::recent(partition(0), &manifest(&running), epoch(1));
        let write = async |units| {
            let run = stretch.run(units).unwrap();
            let new = joined(&running.bench.env, &running.store, &run).await.unwrap();
            (run, new)
        };
        let late = write(0..4).await;
        let mut sweeper = running.sweeper(Duration::from_secs(60));
        sweeper.pass().await.unwrap();
        running.bench.clock.advance(Duration::from_secs(60));
        assert_eq!(sweeper.pass().await.unwrap().deleted, 1);
        assert!(!running.rewriter().commit(vec![late]).await.unwrap()[0].is_applied(), "its object is gone");
        assert_eq!(running.findings().await, []);
        // The partition goes on: the next one is made of the next revision.
        let stretch = Stretch::recent(partition(0), &manifest(&running), epoch(1));
        let run = stretch.run(0..4).unwrap();
        let new = joined(&running.bench.env, &running.store, &run).await.unwrap();
        assert!(running.rewriter().commit(vec![(run, new)]).await.unwrap()[0].is_applied());
    });
}

#[test]
fn the_grace_of_a_replaced_object_begins_when_it_was_replaced() {
    block_on(async {
        let running = tiered(6).await;
        let rewrite = async |units: Range<usize>| {
            let run = Stretch::recent(partition(0), &manifest(&running), epoch(1)).run(units).unwrap();
            let new = joined(&running.bench.env, &running.store, &run).await.unwrap();
            (run, new)
        };
        let first = rewrite(0..3).await;
        let mut sweeper = running.sweeper(Duration::from_secs(60));
        // It is an orphan when the sweeper looks, ...
        sweeper.pass().await.unwrap();
        // ... then it is named and read, and replaced before the sweeper looks again.
        assert!(running.rewriter().commit(vec![first]).await.unwrap()[0].is_applied());
        running.bench.clock.advance(Duration::from_secs(59));
        let reading = manifest(&running);
        let second = rewrite(0..3).await;
        assert!(running.rewriter().commit(vec![second]).await.unwrap()[0].is_applied());
        running.bench.clock.advance(Duration::from_secs(1));
        sweeper.pass().await.unwrap();
        read_all(&running, &reading).await.unwrap();
        running.bench.clock.advance(Duration::from_secs(60));
        sweeper.pass().await.unwrap();
        assert_eq!(running.findings().await, []);
    });
}

#[test]
fn a_shared_object_goes_only_when_no_unit_of_it_is_named() {
    block_on(async {
        let (running, _) = start(1, Faults::default()).await;
        running.commits.commit(vec![open(0, 1), open(1, 1)]).await.unwrap();
        for at in 0..3 {
            running.upload(&[(0, at * 10), (1, at * 10)]).await;
        }
        let mut sweeper = running.sweeper(Duration::ZERO);
        for n in 0..2 {
            let image = running.commits.image();
            let stretch = Stretch::recent(partition(n), image.get(&partition(n)).unwrap(), epoch(1));
            let run = stretch.run(0..3).unwrap();
            let new = joined(&running.bench.env, &running.store, &run).await.unwrap();
            assert!(running.rewriter().commit(vec![(run, new)]).await.unwrap()[0].is_applied());
            sweeper.pass().await.unwrap();
            let deleted = sweeper.pass().await.unwrap().deleted;
            assert_eq!(deleted, if n == 0 { 0 } else { 3 }, "after partition {n}");
            assert_eq!(running.findings().await, []);
        }
    });
}

#[test]
fn a_run_is_of_units_that_are_still_there() {
    block_on(async {
        let running = tiered(6).await;
        let cut = TierRecord::LogStart { partition: partition(0), epoch: epoch(1), offset: offset(25) };
        running.commits.commit(vec![cut]).await.unwrap();
        let stretch = Stretch::recent(partition(0), &manifest(&running), epoch(1));
        assert_eq!((stretch.units().len(), stretch.first_live()), (4, 0));
        assert!(stretch.run(0..0).is_none() && stretch.run(3..5).is_none());
        let run = stretch.run(0..2).unwrap();
        assert_eq!(run.bytes(), run.units().iter().map(|unit| unit.data.len()).sum::<u64>());
        assert_eq!(run.range(offset(20), offset(40)).revision, Some(Revision::default()));
    });
}

#[test]
fn rot_is_not_rewritten() {
    block_on(async {
        let running = tiered(3).await;
        let run = Stretch::recent(partition(0), &manifest(&running), epoch(1)).run(0..3).unwrap();
        let unit = Arc::clone(&run.units()[1]);
        let whole = running.bench.memory.get(&unit.key).await.unwrap();
        for at in [unit.data.position() + 90, unit.producers.position(), unit.aborted.position()] {
            let mut rotten = whole.to_vec();
            if let Some(byte) = rotten.get_mut(at as usize) {
                *byte ^= 1;
            }
            running.bench.memory.put(&unit.key, Bytes::from(rotten)).await.unwrap();
            let rewritten = joined(&running.bench.env, &running.store, &run).await;
            assert!(matches!(rewritten, Err(TierError::Corrupt { .. })), "{at}: {rewritten:?}");
        }
        // A whole batch in the place of another of the same length: only the checksum over all tells.
        let elsewhere = &run.units()[2];
        let other = running.bench.memory.get_range(&elsewhere.key, elsewhere.data.range()).await.unwrap();
        let mut swapped = whole.to_vec();
        let place = unit.data.range();
        swapped[place.start as usize..place.end as usize].copy_from_slice(&other);
        running.bench.memory.put(&unit.key, Bytes::from(swapped)).await.unwrap();
        let mut batches = UnitBatches::new(&*running.bench.memory, &unit);
        assert!(batches.next().await.is_ok());
        assert!(matches!(batches.next().await, Err(TierError::Corrupt { .. })));
    });
}

#[test]
fn the_state_of_several_units_is_the_last_ones_with_all_aborted_transactions() {
    let aborted = |first, last| AbortedTransaction {
        producer_id: 7,
        first: offset(first),
        last: offset(last),
        last_stable: offset(first),
    };
    let state = |name: &'static [u8], aborted: &[AbortedTransaction]| UnitState {
        producers: Bytes::from_static(name),
        epochs: vec![(epoch(1), offset(0))],
        aborted: aborted.to_vec(),
    };
    let (a, b, c) = (aborted(1, 15), aborted(2, 8), aborted(20, 22));
    let joined = joined_state(vec![state(b"one", &[a, b]), state(b"two", &[a]), state(b"three", &[c])]).unwrap();
    assert_eq!(joined, state(b"three", &[b, a, c]));
    assert_eq!(joined_state(Vec::new()), None);
}

#[test]
fn a_state_is_read_as_it_was_written() {
    block_on(async {
        let running = tiered(1).await;
        let unit = Arc::clone(&manifest(&running).recent()[0]);
        assert_eq!(read_state(&*running.store, &unit).await.unwrap(), UnitState::default());
    });
}
