//! Plans: pure functions from the newest image and a command to records and an answer.
//!
//! A plan reads no clock, no chance and no disk, so it can be made again after a foreign commit, and tested by tables.
//! Whatever is random (a topic's id) comes with the command. A command has items that succeed or are refused one by
//! one; each item sees those before it, as if they were committed.

mod brokers;
mod configs;
mod delete_topics;
mod each;
mod names;
mod partitions;
mod placement;
mod producer_ids;
mod topics;

pub(super) use brokers::election;

pub use brokers::RegisterBroker;
pub use configs::{AlterConfigs, AlterOperation, ConfigAlteration, ResourceName};
pub use delete_topics::{DeleteTopics, DeletedTopic, TopicRef};
pub use names::check_topic_name;
pub use partitions::{AddPartitions, MorePartitions};
pub use placement::{Replicas, check_assignment};
pub use producer_ids::AllocateProducerIds;
pub use topics::{CreateTopics, CreatedTopic, NewTopic, offsets_topic};

use super::error::Refusal;
use crate::config::{BrokerConfig, BrokerId, Layers};
use crate::metadata::{Image, Record};
use kafka_protocol::ResponseError;

/// What a plan decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan<A> {
    /// The records to commit, all or none; none if nothing changes.
    pub records: Vec<Record>,
    /// What the submitter is told once they are committed.
    pub answer: A,
}

/// A change of the metadata that somebody asks for.
pub trait Command: Send + 'static {
    /// What the submitter is told.
    type Answer: Send + 'static;

    /// Decides it on `image`. Pure.
    fn plan(&self, image: &Image, rules: &Rules) -> Plan<Self::Answer>;
}

/// The configuration that plans go by: the keys of these names, and the defaults that topics fall back to.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the key of the same name documents each, in broker_keys.rs")]
pub struct Rules {
    /// The broker that decides.
    pub node_id: BrokerId,
    pub layers: Layers,
    pub num_partitions: u32,
    pub default_replication_factor: u32,
    pub topic_max_partitions: u32,
    pub cluster_max_partitions: u32,
    pub delete_topic_enable: bool,
}

impl Rules {
    /// The rules of a broker with this configuration.
    pub fn new(config: &BrokerConfig) -> Rules {
        Rules {
            node_id: config.node_id,
            layers: config.layers.clone(),
            num_partitions: config.num_partitions,
            default_replication_factor: config.default_replication_factor,
            topic_max_partitions: config.topic_max_partitions,
            cluster_max_partitions: config.cluster_max_partitions,
            delete_topic_enable: config.delete_topic_enable,
        }
    }

    /// The layers that topics fall back to, with what `image` sets for brokers.
    fn layers(&self, image: &Image) -> Layers {
        image.layers(self.node_id, &self.layers)
    }

    /// Whether a topic may have `count` partitions, and the cluster `added` more than `there` are.
    fn check_partition_count(&self, count: u32, there: u64, added: u64) -> Result<(), Refusal> {
        let refuse = |message| Err(Refusal::new(ResponseError::InvalidPartitions, message));
        if count > self.topic_max_partitions {
            let max = self.topic_max_partitions;
            return refuse(format!("A topic may have {max} partitions at most (topic.max.partitions), not {count}."));
        }
        if there.saturating_add(added) > u64::from(self.cluster_max_partitions) {
            let max = self.cluster_max_partitions;
            return refuse(format!(
                "The cluster has {there} partitions and may have {max} at most (cluster.max.partitions); {added} more \
                 do not fit."
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "any_command_tests.rs"]
mod any_command_tests;
