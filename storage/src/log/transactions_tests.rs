//! Transactions in a log against a list of its batches: random histories with cuts, restarts and lost files.

use super::super::test_support::*;
use super::super::{LogConfig, LogDir, LogError, OpenFrom, ProducerError};
use super::*;
use crate::env::{Disk, RealDisk};
use crate::offset::LogEnd;
use esker_protocol::record::ValidatedBatch;
use proptest::prelude::*;

const EPOCH: LeaderEpoch = LeaderEpoch::new(0);

fn end(producer_id: i64, abort: bool) -> EndTransaction {
    EndTransaction { producer_id, producer_epoch: 0, abort, coordinator_epoch: 3 }
}

/// What the log should hold.
#[derive(Clone, Debug)]
enum Entry {
    Data { producer: i64, base: u64, next: u64 },
    Plain { next: u64 },
    Marker { producer: i64, base: u64, abort: bool },
}

impl Entry {
    fn next(&self) -> u64 {
        match self {
            Entry::Data { next, .. } | Entry::Plain { next } => *next,
            Entry::Marker { base, .. } => base + 1,
        }
    }
}

#[derive(Clone, Debug)]
struct Transaction {
    producer: i64,
    batches: Vec<u64>,
    end: Option<(u64, bool)>,
}

/// Every transaction of these entries, by going through all of them.
fn transactions(entries: &[Entry]) -> Vec<Transaction> {
    let mut all: Vec<Transaction> = Vec::new();
    for entry in entries {
        match entry {
            Entry::Plain { .. } => {}
            Entry::Data { producer, base, .. } => {
                match all.iter_mut().find(|txn| txn.producer == *producer && txn.end.is_none()) {
                    Some(open) => open.batches.push(*base),
                    None => all.push(Transaction { producer: *producer, batches: vec![*base], end: None }),
                }
            }
            Entry::Marker { producer, base, abort } => {
                if let Some(open) = all.iter_mut().find(|txn| txn.producer == *producer && txn.end.is_none()) {
                    open.end = Some((*base, *abort));
                }
            }
        }
    }
    all
}

/// Producer and marker of the aborted transactions that a reader of the range must know, and where each begins on this
/// disk: of what was dropped before the local start nobody here need know.
fn expected(entries: &[Entry], start: u64, from: u64, upto: u64) -> Vec<(i64, u64, u64)> {
    let mut found: Vec<_> = transactions(entries)
        .iter()
        .filter_map(|txn| {
            let (last, abort) = txn.end?;
            let first = txn.batches.iter().copied().find(|base| *base >= start)?;
            let first_ever = txn.batches.first().copied()?;
            (abort && first_ever < upto && last >= from).then_some((txn.producer, last, first))
        })
        .collect();
    found.sort_unstable();
    found
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Write { producer: i64, records: u32 },
    Plain,
    End { producer: i64, abort: bool },
    Roll,
    Maintain,
    Truncate(u8),
    DropBefore(u8),
    Restart { clean: bool, lose_indexes: bool, lose_checkpoint: bool },
}

fn any_step() -> impl Strategy<Value = Step> {
    let producer = 0i64..4;
    prop_oneof![
        8 => (producer.clone(), 1u32..4).prop_map(|(producer, records)| Step::Write { producer, records }),
        2 => Just(Step::Plain),
        6 => (producer, prop::bool::weighted(0.7)).prop_map(|(producer, abort)| Step::End { producer, abort }),
        1 => Just(Step::Roll),
        2 => Just(Step::Maintain),
        1 => (128u8..).prop_map(Step::Truncate),
        1 => (..160u8).prop_map(Step::DropBefore),
        2 => any::<(bool, bool, bool)>().prop_map(|(clean, lose_indexes, lose_checkpoint)| {
            Step::Restart { clean, lose_indexes, lose_checkpoint }
        }),
    ]
}

fn transactional(producer: i64, sequence: i32, records: u32) -> ValidatedBatch {
    transactional_batch(producer, 0, sequence, records)
}

struct Run {
    entries: Vec<Entry>,
    log: Arc<Log>,
    dir: Arc<LogDir>,
}

impl Run {
    fn end(&self) -> u64 {
        self.log.log_end().offset().get()
    }

