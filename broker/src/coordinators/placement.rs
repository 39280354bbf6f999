//! Which coordinators are here: those of the internal topics' partitions that this broker leads.

use super::group::assignor::Assignor;
use super::group::config::MigrationPolicy;
use super::group::{GroupConfig, GroupCoordinator, GroupTopics, TopicInfo, TopicsImage};
use super::internal_log::InternalLog;
use crate::config::BrokerConfig;
use crate::metadata::{Applier, Changes, Image, Publisher, Subscription};
use crate::partition::{Hosted, Moved};
use esker_storage::env::Env;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The topic of the group coordinator.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The pause before partitions are tried again that could not be opened.
const OPEN_PAUSE: Duration = Duration::from_secs(1);

/// The coordinators of this broker.
pub struct Coordinators {
    env: Env,
    hosted: Arc<Hosted>,
    groups: Arc<GroupCoordinator>,
}

impl Coordinators {
    /// None yet.
    pub fn new(
        env: &Env,
        config: &BrokerConfig,
        publisher: &Arc<Publisher>,
        hosted: &Arc<Hosted>,
    ) -> Arc<Coordinators> {
        let topics = Arc::new(Topics(Arc::clone(publisher)));
        let groups = Arc::new(GroupCoordinator::new(env.clone(), group_config(config), topics));
        Arc::new(Coordinators { env: env.clone(), hosted: Arc::clone(hosted), groups })
    }

    /// The groups that are coordinated here.
    pub fn groups(&self) -> &Arc<GroupCoordinator> {
        &self.groups
    }

    /// Has this broker's partitions and their coordinators follow the metadata, until there is no more of it. Partitions that
    /// wait to be opened are looked at in between.
    pub async fn follow_images(self: Arc<Self>, mut images: Subscription, applier: Applier) {
        let mut current = Arc::new(Image::empty());
        loop {
            let next = match self.hosted.has_waiting() {
                false => Ok(images.next().await),
                true => self.env.timeout(OPEN_PAUSE, images.next()).await,
            };
            match next {
                Ok(Some(published)) => {
                    let moved = self.hosted.apply(&published).await;
                    self.follow(&published.image, &published.changes, &moved).await;
                    applier.applied(published.image.version());
                    current = published.image;
                }
                Ok(None) => return,
                Err(_) => {
                    let moved = self.hosted.open_waiting().await;
                    self.follow(&current, &Changes::default(), &moved).await;
                }
            }
        }
    }

    /// Loads the coordinators of partitions that came, unloads those of partitions that went, and forgets what topics
    /// that were deleted have left behind.
    async fn follow(&self, image: &Image, changes: &Changes, moved: &Moved) {
        let offsets = image.topic(OFFSETS_TOPIC).map(|topic| topic.id);
        for id in moved.opened.iter().filter(|id| Some(id.topic) == offsets) {
            if let Ok(partition) = i32::try_from(id.partition) {
                let log = InternalLog::new(self.env.clone(), Arc::clone(&self.hosted), *id);
                self.groups.load(partition, Arc::new(log)).await;
            }
        }
        if offsets.is_none() && !moved.left.is_empty() {
            self.groups.unload_all().await;
        }
        let deleted: Vec<String> = changes
            .topics
            .values()
            .filter(|change| change.after.is_none())
            .filter_map(|change| change.before.as_ref().map(|topic| topic.name.to_string()))
            .collect();
        if !deleted.is_empty() {
            self.groups.topics_deleted(deleted).await;
        }
    }

    /// Ends them all.
    pub async fn stop(&self) {
        self.groups.unload_all().await;
    }
}

struct Topics(Arc<Publisher>);

impl GroupTopics for Topics {
    fn offsets_partitions(&self) -> Option<i32> {
        let image = self.0.load();
        i32::try_from(image.topic(OFFSETS_TOPIC)?.partition_count()).ok()
    }

    fn image(&self) -> Arc<dyn TopicsImage> {
        Arc::new(Snapshot(self.0.image()))
    }
}

#[derive(Debug)]
struct Snapshot(Arc<Image>);

impl TopicsImage for Snapshot {
    fn version(&self) -> u64 {
        self.0.version()
    }

    fn by_name(&self, name: &str) -> Option<TopicInfo> {
        let topic = self.0.topic(name)?;
        Some(TopicInfo { id: topic.id, partitions: i32::try_from(topic.partition_count()).unwrap_or(i32::MAX) })
    }

    fn name_of(&self, id: Uuid) -> Option<Arc<str>> {
        self.0.topic_by_id(id).map(|topic| Arc::clone(&topic.name))
    }

    fn each_name(&self, look: &mut dyn FnMut(&str)) {
        self.0.topics().for_each(|topic| look(&topic.name));
    }
}

fn group_config(config: &BrokerConfig) -> GroupConfig {
    GroupConfig {
        initial_rebalance_delay: Duration::from_millis(config.group_initial_rebalance_delay_ms),
        min_session_timeout: Duration::from_millis(config.group_min_session_timeout_ms),
        max_session_timeout: Duration::from_millis(config.group_max_session_timeout_ms),
        max_size: usize::try_from(config.group_max_size).unwrap_or(usize::MAX),
        max_bytes: usize::try_from(config.group_coordinator_max_bytes).unwrap_or(usize::MAX),
        consumer_session_timeout: Duration::from_millis(config.group_consumer_session_timeout_ms),
        consumer_max_size: usize::try_from(config.group_consumer_max_size).unwrap_or(usize::MAX),
        assignors: config.group_consumer_assignors.iter().filter_map(|name| Assignor::named(name)).collect(),
        migration_policy: MigrationPolicy::named(&config.group_consumer_migration_policy)
            .unwrap_or(MigrationPolicy::Bidirectional),
        offset_metadata_max_bytes: usize::try_from(config.offset_metadata_max_bytes).unwrap_or(usize::MAX),
        offsets_retention: Duration::from_secs(config.offsets_retention_minutes.saturating_mul(60)),
        offsets_retention_check_interval: Duration::from_millis(config.offsets_retention_check_interval_ms),
        ..GroupConfig::default()
    }
}
