//! A partition's log over the border between the local disk and the tier: a real directory, a store in memory.

use super::*;
use crate::env::store::{MemoryStore, Store};
use crate::log::retention::RetentionConfig;
use crate::log::test_support::{
    TestDisk, batch_at, batch_from, block_on, eventually, id, real_env, transactional_batch,
};
use crate::log::{EndTransaction, LogDir};
use crate::tier::{
    CommitterConfig, PartitionView, ReadConfig, TailLimits, TierRecord, UnitMeta, UnitSource, UnitSources,
    UploadConfig, Uploader,
};
use std::time::Duration;
use uuid::Uuid;

const NOW: Timestamp = Timestamp::from_millis(10_000);
const LIMIT: Duration = Duration::from_secs(10);

/// A store with its tier log, and as many disks as a test wants.
struct Bench {
    store: Arc<dyn Store>,
    tier: Tier,
}

impl Bench {
    fn new() -> Bench {
        let env = real_env();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::clone(&env.clock)));
        let cluster = Uuid::from_u128(1);
        let commits =
            block_on(TierCommits::start(Arc::clone(&store), &env, cluster, CommitterConfig::default())).unwrap();
        let reader = TierReader::new(&env, Arc::clone(&store), cluster, ReadConfig::default());
        Bench { store, tier: Tier { commits, reader } }
    }

    fn open(&self, dir: &Arc<LogDir>, epoch: u32) -> Arc<PartitionLog> {
        let epoch = LeaderEpoch::new(epoch);
        block_on(self.tier.commits.commit(vec![TierRecord::Open { partition: id(), epoch }])).unwrap();
        let config = LogConfig { segment_bytes: 700, ..LogConfig::default() };
        let dir = Arc::clone(dir);
        Arc::new(block_on(PartitionLog::open(&real_env(), &self.tier, dir, id(), config, epoch)).unwrap())
    }

    /// Uploads everything that the log has.
    fn upload(&self, log: &Arc<PartitionLog>, epoch: u32) {
        synced(log);
        let sources: Arc<dyn UnitSources> = Arc::new(One(Arc::clone(log), LeaderEpoch::new(epoch)));
        let commits = self.tier.commits.clone();
        let uploader = Uploader::start(
            &real_env(),
            Arc::clone(&self.store),
            Uuid::from_u128(1),
            commits,
            sources,
            UploadConfig::default(),
        );
        eventually(|| log.manifest().is_some_and(|manifest| manifest.end().offset() == log.log_end().offset()));
        uploader.stop();
    }
}

/// The one partition of a broker, of which nothing may be missing in the tier.
struct One(Arc<PartitionLog>, LeaderEpoch);

impl UnitSources for One {
    fn views(&self) -> Vec<PartitionView> {
        let committed = HighWatermark::at(self.0.synced_end().offset());
        vec![self.0.upload_view(
            self.1,
            committed,
            TailLimits { max_bytes: 0, max_age: Duration::ZERO, ..TailLimits::default() },
            true,
        )]
    }

    fn source(&self, _: &PartitionId) -> Option<Arc<dyn UnitSource>> {
        Some(self.0.upload_source())
    }
}

fn synced(log: &PartitionLog) {
    eventually(|| log.synced_end().offset() == log.log_end().offset());
}

/// Keeps nothing locally that the tier has.
fn drop_local(log: &PartitionLog, epoch: u32) {
    let keep = RetentionConfig { local_bytes: Some(0), tiered: true, ..RetentionConfig::default() };
    let committed = HighWatermark::at(log.synced_end().offset());
    let retention =
        Retention { keep, leaves_tier: false, epoch: LeaderEpoch::new(epoch), committed, patience: Duration::ZERO };
    block_on(log.retain(retention, NOW)).unwrap();
}

