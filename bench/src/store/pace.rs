//! A rate that holds on average, with timers that count milliseconds.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How far ahead of its rate a sender may run, to make up for a timer that was late.
const BURST: Duration = Duration::from_millis(4);

/// Bytes per second that may pass.
#[derive(Debug)]
pub(super) struct Pace {
    seconds_per_byte: f64,
    /// When what was taken so far will have passed.
    due: Mutex<Instant>,
}

impl Pace {
    /// At `rate` bytes a second.
    pub(super) fn new(rate: f64, now: Instant) -> Self {
        Self { seconds_per_byte: 1.0 / rate, due: Mutex::new(now) }
    }

    /// Takes `bytes` of the rate; when they may be sent.
    pub(super) fn take(&self, bytes: usize, now: Instant) -> Instant {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let start = (*due).max(now.checked_sub(BURST).unwrap_or(now));
        *due = start + Duration::from_secs_f64(bytes as f64 * self.seconds_per_byte);
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_passes_at_the_rate_and_idle_time_is_not_saved() {
        let start = Instant::now() + Duration::from_secs(10);
        let pace = Pace::new(1e6, start);
        assert_eq!(pace.take(500_000, start), start);
        assert_eq!(pace.take(500_000, start), start + Duration::from_millis(500));
        let later = start + Duration::from_secs(60);
        assert_eq!(pace.take(1, later), later - BURST);
    }
}
