//! The commands `run`, `produce`, `e2e` and `search`: a workload, so many times, and its report.

use super::options::{Load, Probe};
use super::outcome::Outcome;
use super::schedule::Schedule;
use super::search::Search;
use super::workload::Workload;
use super::{Clock, account, drive, presets, runtime};
use crate::probe::{self, DiscloseOptions};
use crate::results::{Better, FailureKind, Measure, Repeat, Report, Run};

/// The rate that a search begins with, if nothing gives one.
const FIRST_RATE: f64 = 1_000.0;
/// The part of the asked rate that must be acknowledged while it is measured.
const KEPT_UP: f64 = 0.99;

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
    let count = options.repeats.max(1);
    let mut run = Run { name: named(&options.disclose, workload), ..Run::default() };
    for number in 1..=count {
        let mut workload = workload.clone();
        if count > 1 {
            // What an earlier repeat left is not read, and takes no room.
            workload.topics.name = format!("{}-{number}", workload.topics.name);
        }
        let (repeat, _) = once(&workload, !options.quiet)?;
        if number == 1 {
            run.disclosure = disclose(&workload, &options.disclose)?;
        }
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
    Ok(run)
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

/// Whether the rate was kept up, or why not.
fn kept_up(rate: f64, outcome: &Outcome, p99_limit_ms: f64) -> Result<(), String> {
    let got = outcome.sent.records as f64 / outcome.seconds;
    if got < rate * KEPT_UP {
        return Err(format!("{got:.0} records/s were acknowledged"));
    }
    let latency = outcome.sent.latencies.total();
    let p99 = latency.value_at_quantile(0.99) as f64 / 1e6;
    if p99 > p99_limit_ms {
        return Err(format!("p99 of acknowledgement is {p99:.1} ms"));
    }
    Ok(())
}

fn search_rate(workload: &Workload, options: &Load, probe: &Probe) -> anyhow::Result<()> {
    let first = workload.producers.as_ref().and_then(|producers| producers.rate).unwrap_or(FIRST_RATE);
    let mut search = Search::from(first);
    let mut limited = None;
    let at = |rate: f64| {
        let mut workload = workload.clone();
        if let Some(producers) = &mut workload.producers {
            producers.rate = Some(rate);
        }
        workload
    };
    while let Some(rate) = search.next() {
        let mut step = at(rate);
        step.seconds = probe.step_seconds;
        step.warmup = probe.step_seconds / 2.0;
        let (_, outcome) = once(&step, !options.quiet)?;
        outcome.verdict()?;
        let kept = kept_up(rate, &outcome, probe.p99_limit);
        let late = outcome.generator.as_ref().and_then(|generator| generator.limits.clone());
        match (&kept, &late) {
            (Ok(()), None) => eprintln!("{rate:.0} records/s: kept up"),
            (_, Some(late)) => {
                eprintln!("{rate:.0} records/s: {late}");
                limited = Some((rate, late.clone()));
            }
            (Err(why), None) => eprintln!("{rate:.0} records/s: not kept up: {why}"),
        }
        search.tell(kept.is_ok() && late.is_none());
    }
    let best = search.best().ok_or_else(|| anyhow::anyhow!("not even the lowest rate was kept up"))?;
    let mut run = runs(&at(best), options)?;
    for repeat in &mut run.repeats {
        repeat.measures.push(Measure {
            name: "highest rate that was kept up".to_owned(),
            value: best,
            unit: "records/s".to_owned(),
            better: Better::Higher,
        });
        // A limit that the generator set is not the broker's.
        if let Some((rate, why)) = limited.as_ref().filter(|(rate, _)| workload.limits.fail && *rate < best * 1.1) {
            repeat.fail(FailureKind::Generator, format!("at {rate:.0} records/s {why}"));
        }
    }
    options.output.emit(&Report { runs: vec![run] })
}
