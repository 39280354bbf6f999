//! What was measured so far, row by row and side by side, and the table that is made of it.

use super::goals::{self, Against, Judged, Row};
use super::node::{SIDES, Side};
use crate::report::Section;
use crate::results::{Disclosure, FailureKind, Repeat, Report, Run};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The measured rows. Repeats of one round have one index on both sides, as a ratio is one of neighbours in time.
#[derive(Default)]
pub(super) struct Table {
    runs: BTreeMap<(usize, usize), Run>,
    round: usize,
}

/// A row, its runs and what came of its goals.
pub(super) struct Done<'a> {
    /// The row.
    pub(super) row: &'static Row,
    /// Kafka's.
    pub(super) kafka: Option<&'a Run>,
    /// Ours.
    pub(super) esker: Option<&'a Run>,
    /// Its goals.
    pub(super) judged: Vec<Judged>,
}

impl Table {
    /// What comes from now on is of this round, counted from 0.
    pub(super) fn begin(&mut self, round: usize) {
        self.round = round;
    }

    /// Takes what `side` did for the row called `name`.
    pub(super) fn add(&mut self, name: &str, side: Side, run: Run) {
        if let Some(to) = self.run(name, side) {
            if to.disclosure.command.is_empty() {
                to.disclosure = run.disclosure;
            }
            to.repeats.extend(run.repeats);
        }
    }

    /// Takes one repeat.
    pub(super) fn repeat(&mut self, name: &str, side: Side, disclosure: &Disclosure, repeat: Repeat) {
        self.add(name, side, Run { name: String::new(), disclosure: disclosure.clone(), repeats: vec![repeat] });
    }

    /// Notes that this round's repeat came to nothing; one that was measured already does not count then.
    pub(super) fn fail(&mut self, name: &str, side: Side, error: &anyhow::Error) {
        let round = self.round;
        if let Some(run) = self.run(name, side) {
            if run.repeats.len() <= round {
                run.repeats.push(Repeat::default());
            }
            if let Some(last) = run.repeats.last_mut() {
                last.fail(FailureKind::Error, format!("{error:#}"));
            }
        }
    }

    /// The run of a row, with a repeat for each earlier round.
    fn run(&mut self, name: &str, side: Side) -> Option<&mut Run> {
        let row = goals::ROWS.iter().position(|row| row.name == name)?;
        let at = SIDES.iter().position(|s| *s == side)?;
        let new = || Run { name: side.software(), ..Run::default() };
        let run = self.runs.entry((row, at)).or_insert_with(new);
        while run.repeats.len() < self.round {
            let mut nothing = Repeat::default();
            nothing.fail(FailureKind::Error, "a round without a figure");
            run.repeats.push(nothing);
        }
        Some(run)
    }

    /// What a side did for a row so far.
    pub(super) fn get(&self, name: &str, side: Side) -> Option<&Run> {
        let row = goals::ROWS.iter().position(|row| row.name == name)?;
        self.runs.get(&(row, SIDES.iter().position(|s| *s == side)?))
    }

    /// The rows that were measured, judged.
    pub(super) fn done(&self) -> Vec<Done<'_>> {
        let nothing = Run::default();
        let rows = goals::ROWS.iter().filter_map(|row| {
            let (kafka, esker) = (self.get(row.name, Side::Kafka), self.get(row.name, Side::Esker));
            if kafka.is_none() && esker.is_none() {
                return None;
            }
            let judge = |goal: &goals::Goal| goals::judge(*goal, kafka.unwrap_or(&nothing), esker.unwrap_or(&nothing));
            Some(Done { row, kafka, esker, judged: row.goals.iter().map(judge).collect() })
        });
        rows.collect()
    }

    /// Everything as a report: two runs a row.
    pub(super) fn report(&self) -> Report {
        let mut report = Report::default();
        for ((row, _), run) in &self.runs {
            let mut run = run.clone();
            if let Some(row) = goals::ROWS.get(*row) {
                run.disclosure.work.name = row.name.to_owned();
            }
            if !run.repeats.is_empty() {
                report.runs.push(run);
            }
        }
        report
    }

    /// A section of the page for each row.
    pub(super) fn sections(&self) -> Vec<Section> {
        let sections = self.done().into_iter().map(|done| {
            let verdicts = done.judged.iter().filter_map(|judged| {
                let (name, goal) = (judged.goal.quantity.name(), judged.text());
                Some((format!("{name}: {goal}; measured {}", measured(judged)), judged.met?))
            });
            let verdicts = verdicts.collect();
            let runs = [done.kafka, done.esker].into_iter().flatten().cloned().collect();
            Section { title: format!("{}: {}", done.row.name, done.row.what), verdicts, runs }
        });
        sections.collect()
    }
}

