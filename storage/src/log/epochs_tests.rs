use super::*;
use proptest::prelude::*;

fn epoch(n: u32) -> LeaderEpoch {
    LeaderEpoch::new(n)
}

fn end(n: u64) -> LogEnd {
    LogEnd::at(Offset::new(n))
}

fn built(starts: &[(u32, u64)]) -> LeaderEpochs {
    let mut epochs = LeaderEpochs::default();
    starts.iter().for_each(|&(e, start)| epochs.begin(epoch(e), Offset::new(start)));
    epochs
}

#[test]
fn offset_for_leader_epoch() {
    let epochs = built(&[(2, 10), (4, 30), (7, 50)]);
    let ask = |asked| epochs.end_of(epoch(asked), end(80)).map(|found| (found.epoch.get(), found.end.get()));
    assert_eq!(ask(9), None, "above all known");
    assert_eq!(ask(7), Some((7, 80)), "the newest: the log end");
    assert_eq!(ask(6), Some((4, 50)), "between: the one below, and where the next one began");
    assert_eq!(ask(4), Some((4, 50)));
    assert_eq!(ask(1), Some((1, 10)), "below all: itself, and the first known start");
    assert_eq!(LeaderEpochs::default().end_of(epoch(0), end(5)), None, "none known");
}

#[test]
fn an_epoch_without_batches_leaves_no_trace() {
    assert_eq!(built(&[(1, 0), (2, 5), (3, 5)]), built(&[(1, 0), (3, 5)]));
    assert_eq!(built(&[(3, 5), (2, 9)]), built(&[(3, 5)]), "an old epoch cannot begin");
}

#[test]
fn a_range_has_its_own_epochs() {
    let epochs = built(&[(2, 10), (4, 30), (7, 50)]);
    assert_eq!(epochs.within(Offset::new(35), Offset::new(50)), built(&[(4, 35)]));
    assert_eq!(epochs.within(Offset::new(10), Offset::new(51)), epochs);
}

proptest! {
    #[test]
    fn a_log_knows_the_epoch_of_each_record(batches in prop::collection::vec((0u32..3, 1u64..5), 1..40), cut in 0u64..100) {
        let (mut epochs, mut by_offset, mut now) = (LeaderEpochs::default(), Vec::new(), 0);
        for (step, records) in batches {
            now += step;
            epochs.begin(epoch(now), Offset::new(by_offset.len() as u64));
            by_offset.extend((0..records).map(|_| now));
        }
        prop_assert!(epochs_ascend(&epochs));
        let mut bytes = Vec::new();
        epochs.encode(&mut bytes);
        prop_assert_eq!(LeaderEpochs::decode(&mut Fields::new(&bytes)), Ok(epochs.clone()));
        let log_end = by_offset.len() as u64;
        for (offset, e) in by_offset.iter().enumerate() {
            prop_assert_eq!(epochs.at(Offset::new(offset as u64)), Some(epoch(*e)));
        }
        for asked in 0..=now {
            let last = by_offset.iter().rposition(|e| *e <= asked);
            let found = epochs.end_of(epoch(asked), end(log_end)).unwrap();
            prop_assert_eq!(found.end.get(), last.map_or(0, |last| last as u64 + 1));
        }
        let cut = cut.min(log_end);
        epochs.truncate_end(Offset::new(cut));
        for (offset, e) in by_offset.iter().take(cut as usize).enumerate() {
            prop_assert_eq!(epochs.at(Offset::new(offset as u64)), Some(epoch(*e)));
        }
        prop_assert_eq!(epochs.latest(), cut.checked_sub(1).map(|last| epoch(by_offset[last as usize])));
    }
}
