//! What holds of a group after every call. Each invariant is one predicate; [`violated`] names the first that fails.
//!
//! Those of classic groups are here, those of consumer groups in `consumer::invariants`.

use super::consumer;
use super::entry::Entry;
use super::group::Group;
use crate::coordinators::group::request::GroupState;

/// A named predicate.
type Invariant = (&'static str, fn(&Group) -> bool);

/// The name of an invariant that a group violates.
pub(super) fn violated(entry: &Entry) -> Option<&'static str> {
    match entry {
        Entry::Classic(group) => of_classic(group),
        Entry::Consumer(group) => consumer::invariants::violated(group),
    }
}

/// The name of an invariant that a classic group violates.
pub(super) fn of_classic(group: &Group) -> Option<&'static str> {
    let all: [Invariant; 7] = [
        ("one member leads", one_member_leads),
        ("state and members agree", state_and_members_agree),
        ("the protocol is everybody's", the_protocol_is_everybodys),
        ("only rebalances make wait", only_rebalances_make_wait),
        ("everybody waits or is watched", everybody_waits_or_is_watched),
        ("instances and members agree", instances_and_members_agree),
        ("phases have their deadlines", phases_have_their_deadlines),
    ];
    all.into_iter().find(|(_, holds)| !holds(group)).map(|(name, _)| name)
}

/// There is a leader exactly if there are members, and it is one of them.
pub(super) fn one_member_leads(group: &Group) -> bool {
    match &group.leader {
        Some(leader) => group.members.contains_key(leader),
        None => group.members.is_empty(),
    }
}

/// Empty has no members, Completing and Stable have some, and a pending id is not a member's.
pub(super) fn state_and_members_agree(group: &Group) -> bool {
    let fits = match group.state {
        GroupState::Empty => group.members.is_empty(),
        GroupState::PreparingRebalance => true,
        GroupState::CompletingRebalance | GroupState::Stable => !group.members.is_empty(),
        GroupState::Dead => false,
    };
    fits && group.pending.keys().all(|id| !group.members.contains_key(id))
}

/// In a generation, every member supports the chosen protocol.
pub(super) fn the_protocol_is_everybodys(group: &Group) -> bool {
    match group.state {
        GroupState::CompletingRebalance | GroupState::Stable => group
            .protocol
            .as_deref()
            .is_some_and(|protocol| group.members.values().all(|member| member.metadata(protocol).is_some())),
        _ => true,
    }
}

/// A join waits only while the group prepares, a sync only while it completes.
pub(super) fn only_rebalances_make_wait(group: &Group) -> bool {
    group.members.values().all(|member| {
        (member.joining.is_none() || group.state == GroupState::PreparingRebalance)
            && (member.syncing.is_none() || group.state == GroupState::CompletingRebalance)
    })
}

/// Nobody is forgotten: a member has a deadline, or waits for an answer.
pub(super) fn everybody_waits_or_is_watched(group: &Group) -> bool {
    let watched = |member: &super::member::Member| member.session_deadline.is_some();
    group.members.values().all(|member| watched(member) || member.is_excused())
}

/// Each static member is the one for its instance id, and each instance id has a member.
pub(super) fn instances_and_members_agree(group: &Group) -> bool {
    let of_members = group.members.iter().filter_map(|(id, member)| Some((member.instance.as_ref()?, id)));
    let mut expected: Vec<_> = of_members.collect();
    expected.sort_unstable();
    expected.into_iter().eq(&group.instances)
}

/// No phase lasts for ever.
pub(super) fn phases_have_their_deadlines(group: &Group) -> bool {
    let prepares = group.state == GroupState::PreparingRebalance;
    let owed = group.members.values().any(|member| member.owes_sync);
    group.join_timer.is_some() == prepares && (!owed || group.sync_deadline.is_some())
}
