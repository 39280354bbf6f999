//! Tasks and blocking work: what runs where.
//!
//! A connection lives on one single-threaded runtime; there is one per core, and one more in the background for
//! everything that no connection waits for. What reads history, connections included, has runtimes of its own. Work that blocks has threads of its own, in pools that cannot starve
//! each other.

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use std::task::Context;

/// A pool of threads for work that blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pool {
    /// `fdatasync` and what goes with it.
    Sync,
    /// Reads that may wait for the disk: cold pages of hot segments, recovery, indexes.
    Cold,
    /// What keeps a processor busy for longer than a connection's runtime may be kept from its other connections, and is
    /// waited for by a client: recompression.
    Work,
    /// Everything that may take long and is waited for by nobody: uploads, retention, scrubbing.
    Maintenance,
}

impl Pool {
    /// Every pool.
    pub const ALL: [Pool; 4] = [Pool::Sync, Pool::Cold, Pool::Work, Pool::Maintenance];
}

/// Where tasks and blocking work run.
pub trait Tasks: Send + Sync {
    /// Starts `task` on the runtime of the caller, or on the background runtime if the caller has none.
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle;

    /// Starts `task` on the background runtime.
    fn spawn_background(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle;

    /// How many runtimes connections are spread over.
    fn runtimes(&self) -> usize;

    /// Starts `task` on connection runtime `runtime % self.runtimes()`.
    fn spawn_on(&self, runtime: usize, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle;

    /// Starts `task` on one of the runtimes for what reads history. Their threads step back behind all others where
    /// there are threads; by default history runs in the background.
    fn spawn_history(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        self.spawn_background(name, task)
    }

    /// Lets threads of the present have the processor, if they wait for it: what reads history calls this between its
    /// steps. By default there are none.
    fn step_aside(&self) {}

    /// Has the task of `cx`, which returns `Pending` now, run again once the others of its runtime that are ready have run,
    /// and those as well whose sockets or timers are. Waking it by its waker would do less: a runtime looks at its sockets
    /// rarely while it has a task that is ready. By default there is nothing but tasks.
    fn make_way(&self, cx: &mut Context<'_>) {
        cx.waker().wake_by_ref();
    }

    /// Queues `work` for a thread of `pool`. The queue is bounded: the future ends when there was room.
    fn blocking(&self, pool: Pool, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()>;

    /// Starts a thread of its own for `work`, which may block between its awaits: for the loops that do little else,
    /// such as a group commit, and cannot afford the hand-over to a pool. It must end when what feeds it is closed.
    fn spawn_thread(&self, name: &'static str, work: BoxFuture<'static, ()>) -> TaskHandle;
}

/// A started task. Dropping the handle leaves the task running.
pub struct TaskHandle {
    abort: Box<dyn Fn() + Send + Sync>,
    /// Behind a lock only so that a handle can be shared.
    ended: Mutex<BoxFuture<'static, ()>>,
}

impl TaskHandle {
    /// From how to abort the task, and a future that ends when the task has ended in whichever way.
    pub fn new(abort: impl Fn() + Send + Sync + 'static, ended: BoxFuture<'static, ()>) -> TaskHandle {
        TaskHandle { abort: Box::new(abort), ended: Mutex::new(ended) }
    }

    /// Drops the task at its next await.
    pub fn abort(&self) {
        (self.abort)();
    }

    /// Waits until the task has ended: returned, panicked or aborted.
    pub async fn ended(self) {
        self.ended.into_inner().await;
    }
}

impl std::fmt::Debug for TaskHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TaskHandle")
    }
}
