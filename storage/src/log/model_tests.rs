//! Random histories of a log against a list of batches: appends, rolls, checkpoints, cuts at both ends, restarts, and
//! crashes that tear or damage the newest file at any byte.

use super::producers::{Claim, Producers, Verdict};
use super::synced_record::{SyncedMark, SyncedRecord};
use super::test_support::*;
use super::*;
use crate::env::{Disk, Open, RealDisk, Timestamp};
use crate::offset::{FilePosition, LeaderEpoch, LogEnd, LogStart, Offset};
use crate::segment::HEADER_LEN;
use bytes::Bytes;
use esker_protocol::record::{BatchHeader, ValidatedBatch};
use proptest::prelude::*;
use std::io::IoSlice;
use std::sync::Arc;

#[derive(Clone, Copy, Debug)]
enum Step {
    Append { records: u32, producer: Option<i64> },
    NewEpoch,
    Roll,
    Maintain,
    Truncate(u8),
    DropBefore(u8),
    AdvanceStart(u8),
    Restart { clean: bool },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (1u32..8, prop::option::of(0i64..3)).prop_map(|(records, producer)| Step::Append { records, producer }),
        1 => Just(Step::NewEpoch),
        2 => Just(Step::Roll),
        2 => Just(Step::Maintain),
        1 => (128u8..).prop_map(Step::Truncate),
        1 => any::<u8>().prop_map(Step::DropBefore),
        1 => (..128u8).prop_map(Step::AdvanceStart),
        1 => any::<bool>().prop_map(|clean| Step::Restart { clean }),
    ]
}

/// A batch that the log should have.
#[derive(Clone)]
struct Known {
    header: BatchHeader,
    bytes: Bytes,
}

impl Known {
    fn base(&self) -> u64 {
        self.header.base_offset as u64
    }

    fn next(&self) -> u64 {
        self.header.next_offset() as u64
    }
}

struct Model {
    batches: Vec<Known>,
    epoch: u32,
    config: LogConfig,
}

impl Model {
    fn end(&self) -> u64 {
        self.batches.last().map_or(0, Known::next)
    }

    fn from(&self) -> OpenFrom {
        OpenFrom { newest_epoch: Some(LeaderEpoch::new(self.epoch)), ..OpenFrom::default() }
    }

    fn offset(&self, fraction: u8, from: u64) -> u64 {
        from + (self.end() - from) * u64::from(fraction) / 256
    }

    /// Sequences as the next batch of a producer should have them.
    fn next_sequence(&self, producer: i64) -> i32 {
        let last = self.batches.iter().rev().find(|known| known.header.producer_id == producer);
        last.map_or(0, |known| known.header.base_sequence + known.header.record_count)
    }

    fn check(&self, log: &Log) {
        assert_eq!(log.log_end().offset().get(), self.end());
        assert!(synced_not_beyond_end(log.synced_end(), log.log_end()));
        let start = log.local_start().offset();
        let first = self.batches.iter().position(|known| known.next() > start.get());
        let expected: Vec<u8> = match first {
            Some(first) => self.batches[first..].iter().flat_map(|known| known.bytes.to_vec()).collect(),
            None => Vec::new(),
        };
        let mut all = Vec::new();
        let mut at = start;
        while at < log.log_end().offset() {
            let read = log.read(at, log.log_end().offset(), 200, true).unwrap();
            assert!(read.base <= at && read.next > at);
            all.extend_from_slice(&read.bytes());
            at = read.next;
        }
        assert_eq!(all, expected);
        for known in self.batches.iter().filter(|known| known.base() >= start.get()) {
            let epoch = LeaderEpoch::from_wire(known.header.partition_leader_epoch).unwrap();
            assert_eq!(log.epoch_at(Offset::new(known.base())), Some(epoch));
        }
    }

