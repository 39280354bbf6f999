//! ListPartitionReassignments: there are none yet, which is an answer that `kafka-topics --describe` needs.

use kafka_protocol::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

/// Answers a ListPartitionReassignments request: nothing is being moved.
pub fn handle(_: &ListPartitionReassignmentsRequest) -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse::default().with_error_message(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::testing::encodes;

    #[test]
    fn an_empty_list() {
        let answer = handle(&ListPartitionReassignmentsRequest::default());
        encodes(&answer, 0);
        assert_eq!((answer.error_code, answer.topics.len()), (0, 0));
    }
}
