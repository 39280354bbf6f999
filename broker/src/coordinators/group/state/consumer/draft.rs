//! A change in the making: what a group would be after the records so far, at the cost of what changes only.
//!
//! The group itself is not touched until its draft is [finished](Draft::finish) and accepted, so that an error on the way
//! leaves nothing behind.

use super::group::{ConsumerGroup, Member};
use super::subscription;
use crate::coordinators::group::assignor::{Assignor, MemberSpec, Spec};
use crate::coordinators::group::records::{
    ConsumerGroupValue, ConsumerMemberValue, ConsumerRecord, CurrentValue, Partitions, RegexValue, TargetEpochValue,
};
use crate::coordinators::group::state::step::Step;
use crate::coordinators::group::topics::TopicsImage;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// A group and what is to change of it.
pub(super) struct Draft<'a> {
    group: &'a ConsumerGroup,
    topics: &'a dyn TopicsImage,
    members: BTreeMap<String, Option<Member>>,
    targets: BTreeMap<String, Option<Partitions>>,
    regexes: BTreeMap<String, Option<RegexValue>>,
    epoch: i32,
    metadata_hash: i64,
    target_epoch: i32,
    records: Vec<ConsumerRecord>,
}

impl<'a> Draft<'a> {
    /// The group as it is.
    pub(super) fn of(group: &'a ConsumerGroup, topics: &'a dyn TopicsImage) -> Draft<'a> {
        Draft {
            group,
            topics,
            members: BTreeMap::new(),
            targets: BTreeMap::new(),
            regexes: BTreeMap::new(),
            epoch: group.epoch,
            metadata_hash: group.metadata_hash,
            target_epoch: group.target_epoch,
            records: Vec::new(),
        }
    }

    /// The records that make the group what the draft is.
    pub(super) fn finish(self) -> Vec<ConsumerRecord> {
        self.records
    }

    pub(super) fn epoch(&self) -> i32 {
        self.epoch
    }

    pub(super) fn target_epoch(&self) -> i32 {
        self.target_epoch
    }

    pub(super) fn member(&self, id: &str) -> Option<&Member> {
        match self.members.get(id) {
            Some(changed) => changed.as_ref(),
            None => self.group.members.get(id),
        }
    }

    /// Every member, in no order.
    fn members(&self) -> impl Iterator<Item = (&String, &Member)> {
        let same = self.group.members.iter().filter(|(id, _)| !self.members.contains_key(*id));
        let changed = self.members.iter().filter_map(|(id, member)| Some((id, member.as_ref()?)));
        same.chain(changed)
    }

    fn target(&self, id: &str) -> Option<&Partitions> {
        match self.targets.get(id) {
            Some(changed) => changed.as_ref(),
            None => self.group.targets.get(id),
        }
    }

    fn regex(&self, regex: &str) -> Option<&RegexValue> {
        match self.regexes.get(regex) {
            Some(changed) => changed.as_ref(),
            None => self.group.regexes.get(regex),
        }
    }

    /// Whether nobody but `member` holds a partition.
    fn is_free_for(&self, member: &str, topic: Uuid, partition: i32) -> bool {
        let by_changed = self
            .members
            .iter()
            .any(|(id, other)| id != member && other.as_ref().is_some_and(|m| m.holds(topic, partition)));
        let by_same = self
            .group
            .owners
            .get(&(topic, partition))
            .is_some_and(|owner| owner != member && !self.members.contains_key(owner));
        !by_changed && !by_same
    }

    /// A member says of itself what it did not say before, or joins.
    pub(super) fn describe(&mut self, id: &str, about: ConsumerMemberValue) {
        let before = self.member(id).cloned();
        if before.as_ref().is_some_and(|member| member.about == about) {
            return;
        }
        self.records.push(ConsumerRecord::Member { member: id.to_owned(), value: Some(about.clone()) });
        let former_regex = before.as_ref().and_then(|member| member.about.regex.clone());
        let current = before.map(|member| member.current).unwrap_or_default();
        self.members.insert(id.to_owned(), Some(Member { about, current }));
        self.forget_regex(former_regex);
    }

    /// A member is a step further.
    pub(super) fn set_current(&mut self, id: &str, current: CurrentValue) {
        let Some(member) = self.member(id).filter(|member| member.current != current).cloned() else {
            return;
        };
        self.records.push(ConsumerRecord::Current { member: id.to_owned(), value: Some(current.clone()) });
        self.members.insert(id.to_owned(), Some(Member { current, ..member }));
    }

    /// A member is gone.
    pub(super) fn remove(&mut self, id: &str) {
        let Some(member) = self.member(id).cloned() else {
            return;
        };
        self.records.push(ConsumerRecord::Current { member: id.to_owned(), value: None });
        self.records.push(ConsumerRecord::Target { member: id.to_owned(), value: None });
        self.records.push(ConsumerRecord::Member { member: id.to_owned(), value: None });
        self.members.insert(id.to_owned(), None);
        self.targets.insert(id.to_owned(), None);
        self.forget_regex(member.about.regex);
    }

    /// A static member is back under another id: it takes the place of `former`, target and partitions included, and
    /// begins at epoch 0.
    pub(super) fn replace(&mut self, former: &str, id: &str) {
        let (Some(member), target) = (self.member(former).cloned(), self.target(former).cloned()) else {
            return;
        };
        // What it was giving up it has given up by leaving.
        let current =
            CurrentValue { epoch: 0, previous_epoch: 0, assigned: member.current.assigned, ..CurrentValue::default() };
        // The newcomer first, so that an expression of theirs is not forgotten in between.
        self.describe(id, member.about);
        if let Some(target) = target {
            self.set_target(id, target);
        }
        self.records.push(ConsumerRecord::Current { member: id.to_owned(), value: Some(current.clone()) });
        if let Some(Some(member)) = self.members.get_mut(id) {
            member.current = current;
        }
        self.remove(former);
    }

    /// Forgets an expression that no member has any more.
    fn forget_regex(&mut self, regex: Option<String>) {
        let Some(regex) = regex else { return };
        let is_used = self.members().any(|(_, member)| member.about.regex.as_ref() == Some(&regex));
        if !is_used && self.regex(&regex).is_some() {
            self.records.push(ConsumerRecord::Regex { regex: regex.clone(), value: None });
            self.regexes.insert(regex, None);
        }
    }

    /// Matches expressions against the topics: those that never were, and with `all` the others too. Whether any now
    /// stands for other topics.
    pub(super) fn resolve_regexes(&mut self, id: &str, all: bool, step: &Step<'_>) -> bool {
        let mut regexes: BTreeSet<String> = if all {
            self.members().filter_map(|(_, member)| member.about.regex.clone()).collect()
        } else {
            self.member(id).and_then(|member| member.about.regex.clone()).into_iter().collect()
        };
        regexes.retain(|regex| all || self.regex(regex).is_none());
        let mut changed = false;
        for regex in regexes {
            let topics = subscription::resolve(&regex, self.topics);
            if self.regex(&regex).is_some_and(|before| before.topics == topics) {
                continue;
            }
            let value = RegexValue {
                topics,
                version: i64::try_from(self.topics.version()).unwrap_or(i64::MAX),
                resolved: step.now.wall.millis(),
            };
            self.records.push(ConsumerRecord::Regex { regex: regex.clone(), value: Some(value.clone()) });
            self.regexes.insert(regex, Some(value));
            changed = true;
        }
        changed
    }

    /// The names of the topics that a member subscribes to.
    fn names<'b>(&'b self, member: &'b Member) -> impl Iterator<Item = &'b str> {
        let matched = member.about.regex.as_ref().and_then(|regex| self.regex(regex));
        let matched = matched.into_iter().flat_map(|regex| &regex.topics);
        member.about.topics.iter().chain(matched).map(String::as_str)
    }

    /// The topics that a member subscribes to, as far as they exist.
    pub(super) fn subscribed(&self, member: &Member) -> BTreeSet<Uuid> {
        self.names(member).filter_map(|name| self.topics.by_name(name)).map(|topic| topic.id).collect()
    }

    /// The hash of all topics that anybody subscribes to.
    pub(super) fn hash(&self) -> i64 {
        let names: BTreeSet<&str> = self.members().flat_map(|(_, member)| self.names(member)).collect();
        subscription::hash(&names, self.topics)
    }

    pub(super) fn metadata_hash(&self) -> i64 {
        self.metadata_hash
    }

    /// Another assignment is needed.
    pub(super) fn bump(&mut self, metadata_hash: i64) {
        self.epoch = self.epoch.saturating_add(1);
        self.metadata_hash = metadata_hash;
        self.records.push(ConsumerRecord::Group(Some(ConsumerGroupValue { epoch: self.epoch, metadata_hash })));
    }

    /// Computes everybody's target anew.
    pub(super) fn retarget(&mut self, step: &Step<'_>) {
        let mut spec = Spec::default();
        for (id, member) in self.members() {
            let mut topics = BTreeSet::new();
            for topic in self.names(member).filter_map(|name| self.topics.by_name(name)) {
                topics.insert(topic.id);
                spec.topics.insert(topic.id, topic.partitions);
            }
            let target = self.target(id).cloned().unwrap_or_default();
            let instance = member.about.instance.clone();
            spec.members.insert(id.clone(), MemberSpec { instance, topics, target });
        }
        let preferred = preferred_assignor(self.members().map(|(_, member)| member), &step.config.assignors);
        for (id, target) in preferred.assign(&spec) {
            if self.target(&id) != Some(&target) {
                self.set_target(&id, target);
            }
        }
        self.target_epoch = self.epoch;
        let value = TargetEpochValue { epoch: self.epoch, computed: step.now.wall.millis() };
        self.records.push(ConsumerRecord::TargetEpoch(Some(value)));
    }

    fn set_target(&mut self, id: &str, target: Partitions) {
        self.records.push(ConsumerRecord::Target { member: id.to_owned(), value: Some(target.clone()) });
        self.targets.insert(id.to_owned(), Some(target));
    }

    /// Brings a member a step further, if it can go on.
    pub(super) fn reconcile(&mut self, id: &str, resubscribed: bool, owned: Option<&Partitions>) {
        let Some(member) = self.member(id) else { return };
        let nothing = Partitions::new();
        let next = super::reconcile::next(
            &member.current,
            &super::reconcile::Goal {
                epoch: self.target_epoch,
                target: self.target(id).unwrap_or(&nothing),
                subscribed: &self.subscribed(member),
                resubscribed,
                owned,
                is_free: &|topic, partition| self.is_free_for(id, topic, partition),
            },
        );
        self.set_current(id, next);
    }
}

/// The assignor that most members prefer; among equals, and without preferences, the one that is configured first.
pub(super) fn preferred_assignor<'a>(members: impl Iterator<Item = &'a Member>, configured: &[Assignor]) -> Assignor {
    let mut votes: BTreeMap<Assignor, usize> = BTreeMap::new();
    for assignor in members.filter_map(|member| Assignor::named(member.about.assignor.as_ref()?)) {
        *votes.entry(assignor).or_default() += 1;
    }
    let votes_for = |assignor: &Assignor| votes.get(assignor).copied().unwrap_or_default();
    // `max_by_key` takes the last of equals.
    configured.iter().rev().max_by_key(|assignor| votes_for(assignor)).copied().unwrap_or(Assignor::Uniform)
}
