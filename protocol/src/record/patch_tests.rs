//! A stamped batch is the producer's, with a new head and a right checksum.

use super::*;
use crate::record::{BatchBuilder, Compression, Rules, Scratch, check_stored, records, validate};
use proptest::prelude::*;

/// `batch` with another max timestamp in its header, as a sloppy client sends it.
fn with_max_timestamp(batch: &[u8], max_timestamp: i64) -> Bytes {
    let mut header = BatchHeader::parse(batch).unwrap();
    header.max_timestamp = max_timestamp;
    let mut bytes = [&header.encode()[..], &batch[61..]].concat();
    let crc = ::crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

proptest! {
    #[test]
    fn a_stamped_batch_has_a_right_checksum(
        timestamps in proptest::collection::vec(-1i64..1000, 1..30),
        sent_max: i64,
        value_len in 0usize..5000,
        codec in proptest::sample::select(Compression::ALL.to_vec()),
        base in 0..i64::MAX / 2,
        epoch in 0..i32::MAX,
        now in proptest::option::of(0i64..1 << 50),
    ) {
        let mut builder = BatchBuilder::new(codec);
        for timestamp in &timestamps {
            builder.push(*timestamp, None, Some(&vec![7; value_len]), &[]);
        }
        let sent = with_max_timestamp(&builder.build().unwrap(), sent_max);
        let mut scratch = Scratch::default();
        let batch = validate(sent.clone(), &Rules { now_ms: 1000, ..Rules::default() }, &mut scratch).unwrap();
        prop_assert_eq!(batch.offsets() as usize, timestamps.len());
        prop_assert_eq!(batch.size(), sent.len());
        let stamped = batch.stamp(base, epoch, now);
        // Not copied: the tail is the sent bytes themselves.
        prop_assert_eq!(stamped.tail.as_ptr(), sent[61..].as_ptr());
        prop_assert_eq!(stamped.size(), sent.len());

        let stored = stamped.to_bytes();
        prop_assert_eq!(check_stored(&stored), Ok(stamped.header));
        let header = stamped.header;
        let max = timestamps.iter().copied().max().unwrap();
        prop_assert_eq!((header.base_offset, header.partition_leader_epoch), (base, epoch));
        prop_assert_eq!(header.max_timestamp, now.unwrap_or(max));
        prop_assert_eq!(header.timestamp_type() == TimestampType::LogAppendTime, now.is_some());
        prop_assert_eq!(&stored[43..], &sent[43..]);
        let read: Vec<i64> = records(&stored, &mut scratch, 1 << 20)
            .unwrap()
            .map(|record| record.unwrap().timestamp.unwrap_or(-1))
            .collect();
        prop_assert_eq!(read, timestamps.iter().map(|t| now.unwrap_or(*t)).collect::<Vec<_>>());
    }
}

#[test]
fn a_batch_that_was_not_walked_keeps_its_timestamps() {
    let rules = Rules { walk: crate::record::Walk::HeaderOnly, ..Rules::default() };
    let sent = BatchBuilder::default().push(77, None, None, &[]).build().unwrap();
    let batch = validate(sent.clone(), &rules, &mut Scratch::default()).unwrap();
    assert_eq!((batch.max_timestamp(), batch.max_timestamp_delta()), (Some(77), None));
    let stamped = batch.clone().stamp(9, 1, None);
    assert_eq!(stamped.to_bytes()[17..], sent[17..]);
    let stamped = batch.stamp(9, 1, Some(500));
    assert_eq!(stamped.header.max_timestamp, 500);
    assert!(check_stored(&stamped.to_bytes()).is_ok());
}
