//! What an acknowledgement may rely on: rounds of syncs, their observers, and what happens when one fails.

use super::faulty_disk::{Faults, FaultyDisk, Lingering};
use super::test_support::*;
use super::*;
use crate::env::{Disk, Env, Pool, RealDisk};
use crate::offset::{LeaderEpoch, LogStart, Offset, PartitionId};
use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use uuid::Uuid;

#[derive(Default)]
struct Heard {
    durable: AtomicU64,
    failed: AtomicU64,
}

impl LogObserver for Heard {
    fn durable(&self, log: &Log) {
        assert!(synced_not_beyond_end(log.synced_end(), log.log_end()));
        self.durable.fetch_max(log.durable_end().get(), Ordering::Relaxed);
    }
    fn failed(&self, _log: &Log) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }
}

fn observed(log: &Log) -> Arc<Heard> {
    let heard = Arc::new(Heard::default());
    let weak: Weak<Heard> = Arc::downgrade(&heard);
    log.observe(weak);
    heard
}

fn faulty(durability: Durability) -> (tempfile::TempDir, Arc<Faults>, Arc<LogDir>) {
    let root = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let env = Env { disk: Arc::new(FaultyDisk(Arc::clone(&faults))), ..real_env() };
    let config = LogDirConfig { cluster: Uuid::from_u128(1), broker: 1, durability, open_files: 16 };
    let dir = LogDir::open(&env, root.path(), config).unwrap();
    (root, faults, dir)
}

fn append(log: &Log) -> Result<Appended, AppendError> {
    log.append(batch(2), LeaderEpoch::new(1), NOW)
}

#[test]
fn observers_hear_of_what_is_synced() {
    let (_root, faults, dir) = faulty(Durability::Fsync);
    let log = open(&dir, LogConfig::default());
    let heard = observed(&log);
    let before = faults.syncs.load(Ordering::Relaxed);
    append(&log).unwrap();
    eventually(|| heard.durable.load(Ordering::Relaxed) == 2);
    assert!(faults.syncs.load(Ordering::Relaxed) > before, "no acknowledgement without a sync");
}

#[test]
fn with_os_durability_nobody_waits_for_a_sync() {
    let (_root, faults, dir) = faulty(Durability::Os);
    let log = open(&dir, LogConfig::default());
    let heard = observed(&log);
    let before = faults.syncs.load(Ordering::Relaxed);
    append(&log).unwrap();
    assert_eq!(heard.durable.load(Ordering::Relaxed), 2);
    assert_eq!(log.durable_end(), Offset::new(2));
    assert_eq!(log.synced_end().offset(), Offset::ZERO);
    assert_eq!(faults.syncs.load(Ordering::Relaxed), before);
    // Closing syncs all the same.
    block_on(dir.close()).unwrap();
    assert_eq!(log.synced_end().offset(), Offset::new(2));
}

#[test]
fn a_failed_sync_fences_the_directory_and_is_not_tried_again() {
    let (_root, faults, dir) = faulty(Durability::Fsync);
    let log = open(&dir, LogConfig::default());
    let heard = observed(&log);
    append(&log).unwrap();
    wait_synced(&log);
    *faults.sync.lock() = Some(ErrorKind::Other);
    append(&log).unwrap();
    eventually(|| heard.failed.load(Ordering::Relaxed) > 0);
    *faults.sync.lock() = None;
    let tried = faults.syncs.load(Ordering::Relaxed);
    assert_eq!(log.synced_end().offset(), Offset::new(2), "what failed is not synced");
    assert!(dir.failure().is_some());
    assert!(matches!(append(&log), Err(AppendError::Log(LogError::Failed(_)))));
    assert!(matches!(log.read(Offset::ZERO, Offset::new(2), 100, true), Err(ReadError::Log(LogError::Failed(_)))));
    assert!(log.checkpoint().is_err() && log.roll(NOW).is_err() && block_on(dir.close()).is_err());
    assert_eq!(faults.syncs.load(Ordering::Relaxed), tried);
}

