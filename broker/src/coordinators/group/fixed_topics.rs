//! For tests: the cluster's topics as the test says.

use super::topics::{GroupTopics, TopicInfo, TopicsImage};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// Topics by name, each with its number of partitions. A topic's id is made of its name and `incarnation`.
#[derive(Clone, Debug, Default)]
pub(crate) struct FixedTopics {
    pub(crate) version: u64,
    pub(crate) topics: BTreeMap<String, TopicInfo>,
}

impl FixedTopics {
    /// Version 1, with these.
    pub(crate) fn new(topics: &[(&str, i32)]) -> FixedTopics {
        let mut fixed = FixedTopics { version: 1, ..FixedTopics::default() };
        for (name, partitions) in topics {
            fixed.topics.insert((*name).to_owned(), TopicInfo { id: topic_id(name), partitions: *partitions });
        }
        fixed
    }
}

/// The id of the topic with this name in these tests.
pub(crate) fn topic_id(name: &str) -> Uuid {
    Uuid::from_u128(name.bytes().fold(7u128, |sum, byte| sum.wrapping_mul(257) + u128::from(byte)))
}

impl TopicsImage for FixedTopics {
    fn version(&self) -> u64 {
        self.version
    }

    fn by_name(&self, name: &str) -> Option<TopicInfo> {
        self.topics.get(name).copied()
    }

    fn name_of(&self, id: Uuid) -> Option<Arc<str>> {
        self.topics.iter().find(|(_, topic)| topic.id == id).map(|(name, _)| name.as_str().into())
    }

    fn each_name(&self, look: &mut dyn FnMut(&str)) {
        self.topics.keys().for_each(|name| look(name));
    }
}

impl GroupTopics for FixedTopics {
    fn offsets_partitions(&self) -> Option<i32> {
        Some(1)
    }

    fn image(&self) -> Arc<dyn TopicsImage> {
        Arc::new(self.clone())
    }
}
