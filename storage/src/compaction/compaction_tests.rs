//! Compaction of real logs: whatever the history and however many passes, the newest record of each key stays where it
//! was; at every point of a swap a restart finds one side of it or the other; readers and producers go on meanwhile.

use super::*;
use crate::env::{Disk, Timestamp};
use crate::log::test_support::*;
use crate::log::{Log, LogConfig, LogError, OpenFrom, ReadError};
use crate::offset::{LeaderEpoch, LogEnd, Offset};
use crate::segment::{FileName, HEADER_LEN};
use esker_protocol::record::{BatchBuilder, Compression, Producer, Scratch, ValidatedBatch, batches, records};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A record as a reader sees it: key, value, and how many headers.
type Seen = (Option<Vec<u8>>, Option<Vec<u8>>, usize);
type Content = BTreeMap<u64, Seen>;

const KEEP: i64 = 1000;

fn settings() -> CompactionConfig {
    CompactionConfig { min_dirty_ratio: 0.0, delete_retention_ms: KEEP, segment_bytes: 4 << 10, ..Default::default() }
}

fn config(key_bytes: usize) -> PassConfig {
    PassConfig { topic: settings(), key_bytes, seed: 11, clean_below: EVERYTHING }
}

/// One pass over what is sealed; `None` if nothing is dirty.
fn pass(log: &Arc<Log>, key_bytes: usize, now: Timestamp) -> Result<Option<PassReport>, LogError> {
    let stable = log.log_end().offset();
    wait_synced(log);
    let found = look_at(log, read_progress(log)?.local, stable, &settings(), now)?;
    if !found.is_due(&settings()) {
        return Ok(None);
    }
    let mut pass = Pass::begin(log, &found, config(key_bytes), now);
    loop {
        match pass.step(700)? {
            Step::More(_) => {}
            Step::Done(report) => return Ok(Some(report)),
            Step::Overtaken => return Ok(None),
        }
    }
}

fn keyed(codec: Compression, producer: Option<(i64, i32)>, records: &[(u8, Option<u8>)], stamp: i64) -> ValidatedBatch {
    let mut builder = BatchBuilder::new(codec);
    if let Some((id, sequence)) = producer {
        builder = builder.producer(Producer { id, epoch: 0, base_sequence: Some(sequence) });
    }
    for (n, (key, value)) in records.iter().enumerate() {
        let value = value.map(|value| vec![value; 20 + usize::from(value) % 60]);
        let headers = vec![(&b"same"[..], Some(&b"twice"[..])); n % 3];
        builder.push(stamp, Some(&[b'k', *key]), value.as_deref(), &headers);
    }
    builder.build_trusted().unwrap()
}

/// Everything that a reader gets from `from` on, in reads of at most `max` bytes.
fn read_from(log: &Log, from: u64, max: u64) -> Content {
    let (mut content, mut at, mut scratch) = (Content::new(), Offset::new(from), Scratch::default());
    let mut expected = 0;
    loop {
        let read = log.read(at, log.log_end().offset(), max, true).unwrap();
        if read.is_empty() {
            return content;
        }
        assert!(read.next > at, "a reader gets on");
        let bytes = read.bytes();
        let mut split = batches(&bytes);
        for batch in split.by_ref() {
            assert!(batch.header.base_offset >= expected, "batches ascend");
            expected = batch.header.next_offset();
            for record in records(batch.bytes, &mut scratch, 1 << 20).unwrap() {
                let record = record.unwrap();
                let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
                let seen = (owned(record.key), owned(record.value), record.headers.count());
                assert_eq!(content.insert(record.offset as u64, seen), None);
            }
        }
        assert_eq!(split.rest(), None);
        at = read.next;
    }
}

/// The newest value of each key that has one.
fn newest(content: &Content) -> BTreeMap<Vec<u8>, (u64, Vec<u8>)> {
    let mut map = BTreeMap::new();
    for (offset, (key, value, _)) in content {
        match value {
            Some(value) => map.insert(key.clone().unwrap(), (*offset, value.clone())),
            None => map.remove(key.as_ref().unwrap()),
        };
    }
    map
}

