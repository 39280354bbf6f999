//! Processes, as everything here knows them: one life of one, how it may end, and the gate that its calls cross.
//!
//! An [`Incarnation`] is a life, from start to end. Whatever a process calls goes through a gate first, where it may be
//! found dead already, or die in that very call: before, after, or in the middle of its effect.

use super::chance::Chance;
use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Names a task of a run; never used again.
pub type TaskId = u64;

/// How a process ends without wanting to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Crash {
    /// kill -9: the process is gone, the page cache is not.
    Kill,
    /// The machine is gone: what was not synced is lost or torn.
    PowerCut,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Its main function returned.
    Returned,
    /// It was crashed.
    Crashed(Crash),
}

/// One life of a simulated process. Everything that it holds asks here whether it still lives.
pub struct Incarnation {
    pub(super) node: usize,
    pub(super) label: String,
    alive: AtomicBool,
}

impl Incarnation {
    pub(super) fn new(node: usize, label: String) -> Incarnation {
        Incarnation { node, label, alive: AtomicBool::new(true) }
    }

    /// Whether the process has not ended yet.
    pub fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    pub(super) fn end(&self) {
        self.alive.store(false, Ordering::Relaxed);
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

/// Who runs a task or makes a call: a process, or (with `None`) the world around the processes, which cannot crash.
pub(super) type Owner = Option<Arc<Incarnation>>;

thread_local! {
    static RUNNING: RefCell<Owner> = const { RefCell::new(None) };
}

/// Whose code runs on this thread now.
pub(super) fn running() -> Owner {
    RUNNING.with_borrow(Clone::clone)
}

/// While it lives, the code that runs on this thread is that of one owner.
pub(super) struct Runs(Owner);

impl Runs {
    pub(super) fn as_owner(owner: &Owner) -> Runs {
        Runs(RUNNING.replace(owner.clone()))
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        RUNNING.set(self.0.take());
    }
}

/// The name of an owner in traces.
pub(super) fn owner_name(owner: &Owner) -> &str {
    owner.as_ref().map_or("world", |incarnation| &incarnation.label)
}

/// When and how the seed crashes a process.
#[derive(Clone, Copy, Debug, Default)]
pub struct CrashOdds {
    /// At each call through `env`.
    pub per_call: Chance,
    /// Before each poll of one of its tasks, which is to say at any await.
    pub per_step: Chance,
    /// That such a crash is a power cut, not a kill.
    pub power_cut: Chance,
    /// In addition: at the n-th call of an incarnation, counted from 0, in this way.
    pub at_call: Option<(u64, Crash)>,
}

/// What a call through `env` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// It happens.
    Pass,
    /// It does not: the process is gone.
    Dead,
    /// The process ends in this call, after `0..=1000` thousandths of its effect.
    Crash {
        /// 0: nothing has happened; 1,000: all of it, and only the answer is missing.
        done: u64,
    },
}

impl Gate {
    /// Whether the whole effect takes place.
    pub(super) fn takes_effect(self) -> bool {
        match self {
            Gate::Pass => true,
            Gate::Dead => false,
            Gate::Crash { done } => done >= 500,
        }
    }
}
