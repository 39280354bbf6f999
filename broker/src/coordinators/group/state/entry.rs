//! A group of either protocol, as the machine keeps it under its id.

use super::committed::Offsets;
use super::consumer::ConsumerGroup;
use super::group::Group;
use crate::coordinators::group::request::{GroupKind, GroupState, ListedGroup};
use esker_storage::env::Monotonic;

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Of the classic protocol; also one that has nothing but offsets.
    Classic(Group),
    /// Of the consumer protocol (KIP-848); some of its members may speak the classic one.
    Consumer(ConsumerGroup),
}

impl Entry {
    pub(super) fn id(&self) -> &str {
        match self {
            Entry::Classic(group) => &group.id,
            Entry::Consumer(group) => &group.id,
        }
    }

    pub(super) fn offsets(&self) -> &Offsets {
        match self {
            Entry::Classic(group) => &group.offsets,
            Entry::Consumer(group) => &group.offsets,
        }
    }

    pub(super) fn offsets_mut(&mut self) -> &mut Offsets {
        match self {
            Entry::Classic(group) => &mut group.offsets,
            Entry::Consumer(group) => &mut group.offsets,
        }
    }

    /// When something happens here without a request.
    pub(super) fn next_deadline(&self) -> Option<Monotonic> {
        match self {
            Entry::Classic(group) => group.next_deadline(),
            Entry::Consumer(group) => group.next_deadline(),
        }
    }

    /// What it takes in memory, about.
    pub(super) fn weight(&self) -> usize {
        match self {
            Entry::Classic(group) => group.weight(),
            Entry::Consumer(group) => group.weight(),
        }
    }

    /// Whether there is nobody in the group and nobody expected.
    pub(super) fn is_deserted(&self) -> bool {
        match self {
            Entry::Classic(group) => group.state == GroupState::Empty && group.pending.is_empty(),
            Entry::Consumer(group) => group.members.is_empty(),
        }
    }

    /// Whether the log has a record of the group itself.
    pub(super) fn is_written(&self) -> bool {
        match self {
            Entry::Classic(group) => group.written,
            Entry::Consumer(group) => group.written,
        }
    }

    pub(super) fn listed(&self) -> ListedGroup {
        match self {
            Entry::Classic(group) => ListedGroup {
                group: group.id.clone(),
                protocol_type: group.protocol_type.clone().unwrap_or_default(),
                state: group.state.name(),
                kind: GroupKind::Classic,
            },
            Entry::Consumer(group) => ListedGroup {
                group: group.id.clone(),
                protocol_type: "consumer".to_owned(),
                state: group.state_name(),
                kind: GroupKind::Consumer,
            },
        }
    }
}
