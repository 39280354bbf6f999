//! Changes: the difference between two images, for those who act on the metadata.

use super::image::{Image, Topic};
use crate::config::BrokerId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

/// A topic that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicChange {
    /// What it was; `None` if it is new.
    pub before: Option<Arc<Topic>>,
    /// What it is; `None` if it is gone.
    pub after: Option<Arc<Topic>>,
}

/// What differs between two images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The topics that are new, gone or different. A topic that was deleted and created again is there twice, since it
    /// has another id.
    pub topics: BTreeMap<Uuid, TopicChange>,
    /// The brokers that are new or registered again.
    pub brokers: BTreeSet<BrokerId>,
    /// Whether settings of brokers changed, and so perhaps the defaults of every topic.
    pub broker_configs: bool,
    /// Whether there is another controller.
    pub controller: bool,
}

impl Changes {
    /// What differs from `before` to `after`. Costs a look at each topic, unless none changed.
    pub fn between(before: &Image, after: &Image) -> Changes {
        let mut changes = Changes {
            broker_configs: before.cluster_configs != after.cluster_configs
                || before.broker_configs != after.broker_configs,
            controller: before.controller != after.controller,
            ..Changes::default()
        };
        if !Arc::ptr_eq(&before.topics, &after.topics) {
            for (id, old) in before.topics.iter() {
                let new = after.topics.get(id);
                if !new.is_some_and(|new| Arc::ptr_eq(old, new) || old == new) {
                    let change = TopicChange { before: Some(Arc::clone(old)), after: new.cloned() };
                    changes.topics.insert(*id, change);
                }
            }
            for (id, new) in after.topics.iter().filter(|(id, _)| !before.topics.contains_key(id)) {
                changes.topics.insert(*id, TopicChange { before: None, after: Some(Arc::clone(new)) });
            }
        }
        let ids = before.brokers.keys().chain(after.brokers.keys());
        changes.brokers = ids.copied().filter(|id| before.brokers.get(id) != after.brokers.get(id)).collect();
        changes
    }

    /// Whether nothing changed that anybody acts on.
    pub fn is_empty(&self) -> bool {
        *self == Changes::default()
    }
}