/// Everything from `from` on, wherever it is; and how many reads were cold.
fn read_all(log: &PartitionLog, from: Offset) -> (Vec<u8>, usize) {
    let (mut at, mut bytes, mut cold) = (from, Vec::new(), 0);
    while at < log.log_end().offset() {
        let want =
            Want { from: at, upto: log.log_end().offset(), max_bytes: 300, at_least_one: true, committed: false };
        let piece = match log.read(want).unwrap() {
            Read::Nothing => panic!("nothing at {at}"),
            Read::Hot(piece) => piece,
            Read::Cold(source) => {
                cold += 1;
                block_on(log.complete(source, LIMIT)).unwrap().expect("within the limit")
            }
        };
        at = piece.next().unwrap();
        bytes.extend_from_slice(&piece.bytes);
    }
    (bytes, cold)
}

/// Appends batches at 1000, 1100, 1200, ... and returns what the log must hold.
fn fill(log: &PartitionLog, epoch: u32, batches: std::ops::Range<i64>) -> Vec<u8> {
    let epoch = LeaderEpoch::new(epoch);
    let mut sent = Vec::new();
    for n in batches {
        let batch = batch_at(3, 1000 + 100 * n);
        let base = log.log_end().offset();
        sent.extend_from_slice(&batch.clone().stamp(base.to_wire(), epoch.to_wire(), None).to_bytes());
        log.append(batch, epoch, NOW).unwrap();
    }
    sent
}

#[test]
fn what_left_the_disk_is_read_from_the_tier_and_goes_on_locally() {
    let (bench, disk) = (Bench::new(), TestDisk::new());
    let log = bench.open(&disk.open(), 0);
    let mut sent = fill(&log, 0, 0..30);
    bench.upload(&log, 0);
    drop_local(&log, 0);
    sent.extend(fill(&log, 0, 30..40));
    assert!(log.local_start().offset() > Offset::ZERO, "sealed segments are gone");
    assert_eq!(log.log_start().offset(), Offset::ZERO);
    let (read, cold) = read_all(&log, Offset::ZERO);
    assert!(read == sent, "byte for byte");
    assert!(cold > 0);

    // By time, on either side of the border and at it.
    for n in [0, 7, 29, 30, 39] {
        let target = Timestamp::from_millis(1000 + 100 * n - 50);
        let found = block_on(log.at_timestamp(target, log.log_end().offset())).unwrap().unwrap();
        assert_eq!(found.offset, Offset::new(3 * n.unsigned_abs()), "batch {n}");
        assert_eq!(found.timestamp, Timestamp::from_millis(1000 + 100 * n));
    }
    let beyond = Timestamp::from_millis(1000 + 100 * 40);
    assert_eq!(block_on(log.at_timestamp(beyond, log.log_end().offset())).unwrap(), None);
    let latest = block_on(log.max_timestamp()).unwrap().unwrap();
    assert_eq!(latest.offset, Offset::new(3 * 39));
}

#[test]
fn nothing_leaves_the_disk_before_the_tier_has_it() {
    let (bench, disk) = (Bench::new(), TestDisk::new());
    let log = bench.open(&disk.open(), 0);
    fill(&log, 0, 0..30);
    synced(&log);
    drop_local(&log, 0);
    assert_eq!(log.local_start().offset(), Offset::ZERO);
    bench.upload(&log, 0);
    drop_local(&log, 0);
    assert!(log.local_start().offset() > Offset::ZERO);
}

