//! Committed offsets: who may commit, what is found, and when an offset that nobody uses is forgotten.

use super::group::Group;
use super::step::Step;
use crate::coordinators::group::records::{GroupRecord, OffsetKey, OffsetValue, RecordError};
use crate::coordinators::group::request::{Answer, CommitPartition, CommitRequest, GroupState, Token};
use esker_storage::env::Timestamp;
use kafka_protocol::error::ResponseError;
use std::time::Duration;

/// Since when an offset counts as unused.
enum Unused {
    /// Since the group is empty, or since the commit where that is not known.
    SinceEmpty(Option<Timestamp>),
    /// Since it was committed.
    SinceCommit,
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
        let wall = step.now.wall;
        let expires = request.retention.map(|retention| {
            let millis = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
            Timestamp::from_millis(wall.millis().saturating_add(millis))
        });
        let mut results = Vec::new();
        for (topic, partitions) in request.topics {
            let mut result = Vec::new();
            for partition in partitions {
                let index = partition.partition;
                result.push((index, self.commit_one(&topic, partition, expires, step).err()));
            }
            results.push((topic, result));
        }
        step.reply(token, Answer::Commit(Ok(results)));
    }

    fn commit_one(
        &mut self,
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
        let growth = self.offsets.growth(topic, commit.partition, commit.metadata.len());
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
        self.put_offset(topic, commit.partition, Some(value), step).map_err(|_| ResponseError::OffsetMetadataTooLarge)
    }

    /// Writes an offset or its tombstone, and applies it.
    fn put_offset(
        &mut self,
        topic: &str,
        partition: i32,
        value: Option<OffsetValue>,
        step: &mut Step<'_>,
    ) -> Result<(), RecordError> {
        let key = OffsetKey { group: self.id.clone(), topic: topic.to_owned(), partition };
        step.out.records.push(GroupRecord::Offset { key, value: value.clone() }.encode()?);
        self.offsets.apply(topic, partition, value);
        Ok(())
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
        if request.generation != Some(self.generation) {
            return Err(ResponseError::IllegalGeneration);
        }
        if self.state == GroupState::CompletingRebalance {
            // Its partitions may be somebody else's by now.
            return Err(ResponseError::RebalanceInProgress);
        }
        Ok(())
    }

    /// Forgets offsets that were not used for `offsets.retention.minutes`. In a group with members only those of
    /// topics that nobody subscribes to can be unused, and only where the subscriptions are known.
    pub(super) fn expire_offsets(&mut self, step: &mut Step<'_>) {
        let unused = match (&self.protocol_type, self.state) {
            (None, _) => Unused::SinceCommit,
            (Some(_), GroupState::Empty) => Unused::SinceEmpty(self.state_since),
            (Some(_), GroupState::Stable) if self.subscribed.is_some() => Unused::SinceCommit,
            _ => return,
        };
        let is_consumed = |topic: &str| self.subscribed.as_ref().is_some_and(|topics| topics.contains(topic));
        let (now, retention) = (step.now.wall, step.config.offsets_retention);
        let expired = self.offsets.find(|topic, value| {
            let since = match unused {
                Unused::SinceEmpty(since) => since.unwrap_or(value.committed),
                Unused::SinceCommit => value.committed,
            };
            !is_consumed(topic)
                && match value.expires {
                    Some(expires) => now >= expires,
                    None => elapsed(since, now) >= retention,
                }
        });
        self.forget_offsets(expired, step);
    }

    /// Forgets the offsets of deleted topics.
    pub(super) fn forget_topics(&mut self, topics: &[String], step: &mut Step<'_>) {
        let gone = self.offsets.find(|topic, _| topics.iter().any(|deleted| deleted == topic));
        self.forget_offsets(gone, step);
    }

    /// Forgets every offset.
    pub(super) fn forget_all_offsets(&mut self, step: &mut Step<'_>) {
        let all = self.offsets.find(|_, _| true);
        self.forget_offsets(all, step);
    }

    fn forget_offsets(&mut self, partitions: Vec<(String, i32)>, step: &mut Step<'_>) {
        for (topic, partition) in partitions {
            // Its key was written before, so that it fits.
            let _ = self.put_offset(&topic, partition, None, step);
        }
    }
}

fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(now.millis().saturating_sub(since.millis())).unwrap_or(0))
}
