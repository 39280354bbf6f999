//! The threads on which object stores do their input and output.
//!
//! A store's HTTP client needs a tokio runtime, and a burst of uploads must not disturb the single-threaded runtimes
//! where connections live. So each opened store has small runtimes of its own: one for what is written and for the
//! logs, and one for ranges of objects, which is history, and whose threads step back. What [`StoreRuntime::run`]
//! returns may be awaited on any executor.

use super::StoreError;
use crate::env::real_priority::step_back;
use futures_util::future::BoxFuture;
use std::future::Future;
use std::io;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// Threads that drive requests: they sign, hash and copy, so one would bound what a store can give.
const WORKERS: usize = 2;
/// Threads for a directory store's file calls, each of which may wait for a sync.
const BLOCKING: usize = 16;

/// A small multi-threaded runtime; dropping it abandons what still runs.
pub(super) struct StoreRuntime {
    runtime: Option<Runtime>,
}

impl StoreRuntime {
    /// For what is written, and for the logs.
    pub(super) fn start() -> io::Result<StoreRuntime> {
        StoreRuntime::with(Builder::new_multi_thread().thread_name("esker-store"))
    }

    /// For ranges of objects: history.
    pub(super) fn start_for_history() -> io::Result<StoreRuntime> {
        StoreRuntime::with(Builder::new_multi_thread().thread_name("esker-ranges").on_thread_start(step_back))
    }

    fn with(builder: &mut Builder) -> io::Result<StoreRuntime> {
        let builder = builder.worker_threads(WORKERS).max_blocking_threads(BLOCKING);
        let runtime = builder.enable_all().build()?;
        Ok(StoreRuntime { runtime: Some(runtime) })
    }

    fn start_task<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Option<JoinHandle<Result<T, StoreError>>> {
        self.runtime.as_ref().map(|runtime| runtime.spawn(work))
    }

    /// Runs a write: it goes on if the caller stops waiting, because a request that was sent cannot be taken back.
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let task = self.start_task(work);
        Box::pin(async move {
            match task {
                Some(task) => task.await.unwrap_or_else(|_| Err(ended())),
                None => Err(ended()),
            }
        })
    }

    /// Runs a read: it is abandoned if the caller stops waiting.
    pub(super) fn run_read<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let task = self.start_task(work).map(AbortOnDrop);
        Box::pin(async move {
            match task {
                Some(mut task) => (&mut task.0).await.unwrap_or_else(|_| Err(ended())),
                None => Err(ended()),
            }
        })
    }
}

impl Drop for StoreRuntime {
    fn drop(&mut self) {
        // Waiting for the threads is not allowed on a thread of another runtime, where the last owner may live.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn ended() -> StoreError {
    StoreError::Indefinite { reason: "the store's threads have ended".to_owned() }
}
