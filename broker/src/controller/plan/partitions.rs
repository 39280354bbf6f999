//! Adding partitions to topics.

use super::each::plan_each;
use super::placement::{check_manual, place};
use super::{Command, Plan, Rules};
use crate::config::BrokerId;
use crate::controller::Refusal;
use crate::metadata::{self, Image, Record};
use kafka_protocol::ResponseError;

/// Add partitions to topics, or say what would come of it.
#[derive(Clone, Debug)]
pub struct AddPartitions {
    /// The topics.
    pub topics: Vec<MorePartitions>,
    /// Only look whether they could have them.
    pub validate_only: bool,
}

/// A topic that is to have more partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MorePartitions {
    /// Its name.
    pub name: String,
    /// How many it is to have in all.
    pub count: i32,
    /// Where the new ones go, if the request says.
    pub manual: Option<Vec<Vec<BrokerId>>>,
}

impl Command for AddPartitions {
    /// By topic, in the order of the request.
    type Answer = Vec<Result<(), Refusal>>;

    fn plan(&self, image: &Image, rules: &Rules) -> Plan<Self::Answer> {
        plan_each(
            image,
            &self.topics,
            |topic| &topic.name,
            self.validate_only,
            |image, topic| Ok((add(image, rules, topic)?, ())),
        )
    }
}

fn add(image: &Image, rules: &Rules, more: &MorePartitions) -> Result<Record, Refusal> {
    let topic = image.topic(&more.name).ok_or_else(|| {
        Refusal::new(ResponseError::UnknownTopicOrPartition, "This server does not host this topic-partition.")
    })?;
    let invalid = |message| Err(Refusal::new(ResponseError::InvalidPartitions, message));
    if topic.is_internal() {
        // The coordinator of a key is found by the number of partitions.
        return invalid(format!("The number of partitions of the internal topic {} is fixed.", topic.name));
    }
    let there = topic.partition_count();
    let count = match u32::try_from(more.count) {
        Ok(count) if count > there => count,
        Ok(count) if count == there => return invalid(format!("Topic already has {there} partition(s).")),
        _ => {
            return invalid(format!(
                "The topic {} currently has {there} partition(s); {} would not be an increase.",
                topic.name, more.count
            ));
        }
    };
    let added = count - there;
    rules.check_partition_count(count, image.partition_count(), u64::from(added))?;
    let factor = topic.partitions.first().map_or(1, |first| first.replicas.len());
    let partitions = match &more.manual {
        None => place(image, image.partition_count(), added, u32::try_from(factor).unwrap_or(u32::MAX))?,
        Some(manual) if u32::try_from(manual.len()).is_ok_and(|given| given == added) => {
            check_manual(image, manual, Some(factor))?
        }
        Some(manual) => {
            let message = format!(
                "Attempted to add {added} additional partition(s), but only {} assignment(s) were specified.",
                manual.len()
            );
            return Err(Refusal::new(ResponseError::InvalidReplicaAssignment, message));
        }
    };
    Ok(Record::AddPartitions(metadata::AddPartitions { topic: topic.id, first: there, partitions }))
}
