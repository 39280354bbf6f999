//! The facade: handlers ask it about groups, the broker tells it which partitions it coordinates.
//!
//! A group belongs to the partition of `__consumer_offsets` that its id hashes to, and whoever leads that partition
//! coordinates the group. A partition that is not loaded here answers NOT_COORDINATOR, and the client looks again.

use super::config::GroupConfig;
use super::consumer_request::{Beat, ConsumerHeartbeat, DescribedConsumerGroup, Refusal};
use super::log::CoordinatorLog;
use super::request::{
    Answer, CommitPartition, CommitRequest, CommitResults, DescribedGroup, FetchedTopics, JoinAnswer, JoinRequest,
    Leaver, ListedGroup, MemberRequest, Request, SyncRequest, Synced,
};
use super::runtime::{Requests, Runtime};
use super::topics::{GroupTopics, TopicsImage};
use esker_storage::env::Env;
use futures_util::future::join_all;
use kafka_protocol::error::ResponseError;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// Something of partitions, by the name of their topic, in the order of a request.
type ByTopic<P> = Vec<(String, Vec<P>)>;

/// How often a partition is asked to forget deleted topics while it cannot commit that.
const DELETION_ATTEMPTS: usize = 10;

/// Who sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The header's `client.id`; empty if it was null.
    pub client_id: String,
    /// The peer's address as Kafka shows it, with a slash before: `/10.0.0.1`.
    pub client_host: String,
    /// The request's version.
    pub api_version: i16,
}

/// The groups that this broker coordinates.
pub struct GroupCoordinator {
    env: Env,
    config: Arc<GroupConfig>,
    topics: Arc<dyn GroupTopics>,
    runtimes: Mutex<BTreeMap<i32, Runtime>>,
}

impl GroupCoordinator {
    /// A coordinator that coordinates nothing yet.
    pub fn new(env: Env, config: GroupConfig, topics: Arc<dyn GroupTopics>) -> GroupCoordinator {
        GroupCoordinator { env, config: Arc::new(config), topics, runtimes: Mutex::new(BTreeMap::new()) }
    }

    /// This broker leads `partition` now: loads it in the background. A former runtime of it is ended first.
    ///
    /// Calls of `load` and `unload` for one partition must not overlap.
    pub async fn load(&self, partition: i32, log: Arc<dyn CoordinatorLog>) {
        self.unload(partition).await;
        let (config, topics) = (Arc::clone(&self.config), Arc::clone(&self.topics));
        let runtime = Runtime::start(&self.env, config, topics, partition, log);
        self.runtimes.lock().insert(partition, runtime);
    }

    /// This broker does not lead `partition` any more: waits for what is in flight and forgets its groups.
    pub async fn unload(&self, partition: i32) {
        let runtime = self.runtimes.lock().remove(&partition);
        if let Some(runtime) = runtime {
            runtime.stop().await;
        }
    }

    /// Ends every partition, before the broker ends.
    pub async fn unload_all(&self) {
        let runtimes = std::mem::take(&mut *self.runtimes.lock());
        join_all(runtimes.into_values().map(Runtime::stop)).await;
    }

    /// The partitions that are coordinated here and still loading: what `/readyz` may wait for.
    pub fn loading(&self) -> Vec<i32> {
        let runtimes = self.runtimes.lock();
        runtimes.iter().filter(|(_, runtime)| !runtime.is_loaded()).map(|(partition, _)| *partition).collect()
    }

    /// The partition of `__consumer_offsets` that `group` belongs to; `None` while there is no such topic.
    pub fn partition_for(&self, group: &str) -> Option<i32> {
        partition_of(group, self.topics.offsets_partitions()?)
    }

    /// The cluster's topics, as groups see them now.
    pub fn topics(&self) -> Arc<dyn TopicsImage> {
        self.topics.image()
    }

    /// A random id, for [`JoinRequest::fresh`].
    pub fn fresh_id(&self) -> Uuid {
        self.env.random.uuid()
    }

    /// JoinGroup; ready when the rebalance lets the member in or its join is given up.
    pub async fn join(&self, request: JoinRequest) -> JoinAnswer {
        let member = request.member.clone();
        let result = match check_id(&request.group) {
            Ok(()) => match self.ask(&request.group.clone(), Request::Join(request)).await {
                Answer::Join(answer) => return answer,
                _ => Err(ResponseError::UnknownServerError),
            },
            Err(error) => Err(error),
        };
        JoinAnswer { result, member }
    }

    /// SyncGroup; ready when the leader has handed in the assignment or the rebalance starts over.
    ///
    /// # Errors
    /// Kafka's.
    pub async fn sync(&self, request: SyncRequest) -> Result<Synced, ResponseError> {
        check_id(&request.from.group)?;
        match self.ask(&request.from.group.clone(), Request::Sync(request)).await {
            Answer::Sync(result) => result,
            _ => Err(ResponseError::UnknownServerError),
        }
    }

