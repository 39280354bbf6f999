//! A disk that has no room any more, found out by each write there is: nothing is fenced, nothing that was acknowledged is
//! lost, and all goes on once there is room.

use super::faulty_disk::{Faults, FaultyDisk};
use super::test_support::*;
use super::*;
use crate::env::{Disk, Env, RealDisk};
use crate::offset::{LeaderEpoch, LogEnd, LogStart, Offset};
use bytes::BytesMut;
use std::path::Path;
use std::sync::Arc;

fn config() -> LogConfig {
    LogConfig { segment_bytes: 400, ..LogConfig::default() }
}

fn faulty() -> (Arc<Faults>, Env) {
    let faults = Arc::new(Faults::default());
    let env = Env { disk: Arc::new(FaultyDisk(Arc::clone(&faults))), ..real_env() };
    (faults, env)
}

fn set_room(faults: &Faults, times: Option<u64>) {
    *faults.room.lock() = times;
}

/// What no room comes to, and nothing else.
fn is_no_room<T>(result: Result<T, LogError>) -> bool {
    match result {
        Ok(_) => false,
        Err(LogError::NoSpace) => true,
        Err(error) => panic!("{error}"),
    }
}

fn stamped(batch: &esker_protocol::record::ValidatedBatch, base: Offset) -> bytes::Bytes {
    batch.clone().stamp(base.to_wire(), 1, None).to_bytes()
}

/// Everything that is written to a log in its life; whether there was no room for any of it. Adds what was acknowledged.
fn live(log: &Log, sent: &mut BytesMut) -> bool {
    let mut refused = false;
    for round in 0..3 {
        for records in 1..5 {
            let (batch, base) = (batch(records), log.log_end().offset());
            let bytes = stamped(&batch, base);
            match log.append(batch, LeaderEpoch::new(1), NOW) {
                Ok(appended) => {
                    assert_eq!(appended.base_offset, base);
                    sent.extend_from_slice(&bytes);
                }
                Err(AppendError::Log(LogError::NoSpace)) => refused = true,
                Err(error) => panic!("{error}"),
            }
        }
        refused |= is_no_room(log.roll(NOW));
        refused |= is_no_room(log.finish_sealed());
        refused |= is_no_room(log.checkpoint());
        let progress = ScrubProgress { whole: Some(NOW), under_way: None };
        refused |= is_no_room(log.note_scrubbed(progress));
        // The first batch has one record.
        let start = Offset::new(round.min(1)).min(log.log_end().offset());
        refused |= is_no_room(log.advance_log_start(LogStart::at(start)));
    }
    refused
}

fn check(log: &Log, sent: &[u8]) {
    let all = read_all(log, Offset::ZERO.max(log.local_start().offset()));
    assert!(sent.ends_with(&all) && all.len() + 200 > sent.len(), "{} of {} bytes", all.len(), sent.len());
}

#[test]
fn whichever_write_finds_no_room_it_goes_on_when_there_is_some() {
    let (mut tried, mut unharmed) = (0, 0);
    for room in 0.. {
        let root = tempfile::tempdir().unwrap();
        let (faults, env) = faulty();
        let dir = open_dir(&env, root.path()).unwrap();
        let log = open(&dir, config());
        let mut sent = BytesMut::new();
        set_room(&faults, Some(room));
        let refused = live(&log, &mut sent);
        // What comes back after no room is read as before.
        check(&log, &sent);
        assert!(dir.failure().is_none(), "write {room}: {:?}", dir.failure());
        set_room(&faults, None);
        assert!(!live(&log, &mut sent), "there is room again");
        wait_synced(&log);
        check(&log, &sent);
        let cut = log.log_end().offset();
        log.truncate_to(LogEnd::at(cut), NOW).unwrap();
        drop(log);
        stop(dir);
        let dir = open_dir(&env, root.path()).unwrap();
        let log = open(&dir, config());
        check(&log, &sent);
        assert!(dir.failure().is_none());
        drop(log);
        stop(dir);
        tried += 1;
        unharmed = if refused { 0 } else { unharmed + 1 };
        // The directory's own writes come in between, so that one run without any is no proof that none is left.
        if unharmed == 3 {
            break;
        }
    }
    assert!(tried > 20, "only {tried} writes were found");
}

/// Leaves a directory as a killed process does that had no time for a checkpoint.
fn killed(root: &Path) -> BytesMut {
    let env = Env { disk: Arc::new(RealDisk), ..real_env() };
    let dir = open_dir(&env, root).unwrap();
    let log = open(&dir, config());
    let sent = append_all(&log, &[1, 2, 3, 4, 1, 2, 3, 4]);
    wait_synced(&log);
    let mark = dir.synced_mark(id()).unwrap();
    eventually(|| {
        let record = super::synced_record::SyncedRecord::open(&RealDisk, root).unwrap();
        record.mark(id()) == Some(mark)
    });
    drop(log);
    stop(dir);
    BytesMut::from(&sent[..])
}

#[test]
fn a_start_on_a_full_disk_needs_no_room_or_is_put_off_and_loses_nothing() {
    // What is known to be synced is not written again.
    assert_eq!(starts_put_off(true), 0);
    assert!(starts_put_off(false) > 0);
}

fn starts_put_off(recorded: bool) -> u64 {
    let mut put_off = 0;
    for room in 0..30 {
        let root = tempfile::tempdir().unwrap();
        let sent = killed(root.path());
        if !recorded {
            RealDisk.remove_file(&root.path().join("synced")).unwrap();
            let _ = RealDisk.remove_file(&root.path().join(id().to_string()).join("checkpoint"));
        }
        let (faults, env) = faulty();
        set_room(&faults, Some(room));
        if let Ok(dir) = open_dir(&env, root.path()) {
            match Log::open(&dir, id(), config(), OpenFrom::default()) {
                Ok((log, _)) => {
                    check(&log, &sent);
                    drop(log);
                    stop(dir);
                }
                Err(error) => {
                    assert!(matches!(error, LogError::NoSpace), "write {room}: {error}");
                    put_off += 1;
                    set_room(&faults, None);
                    // The same process, as soon as there is room.
                    let (log, _) = Log::open(&dir, id(), config(), OpenFrom::default()).unwrap();
                    check(&log, &sent);
                    assert!(dir.failure().is_none());
                    drop(log);
                    stop(dir);
                }
            }
        }
        set_room(&faults, None);
        let dir = open_dir(&env, root.path()).unwrap();
        check(&open(&dir, config()), &sent);
        stop(dir);
    }
    put_off
}
