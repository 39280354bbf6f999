//! Loading: what the records of the partition say, in the order of the log, and the start of everybody's time.
//!
//! Offsets outlive the records of their group, so that a group of one protocol can become one of the other between two
//! records: its tombstones leave a bare group with the offsets, which the next record makes into what it says.

use super::consumer::ConsumerGroup;
use super::entry::Entry;
use super::group::Group;
use super::invariants;
use super::machine::GroupMachine;
use super::step::{Output, Step};
use crate::coordinators::group::records::{ConsumerGroupValue, ConsumerRecord, GroupRecord};
use crate::coordinators::group::request::Now;
use esker_storage::env::Timestamp;

impl GroupMachine {
    /// Takes over what a record of the partition says. Records are replayed in the order of the log.
    pub fn replay(&mut self, record: GroupRecord) {
        match record {
            GroupRecord::Offset { key, value: Some(value) } => {
                let committed = value.committed;
                let bare = |id: &String| Entry::Classic(Group::new(id, committed));
                let entry = self.groups.entry(key.group).or_insert_with_key(bare);
                entry.offsets_mut().apply(&key.topic, key.partition, Some(value));
            }
            GroupRecord::Offset { key, value: None } => {
                if let Some(entry) = self.groups.get_mut(&key.group) {
                    entry.offsets_mut().apply(&key.topic, key.partition, None);
                }
            }
            GroupRecord::Group { group, value: Some(value) } => {
                let since = value.state_since.unwrap_or_default();
                let mut classic = match self.groups.remove(&group) {
                    Some(Entry::Classic(classic)) => classic,
                    Some(Entry::Consumer(former)) => Group { offsets: former.offsets, ..Group::new(&group, since) },
                    None => Group::new(&group, since),
                };
                classic.restore(value);
                self.groups.insert(group, Entry::Classic(classic));
            }
            GroupRecord::Group { group, value: None } => {
                if let Some(Entry::Classic(gone)) = self.groups.get(&group) {
                    let since = gone.state_since.unwrap_or_default();
                    self.leave_bare(&group, since);
                }
            }
            GroupRecord::Consumer { group, record } => self.replay_consumer(group, record),
            GroupRecord::Other { .. } => {}
        }
    }

    fn replay_consumer(&mut self, group: String, record: ConsumerRecord) {
        let ends_group = record == ConsumerRecord::Group(None);
        match self.groups.get_mut(&group) {
            Some(Entry::Consumer(consumer)) => consumer.apply(record),
            Some(Entry::Classic(bare)) if !bare.written && !record.is_tombstone() => {
                let offsets = std::mem::take(&mut bare.offsets);
                let mut consumer = ConsumerGroup::new(&group);
                consumer.offsets = offsets;
                consumer.apply(record);
                self.groups.insert(group, Entry::Consumer(consumer));
                return;
            }
            // What is left of a time before it was a classic group.
            Some(Entry::Classic(_)) => return,
            None if record.is_tombstone() => return,
            None => {
                let mut consumer = ConsumerGroup::new(&group);
                consumer.apply(record);
                self.groups.insert(group, Entry::Consumer(consumer));
                return;
            }
        }
        if ends_group {
            self.leave_bare(&group, Timestamp::default());
        }
    }

    /// A group is gone: its offsets, if it has any, are those of a group without members.
    fn leave_bare(&mut self, id: &str, since: Timestamp) {
        if let Some(mut gone) = self.groups.remove(id)
            && !gone.offsets().is_empty()
        {
            let offsets = std::mem::take(gone.offsets_mut());
            self.groups.insert(id.to_owned(), Entry::Classic(Group { offsets, ..Group::new(id, since) }));
        }
    }

    /// The log is replayed: sessions start anew, since nobody could reach this coordinator before.
    ///
    /// A group whose records contradict each other begins anew, with its offsets and without members, who join again: their
    /// ids are returned, with the invariant that does not hold.
    pub fn loaded(&mut self, now: Now, out: &mut Output) -> Vec<(String, &'static str)> {
        let (config, topics) = self.surroundings();
        let mut step = Step { config: &config, now, room: self.room(), topics: topics.as_ref(), out };
        self.sweep = Some(now.monotonic.plus(config.offsets_retention_check_interval));
        let ids: Vec<String> = self.groups.keys().cloned().collect();
        let mut contradictory = Vec::new();
        for id in ids {
            let Some(entry) = self.groups.get_mut(&id) else { continue };
            match entry {
                Entry::Classic(group) => group.members.values_mut().for_each(|member| member.seen(now.monotonic)),
                Entry::Consumer(group) => group.loaded(now.monotonic, &config),
            }
            if let Some(violated) = invariants::violated(entry) {
                self.begin_anew(&id, &mut step);
                contradictory.push((id.clone(), violated));
            } else if let Entry::Classic(group) = entry
                && group.members.len() > config.max_size
            {
                group.prepare_rebalance(&mut step);
            }
            self.settle(&id);
        }
        contradictory
    }

    /// Takes everything from a group but its offsets, in the log as well.
    fn begin_anew(&mut self, id: &str, step: &mut Step<'_>) {
        let Some(mut entry) = self.groups.remove(id) else { return };
        Self::write_tombstones(&entry, step);
        let offsets = std::mem::take(entry.offsets_mut());
        let anew = match entry {
            Entry::Classic(_) => Entry::Classic(Group { offsets, ..Group::new(id, step.now.wall) }),
            Entry::Consumer(_) => {
                // It stays a consumer group: a member that is unknown joins again, one whose group is not there gives up.
                let record = ConsumerRecord::Group(Some(ConsumerGroupValue { epoch: 1, metadata_hash: 0 }));
                let mut group = ConsumerGroup::new(id);
                group.offsets = offsets;
                group.apply(record.clone());
                step.out.records.extend(GroupRecord::Consumer { group: id.to_owned(), record }.encode());
                Entry::Consumer(group)
            }
        };
        self.groups.insert(id.to_owned(), anew);
    }
}
