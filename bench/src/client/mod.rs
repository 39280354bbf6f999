//! A thin Kafka client: a [`Connection`] carries requests, a [`Client`] knows which broker leads which partition.
//!
//! One call is one request, sent to the right broker at a version both sides speak; nothing is batched, retried or
//! committed behind the caller's back, except by the calls whose names say so (`*_surely`). That makes it a measuring
//! tool and a witness: what it reports is what the broker answered.
//!
//! ```text
//! Client --metadata--> leader's address --> Connection --frame--> broker
//!                                           Pending   <--frame--
//! ```

mod admin;
mod connection;
mod data;
mod error;
mod groups;
mod member;
mod sasl;
mod scram;
mod security;
mod tls;

pub use admin::TopicView;
pub use connection::{Connection, Pending};
pub use data::{At, Fetched, Produced, Producer, fetch_request, produce_request, produced};
pub use error::ClientError;
pub use member::{Assignment, Member};
pub use sasl::{Mechanism, Sasl};
pub use security::Security;
pub use tls::{Tls, TlsFiles};

use kafka_protocol::messages::MetadataRequest;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// How long a call that retries goes on.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// A cluster as one client sees it; clones share its connections.
#[derive(Clone, Debug)]
pub struct Client {
    bootstrap: String,
    id: String,
    security: Security,
    connections: Arc<Mutex<BTreeMap<String, Connection>>>,
    leaders: Arc<Mutex<Leaders>>,
}

/// The address of each partition's leader by topic, until something fails.
type Leaders = BTreeMap<String, BTreeMap<i32, Arc<str>>>;

impl Client {
    /// A client of the cluster behind `bootstrap` (`host:port`, or several with commas); connects when it is used.
    pub fn new(bootstrap: impl Into<String>) -> Self {
        Self::secured(bootstrap, Security::default())
    }

    /// As [`Client::new`], for a cluster that asks for TLS or SASL.
    pub fn secured(bootstrap: impl Into<String>, security: Security) -> Self {
        let (bootstrap, id) = (bootstrap.into(), "esker-bench".to_owned());
        Self { bootstrap, id, security, connections: Arc::default(), leaders: Arc::default() }
    }

    /// A client with connections of its own that shares what is learned of leaders. Thousands of clients that each know
    /// ten thousand partitions would measure themselves.
    #[must_use]
    pub fn sibling(&self) -> Self {
        Self { connections: Arc::default(), ..self.clone() }
    }

