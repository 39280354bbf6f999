//! One member's next step from what it has to what it is to have. Pure.
//!
//! ```text
//!                 gives nothing up                       others hold some of it
//!   Stable ─────────────────────────> at the target epoch ────────────────────> UnreleasedPartitions
//!     │ ^                                     ^                                   │  each heartbeat
//!     │ └── has all ──────────────────────────┼───────────────────────────────────┘
//!     └─ must give some up ─> UnrevokedPartitions, at its old epoch ── says that it did ─> from the start
//! ```

use crate::coordinators::group::records::{CurrentValue, HeldPartitions, MemberState, Partitions};
use esker_storage::env::mutation::{self, Mutation};
use std::collections::BTreeSet;
use uuid::Uuid;

/// What a member is to come to.
pub(super) struct Goal<'a> {
    /// The group epoch that the target is of.
    pub(super) epoch: i32,
    /// What the member is to have.
    pub(super) target: &'a Partitions,
    /// The topics that it subscribes to, some of which the target may not know yet, or still know.
    pub(super) subscribed: &'a BTreeSet<Uuid>,
    /// Its subscription has just changed: it gives up at once what it does not subscribe to any more.
    pub(super) resubscribed: bool,
    /// What it says that it holds; `None` if it does not say.
    pub(super) owned: Option<&'a Partitions>,
    /// Whether nobody else holds a partition.
    pub(super) is_free: &'a dyn Fn(Uuid, i32) -> bool,
}

/// The member's next step; `current` itself if it must wait.
pub(super) fn next(current: &CurrentValue, goal: &Goal<'_>) -> CurrentValue {
    match current.state {
        MemberState::Stable if current.epoch != goal.epoch => toward(current, goal),
        MemberState::Stable if goal.resubscribed => shrink(current, goal),
        MemberState::Stable => current.clone(),
        MemberState::UnrevokedPartitions if still_owns(goal.owned, &current.revoking) => {
            if goal.resubscribed {
                shrink(current, goal)
            } else {
                current.clone()
            }
        }
        // An unknown state is one of a version to come: begin from what the member has.
        MemberState::UnrevokedPartitions | MemberState::UnreleasedPartitions | MemberState::Unknown => {
            toward(current, goal)
        }
    }
}

/// Whether a member that says to hold `owned` may still use some of `revoking`; one that does not say may.
fn still_owns(owned: Option<&Partitions>, revoking: &HeldPartitions) -> bool {
    let Some(owned) = owned else { return true };
    revoking.iter().any(|(topic, partitions)| {
        owned.get(topic).is_some_and(|own| partitions.keys().any(|partition| own.contains(partition)))
    })
}

/// At `epoch`, the epoch before being the one that the member is at now.
fn at(current: &CurrentValue, epoch: i32, state: MemberState, assigned: HeldPartitions) -> CurrentValue {
    CurrentValue { epoch, previous_epoch: current.epoch, state, assigned, revoking: HeldPartitions::new() }
}

/// Without the topics that the member does not subscribe to any more.
fn shrink(current: &CurrentValue, goal: &Goal<'_>) -> CurrentValue {
    let (mut assigned, mut revoking) = (HeldPartitions::new(), current.revoking.clone());
    for (topic, partitions) in &current.assigned {
        if goal.subscribed.contains(topic) {
            assigned.insert(*topic, partitions.clone());
        } else {
            revoking.entry(*topic).or_default().extend(partitions);
        }
    }
    if assigned == current.assigned {
        current.clone()
    } else if still_owns(goal.owned, &revoking) {
        CurrentValue { revoking, ..at(current, current.epoch, MemberState::UnrevokedPartitions, assigned) }
    } else {
        at(current, current.epoch, current.state, assigned)
    }
}

/// Gives up what is not in the target, or else takes what is in it and free.
fn toward(current: &CurrentValue, goal: &Goal<'_>) -> CurrentValue {
    let (mut assigned, mut revoking, mut gained) = (HeldPartitions::new(), HeldPartitions::new(), Vec::new());
    let mut is_unreleased = false;
    let is_target = |topic: &Uuid, partition: &i32| {
        goal.subscribed.contains(topic) && goal.target.get(topic).is_some_and(|target| target.contains(partition))
    };
    for (topic, partitions) in &current.assigned {
        for (partition, epoch) in partitions {
            let keeps = if is_target(topic, partition) { &mut assigned } else { &mut revoking };
            keeps.entry(*topic).or_default().insert(*partition, *epoch);
        }
    }
    for (topic, partitions) in goal.target.iter().filter(|(topic, _)| goal.subscribed.contains(*topic)) {
        for partition in partitions {
            if assigned.get(topic).is_some_and(|own| own.contains_key(partition)) {
                continue;
            }
            if (goal.is_free)(*topic, *partition) || mutation::active(Mutation::UnreleasedAssigned) {
                gained.push((*topic, *partition));
            } else {
                is_unreleased = true;
            }
        }
    }
    if !revoking.is_empty() && still_owns(goal.owned, &revoking) {
        return CurrentValue { revoking, ..at(current, current.epoch, MemberState::UnrevokedPartitions, assigned) };
    }
    for (topic, partition) in gained {
        assigned.entry(topic).or_default().insert(partition, goal.epoch);
    }
    let state = if is_unreleased { MemberState::UnreleasedPartitions } else { MemberState::Stable };
    at(current, goal.epoch, state, assigned)
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
