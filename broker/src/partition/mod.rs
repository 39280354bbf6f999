//! The partitions on this broker: their logs, their high watermarks, and who waits for them.
//!
//! A [`Partition`] is one that this broker leads; [`Hosted`] has all of them and follows the metadata; a [`Waiter`] is
//! a fetch that waits for more, a [`Commit`] a produce that waits for its acknowledgement.

mod cleaner;
mod codes;
mod hosted;
mod leader;
mod scrub;
mod upkeep;
mod uploads;
mod waiter;
mod waiters;
mod wakes;

pub use cleaner::Cleaner;
pub use codes::{append_code, lookup_code, read_code};
pub use hosted::{Here, Hosted, Moved};
pub use leader::{Bound, ColdRead, Found, Partition, Read};
pub use scrub::Scrubber;
pub use upkeep::Upkeep;
pub use waiter::{Commit, NotCommitted, Waiter};
