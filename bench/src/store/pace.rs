//! A rate that holds on average, with timers that count milliseconds.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How far behind its rate a sender may be and make up for it: its timer was late.
const BURST: Duration = Duration::from_millis(4);

/// Bytes per second that may pass.
#[derive(Debug)]
pub(super) struct Pace {
    seconds_per_byte: f64,
    is_shared: bool,
    /// When what was taken so far has passed.
    due: Mutex<Instant>,
}

impl Pace {
    /// At `rate` bytes a second; for one sender, or shared by several at a time.
    pub(super) fn new(rate: f64, is_shared: bool, now: Instant) -> Self {
        Self { seconds_per_byte: 1.0 / rate, is_shared, due: Mutex::new(now) }
    }

    /// Begins an answer: of a sender's own rate nothing is saved up while it sends nothing.
    pub(super) fn begin(&self, now: Instant) {
        if !self.is_shared {
            let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
            *due = (*due).max(now);
        }
    }

    /// Takes `bytes` of the rate; when they have passed.
    pub(super) fn take(&self, bytes: usize, now: Instant) -> Instant {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let start = (*due).max(now.checked_sub(BURST).unwrap_or(now));
        *due = start + Duration::from_secs_f64(bytes as f64 * self.seconds_per_byte);
        *due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_passes_at_the_rate_and_idle_time_is_not_saved() {
        let start = Instant::now() + Duration::from_secs(10);
        let half = Duration::from_millis(500);
        let own = Pace::new(1e6, false, start);
        assert_eq!(own.take(500_000, start), start + half);
        assert_eq!(own.take(500_000, start), start + 2 * half);
        let later = start + Duration::from_secs(60);
        own.begin(later);
        assert_eq!(own.take(500_000, later), later + half);
        // A timer that was late is made up for.
        assert_eq!(own.take(500_000, later + half + BURST / 2), later + 2 * half);
        let shared = Pace::new(1e6, true, start);
        shared.begin(later);
        assert_eq!(shared.take(500_000, later), later - BURST + half);
    }
}
