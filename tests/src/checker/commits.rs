//! What must hold of the offsets that groups commit: each partition's is a register, and what is read is what was
//! written last.
//!
//! A commit has taken effect when it was acknowledged, or when a reader was told of it. One that has neither may take
//! effect at any time after it began, once.

use super::anomaly::Anomaly;
use super::history::{Event, GroupNo, History, Outcome, PartitionNo, Span};
use std::collections::BTreeMap;

struct Commit {
    offset: u64,
    began: u64,
    /// When it had taken effect for certain.
    settled: Option<u64>,
}

#[derive(Default)]
struct Register {
    commits: Vec<Commit>,
    reads: Vec<(Span, Option<u64>)>,
}

pub(super) fn check(history: &History, anomalies: &mut Vec<Anomaly>) {
    let mut registers: BTreeMap<(GroupNo, PartitionNo), Register> = BTreeMap::new();
    for event in history.events() {
        match event {
            Event::Commit { group, partition, offset, span, outcome, .. } if *outcome != Outcome::Refused => {
                let settled = (*outcome == Outcome::Done).then_some(span.ended);
                let commit = Commit { offset: *offset, began: span.began, settled };
                registers.entry((*group, *partition)).or_default().commits.push(commit);
            }
            Event::Committed { group, partition, found, span } => {
                registers.entry((*group, *partition)).or_default().reads.push((*span, *found));
            }
            _ => {}
        }
    }
    for ((group, partition), register) in &mut registers {
        register.settle();
        for &(span, found) in &register.reads {
            anomalies.extend(register.judge(*group, *partition, span, found));
        }
    }
}

impl Register {
    /// What somebody was told of has taken effect, if there is no doubt which commit it was.
    fn settle(&mut self) {
        let mut times: BTreeMap<u64, usize> = BTreeMap::new();
        self.commits.iter().for_each(|commit| *times.entry(commit.offset).or_default() += 1);
        for commit in self.commits.iter_mut().filter(|commit| times[&commit.offset] == 1) {
            let told = self.reads.iter().filter(|(_, found)| *found == Some(commit.offset)).map(|(span, _)| span.ended);
            commit.settled = commit.settled.into_iter().chain(told).min();
        }
    }

    fn judge(&self, group: GroupNo, partition: PartitionNo, span: Span, found: Option<u64>) -> Option<Anomaly> {
        let told = |commit: &&Commit| Some(commit.offset) == found && commit.began < span.ended;
        let mut told: Vec<&Commit> = self.commits.iter().filter(told).collect();
        if let Some(found) = found.filter(|_| told.is_empty()) {
            return Some(Anomaly::PhantomCommit { group, partition, found });
        }
        // Of several that committed this offset, the one with the best excuse.
        told.sort_by_key(|commit| commit.settled.unwrap_or(u64::MAX));
        let read = told.last().map(|commit| commit.settled);
        // A commit that had taken effect before the read began, and that began after what was read had taken effect.
        let newer = |commit: &&Commit| {
            let effective = commit.settled.is_some_and(|settled| settled < span.began);
            effective && read.is_none_or(|read| read.is_some_and(|settled| settled < commit.began))
        };
        let lost = self.commits.iter().filter(newer).max_by_key(|commit| commit.began)?;
        Some(Anomaly::LostCommit { group, partition, committed: lost.offset, found })
    }
}