#[test]
fn a_full_disk_refuses_and_then_goes_on() {
    let (_root, faults, dir) = faulty(Durability::Fsync);
    let log = open(&dir, LogConfig::default());
    let mut sent = append_all(&log, &[3]).to_vec();
    *faults.write.lock() = Some(ErrorKind::StorageFull);
    assert!(matches!(append(&log), Err(AppendError::Log(LogError::NoSpace))));
    assert_eq!(log.log_end().offset(), Offset::new(3));
    *faults.write.lock() = None;
    sent.extend_from_slice(&append_all(&log, &[1, 4]));
    assert_eq!(read_all(&log, Offset::ZERO), sent);
    wait_synced(&log);
}

#[test]
fn writes_are_refused_before_the_disk_is_full() {
    let (_root, faults, dir) = faulty(Durability::Fsync);
    let log = open(&dir, LogConfig::default());
    let group = PartitionId { partition: 7, ..id() };
    let own = Log::open(&dir, group, LogConfig::default(), OpenFrom::default()).unwrap().0;
    own.use_reserve();
    append(&log).unwrap();
    dir.set_min_free_bytes(1 << 20);
    *faults.available.lock() = Some((1 << 20) - 1);
    assert!(dir.look_at_room().unwrap().refusing);
    assert!(matches!(append(&log), Err(AppendError::Log(LogError::NoSpace))));
    append(&own).unwrap();
    assert_eq!(read_all(&log, Offset::ZERO).len(), log.local_bytes() as usize - 64, "reads go on");
    log.checkpoint().unwrap();
    *faults.available.lock() = Some(1 << 20);
    assert!(dir.look_at_room().unwrap().refusing, "not to and fro at the mark");
    *faults.available.lock() = Some((1 << 20) + (1 << 18));
    assert!(!dir.look_at_room().unwrap().refusing);
    append(&log).unwrap();
    assert!(dir.failure().is_none());
}

#[test]
fn a_full_disk_lets_go_of_what_may_go() {
    let (_root, faults, dir) = faulty(Durability::Fsync);
    let log = open(&dir, LogConfig { segment_bytes: 300, ..LogConfig::default() });
    append_all(&log, &[4, 4, 4, 4, 4]);
    wait_synced(&log);
    log.maintain();
    let second = log.segments()[1].name.base;
    *faults.write.lock() = Some(ErrorKind::StorageFull);
    assert!(matches!(log.advance_log_start(LogStart::at(second)), Err(LogError::NoSpace)));
    // There is no room for the last checkpoint either, which the next one makes up for.
    assert!(matches!(log.drop_local_before(second), Err(LogError::NoSpace)));
    assert_eq!(log.local_start().offset(), second);
    *faults.write.lock() = None;
    assert!(dir.failure().is_none());
    let third = log.segments()[1].name.base;
    assert!(log.drop_local_before(third).unwrap() > 0);
    append(&log).unwrap();
}

#[test]
fn marks_that_found_no_room_are_written_later() {
    let (root, faults, dir) = faulty(Durability::Fsync);
    let log = open(&dir, LogConfig::default());
    append(&log).unwrap();
    *faults.write.lock() = Some(ErrorKind::StorageFull);
    wait_synced(&log);
    // Longer than the record is written late.
    let path = root.path().join("synced");
    let empty = dir.env().disk.read(&path).unwrap();
    for _ in 0..400 {
        std::thread::yield_now();
        assert!(dir.failure().is_none(), "{:?}", dir.failure());
        pause();
    }
    assert!(dir.env().disk.read(&path).unwrap().len() <= empty.len() + 64);
    *faults.write.lock() = None;
    let mark = dir.synced_mark(id()).unwrap();
    eventually(|| {
        let record = super::synced_record::SyncedRecord::open(&crate::env::RealDisk, root.path()).unwrap();
        record.mark(id()) == Some(mark)
    });
}

