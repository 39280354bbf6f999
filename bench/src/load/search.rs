//! The highest sustainable rate: doubling until a rate cannot be kept up, and then halving the gap.
//!
//! A rate is kept up where what was due while it was measured was acknowledged, and arrived where somebody follows, within
//! a limit. What was due in the warm-up tells for nothing, neither what was late in it nor what it left to be done.

use super::outcome::Outcome;
use super::workload::{From, Workload};
use hdrhistogram::Histogram;

/// The part of what was due that must be done in time.
const IN_TIME: f64 = 0.99;
/// Two rates that are so near are the same.
pub(super) const NEAR: f64 = 1.05;
/// The most steps.
const STEPS: usize = 24;

/// What is known so far.
#[derive(Clone, Debug)]
pub(super) struct Search {
    next: f64,
    sustained: Option<f64>,
    failed: Option<f64>,
    steps: usize,
}

impl Search {
    /// Begins with this rate.
    pub(super) fn from(rate: f64) -> Self {
        Self { next: rate.max(1.0), sustained: None, failed: None, steps: 0 }
    }

    /// The rate to try; `None` when the answer is known, or never will be.
    pub(super) fn next(&self) -> Option<f64> {
        let near = self.sustained.zip(self.failed).is_some_and(|(low, high)| high / low <= NEAR);
        (!near && self.steps < STEPS && self.next >= 1.0).then_some(self.next)
    }

    /// Whether that rate was kept up.
    pub(super) fn tell(&mut self, sustained: bool) {
        self.steps += 1;
        if sustained {
            self.sustained = Some(self.next);
        } else {
            self.failed = Some(self.next);
        }
        self.next = match (self.sustained, self.failed) {
            (Some(low), Some(high)) => (low + high) / 2.0,
            (Some(low), None) => low * 2.0,
            (None, Some(high)) => high / 2.0,
            (None, None) => self.next,
        };
    }

    /// The highest rate that was kept up.
    pub(super) fn best(&self) -> Option<f64> {
        self.sustained
    }
}

/// Whether `workload` was kept up at `rate`, or why not.
pub(super) fn kept_up(workload: &Workload, rate: f64, outcome: &Outcome, p99_limit_ms: f64) -> Result<(), String> {
    let due = rate * outcome.seconds;
    // The last of it may be on its way when the measurement ends, and a rate has one more record in it or one less.
    let missing = due - outcome.sent.in_time as f64 - 1.0;
    if missing > (due * (1.0 - IN_TIME)).max(rate * p99_limit_ms / 1e3) {
        let got = outcome.sent.in_time as f64 / outcome.seconds;
        return Err(format!("{got:.0} records/s of what was due were acknowledged meanwhile"));
    }
    within("acknowledgement", &outcome.sent.latencies.total(), p99_limit_ms)?;
    for (readers, role) in workload.readers.iter().zip(&outcome.read) {
        // Who reads a backlog is late by nature.
        if readers.from == From::End {
            within(&format!("end to end ({})", role.name), &role.latencies.total(), p99_limit_ms)?;
        }
    }
    Ok(())
}

fn within(what: &str, latencies: &Histogram<u64>, limit_ms: f64) -> Result<(), String> {
    let p99 = latencies.value_at_quantile(IN_TIME) as f64 / 1e6;
    if p99 > limit_ms { Err(format!("p99 of {what} is {p99:.1} ms")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::meter::Meter;
    use crate::load::options::Load;
    use crate::load::outcome::Role;
    use crate::load::presets;
    use crate::load::schedule::Schedule;

    const MS: u64 = 1_000_000;

    /// Whether 1,000 records/s are kept up with a limit of 100 ms, where each record that is due in one second of warm-up
    /// and one of measurement is acknowledged and read so many milliseconds after it is due.
    fn judge(workload: &Workload, acknowledged: impl Fn(u64) -> u64, read: impl Fn(u64) -> u64) -> Result<(), String> {
        let schedule = Schedule::one(0, 1_000 * MS..2_000 * MS);
        let role = |name: &str, took: &dyn Fn(u64) -> u64| {
            let meter = Meter::new(&schedule);
            let mut counts = meter.lock();
            (0..2_000).for_each(|due| counts.take((due + took(due)) * MS, &[due * MS], 100));
            Role { in_time: counts.in_time, records: counts.records, ..Role::new(name, counts.latencies.clone()) }
        };
        let mut outcome = Outcome::new(workload, &schedule);
        outcome.seconds = 1.0;
        outcome.sent = role("producers", &acknowledged);
        outcome.read = workload.readers.iter().map(|readers| role(&readers.name, &read)).collect();
        kept_up(workload, 1_000.0, &outcome, 100.0)
    }

    fn workload(name: &str) -> Workload {
        presets::workload(name, &Load::default()).unwrap()
    }

    #[test]
    fn a_rate_is_kept_up_where_everybody_is_in_time() {
        let (produce, e2e) = (workload("produce"), workload("e2e"));
        assert_eq!(judge(&e2e, |_| 50, |_| 90), Ok(()));
        let late = |due| if due % 50 == 0 { 120 } else { 5 };
        assert!(judge(&produce, late, |_| 0).unwrap_err().starts_with("p99 of acknowledgement is 120"));
        assert!(judge(&e2e, |_| 5, late).unwrap_err().starts_with("p99 of end to end (tail) is 120"));
        // A backlog is read when it is read.
        assert_eq!(judge(&workload("drain"), |_| 5, |_| 5_000), Ok(()));
        // Ever later: a third of it in time.
        assert!(judge(&produce, |due| due / 2, |_| 0).unwrap_err().starts_with("334 records/s"));
    }

    #[test]
    fn the_warm_up_tells_for_nothing() {
        let produce = workload("produce");
        assert_eq!(judge(&produce, |due| if due < 1_000 { 700 } else { 5 }, |_| 0), Ok(()));
        // What is left of the warm-up is acknowledged at the rate meanwhile, and what is due is not.
        let behind = |due: u64| if due < 1_000 { 1_000 } else { 5_000 };
        assert!(judge(&produce, behind, |_| 0).unwrap_err().starts_with("0 records/s"));
    }

    #[test]
    fn what_is_found_is_near_what_there_is() {
        for capacity in [3.0, 950.0, 1_000.0, 123_456.0, 2_000_000.0] {
            let mut search = Search::from(1_000.0);
            let mut steps = 0;
            while let Some(rate) = search.next() {
                search.tell(rate <= capacity);
                steps += 1;
            }
            let best = search.best().unwrap();
            assert!(best <= capacity && best * NEAR >= capacity && steps <= STEPS, "{capacity}: {best} in {steps}");
        }
        let mut search = Search::from(1_000.0);
        while search.next().is_some() {
            search.tell(false);
        }
        assert_eq!(search.best(), None);
    }
}
