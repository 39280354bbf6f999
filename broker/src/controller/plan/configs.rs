//! Changing settings of topics and brokers, key by key (KIP-339) or as a whole (the older AlterConfigs).

use super::{Command, Plan, Rules, check_topic_name};
use crate::config::{
    BrokerId, ConfigError, Described, Kind, Scope, Values, check_group_values, check_topic_values, describe_broker,
    describe_group, describe_topic, find, list_items,
};
use crate::controller::Refusal;
use crate::metadata::{Image, Record, Resource, SetConfigs};
use kafka_protocol::ResponseError;
use std::collections::{BTreeMap, BTreeSet};

/// Groups that may have settings of their own: they are kept whether or not the group exists.
const MOST_CONFIGURED_GROUPS: usize = 10_000;

/// Change settings, or say what would come of it.
#[derive(Clone, Debug)]
pub struct AlterConfigs {
    /// The resources.
    pub resources: Vec<ConfigAlteration>,
    /// Only look whether they could be changed.
    pub validate_only: bool,
}

/// What the settings of one resource are to become.
#[derive(Clone, Debug)]
pub struct ConfigAlteration {
    /// Whose settings.
    pub resource: ResourceName,
    /// Whether keys that are not named lose their values.
    pub replace: bool,
    /// Key, what to do with it, and the value for it.
    pub operations: Vec<(String, AlterOperation, Option<String>)>,
}

/// A resource as a request names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResourceName {
    /// A topic.
    Topic(String),
    /// A group, which need not exist.
    Group(String),
    /// A broker, or all of them for `None`.
    Broker(Option<BrokerId>),
}

/// What to do with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlterOperation {
    /// Give it the value.
    Set,
    /// Take its value away.
    Delete,
    /// Add items to its list.
    Append,
    /// Take items from its list.
    Subtract,
}

impl Command for AlterConfigs {
    /// By resource, in the order of the request.
    type Answer = Vec<Result<(), Refusal>>;

    fn plan(&self, image: &Image, rules: &Rules) -> Plan<Self::Answer> {
        let mut plan = Plan { records: Vec::new(), answer: Vec::with_capacity(self.resources.len()) };
        let mut times: BTreeMap<&ResourceName, usize> = BTreeMap::new();
        self.resources.iter().for_each(|alteration| *times.entry(&alteration.resource).or_default() += 1);
        for alteration in &self.resources {
            let altered = if times.get(&alteration.resource) == Some(&1) {
                alter(image, rules, alteration)
            } else {
                Err(Refusal::new(ResponseError::InvalidRequest, "Each resource must appear at most once."))
            };
            plan.answer.push(altered.map(|record| plan.records.extend(record)));
        }
        if self.validate_only {
            plan.records.clear();
        }
        plan
    }
}