    /// The log has all that it should, but for a damaged range, which is refused.
    fn check_but(&self, log: &Log, lost: std::ops::Range<u64>) {
        let damaged = log.damaged();
        assert_eq!(damaged.len(), 1, "{damaged:?}");
        assert_eq!((damaged[0].from.offset.get(), damaged[0].to.get()), (lost.start, lost.end));
        let (mut at, upto) = (log.local_start().offset(), Offset::new(self.end()));
        let good = |known: &&Known| known.next() > at.get() && !lost.contains(&known.base());
        let expected: Vec<u8> = self.batches.iter().filter(good).flat_map(|known| known.bytes.to_vec()).collect();
        let mut all = Vec::new();
        while at < upto {
            match log.read(at, upto, 200, true) {
                Ok(read) => {
                    all.extend_from_slice(&read.bytes());
                    at = read.next;
                }
                Err(error) => {
                    assert!(matches!(error, ReadError::Log(LogError::Corrupt { .. })), "{error}");
                    assert!(lost.contains(&at.get()), "{at} is refused");
                    at = damaged[0].to;
                }
            }
        }
        assert!(all == expected, "{} bytes instead of {}", all.len(), expected.len());
    }

    /// Every producer's newest batch is a duplicate.
    fn check_producers(&self, log: &Log) {
        let known = log.producer_snapshot_at(log.log_end().offset()).unwrap();
        let mut naive = Producers::default();
        self.batches.iter().for_each(|known| naive.record(&known.header, NOW));
        for (id, state) in naive.iter() {
            // A producer whose batches were all dropped may be forgotten.
            let Some(last) = self.batches.iter().rev().find(|known| known.header.producer_id == id) else { continue };
            if last.base() >= log.local_start().offset().get() {
                let claim = Claim::of(&last.header).unwrap();
                let verdict = known.check(&claim);
                let Ok(Verdict::Duplicate(original)) = verdict else {
                    panic!("producer {id}: {claim:?} is {verdict:?}, {:?}", known.get(id))
                };
                assert_eq!(Some(&original), state.batches.back());
            }
        }
    }
}

fn run(disk: &TestDisk, steps: &[Step], config: LogConfig) -> (Model, Arc<LogDir>, Arc<Log>) {
    let mut model = Model { batches: Vec::new(), epoch: 0, config };
    let mut dir = disk.open();
    let mut log = open(&dir, config);
    for step in steps {
        match *step {
            Step::Append { records, producer } => {
                let batch: ValidatedBatch = match producer {
                    Some(producer) => batch_from(producer, 0, model.next_sequence(producer), records),
                    None => batch(records),
                };
                let stamped = batch.clone().stamp(model.end() as i64, model.epoch as i32, None);
                let appended = log.append(batch, LeaderEpoch::new(model.epoch), NOW).unwrap();
                assert_eq!((appended.base_offset.get(), appended.duplicate), (model.end(), false));
                model.batches.push(Known { header: stamped.header, bytes: stamped.to_bytes() });
            }
            Step::NewEpoch => {
                model.epoch += 1;
                log.begin_epoch(LeaderEpoch::new(model.epoch)).unwrap();
            }
            Step::Roll => log.roll(NOW).unwrap(),
            Step::Maintain => log.maintain(),
            Step::Truncate(fraction) => {
                let to = model.offset(fraction, log.local_start().offset().get());
                let end = match log.truncate_to(LogEnd::at(Offset::new(to)), NOW) {
                    // Within the first batch of a log that starts within it.
                    Err(LogError::Invalid(_)) => continue,
                    end => end.unwrap(),
                };
                model.batches.retain(|known| known.next() <= to);
                assert_eq!(end.offset().get(), model.end().max(log.local_start().offset().get()));
                if model.batches.is_empty() {
                    // The model has no other way to know where an emptied log goes on.
                    return (model, dir, log);
                }
            }
            Step::DropBefore(fraction) => {
                log.drop_local_before(Offset::new(model.offset(fraction, 0))).unwrap();
                assert!(log.local_start().offset().get() <= model.end());
            }
            Step::AdvanceStart(fraction) => {
                let to = LogStart::at(Offset::new(model.offset(fraction, 0)));
                log.advance_log_start(to).unwrap();
                assert!(log.local_start().offset() >= to.offset());
            }
            Step::Restart { clean } => {
                wait_synced(&log);
                let start = log.log_start();
                if clean {
                    disk.close(dir, log)
                } else {
                    disk.kill(dir, log)
                }
                dir = disk.open();
                let (opened, report) = Log::open(&dir, id(), config, model.from()).unwrap();
                assert_eq!((report.cut_bytes, report.hole.is_some_and(|_| false)), (0, false));
                log = opened;
                assert_eq!(log.log_start(), start);
                model.check_producers(&log);
            }
        }
        model.check(&log);
    }
    (model, dir, log)
}

