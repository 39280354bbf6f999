//! What a run came to: figures, what was verified, and what is wrong.

use super::Acknowledged;
use super::generator::Verdict;
use super::meter::Interval;
use super::payload::Faults;
use super::reader::Book;
use super::report;
use super::schedule::{Latencies, Schedule};
use super::workload::{From, Workload};
use crate::results::Process;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::ops::Range;

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What was sent.
    pub(crate) sent: Role,
    /// What was read, kind by kind.
    pub(crate) read: Vec<Role>,
    /// What each group of readers found.
    pub(crate) groups: Vec<GroupRead>,
    /// What was acknowledged since the run began, warm-up included.
    pub(crate) acknowledged: Acknowledged,
    /// What was acknowledged of the backlog.
    pub(crate) backlog: Acknowledged,
    /// The newest record of each key.
    pub(crate) newest: BTreeMap<Box<[u8]>, u64>,
    /// Batches that were sent more than once.
    pub(crate) resent: u64,
    /// Whether a batch that is sent again may still be there only once.
    pub(crate) idempotent: bool,
    /// By how much records were sent late through the generator's own fault.
    pub(crate) late: Histogram<u64>,
    /// How the generator is judged.
    pub(crate) generator: Option<Verdict>,
    /// What the broker's process spent.
    pub(crate) broker: Option<Process>,
    /// Seconds that each restart's command took.
    pub(crate) restarts: Vec<f64>,
    /// How long members of groups were without partitions.
    pub(crate) rebalances: Histogram<u64>,
    /// What else is wrong.
    pub(crate) wrong: Vec<String>,
    /// What else is to be told: name, value, unit.
    pub(crate) measures: Vec<(String, f64, &'static str)>,
    /// Seconds that were measured.
    pub(crate) seconds: f64,
}

/// One kind of work.
#[derive(Debug)]
pub(crate) struct Role {
    /// What it is called.
    pub(crate) name: String,
    /// From when a record should have been sent to its acknowledgement or arrival.
    pub(crate) latencies: Latencies,
    /// Records that went by while something was measured.
    pub(crate) records: u64,
    /// Bytes of their values.
    pub(crate) bytes: u64,
    /// Requests that brought them.
    pub(crate) requests: u64,
    /// When the first and the last of them did.
    pub(crate) active: Option<Range<u64>>,
    /// The longest time without any, in nanoseconds.
    pub(crate) silence: u64,
    /// Second by second.
    pub(crate) series: Vec<Interval>,
    /// When readers of a backlog had come to its end, in seconds since everybody began.
    pub(crate) drained: Option<f64>,
}

impl Role {
    /// Nothing yet.
    pub(super) fn new(name: &str, latencies: Latencies) -> Self {
        Self {
            name: name.to_owned(),
            latencies,
            records: 0,
            bytes: 0,
            requests: 0,
            active: None,
            silence: 0,
            series: Vec::new(),
            drained: None,
        }
    }
}

/// What one group of readers, or one pass of it, found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupRead {
    /// How many records it read.
    pub(crate) records: u64,
    /// What was wrong with them.
    pub(crate) faults: Faults,
    /// Records that another member had read and not committed.
    pub(crate) again: u64,
}

impl GroupRead {
    /// What `book` says, given what had to be there.
    pub(super) fn new(book: &mut Book, expected: &Acknowledged, members: bool) -> Self {
        let mut faults = book.tracker.faults(expected);
        if !members {
            // Who has a partition alone is given nothing twice.
            faults.duplicated += book.again;
        }
        Self { records: book.records, faults, again: if members { book.again } else { 0 } }
    }
}

impl Outcome {
    /// Nothing yet.
    pub(super) fn new(workload: &Workload, schedule: &Schedule) -> Self {
        Self {
            sent: Role::new("producers", Latencies::new(schedule)),
            read: Vec::new(),
            groups: Vec::new(),
            acknowledged: Acknowledged::new(),
            backlog: Acknowledged::new(),
            newest: BTreeMap::new(),
            resent: 0,
            idempotent: workload.producers.as_ref().is_some_and(|producers| producers.idempotent),
            late: report::histogram(),
            generator: None,
            broker: None,
            restarts: Vec::new(),
            rebalances: report::histogram(),
            wrong: Vec::new(),
            measures: Vec::new(),
            seconds: 0.0,
        }
    }

    /// Everything that was found wrong with records, and how many were looked at.
    pub(crate) fn verified(&self) -> (u64, Faults) {
        let mut sum = Faults::default();
        for group in &self.groups {
            sum.lost += group.faults.lost;
            sum.duplicated += group.faults.duplicated;
            sum.reordered += group.faults.reordered;
            sum.corrupt += group.faults.corrupt;
        }
        (self.groups.iter().map(|group| group.records).sum(), sum)
    }

    /// What of that nothing excuses: a batch that had to be sent again may be there twice or out of order, unless the
    /// producer is idempotent.
    pub(crate) fn inexcusable(&self) -> Faults {
        let (_, faults) = self.verified();
        if self.resent > 0 && !self.idempotent { Faults { duplicated: 0, reordered: 0, ..faults } } else { faults }
    }

    /// Why the run does not count, as far as records are concerned and what else is wrong.
    ///
    /// # Errors
    /// With the first reason.
    pub(crate) fn verdict(&self) -> anyhow::Result<()> {
        let faults = self.inexcusable();
        anyhow::ensure!(faults.none(), "what was read is not what was acknowledged: {faults}");
        anyhow::ensure!(self.wrong.is_empty(), "{}", self.wrong.join("; "));
        Ok(())
    }
}

/// Whether readers that begin there are timed by what they read alone.
pub(super) fn is_catch_up(from: From) -> bool {
    matches!(from, From::BacklogOnly | From::BacklogOnce)
}
