//! The delta: replays records on an image.
//!
//! Replay is strict. A record that does not fit the image (a topic that exists already, an epoch that goes back) means
//! that the log was not written by the rules, and every broker that reads on would disagree with some other; so it is an
//! error, and the controller replays its own records before it commits them.

use super::changes::{Changes, TopicChange};
use super::image::{Broker, ControllerTerm, Image, Partition, Topic};
use super::invariants::Violation;
use super::records::{
    AddPartitions, CreateTopic, DeleteTopic, ElectController, FormatCluster, LeaderEpochs, ProducerIds, Record,
    RegisterBroker, Resource, SetConfigs,
};
use crate::config::BrokerId;
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;

/// A record that does not fit the image before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The cluster has an id already.
    #[error("the cluster is formatted already, as {0}")]
    Formatted(Uuid),
    /// The topic exists already, by name or by id.
    #[error("topic {0} exists already")]
    TopicExists(String),
    /// There is no such topic.
    #[error("there is no topic {0}")]
    UnknownTopic(Uuid),
    /// The topic has no such partition, or new ones do not follow the last.
    #[error("partition {partition} of topic {topic} is out of order")]
    Partition {
        /// The topic.
        topic: Uuid,
        /// The partition's number.
        partition: u32,
    },
    /// A leader epoch, a controller epoch or the producer ids would go back.
    #[error("{what} would go from {from} to {to}")]
    Backwards {
        /// Of what.
        what: &'static str,
        /// Where it stands.
        from: u64,
        /// Where the record puts it.
        to: u64,
    },
}

/// What records change on an image.
#[derive(Clone, Debug)]
pub struct Delta {
    base: Arc<Image>,
    image: Image,
    topics: BTreeSet<Uuid>,
    brokers: BTreeSet<BrokerId>,
}

impl Delta {
    /// No change of `base`.
    pub fn new(base: Arc<Image>) -> Delta {
        let image = base.as_ref().clone();
        Delta { base, image, topics: BTreeSet::new(), brokers: BTreeSet::new() }
    }

    /// The image as the records so far leave it, with the version of the one before.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// The part of [`Image::check`] that concerns the topics that changed.
    ///
    /// # Errors
    /// The first violation.
    pub fn check(&self) -> Result<(), Violation> {
        self.topics.iter().filter_map(|id| self.image.topics.get(id)).try_for_each(|topic| topic.check())
    }

    /// The image after commit `version`, and what changed.
    pub fn finish(mut self, version: u64) -> (Arc<Image>, Changes) {
        self.image.version = version;
        let changes = Changes {
            topics: self
                .topics
                .iter()
                .filter_map(|id| {
                    let (before, after) = (self.base.topics.get(id), self.image.topics.get(id));
                    (before != after).then(|| (*id, TopicChange { before: before.cloned(), after: after.cloned() }))
                })
                .collect(),
            brokers: self
                .brokers
                .iter()
                .copied()
                .filter(|id| self.base.brokers.get(id) != self.image.brokers.get(id))
                .collect(),
            broker_configs: self.base.cluster_configs != self.image.cluster_configs
                || self.base.broker_configs != self.image.broker_configs,
            controller: self.base.controller != self.image.controller,
        };
        (Arc::new(self.image), changes)
    }

    /// Replays one record.
    ///
    /// # Errors
    /// See [`ReplayError`]; the delta is then as it was.
    pub fn apply(&mut self, record: &Record) -> Result<(), ReplayError> {
        match record {
            Record::FormatCluster(record) => self.format_cluster(record),
            Record::RegisterBroker(record) => self.register_broker(record),
            Record::ElectController(record) => self.elect_controller(record),
            Record::CreateTopic(record) => self.create_topic(record),
            Record::DeleteTopic(record) => self.delete_topic(record),
            Record::AddPartitions(record) => self.add_partitions(record),
            Record::SetConfigs(record) => self.set_configs(record),
            Record::LeaderEpochs(record) => self.leader_epochs(record),
            Record::ProducerIds(record) => self.producer_ids(record),
        }
    }

    fn format_cluster(&mut self, record: &FormatCluster) -> Result<(), ReplayError> {
        match self.image.cluster_id {
            Some(id) => Err(ReplayError::Formatted(id)),
            None => {
                self.image.cluster_id = Some(record.cluster_id);
                Ok(())
            }
        }
    }

    fn register_broker(&mut self, record: &RegisterBroker) -> Result<(), ReplayError> {
        let RegisterBroker { id, incarnation, listeners, log_dirs } = record.clone();
        Arc::make_mut(&mut self.image.brokers).insert(id, Arc::new(Broker { id, incarnation, listeners, log_dirs }));
        self.brokers.insert(id);
        Ok(())
    }

    fn elect_controller(&mut self, record: &ElectController) -> Result<(), ReplayError> {
        let ElectController { broker, incarnation, epoch } = *record;
        let before = self.image.controller.map_or(0, |term| term.epoch);
        if epoch <= before {
            return Err(backwards("the controller epoch", before, epoch));
        }
        self.image.controller = Some(ControllerTerm { broker, incarnation, epoch });
        Ok(())
    }

