//! What must hold of a group's members: a partition is one member's at a time, and who has lost it commits nothing for it
//! any more.
//!
//! A tenure lasts from the answer that gave a partition to a member until the member let go of it. The coordinator gave it
//! before it began and may give it to somebody else only after it has ended, so those of two members never overlap.

use super::anomaly::Anomaly;
use super::history::{Event, GroupNo, History, Outcome, PartitionNo, Span, Term};
use std::collections::BTreeMap;

#[derive(Default)]
struct Tenures {
    held: Vec<(Span, Term)>,
    commits: Vec<(Span, Term)>,
}

pub(super) fn check(history: &History, anomalies: &mut Vec<Anomaly>) {
    let mut all: BTreeMap<(GroupNo, PartitionNo), Tenures> = BTreeMap::new();
    for event in history.events() {
        match event {
            Event::Held { group, partition, term, span } => {
                all.entry((*group, *partition)).or_default().held.push((*span, *term));
            }
            Event::Commit { group, partition, term: Some(term), span, outcome: Outcome::Done, .. } => {
                all.entry((*group, *partition)).or_default().commits.push((*span, *term));
            }
            _ => {}
        }
    }
    for ((group, partition), mut tenures) in all {
        tenures.held.sort_by_key(|(span, _)| span.began);
        two_owners(group, partition, &tenures.held, anomalies);
        for (when, by) in &tenures.commits {
            anomalies.extend(stale(group, partition, &tenures.held, *when, *by));
        }
    }
}

/// Tenures come in the order in which they began. Of those so far the one that lasts longest is compared with the next.
fn two_owners(group: GroupNo, partition: PartitionNo, held: &[(Span, Term)], anomalies: &mut Vec<Anomaly>) {
    let mut longest: Option<(Span, Term)> = None;
    for &(span, term) in held {
        if let Some((before, owner)) = longest
            && span.began < before.ended
            && owner.client != term.client
        {
            anomalies.push(Anomaly::TwoOwners { group, partition, first: owner.client, second: term.client });
        }
        if longest.is_none_or(|(before, _)| before.ended < span.ended) {
            longest = Some((span, term));
        }
    }
}

/// A commit all of which lies in the tenure of another member, whom the partition was given at a later epoch.
fn stale(group: GroupNo, partition: PartitionNo, held: &[(Span, Term)], when: Span, by: Term) -> Option<Anomaly> {
    let covers = |(span, term): &&(Span, Term)| {
        let within = span.began <= when.began && when.ended <= span.ended;
        within && term.client != by.client && term.epoch > by.epoch
    };
    let (_, owner) = held.iter().find(covers)?;
    Some(Anomaly::StaleCommit { group, partition, client: by.client, epoch: by.epoch, owner: owner.client })
}
