//! CreateAcls: there is no authorizer yet, so that nothing can be allowed or denied.

use super::describe_acls::NO_AUTHORIZER;
use super::wire::text;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_acls_response::AclCreationResult;
use kafka_protocol::messages::{CreateAclsRequest, CreateAclsResponse};

/// Answers a CreateAcls request: security is disabled, for each rule.
pub fn handle(request: &CreateAclsRequest) -> CreateAclsResponse {
    let refused = AclCreationResult::default()
        .with_error_code(ResponseError::SecurityDisabled.code())
        .with_error_message(Some(text(NO_AUTHORIZER)));
    CreateAclsResponse::default().with_results(vec![refused; request.creations.len()])
}
