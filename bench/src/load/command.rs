//! The commands `run`, `produce`, `e2e` and `search`: a workload, so many times, and its report.

use super::options::{Load, Probe};
use super::outcome::Outcome;
use super::schedule::Schedule;
use super::search::{NEAR, Search, kept_up};
use super::workload::Workload;
use super::{Clock, account, drive, presets, runtime, stage};
use crate::probe::{self, DiscloseOptions};
use crate::results::{Better, FailureKind, Measure, Repeat, Report, Run};

/// The rate that a search begins with, if nothing gives one.
const FIRST_RATE: f64 = 1_000.0;
/// Seconds before a rate is measured in which nothing is sent, at most.
const REST: f64 = 1.0;
/// Rates that a whole run is tried at, each a little lower, until one is kept up.
const LOWER: usize = 5;

/// Runs the workload called `name`, and reports.
///
/// # Errors
/// What the broker refuses, a verification that fails, a generator that was the bottleneck.
pub fn run(name: &str, options: &Load) -> anyhow::Result<()> {
    let workload = presets::workload(name, options)?;
    if workload.search {
        return search_rate(&workload, options, &Probe::default());
    }
    let run = runs(&workload, options)?;
    options.output.emit(&Report { runs: vec![run] })
}

/// Searches for the highest rate of the workload called `name` that can be kept up, and reports the run at it.
///
/// # Errors
/// As [`run`]; if not even the lowest rate can be kept up; if it is the generator that keeps up no more.
pub fn search(name: &str, options: &Load, probe: &Probe) -> anyhow::Result<()> {
    search_rate(&presets::workload(name, options)?, options, probe)
}

/// Every repeat of a workload.
///
/// # Errors
/// What the broker refuses.
pub fn runs(workload: &Workload, options: &Load) -> anyhow::Result<Run> {
    Ok(repeats(workload, options)?.0)
}

fn repeats(workload: &Workload, options: &Load) -> anyhow::Result<(Run, Vec<Outcome>)> {
    let count = options.repeats.max(1);
    let mut run = Run { name: named(&options.disclose, workload), ..Run::default() };
    let mut outcomes = Vec::new();
    for number in 1..=count {
        let mut workload = workload.clone();
        if count > 1 {
            // What an earlier repeat left is not read, and takes no room.
            workload.topics.name = format!("{}-{number}", workload.topics.name);
        }
        if number == 1 {
            // What is there is looked at before any load disturbs it; the broker tells of topics that are there.
            stage::topics(&workload.endpoint.client(), &workload.topics)?;
            run.disclosure = disclose(&workload, &options.disclose)?;
        }
        let (repeat, outcome) = once(&workload, !options.quiet)?;
        let work = &mut run.disclosure.work;
        work.data_bytes = work.data_bytes.max(outcome.written() * work.record_bytes);
        outcomes.push(outcome);
        run.repeats.push(repeat);
        if count > 1 {
            let client = workload.endpoint.client();
            runtime()?.block_on(async {
                for topic in workload.topics.names() {
                    client.delete_topic(&topic).await?;
                }
                anyhow::Ok(())
            })?;
        }
    }
    Ok((run, outcomes))
}

fn named(options: &DiscloseOptions, workload: &Workload) -> String {
    options.name.clone().unwrap_or_else(|| workload.name.clone())
}

fn disclose(workload: &Workload, options: &DiscloseOptions) -> anyhow::Result<crate::results::Disclosure> {
    let (work, side) = (account::work(workload), account::client_side(workload));
    let topic = workload.topics.names().into_iter().next();
    let client = workload.endpoint.client();
    runtime()?.block_on(probe::disclose(options, work, side, &client, topic.as_deref()))
}

fn once(workload: &Workload, progress: bool) -> anyhow::Result<(Repeat, Outcome)> {
    let clock = Clock::start();
    let mut made = None;
    let outcome = drive::run(workload, clock, |now| made.insert(Schedule::after(now, workload)).clone(), progress)?;
    let schedule = made.ok_or_else(|| anyhow::anyhow!("a run without a schedule"))?;
    Ok((account::repeat(workload, &schedule, &outcome), outcome))
}

