//! The records of `__consumer_offsets`, byte for byte as Kafka writes them, so that tools that read the topic work.
//!
//! A *key* names what a record is about and a *value* says what is now true of it; a record without value (a
//! *tombstone*) says that it is gone. Both start with a big-endian `i16` version:
//!
//! ```text
//! key 0, 1   committed offset   group:string topic:string partition:i32            (1 is written)
//! key 2      classic group      group:string
//! value of an offset            v0: offset:i64 metadata:string committed:i64
//!                               v1: offset:i64 metadata:string committed:i64 expires:i64
//!                               v2: as v0
//!                               v3: offset:i64 leader_epoch:i32 metadata:string committed:i64   (written)
//!                               v4: v3 in the flexible encoding
//! value of a group              protocol_type:string generation:i32 protocol:string? leader:string?
//!                               [v2+ state_since:i64] members:[member]                          (3 is written)
//! member                        id:string [v3+ instance:string?] client_id:string client_host:string
//!                               [v1+ rebalance_ms:i32] session_ms:i32 subscription:bytes assignment:bytes
//! ```
//!
//! `string` is an `i16` length and UTF-8, `string?` has the length -1 for null, `bytes` and arrays have an `i32` length;
//! the flexible encoding has unsigned varints of the length plus one, and tagged fields after each structure.
//!
//! Version 1 of an offset's value is written when a client (OffsetCommit 2-4) asked for a retention of its own, as
//! Kafka does. Keys of other versions belong to protocols that this coordinator does not speak; they decode to
//! [`GroupRecord::Other`] and are left alone. Decoding never trusts a length: nothing is allocated that the record's
//! own bytes do not back.

use bytes::{BufMut, Bytes, BytesMut};
use esker_storage::env::Timestamp;

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
    /// A record of a protocol that is not spoken here.
    Other {
        /// The version that its key starts with.
        version: i16,
    },
}

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

/// A classic group between two rebalances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupValue {
    /// The kind of group (`consumer`, `connect`, ...); empty if it never had a member.
    pub protocol_type: String,
    /// How many rebalances were completed.
    pub generation: i32,
    /// The protocol that the members chose, `None` without members.
    pub protocol: Option<String>,
    /// The member that assigns.
    pub leader: Option<String>,
    /// When the group came into its state; unknown before version 2.
    pub state_since: Option<Timestamp>,
    /// The members.
    pub members: Vec<MemberValue>,
}

/// A member of a classic group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberValue {
    /// The id that the coordinator gave.
    pub id: String,
    /// The instance id of a static member (KIP-345).
    pub instance: Option<String>,
    /// The `client.id` of its last join.
    pub client_id: String,
    /// The address of its last join.
    pub client_host: String,
    /// How long a rebalance waits for it, in milliseconds; -1 before version 1.
    pub rebalance_timeout_ms: i32,
    /// How long it may be silent, in milliseconds.
    pub session_timeout_ms: i32,
    /// Its metadata for the chosen protocol, opaque.
    pub subscription: Bytes,
    /// What the leader assigned to it, opaque.
    pub assignment: Bytes,
}

/// Why a record could not be encoded or decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A field reaches beyond the record's end.
    #[error("the record ends within a field")]
    Truncated,
    /// A length is negative where that has no meaning.
    #[error("a field has an invalid length")]
    Length,
    /// A string is not UTF-8.
    #[error("a string is not UTF-8")]
    Utf8,
    /// The value has a version that is not known.
    #[error("version {0} of the value is not known")]
    Version(i16),
    /// A string or array is too long to be written.
    #[error("a field is too long for its length prefix")]
    TooLong,
}

const OFFSET_KEY: i16 = 1;
const GROUP_KEY: i16 = 2;
const OFFSET_VALUE: i16 = 3;
const OFFSET_VALUE_WITH_EXPIRY: i16 = 1;
const GROUP_VALUE: i16 = 3;

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
            version => Ok(GroupRecord::Other { version }),
        }
    }
}

