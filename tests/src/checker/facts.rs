//! What a history says of each partition, gathered once for all checks.

use super::history::{
    ClientNo, Event, History, Key, Outcome, PartitionNo, Polled, Sent, SentRecord, Span, Tombstones, Value,
};
use std::collections::{BTreeMap, BTreeSet};

/// A batch that was sent.
pub(super) struct Batch {
    pub(super) client: ClientNo,
    pub(super) records: Vec<SentRecord>,
    pub(super) span: Span,
    pub(super) sent: Sent,
}

/// A partition that was read from its start to its end when nobody sent any more.
pub(super) struct Drained {
    pub(super) start: u64,
    pub(super) values: BTreeSet<Value>,
}

/// What is known of one partition.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) compaction: Option<Tombstones>,
    /// Every value that was acknowledged or read at an offset.
    pub(super) at: BTreeMap<u64, BTreeSet<Value>>,
    /// Every offset of a value.
    pub(super) of: BTreeMap<Value, BTreeSet<u64>>,
    /// Every batch that was sent.
    pub(super) batches: Vec<Batch>,
    /// Of each value that was sent: its batch and its place therein.
    pub(super) sent: BTreeMap<Value, (usize, usize)>,
    /// What was read, by anybody.
    pub(super) read: BTreeSet<Value>,
    /// The highest offset that anybody read.
    pub(super) highest_read: Option<u64>,
    /// The highest log start that anybody was shown, or that may have been asked for.
    pub(super) highest_start: u64,
    /// (span, log start) of every answer that had one.
    pub(super) starts: Vec<(Span, u64)>,
    /// (span, log start) of every deletion that was acknowledged.
    pub(super) trims: Vec<(Span, u64)>,
    pub(super) drained: Option<Drained>,
    /// The highest known offset of each key.
    newest_of: BTreeMap<Key, u64>,
    /// Keys of records that may be at any offset, unread.
    unplaced: BTreeSet<Key>,
}

impl Facts {
    fn observe(&mut self, offset: u64, value: Value) {
        self.at.entry(offset).or_default().insert(value);
        self.of.entry(value).or_default().insert(offset);
    }

    fn observe_read(&mut self, records: &[Polled]) {
        for &(offset, value) in records {
            self.observe(offset, value);
            self.read.insert(value);
            self.highest_read = self.highest_read.max(Some(offset));
        }
    }

    fn observe_start(&mut self, span: Span, start: u64) {
        self.starts.push((span, start));
        self.highest_start = self.highest_start.max(start);
    }

    fn send(&mut self, batch: Batch) {
        let number = self.batches.len();
        for (place, record) in batch.records.iter().enumerate() {
            self.sent.insert(record.value, (number, place));
            if let Sent::Acked(first) = batch.sent {
                self.observe(first + place as u64, record.value);
            }
        }
        self.batches.push(batch);
    }

    pub(super) fn record(&self, value: Value) -> Option<&SentRecord> {
        let &(batch, place) = self.sent.get(&value)?;
        self.batches[batch].records.get(place)
    }

    /// The offset of a value, where it has just one.
    pub(super) fn offset_of(&self, value: Value) -> Option<u64> {
        let offsets = self.of.get(&value)?;
        offsets.first().copied().filter(|_| offsets.len() == 1)
    }

    /// Whether compaction may have taken a value at this offset: a later record has its key, or one that may be anywhere;
    /// or it is a tombstone, and nothing older of its key is left where everything was read.
    pub(super) fn may_be_compacted(&self, offset: u64, value: Value) -> bool {
        let Some(tombstones) = self.compaction else { return false };
        let Some((key, tombstone)) = self.record(value).and_then(|record| Some((record.key?, record.tombstone))) else {
            return false;
        };
        let superseded =
            self.newest_of.get(&key).is_some_and(|newest| *newest > offset) || self.unplaced.contains(&key);
        superseded || (tombstone && tombstones == Tombstones::MayGo && !self.holds_older_of(key, offset))
    }

    fn holds_older_of(&self, key: Key, offset: u64) -> bool {
        let Some(drained) = &self.drained else { return false };
        let is_older = |value: &Value| {
            let of_key = self.record(*value).is_some_and(|record| record.key == Some(key));
            of_key && self.of.get(value).and_then(|offsets| offsets.last()) < Some(&offset)
        };
        drained.values.iter().any(is_older)
    }

    fn note_keys(&mut self) {
        for (value, offsets) in &self.of {
            let (Some(record), Some(&offset)) = (self.record(*value), offsets.last()) else { continue };
            let Some(key) = record.key else { continue };
            let newest = self.newest_of.get(&key).copied().unwrap_or_default();
            self.newest_of.insert(key, newest.max(offset));
        }
        for batch in self.batches.iter().filter(|batch| batch.sent != Sent::Refused) {
            for record in batch.records.iter().filter(|record| !self.of.contains_key(&record.value)) {
                // Where everything was read, one that is nowhere was taken itself: by another, or as a tombstone.
                let taken = record.tombstone && self.compaction == Some(Tombstones::MayGo);
                if taken || self.drained.is_none() {
                    self.unplaced.extend(record.key);
                }
            }
        }
    }
}

/// Everything that is known, by partition.
pub(super) fn gather(history: &History) -> BTreeMap<PartitionNo, Facts> {
    let mut all: BTreeMap<PartitionNo, Facts> = BTreeMap::new();
    let mut facts_of = |partition: PartitionNo, note: &mut dyn FnMut(&mut Facts)| {
        let facts = all.entry(partition).or_default();
        facts.compaction = history.compaction_of(partition);
        note(facts);
    };
    for event in history.events() {
        match event {
            Event::Send { client, partition, records, span, sent } => facts_of(*partition, &mut |facts| {
                facts.send(Batch { client: *client, records: records.clone(), span: *span, sent: *sent });
            }),
            Event::Poll { partition, span, log_start, records, .. } => facts_of(*partition, &mut |facts| {
                facts.observe_read(records);
                facts.observe_start(*span, *log_start);
            }),
            Event::Drain { partition, span, start, records } => facts_of(*partition, &mut |facts| {
                facts.observe_read(records);
                facts.observe_start(*span, *start);
                let values = records.iter().map(|(_, value)| *value).collect();
                facts.drained = Some(Drained { start: *start, values });
            }),
            Event::Trim { partition, before, span, outcome } => facts_of(*partition, &mut |facts| {
                if *outcome == Outcome::Done {
                    facts.trims.push((*span, *before));
                }
                if *outcome != Outcome::Refused {
                    facts.highest_start = facts.highest_start.max(*before);
                }
            }),
            Event::Seek { .. } | Event::Commit { .. } | Event::Held { .. } | Event::Committed { .. } => {}
        }
    }
    for facts in all.values_mut() {
        facts.note_keys();
    }
    all
}
