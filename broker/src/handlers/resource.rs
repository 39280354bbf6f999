//! Resources of configuration requests: what their numbers and names mean.

use super::wire::wait_applied;
use crate::config::BrokerId;
use crate::controller::{AlterConfigs, ConfigAlteration, Controller, Refusal, ResourceName};
use crate::metadata::Publisher;
use kafka_protocol::ResponseError;

/// Kafka's `ConfigResource.Type`.
pub(super) const TOPIC: i8 = 2;
/// See [`TOPIC`].
pub(super) const BROKER: i8 = 4;
/// See [`TOPIC`].
pub(super) const BROKER_LOGGER: i8 = 8;

/// See [`TOPIC`].
pub(super) const GROUP: i8 = 32;

/// The longest name of a group that can have settings, in bytes.
const LONGEST_GROUP: usize = 32_000;

/// The resource that a request means.
pub(super) fn resource(kind: i8, name: &str) -> Result<ResourceName, Refusal> {
    let invalid = |message| Err(Refusal::new(ResponseError::InvalidRequest, message));
    match kind {
        TOPIC => Ok(ResourceName::Topic(name.to_owned())),
        GROUP if name.is_empty() => invalid("Default group resources are not allowed.".to_owned()),
        GROUP if name.len() > LONGEST_GROUP => invalid("The group's id is too long.".to_owned()),
        GROUP => Ok(ResourceName::Group(name.to_owned())),
        BROKER if name.is_empty() => Ok(ResourceName::Broker(None)),
        BROKER => match name.parse::<i32>().ok().and_then(BrokerId::from_wire) {
            Some(id) => Ok(ResourceName::Broker(Some(id))),
            None => invalid(format!("Broker id must be an integer, but it is: {name}")),
        },
        // Only the incremental request knows loggers, and does not ask here.
        BROKER_LOGGER => invalid("Loggers cannot be configured by this request.".to_owned()),
        _ => invalid(format!("Resources of type {kind} have no configuration here.")),
    }
}

/// Has the alterations made that are not refused already; one outcome for each, in their order. When it returns, this
/// broker goes by them.
pub(super) async fn alter(
    publisher: &Publisher,
    controller: &Controller,
    asked: Vec<Result<ConfigAlteration, Refusal>>,
    validate_only: bool,
) -> Vec<Result<(), Refusal>> {
    let resources: Vec<ConfigAlteration> = asked.iter().filter_map(|asked| asked.as_ref().ok().cloned()).collect();
    let mut decided = if resources.is_empty() {
        Ok(Vec::new())
    } else {
        match controller.submit(AlterConfigs { resources, validate_only }, None).await {
            Ok(settled) => {
                wait_applied(controller, publisher, settled.version, controller.limit_of(0)).await;
                Ok(settled.answer)
            }
            Err(error) => Err(error),
        }
    }
    .map(Vec::into_iter);
    asked
        .into_iter()
        .map(|asked| {
            asked?;
            match &mut decided {
                Ok(answers) => answers.next().unwrap_or(Ok(())),
                Err(error) => Err((*error).into()),
            }
        })
        .collect()
}