fn small() -> LogConfig {
    // The appends of these tests happen long before the clock that restarts look at.
    LogConfig { segment_bytes: 700, producer_expiration_ms: i64::MAX, ..LogConfig::default() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_log_is_the_list_of_its_batches(steps in prop::collection::vec(any_step(), 1..50)) {
        let disk = TestDisk::new();
        let (model, _dir, log) = run(&disk, &steps, small());
        if !model.batches.is_empty() {
            model.check_producers(&log);
        }
    }

    #[test]
    fn a_crash_leaves_a_prefix(
        steps in prop::collection::vec(any_step(), 1..30), more in prop::collection::vec(1u32..5, 1..4),
        damage: prop::sample::Index, kind in 0u8..3, marked: bool,
    ) {
        let disk = TestDisk::new();
        let (mut model, dir, log) = run(&disk, &steps, small());
        wait_synced(&log);
        // Not to be seen half way in a copy.
        log.maintain();
        for records in more {
            let batch = batch(records);
            let stamped = batch.clone().stamp(model.end().max(log.log_end().offset().get()) as i64, model.epoch as i32, None);
            log.append(batch, LeaderEpoch::new(model.epoch), NOW).unwrap();
            model.batches.push(Known { header: stamped.header, bytes: stamped.to_bytes() });
        }
        // Opened elsewhere, where nothing is known of what was synced here.
        let copy = TestDisk::new();
        copy_partition(&disk, &copy);
        let newest = log.segments().last().copied().unwrap();
        let (base, end) = (newest.name.base.get(), newest.bytes);
        drop((dir, log));
        let checkpointed = checkpointed_position(&copy, newest.name.serial);
        if end <= checkpointed {
            // A checkpoint was taken in the background; there is nothing left to be torn.
            return Ok(());
        }
        let at = checkpointed + damage.index((end - checkpointed) as usize) as u64;
        let Some(at) = damage_file(&copy, newest.name, at, end, kind) else { return Ok(()) };
        if marked {
            let mut record = SyncedRecord::open(&RealDisk, copy.path()).unwrap();
            let (position, offset) = (FilePosition::new(end), Offset::new(model.end()));
            record.note(id(), SyncedMark { serial: newest.name.serial, position, offset });
            record.take().write().unwrap();
        }
        let dir = copy.open();
        let opened = Log::open(&dir, id(), model.config, model.from());
        let (log, _) = opened.unwrap();
        if marked {
            prop_assert_eq!(log.log_end().offset().get(), model.end());
            let mut position = HEADER_LEN;
            let in_newest = model.batches.iter().filter(|known| known.base() >= base);
            let rotten = in_newest.clone().find(|known| {
                position += known.bytes.len() as u64;
                at < position
            });
            let (from, next) = rotten.map(|known| (known.base(), known.next())).unwrap();
            let lost = from..if kind == 2 { next } else { model.end() };
            model.check_but(&log, lost.clone());
            log.append(batch(3), LeaderEpoch::new(model.epoch + 1), NOW).unwrap();
            wait_synced(&log);
            copy.kill(dir, log);
            let dir = copy.open();
            let log = open(&dir, model.config);
            prop_assert_eq!(log.log_end().offset().get(), model.end() + 3);
            model.check_but(&log, lost);
            return Ok(());
        }
        let mut position = HEADER_LEN;
        model.batches.retain(|known| {
            if known.base() < base {
                return true;
            }
            position += known.bytes.len() as u64;
            position <= at
        });
        if model.batches.is_empty() {
            return Ok(());
        }
        model.check(&log);
        model.check_producers(&log);
        // Life goes on, in a new epoch as after every start.
        let batch = batch(3);
        let stamped = batch.clone().stamp(model.end() as i64, model.epoch as i32 + 1, None);
        log.append(batch, LeaderEpoch::new(model.epoch + 1), NOW).unwrap();
        model.batches.push(Known { header: stamped.header, bytes: stamped.to_bytes() });
        wait_synced(&log);
        copy.kill(dir, log);
        let dir = copy.open();
        model.check(&open(&dir, model.config));
    }
}

fn copy_partition(from: &TestDisk, to: &TestDisk) {
    let (from, to) = (from.path().join(id().to_string()), to.path().join(id().to_string()));
    RealDisk.create_dir_all(&to).unwrap();
    for entry in RealDisk.list(&from).unwrap() {
        // Half of a file that is being replaced in the background.
        if entry.name.ends_with(".tmp") {
            continue;
        }
        // A sealed file may lose the room behind its last batch while it is read.
        let read = || RealDisk.read(&from.join(&entry.name));
        let bytes = read().or_else(|_| read()).unwrap();
        let file = RealDisk.open(&to.join(&entry.name), Open::Create).unwrap();
        file.write_all_at(&[IoSlice::new(&bytes)], 0).unwrap();
    }
}

/// Up to where the newest file is covered by the checkpoint: damage there is found by a scrub, not by a restart.
fn checkpointed_position(disk: &TestDisk, serial: u32) -> u64 {
    let bytes = RealDisk.read(&disk.path().join(id().to_string()).join("checkpoint")).unwrap();
    let point = super::checkpoint::Checkpoint::decode(&bytes).unwrap().point;
    if point.serial == serial { point.at.position.get() } else { HEADER_LEN }
}

/// Cuts the file at `at`, or zeroes the rest, or turns the bits of one byte around; the first byte that changed.
fn damage_file(disk: &TestDisk, name: crate::segment::SegmentName, at: u64, end: u64, kind: u8) -> Option<u64> {
    let path = disk.path().join(id().to_string()).join(format!("{name}.log"));
    let file = RealDisk.open(&path, Open::Write).unwrap();
    let mut rest = vec![0; (end - at) as usize];
    file.read_exact_at(&mut rest, at).unwrap();
    match kind {
        0 => file.set_len(at).unwrap(),
        1 => {
            file.write_all_at(&[IoSlice::new(&vec![0; rest.len()])], at).unwrap();
            return rest.iter().position(|byte| *byte != 0).map(|first| at + first as u64);
        }
        _ => file.write_all_at(&[IoSlice::new(&[!rest[0]])], at).unwrap(),
    }
    Some(at)
}

#[test]
fn times_are_found_as_a_full_search_finds_them() {
    let disk = TestDisk::new();
    let dir = disk.open();
    let log = open(&dir, small());
    let times = [50, 10, 70, 70, 20, 90, 30, 90, 5, 60];
    for (n, time) in times.iter().enumerate() {
        log.append(batch_at(1 + n as u32 % 3, *time), LeaderEpoch::new(0), NOW).unwrap();
    }
    assert!(log.segments().len() > 1);
    let mut offsets = Vec::new();
    for (n, time) in times.iter().enumerate() {
        offsets.extend((0..1 + n % 3).map(|_| *time));
    }
    let end = log.log_end().offset();
    for target in 0..100 {
        for upto in [end, Offset::new(7)] {
            let expected = offsets.iter().take(upto.get() as usize).position(|time| *time >= target);
            let found = log.offset_for_timestamp(Timestamp::from_millis(target), upto).unwrap();
            let found = found.map(|found| (found.offset, found.timestamp));
            assert_eq!(found, expected.map(|at| (at as i64, offsets[at])), "at or after {target}");
        }
    }
    let latest = log.max_timestamp_offset().unwrap().unwrap();
    let first = offsets.iter().position(|time| *time == 90).unwrap();
    assert_eq!((latest.offset, latest.timestamp), (first as i64, 90));
}
