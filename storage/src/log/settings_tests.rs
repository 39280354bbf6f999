//! Settings of a log, and that each takes effect on a log that is open.

use super::faulty_disk::{Faults, FaultyDisk};
use super::test_support::*;
use super::*;
use crate::env::{Env, Timestamp};
use crate::offset::{LeaderEpoch, LogStart, Offset};
use crate::segment::IndexLimits;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use uuid::Uuid;

fn later(millis: i64) -> Timestamp {
    Timestamp::from_millis(NOW.millis() + millis)
}

fn append(log: &Log) {
    log.append(batch(2), LeaderEpoch::new(1), NOW).unwrap();
}

/// The files of the partition whose names end so, with their sizes.
fn files(disk: &TestDisk, ending: &str) -> Vec<(PathBuf, u64)> {
    let path = disk.path().join(id().to_string());
    let all = disk.env().disk.list(&path).unwrap();
    let wanted = all.into_iter().filter(|entry| entry.name.ends_with(ending));
    wanted.map(|entry| (path.join(entry.name), entry.len)).collect()
}

#[test]
fn a_segments_index_is_as_fine_and_as_large_as_it_is_told() {
    let disk = TestDisk::new();
    let dir = disk.open();
    let log = open(&dir, LogConfig::default());
    let fill = |config: LogConfig| {
        log.set_config(config);
        // What concerns how a file is made holds from the next segment on.
        append(&log);
        log.roll(NOW).unwrap();
        append_all(&log, &[1; 300]);
        log.roll(NOW).unwrap();
        log.finish_sealed().unwrap();
        files(&disk, ".index").last().unwrap().1
    };
    let usual = fill(LogConfig::default());
    let fine = fill(LogConfig { index: IndexLimits { interval: 0, bytes: 10 << 20 }, ..LogConfig::default() });
    let small = fill(LogConfig { index: IndexLimits { interval: 0, bytes: 1000 }, ..LogConfig::default() });
    assert!(fine >= usual + 250 * 24, "{usual} {fine}");
    assert!(small <= usual + 1000, "{small} {usual}");
    read_all(&log, Offset::ZERO);
    assert_eq!(log.log_end().offset(), Offset::new(906));
}

#[test]
fn chance_takes_a_part_off_the_age_of_a_segment() {
    let disk = TestDisk::new();
    let dir = disk.open();
    let day = 24 * 3600 * 1000;
    let log = open(&dir, LogConfig { segment_ms: day, ..LogConfig::default() });
    append(&log);
    log.tick(later(day - 1)).unwrap();
    assert_eq!(log.segments().len(), 1, "without jitter no segment is sealed before its time");
    log.set_config(LogConfig { segment_ms: day, segment_jitter_ms: day, ..LogConfig::default() });
    log.roll(NOW).unwrap();
    let mut early = 0;
    for _ in 0..40 {
        append(&log);
        let before = log.segments().len();
        log.tick(later(day / 2)).unwrap();
        if log.segments().len() > before {
            early += 1;
        } else {
            log.tick(later(day)).unwrap();
            assert!(log.segments().len() > before, "nor after it");
        }
    }
    assert!((5..36).contains(&early), "{early} of 40 were sealed in the first half of their time");
}

#[test]
fn a_file_is_allocated_at_once_if_so_told() {
    let disk = TestDisk::new();
    let dir = disk.open();
    let whole = 3 << 20;
    let log = open(&dir, LogConfig { segment_bytes: whole, ..LogConfig::default() });
    append(&log);
    assert!(files(&disk, ".log")[0].1 < whole);
    log.set_config(LogConfig { segment_bytes: whole, preallocate: true, ..LogConfig::default() });
    log.roll(NOW).unwrap();
    assert_eq!(files(&disk, ".log")[1].1, whole);
    let sent = append_all(&log, &[3, 4]);
    disk.kill(dir, log);
    let dir = disk.open();
    let log = open(&dir, LogConfig::default());
    assert_eq!(read_all(&log, Offset::new(2)), sent, "zeros end the log");
    log.roll(NOW).unwrap();
    log.finish_sealed().unwrap();
    assert!(files(&disk, ".log")[1].1 < 4096, "what was not used is given back");
}

#[test]
fn a_log_goes_on_where_it_ended_whatever_was_written_ahead() {
    let disk = TestDisk::new();
    let mut sent = bytes::BytesMut::new();
    // Synced batch by batch, and small: zeros are written behind them; and then longer ones, over those.
    for records in [&[3; 200][..], &[1; 50], &[1500; 3], &[2; 40]] {
        let dir = disk.open();
        let log = open(&dir, LogConfig::default());
        assert_eq!(read_all(&log, Offset::new(0)), sent);
        sent.extend_from_slice(&append_all(&log, records));
        wait_synced(&log);
        disk.kill(dir, log);
    }
    let dir = disk.open();
    let log = open(&dir, LogConfig::default());
    assert_eq!(read_all(&log, Offset::new(0)), sent);
    log.roll(NOW).unwrap();
    log.finish_sealed().unwrap();
    assert_eq!(files(&disk, ".log")[0].1, sent.len() as u64 + crate::segment::HEADER_LEN, "the zeros are given back");
}

