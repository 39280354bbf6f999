//! One wait: a long poll for something to read, or a produce's for its commit.
//!
//! What is waited for is [`waiters`](super::waiters)' business, and how a wait on another thread is ended that of
//! [`wakes`](super::wakes).

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use tokio::sync::oneshot;

/// A long poll that is woken by what it is registered with.
#[derive(Debug, Default)]
pub struct Waiter {
    runtime: Option<usize>,
    woken: AtomicBool,
    task: futures_util::task::AtomicWaker,
}

impl Waiter {
    /// A waiter that is registered nowhere, and waits on this connection runtime.
    pub fn new(runtime: usize) -> Arc<Waiter> {
        Arc::new(Waiter { runtime: Some(runtime), ..Waiter::default() })
    }

    /// Whether this ends the present or the next [`Waiter::woken`]: then its task is to be told.
    pub(super) fn is_woken(&self) -> bool {
        !self.woken.swap(true, Ordering::AcqRel)
    }

    /// The connection runtime that it waits on.
    pub(super) fn runtime(&self) -> Option<usize> {
        self.runtime
    }

    /// Has its task look.
    pub(super) fn wake_task(&self) {
        self.task.wake();
    }

    /// Waits for a wake since the last call ended.
    pub async fn woken(&self) {
        poll_fn(|cx| {
            self.task.register(cx.waker());
            if self.woken.swap(false, Ordering::AcqRel) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// Why a commit wait ended without its commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCommitted {
    /// The log directory failed: nobody knows what it still has.
    #[error("the log directory failed")]
    Failed,
    /// The partition was closed or moved.
    #[error("the partition is not here any more")]
    Gone,
}

/// Ends when records are committed.
pub type Commit = oneshot::Receiver<Result<(), NotCommitted>>;

/// Ends a [`Commit`].
pub(super) type Committer = oneshot::Sender<Result<(), NotCommitted>>;
