//! A classic group as `__consumer_offsets` has it: key 2, values 0 to 4.

use super::wire::{Reader, RecordError, Writer, known_time};
use bytes::Bytes;
use esker_storage::env::Timestamp;

const GROUP_VALUE: i16 = 3;

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

pub(super) fn encode_group(value: &GroupValue) -> Result<Bytes, RecordError> {
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

pub(super) fn decode_group(value: &[u8]) -> Result<GroupValue, RecordError> {
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
