//! What is merged and when it pays, and that nothing is changed by it.

use super::super::object::check_unit;
use super::super::record::TierRecord;
use super::super::source::{SegmentView, TailLimits};
use super::super::testing::{Running, epoch, offset, open, partition, start, unit};
use super::super::unit::Section;
use super::super::{TierReader, testing};
use super::*;
use crate::env::store::testing::{Faults, block_on};
use proptest::prelude::*;

fn config() -> MergeConfig {
    MergeConfig { small_bytes: 1000, max_bytes: 4000, fan_in: 4, max_objects: 8, max_span: Duration::MAX }
}

/// Adjacent units of so many bytes.
fn units(sizes: &[u64]) -> Vec<Arc<UnitMeta>> {
    let of = |(at, size): (usize, &u64)| {
        let at = at as u64;
        let unit = unit(0, 1, at * 10, at * 10 + 10, u128::from(at));
        Arc::new(UnitMeta { data: Section::new(32, *size, 1), ..unit })
    };
    sizes.iter().enumerate().map(of).collect()
}

fn chosen(sizes: &[u64]) -> Option<Range<usize>> {
    run_to_merge(&config(), &units(sizes))
}

/// Adjacent pages of so many units with so many bytes in all, ten offsets to a unit.
fn pages(sizes: &[(u32, u64)]) -> Vec<PageRef> {
    let mut at = 0;
    let of = |(units, bytes): &(u32, u64)| {
        let start = at;
        at += u64::from(*units) * 10;
        let key = Arc::from(format!("tier/page/{start}"));
        let revision = super::super::unit::Revision::default();
        PageRef {
            key,
            start: offset(start),
            end: offset(at),
            units: *units,
            bytes: *bytes,
            max_timestamp: None,
            revision,
        }
    };
    sizes.iter().map(of).collect()
}

#[test]
fn pages_of_small_units_are_read_once_and_with_what_was_left_beside_them() {
    let due = |sizes: &[(u32, u64)], from| pages_to_merge(&config(), &pages(sizes), offset(from));
    assert_eq!(due(&[], 0), None);
    assert_eq!(due(&[(100, 200_000)], 0), None, "units of 2 kB are not small");
    assert_eq!(due(&[(100, 10_000)], 0), Some(0..1));
    assert_eq!(due(&[(3, 30)], 0), None, "too few to be worth it");
    assert_eq!(due(&[(100, 10_000), (100, 10_000)], 1000), Some(1..2), "the first was looked into");
    assert_eq!(due(&[(100, 10_000), (100, 10_000)], 2000), None);
    assert_eq!(
        due(&[(3, 9_000), (100, 10_000), (2, 9_000), (100, 200_000)], 0),
        Some(0..3),
        "with the rest of a merge"
    );
    let full = [(600, 6_000), (300, 3_000), (300, 3_000)];
    assert_eq!(due(&full, 0), Some(0..2), "no more units than a page has");
    assert_eq!(due(&full, 9000), Some(2..3));
}

#[test]
fn a_run_is_merged_when_it_has_enough_units_or_bytes_and_no_giant() {
    assert_eq!(chosen(&[]), None);
    assert_eq!(chosen(&[10, 10, 10]), None);
    assert_eq!(chosen(&[10, 10, 10, 10]), Some(0..4));
    assert_eq!(chosen(&[5000, 10, 10, 10, 10, 5000, 10]), Some(1..5), "large ones are left as they are");
    assert_eq!(chosen(&[900, 10, 10, 10]), None, "900 bytes would be copied for the sake of 30");
    assert_eq!(chosen(&[900, 10, 10, 10, 10]), Some(1..5));
    assert_eq!(chosen(&[900, 900, 900]), Some(0..3), "half of the greatest size");
    assert_eq!(chosen(&[900, 900, 900, 900, 900, 900]), Some(0..4), "and no more than that");
    assert_eq!(chosen(&[900, 900, 10]), None);
}

