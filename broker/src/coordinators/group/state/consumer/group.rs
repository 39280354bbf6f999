//! The state of one consumer group, and what a record does to it.

use super::timers::{Timer, Timers};
use crate::coordinators::group::config::GroupConfig;
use crate::coordinators::group::records::{
    ConsumerMemberValue, ConsumerRecord, CurrentValue, GroupRecord, HeldPartitions, LogRecord, MemberState, Partitions,
    RecordError, RegexValue,
};
use crate::coordinators::group::state::committed::Offsets;
use crate::coordinators::group::state::member::weight_of;
use esker_storage::env::Monotonic;
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

/// A member of a consumer group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Member {
    /// What it said of itself.
    pub(crate) about: ConsumerMemberValue,
    /// What it has.
    pub(crate) current: CurrentValue,
}

impl Member {
    /// Whether it has what it is to have as of `target_epoch`.
    pub(super) fn is_reconciled_to(&self, target_epoch: i32) -> bool {
        self.current.state == MemberState::Stable && self.current.epoch == target_epoch
    }

    /// Whether it speaks the classic protocol.
    pub(crate) fn is_classic(&self) -> bool {
        self.about.classic.is_some()
    }

    /// Whether it has or still gives up this partition.
    pub(super) fn holds(&self, topic: Uuid, partition: i32) -> bool {
        let held = |of: &HeldPartitions| of.get(&topic).is_some_and(|own| own.contains_key(&partition));
        held(&self.current.assigned) || held(&self.current.revoking)
    }

    /// Every partition that it has or still gives up.
    pub(super) fn held(&self) -> impl Iterator<Item = (Uuid, i32)> {
        let both = self.current.assigned.iter().chain(&self.current.revoking);
        both.flat_map(|(topic, partitions)| partitions.keys().map(|partition| (*topic, *partition)))
    }

    /// How long it may take to give up partitions, or to join or sync.
    pub(super) fn rebalance_timeout(&self) -> Duration {
        millis(self.about.rebalance_timeout_ms)
    }

    /// How long it may be silent; other members than classic ones are told by the coordinator.
    pub(super) fn session_timeout(&self, default: Duration) -> Duration {
        self.about.classic.as_ref().map_or(default, |classic| millis(classic.session_timeout_ms))
    }
}

pub(super) fn millis(millis: i32) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

/// A consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConsumerGroup {
    pub(crate) id: String,
    /// Counts the changes that need another assignment; 0 before the first.
    pub(crate) epoch: i32,
    /// A hash of the subscribed topics as of that epoch.
    pub(super) metadata_hash: i64,
    /// The group epoch that the targets are of.
    pub(super) target_epoch: i32,
    pub(crate) members: BTreeMap<String, Member>,
    /// What each member is to have.
    pub(super) targets: BTreeMap<String, Partitions>,
    /// What each regular expression of a member matches.
    pub(super) regexes: BTreeMap<String, RegexValue>,
    /// Static members: instance id to member id.
    pub(super) instances: BTreeMap<String, String>,
    /// Who has or still gives up each partition.
    pub(super) owners: BTreeMap<(Uuid, i32), String>,
    pub(super) timers: Timers,
    /// The version of the topics that the hash was last compared with.
    pub(super) compared: Option<u64>,
    /// When the targets were last computed by this process.
    pub(super) targeted: Option<Monotonic>,
    /// The version of the topics that the regular expressions were last matched against, and when.
    pub(super) resolved: Option<(u64, Monotonic)>,
    pub(crate) offsets: Offsets,
    /// The log has a record of the group itself.
    pub(crate) written: bool,
}

/// What a member or a group takes in memory beyond what it says of itself, about.
const EACH: usize = 1024;
/// What a partition takes where it is assigned, owned and wanted, about.
const EACH_PARTITION: usize = 256;

impl ConsumerGroup {
    /// What it takes in memory, about.
    pub(crate) fn weight(&self) -> usize {
        let member = |(id, member): (&String, &Member)| {
            let about = &member.about;
            let topics: usize = about.topics.iter().map(|topic| 64 + topic.len()).sum();
            let texts = about.client_id.len() + about.client_host.len() + about.regex.as_ref().map_or(0, String::len);
            let protocols = about.classic.as_ref().map_or(0, |classic| weight_of(&classic.protocols));
            EACH + 4 * id.len() + topics + texts + protocols
        };
        let members: usize = self.members.iter().map(member).sum();
        let regexes: usize = self.regexes.keys().map(|regex| EACH + regex.len()).sum();
        let owned = self.owners.len() * EACH_PARTITION;
        EACH + 4 * self.id.len() + members + regexes + owned + self.offsets.weight()
    }

    pub(crate) fn new(id: &str) -> ConsumerGroup {
        ConsumerGroup {
            id: id.to_owned(),
            epoch: 0,
            metadata_hash: 0,
            target_epoch: 0,
            members: BTreeMap::new(),
            targets: BTreeMap::new(),
            regexes: BTreeMap::new(),
            instances: BTreeMap::new(),
            owners: BTreeMap::new(),
            timers: Timers::default(),
            compared: None,
            targeted: None,
            resolved: None,
            offsets: Offsets::default(),
            written: false,
        }
    }

