//! The records of the metadata log: JSON, so that a person can read a commit, with a version and closed by name.
//!
//! Each is one line of a commit, or of a snapshot, which the numbered log frames, checks and stamps with its format:
//!
//! ```text
//!  {"kind":"CreateTopic","name":"orders","id":"...","partitions":[...],"configs":{}}
//! ```
//!
//! A broker must understand everything that it replays. So a kind or a field that this version does not know is an error
//! that names it, never skipped: the image would silently differ from that of other brokers. Whoever writes something
//! new first has all brokers finalise the format that has it.

use crate::config::{BrokerId, Listener};
use esker_storage::offset::LeaderEpoch;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// One fact in the metadata log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub enum Record {
    /// The log's first record: which cluster this is.
    FormatCluster(FormatCluster),
    /// A broker started.
    RegisterBroker(RegisterBroker),
    /// A broker writes the log from here on.
    ElectController(ElectController),
    /// A topic exists.
    CreateTopic(CreateTopic),
    /// A topic is gone, with its settings.
    DeleteTopic(DeleteTopic),
    /// A topic has more partitions.
    AddPartitions(AddPartitions),
    /// Settings of a topic, a broker or all brokers changed.
    SetConfigs(SetConfigs),
    /// Partitions have another leader, in-sync set or epoch.
    LeaderEpochs(LeaderEpochs),
    /// A block of producer ids was given to a broker.
    ProducerIds(ProducerIds),
}

/// See [`Record::FormatCluster`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormatCluster {
    /// The cluster's id, as the store's format names it.
    pub cluster_id: Uuid,
}

/// See [`Record::RegisterBroker`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterBroker {
    /// `node.id`.
    pub id: BrokerId,
    /// Another for every start of the process.
    pub incarnation: Uuid,
    /// Where clients reach it.
    pub listeners: Vec<Listener>,
    /// The identities of its log directories.
    pub log_dirs: Vec<Uuid>,
}

/// See [`Record::ElectController`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ElectController {
    /// The new controller.
    pub broker: BrokerId,
    /// The start of it that was elected.
    pub incarnation: Uuid,
    /// One more than that of the controller before.
    pub epoch: u32,
}

/// Where one partition lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// Its brokers, the preferred leader first.
    pub replicas: Vec<BrokerId>,
    /// Those of them that have everything committed.
    pub isr: Vec<BrokerId>,
    /// Its leader, if one is alive.
    pub leader: Option<BrokerId>,
    /// The epoch of that leader.
    pub leader_epoch: LeaderEpoch,
}

/// See [`Record::CreateTopic`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateTopic {
    /// Its name, which no other topic has now.
    pub name: String,
    /// Its id, which no other topic ever has.
    pub id: Uuid,
    /// Partition 0 and on.
    pub partitions: Vec<Assignment>,
    /// Its settings.
    pub configs: BTreeMap<String, String>,
}

/// See [`Record::DeleteTopic`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteTopic {
    /// The topic.
    pub id: Uuid,
}

/// See [`Record::AddPartitions`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddPartitions {
    /// The topic.
    pub topic: Uuid,
    /// The number of the first new partition: how many there were.
    pub first: u32,
    /// The new partitions.
    pub partitions: Vec<Assignment>,
}

/// What a setting is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Resource {
    /// One topic.
    Topic(Uuid),
    /// One group, which need not exist.
    Group(String),
    /// One broker.
    Broker(BrokerId),
    /// Every broker.
    Cluster,
}

/// See [`Record::SetConfigs`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetConfigs {
    /// Whose settings.
    pub resource: Resource,
    /// New values by key; `null` takes a key's value away.
    pub changes: BTreeMap<String, Option<String>>,
}

/// The new state of one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaderChange {
    /// The partition's number.
    pub partition: u32,
    /// Its leader, if one is alive.
    pub leader: Option<BrokerId>,
    /// The epoch of that leader; higher than before whenever the leader is another, or another start of the same.
    pub leader_epoch: LeaderEpoch,
    /// The brokers that have everything committed.
    pub isr: Vec<BrokerId>,
}

/// See [`Record::LeaderEpochs`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaderEpochs {
    /// The topic.
    pub topic: Uuid,
    /// Its partitions that change.
    pub partitions: Vec<LeaderChange>,
}

/// See [`Record::ProducerIds`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProducerIds {
    /// Who may give the ids out.
    pub broker: BrokerId,
    /// The first id that is still free: the block is from the `end` before to here.
    pub end: u64,
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
