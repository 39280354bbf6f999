//! The groups of one partition: which group a request means, when a group comes and goes, and what is due when.

use super::committed::Offsets;
use super::group::Group;
use super::invariants;
use super::member::weight_of;
use super::step::{Output, Step};
use crate::coordinators::group::config::GroupConfig;
use crate::coordinators::group::records::GroupRecord;
use crate::coordinators::group::request::{
    Answer, CommitRequest, DescribedGroup, GroupState, JoinRequest, Leaver, ListedGroup, Now, Reply, Request, Token,
};
use esker_storage::env::Monotonic;
use kafka_protocol::error::ResponseError;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The longest name that fits a record and every version of an answer, in bytes, with room for what is added to it.
const LONGEST_NAME: usize = 32_000;

/// What a member takes in memory with its ids, beyond what it says of itself, about.
const NEW_MEMBER: usize = 2048;

/// The groups of one coordinator partition.
#[derive(Debug)]
pub struct GroupMachine {
    config: Arc<GroupConfig>,
    groups: BTreeMap<String, Group>,
    /// Each group that has a deadline, by it; `indexed` is the inverse.
    deadlines: BTreeSet<(Monotonic, String)>,
    indexed: BTreeMap<String, Monotonic>,
    /// What the groups take in memory, about: the sum of what is counted for each.
    weight: usize,
    /// When offsets are looked through for expired ones; `None` until loaded.
    sweep: Option<Monotonic>,
}

impl GroupMachine {
    /// A machine without groups, to be loaded by [`GroupMachine::replay`] and [`GroupMachine::loaded`].
    pub fn new(config: Arc<GroupConfig>) -> GroupMachine {
        GroupMachine {
            config,
            groups: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            indexed: BTreeMap::new(),
            weight: 0,
            sweep: None,
        }
    }

    /// Takes over what a record of the partition says. Records are replayed in the order of the log.
    pub fn replay(&mut self, record: GroupRecord) {
        match record {
            GroupRecord::Offset { key, value: Some(value) } => {
                let group = self.groups.entry(key.group).or_insert_with_key(|id| Group::new(id, value.committed));
                group.offsets.apply(&key.topic, key.partition, Some(value));
            }
            GroupRecord::Offset { key, value: None } => {
                if let Some(group) = self.groups.get_mut(&key.group) {
                    group.offsets.apply(&key.topic, key.partition, None);
                }
            }
            GroupRecord::Group { group, value: Some(value) } => {
                let since = value.state_since.unwrap_or_default();
                self.groups.entry(group).or_insert_with_key(|id| Group::new(id, since)).restore(value);
            }
            GroupRecord::Group { group, value: None } => {
                if let Some(gone) = self.groups.remove(&group)
                    && !gone.offsets.is_empty()
                {
                    // Offsets that outlive their group's metadata are those of a group without members.
                    let since = gone.state_since.unwrap_or_default();
                    let offsets = gone.offsets;
                    self.groups.insert(group.clone(), Group { offsets, ..Group::new(&group, since) });
                }
            }
            GroupRecord::Other { .. } => {}
        }
    }

    /// The log is replayed: sessions start anew, since nobody could reach this coordinator before.
    pub fn loaded(&mut self, now: Now, out: &mut Output) {
        let config = Arc::clone(&self.config);
        let mut step = Step { config: &config, now, room: config.max_bytes.saturating_sub(self.weight), out };
        self.sweep = Some(now.monotonic.plus(config.offsets_retention_check_interval));
        let ids: Vec<String> = self.groups.keys().cloned().collect();
        for id in ids {
            if let Some(group) = self.groups.get_mut(&id) {
                for member in group.members.values_mut() {
                    member.seen(now.monotonic);
                }
                if group.members.len() > config.max_size {
                    group.prepare_rebalance(&mut step);
                }
            }
            self.settle(&id);
        }
    }

