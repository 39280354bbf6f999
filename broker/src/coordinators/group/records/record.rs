//! One record of `__consumer_offsets`: which kind its key says it is, and the way to bytes and back.

use super::classic::{GroupValue, decode_group, encode_group};
use super::consumer::ConsumerRecord;
use super::offset::{OffsetKey, OffsetValue, decode_offset, encode_offset};
use super::wire::{Reader, RecordError, Writer};
use bytes::Bytes;

const OFFSET_KEY: i16 = 1;
const GROUP_KEY: i16 = 2;

/// One record of the coordinator's partition: its key, and its value or `None` for a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// What the record is about.
    pub key: Bytes,
    /// What is now true of it; `None` if it is gone.
    pub value: Option<Bytes>,
}

/// What a record of the partition means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupRecord {
    /// A committed offset, or that it is gone.
    Offset {
        /// Of which group, topic and partition.
        key: OffsetKey,
        /// The offset; `None` removes it.
        value: Option<OffsetValue>,
    },
    /// A classic group's metadata, or that the group is gone.
    Group {
        /// The group's id.
        group: String,
        /// Its metadata; `None` removes it.
        value: Option<GroupValue>,
    },
    /// What is true of a consumer group (KIP-848).
    Consumer {
        /// The group's id.
        group: String,
        /// Which part of it.
        record: ConsumerRecord,
    },
    /// A record of a protocol that is not spoken here.
    Other {
        /// The version that its key starts with.
        version: i16,
    },
}

impl GroupRecord {
    /// The record's bytes.
    ///
    /// # Errors
    /// [`RecordError::TooLong`] if a string has more than 32,767 bytes or the members' bytes more than 2^31 - 1;
    /// [`RecordError::Version`] for [`GroupRecord::Other`], which is never written.
    pub fn encode(&self) -> Result<LogRecord, RecordError> {
        let mut key = Writer::default();
        let value = match self {
            GroupRecord::Offset { key: of, value } => {
                key.put_i16(OFFSET_KEY);
                key.put_string(&of.group)?;
                key.put_string(&of.topic)?;
                key.put_i32(of.partition);
                value.as_ref().map(encode_offset).transpose()?
            }
            GroupRecord::Group { group, value } => {
                key.put_i16(GROUP_KEY);
                key.put_string(group)?;
                value.as_ref().map(encode_group).transpose()?
            }
            GroupRecord::Consumer { group, record } => record.encode(group, &mut key)?,
            GroupRecord::Other { version } => return Err(RecordError::Version(*version)),
        };
        Ok(LogRecord { key: key.finish(), value })
    }

    /// What `key` and `value` mean.
    ///
    /// # Errors
    /// Any [`RecordError`] but `TooLong`.
    pub fn decode(key: &[u8], value: Option<&[u8]>) -> Result<GroupRecord, RecordError> {
        let mut key = Reader { rest: key };
        match key.i16()? {
            0 | OFFSET_KEY => {
                let key = OffsetKey { group: key.string()?, topic: key.string()?, partition: key.i32()? };
                Ok(GroupRecord::Offset { key, value: value.map(decode_offset).transpose()? })
            }
            GROUP_KEY => Ok(GroupRecord::Group { group: key.string()?, value: value.map(decode_group).transpose()? }),
            version => Ok(match ConsumerRecord::decode(version, &mut key, value)? {
                Some((group, record)) => GroupRecord::Consumer { group, record },
                None => GroupRecord::Other { version },
            }),
        }
    }
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
