//! Whether the generator was what limited the run: [`Watch`] looks at its threads and at the machine, [`Verdict`] judges.
//!
//! Two ways tell. At a rate, a record that is sent late although the broker kept nobody waiting is the generator's fault;
//! one in a hundred may be, by so many milliseconds. And a thread of the load that never rests while the machine has
//! cores to spare could not have loaded the broker any more, whatever the broker could have done; of who only reads, that
//! is all that can be told.

use super::workload::Limits;
use crate::results::{Better, FailureKind, Measure, Repeat};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::time::Instant;

/// A thread that is busy for this part of the time has nothing left to give.
const BUSY: f64 = 0.92;
/// A machine that is idle for this part has something left.
const IDLE: f64 = 0.08;

/// Times of this program's threads, and of the machine.
pub(super) struct Watch {
    started: Instant,
    cpu: BTreeMap<u32, f64>,
    machine: Option<(f64, f64)>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The part of the time in which the busiest thread of the load was busy.
    pub busiest: f64,
    /// The part of the machine's cores that had nothing to do.
    pub idle: f64,
    /// By how much 99 in 100 records were not sent later than due, through the generator's fault, in milliseconds.
    pub late_p99_ms: f64,
    /// What was wrong, if anything.
    pub limits: Option<String>,
}

impl Watch {
    /// From now on.
    pub(super) fn start() -> Self {
        Self { cpu: threads(), started: Instant::now(), machine: machine_seconds() }
    }

    /// What the busiest thread did since, and how idle the machine was.
    pub(super) fn end(&self) -> (f64, f64) {
        let wall = self.started.elapsed().as_secs_f64().max(1e-9);
        let now = threads();
        // One that has ended was not the bottleneck at the end.
        let busiest = now.iter().map(|(thread, seconds)| seconds - self.cpu.get(thread).copied().unwrap_or(0.0));
        let busiest = busiest.fold(0.0, f64::max) / wall;
        let idle = match (self.machine, machine_seconds()) {
            (Some((busy, idle)), Some((busy_now, idle_now))) => {
                let all = (busy_now - busy) + (idle_now - idle);
                if all > 0.0 { (idle_now - idle) / all } else { 0.0 }
            }
            _ => 0.0,
        };
        (busiest, idle)
    }
}

impl Verdict {
    /// Judges what [`Watch`] saw and how late records were sent.
    pub(super) fn new((busiest, idle): (f64, f64), late: &Histogram<u64>, limits: Limits) -> Self {
        let late_p99_ms = if late.is_empty() { 0.0 } else { late.value_at_quantile(0.99) as f64 / 1e6 };
        let mut found = Vec::new();
        if late_p99_ms > limits.late_ms {
            found.push(format!(
                "more than one record in a hundred was sent late by its own fault, p99 {late_p99_ms:.1} ms (at most {} \
                 are allowed)",
                limits.late_ms
            ));
        }
        if busiest >= BUSY && idle >= IDLE {
            found.push(format!(
                "one of its threads was busy {:.0} % of the time while {:.0} % of the machine was idle: more --threads",
                busiest * 100.0,
                idle * 100.0
            ));
        }
        let limits = (!found.is_empty()).then(|| format!("the generator is the bottleneck: {}", found.join("; ")));
        Self { busiest, idle, late_p99_ms, limits }
    }

    /// Says in `repeat` how busy the generator was, and, if it was the bottleneck, that this is why the repeat `fails`, or
    /// at least what its figures are those of.
    pub(super) fn report(&self, fails: bool, repeat: &mut Repeat) {
        repeat.measures.push(Measure {
            name: "the load's busiest thread".to_owned(),
            value: self.busiest * 100.0,
            unit: "%".to_owned(),
            better: Better::Lower,
        });
        match self.limits.clone() {
            Some(limits) if fails => repeat.fail(FailureKind::Generator, limits),
            limits => repeat.notes.extend(limits),
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "generator: busiest thread {:.0} %, machine {:.0} % idle, sent late by its own fault p99 {:.2} ms",
            self.busiest * 100.0,
            self.idle * 100.0,
            self.late_p99_ms
        )
    }
}

/// CPU-seconds of each of our threads, those that a library has started as well.
fn threads() -> BTreeMap<u32, f64> {
    let Ok(folder) = std::fs::read_dir("/proc/self/task") else { return BTreeMap::new() };
    let ids = folder.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    ids.filter_map(|id: u32| Some((id, thread_seconds(id)?))).collect()
}

/// CPU-seconds of a thread of ours.
fn thread_seconds(thread: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Busy and idle core-seconds of the machine since it started.
fn machine_seconds() -> Option<(f64, f64)> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    parse_machine(stat.lines().next()?)
}

fn parse_machine(line: &str) -> Option<(f64, f64)> {
    let numbers: Vec<f64> = line.strip_prefix("cpu ")?.split_ascii_whitespace().map_while(|n| n.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guest times are in user and nice already.
    let [user, nice, system, idle, iowait, irq, softirq, steal] = numbers.get(..8)?.try_into().ok()?;
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    Some(((user + nice + system + irq + softirq + steal) / ticks, (idle + iowait) / ticks))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::report;

    fn late(milliseconds: &[(u64, u64)]) -> Histogram<u64> {
        let mut late = report::histogram();
        for (ms, count) in milliseconds {
            late.record_n(ms * 1_000_000, *count).unwrap();
        }
        late
    }

    #[test]
    fn a_generator_is_judged_by_what_it_could_have_done() {
        let limits = Limits::default();
        let judge =
            |busiest, idle, late: &[(u64, u64)]| Verdict::new((busiest, idle), &self::late(late), limits).limits;
        assert_eq!(judge(0.5, 0.5, &[(0, 995), (100, 5)]), None);
        assert!(judge(0.5, 0.5, &[(0, 980), (100, 20)]).unwrap().contains("sent late"));
        // Busy on a machine that has nothing left is what a shared machine looks like.
        assert_eq!(judge(1.0, 0.02, &[]), None);
        assert!(judge(1.0, 0.4, &[]).unwrap().contains("busy 100 %"));
    }

    #[test]
    fn a_bottleneck_is_told_whether_it_fails_the_run_or_not() {
        let verdict = Verdict::new((1.0, 0.4), &late(&[]), Limits::default());
        let report = |fails| {
            let mut repeat = Repeat::default();
            verdict.report(fails, &mut repeat);
            assert_eq!(repeat.measures[0].value, 100.0);
            (repeat.failures.len(), repeat.notes)
        };
        assert_eq!(report(true), (1, Vec::new()));
        assert_eq!(report(false), (0, vec![verdict.limits.clone().unwrap()]));
    }

    #[test]
    fn a_thread_that_never_rests_is_seen() {
        let watch = Watch::start();
        let started = Instant::now();
        let mut sum = 0_u64;
        while started.elapsed().as_millis() < 300 {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(1));
        }
        let (busiest, idle) = watch.end();
        assert!(busiest > 0.0 && (0.0..=1.0).contains(&idle), "{busiest} {idle}");
        assert_eq!(parse_machine("cpu  100 0 100 700 100 0 0 0 0 0").map(|(busy, idle)| idle / busy), Some(4.0));
        assert_eq!(parse_machine("intr 5"), None);
    }
}
