//! Threads: one single-threaded runtime per core for connections, one in the background, some that step back for what
//! reads history, and pools that may block.

use super::real_priority::{history_threads, step_aside, step_back};
use super::tasks::{Pool, TaskHandle, Tasks};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Context;
use std::thread::JoinHandle;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot};

type Work = Box<dyn FnOnce() + Send>;

/// Work that waits for a thread of its pool, beyond which submitters wait.
const QUEUE: usize = 1024;

/// The process's runtimes and pools; dropping it ends them.
pub struct RealTasks {
    background: Handle,
    connections: Vec<Handle>,
    history: Vec<Handle>,
    /// Counts what was started in `history`, to take turns.
    turns: AtomicUsize,
    pools: Vec<(Pool, mpsc::Sender<Work>)>,
    /// Dropping these ends the runtimes' threads.
    stops: Mutex<Vec<oneshot::Sender<()>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[allow(clippy::disallowed_methods, reason = "this is the door")]
impl RealTasks {
    /// Starts `runtimes` connection runtimes, a background runtime, and every pool.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub fn start(runtimes: usize) -> io::Result<RealTasks> {
        let mut stops = Vec::new();
        let mut threads = Vec::new();
        let background = start_runtime("esker-background".to_owned(), || {}, &mut stops, &mut threads)?;
        let mut connections = Vec::new();
        for index in 0..runtimes.max(1) {
            connections.push(start_runtime(format!("esker-net-{index}"), || {}, &mut stops, &mut threads)?);
        }
        let mut history = Vec::new();
        for index in 0..history_threads() {
            history.push(start_runtime(format!("esker-history-{index}"), step_back, &mut stops, &mut threads)?);
        }
        let mut pools = Vec::new();
        for pool in Pool::ALL {
            let (sender, receiver) = mpsc::channel::<Work>(QUEUE);
            let receiver = Arc::new(Mutex::new(receiver));
            let (name, count) = match pool {
                Pool::Sync => ("esker-sync", 8),
                Pool::Cold => ("esker-cold", 4),
                Pool::Work => ("esker-work", runtimes.max(1)),
                Pool::Maintenance => ("esker-maint", 2),
            };
            for index in 0..count {
                let receiver = Arc::clone(&receiver);
                let thread = std::thread::Builder::new().name(format!("{name}-{index}")).spawn(move || {
                    loop {
                        let work = receiver.lock().blocking_recv();
                        match work {
                            Some(work) => work(),
                            None => return,
                        }
                    }
                })?;
                threads.push(thread);
            }
            pools.push((pool, sender));
        }
        Ok(RealTasks {
            background,
            connections,
            history,
            turns: AtomicUsize::new(0),
            pools,
            stops: Mutex::new(stops),
            threads: Mutex::new(threads),
        })
    }

    /// The runtime where what no connection waits for runs.
    pub fn background(&self) -> &Handle {
        &self.background
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the door")]
fn start_runtime(
    name: String,
    begin: fn(),
    stops: &mut Vec<oneshot::Sender<()>>,
    threads: &mut Vec<JoinHandle<()>>,
) -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let (stop, stopped) = oneshot::channel::<()>();
    threads.push(std::thread::Builder::new().name(name).spawn(move || {
        begin();
        // Ends when the sender is dropped, which is an error here and just what is waited for.
        let _ = runtime.block_on(stopped);
        runtime.shutdown_background();
    })?);
    stops.push(stop);
    Ok(handle)
}

#[allow(clippy::disallowed_methods, reason = "this is the door")]
fn spawn_in(handle: &Handle, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
    let task = handle.spawn(task);
    let abort = task.abort_handle();
    TaskHandle::new(
        move || abort.abort(),
        Box::pin(async move {
            if let Err(error) = task.await
                && error.is_panic()
            {
                tracing::error!(task = name, "task panicked");
            }
        }),
    )
}

impl Tasks for RealTasks {
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        match Handle::try_current() {
            Ok(current) => spawn_in(&current, name, task),
            Err(_) => self.spawn_background(name, task),
        }
    }

    fn spawn_background(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        spawn_in(&self.background, name, task)
    }

    fn runtimes(&self) -> usize {
        self.connections.len()
    }

    fn spawn_on(&self, runtime: usize, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        let handle = self.connections.get(runtime % self.connections.len().max(1)).unwrap_or(&self.background);
        spawn_in(handle, name, task)
    }

    fn spawn_history(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        let handle = self.history.get(turn % self.history.len().max(1)).unwrap_or(&self.background);
        spawn_in(handle, name, task)
    }

    fn step_aside(&self) {
        step_aside();
    }

    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    fn make_way(&self, cx: &mut Context<'_>) {
        // Its first poll is what hands the waker to the runtime, for when that has looked at its sockets.
        let _ = pin!(tokio::task::yield_now()).poll(cx);
    }

    fn blocking(&self, pool: Pool, work: Work) -> BoxFuture<'static, ()> {
        let sender = self.pools.iter().find(|(which, _)| *which == pool).map(|(_, sender)| sender.clone());
        Box::pin(async move {
            if let Some(sender) = sender {
                // Fails only when the pool has ended; the work is dropped then, which its caller notices.
                let _ = sender.send(work).await;
            }
        })
    }

    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    fn spawn_thread(&self, name: &'static str, work: BoxFuture<'static, ()>) -> TaskHandle {
        let (ended, end) = oneshot::channel::<()>();
        let (stop, stopped) = oneshot::channel::<()>();
        let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _ended = ended;
            match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime.block_on(async move {
                    tokio::select! {
                        biased;
                        // A dropped sender is a detached handle, not an abort.
                        Ok(()) = stopped => {}
                        () = work => {}
                    }
                }),
                Err(error) => tracing::error!(thread = name, %error, "no runtime for the thread"),
            }
        });
        if let Err(error) = spawned {
            tracing::error!(thread = name, %error, "could not start the thread");
        }
        let stop = Mutex::new(Some(stop));
        TaskHandle::new(
            move || {
                if let Some(stop) = stop.lock().take() {
                    let _ = stop.send(());
                }
            },
            Box::pin(async move {
                // The sender is only ever dropped.
                let _ = end.await;
            }),
        )
    }
}

impl Drop for RealTasks {
    fn drop(&mut self) {
        self.pools.clear();
        self.stops.lock().clear();
        for thread in self.threads.lock().drain(..) {
            // The last owner may be one of these threads itself, which cannot wait for its own end.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

impl std::fmt::Debug for RealTasks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RealTasks").field("connections", &self.connections.len()).finish_non_exhaustive()
    }
}
