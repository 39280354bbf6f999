//! The checker: what clients saw, judged without knowing how the broker works.
//!
//! A [`History`] holds what producers sent and were told, and what consumers were given. [`check`] looks for the
//! anomalies of Jepsen's Kafka workload, as far as they can occur without transactions. Values are unique: no two sends
//! carry the same one.
//!
//! ```text
//!  send v1 -> acked at 0        poll -> [(0, v1), (2, v3)]     v2 acked at 1 and read by nobody: lost write
//!  send v2 -> acked at 1                                       offset 1 is known to exist: poll skip
//! ```

use std::collections::{BTreeMap, BTreeSet};

/// A partition, by whatever number the scenario gives it.
pub type PartitionNo = u32;
/// A client, by number. One client does one thing at a time per partition.
pub type ClientNo = u32;
/// What a record carries: unique over a history.
pub type Value = u64;

/// What a producer was told of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Acknowledged with acks=all, at this offset.
    Acked(u64),
    /// Acknowledged as a duplicate whose offset the broker does not know any more.
    AckedSomewhere,
    /// Refused for good: it must never be read.
    Refused,
    /// Nothing is known: it may be read or not, later as well.
    Unknown,
}

/// One thing that a client did. `began` and `ended` are of one clock that all clients of the history share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A record was sent.
    Send {
        /// By whom.
        client: ClientNo,
        /// Where to.
        partition: PartitionNo,
        /// What.
        value: Value,
        /// When the send began.
        began: u64,
        /// When its outcome was known.
        ended: u64,
        /// The outcome.
        sent: Sent,
    },
    /// A consumer was given records; its position is behind them now.
    Poll {
        /// Who.
        client: ClientNo,
        /// Of which partition.
        partition: PartitionNo,
        /// Offsets and values, in the order in which they came.
        records: Vec<(u64, Value)>,
    },
    /// A consumer set its position: what it polls next has nothing to do with what it polled before.
    Seek {
        /// Who.
        client: ClientNo,
        /// Of which partition.
        partition: PartitionNo,
    },
    /// After all sends had ended, a partition was read from its log start to its end.
    Drain {
        /// Which.
        partition: PartitionNo,
        /// The log start.
        start: u64,
        /// Everything there was.
        records: Vec<(u64, Value)>,
    },
}

/// What must not be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Anomaly {
    /// Acknowledged, or read by somebody, and not there although later offsets were read.
    LostWrite {
        /// Where.
        partition: PartitionNo,
        /// At which offset it was acknowledged or read, if that is known.
        offset: Option<u64>,
        /// What.
        value: Value,
    },
    /// One value at two offsets.
    Duplicate {
        /// Where.
        partition: PartitionNo,
        /// What.
        value: Value,
        /// Its offsets.
        offsets: Vec<u64>,
    },
    /// Two values at one offset.
    InconsistentOffset {
        /// Where.
        partition: PartitionNo,
        /// At which offset.
        offset: u64,
        /// The values.
        values: Vec<Value>,
    },
    /// A consumer was taken past an offset that holds a record.
    PollSkip {
        /// Where.
        partition: PartitionNo,
        /// Who.
        client: ClientNo,
        /// The offset it was given before.
        after: u64,
        /// The offset that it was given next.
        next: u64,
        /// An offset between that holds a record.
        skipped: u64,
    },
    /// A consumer was given an offset that is not above the one it was given before, in another poll.
    NonMonotonicPoll {
        /// Where.
        partition: PartitionNo,
        /// Who.
        client: ClientNo,
        /// The offset before.
        after: u64,
        /// The offset then.
        next: u64,
    },
    /// The same within one answer.
    InternalReorder {
        /// Where.
        partition: PartitionNo,
        /// Who.
        client: ClientNo,
        /// The offset before.
        after: u64,
        /// The offset then.
        next: u64,
    },
    /// A producer's later send has a lower offset than one of its own that had been acknowledged before it began.
    NonMonotonicSend {
        /// Where.
        partition: PartitionNo,
        /// Who.
        client: ClientNo,
        /// The earlier value.
        earlier: Value,
        /// The later value.
        later: Value,
    },
    /// The same between two producers: acknowledged before the other began, and yet behind it.
    RealTimeReorder {
        /// Where.
        partition: PartitionNo,
        /// The earlier value.
        earlier: Value,
        /// The later value.
        later: Value,
    },
    /// Read, but never sent to this partition, or refused for good.
    Phantom {
        /// Where.
        partition: PartitionNo,
        /// At which offset.
        offset: u64,
        /// What.
        value: Value,
    },
}