#[test]
fn an_empty_disk_starts_at_the_tiers_end_and_knows_producers_and_epochs() {
    let bench = Bench::new();
    let first = TestDisk::new();
    let log = bench.open(&first.open(), 0);
    let mut sent = fill(&log, 0, 0..5);
    let idempotent = batch_from(7, 0, 0, 3);
    let epoch = LeaderEpoch::new(0);
    let original = log.append(idempotent.clone(), epoch, NOW).unwrap();
    let stamped = idempotent.clone().stamp(original.base_offset.to_wire(), 0, None);
    sent.extend_from_slice(&stamped.to_bytes());
    bench.upload(&log, 0);
    let end = log.log_end().offset();

    let second = TestDisk::new();
    let log = bench.open(&second.open(), 4);
    assert_eq!((log.local_start().offset(), log.log_end().offset()), (end, end));
    let again = log.append(idempotent, LeaderEpoch::new(4), NOW).unwrap();
    assert!(again.duplicate);
    assert_eq!(again.base_offset, original.base_offset);
    sent.extend(fill(&log, 4, 5..8));
    assert!(read_all(&log, Offset::ZERO).0 == sent);

    let of = |epoch| block_on(log.end_of_epoch(LeaderEpoch::new(epoch))).unwrap();
    assert_eq!(of(0), Some((LeaderEpoch::new(0), end)));
    assert_eq!(of(3), Some((LeaderEpoch::new(0), end)));
    assert_eq!(of(4), Some((LeaderEpoch::new(4), log.log_end().offset())));
    assert_eq!(of(5), None);
    assert_eq!(block_on(log.epoch_at(Offset::ZERO)).unwrap(), Some(LeaderEpoch::new(0)));
    assert_eq!(log.last_tiered(), Some((end.previous().unwrap(), LeaderEpoch::new(0))));
}

#[test]
fn a_leader_that_was_replaced_cannot_open() {
    let (bench, disk) = (Bench::new(), TestDisk::new());
    let dir = disk.open();
    let record = TierRecord::Open { partition: id(), epoch: LeaderEpoch::new(5) };
    block_on(bench.tier.commits.commit(vec![record])).unwrap();
    let config = LogConfig::default();
    let opened = block_on(PartitionLog::open(&real_env(), &bench.tier, dir, id(), config, LeaderEpoch::new(4)));
    assert!(matches!(opened, Err(OpenError::Fenced { .. })));
}

#[test]
fn total_retention_moves_the_log_start_through_the_tier() {
    let (bench, disk) = (Bench::new(), TestDisk::new());
    let log = bench.open(&disk.open(), 0);
    fill(&log, 0, 0..15);
    bench.upload(&log, 0);
    let middle = log.log_end().offset();
    fill(&log, 0, 15..30);
    bench.upload(&log, 0);
    // The first unit's latest record is from 2400: older than the limit by one millisecond.
    let keep = RetentionConfig { total_ms: Some(NOW.millis() - 2401), tiered: true, ..RetentionConfig::default() };
    let committed = HighWatermark::at(log.synced_end().offset());
    let retention =
        Retention { keep, leaves_tier: false, epoch: LeaderEpoch::new(0), committed, patience: Duration::ZERO };
    block_on(log.retain(retention, NOW)).unwrap();
    assert_eq!(log.log_start().offset(), middle);
    assert_eq!(log.manifest().unwrap().log_start(), log.log_start());
    let upto = log.log_end().offset();
    let want = Want { from: Offset::ZERO, upto, max_bytes: 300, at_least_one: true, committed: false };
    assert!(matches!(log.read(want), Err(ReadError::OutOfRange)));
    let (_, _) = read_all(&log, middle);
}

#[test]
fn deleted_records_stay_deleted_without_the_disk() {
    let bench = Bench::new();
    let first = TestDisk::new();
    let log = bench.open(&first.open(), 0);
    let sent = fill(&log, 0, 0..30);
    bench.upload(&log, 0);
    drop_local(&log, 0);
    let epoch = LeaderEpoch::new(0);
    // In the middle of a batch that only the tier has; then again, and before it.
    let start = LogStart::at(Offset::new(10));
    assert_eq!(block_on(log.delete_before(start, epoch)).unwrap(), start);
    assert_eq!(block_on(log.delete_before(LogStart::at(Offset::new(4)), epoch)).unwrap(), start);
    assert_eq!(log.manifest().unwrap().log_start(), start);
    let upto = log.log_end().offset();
    let early = Want { from: Offset::new(9), upto, max_bytes: 300, at_least_one: true, committed: false };
    assert!(matches!(log.read(early), Err(ReadError::OutOfRange)));
    assert!(read_all(&log, Offset::new(10)).0 == sent[sent.len() / 30 * 3..], "from the batch that holds it");
    let found = block_on(log.at_timestamp(Timestamp::from_millis(0), log.log_end().offset())).unwrap().unwrap();
    assert_eq!(found.offset, Offset::new(10), "no record before the log start is found");

    let second = TestDisk::new();
    let log = bench.open(&second.open(), 1);
    assert_eq!(log.log_start(), start);
    // A leader that was replaced moves nothing.
    let late = block_on(log.delete_before(LogStart::at(Offset::new(20)), epoch));
    assert!(late.is_err());
    assert_eq!(log.log_start(), start);
}

