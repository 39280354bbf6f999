//! The limits and delays of group coordination, each under Kafka's name where Kafka has one.

use super::assignor::Assignor;
use std::time::Duration;

/// What the group coordinator goes by. [`GroupConfig::default`] has Kafka's defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.initial.rebalance.delay.ms`: how long the first rebalance of an empty group waits for more members.
    pub initial_rebalance_delay: Duration,
    /// `group.min.session.timeout.ms`.
    pub min_session_timeout: Duration,
    /// `group.max.session.timeout.ms`.
    pub max_session_timeout: Duration,
    /// `group.max.size`: members of one group.
    pub max_size: usize,
    /// `group.coordinator.max.bytes`: what the groups of one partition may take in memory, about.
    pub max_bytes: usize,
    /// `group.consumer.session.timeout.ms`: how long a member of a consumer group may be silent until its first heartbeat
    /// after a load, each of which says what is true of its group.
    pub consumer_session_timeout: Duration,
    /// `group.consumer.max.size`: members of one consumer group.
    pub consumer_max_size: usize,
    /// `group.consumer.assignors`: those that members may choose from, the default first.
    pub assignors: Vec<Assignor>,
    /// `group.consumer.migration.policy`.
    pub migration_policy: MigrationPolicy,
    /// Member ids of one group that were given out and not yet joined with, beyond which a join is refused.
    pub max_pending: usize,
    /// How long a new member's first join may wait before it is taken for dead (Kafka: 5 minutes, not configurable).
    pub new_member_join_timeout: Duration,
    /// `offset.metadata.max.bytes`.
    pub offset_metadata_max_bytes: usize,
    /// `offsets.retention.minutes`.
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_interval: Duration,
    /// `offsets.commit.timeout.ms`: how long an answer waits for its records to be committed.
    pub commit_timeout: Duration,
    /// Largest record that the partition takes (its `max.message.bytes` less what a batch adds), in bytes.
    pub max_record_bytes: usize,
    /// Largest batch that is appended at once, in bytes; a larger single record goes alone.
    pub max_batch_bytes: usize,
    /// Appends of one partition in flight.
    pub max_in_flight: usize,
    /// Requests that wait for one partition's coordinator, beyond which requesters wait.
    pub max_queued: usize,
    /// How long a failed load waits before it is tried again.
    pub reload_backoff: Duration,
}

/// Whether groups with members go from one protocol to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationPolicy {
    /// Both ways.
    Bidirectional,
    /// From classic to consumer only.
    Upgrade,
    /// From consumer to classic only.
    Downgrade,
    /// Not at all.
    Disabled,
}

impl MigrationPolicy {
    /// The policy with Kafka's `name`, in any case.
    pub fn named(name: &str) -> Option<MigrationPolicy> {
        let all = [
            ("bidirectional", MigrationPolicy::Bidirectional),
            ("upgrade", MigrationPolicy::Upgrade),
            ("downgrade", MigrationPolicy::Downgrade),
            ("disabled", MigrationPolicy::Disabled),
        ];
        all.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, policy)| policy)
    }
}

impl Default for GroupConfig {
    fn default() -> Self {
        GroupConfig {
            initial_rebalance_delay: Duration::from_secs(3),
            min_session_timeout: Duration::from_secs(6),
            max_session_timeout: Duration::from_secs(30 * 60),
            max_size: i32::MAX as usize,
            max_bytes: 64 << 20,
            consumer_session_timeout: Duration::from_secs(45),
            consumer_max_size: i32::MAX as usize,
            assignors: vec![Assignor::Uniform, Assignor::Range],
            migration_policy: MigrationPolicy::Bidirectional,
            max_pending: 10_000,
            new_member_join_timeout: Duration::from_secs(5 * 60),
            offset_metadata_max_bytes: 4096,
            offsets_retention: Duration::from_secs(7 * 24 * 60 * 60),
            offsets_retention_check_interval: Duration::from_secs(600),
            commit_timeout: Duration::from_secs(5),
            max_record_bytes: 1_000_000,
            max_batch_bytes: 1_000_000,
            max_in_flight: 16,
            max_queued: 4096,
            reload_backoff: Duration::from_secs(1),
        }
    }
}
