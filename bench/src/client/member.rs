//! A member of a consumer group, by the classic protocol (JoinGroup, SyncGroup, Heartbeat, LeaveGroup) and eagerly: who
//! rebalances gives everything up first. Whoever is the leader assigns ranges, as Kafka's RangeAssignor does.
//!
//! A member has a connection to the coordinator of its own: a JoinGroup holds up what comes behind it.

use super::{Client, ClientError, Connection};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use std::collections::BTreeMap;

/// Kafka's MEMBER_ID_REQUIRED: join again with the id that the answer has (KIP-394).
const MEMBER_ID_REQUIRED: i16 = 79;
/// Kafka's UNKNOWN_MEMBER_ID: the group has no such member any more.
const UNKNOWN_MEMBER_ID: i16 = 25;

/// The partitions of each topic that a member has.
pub type Assignment = BTreeMap<String, Vec<i32>>;

/// A member of a group.
#[derive(Debug)]
pub struct Member {
    client: Client,
    connection: Connection,
    group: StrBytes,
    topics: Vec<String>,
    id: StrBytes,
    generation: i32,
    session_timeout_ms: i32,
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

impl Member {
    /// A member to be, of `group`; `client` should be its own.
    ///
    /// # Errors
    /// [`ClientError`], for example while the group has no coordinator.
    pub async fn new(
        client: Client,
        group: &str,
        topics: &[String],
        session_timeout_ms: i32,
    ) -> Result<Self, ClientError> {
        let connection = client.coordinator(group).await?;
        let (topics, id) = (topics.to_vec(), StrBytes::default());
        Ok(Self { client, connection, group: text(group), topics, id, generation: -1, session_timeout_ms })
    }

    /// Looks for the coordinator again, after the connection to it broke or it moved.
    ///
    /// # Errors
    /// As [`Member::new`].
    pub async fn find_coordinator(&mut self) -> Result<(), ClientError> {
        self.client.forget().await;
        self.connection = self.client.coordinator(self.group.as_str()).await?;
        Ok(())
    }

