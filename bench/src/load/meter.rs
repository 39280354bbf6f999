//! What one thread of the load counts for one kind of work: [`Meter`], shared with whoever samples it every second.

use super::report;
use super::schedule::{Latencies, Schedule};
use hdrhistogram::Histogram;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A [`Counts`] that is shared; clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Meter(Arc<Mutex<Counts>>);

/// What was counted.
#[derive(Debug)]
pub(crate) struct Counts {
    /// From when a record should have been sent to its acknowledgement or its arrival, by phase.
    pub(crate) latencies: Latencies,
    /// Records that were acknowledged or arrived while something was measured.
    pub(crate) records: u64,
    /// Bytes of their values.
    pub(crate) bytes: u64,
    /// Of the records, those that were due meanwhile as well.
    pub(crate) in_time: u64,
    /// Requests that were answered meanwhile.
    pub(crate) requests: u64,
    /// Records that were due and never sent.
    pub(crate) unsent: u64,
    /// The longest time without any, in nanoseconds, while something was measured.
    pub(crate) silence: u64,
    /// By how much records were sent late through the generator's own fault.
    pub(crate) late: Histogram<u64>,
    /// By how much they were sent late through anybody's.
    pub(crate) delays: Histogram<u64>,
    /// Records, whatever phase it was.
    pub(crate) all: u64,
    /// When the first and the last of `records` came.
    pub(crate) active: Option<Range<u64>>,
    interval: Interval,
    measured: Range<u64>,
    last: u64,
}

/// What was counted since the last sample.
#[derive(Clone, Debug)]
pub(crate) struct Interval {
    /// Records, whatever phase it is.
    pub(crate) records: u64,
    /// Bytes of their values.
    pub(crate) bytes: u64,
    /// Their latencies.
    pub(crate) latency: Histogram<u64>,
    /// By how much records were sent late.
    pub(crate) delays: Histogram<u64>,
}

impl Interval {
    fn nothing() -> Self {
        Self { records: 0, bytes: 0, latency: report::histogram(), delays: report::histogram() }
    }

    /// Adds what another thread counted.
    pub(crate) fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.bytes += other.bytes;
        // They have the same bounds.
        let _ = self.latency.add(&other.latency);
        let _ = self.delays.add(&other.delays);
    }
}

impl Meter {
    /// Nothing yet.
    pub(crate) fn new(schedule: &Schedule) -> Self {
        let measured = schedule.measured();
        Self(Arc::new(Mutex::new(Counts {
            latencies: Latencies::new(schedule),
            records: 0,
            bytes: 0,
            in_time: 0,
            requests: 0,
            unsent: 0,
            silence: 0,
            late: report::histogram(),
            delays: report::histogram(),
            all: 0,
            active: None,
            last: measured.start,
            interval: Interval::nothing(),
            measured,
        })))
    }

    /// Access, for a moment.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was counted since the last sample.
    pub(crate) fn sample(&self) -> Interval {
        std::mem::replace(&mut self.lock().interval, Interval::nothing())
    }
}

impl Counts {
    /// Takes records of `bytes` each into account, which were acknowledged or arrived at `now`.
    pub(crate) fn take(&mut self, now: u64, intended: &[u64], bytes: u64) {
        let count = intended.len() as u64;
        self.all += count;
        self.interval.records += count;
        self.interval.bytes += count * bytes;
        if now >= self.measured.start && self.last < self.measured.end {
            // A silence that began in time counts to its end.
            self.silence = self.silence.max(now.saturating_sub(self.last));
            self.last = now;
        }
        if self.measured.contains(&now) {
            self.records += count;
            self.bytes += count * bytes;
            self.active = Some(self.active.as_ref().map_or(now, |active| active.start)..now);
        }
        for run in intended.chunk_by(|a, b| a == b) {
            let Some(due) = run.first() else { continue };
            self.latencies.record(*due, now, run.len() as u64);
            if self.measured.contains(due) {
                self.in_time += if self.measured.contains(&now) { run.len() as u64 } else { 0 };
                self.interval.latency.saturating_record_n(now.saturating_sub(*due), run.len() as u64);
            }
        }
    }

    /// Takes a record into account that was due at `due`, and that nobody has sent by `now`.
    pub(crate) fn never_sent(&mut self, due: u64, now: u64) {
        self.latencies.record(due, now, 1);
        self.unsent += 1;
    }

    /// Takes a request into account that was answered at `now`.
    pub(crate) fn answered(&mut self, now: u64) {
        self.requests += u64::from(self.measured.contains(&now));
    }

    /// Takes a record into account that was due at `due` and sent at `now`; until `closed` it waited for others.
    pub(crate) fn sent(&mut self, due: u64, closed: u64, now: u64) {
        if self.measured.contains(&due) {
            let delay = now.saturating_sub(due.max(closed));
            self.delays.saturating_record(delay);
            self.interval.delays.saturating_record(delay);
        }
    }

    /// Takes `count` records into account that were due at `due` and sent at `now`, which nobody but us delayed.
    pub(crate) fn sent_late(&mut self, due: u64, now: u64, count: u64) {
        if self.measured.contains(&due) {
            self.late.saturating_record_n(now.saturating_sub(due), count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warm_up_counts_for_nothing() {
        let meter = Meter::new(&Schedule::one(0, 100..200));
        let mut counts = meter.lock();
        counts.take(50, &[10, 10], 7);
        counts.take(150, &[90, 105, 105], 7);
        counts.take(250, &[190], 7);
        // A throughput counts what was acknowledged meanwhile, latencies those that began meanwhile, and a silence that
        // began meanwhile goes on to its end.
        assert_eq!((counts.records, counts.bytes, counts.latencies.total().len(), counts.silence), (3, 21, 3, 100));
        assert_eq!(counts.in_time, 2);
        drop(counts);
        assert_eq!((meter.sample().records, meter.sample().records), (6, 0));
    }

    #[test]
    fn a_record_that_waits_for_others_is_not_late() {
        const MS: u64 = 1_000_000;
        let meter = Meter::new(&Schedule::one(0, 100 * MS..200 * MS));
        let mut counts = meter.lock();
        // In the warm-up; within the linger time and at its end; 20 ms behind it; 5 ms late in itself.
        for (due, closed, now) in [(50, 50, 99), (110, 115, 115), (115, 115, 115), (116, 120, 140), (150, 120, 155)] {
            counts.sent(due * MS, closed * MS, now * MS);
        }
        let late = |ms: u64| counts.delays.count_at(ms * MS);
        assert_eq!((counts.delays.len(), late(0), late(20), late(5)), (4, 2, 1, 1));
        drop(counts);
        assert_eq!((meter.sample().delays.len(), meter.sample().delays.len()), (4, 0));
    }

    #[test]
    fn what_is_late_before_the_measurement_is_not_held_against_anybody() {
        let meter = Meter::new(&Schedule::one(0, 100..200));
        meter.lock().sent_late(50, 5_000_000, 3);
        meter.lock().sent_late(150, 5_000_000, 2);
        assert_eq!(meter.lock().late.len(), 2);
    }
}
