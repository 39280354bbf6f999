//! A consumer group (KIP-848) as `__consumer_offsets` has it: keys 3, 5 to 8 and 16, each with its value in version 0.
//!
//! A group is many small records, so that a change writes only what changed: one of the group, and of each member what
//! it said of itself, what it is to have (its *target*) and what it has (its *current* assignment).

use super::wire::{Reader, RecordError, Writer};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// The only version of each value.
const VALUE: i16 = 0;

/// Partitions by topic id; no topic without one.
pub type Partitions = BTreeMap<Uuid, BTreeSet<i32>>;

/// Partitions by topic id, each with the member epoch at which it was given (KIP-1251); no topic without one.
pub type HeldPartitions = BTreeMap<Uuid, BTreeMap<i32, i32>>;

/// What a record says of one consumer group. A value of `None` says that it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumerRecord {
    /// Key 3: there is such a group.
    Group(Option<ConsumerGroupValue>),
    /// Key 5: what a member said of itself.
    Member {
        /// The member's id.
        member: String,
        /// What it said.
        value: Option<ConsumerMemberValue>,
    },
    /// Key 6: the group epoch that the targets were computed for, and when.
    TargetEpoch(Option<TargetEpochValue>),
    /// Key 7: what a member is to have.
    Target {
        /// The member's id.
        member: String,
        /// The partitions.
        value: Option<Partitions>,
    },
    /// Key 8: what a member has.
    Current {
        /// The member's id.
        member: String,
        /// Its epochs, its state and its partitions.
        value: Option<CurrentValue>,
    },
    /// Key 16: the topics that a regular expression matches.
    Regex {
        /// The expression.
        regex: String,
        /// What it matches.
        value: Option<RegexValue>,
    },
}

/// See [`ConsumerRecord::Group`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupValue {
    /// Counts the changes that need another assignment.
    pub epoch: i32,
    /// A hash of the subscribed topics, their ids and their numbers of partitions; 0 for none. Other brokers may hash
    /// in another way: it is only ever compared with one computed here.
    pub metadata_hash: i64,
}

/// See [`ConsumerRecord::TargetEpoch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetEpochValue {
    /// The group epoch.
    pub epoch: i32,
    /// When the targets were computed, in milliseconds since 1970; 0 if that is not known (KIP-1263).
    pub computed: i64,
}

/// See [`ConsumerRecord::Member`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerMemberValue {
    /// The instance id of a static member (KIP-345).
    pub instance: Option<String>,
    /// Where it runs.
    pub rack: Option<String>,
    /// Its `client.id`.
    pub client_id: String,
    /// Its address.
    pub client_host: String,
    /// The topics that it subscribes to by name.
    pub topics: BTreeSet<String>,
    /// The regular expression that it subscribes with.
    pub regex: Option<String>,
    /// How long it may take to give up partitions, in milliseconds; -1 if it did not say.
    pub rebalance_timeout_ms: i32,
    /// The assignor that it prefers.
    pub assignor: Option<String>,
    /// Set for a member that speaks the classic protocol, during a migration.
    pub classic: Option<ClassicMemberValue>,
}

/// What a member of the classic protocol said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicMemberValue {
    /// How long it may be silent, in milliseconds.
    pub session_timeout_ms: i32,
    /// What it can do, best first, with its metadata for each.
    pub protocols: Vec<(String, Bytes)>,
}

/// Where a member stands between what it has and what it is to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberState {
    /// It has what it is to have, as of its epoch.
    #[default]
    Stable,
    /// It must give partitions up, and has not said yet that it did.
    UnrevokedPartitions,
    /// Others must give up partitions that it is to have.
    UnreleasedPartitions,
    /// A state of a version to come.
    Unknown,
}

impl MemberState {
    fn to_wire(self) -> i8 {
        match self {
            MemberState::Stable => 0,
            MemberState::UnrevokedPartitions => 1,
            MemberState::UnreleasedPartitions => 2,
            MemberState::Unknown => 127,
        }
    }

    fn from_wire(value: i8) -> MemberState {
        match value {
            0 => MemberState::Stable,
            1 => MemberState::UnrevokedPartitions,
            2 => MemberState::UnreleasedPartitions,
            _ => MemberState::Unknown,
        }
    }
}

