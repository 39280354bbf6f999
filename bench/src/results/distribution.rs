//! A [`Distribution`]: latencies that can be written to a file, drawn and merged.
//!
//! It holds an HDR histogram's recorded values (three significant digits) with their counts, which is small, exact to that
//! precision, and needs no decoder of a binary form. Quantiles are written beside them for those who read the file by
//! eye; what counts is the values.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The quantiles that are written out, as percentages.
const WRITTEN: [f64; 8] = [50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99, 99.999];

/// How many had which latency, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distribution {
    /// How many there are.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// The highest.
    pub max: u64,
    /// Percentage to value, for the reader's eye.
    pub percentiles: Vec<(f64, u64)>,
    /// Value to count, values ascending; what everything else is computed from.
    pub buckets: Vec<(u64, u64)>,
}

impl Distribution {
    /// Of the values and counts in `buckets`, in any order.
    pub fn new(mut buckets: Vec<(u64, u64)>) -> Self {
        buckets.retain(|(_, count)| *count > 0);
        buckets.sort_unstable();
        buckets.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                kept.1 += later.1;
            }
            same
        });
        let count = buckets.iter().map(|(_, count)| count).sum();
        let total: f64 = buckets.iter().map(|(value, count)| *value as f64 * *count as f64).sum();
        let mean = if count == 0 { 0.0 } else { total / count as f64 };
        let max = buckets.last().map_or(0, |(value, _)| *value);
        let mut distribution = Self { count, mean, max, percentiles: Vec::new(), buckets };
        distribution.percentiles =
            WRITTEN.iter().map(|percent| (*percent, distribution.quantile(percent / 100.0))).collect();
        distribution
    }

    /// The lowest value that at least this part (0 to 1) of all values do not exceed; 0 of nothing.
    pub fn quantile(&self, quantile: f64) -> u64 {
        // 99.9 / 100 is a little more than 0.999.
        let wanted = ((self.count as f64 * quantile * (1.0 - 1e-12)).ceil() as u64).max(1);
        let mut below = 0;
        for (value, count) in &self.buckets {
            below += count;
            if below >= wanted {
                return *value;
            }
        }
        self.max
    }

    /// These and those of `other`.
    #[must_use]
    pub fn merged(&self, other: &Self) -> Self {
        Self::new(self.buckets.iter().chain(&other.buckets).copied().collect())
    }

    /// What is inconsistent about it, if anything: what a file says is checked before it is believed.
    pub(super) fn contradiction(&self) -> Option<&'static str> {
        let sum = self.buckets.iter().try_fold(0_u64, |sum, (_, count)| sum.checked_add(*count));
        if !self.buckets.is_sorted_by(|a, b| a.0 < b.0) {
            return Some("the buckets of a distribution do not ascend");
        }
        if sum != Some(self.count) {
            return Some("the buckets of a distribution do not add up to its count");
        }
        None
    }
}

impl From<&Histogram<u64>> for Distribution {
    fn from(histogram: &Histogram<u64>) -> Self {
        // The highest equivalent value, as HDR's own quantiles say it; never above the maximum.
        let recorded = histogram.iter_recorded();
        Self::new(recorded.map(|step| (step.value_iterated_to(), step.count_at_value())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_the_histogram_said() {
        let mut histogram = Histogram::<u64>::new_with_bounds(1_000, 600_000_000_000, 3).unwrap();
        for at in 1..=10_000_u64 {
            histogram.record(at * 1_000).unwrap();
        }
        histogram.record_n(3_000_000_000, 2).unwrap();
        let distribution = Distribution::from(&histogram);
        assert_eq!(distribution.count, 10_002);
        for quantile in [0.5, 0.9, 0.99, 0.999, 0.9999, 1.0] {
            let (ours, theirs) = (distribution.quantile(quantile), histogram.value_at_quantile(quantile));
            assert!(ours.abs_diff(theirs) * 1_000 <= theirs, "{quantile}: {ours} {theirs}");
        }
        assert!((distribution.mean - histogram.mean()).abs() < histogram.mean() / 1e3);
        assert_eq!(distribution.contradiction(), None);
    }

    #[test]
    fn merging_is_recording_both() {
        let a = Distribution::new(vec![(20, 1), (10, 3), (10, 0)]);
        let b = Distribution::new(vec![(10, 1), (15, 2)]);
        assert_eq!(a.merged(&b), Distribution::new(vec![(10, 4), (15, 2), (20, 1)]));
        assert_eq!((a.quantile(0.75), a.quantile(0.76), a.max), (10, 20, 20));
        let nothing = Distribution::default();
        assert_eq!((nothing.quantile(0.5), nothing.merged(&a)), (0, a));
    }

    #[test]
    fn contradictions_are_found() {
        let sound = Distribution::new(vec![(1, 1), (2, 1)]);
        let disordered = Distribution { buckets: vec![(2, 1), (1, 1)], ..sound.clone() };
        assert!(disordered.contradiction().is_some());
        assert!(Distribution { count: 3, ..sound }.contradiction().is_some());
    }
}
