//! IncrementalAlterConfigs: settings key by key (KIP-339).

use super::loggers;
use super::resource::{BROKER_LOGGER, alter, resource};
use super::wire::outcome;
use crate::config::{BrokerId, LogLevel};
use crate::controller::{AlterOperation, ConfigAlteration, Controller, Refusal};
use crate::metadata::Publisher;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

/// This process's log, as a request names it.
#[derive(Clone, Copy, Debug)]
pub struct Loggers<'a> {
    /// The broker that it is of.
    pub node: BrokerId,
    /// Its level.
    pub level: &'a LogLevel,
}

/// Answers an IncrementalAlterConfigs request; both its versions have the same fields. When it returns, what
/// was altered holds.
pub async fn handle(
    request: &IncrementalAlterConfigsRequest,
    publisher: &Publisher,
    controller: &Controller,
    loggers: Loggers<'_>,
) -> IncrementalAlterConfigsResponse {
    let is_logger = |asked: &&AlterConfigsResource| asked.resource_type == BROKER_LOGGER;
    let of_image = request.resources.iter().filter(|asked| !is_logger(asked)).map(parse).collect();
    let mut outcomes = alter(publisher, controller, of_image, request.validate_only).await.into_iter();
    let responses = request.resources.iter().map(|asked| {
        let altered = if is_logger(&asked) {
            loggers::alter(loggers.level, loggers.node, asked, request.validate_only)
        } else {
            outcomes.next().unwrap_or(Ok(()))
        };
        let (code, message) = outcome(altered.as_ref());
        AlterConfigsResourceResponse::default()
            .with_error_code(code)
            .with_error_message(message)
            .with_resource_type(asked.resource_type)
            .with_resource_name(asked.resource_name.clone())
    });
    IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
}

fn parse(asked: &AlterConfigsResource) -> Result<ConfigAlteration, Refusal> {
    let operations = asked.configs.iter().map(|config| {
        let operation = match config.config_operation {
            0 => AlterOperation::Set,
            1 => AlterOperation::Delete,
            2 => AlterOperation::Append,
            3 => AlterOperation::Subtract,
            other => {
                let message = format!("Unknown operation {other} for {}.", config.name);
                return Err(Refusal::new(ResponseError::InvalidRequest, message));
            }
        };
        Ok((config.name.to_string(), operation, config.value.as_ref().map(ToString::to_string)))
    });
    let operations = operations.collect::<Result<Vec<_>, Refusal>>()?;
    Ok(ConfigAlteration { resource: resource(asked.resource_type, &asked.resource_name)?, replace: false, operations })
}

#[cfg(test)]
#[path = "alter_configs_tests.rs"]
mod tests;
