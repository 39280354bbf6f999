//! What the tests of logs share: directories on the real disk, batches, and waiting.

use super::*;
use crate::env::{Env, RealClock, RealDisk, RealRandom, RealTasks, Timestamp};
use crate::offset::{LeaderEpoch, Offset, PartitionId};
use bytes::{Bytes, BytesMut};
use esker_protocol::record::{BatchBuilder, Compression, Producer, ValidatedBatch};
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock, Weak};
use uuid::Uuid;

pub(crate) struct TestDisk {
    env: Env,
    opened: Mutex<Vec<Weak<LogDir>>>,
    root: tempfile::TempDir,
}

/// One set of threads for all tests.
pub(crate) fn real_env() -> Env {
    static ENV: OnceLock<Env> = OnceLock::new();
    ENV.get_or_init(|| Env {
        clock: Arc::new(RealClock::start()),
        random: Arc::new(RealRandom::seeded().unwrap()),
        tasks: Arc::new(RealTasks::start(1).unwrap()),
        disk: Arc::new(RealDisk),
    })
    .clone()
}

impl TestDisk {
    pub(crate) fn new() -> TestDisk {
        TestDisk { env: real_env(), opened: Mutex::new(Vec::new()), root: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn env(&self) -> &Env {
        &self.env
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        self.root.path()
    }

    pub(crate) fn open(&self) -> Arc<LogDir> {
        let opened = open_dir(&self.env, self.root.path()).unwrap();
        self.opened.lock().push(Arc::downgrade(&opened));
        opened
    }

    pub(crate) fn close(&self, dir: Arc<LogDir>, log: Arc<Log>) {
        block_on(dir.close()).unwrap();
        drop(log);
        self.released(dir);
    }

    /// Ends the directory as kill -9 would: nothing is finished or marked.
    pub(crate) fn kill(&self, dir: Arc<LogDir>, log: Arc<Log>) {
        drop(log);
        stop(dir);
    }

    fn released(&self, dir: Arc<LogDir>) {
        released(dir);
    }
}

impl Drop for TestDisk {
    /// The folder goes last: what a directory's own thread writes meanwhile would leave some of it behind.
    fn drop(&mut self) {
        for dir in self.opened.lock().drain(..).filter_map(|dir| dir.upgrade()) {
            dir.group().stop();
            let weak = Arc::downgrade(&dir);
            drop(dir);
            // A test that fails may hold on to it.
            for _ in 0..1000 {
                if weak.upgrade().is_none() {
                    break;
                }
                real_pause();
            }
        }
    }
}

/// Opens a directory that is in use by nobody, or by somebody who is about to let it go.
pub(crate) fn open_dir(env: &Env, path: &std::path::Path) -> Result<Arc<LogDir>, OpenDirError> {
    let config = LogDirConfig { cluster: Uuid::from_u128(1), broker: 1, durability: Durability::Fsync, open_files: 16 };
    loop {
        // The last reference may be gone, and the lock not yet.
        match LogDir::open(env, path, config) {
            Err(OpenDirError::InUse(_)) => real_pause(),
            opened => return opened,
        }
    }
}

/// Ends a directory as kill -9 would, and waits until its thread is gone: its folder may be removed then.
pub(crate) fn stop(dir: Arc<LogDir>) {
    dir.group().stop();
    released(dir);
}

fn released(dir: Arc<LogDir>) {
    let weak = Arc::downgrade(&dir);
    drop(dir);
    eventually(|| weak.upgrade().is_none());
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub(crate) fn eventually(condition: impl Fn() -> bool) {
    for _ in 0..20_000 {
        if condition() {
            return;
        }
        block_on(tokio::task::yield_now());
        real_pause();
    }
    panic!("it did not come to pass");
}

#[allow(clippy::disallowed_methods, reason = "a test waits for real threads")]
fn real_pause() {
    std::thread::sleep(std::time::Duration::from_micros(500));
}

pub(crate) fn id() -> PartitionId {
    PartitionId { topic: Uuid::from_u128(42), partition: 3 }
}

pub(crate) fn open(dir: &Arc<LogDir>, config: LogConfig) -> Arc<Log> {
    Log::open(dir, id(), config, OpenFrom::default()).unwrap().0
}

pub(crate) fn batch_at(records: u32, timestamp: i64) -> ValidatedBatch {
    let mut builder = BatchBuilder::new(Compression::None);
    for n in 0..records {
        builder.push(timestamp, None, Some(format!("value {n} of {records}").as_bytes()), &[]);
    }
    builder.build_trusted().unwrap()
}

pub(crate) fn batch(records: u32) -> ValidatedBatch {
    batch_at(records, 1000)
}

pub(crate) fn batch_from(id: i64, epoch: i16, sequence: i32, records: u32) -> ValidatedBatch {
    let producer = Producer { id, epoch, base_sequence: Some(sequence) };
    let mut builder = BatchBuilder::new(Compression::None).producer(producer);
    for n in 0..records {
        builder.push(1000, None, Some(format!("value {n}").as_bytes()), &[]);
    }
    builder.build_trusted().unwrap()
}

pub(crate) fn transactional_batch(id: i64, epoch: i16, sequence: i32, records: u32) -> ValidatedBatch {
    let producer = Producer { id, epoch, base_sequence: Some(sequence) };
    let mut builder = BatchBuilder::new(Compression::None).producer(producer).transactional();
    for n in 0..records {
        builder.push(1000, None, Some(format!("value {n} of a transaction").as_bytes()), &[]);
    }
    builder.build_trusted().unwrap()
}

pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// Appends batches of so many records each in epoch 1, and returns the bytes that the log should have of them.
pub(crate) fn append_all(log: &Log, records: &[u32]) -> Bytes {
    let mut sent = BytesMut::new();
    for records in records {
        let base = log.log_end().offset();
        let batch = batch(*records);
        sent.extend_from_slice(&batch.clone().stamp(base.to_wire(), 1, None).to_bytes());
        let appended = log.append(batch, LeaderEpoch::new(1), NOW).unwrap();
        assert_eq!((appended.base_offset, appended.duplicate), (base, false));
    }
    sent.freeze()
}

/// Everything from `from` to the log end, in pieces of at most 300 bytes or a batch.
pub(crate) fn read_all(log: &Log, from: Offset) -> Bytes {
    let mut all = BytesMut::new();
    let mut at = from;
    while at < log.log_end().offset() {
        let read = log.read(at, log.log_end().offset(), 300, true).unwrap();
        assert_eq!(read.base, at);
        assert!(read.next > at);
        all.extend_from_slice(&read.bytes());
        at = read.next;
    }
    all.freeze()
}

pub(crate) fn wait_synced(log: &Log) {
    eventually(|| log.synced_end().offset() == log.log_end().offset());
}
