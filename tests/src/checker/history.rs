//! Histories: what clients did and saw, event by event.

use std::collections::BTreeMap;

/// A partition, by whatever number the scenario gives it.
pub type PartitionNo = u32;
/// A client, by number. One client does one thing at a time per partition.
pub type ClientNo = u32;
/// A consumer group, by number.
pub type GroupNo = u32;
/// What a record carries: unique over a history.
pub type Value = u64;
/// A record's key, by number; many records may have the same.
pub type Key = u64;
/// An offset and the value that was read there.
pub type Polled = (u64, Value);

/// When something began and when its outcome was known, by one clock that all clients of a history share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The request was about to be sent.
    pub began: u64,
    /// The answer, or the loss of it, was known.
    pub ended: u64,
}

/// A record as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentRecord {
    /// What it carries.
    pub value: Value,
    /// Its key, if it has one.
    pub key: Option<Key>,
    /// Whether it says that its key is gone.
    pub tombstone: bool,
}

impl SentRecord {
    /// A record without a key.
    pub fn plain(value: Value) -> SentRecord {
        SentRecord { value, key: None, tombstone: false }
    }
}

/// What a producer was told of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Acknowledged with acks=all, its first record at this offset.
    Acked(u64),
    /// Acknowledged as a duplicate whose offset the broker does not know any more.
    AckedSomewhere,
    /// Refused for good: it must never be read.
    Refused,
    /// Nothing is known: it may be read or not, later as well.
    Unknown,
}

/// Who speaks for a group: a member, at the epoch (or in the generation) that it knew of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// The member. One that joins anew is another.
    pub client: ClientNo,
    /// Its epoch.
    pub epoch: i32,
}

/// What somebody was told of a change that has no offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It took effect.
    Done,
    /// It never will.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// One thing that a client did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A batch was sent: one of a log's, whole or not at all.
    Send {
        /// By whom.
        client: ClientNo,
        /// Where to.
        partition: PartitionNo,
        /// What, in this order.
        records: Vec<SentRecord>,
        /// When.
        span: Span,
        /// The outcome.
        sent: Sent,
    },
    /// A consumer was given records; its position is behind them now.
    Poll {
        /// Who.
        client: ClientNo,
        /// Of which partition.
        partition: PartitionNo,
        /// When.
        span: Span,
        /// The log start that came with them.
        log_start: u64,
        /// What, in the order in which it came.
        records: Vec<Polled>,
    },
    /// A consumer set its position: what it polls next has nothing to do with what it polled before. Consumers set it to
    /// the log start or to where they had been, not ahead of what nobody read.
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
        /// When.
        span: Span,
        /// The log start.
        start: u64,
        /// Everything there was.
        records: Vec<Polled>,
    },
    /// The records of a partition below an offset were deleted on demand.
    Trim {
        /// Which.
        partition: PartitionNo,
        /// The log start that was asked for.
        before: u64,
        /// When.
        span: Span,
        /// The outcome.
        outcome: Outcome,
    },
    /// A group committed an offset.
    Commit {
        /// Which.
        group: GroupNo,
        /// Of which partition.
        partition: PartitionNo,
        /// The offset.
        offset: u64,
        /// The member that did, where the group has members. Members commit for what they hold, or held at an epoch that is
        /// over.
        term: Option<Term>,
        /// When.
        span: Span,
        /// The outcome.
        outcome: Outcome,
    },
    /// A member of a group held a partition for certain: from the answer that gave it to it until it let go of it, or until it
    /// may have been taken for dead.
    Held {
        /// Of which group.
        group: GroupNo,
        /// Of which partition.
        partition: PartitionNo,
        /// Who, and at which epoch it was given the partition.
        term: Term,
        /// When.
        span: Span,
    },
    /// A group was told what it has committed.
    Committed {
        /// Which.
        group: GroupNo,
        /// Of which partition.
        partition: PartitionNo,
        /// The offset, if there is one.
        found: Option<u64>,
        /// When.
        span: Span,
    },
}

/// What becomes of the tombstones of a compacted partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tombstones {
    /// They stay for longer than the history lasts.
    Stay,
    /// One may go when nothing older of its key is left.
    MayGo,
}

/// What all clients of a run did, each in its own order.
#[derive(Clone, Debug, Default)]
pub struct History {
    events: Vec<Event>,
    compacted: BTreeMap<PartitionNo, Tombstones>,
}

impl History {
    /// Adds what a client did; each client's events come in its own order.
    pub fn push(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Says that of records with one key only the last need stay.
    pub fn compacts(&mut self, partition: PartitionNo, tombstones: Tombstones) {
        self.compacted.insert(partition, tombstones);
    }

    /// Everything so far.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Whether a partition is compacted, and what becomes of its tombstones then.
    pub fn compaction_of(&self, partition: PartitionNo) -> Option<Tombstones> {
        self.compacted.get(&partition).copied()
    }

    /// How many records were acknowledged.
    pub fn acknowledged(&self) -> usize {
        let acked = |event: &Event| match event {
            Event::Send { sent: Sent::Acked(_) | Sent::AckedSomewhere, records, .. } => records.len(),
            _ => 0,
        };
        self.events.iter().map(acked).sum()
    }

    /// The history as `change` makes it, event by event.
    #[must_use]
    pub fn map(&self, change: impl FnMut(Event) -> Event) -> History {
        History { events: self.events.iter().cloned().map(change).collect(), compacted: self.compacted.clone() }
    }
}
