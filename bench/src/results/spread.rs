//! A [`Spread`]: the middle of several figures, and how far they lie apart.

/// The middle, the lowest and the highest of some figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The middle one; of an even number the mean of both.
    pub median: f64,
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
    /// How many there are.
    pub count: usize,
}

impl Spread {
    /// Of these figures; `None` if there are none, or one that is no number.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (*sorted.first()?, *sorted.last()?);
        let upper = sorted.get(sorted.len() / 2)?;
        let lower = sorted.get((sorted.len() - 1) / 2)?;
        let median = (lower + upper) / 2.0;
        (low.is_finite() && high.is_finite()).then_some(Self { median, low, high, count: sorted.len() })
    }

    /// As text with so many decimals: `1.50 [1.20-1.90]`, or `1.50` where there is one figure only.
    pub fn text(&self, decimals: usize) -> String {
        self.text_in(decimals, "")
    }

    /// The same with a unit behind the middle: `1.50x [1.20-1.90]`.
    pub fn text_in(&self, decimals: usize, unit: &str) -> String {
        let Self { median, low, high, count } = self;
        if *count < 2 {
            return format!("{median:.decimals$}{unit}");
        }
        format!("{median:.decimals$}{unit} [{low:.decimals$}-{high:.decimals$}]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_both_ends() {
        let spread = Spread::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!((spread.text(1), spread.text_in(0, "x")), ("2.0 [1.0-3.0]".to_owned(), "2x [1-3]".to_owned()));
        assert_eq!(Spread::of([4.0, 1.0]).unwrap().median, 2.5);
        assert_eq!(Spread::of([4.0]).unwrap().text(0), "4");
        assert_eq!((Spread::of([]), Spread::of([1.0, f64::NAN])), (None, None));
        assert_eq!(Spread::of([1.0, f64::INFINITY]), None);
    }
}
