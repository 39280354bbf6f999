//! Which curves a section has: latency by quantile, and over time throughput, latency, and what the broker's process spends.
//!
//! Latencies are those of all repeats together. What goes by time is that of one repeat, the middle one by its throughput.

use super::chart::{Chart, Line, Scale};
use crate::results::{Amount, Direction, Process, Repeat, Run, Sample, Second};
use std::fmt::Write;

/// Draws the curves of `runs` over each other.
pub(super) fn write(runs: &[Run], out: &mut String) -> std::fmt::Result {
    writeln!(out, "<div class=\"charts\">")?;
    let mut charts = Vec::new();
    for direction in [Direction::Produce, Direction::Consume] {
        charts.push(latency(runs, direction));
    }
    for direction in [Direction::Produce, Direction::Consume] {
        charts.push(throughput(runs, direction));
        charts.push(latency_over_time(runs, direction));
    }
    charts.push(cores(runs));
    charts.push(memory(runs));
    charts.push(traffic(runs, "Disk of the broker", [("written", disk_written), ("read", disk_read)]));
    charts.push(traffic(runs, "All interfaces that the broker sees", [("sent", net_sent), ("received", net_received)]));
    charts.iter().try_for_each(|chart| chart.write(out))?;
    writeln!(out, "</div>")
}

/// Latency by quantile.
fn latency(runs: &[Run], direction: Direction) -> Chart {
    let lines = lines(runs, |run| {
        let Some(latency) = run.latency(direction).filter(|latency| latency.count > 0) else { return Vec::new() };
        // As far as there are records to tell: the last nine needs ten of them.
        let end = (latency.count as f64).log10().min(5.0);
        let places = (0..=200).map(|at| end * f64::from(at) / 200.0);
        let quantiles = places.map(|place| 1.0 - 10_f64.powf(-place));
        quantiles.map(|quantile| (quantile, latency.quantile(quantile) as f64 / 1e6)).collect()
    });
    let title = format!("Latency by percentile, {}", direction.latency());
    Chart { title, unit: "ms", x: Scale::Nines, x_unit: "", y: Scale::Log, lines }
}

/// MB by second.
fn throughput(runs: &[Run], direction: Direction) -> Chart {
    let lines = lines(runs, |run| by_second(run, direction, |second| Some(second.bytes as f64 / 1e6), |a, b| a + b));
    Chart { title: format!("{} over time", word(direction)), lines, ..over_time("MB/s") }
}

/// The p99 of each second.
fn latency_over_time(runs: &[Run], direction: Direction) -> Chart {
    let lines = lines(runs, |run| {
        by_second(run, direction, |second| second.latency.map(|latency| latency.p99 as f64 / 1e6), f64::max)
    });
    Chart { title: format!("p99 of {} over time", direction.latency()), lines, y: Scale::Log, ..over_time("ms") }
}

fn cores(runs: &[Run]) -> Chart {
    let lines = lines(runs, |run| middle(run).and_then(|r| r.process.as_ref()).map(Process::cores).unwrap_or_default());
    Chart { title: "Processors in use by the broker".to_owned(), lines, ..over_time("cores") }
}

/// Anonymous memory, and that of files as a broken line.
fn memory(runs: &[Run]) -> Chart {
    let of = |what: fn(&Sample) -> u64| {
        move |process: &Process| {
            let mib = |sample: &Sample| what(sample) as f64 / f64::from(1 << 20);
            process.samples.iter().map(|sample| (sample.at, mib(sample))).collect::<Vec<_>>()
        }
    };
    let (anonymous, files) = (of(|sample| sample.anonymous), of(|sample| sample.file));
    let lines = pair(runs, ("anonymous", &anonymous), ("files", &files));
    Chart { title: "Resident memory of the broker".to_owned(), lines, ..over_time("MiB") }
}

fn disk_written(sample: &Sample) -> Option<u64> {
    sample.disk_written
}

fn disk_read(sample: &Sample) -> Option<u64> {
    sample.disk_read
}

fn net_sent(sample: &Sample) -> Option<u64> {
    Some(sample.net_sent)
}

fn net_received(sample: &Sample) -> Option<u64> {
    Some(sample.net_received)
}

/// Bytes a second of two kinds, the second one as a broken line.
fn traffic(runs: &[Run], title: &str, [first, second]: [(&str, Amount); 2]) -> Chart {
    let of = |amount: Amount| {
        move |process: &Process| process.by_second(|sample| amount(sample).map(|bytes| bytes as f64 / 1e6))
    };
    let lines = pair(runs, (first.0, &of(first.1)), (second.0, &of(second.1)));
    Chart { title: title.to_owned(), lines, ..over_time("MB/s") }
}

/// Points of a process.
type Points<'a> = &'a dyn Fn(&Process) -> Vec<(f64, f64)>;

/// Two lines of each run's middle repeat, the second one broken, each with what it is.
fn pair(runs: &[Run], first: (&str, Points<'_>), second: (&str, Points<'_>)) -> Vec<Line> {
    let mut all = Vec::new();
    for (dashed, (what, points)) in [(false, first), (true, second)] {
        let these = lines(runs, |run| {
            let process = middle(run).and_then(|repeat| repeat.process.as_ref());
            process.map(points).unwrap_or_default()
        });
        all.extend(these.into_iter().map(|line| Line { name: format!("{}, {what}", line.name), dashed, ..line }));
    }
    all
}

fn over_time(unit: &'static str) -> Chart {
    Chart { title: String::new(), unit, x: Scale::Linear, x_unit: " s", y: Scale::Linear, lines: Vec::new() }
}

fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::Produce => "Produced",
        Direction::Consume => "Consumed",
    }
}

/// A line for each run that has points.
fn lines(runs: &[Run], points: impl Fn(&Run) -> Vec<(f64, f64)>) -> Vec<Line> {
    let lines = runs.iter().enumerate().map(|(colour, run)| {
        let points = points(run);
        Line { name: run.name.clone(), colour, dashed: false, points }
    });
    lines.filter(|line| line.points.len() > 1).collect()
}

/// The repeat in the middle, by the bytes that went a second.
fn middle(run: &Run) -> Option<&Repeat> {
    let mut repeats: Vec<&Repeat> = run.repeats.iter().collect();
    let speed = |repeat: &Repeat| repeat.flows.iter().map(|flow| flow.megabytes_per_second()).sum::<f64>();
    repeats.sort_by(|a, b| speed(a).total_cmp(&speed(b)));
    repeats.get(repeats.len() / 2).copied()
}

/// A value of each second of the middle repeat, of several flows brought together by `join`.
fn by_second(
    run: &Run,
    direction: Direction,
    of: impl Fn(&Second) -> Option<f64>,
    join: fn(f64, f64) -> f64,
) -> Vec<(f64, f64)> {
    let Some(repeat) = middle(run) else { return Vec::new() };
    let flows: Vec<_> = repeat.flows.iter().filter(|flow| flow.direction == direction).collect();
    let length = flows.iter().map(|flow| flow.series.len()).max().unwrap_or_default();
    let points = (0..length).filter_map(|at| {
        let values = flows.iter().filter_map(|flow| of(flow.series.get(at)?));
        Some((at as f64 + 1.0, values.reduce(join)?))
    });
    points.collect()
}
