//! The image: what the metadata log says up to one commit. Immutable; parts that a commit leaves alone are shared with
//! the image before.

use super::records::{
    Assignment, CreateTopic, ElectController, FormatCluster, ProducerIds, Record, RegisterBroker, Resource, SetConfigs,
};
use crate::config::{BrokerId, Layers, Listener, TopicConfig, Values};
use esker_storage::offset::LeaderEpoch;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// A registered broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// `node.id`.
    pub id: BrokerId,
    /// Another for every start of the process.
    pub incarnation: Uuid,
    /// Where clients reach it, by listener.
    pub listeners: Vec<Listener>,
    /// The identities of its log directories.
    pub log_dirs: Vec<Uuid>,
}

impl Broker {
    /// Where a client that came in by listener `name` reaches this broker: by the same, or by its first one.
    pub fn endpoint(&self, name: &str) -> Option<&Listener> {
        self.listeners.iter().find(|listener| listener.name == name).or_else(|| self.listeners.first())
    }
}

/// One broker's time as the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControllerTerm {
    /// The broker.
    pub broker: BrokerId,
    /// Its start that was elected.
    pub incarnation: Uuid,
    /// Counts elections.
    pub epoch: u32,
}

/// A partition: who has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its brokers, the preferred leader first.
    pub replicas: Vec<BrokerId>,
    /// Those of them that have everything committed.
    pub isr: Vec<BrokerId>,
    /// Its leader, if one is alive.
    pub leader: Option<BrokerId>,
    /// The epoch of that leader.
    pub leader_epoch: LeaderEpoch,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its id, which no other topic ever has.
    pub id: Uuid,
    /// Its name.
    pub name: Arc<str>,
    /// Its partitions, by number.
    pub partitions: Vec<Partition>,
    /// What was set for it.
    pub configs: Values,
}

impl Topic {
    /// Partition `number`.
    pub fn partition(&self, number: u32) -> Option<&Partition> {
        self.partitions.get(usize::try_from(number).ok()?)
    }

    /// How many partitions it has.
    pub fn partition_count(&self) -> u32 {
        u32::try_from(self.partitions.len()).unwrap_or(u32::MAX)
    }

    /// Whether it holds a coordinator's records, not a client's.
    pub fn is_internal(&self) -> bool {
        is_internal(&self.name)
    }
}

/// Whether a topic of this name holds a coordinator's records: Kafka's three names.
pub fn is_internal(name: &str) -> bool {
    matches!(name, "__consumer_offsets" | "__transaction_state" | "__share_group_state")
}

/// The cluster's metadata after some commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    pub(super) version: u64,
    pub(super) cluster_id: Option<Uuid>,
    pub(super) controller: Option<ControllerTerm>,
    pub(super) brokers: Arc<BTreeMap<BrokerId, Arc<Broker>>>,
    pub(super) topics: Arc<BTreeMap<Uuid, Arc<Topic>>>,
    pub(super) names: Arc<BTreeMap<Arc<str>, Uuid>>,
    pub(super) cluster_configs: Arc<Values>,
    pub(super) group_configs: Arc<BTreeMap<String, Arc<Values>>>,
    pub(super) broker_configs: Arc<BTreeMap<BrokerId, Arc<Values>>>,
    pub(super) next_producer_id: u64,
    pub(super) partitions: u64,
}

impl Image {
    /// Nothing at all: the image before the first commit.
    pub fn empty() -> Image {
        Image::default()
    }

    /// The number of the newest commit in it; 0 before the first.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The cluster's id; `None` before the store is formatted.
    pub fn cluster_id(&self) -> Option<Uuid> {
        self.cluster_id
    }

    /// Who writes the log, if anybody ever did.
    pub fn controller(&self) -> Option<ControllerTerm> {
        self.controller
    }

    /// The registered brokers, by number.
    pub fn brokers(&self) -> impl ExactSizeIterator<Item = &Arc<Broker>> {
        self.brokers.values()
    }

    /// Broker `id`.
    pub fn broker(&self, id: BrokerId) -> Option<&Arc<Broker>> {
        self.brokers.get(&id)
    }

