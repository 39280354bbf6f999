//! From a frame to an answer: decode, find the handler, encode.
//!
//! Produce appends before [`Service::call`] returns, or holds the connection until it has appended, so that a connection's
//! appends happen in arrival order. Fetch, JoinGroup and SyncGroup may wait for other clients, so that they run beside each
//! other; everything else runs when it is its turn, which is what bounds the large answers that small requests can ask for.

use super::group_lookup::GroupLookup;
use super::incremental_alter_configs::Loggers;
use super::produce::{self, Outcome, Place};
use super::{
    Handlers, alter_configs, alter_partition_reassignments, consumer_group_describe, consumer_group_heartbeat,
    create_acls, create_partitions, create_topics, delete_acls, delete_groups, delete_records, delete_topics,
    describe_acls, describe_client_quotas, describe_cluster, describe_configs, describe_groups, describe_log_dirs,
    describe_producers, describe_quorum, describe_topic_partitions, describe_user_scram_credentials, elect_leaders,
    fetch, find_coordinator, heartbeat, incremental_alter_configs, init_producer_id, join_group, leave_group,
    list_config_resources, list_groups, list_offsets, list_partition_reassignments, list_transactions, metadata,
    offset_commit, offset_delete, offset_fetch, offset_for_leader_epoch, sync_group, update_features,
};
use crate::config::{GroupTimeouts, Values};
use crate::coordinators::group::Caller;
use crate::net::{Answer, Client, Rarely, Service};
use bytes::Bytes;
use esker_protocol::api::{self, Api, ApiKey};
use esker_protocol::error_code::ErrorCode;
use esker_protocol::features;
use esker_protocol::guard::Limits;
use esker_protocol::record::Scratch;
use esker_protocol::request::{self, DecodeError, Request};
use esker_protocol::response;
use esker_protocol::segments::Segments;
use esker_storage::env::Pool;
use esker_storage::offset::PartitionId;
use kafka_protocol::messages::{MetadataResponse, RequestKind, ResponseKind};
use std::sync::Arc;

/// The first version of Metadata that names replicas without a log (KIP-112).
const OFFLINE_REPLICAS_VERSION: i16 = 5;

/// The service behind every connection.
pub struct Dispatch {
    handlers: Arc<Handlers>,
    limits: Limits,
    closed: Rarely,
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
        Dispatch { handlers, limits, closed: Rarely::default() }
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
                if let Some(others) = self.closed.now(self.handlers.env.now()) {
                    tracing::info!(peer = %client.peer, %reason, others, "closed a connection");
                }
                return Answer::Close;
            }
        };
        let Request { api, version, correlation_id, client_id, body } = request;
        self.handlers.metrics.request(api.key as i16);
        let envelope = Envelope { api, version, correlation_id };
        match body {
            RequestKind::Produce(request) => self.produce(client, envelope, request),
            RequestKind::ApiVersions(request) => {
                let mut response = api::versions();
                let software = (&*request.client_software_name, &*request.client_software_version);
                let epoch = self.handlers.publisher.load().version();
                features::add_features(&mut response, version, software, epoch);
                envelope.now(response.into())
            }
            body => {
                let handlers = Arc::clone(&self.handlers);
                let client = Arc::clone(client);
                let answer = Box::pin(async move {
                    let response = answer(&handlers, &client, client_id.as_deref(), version, body).await;
                    envelope.seal(response)
                });
                match api.key {
                    ApiKey::Fetch | ApiKey::JoinGroup | ApiKey::SyncGroup => Answer::Later(answer),
                    _ => Answer::InTurn(answer),
                }
            }
        }
    }
}

impl Dispatch {
    fn produce(
        &self,
        client: &Arc<Client>,
        envelope: Envelope,
        request: kafka_protocol::messages::ProduceRequest,
    ) -> Answer {
        let (handlers, version) = (Arc::clone(&self.handlers), envelope.version);
        if !produce::must_recompress(&handlers, &request, version) {
            let mut scratch = handlers.scratch(client.runtime).lock();
            let outcome = produce::append(&handlers, client, request, version, &mut scratch, Place::Runtime);
            drop(scratch);
            return produced(handlers, envelope, outcome);
        }
        let client = Arc::clone(client);
        Answer::Held(Box::pin(async move {
            let on_pool = Arc::clone(&handlers);
            let work =
                move || produce::append(&on_pool, &client, request, version, &mut Scratch::default(), Place::Pool);
            match handlers.env.blocking(Pool::Work, work).await {
                Ok(outcome) => produced(handlers, envelope, outcome),
                // The process is ending.
                Err(_) => Answer::Close,
            }
        }))
    }
}

