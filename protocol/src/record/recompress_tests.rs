//! Every codec into every other one.

use super::super::header::Producer;
use super::super::{BatchBuilder, Walk, check_stored, stream, validate};
use super::*;
use bytes::Bytes;
use proptest::prelude::*;

type Made = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

fn batch(codec: Compression, made: &[Made], producer: bool) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    if producer {
        builder = builder.producer(Producer { id: 77, epoch: 3, base_sequence: Some(12) });
    }
    for (timestamp, key, value, headers) in made {
        let headers: Vec<_> = headers.iter().map(|(key, value)| (&key[..], value.as_deref())).collect();
        builder.push(*timestamp, key.as_deref(), value.as_deref(), &headers);
    }
    builder.build().unwrap()
}

fn rules() -> Rules {
    Rules { before_max_ms: i64::MAX, after_max_ms: i64::MAX, max_message_bytes: 64 << 20, ..Rules::default() }
}

/// The records section of a batch, decompressed.
fn plain(batch: &[u8]) -> Vec<u8> {
    let header = BatchHeader::parse(batch).unwrap();
    let mut scratch = Scratch::default();
    let window = Window::new(&header, &batch[BatchHeader::SIZE..], &mut scratch, 1 << 30).unwrap();
    window.read_all().unwrap().to_vec()
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..60)
}

fn made() -> impl Strategy<Value = Vec<Made>> {
    let header = (bytes(), proptest::option::of(bytes()));
    let headers = proptest::collection::vec(header, 0..3);
    let record = (0i64..1 << 40, proptest::option::of(bytes()), proptest::option::of(bytes()), headers);
    proptest::collection::vec(record, 1..40)
}

fn any_target() -> impl Strategy<Value = StoredAs> {
    prop_oneof![
        Just(StoredAs::Uncompressed),
        (1i32..=9).prop_map(StoredAs::Gzip),
        Just(StoredAs::Snappy),
        (1i32..=17).prop_map(StoredAs::Lz4),
        (-7i32..=12).prop_map(StoredAs::Zstd),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn nothing_but_codec_length_and_checksum_changes(
        made in made(), from in 0u8..5, how in any_target(), producer: bool,
    ) {
        let sent = batch(Compression::from_code(from).unwrap(), &made, producer);
        let mut scratch = Scratch::default();
        let before = validate(sent.clone(), &rules(), &mut scratch).unwrap();
        let (max, delta) = (before.max_timestamp(), before.max_timestamp_delta());
        let after = before.recompressed(how, &rules(), &mut scratch).unwrap();
        prop_assert_eq!((after.max_timestamp(), after.max_timestamp_delta()), (max, delta));
        prop_assert!(!after.differs_from(how));
        let (old, new) = (BatchHeader::parse(&sent).unwrap(), check_stored(after.bytes()).unwrap());
        prop_assert_eq!(after.header(), &new);
        prop_assert_eq!(plain(&sent), plain(after.bytes()));
        let mut same = new;
        same.set_compression(old.compression());
        prop_assert_eq!(BatchHeader { batch_length: old.batch_length, crc: old.crc, ..same }, old);
        // What a log makes of it is read back whole.
        let stored = after.stamp(500, 4, None).to_bytes();
        let mut read = stream(&stored, &mut scratch, 1 << 30).unwrap();
        let mut count = 0;
        while let Some(record) = read.next_record().unwrap() {
            let (timestamp, key, value, _) = &made[count];
            prop_assert_eq!(record.offset, 500 + count as i64);
            prop_assert_eq!(record.timestamp, Some(*timestamp));
            prop_assert_eq!((record.key, record.value), (key.as_deref(), value.as_deref()));
            count += 1;
        }
        prop_assert_eq!(count, made.len());
    }
}

#[test]
fn the_result_is_measured_against_the_largest_message() {
    let made: Vec<Made> = (0..50).map(|n| (n, None, Some(vec![b'a'; 200]), Vec::new())).collect();
    let sent = batch(Compression::Zstd, &made, false);
    let limit = sent.len();
    let tight = Rules { max_message_bytes: limit, ..rules() };
    let mut scratch = Scratch::default();
    let checked = validate(sent.clone(), &tight, &mut scratch).unwrap();
    let refused = checked.recompressed(StoredAs::Uncompressed, &tight, &mut scratch).unwrap_err();
    assert_eq!(refused.kind, RejectionKind::MessageTooLarge);
    let exact = Rules { max_message_bytes: batch(Compression::None, &made, false).len(), ..rules() };
    let checked = validate(sent, &exact, &mut scratch).unwrap();
    assert!(checked.recompressed(StoredAs::Uncompressed, &exact, &mut scratch).is_ok());
}

#[test]
fn a_bomb_is_refused_though_nobody_walked_it() {
    let made: Vec<Made> = vec![(1, None, Some(vec![0; 8 << 20]), Vec::new())];
    let sent = batch(Compression::Zstd, &made, false);
    let narrow = Rules { max_decompressed: 4 << 20, walk: Walk::HeaderOnly, ..rules() };
    let mut scratch = Scratch::default();
    let checked = validate(sent, &narrow, &mut scratch).unwrap();
    let refused = checked.recompressed(StoredAs::Lz4(1), &narrow, &mut scratch).unwrap_err();
    assert_eq!(refused.kind, RejectionKind::MessageTooLarge);
    assert!(scratch.size() < 12 << 20, "{}", scratch.size());
}

#[test]
fn garbage_that_nobody_walked_is_refused() {
    let mut garbage = batch(Compression::None, &[(1, None, Some(vec![1; 50]), Vec::new())], false).to_vec();
    let mut header = BatchHeader::parse(&garbage).unwrap();
    header.set_compression(Compression::Gzip);
    header.write_to(&mut garbage);
    header.crc = crc32c(&garbage[BatchHeader::CRC_START..]);
    header.write_to(&mut garbage);
    let mut scratch = Scratch::default();
    let lax = Rules { walk: Walk::HeaderOnly, ..rules() };
    let checked = validate(garbage.into(), &lax, &mut scratch).unwrap();
    let refused = checked.recompressed(StoredAs::Zstd(3), &lax, &mut scratch).unwrap_err();
    assert_eq!(refused.kind, RejectionKind::InvalidRecord);
}