    /// Handles `request`. Its answer is in `out`, or will be in that of a later call.
    pub fn handle(&mut self, now: Now, token: Token, request: Request, out: &mut Output) {
        let config = Arc::clone(&self.config);
        let mut step = Step { config: &config, now, room: config.max_bytes.saturating_sub(self.weight), out };
        if !names_fit(&request) {
            return step.reply(token, request.refused(ResponseError::InvalidRequest));
        }
        match request {
            Request::Join(join) => self.join(join, token, &mut step),
            Request::Sync(sync) => match self.groups.get_mut(&sync.from.group) {
                None => step.reply(token, Answer::Sync(Err(ResponseError::UnknownMemberId))),
                Some(group) => {
                    let id = group.id.clone();
                    group.sync(sync, token, &mut step);
                    self.settle(&id);
                }
            },
            Request::Heartbeat(from) => match self.groups.get_mut(&from.group) {
                None => step.reply(token, Answer::Heartbeat(Err(ResponseError::UnknownMemberId))),
                Some(group) => {
                    group.heartbeat(&from, token, &mut step);
                    self.settle(&from.group);
                }
            },
            Request::Leave { group, members } => self.leave(&group, members, token, &mut step),
            Request::Commit(commit) => self.commit(commit, token, &mut step),
            Request::Fetch { group, topics } => {
                let fetched = self.groups.get(&group).map(|group| &group.offsets);
                let fetched = fetched.unwrap_or(&Offsets::default()).fetch(topics);
                step.reply(token, Answer::Offsets(Ok(fetched)));
            }
            Request::Describe { group } => {
                let described = self.groups.get(&group).map_or_else(dead, Group::describe);
                step.reply(token, Answer::Describe(Ok(described)));
            }
            Request::List => {
                let listed = self.groups.values().map(|group| ListedGroup {
                    group: group.id.clone(),
                    protocol_type: group.protocol_type.clone().unwrap_or_default(),
                    state: group.state,
                });
                step.reply(token, Answer::List(Ok(listed.collect())));
            }
            Request::Delete { group } => {
                let result = self.delete(&group, &mut step);
                step.reply(token, Answer::Delete(result));
            }
            Request::TopicsDeleted { topics } => {
                let ids: Vec<String> = self.groups.keys().cloned().collect();
                for id in ids {
                    if let Some(group) = self.groups.get_mut(&id) {
                        group.forget_topics(&topics, &mut step);
                    }
                    self.settle(&id);
                }
                step.reply(token, Answer::TopicsDeleted(Ok(())));
            }
        }
    }

    /// Does everything that is due at `now`.
    pub fn advance(&mut self, now: Now, out: &mut Output) {
        let config = Arc::clone(&self.config);
        let mut step = Step { config: &config, now, room: config.max_bytes.saturating_sub(self.weight), out };
        while let Some((deadline, id)) = self.deadlines.first().cloned()
            && deadline <= now.monotonic
        {
            if let Some(group) = self.groups.get_mut(&id) {
                group.advance(&mut step);
            }
            self.settle(&id);
        }
        if self.sweep.is_some_and(|sweep| sweep <= now.monotonic) {
            self.sweep = Some(now.monotonic.plus(config.offsets_retention_check_interval));
            self.expire_offsets(&mut step);
        }
    }

    /// When [`GroupMachine::advance`] has something to do.
    pub fn next_deadline(&self) -> Option<Monotonic> {
        self.deadlines.first().map(|(deadline, _)| *deadline).into_iter().chain(self.sweep).min()
    }

    /// Ends the machine: every request that still waits in a group is answered with `error`.
    pub fn abandon(self, error: ResponseError) -> Vec<Reply> {
        let mut replies = Vec::new();
        for (id, member) in self.groups.into_values().flat_map(|group| group.members) {
            if let Some(token) = member.joining {
                let answer = crate::coordinators::group::request::JoinAnswer { result: Err(error), member: id };
                replies.push(Reply { token, answer: Answer::Join(answer) });
            }
            if let Some(token) = member.syncing {
                replies.push(Reply { token, answer: Answer::Sync(Err(error)) });
            }
        }
        replies
    }

