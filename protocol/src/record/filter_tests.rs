use super::*;
use crate::record::{BatchBuilder, Producer, check_stored, records};
use proptest::prelude::*;

const LIMIT: u64 = 1 << 20;
const NO_MARKER: NewHorizon = NewHorizon { at: 5_000, marker: false };

/// A record of a test: timestamp, key, value, and how many headers with the same key.
type Spec = (i64, Vec<u8>, Option<Vec<u8>>, usize);

fn built(codec: Compression, specs: &[Spec]) -> Bytes {
    let producer = Producer { id: 7, epoch: 2, base_sequence: Some(40) };
    let mut builder = BatchBuilder::new(codec).producer(producer);
    for (timestamp, key, value, headers) in specs {
        let headers = vec![(&b"same"[..], Some(&b"v"[..])); *headers];
        builder.push(*timestamp, Some(key), value.as_deref(), &headers);
    }
    builder.build_trusted().unwrap().stamp(100, 3, None).to_bytes()
}

/// Everything that a reader sees of a record: offset, timestamp, key, value, number of headers.
type Seen = (i64, Option<i64>, Vec<u8>, Option<Vec<u8>>, usize);

fn seen(batch: &[u8]) -> Vec<Seen> {
    records(batch, &mut Scratch::default(), LIMIT)
        .unwrap()
        .map(|record| {
            let record = record.unwrap();
            let key = record.key.unwrap().to_vec();
            (record.offset, record.timestamp, key, record.value.map(<[u8]>::to_vec), record.headers.count())
        })
        .collect()
}

fn any_specs() -> impl Strategy<Value = Vec<Spec>> {
    let value = prop::option::weighted(0.7, prop::collection::vec(any::<u8>(), 0..200));
    let spec = (0i64..10_000, prop::collection::vec(any::<u8>(), 0..9), value, 0usize..3);
    prop::collection::vec(spec, 1..20)
}

proptest! {
    #[test]
    fn what_stays_is_seen_as_before(specs in any_specs(), mask: u32, codec in 0u8..5, marker: bool) {
        let codec = Compression::from_code(codec).unwrap();
        let batch = built(codec, &specs);
        let header = BatchHeader::parse(&batch).unwrap();
        let stays = |offset: i64| mask >> (offset - 100) & 1 == 1;
        let horizon = NewHorizon { at: 5_000, marker };
        let before = seen(&batch);
        let wanted: Vec<_> = before.iter().filter(|record| stays(record.0)).cloned().collect();
        let filtered = filter(&batch, &mut Scratch::default(), LIMIT, horizon, |record| stays(record.offset)).unwrap();
        let needs_horizon = marker || wanted.iter().any(|record| record.3.is_none());
        match filtered {
            Filtered::Nothing => prop_assert!(wanted.is_empty()),
            Filtered::Unchanged => prop_assert!(wanted.len() == before.len() && !needs_horizon),
            Filtered::Rewritten(bytes) => {
                let now = check_stored(&bytes).unwrap();
                prop_assert_eq!(now.total_len(), bytes.len());
                prop_assert_eq!(seen(&bytes), wanted.clone());
                prop_assert_eq!(now.delete_horizon(), needs_horizon.then_some(5_000));
                prop_assert_eq!(now.max_timestamp, wanted.iter().filter_map(|record| record.1).max().unwrap_or(-1));
                prop_assert_eq!(
                    (now.base_offset, now.last_offset_delta, now.partition_leader_epoch, now.producer(), now.compression()),
                    (100, header.last_offset_delta, 3, header.producer(), codec)
                );
                // A second pass that takes nothing changes nothing: neither bytes nor horizon.
                let again = filter(&bytes, &mut Scratch::default(), LIMIT, NewHorizon { at: 9_000, marker }, |_| true);
                prop_assert_eq!(again.unwrap(), Filtered::Unchanged);
            }
        }
    }

    #[test]
    fn damage_is_an_error_and_no_panic(specs in any_specs(), codec in 0u8..5, at: prop::sample::Index, flip in 1u8..) {
        let mut batch = built(Compression::from_code(codec).unwrap(), &specs).to_vec();
        let at = BatchHeader::SIZE - 4 + at.index(batch.len() - BatchHeader::SIZE + 4);
        batch[at] ^= flip;
        let _ = filter(&batch, &mut Scratch::default(), LIMIT, NO_MARKER, |record| record.offset % 2 == 0);
    }
}

#[test]
fn records_that_stay_keep_their_bytes() {
    let specs: Vec<Spec> = (0..3).map(|n| (1_000 + n, vec![b'k'; 3], Some(vec![n as u8; 50]), 2)).collect();
    let batch = built(Compression::None, &specs);
    let one = built(Compression::None, &specs[..1]);
    let record = &one[BatchHeader::SIZE..];
    let Filtered::Rewritten(bytes) =
        filter(&batch, &mut Scratch::default(), LIMIT, NO_MARKER, |record| record.offset == 100).unwrap()
    else {
        panic!("records went")
    };
    assert_eq!(&bytes[BatchHeader::SIZE..], record);
}

#[test]
fn an_emptied_batch_keeps_its_offsets_and_its_producer() {
    let specs: Vec<Spec> = (0..3).map(|n| (1_000 + n, vec![b'k'], None, 0)).collect();
    let batch = built(Compression::Zstd, &specs);
    let header = BatchHeader::parse(&batch).unwrap();
    let empty = without_records(&header);
    let now = check_stored(&empty).unwrap();
    assert_eq!((now.base_offset, now.last_offset(), now.record_count, empty.len()), (100, 102, 0, BatchHeader::SIZE));
    assert_eq!((now.producer(), now.compression()), (header.producer(), Compression::None));
    assert_eq!((now.delete_horizon(), now.max_timestamp()), (None, None));
    assert!(seen(&empty).is_empty());
}