    /// Heartbeat.
    ///
    /// # Errors
    /// Kafka's; REBALANCE_IN_PROGRESS asks the member to join again.
    pub async fn heartbeat(&self, request: MemberRequest) -> Result<(), ResponseError> {
        check_id(&request.group)?;
        match self.ask(&request.group.clone(), Request::Heartbeat(request)).await {
            Answer::Heartbeat(result) => result,
            _ => Err(ResponseError::UnknownServerError),
        }
    }

    /// LeaveGroup: each leaver with its error, in the order of the request.
    ///
    /// # Errors
    /// Kafka's, for the whole request.
    pub async fn leave(
        &self,
        group: String,
        members: Vec<Leaver>,
    ) -> Result<Vec<(Leaver, Option<ResponseError>)>, ResponseError> {
        check_id(&group)?;
        match self.ask(&group.clone(), Request::Leave { group, members }).await {
            Answer::Leave(result) => result,
            _ => Err(ResponseError::UnknownServerError),
        }
    }

    /// OffsetCommit: each partition with its error, in the order of the request. Topics and partitions that do not exist
    /// are UNKNOWN_TOPIC_OR_PARTITION (Kafka looks for topics only, and keeps whatever number it is told), the rest is
    /// committed.
    ///
    /// # Errors
    /// Kafka's, for the whole request.
    pub async fn commit(&self, mut request: CommitRequest) -> Result<CommitResults, ResponseError> {
        let asked = std::mem::take(&mut request.topics);
        // What is not committed has its error already.
        let (known, mut results) = self.sort_out(asked, |partition: &CommitPartition| partition.partition);
        request.topics = known;
        // With nothing to commit the group is still asked, unless there was something and none of it exists.
        if !request.topics.is_empty() || results.is_empty() {
            match self.ask(&request.group.clone(), Request::Commit(request)).await {
                Answer::Commit(committed) => fill_in(&mut results, committed?),
                _ => return Err(ResponseError::UnknownServerError),
            }
        }
        Ok(results)
    }

    /// OffsetDelete: each partition with its error, in the order of the request. Topics that do not exist and
    /// partitions that do not exist are UNKNOWN_TOPIC_OR_PARTITION.
    ///
    /// # Errors
    /// GROUP_ID_NOT_FOUND, NON_EMPTY_GROUP; others as Kafka, for the whole request.
    pub async fn delete_offsets(
        &self,
        group: String,
        topics: Vec<(String, Vec<i32>)>,
    ) -> Result<CommitResults, ResponseError> {
        check_id(&group)?;
        let (topics, mut results) = self.sort_out(topics, |partition| *partition);
        match self.ask(&group.clone(), Request::DeleteOffsets { group, topics }).await {
            Answer::Commit(deleted) => fill_in(&mut results, deleted?),
            _ => return Err(ResponseError::UnknownServerError),
        }
        Ok(results)
    }

    /// The partitions that exist; and the answer for all in the order of the request, as far as it is known: those that do
    /// not exist are UNKNOWN_TOPIC_OR_PARTITION.
    fn sort_out<P>(&self, asked: ByTopic<P>, index: impl Fn(&P) -> i32) -> (ByTopic<P>, CommitResults) {
        let image = self.topics.image();
        let (mut known, mut results) = (Vec::new(), Vec::with_capacity(asked.len()));
        for (topic, partitions) in asked {
            let count = image.by_name(&topic).map_or(0, |topic| topic.partitions);
            let exists = |partition: &P| (0..count).contains(&index(partition));
            let refused = |partition: &P| {
                let error = (!exists(partition)).then_some(ResponseError::UnknownTopicOrPartition);
                (index(partition), error)
            };
            results.push((topic.clone(), partitions.iter().map(refused).collect::<Vec<_>>()));
            let here: Vec<P> = partitions.into_iter().filter(exists).collect();
            if !here.is_empty() {
                known.push((topic, here));
            }
        }
        (known, results)
    }

    /// ConsumerGroupHeartbeat (KIP-848).
    ///
    /// # Errors
    /// Kafka's, with a sentence.
    pub async fn beat(&self, request: ConsumerHeartbeat) -> Result<Beat, Refusal> {
        match self.ask(&request.group.clone(), Request::Beat(Box::new(request))).await {
            Answer::Beat(result) => result,
            _ => Err(ResponseError::UnknownServerError.into()),
        }
    }

    /// ConsumerGroupDescribe of one group.
    ///
    /// # Errors
    /// GROUP_ID_NOT_FOUND if there is no such group or it is a classic one; others as Kafka.
    pub async fn describe_consumers(&self, group: String) -> Result<DescribedConsumerGroup, Refusal> {
        check_id(&group).map_err(Refusal::from)?;
        match self.ask(&group.clone(), Request::DescribeConsumers { group }).await {
            Answer::Consumers(result) => result,
            _ => Err(ResponseError::UnknownServerError.into()),
        }
    }