#[derive(Clone, Debug)]
enum Act {
    Append { records: Vec<(u8, Option<u8>)>, producer: Option<i64>, codec: u8 },
    Roll,
    Pass { key_bytes: usize, after: i64 },
    Restart { clean: bool },
    Truncate(u8),
    LoseProgress,
}

fn any_act() -> impl Strategy<Value = Act> {
    let record = (0u8..12, prop::option::weighted(0.8, any::<u8>()));
    let append = (prop::collection::vec(record, 1..7), prop::option::of(0i64..3), 0u8..5);
    prop_oneof![
        14 => append.prop_map(|(records, producer, codec)| Act::Append { records, producer, codec }),
        4 => Just(Act::Roll),
        4 => (prop_oneof![Just(200usize), Just(1400), Just(1 << 16)], 0i64..2 * KEEP)
            .prop_map(|(key_bytes, after)| Act::Pass { key_bytes, after }),
        1 => any::<bool>().prop_map(|clean| Act::Restart { clean }),
        1 => any::<u8>().prop_map(Act::Truncate),
        1 => Just(Act::LoseProgress),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn any_history_keeps_the_newest_of_every_key(acts in prop::collection::vec(any_act(), 1..60)) {
        let disk = TestDisk::new();
        let mut dir = disk.open();
        // The tests' clock is not the disk's.
        let log_config = LogConfig { segment_bytes: 900, producer_expiration_ms: i64::MAX, ..LogConfig::default() };
        let mut log = open(&dir, log_config);
        let mut now = NOW;
        // What was ever appended and not cut off, and of each producer the next sequence.
        let mut all = Content::new();
        let mut sequences: BTreeMap<i64, Vec<(u64, i32)>> = BTreeMap::new();
        let mut committed = 0;
        for act in acts {
            match act {
                Act::Append { records, producer, codec } => {
                    let base = log.log_end().offset().get();
                    let next = |id: &i64| sequences.get(id).and_then(|known| known.last()).map_or(0, |(_, next)| *next);
                    let claim = producer.map(|id| (id, next(&id)));
                    let codec = Compression::from_code(codec).unwrap();
                    log.append(keyed(codec, claim, &records, now.millis()), LeaderEpoch::new(1), now).unwrap();
                    if let Some((id, sequence)) = claim {
                        sequences.entry(id).or_default().push((base, sequence + records.len() as i32));
                    }
                    for (n, (key, value)) in records.iter().enumerate() {
                        let value = value.map(|value| vec![value; 20 + usize::from(value) % 60]);
                        all.insert(base + n as u64, (Some(vec![b'k', *key]), value, n % 3));
                    }
                }
                Act::Roll => log.roll(now).unwrap(),
                Act::Pass { key_bytes, after } => {
                    now = Timestamp::from_millis(now.millis() + after);
                    committed = log.log_end().offset().get();
                    pass(&log, key_bytes, now).unwrap();
                }
                Act::Restart { clean } => {
                    wait_synced(&log);
                    if clean { disk.close(dir, log) } else { disk.kill(dir, log) }
                    dir = disk.open();
                    log = open(&dir, log_config);
                }
                Act::Truncate(fraction) => {
                    // Nothing that is committed is ever cut.
                    let end = log.log_end().offset().get();
                    let to = committed + (end - committed) * u64::from(fraction) / 256;
                    let cut = log.truncate_to(LogEnd::at(Offset::new(to)), now).unwrap().offset().get();
                    prop_assert!(cut <= to && cut >= committed);
                    all.retain(|offset, _| *offset < cut);
                    for known in sequences.values_mut() {
                        known.retain(|(base, _)| *base < cut);
                    }
                }
                Act::LoseProgress => {
                    let _ = disk.env().disk.remove_file(&log.path().join(FileName::Cleaned.to_string()));
                }
            }
            let content = read_from(&log, 0, 400);
            prop_assert!(content.iter().all(|(offset, seen)| all.get(offset) == Some(seen)), "survivors are as they were");
            prop_assert_eq!(newest(&content), newest(&all));
        }
        // A reader may begin anywhere.
        let content = read_from(&log, 0, 1 << 20);
        for from in [1, 3, 17, 40].into_iter().filter(|from| *from <= log.log_end().offset().get()) {
            let expected: Content = content.iter().filter(|(offset, _)| **offset >= from).map(|(o, s)| (*o, s.clone())).collect();
            let seen: Content = read_from(&log, from, 500).into_iter().filter(|(offset, _)| *offset >= from).collect();
            prop_assert_eq!(seen, expected);
        }
        // Fully cleaned, every key has one record, and sequences go on where they were.
        log.roll(now).unwrap();
        while pass(&log, 1 << 16, now).unwrap().is_some() {}
        let content = read_from(&log, 0, 1 << 20);
        prop_assert_eq!(newest(&content), newest(&all));
        let keys: std::collections::BTreeSet<_> = content.values().map(|seen| seen.0.clone()).collect();
        prop_assert_eq!(keys.len(), content.len(), "one record of each key");
        // Without the checkpoint all that is known of the producers is what the log still says.
        wait_synced(&log);
        let checkpoint = log.path().join(FileName::Checkpoint.to_string());
        disk.kill(dir, log);
        let _ = disk.env().disk.remove_file(&checkpoint);
        let dir = disk.open();
        let log = open(&dir, log_config);
        prop_assert_eq!(read_from(&log, 0, 300), content);
        for (id, known) in sequences {
            let Some((_, next)) = known.last() else { continue };
            let wrong = keyed(Compression::None, Some((id, next + 5)), &[(1, None)], 0);
            prop_assert!(log.append(wrong, LeaderEpoch::new(1), now).is_err(), "producer {} is remembered", id);
            let right = keyed(Compression::None, Some((id, *next)), &[(1, None)], 0);
            prop_assert!(log.append(right, LeaderEpoch::new(1), now).is_ok());
        }
        disk.close(dir, log);
    }
}

/// A log of several sealed segments with a few keys, some of them deleted.
fn example(dir: &Arc<crate::log::LogDir>) -> (Arc<Log>, Content) {
    let log = open(dir, LogConfig { segment_bytes: 700, ..LogConfig::default() });
    for n in 0..60u8 {
        let value = (n % 7 != 0).then_some(n);
        let batch = keyed(Compression::None, None, &[(n % 9, value), (n % 4, Some(n))], NOW.millis());
        log.append(batch, LeaderEpoch::new(1), NOW).unwrap();
    }
    log.roll(NOW).unwrap();
    wait_synced(&log);
    let content = read_from(&log, 0, 4000);
    (log, content)
}

/// The files of a partition, by name.
fn files(path: &std::path::Path, disk: &dyn Disk) -> BTreeMap<String, Vec<u8>> {
    let names = disk.list(path).unwrap().into_iter().map(|entry| entry.name);
    names.map(|name| (name.clone(), disk.read(&path.join(&name)).unwrap())).collect()
}

fn put_back(path: &std::path::Path, disk: &dyn Disk, files: &BTreeMap<String, Vec<u8>>) {
    for entry in disk.list(path).unwrap() {
        disk.remove_file(&path.join(entry.name)).unwrap();
    }
    for (name, bytes) in files {
        let file = disk.open(&path.join(name), crate::env::Open::Create).unwrap();
        file.write_all_at(&[std::io::IoSlice::new(bytes)], 0).unwrap();
    }
}

#[test]
fn at_every_point_of_a_swap_a_restart_finds_one_side_or_the_other() {
    let disk = TestDisk::new();
    let dir = disk.open();
    let (log, _) = example(&dir);
    log.maintain();
    let path = log.path().to_owned();
    let real = Arc::clone(&disk.env().disk);
    let before = files(&path, real.as_ref());
    pass(&log, 1 << 16, NOW).unwrap().unwrap();
    let after_content = read_from(&log, 0, 1 << 20);
    let wanted = newest(&after_content);
    let after = files(&path, real.as_ref());
    disk.kill(dir, log);
    let synced = disk.path().join("synced");
    let marks = real.read(&synced).unwrap();
    let new: Vec<_> = after.keys().filter(|name| !before.contains_key(*name) && *name != "cleaned").cloned().collect();
    let old: Vec<_> = before.keys().filter(|name| !after.contains_key(*name)).cloned().collect();
    assert!(new.len() >= 2 && old.len() >= 8, "{new:?} {old:?}");
    let mut states: Vec<(String, BTreeMap<String, Vec<u8>>)> = Vec::new();
    // Before the rename: half a file under a temporary name, with its index or without.
    let mut early = before.clone();
    for name in &new {
        let (kept, bytes) = if name.ends_with(".log") {
            (format!("{name}.tmp"), &after[name][..after[name].len().min(100)])
        } else {
            (name.clone(), &after[name][..])
        };
        early.insert(kept, bytes.to_vec());
        states.push((format!("early {name}"), early.clone()));
    }
    // After the rename: any of the old files may be gone, in whichever order.
    for gone in 0..=old.len() {
        for backwards in [false, true] {
            let mut late = after.clone();
            late.extend(
                before.iter().filter(|(name, _)| name.as_str() == "checkpoint").map(|(n, b)| (n.clone(), b.clone())),
            );
            let order: Vec<_> = if backwards { old.iter().rev().collect() } else { old.iter().collect() };
            late.extend(order.into_iter().skip(gone).map(|name| (name.clone(), before[name].clone())));
            late.remove("cleaned");
            states.push((format!("late {gone} {backwards}"), late));
        }
    }
    // The cleaned files' indexes may be lost as well: they are made again.
    let mut bare = after.clone();
    bare.retain(|name, _| !name.ends_with(".index") && name != "checkpoint");
    states.push(("bare".to_owned(), bare));
    for (what, state) in states {
        put_back(&path, real.as_ref(), &state);
        crate::env::write_atomically(real.as_ref(), &synced, &marks).unwrap();
        let dir = disk.open();
        let log = open(&dir, LogConfig { segment_bytes: 700, ..LogConfig::default() });
        let content = read_from(&log, 0, 333);
        assert_eq!(newest(&content), wanted, "{what}");
        if !what.starts_with("early") {
            assert_eq!(content, after_content, "{what}");
        }
        // Nothing of the old ones is left that a later start could take for something.
        let left = files(&path, real.as_ref());
        assert!(left.keys().all(|name| !name.ends_with(".tmp")), "{what}: {:?}", left.keys());
        // It is appended to, and cleaned again.
        let appended =
            log.append(keyed(Compression::None, None, &[(1, Some(1))], 0), LeaderEpoch::new(1), NOW).unwrap();
        log.roll(NOW).unwrap();
        while pass(&log, 1 << 16, NOW).unwrap().is_some() {}
        let mut now_wanted = wanted.clone();
        now_wanted.insert(vec![b'k', 1], (appended.base_offset.get(), vec![1; 21]));
        assert_eq!(newest(&read_from(&log, 0, 333)), now_wanted, "{what}");
        disk.kill(dir, log);
    }
}

#[test]
fn rot_in_a_cleaned_file_is_named_and_never_cut() {
    let disk = TestDisk::new();
    let dir = disk.open();
    let (log, _) = example(&dir);
    pass(&log, 1 << 16, NOW).unwrap().unwrap();
    let path = log.path().to_owned();
    let is_full = |segment: &&crate::log::SegmentInfo| segment.name.is_cleaned() && segment.bytes > HEADER_LEN + 200;
    let cleaned = log.segments().iter().find(is_full).unwrap().name;
    disk.kill(dir, log);
    let real = &disk.env().disk;
    real.remove_file(&path.join(FileName::Index(cleaned).to_string())).unwrap();
    let data = real.open(&path.join(FileName::Data(cleaned).to_string()), crate::env::Open::Write).unwrap();
    data.write_all_at(&[std::io::IoSlice::new(b"rot")], HEADER_LEN + 70).unwrap();
    let dir = disk.open();
    let (log, _) = Log::open(&dir, id(), LogConfig::default(), OpenFrom::default()).unwrap();
    let damaged = log.damaged();
    assert_eq!(damaged.iter().map(|range| range.segment).collect::<Vec<_>>(), [cleaned]);
    let inside = log.read(damaged[0].from.offset, log.log_end().offset(), 100, true);
    assert!(matches!(inside, Err(ReadError::Log(LogError::Corrupt { .. }))), "{inside:?}");
    let behind = log.read(damaged[0].to, log.log_end().offset(), 100, true).unwrap();
    assert!(behind.base >= damaged[0].to && !behind.is_empty());
    // A pass would have to leave it out, and does nothing instead.
    log.append(keyed(Compression::None, None, &[(1, Some(1))], 0), LeaderEpoch::new(1), NOW).unwrap();
    log.roll(NOW).unwrap();
    log.maintain();
    let passed = pass(&log, 1 << 16, NOW);
    assert!(matches!(passed, Err(LogError::Corrupt { segment, .. }) if segment == cleaned), "{passed:?}");
    assert_eq!(log.damaged(), damaged);
}

/// Which kind of file a bit flips in while a pass is at work.
#[derive(Clone, Copy, Debug)]
enum Flip {
    /// A batch of a segment that is read for its keys and filtered afterwards.
    Batch,
    /// What a data file begins with.
    Header,
    Index,
    Checkpoint,
    /// Where the pass before noted how far it came.
    Progress,
}

#[test]
fn a_bit_that_flips_under_a_pass_is_never_copied() {
    for flip in [Flip::Batch, Flip::Header, Flip::Index, Flip::Checkpoint, Flip::Progress] {
        for steps in [0, 1, 4, 9] {
            flip_under_a_pass(flip, steps);
        }
    }
}

fn flip_under_a_pass(flip: Flip, steps: usize) {
    let disk = TestDisk::new();
    let dir = disk.open();
    let (log, content) = example(&dir);
    log.maintain();
    write_progress(&log, Progress::default()).unwrap();
    let found = look_at(&log, None, log.log_end().offset(), &settings(), NOW).unwrap();
    let mut begun = Pass::begin(&log, &found, config(1 << 16), NOW);
    for _ in 0..steps {
        assert!(matches!(begun.step(1), Ok(Step::More(_))));
    }
    // The last of those that it cleans: no run has taken it yet.
    let sealed: Vec<_> = log.segments().into_iter().filter(|segment| segment.sealed).collect();
    let last = sealed.last().unwrap();
    let (file, at) = match flip {
        Flip::Batch => (FileName::Data(last.name), HEADER_LEN + 70),
        Flip::Header => (FileName::Data(last.name), 30),
        Flip::Index => (FileName::Index(last.name), 100),
        Flip::Checkpoint => (FileName::Checkpoint, 40),
        Flip::Progress => (FileName::Cleaned, 14),
    };
    let file = disk.env().disk.open(&log.path().join(file.to_string()), crate::env::Open::Write).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[std::io::IoSlice::new(&[byte[0] ^ 4])], at).unwrap();
    let ended = loop {
        match begun.step(1 << 20) {
            Ok(Step::More(_)) => {}
            ended => break ended,
        }
    };
    let rotten = matches!(flip, Flip::Batch);
    match &ended {
        Err(LogError::Corrupt { segment, .. }) if rotten => assert_eq!(*segment, last.name),
        Ok(Step::Done(_)) if !rotten => {}
        other => panic!("{flip:?} after {steps} steps: {other:?}"),
    }
    drop(begun);
    // Whatever was written by then, every batch of it is one that was there.
    for segment in log.segments().into_iter().filter(|segment| segment.sealed) {
        let scrubbed = log.scrub(segment.name);
        assert_eq!(
            scrubbed.is_err(),
            rotten && segment.name == last.name,
            "{flip:?} after {steps} steps: {scrubbed:?}"
        );
        log.scrub_beside(segment.name).unwrap();
    }
    log.scrub_checkpoint().unwrap();
    if !rotten {
        assert_eq!(newest(&read_from(&log, 0, 333)), newest(&content), "{flip:?} after {steps} steps");
        disk.kill(dir, log);
        let dir = disk.open();
        let log = open(&dir, LogConfig { segment_bytes: 2000, ..LogConfig::default() });
        assert_eq!(newest(&read_from(&log, 0, 333)), newest(&content), "{flip:?} after {steps} steps, and a restart");
    }
}