#[test]
fn a_partition_leaves_the_tier_and_enters_it_anew() {
    let (bench, disk) = (Bench::new(), TestDisk::new());
    let log = bench.open(&disk.open(), 0);
    fill(&log, 0, 0..30);
    bench.upload(&log, 0);
    drop_local(&log, 0);
    let local = log.local_start().offset();
    assert!(local > Offset::ZERO);
    let committed = HighWatermark::at(log.synced_end().offset());
    let keep = RetentionConfig::default();
    let leave = Retention { keep, leaves_tier: true, epoch: LeaderEpoch::new(0), committed, patience: Duration::ZERO };
    for _ in 0..2 {
        block_on(log.retain(leave, NOW)).unwrap();
        assert_eq!((log.log_start().offset(), log.last_tiered()), (local, None));
    }
    let marks = log.marks(committed);
    assert_eq!(broken_rule(&marks), None, "{marks:?}");
    let sent = read_all(&log, local).0;
    fill(&log, 0, 30..40);
    bench.upload(&log, 0);
    drop_local(&log, 0);
    assert!(log.local_start().offset() > local);
    assert!(read_all(&log, local).0.starts_with(&sent), "what is uploaded later begins where the log does");
}

#[test]
fn an_upload_that_began_before_a_partition_left_the_tier_does_not_count_afterwards() {
    let (bench, disk) = (Bench::new(), TestDisk::new());
    let log = bench.open(&disk.open(), 0);
    fill(&log, 0, 0..30);
    bench.upload(&log, 0);
    log.local().roll(NOW).unwrap();
    drop_local(&log, 0);
    // Nothing of what the tier has is here: what is uploaded next begins just where the log will.
    let start = log.local_start().offset();
    assert_eq!(start, log.manifest().unwrap().end().offset());
    fill(&log, 0, 30..31);
    let committed = HighWatermark::at(log.log_end().offset());
    let last = log.manifest().unwrap().last().cloned().unwrap();
    let on_its_way = UnitMeta { start, end: log.log_end().offset(), ..UnitMeta::clone(&last) };
    let keep = RetentionConfig::default();
    let leave = Retention { keep, leaves_tier: true, epoch: LeaderEpoch::new(0), committed, patience: Duration::ZERO };
    block_on(log.retain(leave, NOW)).unwrap();
    assert_eq!(log.log_start().offset(), start);
    let landed = block_on(bench.tier.commits.commit(vec![TierRecord::Unit(on_its_way)])).unwrap();
    assert_eq!((landed[0].is_applied(), log.last_tiered()), (false, None));
    bench.upload(&log, 0);
    assert_eq!(log.manifest().unwrap().first_start(), start, "what is uploaded from here on counts");
}

/// Where a piece begins and ends, and which aborted transactions its reader is told: producer and first offset.
type Told = (Offset, Offset, Vec<(i64, u64)>);

/// What a reader of committed records is given, piece by piece.
fn committed_pieces(log: &PartitionLog) -> Vec<Told> {
    let stable = log.last_stable(HighWatermark::at(log.log_end().offset())).offset();
    let (mut at, mut pieces) = (log.log_start().offset(), Vec::new());
    while at < stable {
        let want = Want { from: at, upto: stable, max_bytes: 200, at_least_one: true, committed: true };
        let piece = match log.read(want).unwrap() {
            Read::Nothing => panic!("nothing at {at}"),
            Read::Hot(piece) => piece,
            Read::Cold(source) => block_on(log.complete(source, LIMIT)).unwrap().expect("within the limit"),
        };
        let next = piece.next().unwrap();
        pieces.push((at, next, piece.aborted.iter().map(|entry| (entry.producer_id, entry.first.get())).collect()));
        at = next;
    }
    pieces
}

