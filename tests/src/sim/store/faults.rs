//! The odds of what goes wrong on the way to the store and back.

use crate::sim::chance::Chance;
use std::ops::Range;
use std::time::Duration;

/// What goes wrong on the way to the store and back.
#[derive(Clone, Debug)]
pub struct StoreFaults {
    /// The request never arrives; the caller hears nothing until its limit.
    pub request_lost: Chance,
    /// 503: refused at once, without effect.
    pub unavailable: Chance,
    /// A conditional create is answered "exists already" with no object there (S3's 409).
    pub conflict: Chance,
    /// A conditional create succeeds, and is answered "exists already" (a retry below that saw its own success).
    pub own_conflict: Chance,
    /// The effect takes place, the answer never comes.
    pub answer_lost: Chance,
    /// The caller gets an error, and later the effect takes place.
    pub late: Chance,
    /// How much later.
    pub late_by: Range<Duration>,
    /// A ranged read ends before its end.
    pub truncated: Chance,
    /// A request takes seconds.
    pub slow: Chance,
    /// One way.
    pub latency: Range<Duration>,
    /// After what time a caller gives up.
    pub limit: Duration,
}

impl StoreFaults {
    /// A store that does what it is asked, within some milliseconds.
    pub const fn none() -> StoreFaults {
        StoreFaults {
            request_lost: Chance::NEVER,
            unavailable: Chance::NEVER,
            conflict: Chance::NEVER,
            own_conflict: Chance::NEVER,
            answer_lost: Chance::NEVER,
            late: Chance::NEVER,
            late_by: Duration::from_secs(1)..Duration::from_secs(90),
            truncated: Chance::NEVER,
            slow: Chance::NEVER,
            latency: Duration::from_millis(1)..Duration::from_millis(15),
            limit: Duration::from_secs(10),
        }
    }

    /// A bad day: every fault, each some times in a hundred.
    pub const fn stormy() -> StoreFaults {
        StoreFaults {
            request_lost: Chance::percent(1),
            unavailable: Chance::percent(4),
            conflict: Chance::percent(2),
            own_conflict: Chance::percent(3),
            answer_lost: Chance::percent(4),
            late: Chance::percent(2),
            truncated: Chance::percent(2),
            slow: Chance::percent(2),
            ..StoreFaults::none()
        }
    }
}
