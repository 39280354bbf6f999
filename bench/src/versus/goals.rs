//! What is compared, and what was set as a goal: the table's rows, and how a row is judged.
//!
//! A [`Row`] has a name, what is done, and its [`Goal`]s. A goal is about one [`Quantity`] of a repeat: in proportion to what
//! Kafka did in the same round ([`Against::Kafka`]), or by itself ([`Against::Nothing`]). Rounds go in turn, so that a ratio is
//! one of neighbours in time, and their [`Spread`] says what to believe of it.

use crate::results::{Direction, FailureKind, Repeat, Run, Spread};

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// Its name on the command line.
    pub(super) name: &'static str,
    /// What is done.
    pub(super) what: &'static str,
    /// What it needs.
    pub(super) stage: Stage,
    /// What was set.
    pub(super) goals: &'static [Goal],
}

/// Rows of one stage share the brokers that it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Both acknowledge from the page cache.
    PageCache,
    /// Both sync before they acknowledge.
    Synced,
    /// A thousand partitions.
    Memory,
    /// Starts on data from before.
    Start,
    /// Starts after SIGKILL on much data.
    Kill,
    /// Ten thousand partitions, thousands of connections.
    Many,
    /// History in a directory.
    Tier,
}

/// Every stage, in the order in which they run: what is short and asked most comes first.
pub(super) const STAGES: [Stage; 7] =
    [Stage::PageCache, Stage::Synced, Stage::Start, Stage::Memory, Stage::Tier, Stage::Kill, Stage::Many];

/// A goal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Goal {
    /// Of what.
    pub(super) quantity: Quantity,
    /// In proportion to what.
    pub(super) against: Against,
    /// How much.
    pub(super) bound: Bound,
}

/// What a quantity is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Against {
    /// Kafka's, in the same round.
    Kafka,
    /// Nothing: it counts as it is.
    Nothing,
}

/// Where a goal lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bound {
    /// Not below this.
    AtLeast(f64),
    /// Not above this.
    AtMost(f64),
}

/// Something that a repeat has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Quantity {
    /// MB/s in a direction.
    Throughput(Direction),
    /// Requests (of one record each) a second.
    Requests,
    /// CPU-seconds of the broker per GB.
    CpuPerGb,
    /// CPU time of the broker per request of one record, in microseconds.
    CpuPerRequest,
    /// A quantile of the latency in a direction, in milliseconds.
    Latency(Direction, f64),
    /// The most anonymous memory while it was measured, in MiB.
    Anonymous,
    /// A measure by name, with its unit.
    Measure(&'static str, &'static str),
}

use Against::{Kafka, Nothing};
use Bound::{AtLeast, AtMost};
use Direction::{Consume, Produce};
use Quantity::{Anonymous, CpuPerGb, CpuPerRequest, Latency, Measure, Requests, Throughput};

/// The name of the measure of an idle broker.
pub(super) const IDLE: &str = "anonymous memory, idle";
/// That of a broker with a thousand partitions.
pub(super) const THOUSAND: &str = "anonymous memory, 1,000 partitions";
/// From the start of the process to the first acknowledged record.
pub(super) const FIRST: &str = "start to first accepted produce";
/// The same after SIGKILL, to a record in each partition.
pub(super) const SERVING: &str = "kill -9 to serving";
/// The p99 with 10,000 partitions in proportion to that with 10.
pub(super) const MANY: &str = "p99 with 10,000 partitions to that with 10";
/// The p99 of a producer beside a replay in proportion to that without.
pub(super) const BESIDE: &str = "p99 beside a replay to that without";
/// The rate of a replay.
pub(super) const REPLAY: &str = "tiered history, one reader";

const fn goal(quantity: Quantity, against: Against, bound: Bound) -> Goal {
    Goal { quantity, against, bound }
}

