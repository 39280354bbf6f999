//! The `compare` command: two files of results side by side.

use super::page;
use super::ratios::{rows, warnings};
use crate::results::{Report, Run};
use clap::Args;
use std::fmt::Write;
use std::path::PathBuf;

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
        assert!(line(&told, "produce throughput").ends_with("1.00x  same"), "{told}");
        assert!(line(&told, "produce acknowledgement, p99, ms").ends_with("2.00x  worse"), "{told}");
        assert!(line(&text(&b, &a), "measured start").ends_with("0.50x  better"), "{told}");
        assert!(!told.contains("WARNING"), "{told}");
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
