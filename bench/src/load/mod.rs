//! Load on a Kafka endpoint, with every record verified.
//!
//! A [`workload`] says who sends what, who reads it and what happens meanwhile; [`presets`] has those with a name,
//! [`open_messaging`] reads those of its benchmark, and [`drive`] carries one out. [`consume`] reads what is there,
//! [`replay`] what is tiered, again and again.
//!
//! At a rate the loop is open: a record has an intended time, and latency counts from there, so that a broker that
//! stalls is charged for every record that should have been sent meanwhile. A warm-up is left out of every figure, and
//! memory that was idle is slow at first touch, so it should move as much as the measurement. A [`generator`] that was
//! itself the bottleneck measured itself: the run says so, and fails.
//!
//! ```text
//! Pacer -> payload (stream, sequence, intended time, checksum) -> batch -> broker -> Tracker (loss, order, damage)
//! ```
//!
//! Figures are decimal (1 MB = 10^6 bytes) and count values, not overhead. Beside each throughput stands what the
//! broker's process spent: on a machine shared with the load, CPU-seconds per GB is what can be compared.

mod account;
mod books;
pub mod command;
pub mod consume;
mod crew;
mod drive;
mod fetcher;
pub mod generator;
mod keys;
#[cfg(feature = "rdkafka")]
mod librdkafka;
mod member;
mod meter;
pub mod open_messaging;
pub mod options;
mod outcome;
mod pace;
mod payload;
pub mod presets;
mod progress;
mod readback;
mod reader;
pub mod replay;
pub mod report;
mod restart;
mod schedule;
mod search;
mod sender;
mod stage;
pub mod workload;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub(crate) use fetcher::{Cursor, Cursors, Fetcher};
pub(crate) use outcome::Outcome;
pub(crate) use payload::Payloads;
pub use payload::{Expect, Faults, Tracker};
pub(crate) use schedule::Schedule;

/// How many records were acknowledged, by (run, stream, partition).
pub type Acknowledged = BTreeMap<(u64, u32, i32), u64>;

/// How many records were sent again, by (run, stream, partition); one that was sent three times counts twice.
pub(crate) type Resent = BTreeMap<(u64, u32, i32), u64>;

/// Runs a workload through a schedule that is known beforehand.
///
/// # Errors
/// What the broker refuses.
pub(crate) fn measure(workload: &workload::Workload, clock: Clock, schedule: &Schedule) -> anyhow::Result<Outcome> {
    drive::run(workload, clock, |_| schedule.clone(), false)
}

/// A number for a run that no other has.
pub(crate) fn new_run() -> anyhow::Result<u64> {
    Ok(u64::from(std::process::id()) << 32 | u64::from(std::time::UNIX_EPOCH.elapsed()?.subsec_nanos()))
}

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
