//! The table of a group's committed offsets.

use crate::coordinators::group::records::OffsetValue;
use crate::coordinators::group::request::{FetchedOffset, FetchedTopics};
use std::collections::BTreeMap;

/// A group's committed offsets by topic and partition; no topic without a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Offsets {
    by_topic: BTreeMap<String, BTreeMap<i32, OffsetValue>>,
    /// See [`Offsets::weight`].
    weight: usize,
}

/// What an offset takes in memory without its metadata, and a topic without its name, about.
const EACH: usize = 128;

impl Offsets {
    pub(super) fn is_empty(&self) -> bool {
        self.by_topic.is_empty()
    }

    /// What they take in memory, about.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    /// How much more they would take with an offset of a partition that has `metadata` bytes of metadata.
    pub(super) fn growth(&self, topic: &str, partition: i32, metadata: usize) -> usize {
        let Some(known) = self.by_topic.get(topic) else { return 2 * EACH + topic.len() + metadata };
        let before = known.get(&partition).map_or(0, |value| EACH + value.metadata.len());
        (EACH + metadata).saturating_sub(before)
    }

    /// What a record says: the one way in which offsets change, live and in replay.
    pub(super) fn apply(&mut self, topic: &str, partition: i32, value: Option<OffsetValue>) {
        match value {
            Some(value) => {
                let partitions = self.by_topic.entry(topic.to_owned()).or_insert_with(|| {
                    self.weight += EACH + topic.len();
                    BTreeMap::new()
                });
                self.weight += EACH + value.metadata.len();
                if let Some(before) = partitions.insert(partition, value) {
                    self.weight = self.weight.saturating_sub(EACH + before.metadata.len());
                }
            }
            None => {
                let Some(partitions) = self.by_topic.get_mut(topic) else { return };
                if let Some(before) = partitions.remove(&partition) {
                    self.weight = self.weight.saturating_sub(EACH + before.metadata.len());
                }
                if partitions.is_empty() {
                    self.by_topic.remove(topic);
                    self.weight = self.weight.saturating_sub(EACH + topic.len());
                }
            }
        }
    }

    /// What was asked for, in the order of the request, or everything in the order of names.
    pub(super) fn fetch(&self, topics: Option<Vec<(String, Vec<i32>)>>) -> FetchedTopics {
        let fetched = |value: &OffsetValue| FetchedOffset {
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: value.metadata.clone(),
        };
        match topics {
            Some(topics) => topics
                .into_iter()
                .map(|(topic, partitions)| {
                    let known = self.by_topic.get(&topic);
                    let find = |partition: i32| known.and_then(|known| known.get(&partition)).map(fetched);
                    let found = partitions.into_iter().map(|partition| (partition, find(partition))).collect();
                    (topic, found)
                })
                .collect(),
            None => self
                .by_topic
                .iter()
                .map(|(topic, partitions)| {
                    let found = partitions.iter().map(|(partition, value)| (*partition, Some(fetched(value))));
                    (topic.clone(), found.collect())
                })
                .collect(),
        }
    }

    /// Every partition of which `condition` holds.
    pub(super) fn find(&self, mut condition: impl FnMut(&str, &OffsetValue) -> bool) -> Vec<(String, i32)> {
        let all = self.by_topic.iter().flat_map(|(topic, partitions)| {
            partitions.iter().map(move |(partition, value)| (topic, *partition, value))
        });
        all.filter(|(topic, _, value)| condition(topic, value))
            .map(|(topic, partition, _)| (topic.clone(), partition))
            .collect()
    }

    /// Every partition that there is an offset of and that `condition` holds of.
    pub(super) fn find_partitions(&self, mut condition: impl FnMut(&str, i32) -> bool) -> Vec<(String, i32)> {
        let all = self
            .by_topic
            .iter()
            .flat_map(|(topic, partitions)| partitions.keys().map(move |partition| (topic, *partition)));
        all.filter(|(topic, partition)| condition(topic, *partition))
            .map(|(topic, partition)| (topic.clone(), partition))
            .collect()
    }
}
