//! What the broker's process spent while it was measured: [`Process`], and its [`Sample`]s over time.

use serde::{Deserialize, Serialize};

/// What a process spent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// CPU-seconds, user and system, over what was measured.
    pub cpu_seconds: f64,
    /// Seconds that were measured.
    pub seconds: f64,
    /// The highest resident memory of its life so far, in bytes (VmHWM).
    pub peak_resident: u64,
    /// Over time; the first and the last are the ends of the measurement.
    pub samples: Vec<Sample>,
}

/// A process at one moment. Times and amounts count from the first sample on, memory is what it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// Seconds since the first sample.
    pub at: f64,
    /// CPU-seconds since then.
    pub cpu_seconds: f64,
    /// Resident memory that belongs to no file, in bytes (RssAnon).
    pub anonymous: u64,
    /// Resident memory of files, mapped segments for example, in bytes (RssFile).
    pub file: u64,
    /// Threads.
    pub threads: u64,
    /// Bytes read from disks since then, if the kernel tells.
    pub disk_read: Option<u64>,
    /// Bytes written to disks since then (when pages are dirtied, not when they are written back), if the kernel tells.
    pub disk_written: Option<u64>,
    /// Bytes received since then by all interfaces that the process sees, those of other processes too.
    pub net_received: u64,
    /// Bytes sent, likewise.
    pub net_sent: u64,
}

/// What of a sample counts up from the first one on, if the kernel tells.
pub type Amount = fn(&Sample) -> Option<u64>;

impl Process {
    /// Cores in use between each two samples: (seconds since the first sample, cores).
    pub fn cores(&self) -> Vec<(f64, f64)> {
        self.by_second(|sample| Some(sample.cpu_seconds))
    }

    /// How much of an amount that grows there was a second, between each two samples that have it: (seconds since the
    /// first sample, amount).
    pub fn by_second(&self, amount: impl Fn(&Sample) -> Option<f64>) -> Vec<(f64, f64)> {
        let pairs = self.samples.windows(2).filter_map(|pair| match pair {
            [from, to] if to.at > from.at => Some((to.at, (amount(to)? - amount(from)?) / (to.at - from.at))),
            _ => None,
        });
        pairs.collect()
    }

    /// How much of an amount there was from the first sample to the last, if it was sampled.
    pub fn total(&self, amount: Amount) -> Option<u64> {
        amount(self.samples.last()?)
    }

    /// The most anonymous memory of any sample, in bytes.
    pub fn peak_anonymous(&self) -> u64 {
        self.samples.iter().map(|sample| sample.anonymous).max().unwrap_or_default()
    }
}
