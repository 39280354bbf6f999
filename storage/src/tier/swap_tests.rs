//! Which swaps are accepted, and what holds whatever is replayed with them.

use super::super::image::TierImage;
use super::super::manifest::units_tile;
use super::super::record::{TierRecord, Verdict};
use super::super::testing::{epoch, offset, open, partition, rewritten, unit};
use super::*;
use proptest::prelude::*;

/// Ten units of ten offsets in partition 0, open in epoch 1.
fn ten_units() -> TierImage {
    let units = (0..10).map(|at| TierRecord::Unit(unit(0, 1, at * 10, at * 10 + 10, u128::from(at))));
    TierImage::default().replay(1, &std::iter::once(open(0, 1)).chain(units).collect::<Vec<_>>()).0
}

fn manifest(image: &TierImage) -> Arc<Manifest> {
    Arc::clone(image.get(&partition(0)).unwrap())
}

/// The swap of the units `run` for rewrites that end at `ends`.
fn swap(image: &TierImage, run: Range<usize>, ends: &[u64]) -> Swap {
    let manifest = manifest(image);
    let old = RunMark::of(&manifest.recent()[run]).unwrap();
    let mut start = old.start.get();
    let mut new = Vec::new();
    for end in ends {
        new.push(rewritten(0, 1, start, *end, manifest.revision().get()));
        start = *end;
    }
    let change = Change::Units { old, new };
    Swap { partition: partition(0), epoch: epoch(1), revision: manifest.revision(), change }
}

fn outcome(image: &TierImage, swap: Swap) -> Verdict {
    image.replay(2, &[TierRecord::Swap(swap)]).1[0]
}

const STALE: Verdict = Verdict::Ignored(Refusal::Stale);
const UNSOUND: Verdict = Verdict::Ignored(Refusal::Unsound);

#[test]
fn a_run_becomes_its_rewrite_and_the_rest_stays() {
    let image = ten_units();
    let record = TierRecord::Swap(swap(&image, 2..7, &[50, 70]));
    let json = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<TierRecord>(&json).unwrap(), record);
    let (after, verdicts) = image.replay(2, &[record]);
    assert_eq!(verdicts, [Verdict::Applied]);
    let manifest = manifest(&after);
    let ends: Vec<u64> = manifest.recent().iter().map(|unit| unit.end.get()).collect();
    assert_eq!(ends, [10, 20, 50, 70, 80, 90, 100]);
    assert_eq!(manifest.bytes(), manifest.recent().iter().map(|unit| unit.data.len()).sum::<u64>());
    assert_eq!((manifest.revision(), manifest.end().offset()), (Revision::new(1), offset(100)));
    assert!(units_tile(manifest.log_start(), manifest.recent()));
}

#[test]
fn a_rewrite_of_what_has_changed_meanwhile_is_refused() {
    let image = ten_units();
    let late = swap(&image, 2..7, &[70]);
    let after = |records: &[TierRecord]| image.replay(2, records).0;
    let log_start = |start| TierRecord::LogStart { partition: partition(0), epoch: epoch(1), offset: offset(start) };
    // Another run is enough: both rewrites were made of the same manifest, and one of them was not looked at.
    assert_eq!(outcome(&after(&[TierRecord::Swap(swap(&image, 8..10, &[100]))]), late.clone()), STALE);
    assert_eq!(outcome(&after(&[TierRecord::Swap(late.clone())]), late.clone()), STALE, "twice");
    assert_eq!(outcome(&after(&[log_start(30)]), late.clone()), STALE);
    assert_eq!(outcome(&after(&[log_start(29)]), late.clone()), Verdict::Applied);
    let fenced = Verdict::Ignored(Refusal::Fenced { open: Some(epoch(2)) });
    assert_eq!(outcome(&after(&[open(0, 2)]), late.clone()), fenced);
    // More units do not concern it.
    assert_eq!(outcome(&after(&[TierRecord::Unit(unit(0, 1, 100, 130, 9))]), late.clone()), Verdict::Applied);
    // A page does: the run is not there any more.
    assert_eq!(outcome(&after(&[page(&image, 0..4, Revision::default())]), late.clone()), STALE);
    // The same revision, but other units than it was made of.
    let mut other = late;
    if let Change::Units { old, .. } = &mut other.change {
        old.crc ^= 1;
    }
    assert_eq!(outcome(&image, other), STALE);
}

