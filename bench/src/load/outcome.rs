//! What a run came to: figures, what was verified, and what is wrong.

use super::generator::Verdict;
use super::meter::Interval;
use super::payload::Faults;
use super::reader::Book;
use super::report;
use super::schedule::{Latencies, Schedule};
use super::workload::{From, Workload};
use super::{Acknowledged, Resent};
use crate::results::{Following, Process};
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
    /// Their records.
    pub(crate) repeated: Resent,
    /// Whether a batch that is sent again may still be there only once.
    pub(crate) idempotent: bool,
    /// Requests that each producer has under way.
    pub(crate) in_flight: usize,
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
    /// Of the records, those that were due meanwhile as well.
    pub(crate) in_time: u64,
    /// Requests that brought them.
    pub(crate) requests: u64,
    /// Records that were due and never sent; their latencies are what they were when that was given up.
    pub(crate) unsent: u64,
    /// When the first and the last of them did.
    pub(crate) active: Option<Range<u64>>,
    /// The longest time without any, in nanoseconds.
    pub(crate) silence: u64,
    /// Second by second.
    pub(crate) series: Vec<Interval>,
    /// By how much records were sent late.
    pub(crate) delays: Histogram<u64>,
    /// When readers of a backlog had come to its end, in seconds since everybody began.
    pub(crate) drained: Option<f64>,
    /// How many read everything that is sent, and how far behind they were when the measurement began.
    pub(crate) following: Option<Following>,
}

impl Role {
    /// Nothing yet.
    pub(super) fn new(name: &str, latencies: Latencies) -> Self {
        Self {
            name: name.to_owned(),
            latencies,
            records: 0,
            bytes: 0,
            in_time: 0,
            requests: 0,
            unsent: 0,
            active: None,
            silence: 0,
            series: Vec::new(),
            delays: report::histogram(),
            drained: None,
            following: None,
        }
    }
}

/// What one group of readers, or one pass of it, found.
#[derive(Clone, Debug)]
pub(crate) struct GroupRead {
    /// How many records it read.
    pub(crate) records: u64,
    /// What was wrong with them.
    pub(crate) faults: Faults,
    /// What of that lay in the log again or out of order, by (run, stream, partition).
    disorder: BTreeMap<(u64, u32, i32), Faults>,
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
        let again = if members { book.again } else { 0 };
        Self { records: book.records, faults, disorder: book.tracker.disorder(), again }
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
            repeated: Resent::new(),
            idempotent: workload.producers.as_ref().is_some_and(|producers| producers.idempotent),
            in_flight: workload.producers.as_ref().map_or(1, |producers| producers.in_flight),
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

    /// How many records were written, those of the backlog and the warm-up included.
    pub(crate) fn written(&self) -> u64 {
        self.acknowledged.values().chain(self.backlog.values()).sum()
    }

    /// What of what was found wrong nothing excuses.
    pub(crate) fn inexcusable(&self) -> Faults {
        let (_, mut faults) = self.verified();
        for (stream, found) in self.groups.iter().flat_map(|group| &group.disorder) {
            let excused = self.excused(stream, found);
            faults.duplicated = faults.duplicated.saturating_sub(excused.duplicated);
            faults.reordered = faults.reordered.saturating_sub(excused.reordered);
        }
        faults
    }

    /// What of a stream's disorder its own resends explain. A record that was sent again may be there again, or, where
    /// other requests were under way, come behind theirs; but not more records than were sent again, and never those of an
    /// idempotent producer.
    fn excused(&self, stream: &(u64, u32, i32), found: &Faults) -> Faults {
        let repeated = self.repeated.get(stream).copied().filter(|_| !self.idempotent).unwrap_or_default();
        let reordered = if self.in_flight > 1 { found.reordered.min(repeated) } else { 0 };
        Faults { reordered, duplicated: found.duplicated.min(repeated - reordered), ..Faults::default() }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Builder, Codec};
    use crate::load::fetcher;
    use crate::load::options::Load;
    use crate::load::payload::Payloads;
    use crate::load::presets;
    use crate::load::workload::Producers;

    /// Batches of one record each with these sequences, as they lie in a log from offset 0 on.
    fn batches(sequences: &[u64]) -> Vec<Vec<u8>> {
        let mut payloads = Payloads::new(7, 1, 100);
        let batch = |(offset, sequence): (usize, &u64)| {
            let mut builder = Builder::new(Codec::None);
            builder.push(5, None, Some(payloads.write(0, *sequence, 9)), &[]);
            let mut bytes = builder.build().unwrap().to_vec();
            bytes[..8].copy_from_slice(&(offset as i64).to_be_bytes());
            bytes
        };
        sequences.iter().enumerate().map(batch).collect()
    }

