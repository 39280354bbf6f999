//! DeleteTopics, by name and, from version 6 on, by id.

use super::wire::{outcome, topic_name, wait_applied};
use crate::controller::{Controller, DeleteTopics, Refusal, TopicRef};
use crate::metadata::Publisher;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};
use std::collections::BTreeSet;
use uuid::Uuid;

/// Answers a DeleteTopics request.
pub async fn handle(
    request: &DeleteTopicsRequest,
    version: i16,
    publisher: &Publisher,
    controller: &Controller,
) -> DeleteTopicsResponse {
    let asked = asked(request, version);
    let topics: Vec<TopicRef> = asked.iter().filter_map(|asked| asked.as_ref().ok().cloned()).collect();
    let limit = controller.limit_of(request.timeout_ms);
    let mut deleted = if topics.is_empty() {
        Ok(Vec::new())
    } else {
        match controller.submit(DeleteTopics { topics }, Some(limit)).await {
            Ok(settled) => {
                wait_applied(controller, publisher, settled.version, limit).await;
                Ok(settled.answer)
            }
            Err(error) => Err(error),
        }
    }
    .map(Vec::into_iter);
    let results = asked.into_iter().map(|asked| {
        let (reference, deleted) = match asked {
            Err((name, id, refusal)) => ((name, id), Err(refusal)),
            Ok(reference) => {
                let deleted = match &mut deleted {
                    Ok(answers) => answers.next().unwrap_or_else(|| {
                        let message = "The controller did not answer for this topic.";
                        Err(Refusal::new(ResponseError::UnknownServerError, message))
                    }),
                    Err(error) => Err((*error).into()),
                };
                let reference = match reference {
                    TopicRef::Name(name) => (Some(name), Uuid::nil()),
                    TopicRef::Id(id) => (None, id),
                };
                (reference, deleted)
            }
        };
        let (name, id) = match &deleted {
            Ok(deleted) => (Some(deleted.name.clone()), deleted.id),
            Err(_) => reference,
        };
        let (mut code, message) = outcome(deleted.as_ref());
        if version < 3 && code == ResponseError::TopicDeletionDisabled.code() {
            code = ResponseError::InvalidRequest.code();
        }
        let mut result =
            DeletableTopicResult::default().with_name(name.as_deref().map(topic_name)).with_error_code(code);
        if version >= 5 {
            result.error_message = message;
        }
        if version >= 6 {
            result.topic_id = id;
        }
        result
    });
    // A topic that is named twice is refused, once.
    let mut results: Vec<DeletableTopicResult> = results.collect();
    let mut refused = BTreeSet::new();
    results.retain(|result| result.error_code == 0 || refused.insert((result.name.clone(), result.topic_id)));
    DeleteTopicsResponse::default().with_responses(results)
}

/// What the request names, and what cannot be meant.
type Asked = Result<TopicRef, (Option<String>, Uuid, Refusal)>;

fn asked(request: &DeleteTopicsRequest, version: i16) -> Vec<Asked> {
    if version < 6 {
        return request.topic_names.iter().map(|name| Ok(TopicRef::Name(name.0.to_string()))).collect();
    }
    let topics = request.topics.iter().map(|topic| {
        let name = topic.name.as_ref().map(|name| name.0.to_string());
        match (name, topic.topic_id) {
            (Some(name), id) if id.is_nil() => Ok(TopicRef::Name(name)),
            (None, id) if !id.is_nil() => Ok(TopicRef::Id(id)),
            (name, id) => {
                let message = if name.is_some() {
                    "You may not specify both topic name and topic id."
                } else {
                    "Neither topic name nor id were specified."
                };
                Err((name, id, Refusal::new(ResponseError::InvalidRequest, message)))
            }
        }
    });
    topics.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::testing::{Bench, block_on};
    use crate::handlers::testing::{create, encodes, name};
    use kafka_protocol::messages::delete_topics_request::DeleteTopicState;

    fn by_name(names: &[&str]) -> DeleteTopicsRequest {
        let names: Vec<_> = names.iter().map(|n| name(n)).collect();
        let topics = names.iter().map(|n| DeleteTopicState::default().with_name(Some(n.clone()))).collect();
        DeleteTopicsRequest::default().with_topic_names(names).with_topics(topics).with_timeout_ms(5000)
    }

    #[test]
    fn deletes_by_name_in_every_version() {
        block_on(async {
            let bench = Bench::new(&[]);
            let node = bench.start().await;
            for version in 1..=6 {
                let created = create(&node, "a", 1).await;
                let answer = handle(&by_name(&["a", "b"]), version, &node.publisher, &node.controller).await;
                encodes(&answer, version);
                let codes: Vec<i16> = answer.responses.iter().map(|r| r.error_code).collect();
                assert_eq!(codes, [0, ResponseError::UnknownTopicOrPartition.code()]);
                assert_eq!(answer.responses[1].error_message.is_some(), version >= 5);
                assert_eq!(answer.responses[0].topic_id, if version >= 6 { created } else { Uuid::nil() });
                assert!(node.publisher.image().topic("a").is_none());
            }
        });
    }

    #[test]
    fn deletes_by_id_and_refuses_riddles() {
        block_on(async {
            let bench = Bench::new(&[]);
            let node = bench.start().await;
            let id = create(&node, "a", 1).await;
            create(&node, "b", 1).await;
            let state = |n: Option<&str>, id| DeleteTopicState::default().with_name(n.map(name)).with_topic_id(id);
            let unknown = Uuid::from_u128(5);
            let topics = vec![
                state(None, Uuid::nil()),
                state(Some("a"), id),
                state(None, unknown),
                state(None, id),
                state(Some("b"), Uuid::nil()),
                state(Some("b"), Uuid::nil()),
            ];
            let request = DeleteTopicsRequest::default().with_topics(topics);
            let answer = handle(&request, 6, &node.publisher, &node.controller).await;
            encodes(&answer, 6);
            let codes: Vec<i16> = answer.responses.iter().map(|r| r.error_code).collect();
            let invalid = ResponseError::InvalidRequest.code();
            assert_eq!(codes, [invalid, invalid, ResponseError::UnknownTopicId.code(), 0, invalid]);
            assert!(node.publisher.image().topic("b").is_some(), "what is named twice stays");
            assert_eq!((answer.responses[2].name.clone(), answer.responses[2].topic_id), (None, unknown));
            assert_eq!((answer.responses[3].name.clone(), answer.responses[3].topic_id), (Some(name("a")), id));
        });
    }

    #[test]
    fn says_that_deletion_is_off() {
        block_on(async {
            let bench = Bench::new(&[("delete.topic.enable", "false")]);
            let node = bench.start().await;
            create(&node, "a", 1).await;
            for version in 1..=6 {
                let answer = handle(&by_name(&["a"]), version, &node.publisher, &node.controller).await;
                let expected = match version {
                    1..=2 => ResponseError::InvalidRequest,
                    _ => ResponseError::TopicDeletionDisabled,
                };
                assert_eq!(answer.responses[0].error_code, expected.code());
            }
        });
    }
}