#[test]
fn a_sync_that_fails_is_known_before_another_of_the_same_file() {
    let (_root, faults, dir) = faulty(Durability::Fsync);
    let log = open(&dir, LogConfig::default());
    append(&log).unwrap();
    wait_synced(&log);
    // The kernel tells a checkpoint of a failed write-back, and tells it once.
    let lingering = Arc::new(Lingering::default());
    *faults.lingering.lock() = Some(Arc::clone(&lingering));
    let (env, checkpointing) = (real_env(), Arc::clone(&log));
    let checkpoint = real_env().spawn("checkpoint", async move {
        assert!(env.blocking(Pool::Maintenance, move || checkpointing.checkpoint().is_err()).await.unwrap());
    });
    eventually(|| lingering.told.load(Ordering::Acquire));
    append(&log).unwrap();
    for _ in 0..40 {
        assert_eq!(log.synced_end().offset(), Offset::new(2), "what followed is not known to be on the disk");
        pause();
    }
    lingering.go_on.store(true, Ordering::Release);
    block_on(checkpoint.ended());
    eventually(|| dir.failure().is_some());
    assert_eq!(log.synced_end().offset(), Offset::new(2));
}

#[allow(clippy::disallowed_methods, reason = "a test waits for real threads")]
fn pause() {
    std::thread::sleep(std::time::Duration::from_millis(2));
}

#[test]
fn a_scrub_names_the_rotten_batch() {
    let disk = TestDisk::new();
    let dir = disk.open();
    let log = open(&dir, LogConfig::default());
    append_all(&log, &[3, 3, 3]);
    log.roll(NOW).unwrap();
    let segment = log.segments()[0];
    assert_eq!(log.scrub(segment.name).unwrap(), Some(segment.bytes - 64));
    assert_eq!(log.scrub(log.segments()[1].name).unwrap(), Some(0), "the active one has nothing yet");
    let path = disk.path().join(id().to_string()).join(format!("{}.log", segment.name));
    let file = disk.env().disk.open(&path, crate::env::Open::Write).unwrap();
    file.write_all_at(&[std::io::IoSlice::new(&[0xee])], 64 + 70).unwrap();
    assert!(matches!(log.scrub(segment.name), Err(LogError::Corrupt { position: 64, .. })));
}

#[test]
fn a_failed_write_fences() {
    let (_root, faults, dir) = faulty(Durability::Fsync);
    let log = open(&dir, LogConfig::default());
    *faults.write.lock() = Some(ErrorKind::Other);
    assert!(matches!(append(&log), Err(AppendError::Log(LogError::Failed(_)))));
    assert!(dir.failure().is_some());
}

#[test]
fn one_round_covers_many_partitions() {
    let (root, faults, dir) = faulty(Durability::Fsync);
    let opened = faults.whole_syncs.load(Ordering::Relaxed);
    let mut open_logs = Vec::new();
    for count in [5, 150] {
        let logs: Vec<_> = (0..count)
            .map(|partition| {
                let id = PartitionId { topic: Uuid::from_u128(count as u128), partition };
                Log::open(&dir, id, LogConfig::default(), OpenFrom::default()).unwrap().0
            })
            .collect();
        for _ in 0..20 {
            for log in &logs {
                append(log).unwrap();
            }
            logs.iter().for_each(|log| wait_synced(log));
        }
        if count < 64 {
            assert_eq!(faults.whole_syncs.load(Ordering::Relaxed), opened);
        } else {
            assert!(faults.whole_syncs.load(Ordering::Relaxed) > opened);
        }
        assert!(dir.files().len() <= 16, "open files are bounded");
        open_logs.extend(logs);
    }
    block_on(dir.close()).unwrap();
    assert!(root.path().join("clean").exists());
}

