//! The highest sustainable rate: doubling until a rate cannot be kept up, and then halving the gap.

/// Two rates that are so near are the same.
const NEAR: f64 = 1.05;
/// The most steps.
const STEPS: usize = 24;

/// What is known so far.
#[derive(Clone, Debug)]
pub(super) struct Search {
    next: f64,
    sustained: Option<f64>,
    failed: Option<f64>,
    steps: usize,
}

impl Search {
    /// Begins with this rate.
    pub(super) fn from(rate: f64) -> Self {
        Self { next: rate.max(1.0), sustained: None, failed: None, steps: 0 }
    }

    /// The rate to try; `None` when the answer is known, or never will be.
    pub(super) fn next(&self) -> Option<f64> {
        let near = self.sustained.zip(self.failed).is_some_and(|(low, high)| high / low <= NEAR);
        (!near && self.steps < STEPS && self.next >= 1.0).then_some(self.next)
    }

    /// Whether that rate was kept up.
    pub(super) fn tell(&mut self, sustained: bool) {
        self.steps += 1;
        if sustained {
            self.sustained = Some(self.next);
        } else {
            self.failed = Some(self.next);
        }
        self.next = match (self.sustained, self.failed) {
            (Some(low), Some(high)) => (low + high) / 2.0,
            (Some(low), None) => low * 2.0,
            (None, Some(high)) => high / 2.0,
            (None, None) => self.next,
        };
    }

    /// The highest rate that was kept up.
    pub(super) fn best(&self) -> Option<f64> {
        self.sustained
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_near_what_there_is() {
        for capacity in [3.0, 950.0, 1_000.0, 123_456.0, 2_000_000.0] {
            let mut search = Search::from(1_000.0);
            let mut steps = 0;
            while let Some(rate) = search.next() {
                search.tell(rate <= capacity);
                steps += 1;
            }
            let best = search.best().unwrap();
            assert!(best <= capacity && best * NEAR >= capacity && steps <= STEPS, "{capacity}: {best} in {steps}");
        }
        let mut search = Search::from(1_000.0);
        while search.next().is_some() {
            search.tell(false);
        }
        assert_eq!(search.best(), None);
    }
}
