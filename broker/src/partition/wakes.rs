//! Wakes across threads: many at once, for the price of one.
//!
//! ```text
//!  sync group: round done -> commits of 16 connections end -> lane of runtime 0 --one wake--> its drain task -> 8 local wakes
//!                                                          -> lane of runtime 1 --one wake--> its drain task -> 8 local wakes
//! ```
//!
//! Waking a task of another thread's runtime is a system call each time, and two halted cores later its task runs. So
//! what [`Ended`] is put into the **lane** of the runtime that waits for it, and only the first one in an empty lane
//! wakes that runtime's one **drain** task, which ends the rest where they wait.

use super::waiter::{Committer, NotCommitted, Waiter};
use esker_storage::env::Env;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// A wait that is over.
#[derive(Debug)]
pub(super) enum Ended {
    /// A produce's.
    Commit(Committer, Result<(), NotCommitted>),
    /// A long poll's.
    Poll(Arc<Waiter>),
}

impl Ended {
    fn tell(self) {
        match self {
            // The produce that waited may have timed out.
            Ended::Commit(committer, result) => drop(committer.send(result)),
            Ended::Poll(waiter) => waiter.wake_task(),
        }
    }
}

/// What ended and was not told yet, for one connection runtime.
#[derive(Debug, Default)]
struct Lane {
    /// No more than the waits of the runtime's connections.
    ended: Mutex<Vec<Ended>>,
    filled: Notify,
    closed: AtomicBool,
}

/// The lanes of all connection runtimes. Without lanes (the default) everybody is told at once.
#[derive(Debug, Default)]
pub struct Wakes {
    lanes: Vec<Arc<Lane>>,
}

impl Wakes {
    /// A lane and its drain task for each connection runtime of `env`. The tasks end when this is dropped.
    pub fn start(env: &Env) -> Arc<Wakes> {
        let lanes: Vec<Arc<Lane>> = (0..env.tasks.runtimes()).map(|_| Arc::default()).collect();
        for (runtime, lane) in lanes.iter().enumerate() {
            env.tasks.spawn_on(runtime, "wakes", Box::pin(drain(Arc::clone(lane))));
        }
        Arc::new(Wakes { lanes })
    }

    /// Tells whoever waits on `runtime`; at once if they wait on none of the connection runtimes.
    pub(super) fn end(&self, runtime: Option<usize>, ended: Ended) {
        let Some(lane) = runtime.and_then(|runtime| self.lanes.get(runtime)) else { return ended.tell() };
        let mut waiting = lane.ended.lock();
        let first = waiting.is_empty();
        waiting.push(ended);
        drop(waiting);
        if first {
            lane.filled.notify_one();
        }
    }
}

impl Drop for Wakes {
    fn drop(&mut self) {
        for lane in &self.lanes {
            lane.closed.store(true, Ordering::Release);
            lane.filled.notify_one();
        }
    }
}

async fn drain(lane: Arc<Lane>) {
    let mut ended = Vec::new();
    while !lane.closed.load(Ordering::Acquire) {
        lane.filled.notified().await;
        std::mem::swap(&mut ended, &mut *lane.ended.lock());
        ended.drain(..).for_each(Ended::tell);
    }
}