/// What the judged value is, as text.
fn measured(judged: &Judged) -> String {
    match (judged.goal.against, judged.ratio, judged.esker) {
        (Against::Kafka, Some(ratio), _) => ratio.text_in(2, "x"),
        (Against::Nothing, _, Some(esker)) => text_in(&esker, judged.goal.quantity.unit()),
        _ => "not measured".to_owned(),
    }
}

fn text(spread: &crate::results::Spread) -> String {
    spread.text(crate::report::decimals(spread.median))
}

fn text_in(spread: &crate::results::Spread, unit: &str) -> String {
    spread.text_in(crate::report::decimals(spread.median), &format!(" {unit}"))
}

/// A row's reasons for doubt: failures of its repeats.
fn notes(done: &Done<'_>) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    for run in [done.kafka, done.esker].into_iter().flatten() {
        for failure in run.failures() {
            let note = format!("{}: {}", run.name, failure.why);
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
    }
    notes
}

/// The table on the terminal.
pub(super) fn terminal(rows: &[Done<'_>]) -> String {
    let mut out = String::new();
    for done in rows {
        // Writing to a String does not fail.
        let _ = writeln!(out, "{}: {}", done.row.name, done.row.what);
        for judged in &done.judged {
            let figure = |spread: &Option<_>| spread.as_ref().map_or_else(|| "-".to_owned(), text);
            let word = met(judged);
            let _ = writeln!(
                out,
                "  {:<38}Kafka {:>20}  Esker {:>20} {:<5} ratio {:>18}  {} {word}",
                judged.goal.quantity.name(),
                figure(&judged.kafka),
                figure(&judged.esker),
                judged.goal.quantity.unit(),
                judged.ratio.map_or_else(|| "-".to_owned(), |ratio| ratio.text_in(2, "x")),
                judged.text(),
            );
        }
        for note in notes(done) {
            let _ = writeln!(out, "  note: {note}");
        }
    }
    out
}

fn met(judged: &Judged) -> &'static str {
    match judged.met {
        Some(true) => "met",
        Some(false) => "NOT MET",
        None => "not measured",
    }
}