/// The goals of latency that every rate has.
const LATENCIES: &[Goal] = &[
    goal(Latency(Produce, 0.5), Kafka, AtMost(1.0)),
    goal(Latency(Produce, 0.99), Kafka, AtMost(0.33)),
    goal(Latency(Produce, 0.999), Kafka, AtMost(0.2)),
    goal(Latency(Consume, 0.5), Kafka, AtMost(1.0)),
    goal(Latency(Consume, 0.99), Kafka, AtMost(0.33)),
    goal(Latency(Consume, 0.999), Kafka, AtMost(0.2)),
];

const fn row(name: &'static str, what: &'static str, stage: Stage, goals: &'static [Goal]) -> Row {
    Row { name, what, stage, goals }
}

/// The table.
pub(super) const ROWS: [Row; 17] = [
    row(
        "memory-idle",
        "nothing, seconds after the start",
        Stage::PageCache,
        &[goal(Measure(IDLE, "MiB"), Kafka, AtMost(0.1))],
    ),
    row(
        "produce-1k",
        "one producer of 1 KiB records, acks=all, neither syncs",
        Stage::PageCache,
        &[
            goal(Throughput(Produce), Kafka, AtLeast(3.5)),
            goal(CpuPerGb, Kafka, AtMost(0.2)),
            goal(CpuPerGb, Nothing, AtMost(0.6)),
        ],
    ),
    row(
        "memory-load",
        "anonymous memory while 1 KiB records are produced",
        Stage::PageCache,
        &[goal(Anonymous, Kafka, AtMost(0.1))],
    ),
    row(
        "small",
        "16 producers of single 100-byte records, acks=all, neither syncs",
        Stage::PageCache,
        &[goal(Requests, Kafka, AtLeast(3.0)), goal(CpuPerRequest, Kafka, AtMost(0.3))],
    ),
    row(
        "consume",
        "one reader of 1 KiB records from the page cache",
        Stage::PageCache,
        &[goal(Throughput(Consume), Kafka, AtLeast(1.4))],
    ),
    row(
        "consume-4",
        "four readers of one partition of 1 KiB records from the page cache",
        Stage::PageCache,
        &[goal(CpuPerGb, Kafka, AtMost(0.65))],
    ),
    row("latency", "1,000 records/s of 1 KiB and a reader, neither syncs", Stage::PageCache, LATENCIES),
    row(
        "latency-half",
        "half of Kafka's highest rate of 1 KiB records and a reader, neither syncs",
        Stage::PageCache,
        LATENCIES,
    ),
    row(
        "produce-1k-sync",
        "one producer of 1 KiB records, acks=all, both sync before the answer",
        Stage::Synced,
        &[goal(Throughput(Produce), Kafka, AtLeast(2.5)), goal(CpuPerGb, Kafka, AtMost(0.3))],
    ),
    row(
        "small-sync",
        "16 producers of single 100-byte records, acks=all, both sync before the answer",
        Stage::Synced,
        &[goal(Requests, Kafka, AtLeast(4.0))],
    ),
    row("latency-sync", "1,000 records/s of 1 KiB and a reader, both sync before the answer", Stage::Synced, LATENCIES),
    row(
        "start",
        "start on a topic from before, to the first acknowledged record",
        Stage::Start,
        &[goal(Measure(FIRST, "ms"), Nothing, AtMost(300.0))],
    ),
    row(
        "memory-1000",
        "a thousand partitions with records, seconds later",
        Stage::Memory,
        &[goal(Measure(THOUSAND, "MiB"), Kafka, AtMost(0.1))],
    ),
    row(
        "replay",
        "a producer of 1,000 records/s beside one who replays tiered history at full speed",
        Stage::Tier,
        &[goal(Measure(BESIDE, "x"), Nothing, AtMost(1.2))],
    ),
    row(
        "replay-rate",
        "tiered history of one partition at full speed, both from a directory",
        Stage::Tier,
        &[goal(Measure(REPLAY, "MB/s"), Kafka, AtLeast(2.0))],
    ),
    row(
        "kill",
        "kill -9 with gigabytes in 4 partitions, to an acknowledged record in each",
        Stage::Kill,
        &[goal(Measure(SERVING, "s"), Nothing, AtMost(1.0))],
    ),
    row(
        "many",
        "10,000 partitions and 5,000 connections, against 10 partitions and as many connections",
        Stage::Many,
        &[goal(Measure(MANY, "x"), Nothing, AtMost(3.0))],
    ),
];

