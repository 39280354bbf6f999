//! FindCoordinator (key 10, versions 0 to 6): which broker coordinates a group.
//!
//! Versions 0 to 3 ask about one key, from version 4 on about several (KIP-699). Of the types of keys only groups have a
//! coordinator here: transactions are answered TRANSACTIONAL_ID_AUTHORIZATION_FAILED, which a producer takes for final
//! instead of asking for ever, and share groups, whose feature is not there, INVALID_REQUEST.

use super::wire::text;
use futures_util::future::BoxFuture;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;

/// Where a coordinator is, as the asking client can reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The broker's id.
    pub id: i32,
    /// Its advertised host on the client's listener.
    pub host: String,
    /// Its advertised port there.
    pub port: u16,
}

/// Who knows which broker coordinates a group.
pub trait GroupCoordinators: Send + Sync {
    /// The broker that coordinates `group`; creates `__consumer_offsets` if there is none yet.
    ///
    /// # Errors
    /// COORDINATOR_NOT_AVAILABLE while nobody does; the client asks again.
    fn coordinator<'a>(&'a self, group: &'a str) -> BoxFuture<'a, Result<Node, ResponseError>>;
}

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// The answer to `request` in `version`.
pub async fn handle(
    coordinators: &dyn GroupCoordinators,
    version: i16,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let kind = if version >= 1 { request.key_type } else { GROUP };
    if version >= 4 {
        let mut found = Vec::new();
        for key in request.coordinator_keys {
            let coordinator = find(coordinators, kind, &key).await;
            found.push(to_coordinator(key, coordinator));
        }
        return FindCoordinatorResponse::default().with_coordinators(found);
    }
    let coordinator = to_coordinator(request.key.clone(), find(coordinators, kind, &request.key).await);
    FindCoordinatorResponse::default()
        .with_error_code(coordinator.error_code)
        .with_error_message(coordinator.error_message.filter(|_| version >= 1))
        .with_node_id(coordinator.node_id)
        .with_host(coordinator.host)
        .with_port(coordinator.port)
}

async fn find(coordinators: &dyn GroupCoordinators, kind: i8, key: &StrBytes) -> Result<Node, ResponseError> {
    match kind {
        GROUP => coordinators.coordinator(key).await,
        TRANSACTION => Err(ResponseError::TransactionalIdAuthorizationFailed),
        _ => Err(ResponseError::InvalidRequest),
    }
}

fn to_coordinator(key: StrBytes, found: Result<Node, ResponseError>) -> Coordinator {
    match found {
        Ok(node) => Coordinator::default()
            .with_key(key)
            .with_node_id(BrokerId(node.id))
            .with_host(text(node.host))
            .with_port(i32::from(node.port)),
        Err(error) => Coordinator::default()
            .with_key(key)
            .with_node_id(BrokerId(-1))
            .with_port(-1)
            .with_error_code(error.code())
            .with_error_message(Some(StrBytes::from_static_str(message(error)))),
    }
}

fn message(error: ResponseError) -> &'static str {
    match error {
        ResponseError::TransactionalIdAuthorizationFailed => "Transactions are not supported by this broker.",
        ResponseError::InvalidRequest => "There is no coordinator for keys of this type.",
        ResponseError::CoordinatorNotAvailable => "The coordinator is not available.",
        _ => "The coordinator could not be found.",
    }
}
