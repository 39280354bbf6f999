//! What a run measured, and everything that must be told for the figures to mean something.
//!
//! A [`Run`] is one workload against one broker: a [`Disclosure`] (what was asked of whom, on which machine), and its
//! [`Repeat`]s. A repeat has [`Flow`]s (records in one direction), what was [verified](Verification), what the broker's
//! process [spent](Process), [`Measure`]s that are neither, and [`Failure`]s: why it does not count. A [`Report`] is a list of
//! runs, which is what a file holds ([`mod@file`]).
//!
//! ```text
//! Report -> Run -> Disclosure
//!               -> Repeat -> Flow -> Distribution (latencies, mergeable)
//!                                 -> Second (throughput over time)
//!                         -> Verification, Process -> Sample, Measure, Failure
//! ```
//!
//! Nothing here measures: the load fills a [`Meter`], a sampler fills [`Sample`]s, and whoever reports reads all of it. Figures
//! are decimal (1 MB = 10^6 bytes) and count values, not overhead; latencies are in nanoseconds and in milliseconds on
//! paper; several repeats make a [`Spread`].

mod disclosure;
mod distribution;
pub mod file;
mod process;
#[cfg(test)]
pub(crate) mod sample;
mod series;
mod spread;

pub use disclosure::{BrokerSide, ClientSide, Disclosure, Machine, SyncProbe, Work};
pub use distribution::Distribution;
pub use file::{Refused, decode, encode};
pub use process::{Amount, Process, Sample};
pub use series::{Meter, Second, Summary};
pub use spread::Spread;

use serde::{Deserialize, Serialize};

/// Runs, in the order in which they were made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The runs.
    pub runs: Vec<Run>,
}

/// One workload against one broker, repeated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// What to call it where it stands beside others, for example `esker, fsync`.
    pub name: String,
    /// What was asked, of whom, on which machine.
    pub disclosure: Disclosure,
    /// The repeats, at least one.
    pub repeats: Vec<Repeat>,
}

/// One time that a workload was run; a warm-up is in none of its figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repeat {
    /// Records in one direction or the other; a run that only measures a start has none.
    pub flows: Vec<Flow>,
    /// What was read and checked, if anything was.
    pub verification: Option<Verification>,
    /// What the broker's process spent, if it was watched.
    pub process: Option<Process>,
    /// What is neither throughput nor latency, such as the time of a start.
    pub measures: Vec<Measure>,
    /// Why it does not count; empty for one that does.
    pub failures: Vec<Failure>,
    /// What one must know to read its figures, though it counts: a generator, say, that was allowed to be the bottleneck.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Which way records go, as the client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To the broker; its latency is from when a record should have been sent to its acknowledgement.
    Produce,
    /// From the broker; its latency is from when a record should have been sent to its arrival (end to end).
    Consume,
}

impl Direction {
    /// What its latency spans.
    pub fn latency(self) -> &'static str {
        match self {
            Self::Produce => "acknowledgement",
            Self::Consume => "end to end",
        }
    }
}

/// Records that went one way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// Whose, for example `producers` or `catch-up readers`.
    pub name: String,
    /// Which way.
    pub direction: Direction,
    /// Records that went while it was measured.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Requests that carried them, if they were counted.
    pub requests: Option<u64>,
    /// Seconds that were measured.
    pub seconds: f64,
    /// How long each took, if that was measured.
    pub latency: Option<Distribution>,
    /// By how much each was sent late, whoever's fault it was; part of its latency. Absent where nothing was due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Distribution>,
    /// How readers stand to what is sent meanwhile, if they follow it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub following: Option<Following>,
    /// Second by second from the start of the measurement; empty if that was not kept.
    pub series: Vec<Second>,
}

/// Readers of what is sent meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Following {
    /// How many times everything is read: OpenMessaging's subscriptions.
    pub groups: u64,
    /// Records that were there for them when the measurement began, and that they had not read.
    pub behind: u64,
}

impl Flow {
    /// MB a second.
    pub fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.seconds
    }

    /// Records a second.
    pub fn records_per_second(&self) -> f64 {
        self.records as f64 / self.seconds
    }
}

/// What was read and checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verification {
    /// Records that were read.
    pub records: u64,
    /// Records that were acknowledged and never came.
    pub lost: u64,
    /// Records that came again.
    pub duplicated: u64,
    /// Records that came after a later one.
    pub reordered: u64,
    /// Values, or batches, whose bytes are not what was written.
    pub corrupt: u64,
}

impl Verification {
    /// Whether everything is as it was written.
    pub fn is_clean(&self) -> bool {
        self.lost + self.duplicated + self.reordered + self.corrupt == 0
    }
}

impl std::fmt::Display for Verification {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { records, lost, duplicated, reordered, corrupt } = self;
        write!(f, "{records} records, {lost} lost, {duplicated} duplicated, {reordered} reordered, {corrupt} corrupt")
    }
}

/// Which of two values is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// The higher one, as with a throughput.
    Higher,
    /// The lower one, as with a latency or a cost.
    Lower,
}

/// A figure of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// What it is, for example `start to first accepted produce`.
    pub name: String,
    /// How much.
    pub value: f64,
    /// Of what, for example `ms`.
    pub unit: String,
    /// Which way is better.
    pub better: Better,
}

