//! Time: a monotonic clock for durations and a wall clock for what is written down.

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Monotonic time since an origin of the clock's own. Never written to a file, never compared across processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(Duration);

impl Monotonic {
    /// `elapsed` after the clock's origin.
    pub const fn from_origin(elapsed: Duration) -> Monotonic {
        Monotonic(elapsed)
    }

    /// Time since the clock's origin.
    pub const fn origin_elapsed(self) -> Duration {
        self.0
    }

    /// Time since `earlier`; zero if that is not before this.
    pub fn since(self, earlier: Monotonic) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// `duration` later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Monotonic {
        Monotonic(self.0.saturating_add(duration))
    }
}

/// Wall-clock time in milliseconds since 1970-01-01 UTC, as records carry it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// `millis` since 1970-01-01 UTC.
    pub const fn from_millis(millis: i64) -> Timestamp {
        Timestamp(millis)
    }

    /// Milliseconds since 1970-01-01 UTC.
    pub const fn millis(self) -> i64 {
        self.0
    }
}

/// Where time comes from.
pub trait Clock: Send + Sync {
    /// Time since an arbitrary origin.
    fn now(&self) -> Monotonic;
    /// The wall clock.
    fn wall(&self) -> Timestamp;
    /// Ends after `duration`.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// The machine's clocks. `sleep` needs a tokio runtime around its caller.
#[derive(Debug)]
pub struct RealClock {
    origin: std::time::Instant,
}

impl RealClock {
    /// A clock whose origin is now.
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    pub fn start() -> RealClock {
        RealClock { origin: std::time::Instant::now() }
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the door")]
impl Clock for RealClock {
    fn now(&self) -> Monotonic {
        Monotonic::from_origin(self.origin.elapsed())
    }

    fn wall(&self) -> Timestamp {
        let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}
