//! Creating topics: checks of names, settings and numbers, then placement of the partitions.

use super::each::plan_each;
use super::names::{check_collision, check_topic_name};
use super::placement::{Replicas, check_manual, place};
use super::{Command, Plan, Rules};
use crate::config::{BrokerConfig, Values, check_topic_values};
use crate::controller::Refusal;
use crate::metadata::{CreateTopic, Image, Record};
use kafka_protocol::ResponseError;
use uuid::Uuid;

/// Create topics, or say what would come of it.
#[derive(Clone, Debug)]
pub struct CreateTopics {
    /// The topics.
    pub topics: Vec<NewTopic>,
    /// Only look whether they could be created.
    pub validate_only: bool,
}

/// A topic to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Its id, from chance.
    pub id: Uuid,
    /// Its partitions.
    pub replicas: Replicas,
    /// Its settings.
    pub configs: Values,
}

/// A topic that was created, or could be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: Uuid,
    /// How many partitions it has.
    pub partitions: u32,
    /// How many replicas each has.
    pub factor: u32,
    /// Its settings.
    pub configs: Values,
}

impl NewTopic {
    /// A topic as it is created when a client asks for one that is not there: by the defaults, or as the coordinator
    /// needs it if the name is a coordinator's.
    pub fn automatic(name: &str, id: Uuid, config: &BrokerConfig) -> NewTopic {
        if name == "__consumer_offsets" {
            return offsets_topic(id, config);
        }
        let replicas = Replicas::Automatic { partitions: None, factor: None };
        NewTopic { name: name.to_owned(), id, replicas, configs: Values::new() }
    }
}

/// `__consumer_offsets` as the group coordinator needs it: compacted, in Kafka's segment size.
pub fn offsets_topic(id: Uuid, config: &BrokerConfig) -> NewTopic {
    let configs = [("cleanup.policy", "compact"), ("compression.type", "producer"), ("segment.bytes", "104857600")];
    NewTopic {
        name: "__consumer_offsets".to_owned(),
        id,
        replicas: Replicas::Automatic {
            partitions: Some(config.offsets_topic_num_partitions),
            factor: Some(config.offsets_topic_replication_factor),
        },
        configs: configs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
    }
}

impl Command for CreateTopics {
    /// By topic, in the order of the request.
    type Answer = Vec<Result<CreatedTopic, Refusal>>;

    fn plan(&self, image: &Image, rules: &Rules) -> Plan<Self::Answer> {
        plan_each(
            image,
            &self.topics,
            |topic| &topic.name,
            self.validate_only,
            |image, topic| {
                let (record, created) = create(image, rules, topic)?;
                Ok((Record::CreateTopic(record), created))
            },
        )
    }
}

fn create(image: &Image, rules: &Rules, topic: &NewTopic) -> Result<(CreateTopic, CreatedTopic), Refusal> {
    check_topic_name(&topic.name)?;
    if image.topic(&topic.name).is_some() {
        let message = format!("Topic '{}' already exists.", topic.name);
        return Err(Refusal::new(ResponseError::TopicAlreadyExists, message));
    }
    check_collision(image, &topic.name)?;
    check_topic_values(&topic.configs, &rules.layers(image))?;
    let there = image.partition_count();
    let count = match &topic.replicas {
        Replicas::Manual(manual) => u32::try_from(manual.len()).unwrap_or(u32::MAX),
        Replicas::Automatic { partitions, .. } => partitions.unwrap_or(rules.num_partitions),
    };
    if count == 0 {
        let message = "Number of partitions must be larger than 0, or -1 to use the default.";
        return Err(Refusal::new(ResponseError::InvalidPartitions, message));
    }
    // Before anything is allocated for them.
    rules.check_partition_count(count, there, u64::from(count))?;
    let partitions = match &topic.replicas {
        Replicas::Manual(manual) => check_manual(image, manual, None)?,
        Replicas::Automatic { factor: Some(0), .. } => {
            let message = "Replication factor must be larger than 0, or -1 to use the default value.";
            return Err(Refusal::new(ResponseError::InvalidReplicationFactor, message));
        }
        Replicas::Automatic { factor, .. } => {
            place(image, there, count, factor.unwrap_or(rules.default_replication_factor))?
        }
    };
    let created = CreatedTopic {
        name: topic.name.clone(),
        id: topic.id,
        partitions: u32::try_from(partitions.len()).unwrap_or(u32::MAX),
        factor: partitions.first().map_or(0, |first| u32::try_from(first.replicas.len()).unwrap_or(u32::MAX)),
        configs: topic.configs.clone(),
    };
    let record = CreateTopic { name: topic.name.clone(), id: topic.id, partitions, configs: topic.configs.clone() };
    Ok((record, created))
}
