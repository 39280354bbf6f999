//! IncrementalAlterConfigs: settings key by key (KIP-339).

use super::resource::{alter, resource};
use super::wire::outcome;
use crate::controller::{AlterOperation, ConfigAlteration, Controller, Refusal};
use crate::metadata::Publisher;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

/// Answers an IncrementalAlterConfigs request; both its versions have the same fields. When it returns, what
/// was altered holds.
pub async fn handle(
    request: &IncrementalAlterConfigsRequest,
    publisher: &Publisher,
    controller: &Controller,
) -> IncrementalAlterConfigsResponse {
    let asked = request.resources.iter().map(parse).collect();
    let outcomes = alter(publisher, controller, asked, request.validate_only).await;
    let responses = request.resources.iter().zip(outcomes).map(|(asked, altered)| {
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