#[test]
fn a_rotten_batch_stops_the_pass_and_leaves_the_log_as_it_was() {
    let disk = TestDisk::new();
    let dir = disk.open();
    let (log, content) = example(&dir);
    log.maintain();
    let third = log.segments()[2].name;
    let data = log.path().join(FileName::Data(third).to_string());
    let data = disk.env().disk.open(&data, crate::env::Open::Write).unwrap();
    let mut byte = [0];
    data.read_exact_at(&mut byte, HEADER_LEN + 70).unwrap();
    data.write_all_at(&[std::io::IoSlice::new(&[byte[0] ^ 0xff])], HEADER_LEN + 70).unwrap();
    let failed = pass(&log, 1 << 16, NOW);
    assert!(matches!(failed, Err(LogError::Corrupt { segment, .. }) if segment == third), "{failed:?}");
    data.write_all_at(&[std::io::IoSlice::new(&byte)], HEADER_LEN + 70).unwrap();
    let left = files(log.path(), disk.env().disk.as_ref());
    assert!(left.keys().all(|name| !name.ends_with(".tmp")));
    assert_eq!(log.segments().iter().filter(|segment| segment.name.is_cleaned()).count(), 0);
    assert_eq!(read_from(&log, 0, 333), content);
    disk.close(dir, log);
}

