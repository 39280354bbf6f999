//! The table on the terminal.

use super::disclosed;
use super::figures;
use crate::results::{Report, Run};
use std::fmt::Write;

/// The figures of every run as text, with what they belong to, what was verified, and why a run failed.
pub fn table(report: &Report) -> String {
    let mut out = String::new();
    for run in &report.runs {
        // Writing to a String does not fail.
        let _ = describe(run, &mut out);
    }
    out
}

fn describe(run: &Run, out: &mut String) -> std::fmt::Result {
    let (work, client, broker) = (&run.disclosure.work, &run.disclosure.client, &run.disclosure.broker);
    writeln!(out, "{}", run.name)?;
    writeln!(
        out,
        "  {} of {} B, {} topics of {} partitions, {} producers and {} consumers of each; {}",
        work.name,
        work.record_bytes,
        work.topics,
        work.partitions,
        work.producers,
        work.consumers,
        work.rate.map_or_else(|| "as fast as possible".to_owned(), |rate| format!("{rate} records/s"))
    )?;
    writeln!(
        out,
        "  acks={}, codec={}, batches of {} B, linger {} ms, {} in flight; durability: {}",
        client.acks,
        client.codec,
        client.batch_bytes,
        client.linger_ms,
        client.in_flight,
        broker.durability.as_deref().unwrap_or("unknown")
    )?;
    let mut group = String::new();
    for figure in figures::of(run) {
        let shown = if figure.group == group { "" } else { figure.group.as_str() };
        writeln!(out, "  {shown:<10}{:<32}{:>24} {}", figure.name, figure.text(), figure.unit)?;
        group.clone_from(&figure.group);
    }
    for verification in run.repeats.iter().filter_map(|repeat| repeat.verification) {
        writeln!(out, "  verified  {verification}")?;
    }
    for doubt in disclosed::doubts(run) {
        writeln!(out, "  note      {doubt}")?;
    }
    for failure in run.failures() {
        writeln!(out, "  FAILED    {}", failure.why)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{FailureKind, sample};

    #[test]
    fn a_table_has_figures_and_verdicts() {
        let mut report = sample::report();
        report.runs[1].repeats[2].fail(FailureKind::Verification, "3 records are lost");
        report.runs[0].repeats[0].notes.push("the load was slow".to_owned());
        let table = table(&report);
        let line = |name: &str| table.lines().find(|line| line.contains(name)).unwrap_or_default();
        assert!(line("throughput").starts_with("  produce   throughput"), "{table}");
        assert!(line("throughput").ends_with("1.02 [1.02-1.02] MB/s"), "{table}");
        assert_eq!(table.matches("  verified  5000 records, 0 lost").count(), 6, "{table}");
        assert!(table.contains("  FAILED    3 records are lost\n"), "{table}");
        assert!(table.contains("  note      esker: the load was slow\n"), "{table}");
    }
}