/// What all clients of a run did, each in its own order.
#[derive(Clone, Debug, Default)]
pub struct History {
    events: Vec<Event>,
}

impl History {
    /// Adds what a client did; each client's events come in its own order.
    pub fn push(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Everything so far.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// How many sends were acknowledged.
    pub fn acknowledged(&self) -> usize {
        let acked = |event: &&Event| matches!(event, Event::Send { sent: Sent::Acked(_) | Sent::AckedSomewhere, .. });
        self.events.iter().filter(acked).count()
    }
}

/// What is known of one partition.
#[derive(Default)]
struct Known {
    /// Every value that was acknowledged or read at an offset.
    at: BTreeMap<u64, BTreeSet<Value>>,
    /// Every offset of a value.
    of: BTreeMap<Value, BTreeSet<u64>>,
    /// What was read, by anybody.
    read: BTreeSet<Value>,
    /// The highest offset that anybody read.
    highest_read: Option<u64>,
    /// (value, offset, client, began, ended) of what was acknowledged at a known offset.
    acked: Vec<(Value, u64, ClientNo, u64, u64)>,
    acked_somewhere: BTreeSet<Value>,
    /// Sent and not refused for good.
    possible: BTreeSet<Value>,
    drained: Option<(u64, BTreeSet<Value>)>,
}

impl Known {
    fn observe(&mut self, offset: u64, value: Value) {
        self.at.entry(offset).or_default().insert(value);
        self.of.entry(value).or_default().insert(offset);
    }

