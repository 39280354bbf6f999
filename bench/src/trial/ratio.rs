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

/// The p99 of all phases of a kind together in proportion to that of all phases without, and the same of each of its
/// phases beside its neighbours.
///
/// A phase of two seconds has some twenty records beyond its p99, which one pause of the machine can make; together they
/// are hundreds. What the single phases say is their spread.
#[derive(Clone, Debug)]
pub(super) struct Pooled {
    ratio: f64,
    singles: Ratios,
}

impl Pooled {
    /// Of the phases for which `with` is true beside those for which `without` is.
    pub(super) fn of(phases: &[Histogram<u64>], with: impl Fn(usize) -> bool, without: impl Fn(usize) -> bool) -> Self {
        let pool = |is_in: &dyn Fn(usize) -> bool| {
            let mut pool: Option<Histogram<u64>> = None;
            for (_, phase) in phases.iter().enumerate().filter(|(at, _)| is_in(*at)) {
                match &mut pool {
                    // Both count what they have in buckets of the same widths, so that it always fits.
                    Some(pool) => {
                        let _ = pool.add(phase);
                    }
                    None => pool = Some(phase.clone()),
                }
            }
            pool.map_or(f64::NAN, |pool| p99(&pool))
        };
        let mut singles = Ratios::default();
        for (at, phase) in phases.iter().enumerate().filter(|(at, _)| with(*at)) {
            let neighbours = at.checked_sub(1).and_then(|before| phases.get(before)).zip(phases.get(at + 1));
            if let Some((before, after)) = neighbours {
                singles.push(p99(phase), p99(before), p99(after));
            }
        }
        Self { ratio: pool(&with) / pool(&without), singles }
    }

    /// The ratio; not a number, and so within no bound, if nothing was measured.
    pub(super) fn ratio(&self) -> f64 {
        self.ratio
    }
}

impl std::fmt::Display for Pooled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2}x (single phases {})", self.ratio, self.singles)
    }
}

fn p99(latencies: &Histogram<u64>) -> f64 {
    latencies.value_at_quantile(0.99) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(nanos: u64, count: u64) -> Histogram<u64> {
        let mut latencies = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).unwrap();
        latencies.record_n(nanos, count).unwrap();
        latencies
    }

    #[test]
    fn a_value_is_compared_with_both_of_its_neighbours() {
        let mut ratios = Ratios::default();
        for (value, before, after) in [(3.0, 2.0, 4.0), (4.0, 1.0, 1.0), (6.0, 5.0, 5.0)] {
            ratios.push(value, before, after);
        }
        assert_eq!(ratios.to_string(), "1.20x [1.00-4.00]");
        assert!(Ratios::default().median().is_nan(), "nothing was measured: no bound is kept");
    }

    #[test]
    fn phases_of_a_kind_are_judged_together() {
        // One phase in three is slow, by more records than the p99 of all leaves out.
        let phases = [10_000, 30_000, 20_000, 20_000, 10_000, 20_000, 10_000].map(|nanos| phase(nanos, 1_000));
        let pooled = Pooled::of(&phases, |at| at % 2 == 1, |at| at % 2 == 0);
        assert_eq!(format!("{:.2} {}", pooled.ratio(), pooled.singles), "1.50 2.00x [1.33-2.00]");
        // A pause that falls into one of them, and is short beside all of them, counts for little.
        let mut phases = phases.map(|_| phase(10_000, 1_000)).to_vec();
        phases[3].record_n(50_000, 20).unwrap();
        let pooled = Pooled::of(&phases, |at| at % 2 == 1, |at| at % 2 == 0);
        assert!((0.99..1.01).contains(&pooled.ratio()), "{pooled}");
        assert!(Pooled::of(&phases, |_| false, |_| true).ratio().is_nan(), "nothing was measured: no bound is kept");
    }
}