    /// Where it was told to find the cluster.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// A connection to the first bootstrap address that answers, shared with other calls.
    ///
    /// # Errors
    /// [`ClientError`] if none can be had.
    pub async fn any(&self) -> Result<Connection, ClientError> {
        let mut last = ClientError::Closed;
        for address in self.bootstrap.split(',').map(str::trim).filter(|address| !address.is_empty()) {
            match self.connection(address).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// A connection to the leader of a partition, shared with other calls.
    ///
    /// # Errors
    /// [`ClientError::Kafka`] if there is no such partition, or no leader now.
    pub async fn leader(&self, topic: &str, partition: i32) -> Result<Connection, ClientError> {
        let address = self.leader_address(topic, partition).await?;
        self.connection(&address).await
    }

    /// A new connection to the leader of a partition, for this caller alone.
    ///
    /// # Errors
    /// As [`Client::leader`].
    pub async fn own_connection(&self, topic: &str, partition: i32) -> Result<Connection, ClientError> {
        let address = self.leader_address(topic, partition).await?;
        Connection::secured(&address, &self.id, &self.security).await
    }

    /// The partitions among `partitions` by the address of their leader, in the order of the addresses.
    ///
    /// # Errors
    /// As [`Client::leader`], for the first that has none.
    pub async fn by_leader(
        &self,
        topic: &str,
        partitions: impl IntoIterator<Item = i32>,
    ) -> Result<BTreeMap<String, Vec<i32>>, ClientError> {
        let mut leaders: BTreeMap<Arc<str>, Vec<i32>> = BTreeMap::new();
        let mut unknown = Vec::new();
        {
            let known = self.leaders.lock().await;
            let known = known.get(topic);
            for partition in partitions {
                match known.and_then(|known| known.get(&partition)) {
                    Some(address) => match leaders.get_mut(address) {
                        Some(same) => same.push(partition),
                        None => drop(leaders.insert(Arc::clone(address), vec![partition])),
                    },
                    None => unknown.push(partition),
                }
            }
        }
        for partition in unknown {
            leaders.entry(self.leader_address(topic, partition).await?).or_default().push(partition);
        }
        Ok(leaders.into_iter().map(|(address, partitions)| (address.to_string(), partitions)).collect())
    }

    /// A connection to `address`, shared with other calls.
    ///
    /// # Errors
    /// [`ClientError`] if it cannot be had.
    pub async fn at(&self, address: &str) -> Result<Connection, ClientError> {
        self.connection(address).await
    }

    /// A new connection to `address`, for this caller alone.
    ///
    /// # Errors
    /// [`ClientError`] if it cannot be had.
    pub async fn own_at(&self, address: &str) -> Result<Connection, ClientError> {
        Connection::secured(address, &self.id, &self.security).await
    }

    /// Forgets connections and leaders, so that the next call learns them anew.
    pub async fn forget(&self) {
        self.connections.lock().await.clear();
        self.leaders.lock().await.clear();
    }

    /// Calls `attempt` until it succeeds, fails for good, or [`PATIENCE`] is over; forgets what was known in between.
    ///
    /// # Errors
    /// The last attempt's.
    pub async fn retry<T, F: Future<Output = Result<T, ClientError>>>(
        &self,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, ClientError> {
        let start = std::time::Instant::now();
        loop {
            match attempt().await {
                Err(error) if error.is_retriable() && start.elapsed() < PATIENCE => {
                    self.forget().await;
                    tokio::time::sleep(PAUSE).await;
                }
                other => return other,
            }
        }
    }

    async fn connection(&self, address: &str) -> Result<Connection, ClientError> {
        let mut connections = self.connections.lock().await;
        if let Some(connection) = connections.get(address).filter(|c| !c.is_closed()) {
            return Ok(connection.clone());
        }
        let connection = Connection::secured(address, &self.id, &self.security).await?;
        connections.insert(address.to_owned(), connection.clone());
        Ok(connection)
    }

    async fn leader_address(&self, topic: &str, partition: i32) -> Result<Arc<str>, ClientError> {
        if let Some(address) = self.leaders.lock().await.get(topic).and_then(|known| known.get(&partition)) {
            return Ok(Arc::clone(address));
        }
        let request = MetadataRequest::default()
            .with_topics(Some(vec![
                MetadataRequestTopic::default().with_name(Some(StrBytes::from_string(topic.to_owned()).into())),
            ]))
            .with_allow_auto_topic_creation(false);
        let answer = self.any().await?.call(&request).await?;
        let found = answer.topics.first().ok_or(ClientError::kafka(3, "metadata"))?;
        ClientError::check(found.error_code, "metadata")?;
        let address = |b: &MetadataResponseBroker| Arc::from(format!("{}:{}", b.host.as_str(), b.port));
        let addresses: BTreeMap<_, Arc<str>> = answer.brokers.iter().map(|b| (b.node_id, address(b))).collect();
        // One answer tells of all partitions: ten thousand of them are not asked for one by one.
        let mut leaders = self.leaders.lock().await;
        let known = leaders.entry(topic.to_owned()).or_default();
        for found in &found.partitions {
            if let Some(address) = addresses.get(&found.leader_id) {
                known.insert(found.partition_index, Arc::clone(address));
            }
        }
        let there = found.partitions.iter().any(|p| p.partition_index == partition);
        match known.get(&partition) {
            Some(address) => Ok(Arc::clone(address)),
            None if there => Err(ClientError::kafka(5, "metadata: no leader")),
            None => Err(ClientError::kafka(3, "metadata: no such partition")),
        }
    }
}
