use super::*;
use crate::segment::AbortedTransaction;
use esker_protocol::record::{
    BatchBuilder, Compression, ControlKind, Producer, check_stored, end_transaction_marker, records,
};

const NOW: i64 = 10_000;
const RETENTION: i64 = 500;

fn rules(known: &[(&[u8], u64)], covered: u64) -> Rules {
    let mut newest = KeyMap::new(1 << 16, 3);
    for (key, offset) in known {
        assert!(newest.put(key, Offset::new(*offset)));
    }
    let (aborted, last) = (Aborted::default(), BTreeMap::new());
    Rules::new(newest, Offset::new(covered), aborted, last, Timestamp::from_millis(NOW), RETENTION, EVERYTHING)
}

fn at(mut rules: Rules, now: i64) -> Rules {
    rules.now = Timestamp::from_millis(now);
    rules
}

/// Key and value.
type Pair<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

/// A batch at offset `base` of records with these keys and values.
fn batch(base: i64, producer: Option<i64>, records: &[Pair<'_>]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    if let Some(id) = producer {
        builder = builder.producer(Producer { id, epoch: 1, base_sequence: Some(9) });
    }
    for (key, value) in records {
        builder.push(1000, *key, *value, &[]);
    }
    builder.build_trusted().unwrap().stamp(base, 0, None).to_bytes()
}

fn transactional(base: i64, producer: i64, key: &[u8]) -> Bytes {
    let producer = Producer { id: producer, epoch: 1, base_sequence: Some(0) };
    let mut builder = BatchBuilder::new(Compression::None).producer(producer).transactional();
    builder.push(1000, Some(key), Some(b"v"), &[]);
    builder.build_trusted().unwrap().stamp(base, 0, None).to_bytes()
}

fn marker(base: i64, producer: i64, kind: ControlKind) -> Bytes {
    end_transaction_marker(kind, producer, 1, 0, 1000).unwrap().stamp(base, 0, None).to_bytes()
}

fn apply(rules: &mut Rules, batch: &[u8]) -> Kept {
    rules.apply(&check_stored(batch).unwrap(), batch, &mut Scratch::default()).unwrap()
}

/// The offsets of the records that stay, and the batch that has them.
fn stays(rules: &mut Rules, batch: &Bytes) -> (Vec<i64>, Bytes) {
    let bytes = match apply(rules, batch) {
        Kept::AsIs => batch.clone(),
        Kept::As(bytes) => bytes,
        Kept::Nothing => return (Vec::new(), Bytes::new()),
    };
    let offsets = records(&bytes, &mut Scratch::default(), 1 << 20).unwrap().map(|r| r.unwrap().offset).collect();
    (offsets, bytes)
}

const V: Option<&[u8]> = Some(b"value");

#[test]
fn only_the_newest_of_a_key_stays() {
    let mut rules = rules(&[(b"a", 12), (b"b", 11)], 20);
    let of = batch(10, None, &[(Some(b"a"), V), (Some(b"b"), V), (Some(b"a"), V), (Some(b"c"), V)]);
    assert_eq!(stays(&mut rules, &of).0, [11, 12, 13], "of what is not in the map nothing newer is known");
    assert_eq!(apply(&mut rules, &batch(3, None, &[(Some(b"a"), V)])), Kept::Nothing);
    assert_eq!(apply(&mut rules, &batch(12, None, &[(Some(b"a"), V)])), Kept::AsIs);
    assert_eq!(rules.counts().records_read, 6);
    assert_eq!(rules.counts().records_kept, 4);
}

#[test]
fn what_lies_beyond_the_map_stays_whatever_it_is() {
    let mut rules = rules(&[(b"a", 11)], 12);
    let of = batch(10, None, &[(Some(b"a"), V), (Some(b"a"), V), (Some(b"a"), V), (None, V)]);
    assert_eq!(stays(&mut rules, &of).0, [11, 12, 13]);
}

#[test]
fn records_without_a_key_go_and_an_empty_key_is_one() {
    let mut rules = rules(&[(b"", 10)], 20);
    assert_eq!(stays(&mut rules, &batch(10, None, &[(Some(b""), V), (None, V)])).0, [10]);
    assert_eq!(rules.counts().keyless, 1);
}

