//! The rounds of a log directory: one round of syncs covers every batch that arrived while the last one ran.
//!
//! ```text
//!  appends --mark--> dirty logs --round--> capture (under each append lock: files, new names, end)
//!                        ^                    | fdatasync, a few at a time
//!                        |                    v
//!              arrives during a round     publish each log's synced end --> its observer (high watermark, waiters)
//!              and joins the next             |
//!                                             v  at most every 100 ms, waited for by nobody
//!                                         the record of what was synced
//! ```
//!
//! A **round** takes all logs that are dirty in the `SyncGroup`, syncs what each has captured, and tells each. [`run`] is the
//! loop that does one after the other, for as long as the directory is open.
//!
//! With `log.durability=os` write-back is begun here every few MiB, so that it never piles up and keeps nobody who appends.
//! Nobody waits for a round, and one is due after 64 MiB or 10 s; or sooner where a topic's
//! `flush.messages` or `flush.ms` say so, and then whoever wrote more than the former waits.
//!
//! How a round syncs was measured on the reference machine (ext4, two cores, both busy with other work; 4 KiB per batch,
//! one batch in flight per partition, each partition in a file and a directory of its own; means of two noisy runs of two
//! seconds, so only the ratios count):
//!
//! ```text
//!   dirty logs            8 fdatasync in parallel      one syncfs               a journal of recycled blocks
//!   per round             acks/s   p50     p99 ms      acks/s   p50     p99     acks/s    p50     p99
//!       1                    280   3.9      12            430   2.2      8         470    2.0       7
//!       4                  5,000   0.35      7            650   5.9     16
//!       8                  8,800   0.49      8          1,200   7.8     22
//!      16                 10,000   0.99     12          2,000   8.3     20
//!      32                 11,000   2.1      18          4,100   7.5     20
//!     100                  9,600   8.7      40         12,000   7.7     18       36,000    1.2      10
//!   1,000                 10,300  88       240         38,700  22       79       95,000    4.0      20
//! ```
//!
//! (With two at a time instead of eight, `fdatasync` gets between a tenth and a half: ext4's journal commits for all who wait at once.) So up to
//! [`FEW`] dirty logs are synced file by file, eight at a time, and more than that by one `syncfs`. The journal wins where
//! hundreds of partitions are written at once, at the price of writing everything twice, of holding back the recycling until
//! the data files are synced, and of a second log to recover from; it would take the place of [`sync_together`] and nothing else.
//! `syncfs` also waits for what others write to the same file system, which is why few logs do not use it.

use super::dir::{Durability, LogDir, is_full};
use super::group_commit::{Capture, Member, OS_BYTES};
use crate::env::{Alarm, Monotonic, Pool};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Files that are synced at the same time.
const PARALLEL: usize = 8;
/// Dirty logs up to which a round syncs file by file.
const FEW: usize = 64;
/// How often the record of what was synced is written at most.
const RECORD_EVERY: Duration = Duration::from_millis(100);
/// `log.durability=os`: a round is due after this long, or after [`OS_BYTES`].
const OS_EVERY: Duration = Duration::from_secs(10);

/// Runs rounds until the group is stopped or the directory fails.
pub(super) async fn run(dir: Arc<LogDir>) {
    let group = dir.group();
    let writing = Arc::new(AtomicBool::new(false));
    let mut recorded = dir.env().now();
    let mut alarm = Alarm::default();
    while dir.check().is_ok() {
        wait_until_due(&dir, recorded, &mut alarm).await;
        if group.has_dirty() {
            round(&dir).await;
        }
        let now = dir.env().now();
        if now.since(recorded) >= RECORD_EVERY && dir.synced_record().lock().is_dirty() {
            recorded = now;
            write_record(&dir, &writing);
        }
        if group.is_stopped() && !group.has_dirty() {
            break;
        }
    }
    // Those that became dirty in the moment in which the directory failed wait for nothing.
    if dir.check().is_err() {
        group.take_dirty().iter().for_each(|log| log.tell_failed());
    }
}

async fn wait_until_due(dir: &LogDir, recorded: Monotonic, alarm: &mut Alarm) {
    let group = dir.group();
    let started = dir.env().now();
    loop {
        group.start_writeback();
        let now = dir.env().now();
        let record_in = dir.synced_record().lock().is_dirty().then(|| RECORD_EVERY.saturating_sub(now.since(recorded)));
        let waits = (dir.durability() == Durability::Os).then(|| group.flush_within()).flatten();
        let os_in = waits.map(|within| within.min(OS_EVERY).saturating_sub(now.since(started)));
        let at_once = || group.unsynced_bytes() >= OS_BYTES || group.is_demanded();
        let due = group.has_dirty() && (os_in.is_none_or(|wait| wait.is_zero()) || at_once());
        if due || group.is_stopped() || record_in.is_some_and(|wait| wait.is_zero()) {
            return;
        }
        match record_in.into_iter().chain(os_in).min() {
            Some(wait) => tokio::select! {
                biased;
                () = group.woken() => {}
                () = alarm.by(dir.env(), now.plus(wait)) => {}
            },
            None => group.woken().await,
        }
    }
}

