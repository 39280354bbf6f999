//! What a pass must know of transactions: whose records were aborted, and which markers have nothing left to mark.
//!
//! A transaction's records stand before its marker. [`Aborted`] is learnt from the headers ahead of the records: it says of
//! a batch whether its transaction was aborted, and from where on transactions have not ended yet. [`Open`] goes along
//! while records are filtered, and says of a marker whether any batch of its transaction is still there.

use crate::offset::Offset;
use esker_protocol::record::{BatchHeader, ControlKind};
use std::collections::{BTreeMap, BTreeSet};

/// The aborted transactions of a part of a log.
#[derive(Clone, Debug, Default)]
pub struct Aborted {
    /// Of each producer, first offset and marker's offset, ascending.
    ended: BTreeMap<i64, Vec<(i64, i64)>>,
    /// Of each producer with a transaction that has not ended so far, its first offset.
    open: BTreeMap<i64, i64>,
}

impl Aborted {
    /// Takes note of the next batch; `kind` is what it says if it is one of control records.
    pub fn learn(&mut self, header: &BatchHeader, kind: Option<ControlKind>) {
        let producer = header.producer_id;
        match kind {
            Some(ControlKind::Abort) => {
                if let Some(first) = self.open.remove(&producer) {
                    self.ended.entry(producer).or_default().push((first, header.base_offset));
                }
            }
            Some(ControlKind::Commit) => {
                self.open.remove(&producer);
            }
            Some(ControlKind::Other(_)) => {}
            None if header.is_transactional() => {
                self.open.entry(producer).or_insert(header.base_offset);
            }
            None => {}
        }
    }

    /// The first offset of any transaction that has not ended: what lies from there on cannot be judged yet.
    pub fn first_open(&self) -> Option<Offset> {
        self.open.values().filter_map(|first| Offset::from_wire(*first)).min()
    }

    /// Whether the batch belongs to an aborted transaction.
    pub fn has(&self, header: &BatchHeader) -> bool {
        header.is_transactional()
            && !header.is_control()
            && self.ended.get(&header.producer_id).is_some_and(|ended| {
                let after = ended.partition_point(|(first, _)| *first <= header.base_offset);
                let before = after.checked_sub(1).and_then(|index| ended.get(index));
                before.is_some_and(|(_, marker)| header.base_offset < *marker)
            })
    }
}

/// The producers of whose open transaction a batch was seen.
#[derive(Clone, Debug, Default)]
pub struct Open {
    producers: BTreeSet<i64>,
}

impl Open {
    /// A batch of records of a transaction is there.
    pub fn data(&mut self, header: &BatchHeader) {
        if header.is_transactional() {
            self.producers.insert(header.producer_id);
        }
    }

    /// A marker: whether no batch of its transaction is there any more. The next one of this producer begins.
    pub fn marker_is_alone(&mut self, header: &BatchHeader) -> bool {
        !self.producers.remove(&header.producer_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use esker_protocol::record::{BatchBuilder, Producer, end_transaction_marker};

    fn data(producer: i64, base: i64) -> BatchHeader {
        let producer = Producer { id: producer, epoch: 0, base_sequence: Some(0) };
        let mut builder = BatchBuilder::default().producer(producer).transactional();
        builder.push(0, Some(b"k"), None, &[]);
        builder.build_trusted().unwrap().stamp(base, 0, None).header
    }

    fn marker(kind: ControlKind, producer: i64, base: i64) -> BatchHeader {
        end_transaction_marker(kind, producer, 0, 0, 0).unwrap().stamp(base, 0, None).header
    }

    #[test]
    fn what_was_aborted_is_told_from_what_was_committed() {
        let mut aborted = Aborted::default();
        let batches = [
            (data(1, 0), None),
            (data(2, 1), None),
            (data(1, 2), None),
            (marker(ControlKind::Abort, 1, 3), Some(ControlKind::Abort)),
            (data(1, 4), None),
            (marker(ControlKind::Commit, 2, 5), Some(ControlKind::Commit)),
            (marker(ControlKind::Commit, 1, 6), Some(ControlKind::Commit)),
            (data(2, 7), None),
        ];
        for (header, kind) in &batches {
            aborted.learn(header, *kind);
        }
        let judged: Vec<_> = batches.iter().map(|(header, _)| aborted.has(header)).collect();
        assert_eq!(judged, [true, false, true, false, false, false, false, false]);
        assert_eq!(aborted.first_open(), Some(Offset::new(7)));
    }

    #[test]
    fn a_marker_is_alone_once_its_records_are_gone() {
        let mut open = Open::default();
        open.data(&data(1, 0));
        assert!(!open.marker_is_alone(&marker(ControlKind::Commit, 1, 1)));
        assert!(open.marker_is_alone(&marker(ControlKind::Commit, 1, 2)));
        assert!(open.marker_is_alone(&marker(ControlKind::Abort, 2, 3)));
    }
}
