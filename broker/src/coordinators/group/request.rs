//! What a group machine is asked and what it answers, free of the wire's versions and sentinels.
//!
//! A [`Request`] comes with a [`Token`]; the [`Answer`] to it comes back in a [`Reply`] with the same token, at once or,
//! for joins and syncs, when the other members have done their part. Errors are Kafka's, by their names.

use super::consumer_request::{Beat, ConsumerHeartbeat, DescribedConsumerGroup, Refusal};
use bytes::Bytes;
use esker_storage::env::{Monotonic, Timestamp};
use kafka_protocol::error::ResponseError;
use std::time::Duration;
use uuid::Uuid;

/// Names one request until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub u64);

/// The present, by both clocks: deadlines follow the monotonic one, records carry the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For deadlines.
    pub monotonic: Monotonic,
    /// For what is written down.
    pub wall: Timestamp,
}

/// A request to the groups of one partition.
#[derive(Clone, Debug)]
pub enum Request {
    /// JoinGroup.
    Join(JoinRequest),
    /// SyncGroup.
    Sync(SyncRequest),
    /// Heartbeat; answered by [`Answer::Heartbeat`].
    Heartbeat(MemberRequest),
    /// LeaveGroup; answered by [`Answer::Leave`].
    Leave {
        /// The group's id.
        group: String,
        /// Who leaves.
        members: Vec<Leaver>,
    },
    /// ConsumerGroupHeartbeat; answered by [`Answer::Beat`].
    Beat(Box<ConsumerHeartbeat>),
    /// ConsumerGroupDescribe of one group; answered by [`Answer::Consumers`].
    DescribeConsumers {
        /// The group's id.
        group: String,
    },
    /// OffsetCommit; answered by [`Answer::Commit`].
    Commit(CommitRequest),
    /// OffsetFetch; answered by [`Answer::Offsets`].
    Fetch {
        /// The group's id.
        group: String,
        /// Topics and partitions, or `None` for all that the group has.
        topics: Option<Vec<(String, Vec<i32>)>>,
        /// Version 9 on: the member that asks, if it is one, and its epoch.
        member: Option<(String, i32)>,
    },
    /// OffsetDelete; answered by [`Answer::Commit`].
    DeleteOffsets {
        /// The group's id.
        group: String,
        /// Topics and partitions.
        topics: Vec<(String, Vec<i32>)>,
    },
    /// DescribeGroups of one group; answered by [`Answer::Describe`].
    Describe {
        /// The group's id.
        group: String,
    },
    /// ListGroups; answered by [`Answer::List`].
    List,
    /// DeleteGroups of one group; answered by [`Answer::Delete`].
    Delete {
        /// The group's id.
        group: String,
    },
    /// Topics were deleted: forget their offsets; answered by [`Answer::TopicsDeleted`].
    TopicsDeleted {
        /// Their names.
        topics: Vec<String>,
    },
}

/// JoinGroup.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    /// The group's id.
    pub group: String,
    /// The member's id; empty if it has none yet.
    pub member: String,
    /// The instance id of a static member (KIP-345).
    pub instance: Option<String>,
    /// What the coordinator makes a new member's id from.
    pub fresh: Uuid,
    /// The client's `client.id`.
    pub client_id: String,
    /// The client's address.
    pub client_host: String,
    /// How long the member may be silent.
    pub session_timeout: SessionTimeout,
    /// How long a rebalance waits for the member.
    pub rebalance_timeout: Duration,
    /// The kind of group.
    pub protocol_type: String,
    /// What the member can do, best first, with its metadata for each.
    pub protocols: Vec<(String, Bytes)>,
    /// Version 4 on: a new dynamic member must come back with the id that it is given (KIP-394).
    pub requires_member_id: bool,
    /// Version 9 on: a static leader may be told to leave the assignment as it is (KIP-814).
    pub supports_skipping_assignment: bool,
}

/// A session timeout as the client wants it; [`None`] stands for a negative one, which no bounds allow.
pub type SessionTimeout = Option<Duration>;

/// What a join came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinAnswer {
    /// The error, or that the member is in.
    pub result: Result<Joined, ResponseError>,
    /// The member's id; with MEMBER_ID_REQUIRED the one to come back with.
    pub member: String,
}

