//! Loading: what the records of the partition say, in the order of the log, and the start of everybody's time.
//!
//! Offsets outlive the records of their group, so that a group of one protocol can become one of the other between two
//! records: its tombstones leave a bare group with the offsets, which the next record makes into what it says.

use super::consumer::ConsumerGroup;
use super::entry::Entry;
use super::group::Group;
use super::machine::GroupMachine;
use super::step::Output;
use crate::coordinators::group::records::{ConsumerRecord, GroupRecord};
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
    pub fn loaded(&mut self, now: Now, out: &mut Output) {
        let (config, topics) = self.surroundings();
        let mut step = super::step::Step { config: &config, now, room: self.room(), topics: topics.as_ref(), out };
        self.sweep = Some(now.monotonic.plus(config.offsets_retention_check_interval));
        let ids: Vec<String> = self.groups.keys().cloned().collect();
        for id in ids {
            match self.groups.get_mut(&id) {
                Some(Entry::Classic(group)) => {
                    for member in group.members.values_mut() {
                        member.seen(now.monotonic);
                    }
                    if group.members.len() > config.max_size {
                        group.prepare_rebalance(&mut step);
                    }
                }
                Some(Entry::Consumer(group)) => group.loaded(now.monotonic, &config),
                None => {}
            }
            self.settle(&id);
        }
    }
}
