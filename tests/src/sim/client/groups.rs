//! Groups, as a simulated client knows them: committed offsets, and membership in the classic protocol.
//! (That in consumer groups is beside it.)

use super::{CallError, Lost, SimClient, name};
use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    FindCoordinatorRequest, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, OffsetCommitRequest,
    OffsetFetchRequest, ResponseKind, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;

/// The one protocol that members speak.
const PROTOCOL: &str = "simulated";

/// How long a member may be silent, and may take to join again, in milliseconds.
pub const SESSION_TIMEOUT_MS: i32 = 6000;

/// A member of a group, in one generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Its id, which the coordinator gave it; empty before it has one.
    pub member: StrBytes,
    /// The generation, or the member's epoch in a consumer group; -1 for none.
    pub generation: i32,
}

impl Membership {
    /// That of nobody: a group without members may commit with it.
    pub fn none() -> Membership {
        Membership { member: StrBytes::default(), generation: -1 }
    }
}

/// What a join is answered with.
#[derive(Clone, Debug)]
pub struct Joined {
    /// Who one is now.
    pub membership: Membership,
    /// Every member, if this one leads the group and must assign.
    pub members: Vec<StrBytes>,
}

impl SimClient {
    /// Asks for the coordinator of a group.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn find_coordinator(&mut self, group: &str) -> Result<(), CallError> {
        let request = FindCoordinatorRequest::default().with_key(name(group)).with_key_type(0);
        let ResponseKind::FindCoordinator(answer) = self.call(3, &request.into()).await? else {
            return Err(Lost.into());
        };
        CallError::check(answer.error_code)
    }

    /// Joins a group; with an empty member id the answer is usually 79 and a member id to join with.
    ///
    /// # Errors
    /// [`CallError`]; with 79, `member` has been set to what the coordinator says.
    pub async fn join_group(&mut self, group: &str, member: &mut StrBytes) -> Result<Joined, CallError> {
        let protocol = JoinGroupRequestProtocol::default().with_name(name(PROTOCOL));
        let request = JoinGroupRequest::default()
            .with_group_id(name(group).into())
            .with_session_timeout_ms(SESSION_TIMEOUT_MS)
            .with_rebalance_timeout_ms(SESSION_TIMEOUT_MS)
            .with_member_id(member.clone())
            .with_protocol_type(name("consumer"))
            .with_protocols(vec![protocol]);
        let ResponseKind::JoinGroup(answer) = self.call(5, &request.into()).await? else { return Err(Lost.into()) };
        if !answer.member_id.is_empty() {
            *member = answer.member_id.clone();
        }
        CallError::check(answer.error_code)?;
        let leads = answer.leader == answer.member_id;
        Ok(Joined {
            membership: Membership { member: answer.member_id, generation: answer.generation_id },
            members: answer.members.into_iter().filter(|_| leads).map(|member| member.member_id).collect(),
        })
    }

    /// Hands in assignments, if one leads, and waits for one's own.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn sync_group(
        &mut self,
        group: &str,
        membership: &Membership,
        assignments: Vec<(StrBytes, Bytes)>,
    ) -> Result<Bytes, CallError> {
        let assignments = assignments.into_iter().map(|(member, assignment)| {
            SyncGroupRequestAssignment::default().with_member_id(member).with_assignment(assignment)
        });
        let request = SyncGroupRequest::default()
            .with_group_id(name(group).into())
            .with_generation_id(membership.generation)
            .with_member_id(membership.member.clone())
            .with_assignments(assignments.collect());
        let ResponseKind::SyncGroup(answer) = self.call(3, &request.into()).await? else { return Err(Lost.into()) };
        CallError::check(answer.error_code)?;
        Ok(answer.assignment)
    }

    /// Says that a member lives.
    ///
    /// # Errors
    /// [`CallError`], for example 27 if the group rebalances.
    pub async fn heartbeat(&mut self, group: &str, membership: &Membership) -> Result<(), CallError> {
        let request = HeartbeatRequest::default()
            .with_group_id(name(group).into())
            .with_generation_id(membership.generation)
            .with_member_id(membership.member.clone());
        let ResponseKind::Heartbeat(answer) = self.call(3, &request.into()).await? else { return Err(Lost.into()) };
        CallError::check(answer.error_code)
    }

    /// Leaves a group.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn leave_group(&mut self, group: &str, membership: &Membership) -> Result<(), CallError> {
        let request =
            LeaveGroupRequest::default().with_group_id(name(group).into()).with_member_id(membership.member.clone());
        let ResponseKind::LeaveGroup(answer) = self.call(2, &request.into()).await? else { return Err(Lost.into()) };
        CallError::check(answer.error_code)
    }

    /// Commits an offset of a partition for a group, as a member of it or as nobody.
    ///
    /// # Errors
    /// [`CallError`], for example 22 if the generation is another one by now.
    pub async fn commit_offset(
        &mut self,
        group: &str,
        membership: &Membership,
        topic: &str,
        partition: i32,
        offset: u64,
    ) -> Result<(), CallError> {
        self.commit(8, group, membership, (topic, partition), offset).await
    }

    /// The same in a version, of which 9 is the first that knows epochs of consumer groups' members.
    pub(super) async fn commit(
        &mut self,
        version: i16,
        group: &str,
        membership: &Membership,
        (topic, partition): (&str, i32),
        offset: u64,
    ) -> Result<(), CallError> {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_offset(offset as i64)
            .with_committed_leader_epoch(-1);
        let topic = OffsetCommitRequestTopic::default().with_name(name(topic).into()).with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(name(group).into())
            .with_member_id(membership.member.clone())
            .with_generation_id_or_member_epoch(membership.generation)
            .with_topics(vec![topic]);
        let ResponseKind::OffsetCommit(answer) = self.call(version, &request.into()).await? else {
            return Err(Lost.into());
        };
        let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.into_iter().try_for_each(|partition| CallError::check(partition.error_code))
    }

    /// What a group committed for a partition; `None` for nothing.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn committed_offset(
        &mut self,
        group: &str,
        topic: &str,
        partition: i32,
    ) -> Result<Option<u64>, CallError> {
        let topic =
            OffsetFetchRequestTopic::default().with_name(name(topic).into()).with_partition_indexes(vec![partition]);
        let request = OffsetFetchRequest::default().with_group_id(name(group).into()).with_topics(Some(vec![topic]));
        let ResponseKind::OffsetFetch(answer) = self.call(6, &request.into()).await? else { return Err(Lost.into()) };
        CallError::check(answer.error_code)?;
        let partition = answer.topics.into_iter().flat_map(|topic| topic.partitions).next();
        let partition = partition.expect("an OffsetFetch answer has the partition that was asked for");
        CallError::check(partition.error_code)?;
        Ok(u64::try_from(partition.committed_offset).ok())
    }
}
