//! From one protocol to the other and back, with members in it (KIP-848): a classic group becomes a consumer group when
//! the first member of the consumer protocol joins, and a classic one again when the last leaves.
//!
//! Who has what stays as it was: the classic members' assignments become their targets and what they have, at an epoch that
//! is the classic generation; and back. Whoever is at another epoch then is told to join again.

use super::consumer::ConsumerGroup;
use super::consumer::{CONSUMER_PROTOCOL_TYPE, by_id, serialized};
use super::group::Group;
use super::member::Member;
use super::step::Step;
use crate::coordinators::group::config::MigrationPolicy;
use crate::coordinators::group::records::embedded::{Assignment, Subscription};
use crate::coordinators::group::records::{
    ClassicMemberValue, ConsumerGroupValue, ConsumerMemberValue, ConsumerRecord, CurrentValue, GroupRecord, LogRecord,
    MemberState, Partitions, TargetEpochValue,
};
use crate::coordinators::group::request::GroupState;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::time::Duration;
use uuid::Uuid;

/// `group` as a consumer group, without its offsets, and the records that make it one; `None` if that is not possible or
/// not wanted.
pub(super) fn upgrade(group: &Group, step: &Step<'_>) -> Option<(ConsumerGroup, Vec<LogRecord>)> {
    let is_wanted = matches!(step.config.migration_policy, MigrationPolicy::Bidirectional | MigrationPolicy::Upgrade);
    let fits = group.members.len() <= step.config.consumer_max_size;
    if !is_wanted || !fits || group.protocol_type.as_deref() != Some(CONSUMER_PROTOCOL_TYPE) {
        return None;
    }
    let epoch = group.generation;
    let (mut members, mut targets, mut currents) = (Vec::new(), Vec::new(), Vec::new());
    let mut taken: BTreeSet<(Uuid, i32)> = BTreeSet::new();
    for (id, member) in &group.members {
        let protocol = group.protocol.as_deref().and_then(|protocol| member.metadata(protocol));
        let metadata = protocol.or_else(|| member.protocols.first().map(|(_, metadata)| metadata))?;
        let subscription = Subscription::decode(metadata).ok()?;
        let assignment = Assignment::decode(&member.assignment).ok()?;
        // What an assignor of the clients' own tells its members would be lost: Kafka refuses it as well.
        if assignment.has_user_data {
            return None;
        }
        let mut assigned = by_id(&assignment.partitions, step.topics);
        // Clients may give one partition to two; a consumer group may not.
        for (topic, partitions) in &mut assigned {
            partitions.retain(|partition| taken.insert((*topic, *partition)));
        }
        assigned.retain(|_, partitions| !partitions.is_empty());
        let value = ConsumerMemberValue {
            instance: member.instance.clone(),
            rack: subscription.rack,
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            topics: subscription.topics,
            regex: None,
            rebalance_timeout_ms: to_millis(member.rebalance_timeout),
            assignor: None,
            classic: Some(ClassicMemberValue {
                session_timeout_ms: to_millis(member.session_timeout),
                protocols: member.protocols.clone(),
            }),
        };
        members.push(ConsumerRecord::Member { member: id.clone(), value: Some(value) });
        targets.push(ConsumerRecord::Target { member: id.clone(), value: Some(assigned.clone()) });
        let held = assigned.into_iter().map(|(topic, own)| (topic, own.into_iter().map(|one| (one, epoch)).collect()));
        let current = CurrentValue {
            epoch,
            previous_epoch: epoch,
            state: MemberState::Stable,
            assigned: held.collect(),
            ..CurrentValue::default()
        };
        currents.push(ConsumerRecord::Current { member: id.clone(), value: Some(current) });
    }
    let mut records = members;
    records.push(ConsumerRecord::Group(Some(ConsumerGroupValue { epoch, metadata_hash: 0 })));
    records.extend(targets);
    let computed = step.now.wall.millis();
    records.push(ConsumerRecord::TargetEpoch(Some(TargetEpochValue { epoch, computed })));
    records.extend(currents);
    let mut encoded = Vec::new();
    if group.written {
        encoded.push(GroupRecord::Group { group: group.id.clone(), value: None }.encode().ok()?);
    }
    let mut consumer = ConsumerGroup::new(&group.id);
    encoded.extend(consumer.accept(records, step.config).ok()?);
    consumer.loaded(step.now.monotonic, step.config);
    Some((consumer, encoded))
}

/// `group` without the members `leaving`, as a classic group without its offsets, in the generation that the group epoch
/// is; `None` if there would be members of the consumer protocol left, or none at all, or it is not wanted.
pub(super) fn downgrade(group: &ConsumerGroup, leaving: &[String], step: &Step<'_>) -> Option<Group> {
    let is_wanted = matches!(step.config.migration_policy, MigrationPolicy::Bidirectional | MigrationPolicy::Downgrade);
    let staying = || group.members.iter().filter(|(id, _)| !leaving.contains(id));
    let count = staying().count();
    if !is_wanted || count == 0 || count > step.config.max_size || staying().any(|(_, member)| !member.is_classic()) {
        return None;
    }
    let mut classic = Group::new(&group.id, step.now.wall);
    classic.state = GroupState::Stable;
    classic.generation = group.epoch;
    for (id, member) in staying() {
        let said = member.about.classic.as_ref()?;
        let session_timeout = millis(said.session_timeout_ms);
        let mut restored = Member {
            instance: member.about.instance.clone(),
            client_id: member.about.client_id.clone(),
            client_host: member.about.client_host.clone(),
            session_timeout,
            rebalance_timeout: millis(member.about.rebalance_timeout_ms),
            protocols: super::member::distinct(said.protocols.clone()),
            assignment: Bytes::new(),
            joining: None,
            syncing: None,
            is_new: false,
            owes_sync: false,
            session_deadline: None,
        };
        restored.seen(step.now.monotonic);
        classic.add(id, CONSUMER_PROTOCOL_TYPE, restored);
    }
    classic.protocol = Some(classic.select_protocol()?);
    classic.subscribed = classic.subscriptions();
    let protocol = classic.protocol.clone().unwrap_or_default();
    let nothing = Partitions::new();
    for (id, member) in &mut classic.members {
        let version = Subscription::decode(member.metadata(&protocol)?).ok()?.version;
        let target = group.target(id).unwrap_or(&nothing);
        member.assignment = serialized(target, version, step.topics).ok()?;
    }
    Some(classic)
}

fn to_millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

fn millis(millis: i32) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}
