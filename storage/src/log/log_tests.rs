//! Logs on a real disk: what is appended is read back, before and after restarts and crashes.

use super::test_support::*;
use super::*;
use crate::offset::{LeaderEpoch, Offset, TierEnd};

#[test]
fn what_is_appended_is_read_back() {
    let disk = TestDisk::new();
    let dir = disk.open();
    let log = open(&dir, LogConfig::default());
    let sent = append_all(&log, &[3, 1, 5]);
    assert_eq!(log.log_end().offset(), Offset::new(9));
    assert_eq!(read_all(&log, Offset::ZERO), sent);
    // An offset within a batch gives the whole batch.
    let read = log.read(Offset::new(6), Offset::new(9), 1 << 20, true).unwrap();
    assert_eq!((read.base, read.next), (Offset::new(4), Offset::new(9)));
    wait_synced(&log);
}

#[test]
fn a_restart_finds_everything() {
    for clean in [true, false] {
        let disk = TestDisk::new();
        let dir = disk.open();
        let config = LogConfig { segment_bytes: 600, ..LogConfig::default() };
        let log = open(&dir, config);
        let sent = append_all(&log, &[3, 1, 5, 2, 2, 7, 1, 1, 1, 4]);
        wait_synced(&log);
        assert!(log.segments().len() > 2);
        if clean {
            disk.close(dir, log)
        } else {
            disk.kill(dir, log)
        }
        let dir = disk.open();
        assert_eq!(dir.was_clean(), clean);
        let (log, report) = Log::open(&dir, id(), config, OpenFrom::default()).unwrap();
        if clean {
            assert_eq!(report.scanned_bytes, 0);
        }
        assert_eq!((report.cut_bytes, report.needs_state, report.hole), (0, false, None));
        assert_eq!(read_all(&log, Offset::ZERO), sent);
        assert_eq!(log.synced_end().offset(), log.log_end().offset());
        assert_eq!(log.latest_epoch(), Some(LeaderEpoch::new(1)));
    }
}

#[test]
fn what_is_dropped_gives_its_room_back() {
    let disk = TestDisk::new();
    let dir = disk.open();
    let log = open(&dir, LogConfig { segment_bytes: 300, ..LogConfig::default() });
    append_all(&log, &[3; 20]);
    wait_synced(&log);
    log.maintain();
    read_all(&log, Offset::ZERO);
    let active = log.segments().last().unwrap().name.base;
    assert!(log.drop_local_before(active).unwrap() > 0);
    // A file that is open still has its room, whether it has a name or not.
    eventually(|| dir.files().len() <= 1);
    disk.close(dir, log);
}

#[test]
fn a_log_that_ends_before_the_tier_is_dropped() {
    let disk = TestDisk::new();
    let dir = disk.open();
    let log = open(&dir, LogConfig::default());
    append_all(&log, &[3, 1, 5]);
    disk.close(dir, log);
    let dir = disk.open();
    let from = OpenFrom { tier_end: Some(TierEnd::at(Offset::new(20))), ..OpenFrom::default() };
    let (log, report) = Log::open(&dir, id(), LogConfig::default(), from).unwrap();
    assert!(report.needs_state);
    assert_eq!(log.log_end().offset(), Offset::new(20));
    assert_eq!(log.local_start().offset(), Offset::new(20));
    let sent = append_all(&log, &[2]);
    assert_eq!(read_all(&log, Offset::new(20)), sent);
    assert!(matches!(log.read(Offset::ZERO, Offset::new(5), 100, true), Err(ReadError::BelowLocalStart { .. })));
    assert!(matches!(log.read(Offset::new(23), Offset::new(25), 100, true), Err(ReadError::AboveEnd { .. })));
}
