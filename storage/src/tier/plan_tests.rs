//! The planner's rules, one by one and under arbitrary input.

use super::super::source::{SegmentView, TailLimits};
use super::super::testing::{epoch, offset, open, partition, unit};
use super::super::{TierImage, TierRecord};
use super::*;
use proptest::prelude::*;
use std::time::Duration;

const MIB: u64 = 1 << 20;

fn image(records: &[TierRecord]) -> TierImage {
    TierImage::default().replay(1, records).0
}

fn at(seconds: u64) -> Monotonic {
    Monotonic::from_origin(Duration::from_secs(seconds))
}

/// Segments of a hundred offsets and the given MiB; the last one is active.
fn view(n: u32, uploadable: u64, sizes: &[u64]) -> PartitionView {
    let segments = sizes.iter().enumerate().map(|(index, mib)| SegmentView {
        base: offset(index as u64 * 100),
        end: offset(index as u64 * 100 + 100),
        bytes: mib * MIB,
        sealed: index + 1 < sizes.len(),
    });
    PartitionView {
        tail: TailLimits::default(),
        partition: partition(n),
        leader_epoch: epoch(1),
        enabled: true,
        uploadable_end: offset(uploadable),
        segments: segments.collect(),
    }
}

fn plan(planner: &mut UploadPlanner, image: &TierImage, views: &[PartitionView], seconds: u64) -> Vec<(u32, u64, u64)> {
    let plans = planner.plan(&UploadConfig::default(), image, views, &BTreeSet::new(), at(seconds));
    let ranges = plans.iter().flat_map(|plan| &plan.ranges);
    ranges.map(|due| (due.range.partition.partition, due.range.start.get(), due.range.upto.get())).collect()
}

#[test]
fn sealed_segments_go_at_once_and_the_tail_when_it_is_large_or_old() {
    let mut planner = UploadPlanner::default();
    let image = image(&[open(0, 1)]);
    assert_eq!(plan(&mut planner, &image, &[view(0, 100, &[10])], 0), []);
    assert_eq!(plan(&mut planner, &image, &[view(0, 250, &[10, 10, 10])], 1), [(0, 0, 200)]);
    assert_eq!(plan(&mut planner, &image, &[view(0, 100, &[64])], 2), [(0, 0, 100)]);
    assert_eq!(plan(&mut planner, &image, &[view(0, 99, &[10])], 299), []);
    assert_eq!(plan(&mut planner, &image, &[view(0, 99, &[10])], 300), [(0, 0, 99)]);
}

#[test]
fn a_unit_is_no_larger_than_its_topic_bears() {
    let image = image(&[open(0, 1), open(1, 1)]);
    let mut strict = view(0, 200, &[10, 10, 10]);
    strict.tail.unit_max_bytes = 3 * MIB;
    let views = [strict, view(1, 200, &[10, 10, 10])];
    let plans = UploadPlanner::default().plan(&UploadConfig::default(), &image, &views, &BTreeSet::new(), at(1));
    let due: Vec<(u32, u64, u64)> = plans
        .iter()
        .flat_map(|plan| &plan.ranges)
        .map(|due| (due.range.partition.partition, due.bytes / MIB, due.max_bytes / MIB))
        .collect();
    assert_eq!(due, [(1, 20, 256), (0, 3, 3)]);
}

#[test]
fn what_waits_is_due_when_its_period_ends() {
    let mut planner = UploadPlanner::default();
    let before = image(&[open(0, 1)]);
    let after = before.replay(2, &[TierRecord::Unit(unit(0, 1, 0, 50, 1))]).0;
    assert_eq!(plan(&mut planner, &before, &[view(0, 50, &[10])], 0), []);
    assert_eq!(plan(&mut planner, &before, &[view(0, 50, &[10])], 300), [(0, 0, 50)]);
    // It waits anew after each unit, up to the end of the period.
    assert_eq!(plan(&mut planner, &after, &[view(0, 90, &[10])], 310), []);
    assert_eq!(plan(&mut planner, &after, &[view(0, 95, &[10])], 599), []);
    assert_eq!(plan(&mut planner, &after, &[view(0, 95, &[10])], 600), [(0, 50, 95)]);
}

