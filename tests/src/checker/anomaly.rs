//! What must not be, each named as Jepsen's Kafka workload names it where it does.

use super::history::{ClientNo, GroupNo, PartitionNo, Value};

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
    /// Acknowledged beyond everything that anybody read, and not read although the partition was read to its end.
    Unseen {
        /// Where.
        partition: PartitionNo,
        /// At which offset it was acknowledged.
        offset: u64,
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
    /// Read, but never sent to this partition, or refused for good. (Jepsen: aborted read.)
    Phantom {
        /// Where.
        partition: PartitionNo,
        /// At which offset.
        offset: u64,
        /// What.
        value: Value,
    },
    /// A consumer was taken past an offset that holds a record, between two polls.
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
    /// The same within one answer.
    InternalPollSkip {
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
    InternalNonMonotonicPoll {
        /// Where.
        partition: PartitionNo,
        /// Who.
        client: ClientNo,
        /// The offset before.
        after: u64,
        /// The offset then.
        next: u64,
    },
    /// A producer's later batch has a lower offset than one of its own that had been acknowledged before it began.
    NonMonotonicSend {
        /// Where.
        partition: PartitionNo,
        /// Who.
        client: ClientNo,
        /// The last value of the earlier one.
        earlier: Value,
        /// The first value of the later one.
        later: Value,
    },
    /// The same between two producers: acknowledged before the other began, and yet behind it.
    RealTimeReorder {
        /// Where.
        partition: PartitionNo,
        /// The last value of the earlier one.
        earlier: Value,
        /// The first value of the later one.
        later: Value,
    },
    /// Two records of one batch changed places.
    InternalNonMonotonicSend {
        /// Where.
        partition: PartitionNo,
        /// Who.
        client: ClientNo,
        /// The earlier value.
        earlier: Value,
        /// The later value.
        later: Value,
    },
    /// There is room for other records between two neighbours of one batch.
    InternalSendSkip {
        /// Where.
        partition: PartitionNo,
        /// Who.
        client: ClientNo,
        /// The earlier value.
        earlier: Value,
        /// The later value.
        later: Value,
    },
    /// A part of a batch is there, the rest is not.
    TornBatch {
        /// Where.
        partition: PartitionNo,
        /// Who.
        client: ClientNo,
        /// A value that is there.
        there: Value,
        /// One that is not.
        missing: Value,
    },
    /// The log start was lower in a later answer than in one that had come before it was asked for.
    LogStartWentBack {
        /// Where.
        partition: PartitionNo,
        /// The log start before, or what an acknowledged deletion made of it.
        before: u64,
        /// The one in the later answer.
        after: u64,
    },
    /// A committed offset is gone, or an older one is back.
    LostCommit {
        /// Whose.
        group: GroupNo,
        /// Of which partition.
        partition: PartitionNo,
        /// The committed offset.
        committed: u64,
        /// What the group was told.
        found: Option<u64>,
    },
    /// A group was told an offset that it never committed, or that was refused, or not yet committed.
    PhantomCommit {
        /// Whose.
        group: GroupNo,
        /// Of which partition.
        partition: PartitionNo,
        /// What the group was told.
        found: u64,
    },
    /// Two members of a group held one partition at the same time.
    TwoOwners {
        /// Of which group.
        group: GroupNo,
        /// Which partition.
        partition: PartitionNo,
        /// Who had it.
        first: ClientNo,
        /// Who was given it nevertheless.
        second: ClientNo,
    },
    /// A member committed for a partition that another one held, given to it at a later epoch.
    StaleCommit {
        /// Of which group.
        group: GroupNo,
        /// Of which partition.
        partition: PartitionNo,
        /// Who committed.
        client: ClientNo,
        /// At which epoch.
        epoch: i32,
        /// Who held the partition.
        owner: ClientNo,
    },
}