#[test]
fn units_do_not_become_coarser_than_segments() {
    let units = units(&[10; 40]);
    // The latest timestamps are a hundred apart.
    let span = |millis| MergeConfig { max_span: Duration::from_millis(millis), ..config() };
    assert_eq!(run_to_merge(&span(1000), &units), Some(0..11));
    assert_eq!(run_to_merge(&span(200), &units), None);
    let (image, _) = TierImage::default().replay(
        1,
        &std::iter::once(open(0, 1))
            .chain((0..9).map(|at| TierRecord::Unit(unit(0, 1, at * 10, at * 10 + 10, u128::from(at)))))
            .collect::<Vec<_>>(),
    );
    let bounded = |merged_max_bytes| {
        let tail = TailLimits { merged_max_bytes, ..TailLimits::default() };
        let config = MergeConfig { max_objects: 99, ..config() };
        let runs = plan_merges(&config, &image, &[PartitionView { tail, ..view(0) }], &BTreeSet::new(), 1 << 20);
        runs.iter().map(|run| run.units().len()).collect::<Vec<_>>()
    };
    // Units of 110 bytes.
    assert_eq!((bounded(10_000), bounded(600), bounded(300)), (vec![9], vec![5], vec![]));
}

proptest! {
    /// A trickle: units come in, and whatever is worth it is merged at once.
    #[test]
    fn few_units_are_left_and_no_byte_is_copied_often(sizes in proptest::collection::vec(1u64..60, 1..600)) {
        let (mut held, mut copied): (Vec<u64>, u64) = (Vec::new(), 0);
        for size in &sizes {
            held.push(*size);
            while let Some(run) = chosen(&held) {
                let bytes: u64 = held[run.clone()].iter().sum();
                prop_assert!(bytes <= config().max_bytes && run.len() >= 2);
                copied += bytes;
                held.splice(run, [bytes]);
            }
        }
        let all: u64 = sizes.iter().sum();
        // Each copy of a byte is into a unit of at least twice the size of its old one.
        prop_assert!(copied <= all * 11, "{copied} bytes were copied of {all}");
        let small = held.iter().filter(|size| **size < config().small_bytes).count();
        prop_assert!(small <= 24, "{held:?}");
    }
}

fn view(n: u32) -> PartitionView {
    PartitionView {
        partition: partition(n),
        leader_epoch: epoch(1),
        enabled: true,
        tail: TailLimits::default(),
        uploadable_end: offset(0),
        segments: Vec::<SegmentView>::new(),
    }
}

#[test]
fn a_plan_is_bounded_and_of_partitions_that_are_led_here() {
    let mut records = Vec::new();
    for n in 0..4u32 {
        records.push(open(n, 1));
        for at in 0..4u64 {
            records.push(TierRecord::Unit(unit(n, 1, at * 10, at * 10 + 10, u128::from(at))));
        }
    }
    let image = TierImage::default().replay(1, &records).0;
    let views: Vec<PartitionView> = (0..4).map(view).collect();
    let plan = |views: &[PartitionView], busy: &[u32], budget| {
        let busy = busy.iter().map(|n| partition(*n)).collect();
        let runs = plan_merges(&config(), &image, views, &busy, budget);
        runs.iter().map(|run| run.partition().partition).collect::<Vec<_>>()
    };
    let each = 4 * 110;
    assert_eq!(plan(&views, &[], each), [0], "the bytes bound it");
    assert_eq!(plan(&views, &[], 100 * each), [0, 1], "the objects bound it");
    assert_eq!(plan(&views, &[0], 100 * each), [1, 2]);
    let elsewhere = PartitionView { leader_epoch: epoch(2), ..view(0) };
    let disabled = PartitionView { enabled: false, ..view(1) };
    assert_eq!(plan(&[elsewhere, disabled, view(2)], &[], 100 * each), [2]);
}