    fn create_topic(&mut self, record: &CreateTopic) -> Result<(), ReplayError> {
        if self.image.names.contains_key(record.name.as_str()) || self.image.topics.contains_key(&record.id) {
            return Err(ReplayError::TopicExists(record.name.clone()));
        }
        let name: Arc<str> = record.name.as_str().into();
        let topic = Topic {
            id: record.id,
            name: Arc::clone(&name),
            partitions: record.partitions.iter().cloned().map(Partition::from).collect(),
            configs: record.configs.clone(),
        };
        self.image.partitions += topic.partitions.len() as u64;
        Arc::make_mut(&mut self.image.names).insert(name, record.id);
        Arc::make_mut(&mut self.image.topics).insert(record.id, Arc::new(topic));
        self.topics.insert(record.id);
        Ok(())
    }

    fn delete_topic(&mut self, record: &DeleteTopic) -> Result<(), ReplayError> {
        let topic =
            Arc::make_mut(&mut self.image.topics).remove(&record.id).ok_or(ReplayError::UnknownTopic(record.id))?;
        Arc::make_mut(&mut self.image.names).remove(&topic.name);
        self.image.partitions = self.image.partitions.saturating_sub(topic.partitions.len() as u64);
        self.topics.insert(record.id);
        Ok(())
    }

    fn add_partitions(&mut self, record: &AddPartitions) -> Result<(), ReplayError> {
        let topic = self.topic_mut(record.topic)?;
        if topic.partition_count() != record.first {
            return Err(ReplayError::Partition { topic: record.topic, partition: record.first });
        }
        topic.partitions.extend(record.partitions.iter().cloned().map(Partition::from));
        self.image.partitions += record.partitions.len() as u64;
        self.topics.insert(record.topic);
        Ok(())
    }

    fn set_configs(&mut self, record: &SetConfigs) -> Result<(), ReplayError> {
        let values = match &record.resource {
            Resource::Topic(id) => {
                self.topic_mut(*id)?;
                self.topics.insert(*id);
                &mut self.topic_mut(*id)?.configs
            }
            Resource::Group(group) => {
                Arc::make_mut(Arc::make_mut(&mut self.image.group_configs).entry(group.clone()).or_default())
            }
            Resource::Broker(id) => {
                Arc::make_mut(Arc::make_mut(&mut self.image.broker_configs).entry(*id).or_default())
            }
            Resource::Cluster => Arc::make_mut(&mut self.image.cluster_configs),
        };
        for (key, value) in &record.changes {
            match value {
                Some(value) => values.insert(key.clone(), value.clone()),
                None => values.remove(key),
            };
        }
        // A broker or group without settings is one that never had any, also in a snapshot.
        match &record.resource {
            Resource::Broker(id) if self.image.broker_configs.get(id).is_some_and(|values| values.is_empty()) => {
                Arc::make_mut(&mut self.image.broker_configs).remove(id);
            }
            Resource::Group(group) if self.image.group_configs.get(group).is_some_and(|values| values.is_empty()) => {
                Arc::make_mut(&mut self.image.group_configs).remove(group);
            }
            _ => {}
        }
        Ok(())
    }

    fn leader_epochs(&mut self, record: &LeaderEpochs) -> Result<(), ReplayError> {
        // All are looked at before one is changed: an error leaves the delta as it was.
        let id = record.topic;
        let topic = self.image.topics.get(&id).ok_or(ReplayError::UnknownTopic(id))?;
        for change in &record.partitions {
            let partition = topic
                .partition(change.partition)
                .ok_or(ReplayError::Partition { topic: id, partition: change.partition })?;
            if change.leader_epoch < partition.leader_epoch {
                return Err(backwards("a leader epoch", partition.leader_epoch.get(), change.leader_epoch.get()));
            }
        }
        let topic = self.topic_mut(id)?;
        for change in &record.partitions {
            let index = usize::try_from(change.partition).unwrap_or(usize::MAX);
            if let Some(partition) = topic.partitions.get_mut(index) {
                partition.leader = change.leader;
                partition.leader_epoch = change.leader_epoch;
                partition.isr.clone_from(&change.isr);
            }
        }
        self.topics.insert(id);
        Ok(())
    }

    fn producer_ids(&mut self, record: &ProducerIds) -> Result<(), ReplayError> {
        if record.end <= self.image.next_producer_id {
            let what = "the next producer id";
            return Err(ReplayError::Backwards { what, from: self.image.next_producer_id, to: record.end });
        }
        self.image.next_producer_id = record.end;
        Ok(())
    }

    fn topic_mut(&mut self, id: Uuid) -> Result<&mut Topic, ReplayError> {
        // Looked up first: `make_mut` copies the map even if there is no such topic.
        if !self.image.topics.contains_key(&id) {
            return Err(ReplayError::UnknownTopic(id));
        }
        let topics = Arc::make_mut(&mut self.image.topics);
        topics.get_mut(&id).map(Arc::make_mut).ok_or(ReplayError::UnknownTopic(id))
    }
}

fn backwards(what: &'static str, from: u32, to: u32) -> ReplayError {
    ReplayError::Backwards { what, from: u64::from(from), to: u64::from(to) }
}

#[cfg(test)]
#[path = "delta_tests.rs"]
pub(super) mod tests;
