//! Log lines that clients can cause: at most one in a while, so that nobody fills a disk with them.

use esker_storage::env::Monotonic;
use parking_lot::Mutex;
use std::time::Duration;

/// The least time between two lines.
const EVERY: Duration = Duration::from_secs(1);

/// Lets something be said once in a while.
#[derive(Debug, Default)]
pub struct Rarely {
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    last: Option<Monotonic>,
    /// How often it was left unsaid since.
    left_out: u64,
}

impl Rarely {
    /// Whether to say it now, and if so, how often it was left unsaid since the last time.
    pub fn now(&self, now: Monotonic) -> Option<u64> {
        let mut said = self.said.lock();
        if said.last.is_some_and(|last| now.since(last) < EVERY) {
            said.left_out += 1;
            return None;
        }
        said.last = Some(now);
        Some(std::mem::take(&mut said.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_said_once_a_second_with_its_number() {
        let (rarely, start) = (Rarely::default(), Monotonic::default());
        assert_eq!(rarely.now(start), Some(0));
        assert!((0..100).all(|n| rarely.now(start.plus(Duration::from_millis(n))).is_none()));
        assert_eq!(rarely.now(start.plus(EVERY)), Some(100));
        assert_eq!(rarely.now(start.plus(EVERY * 3)), Some(0));
    }
}