    /// Joins, or joins again; what the member has from now on.
    ///
    /// # Errors
    /// [`ClientError`]; after REBALANCE_IN_PROGRESS and the like, join again.
    pub async fn join(&mut self) -> Result<Assignment, ClientError> {
        let joined = loop {
            let answer = self.connection.call(&self.join_request()?).await?;
            match answer.error_code {
                0 => break answer,
                MEMBER_ID_REQUIRED => self.id = answer.member_id,
                UNKNOWN_MEMBER_ID if !self.id.is_empty() => self.id = StrBytes::default(),
                code => return Err(ClientError::kafka(code, "JoinGroup")),
            }
        };
        self.id = joined.member_id.clone();
        self.generation = joined.generation_id;
        let assignments = if joined.leader == joined.member_id { self.assign(&joined).await? } else { Vec::new() };
        let request = SyncGroupRequest::default()
            .with_group_id(self.group.clone().into())
            .with_generation_id(self.generation)
            .with_member_id(self.id.clone())
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text("range")))
            .with_assignments(assignments);
        let answer = self.connection.call(&request).await?;
        ClientError::check(answer.error_code, "SyncGroup")?;
        read_assignment(answer.assignment)
    }

    fn join_request(&self) -> Result<JoinGroupRequest, ClientError> {
        let topics = self.topics.iter().map(|topic| text(topic)).collect();
        let metadata = versioned(&ConsumerProtocolSubscription::default().with_topics(topics))?;
        Ok(JoinGroupRequest::default()
            .with_group_id(self.group.clone().into())
            .with_session_timeout_ms(self.session_timeout_ms)
            .with_rebalance_timeout_ms(self.session_timeout_ms)
            .with_member_id(self.id.clone())
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(metadata)]))
    }

    /// The leader's part: a range of each topic's partitions for each member.
    async fn assign(&self, joined: &JoinGroupResponse) -> Result<Vec<SyncGroupRequestAssignment>, ClientError> {
        let members: Vec<&StrBytes> = joined.members.iter().map(|member| &member.member_id).collect();
        let mut counts = Vec::new();
        for topic in &self.topics {
            let found = self.client.topics(Some(topic)).await?;
            counts.push((topic.as_str(), found.first().map_or(0, |view| view.partitions.len())));
        }
        let shares = ranges(&counts, members.len());
        members
            .into_iter()
            .zip(shares)
            .map(|(id, share)| {
                let partitions = share.into_iter().map(|(topic, partitions)| {
                    TopicPartition::default().with_topic(text(&topic).into()).with_partitions(partitions)
                });
                let assignment = ConsumerProtocolAssignment::default().with_assigned_partitions(partitions.collect());
                Ok(SyncGroupRequestAssignment::default()
                    .with_member_id(id.clone())
                    .with_assignment(versioned(&assignment)?))
            })
            .collect()
    }

    /// Tells the coordinator that the member is alive.
    ///
    /// # Errors
    /// [`ClientError`]: REBALANCE_IN_PROGRESS (27) and ILLEGAL_GENERATION (22) ask to join again.
    pub async fn heartbeat(&self) -> Result<(), ClientError> {
        let request = HeartbeatRequest::default()
            .with_group_id(self.group.clone().into())
            .with_generation_id(self.generation)
            .with_member_id(self.id.clone());
        ClientError::check(self.connection.call(&request).await?.error_code, "Heartbeat")
    }

    /// Commits offsets (topic, partition, next offset) as a member of the present generation.
    ///
    /// # Errors
    /// [`ClientError`]; whether each was committed is then unknown unless the broker said so.
    pub async fn commit(&self, offsets: &[(&str, i32, i64)]) -> Result<(), ClientError> {
        let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for (topic, partition, offset) in offsets {
            let part =
                OffsetCommitRequestPartition::default().with_partition_index(*partition).with_committed_offset(*offset);
            topics.entry(topic).or_default().push(part);
        }
        let topics = topics.into_iter().map(|(topic, parts)| {
            OffsetCommitRequestTopic::default().with_name(text(topic).into()).with_partitions(parts)
        });
        let request = OffsetCommitRequest::default()
            .with_group_id(self.group.clone().into())
            .with_generation_id_or_member_epoch(self.generation)
            .with_member_id(self.id.clone())
            .with_topics(topics.collect());
        let answer = self.connection.call(&request).await?;
        let mut parts = answer.topics.iter().flat_map(|topic| &topic.partitions);
        parts.try_for_each(|part| ClientError::check(part.error_code, "OffsetCommit"))
    }

    /// What the group has committed for these partitions.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn committed(&self, assignment: &Assignment) -> Result<BTreeMap<(String, i32), i64>, ClientError> {
        let mut found = BTreeMap::new();
        if assignment.is_empty() {
            return Ok(found);
        }
        let request = OffsetFetchRequest::default();
        // Versions up to 7 ask for one group.
        if self.connection.version::<OffsetFetchRequest>()? < 8 {
            let topics = assignment.iter().map(|(topic, partitions)| {
                OffsetFetchRequestTopic::default()
                    .with_name(text(topic).into())
                    .with_partition_indexes(partitions.clone())
            });
            let request = request.with_group_id(self.group.clone().into()).with_topics(Some(topics.collect()));
            let answer = self.connection.call(&request).await?;
            ClientError::check(answer.error_code, "OffsetFetch")?;
            for topic in &answer.topics {
                for part in &topic.partitions {
                    ClientError::check(part.error_code, "OffsetFetch")?;
                    found.insert((topic.name.as_str().to_owned(), part.partition_index), part.committed_offset);
                }
            }
        } else {
            let topics = assignment.iter().map(|(topic, partitions)| {
                OffsetFetchRequestTopics::default()
                    .with_name(text(topic).into())
                    .with_partition_indexes(partitions.clone())
            });
            let group = OffsetFetchRequestGroup::default()
                .with_group_id(self.group.clone().into())
                .with_topics(Some(topics.collect()));
            let answer = self.connection.call(&request.with_groups(vec![group])).await?;
            for group in &answer.groups {
                ClientError::check(group.error_code, "OffsetFetch")?;
                for topic in &group.topics {
                    for part in &topic.partitions {
                        ClientError::check(part.error_code, "OffsetFetch")?;
                        found.insert((topic.name.as_str().to_owned(), part.partition_index), part.committed_offset);
                    }
                }
            }
        }
        found.retain(|_, offset| *offset >= 0);
        Ok(found)
    }

    /// Leaves the group.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn leave(&mut self) -> Result<(), ClientError> {
        let request = LeaveGroupRequest::default().with_group_id(self.group.clone().into());
        // Versions up to 2 name one member.
        let request = if self.connection.version::<LeaveGroupRequest>()? < 3 {
            request.with_member_id(self.id.clone())
        } else {
            request.with_members(vec![MemberIdentity::default().with_member_id(self.id.clone())])
        };
        let answer = self.connection.call(&request).await?;
        ClientError::check(answer.error_code, "LeaveGroup")?;
        answer.members.iter().try_for_each(|member| ClientError::check(member.error_code, "LeaveGroup"))?;
        self.id = StrBytes::default();
        self.generation = -1;
        Ok(())
    }
}