#[test]
fn a_deleted_partition_is_no_failure() {
    let (_root, _faults, dir) = faulty(Durability::Fsync);
    for _ in 0..20 {
        let log = open(&dir, LogConfig { segment_bytes: 300, ..LogConfig::default() });
        let kept = append_all(&log, &[4, 4, 4, 4]);
        let read = log.read(Offset::ZERO, Offset::new(4), 1000, true).unwrap();
        dir.delete_partition(id()).unwrap();
        assert!(matches!(append(&log), Err(AppendError::Log(LogError::Closed))));
        assert!(kept.starts_with(&read.bytes()), "slices outlive the partition");
        drop(log);
        assert_eq!(dir.partitions().unwrap(), []);
        let (log, report) = Log::open(&dir, id(), LogConfig::default(), OpenFrom::default()).unwrap();
        assert_eq!((log.log_end().offset(), report.scanned_bytes), (Offset::ZERO, 0));
        dir.delete_partition(id()).unwrap();
    }
    assert!(dir.failure().is_none());
}

#[test]
fn a_directory_has_one_owner() {
    let disk = TestDisk::new();
    let dir = disk.open();
    let config = LogDirConfig { cluster: Uuid::from_u128(1), broker: 1, durability: Durability::Fsync, open_files: 9 };
    assert!(matches!(LogDir::open(disk.env(), disk.path(), config), Err(OpenDirError::InUse(_))));
    let identity = *dir.identity();
    let log = open(&dir, LogConfig::default());
    assert!(matches!(Log::open(&dir, id(), LogConfig::default(), OpenFrom::default()), Err(LogError::AlreadyOpen(_))));
    disk.close(dir, log);
    let dir = disk.open();
    assert_eq!(*dir.identity(), identity);
    let log = open(&dir, LogConfig::default());
    disk.close(dir, log);
    eventually(|| {
        let foreign = LogDir::open(disk.env(), disk.path(), LogDirConfig { broker: 2, ..config });
        matches!(foreign, Err(OpenDirError::Foreign { broker: 1, .. }))
    });
}

#[test]
fn the_tier_gets_checked_batches_with_all_that_belongs_to_them() {
    let disk = TestDisk::new();
    let dir = disk.open();
    let log = open(&dir, LogConfig { segment_bytes: 900, ..LogConfig::default() });
    let mut sent = Vec::new();
    for n in 0..30 {
        let batch = if n % 3 == 0 { batch_from(7, 0, n, 3) } else { batch_at(1 + n as u32 % 4, i64::from(n)) };
        let batch = if n % 3 == 0 { batch_from(7, 0, n / 3 * 3, 3) } else { batch };
        let epoch = LeaderEpoch::new(n as u32 / 10);
        let base = log.log_end().offset();
        sent.extend_from_slice(&batch.clone().stamp(base.to_wire(), epoch.to_wire(), None).to_bytes());
        log.append(batch, epoch, NOW).unwrap();
    }
    let (mut at, mut uploaded) = (Offset::ZERO, Vec::new());
    let end = log.log_end().offset();
    while at < end {
        let chunk = log.upload_chunk(at, end, 150).unwrap();
        assert!(chunk.next > at);
        uploaded.extend_from_slice(&chunk.bytes);
        at = chunk.next;
        let producers = producers_codec::decode(&log.encoded_producers_at(at).unwrap()).unwrap();
        let last = producers.get(7).unwrap().batches.back().unwrap();
        assert!(last.last_offset < at);
        assert_eq!(log.epochs_before(at).last().map(|start| start.epoch), log.epoch_at(at.previous().unwrap()));
    }
    assert_eq!(uploaded, sent);
    assert!(log.upload_chunk(end, end, 150).unwrap().bytes.is_empty());
}

/// A log whose checkpoint is behind its end, and what it holds, after a kill.
fn killed_beyond_its_checkpoint(disk: &TestDisk) -> bytes::Bytes {
    let dir = disk.open();
    let log = open(&dir, LogConfig::default());
    append_all(&log, &[3, 1]);
    wait_synced(&log);
    log.checkpoint().unwrap();
    append_all(&log, &[2, 2]);
    wait_synced(&log);
    let sent = read_all(&log, Offset::ZERO);
    disk.kill(dir, log);
    sent
}

