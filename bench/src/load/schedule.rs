//! When a run sends, and which phases of that are measured.
//!
//! Phases are fixed before the run begins, so that what changes between them (others that replay history, a store that
//! fails) finds the same senders and readers, which never stop.

use super::report;
use super::workload::Workload;
use hdrhistogram::Histogram;
use std::ops::Range;
use std::sync::Arc;

/// Until everybody has heard of it, in nanoseconds.
const HEAD_START: u64 = 100_000_000;

/// Times in nanoseconds of the run's clock.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    /// When sending begins.
    pub(crate) start: u64,
    /// When it ends.
    pub(crate) end: u64,
    /// When nothing is due.
    rest: Range<u64>,
    phases: Arc<[Range<u64>]>,
}

impl Schedule {
    /// Sends through all of `phases`, which ascend, and from `start` on.
    pub(crate) fn new(start: u64, phases: Vec<Range<u64>>) -> Self {
        let end = phases.last().map_or(start, |last| last.end);
        Self { start, end, rest: start..start, phases: phases.into() }
    }

    /// Sends from `start` on through one phase.
    pub(crate) fn one(start: u64, phase: Range<u64>) -> Self {
        Self::new(start, std::iter::once(phase).collect())
    }

    /// A workload's warm-up and its one phase, from now on.
    pub(super) fn after(now: u64, workload: &Workload) -> Self {
        let start = now + HEAD_START;
        let measure = start + (workload.warmup * 1e9) as u64;
        let rest = measure - (workload.rest.min(workload.warmup) * 1e9) as u64..measure;
        Self { rest, ..Self::one(start, measure..measure + (workload.seconds * 1e9) as u64) }
    }

    /// When what comes so many nanoseconds of sending after the start is due.
    pub(crate) fn due(&self, sending: u64) -> u64 {
        let due = self.start + sending;
        if due < self.rest.start { due } else { due + (self.rest.end - self.rest.start) }
    }

    /// The phases, in order.
    pub(crate) fn phases(&self) -> &[Range<u64>] {
        &self.phases
    }

    /// From the first phase's start to the last one's end.
    pub(crate) fn measured(&self) -> Range<u64> {
        self.phases.first().map_or(self.end, |first| first.start)..self.end
    }

    /// How long that is.
    pub(crate) fn seconds(&self) -> f64 {
        let Range { start, end } = self.measured();
        (end - start) as f64 / 1e9
    }
}

/// Latencies by the phase in which they began.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    schedule: Schedule,
    phases: Vec<Histogram<u64>>,
}

impl Latencies {
    /// None yet.
    pub(super) fn new(schedule: &Schedule) -> Self {
        let phases = schedule.phases.iter().map(|_| report::histogram()).collect();
        Self { schedule: schedule.clone(), phases }
    }

    /// Takes `count` latencies from `intended` to `now` into account, if a phase was on at `intended`.
    pub(super) fn record(&mut self, intended: u64, now: u64, count: u64) {
        let phase = self.schedule.phases.partition_point(|phase| phase.end <= intended);
        let is_on = self.schedule.phases.get(phase).is_some_and(|phase| phase.start <= intended);
        if let Some(latencies) = self.phases.get_mut(phase).filter(|_| is_on) {
            latencies.saturating_record_n(now.saturating_sub(intended), count);
        }
    }

    /// Adds those of another sender or reader of the same schedule.
    pub(crate) fn add(&mut self, other: &Self) {
        for (to, from) in self.phases.iter_mut().zip(&other.phases) {
            // They have the same bounds.
            let _ = to.add(from);
        }
    }

    /// Those of each phase.
    pub(crate) fn phases(&self) -> &[Histogram<u64>] {
        &self.phases
    }

    /// Those of all phases together.
    pub(crate) fn total(&self) -> Histogram<u64> {
        let mut total = report::histogram();
        for phase in &self.phases {
            let _ = total.add(phase);
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::options::Load;
    use crate::load::presets;

    #[test]
    fn nothing_is_due_while_it_rests() {
        let workload = presets::workload("produce", &Load::default()).unwrap();
        let schedule = Schedule::after(0, &Workload { warmup: 4.0, rest: 1.0, ..workload.clone() });
        let due =
            [0.0, 2.9, 3.0, 3.5, 4.0].map(|seconds| (schedule.due((seconds * 1e9) as u64) - HEAD_START) / 100_000_000);
        assert_eq!(due, [0, 29, 40, 45, 50]);
        assert_eq!(schedule.measured().start - HEAD_START, 4_000_000_000);
        let schedule = Schedule::after(0, &workload);
        assert_eq!(schedule.due(7_000_000_000), HEAD_START + 7_000_000_000);
    }

    #[test]
    fn a_latency_counts_for_the_phase_in_which_it_began() {
        let schedule = Schedule::new(0, vec![100..200, 300..400]);
        assert_eq!((schedule.end, schedule.measured()), (400, 100..400));
        let mut latencies = Latencies::new(&schedule);
        // Before, in the first (and answered long after), between, in the second, behind.
        for (intended, count) in [(99, 1), (100, 2), (199, 4), (200, 8), (299, 16), (300, 32), (400, 64)] {
            latencies.record(intended, 5_000_000, count);
        }
        let counts: Vec<u64> = latencies.phases().iter().map(Histogram::len).collect();
        assert_eq!(counts, [6, 32]);
        latencies.add(&latencies.clone());
        assert_eq!(latencies.total().len(), 76);
    }
}
