//! One classic group: its members, its leader, its protocol, and what is written of it.

use super::committed::Offsets;
use super::member::Member;
use super::step::Step;
use crate::coordinators::group::records::{GroupRecord, GroupValue, MemberValue, RecordError, subscribed_topics};
use crate::coordinators::group::request::{
    Answer, DescribedGroup, DescribedMember, GroupState, Joined, JoinedMember, Synced,
};
use bytes::Bytes;
use esker_storage::env::{Monotonic, Timestamp};
use kafka_protocol::error::ResponseError;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// When the join phase ends for those who have not joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum JoinTimer {
    /// The first rebalance of an empty group: waits a while for more members, and longer as long as they come.
    Initial {
        /// When to look again.
        at: Monotonic,
        /// The length of this wait.
        delay: Duration,
        /// How much longer it may be extended.
        remaining: Duration,
        /// Somebody came during this wait.
        member_added: bool,
    },
    /// Waits for the present members to join again.
    Rebalance {
        /// When the rest are taken for dead.
        at: Monotonic,
    },
}

impl JoinTimer {
    pub(super) fn at(&self) -> Monotonic {
        match self {
            JoinTimer::Initial { at, .. } | JoinTimer::Rebalance { at } => *at,
        }
    }
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) id: String,
    /// Never Dead: a group that is gone is absent.
    pub(super) state: GroupState,
    pub(super) generation: i32,
    /// The kind of group; `None` if it never had a member.
    pub(super) protocol_type: Option<String>,
    /// What the members of this generation agreed on.
    pub(super) protocol: Option<String>,
    /// Who assigns: a member, if there is one.
    pub(super) leader: Option<String>,
    /// When the group came into its state.
    pub(super) state_since: Option<Timestamp>,
    pub(super) members: BTreeMap<String, Member>,
    /// Static members: instance id to member id.
    pub(super) instances: BTreeMap<String, String>,
    /// Ids that were given out and not yet joined with, and until when they may be.
    pub(super) pending: BTreeMap<String, Monotonic>,
    /// Set in PreparingRebalance.
    pub(super) join_timer: Option<JoinTimer>,
    /// When members that have not synced are taken for dead.
    pub(super) sync_deadline: Option<Monotonic>,
    /// The topics that the members consume, if they say so in a way that is understood.
    pub(super) subscribed: Option<BTreeSet<String>>,
    pub(super) offsets: Offsets,
    /// The log has metadata of this group.
    pub(super) written: bool,
}

/// What a group takes in memory beyond its members and offsets, about.
const EACH: usize = 512;

impl Group {
    pub(super) fn new(id: &str, since: Timestamp) -> Group {
        Group {
            id: id.to_owned(),
            state: GroupState::Empty,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            state_since: Some(since),
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            pending: BTreeMap::new(),
            join_timer: None,
            sync_deadline: None,
            subscribed: None,
            offsets: Offsets::default(),
            written: false,
        }
    }

    /// What it takes in memory, about.
    pub(super) fn weight(&self) -> usize {
        let members: usize = self.members.iter().map(|(id, member)| 2 * id.len() + member.weight()).sum();
        let pending: usize = self.pending.keys().map(|id| 64 + id.len()).sum();
        EACH + 4 * self.id.len() + members + pending + self.offsets.weight()
    }