#[test]
fn a_log_that_nobody_opened_after_a_crash_is_not_taken_for_closed() {
    let disk = TestDisk::new();
    let sent = killed_beyond_its_checkpoint(&disk);
    let dir = disk.open();
    let other = PartitionId { topic: Uuid::from_u128(43), partition: 0 };
    let log = Log::open(&dir, other, LogConfig::default(), OpenFrom::default()).unwrap().0;
    disk.close(dir, log);
    let dir = disk.open();
    assert_eq!(read_all(&open(&dir, LogConfig::default()), Offset::ZERO), sent);
}

#[test]
fn a_log_that_did_not_open_is_not_taken_for_closed() {
    let disk = TestDisk::new();
    let sent = killed_beyond_its_checkpoint(&disk);
    let faults = Arc::new(Faults::default());
    let env = Env { disk: Arc::new(FaultyDisk(Arc::clone(&faults))), ..real_env() };
    let config = LogDirConfig { cluster: Uuid::from_u128(1), broker: 1, durability: Durability::Fsync, open_files: 16 };
    let dir = LogDir::open(&env, disk.path(), config).unwrap();
    // What lies beyond the checkpoint is written again when the log is opened.
    *faults.write.lock() = Some(ErrorKind::StorageFull);
    let opened = Log::open(&dir, id(), LogConfig::default(), OpenFrom::default());
    assert!(opened.is_err());
    *faults.write.lock() = None;
    block_on(dir.close()).unwrap();
    drop((opened, dir));
    let dir = disk.open();
    assert_eq!(read_all(&open(&dir, LogConfig::default()), Offset::ZERO), sent);
}

#[test]
fn a_length_that_rotted_does_not_hide_what_the_tier_has_not() {
    let disk = TestDisk::new();
    let dir = disk.open();
    let log = open(&dir, LogConfig::default());
    let sent = append_all(&log, &[2, 2, 2]);
    wait_synced(&log);
    let mark = dir.synced_mark(id()).unwrap();
    eventually(|| {
        let record = super::synced_record::SyncedRecord::open(&RealDisk, disk.path()).unwrap();
        record.mark(id()) == Some(mark)
    });
    let segment = log.segments()[0].name;
    disk.kill(dir, log);
    // The first batch, which is all that the tier has, seems to reach over the others.
    let path = disk.path().join(id().to_string()).join(format!("{segment}.log"));
    let file = RealDisk.open(&path, crate::env::Open::Write).unwrap();
    let mut length = [0; 1];
    file.read_exact_at(&mut length, 64 + 10).unwrap();
    file.write_all_at(&[std::io::IoSlice::new(&[length[0] ^ 0x10])], 64 + 10).unwrap();
    let from = OpenFrom { tier_end: Some(crate::offset::TierEnd::at(Offset::new(2))), ..OpenFrom::default() };
    let dir = disk.open();
    let (log, _) = Log::open(&dir, id(), LogConfig::default(), from).unwrap();
    // Of the first two records, which the tier has, nothing is given out from here; the others are good.
    let damaged: Vec<_> = log.damaged().iter().map(|range| (range.from.offset.get(), range.to.get())).collect();
    assert_eq!((damaged, log.log_end().offset()), (vec![(0, 2)], Offset::new(6)));
    assert!(read_all(&log, Offset::new(2)) == sent.slice(sent.len() / 3..));
}

#[test]
fn rot_is_not_uploaded() {
    let disk = TestDisk::new();
    let dir = disk.open();
    let log = open(&dir, LogConfig::default());
    append_all(&log, &[3, 3, 3]);
    let segment = log.segments()[0].name;
    let path = disk.path().join(id().to_string()).join(format!("{segment}.log"));
    let file = disk.env().disk.open(&path, crate::env::Open::Write).unwrap();
    file.write_all_at(&[std::io::IoSlice::new(&[0xee])], 64 + 70).unwrap();
    let chunk = log.upload_chunk(Offset::ZERO, Offset::new(9), 1 << 20);
    assert!(matches!(chunk, Err(crate::log::ReadError::Log(LogError::Corrupt { position: 64, .. }))));
}

