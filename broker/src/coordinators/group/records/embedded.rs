//! The consumers' own messages inside of the classic protocol: what a member subscribes to, and what it is assigned.
//! Coordinators of classic groups carry them as opaque bytes; these are for groups that mix both protocols.
//!
//! ```text
//! subscription   version:i16 topics:[string] user_data:bytes?
//!                [v1+ owned:[topic:string partitions:[i32]]] [v2+ generation:i32] [v3+ rack:string?]
//! assignment     version:i16 assigned:[topic:string partitions:[i32]] user_data:bytes?
//! ```
//!
//! A version beyond the newest is read as the newest, as Kafka's clients do.

use super::wire::{Reader, RecordError, Writer};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// The newest version of both messages.
const NEWEST: i16 = 3;

/// What a member of protocol type `consumer` subscribes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    /// The message's version, which the member's assignment has as well.
    pub version: i16,
    /// The topics.
    pub topics: BTreeSet<String>,
    /// What it holds while it joins; empty for members that give everything up before.
    pub owned: NamedPartitions,
    /// Where it runs.
    pub rack: Option<String>,
}

/// Partitions by the name of their topic.
pub type NamedPartitions = BTreeMap<String, BTreeSet<i32>>;

impl Subscription {
    /// Reads a member's metadata.
    ///
    /// # Errors
    /// Any [`RecordError`] but `TooLong`.
    pub fn decode(metadata: &[u8]) -> Result<Subscription, RecordError> {
        let mut reader = Reader { rest: metadata };
        let version = version(&mut reader)?;
        let mut topics = BTreeSet::new();
        for _ in 0..reader.length()? {
            topics.insert(reader.string()?);
        }
        has_user_data(&mut reader)?;
        let owned = if version >= 1 { partitions(&mut reader)? } else { NamedPartitions::new() };
        if version >= 2 {
            reader.i32()?;
        }
        let rack = if version >= 3 { reader.nullable()? } else { None };
        Ok(Subscription { version, topics, owned, rack })
    }
}

/// What a member of protocol type `consumer` is assigned by its leader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// The partitions.
    pub partitions: NamedPartitions,
    /// Whether the leader's assignor says anything else to the member's.
    pub has_user_data: bool,
}

impl Assignment {
    /// Reads what a member was assigned; nothing for no bytes at all.
    ///
    /// # Errors
    /// Any [`RecordError`] but `TooLong`.
    pub fn decode(assignment: &[u8]) -> Result<Assignment, RecordError> {
        if assignment.is_empty() {
            return Ok(Assignment::default());
        }
        let mut reader = Reader { rest: assignment };
        version(&mut reader)?;
        let partitions = partitions(&mut reader)?;
        Ok(Assignment { partitions, has_user_data: has_user_data(&mut reader)? })
    }
}

/// The bytes of an assignment, in the version of its member's subscription.
///
/// # Errors
/// [`RecordError::TooLong`].
pub fn encode_assignment(version: i16, assigned: &NamedPartitions) -> Result<Bytes, RecordError> {
    let mut out = Writer::default();
    out.put_i16(version.clamp(0, NEWEST));
    out.put_length(assigned.len())?;
    for (topic, partitions) in assigned {
        out.put_string(topic)?;
        out.put_length(partitions.len())?;
        partitions.iter().for_each(|partition| out.put_i32(*partition));
    }
    out.put_i32(-1);
    Ok(out.finish())
}

fn version(reader: &mut Reader<'_>) -> Result<i16, RecordError> {
    match reader.i16()? {
        version if version < 0 => Err(RecordError::Version(version)),
        version => Ok(version.min(NEWEST)),
    }
}

/// Reads past what an assignor adds; whether that is anything.
fn has_user_data(reader: &mut Reader<'_>) -> Result<bool, RecordError> {
    match reader.i32()? {
        -1 => Ok(false),
        length => reader.take(usize::try_from(length).map_err(|_| RecordError::Length)?).map(|data| !data.is_empty()),
    }
}

fn partitions(reader: &mut Reader<'_>) -> Result<NamedPartitions, RecordError> {
    let mut found = NamedPartitions::new();
    for _ in 0..reader.length()? {
        let topic = reader.string()?;
        let count = reader.length()?;
        let partitions = found.entry(topic).or_default();
        for _ in 0..count {
            partitions.insert(reader.i32()?);
        }
    }
    Ok(found)
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

#[cfg(test)]
#[path = "embedded_tests.rs"]
mod tests;
