//! Time and tasks as one simulated process sees them.

use super::chance::Chance;
use super::executor::Core;
use super::process::{Gate, Owner};
use esker_storage::env::{Clock, Monotonic, Pool, TaskHandle, Tasks, Timestamp};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;

/// What the wall clock shows when a run begins: 2026-01-01 00:00 UTC.
pub const EPOCH: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// Virtual time, with a wall clock that may be wrong.
pub(super) struct SimClock {
    pub(super) core: Arc<Core>,
    /// Monotonic clocks of different processes have nothing to do with each other.
    pub(super) origin: Duration,
    /// How far the wall clock is off, in milliseconds.
    pub(super) skew: i64,
}

impl Clock for SimClock {
    fn now(&self) -> Monotonic {
        Monotonic::from_origin(self.origin + self.core.now())
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(EPOCH.millis() + self.core.now().as_millis() as i64 + self.skew)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(self.core.sleep(duration))
    }
}

/// Tasks of one process. All runtimes, threads and pools are tasks of the one executor; blocking work is a task of its
/// own that runs at a later step, sometimes much later.
pub(super) struct SimTasks {
    pub(super) core: Arc<Core>,
    pub(super) owner: Owner,
    pub(super) runtimes: usize,
    /// How often blocking work is held up for some milliseconds.
    pub(super) slow: Chance,
}

impl SimTasks {
    fn start(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        let (id, end) = match self.core.enter(&self.owner, format_args!("spawn {name}")) {
            Gate::Pass => self.core.spawn(&self.owner, name, task),
            Gate::Dead | Gate::Crash { .. } => {
                // Dropped here, by the process that is just ending.
                drop(task);
                return TaskHandle::new(|| (), Box::pin(std::future::pending()));
            }
        };
        let core = Arc::clone(&self.core);
        TaskHandle::new(
            move || core.abort(id),
            Box::pin(async move {
                // The sender is only ever dropped.
                let _ = end.await;
            }),
        )
    }
}

impl Tasks for SimTasks {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        self.start(name, task)
    }

    fn spawn_background(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        self.start(name, task)
    }

    fn runtimes(&self) -> usize {
        self.runtimes
    }

    fn spawn_on(&self, _runtime: usize, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        self.start(name, task)
    }

    fn blocking(&self, pool: Pool, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let (core, owner, slow) = (Arc::clone(&self.core), self.owner.clone(), self.slow);
        Box::pin(async move {
            let name = match pool {
                Pool::Sync => "blocking:sync",
                Pool::Cold => "blocking:cold",
                Pool::Work => "blocking:work",
                Pool::Maintenance => "blocking:maintenance",
            };
            if core.enter(&owner, format_args!("{name}")) != Gate::Pass {
                return;
            }
            let pause = core.draw(|rng| {
                rng.happens(slow).then(|| rng.duration(Duration::from_micros(50)..Duration::from_millis(8)))
            });
            let timers = Arc::clone(&core);
            // Nobody waits for the end of this task: the work tells its caller by itself.
            let _ = core.spawn(
                &owner,
                name,
                Box::pin(async move {
                    if let Some(pause) = pause {
                        timers.sleep(pause).await;
                    }
                    work();
                }),
            );
        })
    }

    fn spawn_thread(&self, name: &'static str, work: BoxFuture<'static, ()>) -> TaskHandle {
        self.start(name, work)
    }
}
