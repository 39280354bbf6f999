//! What a consumer group (KIP-848) is asked and answers, free of the wire's versions.

use super::records::Partitions;
use kafka_protocol::error::ResponseError;
use std::time::Duration;
use uuid::Uuid;

/// What stands for the member epoch of who leaves.
pub const LEAVES: i32 = -1;
/// What stands for the member epoch of a static member that leaves and will be back.
pub const LEAVES_FOR_A_WHILE: i32 = -2;

/// ConsumerGroupHeartbeat. `None` means: as it was said before.
#[derive(Clone, Debug)]
pub struct ConsumerHeartbeat {
    /// The group's id.
    pub group: String,
    /// The member's id; version 0 joins without one.
    pub member: String,
    /// Version 1 on: a member makes its own id (KIP-1082).
    pub brings_own_id: bool,
    /// What the coordinator makes an id from for a member without one.
    pub fresh: Uuid,
    /// The epoch that the member is at; 0 to join, [`LEAVES`], [`LEAVES_FOR_A_WHILE`].
    pub epoch: i32,
    /// The instance id of a static member.
    pub instance: Option<String>,
    /// Where it runs.
    pub rack: Option<String>,
    /// How long it may take to give up partitions, in milliseconds.
    pub rebalance_timeout_ms: Option<i32>,
    /// The topics that it subscribes to.
    pub topics: Option<Vec<String>>,
    /// The regular expression that it subscribes with; empty for none any more.
    pub regex: Option<String>,
    /// The assignor that it prefers.
    pub assignor: Option<String>,
    /// The partitions that it holds.
    pub owned: Option<Partitions>,
    /// The client's `client.id`.
    pub client_id: String,
    /// The client's address.
    pub client_host: String,
    /// How long the members of this group may be silent.
    pub session_timeout: Duration,
    /// How often they are asked to send a heartbeat.
    pub heartbeat_interval: Duration,
    /// How long an assignment holds before another one is computed.
    pub assignment_interval: Duration,
}

/// The answer to a [`ConsumerHeartbeat`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// The member's id.
    pub member: String,
    /// Its epoch.
    pub epoch: i32,
    /// When its next heartbeat is expected; zero for who leaves.
    pub interval: Duration,
    /// What it may use, if that is news.
    pub assignment: Option<Partitions>,
}

/// An error with a sentence for the person who reads the client's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Kafka's error.
    pub error: ResponseError,
    /// The sentence.
    pub message: String,
}

impl Refusal {
    /// `error`, because of `message`.
    pub fn new(error: ResponseError, message: impl Into<String>) -> Refusal {
        Refusal { error, message: message.into() }
    }
}

impl From<ResponseError> for Refusal {
    fn from(error: ResponseError) -> Refusal {
        Refusal { error, message: error.to_string() }
    }
}

/// A consumer group as ConsumerGroupDescribe shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConsumerGroup {
    /// Kafka's name of its state.
    pub state: &'static str,
    /// Counts the changes that need another assignment.
    pub epoch: i32,
    /// The group epoch that the targets are of.
    pub target_epoch: i32,
    /// The assignor that is used.
    pub assignor: &'static str,
    /// The members.
    pub members: Vec<DescribedConsumer>,
}

/// A member of a consumer group as ConsumerGroupDescribe shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConsumer {
    /// Its id.
    pub id: String,
    /// The instance id of a static member.
    pub instance: Option<String>,
    /// Where it runs.
    pub rack: Option<String>,
    /// Its epoch.
    pub epoch: i32,
    /// Its `client.id`.
    pub client_id: String,
    /// Its address.
    pub client_host: String,
    /// The topics that it subscribes to by name.
    pub topics: Vec<String>,
    /// The regular expression that it subscribes with.
    pub regex: Option<String>,
    /// What it has.
    pub assigned: Vec<NamedTopic>,
    /// What it is to have.
    pub target: Vec<NamedTopic>,
    /// It speaks the classic protocol.
    pub is_classic: bool,
}

/// A topic's partitions, for those who want to know its name as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedTopic {
    /// The topic's id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Partitions.
    pub partitions: Vec<i32>,
}
