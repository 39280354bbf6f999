//! Each figure of a run in proportion to that of another, and what keeps the two from being comparable.
//!
//! A figure is better or worse only where its spreads do not overlap, or, where one of them is a single repeat, if it is more
//! than a twentieth off: everything else is noise as far as these runs tell.

use super::disclosed;
use super::figures::{self, Figure};
use crate::results::{Better, Run};

/// What a ratio must differ from 1 by, where a spread is not known.
const NOISE: f64 = 0.05;

/// What a ratio says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// The second is better.
    Better,
    /// The second is worse.
    Worse,
    /// They cannot be told apart.
    Same,
}

impl Judgement {
    /// As a word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Same => "same",
        }
    }
}

/// A figure that both runs have.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// In the first.
    pub(crate) a: Figure,
    /// In the second.
    pub(crate) b: Figure,
    /// The second in proportion to the first; `None` where the first is 0.
    pub(crate) ratio: Option<f64>,
    /// What that says.
    pub(crate) judgement: Judgement,
}

/// The figures that both have, in the order of the first.
pub(crate) fn rows(a: &Run, b: &Run) -> Vec<Row> {
    let others = figures::of(b);
    let pairs = figures::of(a).into_iter().filter_map(|figure| {
        let other = others.iter().find(|o| (&o.group, &o.name) == (&figure.group, &figure.name))?;
        let ratio = (figure.spread.median != 0.0).then(|| other.spread.median / figure.spread.median);
        let judgement = judge(&figure, other);
        Some(Row { ratio, judgement, b: other.clone(), a: figure })
    });
    pairs.collect()
}

fn judge(a: &Figure, b: &Figure) -> Judgement {
    let (from, to) = (a.spread, b.spread);
    let is_known = from.count > 1 && to.count > 1;
    let overlap = from.low <= to.high && to.low <= from.high;
    let near = (to.median - from.median).abs() <= NOISE * from.median.abs();
    if if is_known { overlap } else { near } {
        return Judgement::Same;
    }
    let is_better = match a.better {
        Better::Higher => to.median > from.median,
        Better::Lower => to.median < from.median,
    };
    if is_better { Judgement::Better } else { Judgement::Worse }
}

/// Why the comparison should not be believed as it stands.
pub(crate) fn warnings(a: &Run, b: &Run) -> Vec<String> {
    let differences = disclosed::differences(&a.disclosure, &b.disclosure).into_iter();
    let mut warnings: Vec<String> =
        differences.map(|d| format!("not the same: {}: {} and {}", d.name, d.a, d.b)).collect();
    for run in [a, b] {
        warnings.extend(run.failures().map(|failure| format!("{} failed: {}", run.name, failure.why)));
        warnings.extend(disclosed::doubts(run));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_within_the_spread_is_no_difference() {
        let figure = |figures: &[f64]| Figure {
            group: String::new(),
            name: String::new(),
            unit: String::new(),
            better: Better::Higher,
            spread: crate::results::Spread::of(figures.iter().copied()).unwrap(),
        };
        let judged = |a: &[f64], b: &[f64]| judge(&figure(a), &figure(b));
        assert_eq!(judged(&[1.0, 1.2], &[1.1, 1.5]), Judgement::Same);
        assert_eq!(judged(&[1.0, 1.2], &[1.3, 1.5]), Judgement::Better);
        assert_eq!(judged(&[1.0, 1.2], &[0.8, 0.9]), Judgement::Worse);
        assert_eq!(judged(&[1.0], &[1.04]), Judgement::Same);
        assert_eq!(judged(&[1.0], &[1.06, 1.07]), Judgement::Better);
    }
}
