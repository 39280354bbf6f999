//! Committed offsets of consumer groups, without being a member: what tools and simple consumers do.

use super::{Client, ClientError, Connection};
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{FindCoordinatorRequest, OffsetCommitRequest, OffsetFetchRequest};
use kafka_protocol::protocol::StrBytes;

impl Client {
    /// A connection to the coordinator of a group.
    ///
    /// # Errors
    /// [`ClientError`], for example while there is none.
    pub async fn coordinator(&self, group: &str) -> Result<Connection, ClientError> {
        let name = StrBytes::from_string(group.to_owned());
        let any = self.any().await?;
        // Versions up to 3 ask for one name, later ones for several.
        let request = FindCoordinatorRequest::default().with_key_type(0);
        if any.version::<FindCoordinatorRequest>()? < 4 {
            let answer = any.call(&request.with_key(name)).await?;
            ClientError::check(answer.error_code, "FindCoordinator")?;
            return self.connection(&format!("{}:{}", answer.host.as_str(), answer.port)).await;
        }
        let answer = any.call(&request.with_coordinator_keys(vec![name])).await?;
        let Some(found) = answer.coordinators.first() else {
            return Err(ClientError::Malformed("no coordinator in a FindCoordinator answer".into()));
        };
        ClientError::check(found.error_code, "FindCoordinator")?;
        self.connection(&format!("{}:{}", found.host.as_str(), found.port)).await
    }

    /// Commits an offset for a group that has no members.
    ///
    /// # Errors
    /// [`ClientError`], for example while the coordinator loads.
    pub async fn commit(&self, group: &str, topic: &str, partition: i32, offset: i64) -> Result<(), ClientError> {
        let part =
            OffsetCommitRequestPartition::default().with_partition_index(partition).with_committed_offset(offset);
        let request = OffsetCommitRequest::default()
            .with_group_id(StrBytes::from_string(group.to_owned()).into())
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![
                OffsetCommitRequestTopic::default()
                    .with_name(StrBytes::from_string(topic.to_owned()).into())
                    .with_partitions(vec![part]),
            ]);
        let answer = self.coordinator(group).await?.call(&request).await?;
        answer
            .topics
            .iter()
            .flat_map(|t| &t.partitions)
            .try_for_each(|p| ClientError::check(p.error_code, "OffsetCommit"))
    }

    /// The offset that a group committed; `None` if it committed none.
    ///
    /// # Errors
    /// [`ClientError`], for example while the coordinator loads.
    pub async fn committed(&self, group: &str, topic: &str, partition: i32) -> Result<Option<i64>, ClientError> {
        let coordinator = self.coordinator(group).await?;
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(StrBytes::from_string(group.to_owned()).into())
            .with_topics(Some(vec![
                OffsetFetchRequestTopics::default()
                    .with_name(StrBytes::from_string(topic.to_owned()).into())
                    .with_partition_indexes(vec![partition]),
            ]));
        let answer = coordinator.call(&OffsetFetchRequest::default().with_groups(vec![group])).await?;
        let Some(group) = answer.groups.first() else {
            return Err(ClientError::Malformed("no group in an OffsetFetch answer".into()));
        };
        ClientError::check(group.error_code, "OffsetFetch")?;
        let Some(found) = group.topics.iter().flat_map(|t| &t.partitions).next() else { return Ok(None) };
        ClientError::check(found.error_code, "OffsetFetch")?;
        Ok((found.committed_offset >= 0).then_some(found.committed_offset))
    }
}
