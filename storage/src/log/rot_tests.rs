//! A flipped bit in any file of a log directory: what becomes of it, file by file. The table that this checks stands in the
//! head of the module `log`.

use super::test_support::*;
use super::*;
use crate::env::{Disk, Open, RealDisk, write_atomically};
use crate::offset::{LeaderEpoch, Offset};
use crate::segment::FileName;
use esker_protocol::record::batches;
use std::collections::BTreeMap;
use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

/// Every kind of file. A new one has no case in [`outcome`], and does not compile; one that is not even a name here fails
/// the test that lists a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Lock,
    Identity,
    CleanMark,
    Synced,
    Of(OfPartition),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum OfPartition {
    SealedData,
    ActiveData,
    Index,
    Rotten,
    Checkpoint,
    Cleaned,
    Scrubbed,
}

/// What a flipped bit comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Nothing that anybody notices: it is made again, or claims nothing.
    MadeUpFor,
    /// The directory does not open; others do.
    DirectoryFails,
    /// The records are what they were, or the damage is named: by the open, a scrub or an upload.
    NamedOrWhole,
}

fn kind(partition: bool, name: &str, newest: u32) -> Kind {
    if !partition {
        return match name {
            "lock" => Kind::Lock,
            "identity" => Kind::Identity,
            "clean" => Kind::CleanMark,
            "synced" => Kind::Synced,
            other => panic!("{other} has no case here"),
        };
    }
    Kind::Of(match name.parse().unwrap_or_else(|()| panic!("{name} has no case here")) {
        FileName::Data(name) if name.serial == newest => OfPartition::ActiveData,
        FileName::Data(_) => OfPartition::SealedData,
        FileName::Index(_) => OfPartition::Index,
        FileName::Rotten(_) => OfPartition::Rotten,
        FileName::Checkpoint => OfPartition::Checkpoint,
        FileName::Cleaned => OfPartition::Cleaned,
        FileName::Scrubbed => OfPartition::Scrubbed,
    })
}

fn outcome(kind: Kind) -> Outcome {
    match kind {
        Kind::Lock | Kind::CleanMark | Kind::Synced => Outcome::MadeUpFor,
        Kind::Identity => Outcome::DirectoryFails,
        Kind::Of(OfPartition::SealedData | OfPartition::ActiveData) => Outcome::NamedOrWhole,
        Kind::Of(
            OfPartition::Index
            | OfPartition::Checkpoint
            | OfPartition::Rotten
            | OfPartition::Cleaned
            | OfPartition::Scrubbed,
        ) => Outcome::MadeUpFor,
    }
}

fn config() -> LogConfig {
    LogConfig { segment_bytes: 400, producer_expiration_ms: i64::MAX, ..LogConfig::default() }
}

/// All files below `root`, by their paths.
fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in RealDisk.list(root).unwrap() {
        let path = root.join(&entry.name);
        if entry.is_dir {
            let below = files(&path).into_iter().map(|(name, bytes)| (format!("{}/{name}", entry.name), bytes));
            all.extend(below);
        } else {
            all.insert(entry.name, RealDisk.read(&path).unwrap());
        }
    }
    all
}

fn restore(root: &Path, all: &BTreeMap<String, Vec<u8>>) {
    for (name, bytes) in all {
        let path = root.join(name);
        RealDisk.create_dir_all(path.parent().unwrap()).unwrap();
        RealDisk.open(&path, Open::Create).unwrap().write_all_at(&[IoSlice::new(bytes)], 0).unwrap();
    }
}

/// A directory with a file of every kind: as a process leaves it that was killed, or that has shut down.
fn example(clean: bool) -> (BTreeMap<String, Vec<u8>>, Vec<u8>) {
    let disk = TestDisk::new();
    let dir = disk.open();
    let log = open(&dir, config());
    log.append(batch_from(7, 0, 0, 3), LeaderEpoch::new(1), NOW).unwrap();
    append_all(&log, &[3, 4, 5, 2, 6, 3]);
    log.append(transactional_batch(8, 0, 0, 2), LeaderEpoch::new(1), NOW).unwrap();
    let end = EndTransaction { producer_id: 8, producer_epoch: 0, abort: true, coordinator_epoch: 1 };
    log.end_transaction(end, LeaderEpoch::new(1), NOW).unwrap();
    append_all(&log, &[3, 1, 4]);
    log.maintain();
    append_all(&log, &[5, 1]);
    log.write_beside(FileName::Cleaned, b"not one").unwrap();
    log.note_scrubbed(ScrubProgress { whole: Some(NOW), under_way: None }).unwrap();
    wait_synced(&log);
    let mark = dir.synced_mark(id()).unwrap();
    eventually(|| {
        let record = super::synced_record::SyncedRecord::open(&RealDisk, disk.path()).unwrap();
        record.mark(id()) == Some(mark)
    });
    assert!(log.segments().len() > 3);
    let (sent, first) = (read_all(&log, Offset::ZERO).to_vec(), log.segments()[0].name);
    if clean {
        disk.close(dir, log)
    } else {
        disk.kill(dir, log)
    }
    let partition = disk.path().join(id().to_string());
    write_atomically(&RealDisk, &partition.join(FileName::Rotten(first).to_string()), b"rotten").unwrap();
    (files(disk.path()), sent)
}