/// A range of each topic's partitions for each of `members` members: the first ones get what does not divide.
fn ranges(topics: &[(&str, usize)], members: usize) -> Vec<Assignment> {
    let mut shares = vec![Assignment::new(); members];
    for (topic, partitions) in topics {
        let mut next = 0;
        for (at, share) in shares.iter_mut().enumerate() {
            let count = partitions / members + usize::from(at < partitions % members);
            if count > 0 {
                share.insert((*topic).to_owned(), (next..next + count).map(|p| p as i32).collect());
            }
            next += count;
        }
    }
    shares
}

/// A message of the consumer protocol behind its version.
fn versioned(message: &impl Encodable) -> Result<Bytes, ClientError> {
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    message.encode(&mut bytes, 0).map_err(|error| ClientError::Malformed(error.to_string()))?;
    Ok(bytes.freeze())
}

fn read_assignment(mut bytes: Bytes) -> Result<Assignment, ClientError> {
    if bytes.remaining() < 2 {
        // A member beyond the partitions may get nothing at all.
        return Ok(Assignment::new());
    }
    let version = bytes.get_i16().clamp(0, 3);
    let read = ConsumerProtocolAssignment::decode(&mut bytes, version);
    let read = read.map_err(|error| ClientError::Malformed(error.to_string()))?;
    Ok(read.assigned_partitions.into_iter().map(|t| (t.topic.as_str().to_owned(), t.partitions)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_one_member_and_an_assignment_can_be_read() {
        let shares = ranges(&[("a", 5), ("b", 1)], 3);
        let share = |at: usize, topic: &str| shares[at].get(topic).cloned().unwrap_or_default();
        assert_eq!((share(0, "a"), share(1, "a"), share(2, "a")), (vec![0, 1], vec![2, 3], vec![4]));
        assert_eq!((share(0, "b"), share(1, "b")), (vec![0], vec![]));
        let partitions = vec![TopicPartition::default().with_topic(text("a").into()).with_partitions(vec![1, 2])];
        let bytes = versioned(&ConsumerProtocolAssignment::default().with_assigned_partitions(partitions)).unwrap();
        assert_eq!(read_assignment(bytes).unwrap(), Assignment::from([("a".to_owned(), vec![1, 2])]));
        assert_eq!(read_assignment(Bytes::new()).unwrap(), Assignment::new());
    }
}
