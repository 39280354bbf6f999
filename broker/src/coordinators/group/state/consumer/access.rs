//! Looking at a group from outside: who may commit and fetch its offsets, when those expire, and how it is described.

use super::draft::preferred_assignor;
use super::group::{ConsumerGroup, Member};
use super::heartbeat::without_epochs;
use crate::coordinators::group::consumer_request::{DescribedConsumer, DescribedConsumerGroup, NamedTopic};
use crate::coordinators::group::records::Partitions;
use crate::coordinators::group::request::{CommitRequest, CommitResults};
use crate::coordinators::group::state::step::Step;
use crate::coordinators::group::topics::TopicsImage;
use esker_storage::env::mutation::{self, Mutation};
use kafka_protocol::error::ResponseError;
use std::collections::BTreeSet;

impl ConsumerGroup {
    /// OffsetCommit. Members commit at their epoch, or, of the consumer protocol, at an older one what they hold since
    /// then at the latest (KIP-1251); anybody may while the group has no members.
    ///
    /// # Errors
    /// Kafka's, for the whole request.
    pub(in crate::coordinators::group::state) fn commit(
        &mut self,
        request: CommitRequest,
        step: &mut Step<'_>,
    ) -> Result<CommitResults, ResponseError> {
        self.check_commit(&request, step.topics)?;
        Ok(self.offsets.commit(&self.id, request.topics, request.retention, step))
    }

    fn check_commit(&self, request: &CommitRequest, topics: &dyn TopicsImage) -> Result<(), ResponseError> {
        let Some(epoch) = request.generation else {
            return if self.members.is_empty() { Ok(()) } else { Err(ResponseError::UnknownMemberId) };
        };
        let member = self.members.get(&request.member).ok_or(ResponseError::UnknownMemberId)?;
        if !member.is_classic() && !request.knows_member_epochs {
            return Err(ResponseError::UnsupportedVersion);
        }
        if epoch == member.current.epoch || mutation::active(Mutation::StaleEpochAccepted) {
            return Ok(());
        }
        if member.is_classic() {
            return Err(ResponseError::IllegalGeneration);
        }
        let holds_since = |topic: &str, partition: i32| {
            let Some(topic) = topics.by_name(topic) else { return false };
            let both = [&member.current.assigned, &member.current.revoking];
            let since = both.into_iter().find_map(|held| held.get(&topic.id)?.get(&partition));
            since.is_some_and(|since| *since <= epoch)
        };
        let mut all = request.topics.iter().flat_map(|(topic, partitions)| partitions.iter().map(move |p| (topic, p)));
        if epoch < member.current.epoch && all.all(|(topic, partition)| holds_since(topic, partition.partition)) {
            Ok(())
        } else {
            Err(ResponseError::StaleMemberEpoch)
        }
    }

    /// OffsetFetch by one who says that it is a member.
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID; STALE_MEMBER_EPOCH, or ILLEGAL_GENERATION for a member of the classic protocol.
    pub(in crate::coordinators::group::state) fn check_fetch(
        &self,
        member: &str,
        epoch: i32,
    ) -> Result<(), ResponseError> {
        let member = self.members.get(member).ok_or(ResponseError::UnknownMemberId)?;
        if epoch == member.current.epoch {
            Ok(())
        } else if member.is_classic() {
            Err(ResponseError::IllegalGeneration)
        } else {
            Err(ResponseError::StaleMemberEpoch)
        }
    }

    /// The names that anybody subscribes to.
    fn consumed(&self) -> BTreeSet<&str> {
        let named = self.members.values().flat_map(|member| &member.about.topics);
        let matched = self.regexes.values().flat_map(|regex| &regex.topics);
        named.chain(matched).map(String::as_str).collect()
    }

    /// OffsetDelete.
    pub(in crate::coordinators::group::state) fn delete_offsets(
        &mut self,
        topics: Vec<(String, Vec<i32>)>,
        step: &mut Step<'_>,
    ) -> CommitResults {
        let consumed: BTreeSet<String> = self.consumed().into_iter().map(str::to_owned).collect();
        self.offsets.delete(&self.id, topics, |topic| consumed.contains(topic), step)
    }

    /// Forgets offsets of topics that nobody consumes and that were not committed for `offsets.retention.minutes`.
    pub(in crate::coordinators::group::state) fn expire_offsets(&mut self, step: &mut Step<'_>) {
        let consumed: BTreeSet<String> = self.consumed().into_iter().map(str::to_owned).collect();
        self.offsets.expire(&self.id, |value| value.committed, |topic| consumed.contains(topic), step);
    }

    /// ConsumerGroupDescribe.
    pub(in crate::coordinators::group::state) fn describe(&self, step: &Step<'_>) -> DescribedConsumerGroup {
        DescribedConsumerGroup {
            state: self.state_name(),
            epoch: self.epoch,
            target_epoch: self.target_epoch,
            assignor: preferred_assignor(self.members.values(), &step.config.assignors).name(),
            members: self.members.iter().map(|(id, member)| self.describe_member(id, member, step.topics)).collect(),
        }
    }

    fn describe_member(&self, id: &str, member: &Member, topics: &dyn TopicsImage) -> DescribedConsumer {
        let nothing = Partitions::new();
        DescribedConsumer {
            id: id.to_owned(),
            instance: member.about.instance.clone(),
            rack: member.about.rack.clone(),
            epoch: member.current.epoch,
            client_id: member.about.client_id.clone(),
            client_host: member.about.client_host.clone(),
            topics: member.about.topics.iter().cloned().collect(),
            regex: member.about.regex.clone(),
            assigned: named(&without_epochs(&member.current.assigned), topics),
            target: named(self.targets.get(id).unwrap_or(&nothing), topics),
            is_classic: member.is_classic(),
        }
    }
}

/// Topics that were deleted have no name any more and are left out.
fn named(partitions: &Partitions, topics: &dyn TopicsImage) -> Vec<NamedTopic> {
    let named = partitions.iter().filter_map(|(id, partitions)| {
        let name = topics.name_of(*id)?.to_string();
        Some(NamedTopic { id: *id, name, partitions: partitions.iter().copied().collect() })
    });
    named.collect()
}