#[test]
fn a_rewrite_must_cover_what_it_replaces_and_be_its_leaders_own() {
    let image = ten_units();
    assert_eq!(outcome(&image, swap(&image, 2..7, &[60])), UNSOUND, "too short");
    assert_eq!(outcome(&image, swap(&image, 2..7, &[80])), UNSOUND, "too long");
    assert_eq!(outcome(&image, swap(&image, 2..7, &[])), UNSOUND, "nothing");
    let with = |change: fn(&mut UnitMeta)| {
        let mut swap = swap(&image, 2..7, &[50, 70]);
        if let Change::Units { new, .. } = &mut swap.change {
            change(&mut new[1]);
        }
        outcome(&image, swap)
    };
    assert_eq!(with(|_| {}), Verdict::Applied);
    assert_eq!(with(|unit| unit.start = offset(51)), UNSOUND, "a hole");
    assert_eq!(with(|unit| unit.start = offset(49)), UNSOUND, "an overlap");
    assert_eq!(with(|unit| unit.partition = partition(1)), UNSOUND);
    assert_eq!(with(|unit| unit.leader_epoch = epoch(2)), UNSOUND);
    assert_eq!(with(|unit| unit.revision = None), UNSOUND, "an upload");
    assert_eq!(with(|unit| unit.revision = Some(Revision::new(7))), UNSOUND);
    // And a rewrite is never taken for an upload.
    let (_, verdicts) = image.replay(2, &[TierRecord::Unit(rewritten(0, 1, 100, 110, 0))]);
    assert_eq!(verdicts, [UNSOUND]);
}

fn page(image: &TierImage, run: Range<usize>, revision: Revision) -> TierRecord {
    let page = page_ref(&manifest(image).recent()[run], revision, "a");
    TierRecord::Page { partition: partition(0), page }
}

fn page_ref(units: &[Arc<UnitMeta>], revision: Revision, name: &str) -> PageRef {
    PageRef {
        key: Arc::from(format!("tier/page/{name}/{}", units[0].start)),
        start: units[0].start,
        end: units.last().unwrap().end,
        units: units.len() as u32,
        bytes: units.iter().map(|unit| unit.data.len()).sum(),
        max_timestamp: units.iter().filter_map(|unit| unit.max_timestamp).max(),
        revision,
    }
}

#[test]
fn units_in_pages_are_swapped_with_their_pages() {
    let image = ten_units();
    let (image, verdicts) = image.replay(2, &[page(&image, 0..4, Revision::default())]);
    assert!(verdicts[0].is_applied());
    let (image, verdicts) = image.replay(3, &[page(&image, 0..3, Revision::default())]);
    assert!(verdicts[0].is_applied());
    let before = manifest(&image);
    let [a, b] = before.pages() else { panic!("{:?}", before.pages()) };
    let pages = |old: &[&PageRef], new: Vec<PageRef>| Swap {
        partition: partition(0),
        epoch: epoch(1),
        revision: before.revision(),
        change: Change::Pages { old: old.iter().map(|page| Arc::clone(&page.key)).collect(), new },
    };
    let whole: Vec<Arc<UnitMeta>> = vec![Arc::new(rewritten(0, 1, 0, 70, 0))];
    let new = page_ref(&whole, before.revision(), "b");
    assert_eq!(outcome(&image, pages(&[a], vec![new.clone()])), UNSOUND, "it covers more");
    assert_eq!(outcome(&image, pages(&[b, a], vec![new.clone()])), STALE, "the wrong order");
    assert_eq!(outcome(&image, pages(&[a, b], Vec::new())), UNSOUND);
    let of_another = PageRef { revision: Revision::new(3), ..new.clone() };
    assert_eq!(outcome(&image, pages(&[a, b], vec![of_another])), UNSOUND);
    let swap = pages(&[a, b], vec![new.clone()]);
    let (after, verdicts) = image.replay(4, &[TierRecord::Swap(swap.clone()), TierRecord::Swap(swap)]);
    assert_eq!(verdicts, [Verdict::Applied, STALE]);
    let after = manifest(&after);
    assert_eq!((after.pages(), after.recent().len()), (&[new.clone()][..], 3));
    assert_eq!(after.bytes(), new.bytes + after.recent().iter().map(|unit| unit.data.len()).sum::<u64>());
    assert_eq!(after.first_start(), offset(0));
}

#[test]
fn a_page_that_was_written_before_a_swap_is_refused() {
    let image = ten_units();
    let late = page(&image, 0..4, manifest(&image).revision());
    // The rewrite keeps offsets, bytes and timestamps: by these alone the page would still fit.
    let mut same = swap(&image, 2..3, &[30]);
    if let Change::Units { new, .. } = &mut same.change {
        new[0].data = manifest(&image).recent()[2].data;
    }
    let (image, verdicts) = image.replay(2, &[TierRecord::Swap(same), late]);
    assert_eq!(verdicts, [Verdict::Applied, STALE]);
    assert!(image.replay(3, &[page(&image, 0..4, Revision::new(1))]).1[0].is_applied());
}

