//! One file per API: from a decoded request to its answer.
//!
//! [`Handlers`] is what they can reach; [`Dispatch`] decodes a frame, hands it to its handler and encodes the answer.
//! A handler gets what it needs and returns a response; it knows neither the connection nor the encoding.

pub mod alter_configs;
pub mod alter_partition_reassignments;
mod answer_room;
pub mod consumer_group_describe;
pub mod consumer_group_heartbeat;
pub mod create_acls;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_acls;
pub mod delete_groups;
mod delete_records;
pub mod delete_topics;
pub mod describe_acls;
pub mod describe_client_quotas;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
pub mod describe_quorum;
pub mod describe_topic_partitions;
pub mod describe_user_scram_credentials;
mod dispatch;
pub mod elect_leaders;
pub mod fetch;
pub mod find_coordinator;
mod group_lookup;
#[cfg(test)]
#[path = "group_tests.rs"]
mod group_tests;
mod group_wire;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_config_resources;
pub mod list_groups;
mod list_offsets;
pub mod list_partition_reassignments;
pub mod list_transactions;
mod loggers;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod resource;
pub mod sync_group;
#[cfg(test)]
pub(crate) mod testing;
mod topic_ids;
pub mod update_features;
mod wire;

pub use dispatch::Dispatch;

use crate::config::{BrokerConfig, LogLevel};
use crate::controller::{Controller, ProducerIdPool};
use crate::coordinators::group::GroupCoordinator;
use crate::metadata::{Image, Publisher, Topic};
use crate::metrics::Metrics;
use crate::partition::{Here, Hosted, NotCommitted, Partition};
use esker_protocol::error_code::ErrorCode;
use esker_protocol::record::Scratch;
use esker_storage::env::Env;
use esker_storage::offset::PartitionId;
use fetch::session::{Bounds, Sessions};
use kafka_protocol::messages::TopicName;
use parking_lot::Mutex;
use std::sync::Arc;
use uuid::Uuid;

/// What a connection runtime has for itself: no two threads meet here.
struct PerRuntime {
    sessions: Mutex<Sessions>,
    scratch: Mutex<Scratch>,
}

/// What handlers can reach.
pub struct Handlers {
    env: Env,
    config: Arc<BrokerConfig>,
    publisher: Arc<Publisher>,
    controller: Controller,
    producer_ids: ProducerIdPool,
    hosted: Arc<Hosted>,
    groups: Arc<GroupCoordinator>,
    metrics: Arc<Metrics>,
    log_level: Arc<LogLevel>,
    runtimes: Vec<PerRuntime>,
}

/// The parts of a broker that handlers are made from.
pub struct Parts {
    /// The machine.
    pub env: Env,
    /// The broker's settings.
    pub config: Arc<BrokerConfig>,
    /// The metadata.
    pub publisher: Arc<Publisher>,
    /// Changes the metadata.
    pub controller: Controller,
    /// Producer ids to give out.
    pub producer_ids: ProducerIdPool,
    /// This broker's partitions.
    pub hosted: Arc<Hosted>,
    /// The groups that this broker coordinates.
    pub groups: Arc<GroupCoordinator>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// How much is logged.
    pub log_level: Arc<LogLevel>,
}

impl Handlers {
    /// Handlers for every connection runtime of `parts.env`.
    pub fn new(parts: Parts) -> Arc<Handlers> {
        let Parts { env, config, publisher, controller, producer_ids, hosted, groups, metrics, log_level } = parts;
        let count = env.tasks.runtimes().max(1);
        let share = |all: u32| usize::try_from(all).unwrap_or(usize::MAX).div_ceil(count);
        let bounds =
            Bounds { slots: share(config.fetch_session_slots), partitions: share(config.fetch_session_partitions) };
        let runtimes = (0..count)
            .map(|runtime| PerRuntime {
                sessions: Mutex::new(Sessions::new(runtime, count, bounds)),
                scratch: Mutex::new(Scratch::default()),
            })
            .collect();
        Arc::new(Handlers {
            env,
            config,
            publisher,
            controller,
            producer_ids,
            hosted,
            groups,
            metrics,
            log_level,
            runtimes,
        })
    }

    fn sessions(&self, runtime: usize) -> &Mutex<Sessions> {
        &self.runtime(runtime).sessions
    }

    fn scratch(&self, runtime: usize) -> &Mutex<Scratch> {
        &self.runtime(runtime).scratch
    }

    #[allow(clippy::indexing_slicing, reason = "there is at least one, and the index is below their number")]
    fn runtime(&self, runtime: usize) -> &PerRuntime {
        &self.runtimes[runtime % self.runtimes.len()]
    }

    fn partition_by_name(&self, topic: &TopicName, partition: i32) -> Result<Arc<Partition>, ErrorCode> {
        let image = self.publisher.load();
        let topic = image.topic(topic).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        self.led(topic, partition)
    }

    fn partition_by_id(&self, topic: Uuid, partition: i32) -> Result<Arc<Partition>, ErrorCode> {
        let image: &Image = &self.publisher.load();
        let topic = image.topic_by_id(topic).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)?;
        self.led(topic, partition)
    }

    fn led(&self, topic: &Topic, partition: i32) -> Result<Arc<Partition>, ErrorCode> {
        let number = u32::try_from(partition).ok().filter(|number| *number < topic.partition_count());
        let number = number.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        match self.hosted.get(PartitionId { topic: topic.id, partition: number }) {
            Some(Here::Led(partition)) => match partition.ended() {
                None => Ok(partition),
                Some(NotCommitted::Failed) => Err(ErrorCode::KAFKA_STORAGE_ERROR),
                Some(NotCommitted::Gone) => Err(ErrorCode::NOT_LEADER_OR_FOLLOWER),
            },
            Some(Here::Offline(_)) => Err(ErrorCode::KAFKA_STORAGE_ERROR),
            // Created a moment ago, or led elsewhere: the client looks at the metadata again.
            None => Err(ErrorCode::NOT_LEADER_OR_FOLLOWER),
        }
    }
}
