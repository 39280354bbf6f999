//! What group coordination must know of the cluster's topics: a snapshot of the metadata, behind a narrow trait.

use std::fmt::Debug;
use std::sync::Arc;
use uuid::Uuid;

/// A topic, as a group sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its id, which no other topic ever has.
    pub id: Uuid,
    /// How many partitions it has.
    pub partitions: i32,
}

/// The cluster's topics at one version of the metadata.
pub trait TopicsImage: Debug + Send + Sync {
    /// The version: greater whenever anything is different.
    fn version(&self) -> u64;
    /// The topic of this name.
    fn by_name(&self, name: &str) -> Option<TopicInfo>;
    /// The name of the topic with this id.
    fn name_of(&self, id: Uuid) -> Option<Arc<str>>;
    /// Calls `look` with every name.
    fn each_name(&self, look: &mut dyn FnMut(&str));
}

/// Where the newest snapshot comes from.
pub trait GroupTopics: Send + Sync {
    /// How many partitions `__consumer_offsets` has; `None` while there is no such topic.
    fn offsets_partitions(&self) -> Option<i32>;
    /// The newest snapshot.
    fn image(&self) -> Arc<dyn TopicsImage>;
}

/// No topics at all: what a machine knows before it was shown any.
#[derive(Clone, Copy, Debug)]
pub struct NoTopics;

impl TopicsImage for NoTopics {
    fn version(&self) -> u64 {
        0
    }

    fn by_name(&self, _: &str) -> Option<TopicInfo> {
        None
    }

    fn name_of(&self, _: Uuid) -> Option<Arc<str>> {
        None
    }

    fn each_name(&self, _: &mut dyn FnMut(&str)) {}
}