    /// Takes over what the log says of the group.
    pub(super) fn restore(&mut self, value: GroupValue) {
        let protocol = value.protocol.clone().unwrap_or_default();
        let millis = |millis: i32| Duration::from_millis(u64::try_from(millis).unwrap_or(0));
        self.members.clear();
        self.instances.clear();
        for member in value.members {
            let rebalance =
                if member.rebalance_timeout_ms < 0 { member.session_timeout_ms } else { member.rebalance_timeout_ms };
            if let Some(instance) = &member.instance {
                self.instances.insert(instance.clone(), member.id.clone());
            }
            let restored = Member {
                instance: member.instance,
                client_id: member.client_id,
                client_host: member.client_host,
                session_timeout: millis(member.session_timeout_ms),
                rebalance_timeout: millis(rebalance),
                protocols: vec![(protocol.clone(), member.subscription)],
                assignment: member.assignment,
                joining: None,
                syncing: None,
                is_new: false,
                owes_sync: false,
                session_deadline: None,
            };
            self.members.insert(member.id, restored);
        }
        self.state = if self.members.is_empty() { GroupState::Empty } else { GroupState::Stable };
        self.generation = value.generation;
        self.protocol_type = Some(value.protocol_type).filter(|kind| !kind.is_empty());
        self.protocol = if self.members.is_empty() { value.protocol } else { Some(protocol) };
        self.leader = value
            .leader
            .filter(|leader| self.members.contains_key(leader))
            .or_else(|| self.members.keys().next().cloned());
        self.state_since = value.state_since;
        self.subscribed = self.subscriptions();
        self.written = true;
    }

    /// What is written of the group.
    fn value(&self) -> GroupValue {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let millis = |duration: Duration| i32::try_from(duration.as_millis()).unwrap_or(i32::MAX);
        let members = self.members.iter().map(|(id, member)| MemberValue {
            id: id.clone(),
            instance: member.instance.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: millis(member.rebalance_timeout),
            session_timeout_ms: millis(member.session_timeout),
            subscription: member.metadata(protocol).cloned().unwrap_or_default(),
            assignment: member.assignment.clone(),
        });
        GroupValue {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            state_since: self.state_since,
            members: members.collect(),
        }
    }

    /// Writes the group as it is now.
    ///
    /// # Errors
    /// If the record would be larger than the partition takes; nothing is written then.
    pub(super) fn write(&mut self, step: &mut Step<'_>) -> Result<(), RecordError> {
        let record = GroupRecord::Group { group: self.id.clone(), value: Some(self.value()) }.encode()?;
        if record.value.as_ref().map_or(0, Bytes::len) > step.config.max_record_bytes {
            return Err(RecordError::TooLong);
        }
        step.out.records.push(record);
        self.written = true;
        Ok(())
    }

    pub(super) fn transition(&mut self, state: GroupState, step: &Step<'_>) {
        self.state = state;
        self.state_since = Some(step.now.wall);
    }

