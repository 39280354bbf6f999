//! The 61 bytes at the head of a record batch, parsed.
//!
//! A [`BatchHeader`] is what a log and a fetch need of a batch without touching its records: where it starts and ends,
//! who produced it, what its timestamps are. [`BatchHeader::parse`] checks the structure only (length, magic, codec);
//! [`check_stored`] checks the checksum as well and is what recovery and scrubs run over every batch on disk.
//! [`Damage`] says what is wrong.

use super::checksum::crc32c;
use super::codec::Compression;

/// Who gives the records of a batch their timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// Each record has the time its producer gave it.
    CreateTime,
    /// Every record has the batch's `max_timestamp`: the broker's clock at the append (KIP-32).
    LogAppendTime,
}

/// The idempotent producer of a batch (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    /// The producer's id, 0 or more.
    pub id: i64,
    /// The producer's epoch.
    pub epoch: i16,
    /// The sequence of the batch's first record; `None` in control batches, which have no sequence.
    pub base_sequence: Option<i32>,
}

/// Why bytes are not a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The bytes end before the batch does.
    #[error("truncated: the batch needs {needed} bytes")]
    Truncated {
        /// What the header needs, or the whole batch once its header is known.
        needed: usize,
    },
    /// The length field is too small for a header. Space that was allocated and never written reads as length 0.
    #[error("impossible batch length {0}")]
    Length(i32),
    /// Not record batch v2.
    #[error("unsupported magic {0}")]
    Magic(i8),
    /// A codec that does not exist.
    #[error("unknown compression {0}")]
    Compression(u8),
    /// The checksum differs from the content.
    #[error("checksum is {stored:08x}, content has {computed:08x}")]
    Checksum {
        /// As the header has it.
        stored: u32,
        /// As the bytes have it.
        computed: u32,
    },
}

/// The head of a record batch, field by field as it is on the wire; the methods interpret it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The offset of the first record.
    pub base_offset: i64,
    /// The length of what follows the length field; see [`BatchHeader::total_len`].
    pub batch_length: i32,
    /// The leader epoch under which the batch was appended, -1 in a producer's batch.
    pub partition_leader_epoch: i32,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Bits 0 to 2 codec, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon.
    pub attributes: i16,
    /// The last record's offset less the first one's.
    pub last_offset_delta: i32,
    /// What the records' timestamp deltas are relative to; the delete horizon if bit 6 is set.
    pub base_timestamp: i64,
    /// The greatest timestamp in the batch, -1 if no record has one.
    pub max_timestamp: i64,
    /// The producer's id, -1 for none.
    pub producer_id: i64,
    /// The producer's epoch, -1 for none.
    pub producer_epoch: i16,
    /// The sequence of the first record, -1 for none.
    pub base_sequence: i32,
    /// How many records follow; a compacted batch has fewer than its offsets span, or none.
    pub record_count: i32,
}

/// The attribute bit that says LogAppendTime.
const LOG_APPEND_TIME: i16 = 1 << 3;
/// The attribute bit of a batch within a transaction.
const TRANSACTIONAL: i16 = 1 << 4;
/// The attribute bit of a batch of control records.
const CONTROL: i16 = 1 << 5;
/// The attribute bit that makes the base timestamp a delete horizon.
const DELETE_HORIZON: i16 = 1 << 6;
/// The attribute bits that name the codec.
const CODEC: i16 = 0b111;

impl BatchHeader {
    /// The length of the header in bytes; the records follow it.
    pub const SIZE: usize = 61;
    /// Base offset and length: what must be read to know where the next batch starts.
    pub const PREFIX: usize = 12;
    /// Where the bytes begin that the CRC covers.
    pub const CRC_START: usize = 21;
    /// The only record format of today's clients.
    pub const MAGIC: i8 = 2;

