//! What must hold of what consumers were given: every record, in order, and a log start that only rises.

use super::anomaly::Anomaly;
use super::facts::Facts;
use super::history::{ClientNo, Event, History, PartitionNo, Polled, Span};
use std::collections::BTreeMap;

/// Drains are long answers of nobody's.
const NOBODY: ClientNo = ClientNo::MAX;

type Known = BTreeMap<PartitionNo, Facts>;

pub(super) fn check(history: &History, known: &Known, anomalies: &mut Vec<Anomaly>) {
    let mut positions: BTreeMap<(ClientNo, PartitionNo), u64> = BTreeMap::new();
    for event in history.events() {
        match event {
            Event::Seek { client, partition } => {
                positions.remove(&(*client, *partition));
            }
            Event::Poll { client, partition, records, log_start, .. } => {
                let before = positions.get(&(*client, *partition)).copied();
                let facts = &known[partition];
                if let Some(after) = check_answer(*partition, *client, facts, before, *log_start, records, anomalies) {
                    positions.insert((*client, *partition), after);
                }
            }
            Event::Drain { partition, start, records, .. } => {
                check_answer(*partition, NOBODY, &known[partition], None, *start, records, anomalies);
            }
            Event::Send { .. }
            | Event::Trim { .. }
            | Event::Commit { .. }
            | Event::Held { .. }
            | Event::Committed { .. } => {}
        }
    }
    for (&partition, facts) in known {
        check_starts(partition, facts, anomalies);
    }
}

/// One answer, of a client that was given the offset `before` last; its last offset.
fn check_answer(
    partition: PartitionNo,
    client: ClientNo,
    facts: &Facts,
    before: Option<u64>,
    log_start: u64,
    records: &[Polled],
    anomalies: &mut Vec<Anomaly>,
) -> Option<u64> {
    let mut last = before;
    let mut first = true;
    for &(next, _) in records {
        if let Some(after) = last {
            if next <= after {
                anomalies.push(if first {
                    Anomaly::NonMonotonicPoll { partition, client, after, next }
                } else {
                    Anomaly::InternalNonMonotonicPoll { partition, client, after, next }
                });
            } else if let Some(skipped) = skipped(facts, after, next, log_start) {
                anomalies.push(if first {
                    Anomaly::PollSkip { partition, client, after, next, skipped }
                } else {
                    Anomaly::InternalPollSkip { partition, client, after, next, skipped }
                });
            }
        }
        last = Some(next);
        first = false;
    }
    last
}

/// An offset strictly between two, and not below the log start, that is known to hold a record.
fn skipped(facts: &Facts, after: u64, next: u64, log_start: u64) -> Option<u64> {
    let from = (after + 1).max(log_start);
    if from >= next {
        return None;
    }
    let holds = |(offset, values): (&u64, &std::collections::BTreeSet<u64>)| {
        values.iter().any(|value| !facts.may_be_compacted(*offset, *value)).then_some(*offset)
    };
    facts.at.range(from..next).find_map(holds)
}

/// In answers that were asked for after others had come, the log start is not lower.
fn check_starts(partition: PartitionNo, facts: &Facts, anomalies: &mut Vec<Anomaly>) {
    let mut by_began: Vec<(Span, u64)> = facts.starts.clone();
    by_began.sort_by_key(|(span, _)| span.began);
    let mut by_ended: Vec<(Span, u64)> = facts.starts.iter().chain(&facts.trims).copied().collect();
    by_ended.sort_by_key(|(span, _)| span.ended);
    let mut ended = by_ended.into_iter().peekable();
    let mut highest = 0;
    for (span, start) in by_began {
        while let Some((_, before)) = ended.next_if(|(earlier, _)| earlier.ended < span.began) {
            highest = highest.max(before);
        }
        if start < highest {
            anomalies.push(Anomaly::LogStartWentBack { partition, before: highest, after: start });
        }
    }
}