    /// Adds a member that is not there yet; the first one leads.
    pub(super) fn add(&mut self, id: &str, protocol_type: &str, member: Member) {
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type.to_owned());
        }
        if let Some(instance) = &member.instance {
            self.instances.insert(instance.clone(), id.to_owned());
        }
        if self.leader.is_none() {
            self.leader = Some(id.to_owned());
        }
        self.pending.remove(id);
        self.members.insert(id.to_owned(), member);
    }

    /// Removes a member or pending id. Requests of the member that wait are answered UNKNOWN_MEMBER_ID, so that it
    /// joins anew if it is alive. If it led, another one leads.
    pub(super) fn remove(&mut self, id: &str, step: &mut Step<'_>) {
        self.pending.remove(id);
        let Some(mut member) = self.members.remove(id) else {
            return;
        };
        fail_waiting(&mut member, "", ResponseError::UnknownMemberId, step);
        if let Some(instance) = &member.instance {
            self.instances.remove(instance);
        }
        if self.leader.as_deref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    pub(super) fn leads(&self, id: &str) -> bool {
        self.leader.as_deref() == Some(id)
    }

    /// The longest that any member wants a rebalance to wait for it.
    pub(super) fn rebalance_timeout(&self) -> Duration {
        self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default()
    }

    pub(super) fn all_joined(&self) -> bool {
        self.pending.is_empty() && self.members.values().all(|member| member.joining.is_some())
    }

    /// How many members support each protocol.
    fn support(&self) -> BTreeMap<&str, usize> {
        let mut support = BTreeMap::new();
        for (name, _) in self.members.values().flat_map(|member| &member.protocols) {
            *support.entry(name.as_str()).or_insert(0) += 1;
        }
        support
    }

    /// Could one join who offers `protocols`?
    pub(super) fn accepts_protocols(&self, protocol_type: &str, protocols: &[(String, Bytes)]) -> bool {
        if self.state == GroupState::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let support = self.support();
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|(name, _)| support.get(name.as_str()).copied().unwrap_or(0) == self.members.len())
    }

    /// The protocol that most members prefer among those that all support. Among equals it is the leader's
    /// preference that counts, so that the choice does not depend on names.
    pub(super) fn select_protocol(&self) -> Option<String> {
        let support = self.support();
        let common = |name: &str| support.get(name) == Some(&self.members.len());
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| common(name)) {
                *votes.entry(name).or_insert(0) += 1;
            }
        }
        let most = votes.values().copied().max()?;
        let leader = self.leader.as_ref().and_then(|leader| self.members.get(leader))?;
        leader.protocols.iter().map(|(name, _)| name).find(|name| votes.get(name.as_str()) == Some(&most)).cloned()
    }

    /// The topics that the members of a `consumer` group consume; `None` for other kinds and unreadable metadata.
    pub(super) fn subscriptions(&self) -> Option<BTreeSet<String>> {
        if self.protocol_type.as_deref() != Some("consumer") {
            return None;
        }
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            topics.extend(subscribed_topics(member.metadata(protocol)?)?);
        }
        Some(topics)
    }

    /// Is there a member `id`, and is it still the one for its instance id?
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID; FENCED_INSTANCE_ID if another member took over the instance id.
    pub(super) fn check_member(&self, id: &str, instance: Option<&str>) -> Result<(), ResponseError> {
        if let Some(instance) = instance {
            match self.instances.get(instance) {
                None => return Err(ResponseError::UnknownMemberId),
                Some(current) if current != id => return Err(ResponseError::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(id) { Ok(()) } else { Err(ResponseError::UnknownMemberId) }
    }

    /// What member `id` is told of the present generation.
    pub(super) fn joined(&self, id: &str) -> Joined {
        let protocol = self.protocol.clone().unwrap_or_default();
        let members = if self.leads(id) { self.roster(&protocol) } else { Vec::new() };
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol,
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            members,
        }
    }

    fn roster(&self, protocol: &str) -> Vec<JoinedMember> {
        let roster = self.members.iter().map(|(id, member)| JoinedMember {
            id: id.clone(),
            instance: member.instance.clone(),
            metadata: member.metadata(protocol).cloned().unwrap_or_default(),
        });
        roster.collect()
    }

    /// What a member is told of its assignment.
    pub(super) fn synced(&self, assignment: Bytes) -> Synced {
        Synced { protocol_type: self.protocol_type.clone(), protocol: self.protocol.clone(), assignment }
    }

    pub(super) fn describe(&self) -> DescribedGroup {
        let protocol = self.protocol.as_deref().filter(|_| self.state == GroupState::Stable);
        let members = self.members.iter().map(|(id, member)| DescribedMember {
            id: id.clone(),
            instance: member.instance.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: protocol.and_then(|protocol| member.metadata(protocol)).cloned().unwrap_or_default(),
            assignment: member.assignment.clone(),
        });
        DescribedGroup {
            state: self.state,
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol: protocol.unwrap_or_default().to_owned(),
            members: members.collect(),
        }
    }

    /// When something happens here without a request.
    pub(super) fn next_deadline(&self) -> Option<Monotonic> {
        let sessions = self.members.values().filter_map(|member| member.session_deadline);
        let pending = self.pending.values().copied();
        let join = self.join_timer.as_ref().map(JoinTimer::at);
        sessions.chain(pending).chain(join).chain(self.sync_deadline).min()
    }
}

/// Answers what `member` waits for with `error`; `id` is the member id that a join is answered with.
pub(super) fn fail_waiting(member: &mut Member, id: &str, error: ResponseError, step: &mut Step<'_>) {
    if let Some(token) = member.joining.take() {
        step.refuse_join(token, id, error);
    }
    if let Some(token) = member.syncing.take() {
        step.reply(token, Answer::Sync(Err(error)));
    }
}
