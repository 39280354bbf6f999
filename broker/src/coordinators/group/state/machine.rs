//! The groups of one partition: which group a request means, and what is due when.

use super::committed::Offsets;
use super::entry::Entry;
use super::group::Group;
use super::invariants;
use super::step::{Output, Step};
use crate::coordinators::group::config::GroupConfig;
use crate::coordinators::group::request::{
    Answer, CommitRequest, DescribedGroup, GroupState, JoinAnswer, Leaver, Now, Reply, Request, Token,
};
use crate::coordinators::group::topics::{NoTopics, TopicsImage};
use esker_storage::env::Monotonic;
use kafka_protocol::error::ResponseError;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The longest name that fits a record and every version of an answer, in bytes, with room for what is added to it.
const LONGEST_NAME: usize = 32_000;

/// The groups of one coordinator partition.
#[derive(Debug)]
pub struct GroupMachine {
    config: Arc<GroupConfig>,
    topics: Arc<dyn TopicsImage>,
    pub(super) groups: BTreeMap<String, Entry>,
    /// Each group that has a deadline, by it; `indexed` is the inverse.
    deadlines: BTreeSet<(Monotonic, String)>,
    indexed: BTreeMap<String, Monotonic>,
    /// What each group takes in memory, about, and all of them together.
    weights: BTreeMap<String, usize>,
    weight: usize,
    /// When offsets are looked through for expired ones; `None` until loaded.
    pub(super) sweep: Option<Monotonic>,
}

impl GroupMachine {
    /// A machine without groups, to be loaded by [`GroupMachine::replay`] and [`GroupMachine::loaded`].
    pub fn new(config: Arc<GroupConfig>) -> GroupMachine {
        GroupMachine {
            config,
            topics: Arc::new(NoTopics),
            groups: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            indexed: BTreeMap::new(),
            weights: BTreeMap::new(),
            weight: 0,
            sweep: None,
        }
    }

    /// From here on, the topics are these. Groups look at them when their members next send a heartbeat.
    pub fn see_topics(&mut self, topics: Arc<dyn TopicsImage>) {
        self.topics = topics;
    }

    /// What a step goes by, held apart from the machine so that both can be borrowed.
    pub(super) fn surroundings(&self) -> (Arc<GroupConfig>, Arc<dyn TopicsImage>) {
        (Arc::clone(&self.config), Arc::clone(&self.topics))
    }

    /// How much more memory the groups may take: `group.coordinator.max.bytes`.
    pub(super) fn room(&self) -> usize {
        self.config.max_bytes.saturating_sub(self.weight)
    }

    /// Handles `request`. Its answer is in `out`, or will be in that of a later call.
    pub fn handle(&mut self, now: Now, token: Token, request: Request, out: &mut Output) {
        let (config, topics) = self.surroundings();
        let mut step = Step { config: &config, now, room: self.room(), topics: topics.as_ref(), out };
        if !names_fit(&request) {
            return step.reply(token, request.refused(ResponseError::InvalidRequest));
        }
        match request {
            Request::Join(join) => self.join(join, token, &mut step),
            Request::Sync(sync) => {
                let id = sync.from.group.clone();
                match self.groups.get_mut(&id) {
                    None => step.reply(token, Answer::Sync(Err(ResponseError::UnknownMemberId))),
                    Some(Entry::Classic(group)) => group.sync(sync, token, &mut step),
                    Some(Entry::Consumer(group)) => {
                        let synced = group.sync(sync, &step);
                        step.reply(token, Answer::Sync(synced));
                    }
                }
                self.settle(&id);
            }
            Request::Heartbeat(from) => {
                match self.groups.get_mut(&from.group) {
                    None => step.reply(token, Answer::Heartbeat(Err(ResponseError::UnknownMemberId))),
                    Some(Entry::Classic(group)) => group.heartbeat(&from, token, &mut step),
                    Some(Entry::Consumer(group)) => {
                        let alive = group.heartbeat(&from, &step);
                        step.reply(token, Answer::Heartbeat(alive));
                    }
                }
                self.settle(&from.group);
            }
            Request::Leave { group, members } => self.leave(&group, members, token, &mut step),
            Request::Beat(beat) => {
                let beat = self.beat(*beat, &mut step);
                step.reply(token, Answer::Beat(beat));
            }
            Request::DescribeConsumers { group } => {
                let described = self.describe_consumers(&group, &step);
                step.reply(token, Answer::Consumers(described));
            }
            Request::Commit(commit) => self.commit(commit, token, &mut step),
            Request::Fetch { group, topics, member } => {
                let entry = self.groups.get(&group);
                // In a classic group members do not say who they are, or not in full, and Kafka looks at neither.
                let checked = match (entry, &member) {
                    (Some(Entry::Consumer(group)), Some((member, epoch))) => group.check_fetch(member, *epoch),
                    (Some(Entry::Classic(_)) | None, _) | (_, None) => Ok(()),
                };
                let fetched =
                    checked.map(|()| entry.map_or(&Offsets::default(), |entry| entry.offsets()).fetch(topics));
                step.reply(token, Answer::Offsets(fetched));
            }
            Request::DeleteOffsets { group, topics } => {
                let deleted = match self.groups.get_mut(&group) {
                    None => Err(ResponseError::GroupIdNotFound),
                    Some(Entry::Classic(group)) => group.delete_offsets(topics, &mut step),
                    Some(Entry::Consumer(group)) => Ok(group.delete_offsets(topics, &mut step)),
                };
                self.settle(&group);
                step.reply(token, Answer::Commit(deleted));
            }
            Request::Describe { group } => {
                let described = match self.groups.get(&group) {
                    Some(Entry::Classic(group)) => group.describe(),
                    Some(Entry::Consumer(_)) | None => dead(),
                };
                step.reply(token, Answer::Describe(Ok(described)));
            }
            Request::List => {
                let listed = self.groups.values().map(Entry::listed).collect();
                step.reply(token, Answer::List(Ok(listed)));
            }
            Request::Delete { group } => {
                let result = self.delete(&group, &mut step);
                step.reply(token, Answer::Delete(result));
            }
            Request::TopicsDeleted { topics } => {
                let ids: Vec<String> = self.groups.keys().cloned().collect();
                for id in ids {
                    if let Some(entry) = self.groups.get_mut(&id) {
                        entry.offsets_mut().forget_topics(&id, &topics, &mut step);
                    }
                    self.settle(&id);
                }
                step.reply(token, Answer::TopicsDeleted(Ok(())));
            }
        }
    }

