//! Committed offsets: who of a classic group may commit, and for groups of either protocol what a commit, a deletion and
//! time do to the table.

use super::committed::Offsets;
use super::group::Group;
use super::step::Step;
use crate::coordinators::group::records::{GroupRecord, OffsetKey, OffsetValue, RecordError};
use crate::coordinators::group::request::{Answer, CommitPartition, CommitRequest, CommitResults, GroupState, Token};
use esker_storage::env::Timestamp;
use esker_storage::env::mutation::{self, Mutation};
use kafka_protocol::error::ResponseError;
use std::time::Duration;

impl Offsets {
    /// Commits offsets of group `group`; each partition with its error.
    pub(super) fn commit(
        &mut self,
        group: &str,
        topics: Vec<(String, Vec<CommitPartition>)>,
        retention: Option<Duration>,
        step: &mut Step<'_>,
    ) -> CommitResults {
        let wall = step.now.wall;
        let expires = retention.map(|retention| {
            let millis = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
            Timestamp::from_millis(wall.millis().saturating_add(millis))
        });
        let mut results = Vec::new();
        for (topic, partitions) in topics {
            let mut result = Vec::new();
            for partition in partitions {
                let index = partition.partition;
                result.push((index, self.commit_one(group, &topic, partition, expires, step).err()));
            }
            results.push((topic, result));
        }
        results
    }

    fn commit_one(
        &mut self,
        group: &str,
        topic: &str,
        commit: CommitPartition,
        expires: Option<Timestamp>,
        step: &mut Step<'_>,
    ) -> Result<(), ResponseError> {
        // Kafka's limit is named in bytes and counts UTF-16 units.
        if commit.metadata.encode_utf16().count() > step.config.offset_metadata_max_bytes {
            return Err(ResponseError::OffsetMetadataTooLarge);
        }
        // What is committed already can always be moved on. Beyond that, clients come back until offsets have expired.
        let growth = self.growth(topic, commit.partition, commit.metadata.len());
        if growth > step.room {
            return Err(ResponseError::CoordinatorNotAvailable);
        }
        step.room -= growth;
        let value = OffsetValue {
            offset: commit.offset,
            // The form with an expiry has no place for the epoch: never show what a reload would forget.
            leader_epoch: commit.leader_epoch.filter(|_| expires.is_none()),
            metadata: commit.metadata,
            committed: step.now.wall,
            expires,
        };
        self.put(group, topic, commit.partition, Some(value), step).map_err(|_| ResponseError::OffsetMetadataTooLarge)
    }

    /// Writes an offset or its tombstone, and applies it.
    fn put(
        &mut self,
        group: &str,
        topic: &str,
        partition: i32,
        value: Option<OffsetValue>,
        step: &mut Step<'_>,
    ) -> Result<(), RecordError> {
        let key = OffsetKey { group: group.to_owned(), topic: topic.to_owned(), partition };
        step.out.records.push(GroupRecord::Offset { key, value: value.clone() }.encode()?);
        self.apply(topic, partition, value);
        Ok(())
    }

    /// OffsetDelete: forgets offsets of topics that are not consumed; each partition with its error.
    pub(super) fn delete(
        &mut self,
        group: &str,
        topics: Vec<(String, Vec<i32>)>,
        is_consumed: impl Fn(&str) -> bool,
        step: &mut Step<'_>,
    ) -> CommitResults {
        let mut results = Vec::new();
        for (topic, partitions) in topics {
            let error = is_consumed(&topic).then_some(ResponseError::GroupSubscribedToTopic);
            if error.is_none() {
                let there = |of: &str, partition: i32| of == topic && partitions.contains(&partition);
                let found = self.find_partitions(there);
                self.forget(group, found, step);
            }
            results.push((topic, partitions.into_iter().map(|partition| (partition, error)).collect()));
        }
        results
    }

