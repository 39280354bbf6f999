//! DescribeAcls: there is no authorizer yet, which consoles and MirrorMaker understand.

use super::wire::text;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{DescribeAclsRequest, DescribeAclsResponse};

/// What requests about rules are told.
pub(super) const NO_AUTHORIZER: &str = "No Authorizer is configured.";

/// Answers a DescribeAcls request: security is disabled.
pub fn handle(_: &DescribeAclsRequest) -> DescribeAclsResponse {
    DescribeAclsResponse::default()
        .with_error_code(ResponseError::SecurityDisabled.code())
        .with_error_message(Some(text(NO_AUTHORIZER)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::testing::encodes;

    #[test]
    fn every_version() {
        for version in 1..=3 {
            let answer = handle(&DescribeAclsRequest::default());
            encodes(&answer, version);
            assert_eq!(answer.error_code, 54);
        }
    }
}