async fn tiered() -> Running {
    let (running, _) = start(1, Faults::default()).await;
    running.commits.commit((0..3).map(|n| open(n, 1)).collect()).await.unwrap();
    for at in 0..5 {
        assert_eq!(running.upload(&[(0, at * 10), (1, at * 10), (2, at * 10)]).await, [true; 3]);
    }
    running
}

fn runs(running: &Running) -> Vec<Run> {
    let image = running.commits.image();
    let views: Vec<PartitionView> = (0..3).map(view).collect();
    plan_merges(
        &MergeConfig { small_bytes: 4000, max_bytes: 40_000, ..config() },
        &image,
        &views,
        &BTreeSet::new(),
        1 << 20,
    )
}

async fn contents(running: &Running, n: u32) -> Vec<u8> {
    let (env, store) = (&running.bench.env, Arc::clone(&running.store));
    let reader = TierReader::new(env, store, testing::CLUSTER, super::super::ReadConfig::default());
    let image = running.commits.image();
    let manifest = image.get(&partition(n)).unwrap();
    let (mut at, mut bytes) = (offset(0), Vec::new());
    while at < manifest.end().offset() {
        let read = reader.read(partition(n), manifest, at, 1 << 20, true).await.unwrap();
        bytes.extend(read.pieces.concat());
        at = read.next;
    }
    bytes
}

#[test]
fn merged_units_have_what_the_small_ones_had() {
    block_on(async {
        let running = tiered().await;
        let before = [contents(&running, 0).await, contents(&running, 1).await, contents(&running, 2).await];
        let runs = runs(&running);
        assert_eq!(runs.len(), 3);
        let mut writer = ObjectWriter::new(
            Arc::clone(&running.store),
            super::super::ObjectKey::Shared { attempt: testing_attempt() },
        );
        for gathered in gather(&*running.store, &runs).await.unwrap() {
            gathered.write(&mut writer).await.unwrap();
        }
        let units = writer.finish().await.unwrap();
        let rewrites = runs.into_iter().zip(units).map(|(run, unit)| (run, vec![unit])).collect();
        let verdicts = running.rewriter().commit(rewrites).await.unwrap();
        assert!(verdicts.iter().all(|verdict| verdict.is_applied()));
        for n in 0..3 {
            let image = running.commits.image();
            let recent = image.get(&partition(n)).unwrap().recent();
            assert_eq!(recent.len(), 1);
            check_unit(&*running.store, &recent[0]).await.unwrap();
            assert_eq!(contents(&running, n).await, before[n as usize]);
        }
    });
}

fn testing_attempt() -> uuid::Uuid {
    uuid::Uuid::from_u128(42)
}

#[test]
fn what_lies_side_by_side_is_read_at_once() {
    let one = std::slice::from_ref;
    assert_eq!(coalesced(vec![500..600, 0..100, 100..500]), one(&(0..600)));
    assert_eq!(coalesced(vec![0..100, 100 + GAP..300 + GAP]), one(&(0..300 + GAP)));
    assert_eq!(coalesced(vec![0..100, 101 + GAP..300 + GAP]), [0..100, 101 + GAP..300 + GAP]);
    assert_eq!(coalesced(vec![0..100, 10..20]), one(&(0..100)));
}

#[test]
fn damage_is_found_before_anything_is_written() {
    block_on(async {
        let running = tiered().await;
        let runs = runs(&running);
        let unit = Arc::clone(&runs[1].units()[2]);
        let whole = running.bench.memory.get(&unit.key).await.unwrap();
        for at in [unit.data.position() + 70, unit.epochs.position(), unit.aborted.position()] {
            let mut rotten = whole.to_vec();
            rotten[at as usize] ^= 1;
            running.bench.memory.put(&unit.key, Bytes::from(rotten)).await.unwrap();
            assert!(matches!(gather(&*running.store, &runs).await, Err(TierError::Corrupt { .. })), "{at}");
            assert_eq!(gather(&*running.store, &runs[..1]).await.unwrap().len(), 1, "the others can be read");
        }
    });
}
