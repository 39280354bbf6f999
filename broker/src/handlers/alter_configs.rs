//! AlterConfigs: the older request, which replaces a resource's settings as a whole.

use super::resource::{alter, resource};
use super::wire::outcome;
use crate::controller::{AlterOperation, ConfigAlteration, Controller, Refusal};
use crate::metadata::Publisher;
use kafka_protocol::messages::alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};

/// Answers an AlterConfigs request; all its versions have the same fields. When it returns, what was altered
/// holds.
pub async fn handle(
    request: &AlterConfigsRequest,
    publisher: &Publisher,
    controller: &Controller,
) -> AlterConfigsResponse {
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
    AlterConfigsResponse::default().with_responses(responses.collect())
}

fn parse(asked: &AlterConfigsResource) -> Result<ConfigAlteration, Refusal> {
    let operations = asked
        .configs
        .iter()
        .map(|config| (config.name.to_string(), AlterOperation::Set, config.value.as_ref().map(ToString::to_string)));
    let resource = resource(asked.resource_type, &asked.resource_name)?;
    Ok(ConfigAlteration { resource, replace: true, operations: operations.collect() })
}
