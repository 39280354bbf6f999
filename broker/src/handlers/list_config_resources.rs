//! ListConfigResources (KIP-1142): what has, or could have, settings. Version 0 is ListClientMetricsResources, by another
//! name: of client metrics there are none here (KIP-714).

use super::resource::{BROKER, BROKER_LOGGER, GROUP, TOPIC};
use super::wire::text;
use crate::metadata::{Image, Publisher};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_config_resources_response::ConfigResource;
use kafka_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};

/// Kafka's `ConfigResource.Type.CLIENT_METRICS`.
const CLIENT_METRICS: i8 = 16;
/// What version 1 can ask for, in the order of the answer.
const KINDS: [i8; 5] = [GROUP, CLIENT_METRICS, BROKER_LOGGER, BROKER, TOPIC];

/// Answers a ListConfigResources request.
pub fn handle(
    request: &ListConfigResourcesRequest,
    version: i16,
    publisher: &Publisher,
) -> ListConfigResourcesResponse {
    let answer = ListConfigResourcesResponse::default();
    if version < 1 {
        return answer;
    }
    if request.resource_types.iter().any(|kind| !KINDS.contains(kind)) {
        return answer.with_error_code(ResponseError::UnsupportedVersion.code());
    }
    let image = publisher.image();
    // None means all.
    let is_asked = |kind: &i8| request.resource_types.is_empty() || request.resource_types.contains(kind);
    let resources = KINDS.into_iter().filter(is_asked).flat_map(|kind| {
        names(&image, kind)
            .into_iter()
            .map(move |name| ConfigResource::default().with_resource_name(text(name)).with_resource_type(kind))
    });
    answer.with_config_resources(resources.collect())
}

fn names(image: &Image, kind: i8) -> Vec<String> {
    match kind {
        GROUP => image.groups_with_configs().map(str::to_owned).collect(),
        BROKER | BROKER_LOGGER => image.brokers().map(|broker| broker.id.to_string()).collect(),
        TOPIC => image.topics().map(|topic| topic.name.to_string()).collect(),
        _ => Vec::new(),
    }
}