    /// How many groups there are in each state, for metrics.
    pub fn count_by_state(&self) -> BTreeMap<GroupState, usize> {
        let mut counts = BTreeMap::new();
        for group in self.groups.values() {
            *counts.entry(group.state).or_insert(0) += 1;
        }
        counts
    }

    fn join(&mut self, request: JoinRequest, token: Token, step: &mut Step<'_>) {
        let bounds = step.config.min_session_timeout..=step.config.max_session_timeout;
        if !request.session_timeout.is_some_and(|session| bounds.contains(&session)) {
            return step.refuse_join(token, &request.member, ResponseError::InvalidSessionTimeout);
        }
        if let Err(error) = self.check_size(&request, step) {
            return step.refuse_join(token, &request.member, error);
        }
        if !self.groups.contains_key(&request.group) {
            if !request.member.is_empty() {
                return step.refuse_join(token, &request.member, ResponseError::UnknownMemberId);
            }
            self.groups.insert(request.group.clone(), Group::new(&request.group, step.now.wall));
        }
        let id = request.group.clone();
        if let Some(group) = self.groups.get_mut(&id) {
            group.join(request, token, step);
        }
        self.settle(&id);
    }

    /// Whether what a member says of itself can be written at all, and kept in memory until it is.
    ///
    /// # Errors
    /// UNKNOWN_SERVER_ERROR, which is what Kafka makes of a group that is too large to be written;
    /// GROUP_MAX_SIZE_REACHED beyond `group.coordinator.max.bytes`.
    fn check_size(&self, request: &JoinRequest, step: &Step<'_>) -> Result<(), ResponseError> {
        let protocols = weight_of(&request.protocols);
        if protocols > step.config.max_record_bytes {
            return Err(ResponseError::UnknownServerError);
        }
        let present = self.groups.get(&request.group).and_then(|group| group.members.get(&request.member));
        let new = NEW_MEMBER + protocols + request.group.len() + request.client_id.len();
        let growth = present.map_or(new, |member| protocols.saturating_sub(member.weight()));
        if growth > step.room { Err(ResponseError::GroupMaxSizeReached) } else { Ok(()) }
    }

    fn leave(&mut self, id: &str, members: Vec<Leaver>, token: Token, step: &mut Step<'_>) {
        match self.groups.get_mut(id) {
            None => {
                let unknown = |leaver| (leaver, Some(ResponseError::UnknownMemberId));
                step.reply(token, Answer::Leave(Ok(members.into_iter().map(unknown).collect())));
            }
            Some(group) => {
                group.leave(members, token, step);
                self.settle(id);
            }
        }
    }

    fn commit(&mut self, request: CommitRequest, token: Token, step: &mut Step<'_>) {
        if !self.groups.contains_key(&request.group) {
            if request.generation.is_some() {
                let error = if request.names_unknown_group {
                    ResponseError::GroupIdNotFound
                } else {
                    ResponseError::IllegalGeneration
                };
                return step.reply(token, Answer::Commit(Err(error)));
            }
            self.groups.insert(request.group.clone(), Group::new(&request.group, step.now.wall));
        }
        let id = request.group.clone();
        if let Some(group) = self.groups.get_mut(&id) {
            group.commit(request, token, step);
        }
        self.settle(&id);
    }

    fn delete(&mut self, id: &str, step: &mut Step<'_>) -> Result<(), ResponseError> {
        let group = self.groups.get_mut(id).ok_or(ResponseError::GroupIdNotFound)?;
        if group.state != GroupState::Empty {
            return Err(ResponseError::NonEmptyGroup);
        }
        group.forget_all_offsets(step);
        self.bury(id, step);
        Ok(())
    }

