//! Who waits for a partition: producers for their records to be committed, consumers for something to read.
//!
//! A [`Waiter`] is one long poll over any number of partitions. It registers with each, then looks, then sleeps: an
//! advance between the look and the sleep finds it registered. A commit wait is one produce that waits for a high
//! watermark; those of a partition are in the order of their appends, and end from the front. Both are told on the
//! connection runtime where they wait: see [`wakes`](super::wakes).

use super::waiter::{Commit, Committer, NotCommitted, Waiter};
use super::wakes::{Ended, Wakes};
use esker_storage::offset::{HighWatermark, Offset};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::oneshot;

/// The waiters of one partition.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    wakes: Arc<Wakes>,
    commits: Mutex<Commits>,
    polls: Mutex<Vec<Arc<Waiter>>>,
}

#[derive(Debug, Default)]
struct Commits {
    waiting: VecDeque<CommitWait>,
    /// Set once, when nothing will be committed any more: who comes later must not wait.
    ended: Option<NotCommitted>,
}

#[derive(Debug)]
struct CommitWait {
    end: Offset,
    /// The connection runtime that waits, if it is one.
    runtime: Option<usize>,
    committer: Committer,
}

impl Waiters {
    /// Nobody waits yet; they will be told through `wakes`.
    pub(super) fn new(wakes: Arc<Wakes>) -> Waiters {
        Waiters { wakes, ..Waiters::default() }
    }

    /// Waits on `runtime` for the high watermark to reach `end`. The caller looks at the high watermark again
    /// afterwards and calls [`Waiters::advanced`] if it did meanwhile. After [`Waiters::end`] the wait is over at once.
    pub(super) fn commit(&self, end: Offset, runtime: Option<usize>) -> Commit {
        let (committer, receiver) = oneshot::channel();
        let mut commits = self.commits.lock();
        // Appends come in order, so this is nearly always the end; waits of two runtimes may cross here.
        let at = commits.waiting.partition_point(|other| other.end <= end);
        match commits.ended {
            None => commits.waiting.insert(at, CommitWait { end, runtime, committer }),
            Some(why) => drop(committer.send(Err(why))),
        }
        receiver
    }

    /// Registers a long poll.
    pub(super) fn register(&self, waiter: &Arc<Waiter>) {
        self.polls.lock().push(Arc::clone(waiter));
    }

    /// Forgets a long poll.
    pub(super) fn forget(&self, waiter: &Arc<Waiter>) {
        let mut polls = self.polls.lock();
        if let Some(at) = polls.iter().position(|other| Arc::ptr_eq(other, waiter)) {
            polls.swap_remove(at);
        }
    }

    /// The high watermark stands at `mark`.
    pub(super) fn advanced(&self, mark: HighWatermark) {
        let mut commits = self.commits.lock();
        while commits.waiting.front().is_some_and(|wait| wait.end <= mark.offset()) {
            if let Some(wait) = commits.waiting.pop_front() {
                self.wakes.end(wait.runtime, Ended::Commit(wait.committer, Ok(())));
            }
        }
        drop(commits);
        self.wake_polls();
    }

    /// Something about the partition changed that long polls must look at.
    pub(super) fn wake_polls(&self) {
        for waiter in self.polls.lock().iter() {
            self.tell(waiter);
        }
    }

    /// Nothing will be committed any more. The first reason stays.
    pub(super) fn end(&self, why: NotCommitted) {
        let mut commits = self.commits.lock();
        commits.ended.get_or_insert(why);
        for wait in commits.waiting.drain(..) {
            self.wakes.end(wait.runtime, Ended::Commit(wait.committer, Err(why)));
        }
        drop(commits);
        self.wake_polls();
    }

    fn tell(&self, waiter: &Arc<Waiter>) {
        if waiter.is_woken() {
            self.wakes.end(waiter.runtime(), Ended::Poll(Arc::clone(waiter)));
        }
    }

    /// Why nothing will be committed any more, if so.
    pub(super) fn ended(&self) -> Option<NotCommitted> {
        self.commits.lock().ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(n: u64) -> Offset {
        Offset::new(n)
    }

    #[test]
    fn commits_end_in_order_and_only_once_covered() {
        let waiters = Waiters::default();
        let (mut second, mut first) = (waiters.commit(end(20), None), waiters.commit(end(10), None));
        waiters.advanced(HighWatermark::at(Offset::new(9)));
        assert!(first.try_recv().is_err());
        waiters.advanced(HighWatermark::at(Offset::new(10)));
        assert_eq!(first.try_recv(), Ok(Ok(())));
        assert!(second.try_recv().is_err());
        waiters.end(NotCommitted::Failed);
        assert_eq!(second.try_recv(), Ok(Err(NotCommitted::Failed)));
    }

    #[test]
    fn nobody_waits_after_the_end() {
        let waiters = Waiters::default();
        waiters.end(NotCommitted::Gone);
        waiters.end(NotCommitted::Failed);
        assert_eq!(waiters.commit(end(10), None).try_recv(), Ok(Err(NotCommitted::Gone)));
        assert_eq!(waiters.ended(), Some(NotCommitted::Gone));
    }

    #[test]
    fn forgotten_polls_are_not_kept() {
        let waiters = Waiters::default();
        let waiter = Waiter::new(0);
        waiters.register(&waiter);
        waiters.forget(&waiter);
        assert!(waiters.polls.lock().is_empty());
    }
}
