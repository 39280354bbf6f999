//! DescribeCluster: the cluster's id, its brokers and its controller (KIP-700, KIP-919).

use super::metadata::controller_id;
use super::wire::{CLUSTER_OPERATIONS, NO_OPERATIONS, text};
use crate::config::id_text;
use crate::metadata::Publisher;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};
use kafka_protocol::protocol::StrBytes;

/// The endpoint type that asks for brokers; 2 asks for controllers.
const BROKERS: i8 = 1;
/// See [`BROKERS`].
const CONTROLLERS: i8 = 2;

/// Answers a DescribeCluster request that came in by listener `listener`.
pub fn handle(
    request: &DescribeClusterRequest,
    version: i16,
    listener: &str,
    publisher: &Publisher,
) -> DescribeClusterResponse {
    let image = publisher.image();
    let mut answer = DescribeClusterResponse::default()
        .with_cluster_id(image.cluster_id().map(|id| text(id_text(id))).unwrap_or_default())
        .with_error_message(None)
        .with_cluster_authorized_operations(NO_OPERATIONS);
    if version >= 1 && request.endpoint_type != BROKERS {
        let error = match request.endpoint_type {
            CONTROLLERS => ResponseError::MismatchedEndpointType,
            _ => ResponseError::UnsupportedEndpointType,
        };
        answer.error_code = error.code();
        answer.error_message = Some(text("This listener is for clients of brokers."));
        answer.cluster_id = StrBytes::default();
        return answer;
    }
    let brokers = image.brokers().filter_map(|broker| {
        let endpoint = broker.endpoint(listener)?;
        Some(
            DescribeClusterBroker::default()
                .with_broker_id(broker.id.to_wire().into())
                .with_host(text(&endpoint.host))
                .with_port(i32::from(endpoint.port))
                .with_rack(None),
        )
    });
    if request.include_cluster_authorized_operations {
        answer.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    answer.with_controller_id(controller_id(&image)).with_brokers(brokers.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::testing::{Bench, CLUSTER, block_on};
    use crate::handlers::testing::encodes;

    #[test]
    fn every_version() {
        block_on(async {
            let node = Bench::new(&[]).start().await;
            for version in 0..=2 {
                let request =
                    DescribeClusterRequest::default().with_include_cluster_authorized_operations(version == 1);
                let answer = handle(&request, version, "PLAINTEXT", &node.publisher);
                encodes(&answer, version);
                assert_eq!(answer.cluster_id.as_str(), id_text(CLUSTER));
                assert_eq!((answer.controller_id.0, answer.brokers.len()), (1, 1));
                assert_eq!((answer.brokers[0].host.as_str(), answer.brokers[0].port), ("127.0.0.1", 9092));
                let operations = if version == 1 { 8096 } else { i32::MIN };
                assert_eq!(answer.cluster_authorized_operations, operations);
            }
            for (endpoint, error) in
                [(2, ResponseError::MismatchedEndpointType), (9, ResponseError::UnsupportedEndpointType)]
            {
                let request = DescribeClusterRequest::default().with_endpoint_type(endpoint);
                let answer = handle(&request, 1, "PLAINTEXT", &node.publisher);
                encodes(&answer, 1);
                assert_eq!(answer.error_code, error.code());
            }
        });
    }
}
