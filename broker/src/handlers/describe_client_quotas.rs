//! DescribeClientQuotas (KIP-546): nobody has a quota here, whatever the filter; a filter that makes no sense is refused.

use super::wire::text;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};
use std::collections::BTreeSet;

const USER: &str = "user";
const CLIENT_ID: &str = "client-id";
const IP: &str = "ip";

/// How a component matches: the entity of this name, ...
const EXACT: i8 = 0;
/// ... the default one, ...
const DEFAULT: i8 = 1;
/// ... or any that is named.
const SPECIFIED: i8 = 2;

/// Answers a DescribeClientQuotas request.
pub fn handle(request: &DescribeClientQuotasRequest) -> DescribeClientQuotasResponse {
    match check(&request.components) {
        Ok(()) => DescribeClientQuotasResponse::default().with_error_message(None),
        Err((error, message)) => DescribeClientQuotasResponse::default()
            .with_error_code(error.code())
            .with_error_message(Some(text(message)))
            .with_entries(None),
    }
}

fn check(components: &[ComponentData]) -> Result<(), (ResponseError, String)> {
    let invalid = |message: &str| Err((ResponseError::InvalidRequest, message.to_owned()));
    let mut seen = BTreeSet::new();
    for component in components {
        let kind = component.entity_type.as_str();
        if kind.is_empty() {
            return invalid("Invalid empty entity type.");
        }
        if seen.contains(kind) {
            return invalid(&format!("Entity type {kind} cannot appear more than once in the filter."));
        }
        if ![USER, CLIENT_ID, IP].contains(&kind) {
            return Err((ResponseError::UnsupportedVersion, format!("Unsupported entity type {kind}")));
        }
        match (component.match_type, &component._match) {
            (EXACT, None) => return invalid("Request specified MATCH_TYPE_EXACT, but set match string to null."),
            (DEFAULT, Some(_)) => {
                return invalid("Request specified MATCH_TYPE_DEFAULT, but also specified a match string.");
            }
            (SPECIFIED, Some(_)) => {
                return invalid("Request specified MATCH_TYPE_SPECIFIED, but also specified a match string.");
            }
            (EXACT..=SPECIFIED, _) => {}
            (other, _) => return invalid(&format!("Unknown match type {other}")),
        }
        seen.insert(kind);
    }
    if seen.contains(IP) && seen.len() > 1 {
        return invalid(
            "Invalid entity filter component combination. IP filter component should not be used with user or clientId \
             filter component.",
        );
    }
    Ok(())
}