fn newest(all: &BTreeMap<String, Vec<u8>>) -> u32 {
    let serial = |path: &String| match path.split_once('/')?.1.parse() {
        Ok(FileName::Data(name)) => Some(name.serial),
        _ => None,
    };
    all.keys().filter_map(serial).max().unwrap()
}

/// What a log of which nobody knows better gives, and whether anything is named as damaged.
fn look(dir: &Arc<LogDir>, sent: &[u8]) -> Outcome {
    let log = match Log::open(dir, id(), config(), OpenFrom::default()) {
        Ok((log, _)) => log,
        Err(LogError::Corrupt { .. }) => return Outcome::NamedOrWhole,
        Err(error) => panic!("{error}"),
    };
    let segments = log.segments();
    let mut named = segments.iter().filter(|segment| segment.sealed).any(|segment| log.scrub(segment.name).is_err());
    let (mut at, end) = (log.local_start().offset(), log.log_end().offset());
    while at < end && !named {
        match log.upload_chunk(at, end, 1 << 20) {
            Ok(chunk) => at = chunk.next,
            Err(_) => named = true,
        }
    }
    if named || !log.damaged().is_empty() {
        only_that_is_refused(&log, sent);
        return Outcome::NamedOrWhole;
    }
    assert_eq!(read_all(&log, log.local_start().offset()), sent, "nobody has named any damage");
    let aborted = log.aborted_between(Offset::ZERO, end).unwrap();
    assert_eq!(aborted.iter().map(|entry| entry.producer_id).collect::<Vec<_>>(), [8]);
    let again = log.append(batch_from(7, 0, 0, 3), LeaderEpoch::new(2), NOW).unwrap();
    assert!(again.duplicate, "producers are known");
    Outcome::MadeUpFor
}

/// Once it is known what is rotten, a reader gets everything else, byte for byte, and an error at that.
fn only_that_is_refused(log: &Log, sent: &[u8]) {
    log.segments().into_iter().for_each(|segment| log.note_rot_of(segment.name));
    let damaged = log.damaged();
    let lost = |offset: Offset| damaged.iter().find(|range| range.from.offset <= offset && offset < range.to);
    let whole = batches(sent).filter(|batch| lost(Offset::from_wire(batch.header.base_offset).unwrap()).is_none());
    let expected: Vec<u8> = whole.flat_map(|batch| batch.bytes.to_vec()).collect();
    let (mut read, mut at, end) = (Vec::new(), log.local_start().offset(), log.log_end().offset());
    while at < end {
        match log.read(at, end, 300, true) {
            Ok(some) => {
                read.extend_from_slice(&some.bytes());
                at = some.next;
            }
            Err(ReadError::Log(LogError::Corrupt { .. })) => at = lost(at).expect("this is not damaged").to,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(read == expected, "of {} bytes {} were read, {} are good", sent.len(), read.len(), expected.len());
    assert!(!damaged.is_empty(), "an error, and no damage");
}

fn flip_bits(clean: bool) {
    let (all, sent) = example(clean);
    let newest = newest(&all);
    let mut seen = BTreeMap::new();
    for (path, bytes) in &all {
        let (partition, name) = path.rsplit_once('/').map_or((false, path.as_str()), |(_, name)| (true, name));
        let kind = kind(partition, name, newest);
        let expected = outcome(kind);
        // What was allocated and not used is zeros.
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        // Every file's head and tail, and some of what lies between.
        let step = (used / 12).max(1);
        let places: Vec<usize> = (0..used).step_by(step).chain(used.saturating_sub(1)..used).collect();
        seen.entry(kind).and_modify(|count| *count += places.len()).or_insert(places.len());
        for (n, at) in places.into_iter().enumerate() {
            let root = tempfile::tempdir().unwrap();
            let mut flipped = all.clone();
            flipped.get_mut(path).unwrap()[at] ^= 1 << (n % 8);
            restore(root.path(), &flipped);
            let cluster = uuid::Uuid::from_u128(1);
            let settings = LogDirConfig { cluster, broker: 1, durability: Durability::Fsync, open_files: 16 };
            let dir = LogDir::open(&real_env(), root.path(), settings);
            let came = match &dir {
                Ok(dir) => look(dir, &sent),
                Err(OpenDirError::Io { .. }) => Outcome::DirectoryFails,
                Err(error) => panic!("{path}, byte {at}: {error}"),
            };
            let fits = came == expected || expected == Outcome::NamedOrWhole && came == Outcome::MadeUpFor;
            assert!(fits, "{path}, byte {at} of {used}: {came:?}, not {expected:?}");
            if let Ok(dir) = dir {
                stop(dir);
            }
        }
    }
    let kinds = [OfPartition::SealedData, OfPartition::ActiveData, OfPartition::Index, OfPartition::Rotten];
    let beside = [OfPartition::Checkpoint, OfPartition::Cleaned, OfPartition::Scrubbed];
    let kinds = kinds.into_iter().chain(beside).map(Kind::Of);
    for kind in kinds.chain([Kind::Lock, Kind::Identity, Kind::Synced]) {
        assert!(seen.contains_key(&kind), "no file of kind {kind:?} was there");
    }
    assert_eq!(seen.contains_key(&Kind::CleanMark), clean);
}

#[test]
fn a_flipped_bit_after_a_kill_is_made_up_for_or_named() {
    flip_bits(false);
}

#[test]
fn a_flipped_bit_after_a_shutdown_is_made_up_for_or_named() {
    flip_bits(true);
}