    /// What a reader finds in answers with these batches, of four records that were acknowledged.
    fn read(answers: &[Vec<u8>], members: bool) -> GroupRead {
        let mut book = Book::default();
        for answer in answers {
            let from = book.read.get(&(0, 0)).copied().unwrap_or(0);
            let found = fetcher::check((0, 0), answer, from, &mut book.tracker, |_| {});
            book.again += found.before;
            book.records += found.records;
            let read = book.read.entry((0, 0)).or_default();
            *read = (*read).max(found.end);
        }
        GroupRead::new(&mut book, &Acknowledged::from([((7, 1, 0), 4)]), members)
    }

    #[test]
    fn whatever_is_done_to_batches_is_found() {
        let sound = batches(&[0, 1, 2, 3]);
        assert!(read(&sound, false).faults.none());
        // One is missing in the middle, and at the end.
        assert_eq!(read(&[&sound[..1], &sound[2..]].concat(), false).faults.lost, 1);
        assert_eq!(read(&sound[..3], false).faults.lost, 1);
        // The log has a record twice, or two the wrong way round.
        assert_eq!(read(&batches(&[0, 1, 1, 2, 3]), false).faults, Faults { duplicated: 1, ..Faults::default() });
        assert_eq!(read(&batches(&[0, 2, 1, 3]), false).faults, Faults { reordered: 1, ..Faults::default() });
        // The broker gives out an offset twice: a fault, unless another member had it and has not committed.
        let again = [&sound[..3], &sound[2..]].concat();
        assert_eq!(read(&again, false).faults, Faults { duplicated: 1, ..Faults::default() });
        assert_eq!((read(&again, true).faults, read(&again, true).again), (Faults::default(), 1));
        // A bit is flipped: the batch's checksum tells.
        let mut damaged = sound.clone();
        damaged[1][100] ^= 1;
        assert_eq!(read(&damaged, false).faults, Faults { lost: 1, corrupt: 1, ..Faults::default() });
        // A broker that damages a record and makes the checksum anew is told by the record's own.
        let crc = crc_fast::crc32_iscsi(&damaged[1][21..]);
        damaged[1][17..21].copy_from_slice(&(crc as u32).to_be_bytes());
        assert_eq!(read(&damaged, false).faults, Faults { lost: 1, corrupt: 1, ..Faults::default() });
    }

    fn outcome(producers: Producers) -> Outcome {
        let workload =
            Workload { producers: Some(producers), ..presets::workload("produce", &Load::default()).unwrap() };
        Outcome::new(&workload, &Schedule::one(0, 0..1))
    }

    /// Whether nothing is wrong with a log of these sequences, where a record of each of these streams was sent again.
    fn is_fine(producers: &Producers, repeated: &[(u64, u32, i32)], sequences: &[u64]) -> bool {
        let mut outcome = outcome(producers.clone());
        for stream in repeated {
            *outcome.repeated.entry(*stream).or_default() += 1;
        }
        outcome.groups.push(read(&batches(sequences), false));
        outcome.verdict().is_ok()
    }

    /// The stream of [`batches`].
    const OWN: (u64, u32, i32) = (7, 1, 0);

    #[test]
    fn only_what_was_sent_again_may_be_there_again() {
        let (several, again) = (Producers::default(), [0, 1, 1, 2, 3]);
        assert!(!is_fine(&several, &[], &again) && is_fine(&several, &[OWN], &again));
        // What another stream, or another partition, sent again explains nothing.
        assert!(!is_fine(&several, &[(7, 2, 0), (7, 1, 1)], &again));
        // As many as were sent again, and no more.
        assert!(!is_fine(&several, &[OWN], &[0, 1, 1, 1, 2, 3]) && is_fine(&several, &[OWN, OWN], &[0, 1, 1, 1, 2, 3]));
        assert!(!is_fine(&several, &[OWN], &[0, 1, 1, 3, 2]));
        assert!(!is_fine(&Producers { idempotent: true, ..several.clone() }, &[OWN], &again));
        assert!(!is_fine(&several, &[OWN], &[0, 1, 2]), "nothing excuses a loss");
    }

    #[test]
    fn only_what_was_sent_again_beside_others_may_be_out_of_order() {
        let (several, late) = (Producers::default(), [0, 2, 1, 3]);
        assert!(!is_fine(&several, &[], &late) && is_fine(&several, &[OWN], &late));
        assert!(!is_fine(&Producers { idempotent: true, ..several.clone() }, &[OWN], &late));
        assert!(!is_fine(&Producers { in_flight: 1, ..several }, &[OWN], &late), "there was nothing to overtake it");
    }

    #[test]
    fn a_broker_that_gives_an_offset_out_twice_is_not_excused() {
        let mut outcome = outcome(Producers::default());
        outcome.repeated = Resent::from([(OWN, 4)]);
        let sound = batches(&[0, 1, 2, 3]);
        outcome.groups.push(read(&[&sound[..3], &sound[2..]].concat(), false));
        assert!(outcome.verdict().unwrap_err().to_string().contains("1 duplicated"));
    }
}
