//! What holds of every image. Checked on the image that a command would lead to before it is committed, and on each that
//! a broker reads.

use super::image::{Image, Partition, Topic};
use uuid::Uuid;

/// An image that no correct controller could have led to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A topic's name and id do not lead to each other.
    #[error("the name {0:?} and its topic do not belong together")]
    Name(String),
    /// A topic without partitions.
    #[error("topic {0} has no partition")]
    NoPartition(Uuid),
    /// See [`Image::check`].
    #[error("partition {partition} of topic {topic}: {what}")]
    Partition {
        /// The topic.
        topic: Uuid,
        /// The partition's number.
        partition: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// The partitions were counted wrongly.
    #[error("{counted} partitions were counted, there are {there}")]
    PartitionCount {
        /// The count that the image keeps.
        counted: u64,
        /// How many there are.
        there: u64,
    },
}

impl Image {
    /// Whether names and ids lead to each other, every topic has partitions, and each of these has replicas, each once,
    /// with its in-sync set among them and its leader in that set.
    ///
    /// # Errors
    /// The first violation.
    pub fn check(&self) -> Result<(), Violation> {
        for (name, id) in self.names.iter() {
            if self.topics.get(id).is_none_or(|topic| topic.name != *name || topic.id != *id) {
                return Err(Violation::Name(name.to_string()));
            }
        }
        if let Some(topic) = self.topics.values().find(|topic| self.names.get(&topic.name) != Some(&topic.id)) {
            return Err(Violation::Name(topic.name.to_string()));
        }
        self.topics.values().try_for_each(|topic| topic.check())?;
        let there = self.topics.values().map(|topic| topic.partitions.len() as u64).sum();
        if self.partitions != there {
            return Err(Violation::PartitionCount { counted: self.partitions, there });
        }
        Ok(())
    }
}

impl Topic {
    /// The part of [`Image::check`] that concerns one topic.
    ///
    /// # Errors
    /// The first violation.
    pub fn check(&self) -> Result<(), Violation> {
        if self.partitions.is_empty() {
            return Err(Violation::NoPartition(self.id));
        }
        for (partition, state) in self.partitions.iter().enumerate() {
            let topic = self.id;
            state.check().map_err(|what| Violation::Partition { topic, partition, what })?;
        }
        Ok(())
    }
}

impl Partition {
    /// Whether it has replicas, each once, with the in-sync set among them and the leader in that set.
    fn check(&self) -> Result<(), &'static str> {
        let once = |ids: &[crate::config::BrokerId]| {
            ids.iter().enumerate().all(|(i, id)| !ids.iter().skip(i + 1).any(|o| o == id))
        };
        if self.replicas.is_empty() {
            Err("has no replica")
        } else if !once(&self.replicas) {
            Err("has a replica twice")
        } else if self.isr.is_empty() || !once(&self.isr) {
            Err("has no in-sync replica, or one twice")
        } else if self.isr.iter().any(|id| !self.replicas.contains(id)) {
            Err("has an in-sync broker that is no replica")
        } else if self.leader.is_some_and(|leader| !self.isr.contains(&leader)) {
            Err("is led by a broker that is not in sync")
        } else {
            Ok(())
        }
    }
}
