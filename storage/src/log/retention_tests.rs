use super::*;
use crate::segment::SegmentName;
use proptest::prelude::*;

/// Sealed segments of ten offsets and 100 bytes each with these latest timestamps, and an active one.
fn segments(latest: &[i64]) -> Vec<SegmentInfo> {
    (0..=latest.len())
        .map(|n| SegmentInfo {
            name: SegmentName::appended(Offset::new(n as u64 * 10), n as u32),
            end: Offset::new(n as u64 * 10 + 10),
            bytes: 100,
            max_timestamp: latest.get(n).map(|latest| Timestamp::from_millis(*latest)),
            sealed: n < latest.len(),
        })
        .collect()
}

fn state(segments: &[SegmentInfo], tier_end: Option<u64>) -> RetentionState<'_> {
    RetentionState {
        segments,
        log_start: LogStart::default(),
        tier_end: tier_end.map(|end| TierEnd::at(Offset::new(end))),
        upto: Offset::new(u64::MAX >> 1),
    }
}

fn planned(plan: RetentionPlan) -> (Option<u64>, Option<u64>) {
    (plan.log_start.map(|start| start.offset().get()), plan.drop_before.map(Offset::get))
}

const NOW: Timestamp = Timestamp::from_millis(1000);

#[test]
fn old_segments_go_and_the_log_start_with_them() {
    let all = segments(&[100, 200, 950, 300]);
    let config = RetentionConfig { total_ms: Some(500), ..RetentionConfig::default() };
    assert_eq!(planned(plan(&state(&all, None), &config, NOW)), (Some(20), Some(20)), "up to the first young one");
}

#[test]
fn bytes_beyond_the_limit_go_by_whole_segments() {
    let all = segments(&[1, 1, 1, 1]);
    let keep = |bytes| RetentionConfig { total_bytes: Some(bytes), ..RetentionConfig::default() };
    assert_eq!(planned(plan(&state(&all, None), &keep(250), NOW)), (Some(20), Some(20)));
    assert_eq!(planned(plan(&state(&all, None), &keep(500), NOW)), (None, None));
    assert_eq!(planned(plan(&state(&all, None), &keep(0), NOW)), (Some(40), Some(40)), "never the active one");
}

#[test]
fn local_copies_wait_for_the_tier() {
    let all = segments(&[1, 1, 1]);
    let config = RetentionConfig { local_ms: Some(10), tiered: true, ..RetentionConfig::default() };
    assert_eq!(planned(plan(&state(&all, None), &config, NOW)), (None, None));
    assert_eq!(planned(plan(&state(&all, Some(19)), &config, NOW)), (None, Some(10)));
    assert_eq!(planned(plan(&state(&all, Some(30)), &config, NOW)), (None, Some(30)));
    let untiered = RetentionConfig { tiered: false, ..config };
    assert_eq!(planned(plan(&state(&all, Some(30)), &untiered, NOW)), (None, None));
}

#[test]
fn segments_before_the_log_start_go_whatever_is_kept() {
    let all = segments(&[1, 1, 1]);
    let mut state = state(&all, None);
    for (start, before) in [(0, None), (9, None), (10, Some(10)), (25, Some(20)), (40, Some(30))] {
        state.log_start = LogStart::at(Offset::new(start));
        assert_eq!(planned(plan(&state, &RetentionConfig::default(), NOW)), (None, before), "{start}");
    }
}

#[test]
fn what_only_the_tier_has_goes_first() {
    let all = segments(&[1, 1, 1]);
    let config = RetentionConfig { total_ms: Some(10), tiered: true, ..RetentionConfig::default() };
    let mut state = state(&all[1..], Some(20));
    assert_eq!(planned(plan(&state, &config, NOW)), (None, None), "the tier holds offsets below the local start");
    state.log_start = LogStart::at(Offset::new(10));
    assert_eq!(planned(plan(&state, &config, NOW)), (Some(30), Some(30)));
}

#[test]
fn nothing_beyond_the_high_watermark_goes() {
    let all = segments(&[1, 1, 1]);
    let config = RetentionConfig { total_ms: Some(10), ..RetentionConfig::default() };
    let state = RetentionState { upto: Offset::new(15), ..state(&all, None) };
    assert_eq!(planned(plan(&state, &config, NOW)), (Some(10), Some(10)));
}

proptest! {
    #[test]
    fn no_plan_drops_what_must_stay(
        latest in prop::collection::vec(0i64..1000, 0..8), first in 0usize..8, start in 0u64..80, tier in prop::option::of(0u64..100),
        total_ms in prop::option::of(0i64..1200), total_bytes in prop::option::of(0u64..1000),
        local_ms in prop::option::of(0i64..1200), local_bytes in prop::option::of(0u64..1000), tiered: bool, upto in 0u64..100,
    ) {
        let all = segments(&latest);
        let local = &all[first.min(latest.len())..];
        let state = RetentionState {
            log_start: LogStart::at(Offset::new(start)), upto: Offset::new(upto), ..state(local, tier)
        };
        let config = RetentionConfig { total_ms, total_bytes, local_ms, local_bytes, tiered };
        let plan = plan(&state, &config, NOW);
        prop_assert!(drops_only_tiered_or_expired(&plan, &state));
        if let Some(before) = plan.drop_before {
            prop_assert!(before.get() <= upto && before <= local.last().unwrap().name.base);
        }
        if let Some(start) = plan.log_start {
            prop_assert!(start > state.log_start && start.offset().get() <= upto);
        }
    }
}

#[test]
fn an_idle_active_segment_is_sealed_once_all_of_it_is_too_old() {
    let mut all = segments(&[100]);
    let keep = RetentionConfig { total_ms: Some(500), ..RetentionConfig::default() };
    let expired = |all: &[SegmentInfo], upto, keep| active_is_expired(all, Offset::new(upto), &keep, NOW);
    all[1].max_timestamp = Some(Timestamp::from_millis(499));
    assert!(expired(&all, 20, keep));
    assert!(!expired(&all, 19, keep), "not committed yet");
    assert!(!expired(&all, 20, RetentionConfig::default()), "kept for ever");
    all[1].max_timestamp = Some(Timestamp::from_millis(500));
    assert!(!expired(&all, 20, keep), "young");
    all[1].end = all[1].name.base;
    all[1].max_timestamp = None;
    assert!(!expired(&all, 20, keep), "empty");
}