#[test]
fn what_trickles_into_many_partitions_is_due_at_once() {
    let image = image(&(0..1000).map(|n| open(n, 1)).collect::<Vec<_>>());
    let mut planner = UploadPlanner::default();
    let config = UploadConfig::default();
    let mut views = Vec::new();
    for n in 0..1000u32 {
        // One after the other begins to wait.
        views.push(view(n, 100, &[0]));
        let plans = planner.plan(&config, &image, &views, &BTreeSet::new(), at(300 + u64::from(n) / 4));
        assert_eq!(plans, []);
    }
    assert_eq!(planner.plan(&config, &image, &views, &BTreeSet::new(), at(599)), []);
    let plans = planner.plan(&config, &image, &views, &BTreeSet::new(), at(600));
    assert_eq!(plans.iter().map(|plan| plan.ranges.len()).collect::<Vec<_>>(), [1000]);
}

#[test]
fn only_what_may_be_uploaded_is_planned() {
    let sizes = [100, 100];
    let mut planner = UploadPlanner::default();
    let views = [view(0, 200, &sizes)];
    assert_eq!(plan(&mut planner, &TierImage::default(), &views, 0), [], "not open");
    assert_eq!(plan(&mut planner, &image(&[open(0, 2)]), &views, 0), [], "open in another epoch");
    let disabled = PartitionView { enabled: false, ..view(0, 200, &sizes) };
    assert_eq!(plan(&mut planner, &image(&[open(0, 1)]), &[disabled], 0), []);
    let unstable = [view(0, 60, &sizes)];
    assert_eq!(plan(&mut planner, &image(&[open(0, 1)]), &unstable, 0), [], "60 MiB, and no sealed segment is below");
    assert_eq!(plan(&mut planner, &image(&[open(0, 1)]), &[view(0, 70, &sizes)], 0), [(0, 0, 70)]);
}

#[test]
fn small_ranges_share_an_object_and_the_largest_come_first() {
    let mut planner = UploadPlanner::default();
    let image = image(&[open(0, 1), open(1, 1), open(2, 1), open(3, 1)]);
    let views = [view(0, 100, &[1, 1]), view(1, 100, &[70, 1]), view(2, 100, &[2, 1]), view(3, 100, &[90, 1])];
    let busy = BTreeSet::from([partition(3)]);
    let config = UploadConfig::default();
    let plans = planner.plan(&config, &image, &views, &busy, at(0));
    let partitions =
        |plan: &ObjectPlan| plan.ranges.iter().map(|due| due.range.partition.partition).collect::<Vec<_>>();
    assert_eq!(plans.iter().map(partitions).collect::<Vec<_>>(), [vec![1], vec![2, 0]]);
}

proptest! {
    #[test]
    fn every_plan_is_within_its_bounds(
        partitions in proptest::collection::vec((0u64..400, 0u64..40, proptest::collection::vec(0u64..200, 1..4)), 0..40),
        seconds in 0u64..1000,
    ) {
        let mut records = Vec::new();
        let mut views = Vec::new();
        for (n, (uploadable, tiered, sizes)) in partitions.iter().enumerate() {
            let n = n as u32;
            records.push(open(n, 1));
            if *tiered > 0 {
                records.push(TierRecord::Unit(unit(n, 1, 0, *tiered, 1)));
            }
            views.push(view(n, (*uploadable).min(sizes.len() as u64 * 100), sizes));
        }
        let image = image(&records);
        let config = UploadConfig::default();
        let mut planner = UploadPlanner::default();
        planner.plan(&config, &image, &views, &BTreeSet::new(), at(0));
        let plans = planner.plan(&config, &image, &views, &BTreeSet::new(), at(seconds));
        prop_assert!(plans_are_disjoint(&plans));
        for plan in &plans {
            prop_assert!(plan.ranges.len() == 1 || plan.ranges.iter().all(|due| due.bytes < config.shared_below_bytes));
            for due in &plan.ranges {
                let view = views.iter().find(|view| view.partition == due.range.partition).unwrap();
                prop_assert!(due.range.start < due.range.upto && due.range.upto <= view.uploadable_end);
                prop_assert_eq!(due.range.start, image.get(&due.range.partition).unwrap().next_start());
            }
        }
        if seconds >= 300 {
            let planned: usize = plans.iter().map(|plan| plan.ranges.len()).sum();
            let missing = views.iter().filter(|view| image.get(&view.partition).unwrap().next_start() < view.uploadable_end);
            prop_assert_eq!(planned, missing.count());
        }
    }
}
