//! Waiting to the tenth of a millisecond, without spinning: a timerfd in the runtime's own reactor.
//!
//! The runtime's timers count whole milliseconds, which is the interval between two records at 1,000 a second.

use super::Clock;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::os::fd::OwnedFd;
use tokio::io::unix::AsyncFd;

/// Waits for points of a [`Clock`].
pub(super) struct Pacer {
    clock: Clock,
    timer: AsyncFd<OwnedFd>,
}

impl Pacer {
    /// A pacer in the present runtime.
    pub(super) fn new(clock: Clock) -> std::io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        #[allow(
            deprecated,
            reason = "unsound only for types that hand out changing descriptors, which OwnedFd does not"
        )]
        let timer = AsyncFd::new(timer)?;
        Ok(Self { clock, timer })
    }

    /// Returns when `due` (nanoseconds of the clock) has come; at once if it has passed.
    pub(super) async fn wait_until(&self, due: u64) -> std::io::Result<()> {
        let left = due.saturating_sub(self.clock.now());
        if left == 0 {
            return Ok(());
        }
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Timespec { tv_sec: (left / 1_000_000_000) as i64, tv_nsec: (left % 1_000_000_000) as i64 };
        timerfd_settime(
            self.timer.get_ref(),
            TimerfdTimerFlags::empty(),
            &Itimerspec { it_interval: zero, it_value: value },
        )?;
        loop {
            let mut ready = self.timer.readable().await?;
            let mut count = [0_u8; 8];
            match rustix::io::read(self.timer.get_ref(), &mut count) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
