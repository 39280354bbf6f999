//! The meter: what the broker's code did since it was last read.
//!
//! Only the broker's work counts, on whichever thread: its tasks and its blocking work switch the meter **on** for their
//! thread while they run (see `doors`), and the doors switch it off while they stand in for the machine. So neither the
//! client in the same process nor what the doors do themselves is counted.

use super::counting;
use parking_lot::Mutex;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Whether this thread's work counts, and what it had allocated when that was last changed.
    static STATE: Cell<(bool, usize)> = const { Cell::new((false, 0)) };
}

/// Whether this thread's work counts, for as long as it lives.
pub(crate) struct Switch(bool);

impl Switch {
    /// The broker's own work begins.
    pub(crate) fn on() -> Switch {
        Switch(turn(true))
    }

    /// A door does what the machine would do.
    pub(crate) fn off() -> Switch {
        Switch(turn(false))
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        turn(self.0);
    }
}

/// Counts what was allocated until now, if it counts; whether it did.
fn turn(on: bool) -> bool {
    let now = counting::allocations();
    let (was_on, then) = STATE.replace((on, now));
    if was_on {
        ALLOCATIONS.fetch_add(now - then, Ordering::Relaxed);
    }
    was_on
}

/// What one request costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Costs {
    /// Calls of the allocator for new or larger room.
    pub(crate) allocations: usize,
    /// Times that a task of the broker was run: each first one after a sleep is a wake-up.
    pub(crate) polls: usize,
    /// `recv`, those that find nothing included.
    pub(crate) socket_reads: usize,
    /// `writev` on a socket.
    pub(crate) socket_writes: usize,
    /// `pwritev` on a file.
    pub(crate) file_writes: usize,
    /// `fdatasync`, `fsync` and `syncfs`.
    pub(crate) syncs: usize,
    /// Every other call for a file or directory.
    pub(crate) disk_calls: usize,
    /// Requests to the object store.
    pub(crate) store_requests: usize,
    /// Bytes that were moved or made in user space: what went to a file from another place than where it was received,
    /// and what went to a socket from another place than a mapped file.
    pub(crate) copied: usize,
}

impl Costs {
    pub(crate) fn each(&self) -> [(&'static str, usize); 9] {
        let Costs {
            allocations,
            polls,
            socket_reads,
            socket_writes,
            file_writes,
            syncs,
            disk_calls,
            store_requests,
            copied,
        } = *self;
        [
            ("allocations", allocations),
            ("polls", polls),
            ("socket_reads", socket_reads),
            ("socket_writes", socket_writes),
            ("file_writes", file_writes),
            ("syncs", syncs),
            ("disk_calls", disk_calls),
            ("store_requests", store_requests),
            ("copied", copied),
        ]
    }

    /// Of each number the one that came most often: what comes on top now and then, a timer's work say, is not the
    /// request's, and what a thread that was held up does late is counted in the round after.
    pub(crate) fn usual(rounds: &[Costs]) -> Costs {
        let usual = |which: fn(&Costs) -> usize| {
            let mut times = BTreeMap::<usize, usize>::new();
            rounds.iter().for_each(|costs| *times.entry(which(costs)).or_default() += 1);
            times.into_iter().rev().max_by_key(|(_, times)| *times).map_or(0, |(number, _)| number)
        };
        Costs {
            allocations: usual(|costs| costs.allocations),
            polls: usual(|costs| costs.polls),
            socket_reads: usual(|costs| costs.socket_reads),
            socket_writes: usual(|costs| costs.socket_writes),
            file_writes: usual(|costs| costs.file_writes),
            syncs: usual(|costs| costs.syncs),
            disk_calls: usual(|costs| costs.disk_calls),
            store_requests: usual(|costs| costs.store_requests),
            copied: usual(|costs| costs.copied),
        }
    }
}

#[derive(Default)]
struct Since {
    costs: Costs,
    /// Where in memory bytes lie that came from a socket, or that are a mapped file's.
    received: Vec<Range<usize>>,
    mapped: Vec<Range<usize>>,
}

/// What was counted since the last [`Meter::take`]. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Meter(Arc<Mutex<Since>>);

impl Meter {
    /// Counts what `which` names once more.
    pub(crate) fn add(&self, which: impl FnOnce(&mut Costs) -> &mut usize) {
        *which(&mut self.0.lock().costs) += 1;
    }

    /// Bytes came from a socket to here.
    pub(crate) fn received(&self, bytes: &[u8]) {
        self.0.lock().received.push(place(bytes));
    }

    /// These are a mapped file's.
    pub(crate) fn mapped(&self, bytes: &[u8]) {
        self.0.lock().mapped.push(place(bytes));
    }

    /// These go to a file.
    pub(crate) fn written(&self, bytes: &[u8]) {
        let mut since = self.0.lock();
        since.costs.copied += bytes.len() - covered(&since.received, &place(bytes));
    }

    /// The first `sent` of these went to a socket.
    pub(crate) fn sent<'a>(&self, slices: impl Iterator<Item = &'a [u8]>, mut sent: usize) {
        let mut since = self.0.lock();
        for slice in slices {
            let part = &slice[..slice.len().min(sent)];
            sent -= part.len();
            since.costs.copied += part.len() - covered(&since.mapped, &place(part));
        }
    }

    /// What was counted, and from here on anew.
    pub(crate) fn take(&self) -> Costs {
        let since = std::mem::take(&mut *self.0.lock());
        Costs { allocations: ALLOCATIONS.swap(0, Ordering::Relaxed), ..since.costs }
    }
}

fn place(bytes: &[u8]) -> Range<usize> {
    let start = bytes.as_ptr() as usize;
    start..start + bytes.len()
}

/// How much of `of` lies in one of `ranges`, which may overlap.
fn covered(ranges: &[Range<usize>], of: &Range<usize>) -> usize {
    let mut parts: Vec<Range<usize>> = ranges
        .iter()
        .map(|range| range.start.max(of.start)..range.end.min(of.end))
        .filter(|part| !part.is_empty())
        .collect();
    parts.sort_by_key(|part| part.start);
    let (mut sum, mut upto) = (0, of.start);
    for part in parts {
        sum += part.end.saturating_sub(part.start.max(upto));
        upto = upto.max(part.end);
    }
    sum
}
