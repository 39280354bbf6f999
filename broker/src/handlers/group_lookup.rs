//! Which broker coordinates a group, as one client can reach it.

use super::Handlers;
use super::find_coordinator::{GroupCoordinators, Node};
use super::wire::wait_applied;
use crate::controller::{CreateTopics, offsets_topic};
use crate::coordinators::OFFSETS_TOPIC;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kafka_protocol::error::ResponseError;

/// The cluster's groups, asked about by a client of one listener.
pub(super) struct GroupLookup<'a> {
    pub(super) handlers: &'a Handlers,
    pub(super) listener: &'a str,
}

impl GroupCoordinators for GroupLookup<'_> {
    fn coordinator<'a>(&'a self, group: &'a str) -> BoxFuture<'a, Result<Node, ResponseError>> {
        async move {
            self.create_offsets_topic().await?;
            self.find(group).ok_or(ResponseError::CoordinatorNotAvailable)
        }
        .boxed()
    }
}

impl GroupLookup<'_> {
    /// The topic is there from the first group on, not from the first start: a broker without groups has no use for it.
    async fn create_offsets_topic(&self) -> Result<(), ResponseError> {
        let Handlers { env, config, controller, publisher, .. } = self.handlers;
        if publisher.load().topic(OFFSETS_TOPIC).is_some() {
            return Ok(());
        }
        let topics = vec![offsets_topic(env.random.uuid(), config)];
        match controller.submit(CreateTopics { topics, validate_only: false }, None).await {
            // Refused is: created by somebody else a moment ago.
            Ok(settled) => {
                wait_applied(controller, publisher, settled.version, controller.default_limit()).await;
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "could not create {OFFSETS_TOPIC}");
                Err(ResponseError::CoordinatorNotAvailable)
            }
        }
    }

    fn find(&self, group: &str) -> Option<Node> {
        let partition = self.handlers.groups.partition_for(group)?;
        let image = self.handlers.publisher.load();
        let partition = image.topic(OFFSETS_TOPIC)?.partition(u32::try_from(partition).ok()?)?;
        let broker = image.broker(partition.leader?)?;
        let endpoint = broker.endpoint(self.listener)?;
        Some(Node { id: broker.id.to_wire(), host: endpoint.host.clone(), port: endpoint.port })
    }
}