    /// OffsetFetch of one group: what was asked for in its order, or with `None` everything; by `member` at its epoch, if it
    /// says so, which a classic group does not look at.
    ///
    /// # Errors
    /// Kafka's, for the whole group. A group or partition without offsets is no error.
    pub async fn fetch(
        &self,
        group: String,
        topics: Option<Vec<(String, Vec<i32>)>>,
        member: Option<(String, i32)>,
    ) -> Result<FetchedTopics, ResponseError> {
        match self.ask(&group.clone(), Request::Fetch { group, topics, member }).await {
            Answer::Offsets(result) => result,
            _ => Err(ResponseError::UnknownServerError),
        }
    }

    /// DescribeGroups of one group; a group that does not exist is [`super::request::GroupState::Dead`].
    ///
    /// # Errors
    /// Kafka's.
    pub async fn describe(&self, group: String) -> Result<DescribedGroup, ResponseError> {
        match self.ask(&group.clone(), Request::Describe { group }).await {
            Answer::Describe(result) => result,
            _ => Err(ResponseError::UnknownServerError),
        }
    }

    /// Every group that this broker coordinates, by partition and id.
    ///
    /// # Errors
    /// COORDINATOR_LOAD_IN_PROGRESS while a partition is loading; others as Kafka.
    pub async fn list(&self) -> Result<Vec<ListedGroup>, ResponseError> {
        let mut groups = Vec::new();
        for answer in self.ask_all(&Request::List).await {
            match answer {
                Answer::List(Ok(listed)) => groups.extend(listed),
                // The partition has just gone elsewhere: its groups are listed there.
                Answer::List(Err(ResponseError::NotCoordinator)) => {}
                Answer::List(Err(error)) => return Err(error),
                _ => return Err(ResponseError::UnknownServerError),
            }
        }
        Ok(groups)
    }

    /// DeleteGroups of one group.
    ///
    /// # Errors
    /// NON_EMPTY_GROUP, GROUP_ID_NOT_FOUND; others as Kafka.
    pub async fn delete(&self, group: String) -> Result<(), ResponseError> {
        match self.ask(&group.clone(), Request::Delete { group }).await {
            Answer::Delete(result) => result,
            _ => Err(ResponseError::UnknownServerError),
        }
    }

    /// Topics were deleted: their offsets are forgotten, in every group that is coordinated here. Ready when that is
    /// committed; a partition whose log does not take it for long is given up, and forgets them when they expire.
    pub async fn topics_deleted(&self, topics: Vec<String>) {
        let runtimes: Vec<Requests> = self.runtimes.lock().values().map(Runtime::requests).collect();
        join_all(runtimes.iter().map(|requests| self.forget_topics(requests, &topics))).await;
    }

    async fn forget_topics(&self, requests: &Requests, topics: &[String]) {
        for _ in 0..DELETION_ATTEMPTS {
            match requests.ask(Request::TopicsDeleted { topics: topics.to_vec() }).await {
                Answer::TopicsDeleted(Err(ResponseError::CoordinatorNotAvailable)) => {
                    self.env.sleep(self.config.reload_backoff).await;
                }
                _ => return,
            }
        }
    }

    async fn ask(&self, group: &str, request: Request) -> Answer {
        match self.requests_for(group) {
            Some(requests) => requests.ask(request).await,
            None => request.refused(ResponseError::NotCoordinator),
        }
    }

    async fn ask_all(&self, request: &Request) -> Vec<Answer> {
        let runtimes: Vec<Requests> = self.runtimes.lock().values().map(Runtime::requests).collect();
        join_all(runtimes.iter().map(|requests| requests.ask(request.clone()))).await
    }

    fn requests_for(&self, group: &str) -> Option<Requests> {
        let partition = self.partition_for(group)?;
        self.runtimes.lock().get(&partition).map(Runtime::requests)
    }
}

impl std::fmt::Debug for GroupCoordinator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupCoordinator")
            .field("partitions", &self.runtimes.lock().keys().collect::<Vec<_>>())
            .finish()
    }
}

/// Takes over what became of the partitions that have no error yet, in their order.
fn fill_in(results: &mut CommitResults, became: CommitResults) {
    let mut became = became.into_iter().flat_map(|(_, partitions)| partitions);
    let open = results.iter_mut().flat_map(|(_, partitions)| partitions).filter(|(_, error)| error.is_none());
    for (partition, error) in open {
        *error = match became.next() {
            Some((answered, error)) if answered == *partition => error,
            _ => Some(ResponseError::UnknownServerError),
        };
    }
}

/// A group needs a name. Commits and fetches of old clients may have an empty one, and deletions and descriptions do
/// no harm.
fn check_id(group: &str) -> Result<(), ResponseError> {
    if group.is_empty() { Err(ResponseError::InvalidGroupId) } else { Ok(()) }
}

/// Kafka's choice: the absolute value of Java's `String.hashCode`, modulo the number of partitions.
fn partition_of(group: &str, partitions: i32) -> Option<i32> {
    let hash = group.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    hash.checked_abs().unwrap_or(0).checked_rem(partitions)
}

#[cfg(test)]
#[path = "coordinator_tests.rs"]
mod tests;
