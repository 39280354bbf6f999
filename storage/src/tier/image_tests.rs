//! The rules of the tier log: what is accepted, what is refused, and what holds whatever is replayed.

use super::super::manifest::{Located, PageRef, units_tile};
use super::super::testing::{epoch, offset, open, partition, unit};
use super::super::unit::UnitMeta;
use super::*;
use crate::env::Timestamp;
use proptest::prelude::*;

fn replayed(records: &[TierRecord]) -> (TierImage, Vec<Verdict>) {
    TierImage::default().replay(1, records)
}

fn log_start(n: u32, leader_epoch: u32, start: u64) -> TierRecord {
    TierRecord::LogStart { partition: partition(n), epoch: epoch(leader_epoch), offset: offset(start) }
}

fn unit_record(n: u32, leader_epoch: u32, start: u64, end: u64) -> TierRecord {
    TierRecord::Unit(unit(n, leader_epoch, start, end, u128::from(start)))
}

#[test]
fn units_are_accepted_from_the_open_epoch_at_the_tiers_end_only() {
    let (image, verdicts) = replayed(&[
        unit_record(0, 1, 0, 10),
        open(0, 1),
        unit_record(0, 1, 0, 10),
        unit_record(0, 1, 0, 10),
        unit_record(0, 1, 20, 30),
        unit_record(0, 2, 10, 20),
        open(0, 2),
        unit_record(0, 1, 10, 20),
        open(0, 1),
        unit_record(0, 2, 10, 20),
    ]);
    let fenced = |open: Option<u32>| Verdict::Ignored(Refusal::Fenced { open: open.map(epoch) });
    let misplaced = Verdict::Ignored(Refusal::Misplaced { expected: offset(10) });
    let applied = Verdict::Applied;
    assert_eq!(
        verdicts,
        [
            fenced(None),
            applied,
            applied,
            misplaced,
            misplaced,
            fenced(Some(1)),
            applied,
            fenced(Some(2)),
            fenced(Some(2)),
            applied
        ]
    );
    let manifest = image.get(&partition(0)).unwrap();
    assert_eq!((manifest.end().offset(), manifest.recent().len(), manifest.bytes()), (offset(20), 2, 220));
}

#[test]
fn the_log_start_drops_units_and_moves_where_the_next_one_starts() {
    let (image, verdicts) = replayed(&[
        open(0, 1),
        unit_record(0, 1, 0, 10),
        unit_record(0, 1, 10, 20),
        log_start(0, 1, 12),
        log_start(0, 1, 12),
        log_start(0, 2, 15),
        unit_record(0, 1, 20, 30),
        log_start(0, 1, 50),
        unit_record(0, 1, 30, 60),
        unit_record(0, 1, 50, 60),
    ]);
    let refused: Vec<usize> = (0..10).filter(|&at| !verdicts[at].is_applied()).collect();
    assert_eq!(refused, [4, 5, 8]);
    let manifest = image.get(&partition(0)).unwrap();
    assert_eq!((manifest.recent().len(), manifest.bytes()), (1, 110));
    assert_eq!(manifest.locate(offset(49)), None);
    assert!(matches!(manifest.locate(offset(55)), Some(Located::Unit(unit)) if unit.start == offset(50)));
    assert_eq!(manifest.locate(offset(60)), None);
}

#[test]
fn nothing_that_names_a_doomed_object_is_accepted() {
    let late = unit(0, 1, 10, 20, 9);
    let doom = |start| TierRecord::Doom {
        key: Arc::clone(&late.key),
        starts: vec![(partition(0), offset(start))],
        rewrites: Vec::new(),
    };
    let (image, verdicts) = replayed(&[open(0, 1), unit_record(0, 1, 0, 10), doom(10), TierRecord::Unit(late.clone())]);
    assert_eq!(verdicts[3], Verdict::Ignored(Refusal::Doomed));
    assert!(image.is_doomed(&late.key));
    // Once another unit has its place, the object cannot be named any more and need not be remembered.
    let other = TierRecord::Unit(unit(0, 1, 10, 30, 10));
    let (image, verdicts) = image.replay(2, &[other, TierRecord::Unit(late.clone())]);
    let misplaced = Refusal::Misplaced { expected: offset(30) };
    assert_eq!(verdicts, [Verdict::Applied, Verdict::Ignored(misplaced)]);
    assert!(!image.is_doomed(&late.key));
    // What was accepted since the sweeper looked is not doomed.
    let (_, verdicts) = replayed(&[open(0, 1), unit_record(0, 1, 0, 10), TierRecord::Unit(late.clone()), doom(10)]);
    assert_eq!(verdicts[3], Verdict::Ignored(Refusal::Stale));
}

fn page_of(image: &TierImage, n: u32, units: usize) -> PageRef {
    let held = &image.get(&partition(n)).unwrap().recent()[..units];
    PageRef {
        key: Arc::from("tier/page/x"),
        start: held[0].start,
        end: held[units - 1].end,
        units: units as u32,
        bytes: held.iter().map(|unit| unit.data.len()).sum(),
        max_timestamp: held.iter().filter_map(|unit| unit.max_timestamp).max(),
        revision: Revision::default(),
    }
}

