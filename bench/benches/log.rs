//! The local log: appending, looking an offset up, and putting a fetch's answer together.
//!
//! The directory is where `TMPDIR` says; with `log.durability=os`, so that the disk's syncs are not what is timed.
#![allow(missing_docs, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a benchmark")]

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use esker_protocol::record::{Compression, Rules, Scratch, ValidatedBatch, validate};
use esker_storage::env::{Env, Timestamp};
use esker_storage::log::{Durability, Log, LogConfig, LogDir, LogDirConfig, OpenFrom};
use esker_storage::offset::{LeaderEpoch, LogStart, Offset, PartitionId};
use std::hint::black_box;
use std::sync::Arc;
use support::{SHAPES, batch, bench, env, filled};
use uuid::Uuid;

#[global_allocator]
static COUNTING: support::counting::Counting = support::counting::Counting;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const EPOCH: LeaderEpoch = LeaderEpoch::new(1);
/// What the logs hold that are read.
const FILLED: usize = 256 << 20;

struct Rig {
    log: Arc<Log>,
    _dir: Arc<LogDir>,
    _env: Env,
    _folder: tempfile::TempDir,
}

impl Rig {
    fn new(config: LogConfig) -> Rig {
        let (env, folder) = (env(), tempfile::tempdir().expect("a folder"));
        let dir_config =
            LogDirConfig { cluster: Uuid::from_u128(1), broker: 1, durability: Durability::Os, open_files: 64 };
        let dir = LogDir::open(&env, folder.path(), dir_config).expect("a new directory");
        let id = PartitionId { topic: Uuid::from_u128(2), partition: 0 };
        let (log, _) = Log::open(&dir, id, config, OpenFrom::default()).expect("a new log");
        Rig { log, _dir: dir, _env: env, _folder: folder }
    }

    fn filled(batch: &ValidatedBatch) -> Rig {
        let rig = Rig::new(LogConfig::default());
        while rig.log.local_bytes() < filled(FILLED) as u64 {
            rig.log.append(batch.clone(), EPOCH, NOW).expect("there is room");
        }
        rig
    }
}

fn checked(records: usize, size: usize) -> ValidatedBatch {
    let rules = Rules { max_message_bytes: 8 << 20, now_ms: NOW.millis(), ..Rules::default() };
    validate(batch(records, size, Compression::None), &rules, &mut Scratch::default()).expect("a good batch")
}

fn append(criterion: &mut Criterion) {
    for (shape, records, size) in SHAPES {
        let batch = checked(records, size);
        // Small segments that go at once: the disk does not fill, however long this runs.
        let rig = Rig::new(LogConfig { segment_bytes: 64 << 20, ..LogConfig::default() });
        let mut appended = 0;
        bench(criterion, "append", shape, batch.size(), || {
            appended += batch.size();
            if appended > 512 << 20 {
                appended = 0;
                let end = rig.log.log_end().offset();
                rig.log.advance_log_start(LogStart::at(end)).expect("the start moves");
                rig.log.drop_local_before(end).expect("what is before goes");
            }
            rig.log.append(batch.clone(), EPOCH, NOW).expect("there is room")
        });
    }
}

fn read(criterion: &mut Criterion) {
    for (shape, records, size) in SHAPES {
        let rig = Rig::filled(&checked(records, size));
        let end = rig.log.log_end().offset();
        let mut at = 1_u64;
        // Anywhere, far from the end: an index entry, and batch headers from there.
        bench(criterion, "index lookup", shape, 1, || {
            at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let from = Offset::new((at >> 20) % (end.get() / 2));
            black_box(rig.log.read_in_memory(from, end, 1, true).expect("it is there"))
        });
        let mut from = Offset::new(0);
        bench(criterion, "fetch assembly", &format!("1 MiB of {shape}"), 1 << 20, || {
            let read = rig.log.read_in_memory(from, end, 1 << 20, true).expect("it is there").expect("in memory");
            assert!(read.is_resident(0..read.len()));
            from = if read.next < end { read.next } else { Offset::new(0) };
            read.bytes()
        });
    }
}

criterion_group!(benches, append, read);
criterion_main!(benches);