impl Quantity {
    /// How much of it a repeat has.
    pub(super) fn of(self, repeat: &Repeat) -> Option<f64> {
        let flows = |direction| repeat.flows.iter().filter(move |flow| flow.direction == direction);
        match self {
            Throughput(direction) => {
                let speeds: Vec<f64> = flows(direction).map(|flow| flow.megabytes_per_second()).collect();
                (!speeds.is_empty()).then(|| speeds.iter().sum())
            }
            Requests => {
                let rates: Vec<f64> = flows(Produce).map(|flow| flow.records_per_second()).collect();
                (!rates.is_empty()).then(|| rates.iter().sum())
            }
            CpuPerGb => repeat.cpu_seconds_per_gb(),
            // A second per million is a microsecond for each.
            CpuPerRequest => repeat.cpu_seconds_per_million(),
            Latency(direction, quantile) => {
                let latency = flows(direction).find_map(|flow| flow.latency.as_ref())?;
                Some(latency.quantile(quantile) as f64 / 1e6)
            }
            Anonymous => repeat.process.as_ref().map(|process| process.peak_anonymous() as f64 / f64::from(1 << 20)),
            Measure(name, _) => {
                repeat.measures.iter().find(|measure| measure.name == name).map(|measure| measure.value)
            }
        }
    }

    /// What it is called.
    pub(super) fn name(self) -> String {
        match self {
            Throughput(Produce) => "produced".to_owned(),
            Throughput(Consume) => "consumed".to_owned(),
            Requests => "requests".to_owned(),
            CpuPerGb => "broker CPU per GB".to_owned(),
            CpuPerRequest => "broker CPU per request".to_owned(),
            Latency(direction, quantile) => format!("{} p{}", direction.latency(), quantile * 100.0),
            Anonymous => "anonymous memory, under load".to_owned(),
            Measure(name, _) => name.to_owned(),
        }
    }

    /// Its unit.
    pub(super) fn unit(self) -> &'static str {
        match self {
            Throughput(_) => "MB/s",
            Requests => "/s",
            CpuPerGb => "s",
            CpuPerRequest => "us",
            Latency(..) => "ms",
            Anonymous => "MiB",
            Measure(_, unit) => unit,
        }
    }
}

impl Bound {
    /// Whether a value keeps to it.
    fn holds(self, value: f64) -> bool {
        match self {
            AtLeast(least) => value >= least,
            AtMost(most) => value <= most,
        }
    }
}

/// What came of a goal.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    /// The goal.
    pub(super) goal: Goal,
    /// Kafka's figures.
    pub(super) kafka: Option<Spread>,
    /// Ours.
    pub(super) esker: Option<Spread>,
    /// Ours in proportion to Kafka's, round by round.
    pub(super) ratio: Option<Spread>,
    /// Whether it was met, by the middle of all rounds; `None` if that was not measured.
    pub(super) met: Option<bool>,
}

impl Judged {
    /// The goal in words: `at least 3.5x`.
    pub(super) fn text(&self) -> String {
        let (word, value) = match self.goal.bound {
            AtLeast(value) => ("at least", value),
            AtMost(value) => ("at most", value),
        };
        match self.goal.against {
            Kafka => format!("{word} {value}x"),
            Nothing if self.goal.quantity.unit() == "x" => format!("{word} {value}x"),
            Nothing => format!("{word} {value} {}", self.goal.quantity.unit()),
        }
    }
}