#[test]
fn a_tombstone_stays_until_its_horizon() {
    let of = batch(10, None, &[(Some(b"a"), None), (Some(b"b"), V)]);
    let known: &[(&[u8], u64)] = &[(b"a", 10), (b"b", 11)];
    let (offsets, first) = stays(&mut rules(known, 20), &of);
    assert_eq!(offsets, [10, 11]);
    assert_eq!(check_stored(&first).unwrap().delete_horizon(), Some(NOW + RETENTION));
    // The horizon is set once, and the times of the records are what they were.
    let early = at(rules(known, 20), NOW + RETENTION - 1);
    assert_eq!(stays(&mut { early }, &first), (vec![10, 11], first.clone()));
    let mut scratch = Scratch::default();
    assert!(records(&first, &mut scratch, 1 << 20).unwrap().all(|record| record.unwrap().timestamp == Some(1000)));
    let mut late = at(rules(known, 20), NOW + RETENTION);
    assert_eq!(stays(&mut late, &first).0, [11]);
    // Something older may still have what it hides.
    let mut above = Rules { clean_below: Offset::new(10), ..at(rules(known, 20), NOW + RETENTION) };
    assert_eq!(stays(&mut above, &first).0, [10, 11]);
}

#[test]
fn the_last_batch_of_a_producer_leaves_its_head() {
    let last = |offset| BTreeMap::from([(7, LastBatch { epoch: 1, last_offset: Some(Offset::new(offset)) })]);
    let of = batch(10, Some(7), &[(Some(b"a"), V), (Some(b"a"), V)]);
    let mut gone = Rules { last_batches: last(30), ..rules(&[(b"a", 15)], 20) };
    assert_eq!(apply(&mut gone, &of), Kept::Nothing);
    let mut remembered = Rules { last_batches: last(11), ..rules(&[(b"a", 15)], 20) };
    let Kept::As(head) = apply(&mut remembered, &of) else { panic!("its head stays") };
    let header = check_stored(&head).unwrap();
    assert_eq!((header.record_count, header.base_offset, header.last_offset()), (0, 10, 11));
    assert_eq!(header.producer(), Some(Producer { id: 7, epoch: 1, base_sequence: Some(9) }));
    assert_eq!(apply(&mut remembered, &head), Kept::AsIs, "as long as it is the last");
    let mut later = Rules { last_batches: last(12), ..rules(&[], 20) };
    assert_eq!(apply(&mut later, &head), Kept::Nothing);
}

#[test]
fn aborted_records_go_and_markers_outlive_them_by_their_horizon() {
    let (data, abort) = (transactional(10, 7, b"a"), marker(11, 7, ControlKind::Abort));
    let committed = [transactional(12, 8, b"b"), marker(13, 8, ControlKind::Commit)];
    let learnt = |mut rules: Rules| {
        let (first, last) = (Offset::new(10), Offset::new(11));
        rules.aborted = Aborted::of(&[AbortedTransaction { producer_id: 7, first, last, last_stable: first }]);
        rules
    };
    // The map never had the aborted record's key.
    let mut first = learnt(rules(&[(b"b", 12)], 20));
    assert_eq!(apply(&mut first, &data), Kept::Nothing);
    let (offsets, stamped) = stays(&mut first, &abort);
    assert_eq!(offsets, [11]);
    assert_eq!(check_stored(&stamped).unwrap().delete_horizon(), Some(NOW + RETENTION), "nothing is left to mark");
    assert_eq!(apply(&mut first, &committed[0]), Kept::AsIs);
    assert_eq!(apply(&mut first, &committed[1]), Kept::AsIs, "its record is there");
    // All markers have the same key: the map has no say in them.
    let mut keyed = rules(&[(&ControlKind::Commit.key(), 19)], 20);
    apply(&mut keyed, &committed[0]);
    assert_eq!(apply(&mut keyed, &committed[1]), Kept::AsIs);
    let mut early = at(rules(&[], 20), NOW + RETENTION - 1);
    assert_eq!(apply(&mut early, &stamped), Kept::AsIs);
    let mut late = at(rules(&[], 20), NOW + RETENTION);
    assert_eq!(apply(&mut late, &stamped), Kept::Nothing);
    let mut above = Rules { clean_below: Offset::new(10), ..at(rules(&[], 20), NOW + RETENTION) };
    assert_eq!(apply(&mut above, &stamped), Kept::AsIs);
    let last = BTreeMap::from([(7, LastBatch { epoch: 1, last_offset: None })]);
    let mut fencing = Rules { last_batches: last, ..at(rules(&[], 20), NOW + RETENTION) };
    let Kept::As(head) = apply(&mut fencing, &stamped) else { panic!("the producer's epoch stays") };
    assert_eq!(check_stored(&head).unwrap().producer_epoch, 1);
}

#[test]
fn damage_is_named() {
    let mut of = batch(10, None, &[(Some(b"a"), V), (Some(b"b"), V)]).to_vec();
    let header = check_stored(&of).unwrap();
    of[BatchHeader::SIZE] ^= 0x40;
    assert!(rules(&[], 20).apply(&header, &of, &mut Scratch::default()).is_err());
}
