//! DescribeUserScramCredentials (KIP-554): nobody has credentials here, since nobody logs in.

use super::wire::text;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_user_scram_credentials_response::DescribeUserScramCredentialsResult;
use kafka_protocol::messages::{DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse};
use std::collections::BTreeMap;

/// Answers a DescribeUserScramCredentials request: no users, or for each that is asked for that there is none.
pub fn handle(request: &DescribeUserScramCredentialsRequest) -> DescribeUserScramCredentialsResponse {
    // Each once, in the order of the request.
    let mut asked: Vec<&str> = Vec::new();
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for user in request.users.iter().flatten() {
        let count = times.entry(user.name.as_str()).or_default();
        *count += 1;
        if *count == 1 {
            asked.push(user.name.as_str());
        }
    }
    let results = asked.into_iter().map(|name| {
        let (error, message) = if times.get(name).is_some_and(|count| *count > 1) {
            let message =
                format!("Cannot describe SCRAM credentials for the same user twice in a single request: {name}");
            (ResponseError::DuplicateResource, message)
        } else {
            let message = format!("Attempt to describe a user credential that does not exist: {name}");
            (ResponseError::ResourceNotFound, message)
        };
        DescribeUserScramCredentialsResult::default()
            .with_user(text(name))
            .with_error_code(error.code())
            .with_error_message(Some(text(message)))
    });
    DescribeUserScramCredentialsResponse::default().with_error_message(None).with_results(results.collect())
}
