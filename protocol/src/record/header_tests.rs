//! Headers are parsed as they were encoded, and no bytes make the parser panic.

use super::*;
use crate::record::BatchBuilder;
use proptest::prelude::*;

fn header() -> impl Strategy<Value = BatchHeader> {
    let place = (any::<i64>(), 49..i32::MAX, any::<i32>(), any::<u32>());
    let content = (any::<i16>(), any::<i32>(), any::<i64>(), any::<i64>());
    let producer = (any::<i64>(), any::<i16>(), any::<i32>(), any::<i32>());
    (place, content, producer).prop_map(|(place, content, producer)| BatchHeader {
        base_offset: place.0,
        batch_length: place.1,
        partition_leader_epoch: place.2,
        crc: place.3,
        // Codecs 5 to 7 do not exist.
        attributes: content.0 & !0b11,
        last_offset_delta: content.1,
        base_timestamp: content.2,
        max_timestamp: content.3,
        producer_id: producer.0,
        producer_epoch: producer.1,
        base_sequence: producer.2,
        record_count: producer.3,
    })
}

proptest! {
    #[test]
    fn a_header_is_parsed_as_encoded(header in header(), rest: Vec<u8>) {
        let bytes = [&header.encode()[..], &rest].concat();
        prop_assert_eq!(BatchHeader::parse(&bytes), Ok(header));
        prop_assert_eq!(header.total_len(), header.batch_length as usize + 12);
        for end in 0..BatchHeader::SIZE {
            prop_assert_eq!(BatchHeader::parse(&bytes[..end]), Err(Damage::Truncated { needed: 61 }));
        }
    }

    #[test]
    fn any_bytes_are_checked_without_panic(bytes: Vec<u8>) {
        let _ = check_stored(&bytes);
    }

    #[test]
    fn a_changed_bit_is_found(value: Vec<u8>, at: prop::sample::Index, bit in 0u8..8) {
        let batch = BatchBuilder::default().push(1, None, Some(&value), &[]).build().unwrap();
        prop_assert!(check_stored(&batch).is_ok());
        let mut changed = batch.to_vec();
        // Base offset and leader epoch lie outside the checksum.
        let at = [8..12, 16..batch.len()].into_iter().flatten().nth(at.index(batch.len() - 12)).unwrap();
        changed[at] ^= 1 << bit;
        prop_assert!(check_stored(&changed).is_err());
    }
}

#[test]
fn attributes_are_read_bit_by_bit() {
    let mut header = *BatchBuilder::default().push(5, None, None, &[]).build_trusted().unwrap().header();
    assert_eq!(header.timestamp_type(), TimestampType::CreateTime);
    assert_eq!((header.is_transactional(), header.is_control(), header.delete_horizon()), (false, false, None));
    assert_eq!(header.producer(), None);
    header.attributes = 0b100_0000;
    assert_eq!((header.is_transactional(), header.is_control(), header.delete_horizon()), (false, false, Some(5)));
    header.attributes = 0b010_0000;
    assert_eq!((header.is_transactional(), header.is_control(), header.delete_horizon()), (false, true, None));
    header.attributes = 0b001_1100;
    assert_eq!((header.is_transactional(), header.is_control(), header.delete_horizon()), (true, false, None));
    assert_eq!((header.timestamp_type(), header.compression()), (TimestampType::LogAppendTime, Compression::Zstd));
    (header.producer_id, header.producer_epoch) = (0, 1);
    assert_eq!(header.producer(), Some(Producer { id: 0, epoch: 1, base_sequence: None }));
    header.base_sequence = 0;
    assert_eq!(header.producer(), Some(Producer { id: 0, epoch: 1, base_sequence: Some(0) }));
}

#[test]
fn damage_is_named() {
    let batch = BatchBuilder::default().push(5, None, None, &[]).build().unwrap();
    assert_eq!(check_stored(&[0; 4096]), Err(Damage::Length(0)));
    assert_eq!(check_stored(&batch[..61]), Err(Damage::Truncated { needed: batch.len() }));
    let changed = |at: usize, to: u8| {
        let mut bytes = batch.to_vec();
        bytes[at] = to;
        check_stored(&bytes).unwrap_err()
    };
    assert_eq!(changed(8, 0x80), Damage::Length(i32::MIN + batch.len() as i32 - 12));
    assert_eq!(changed(11, 48), Damage::Length(48));
    assert_eq!(changed(16, 1), Damage::Magic(1));
    assert_eq!(changed(22, 5), Damage::Compression(5));
    assert!(matches!(changed(60, 9), Damage::Checksum { .. }));
    // What follows a batch does not matter to it.
    assert!(check_stored(&[&batch[..], &[1, 2, 3]].concat()).is_ok());
}
