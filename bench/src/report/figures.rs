//! A run's figures as rows: what a table shows, and what a comparison compares.

use crate::results::{Amount, Better, Direction, Run, Spread};

/// The quantiles that are shown, with their names.
pub(crate) const QUANTILES: [(f64, &str); 6] =
    [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99"), (1.0, "max")];

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figure {
    /// What it belongs to, for example `produce`.
    pub(crate) group: String,
    /// What it is.
    pub(crate) name: String,
    /// Of what.
    pub(crate) unit: String,
    /// Which way is better.
    pub(crate) better: Better,
    /// How much, over the repeats.
    pub(crate) spread: Spread,
}

impl Figure {
    /// The figure as text.
    pub(crate) fn text(&self) -> String {
        self.spread.text(decimals(self.spread.median))
    }
}

/// Decimals that leave three digits or so.
pub(crate) fn decimals(value: f64) -> usize {
    match value.abs() {
        0.0 => 0,
        ..0.01 => 4,
        ..1.0 => 3,
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    }
}

/// Every figure of a run, in the order in which they are shown.
pub(crate) fn of(run: &Run) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut row = |group: &str, name: &str, unit: &str, better: Better, spread: Option<Spread>| {
        let (group, name, unit) = (group.to_owned(), name.to_owned(), unit.to_owned());
        figures.extend(spread.map(|spread| Figure { group, name, unit, better, spread }));
    };
    for (direction, group) in [(Direction::Produce, "produce"), (Direction::Consume, "consume")] {
        row(group, "throughput", "MB/s", Better::Higher, run.megabytes_per_second(direction));
        row(group, "records", "/s", Better::Higher, run.records_per_second(direction));
        row(group, "requests", "/s", Better::Higher, requests_per_second(run, direction));
        for (quantile, name) in QUANTILES {
            let name = format!("{}, {name}", direction.latency());
            row(group, &name, "ms", Better::Lower, run.latency_quantile(direction, quantile));
        }
    }
    row("broker", "CPU per GB", "s", Better::Lower, run.cpu_seconds_per_gb());
    row("broker", "CPU per million records", "s", Better::Lower, run.cpu_seconds_per_million());
    let processes = || run.repeats.iter().filter_map(|repeat| repeat.process.as_ref());
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let anonymous = processes().map(|process| mib(process.peak_anonymous()));
    row("broker", "anonymous memory, most", "MiB", Better::Lower, Spread::of(anonymous));
    let amounts: [(&str, Amount); 4] = [
        ("written to disk", |sample| sample.disk_written),
        ("read from disk", |sample| sample.disk_read),
        // The kernel has no such figures by process.
        ("received by all interfaces", |sample| Some(sample.net_received)),
        ("sent by all interfaces", |sample| Some(sample.net_sent)),
    ];
    for (name, amount) in amounts {
        let totals = processes().filter_map(|process| Some(mib(process.total(amount)?)));
        row("broker", name, "MiB", Better::Lower, Spread::of(totals));
    }
    let mut names: Vec<&str> = Vec::new();
    for measure in run.repeats.iter().flat_map(|repeat| &repeat.measures) {
        if !names.contains(&measure.name.as_str()) {
            names.push(&measure.name);
            row("measured", &measure.name, &measure.unit, measure.better, run.measure(&measure.name));
        }
    }
    figures
}

/// Requests a second, of the repeats in which they were counted.
fn requests_per_second(run: &Run, direction: Direction) -> Option<Spread> {
    Spread::of(run.repeats.iter().filter_map(|repeat| {
        let flows = repeat.flows.iter().filter(|flow| flow.direction == direction);
        let counted: Vec<f64> = flows.filter_map(|flow| Some(flow.requests? as f64 / flow.seconds)).collect();
        (!counted.is_empty()).then(|| counted.iter().sum())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::sample;

    #[test]
    fn every_figure_of_a_run_is_a_row() {
        let figures = of(&sample::run("esker", 1.0));
        let find = |group: &str, name: &str| {
            let found = figures.iter().find(|figure| figure.group == group && figure.name == name);
            found.unwrap_or_else(|| panic!("no {group} {name} in {figures:#?}"))
        };
        assert_eq!(find("produce", "throughput").text(), "1.02 [1.02-1.02]");
        assert_eq!(find("produce", "requests").spread.median, 800.0);
        assert_eq!(find("consume", "end to end, p99").better, Better::Lower);
        // 1.05 s for 10.24 MB.
        assert_eq!(find("broker", "CPU per GB").unit, "s");
        assert!((find("broker", "CPU per GB").spread.median - 102.5).abs() < 0.1);
        for (name, text) in [
            ("written to disk", "5.72 [5.72-5.72]"),
            ("read from disk", "1.91 [1.91-1.91]"),
            ("received by all interfaces", "9.54 [9.54-9.54]"),
            ("sent by all interfaces", "8.58 [8.58-8.58]"),
        ] {
            assert_eq!(find("broker", name).text(), text, "{name}");
        }
        assert_eq!(find("measured", "start to first accepted produce").text(), "120 [120-120]");
    }

    #[test]
    fn figures_have_about_three_digits() {
        let texts: Vec<String> =
            [0.0, 0.00123, 0.1234, 1.234, 12.34, 1234.5].iter().map(|v| format!("{v:.*}", decimals(*v))).collect();
        assert_eq!(texts, ["0", "0.0012", "0.123", "1.23", "12.3", "1234"]);
    }
}
