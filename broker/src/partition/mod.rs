//! A partition on this broker: its log, its high watermark, and who waits for it.

mod waiters;

pub use waiters::{Commit, NotCommitted, Waiter};
