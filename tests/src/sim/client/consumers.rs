//! Consumer groups (KIP-848), as a simulated client knows them: one request joins, stays and leaves.

use super::{CallError, Lost, Membership, SimClient, name};
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, MetadataRequest, ResponseKind};
use std::collections::BTreeSet;
use uuid::Uuid;

/// How long a member may take to give up partitions, in milliseconds.
const REBALANCE_TIMEOUT_MS: i32 = 60_000;

/// What a member says of itself: everything, as with its first heartbeat and after one whose answer it does not know; or
/// only what it holds, if that is news.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    /// The partitions.
    pub partitions: &'a BTreeSet<i32>,
    /// Whether it says everything.
    pub in_full: bool,
}

/// What a heartbeat is answered with.
#[derive(Clone, Debug)]
pub struct Beat {
    /// The member's epoch.
    pub epoch: i32,
    /// The partitions that it may use, if it was told.
    pub assignment: Option<BTreeSet<i32>>,
}

impl SimClient {
    /// The id of a topic.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn topic_id(&mut self, topic: &str) -> Result<Uuid, CallError> {
        let topic = MetadataRequestTopic::default().with_name(Some(name(topic).into()));
        let request = MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(false);
        let ResponseKind::Metadata(answer) = self.call(12, &request.into()).await? else { return Err(Lost.into()) };
        let topic = answer.topics.into_iter().next().expect("a Metadata answer has the topic that was asked for");
        CallError::check(topic.error_code)?;
        Ok(topic.topic_id)
    }

    /// A heartbeat of a member that consumes one topic, of which it knows the name and the id; epoch 0 joins. `held` is what
    /// it has to say, if it has anything to say.
    ///
    /// # Errors
    /// [`CallError`], for example 110 if the epoch is not the member's.
    pub async fn consumer_beat(
        &mut self,
        group: &str,
        membership: &Membership,
        (topic, id): (&str, Uuid),
        held: Option<Held<'_>>,
    ) -> Result<Beat, CallError> {
        let mut request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(name(group).into())
            .with_member_id(membership.member.clone())
            .with_member_epoch(membership.generation)
            .with_rebalance_timeout_ms(-1)
            .with_subscribed_topic_names(None)
            .with_topic_partitions(None);
        if let Some(Held { partitions, in_full }) = held {
            let of_topic =
                TopicPartitions::default().with_topic_id(id).with_partitions(partitions.iter().copied().collect());
            request = request.with_topic_partitions(Some(Vec::from_iter((!partitions.is_empty()).then_some(of_topic))));
            if in_full {
                request = request
                    .with_rebalance_timeout_ms(REBALANCE_TIMEOUT_MS)
                    .with_subscribed_topic_names(Some(vec![name(topic).into()]));
            }
        }
        let ResponseKind::ConsumerGroupHeartbeat(answer) = self.call(1, &request.into()).await? else {
            return Err(Lost.into());
        };
        CallError::check(answer.error_code)?;
        let assignment = answer.assignment.map(|assignment| {
            let of_topic = assignment.topic_partitions.into_iter().filter(|topic| topic.topic_id == id);
            of_topic.flat_map(|topic| topic.partitions).collect()
        });
        Ok(Beat { epoch: answer.member_epoch, assignment })
    }

    /// Commits an offset of a partition as a member of a consumer group, at the epoch that it knows of.
    ///
    /// # Errors
    /// [`CallError`], for example 113 if the epoch is another one by now.
    pub async fn commit_as_consumer(
        &mut self,
        group: &str,
        membership: &Membership,
        (topic, partition): (&str, i32),
        offset: u64,
    ) -> Result<(), CallError> {
        self.commit(9, group, membership, (topic, partition), offset).await
    }
}
