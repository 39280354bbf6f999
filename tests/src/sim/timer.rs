//! Timers: futures that the virtual clock ends.

use super::executor::Core;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

impl Core {
    /// Ends after `duration` of virtual time, counted from this call.
    pub(super) fn sleep(self: &Arc<Self>, duration: Duration) -> Sleep {
        let deadline = self.now().saturating_add(duration);
        Sleep { core: Arc::clone(self), deadline, key: None }
    }
}

/// A timer of the virtual clock.
pub(super) struct Sleep {
    core: Arc<Core>,
    deadline: Duration,
    key: Option<(Duration, u64)>,
}

impl Sleep {
    fn disarm(&mut self) {
        if let Some(key) = self.key.take() {
            self.core.clear_timer(key);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.disarm();
        if self.core.now() >= self.deadline {
            return Poll::Ready(());
        }
        self.key = Some(self.core.set_timer(self.deadline, context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.disarm();
    }
}
