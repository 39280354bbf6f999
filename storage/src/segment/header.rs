//! The data file's header: what the file is, before the batches that follow verbatim.
//!
//! ```text
//! 0    8  magic "eskerlog"
//! 8    2  format version, 1                    (integers big-endian, as in Kafka's batches)
//! 10   2  flags: bit 0 for a cleaned file
//! 12  16  topic id
//! 28   4  partition
//! 32   8  base offset
//! 40   4  serial
//! 44   8  when the file was made, milliseconds since 1970
//! 52   8  of a cleaned file: one past the last offset that it stands for; else zero
//! 60   4  CRC-32 (IEEE) of bytes 0..60
//! 64      batches, back to back; a zero length ends them
//! ```

use super::name::SegmentName;
use crate::env::Timestamp;
use crate::offset::{Offset, PartitionId};

/// Bytes of the header; the position of a segment's first batch.
pub const HEADER_LEN: u64 = 64;

const MAGIC: &[u8; 8] = b"eskerlog";
const VERSION: u16 = 1;
const CLEANED: u16 = 1;

/// What the first 64 bytes of a data file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataHeader {
    /// Whose records follow.
    pub partition: PartitionId,
    /// The file's place in its partition.
    pub name: SegmentName,
    /// When it was made.
    pub created: Timestamp,
    /// Of a cleaned file: one past the last offset that it stands for, which its batches need not reach.
    pub stands_to: Option<Offset>,
}

/// Why bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Not one of Esker's files, or torn, or rotten.
    #[error("not a segment header, or a damaged one")]
    Damaged,
    /// Written by a newer Esker.
    #[error("unknown segment format version {0}")]
    Version(u16),
}

impl DataHeader {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_LEN as usize] {
        let mut bytes = Vec::with_capacity(HEADER_LEN as usize);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        let flags = if self.stands_to.is_some() { CLEANED } else { 0 };
        bytes.extend_from_slice(&flags.to_be_bytes());
        bytes.extend_from_slice(self.partition.topic.as_bytes());
        bytes.extend_from_slice(&self.partition.partition.to_be_bytes());
        bytes.extend_from_slice(&self.name.base.get().to_be_bytes());
        bytes.extend_from_slice(&self.name.serial.to_be_bytes());
        bytes.extend_from_slice(&self.created.millis().to_be_bytes());
        bytes.extend_from_slice(&self.stands_to.map_or(0, Offset::get).to_be_bytes());
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
        let mut header = [0; HEADER_LEN as usize];
        header.copy_from_slice(&bytes);
        header
    }

    /// The header that `bytes` hold.
    ///
    /// # Errors
    /// [`HeaderError`]; a wrong checksum is `Damaged` whatever the version.
    pub fn decode(bytes: &[u8; HEADER_LEN as usize]) -> Result<DataHeader, HeaderError> {
        let (body, crc) = bytes.split_at(60);
        if !body.starts_with(MAGIC) || crc32fast::hash(body).to_be_bytes() != crc {
            return Err(HeaderError::Damaged);
        }
        let mut read = super::fields::Fields::new(body);
        let damaged = |_| HeaderError::Damaged;
        let _magic: [u8; 8] = read.array().map_err(damaged)?;
        let version = read.u16().map_err(damaged)?;
        if version != VERSION {
            return Err(HeaderError::Version(version));
        }
        let flags = read.u16().map_err(damaged)?;
        let topic = uuid::Uuid::from_bytes(read.array().map_err(damaged)?);
        let partition = read.u32().map_err(damaged)?;
        let base = read.offset().map_err(damaged)?;
        let serial = read.u32().map_err(damaged)?;
        let created = Timestamp::from_millis(read.i64().map_err(damaged)?);
        let stands_to = read.offset().map_err(damaged)?;
        let stands_to = (flags & CLEANED != 0).then_some(stands_to);
        // The generation is in the file's name alone; see `header_matches_name`.
        let name = SegmentName::appended(base, serial);
        Ok(DataHeader { partition: PartitionId { topic, partition }, name, created, stands_to })
    }
}

/// The offset that `name` and `header` agree on is what a file may be opened for.
pub fn header_matches_name(header: &DataHeader, partition: PartitionId, name: SegmentName) -> bool {
    header.partition == partition
        && (header.name.base, header.name.serial) == (name.base, name.serial)
        && header.stands_to.is_some() == name.is_cleaned()
        && header.stands_to.is_none_or(|end| end >= name.base)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_header() -> impl Strategy<Value = DataHeader> {
        let end = proptest::option::of(0..=i64::MAX as u64);
        (any::<u128>(), any::<u32>(), 0..=i64::MAX as u64, any::<u32>(), any::<i64>(), end).prop_map(
            |(topic, partition, base, serial, created, end)| DataHeader {
                partition: PartitionId { topic: uuid::Uuid::from_u128(topic), partition },
                name: SegmentName::appended(Offset::new(base), serial),
                created: Timestamp::from_millis(created),
                stands_to: end.map(Offset::new),
            },
        )
    }

    proptest! {
        #[test]
        fn headers_decode_back(header in any_header()) {
            prop_assert_eq!(DataHeader::decode(&header.encode()), Ok(header));
        }

        #[test]
        fn any_flipped_bit_is_seen(header in any_header(), bit in 0..HEADER_LEN as usize * 8) {
            let mut bytes = header.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(DataHeader::decode(&bytes), Err(HeaderError::Damaged));
        }
    }
}
