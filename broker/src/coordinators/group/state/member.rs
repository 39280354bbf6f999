//! A member of a classic group: what it can do, what it was assigned, what it waits for, and until when it may be silent.

use crate::coordinators::group::request::Token;
use bytes::Bytes;
use esker_storage::env::Monotonic;
use std::time::Duration;

/// A member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// The instance id of a static member (KIP-345).
    pub(super) instance: Option<String>,
    /// The `client.id` of its last join.
    pub(super) client_id: String,
    /// The address of its last join.
    pub(super) client_host: String,
    /// How long it may be silent.
    pub(super) session_timeout: Duration,
    /// How long a rebalance waits for it.
    pub(super) rebalance_timeout: Duration,
    /// What it can do, best first, with its metadata for each; no name twice.
    pub(super) protocols: Vec<(String, Bytes)>,
    /// What the leader of the last completed generation gave to it.
    pub(super) assignment: Bytes,
    /// Its join that waits for the others.
    pub(super) joining: Option<Token>,
    /// Its sync that waits for the leader's.
    pub(super) syncing: Option<Token>,
    /// It has not had an answer to a join yet: it does not know its id and cannot send heartbeats.
    pub(super) is_new: bool,
    /// It joined this generation and has not synced.
    pub(super) owes_sync: bool,
    /// When it is taken for dead; `None` while it waits, or after its deadline passed while it waited.
    pub(super) session_deadline: Option<Monotonic>,
}

impl Member {
    /// Its metadata for `protocol`, if it supports that.
    pub(super) fn metadata(&self, protocol: &str) -> Option<&Bytes> {
        self.protocols.iter().find(|(name, _)| name == protocol).map(|(_, metadata)| metadata)
    }

    /// What it takes in memory beside its id, about.
    pub(super) fn weight(&self) -> usize {
        let texts = self.client_id.len() + self.client_host.len() + self.instance.as_ref().map_or(0, String::len);
        EACH + texts + self.assignment.len() + weight_of(&self.protocols)
    }

    /// True while a request of its own waits here: it cannot be expected to send heartbeats then. A new member is
    /// the exception, or those that gave up on their first join would stay for ever.
    pub(super) fn is_excused(&self) -> bool {
        !self.is_new && (self.joining.is_some() || self.syncing.is_some())
    }

    /// A sign of life.
    pub(super) fn seen(&mut self, now: Monotonic) {
        self.session_deadline = Some(now.plus(self.session_timeout));
    }
}

/// What a member takes in memory beyond its texts and bytes, about.
const EACH: usize = 512;

/// What `protocols` take in memory, about.
pub(super) fn weight_of(protocols: &[(String, Bytes)]) -> usize {
    protocols.iter().map(|(name, metadata)| 64 + name.len() + metadata.len()).sum()
}

/// `protocols` without those whose name came before.
pub(super) fn distinct(protocols: Vec<(String, Bytes)>) -> Vec<(String, Bytes)> {
    let mut seen = std::collections::BTreeSet::new();
    protocols.into_iter().filter(|(name, _)| seen.insert(name.clone())).collect()
}