/// A member's view of its new generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The generation.
    pub generation: i32,
    /// The kind of group.
    pub protocol_type: String,
    /// The protocol that was chosen.
    pub protocol: String,
    /// The member that assigns.
    pub leader: String,
    /// Tells the leader that the assignment stands.
    pub skip_assignment: bool,
    /// For the leader: every member with its metadata.
    pub members: Vec<JoinedMember>,
}

/// A member as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub id: String,
    /// The instance id of a static member.
    pub instance: Option<String>,
    /// Its metadata for the chosen protocol.
    pub metadata: Bytes,
}

/// Who speaks, in requests of members.
#[derive(Clone, Debug)]
pub struct MemberRequest {
    /// The group's id.
    pub group: String,
    /// The member's id.
    pub member: String,
    /// The instance id of a static member.
    pub instance: Option<String>,
    /// The generation that the member believes in.
    pub generation: i32,
}

/// SyncGroup.
#[derive(Clone, Debug)]
pub struct SyncRequest {
    /// Who speaks.
    pub from: MemberRequest,
    /// Version 5 on: the kind of group that the member believes in.
    pub protocol_type: Option<String>,
    /// Version 5 on: the protocol that the member believes in.
    pub protocol: Option<String>,
    /// From the leader: what each member gets.
    pub assignments: Vec<(String, Bytes)>,
}

/// A member's assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// The kind of group.
    pub protocol_type: Option<String>,
    /// The protocol that was chosen.
    pub protocol: Option<String>,
    /// What the leader gave, byte for byte; empty if it gave nothing.
    pub assignment: Bytes,
}

/// One who leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaver {
    /// The member's id; empty if only the instance is named.
    pub member: String,
    /// The instance id of a static member.
    pub instance: Option<String>,
}

/// OffsetCommit.
#[derive(Clone, Debug)]
pub struct CommitRequest {
    /// The group's id.
    pub group: String,
    /// The committing member's id; empty from outside the group.
    pub member: String,
    /// The instance id of a static member.
    pub instance: Option<String>,
    /// The generation; `None` from outside the group.
    pub generation: Option<i32>,
    /// What the offsets are kept for, if the client says so (versions 2 to 4).
    pub retention: Option<Duration>,
    /// Version 9 on: the client knows member epochs, and GROUP_ID_NOT_FOUND instead of ILLEGAL_GENERATION.
    pub knows_member_epochs: bool,
    /// The offsets by topic.
    pub topics: Vec<(String, Vec<CommitPartition>)>,
}

/// One offset to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitPartition {
    /// The partition's index.
    pub partition: i32,
    /// The next offset to consume.
    pub offset: i64,
    /// The leader epoch of the record before it.
    pub leader_epoch: Option<i32>,
    /// What the client wants to have kept with it.
    pub metadata: String,
}

/// Per topic: its name, and each partition's error if it has one, in the order of the request.
pub type CommitResults = Vec<(String, Vec<(i32, Option<ResponseError>)>)>;

/// Per topic: its name, and each partition's committed offset if it has one, in the order of the request.
pub type FetchedTopics = Vec<(String, Vec<(i32, Option<FetchedOffset>)>)>;

/// A committed offset as it is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedOffset {
    /// The next offset to consume.
    pub offset: i64,
    /// The leader epoch of the record before it.
    pub leader_epoch: Option<i32>,
    /// What the client wanted to have kept with it.
    pub metadata: String,
}

/// A group's state, by Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupState {
    /// No members; maybe offsets.
    Empty,
    /// Waiting for every member to join.
    PreparingRebalance,
    /// Waiting for the leader's assignment.
    CompletingRebalance,
    /// Every member has its assignment.
    Stable,
    /// No such group.
    Dead,
}

impl GroupState {
    /// Kafka's name, as DescribeGroups and ListGroups show it.
    pub fn name(self) -> &'static str {
        match self {
            GroupState::Empty => "Empty",
            GroupState::PreparingRebalance => "PreparingRebalance",
            GroupState::CompletingRebalance => "CompletingRebalance",
            GroupState::Stable => "Stable",
            GroupState::Dead => "Dead",
        }
    }
}

/// A group as ListGroups shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    /// The group's id.
    pub group: String,
    /// The kind of group; empty if it never had a member.
    pub protocol_type: String,
    /// Kafka's name of its state.
    pub state: &'static str,
    /// The protocol that its members speak.
    pub kind: GroupKind,
}

/// The protocol of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupKind {
    /// The members assign among themselves.
    Classic,
    /// The coordinator assigns (KIP-848).
    Consumer,
}