    /// The topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.names.values().filter_map(|id| self.topics.get(id))
    }

    /// The topics from `name` on, by name.
    pub fn topics_from(&self, name: &str) -> impl Iterator<Item = &Arc<Topic>> {
        let from = (std::ops::Bound::Included(name), std::ops::Bound::Unbounded);
        self.names.range::<str, _>(from).filter_map(|(_, id)| self.topics.get(id))
    }

    /// How many topics there are.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// How many partitions all topics have together.
    pub fn partition_count(&self) -> u64 {
        self.partitions
    }

    /// The topic called `name`.
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(self.names.get(name)?)
    }

    /// The topic with this id.
    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<Topic>> {
        self.topics.get(&id)
    }

    /// What was set for a resource; empty if nothing was.
    pub fn configs(&self, resource: &Resource) -> Values {
        match resource {
            Resource::Topic(id) => self.topics.get(id).map(|topic| topic.configs.clone()).unwrap_or_default(),
            Resource::Group(name) => self.group_configs(name).map(|values| values.as_ref().clone()).unwrap_or_default(),
            Resource::Broker(id) => {
                self.broker_configs.get(id).map(|values| values.as_ref().clone()).unwrap_or_default()
            }
            Resource::Cluster => self.cluster_configs.as_ref().clone(),
        }
    }

    /// What was set for a group, if anything was.
    pub fn group_configs(&self, group: &str) -> Option<&Arc<Values>> {
        self.group_configs.get(group)
    }

    /// The groups that have settings of their own, by name.
    pub fn groups_with_configs(&self) -> impl Iterator<Item = &str> {
        self.group_configs.keys().map(String::as_str)
    }

    /// How many groups have settings of their own.
    pub fn configured_groups(&self) -> usize {
        self.group_configs.len()
    }

    /// The layers of broker `id`, which was started with what `fixed` was started with.
    pub fn layers(&self, id: BrokerId, fixed: &Layers) -> Layers {
        Layers {
            broker: self.broker_configs.get(&id).cloned().unwrap_or_default(),
            cluster: Arc::clone(&self.cluster_configs),
            fixed: Arc::clone(&fixed.fixed),
        }
    }

    /// What `topic` is set to on broker `id`, which was started with what `fixed` was started with.
    pub fn topic_config(&self, topic: &Topic, id: BrokerId, fixed: &Layers) -> TopicConfig {
        TopicConfig::resolve(&topic.configs, &self.layers(id, fixed))
    }

    /// The first producer id that no broker was given yet.
    pub fn next_producer_id(&self) -> u64 {
        self.next_producer_id
    }

    /// The records that replay to this image, apart from its version: what a snapshot holds.
    pub fn to_records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        if let Some(cluster_id) = self.cluster_id {
            records.push(Record::FormatCluster(FormatCluster { cluster_id }));
        }
        for broker in self.brokers.values() {
            let Broker { id, incarnation, listeners, log_dirs } = broker.as_ref().clone();
            records.push(Record::RegisterBroker(RegisterBroker { id, incarnation, listeners, log_dirs }));
        }
        if let Some(ControllerTerm { broker, incarnation, epoch }) = self.controller {
            records.push(Record::ElectController(ElectController { broker, incarnation, epoch }));
        }
        let set = |resource, values: &Values| {
            let changes = values.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
            Record::SetConfigs(SetConfigs { resource, changes })
        };
        if !self.cluster_configs.is_empty() {
            records.push(set(Resource::Cluster, &self.cluster_configs));
        }
        for (group, values) in self.group_configs.iter() {
            records.push(set(Resource::Group(group.clone()), values));
        }
        for (id, values) in self.broker_configs.iter() {
            records.push(set(Resource::Broker(*id), values));
        }
        for topic in self.topics() {
            records.push(Record::CreateTopic(CreateTopic {
                name: topic.name.to_string(),
                id: topic.id,
                partitions: topic.partitions.iter().cloned().map(Assignment::from).collect(),
                configs: topic.configs.clone(),
            }));
        }
        // The ids are the cluster's; who was given the newest of them does not matter any more.
        if self.next_producer_id > 0 {
            let broker = self.controller.map(|term| term.broker).unwrap_or_default();
            records.push(Record::ProducerIds(ProducerIds { broker, end: self.next_producer_id }));
        }
        records
    }
}

impl From<Partition> for Assignment {
    fn from(partition: Partition) -> Assignment {
        let Partition { replicas, isr, leader, leader_epoch } = partition;
        Assignment { replicas, isr, leader, leader_epoch }
    }
}

impl From<Assignment> for Partition {
    fn from(assignment: Assignment) -> Partition {
        let Assignment { replicas, isr, leader, leader_epoch } = assignment;
        Partition { replicas, isr, leader, leader_epoch }
    }
}