    /// Everything that readers are told, at every range.
    fn check(&self) {
        let start = self.log.local_start().offset().get();
        let open = transactions(&self.entries).iter().filter(|txn| txn.end.is_none()).map(|txn| txn.batches[0]).min();
        let committed = HighWatermark::at(self.log.log_end().offset());
        let stable = self.log.last_stable(committed).offset().get();
        // Of an open transaction that began before the local start, only what is here may be known.
        match open {
            Some(open) if open >= start => assert_eq!(stable, open),
            None => assert_eq!(stable, self.end()),
            Some(_) => {}
        }
        for from in start..stable {
            for upto in [from + 1, from + 3, stable] {
                let upto = upto.min(stable);
                let got = self.log.aborted_between(Offset::new(from), Offset::new(upto)).unwrap();
                assert!(got.is_sorted_by_key(|entry| entry.first));
                let wanted = expected(&self.entries, start, from, upto);
                let all = transactions(&self.entries);
                let is_aborted = |entry: &AbortedTransaction| {
                    let is_end = |txn: &&Transaction| txn.end == Some((entry.last.get(), true));
                    all.iter().filter(is_end).any(|txn| txn.producer == entry.producer_id)
                };
                assert!(got.iter().all(is_aborted), "{got:?} of {:?}", self.entries);
                // What begins before the local start may be known or not; what it concerns here is the same.
                let mut got: Vec<_> = got
                    .iter()
                    .filter_map(|entry| {
                        let (last, producer) = (entry.last.get(), entry.producer_id);
                        let first = wanted.iter().find(|(of, at, _)| (*of, *at) == (producer, last))?.2;
                        assert!(
                            entry.first.get() <= first && (entry.first.get() == first || entry.first.get() < start)
                        );
                        Some((producer, last, first))
                    })
                    .collect();
                got.sort_unstable();
                let wanted: Vec<_> = wanted.into_iter().filter(|(_, _, first)| *first < upto).collect();
                got.retain(|(_, _, first)| *first < upto);
                assert_eq!(got, wanted, "{from}..{upto} of {:?}, local start {start}", self.entries);
                if let Some(known) = self.log.aborted_in_memory(Offset::new(from), Offset::new(upto)) {
                    assert_eq!(known, self.log.aborted_between(Offset::new(from), Offset::new(upto)).unwrap());
                }
            }
        }
    }
}

fn run(steps: &[Step]) {
    let disk = TestDisk::new();
    let config = LogConfig { segment_bytes: 700, producer_expiration_ms: i64::MAX, ..LogConfig::default() };
    let dir = disk.open();
    let log = open(&dir, config);
    let mut run = Run { entries: Vec::new(), log, dir };
    let mut sequences = [0i32; 4];
    for step in steps {
        match *step {
            Step::Write { producer, records } => {
                let base = run.end();
                let sequence = &mut sequences[producer as usize];
                let appended = run.log.append(transactional(producer, *sequence, records), EPOCH, NOW).unwrap();
                assert!(!appended.duplicate);
                *sequence += records as i32;
                run.entries.push(Entry::Data { producer, base, next: run.end() });
            }
            Step::Plain => {
                run.log.append(batch(2), EPOCH, NOW).unwrap();
                run.entries.push(Entry::Plain { next: run.end() });
            }
            Step::End { producer, abort } => {
                let base = run.end();
                run.log.end_transaction(end(producer, abort), EPOCH, NOW).unwrap();
                run.entries.push(Entry::Marker { producer, base, abort });
            }
            Step::Roll => run.log.roll(NOW).unwrap(),
            Step::Maintain => run.log.maintain(),
            Step::Truncate(fraction) => {
                let start = run.log.local_start().offset().get();
                let to = start + (run.end() - start) * u64::from(fraction) / 256;
                if to <= start {
                    continue;
                }
                let cut = run.log.truncate_to(LogEnd::at(Offset::new(to)), NOW).unwrap().offset().get();
                run.entries.retain(|entry| entry.next() <= cut);
                // A client that goes on after what was cut begins a new epoch; here it goes on with what is known.
                for (producer, sequence) in (0i64..).zip(&mut sequences) {
                    let known = run.log.producer_snapshot_at(Offset::new(cut)).unwrap();
                    let last = known.get(producer).and_then(|state| state.batches.back().copied());
                    *sequence = last.map_or(0, |last| last.last_sequence + 1);
                }
            }
            Step::DropBefore(fraction) => {
                let before = Offset::new(run.end() * u64::from(fraction) / 256);
                run.log.drop_local_before(before).unwrap();
            }
            Step::Restart { clean, lose_indexes, lose_checkpoint } => {
                wait_synced(&run.log);
                let Run { entries, log, dir } = run;
                if clean {
                    disk.close(dir, log)
                } else {
                    disk.kill(dir, log)
                }
                lose(&disk, lose_indexes, lose_checkpoint && !clean);
                let dir = disk.open();
                let log = Log::open(&dir, id(), config, OpenFrom::default()).unwrap().0;
                run = Run { entries, log, dir };
                for (producer, sequence) in (0i64..).zip(&mut sequences) {
                    let known = run.log.producer_snapshot_at(run.log.log_end().offset()).unwrap();
                    let last = known.get(producer).and_then(|state| state.batches.back().copied());
                    *sequence = last.map_or(*sequence, |last| last.last_sequence + 1);
                }
            }
        }
        run.check();
    }
    drop(run.dir);
}