impl GroupKind {
    /// Kafka's name, as ListGroups shows it.
    pub fn name(self) -> &'static str {
        match self {
            GroupKind::Classic => "classic",
            GroupKind::Consumer => "consumer",
        }
    }
}

/// A group as DescribeGroups shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedGroup {
    /// Its state; [`GroupState::Dead`] if there is none.
    pub state: GroupState,
    /// The kind of group; empty if it never had a member.
    pub protocol_type: String,
    /// The chosen protocol, in state Stable.
    pub protocol: String,
    /// The members.
    pub members: Vec<DescribedMember>,
}

/// A member as DescribeGroups shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    /// Its id.
    pub id: String,
    /// The instance id of a static member.
    pub instance: Option<String>,
    /// The `client.id` of its last join.
    pub client_id: String,
    /// The address of its last join.
    pub client_host: String,
    /// Its metadata for the chosen protocol, in state Stable.
    pub metadata: Bytes,
    /// Its assignment.
    pub assignment: Bytes,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To a join.
    Join(JoinAnswer),
    /// To a sync.
    Sync(Result<Synced, ResponseError>),
    /// To a heartbeat.
    Heartbeat(Result<(), ResponseError>),
    /// To a leave: an error of the whole request, or each leaver's.
    Leave(Result<Vec<(Leaver, Option<ResponseError>)>, ResponseError>),
    /// To a heartbeat of a consumer group.
    Beat(Result<Beat, Refusal>),
    /// To a description of a consumer group.
    Consumers(Result<DescribedConsumerGroup, Refusal>),
    /// To a commit or a deletion of offsets: an error of the whole request, or each partition's.
    Commit(Result<CommitResults, ResponseError>),
    /// To a fetch of offsets.
    Offsets(Result<FetchedTopics, ResponseError>),
    /// To a description.
    Describe(Result<DescribedGroup, ResponseError>),
    /// To a list.
    List(Result<Vec<ListedGroup>, ResponseError>),
    /// To a deletion.
    Delete(Result<(), ResponseError>),
    /// To a deletion of topics.
    TopicsDeleted(Result<(), ResponseError>),
}

/// An answer that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The request that is answered.
    pub token: Token,
    /// The answer.
    pub answer: Answer,
}

impl Request {
    /// The answer to this request that says nothing but `error`.
    pub fn refused(&self, error: ResponseError) -> Answer {
        match self {
            Request::Join(join) => Answer::Join(JoinAnswer { result: Err(error), member: join.member.clone() }),
            Request::Sync(_) => Answer::Sync(Err(error)),
            Request::Heartbeat(_) => Answer::Heartbeat(Err(error)),
            Request::Leave { .. } => Answer::Leave(Err(error)),
            Request::Beat(_) => Answer::Beat(Err(error.into())),
            Request::DescribeConsumers { .. } => Answer::Consumers(Err(error.into())),
            Request::Commit(_) | Request::DeleteOffsets { .. } => Answer::Commit(Err(error)),
            Request::Fetch { .. } => Answer::Offsets(Err(error)),
            Request::Describe { .. } => Answer::Describe(Err(error)),
            Request::List => Answer::List(Err(error)),
            Request::Delete { .. } => Answer::Delete(Err(error)),
            Request::TopicsDeleted { .. } => Answer::TopicsDeleted(Err(error)),
        }
    }
}

impl Answer {
    /// The same kind of answer, saying nothing but `error`: for an answer whose records were not committed.
    #[must_use]
    pub fn failed(self, error: ResponseError) -> Answer {
        match self {
            Answer::Join(join) => Answer::Join(JoinAnswer { result: Err(error), member: join.member }),
            Answer::Sync(_) => Answer::Sync(Err(error)),
            Answer::Heartbeat(_) => Answer::Heartbeat(Err(error)),
            Answer::Leave(_) => Answer::Leave(Err(error)),
            Answer::Beat(_) => Answer::Beat(Err(error.into())),
            Answer::Consumers(_) => Answer::Consumers(Err(error.into())),
            Answer::Commit(_) => Answer::Commit(Err(error)),
            Answer::Offsets(_) => Answer::Offsets(Err(error)),
            Answer::Describe(_) => Answer::Describe(Err(error)),
            Answer::List(_) => Answer::List(Err(error)),
            Answer::Delete(_) => Answer::Delete(Err(error)),
            Answer::TopicsDeleted(_) => Answer::TopicsDeleted(Err(error)),
        }
    }
}