/// See [`ConsumerRecord::Current`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CurrentValue {
    /// The epoch that the member is expected to send; -2 for a static member that is away.
    pub epoch: i32,
    /// The epoch before, with which it comes back if an answer was lost.
    pub previous_epoch: i32,
    /// Where it stands.
    pub state: MemberState,
    /// What it may use.
    pub assigned: HeldPartitions,
    /// What it must give up, and still holds.
    pub revoking: HeldPartitions,
}

/// See [`ConsumerRecord::Regex`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegexValue {
    /// The topics that it matches.
    pub topics: BTreeSet<String>,
    /// The version of the metadata that was looked at.
    pub version: i64,
    /// When that was, in milliseconds since 1970.
    pub resolved: i64,
}

impl ConsumerRecord {
    /// Whether the record says that something is gone.
    pub fn is_tombstone(&self) -> bool {
        match self {
            ConsumerRecord::Group(value) => value.is_none(),
            ConsumerRecord::Member { value, .. } => value.is_none(),
            ConsumerRecord::TargetEpoch(value) => value.is_none(),
            ConsumerRecord::Target { value, .. } => value.is_none(),
            ConsumerRecord::Current { value, .. } => value.is_none(),
            ConsumerRecord::Regex { value, .. } => value.is_none(),
        }
    }

    /// Puts the record's key; its value's bytes.
    pub(super) fn encode(&self, group: &str, key: &mut Writer) -> Result<Option<Bytes>, RecordError> {
        let code = match self {
            ConsumerRecord::Group(_) => 3,
            ConsumerRecord::Member { .. } => 5,
            ConsumerRecord::TargetEpoch(_) => 6,
            ConsumerRecord::Target { .. } => 7,
            ConsumerRecord::Current { .. } => 8,
            ConsumerRecord::Regex { .. } => 16,
        };
        key.put_i16(code);
        key.put_string(group)?;
        match self {
            ConsumerRecord::Group(value) => value.as_ref().map(encode_group).transpose(),
            ConsumerRecord::Member { member, value } => {
                key.put_string(member)?;
                value.as_ref().map(encode_member).transpose()
            }
            ConsumerRecord::TargetEpoch(value) => value.as_ref().map(encode_target_epoch).transpose(),
            ConsumerRecord::Target { member, value } => {
                key.put_string(member)?;
                value.as_ref().map(encode_target).transpose()
            }
            ConsumerRecord::Current { member, value } => {
                key.put_string(member)?;
                value.as_ref().map(encode_current).transpose()
            }
            ConsumerRecord::Regex { regex, value } => {
                key.put_string(regex)?;
                value.as_ref().map(encode_regex).transpose()
            }
        }
    }

    /// What the rest of a key that began with `code`, and its value mean: the group's id and the record; `None` for a
    /// code that is not a consumer group's.
    pub(super) fn decode(
        code: i16,
        key: &mut Reader<'_>,
        value: Option<&[u8]>,
    ) -> Result<Option<(String, ConsumerRecord)>, RecordError> {
        if !matches!(code, 3 | 5..=8 | 16) {
            return Ok(None);
        }
        let group = key.string()?;
        let record = match code {
            3 => ConsumerRecord::Group(value.map(decode_group).transpose()?),
            5 => ConsumerRecord::Member { member: key.string()?, value: value.map(decode_member).transpose()? },
            6 => ConsumerRecord::TargetEpoch(value.map(decode_target_epoch).transpose()?),
            7 => ConsumerRecord::Target { member: key.string()?, value: value.map(decode_target).transpose()? },
            8 => ConsumerRecord::Current { member: key.string()?, value: value.map(decode_current).transpose()? },
            _ => ConsumerRecord::Regex { regex: key.string()?, value: value.map(decode_regex).transpose()? },
        };
        Ok(Some((group, record)))
    }
}

fn start() -> Writer {
    let mut out = Writer::default();
    out.put_i16(VALUE);
    out
}

fn open(value: &[u8]) -> Result<Reader<'_>, RecordError> {
    let mut value = Reader { rest: value };
    match value.i16()? {
        VALUE => Ok(value),
        version => Err(RecordError::Version(version)),
    }
}