/// What a step of a search, or the run that it ends with, came to.
enum Step {
    KeptUp,
    /// The broker was too slow, with the reason.
    Missed(String),
    /// The generator was.
    Limited(String),
}

impl Step {
    fn of(workload: &Workload, rate: f64, outcome: &Outcome, probe: &Probe) -> Self {
        let limits = outcome.generator.as_ref().and_then(|generator| generator.limits.clone());
        match (limits, kept_up(workload, rate, outcome, probe.p99_limit)) {
            (Some(limits), _) => Step::Limited(limits),
            (None, Err(why)) => Step::Missed(why),
            (None, Ok(())) => Step::KeptUp,
        }
    }
}

/// `workload` at a rate, with a rest before it is measured.
fn at(workload: &Workload, rate: f64) -> Workload {
    let mut workload = workload.clone();
    if let Some(producers) = &mut workload.producers {
        producers.rate = Some(rate);
    }
    workload.rest = (workload.warmup / 4.0).min(REST);
    workload
}

fn search_rate(workload: &Workload, options: &Load, probe: &Probe) -> anyhow::Result<()> {
    let first = workload.producers.as_ref().and_then(|producers| producers.rate).unwrap_or(FIRST_RATE);
    let mut search = Search::from(first);
    let mut limited = None;
    let short = Workload { seconds: probe.step_seconds, warmup: probe.step_seconds / 2.0, ..workload.clone() };
    while let Some(rate) = search.next() {
        let step = at(&short, rate);
        let (_, outcome) = once(&step, !options.quiet)?;
        outcome.verdict()?;
        let step = Step::of(&step, rate, &outcome, probe);
        match &step {
            Step::KeptUp => eprintln!("{rate:.0} records/s: kept up"),
            Step::Missed(why) => eprintln!("{rate:.0} records/s: not kept up: {why}"),
            Step::Limited(late) => {
                eprintln!("{rate:.0} records/s: {late}");
                limited = Some((rate, late.clone()));
            }
        }
        search.tell(matches!(step, Step::KeptUp));
    }
    let best = search.best().ok_or_else(|| anyhow::anyhow!("not even the lowest rate was kept up"))?;
    let (mut run, best) = confirmed(workload, best, options, probe)?;
    for repeat in &mut run.repeats {
        repeat.measures.push(Measure {
            name: "highest rate that was kept up".to_owned(),
            value: best,
            unit: "records/s".to_owned(),
            better: Better::Higher,
        });
        // A limit that the generator set is not the broker's.
        if let Some((rate, why)) = limited.as_ref().filter(|(rate, _)| *rate < best * 1.1) {
            let why = format!("at {rate:.0} records/s {why}");
            if workload.limits.fail {
                repeat.fail(FailureKind::Generator, why);
            } else {
                repeat.notes.push(why);
            }
        }
    }
    options.output.emit(&Report { runs: vec![run] })
}

/// The whole run at `best`, or at the next lower rate that is kept up in it: a step is short, and what is reported counts
/// only if it was kept up itself.
fn confirmed(workload: &Workload, mut best: f64, options: &Load, probe: &Probe) -> anyhow::Result<(Run, f64)> {
    let mut tried = 0;
    loop {
        let workload = at(workload, best);
        let (mut run, outcomes) = repeats(&workload, options)?;
        let missed = outcomes.iter().find_map(|outcome| match Step::of(&workload, best, outcome, probe) {
            Step::Missed(why) => Some(why),
            Step::KeptUp | Step::Limited(_) => None,
        });
        let Some(why) = missed else { return Ok((run, best)) };
        eprintln!("{best:.0} records/s: not kept up in the whole run: {why}");
        tried += 1;
        if tried == LOWER {
            for repeat in &mut run.repeats {
                repeat.fail(FailureKind::Error, format!("{best:.0} records/s were kept up in a step only: {why}"));
            }
            return Ok((run, best));
        }
        best /= NEAR;
    }
}
