//! Control records: what brokers write into a log for its readers, and consumers skip.
//!
//! ```text
//!  key    version i16 = 0, kind i16 (0 abort, 1 commit, ...)
//!  value  of abort and commit: version i16 = 0, coordinator epoch i32
//! ```
//!
//! The marker that ends a transaction is a batch of one such record. It takes an offset, carries the producer's id and
//! epoch, and has no sequence.

use super::builder::{BatchBuilder, BuildError};
use super::header::Producer;
use super::patch::ValidatedBatch;

/// What a control record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlKind {
    /// The producer's transaction is aborted.
    Abort,
    /// The producer's transaction is committed.
    Commit,
    /// Another kind, of which we know nothing.
    Other(i16),
}

impl ControlKind {
    /// Reads the key of a control record; `None` if it is not one.
    pub fn from_key(key: &[u8]) -> Option<ControlKind> {
        // Later versions may append fields.
        let kind = i16::from_be_bytes(*key.get(2..)?.first_chunk()?);
        Some(match kind {
            0 => ControlKind::Abort,
            1 => ControlKind::Commit,
            other => ControlKind::Other(other),
        })
    }

    /// The key of a control record of this kind.
    pub fn key(self) -> [u8; 4] {
        let kind = match self {
            ControlKind::Abort => 0,
            ControlKind::Commit => 1,
            ControlKind::Other(other) => other,
        };
        let [high, low] = i16::to_be_bytes(kind);
        [0, 0, high, low]
    }
}

/// The batch that ends a transaction of `producer_id`, at `timestamp` (milliseconds since 1970).
///
/// # Errors
/// None in practice; [`BuildError`] is the builder's.
pub fn end_transaction_marker(
    kind: ControlKind,
    producer_id: i64,
    producer_epoch: i16,
    coordinator_epoch: i32,
    timestamp: i64,
) -> Result<ValidatedBatch, BuildError> {
    let [a, b, c, d] = coordinator_epoch.to_be_bytes();
    BatchBuilder::default()
        .producer(Producer { id: producer_id, epoch: producer_epoch, base_sequence: None })
        .transactional()
        .control()
        .push(timestamp, Some(&kind.key()), Some(&[0, 0, a, b, c, d]), &[])
        .build_trusted()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Scratch, records};

    #[test]
    fn a_marker_reads_back() {
        for kind in [ControlKind::Abort, ControlKind::Commit] {
            let marker = end_transaction_marker(kind, 7, 3, 9, 1000).unwrap();
            let header = marker.header();
            assert!(header.is_control() && header.is_transactional());
            assert_eq!(header.producer(), Some(Producer { id: 7, epoch: 3, base_sequence: None }));
            assert_eq!(marker.offsets(), 1);
            let mut scratch = Scratch::default();
            let record = records(marker.bytes(), &mut scratch, 0).unwrap().next().unwrap().unwrap();
            assert_eq!(record.key.and_then(ControlKind::from_key), Some(kind));
            assert_eq!(record.value, Some(&[0, 0, 0, 0, 0, 9][..]));
        }
        assert_eq!(ControlKind::from_key(&[0, 0, 0]), None);
        assert_eq!(ControlKind::from_key(&[0, 0, 0, 2, 9]), Some(ControlKind::Other(2)));
    }
}
