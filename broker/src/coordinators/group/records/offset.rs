//! A committed offset as `__consumer_offsets` has it: keys 0 and 1, values 0 to 4.

use super::wire::{Reader, RecordError, Writer, known_time};
use bytes::Bytes;
use esker_storage::env::Timestamp;

const OFFSET_VALUE: i16 = 3;
const OFFSET_VALUE_WITH_EXPIRY: i16 = 1;

/// Whose offset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OffsetKey {
    /// The group's id.
    pub group: String,
    /// The topic's name.
    pub topic: String,
    /// The partition's index.
    pub partition: i32,
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetValue {
    /// The next offset that the group will consume.
    pub offset: i64,
    /// The leader epoch of the record before it, if the client knew it.
    pub leader_epoch: Option<i32>,
    /// What the client wanted to have kept with the offset.
    pub metadata: String,
    /// When it was committed.
    pub committed: Timestamp,
    /// When it expires, if the client chose that (OffsetCommit 2-4).
    pub expires: Option<Timestamp>,
}

pub(super) fn encode_offset(value: &OffsetValue) -> Result<Bytes, RecordError> {
    let mut out = Writer::default();
    match value.expires {
        // Version 1 has no leader epoch; Kafka gives it up as well.
        Some(expires) => {
            out.put_i16(OFFSET_VALUE_WITH_EXPIRY);
            out.put_i64(value.offset);
            out.put_string(&value.metadata)?;
            out.put_i64(value.committed.millis());
            out.put_i64(expires.millis());
        }
        None => {
            out.put_i16(OFFSET_VALUE);
            out.put_i64(value.offset);
            out.put_i32(value.leader_epoch.unwrap_or(-1));
            out.put_string(&value.metadata)?;
            out.put_i64(value.committed.millis());
        }
    }
    Ok(out.finish())
}

pub(super) fn decode_offset(value: &[u8]) -> Result<OffsetValue, RecordError> {
    let mut value = Reader { rest: value };
    let version = value.i16()?;
    if !(0..=4).contains(&version) {
        return Err(RecordError::Version(version));
    }
    let offset = value.i64()?;
    let leader_epoch = if version >= 3 { Some(value.i32()?).filter(|epoch| *epoch >= 0) } else { None };
    let metadata = if version >= 4 { value.compact_string()?.ok_or(RecordError::Length)? } else { value.string()? };
    let committed = Timestamp::from_millis(value.i64()?);
    let expires = if version == 1 { known_time(value.i64()?) } else { None };
    if version >= 4 {
        value.skip_tags()?;
    }
    Ok(OffsetValue { offset, leader_epoch, metadata, committed, expires })
}
