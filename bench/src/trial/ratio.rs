//! Ratios of neighbours, and what to believe of them.

/// Ratios of the same thing, measured several times.
#[derive(Clone, Debug, Default)]
pub(super) struct Ratios(Vec<f64>);

impl Ratios {
    /// Takes `value` in proportion to what was measured just before and just after it.
    pub(super) fn push(&mut self, value: f64, before: f64, after: f64) {
        self.0.push(value / ((before + after) / 2.0));
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
        assert!(Ratios::default().median().is_nan(), "nothing was measured: no bound is kept");
    }
}
