//! How often the same trouble is worth a line.

use crate::env::Monotonic;
use std::time::Duration;

/// At most one line in this time.
const EVERY: Duration = Duration::from_secs(60);

/// What was logged of a trouble that comes again with every attempt.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    last: Option<Monotonic>,
    unlogged: u64,
}

impl Complaints {
    /// Whether the trouble of now is to be logged: if so, how many were not since the last line.
    pub(super) fn next(&mut self, now: Monotonic) -> Option<u64> {
        if self.last.is_some_and(|last| now < last.plus(EVERY)) {
            self.unlogged += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute_says_how_many_there_were() {
        let mut complaints = Complaints::default();
        let logged =
            [0, 1, 59, 60, 61, 200].map(|second| complaints.next(Monotonic::from_origin(Duration::from_secs(second))));
        assert_eq!(logged, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
