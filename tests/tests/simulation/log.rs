//! Logs under simulation: whatever crashes, tears and fails, what was durable is there at the next start, in order, and
//! what is there was written.

use bytes::Bytes;
use esker_protocol::record::{BatchBuilder, Compression, Producer, batches};
use esker_storage::env::mutation::{Mutation, switch_on};
use esker_storage::log::{
    AppendError, Durability, Log, LogConfig, LogDir, LogDirConfig, LogError, LogObserver, OpenFrom,
};
use esker_storage::offset::{LeaderEpoch, LogEnd, LogStart, Offset, PartitionId};
use esker_tests::sim::{
    Chance, Crash, CrashOdds, DiskCall, DiskFault, DiskFaults, DiskPlan, FailureKind, NodeEnv, World, check,
    first_failure,
};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;
use uuid::Uuid;

const PARTITIONS: u32 = 3;
const DIRECTORY: LogDirConfig =
    LogDirConfig { cluster: Uuid::from_u128(1), broker: 1, durability: Durability::Fsync, open_files: 3 };

/// How large things are.
#[derive(Clone, Copy)]
struct Sizes {
    segment: u64,
    /// Bytes that a record's value has at most beyond a few.
    value: u64,
}

/// Files of a few batches each.
const SMALL: Sizes = Sizes { segment: 900, value: 0 };
/// Files that are long enough for zeros to be written ahead of their ends, several times.
const LONG: Sizes = Sizes { segment: 80 << 10, value: 1000 };

/// What the world knows of a partition.
#[derive(Default)]
struct Known {
    /// Every batch that was ever given to be written at an offset, newest last.
    written: BTreeMap<u64, Vec<Bytes>>,
    /// The batches that count as durable, by base offset.
    durable: BTreeMap<u64, Bytes>,
    durable_end: u64,
    /// Where the log may start.
    dropped: u64,
    /// Up to where records were deleted, and said to be.
    deleted: u64,
    sequence: i32,
}

struct Observer {
    node: NodeEnv,
    known: Arc<Mutex<Known>>,
}

impl LogObserver for Observer {
    fn durable(&self, log: &Log) {
        if !self.node.is_alive() {
            return;
        }
        let end = log.durable_end().get();
        let mut known = self.known.lock();
        let fresh: Vec<_> = known
            .written
            .range(known.durable_end..end)
            .filter_map(|(base, versions)| versions.last().map(|last| (*base, last.clone())))
            .collect();
        known.durable.extend(fresh);
        known.durable_end = known.durable_end.max(end);
    }

    fn failed(&self, _log: &Log) {}
}

fn id(partition: u32) -> PartitionId {
    PartitionId { topic: Uuid::from_u128(9), partition }
}

/// Everything durable is there, the rest is what was written, in a row.
fn verify(log: &Log, known: &mut Known, node: &NodeEnv, faults: bool) {
    let mut at = log.local_start().offset();
    let end = log.log_end().offset();
    assert!(end.get() >= known.durable_end, "{}: ends at {end}, durable up to {}", log.id(), known.durable_end);
    assert!(at.get() <= known.dropped, "starts at {at}, dropped up to {}", known.dropped);
    let log_start = log.log_start().offset();
    assert!(log_start.get() >= known.deleted, "starts at {log_start}, deleted up to {}", known.deleted);
    while at < end {
        let read = match log.read(at, end, 500, true) {
            Ok(read) => read,
            Err(_) if !node.is_alive() || faults => return,
            Err(error) => panic!("{error}"),
        };
        let bytes = read.bytes();
        let mut expected = read.base;
        // The log start may lie within a batch.
        assert!(read.base == at || read.base < at && at == log_start);
        let mut position = 0;
        for batch in batches(&bytes) {
            let header = batch.header;
            assert_eq!(header.base_offset, expected.to_wire());
            let whole = bytes.slice(position..position + header.total_len());
            position += header.total_len();
            match known.durable.get(&expected.get()) {
                Some(durable) if expected.get() < known.durable_end => {
                    assert_eq!(*durable, whole, "durable at {expected}")
                }
                _ => assert!(
                    known.written.get(&expected.get()).is_some_and(|w| w.contains(&whole)),
                    "{} never written at {expected}, {header:?} {:?} durable {}",
                    log.id(),
                    known.written.keys().rev().take(12).collect::<Vec<_>>(),
                    known.durable_end
                ),
            }
            // From here on this version counts.
            known.written.insert(expected.get(), vec![whole]);
            expected = Offset::new(header.next_offset() as u64);
        }
        assert_eq!((position, expected), (bytes.len(), read.next));
        at = read.next;
    }
    // What was cut off stays a candidate: if the power goes before anything takes its place, it may come back.
    let there = known.written.range(..end.get());
    let sequence = there.filter_map(|(_, versions)| versions.last()).filter_map(|bytes| batches(bytes).next());
    known.sequence =
        sequence.map(|batch| batch.header.base_sequence + batch.header.record_count).next_back().unwrap_or(0);
}

