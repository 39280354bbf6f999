//! DescribeTopicPartitions: topics and partitions page by page (KIP-966).
//!
//! Topics come sorted by name. An answer holds a bounded number of partitions and, if there are more, a cursor: the topic
//! and the partition where the next request goes on.

use super::metadata::{leader, offline};
use super::wire::{NO_OPERATIONS, TOPIC_OPERATIONS, brokers, topic_name};
use crate::config::BrokerConfig;
use crate::controller::check_topic_name;
use crate::metadata::{Image, Publisher, Topic};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_topic_partitions_request::TopicRequest;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};
use std::collections::BTreeSet;

/// Answers a DescribeTopicPartitions request.
pub fn handle(
    request: &DescribeTopicPartitionsRequest,
    publisher: &Publisher,
    config: &BrokerConfig,
) -> DescribeTopicPartitionsResponse {
    let image = publisher.image();
    if let Some(cursor) = &request.cursor {
        // A cursor goes on with one of the topics that are asked for.
        let is_asked = |topic: &TopicRequest| topic.name == cursor.topic_name;
        if cursor.partition_index < 0 || !(request.topics.is_empty() || request.topics.iter().any(is_asked)) {
            return refused(request);
        }
    }
    let most = usize::try_from(config.max_request_partition_size_limit).unwrap_or(usize::MAX);
    let mut left = usize::try_from(request.response_partition_limit).unwrap_or(0).clamp(1, most.max(1));
    let (from, mut skip) = match &request.cursor {
        Some(cursor) => (cursor.topic_name.0.as_str(), usize::try_from(cursor.partition_index).unwrap_or(0)),
        None => ("", 0),
    };
    let mut topics = Vec::new();
    let mut next_cursor = None;
    for (name, topic) in asked(&image, request, from) {
        if left == 0 {
            next_cursor = Some(Cursor::default().with_topic_name(topic_name(name)));
            break;
        }
        // Only the first topic goes on where the last answer ended.
        let first = if name == from { std::mem::take(&mut skip) } else { 0 };
        let Some(topic) = topic else {
            topics.push(unknown(name));
            left -= 1;
            continue;
        };
        let page = first..topic.partitions.len().min(first.saturating_add(left));
        topics.push(found(&image, topic, page.clone()));
        left -= page.len();
        if page.end < topic.partitions.len() {
            let index = i32::try_from(page.end).unwrap_or(i32::MAX);
            next_cursor = Some(Cursor::default().with_topic_name(topic_name(name)).with_partition_index(index));
            break;
        }
    }
    DescribeTopicPartitionsResponse::default().with_topics(topics).with_next_cursor(next_cursor)
}

/// The topics that are asked for, all if none is named, from `from` on; `None` for one that does not exist.
fn asked<'a>(
    image: &'a Image,
    request: &'a DescribeTopicPartitionsRequest,
    from: &'a str,
) -> Box<dyn Iterator<Item = (&'a str, Option<&'a Topic>)> + 'a> {
    if request.topics.is_empty() {
        return Box::new(image.topics_from(from).map(|topic| (topic.name.as_ref(), Some(topic.as_ref()))));
    }
    let names: BTreeSet<&str> = request.topics.iter().map(|topic| topic.name.0.as_str()).collect();
    let names = names.into_iter().filter(move |name| *name >= from);
    Box::new(names.map(|name| (name, image.topic(name).map(AsRef::as_ref))))
}

fn unknown(name: &str) -> DescribeTopicPartitionsResponseTopic {
    let error = match check_topic_name(name) {
        Ok(()) => ResponseError::UnknownTopicOrPartition,
        Err(refusal) => refusal.error,
    };
    // Everything may be done to what is not there, as in Kafka.
    DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(error.code())
        .with_name(Some(topic_name(name)))
        .with_topic_authorized_operations(TOPIC_OPERATIONS)
}

/// Nothing is answered for a cursor that leads nowhere.
fn refused(request: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let topics = request.topics.iter().map(|topic| {
        DescribeTopicPartitionsResponseTopic::default()
            .with_error_code(ResponseError::InvalidRequest.code())
            .with_name(Some(topic.name.clone()))
            .with_topic_authorized_operations(NO_OPERATIONS)
    });
    DescribeTopicPartitionsResponse::default().with_topics(topics.collect()).with_next_cursor(None)
}