/// The table as Markdown, with what it was measured on and how.
pub(super) fn markdown(rows: &[Done<'_>], about: &[String], command: &str, date: &str) -> String {
    let mut out = String::new();
    let _ = write_markdown(rows, about, command, date, &mut out);
    out
}

fn write_markdown(
    rows: &[Done<'_>],
    about: &[String],
    command: &str,
    date: &str,
    out: &mut String,
) -> std::fmt::Result {
    writeln!(out, "# Esker beside Apache Kafka\n")?;
    writeln!(
        out,
        "Written on {date} by\n`{command}`,\nand not edited. Both brokers ran on one machine in turn, round by round,"
    )?;
    writeln!(
        out,
        "with the load beside them on the same processors: ratios count, absolute figures are those of this machine."
    )?;
    writeln!(out, "A ratio is Esker's figure to Kafka's in the same round; figures are the middle of all rounds")?;
    writeln!(out, "[lowest-highest].\n")?;
    for line in about {
        writeln!(out, "- {line}")?;
    }
    let counted = rows.iter().flat_map(|done| &done.judged).filter(|judged| judged.met.is_some());
    let (met_count, count) =
        counted.fold((0, 0), |(met, all), judged| (met + u32::from(judged.met == Some(true)), all + 1));
    writeln!(out, "\n{met_count} of {count} goals are met.\n")?;
    writeln!(out, "| row | what | Kafka | Esker | ratio | goal | |")?;
    writeln!(out, "| --- | --- | ---: | ---: | ---: | --- | --- |")?;
    for done in rows {
        for judged in &done.judged {
            let unit = judged.goal.quantity.unit();
            let figure =
                |spread: &Option<_>| spread.as_ref().map_or_else(|| "-".to_owned(), |spread| text_in(spread, unit));
            let ratio = judged.ratio.map_or_else(|| "-".to_owned(), |ratio| ratio.text_in(2, "x"));
            writeln!(
                out,
                "| {} | {} | {} | {} | {ratio} | {} | {} |",
                done.row.name,
                judged.goal.quantity.name(),
                figure(&judged.kafka),
                figure(&judged.esker),
                judged.text(),
                match judged.met {
                    Some(true) => "met",
                    Some(false) => "**not met**",
                    None => "not measured",
                }
            )?;
        }
    }
    writeln!(out, "\nWhat each row does, and the commands it is made of:\n")?;
    for done in rows {
        writeln!(out, "- `{}`: {}.", done.row.name, done.row.what)?;
        let commands = [done.kafka, done.esker].into_iter().flatten().map(|run| command_of(&run.disclosure));
        let mut commands: Vec<String> = commands.filter(|command| !command.is_empty()).collect();
        commands.dedup();
        for command in commands {
            writeln!(out, "  `{command}`")?;
        }
        for note in notes(done) {
            writeln!(out, "  Note: {}.", note.trim_end_matches('.').replace('\n', " "))?;
        }
    }
    Ok(())
}

/// The command of a load without what differs from round to round.
fn command_of(disclosure: &Disclosure) -> String {
    let varies = ["--bootstrap=", "--pid=", "--json=", "--software=", "--name="];
    let kept = disclosure.command.iter().filter(|argument| !varies.iter().any(|varying| argument.starts_with(varying)));
    kept.cloned().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::sample;

    fn table() -> Table {
        let mut table = Table::default();
        table.add("latency", Side::Kafka, sample::run("kafka", 10.0));
        table.add("latency", Side::Esker, sample::run("esker", 1.0));
        table.fail("produce-1k", Side::Esker, &anyhow::anyhow!("no broker"));
        table
    }

    #[test]
    fn a_row_says_what_was_met_and_what_failed() {
        let table = table();
        let text = terminal(&table.done());
        assert!(text.contains("at most 0.2x met"), "{text}");
        assert!(text.contains("produced") && text.contains("at least 3.5x not measured"), "{text}");
        assert!(text.contains("  note: Esker 0.1.0: no broker"), "{text}");
    }

    #[test]
    fn a_round_has_one_index_on_both_sides_whatever_failed() {
        let mut table = Table::default();
        let one =
            |slowness: f64| Run { repeats: sample::run("", slowness).repeats[..1].to_vec(), ..sample::run("", 1.0) };
        // Kafka's first turn fails as a whole, ours after the figure in the second; nobody had a turn in the third.
        table.fail("latency", Side::Kafka, &anyhow::anyhow!("no broker"));
        table.add("latency", Side::Esker, one(1.0));
        table.begin(1);
        table.add("latency", Side::Kafka, one(10.0));
        table.add("latency", Side::Esker, one(1.0));
        table.fail("latency", Side::Esker, &anyhow::anyhow!("it ended"));
        table.begin(3);
        table.add("latency", Side::Kafka, one(100.0));
        table.add("latency", Side::Esker, one(50.0));
        let lengths = SIDES.map(|side| table.get("latency", side).unwrap().repeats.len());
        assert_eq!(lengths, [4, 4]);
        assert_eq!(
            table.get("latency", Side::Kafka).unwrap().disclosure.command[1],
            "e2e",
            "of the first that had one"
        );
        let done = table.done();
        assert!(
            done[0].judged.iter().all(|judged| (judged.ratio.unwrap().high - 0.5).abs() < 0.01),
            "{:?}",
            done[0].judged
        );
        let text = terminal(&done);
        for note in ["no broker", "it ended", "a round without a figure"] {
            assert!(text.contains(note), "{note}: {text}");
        }
    }

    #[test]
    fn markdown_tells_dates_commands_and_bad_results() {
        let table = table();
        let about = vec!["2 processors".to_owned()];
        let text = markdown(&table.done(), &about, "esker-bench versus", "2026-11-26T03:15:00Z");
        assert!(text.contains("Written on 2026-11-26T03:15:00Z by\n`esker-bench versus`,"), "{text}");
        assert!(text.contains("6 of 6 goals are met") && text.contains("- 2 processors"), "{text}");
        assert!(
            text.contains("| latency | acknowledgement p99 | ") && text.contains("| 0.10x [0.10-0.10] |"),
            "{text}"
        );
        assert!(
            text.contains("  `esker-bench e2e --rate 1000`") && text.contains("Note: Esker 0.1.0: no broker."),
            "{text}"
        );
    }

    #[test]
    fn everything_measured_is_in_the_report() {
        let report = table().report();
        assert_eq!(report.runs.len(), 3);
        assert!(report.runs.iter().any(|run| run.disclosure.work.name == "latency"));
        assert_eq!(table().sections().len(), 2);
    }
}
