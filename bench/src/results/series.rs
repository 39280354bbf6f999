//! Throughput and latency second by second: a [`Meter`] is filled by the load, and says [`Second`]s at the end.
//!
//! Each thread of the load has a meter of its own; they are added afterwards. Latencies are kept per second to eight
//! bits (an error below 1 %), sparsely, so that thousands of connections can have one each.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Bits of a latency that are kept.
const BITS: u32 = 8;

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

/// The most seconds that are told apart; what comes later counts for the last one.
const MAX_SECONDS: u64 = 86_400;

/// One second of a flow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Second {
    /// Records.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Their latencies, if they were measured and there were any.
    pub latency: Option<Summary>,
    /// By how much those that were sent were sent late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Summary>,
}

/// Latencies in nanoseconds, summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// The mean.
    pub mean: f64,
    /// The median.
    pub p50: u64,
    /// 75 %.
    pub p75: u64,
    /// 95 %.
    pub p95: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p999: u64,
    /// 99.99 %.
    pub p9999: u64,
    /// The highest.
    pub max: u64,
}

/// Counts what goes by, second by second.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    start: u64,
    end: u64,
    seconds: Vec<Cell>,
}

#[derive(Clone, Debug, Default)]
struct Cell {
    records: u64,
    bytes: u64,
    latencies: BTreeMap<u64, u64>,
    max: u64,
}

impl Meter {
    /// Of what goes by between two points of the run's clock, in nanoseconds.
    pub fn new(start: u64, end: u64) -> Self {
        Self { start, end, seconds: Vec::new() }
    }

    /// Takes records into account that went by at `now`, if that is measured; `latency` is that of each, in nanoseconds.
    pub fn add(&mut self, now: u64, records: u64, bytes: u64, latency: Option<u64>) {
        if now < self.start || now >= self.end {
            return;
        }
        let at = ((now - self.start) / SECOND).min(MAX_SECONDS) as usize;
        if self.seconds.len() <= at {
            self.seconds.resize_with(at + 1, Cell::default);
        }
        if let Some(cell) = self.seconds.get_mut(at) {
            cell.records += records;
            cell.bytes += bytes;
            if let Some(latency) = latency {
                *cell.latencies.entry(rounded(latency)).or_default() += records;
                cell.max = cell.max.max(latency);
            }
        }
    }

    /// Adds what another one of the same time counted.
    pub fn merge(&mut self, other: Self) {
        if self.seconds.len() < other.seconds.len() {
            self.seconds.resize_with(other.seconds.len(), Cell::default);
        }
        for (to, from) in self.seconds.iter_mut().zip(other.seconds) {
            to.records += from.records;
            to.bytes += from.bytes;
            to.max = to.max.max(from.max);
            for (latency, count) in from.latencies {
                *to.latencies.entry(latency).or_default() += count;
            }
        }
    }

    /// Records counted so far.
    pub fn records(&self) -> u64 {
        self.seconds.iter().map(|cell| cell.records).sum()
    }

    /// Bytes counted so far.
    pub fn bytes(&self) -> u64 {
        self.seconds.iter().map(|cell| cell.bytes).sum()
    }

    /// The seconds that were measured whole; those in which nothing went by, too.
    pub fn seconds(&self) -> Vec<Second> {
        let whole = (self.end.saturating_sub(self.start) / SECOND).min(MAX_SECONDS) as usize;
        let mut seconds: Vec<Second> = self.seconds.iter().take(whole).map(Cell::second).collect();
        seconds.resize_with(whole, Second::default);
        seconds
    }
}

impl Cell {
    fn second(&self) -> Second {
        Second { records: self.records, bytes: self.bytes, latency: self.summary(), delay: None }
    }

    fn summary(&self) -> Option<Summary> {
        let count: u64 = self.latencies.values().sum();
        let total: f64 = self.latencies.iter().map(|(value, count)| *value as f64 * *count as f64).sum();
        let at = |quantile: f64| {
            let wanted = ((count as f64 * quantile).ceil() as u64).max(1);
            let mut below = 0;
            let found = self.latencies.iter().find(|(_, count)| {
                below += **count;
                below >= wanted
            });
            found.map_or(self.max, |(value, _)| *value)
        };
        (count > 0).then(|| Summary {
            mean: total / count as f64,
            p50: at(0.5),
            p75: at(0.75),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: self.max,
        })
    }
}

/// The middle of the values that share the highest bits with this one.
fn rounded(value: u64) -> u64 {
    let spare = (u64::BITS - value.leading_zeros()).saturating_sub(BITS);
    let low = value >> spare << spare;
    low + (1 << spare >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_has_its_own_and_only_whole_ones_are_told() {
        let mut meter = Meter::new(10 * SECOND, 13 * SECOND + SECOND / 2);
        let mut other = meter.clone();
        // Before, in the first, in the third, in the half one, behind.
        for (now, records) in [(9, 1), (10, 2), (12, 4), (13, 8), (14, 16)] {
            meter.add(now * SECOND, records, records * 100, Some(records * 1_000_000));
        }
        other.add(12 * SECOND, 1, 100, Some(50_000_000));
        meter.merge(other);
        let seconds = meter.seconds();
        assert_eq!(seconds.iter().map(|s| (s.records, s.bytes)).collect::<Vec<_>>(), [(2, 200), (0, 0), (5, 500)]);
        assert_eq!((meter.records(), meter.bytes()), (15, 1_500));
        let latency = seconds[2].latency.unwrap();
        assert_eq!((latency.p50, latency.max), (rounded(4_000_000), 50_000_000));
        assert_eq!(seconds[1].latency, None);
    }

    #[test]
    fn a_latency_is_kept_to_a_hundredth() {
        for value in [0, 1, 255, 256, 1_000, 123_456_789, u64::MAX] {
            assert!(rounded(value).abs_diff(value) <= value / 100, "{value}: {}", rounded(value));
        }
    }
}