/// Judges a goal by the runs of both, whose repeats of one round have one index; a repeat that failed otherwise than by a
/// slow generator has no figure, and its round no ratio.
pub(super) fn judge(goal: Goal, kafka: &Run, esker: &Run) -> Judged {
    let figure = |repeat: &Repeat| if is_measured(repeat) { goal.quantity.of(repeat) } else { None };
    let figures = |run: &Run| -> Vec<Option<f64>> { run.repeats.iter().map(figure).collect() };
    let (theirs, ours) = (figures(kafka), figures(esker));
    let pairs = theirs.iter().zip(&ours).filter_map(|(theirs, ours)| Some(((*theirs)?, (*ours)?)));
    let ratio = Spread::of(pairs.filter(|(theirs, _)| *theirs > 0.0).map(|(theirs, ours)| ours / theirs));
    let spread = |figures: &[Option<f64>]| Spread::of(figures.iter().filter_map(|figure| *figure));
    let (kafka, esker) = (spread(&theirs), spread(&ours));
    let judged = match goal.against {
        Kafka => ratio,
        Nothing => esker,
    };
    let met = judged.map(|spread| goal.bound.holds(spread.median));
    Judged { goal, kafka, esker, ratio, met }
}

/// Whether a repeat has figures of its broker. Those of a slow generator are what the broker did at least.
fn is_measured(repeat: &Repeat) -> bool {
    repeat.failures.iter().all(|failure| failure.kind == FailureKind::Generator)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::sample;

    #[test]
    fn a_repeat_that_failed_has_no_figure_and_its_round_no_ratio() {
        // Three rounds, in which a later one takes longer on both sides: only rounds with themselves have a ratio of two.
        let run = |name: &str, factor: f64| {
            let slowed = |at: u32| sample::run(name, factor * 10_f64.powf(f64::from(at))).repeats.remove(0);
            Run { repeats: (0..3).map(slowed).collect(), ..sample::run(name, factor) }
        };
        let (mut kafka, mut esker) = (run("kafka", 1.0), run("esker", 2.0));
        kafka.repeats[0].fail(FailureKind::Error, "no broker");
        esker.repeats[1].fail(FailureKind::Verification, "3 records are lost");
        esker.repeats[2].fail(FailureKind::Generator, "it was late");
        let judged = judge(goal(Latency(Produce, 0.99), Kafka, AtMost(2.1)), &kafka, &esker);
        let ratio = judged.ratio.unwrap();
        assert!((ratio.low - 2.0).abs() < 0.01 && (ratio.high - 2.0).abs() < 0.01, "{ratio:?}");
        let (theirs, ours) = (judged.kafka.unwrap(), judged.esker.unwrap());
        assert!((theirs.high / theirs.low - 10.0).abs() < 0.1, "the first is left out: {theirs:?}");
        assert!((ours.high / ours.low - 100.0).abs() < 1.0, "the second is left out: {ours:?}");
        kafka.repeats[2].fail(FailureKind::Error, "no broker");
        assert_eq!(judge(goal(Latency(Produce, 0.99), Kafka, AtMost(2.1)), &kafka, &esker).met, None);
    }

    #[test]
    fn names_are_unique_and_every_stage_has_a_row() {
        let mut names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ROWS.len());
        assert!(STAGES.iter().all(|stage| ROWS.iter().any(|row| row.stage == *stage)));
    }

    #[test]
    fn a_goal_is_judged_by_the_middle_of_its_ratios() {
        // Twice as slow, and with twice the latency.
        let (kafka, esker) = (sample::run("kafka", 1.0), sample::run("esker", 2.0));
        let judged = |quantity, against, bound| judge(goal(quantity, against, bound), &kafka, &esker);
        let latency = judged(Latency(Produce, 0.99), Kafka, AtMost(1.9));
        assert_eq!((latency.met, latency.text().as_str()), (Some(false), "at most 1.9x"));
        assert!((latency.ratio.unwrap().median - 2.0).abs() < 0.01);
        assert_eq!(judged(Latency(Produce, 0.99), Kafka, AtMost(2.1)).met, Some(true));
        assert_eq!(judged(Throughput(Consume), Kafka, AtLeast(0.9)).met, Some(true));
        let own = judged(Measure(FIRST, "ms"), Nothing, AtMost(250.0));
        assert_eq!((own.met, own.text().as_str()), (Some(true), "at most 250 ms"));
        assert_eq!(judged(Measure("nothing", "s"), Kafka, AtMost(1.0)).met, None);
    }
}