    /// Takes over what a record says: the one way in which the group changes, live and in replay. A compacted log may
    /// have a member's records in any order, and records of members that are gone again later.
    pub(crate) fn apply(&mut self, record: ConsumerRecord) {
        match record {
            ConsumerRecord::Group(Some(value)) => {
                self.epoch = value.epoch;
                self.metadata_hash = value.metadata_hash;
                self.written = true;
            }
            ConsumerRecord::Group(None) => self.written = false,
            ConsumerRecord::Member { member, value: Some(value) } => {
                self.release_instance(&member);
                if let Some(instance) = &value.instance {
                    self.instances.insert(instance.clone(), member.clone());
                }
                self.members.entry(member).or_default().about = value;
            }
            ConsumerRecord::Member { member, value: None } => {
                self.release_instance(&member);
                self.release_partitions(&member);
                self.members.remove(&member);
                self.timers.forget(&member);
            }
            ConsumerRecord::TargetEpoch(value) => self.target_epoch = value.map_or(0, |value| value.epoch),
            ConsumerRecord::Target { member, value: Some(value) } => {
                self.targets.insert(member, value);
            }
            ConsumerRecord::Target { member, value: None } => {
                self.targets.remove(&member);
            }
            ConsumerRecord::Current { member, value: Some(value) } => {
                self.release_partitions(&member);
                let entry = self.members.entry(member.clone()).or_default();
                entry.current = value;
                self.owners.extend(entry.held().map(|partition| (partition, member.clone())));
            }
            ConsumerRecord::Current { member, value: None } => {
                self.release_partitions(&member);
                if let Some(member) = self.members.get_mut(&member) {
                    member.current = CurrentValue::default();
                }
            }
            ConsumerRecord::Regex { regex, value: Some(value) } => {
                self.regexes.insert(regex, value);
            }
            ConsumerRecord::Regex { regex, value: None } => {
                self.regexes.remove(&regex);
            }
        }
    }

    fn release_instance(&mut self, member: &str) {
        let instance = self.members.get(member).and_then(|member| member.about.instance.as_ref());
        if let Some(instance) = instance
            && self.instances.get(instance).is_some_and(|current| current == member)
        {
            self.instances.remove(instance);
        }
    }

    fn release_partitions(&mut self, member: &str) {
        let Some(held) = self.members.get(member) else {
            return;
        };
        for partition in held.held() {
            if self.owners.get(&partition).is_some_and(|owner| owner == member) {
                self.owners.remove(&partition);
            }
        }
    }

    /// Applies `records`, all or none; their bytes.
    ///
    /// # Errors
    /// If one of them is larger than the partition takes.
    pub(crate) fn accept(
        &mut self,
        records: Vec<ConsumerRecord>,
        config: &GroupConfig,
    ) -> Result<Vec<LogRecord>, RecordError> {
        let mut encoded = Vec::with_capacity(records.len());
        for record in &records {
            let record = GroupRecord::Consumer { group: self.id.clone(), record: record.clone() }.encode()?;
            if record.value.as_ref().map_or(0, bytes::Bytes::len) > config.max_record_bytes {
                return Err(RecordError::TooLong);
            }
            encoded.push(record);
        }
        for record in records {
            self.apply(record);
        }
        Ok(encoded)
    }

    /// The log is replayed: drops what belongs to nobody, and every member has its time anew.
    pub(crate) fn loaded(&mut self, now: Monotonic, config: &GroupConfig) {
        // Every member that joined said something of itself.
        let known: Vec<(String, bool)> = self
            .members
            .iter()
            .map(|(id, member)| (id.clone(), member.about != ConsumerMemberValue::default()))
            .collect();
        for (id, is_known) in known {
            if !is_known {
                self.apply(ConsumerRecord::Member { member: id, value: None });
                continue;
            }
            let Some(member) = self.members.get(&id) else { continue };
            self.timers.set(&id, Timer::Session, now.plus(member.session_timeout(config.consumer_session_timeout)));
            if member.current.state == MemberState::UnrevokedPartitions {
                self.timers.set(&id, Timer::Rebalance, now.plus(member.rebalance_timeout()));
            }
        }
        self.targets.retain(|id, _| self.members.contains_key(id));
    }

    /// What a member is to have.
    pub(crate) fn target(&self, member: &str) -> Option<&Partitions> {
        self.targets.get(member)
    }

    /// Kafka's name of the group's state.
    pub(crate) fn state_name(&self) -> &'static str {
        if self.members.is_empty() {
            "Empty"
        } else if self.epoch > self.target_epoch {
            "Assigning"
        } else if self.members.values().any(|member| !member.is_reconciled_to(self.target_epoch)) {
            "Reconciling"
        } else {
            "Stable"
        }
    }

    /// When something happens here without a request.
    pub(crate) fn next_deadline(&self) -> Option<Monotonic> {
        self.timers.next()
    }

    /// A member that missed a deadline.
    pub(crate) fn missed(&self, now: Monotonic) -> Option<String> {
        self.timers.missed(now).map(str::to_owned)
    }
}