    /// Does everything that is due at `now`.
    pub fn advance(&mut self, now: Now, out: &mut Output) {
        let (config, topics) = self.surroundings();
        let mut step = Step { config: &config, now, room: self.room(), topics: topics.as_ref(), out };
        while let Some((deadline, id)) = self.deadlines.first().cloned()
            && deadline <= now.monotonic
        {
            match self.groups.get_mut(&id) {
                Some(Entry::Classic(group)) => group.advance(&mut step),
                Some(Entry::Consumer(group)) => {
                    if let Some(member) = group.missed(now.monotonic) {
                        self.put_out(&id, &[member], &mut step);
                    }
                }
                None => {}
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
        let classic = self.groups.into_values().filter_map(|entry| match entry {
            Entry::Classic(group) => Some(group),
            Entry::Consumer(_) => None,
        });
        for (id, member) in classic.flat_map(|group| group.members) {
            if let Some(token) = member.joining {
                let answer = JoinAnswer { result: Err(error), member: id };
                replies.push(Reply { token, answer: Answer::Join(answer) });
            }
            if let Some(token) = member.syncing {
                replies.push(Reply { token, answer: Answer::Sync(Err(error)) });
            }
        }
        replies
    }

    /// How many groups there are.
    pub fn count(&self) -> usize {
        self.groups.len()
    }

    fn leave(&mut self, id: &str, members: Vec<Leaver>, token: Token, step: &mut Step<'_>) {
        match self.groups.get_mut(id) {
            None => {
                let unknown = |leaver| (leaver, Some(ResponseError::UnknownMemberId));
                step.reply(token, Answer::Leave(Ok(members.into_iter().map(unknown).collect())));
            }
            Some(Entry::Classic(group)) => {
                group.leave(members, token, step);
                self.settle(id);
            }
            Some(Entry::Consumer(_)) => self.leave_consumer_group(id, members, token, step),
        }
    }

    fn commit(&mut self, request: CommitRequest, token: Token, step: &mut Step<'_>) {
        if !self.groups.contains_key(&request.group) {
            if request.generation.is_some() {
                let error = if request.knows_member_epochs {
                    ResponseError::GroupIdNotFound
                } else {
                    ResponseError::IllegalGeneration
                };
                return step.reply(token, Answer::Commit(Err(error)));
            }
            let group = Group::new(&request.group, step.now.wall);
            self.groups.insert(request.group.clone(), Entry::Classic(group));
        }
        let id = request.group.clone();
        match self.groups.get_mut(&id) {
            Some(Entry::Classic(group)) => group.commit(request, token, step),
            Some(Entry::Consumer(group)) => {
                let committed = group.commit(request, step);
                step.reply(token, Answer::Commit(committed));
            }
            None => {}
        }
        self.settle(&id);
    }

    fn delete(&mut self, id: &str, step: &mut Step<'_>) -> Result<(), ResponseError> {
        let entry = self.groups.get_mut(id).ok_or(ResponseError::GroupIdNotFound)?;
        let has_members = match entry {
            Entry::Classic(group) => group.state != GroupState::Empty,
            Entry::Consumer(group) => !group.members.is_empty(),
        };
        if has_members {
            return Err(ResponseError::NonEmptyGroup);
        }
        entry.offsets_mut().forget_all(id, step);
        self.bury(id, step);
        Ok(())
    }

    /// Forgets expired offsets, and groups without members, offsets and expected members.
    fn expire_offsets(&mut self, step: &mut Step<'_>) {
        let ids: Vec<String> = self.groups.keys().cloned().collect();
        for id in ids {
            let Some(entry) = self.groups.get_mut(&id) else {
                continue;
            };
            match entry {
                Entry::Classic(group) => group.expire_offsets(step),
                Entry::Consumer(group) => group.expire_offsets(step),
            }
            if entry.is_deserted() && entry.offsets().is_empty() {
                self.bury(&id, step);
            } else {
                self.settle(&id);
            }
        }
    }

    /// Removes a group without members, from the log as well.
    fn bury(&mut self, id: &str, step: &mut Step<'_>) {
        if let Some(entry) = self.groups.remove(id) {
            Self::write_tombstones(&entry, step);
        }
        self.weigh(id, 0);
        self.index(id, None);
    }

    /// After anything happened to group `id`: drops it if nothing is known of it, and notes its next deadline.
    pub(super) fn settle(&mut self, id: &str) {
        let Some(entry) = self.groups.get(id) else {
            self.weigh(id, 0);
            return self.index(id, None);
        };
        debug_assert_eq!(invariants::violated(entry), None, "{entry:?}");
        if !entry.is_written() && entry.is_deserted() && entry.offsets().is_empty() {
            self.groups.remove(id);
            self.weigh(id, 0);
            return self.index(id, None);
        }
        let (weight, deadline) = (entry.weight(), entry.next_deadline());
        self.weigh(id, weight);
        self.index(id, deadline);
    }

    /// Takes note of what group `id` takes in memory.
    fn weigh(&mut self, id: &str, weight: usize) {
        let before = match self.weights.get_mut(id) {
            Some(known) => std::mem::replace(known, weight),
            None if weight == 0 => return,
            None => {
                self.weights.insert(id.to_owned(), weight);
                0
            }
        };
        self.weight = self.weight.saturating_sub(before) + weight;
        if weight == 0 {
            self.weights.remove(id);
        }
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

/// How a group that does not exist, or is not of the classic protocol, is described.
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
    let optional_fits = |name: &Option<String>| name.as_deref().is_none_or(fits);
    match request {
        Request::Join(join) => {
            fits(&join.group)
                && fits(&join.member)
                && optional_fits(&join.instance)
                && fits(&join.client_id)
                && fits(&join.protocol_type)
                && join.protocols.iter().all(|(name, _)| fits(name))
        }
        Request::Beat(beat) => {
            fits(&beat.group)
                && fits(&beat.member)
                && fits(&beat.client_id)
                && [&beat.instance, &beat.rack, &beat.regex, &beat.assignor].into_iter().all(optional_fits)
                && beat.topics.iter().flatten().all(|topic| fits(topic))
        }
        Request::Commit(commit) => fits(&commit.group) && commit.topics.iter().all(|(topic, _)| fits(topic)),
        Request::Sync(sync) => fits(&sync.from.group),
        Request::Heartbeat(from) => fits(&from.group),
        Request::Leave { group, .. }
        | Request::DescribeConsumers { group }
        | Request::Fetch { group, .. }
        | Request::DeleteOffsets { group, .. }
        | Request::Describe { group }
        | Request::Delete { group } => fits(group),
        Request::List | Request::TopicsDeleted { .. } => true,
    }
}

#[cfg(test)]
impl GroupMachine {
    /// What the groups are counted for, for tests.
    pub(super) fn weight(&self) -> usize {
        assert_eq!(self.weight, self.groups.values().map(Entry::weight).sum::<usize>(), "the count is off");
        self.weight
    }

    /// Every classic group, for tests.
    pub(super) fn groups(&self) -> BTreeMap<&str, &Group> {
        let classic = self.groups.iter().filter_map(|(id, entry)| match entry {
            Entry::Classic(group) => Some((id.as_str(), group)),
            Entry::Consumer(_) => None,
        });
        classic.collect()
    }

    /// Every consumer group, for tests.
    pub(super) fn consumer_groups(&self) -> BTreeMap<&str, &super::consumer::ConsumerGroup> {
        let consumer = self.groups.iter().filter_map(|(id, entry)| match entry {
            Entry::Consumer(group) => Some((id.as_str(), group)),
            Entry::Classic(_) => None,
        });
        consumer.collect()
    }
}
