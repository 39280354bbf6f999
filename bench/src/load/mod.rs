//! Load on a Kafka endpoint, with every record verified.
//!
//! [`produce`] sends records at a rate or as fast as it can; [`consume`] reads a topic and checks it; [`end_to_end`]
//! does both at once. At a rate the loop is open: a record has an intended time, and latency counts from there, so that
//! a broker that stalls is charged for every record that should have been sent meanwhile. A warm-up is left out of
//! every figure, and memory that was idle is slow at first touch, so it should move as much as the measurement.
//!
//! ```text
//! Pacer -> payload (stream, sequence, intended time, checksum) -> batch -> broker -> Tracker (loss, order, damage)
//! ```
//!
//! Figures are decimal (1 MB = 10^6 bytes) and count values, not overhead. Beside each throughput stands what the
//! broker's process spent: on a machine shared with the load, CPU-seconds per GB is what can be compared.

pub mod consume;
pub mod end_to_end;
pub mod options;
mod pace;
mod payload;
pub(crate) mod process;
pub mod produce;
pub mod replay;
pub mod report;
mod schedule;

use std::time::{Duration, Instant};

pub(crate) use end_to_end::{Outcome, measure};
pub(crate) use payload::Payloads;
pub use payload::{Faults, Tracker};
pub(crate) use schedule::Schedule;

/// Nanoseconds since the command started: one clock for all of its threads.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds since the start.
    pub fn now(self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }

    /// Keeps the thread until `due`, in nanoseconds since the start.
    pub fn sleep_until(self, due: u64) {
        std::thread::sleep(Duration::from_nanos(due.saturating_sub(self.now())));
    }
}

/// A runtime for one thread of the load.
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
