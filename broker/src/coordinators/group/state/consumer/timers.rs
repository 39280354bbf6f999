//! The deadlines of a group's members: whoever misses one is out.

use esker_storage::env::Monotonic;
use std::collections::{BTreeMap, BTreeSet};

/// What a member must do in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Say that it is alive.
    Session,
    /// Give up what it must.
    Rebalance,
    /// Join again, of a classic member that was told to.
    Join,
    /// Sync, of a classic member that joined.
    Sync,
}

const ALL: [Timer; 4] = [Timer::Session, Timer::Rebalance, Timer::Join, Timer::Sync];

/// Every deadline of a group. `queue` is `by_member` in the order of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Timers {
    by_member: BTreeMap<(String, Timer), Monotonic>,
    queue: BTreeSet<(Monotonic, String, Timer)>,
}

impl Timers {
    /// Sets a deadline anew.
    pub(super) fn set(&mut self, member: &str, timer: Timer, at: Monotonic) {
        self.cancel(member, timer);
        self.by_member.insert((member.to_owned(), timer), at);
        self.queue.insert((at, member.to_owned(), timer));
    }

    /// Sets a deadline, unless it is set.
    pub(super) fn set_if_absent(&mut self, member: &str, timer: Timer, at: Monotonic) {
        if !self.is_set(member, timer) {
            self.set(member, timer, at);
        }
    }

    pub(super) fn cancel(&mut self, member: &str, timer: Timer) {
        if let Some(at) = self.by_member.remove(&(member.to_owned(), timer)) {
            self.queue.remove(&(at, member.to_owned(), timer));
        }
    }

    /// Forgets a member.
    pub(super) fn forget(&mut self, member: &str) {
        for timer in ALL {
            self.cancel(member, timer);
        }
    }

    pub(super) fn is_set(&self, member: &str, timer: Timer) -> bool {
        self.by_member.contains_key(&(member.to_owned(), timer))
    }

    pub(super) fn next(&self) -> Option<Monotonic> {
        self.queue.first().map(|(at, _, _)| *at)
    }

    /// A member that missed a deadline.
    pub(super) fn missed(&self, now: Monotonic) -> Option<&str> {
        self.queue.first().filter(|(at, _, _)| *at <= now).map(|(_, member, _)| member.as_str())
    }
}
