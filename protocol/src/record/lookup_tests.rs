//! Lookups by time find what a scan of the plain input finds.

use super::*;
use crate::record::{BatchBuilder, Compression};
use proptest::prelude::*;

const LIMIT: u64 = 1 << 20;

/// A stored batch with these timestamps, from offset 100 on.
fn stored(codec: Compression, timestamps: &[i64], append_time: Option<i64>) -> bytes::Bytes {
    let mut builder = BatchBuilder::new(codec);
    for timestamp in timestamps {
        builder.push(*timestamp, Some(b"k"), Some(b"v"), &[]);
    }
    builder.build_trusted().unwrap().stamp(100, 1, append_time).to_bytes()
}

proptest! {
    #[test]
    fn lookups_equal_a_scan(
        timestamps in proptest::collection::vec(-1i64..50, 1..20),
        codec in proptest::sample::select(Compression::ALL.to_vec()),
        wanted in 0i64..60,
        from in 95i64..125,
    ) {
        let batch = stored(codec, &timestamps, None);
        let all: Vec<_> = (100..).zip(&timestamps).map(|(offset, t)| RecordPosition { offset, timestamp: *t }).collect();
        let mut scratch = Scratch::default();
        let first = all.iter().find(|p| p.timestamp >= wanted && p.offset >= from).copied();
        prop_assert_eq!(first_at_or_after(&batch, wanted, from, &mut scratch, LIMIT).unwrap(), first);
        let max = all.iter().rev().max_by_key(|p| p.timestamp).copied().filter(|p| p.timestamp >= 0);
        prop_assert_eq!(max_timestamp_record(&batch, &mut scratch, LIMIT).unwrap(), max);
    }
}

#[test]
fn with_log_append_time_every_record_has_the_batchs_timestamp() {
    let batch = stored(Compression::Lz4, &[1, 90, 3], Some(50));
    let mut scratch = Scratch::default();
    let at = |offset| Some(RecordPosition { offset, timestamp: 50 });
    assert_eq!(max_timestamp_record(&batch, &mut scratch, LIMIT).unwrap(), at(100));
    assert_eq!(first_at_or_after(&batch, 50, 0, &mut scratch, LIMIT).unwrap(), at(100));
    assert_eq!(first_at_or_after(&batch, 2, 102, &mut scratch, LIMIT).unwrap(), at(102));
    assert_eq!(first_at_or_after(&batch, 2, 103, &mut scratch, LIMIT).unwrap(), None);
    assert_eq!(first_at_or_after(&batch, 51, 0, &mut scratch, LIMIT).unwrap(), None);
}

#[test]
fn records_without_timestamp_are_not_found() {
    let batch = stored(Compression::None, &[-1, -1], None);
    let mut scratch = Scratch::default();
    assert_eq!(max_timestamp_record(&batch, &mut scratch, LIMIT).unwrap(), None);
    assert_eq!(first_at_or_after(&batch, 0, 0, &mut scratch, LIMIT).unwrap(), None);
}