fn produced(handlers: Arc<Handlers>, envelope: Envelope, outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Silence => Answer::Silence,
        Outcome::Close => Answer::Close,
        Outcome::Now(response) => envelope.now(response.into()),
        Outcome::Later(appended) => {
            Answer::Later(Box::pin(async move { envelope.seal(appended.committed(&handlers).await.into()) }))
        }
    }
}

/// Answers everything but Produce and ApiVersions.
async fn answer(
    handlers: &Handlers,
    client: &Client,
    client_id: Option<&str>,
    version: i16,
    body: RequestKind,
) -> ResponseKind {
    match body {
        RequestKind::Fetch(request) => fetch::handle(handlers, client, request, version).await.into(),
        RequestKind::ListOffsets(request) => list_offsets::handle(handlers, request, version).await.into(),
        RequestKind::OffsetForLeaderEpoch(request) => offset_for_leader_epoch::handle(handlers, request).await.into(),
        RequestKind::DeleteRecords(request) => delete_records::handle(handlers, request).await.into(),
        RequestKind::DescribeLogDirs(request) => describe_log_dirs::handle(handlers, request).await.into(),
        RequestKind::DescribeProducers(request) => describe_producers::handle(handlers, request).await.into(),
        body => match tool_request(handlers, version, &body) {
            Some(response) => response,
            None => match metadata_request(handlers, client, version, body).await {
                Ok(response) => response,
                Err(body) => group_request(handlers, client, client_id, version, body).await,
            },
        },
    }
}

/// Answers what only tools ask, at once.
fn tool_request(handlers: &Handlers, version: i16, body: &RequestKind) -> Option<ResponseKind> {
    let publisher = &handlers.publisher;
    Some(match body {
        RequestKind::DescribeAcls(request) => describe_acls::handle(request).into(),
        RequestKind::CreateAcls(request) => create_acls::handle(request).into(),
        RequestKind::DeleteAcls(request) => delete_acls::handle(request).into(),
        RequestKind::ElectLeaders(request) => elect_leaders::handle(request, version, publisher).into(),
        RequestKind::AlterPartitionReassignments(request) => {
            alter_partition_reassignments::handle(request, version, publisher).into()
        }
        RequestKind::ListPartitionReassignments(request) => list_partition_reassignments::handle(request).into(),
        RequestKind::DescribeClientQuotas(request) => describe_client_quotas::handle(request).into(),
        RequestKind::DescribeUserScramCredentials(request) => describe_user_scram_credentials::handle(request).into(),
        RequestKind::DescribeQuorum(request) => {
            describe_quorum::handle(request, version, handlers.env.wall(), publisher).into()
        }
        RequestKind::UpdateFeatures(request) => update_features::handle(request, version).into(),
        RequestKind::ListTransactions(request) => list_transactions::handle(request).into(),
        RequestKind::ListConfigResources(request) => list_config_resources::handle(request, version, publisher).into(),
        _ => return None,
    })
}

/// Answers what is asked of, or changes, the metadata; gives back what is not.
async fn metadata_request(
    handlers: &Handlers,
    client: &Client,
    version: i16,
    body: RequestKind,
) -> Result<ResponseKind, RequestKind> {
    let Handlers { publisher, controller, config, .. } = handlers;
    let listener = client.listener.as_ref();
    Ok(match body {
        RequestKind::Metadata(request) => {
            let mut response = metadata::handle(&request, version, listener, publisher, controller, config).await;
            without_offline(handlers, &mut response, version);
            response.into()
        }
        RequestKind::CreateTopics(request) => {
            create_topics::handle(&request, version, publisher, controller, config).await.into()
        }
        RequestKind::DeleteTopics(request) => {
            delete_topics::handle(&request, version, publisher, controller).await.into()
        }
        RequestKind::CreatePartitions(request) => {
            create_partitions::handle(&request, publisher, controller).await.into()
        }
        RequestKind::DescribeConfigs(request) => {
            describe_configs::handle(&request, version, publisher, config, &handlers.log_level).await.into()
        }
        RequestKind::AlterConfigs(request) => alter_configs::handle(&request, publisher, controller).await.into(),
        RequestKind::IncrementalAlterConfigs(request) => {
            let loggers = Loggers { node: config.node_id, level: &handlers.log_level };
            incremental_alter_configs::handle(&request, publisher, controller, loggers).await.into()
        }
        RequestKind::DescribeCluster(request) => {
            describe_cluster::handle(&request, version, listener, publisher).into()
        }
        RequestKind::DescribeTopicPartitions(request) => {
            describe_topic_partitions::handle(&request, publisher, config).into()
        }
        RequestKind::InitProducerId(request) => {
            init_producer_id::handle(&request, version, &handlers.producer_ids, controller).await.into()
        }
        body => return Err(body),
    })
}

