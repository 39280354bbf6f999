//! What must hold of what was sent: it is there, once, whole and in order.

use super::anomaly::Anomaly;
use super::facts::{Batch, Facts};
use super::history::{ClientNo, PartitionNo, Sent, Value};
use std::collections::BTreeMap;

pub(super) fn check(partition: PartitionNo, facts: &Facts, anomalies: &mut Vec<Anomaly>) {
    check_offsets(partition, facts, anomalies);
    check_lost(partition, facts, anomalies);
    check_batches(partition, facts, anomalies);
    check_order(partition, facts, anomalies);
}

fn check_offsets(partition: PartitionNo, facts: &Facts, anomalies: &mut Vec<Anomaly>) {
    for (&offset, values) in &facts.at {
        if values.len() > 1 {
            let values = values.iter().copied().collect();
            anomalies.push(Anomaly::InconsistentOffset { partition, offset, values });
        }
    }
    for (&value, offsets) in &facts.of {
        if offsets.len() > 1 {
            let offsets = offsets.iter().copied().collect();
            anomalies.push(Anomaly::Duplicate { partition, value, offsets });
        }
    }
    for &value in &facts.read {
        let possible = |&(batch, _): &(usize, usize)| facts.batches[batch].sent != Sent::Refused;
        if !facts.sent.get(&value).is_some_and(possible) {
            let offset = facts.of.get(&value).and_then(|offsets| offsets.first().copied()).unwrap_or_default();
            anomalies.push(Anomaly::Phantom { partition, offset, value });
        }
    }
}

fn check_lost(partition: PartitionNo, facts: &Facts, anomalies: &mut Vec<Anomaly>) {
    let Some(drained) = &facts.drained else {
        // What was acknowledged below the highest offset that was read, and is not known to be gone, must have been read.
        for (&value, offsets) in &facts.of {
            let Some(&offset) = offsets.last() else { continue };
            let due = offset >= facts.highest_start && Some(offset) < facts.highest_read;
            if due && !facts.read.contains(&value) && !facts.may_be_compacted(offset, value) {
                anomalies.push(Anomaly::LostWrite { partition, offset: Some(offset), value });
            }
        }
        return;
    };
    // Everything that was acknowledged or seen, at or above the log start, must be in what was drained.
    for (&value, offsets) in &facts.of {
        let Some(&offset) = offsets.last() else { continue };
        if offset < drained.start || drained.values.contains(&value) || facts.may_be_compacted(offset, value) {
            continue;
        }
        anomalies.push(if Some(offset) < facts.highest_read || facts.read.contains(&value) {
            Anomaly::LostWrite { partition, offset: Some(offset), value }
        } else {
            Anomaly::Unseen { partition, offset, value }
        });
    }
    // Where the offset is not known, only a log that lost nothing can tell.
    if drained.start > 0 || facts.compaction.is_some() {
        return;
    }
    for batch in facts.batches.iter().filter(|batch| batch.sent == Sent::AckedSomewhere) {
        for value in batch.records.iter().map(|record| record.value).filter(|value| !facts.of.contains_key(value)) {
            anomalies.push(Anomaly::LostWrite { partition, offset: None, value });
        }
    }
}

fn check_batches(partition: PartitionNo, facts: &Facts, anomalies: &mut Vec<Anomaly>) {
    for batch in &facts.batches {
        let client = batch.client;
        let offsets: Vec<(usize, Value, u64)> = batch
            .records
            .iter()
            .enumerate()
            .filter_map(|(place, record)| Some((place, record.value, facts.offset_of(record.value)?)))
            .collect();
        for pair in offsets.windows(2) {
            let &[(place, earlier, before), (next, later, after)] = pair else { continue };
            if after <= before {
                anomalies.push(Anomaly::InternalNonMonotonicSend { partition, client, earlier, later });
            } else if after - before != (next - place) as u64 {
                anomalies.push(Anomaly::InternalSendSkip { partition, client, earlier, later });
            }
        }
        check_whole(partition, facts, batch, anomalies);
    }
}

/// A batch of which a part was drained must be there as a whole, as far as it lies above the log start.
fn check_whole(partition: PartitionNo, facts: &Facts, batch: &Batch, anomalies: &mut Vec<Anomaly>) {
    let Some(drained) = &facts.drained else { return };
    let is_there = |value: Value| drained.values.contains(&value);
    let values = || batch.records.iter().map(|record| record.value);
    let Some((place, there)) = values().enumerate().find(|(_, value)| is_there(*value)) else { return };
    let Some(offset) = facts.offset_of(there) else { return };
    for (at, missing) in values().enumerate().filter(|(_, value)| !is_there(*value)) {
        let expected = (offset + at as u64).saturating_sub(place as u64);
        // What was acknowledged or read before is lost, which is said elsewhere.
        let said = facts.of.contains_key(&missing);
        if expected >= drained.start && !said && !facts.may_be_compacted(expected, missing) {
            anomalies.push(Anomaly::TornBatch { partition, client: batch.client, there, missing });
        }
    }
}

/// A batch whose place in the log is known.
#[derive(Clone, Copy)]
struct Placed {
    client: ClientNo,
    began: u64,
    /// `None` if nobody knows when it took effect.
    settled: Option<u64>,
    first: (u64, Value),
    last: (u64, Value),
}

fn check_order(partition: PartitionNo, facts: &Facts, anomalies: &mut Vec<Anomaly>) {
    let mut by_began: Vec<Placed> = facts.batches.iter().filter_map(|batch| place(facts, batch)).collect();
    by_began.sort_by_key(|placed| placed.began);
    let mut by_settled: Vec<(u64, Placed)> =
        by_began.iter().filter_map(|placed| Some((placed.settled?, *placed))).collect();
    by_settled.sort_by_key(|(settled, _)| *settled);
    // Behind each batch, the highest offset of all that had been acknowledged before it began.
    let mut settled = by_settled.into_iter().peekable();
    let mut highest: Option<(u64, Value)> = None;
    let mut highest_of: BTreeMap<ClientNo, (u64, Value)> = BTreeMap::new();
    for later in by_began {
        while let Some((_, earlier)) = settled.next_if(|(at, _)| *at < later.began) {
            highest = highest.max(Some(earlier.last));
            let own = highest_of.entry(earlier.client).or_insert(earlier.last);
            *own = (*own).max(earlier.last);
        }
        let (offset, value) = later.first;
        if let Some(&(before, earlier)) = highest_of.get(&later.client)
            && before >= offset
        {
            anomalies.push(Anomaly::NonMonotonicSend { partition, client: later.client, earlier, later: value });
        } else if let Some((before, earlier)) = highest
            && before >= offset
        {
            anomalies.push(Anomaly::RealTimeReorder { partition, earlier, later: value });
        }
    }
}

fn place(facts: &Facts, batch: &Batch) -> Option<Placed> {
    let offsets = || batch.records.iter().filter_map(|record| Some((facts.offset_of(record.value)?, record.value)));
    // A send of which nothing is known may take effect long after its sender gave up.
    let acknowledged = matches!(batch.sent, Sent::Acked(_) | Sent::AckedSomewhere);
    Some(Placed {
        client: batch.client,
        began: batch.span.began,
        settled: acknowledged.then_some(batch.span.ended),
        first: offsets().min()?,
        last: offsets().max()?,
    })
}