fn found(image: &Image, topic: &Topic, page: std::ops::Range<usize>) -> DescribeTopicPartitionsResponseTopic {
    let partitions = (0i32..).zip(&topic.partitions).skip(page.start).take(page.len()).map(|(index, state)| {
        let (error, leader) = leader(image, state);
        DescribeTopicPartitionsResponsePartition::default()
            .with_error_code(error)
            .with_partition_index(index)
            .with_leader_id(leader)
            .with_leader_epoch(state.leader_epoch.to_wire())
            .with_replica_nodes(brokers(&state.replicas))
            .with_isr_nodes(brokers(&state.isr))
            .with_eligible_leader_replicas(Some(Vec::new()))
            .with_last_known_elr(Some(Vec::new()))
            .with_offline_replicas(offline(image, state))
    });
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(topic_name(&topic.name)))
        .with_topic_id(topic.id)
        .with_is_internal(topic.is_internal())
        .with_partitions(partitions.collect())
        .with_topic_authorized_operations(TOPIC_OPERATIONS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::testing::{Bench, Node, block_on};
    use crate::handlers::testing::{create, encodes, name};
    use kafka_protocol::messages::describe_topic_partitions_request::{self, TopicRequest};

    /// Everything that is asked for, page by page: topic, error, partitions; and how many pages there were.
    fn pages(node: &Node, names: &[&str], limit: i32) -> (Vec<(String, i16, Vec<i32>)>, usize) {
        let topics = names.iter().map(|n| TopicRequest::default().with_name(name(n))).collect();
        let mut request =
            DescribeTopicPartitionsRequest::default().with_topics(topics).with_response_partition_limit(limit);
        let (mut all, mut count): (Vec<(String, i16, Vec<i32>)>, usize) = (Vec::new(), 0);
        loop {
            let answer = handle(&request, &node.publisher, &node.config);
            encodes(&answer, 0);
            count += 1;
            for topic in answer.topics {
                let topic_name = topic.name.unwrap().0.to_string();
                let indexes: Vec<i32> = topic.partitions.iter().map(|p| p.partition_index).collect();
                match all.last_mut().filter(|last| last.0 == topic_name) {
                    Some(last) => last.2.extend(indexes),
                    None => all.push((topic_name, topic.error_code, indexes)),
                }
            }
            let Some(cursor) = answer.next_cursor else { return (all, count) };
            let next = describe_topic_partitions_request::Cursor::default()
                .with_topic_name(cursor.topic_name)
                .with_partition_index(cursor.partition_index);
            request.cursor = Some(next);
        }
    }

    #[test]
    fn pages_add_up_to_everything() {
        block_on(async {
            let bench = Bench::new(&[("max.request.partition.size.limit", "7")]);
            let node = bench.start().await;
            for (topic, partitions) in [("c", 4), ("a", 3), ("b", 1)] {
                create(&node, topic, partitions).await;
            }
            let unknown = ResponseError::UnknownTopicOrPartition.code();
            let whole = |n: &str, count: i32| (n.to_owned(), 0, (0..count).collect::<Vec<i32>>());
            let all = vec![whole("a", 3), whole("b", 1), whole("c", 4)];
            for (limit, expected) in [(1, 8), (2, 4), (3, 3), (7, 2), (i32::MAX, 2), (0, 8), (-5, 8)] {
                assert_eq!(pages(&node, &[], limit), (all.clone(), expected), "limit {limit}");
            }
            for limit in 1..9 {
                let some = vec![whole("b", 1), ("bb".into(), unknown, vec![]), whole("c", 4)];
                assert_eq!(pages(&node, &["c", "bb", "b", "c"], limit).0, some);
            }
            // A cursor at a topic that was deleted meanwhile goes on behind it.
            let request = DescribeTopicPartitionsRequest::default().with_response_partition_limit(9).with_cursor(Some(
                describe_topic_partitions_request::Cursor::default()
                    .with_topic_name(name("ab"))
                    .with_partition_index(2),
            ));
            let answer = handle(&request, &node.publisher, &node.config);
            assert_eq!((answer.topics.len(), answer.topics[0].partitions.len()), (2, 1));
        });
    }
}