fn encode_group(value: &ConsumerGroupValue) -> Result<Bytes, RecordError> {
    let mut out = start();
    out.put_i32(value.epoch);
    if value.metadata_hash == 0 {
        out.put_no_tags();
    } else {
        out.put_tag(0, &value.metadata_hash.to_be_bytes())?;
    }
    Ok(out.finish())
}

fn decode_group(value: &[u8]) -> Result<ConsumerGroupValue, RecordError> {
    let mut value = open(value)?;
    let epoch = value.i32()?;
    let metadata_hash = value.tag(0)?.map_or(Ok(0), |mut tag| tag.i64())?;
    Ok(ConsumerGroupValue { epoch, metadata_hash })
}

fn encode_member(value: &ConsumerMemberValue) -> Result<Bytes, RecordError> {
    let mut out = start();
    out.put_compact_nullable(value.instance.as_deref())?;
    out.put_compact_nullable(value.rack.as_deref())?;
    out.put_compact(value.client_id.as_bytes())?;
    out.put_compact(value.client_host.as_bytes())?;
    put_names(&mut out, &value.topics)?;
    out.put_compact_nullable(value.regex.as_deref())?;
    out.put_i32(value.rebalance_timeout_ms);
    out.put_compact_nullable(value.assignor.as_deref())?;
    match &value.classic {
        None => out.put_no_tags(),
        Some(classic) => {
            let mut tag = Writer::default();
            // A nullable structure says first that it is there.
            tag.put_i8(1);
            tag.put_i32(classic.session_timeout_ms);
            tag.put_count(classic.protocols.len())?;
            for (name, metadata) in &classic.protocols {
                tag.put_compact(name.as_bytes())?;
                tag.put_compact(metadata)?;
                tag.put_no_tags();
            }
            tag.put_no_tags();
            out.put_tag(0, &tag.finish())?;
        }
    }
    Ok(out.finish())
}

fn decode_member(value: &[u8]) -> Result<ConsumerMemberValue, RecordError> {
    let mut value = open(value)?;
    Ok(ConsumerMemberValue {
        instance: value.compact_string()?,
        rack: value.compact_string()?,
        client_id: value.compact_string()?.ok_or(RecordError::Length)?,
        client_host: value.compact_string()?.ok_or(RecordError::Length)?,
        topics: names(&mut value)?,
        regex: value.compact_string()?,
        rebalance_timeout_ms: value.i32()?,
        assignor: value.compact_string()?,
        classic: match value.tag(0)? {
            Some(mut tag) => decode_classic(&mut tag)?,
            None => None,
        },
    })
}

fn decode_classic(value: &mut Reader<'_>) -> Result<Option<ClassicMemberValue>, RecordError> {
    if value.i8()? < 0 {
        return Ok(None);
    }
    let session_timeout_ms = value.i32()?;
    let mut protocols = Vec::new();
    for _ in 0..value.count()? {
        let name = value.compact_string()?.ok_or(RecordError::Length)?;
        let metadata = value.any_bytes(true)?;
        value.skip_tags()?;
        protocols.push((name, metadata));
    }
    value.skip_tags()?;
    Ok(Some(ClassicMemberValue { session_timeout_ms, protocols }))
}

fn encode_target_epoch(value: &TargetEpochValue) -> Result<Bytes, RecordError> {
    let mut out = start();
    out.put_i32(value.epoch);
    if value.computed == 0 {
        out.put_no_tags();
    } else {
        out.put_tag(0, &value.computed.to_be_bytes())?;
    }
    Ok(out.finish())
}

fn decode_target_epoch(value: &[u8]) -> Result<TargetEpochValue, RecordError> {
    let mut value = open(value)?;
    let epoch = value.i32()?;
    let computed = value.tag(0)?.map_or(Ok(0), |mut tag| tag.i64())?;
    Ok(TargetEpochValue { epoch, computed })
}

fn encode_target(value: &Partitions) -> Result<Bytes, RecordError> {
    let mut out = start();
    out.put_count(value.len())?;
    for (topic, partitions) in value {
        put_topic(&mut out, topic, partitions.iter())?;
        out.put_no_tags();
    }
    out.put_no_tags();
    Ok(out.finish())
}

