//! InitProducerId, for idempotent producers. Transactions are not there yet, and said so.

use crate::controller::{Controller, ProducerIdPool};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};

/// Answers an InitProducerId request.
///
/// An idempotent producer always gets a new id: one that comes with an id and an epoch of its own (KIP-360, version 3
/// and later) has lost track of its sequences, and under another id it starts anew everywhere.
pub async fn handle(
    request: &InitProducerIdRequest,
    version: i16,
    pool: &ProducerIdPool,
    controller: &Controller,
) -> InitProducerIdResponse {
    let refused = |error: ResponseError| {
        InitProducerIdResponse::default()
            .with_error_code(error.code())
            .with_producer_id((-1).into())
            .with_producer_epoch(-1)
    };
    match &request.transactional_id {
        Some(id) if id.0.is_empty() => return refused(ResponseError::InvalidRequest),
        Some(_) => return refused(ResponseError::TransactionalIdAuthorizationFailed),
        None => {}
    }
    // An id without an epoch, or an epoch without an id, is nobody's state.
    if version >= 3 && (request.producer_id.0 == -1) != (request.producer_epoch == -1) {
        return refused(ResponseError::InvalidRequest);
    }
    match pool.next(controller).await.and_then(|id| i64::try_from(id).ok()) {
        Some(id) => InitProducerIdResponse::default().with_producer_id(id.into()).with_producer_epoch(0),
        // Every client asks again.
        None => refused(ResponseError::CoordinatorLoadInProgress),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::testing::{Bench, Fault, block_on};
    use crate::handlers::testing::encodes;
    use kafka_protocol::messages::TransactionalId;
    use kafka_protocol::protocol::StrBytes;
    use std::collections::BTreeSet;

    #[test]
    fn every_version_gets_ids_of_its_own() {
        block_on(async {
            let bench = Bench::new(&[("metadata.commit.timeout.ms", "100")]);
            let node = bench.start().await;
            let pool = ProducerIdPool::new(node.config.node_id);
            let mut seen = BTreeSet::new();
            let transactional = |id: &'static str| {
                let id = TransactionalId(StrBytes::from_static_str(id));
                InitProducerIdRequest::default().with_transactional_id(Some(id))
            };
            for version in 0..=5 {
                let plain = InitProducerIdRequest::default().with_transactional_id(None);
                let recovering = plain.clone().with_producer_id(7.into()).with_producer_epoch(2);
                for request in [plain.clone(), recovering] {
                    let answer = handle(&request, version, &pool, &node.controller).await;
                    encodes(&answer, version);
                    assert_eq!((answer.error_code, answer.producer_epoch), (0, 0));
                    assert!(seen.insert(answer.producer_id.0));
                }
                let half = plain.with_producer_id(7.into());
                let answer = handle(&half, version, &pool, &node.controller).await;
                assert_eq!(answer.error_code == ResponseError::InvalidRequest.code(), version >= 3);
                for (request, error) in [
                    (transactional("t"), ResponseError::TransactionalIdAuthorizationFailed),
                    (transactional(""), ResponseError::InvalidRequest),
                ] {
                    let answer = handle(&request, version, &pool, &node.controller).await;
                    encodes(&answer, version);
                    assert_eq!((answer.error_code, answer.producer_id.0), (error.code(), -1));
                }
            }
        });
    }

    #[test]
    fn without_a_store_and_a_block_producers_are_asked_to_come_again() {
        block_on(async {
            let bench = Bench::new(&[("metadata.commit.timeout.ms", "50")]);
            let node = bench.start().await;
            bench.store.set(Fault::Away);
            let pool = ProducerIdPool::new(node.config.node_id);
            let request = InitProducerIdRequest::default().with_transactional_id(None);
            let answer = handle(&request, 5, &pool, &node.controller).await;
            assert_eq!(answer.error_code, ResponseError::CoordinatorLoadInProgress.code());
        });
    }
}