/// Syncs every dirty log once.
async fn round(dir: &Arc<LogDir>) {
    let group = dir.group();
    group.reset();
    let logs = group.take_dirty();
    let share = logs.len().div_ceil(PARALLEL).max(1);
    if logs.len() <= share {
        // One dirty log is the usual case: this thread has just woken for it, and hands nothing over.
        sync_logs(dir, &logs);
    } else if logs.len() <= FEW || !sync_together(dir, &logs) {
        let shares = logs.chunks(share).map(|share| {
            let (dir, share) = (Arc::clone(dir), share.to_vec());
            async move { dir.env().clone().blocking(Pool::Sync, move || sync_logs(&dir, &share)).await }
        });
        if futures_util::future::join_all(shares).await.iter().any(Result::is_err) {
            dir.fail("a sync did not end", &io::Error::other("the process is ending"));
        }
    }
    for log in logs {
        if log.take_wants_maintenance() {
            maintain_later(dir, log);
        }
    }
}

/// Not waited for: the pool is shared with work that takes long.
fn maintain_later(dir: &LogDir, log: Arc<dyn Member>) {
    let tasks = Arc::clone(&dir.env().tasks);
    let work = async move { tasks.blocking(Pool::Maintenance, Box::new(move || log.maintain())).await };
    dir.env().spawn_background("log-maintenance", work);
}

/// Syncs logs one after the other, and publishes the end of each as soon as it is synced.
fn sync_logs(dir: &LogDir, logs: &[Arc<dyn Member>]) {
    for log in logs {
        if dir.check().is_err() {
            log.tell_failed();
            continue;
        }
        let capture = log.capture();
        // Its directory may be deleted meanwhile.
        let gone = |error: &io::Error| log.is_abandoned() && error.kind() == io::ErrorKind::NotFound;
        let unless_gone = |done: io::Result<()>| match done {
            Err(error) if gone(&error) => Ok(()),
            done => done,
        };
        let disk = dir.env().disk.as_ref();
        let files = dir.syncing(log.syncing(), || unless_gone(capture.sync()));
        let done = files.and_then(|()| match capture.directories.is_empty() {
            true => Ok(()),
            false => dir.syncing(&dir.syncing_names, || unless_gone(capture.sync_names(disk))),
        });
        conclude(dir, log.as_ref(), &capture, done.is_ok());
    }
}

/// Syncs all logs by one call. `false` if the file system has no such thing: nothing was captured then.
fn sync_together(dir: &LogDir, logs: &[Arc<dyn Member>]) -> bool {
    if dir.check().is_err() || !dir.syncs_together() {
        return false;
    }
    let captures: Vec<_> = logs.iter().map(|log| (log, log.capture())).collect();
    let done = dir.env().disk.sync_file_system(dir.path());
    if let Err(error) = &done {
        dir.fail("a sync failed", error);
    }
    for (log, capture) in captures {
        conclude(dir, log.as_ref(), &capture, done.is_ok());
    }
    true
}

/// Publishes what was synced, or tells that it was not. A directory that failed is fenced by now.
fn conclude(dir: &LogDir, log: &dyn Member, capture: &Capture, done: bool) {
    if !done || dir.check().is_err() {
        log.tell_failed();
        return;
    }
    {
        let mut record = dir.synced_record().lock();
        // Of a deleted partition nothing is claimed: whoever deletes it forgets its mark after this lock.
        if !log.is_abandoned() {
            record.note(log.id(), capture.mark);
        }
    }
    log.publish_synced(capture);
}

/// Writes the record of what was synced in the background, unless the last writing still goes on.
fn write_record(dir: &Arc<LogDir>, writing: &Arc<AtomicBool>) {
    if writing.swap(true, Ordering::AcqRel) {
        return;
    }
    let (dir, writing) = (Arc::clone(dir), Arc::clone(writing));
    let tasks = Arc::clone(&dir.env().tasks);
    let env = dir.env().clone();
    let work = move || {
        let slots = dir.synced_record().lock().take();
        match slots.write() {
            Ok(()) => {}
            // It claims less than is true, which is allowed, until there is room.
            Err(error) if is_full(&error) => dir.synced_record().lock().put_back(slots),
            Err(error) => {
                dir.fail("writing the record of what was synced", &error);
            }
        }
        writing.store(false, Ordering::Release);
    };
    env.spawn_background("synced-record", async move { tasks.blocking(Pool::Maintenance, Box::new(work)).await });
}