#[test]
fn a_page_takes_the_place_of_exactly_its_units() {
    let units = (0..10).map(|at| unit_record(0, 1, at * 10, at * 10 + 10));
    let (image, _) = replayed(&std::iter::once(open(0, 1)).chain(units).collect::<Vec<_>>());
    let record = |page: PageRef| TierRecord::Page { partition: partition(0), page };
    let page = page_of(&image, 0, 4);
    let whole = page_of(&image, 0, 10);
    let (folded, verdicts) = image.replay(2, &[record(whole), record(page.clone()), record(page.clone())]);
    assert_eq!(verdicts.iter().map(|v| v.is_applied()).collect::<Vec<_>>(), [false, true, false]);
    let manifest = folded.get(&partition(0)).unwrap();
    assert_eq!((manifest.recent().len(), manifest.bytes()), (6, image.get(&partition(0)).unwrap().bytes()));
    assert_eq!(manifest.locate(offset(39)), Some(Located::Page(page.clone())));
    assert!(matches!(manifest.locate(offset(40)), Some(Located::Unit(_))));
    assert_eq!(manifest.locate_timestamp(Timestamp::from_millis(350), offset(0)), Some(Located::Page(page.clone())));
    let late = manifest.locate_timestamp(Timestamp::from_millis(401), offset(0));
    assert!(matches!(late, Some(Located::Unit(unit)) if unit.start == offset(40)));
    let (gone, _) = folded.replay(3, &[log_start(0, 1, 40)]);
    let manifest = gone.get(&partition(0)).unwrap();
    assert_eq!((manifest.pages().len(), manifest.bytes()), (0, 6 * 110));
}

#[test]
fn a_removed_partition_takes_no_units() {
    let remove = TierRecord::Remove { partition: partition(0) };
    let (image, verdicts) =
        replayed(&[open(0, 1), unit_record(0, 1, 0, 10), remove.clone(), unit_record(0, 1, 10, 20), remove]);
    assert_eq!(verdicts.iter().map(|v| v.is_applied()).collect::<Vec<_>>(), [true, true, true, false, false]);
    assert_eq!(image.partitions().count(), 0);
}

#[test]
fn a_partition_that_left_takes_only_what_was_begun_since() {
    let leave = |leader_epoch, at| TierRecord::Leave {
        partition: partition(0),
        epoch: epoch(leader_epoch),
        offset: offset(at),
    };
    let begun = |stay, start, end| TierRecord::Unit(UnitMeta { stay, ..unit(0, 1, start, end, u128::from(end)) });
    let (image, verdicts) = replayed(&[
        leave(1, 0),
        open(0, 1),
        begun(0, 0, 10),
        leave(2, 10),
        leave(1, 10),
        begun(0, 10, 20),
        begun(1, 10, 20),
        begun(0, 20, 30),
    ]);
    let applied: Vec<usize> = (0..8).filter(|at| verdicts[*at].is_applied()).collect();
    assert_eq!(applied, [1, 2, 4, 6]);
    let manifest = image.get(&partition(0)).unwrap();
    assert_eq!((manifest.stay(), manifest.first_start(), manifest.end().offset()), (1, offset(10), offset(20)));
    assert_eq!((manifest.bytes(), manifest.log_start().offset()), (110, offset(10)));
}

fn any_record() -> impl Strategy<Value = TierRecord> {
    (0..6, 0u32..2, 1u32..4, 0u64..8, 1u64..3, any::<u8>()).prop_map(|(kind, n, leader_epoch, start, len, attempt)| {
        let (start, end) = (start * 10, (start + len) * 10);
        let named = unit(n, leader_epoch, start, end, u128::from(attempt % 4));
        match kind {
            0 => open(n, leader_epoch),
            1 => log_start(n, leader_epoch, start + 5),
            2 => TierRecord::Doom { key: named.key, starts: vec![(partition(n), offset(start))], rewrites: Vec::new() },
            _ => TierRecord::Unit(named),
        }
    })
}

proptest! {
    #[test]
    fn whatever_is_replayed_the_tier_stays_whole(records in proptest::collection::vec(any_record(), 0..120)) {
        let mut image = TierImage::default();
        for (number, record) in records.iter().enumerate() {
            let (next, verdicts) = image.replay(number as u64 + 1, std::slice::from_ref(record));
            for n in 0..2 {
                let (Some(after), before) = (next.get(&partition(n)), image.get(&partition(n))) else { continue };
                prop_assert!(units_tile(after.log_start(), after.recent()));
                prop_assert_eq!(after.bytes(), after.recent().iter().map(|unit| unit.data.len()).sum::<u64>());
                prop_assert!(after.recent().iter().all(|unit| unit.end > after.log_start().offset()));
                if let Some(before) = before {
                    prop_assert!(before.end() <= after.end() && before.open_epoch() <= after.open_epoch());
                    prop_assert!(before.log_start() <= after.log_start());
                }
                for held in after.recent() {
                    let known = image.get(&partition(n)).is_some_and(|before| before.recent().contains(held));
                    prop_assert!(known || !image.is_doomed(&held.key), "a doomed object was accepted");
                }
            }
            if !verdicts[0].is_applied() {
                prop_assert_eq!(&next.shards, &image.shards);
            }
            image = next;
        }
        let (at_once, _) = TierImage::default().replay(records.len() as u64, &records);
        prop_assert_eq!(&at_once.shards, &image.shards);
    }
}
