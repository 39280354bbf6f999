//! What holds of a consumer group after every call. Each invariant is one predicate; [`violated`] names the first that
//! fails.

use super::group::{ConsumerGroup, Member};
use super::timers::Timer;
use crate::coordinators::group::consumer_request::LEAVES_FOR_A_WHILE;
use crate::coordinators::group::records::MemberState;
use std::collections::BTreeSet;

/// A named predicate.
type Invariant = (&'static str, fn(&ConsumerGroup) -> bool);

/// The name of an invariant that `group` violates.
pub(in crate::coordinators::group::state) fn violated(group: &ConsumerGroup) -> Option<&'static str> {
    let all: [Invariant; 7] = [
        ("a partition has one owner", a_partition_has_one_owner),
        ("a partition is one member's target", a_partition_is_one_members_target),
        ("no epoch is ahead of what it follows", no_epoch_is_ahead),
        ("instances and members agree", instances_and_members_agree),
        ("everybody is watched", everybody_is_watched),
        ("what is given up has its state", what_is_given_up_has_its_state),
        ("expressions are those of members", expressions_are_those_of_members),
    ];
    all.into_iter().find(|(_, holds)| !holds(group)).map(|(name, _)| name)
}

/// No two members hold the same partition, given up or not, and the index of owners says the same.
pub(super) fn a_partition_has_one_owner(group: &ConsumerGroup) -> bool {
    let held = group.members.iter().flat_map(|(id, member)| member.held().map(move |partition| (partition, id)));
    let mut count = 0;
    held.inspect(|_| count += 1).all(|(partition, id)| group.owners.get(&partition) == Some(id))
        && count == group.owners.len()
}

/// No two members are to have the same partition, and only members are to have any.
pub(super) fn a_partition_is_one_members_target(group: &ConsumerGroup) -> bool {
    let mut seen = BTreeSet::new();
    group.targets.iter().all(|(id, target)| {
        group.members.contains_key(id)
            && target
                .iter()
                .all(|(topic, partitions)| partitions.iter().all(|partition| seen.insert((topic, partition))))
    })
}

/// A target is of a group epoch that was, and a member at an epoch whose target was computed.
pub(super) fn no_epoch_is_ahead(group: &ConsumerGroup) -> bool {
    let epoch = |member: &Member| member.current.epoch;
    group.target_epoch <= group.epoch
        && group.members.values().all(|member| (LEAVES_FOR_A_WHILE..=group.target_epoch).contains(&epoch(member)))
}

/// Each static member is the one for its instance id, and each instance id has a member.
pub(super) fn instances_and_members_agree(group: &ConsumerGroup) -> bool {
    let of_members = group.members.iter().filter_map(|(id, member)| Some((member.about.instance.as_ref()?, id)));
    let mut expected: Vec<_> = of_members.collect();
    expected.sort_unstable();
    expected.into_iter().eq(&group.instances)
}

/// Nobody stays for ever: every member has a session, and one that must give something up, or join, has its time.
pub(super) fn everybody_is_watched(group: &ConsumerGroup) -> bool {
    group.members.iter().all(|(id, member)| {
        let revokes = member.current.state == MemberState::UnrevokedPartitions && !member.is_classic();
        group.timers.is_set(id, Timer::Session) && (!revokes || group.timers.is_set(id, Timer::Rebalance))
    })
}

/// Only who is to give something up does, and it knows it.
pub(super) fn what_is_given_up_has_its_state(group: &ConsumerGroup) -> bool {
    group
        .members
        .values()
        .all(|member| member.current.revoking.is_empty() != (member.current.state == MemberState::UnrevokedPartitions))
}

/// Each expression of a member was matched, and no other is kept.
pub(super) fn expressions_are_those_of_members(group: &ConsumerGroup) -> bool {
    let used: BTreeSet<&String> = group.members.values().filter_map(|member| member.about.regex.as_ref()).collect();
    used.into_iter().eq(group.regexes.keys())
}