#[test]
fn duplicates_get_the_original_answer() {
    let disk = TestDisk::new();
    let dir = disk.open();
    let config = LogConfig {
        timestamp_type: esker_protocol::record::TimestampType::LogAppendTime,
        producer_expiration_ms: i64::MAX,
        ..LogConfig::default()
    };
    let log = open(&dir, config);
    let epoch = LeaderEpoch::new(0);
    let first = log.append(batch_from(5, 0, 0, 3), epoch, NOW).unwrap();
    assert_eq!(first.log_append_time, Some(NOW));
    log.append(batch_from(5, 0, 3, 1), epoch, NOW).unwrap();
    let later = crate::env::Timestamp::from_millis(NOW.millis() + 500);
    let again = log.append(batch_from(5, 0, 0, 3), epoch, later).unwrap();
    assert_eq!(again, Appended { duplicate: true, ..first });
    assert!(matches!(
        log.append(batch_from(5, 0, 9, 1), epoch, NOW),
        Err(AppendError::Producer(ProducerError::OutOfOrderSequence { .. }))
    ));
    wait_synced(&log);
    disk.kill(dir, log);
    let dir = disk.open();
    let log = open(&dir, config);
    let again = log.append(batch_from(5, 0, 0, 3), LeaderEpoch::new(1), later).unwrap();
    assert_eq!(again, Appended { duplicate: true, ..first }, "after a restart too");
    assert!(log.append(batch(1), epoch, NOW).is_ok(), "nothing was appended in epoch 1");
}

/// Found by the simulation, seed 6529: what a scrub takes for rot is refused from then on, also after restarts.
#[test]
fn a_read_error_that_passes_is_not_rot() {
    let (_root, faults, dir) = faulty(Durability::Fsync);
    let log = open(&dir, LogConfig { segment_bytes: 300, ..LogConfig::default() });
    append_all(&log, &[4, 4, 4, 4]);
    wait_synced(&log);
    let sealed = log.segments()[1].name;
    *faults.passing_read.lock() = Some(ErrorKind::Other);
    let scrubbed = log.scrub_step(sealed, None, 1000).unwrap();
    assert!(faults.passing_read.lock().is_none(), "the scrub met it");
    assert!(matches!(scrubbed, Scrubbed::Whole), "{scrubbed:?}");
}

#[test]
fn a_read_that_fails_concerns_one_partition() {
    let (_root, faults, dir) = faulty(Durability::Fsync);
    let config = LogConfig { segment_bytes: 300, ..LogConfig::default() };
    let log = open(&dir, config);
    append_all(&log, &[4, 4, 4, 4]);
    wait_synced(&log);
    log.maintain();
    let end = log.log_end().offset();
    *faults.read.lock() = Some(ErrorKind::Other);
    // The second batch of a sealed segment is looked for on the disk.
    let middle = Offset::new(2);
    assert!(matches!(log.read(middle, middle.next(), 100, true), Err(ReadError::Log(LogError::Io(_)))));
    assert!(matches!(log.upload_chunk(Offset::ZERO, end, 1000), Err(ReadError::Log(LogError::Io(_)))));
    let sealed = log.segments()[1].name;
    let Scrubbed::Rotten(rot) = log.scrub_step(sealed, None, 1000).unwrap() else { panic!("it cannot be read") };
    assert_eq!((rot.segment, rot.at.offset), (sealed, sealed.base));
    append(&log).unwrap();
    wait_synced(&log);
    let other = PartitionId { partition: 8, ..id() };
    let opened = Log::open(&dir, other, config, OpenFrom::default()).unwrap().0;
    append(&opened).unwrap();
    block_on(async { opened.close() }).unwrap();
    drop(opened);
    assert!(matches!(Log::open(&dir, other, config, OpenFrom::default()), Err(LogError::Io(_))));
    assert!(dir.failure().is_none(), "a bad sector is no failure of the directory");
    *faults.read.lock() = None;
    assert_eq!(Log::open(&dir, other, config, OpenFrom::default()).unwrap().0.log_end().offset(), Offset::new(2));
}