/// Takes the leader from partitions that are this broker's and that it cannot serve: their log directory failed.
fn without_offline(handlers: &Handlers, response: &mut MetadataResponse, version: i16) {
    if !handlers.hosted.has_offline() {
        return;
    }
    let node = handlers.config.node_id;
    for topic in &mut response.topics {
        for partition in topic.partitions.iter_mut().filter(|partition| partition.leader_id.0 == node.to_wire()) {
            let Ok(number) = u32::try_from(partition.partition_index) else { continue };
            if handlers.hosted.is_offline(PartitionId { topic: topic.topic_id, partition: number }) {
                partition.error_code = ErrorCode::LEADER_NOT_AVAILABLE.code();
                partition.leader_id = (-1).into();
                if version >= OFFLINE_REPLICAS_VERSION {
                    partition.offline_replicas = vec![node.to_wire().into()];
                }
            }
        }
    }
}

/// What a consumer group goes by: its own settings, or else the broker's.
fn group_timeouts(handlers: &Handlers, group: &str) -> GroupTimeouts {
    let Handlers { publisher, config, .. } = handlers;
    let image = publisher.load();
    let layers = image.layers(config.node_id, &config.layers);
    let own = image.group_configs(group);
    GroupTimeouts::resolve(own.map_or(&Values::new(), |values| values), &layers)
}

async fn group_request(
    handlers: &Handlers,
    client: &Client,
    client_id: Option<&str>,
    version: i16,
    body: RequestKind,
) -> ResponseKind {
    let groups = handlers.groups.as_ref();
    let caller = Caller {
        client_id: client_id.unwrap_or_default().to_owned(),
        client_host: format!("/{}", client.peer.ip()),
        api_version: version,
    };
    match body {
        RequestKind::FindCoordinator(request) => {
            let asked = GroupLookup { handlers, listener: &client.listener };
            find_coordinator::handle(&asked, version, request).await.into()
        }
        RequestKind::JoinGroup(request) => join_group::handle(groups, &caller, request).await.into(),
        RequestKind::SyncGroup(request) => sync_group::handle(groups, &caller, request).await.into(),
        RequestKind::Heartbeat(request) => heartbeat::handle(groups, request).await.into(),
        RequestKind::LeaveGroup(request) => leave_group::handle(groups, &caller, request).await.into(),
        RequestKind::OffsetCommit(request) => offset_commit::handle(groups, &caller, request).await.into(),
        RequestKind::OffsetFetch(request) => offset_fetch::handle(groups, &caller, request).await.into(),
        RequestKind::DescribeGroups(request) => describe_groups::handle(groups, &caller, request).await.into(),
        RequestKind::ListGroups(request) => list_groups::handle(groups, &caller, request).await.into(),
        RequestKind::ConsumerGroupHeartbeat(request) => {
            let timeouts = group_timeouts(handlers, &request.group_id);
            consumer_group_heartbeat::handle(groups, &caller, timeouts, request).await.into()
        }
        RequestKind::ConsumerGroupDescribe(request) => {
            consumer_group_describe::handle(groups, &caller, request).await.into()
        }
        RequestKind::OffsetDelete(request) => offset_delete::handle(groups, request).await.into(),
        RequestKind::DeleteGroups(request) => delete_groups::handle(groups, request).await.into(),
        // The table of APIs has nothing else: see the test that asks for each of them.
        body => {
            let refused = response::error_response(&body, version, ErrorCode::UNSUPPORTED_VERSION);
            refused.unwrap_or_else(|| api::versions_refused(ErrorCode::UNSUPPORTED_VERSION).into())
        }
    }
}
