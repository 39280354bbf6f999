//! From a frame to an answer: decode, find the handler, encode.
//!
//! Produce appends before [`Service::call`] returns, so that a connection's appends happen in arrival order. Everything
//! else runs as the answer's future.

use super::produce::{self, Outcome};
use super::{Handlers, fetch, list_offsets, offset_for_leader_epoch};
use crate::net::{Answer, Client, Service};
use bytes::Bytes;
use esker_protocol::api::{self, Api};
use esker_protocol::error_code::ErrorCode;
use esker_protocol::guard::Limits;
use esker_protocol::request::{self, DecodeError, Request};
use esker_protocol::response;
use esker_protocol::segments::Segments;
use kafka_protocol::messages::{RequestKind, ResponseKind};
use std::sync::Arc;

/// The service behind every connection.
pub struct Dispatch {
    handlers: Arc<Handlers>,
    limits: Limits,
}

/// How an answer is to be encoded.
#[derive(Clone, Copy)]
struct Envelope {
    api: &'static Api,
    version: i16,
    correlation_id: i32,
}

impl Envelope {
    /// The answer's bytes. One that cannot be encoded is a bug of ours: logged, and the connection closes.
    fn seal(self, response: ResponseKind) -> Option<Segments> {
        match response::encode(self.api, self.version, self.correlation_id, response) {
            Ok(segments) => Some(segments),
            Err(error) => {
                tracing::error!(%error, "an answer could not be encoded");
                None
            }
        }
    }

    fn now(self, response: ResponseKind) -> Answer {
        self.seal(response).map_or(Answer::Close, Answer::Ready)
    }
}

impl Dispatch {
    /// Serves with `handlers`, refusing requests beyond `limits`.
    pub fn new(handlers: Arc<Handlers>, limits: Limits) -> Dispatch {
        Dispatch { handlers, limits }
    }
}

impl Service for Dispatch {
    fn call(&self, client: &Arc<Client>, frame: Bytes) -> Answer {
        let request = match request::decode(frame, &self.limits) {
            Ok(request) => request,
            Err(DecodeError::Answer(refused)) => {
                let envelope =
                    Envelope { api: refused.api, version: refused.version, correlation_id: refused.correlation_id };
                return envelope.now(api::versions_refused(refused.error).into());
            }
            Err(DecodeError::Close(reason)) => {
                tracing::info!(peer = %client.peer, %reason, "closed a connection");
                return Answer::Close;
            }
        };
        let Request { api, version, correlation_id, client_id, body } = request;
        self.handlers.metrics.request(api.key as i16);
        let envelope = Envelope { api, version, correlation_id };
        match body {
            RequestKind::Produce(request) => self.produce(client, envelope, request),
            RequestKind::ApiVersions(_) => envelope.now(api::versions().into()),
            body => {
                let handlers = Arc::clone(&self.handlers);
                let client = Arc::clone(client);
                Answer::Later(Box::pin(async move {
                    let response = answer(&handlers, &client, client_id.as_deref(), version, body).await;
                    envelope.seal(response)
                }))
            }
        }
    }
}

impl Dispatch {
    fn produce(
        &self,
        client: &Client,
        envelope: Envelope,
        request: kafka_protocol::messages::ProduceRequest,
    ) -> Answer {
        match produce::append(&self.handlers, client, request, envelope.version) {
            Outcome::Silence => Answer::Silence,
            Outcome::Close => Answer::Close,
            Outcome::Now(response) => envelope.now(response.into()),
            Outcome::Later(appended) => {
                let handlers = Arc::clone(&self.handlers);
                Answer::Later(Box::pin(async move { envelope.seal(appended.committed(&handlers).await.into()) }))
            }
        }
    }
}

async fn answer(
    handlers: &Handlers,
    client: &Client,
    _client_id: Option<&str>,
    version: i16,
    body: RequestKind,
) -> ResponseKind {
    match body {
        RequestKind::Fetch(request) => fetch::handle(handlers, client, request, version).await.into(),
        RequestKind::ListOffsets(request) => list_offsets::handle(handlers, request, version).await.into(),
        RequestKind::OffsetForLeaderEpoch(request) => {
            offset_for_leader_epoch::handle(handlers, request).await.into()
        }
        body => {
            let refused = response::error_response(&body, version, ErrorCode::UNSUPPORTED_VERSION);
            refused.unwrap_or_else(|| api::versions_refused(ErrorCode::UNSUPPORTED_VERSION).into())
        }
    }
}
