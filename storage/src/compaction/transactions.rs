//! What a pass must know of transactions: whose records were aborted, and which markers have nothing left to mark.
//!
//! A transaction's records stand before its marker. [`Aborted`] says of a batch whether its transaction was aborted, by the
//! aborted index of the log. [`Open`] goes along while records are filtered, and says of a marker whether any batch of its
//! transaction is still there.

use crate::segment::AbortedTransaction;
use esker_protocol::record::BatchHeader;
use std::collections::{BTreeMap, BTreeSet};

/// The aborted transactions of a part of a log.
#[derive(Clone, Debug, Default)]
pub struct Aborted {
    /// Of each producer, first offset and marker's offset, ascending.
    ended: BTreeMap<i64, Vec<(i64, i64)>>,
}

impl Aborted {
    /// Of the entries of an aborted index.
    pub fn of(entries: &[AbortedTransaction]) -> Aborted {
        let mut ended: BTreeMap<i64, Vec<(i64, i64)>> = BTreeMap::new();
        for entry in entries {
            ended.entry(entry.producer_id).or_default().push((entry.first.to_wire(), entry.last.to_wire()));
        }
        ended.values_mut().for_each(|ended| ended.sort_unstable());
        Aborted { ended }
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
    use crate::offset::Offset;
    use esker_protocol::record::{BatchBuilder, ControlKind, Producer, end_transaction_marker};

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
        let entry = |producer_id, first, last| AbortedTransaction {
            producer_id,
            first: Offset::new(first),
            last: Offset::new(last),
            last_stable: Offset::new(first),
        };
        let aborted = Aborted::of(&[entry(2, 9, 20), entry(1, 0, 3), entry(1, 5, 8)]);
        let judged = [(1, 0), (1, 2), (1, 4), (1, 5), (1, 9), (2, 1), (2, 10), (3, 1)];
        let judged: Vec<_> = judged.into_iter().map(|(producer, base)| aborted.has(&data(producer, base))).collect();
        assert_eq!(judged, [true, true, false, true, false, false, true, false]);
        assert!(!aborted.has(&marker(ControlKind::Abort, 1, 2)));
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
