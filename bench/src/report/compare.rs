//! Two runs side by side: each figure of the second in proportion to the first, and what keeps them from being comparable.
//!
//! A figure is better or worse only where its spreads do not overlap, or, where one of them is a single repeat, if it is more
//! than a twentieth off: everything else is noise as far as these runs tell.

use super::figures::{self, Figure};
use super::{disclosed, page};
use crate::results::{Better, Report, Run};
use clap::Args;
use std::fmt::Write;
use std::path::PathBuf;

/// What a ratio must differ from 1 by, where a spread is not known.
const NOISE: f64 = 0.05;

/// Options of `compare`.
#[derive(Args, Clone, Debug)]
pub struct Compare {
    /// Results as JSON: what is compared with.
    pub a: PathBuf,
    /// Results as JSON: what is compared.
    pub b: PathBuf,
    /// Write one HTML page with both.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

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
            Self::Same => "no difference seen",
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

/// The `compare` command.
///
/// # Errors
/// If a file cannot be read, or the two have nothing in common.
pub fn run(options: &Compare) -> anyhow::Result<()> {
    let pairs = pairs(super::read(&options.a)?, super::read(&options.b)?)?;
    for (a, b) in &pairs {
        print!("{}", text(a, b));
    }
    if let Some(path) = &options.html {
        let title = format!("{} and {}", name(&options.a), name(&options.b));
        let sections: Vec<page::Section> = pairs.into_iter().map(|(a, b)| page::Section::of_runs(vec![a, b])).collect();
        super::write(path, &page::document(&title, &sections))?;
    }
    Ok(())
}

fn name(path: &std::path::Path) -> String {
    path.file_stem().map_or_else(|| path.display().to_string(), |stem| stem.to_string_lossy().into_owned())
}

/// The runs of both that belong together: the only ones, or those of the same workload and name.
fn pairs(a: Report, b: Report) -> anyhow::Result<Vec<(Run, Run)>> {
    let mut pairs = match (a.runs.len(), b.runs.len()) {
        (1, 1) => a.runs.into_iter().zip(b.runs).collect::<Vec<_>>(),
        _ => {
            let key = |run: &Run| (run.name.clone(), run.disclosure.work.name.clone());
            let mut others = b.runs;
            let found = a.runs.into_iter().filter_map(|run| {
                let at = others.iter().position(|other| key(other) == key(&run))?;
                Some((run, others.remove(at)))
            });
            found.collect()
        }
    };
    anyhow::ensure!(!pairs.is_empty(), "no run of the one has the name and the workload of a run of the other");
    for (a, b) in &mut pairs {
        if a.name == b.name {
            a.name.push_str(" (a)");
            b.name.push_str(" (b)");
        }
    }
    Ok(pairs)
}

/// Both as a table.
fn text(a: &Run, b: &Run) -> String {
    let mut out = String::new();
    let _ = write_text(a, b, &mut out);
    out
}

fn write_text(a: &Run, b: &Run, out: &mut String) -> std::fmt::Result {
    writeln!(out, "a = {}, b = {}; the ratio is b to a", a.name, b.name)?;
    writeln!(out, "  {:<42}{:>24}{:>24}{:>9}", "", "a", "b", "ratio")?;
    let rows = rows(a, b);
    for row in &rows {
        let name = format!("{} {}, {}", row.a.group, row.a.name, row.a.unit);
        let ratio = row.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}x"));
        writeln!(out, "  {name:<42}{:>24}{:>24}{ratio:>9}  {}", row.a.text(), row.b.text(), row.judgement.word())?;
    }
    if rows.is_empty() {
        writeln!(out, "  they have no figure in common")?;
    }
    for warning in warnings(a, b) {
        writeln!(out, "  WARNING   {warning}")?;
    }
    Ok(())
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
    use crate::results::{FailureKind, sample};

    fn line<'a>(text: &'a str, name: &str) -> &'a str {
        text.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_default()
    }

    #[test]
    fn each_ratio_says_which_way_is_better() {
        let (a, b) = (sample::run("a", 1.0), sample::run("b", 2.0));
        let told = text(&a, &b);
        assert!(line(&told, "broker CPU per GB").ends_with("2.00x  worse"), "{told}");
        assert!(line(&told, "produce throughput").ends_with("1.00x  no difference seen"), "{told}");
        assert!(line(&told, "produce acknowledgement, p99, ms").ends_with("2.00x  worse"), "{told}");
        assert!(line(&text(&b, &a), "measured start").ends_with("0.50x  better"), "{told}");
        assert!(!told.contains("WARNING"), "{told}");
    }

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

    #[test]
    fn what_makes_them_incomparable_is_said() {
        let (a, mut b) = (sample::run("a", 1.0), sample::run("b", 1.0));
        b.disclosure.client.acks = "1".to_owned();
        b.repeats[0].fail(FailureKind::Generator, "the load was the bottleneck");
        let told = text(&a, &b);
        assert!(told.contains("WARNING   not the same: client: acks: all and 1\n"), "{told}");
        assert!(told.contains("WARNING   b failed: the load was the bottleneck\n"), "{told}");
    }

    #[test]
    fn runs_are_paired_by_name() {
        let report = |names: &[&str]| Report { runs: names.iter().map(|name| sample::run(name, 1.0)).collect() };
        let paired = |a: &[&str], b: &[&str]| {
            let pairs = pairs(report(a), report(b));
            pairs.map(|pairs| pairs.into_iter().map(|(a, b)| format!("{}+{}", a.name, b.name)).collect::<Vec<_>>())
        };
        assert_eq!(paired(&["x"], &["y"]).unwrap(), ["x+y"]);
        assert_eq!(paired(&["x", "y"], &["z", "y"]).unwrap(), ["y (a)+y (b)"]);
        assert!(paired(&["x", "y"], &["z"]).is_err());
    }
}