fn decode_target(value: &[u8]) -> Result<Partitions, RecordError> {
    let mut value = open(value)?;
    let mut found = Partitions::new();
    for _ in 0..value.count()? {
        let (topic, partitions) = topic(&mut value)?;
        value.skip_tags()?;
        if !partitions.is_empty() {
            found.entry(topic).or_default().extend(partitions);
        }
    }
    value.skip_tags()?;
    Ok(found)
}

fn encode_current(value: &CurrentValue) -> Result<Bytes, RecordError> {
    let mut out = start();
    out.put_i32(value.epoch);
    out.put_i32(value.previous_epoch);
    out.put_i8(value.state.to_wire());
    put_held(&mut out, &value.assigned)?;
    put_held(&mut out, &value.revoking)?;
    out.put_no_tags();
    Ok(out.finish())
}

fn decode_current(value: &[u8]) -> Result<CurrentValue, RecordError> {
    let mut value = open(value)?;
    let epoch = value.i32()?;
    let previous_epoch = value.i32()?;
    let state = MemberState::from_wire(value.i8()?);
    let assigned = held(&mut value, epoch)?;
    let revoking = held(&mut value, epoch)?;
    value.skip_tags()?;
    Ok(CurrentValue { epoch, previous_epoch, state, assigned, revoking })
}

fn put_held(out: &mut Writer, held: &HeldPartitions) -> Result<(), RecordError> {
    out.put_count(held.len())?;
    for (topic, partitions) in held {
        put_topic(out, topic, partitions.keys())?;
        let mut epochs = Writer::default();
        epochs.put_count(partitions.len())?;
        partitions.values().for_each(|epoch| epochs.put_i32(*epoch));
        out.put_tag(0, &epochs.finish())?;
    }
    Ok(())
}

/// Before KIP-1251 there were no epochs: the member's own says that no older commit is taken.
fn held(value: &mut Reader<'_>, member_epoch: i32) -> Result<HeldPartitions, RecordError> {
    let mut held = HeldPartitions::new();
    for _ in 0..value.count()? {
        let (topic, partitions) = topic(value)?;
        let epochs = match value.tag(0)? {
            None => vec![member_epoch; partitions.len()],
            Some(mut tag) => match tag.compact_length()? {
                None => vec![member_epoch; partitions.len()],
                Some(count) if count == partitions.len() => {
                    (0..count).map(|_| tag.i32()).collect::<Result<Vec<_>, _>>()?
                }
                Some(_) => return Err(RecordError::Length),
            },
        };
        if !partitions.is_empty() {
            held.entry(topic).or_default().extend(partitions.into_iter().zip(epochs));
        }
    }
    Ok(held)
}

fn put_topic<'a>(
    out: &mut Writer,
    topic: &Uuid,
    partitions: impl ExactSizeIterator<Item = &'a i32>,
) -> Result<(), RecordError> {
    out.put_raw(topic.as_bytes());
    out.put_count(partitions.len())?;
    partitions.for_each(|partition| out.put_i32(*partition));
    Ok(())
}

fn topic(value: &mut Reader<'_>) -> Result<(Uuid, Vec<i32>), RecordError> {
    let topic = Uuid::from_bytes(value.array()?);
    let count = value.count()?;
    let mut partitions = Vec::new();
    for _ in 0..count {
        partitions.push(value.i32()?);
    }
    Ok((topic, partitions))
}

fn encode_regex(value: &RegexValue) -> Result<Bytes, RecordError> {
    let mut out = start();
    put_names(&mut out, &value.topics)?;
    out.put_i64(value.version);
    out.put_i64(value.resolved);
    out.put_no_tags();
    Ok(out.finish())
}

fn decode_regex(value: &[u8]) -> Result<RegexValue, RecordError> {
    let mut value = open(value)?;
    let topics = names(&mut value)?;
    let version = value.i64()?;
    let resolved = value.i64()?;
    value.skip_tags()?;
    Ok(RegexValue { topics, version, resolved })
}

fn put_names(out: &mut Writer, names: &BTreeSet<String>) -> Result<(), RecordError> {
    out.put_count(names.len())?;
    names.iter().try_for_each(|name| out.put_compact(name.as_bytes()))
}

fn names(value: &mut Reader<'_>) -> Result<BTreeSet<String>, RecordError> {
    let mut names = BTreeSet::new();
    for _ in 0..value.count()? {
        names.insert(value.compact_string()?.ok_or(RecordError::Length)?);
    }
    Ok(names)
}