#[test]
fn what_is_dropped_or_cut_under_a_pass_ends_it() {
    let disk = TestDisk::new();
    let dir = disk.open();
    let (log, _) = example(&dir);
    log.maintain();
    let found = look_at(&log, None, log.log_end().offset(), &settings(), NOW).unwrap();
    let mut begun = Pass::begin(&log, &found, config(1 << 16), NOW);
    begun.step(1).unwrap();
    let second = log.segments()[1].name.base;
    log.drop_local_before(second).unwrap();
    let ended = loop {
        match begun.step(1 << 20).unwrap() {
            Step::More(_) => {}
            ended => break ended,
        }
    };
    assert_eq!(ended, Step::Overtaken);
    drop(begun);
    assert!(pass(&log, 1 << 16, NOW).unwrap().is_some());
    disk.close(dir, log);
}

#[test]
fn readers_and_producers_go_on_while_it_is_cleaned() {
    let disk = TestDisk::new();
    let dir = disk.open();
    let log = open(&dir, LogConfig { segment_bytes: 2000, ..LogConfig::default() });
    let rounds = 400u32;
    let passes = AtomicUsize::new(0);
    let all: Content = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut all = Content::new();
            for n in 0..rounds {
                // Some of them while it is cleaned, however slow that is.
                while n == rounds / 2 && passes.load(Ordering::Relaxed) == 0 {
                    std::thread::yield_now();
                }
                let (key, value) = ((n % 23) as u8, (n % 11 != 0).then_some(n as u8));
                let batch = keyed(Compression::Lz4, Some((n64(n % 2), (n / 2) as i32)), &[(key, value)], NOW.millis());
                let base = log.append(batch, LeaderEpoch::new(1), NOW).unwrap().base_offset;
                let value = value.map(|value| vec![value; 20 + usize::from(value) % 60]);
                all.insert(base.get(), (Some(vec![b'k', key]), value, 0));
            }
            all
        });
        let readers: Vec<_> = (0..2)
            .map(|n| {
                let log = &log;
                scope.spawn(move || {
                    // Every reader that begins at the start sees records ascend, each once, as the function checks.
                    while log.log_end().offset().get() < u64::from(rounds) {
                        read_from(log, 0, 300 + n * 900);
                    }
                })
            })
            .collect();
        while log.log_end().offset().get() < u64::from(rounds) {
            let passed = pass(&log, 1 << 16, NOW).unwrap().is_some();
            passes.fetch_add(usize::from(passed), Ordering::Relaxed);
        }
        for reader in readers {
            reader.join().unwrap();
        }
        writer.join().unwrap()
    });
    log.roll(NOW).unwrap();
    while pass(&log, 1 << 16, NOW).unwrap().is_some() {}
    let content = read_from(&log, 0, 500);
    assert_eq!(newest(&content), newest(&all));
    assert!(content.len() <= 23, "{}", content.len());
    disk.close(dir, log);
}

fn n64(n: u32) -> i64 {
    i64::from(n)
}