#[test]
fn the_files_of_dropped_segments_stay_as_long_as_they_are_told() {
    let disk = TestDisk::new();
    let dir = disk.open();
    // Nothing is sealed for its age.
    let delayed = LogConfig { file_delete_delay_ms: 60_000, segment_ms: i64::MAX, ..LogConfig::default() };
    let log = open(&dir, delayed);
    let wall = disk.env().wall().millis();
    let at = |millis: i64| Timestamp::from_millis(wall + millis);
    append(&log);
    log.roll(NOW).unwrap();
    append(&log);
    assert!(log.drop_local_before(Offset::new(2)).unwrap() > 0);
    assert_eq!((log.local_start().offset(), files(&disk, ".log").len()), (Offset::new(2), 2));
    log.tick(at(30_000)).unwrap();
    assert_eq!(files(&disk, ".log").len(), 2);
    log.tick(at(70_000)).unwrap();
    assert_eq!(files(&disk, ".log").len(), 1);
    // A shorter delay counts for what waits already; an end of the process ends it.
    log.roll(NOW).unwrap();
    append(&log);
    log.drop_local_before(Offset::new(4)).unwrap();
    assert_eq!(files(&disk, ".log").len(), 2);
    log.set_config(LogConfig { file_delete_delay_ms: 0, ..delayed });
    log.tick(at(1000)).unwrap();
    assert_eq!(files(&disk, ".log").len(), 1);
    log.set_config(delayed);
    log.roll(NOW).unwrap();
    append(&log);
    log.drop_local_before(Offset::new(6)).unwrap();
    disk.kill(dir, log);
    let dir = disk.open();
    let log = open(&dir, LogConfig::default());
    assert_eq!((log.local_start().offset(), files(&disk, ".log").len()), (Offset::new(6), 1));
}

fn faulty(durability: Durability) -> (tempfile::TempDir, Arc<Faults>, Arc<LogDir>) {
    let root = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let env = Env { disk: Arc::new(FaultyDisk(Arc::clone(&faults))), ..real_env() };
    let config = LogDirConfig { cluster: Uuid::from_u128(1), broker: 1, durability, open_files: 16 };
    let dir = LogDir::open(&env, root.path(), config).unwrap();
    (root, faults, dir)
}

#[test]
fn as_many_records_as_flush_messages_says_wait_for_a_sync() {
    let (_root, faults, dir) = faulty(Durability::Os);
    let log = open(&dir, LogConfig::default());
    append(&log);
    assert_eq!((log.durable_end(), log.synced_end().offset()), (Offset::new(2), Offset::ZERO));
    log.set_config(LogConfig { flush_messages: 5, ..LogConfig::default() });
    append(&log);
    assert_eq!(log.durable_end(), Offset::new(4), "fewer than that are vouched for at once");
    let before = faults.syncs.load(Ordering::Relaxed);
    append(&log);
    eventually(|| log.synced_end().offset() == Offset::new(6));
    assert_eq!(log.durable_end(), Offset::new(6));
    assert!(faults.syncs.load(Ordering::Relaxed) > before);
    // Nothing is vouched for that should have been synced and cannot be.
    log.set_config(LogConfig { flush_messages: 1, ..LogConfig::default() });
    *faults.sync.lock() = Some(ErrorKind::Other);
    append(&log);
    eventually(|| dir.failure().is_some());
    assert_eq!(log.durable_end(), Offset::new(6));
}

#[test]
fn records_wait_for_a_sync_no_longer_than_flush_ms() {
    let (_root, _faults, dir) = faulty(Durability::Os);
    let log = open(&dir, LogConfig::default());
    append(&log);
    assert_eq!(log.synced_end().offset(), Offset::ZERO);
    log.set_config(LogConfig { flush_ms: 20, ..LogConfig::default() });
    // Who writes tells; a log that is dirty already is looked at when something else is.
    dir.group().demand();
    eventually(|| log.synced_end().offset() == Offset::new(2));
    append(&log);
    eventually(|| log.synced_end().offset() == Offset::new(4));
}

#[test]
fn a_log_start_is_answered_for_only_once_it_is_saved() {
    let (root, faults, dir) = faulty(Durability::Fsync);
    let log = open(&dir, LogConfig::default());
    append_all(&log, &[2, 2, 2]);
    wait_synced(&log);
    let to = LogStart::at(Offset::new(3));
    *faults.write.lock() = Some(ErrorKind::StorageFull);
    assert!(matches!(log.advance_log_start(to), Err(LogError::NoSpace)));
    assert!(matches!(log.advance_log_start(to), Err(LogError::NoSpace)), "it moved, and nobody saved it");
    *faults.write.lock() = None;
    log.advance_log_start(to).unwrap();
    let checkpoint = dir.env().disk.read(&root.path().join(id().to_string()).join("checkpoint")).unwrap();
    assert_eq!(checkpoint::Checkpoint::decode(&checkpoint).unwrap().log_start, to);
    log.advance_log_start(LogStart::at(Offset::new(1))).unwrap();
    assert_eq!(log.log_start(), to);
}