fn encode_offset(value: &OffsetValue) -> Result<Bytes, RecordError> {
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

fn decode_offset(value: &[u8]) -> Result<OffsetValue, RecordError> {
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

fn encode_group(value: &GroupValue) -> Result<Bytes, RecordError> {
    let mut out = Writer::default();
    out.put_i16(GROUP_VALUE);
    out.put_string(&value.protocol_type)?;
    out.put_i32(value.generation);
    out.put_nullable(value.protocol.as_deref())?;
    out.put_nullable(value.leader.as_deref())?;
    out.put_i64(value.state_since.map_or(-1, Timestamp::millis));
    out.put_i32(i32::try_from(value.members.len()).map_err(|_| RecordError::TooLong)?);
    for member in &value.members {
        out.put_string(&member.id)?;
        out.put_nullable(member.instance.as_deref())?;
        out.put_string(&member.client_id)?;
        out.put_string(&member.client_host)?;
        out.put_i32(member.rebalance_timeout_ms);
        out.put_i32(member.session_timeout_ms);
        out.put_bytes(&member.subscription)?;
        out.put_bytes(&member.assignment)?;
    }
    Ok(out.finish())
}

fn decode_group(value: &[u8]) -> Result<GroupValue, RecordError> {
    let mut value = Reader { rest: value };
    let version = value.i16()?;
    if !(0..=4).contains(&version) {
        return Err(RecordError::Version(version));
    }
    let flexible = version >= 4;
    let protocol_type = value.any_string(flexible)?.ok_or(RecordError::Length)?;
    let generation = value.i32()?;
    let protocol = value.any_string(flexible)?;
    let leader = value.any_string(flexible)?;
    let state_since = if version >= 2 { known_time(value.i64()?) } else { None };
    let count = if flexible { value.compact_length()?.ok_or(RecordError::Length)? } else { value.length()? };
    let mut members = Vec::new();
    for _ in 0..count {
        members.push(decode_member(&mut value, version)?);
    }
    if flexible {
        value.skip_tags()?;
    }
    Ok(GroupValue { protocol_type, generation, protocol, leader, state_since, members })
}

fn decode_member(value: &mut Reader<'_>, version: i16) -> Result<MemberValue, RecordError> {
    let flexible = version >= 4;
    let member = MemberValue {
        id: value.any_string(flexible)?.ok_or(RecordError::Length)?,
        instance: if version >= 3 { value.any_string(flexible)? } else { None },
        client_id: value.any_string(flexible)?.ok_or(RecordError::Length)?,
        client_host: value.any_string(flexible)?.ok_or(RecordError::Length)?,
        rebalance_timeout_ms: if version >= 1 { value.i32()? } else { -1 },
        session_timeout_ms: value.i32()?,
        subscription: value.any_bytes(flexible)?,
        assignment: value.any_bytes(flexible)?,
    };
    if flexible {
        value.skip_tags()?;
    }
    Ok(member)
}

/// -1 stands for an unknown time.
fn known_time(millis: i64) -> Option<Timestamp> {
    (millis != -1).then(|| Timestamp::from_millis(millis))
}

/// The topics that a member of protocol type `consumer` subscribed to, from its otherwise opaque metadata; `None` if
/// it does not say so in a way that is understood.
///
/// The metadata is a `ConsumerProtocolSubscription`: `version:i16 topics:[string]` and what later versions add.
pub fn subscribed_topics(metadata: &[u8]) -> Option<Vec<String>> {
    let mut reader = Reader { rest: metadata };
    let version = reader.i16().ok()?;
    if version < 0 {
        return None;
    }
    let count = reader.length().ok()?;
    let mut topics = Vec::new();
    for _ in 0..count {
        topics.push(reader.string().ok()?);
    }
    Some(topics)
}

#[derive(Default)]
struct Writer {
    out: BytesMut,
}

impl Writer {
    fn put_i16(&mut self, value: i16) {
        self.out.put_i16(value);
    }

    fn put_i32(&mut self, value: i32) {
        self.out.put_i32(value);
    }

    fn put_i64(&mut self, value: i64) {
        self.out.put_i64(value);
    }

    fn put_string(&mut self, value: &str) -> Result<(), RecordError> {
        self.out.put_i16(i16::try_from(value.len()).map_err(|_| RecordError::TooLong)?);
        self.out.put_slice(value.as_bytes());
        Ok(())
    }

    fn put_nullable(&mut self, value: Option<&str>) -> Result<(), RecordError> {
        match value {
            Some(value) => self.put_string(value),
            None => {
                self.out.put_i16(-1);
                Ok(())
            }
        }
    }

    fn put_bytes(&mut self, value: &[u8]) -> Result<(), RecordError> {
        self.out.put_i32(i32::try_from(value.len()).map_err(|_| RecordError::TooLong)?);
        self.out.put_slice(value);
        Ok(())
    }

    fn finish(self) -> Bytes {
        self.out.freeze()
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(RecordError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(RecordError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn i16(&mut self) -> Result<i16, RecordError> {
        self.array().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32, RecordError> {
        self.array().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Result<i64, RecordError> {
        self.array().map(i64::from_be_bytes)
    }

    /// An `i32` length that must not be null.
    fn length(&mut self) -> Result<usize, RecordError> {
        usize::try_from(self.i32()?).map_err(|_| RecordError::Length)
    }

    fn varint(&mut self) -> Result<u32, RecordError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            let bits = u32::from(byte & 0x7f);
            value |= bits.checked_shl(shift).filter(|shifted| shifted >> shift == bits).ok_or(RecordError::Length)?;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(RecordError::Length)
    }

    /// A flexible length: one more than it is, 0 for null.
    fn compact_length(&mut self) -> Result<Option<usize>, RecordError> {
        Ok(self.varint()?.checked_sub(1).and_then(|length| usize::try_from(length).ok()))
    }

    fn text(&mut self, length: usize) -> Result<String, RecordError> {
        let taken = self.take(length)?;
        Ok(std::str::from_utf8(taken).map_err(|_| RecordError::Utf8)?.to_owned())
    }

    fn nullable(&mut self) -> Result<Option<String>, RecordError> {
        match self.i16()? {
            -1 => Ok(None),
            length => self.text(usize::try_from(length).map_err(|_| RecordError::Length)?).map(Some),
        }
    }

    fn string(&mut self) -> Result<String, RecordError> {
        self.nullable()?.ok_or(RecordError::Length)
    }

    fn compact_string(&mut self) -> Result<Option<String>, RecordError> {
        self.compact_length()?.map(|length| self.text(length)).transpose()
    }

    fn any_string(&mut self, flexible: bool) -> Result<Option<String>, RecordError> {
        if flexible { self.compact_string() } else { self.nullable() }
    }

    fn any_bytes(&mut self, flexible: bool) -> Result<Bytes, RecordError> {
        let length = if flexible { self.compact_length()?.ok_or(RecordError::Length)? } else { self.length()? };
        self.take(length).map(Bytes::copy_from_slice)
    }

    fn skip_tags(&mut self) -> Result<(), RecordError> {
        for _ in 0..self.varint()? {
            self.varint()?;
            let length = usize::try_from(self.varint()?).map_err(|_| RecordError::Length)?;
            self.take(length)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
