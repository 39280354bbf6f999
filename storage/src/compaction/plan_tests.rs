use super::*;
use crate::segment::SegmentName;
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

fn partition(number: u32) -> PartitionId {
    PartitionId { topic: uuid::Uuid::from_u128(1), partition: number }
}

/// Segments of ten offsets and so many bytes each, of that age; the last one is active.
fn segments(spec: &[(u64, i64)]) -> Vec<Aged> {
    let last = spec.len() - 1;
    let aged = |(n, (bytes, age)): (usize, &(u64, i64))| {
        let stamp = Some(Timestamp::from_millis(NOW.millis() - age));
        let segment = SegmentInfo {
            name: SegmentName::appended(Offset::new(n as u64 * 10), n as u32 + 1),
            end: Offset::new(n as u64 * 10 + 10),
            bytes: *bytes,
            max_timestamp: stamp,
            sealed: n < last,
        };
        Aged { segment, youngest: stamp, oldest: stamp }
    };
    spec.iter().enumerate().map(aged).collect()
}

fn planned(segments: &[Aged], cleaned_to: Option<u64>, stable: u64, config: &CompactionConfig) -> Candidate {
    let state = CompactionState {
        partition: partition(0),
        segments,
        log_start: LogStart::default(),
        cleaned_to: cleaned_to.map(Offset::new),
        stable: Offset::new(stable),
    };
    candidate(&state, config, NOW)
}

#[test]
fn the_active_segment_is_never_touched_nor_what_is_not_stable() {
    let all = segments(&[(100, 50), (100, 40), (100, 30), (100, 20)]);
    let config = CompactionConfig::default();
    let upto = |stable| planned(&all, None, stable, &config).upto.get();
    assert_eq!(upto(1000), 30);
    assert_eq!(upto(30), 30);
    assert_eq!(upto(29), 20);
    assert_eq!(upto(9), 0);
    assert!(!planned(&all, None, 9, &config).is_due(&config));
}

#[test]
fn the_dirty_ratio_decides() {
    let all = segments(&[(300, 50), (100, 40), (100, 30), (100, 20)]);
    let config = CompactionConfig { min_dirty_ratio: 0.4, ..CompactionConfig::default() };
    let at = |cleaned_to| planned(&all, cleaned_to, 1000, &config);
    assert_eq!((at(None).dirty_ratio, at(None).dirty_bytes), (1.0, 500));
    assert_eq!(at(Some(10)).dirty_ratio, 0.4);
    assert!(!at(Some(10)).is_due(&config), "more than the ratio, not as much");
    let lower = CompactionConfig { min_dirty_ratio: 0.39, ..config };
    assert!(at(Some(10)).is_due(&lower));
    let none = CompactionConfig { min_dirty_ratio: 0.0, ..config };
    assert!(!at(Some(30)).is_due(&none), "nothing is dirty");
    // What was dropped from the start counts neither way.
    assert_eq!(planned(&all[1..], Some(5), 1000, &config).first_dirty, Offset::new(10));
}

#[test]
fn young_records_are_left_alone() {
    let all = segments(&[(100, 5000), (100, 1000), (100, 3000), (100, 0)]);
    let config = CompactionConfig { min_lag_ms: 2000, ..CompactionConfig::default() };
    assert_eq!(planned(&all, None, 1000, &config).upto, Offset::new(10), "what follows a young segment waits too");
    assert_eq!(planned(&all, Some(20), 1000, &config).upto, Offset::new(30), "what was cleaned is no matter");
}

#[test]
fn what_waits_too_long_is_due_however_little_it_is() {
    let all = segments(&[(10_000, 9000), (1, 5000), (1, 1000), (1, 0)]);
    let config = CompactionConfig { max_lag_ms: Some(4000), ..CompactionConfig::default() };
    assert!(planned(&all, Some(10), 1000, &config).is_due(&config));
    assert!(!planned(&all, Some(20), 1000, &config).is_due(&config));
    assert!(!planned(&all, Some(10), 1000, &CompactionConfig::default()).is_due(&CompactionConfig::default()));
}

#[test]
fn the_dirtiest_comes_first_and_the_overdue_before_it() {
    let all = segments(&[(100, 0), (100, 0), (100, 0)]);
    let one = |number, dirty_ratio, overdue| Candidate {
        partition: partition(number),
        dirty_ratio,
        overdue,
        ..planned(&all, None, 1000, &CompactionConfig::default())
    };
    let first = |candidates: &[Candidate]| dirtiest(candidates).map(|candidate| candidate.partition.partition);
    assert_eq!(first(&[]), None);
    assert_eq!(first(&[one(1, 0.5, false), one(2, 0.9, false), one(3, 0.7, false)]), Some(2));
    assert_eq!(first(&[one(2, 0.9, false), one(1, 0.1, true)]), Some(1));
    assert_eq!(first(&[one(2, 0.9, false), one(1, 0.9, false)]), Some(1));
}

proptest! {
    #[test]
    fn groups_are_all_segments_in_order_and_no_larger_than_they_may_be(bytes in prop::collection::vec(0u64..100, 0..40), limit in 1u64..150) {
        let groups = group(&bytes, limit);
        let mut at = 0;
        for range in &groups {
            prop_assert_eq!(range.start, at);
            prop_assert!(range.end > range.start);
            let sum: u64 = bytes[range.clone()].iter().sum();
            prop_assert!(range.len() == 1 || sum <= limit);
            at = range.end;
        }
        prop_assert_eq!(at, bytes.len());
    }

    #[test]
    fn only_what_is_settled_is_planned(
        spec in prop::collection::vec((1u64..1000, 0i64..5000), 1..8),
        cleaned_to in prop::option::of(0u64..90),
        stable in 0u64..90,
        min_lag_ms in 0i64..4000,
    ) {
        let all = segments(&spec);
        let config = CompactionConfig { min_lag_ms, ..CompactionConfig::default() };
        let state = CompactionState {
            partition: partition(0),
            segments: &all,
            log_start: LogStart::default(),
            cleaned_to: cleaned_to.map(Offset::new),
            stable: Offset::new(stable),
        };
        let found = candidate(&state, &config, NOW);
        prop_assert!(only_settled(found.upto, found.first_dirty, &state));
        prop_assert!((0.0..=1.0).contains(&found.dirty_ratio));
        for aged in all.iter().filter(|aged| found.first_dirty < aged.segment.end && aged.segment.end <= found.upto) {
            prop_assert!(min_lag_ms == 0 || NOW.millis() - aged.youngest.unwrap().millis() >= min_lag_ms);
        }
    }
}