    /// Forgets offsets that are unused for `offsets.retention.minutes` since the time that `since` says, or since the
    /// one that the client chose, unless their topic is consumed.
    pub(super) fn expire(
        &mut self,
        group: &str,
        since: impl Fn(&OffsetValue) -> Timestamp,
        is_consumed: impl Fn(&str) -> bool,
        step: &mut Step<'_>,
    ) {
        let (now, retention) = (step.now.wall, step.config.offsets_retention);
        let expired = self.find(|topic, value| {
            !is_consumed(topic)
                && match value.expires {
                    Some(expires) => now >= expires,
                    None => elapsed(since(value), now) >= retention,
                }
        });
        self.forget(group, expired, step);
    }

    /// Forgets the offsets of deleted topics.
    pub(super) fn forget_topics(&mut self, group: &str, topics: &[String], step: &mut Step<'_>) {
        let gone = self.find(|topic, _| topics.iter().any(|deleted| deleted == topic));
        self.forget(group, gone, step);
    }

    /// Forgets every offset.
    pub(super) fn forget_all(&mut self, group: &str, step: &mut Step<'_>) {
        let all = self.find(|_, _| true);
        self.forget(group, all, step);
    }

    fn forget(&mut self, group: &str, partitions: Vec<(String, i32)>, step: &mut Step<'_>) {
        for (topic, partition) in partitions {
            // Its key was written before, so that it fits.
            let _ = self.put(group, &topic, partition, None, step);
        }
    }
}

impl Group {
    /// OffsetCommit.
    pub(super) fn commit(&mut self, request: CommitRequest, token: Token, step: &mut Step<'_>) {
        if let Err(error) = self.check_commit(&request) {
            return step.reply(token, Answer::Commit(Err(error)));
        }
        if let Some(member) = self.members.get_mut(&request.member) {
            member.seen(step.now.monotonic);
        }
        let results = self.offsets.commit(&self.id, request.topics, request.retention, step);
        step.reply(token, Answer::Commit(Ok(results)));
    }

    /// Members commit in their generation; anybody may while the group has no members.
    fn check_commit(&self, request: &CommitRequest) -> Result<(), ResponseError> {
        if request.generation.is_none() && self.state == GroupState::Empty {
            return Ok(());
        }
        if request.generation.is_none() && request.member.is_empty() && request.instance.is_none() {
            return Err(ResponseError::UnknownMemberId);
        }
        self.check_member(&request.member, request.instance.as_deref())?;
        if request.generation != Some(self.generation) && !mutation::active(Mutation::StaleGenerationAccepted) {
            return Err(ResponseError::IllegalGeneration);
        }
        if self.state == GroupState::CompletingRebalance {
            // Its partitions may be somebody else's by now.
            return Err(ResponseError::RebalanceInProgress);
        }
        Ok(())
    }

    /// OffsetDelete. A group with members must say what it consumes.
    ///
    /// # Errors
    /// NON_EMPTY_GROUP.
    pub(super) fn delete_offsets(
        &mut self,
        topics: Vec<(String, Vec<i32>)>,
        step: &mut Step<'_>,
    ) -> Result<CommitResults, ResponseError> {
        if self.state != GroupState::Empty && self.subscribed.is_none() {
            return Err(ResponseError::NonEmptyGroup);
        }
        let subscribed = self.subscribed.as_ref().filter(|_| self.state != GroupState::Empty);
        let is_consumed = |topic: &str| subscribed.is_some_and(|topics| topics.contains(topic));
        Ok(self.offsets.delete(&self.id, topics, is_consumed, step))
    }

    /// Forgets offsets that were not used for `offsets.retention.minutes`. In a group with members only those of
    /// topics that nobody subscribes to can be unused, and only where the subscriptions are known.
    pub(super) fn expire_offsets(&mut self, step: &mut Step<'_>) {
        let empty_since = match (&self.protocol_type, self.state) {
            (None, _) => None,
            (Some(_), GroupState::Empty) => self.state_since,
            (Some(_), GroupState::Stable) if self.subscribed.is_some() => None,
            _ => return,
        };
        let is_consumed = |topic: &str| self.subscribed.as_ref().is_some_and(|topics| topics.contains(topic));
        // An empty group's offsets are unused since it is empty, or since the commit where that is not known.
        self.offsets.expire(&self.id, |value| empty_since.unwrap_or(value.committed), is_consumed, step);
    }
}

fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(now.millis().saturating_sub(since.millis())).unwrap_or(0))
}
