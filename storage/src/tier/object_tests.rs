//! Objects: written, explained by their footers, and never with a damaged batch.

use super::super::footer::{TRAILER_LEN, decode_trailer};
use super::super::object::{check_unit, read_footer, read_section};
use super::super::sections::{decode_aborted, decode_epochs};
use super::super::testing::{Bench, batch, batches_of, epoch, offset, partition};
use super::*;
use crate::env::store::testing::block_on;
use proptest::prelude::*;

fn range(n: u32, start: u64, end: u64) -> UnitRange {
    let (start, upto) = (offset(start), offset(end));
    UnitRange { partition: partition(n), start, upto, leader_epoch: epoch(3), revision: None, stay: 0 }
}

fn state() -> UnitState {
    UnitState {
        producers: Bytes::from_static(b"producers"),
        epochs: vec![(epoch(1), offset(0)), (epoch(3), offset(40))],
        aborted: vec![AbortedTransaction { producer_id: 5, first: offset(1), last: offset(9), last_stable: offset(9) }],
    }
}

fn shared(bench: &Bench) -> ObjectWriter {
    ObjectWriter::new(bench.store(), ObjectKey::Shared { attempt: bench.env.random.uuid() })
}

async fn write(bench: &Bench, units: &[(UnitRange, Vec<Bytes>)]) -> Vec<UnitMeta> {
    let mut writer = shared(bench);
    for (range, chunks) in units {
        writer.begin_unit(*range).unwrap();
        for chunk in chunks {
            writer.data(chunk).await.unwrap();
        }
        writer.end_unit(range.upto, state()).await.unwrap();
    }
    writer.finish().await.unwrap()
}

#[test]
fn an_object_explains_itself() {
    block_on(async {
        let bench = Bench::new(1);
        let units = write(
            &bench,
            &[(range(0, 40, 100), batches_of(40, 100, 3, 50)), (range(1, 0, 5), vec![batch(0, 5, 2, 9)])],
        )
        .await;
        assert_eq!(units.len(), 2);
        assert_eq!((units[0].start, units[0].end, units[0].last_epoch), (offset(40), offset(100), epoch(3)));
        assert_eq!(units[0].max_timestamp, Some(Timestamp::from_millis(990)));
        assert_eq!((units[1].leader_epoch, units[1].last_epoch), (epoch(3), epoch(2)));

        let size = bench.memory.get(&units[0].key).await.unwrap().len() as u64;
        assert_eq!(read_footer(&*bench.memory, &units[0].key, size).await.unwrap(), units);
        for unit in &units {
            check_unit(&*bench.memory, unit).await.unwrap();
            let section = async |section| read_section(&*bench.memory, &unit.key, section).await.unwrap();
            assert_eq!(section(unit.producers).await, "producers");
            assert_eq!(decode_epochs(&section(unit.epochs).await).unwrap(), state().epochs);
            assert_eq!(decode_aborted(&section(unit.aborted).await).unwrap(), state().aborted);
            assert_eq!(UnitIndex::decode(&section(unit.index).await).unwrap().entries()[0].offset, unit.start);
        }
        let data = bench.memory.get_range(&units[0].key, units[0].data.range()).await.unwrap();
        assert_eq!(data, batches_of(40, 100, 3, 50).concat());
    });
}

#[test]
fn a_large_object_goes_up_in_parts() {
    block_on(async {
        let bench = Bench::new(1);
        let chunks = batches_of(0, 3000, 3, 10_000);
        let units = write(&bench, &[(range(0, 0, 3000), chunks.clone())]).await;
        assert!(units[0].data.len() > 3 * PART_LEN as u64);
        check_unit(&*bench.memory, &units[0]).await.unwrap();
        let index = read_section(&*bench.memory, &units[0].key, units[0].index).await.unwrap();
        let index = UnitIndex::decode(&index).unwrap();
        let data = bench.memory.get_range(&units[0].key, units[0].data.range()).await.unwrap();
        for wanted in [0u64, 9, 10, 1234, 2999] {
            let floor = index.floor_offset(offset(wanted)) as usize;
            let header = check_stored(&data[floor..]).unwrap();
            assert!(header.base_offset as u64 <= wanted);
        }
    });
}

#[test]
fn rot_and_holes_are_never_uploaded() {
    let rejected = |unit: UnitRange, chunks: Vec<Bytes>| {
        block_on(async {
            let bench = Bench::new(1);
            let mut writer = shared(&bench);
            writer.begin_unit(unit).unwrap();
            for chunk in &chunks {
                if let Err(error) = writer.data(chunk).await {
                    assert!(matches!(error, TierError::Corrupt { .. }), "{error}");
                    assert!(bench.memory.is_empty());
                    return true;
                }
            }
            false
        })
    };
    let good = || vec![batch(0, 10, 1, 20), batch(10, 10, 2, 20)];
    assert!(!rejected(range(0, 0, 20), good()));
    assert!(!rejected(range(0, 5, 20), good()), "records before 5 were deleted");
    let mut rotten = good()[1].to_vec();
    rotten[70] ^= 1;
    assert!(rejected(range(0, 0, 20), vec![good()[0].clone(), Bytes::from(rotten)]));
    assert!(rejected(range(0, 0, 20), vec![good()[0].clone(), good()[0].clone()]), "repeated");
    assert!(rejected(range(0, 0, 20), vec![good()[1].clone()]), "the start is missing");
    assert!(rejected(range(0, 0, 15), good()), "beyond the end");
    assert!(rejected(range(0, 0, 20), vec![batch(0, 10, 2, 20), batch(10, 10, 1, 20)]), "epochs go back");
    assert!(rejected(range(0, 0, 20), vec![good()[0].slice(..50)]), "torn");
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing() {
    block_on(async {
        let bench = Bench::new(1);
        let mut writer = shared(&bench);
        writer.begin_unit(range(0, 0, 3000)).unwrap();
        for chunk in batches_of(0, 3000, 3, 10_000) {
            writer.data(&chunk).await.unwrap();
        }
        drop(writer);
        let mut writer = shared(&bench);
        assert!(writer.is_empty());
        assert!(matches!(writer.end_unit(offset(5), state()).await, Err(TierError::Invalid { .. })));
        assert!(matches!(writer.finish().await, Err(TierError::Invalid { .. })));
        assert!(bench.memory.is_empty());
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_changed_byte_of_an_object_passes(at: prop::sample::Index, flip in 1u8..) {
        block_on(async {
            let bench = Bench::new(1);
            let units = write(&bench, &[(range(0, 0, 30), batches_of(0, 30, 3, 9))]).await;
            let key = &units[0].key;
            let mut bytes = bench.memory.get(key).await.unwrap().to_vec();
            let size = bytes.len() as u64;
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            bench.memory.put(key, Bytes::from(bytes)).await.unwrap();
            let footer = read_footer(&*bench.memory, key, size).await;
            let unit = check_unit(&*bench.memory, &units[0]).await;
            assert!(footer.is_err() || unit.is_err());
        });
    }

    #[test]
    fn no_trailer_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40), size: u64) {
        prop_assert!(decode_trailer("k", size.max(TRAILER_LEN), &bytes).is_err());
    }
}