#[test]
fn a_rewrite_whose_object_is_doomed_is_refused() {
    let image = ten_units();
    let late = swap(&image, 2..7, &[70]);
    let key = late.units().next().unwrap().key.clone();
    let doom = |revision| TierRecord::Doom {
        key: Arc::clone(&key),
        starts: Vec::new(),
        rewrites: vec![(partition(0), Revision::new(revision)), (partition(9), Revision::new(4))],
    };
    let (_, verdicts) = image.replay(2, &[doom(0), TierRecord::Swap(late.clone())]);
    assert_eq!(verdicts, [Verdict::Applied, STALE]);
    // Named since the sweeper looked: it must look again.
    let (_, verdicts) = image.replay(2, &[TierRecord::Swap(late), doom(0)]);
    assert_eq!(verdicts, [Verdict::Applied, STALE]);
    // An object with an upload in it as well is refused by its key.
    let mixed = swap(&image, 2..7, &[70]);
    let starts = vec![(partition(0), offset(100))];
    let doom = TierRecord::Doom { key: Arc::clone(&key), starts, rewrites: vec![(partition(0), Revision::new(0))] };
    let (image, verdicts) = image.replay(2, &[doom, TierRecord::Swap(mixed)]);
    assert_eq!(verdicts, [Verdict::Applied, Verdict::Ignored(Refusal::Doomed)]);
    assert!(image.is_doomed(&key));
}

#[derive(Clone, Debug)]
enum Step {
    Upload(u64),
    Swap { at: usize, len: usize, made_of: usize, parts: u64 },
    Fold(usize),
    LogStart(u64),
    Doom(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u64..20).prop_map(Step::Upload),
        4 => (0usize..12, 1usize..6, 0usize..3, 1u64..3)
            .prop_map(|(at, len, made_of, parts)| Step::Swap { at, len, made_of, parts }),
        1 => (1usize..4).prop_map(Step::Fold),
        1 => (1u64..30).prop_map(Step::LogStart),
        1 => (0usize..3).prop_map(Step::Doom),
    ]
}

proptest! {
    /// Swaps are made of one of the last images, as by a rewriter that is slow.
    #[test]
    fn whatever_is_swapped_the_tier_stays_whole(steps in proptest::collection::vec(any_step(), 0..80)) {
        let mut images = vec![TierImage::default().replay(1, &[open(0, 1)]).0];
        for step in steps {
            let newest = images.last().unwrap().clone();
            let held = manifest(&newest);
            let behind = |by: usize| &images[images.len().saturating_sub(1 + by)];
            let record = match step {
                Step::Upload(len) => {
                    let start = held.next_start().get();
                    TierRecord::Unit(unit(0, 1, start, start + len, u128::from(start)))
                }
                Step::Swap { at, len, made_of, parts } => {
                    let old = behind(made_of);
                    let recent = manifest(old);
                    let run = at..(at + len).min(recent.recent().len());
                    let Some(mark) = recent.recent().get(run.clone()).and_then(RunMark::of) else { continue };
                    let middle = mark.start.get() + (mark.end.get() - mark.start.get()) / parts;
                    let ends = if middle > mark.start.get() && middle < mark.end.get() { vec![middle, mark.end.get()] }
                        else { vec![mark.end.get()] };
                    TierRecord::Swap(swap(old, run, &ends))
                }
                Step::Fold(units) if units < held.recent().len() => page(&newest, 0..units, held.revision()),
                Step::Fold(_) => continue,
                Step::LogStart(by) => {
                    let to = held.log_start().offset().plus(by).min(held.end().offset());
                    TierRecord::LogStart { partition: partition(0), epoch: epoch(1), offset: to }
                }
                Step::Doom(made_of) => TierRecord::Doom {
                    key: Arc::from("data/aa/shared/x"),
                    starts: Vec::new(),
                    rewrites: vec![(partition(0), manifest(behind(made_of)).revision())],
                },
            };
            let (next, verdicts) = newest.replay(newest.number() + 1, std::slice::from_ref(&record));
            let after = manifest(&next);
            prop_assert!(units_tile(after.log_start(), after.recent()));
            prop_assert!(after.end() >= held.end());
            if let TierRecord::Swap(swap) = record {
                let current = swap.revision == held.revision();
                prop_assert!(current || !verdicts[0].is_applied(), "a rewrite of the past was accepted");
                if verdicts[0].is_applied() {
                    prop_assert_eq!(after.revision(), held.revision().next());
                    prop_assert_eq!(after.end(), held.end());
                    prop_assert_eq!(after.first_start(), held.first_start());
                }
            }
            images.push(next);
        }
    }
}