    fn observe_read(&mut self, records: &[(u64, Value)]) {
        for &(offset, value) in records {
            self.observe(offset, value);
            self.read.insert(value);
            self.highest_read = self.highest_read.max(Some(offset));
        }
    }
}

/// Every anomaly of a history, sorted; empty if it is as it must be.
pub fn check(history: &History) -> Vec<Anomaly> {
    let known = gather(history);
    let mut anomalies = Vec::new();
    for (&partition, known) in &known {
        check_offsets(partition, known, &mut anomalies);
        check_lost(partition, known, &mut anomalies);
        check_order_of_sends(partition, known, &mut anomalies);
    }
    check_polls(history, &known, &mut anomalies);
    anomalies.sort();
    anomalies.dedup();
    anomalies
}

fn gather(history: &History) -> BTreeMap<PartitionNo, Known> {
    let mut all: BTreeMap<PartitionNo, Known> = BTreeMap::new();
    for event in &history.events {
        match event {
            Event::Send { client, partition, value, began, ended, sent } => {
                let known = all.entry(*partition).or_default();
                if *sent != Sent::Refused {
                    known.possible.insert(*value);
                }
                match sent {
                    Sent::Acked(offset) => {
                        known.observe(*offset, *value);
                        known.acked.push((*value, *offset, *client, *began, *ended));
                    }
                    Sent::AckedSomewhere => {
                        known.acked_somewhere.insert(*value);
                    }
                    Sent::Refused | Sent::Unknown => {}
                }
            }
            Event::Poll { partition, records, .. } => all.entry(*partition).or_default().observe_read(records),
            Event::Drain { partition, start, records } => {
                let known = all.entry(*partition).or_default();
                known.observe_read(records);
                known.drained = Some((*start, records.iter().map(|(_, value)| *value).collect()));
            }
            Event::Seek { .. } => {}
        }
    }
    all
}

fn check_offsets(partition: PartitionNo, known: &Known, anomalies: &mut Vec<Anomaly>) {
    for (&offset, values) in &known.at {
        if values.len() > 1 {
            let values = values.iter().copied().collect();
            anomalies.push(Anomaly::InconsistentOffset { partition, offset, values });
        }
    }
    for (&value, offsets) in &known.of {
        if offsets.len() > 1 {
            let offsets = offsets.iter().copied().collect();
            anomalies.push(Anomaly::Duplicate { partition, value, offsets });
        }
    }
    for &value in known.read.difference(&known.possible) {
        let offset = known.of.get(&value).and_then(|offsets| offsets.first().copied()).unwrap_or_default();
        anomalies.push(Anomaly::Phantom { partition, offset, value });
    }
}

fn check_lost(partition: PartitionNo, known: &Known, anomalies: &mut Vec<Anomaly>) {
    let mut lost = |offset, value| anomalies.push(Anomaly::LostWrite { partition, offset, value });
    match &known.drained {
        // Everything that was acknowledged or seen, at or above the log start, must be in what was drained.
        Some((start, drained)) => {
            for (&value, offsets) in &known.of {
                let newest = offsets.last().copied();
                if newest >= Some(*start) && !drained.contains(&value) {
                    lost(newest, value);
                }
            }
            // Where the offset is not known, only a log that lost nothing to retention can tell.
            if *start == 0 {
                known.acked_somewhere.difference(drained).for_each(|&value| lost(None, value));
            }
        }
        // Otherwise what was acknowledged below the highest offset that was read must have been read.
        None => {
            for &(value, offset, ..) in &known.acked {
                if Some(offset) < known.highest_read && !known.read.contains(&value) {
                    lost(Some(offset), value);
                }
            }
        }
    }
}

fn check_order_of_sends(partition: PartitionNo, known: &Known, anomalies: &mut Vec<Anomaly>) {
    // By beginning; behind each send, the highest offset of all that had ended before it began.
    let mut by_began = known.acked.clone();
    by_began.sort_by_key(|&(_, _, _, began, _)| began);
    let mut by_ended = known.acked.clone();
    by_ended.sort_by_key(|&(.., ended)| ended);
    let mut finished = by_ended.into_iter().peekable();
    let mut highest: Option<(u64, Value)> = None;
    let mut highest_of: BTreeMap<ClientNo, (u64, Value)> = BTreeMap::new();
    for (later, offset, client, began, _) in by_began {
        while let Some((value, offset, client, ..)) = finished.next_if(|&(.., ended)| ended < began) {
            highest = highest.max(Some((offset, value)));
            let own = highest_of.entry(client).or_insert((offset, value));
            *own = (*own).max((offset, value));
        }
        if let Some(&(before, earlier)) = highest_of.get(&client)
            && before >= offset
        {
            anomalies.push(Anomaly::NonMonotonicSend { partition, client, earlier, later });
        } else if let Some((before, earlier)) = highest
            && before >= offset
        {
            anomalies.push(Anomaly::RealTimeReorder { partition, earlier, later });
        }
    }
}

fn check_polls(history: &History, known: &BTreeMap<PartitionNo, Known>, anomalies: &mut Vec<Anomaly>) {
    let mut positions: BTreeMap<(ClientNo, PartitionNo), u64> = BTreeMap::new();
    for event in &history.events {
        let (client, partition, records) = match event {
            Event::Seek { client, partition } => {
                positions.remove(&(*client, *partition));
                continue;
            }
            Event::Poll { client, partition, records } => (*client, *partition, records),
            // A drain is one long answer of nobody's.
            Event::Drain { partition, records, .. } => (ClientNo::MAX, *partition, records),
            Event::Send { .. } => continue,
        };
        if matches!(event, Event::Drain { .. }) {
            positions.remove(&(client, partition));
        }
        let mut before = positions.get(&(client, partition)).copied();
        let mut first = true;
        for &(next, _) in records {
            if let Some(after) = before {
                if next <= after {
                    anomalies.push(if first {
                        Anomaly::NonMonotonicPoll { partition, client, after, next }
                    } else {
                        Anomaly::InternalReorder { partition, client, after, next }
                    });
                } else if let Some(skipped) = skipped(known.get(&partition), after, next) {
                    anomalies.push(Anomaly::PollSkip { partition, client, after, next, skipped });
                }
            }
            before = Some(next);
            first = false;
        }
        if let Some(before) = before {
            positions.insert((client, partition), before);
        }
    }
}

/// An offset strictly between two that is known to hold a record.
fn skipped(known: Option<&Known>, after: u64, next: u64) -> Option<u64> {
    known?.at.range(after + 1..next).next().map(|(&offset, _)| offset)
}

#[cfg(test)]
#[path = "checker_tests.rs"]
mod tests;
