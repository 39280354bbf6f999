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
use super::records::records;
use super::shape::Malformed;
use super::{BatchHeader, Scratch};

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

/// What the marker that ends a transaction says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Whether it was committed or aborted.
    pub kind: ControlKind,
    /// The epoch of the coordinator that wrote it; `None` if the marker does not say.
    pub coordinator_epoch: Option<i32>,
}

impl Marker {
    /// The marker that `batch` is; `None` for a batch of anything else.
    ///
    /// # Errors
    /// [`Malformed`] for a batch whose records cannot be read.
    pub fn of(batch: &[u8]) -> Result<Option<Marker>, Malformed> {
        if !BatchHeader::parse(batch)?.is_control() {
            return Ok(None);
        }
        let mut scratch = Scratch::default();
        // Markers are never compressed, and a control batch that is none need not be understood.
        let Some(record) = records(batch, &mut scratch, 0)?.next() else { return Ok(None) };
        let record = record?;
        let kind = record.key.and_then(ControlKind::from_key);
        let kind = kind.filter(|kind| matches!(kind, ControlKind::Abort | ControlKind::Commit));
        let epoch = record.value.and_then(|value| value.get(2..)?.first_chunk().copied()).map(i32::from_be_bytes);
        Ok(kind.map(|kind| Marker { kind, coordinator_epoch: epoch.filter(|epoch| *epoch >= 0) }))
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
            let read = Marker::of(marker.bytes()).unwrap();
            assert_eq!(read, Some(Marker { kind, coordinator_epoch: Some(9) }));
        }
        let other = end_transaction_marker(ControlKind::Other(5), 7, 3, 9, 1000).unwrap();
        assert_eq!(Marker::of(other.bytes()).unwrap(), None);
        let data = BatchBuilder::default().push(1, Some(&[0, 0, 0, 0]), None, &[]).build().unwrap();
        assert_eq!(Marker::of(&data).unwrap(), None, "a record of a client that looks like a marker");
        assert!(Marker::of(&data[..50]).is_err());
        assert_eq!(ControlKind::from_key(&[0, 0, 0]), None);
        assert_eq!(ControlKind::from_key(&[0, 0, 0, 2, 9]), Some(ControlKind::Other(2)));
    }
}
