//! A batch on its way into a log: validated, then stamped with its offsets.
//!
//! A [`ValidatedBatch`] can only be made by [`validate`](fn@super::validate) or by our own
//! [`BatchBuilder`](super::BatchBuilder). [`ValidatedBatch::stamp`] consumes it and gives the [`StampedBatch`] that is
//! written: a new head of 61 bytes, and the records as they came, not copied and not read again.
//!
//! ```text
//!  stamped   base offset, leader epoch                    outside the CRC
//!            max timestamp, timestamp type                inside it: the CRC is moved along, see `checksum`
//!  as sent   everything else, and every byte of the records
//! ```

use super::checksum::replace_head;
use super::header::{BatchHeader, TimestampType};
use bytes::Bytes;

/// The greatest timestamp of a batch's records, and where it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MaxTimestamp {
    /// `None` if no record has a timestamp.
    pub(super) timestamp: Option<i64>,
    /// The offset delta of the first record that has it; `None` if the records were not walked.
    pub(super) offset_delta: Option<u32>,
}

/// A batch that was checked: the only thing a log accepts.
#[derive(Clone, Debug)]
pub struct ValidatedBatch {
    bytes: Bytes,
    header: BatchHeader,
    max: MaxTimestamp,
}

impl ValidatedBatch {
    /// `bytes` are exactly one batch with this header, and its checksum is right.
    pub(super) fn checked(bytes: Bytes, header: BatchHeader, max: MaxTimestamp) -> ValidatedBatch {
        debug_assert_eq!(bytes.len(), header.total_len());
        ValidatedBatch { bytes, header, max }
    }

    /// The same batch with its records in another form.
    pub(super) fn with_records_of(self, bytes: Bytes, header: BatchHeader) -> ValidatedBatch {
        ValidatedBatch::checked(bytes, header, self.max)
    }

    /// The header as the producer sent it.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch as the producer sent it.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// How many bytes the batch takes in a log.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// How many offsets the batch takes; at least one, since the checks demand a record.
    pub fn offsets(&self) -> u32 {
        // The checks leave 0 or more.
        u32::try_from(self.header.last_offset_delta).unwrap_or(0) + 1
    }

    /// The greatest timestamp of its records, in milliseconds since 1970; `None` if none has one. Computed, since some
    /// clients leave the header's unset; the header's own if the records were not walked.
    pub fn max_timestamp(&self) -> Option<i64> {
        self.max.timestamp
    }

    /// The offset delta of the first record with that timestamp; `None` if the records were not walked.
    pub fn max_timestamp_delta(&self) -> Option<u32> {
        self.max.offset_delta
    }

    /// Gives the batch its place in the log.
    ///
    /// `log_append_time` is the broker's clock in milliseconds for topics with LogAppendTime, and `None` for those with
    /// CreateTime. The records' own deltas stay as they are: readers take the batch's `max_timestamp` for all of them.
    pub fn stamp(self, base_offset: i64, leader_epoch: i32, log_append_time: Option<i64>) -> StampedBatch {
        let mut header = self.header;
        header.base_offset = base_offset;
        header.partition_leader_epoch = leader_epoch;
        match log_append_time {
            Some(now) => {
                header.set_timestamp_type(TimestampType::LogAppendTime);
                header.max_timestamp = now;
            }
            None if self.max.offset_delta.is_some() => {
                header.set_timestamp_type(TimestampType::CreateTime);
                header.max_timestamp = self.max.timestamp.unwrap_or(-1);
            }
            // Not walked: the producer's word is all there is.
            None => {}
        }
        let mut bytes = self.bytes;
        let tail = bytes.split_off(BatchHeader::SIZE.min(bytes.len()));
        let mut head = header.encode();
        let covered = BatchHeader::CRC_START..BatchHeader::SIZE;
        if let (Some(old), Some(new)) = (bytes.get(covered.clone()), head.get(covered))
            && old != new
        {
            // A batch is smaller than 2 GiB: its length is an i32.
            header.crc = replace_head(header.crc, old, new, tail.len() as u32);
            head = header.encode();
        }
        StampedBatch { head, tail, header }
    }
}

/// A batch as it is written: `head`, then `tail`.
#[derive(Clone, Debug)]
pub struct StampedBatch {
    /// The 61 bytes of the header.
    pub head: [u8; BatchHeader::SIZE],
    /// The records, as the producer compressed them: a slice of the bytes that came in.
    pub tail: Bytes,
    /// The header, parsed.
    pub header: BatchHeader,
}

impl StampedBatch {
    /// How many bytes the batch takes.
    pub fn size(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// Head and tail as one piece, copied: for tests and small batches.
    pub fn to_bytes(&self) -> Bytes {
        [&self.head[..], &self.tail].concat().into()
    }
}

#[cfg(test)]
#[path = "patch_tests.rs"]
mod tests;