#[test]
fn aborted_transactions_are_told_of_from_the_disk_and_from_the_tier() {
    let (bench, disk) = (Bench::new(), TestDisk::new());
    let log = bench.open(&disk.open(), 0);
    let epoch = LeaderEpoch::new(0);
    let end = |producer_id, abort| {
        let end = EndTransaction { producer_id, producer_epoch: 0, abort, coordinator_epoch: 0 };
        log.local().end_transaction(end, epoch, NOW).unwrap().base_offset.get()
    };
    let mut aborted = Vec::new();
    let mut sequences = [0; 3];
    let mut begin = |producer: i64| {
        let sequence = &mut sequences[producer as usize];
        *sequence += 2;
        log.append(transactional_batch(producer, 0, *sequence - 2, 2), epoch, NOW).unwrap().base_offset.get()
    };
    // One that spans everything that is uploaded first, and many short ones within it.
    let long = begin(0);
    for n in 0..12 {
        fill(&log, 0, n..n + 1);
        let first = begin(1);
        let committed = begin(2);
        aborted.push((1, first, end(1, true)));
        end(2, false);
        assert!(committed > first);
    }
    synced(&log);
    assert_eq!(log.last_stable(HighWatermark::at(log.log_end().offset())).offset().get(), long);
    aborted.push((0, long, end(0, true)));
    bench.upload(&log, 0);
    let open = begin(1);
    fill(&log, 0, 12..14);
    let check = |log: &PartitionLog, what: &str| {
        let pieces = committed_pieces(log);
        assert_eq!(pieces.last().unwrap().1.get(), open, "{what}: up to the last stable offset");
        for (from, next, told) in pieces {
            let overlaps = |(_, first, last): &&(i64, u64, u64)| *first < next.get() && *last >= from.get();
            let mut expected: Vec<_> = aborted.iter().filter(overlaps).map(|(id, first, _)| (*id, *first)).collect();
            expected.sort_by_key(|(_, first)| *first);
            assert_eq!(told, expected, "{what}: {from}..{next}");
        }
    };
    check(&log, "from the disk");
    drop_local(&log, 0);
    assert!(log.local_start().offset().get() > long);
    check(&log, "from both");
    let end_offset = log.log_end().offset();
    synced(&log);
    drop(bench.tier.commits.image());

    let empty = TestDisk::new();
    let log = bench.open(&empty.open(), 1);
    assert!(log.log_end().offset() < end_offset, "what was open was not in the tier");
    let pieces = committed_pieces(&log);
    assert!(pieces.iter().any(|(_, _, told)| told.contains(&(0, long))));
}

#[test]
fn a_reader_passes_over_what_is_lost() {
    let (bench, disk) = (Bench::new(), TestDisk::new());
    let dir = disk.open();
    let log = bench.open(&dir, 0);
    let sent = fill(&log, 0, 0..12);
    synced(&log);
    let lost = log.local().segments()[0];
    let local = Arc::clone(log.local());
    drop(log);
    disk.close(dir, local);
    let path = disk.path().join(id().to_string());
    disk.env().disk.remove_file(&path.join(format!("{}.log", lost.name))).unwrap();
    let log = bench.open(&disk.open(), 1);
    assert_eq!((log.log_start().offset(), log.local_start().offset()), (Offset::ZERO, lost.end));
    let (read, _) = read_all(&log, Offset::ZERO);
    assert!(sent.ends_with(&read) && !read.is_empty(), "from the next record that there is");
    // Nothing below the bound is left: that is an answer, and not an error.
    let want = Want { from: Offset::ZERO, upto: lost.end, max_bytes: 300, at_least_one: true, committed: false };
    let Read::Cold(source) = log.read(want).unwrap() else { panic!("it is not here") };
    assert!(block_on(log.complete(source, LIMIT)).unwrap().unwrap().is_empty());
}

#[path = "rot_tests.rs"]
mod rot;
