//! Deleting topics, by name or by id: the records that take them and their settings away.

use super::{Command, Plan, Rules};
use crate::controller::Refusal;
use crate::metadata::{DeleteTopic, Image, Record};
use kafka_protocol::ResponseError;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Delete topics.
#[derive(Clone, Debug)]
pub struct DeleteTopics {
    /// The topics.
    pub topics: Vec<TopicRef>,
}

/// A topic, by what the request calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicRef {
    /// By its name.
    Name(String),
    /// By its id.
    Id(Uuid),
}

/// A topic that was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedTopic {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: Uuid,
}

impl Command for DeleteTopics {
    /// By topic, in the order of the request.
    type Answer = Vec<Result<DeletedTopic, Refusal>>;

    fn plan(&self, image: &Image, rules: &Rules) -> Plan<Self::Answer> {
        let mut plan = Plan { records: Vec::new(), answer: Vec::with_capacity(self.topics.len()) };
        let found: Vec<_> = self.topics.iter().map(|topic| find(image, rules, topic)).collect();
        let mut times: BTreeMap<Uuid, usize> = BTreeMap::new();
        found.iter().flatten().for_each(|found| *times.entry(found.id).or_default() += 1);
        for found in found {
            // What is named twice is not deleted at all.
            let answer = found.and_then(|found| {
                if times.get(&found.id).is_some_and(|times| *times > 1) {
                    return Err(Refusal::new(ResponseError::InvalidRequest, "Duplicate topic name or topic id."));
                }
                Ok(found)
            });
            if let Ok(found) = &answer {
                plan.records.push(Record::DeleteTopic(DeleteTopic { id: found.id }));
            }
            plan.answer.push(answer);
        }
        plan
    }
}

fn find(image: &Image, rules: &Rules, topic: &TopicRef) -> Result<DeletedTopic, Refusal> {
    if !rules.delete_topic_enable {
        return Err(Refusal::new(ResponseError::TopicDeletionDisabled, "Topic deletion is disabled."));
    }
    let found = match topic {
        TopicRef::Name(name) => image.topic(name).ok_or(ResponseError::UnknownTopicOrPartition),
        TopicRef::Id(id) => image.topic_by_id(*id).ok_or(ResponseError::UnknownTopicId),
    };
    let found = found.map_err(|error| Refusal::new(error, "This server does not host this topic-partition."))?;
    if found.is_internal() {
        // The coordinators' own state: gone, it would take every group's offsets with it.
        return Err(Refusal::new(ResponseError::InvalidRequest, "An internal topic cannot be deleted."));
    }
    Ok(DeletedTopic { name: found.name.to_string(), id: found.id })
}