/// What kind of reason keeps a repeat from counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// What was read is not what was acknowledged.
    Verification,
    /// The load itself was the bottleneck, so that the broker was not measured.
    Generator,
    /// A goal was missed.
    Goal,
    /// Something went wrong: a refused request, a broker that ended.
    Error,
}

/// Why a repeat does not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// Of what kind.
    pub kind: FailureKind,
    /// In words for a person.
    pub why: String,
}

impl Run {
    /// The flows in `direction`, of all repeats.
    fn flows(&self, direction: Direction) -> impl Iterator<Item = Vec<&Flow>> {
        self.repeats.iter().map(move |repeat| repeat.flows.iter().filter(|f| f.direction == direction).collect())
    }

    /// Whether any repeat has a flow in `direction`.
    pub fn has(&self, direction: Direction) -> bool {
        self.flows(direction).any(|flows| !flows.is_empty())
    }

    /// A figure of each repeat's flows in `direction`, added up; `None` if there are none.
    fn sum(&self, direction: Direction, of: impl Fn(&Flow) -> f64) -> Option<Spread> {
        Spread::of(
            self.flows(direction).filter(|flows| !flows.is_empty()).map(|flows| flows.into_iter().map(&of).sum()),
        )
    }

    /// MB a second in `direction`, all flows of a repeat together.
    pub fn megabytes_per_second(&self, direction: Direction) -> Option<Spread> {
        self.sum(direction, Flow::megabytes_per_second)
    }

    /// Records a second in `direction`, all flows of a repeat together.
    pub fn records_per_second(&self, direction: Direction) -> Option<Spread> {
        self.sum(direction, Flow::records_per_second)
    }

    /// The latencies in `direction`, of all flows and repeats together.
    pub fn latency(&self, direction: Direction) -> Option<Distribution> {
        let mut parts = self.flows(direction).flatten().filter_map(|flow| flow.latency.as_ref());
        let first = parts.next()?.clone();
        Some(parts.fold(first, |sum, part| sum.merged(part)))
    }

    /// By how much records were sent late, of all flows and repeats together, if any were due.
    pub fn delay(&self) -> Option<Distribution> {
        let parts = self.flows(Direction::Produce).flatten().filter_map(|flow| flow.delay.as_ref());
        parts.cloned().reduce(|sum, part| sum.merged(&part))
    }

    /// A quantile (0.99) of the latency in `direction`, in milliseconds, over the repeats.
    pub fn latency_quantile(&self, direction: Direction, quantile: f64) -> Option<Spread> {
        Spread::of(self.flows(direction).filter_map(|flows| {
            let mut parts = flows.into_iter().filter_map(|flow| flow.latency.as_ref());
            let first = parts.next()?.clone();
            let whole = parts.fold(first, |sum, part| sum.merged(part));
            (whole.count > 0).then(|| whole.quantile(quantile) as f64 / 1e6)
        }))
    }

    /// The broker's CPU-seconds per GB of values, over the repeats.
    pub fn cpu_seconds_per_gb(&self) -> Option<Spread> {
        Spread::of(self.repeats.iter().filter_map(Repeat::cpu_seconds_per_gb))
    }

    /// The broker's CPU-seconds per million records, over the repeats.
    pub fn cpu_seconds_per_million(&self) -> Option<Spread> {
        Spread::of(self.repeats.iter().filter_map(Repeat::cpu_seconds_per_million))
    }

    /// A measure by its name, over the repeats.
    pub fn measure(&self, name: &str) -> Option<Spread> {
        let values = self.repeats.iter().flat_map(|r| &r.measures).filter(|m| m.name == name).map(|m| m.value);
        Spread::of(values)
    }

    /// Every note of every repeat, each once.
    pub fn notes(&self) -> Vec<&str> {
        let mut notes: Vec<&str> = self.repeats.iter().flat_map(|repeat| &repeat.notes).map(String::as_str).collect();
        let mut known = std::collections::BTreeSet::new();
        notes.retain(|note| known.insert(*note));
        notes
    }

    /// Every failure of every repeat.
    pub fn failures(&self) -> impl Iterator<Item = &Failure> {
        self.repeats.iter().flat_map(|repeat| &repeat.failures)
    }
}

impl Repeat {
    /// Bytes of values that went either way.
    pub fn bytes(&self) -> u64 {
        self.flows.iter().map(|flow| flow.bytes).sum()
    }

    /// Records that went either way.
    pub fn records(&self) -> u64 {
        self.flows.iter().map(|flow| flow.records).sum()
    }

    /// The broker's CPU-seconds per GB of values, if it was watched and there were any.
    pub fn cpu_seconds_per_gb(&self) -> Option<f64> {
        let process = self.process.as_ref()?;
        (self.bytes() > 0).then(|| process.cpu_seconds / (self.bytes() as f64 / 1e9))
    }

    /// The broker's CPU-seconds per million records, if it was watched and there were any.
    pub fn cpu_seconds_per_million(&self) -> Option<f64> {
        let process = self.process.as_ref()?;
        (self.records() > 0).then(|| process.cpu_seconds / (self.records() as f64 / 1e6))
    }

    /// Notes a failure.
    pub fn fail(&mut self, kind: FailureKind, why: impl Into<String>) {
        self.failures.push(Failure { kind, why: why.into() });
    }
}
