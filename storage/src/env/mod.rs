//! The door to the outside: clocks, randomness, tasks, blocking work, disks, mappings and object stores.
//!
//! Nothing else in Esker touches these directly (`clippy.toml` bans the usual ways), so that the same code runs on
//! real machines ([`RealClock`], [`RealDisk`], [`RealTasks`]) and in the simulation, which implements the traits here with a virtual
//! clock, a seeded executor, a disk that forgets what was not synced, and a store that loses answers. Each call
//! through this module is a point at which the simulation may crash the broker.
//!
//! The one other door is the broker's `net::env`, for sockets.
//!
//! All `unsafe` code of the project is below this module.

mod alarm;
mod clock;
mod disk;
pub mod mutation;
mod random;
mod real_disk;
mod real_map;
mod real_priority;
mod real_tasks;
pub mod store;
mod tasks;

pub use alarm::Alarm;
pub use clock::{Clock, Monotonic, RealClock, Timestamp};
pub use disk::{DirEntry, Disk, File, Lock, Mapping, Open, Space, create_dir_durably, write_atomically};
pub use random::{Random, RealRandom};
pub use real_disk::RealDisk;
pub use real_tasks::RealTasks;
pub use tasks::{Pool, TaskHandle, Tasks};

use futures_util::future::BoxFuture;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Everything a broker may ask of its machine; cheap to clone and passed down explicitly.
#[derive(Clone)]
pub struct Env {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub random: Arc<dyn Random>,
    /// Tasks and blocking work.
    pub tasks: Arc<dyn Tasks>,
    /// Files.
    pub disk: Arc<dyn Disk>,
}

/// The limit of [`Env::timeout`] passed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("timed out")]
pub struct TimedOut;

/// The work was dropped unfinished, because the process is ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the process is ending")]
pub struct Ended;

impl Env {
    /// Time since an arbitrary origin, for measuring and for time-outs.
    pub fn now(&self) -> Monotonic {
        self.clock.now()
    }

    /// The wall clock, for what is written into records and metadata.
    pub fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    /// Ends after `duration`.
    pub fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.clock.sleep(duration)
    }

    /// `work`, or [`TimedOut`] if `limit` passes before it is done.
    ///
    /// # Errors
    /// [`TimedOut`]; `work` is dropped then.
    pub async fn timeout<F: Future>(&self, limit: Duration, work: F) -> Result<F::Output, TimedOut> {
        let sleep = self.sleep(limit);
        tokio::select! {
            biased;
            output = work => Ok(output),
            () = sleep => Err(TimedOut),
        }
    }

    /// Starts `task` on the runtime of the caller.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> TaskHandle {
        self.tasks.spawn(name, Box::pin(task))
    }

    /// Starts `task` on the background runtime, where no connection lives.
    pub fn spawn_background(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> TaskHandle {
        self.tasks.spawn_background(name, Box::pin(task))
    }

    /// Starts `task` on a thread for what reads history, which steps back behind all others.
    pub fn spawn_history(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> TaskHandle {
        self.tasks.spawn_history(name, Box::pin(task))
    }

    /// Runs `work`, which may block, on a thread of `pool`.
    ///
    /// # Errors
    /// [`Ended`] if the pool is shutting down, or `work` panicked.
    pub async fn blocking<T: Send + 'static>(
        &self,
        pool: Pool,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Ended> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.tasks
            .blocking(
                pool,
                Box::new(move || {
                    // The receiver is gone when the caller no longer wants the result.
                    let _ = sender.send(work());
                }),
            )
            .await;
        receiver.await.map_err(|_| Ended)
    }
}

impl std::fmt::Debug for Env {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Env")
    }
}