    /// Forgets expired offsets, and groups without members, offsets and expected members.
    fn expire_offsets(&mut self, step: &mut Step<'_>) {
        let ids: Vec<String> = self.groups.keys().cloned().collect();
        for id in ids {
            let Some(group) = self.groups.get_mut(&id) else {
                continue;
            };
            group.expire_offsets(step);
            if group.state == GroupState::Empty && group.offsets.is_empty() && group.pending.is_empty() {
                self.bury(&id, step);
            } else {
                self.settle(&id);
            }
        }
    }

    /// Removes an empty group, from the log as well.
    fn bury(&mut self, id: &str, step: &mut Step<'_>) {
        let group = self.groups.remove(id);
        self.weight = self.weight.saturating_sub(group.as_ref().map_or(0, |group| group.counted));
        if group.is_some_and(|group| group.written) {
            let tombstone = GroupRecord::Group { group: id.to_owned(), value: None };
            // The group's id was written before, so that it fits.
            step.out.records.extend(tombstone.encode());
        }
        self.index(id, None);
    }

    /// After anything happened to group `id`: drops it if nothing is known of it, and notes its next deadline.
    fn settle(&mut self, id: &str) {
        let Some(group) = self.groups.get_mut(id) else {
            return;
        };
        debug_assert_eq!(invariants::violated(group), None, "{group:?}");
        let is_nothing =
            !group.written && group.state == GroupState::Empty && group.offsets.is_empty() && group.pending.is_empty();
        self.weight = self.weight.saturating_sub(group.counted);
        if is_nothing {
            self.groups.remove(id);
            return self.index(id, None);
        }
        group.counted = group.weight();
        self.weight += group.counted;
        let deadline = group.next_deadline();
        self.index(id, deadline);
    }

    fn index(&mut self, id: &str, deadline: Option<Monotonic>) {
        if self.indexed.get(id) == deadline.as_ref() {
            return;
        }
        if let Some(previous) = self.indexed.remove(id) {
            self.deadlines.remove(&(previous, id.to_owned()));
        }
        if let Some(deadline) = deadline {
            self.indexed.insert(id.to_owned(), deadline);
            self.deadlines.insert((deadline, id.to_owned()));
        }
    }
}

/// How a group that does not exist is described.
fn dead() -> DescribedGroup {
    DescribedGroup {
        state: GroupState::Dead,
        protocol_type: String::new(),
        protocol: String::new(),
        members: Vec::new(),
    }
}

/// Flexible versions can carry names that neither a record nor an older answer can.
fn names_fit(request: &Request) -> bool {
    let fits = |name: &str| name.len() <= LONGEST_NAME;
    match request {
        Request::Join(join) => {
            fits(&join.group)
                && fits(&join.member)
                && join.instance.as_deref().is_none_or(fits)
                && fits(&join.client_id)
                && fits(&join.protocol_type)
                && join.protocols.iter().all(|(name, _)| fits(name))
        }
        Request::Commit(commit) => fits(&commit.group) && commit.topics.iter().all(|(topic, _)| fits(topic)),
        Request::Sync(sync) => fits(&sync.from.group),
        Request::Heartbeat(from) => fits(&from.group),
        Request::Leave { group, .. }
        | Request::Fetch { group, .. }
        | Request::Describe { group }
        | Request::Delete { group } => fits(group),
        Request::List | Request::TopicsDeleted { .. } => true,
    }
}

#[cfg(test)]
impl GroupMachine {
    /// What the groups are counted for, for tests.
    pub(super) fn weight(&self) -> usize {
        assert_eq!(self.weight, self.groups.values().map(Group::weight).sum::<usize>(), "the count is off");
        self.weight
    }

    /// Every group, for tests.
    pub(super) fn groups(&self) -> &BTreeMap<String, Group> {
        &self.groups
    }
}
