//! What an assignor is given, and what it gives.

use crate::coordinators::group::records::Partitions;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// A member as an assignor sees it.
#[derive(Clone, Debug, Default)]
pub struct MemberSpec {
    /// The instance id of a static member, by which it is recognised when it comes back.
    pub instance: Option<String>,
    /// The topics that it subscribes to. All of them are in [`Spec::topics`].
    pub topics: BTreeSet<Uuid>,
    /// What it was to have before. No partition is in two members'.
    pub target: Partitions,
}

/// A group as an assignor sees it.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    /// The members, by id.
    pub members: BTreeMap<String, MemberSpec>,
    /// The number of partitions of each topic.
    pub topics: BTreeMap<Uuid, i32>,
}

impl Spec {
    /// Whether all members subscribe to the same topics.
    pub(super) fn is_homogeneous(&self) -> bool {
        let mut all = self.members.values().map(|member| &member.topics);
        let first = all.next();
        all.all(|topics| Some(topics) == first)
    }

    /// How many partitions a topic has.
    pub(super) fn partitions(&self, topic: &Uuid) -> i32 {
        self.topics.get(topic).copied().unwrap_or_default().max(0)
    }
}

/// What each member is to have, by its id; every member is there.
pub type Targets = BTreeMap<String, Partitions>;
