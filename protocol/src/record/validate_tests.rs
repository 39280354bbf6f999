//! What is refused, with which error, in which order; and that what is accepted can be read.

use super::*;
use crate::record::{BatchBuilder, Producer, records, stream};
use proptest::prelude::*;

fn check(batch: impl Into<Vec<u8>>, rules: &Rules) -> Result<ValidatedBatch, Rejection> {
    validate(batch.into().into(), rules, &mut Scratch::default())
}

fn rejected(batch: impl Into<Vec<u8>>, rules: &Rules) -> RejectionKind {
    check(batch, rules).expect_err("must be refused").kind
}

/// Sets length and checksum right after a change.
fn seal(batch: &mut [u8]) {
    let length = (batch.len() - 12) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = ::crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// A batch whose header was changed, with a right checksum.
fn with_header(batch: &[u8], change: impl FnOnce(&mut BatchHeader)) -> Vec<u8> {
    let mut header = BatchHeader::parse(batch).unwrap();
    change(&mut header);
    let mut bytes = [&header.encode()[..], &batch[61..]].concat();
    seal(&mut bytes);
    bytes
}

/// A batch of `records`, given as encoded bytes with their lengths.
fn with_records(count: i32, records: &[u8]) -> Vec<u8> {
    let batch = with_header(&three(Compression::None), |header| {
        header.record_count = count;
        header.last_offset_delta = count - 1;
    });
    let mut bytes = [&batch[..61], records].concat();
    seal(&mut bytes);
    bytes
}

fn three(codec: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new(codec);
    builder.push(10, Some(b"a"), Some(b"first"), &[]);
    builder.push(30, None, Some(b"second"), &[(b"h", None), (b"h", Some(b"\xff"))]);
    builder.push(20, Some(b""), None, &[]);
    builder.build().unwrap().to_vec()
}

fn rules() -> Rules {
    Rules { now_ms: 1000, after_max_ms: 100, ..Rules::default() }
}

use RejectionKind::{CorruptMessage, InvalidRecord, InvalidTimestamp, MessageTooLarge, UnsupportedCompression};

#[test]
fn a_good_batch_is_kept_as_it_is() {
    for codec in Compression::ALL {
        let sent = Bytes::from(three(codec));
        let batch = validate(sent.clone(), &rules(), &mut Scratch::default()).unwrap();
        assert_eq!(batch.bytes().as_ptr(), sent.as_ptr());
        assert_eq!((batch.offsets(), batch.size()), (3, sent.len()));
        assert_eq!((batch.max_timestamp(), batch.max_timestamp_delta()), (Some(30), Some(1)));
    }
}

#[test]
fn the_first_fault_in_kafkas_order_decides() {
    // Each fault comes before those above it: adding one changes the answer to its own.
    let strict = Rules { max_message_bytes: 60, compacted: true, zstd_allowed: false, ..rules() };
    let mut builder = BatchBuilder::new(Compression::Zstd).producer(Producer { id: 1, epoch: 0, base_sequence: None });
    builder.push(10, None, None, &[]);
    let mut batch = builder.control().build().unwrap().to_vec();

    let lenient = Rules { max_message_bytes: 1000, zstd_allowed: true, ..strict.clone() };
    let message = |batch: &[u8], rules: &Rules| check(batch, rules).unwrap_err().message;
    assert_eq!(message(&batch, &lenient), "clients may not write control records");
    batch = with_header(&batch, |header| header.last_offset_delta = 4);
    assert_eq!(message(&batch, &lenient), "the batch has 1 records, and a last offset delta of 4");
    batch[60] = 9;
    assert_eq!(rejected(&batch[..], &lenient), CorruptMessage);
    assert_eq!(rejected(&batch[..], &Rules { zstd_allowed: true, ..strict.clone() }), MessageTooLarge);
    batch[0] = 1;
    assert_eq!(rejected(&batch[..], &Rules { zstd_allowed: true, ..strict.clone() }), InvalidRecord);
    assert_eq!(rejected(&batch[..], &strict), UnsupportedCompression);
    batch[16] = 1;
    assert_eq!(message(&batch, &strict), "record batches need magic 2, not 1");
    assert_eq!(rejected([], &strict), InvalidRecord);
}

#[test]
fn exactly_one_batch_is_accepted() {
    let one = three(Compression::None);
    assert_eq!(rejected([], &rules()), InvalidRecord);
    for end in 1..one.len() {
        assert_eq!(rejected(&one[..end], &rules()), InvalidRecord);
    }
    assert_eq!(rejected([&one[..], &one].concat(), &rules()), InvalidRecord);
    assert_eq!(rejected([&one[..], &[0]].concat(), &rules()), InvalidRecord);
    assert_eq!(rejected([0; 200], &rules()), InvalidRecord);
}

#[test]
fn the_size_limit_is_inclusive() {
    let one = three(Compression::None);
    assert!(check(&one[..], &Rules { max_message_bytes: one.len(), ..rules() }).is_ok());
    assert_eq!(rejected(&one[..], &Rules { max_message_bytes: one.len() - 1, ..rules() }), MessageTooLarge);
}

#[test]
fn header_faults_are_refused() {
    let one = three(Compression::None);
    let refused = |change: fn(&mut BatchHeader)| rejected(with_header(&one, change), &rules());
    assert_eq!(refused(|h| h.base_offset = 1), InvalidRecord);
    assert_eq!(refused(|h| h.record_count = 2), InvalidRecord);
    assert_eq!(refused(|h| h.record_count = -1), InvalidRecord);
    assert_eq!(refused(|h| (h.record_count, h.last_offset_delta) = (0, -1)), InvalidRecord);
    assert_eq!(refused(|h| h.last_offset_delta = i32::MAX), InvalidRecord);
    assert_eq!(refused(|h| (h.record_count, h.last_offset_delta) = (i32::MIN, i32::MAX)), InvalidRecord);
    assert_eq!(refused(|h| (h.record_count, h.last_offset_delta) = (2, 1)), InvalidRecord);
    assert_eq!(refused(|h| (h.record_count, h.last_offset_delta) = (4, 3)), InvalidRecord);
    assert_eq!(refused(|h| h.attributes |= 1 << 5), InvalidRecord);
    assert_eq!(refused(|h| h.attributes |= 1 << 3), InvalidTimestamp);
    assert_eq!(refused(|h| (h.producer_id, h.base_sequence) = (5, -1)), InvalidRecord);
    assert_eq!(refused(|h| h.attributes |= 7), InvalidRecord);
    // A sequence is what a producer needs.
    let idempotent = with_header(&one, |h| (h.producer_id, h.producer_epoch, h.base_sequence) = (5, 0, 0));
    assert!(check(idempotent, &rules()).is_ok());
}

#[test]
fn a_compacted_topic_needs_keys_and_names_the_records_without() {
    for walk in [Walk::Strict, Walk::HeaderOnly] {
        for codec in Compression::ALL {
            let rejection = check(three(codec), &Rules { compacted: true, walk, ..rules() }).unwrap_err();
            assert_eq!((rejection.kind, rejection.code()), (InvalidRecord, 87));
            assert_eq!(rejection.record_errors.iter().map(|e| e.0).collect::<Vec<_>>(), [1]);
        }
    }
    // An empty key is a key.
    let keyed = BatchBuilder::default().push(1, Some(b""), None, &[]).build().unwrap();
    assert!(check(keyed, &Rules { compacted: true, ..rules() }).is_ok());
}

#[test]
fn timestamps_are_bounded_on_both_sides() {
    let at = |timestamp: i64, rules: &Rules| {
        let mut builder = BatchBuilder::default();
        check(builder.push(1000, None, None, &[]).push(timestamp, None, None, &[]).build().unwrap(), rules)
    };
    let bounded = Rules { before_max_ms: 50, ..rules() };
    for fine in [950, 1100, -1] {
        assert!(at(fine, &bounded).is_ok(), "{fine}");
    }
    for wrong in [949, 1101, -2, i64::MAX, i64::MIN] {
        let rejection = at(wrong, &bounded).unwrap_err();
        assert_eq!((rejection.kind, rejection.code()), (InvalidTimestamp, 32));
        assert_eq!(rejection.record_errors.iter().map(|e| e.0).collect::<Vec<_>>(), [1], "{wrong}");
    }
    assert!(at(0, &rules()).is_ok(), "Kafka does not bound the past by default");
    let broker_time = Rules { timestamp_type: TimestampType::LogAppendTime, ..bounded.clone() };
    assert!(at(5_000_000, &broker_time).is_ok());
    // Without a walk, the header's maximum is what is checked.
    let header_only = Rules { walk: Walk::HeaderOnly, ..bounded };
    assert_eq!(at(1101, &header_only).unwrap_err().kind, InvalidTimestamp);
    assert!(at(1100, &header_only).is_ok());
}

#[test]
fn record_errors_are_bounded_and_the_first_decides() {
    let mut builder = BatchBuilder::default();
    builder.push(5000, Some(b"k"), None, &[]);
    for _ in 0..1000 {
        builder.push(1000, None, None, &[]);
    }
    let rejection = check(builder.build().unwrap(), &Rules { compacted: true, ..rules() }).unwrap_err();
    assert_eq!(rejection.kind, InvalidTimestamp);
    assert_eq!(rejection.record_errors.len(), Rejection::MAX_RECORD_ERRORS);
    assert_eq!(rejection.record_errors[99].0, 99);
}

#[test]
fn malformed_records_are_refused() {
    // length, attributes, timestamp, offset, key, value, headers
    assert!(check(with_records(1, &[12, 0, 0, 0, 1, 1, 0]), &rules()).is_ok());
    let cases: [(&str, i32, &[u8]); 16] = [
        ("a record less", 2, &[12, 0, 0, 0, 1, 1, 0]),
        ("a record more", 1, &[12, 0, 0, 0, 1, 1, 0, 12, 0, 0, 2, 1, 1, 0]),
        ("no records", 1, &[]),
        ("negative length", 1, &[1, 0, 0, 0, 1, 1, 0]),
        ("zero length", 1, &[0]),
        ("length beyond the batch", 1, &[14, 0, 0, 0, 1, 1, 0]),
        ("length beyond everything", 1, &[0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 1, 1, 0]),
        ("length too short", 1, &[10, 0, 0, 0, 1, 1, 0]),
        ("length that hides a byte", 1, &[14, 0, 0, 0, 1, 1, 0, 0]),
        ("offset delta 1 first", 1, &[12, 0, 0, 2, 1, 1, 0]),
        ("offset delta twice", 2, &[12, 0, 0, 0, 1, 1, 0, 12, 0, 0, 0, 1, 1, 0]),
        ("key length -2", 1, &[12, 0, 0, 0, 3, 1, 0]),
        ("value beyond the record", 1, &[12, 0, 0, 0, 1, 4, 0]),
        ("negative header count", 1, &[12, 0, 0, 0, 1, 1, 1]),
        ("a header count without headers", 1, &[20, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f]),
        ("a header without key", 1, &[16, 0, 0, 0, 1, 1, 2, 1, 1]),
    ];
    for (what, count, bytes) in cases {
        let rejection = check(with_records(count, bytes), &rules()).expect_err(what);
        assert_eq!(rejection.kind, InvalidRecord, "{what}");
        assert!(!rejection.record_errors.is_empty(), "{what}");
        let batch = with_records(count, bytes);
        assert!(check(&batch[..], &Rules { walk: Walk::HeaderOnly, ..rules() }).is_ok(), "{what}");
        // Readers find the same faults, except that they take any offsets: compaction makes holes.
        let readable = records(&batch, &mut Scratch::default(), 0).unwrap().all(|record| record.is_ok());
        assert_eq!(readable, what.starts_with("offset delta"), "{what}");
    }
}

#[test]
fn a_record_larger_than_the_window_does_not_reach_into_the_next() {
    // A record of 100,000 bytes whose value takes all of it, so that no count of headers follows, and another.
    let mut plain = Vec::new();
    for (length, value) in [(100_000, 99_991), (100_000, 99_992), (100_000, 99_993), (100_000, 99_994)] {
        plain.clear();
        varint::write_i32(&mut plain, length);
        plain.extend([0, 0, 0, 1]);
        varint::write_i32(&mut plain, value);
        plain.resize(100_003, 0);
        plain.extend([12, 0, 0, 2, 1, 1, 0]);
        let mut batch = with_records(2, &[]);
        super::super::compress::compress(Compression::Zstd.into(), &plain, &mut batch).unwrap();
        batch[22] = Compression::Zstd.code();
        seal(&mut batch);
        let fits = value == 99_992;
        assert_eq!(check(&batch[..], &rules()).is_ok(), fits, "{value}");
        assert_eq!(records(&batch, &mut Scratch::default(), 1 << 20).unwrap().all(|r| r.is_ok()), fits, "{value}");
    }
}

#[test]
fn of_equal_timestamps_the_first_counts() {
    let mut builder = BatchBuilder::default();
    builder.push(5, None, None, &[]).push(9, None, None, &[]).push(9, None, None, &[]);
    let batch = check(builder.build().unwrap(), &rules()).unwrap();
    assert_eq!((batch.max_timestamp(), batch.max_timestamp_delta()), (Some(9), Some(1)));
    assert_eq!(builder.build_trusted().unwrap().max_timestamp_delta(), Some(1));
}

#[test]
fn scratch_gives_back_what_large_batches_took() {
    fn movable<T: Send>(_: &T) {}
    let mut scratch = Scratch::default();
    movable(&scratch);
    assert_eq!(scratch.size(), 0);
    validate(three(Compression::None).into(), &rules(), &mut scratch).unwrap();
    assert_eq!(scratch.size(), 0, "an uncompressed batch needs none");
    let plain = bomb(Compression::None, 8 << 20);
    let sealed = |codec: Compression, records: Vec<u8>| {
        let mut batch = [&plain[..61], &records].concat();
        batch[22] = codec.code();
        seal(&mut batch);
        batch
    };
    // One raw block; and the window of the highest level, of which a decoder keeps a copy.
    let raw = snap::raw::Encoder::new().compress_vec(&plain[61..]).unwrap();
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.window_log(27).unwrap();
    std::io::Write::write_all(&mut encoder, &plain[61..]).unwrap();
    let wide = encoder.finish().unwrap();
    for batch in [sealed(Compression::Snappy, raw), sealed(Compression::Zstd, wide)] {
        validate(batch.into(), &rules(), &mut scratch).unwrap();
        assert!(scratch.size() < 1 << 20, "{} bytes are kept", scratch.size());
    }
}

#[test]
fn a_compacted_batch_may_be_empty() {
    for codec in Compression::ALL {
        let batch = with_header(&three(codec)[..61], |header| header.record_count = 0);
        let mut scratch = Scratch::default();
        assert_eq!(records(&batch, &mut scratch, 1 << 20).unwrap().count(), 0);
        assert!(stream(&batch, &mut scratch, 1 << 20).unwrap().next_record().unwrap().is_none());
        let claims = with_header(&batch, |header| header.record_count = 3);
        assert_eq!(rejected(claims, &rules()), InvalidRecord);
    }
}

fn codec() -> impl Strategy<Value = Compression> {
    proptest::sample::select(Compression::ALL.to_vec())
}

/// A batch whose records exceed a window, and vary.
fn large(codec: Compression, lengths: &[usize]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(codec);
    for (n, length) in lengths.iter().enumerate() {
        let value: Vec<u8> = (0..*length).map(|i| ((i * n) >> 3) as u8).collect();
        builder.push(n as i64, Some(&[n as u8]), Some(&value), &[(b"h", Some(&value[..length / 2]))]);
    }
    builder.build().unwrap().to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_changed_batch_is_refused_or_can_be_read(
        codec in codec(),
        lengths in proptest::collection::vec(0usize..300, 1..6),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        walk in proptest::sample::select(vec![Walk::Strict, Walk::HeaderOnly]),
    ) {
        let mut batch = large(codec, &lengths);
        for (at, byte) in changes {
            let at = at.index(batch.len() - 21) + 21;
            batch[at] = byte;
        }
        seal(&mut batch);
        let mut scratch = Scratch::default();
        let accepted = validate(batch.clone().into(), &Rules { walk, ..rules() }, &mut scratch);
        let all: Result<Vec<i64>, _> =
            records(&batch, &mut scratch, 1 << 20).and_then(|all| all.map(|r| r.map(|r| r.offset)).collect());
        let mut streamed = Vec::new();
        if let Ok(mut stream) = stream(&batch, &mut scratch, 1 << 20) {
            while let Ok(Some(record)) = stream.next_record() {
                streamed.push(record.offset);
            }
        }
        if let (Ok(accepted), Walk::Strict) = (accepted, walk) {
            prop_assert_eq!(all.unwrap(), (0..i64::from(accepted.offsets())).collect::<Vec<_>>());
            prop_assert_eq!(streamed.len(), accepted.offsets() as usize);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_batch_that_lacks_or_adds_bytes_is_refused(
        codec in codec(),
        lengths in proptest::collection::vec(0usize..100_000, 1..4),
        cut: prop::sample::Index,
        more in proptest::collection::vec(any::<u8>(), 1..20),
    ) {
        let batch = large(codec, &lengths);
        let whole = Rules { max_message_bytes: 1 << 20, ..rules() };
        prop_assert!(check(&batch[..], &whole).is_ok());
        let mut short = batch[..61 + cut.index(batch.len() - 61)].to_vec();
        seal(&mut short);
        prop_assert_eq!(rejected(short, &whole), InvalidRecord);
        let mut long = [&batch[..], &more].concat();
        seal(&mut long);
        prop_assert_eq!(rejected(long, &whole), InvalidRecord);
    }
}

/// A batch of one record with a value of this many zeros.
fn bomb(codec: Compression, size: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(codec);
    builder.push(1, Some(b"k"), Some(&vec![0; size]), &[]);
    builder.build().unwrap().to_vec()
}

#[test]
fn bombs_are_refused_with_little_memory() {
    let rules = Rules { max_message_bytes: 10 << 20, max_decompressed: 8 << 20, ..rules() };
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let mut scratch = Scratch::default();
        let batch = bomb(codec, 12 << 20);
        assert!(batch.len() < 1 << 20, "{codec:?} is no bomb: {}", batch.len());
        let rejection = validate(batch.into(), &rules, &mut scratch).unwrap_err();
        assert_eq!(rejection.kind, MessageTooLarge, "{codec:?}: {rejection}");
        assert!(scratch.size() < 5 << 20, "{codec:?} holds {}", scratch.size());
        assert_eq!(scratch.window.len(), 64 * 1024);
        // Below the limit it is a batch like any other, and needs no more memory.
        let batch = validate(bomb(codec, 8_000_000).into(), &rules, &mut scratch).unwrap();
        assert_eq!(batch.offsets(), 1);
        assert_eq!(scratch.window.len(), 64 * 1024);
    }
}

#[test]
fn many_small_records_may_be_a_bomb_too() {
    let rules = Rules { max_decompressed: 1 << 20, ..rules() };
    let mut builder = BatchBuilder::new(Compression::Zstd);
    for _ in 0..200_000 {
        builder.push(1, None, None, &[]);
    }
    assert_eq!(rejected(builder.build().unwrap(), &rules), MessageTooLarge);
}

#[test]
fn the_decompressed_limit_follows_the_size() {
    let rules = Rules { max_decompressed: 64 << 20, ..rules() };
    assert_eq!(rules.decompressed_limit(10), 32 << 20);
    assert_eq!(rules.decompressed_limit(400 << 10), (400 * 100) << 10);
    assert_eq!(rules.decompressed_limit(1 << 20), 64 << 20);
    assert_eq!(rules.decompressed_limit(usize::MAX), 64 << 20);
}
