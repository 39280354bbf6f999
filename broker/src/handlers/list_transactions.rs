//! ListTransactions (KIP-664): no transaction has ever begun here, whatever the filters; filters that nobody understands are
//! told or refused.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{ListTransactionsRequest, ListTransactionsResponse};
use regex::RegexBuilder;

/// The states of a transaction, as Kafka names them.
const STATES: [&str; 8] = [
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "CompleteCommit",
    "CompleteAbort",
    "Empty",
    "PrepareEpochFence",
    "Dead",
];

/// The most that a compiled pattern may take, in bytes.
const PATTERN_SIZE: usize = 1 << 16;

/// Answers a ListTransactions request.
pub fn handle(request: &ListTransactionsRequest) -> ListTransactionsResponse {
    let pattern = request.transactional_id_pattern.as_ref().map(|pattern| pattern.as_str()).unwrap_or_default();
    if RegexBuilder::new(pattern).size_limit(PATTERN_SIZE).build().is_err() {
        let code = ResponseError::InvalidRegularExpression.code();
        return ListTransactionsResponse::default().with_error_code(code);
    }
    let unknown = request.state_filters.iter().filter(|state| !STATES.contains(&state.as_str())).cloned();
    ListTransactionsResponse::default().with_unknown_state_filters(unknown.collect())
}