async fn serve(node: NodeEnv, all: Arc<Vec<Arc<Mutex<Known>>>>, sizes: Sizes, epochs: Arc<Mutex<u32>>, faults: bool) {
    let appends = 40 + node.env.random.below(100);
    let env = node.env.clone();
    let dir = match LogDir::open(&env, Path::new("/data"), DIRECTORY) {
        Ok(dir) => dir,
        Err(_) if !node.is_alive() || faults => return std::future::pending().await,
        Err(error) => panic!("{error}"),
    };
    let epoch = {
        let mut epoch = epochs.lock();
        *epoch += 1;
        *epoch
    };
    let config =
        LogConfig { segment_bytes: sizes.segment, checkpoint_bytes: 3 * sizes.segment, ..LogConfig::default() };
    let mut logs = Vec::new();
    let mut observers: Vec<Arc<dyn LogObserver>> = Vec::new();
    for partition in 0..PARTITIONS {
        let from = OpenFrom { newest_epoch: Some(LeaderEpoch::new(epoch)), ..OpenFrom::default() };
        let log = match Log::open(&dir, id(partition), config, from) {
            Ok((log, _)) => log,
            Err(_) if !node.is_alive() || faults => return std::future::pending().await,
            Err(error) => panic!("{error}"),
        };
        let known = Arc::clone(&all[partition as usize]);
        if node.is_alive() {
            verify(&log, &mut known.lock(), &node, faults);
        }
        let observer: Arc<dyn LogObserver> = Arc::new(Observer { node: node.clone(), known });
        let weak: Weak<dyn LogObserver> = Arc::downgrade(&observer);
        log.observe(weak);
        observers.push(observer);
        logs.push(log);
    }
    for _ in 0..appends {
        let partition = env.random.below(u64::from(PARTITIONS)) as usize;
        let (log, known) = (&logs[partition], &all[partition]);
        let now = env.wall();
        match env.random.below(40) {
            0 => {
                let _ = log.roll(now);
            }
            1 => log.maintain(),
            2 => {
                let to = known.lock().durable_end.min(log.synced_end().offset().get());
                {
                    let mut known = known.lock();
                    known.dropped = known.dropped.max(to);
                }
                let _ = log.drop_local_before(Offset::new(to));
            }
            3 => {
                let to = known.lock().durable_end.min(log.synced_end().offset().get());
                let to = log.log_start().offset().get().max(env.random.below(to + 1));
                {
                    let mut known = known.lock();
                    known.dropped = known.dropped.max(to);
                }
                let deleted = log.advance_log_start(LogStart::at(Offset::new(to)));
                if deleted.is_ok() && node.is_alive() {
                    let mut known = known.lock();
                    known.deleted = known.deleted.max(to);
                }
            }
            4 => {
                let durable = known.lock().durable_end;
                let end = log.log_end().offset().get();
                let to = durable + env.random.below(end.saturating_sub(durable) + 1);
                if let Ok(end) = log.truncate_to(LogEnd::at(Offset::new(to)), now) {
                    assert!(end.offset().get() >= durable || !node.is_alive());
                    let mut known = known.lock();
                    known.sequence = -1;
                }
            }
            _ => {
                let base = log.log_end().offset();
                let records = 1 + env.random.below(5) as i32;
                let mut known = known.lock();
                let producer = Producer { id: 1, epoch: epoch as i16, base_sequence: Some(0) };
                let mut builder = BatchBuilder::new(Compression::None);
                if known.sequence >= 0 && env.random.below(2) == 0 {
                    builder = builder.producer(producer);
                    known.sequence = -1;
                }
                for n in 0..records {
                    let padding = vec![b'.'; env.random.below(sizes.value + 1) as usize];
                    let mut value = format!("{epoch} {base} {n} {}", env.random.next()).into_bytes();
                    value.extend(padding);
                    builder.push(now.millis(), None, Some(&value), &[]);
                }
                let batch = builder.build_trusted().unwrap();
                let stamped = batch.clone().stamp(base.to_wire(), epoch as i32, None).to_bytes();
                known.written.entry(base.get()).or_default().push(stamped);
                drop(known);
                match log.append(batch, LeaderEpoch::new(epoch), now) {
                    Ok(appended) => assert!(appended.duplicate || appended.base_offset == base),
                    Err(_) if !node.is_alive() || faults => {}
                    Err(AppendError::Producer(_)) => {}
                    Err(AppendError::Log(LogError::NoSpace)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
        if env.random.below(3) == 0 {
            env.sleep(Duration::from_micros(env.random.below(3000))).await;
        }
    }
    match dir.close().await {
        Err(error) if node.is_alive() && !faults => panic!("{error}"),
        _ => {}
    }
    drop(observers);
}

async fn scenario(world: World, sizes: Sizes, faults: bool) -> u64 {
    if faults {
        world.announce(&["the log directory is fenced", "log maintenance was put off"]);
    }
    let all: Arc<Vec<_>> = Arc::new((0..PARTITIONS).map(|_| Arc::new(Mutex::new(Known::default()))).collect());
    let epochs = Arc::new(Mutex::new(0));
    let (all2, epochs2) = (Arc::clone(&all), Arc::clone(&epochs));
    let node = world
        .add_node("log", move |node| Box::pin(serve(node, Arc::clone(&all2), sizes, Arc::clone(&epochs2), faults)));
    let per_call = Chance::one_in(400);
    let odds = CrashOdds { per_call, per_step: Chance::one_in(1000), power_cut: Chance::percent(60), at_call: None };
    world.set_crash_odds(node, odds);
    for round in 0..12 {
        if faults && round % 3 == 1 {
            let one = Chance::one_in(300);
            world.disk(node).set_faults(DiskFaults {
                write: one,
                sync: one,
                full: one,
                names: one,
                ..DiskFaults::default()
            });
        }
        world.start(node);
        for _ in 0..200 {
            world.sleep(Duration::from_millis(20)).await;
            if !world.is_running(node) {
                break;
            }
        }
        world.crash(node, if round % 2 == 0 { Crash::PowerCut } else { Crash::Kill });
        world.disk(node).set_faults(DiskFaults::default());
    }
    world.set_crash_odds(node, CrashOdds::default());
    world.start(node);
    world.ended(node).await;
    all.iter().map(|known| known.lock().durable_end).sum()
}

#[test]
fn what_was_durable_is_there() {
    let finished = check(0..60, |world| scenario(world, SMALL, false));
    let durable: u64 = finished.iter().map(|finished| finished.output).sum();
    assert!(durable > 100 * finished.len() as u64, "{durable}");
}

#[test]
fn what_was_durable_is_there_although_the_disk_answers_errors() {
    check(0..40, |world| scenario(world, SMALL, true));
}

#[test]
fn what_was_durable_is_there_before_zeros_that_were_written_ahead() {
    check(0..30, |world| scenario(world, LONG, false));
    check(30..50, |world| scenario(world, LONG, true));
}

/// Which also proves that zeros are written ahead in that story.
#[test]
fn mutation_zeros_over_tail_is_caught() {
    let _on = switch_on(Mutation::ZerosOverTail);
    assert!(first_failure(0..20, |world| scenario(world, SMALL, false)).is_none(), "small files have no zeros ahead");
    let failure = first_failure(0..20, |world| scenario(world, LONG, false));
    println!("{:?}", failure.expect("a batch that is overwritten is not noticed").kind);
}

#[test]
fn a_missing_sync_is_caught() {
    let _on = switch_on(Mutation::SyncLeftOut);
    let failure = first_failure(0..100, |world| scenario(world, SMALL, false));
    assert!(failure.is_some_and(|failure| matches!(failure.kind, FailureKind::Panicked { .. })));
}

#[test]
fn mutation_log_start_not_saved_is_caught() {
    let _on = switch_on(Mutation::LogStartNotSaved);
    let failure = first_failure(0..100, |world| scenario(world, SMALL, false));
    assert!(failure.is_some_and(|failure| matches!(failure.kind, FailureKind::Panicked { .. })));
}

/// Three lives of one log, and where each found its durable end. What a life does is `live`; the second ends by a power
/// cut, the others by a kill.
async fn three_lives(world: &World, live: fn(World, NodeEnv, Arc<Log>) -> BoxFuture<'static, ()>) -> Vec<Offset> {
    let ends = Arc::new(Mutex::new(Vec::new()));
    let node = {
        let (ends, world) = (Arc::clone(&ends), world.clone());
        world.clone().add_node("log", move |node| {
            let (ends, world) = (Arc::clone(&ends), world.clone());
            Box::pin(async move {
                let dir = LogDir::open(&node.env, Path::new("/data"), DIRECTORY).unwrap();
                let (log, _) = Log::open(&dir, id(0), LogConfig::default(), OpenFrom::default()).unwrap();
                ends.lock().push(log.durable_end());
                let (of, life) = (node.node, node.life);
                live(world.clone(), node, log).await;
                world.crash(of, if life == 2 { Crash::PowerCut } else { Crash::Kill });
            })
        })
    };
    for _ in 0..3 {
        world.start(node);
        world.ended(node).await;
    }
    std::mem::take(&mut *ends.lock())
}

/// A process is killed after it began a file and before that file's name was synced; the next one finds it, counts what
/// it holds as synced, and the power goes before it has done anything else.
async fn found_and_lost(world: World) {
    let ends = three_lives(&world, |_, node, log| {
        Box::pin(async move {
            if node.life == 1 {
                append_synced(&log, &node).await;
                log.roll(node.env.wall()).unwrap();
                append_one(&log, &node);
            }
            // At once: no round of syncs comes in between.
        })
    })
    .await;
    assert_eq!(ends[1], Offset::new(2), "the second life finds both batches");
    assert_eq!(ends[2], ends[1], "what was found, and counted as synced, is gone");
}

/// Appends, and waits until that is durable.
async fn append_synced(log: &Log, node: &NodeEnv) {
    append_one(log, node);
    while log.durable_end() < log.log_end().offset() {
        node.env.sleep(Duration::from_millis(1)).await;
    }
}

fn append_one(log: &Log, node: &NodeEnv) {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(1000, None, Some(b"value"), &[]);
    log.append(builder.build_trusted().unwrap(), LeaderEpoch::new(1), node.env.wall()).unwrap();
}

#[test]
fn a_file_that_was_found_after_a_kill_survives_a_power_cut() {
    check(0..60, found_and_lost);
}

/// A file is begun, and its first sync fails: its header is in the page cache, and not on the disk. The next life finds it
/// there, and appends nothing; then the power goes.
async fn begun_and_not_synced(world: World) {
    world.announce(&["the log directory is fenced", "log maintenance was put off"]);
    let ends = three_lives(&world, |world, node, log| {
        Box::pin(async move {
            if node.life == 1 {
                append_synced(&log, &node).await;
                let (path, fault) = ("-00000002.log".to_owned(), DiskFault::Io);
                world.disk(node.node).plan(DiskPlan { call: DiskCall::Sync, path, after: 0, fault });
                log.roll(node.env.wall()).unwrap();
            }
            // Time for a round of syncs, and for the record of what is synced.
            node.env.sleep(Duration::from_millis(500)).await;
            assert_eq!(world.disk(node.node).planned(), 0, "the new file is synced");
        })
    })
    .await;
    assert_eq!(ends, [Offset::ZERO, Offset::new(1), Offset::new(1)]);
}

#[test]
fn a_file_whose_first_sync_failed_survives_a_power_cut() {
    check(0..60, begun_and_not_synced);
}