    /// Reads the header at the start of `bytes`. The records need not be there yet.
    ///
    /// # Errors
    /// [`Damage`], except for the checksum, which is not looked at.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, Damage> {
        if let Some(length) = field(bytes, 8).map(i32::from_be_bytes)
            && length < (Self::SIZE - Self::PREFIX) as i32
        {
            return Err(Damage::Length(length));
        }
        // Older formats are shorter than this header but have their magic in the same place.
        if let Some([magic]) = field(bytes, 16)
            && magic as i8 != Self::MAGIC
        {
            return Err(Damage::Magic(magic as i8));
        }
        let header = Self::fields(bytes).ok_or(Damage::Truncated { needed: Self::SIZE })?;
        let codec = (header.attributes & CODEC) as u8;
        if Compression::from_code(codec).is_none() {
            return Err(Damage::Compression(codec));
        }
        Ok(header)
    }

    fn fields(bytes: &[u8]) -> Option<BatchHeader> {
        let head: &[u8; Self::SIZE] = bytes.first_chunk()?;
        Some(BatchHeader {
            base_offset: field(head, 0).map(i64::from_be_bytes)?,
            batch_length: field(head, 8).map(i32::from_be_bytes)?,
            partition_leader_epoch: field(head, 12).map(i32::from_be_bytes)?,
            crc: field(head, 17).map(u32::from_be_bytes)?,
            attributes: field(head, 21).map(i16::from_be_bytes)?,
            last_offset_delta: field(head, 23).map(i32::from_be_bytes)?,
            base_timestamp: field(head, 27).map(i64::from_be_bytes)?,
            max_timestamp: field(head, 35).map(i64::from_be_bytes)?,
            producer_id: field(head, 43).map(i64::from_be_bytes)?,
            producer_epoch: field(head, 51).map(i16::from_be_bytes)?,
            base_sequence: field(head, 53).map(i32::from_be_bytes)?,
            record_count: field(head, 57).map(i32::from_be_bytes)?,
        })
    }

    /// The header as bytes: the inverse of [`BatchHeader::parse`].
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut head = [0; Self::SIZE];
        head[0..8].copy_from_slice(&self.base_offset.to_be_bytes());
        head[8..12].copy_from_slice(&self.batch_length.to_be_bytes());
        head[12..16].copy_from_slice(&self.partition_leader_epoch.to_be_bytes());
        head[16] = Self::MAGIC as u8;
        head[17..21].copy_from_slice(&self.crc.to_be_bytes());
        head[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        head[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        head[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        head[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        head[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        head[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        head[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        head[57..61].copy_from_slice(&self.record_count.to_be_bytes());
        head
    }

    /// Writes the header over the start of `batch`.
    pub(super) fn write_to(&self, batch: &mut [u8]) {
        if let Some(head) = batch.first_chunk_mut() {
            *head = self.encode();
        }
    }

    /// The length of the whole batch in bytes, header included; at least [`BatchHeader::SIZE`].
    pub fn total_len(&self) -> usize {
        usize::try_from(self.batch_length).unwrap_or(0).saturating_add(Self::PREFIX)
    }

    /// The offset of the last record (of the last one ever, if compaction removed it).
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// The offset that follows the batch.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// How the records are compressed.
    pub fn compression(&self) -> Compression {
        // `parse` and the builder admit known codecs only.
        Compression::from_code((self.attributes & CODEC) as u8).unwrap_or(Compression::None)
    }

    /// Who gave the records their timestamps.
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & LOG_APPEND_TIME == 0 { TimestampType::CreateTime } else { TimestampType::LogAppendTime }
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Whether the records are control records (transaction markers and the like), which consumers do not see.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// When compaction may drop the tombstones and markers of this batch, in milliseconds since 1970 (KIP-534).
    pub fn delete_horizon(&self) -> Option<i64> {
        (self.attributes & DELETE_HORIZON != 0).then_some(self.base_timestamp)
    }

    /// The idempotent producer, if the batch has one.
    pub fn producer(&self) -> Option<Producer> {
        (self.producer_id >= 0).then(|| Producer {
            id: self.producer_id,
            epoch: self.producer_epoch,
            base_sequence: (self.base_sequence >= 0).then_some(self.base_sequence),
        })
    }

    /// The greatest timestamp in the batch, in milliseconds since 1970; `None` if no record has one.
    pub fn max_timestamp(&self) -> Option<i64> {
        (self.max_timestamp != -1).then_some(self.max_timestamp)
    }

    pub(super) fn set_timestamp_type(&mut self, kind: TimestampType) {
        match kind {
            TimestampType::CreateTime => self.attributes &= !LOG_APPEND_TIME,
            TimestampType::LogAppendTime => self.attributes |= LOG_APPEND_TIME,
        }
    }

    pub(super) fn set_compression(&mut self, codec: Compression) {
        self.attributes = (self.attributes & !CODEC) | i16::from(codec.code());
    }

    pub(super) fn set_delete_horizon(&mut self, horizon: i64) {
        self.attributes |= DELETE_HORIZON;
        self.base_timestamp = horizon;
    }

    pub(super) fn clear_delete_horizon(&mut self) {
        self.attributes &= !DELETE_HORIZON;
    }

    pub(super) fn set_transactional(&mut self) {
        self.attributes |= TRANSACTIONAL;
    }

    pub(super) fn set_control(&mut self) {
        self.attributes |= CONTROL;
    }
}

/// `N` bytes of `bytes` from `at`.
fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Checks a batch as a log has it: complete, of the known format, and equal to its checksum. `bytes` may go on after
/// the batch; its records are not walked, since nothing unchecked is ever stored.
///
/// Base offset, length and leader epoch lie outside the checksum: whoever reads a chain of batches checks that they
/// follow each other.
///
/// # Errors
/// [`Damage`]: the first thing that is wrong.
pub fn check_stored(bytes: &[u8]) -> Result<BatchHeader, Damage> {
    let header = BatchHeader::parse(bytes)?;
    let needed = header.total_len();
    let covered = bytes.get(BatchHeader::CRC_START..needed).ok_or(Damage::Truncated { needed })?;
    let computed = crc32c(covered);
    if computed != header.crc {
        return Err(Damage::Checksum { stored: header.crc, computed });
    }
    Ok(header)
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