/// The record that makes the alteration, if it changes anything.
fn alter(image: &Image, rules: &Rules, alteration: &ConfigAlteration) -> Result<Option<Record>, Refusal> {
    let layers = rules.layers(image);
    let (resource, scope, old, described) = match &alteration.resource {
        ResourceName::Topic(name) => {
            if name.is_empty() {
                let message = "Default topic resources are not allowed.";
                return Err(Refusal::new(ResponseError::InvalidRequest, message));
            }
            check_topic_name(name)?;
            let topic = image.topic(name).ok_or_else(|| {
                Refusal::new(ResponseError::UnknownTopicOrPartition, format!("The topic '{name}' does not exist."))
            })?;
            (Resource::Topic(topic.id), Scope::Topic, topic.configs.clone(), describe_topic(&topic.configs, &layers))
        }
        ResourceName::Group(name) => {
            let resource = Resource::Group(name.clone());
            let old = image.configs(&resource);
            if old.is_empty() && image.configured_groups() >= MOST_CONFIGURED_GROUPS {
                let message = format!("{MOST_CONFIGURED_GROUPS} groups have settings of their own already.");
                return Err(Refusal::new(ResponseError::PolicyViolation, message));
            }
            let described = describe_group(&old, &layers);
            (resource, Scope::Group, old, described)
        }
        ResourceName::Broker(id) => {
            let resource = id.map_or(Resource::Cluster, Resource::Broker);
            if let Some(id) = id.filter(|id| image.broker(*id).is_none()) {
                let message = format!("There is no broker {id}.");
                return Err(Refusal::new(ResponseError::InvalidRequest, message));
            }
            let old = image.configs(&resource);
            (resource, Scope::Broker, old, describe_broker(&layers))
        }
    };
    let mut new = if alteration.replace { Values::new() } else { old.clone() };
    let mut named = BTreeSet::new();
    for (name, operation, value) in &alteration.operations {
        if !named.insert(name) {
            return Err(Refusal::new(ResponseError::InvalidRequest, "Error due to duplicate config keys"));
        }
        let operated = operate(&mut new, scope, &described, name, *operation, value.as_deref());
        operated.map_err(|refusal| match (scope, refusal.error) {
            // Kafka tells brokers' settings and topics' apart: INVALID_REQUEST here, INVALID_CONFIG there.
            (Scope::Broker, ResponseError::InvalidConfig) => {
                Refusal::new(ResponseError::InvalidRequest, refusal.message)
            }
            _ => refusal,
        })?;
    }
    match scope {
        Scope::Topic => check_topic_values(&new, &layers)?,
        Scope::Group => check_group_values(&new, &layers)?,
        Scope::Broker => {
            let invalid = |error: ConfigError| Refusal::new(ResponseError::InvalidRequest, error.to_string());
            for (name, value) in &new {
                find(scope, name)?.validate(value).map_err(invalid)?;
            }
        }
    }
    let mut changes: BTreeMap<String, Option<String>> = BTreeMap::new();
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        changes.insert(name.clone(), None);
    }
    for (name, value) in new.iter().filter(|(name, value)| old.get(*name) != Some(value)) {
        changes.insert(name.clone(), Some(value.clone()));
    }
    Ok((!changes.is_empty()).then_some(Record::SetConfigs(SetConfigs { resource, changes })))
}

/// Does one operation to `values`.
fn operate(
    values: &mut Values,
    scope: Scope,
    described: &[Described],
    name: &str,
    operation: AlterOperation,
    value: Option<&str>,
) -> Result<(), Refusal> {
    // A key that an older version stored can be taken away by a newer one that does not know it.
    if operation == AlterOperation::Delete && values.remove(name).is_some() {
        return Ok(());
    }
    if operation == AlterOperation::Delete && find(scope, name).is_err() {
        // It has no value, as was asked for.
        return Ok(());
    }
    let key = find(scope, name)?;
    let current = described.iter().find(|described| described.key.name == key.name);
    if current.is_some_and(|current| current.read_only) {
        // What DescribeConfigs showed may be sent back as it was: nothing changes.
        let same = operation == AlterOperation::Set && current.and_then(|current| current.value.as_deref()) == value;
        return if same { Ok(()) } else { Err(ConfigError::ReadOnly { name: key.name }.into()) };
    }
    if operation == AlterOperation::Delete {
        return Ok(());
    }
    let Some(value) = value else {
        return Err(Refusal::new(ResponseError::InvalidRequest, format!("Null value not supported for : {name}")));
    };
    let new = match operation {
        AlterOperation::Set | AlterOperation::Delete => value.to_owned(),
        AlterOperation::Append | AlterOperation::Subtract if key.kind != Kind::List => {
            let verb = if operation == AlterOperation::Append { "APPEND" } else { "SUBTRACT" };
            let message = format!("Can't {verb} to key {name} because its type is not LIST.");
            return Err(Refusal::new(ResponseError::InvalidConfig, message));
        }
        AlterOperation::Append | AlterOperation::Subtract => {
            // A list that was never set starts from what it has now.
            let inherited = current.and_then(|current| current.value.clone()).unwrap_or_default();
            let before = values.get(name).unwrap_or(&inherited);
            let mut items: Vec<&str> = list_items(before).collect();
            for item in list_items(value) {
                if operation == AlterOperation::Subtract {
                    items.retain(|there| *there != item);
                } else if !items.contains(&item) {
                    items.push(item);
                }
            }
            items.join(",")
        }
    };
    values.insert(name.to_owned(), new);
    Ok(())
}
