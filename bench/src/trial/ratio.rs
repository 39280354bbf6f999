//! Ratios of neighbours, and what to believe of them.

use hdrhistogram::Histogram;

/// Ratios of the same thing, measured several times.
#[derive(Clone, Debug, Default)]
pub(super) struct Ratios(Vec<f64>);

impl Ratios {
    /// Takes `value` in proportion to what was measured just before and just after it.
    pub(super) fn push(&mut self, value: f64, before: f64, after: f64) {
        self.0.push(value / ((before + after) / 2.0));
    }

    /// Takes the p99 of phase `at`, if it has neighbours.
    pub(super) fn push_p99(&mut self, phases: &[Histogram<u64>], at: usize) {
        let p99 = |at: usize| phases.get(at).map(|latencies| latencies.value_at_quantile(0.99) as f64);
        let neighbours = at.checked_sub(1).and_then(p99).zip(p99(at + 1));
        if let (Some((before, after)), Some(value)) = (neighbours, p99(at)) {
            self.push(value, before, after);
        }
    }

    /// The middle one; of an even number the upper.
    pub(super) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

impl std::fmt::Display for Ratios {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let low = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        write!(f, "{:.2}x [{low:.2}-{high:.2}]", self.median())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_compared_with_both_of_its_neighbours() {
        let mut ratios = Ratios::default();
        for (value, before, after) in [(3.0, 2.0, 4.0), (4.0, 1.0, 1.0), (6.0, 5.0, 5.0)] {
            ratios.push(value, before, after);
        }
        assert_eq!(ratios.to_string(), "1.20x [1.00-4.00]");
        let phases: Vec<_> = [10_000, 30_000, 20_000]
            .map(|nanos| {
                let mut latencies = Histogram::<u64>::new(3).unwrap();
                latencies.record_n(nanos, 1_000).unwrap();
                latencies
            })
            .to_vec();
        let mut ratios = Ratios::default();
        (0..phases.len()).for_each(|at| ratios.push_p99(&phases, at));
        assert_eq!((ratios.0.len(), ratios.to_string().starts_with("2.00x")), (1, true));
        assert!(Ratios::default().median().is_nan(), "nothing was measured: no bound is kept");
    }
}