fn lose(disk: &TestDisk, indexes: bool, checkpoint: bool) {
    let path = disk.path().join(id().to_string());
    for entry in RealDisk.list(&path).unwrap() {
        if indexes && entry.name.ends_with(".index") || checkpoint && entry.name == "checkpoint" {
            RealDisk.remove_file(&path.join(entry.name)).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn readers_of_committed_records_are_told_what_was_aborted(steps in prop::collection::vec(any_step(), 1..50)) {
        run(&steps);
    }
}

#[test]
fn what_ended_is_stable_once_its_marker_is_committed() {
    let disk = TestDisk::new();
    let log = open(&disk.open(), LogConfig::default());
    let stable = |committed| log.last_stable(HighWatermark::at(Offset::new(committed))).offset().get();
    append_all(&log, &[2]);
    log.append(transactional(1, 0, 3), LeaderEpoch::new(1), NOW).unwrap();
    log.append(transactional(2, 0, 1), LeaderEpoch::new(1), NOW).unwrap();
    assert_eq!((stable(1), stable(2), stable(6)), (1, 2, 2));
    log.end_transaction(end(1, true), LeaderEpoch::new(1), NOW).unwrap();
    assert_eq!(stable(6), 2, "a crash could take the marker, and what readers were told");
    assert_eq!(stable(7), 5, "the second one is still open");
    log.end_transaction(end(2, false), LeaderEpoch::new(1), NOW).unwrap();
    assert_eq!((stable(7), stable(8)), (5, 8));
    let aborted = log.aborted_between(Offset::ZERO, Offset::new(8)).unwrap();
    let at = Offset::new;
    assert_eq!(
        aborted,
        [AbortedTransaction { producer_id: 1, first: at(2), last: at(6), last_stable: at(5) }],
        "only what was aborted"
    );
}

#[test]
fn markers_of_the_past_are_refused() {
    let disk = TestDisk::new();
    let log = open(&disk.open(), LogConfig::default());
    log.append(transactional_batch(1, 5, 0, 1), EPOCH, NOW).unwrap();
    let old = EndTransaction { producer_id: 1, producer_epoch: 4, abort: true, coordinator_epoch: 3 };
    let refused = log.end_transaction(old, EPOCH, NOW);
    assert!(matches!(refused, Err(AppendError::Producer(ProducerError::InvalidProducerEpoch { known: 5, .. }))));
    log.end_transaction(EndTransaction { producer_epoch: 6, ..old }, EPOCH, NOW).unwrap();
    let zombie = EndTransaction { producer_epoch: 6, coordinator_epoch: 2, ..old };
    let refused = log.end_transaction(zombie, EPOCH, NOW);
    assert!(matches!(refused, Err(AppendError::Producer(ProducerError::CoordinatorFenced { known: 3, .. }))));
    let fenced = log.append(transactional_batch(1, 5, 1, 1), EPOCH, NOW);
    assert!(matches!(fenced, Err(AppendError::Producer(ProducerError::InvalidProducerEpoch { known: 6, .. }))));
    let marker = end_transaction_marker(ControlKind::Abort, 1, 6, 3, 0).unwrap();
    assert!(matches!(log.append(marker, EPOCH, NOW), Err(AppendError::Log(LogError::Invalid(_)))), "not by that door");
}

#[test]
fn a_checkpoint_of_what_was_cut_is_not_believed() {
    let disk = TestDisk::new();
    let config = LogConfig { producer_expiration_ms: i64::MAX, ..LogConfig::default() };
    let dir = disk.open();
    let log = open(&dir, config);
    log.append(batch_from(7, 0, 0, 2), EPOCH, NOW).unwrap();
    log.append(batch_from(7, 0, 2, 2), EPOCH, NOW).unwrap();
    log.checkpoint().unwrap();
    let path = disk.path().join(id().to_string()).join("checkpoint");
    let before = RealDisk.read(&path).unwrap();
    log.truncate_to(LogEnd::at(Offset::new(2)), NOW).unwrap();
    wait_synced(&log);
    disk.kill(dir, log);
    // As if the process had ended between the cut and its checkpoint.
    crate::env::write_atomically(&RealDisk, &path, &before).unwrap();
    let log = open(&disk.open(), config);
    assert_eq!(log.log_end().offset(), Offset::new(2));
    let again = log.append(batch_from(7, 0, 2, 2), EPOCH, NOW).unwrap();
    assert!(!again.duplicate, "what was cut is not there, and must not be answered as if it were");
}
