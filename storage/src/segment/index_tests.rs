use super::*;
use proptest::prelude::*;

/// Batches of `(length, records, timestamp)`, back to back.
fn marks(batches: &[(u32, u64, i64)]) -> Vec<BatchMark> {
    let (mut position, mut offset) = (HEADER_LEN, 0);
    batches
        .iter()
        .map(|&(len, records, timestamp)| {
            let mark = BatchMark {
                position: FilePosition::new(position),
                len,
                base: Offset::new(offset),
                next: Offset::new(offset + records),
                max_timestamp: Timestamp::from_millis(timestamp),
                epoch: LeaderEpoch::new(0),
            };
            position += u64::from(len);
            offset += records;
            mark
        })
        .collect()
}

fn indexed(marks: &[BatchMark]) -> SparseIndex {
    let mut index = SparseIndex::default();
    marks.iter().for_each(|mark| index.push(mark));
    index
}

proptest! {
    #[test]
    fn lookups_start_at_or_before_what_a_full_scan_finds(
        batches in prop::collection::vec((61u32..3000, 1u64..20, 0i64..200), 1..200),
        offset in 0u64..4000, position in 0u64..400_000, time in -1i64..210,
    ) {
        let marks = marks(&batches);
        let index = indexed(&marks);
        prop_assert!(entries_ascend(index.entries()));
        if let Some(holds) = marks.iter().find(|mark| mark.next > Offset::new(offset)) {
            let from = index.floor_offset(Offset::new(offset));
            prop_assert!(from <= holds.position);
            prop_assert!(holds.position.get() - from.get() <= FIRST_INTERVAL + 3000);
        }
        if let Some(holds) = marks.iter().find(|mark| mark.end() > FilePosition::new(position)) {
            prop_assert!(index.floor_position(FilePosition::new(position)) <= holds.position.max(FilePosition::new(HEADER_LEN)));
        }
        let target = Timestamp::from_millis(time);
        if let Some(first) = marks.iter().find(|mark| mark.max_timestamp >= target) {
            prop_assert!(index.floor_timestamp(target) <= first.position);
        }
        let latest = index.latest().unwrap();
        let max = marks.iter().map(|mark| mark.max_timestamp).max().unwrap();
        let first = marks.iter().find(|mark| mark.max_timestamp == max).unwrap();
        prop_assert_eq!((latest.timestamp, latest.batch), (max, first.base));
    }
}

#[test]
fn a_full_index_thins_itself() {
    let batches: Vec<_> = (0..40_000).map(|n| (4096, 1, n)).collect();
    let marks = marks(&batches);
    let index = indexed(&marks);
    assert!(index.entries().len() <= MAX_ENTRIES);
    assert!(index.entries().len() > MAX_ENTRIES / 4);
    assert!(entries_ascend(index.entries()));
    for mark in marks.iter().step_by(997) {
        let from = index.floor_offset(mark.base);
        assert!(from <= mark.position && mark.position.get() - from.get() <= 2 * index.interval + 4096);
    }
}

#[test]
fn contradictory_parts_are_refused() {
    let entry = |offset, position| IndexEntry {
        offset: Offset::new(offset),
        position: FilePosition::new(position),
        max_timestamp_before: Timestamp::from_millis(0),
    };
    assert!(SparseIndex::from_parts(vec![entry(1, 64), entry(2, 100)], None).is_some());
    assert!(SparseIndex::from_parts(vec![entry(1, 64), entry(1, 100)], None).is_none());
    assert!(SparseIndex::from_parts(vec![entry(1, 100), entry(2, 64)], None).is_none());
}
