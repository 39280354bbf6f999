//! CreatePartitions: more partitions for topics that exist, item by item.

use super::wire::{outcome, wait_applied};
use crate::config::BrokerId;
use crate::controller::{AddPartitions, Controller, MorePartitions, Refusal};
use crate::metadata::Publisher;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};
use std::collections::BTreeSet;

/// Answers a CreatePartitions request; all its versions have the same fields.
pub async fn handle(
    request: &CreatePartitionsRequest,
    publisher: &Publisher,
    controller: &Controller,
) -> CreatePartitionsResponse {
    let limit = controller.limit_of(request.timeout_ms);
    let topics = request.topics.iter().map(parse).collect();
    let command = AddPartitions { topics, validate_only: request.validate_only };
    let answers: Vec<Result<(), Refusal>> = match controller.submit(command, Some(limit)).await {
        Ok(settled) => {
            wait_applied(controller, publisher, settled.version, limit).await;
            settled.answer
        }
        Err(error) => request.topics.iter().map(|_| Err(error.into())).collect(),
    };
    let results = request.topics.iter().zip(answers).map(|(topic, answer)| {
        let (code, message) = outcome(answer.as_ref());
        CreatePartitionsTopicResult::default()
            .with_name(topic.name.clone())
            .with_error_code(code)
            .with_error_message(message)
    });
    // A topic that is named twice is refused, once.
    let mut results: Vec<CreatePartitionsTopicResult> = results.collect();
    let mut seen = BTreeSet::new();
    results.retain(|result| seen.insert(result.name.clone()));
    CreatePartitionsResponse::default().with_results(results)
}

fn parse(topic: &CreatePartitionsTopic) -> MorePartitions {
    // Null leaves it to the broker; an empty list is refused for its length, as by Kafka.
    let manual = topic.assignments.as_ref().map(|assignments| {
        let ids = |ids: &[kafka_protocol::messages::BrokerId]| -> Vec<BrokerId> {
            // A negative id is no broker's, as the greatest one is not.
            ids.iter().map(|id| BrokerId::from_wire(id.0).unwrap_or(BrokerId::new(u32::MAX))).collect()
        };
        assignments.iter().map(|assignment| ids(&assignment.broker_ids)).collect()
    });
    MorePartitions { name: topic.name.0.to_string(), count: topic.count, manual }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::testing::{Bench, block_on};
    use crate::handlers::testing::{create, encodes, name};
    use kafka_protocol::ResponseError;
    use kafka_protocol::messages::create_partitions_request::CreatePartitionsAssignment;

    #[test]
    fn every_topic_is_echoed_in_every_version() {
        block_on(async {
            let bench = Bench::new(&[]);
            let node = bench.start().await;
            create(&node, "a", 1).await;
            let topic = |n: &str, count| {
                // The default is an empty list, which is not null.
                CreatePartitionsTopic::default().with_name(name(n)).with_count(count).with_assignments(None)
            };
            for version in 0..=3 {
                let there = node.publisher.image().topic("a").unwrap().partition_count() as i32;
                let request = |validate_only| {
                    CreatePartitionsRequest::default()
                        .with_topics(vec![topic("a", there + 1), topic("b", 4)])
                        .with_validate_only(validate_only)
                };
                for validate_only in [true, false] {
                    let answer = handle(&request(validate_only), &node.publisher, &node.controller).await;
                    encodes(&answer, version);
                    let codes: Vec<_> = answer.results.iter().map(|r| (r.name.clone(), r.error_code)).collect();
                    let unknown = ResponseError::UnknownTopicOrPartition.code();
                    assert_eq!(codes, [(name("a"), 0), (name("b"), unknown)]);
                    let now = node.publisher.image().topic("a").unwrap().partition_count() as i32;
                    assert_eq!(now, there + i32::from(!validate_only));
                }
            }
            let assignment = CreatePartitionsAssignment::default().with_broker_ids(vec![(-1).into()]);
            for bad in [vec![assignment], Vec::new()] {
                let bad = topic("a", 6).with_assignments(Some(bad));
                let request = CreatePartitionsRequest::default().with_topics(vec![bad]);
                let answer = handle(&request, &node.publisher, &node.controller).await;
                assert_eq!(answer.results[0].error_code, ResponseError::InvalidReplicaAssignment.code());
            }
        });
    }
}
