//! Members of the classic protocol in a consumer group, while it is migrated (KIP-848): what they join, sync and send
//! heartbeats to is the coordinator's assignment, and nobody of them leads.
//!
//! Where a member of the consumer protocol hears of a change by its heartbeat, a classic one is told to join again
//! (REBALANCE_IN_PROGRESS): when the group epoch has gone on, when it must give something up, and when what it waits for is
//! free. Its join says what it holds, as a heartbeat would; its sync fetches what it has.

use super::advance::advance;
use super::draft::Draft;
use super::group::{ConsumerGroup, Member, millis};
use super::timers::Timer;
use crate::coordinators::group::records::embedded::{NamedPartitions, Subscription, encode_assignment};
use crate::coordinators::group::records::{
    ClassicMemberValue, ConsumerMemberValue, LogRecord, MemberState, Partitions,
};
use crate::coordinators::group::request::{JoinRequest, Joined, Leaver, MemberRequest, SyncRequest, Synced};
use crate::coordinators::group::state::join::fresh_id;
use crate::coordinators::group::state::step::Step;
use crate::coordinators::group::topics::TopicsImage;
use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use std::time::Duration;

/// The only kind of classic groups that can become consumer groups.
pub(in crate::coordinators::group::state) const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// A classic member that has joined.
pub(in crate::coordinators::group::state) struct Joining {
    pub(in crate::coordinators::group::state) records: Vec<LogRecord>,
    pub(in crate::coordinators::group::state) member: String,
    pub(in crate::coordinators::group::state) joined: Joined,
    /// It took the place of the last member of the consumer protocol.
    pub(in crate::coordinators::group::state) replaced_last_consumer: bool,
    /// The group needs another assignment.
    pub(in crate::coordinators::group::state) is_bumped: bool,
}

impl ConsumerGroup {
    /// JoinGroup.
    ///
    /// # Errors
    /// Kafka's, with the member id that the answer has.
    pub(in crate::coordinators::group::state) fn join(
        &mut self,
        request: JoinRequest,
        step: &Step<'_>,
    ) -> Result<Joining, (ResponseError, String)> {
        let is_new = request.member.is_empty();
        let id = if is_new { fresh_id(&request) } else { request.member.clone() };
        let refuse = |error: ResponseError| (error, request.member.clone());
        self.check_room(&id, request.instance.as_deref(), step.config.consumer_max_size)
            .map_err(|refusal| (refusal.error, String::new()))?;
        let subscription = self.readable_subscription(&request).map_err(refuse)?;
        if is_new && request.requires_member_id && request.instance.is_none() {
            return Err((ResponseError::MemberIdRequired, id));
        }
        let mut draft = Draft::of(self, step.topics);
        let mut replaced_last_consumer = false;
        if let Some(instance) = &request.instance {
            match self.instances.get(instance) {
                Some(holder) if *holder == id => {}
                Some(holder) if is_new => {
                    replaced_last_consumer = self.is_last_consumer(holder);
                    draft.replace(holder, &id);
                }
                Some(_) => return Err(refuse(ResponseError::FencedInstanceId)),
                None if is_new => {}
                None => return Err(refuse(ResponseError::UnknownMemberId)),
            }
        }
        let before = draft.member(&id).map(|member| member.about.clone()).unwrap_or_default();
        let session_ms = request.session_timeout.map_or(0, to_millis);
        let protocol = request.protocols.first().map(|(name, _)| name.clone()).unwrap_or_default();
        let about = ConsumerMemberValue {
            instance: request.instance.clone().or(before.instance),
            rack: subscription.rack.or(before.rack),
            client_id: request.client_id.clone(),
            client_host: request.client_host.clone(),
            topics: subscription.topics,
            regex: None,
            rebalance_timeout_ms: to_millis(request.rebalance_timeout),
            assignor: before.assignor,
            classic: Some(ClassicMemberValue { session_timeout_ms: session_ms, protocols: request.protocols.clone() }),
        };
        let owned = by_id(&subscription.owned, step.topics);
        // Classic members are told of every change by a rebalance: what they join is assigned at once.
        let advanced = advance(draft, self, &id, about, Some(&owned), Duration::ZERO, step);
        let records =
            self.accept(advanced.records, step.config).map_err(|_| refuse(ResponseError::UnknownServerError))?;
        self.has_looked(advanced.is_resolved, advanced.is_targeted, step);
        let now = step.now.monotonic;
        self.timers.cancel(&id, Timer::Join);
        self.timers.cancel(&id, Timer::Rebalance);
        self.timers.set(&id, Timer::Session, now.plus(millis(session_ms)));
        self.timers.set(&id, Timer::Sync, now.plus(request.rebalance_timeout));
        let joined = Joined {
            generation: advanced.member.current.epoch,
            protocol_type: CONSUMER_PROTOCOL_TYPE.to_owned(),
            protocol,
            leader: String::new(),
            skip_assignment: false,
            members: Vec::new(),
        };
        Ok(Joining { records, member: id, joined, replaced_last_consumer, is_bumped: advanced.is_bumped })
    }

    /// What a classic member subscribes to, if it can be in this group: of the right kind, with a protocol that all the
    /// classic members have, and with metadata that can be read.
    fn readable_subscription(&self, request: &JoinRequest) -> Result<Subscription, ResponseError> {
        let classic: Vec<&ClassicMemberValue> =
            self.members.values().filter_map(|member| member.about.classic.as_ref()).collect();
        let is_everybodys =
            |name: &str| classic.iter().all(|member| member.protocols.iter().any(|(supported, _)| supported == name));
        let fits = request.protocol_type == CONSUMER_PROTOCOL_TYPE
            && request.protocols.iter().any(|(name, _)| is_everybodys(name));
        let metadata = request.protocols.first().filter(|_| fits).map(|(_, metadata)| metadata);
        let subscription = metadata.and_then(|metadata| Subscription::decode(metadata).ok());
        subscription.ok_or(ResponseError::InconsistentGroupProtocol)
    }

    /// Whether `id` is the only member of the consumer protocol.
    fn is_last_consumer(&self, id: &str) -> bool {
        self.members.iter().all(|(other, member)| member.is_classic() != (other == id))
    }

    /// SyncGroup: what the member has, in its own words.
    ///
    /// # Errors
    /// Kafka's.
    pub(in crate::coordinators::group::state) fn sync(
        &mut self,
        request: SyncRequest,
        step: &Step<'_>,
    ) -> Result<Synced, ResponseError> {
        let from = &request.from;
        let (member, classic) = self.classic_member(from)?;
        let (name, metadata) = classic.protocols.first().ok_or(ResponseError::InconsistentGroupProtocol)?;
        let differs = |said: &Option<String>, is: &str| said.as_ref().is_some_and(|said| said != is);
        if differs(&request.protocol_type, CONSUMER_PROTOCOL_TYPE) || differs(&request.protocol, name) {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        let now = step.now.monotonic;
        if self.epoch > member.current.epoch && member.current.state != MemberState::UnrevokedPartitions {
            let at = now.plus(member.rebalance_timeout());
            self.timers.set_if_absent(&from.member, Timer::Join, at);
            return Err(ResponseError::RebalanceInProgress);
        }
        let version = Subscription::decode(metadata).map_or(0, |subscription| subscription.version);
        let assigned = super::heartbeat::without_epochs(&member.current.assigned);
        let assignment = serialized(&assigned, version, step.topics)?;
        let session = now.plus(member.session_timeout(step.config.consumer_session_timeout));
        self.timers.cancel(&from.member, Timer::Sync);
        self.timers.set(&from.member, Timer::Session, session);
        Ok(Synced { protocol_type: request.protocol_type, protocol: request.protocol, assignment })
    }

    /// Heartbeat.
    ///
    /// # Errors
    /// Kafka's; REBALANCE_IN_PROGRESS if the member is to join again.
    pub(in crate::coordinators::group::state) fn heartbeat(
        &mut self,
        from: &MemberRequest,
        step: &Step<'_>,
    ) -> Result<(), ResponseError> {
        let (member, _) = self.classic_member(from)?;
        let now = step.now.monotonic;
        let session = now.plus(member.session_timeout(step.config.consumer_session_timeout));
        let join = now.plus(member.rebalance_timeout());
        let must_join = member.current.epoch < self.epoch
            || match member.current.state {
                MemberState::UnrevokedPartitions => true,
                MemberState::UnreleasedPartitions => !self.waits_for_others(&from.member, member),
                MemberState::Stable | MemberState::Unknown => false,
            };
        self.timers.set(&from.member, Timer::Session, session);
        if must_join {
            self.timers.set_if_absent(&from.member, Timer::Join, join);
            return Err(ResponseError::RebalanceInProgress);
        }
        Ok(())
    }

    /// Whether somebody else still holds what this member is to have.
    fn waits_for_others(&self, id: &str, member: &Member) -> bool {
        self.targets.get(id).into_iter().flatten().any(|(topic, partitions)| {
            let is_held = |partition: &i32| self.owners.get(&(*topic, *partition)).is_some_and(|owner| owner != id);
            partitions.iter().any(|partition| !member.holds(*topic, *partition) && is_held(partition))
        })
    }

    /// The classic member that a request is from, at its present epoch.
    fn classic_member(&self, from: &MemberRequest) -> Result<(&Member, &ClassicMemberValue), ResponseError> {
        if let Some(instance) = &from.instance {
            let holder = self.instances.get(instance).ok_or(ResponseError::UnknownMemberId)?;
            if *holder != from.member {
                return Err(ResponseError::FencedInstanceId);
            }
        }
        let member = self.members.get(&from.member).ok_or(ResponseError::UnknownMemberId)?;
        let classic = member.about.classic.as_ref().ok_or(ResponseError::UnknownMemberId)?;
        if member.current.epoch == from.generation {
            Ok((member, classic))
        } else {
            Err(ResponseError::IllegalGeneration)
        }
    }

    /// The id of a classic member that leaves by LeaveGroup, or that an administrator removes by its instance id alone.
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID.
    pub(in crate::coordinators::group::state) fn leaver(&self, leaver: &Leaver) -> Result<String, ResponseError> {
        let id = match &leaver.instance {
            None => &leaver.member,
            Some(instance) => {
                let holder = self.instances.get(instance).ok_or(ResponseError::UnknownMemberId)?;
                if !leaver.member.is_empty() && *holder != leaver.member {
                    return Err(ResponseError::FencedInstanceId);
                }
                holder
            }
        };
        match self.members.get(id) {
            Some(member) if member.is_classic() => Ok(id.clone()),
            _ => Err(ResponseError::UnknownMemberId),
        }
    }
}

fn to_millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

/// Partitions by topic id; topics that do not exist are left out.
pub(in crate::coordinators::group::state) fn by_id(named: &NamedPartitions, topics: &dyn TopicsImage) -> Partitions {
    let known = named.iter().filter_map(|(name, partitions)| Some((topics.by_name(name)?.id, partitions.clone())));
    known.filter(|(_, partitions)| !partitions.is_empty()).collect()
}

/// An assignment as classic members read it; topics that do not exist any more are left out.
///
/// # Errors
/// UNKNOWN_SERVER_ERROR if it is too large for its message.
pub(in crate::coordinators::group::state) fn serialized(
    assigned: &Partitions,
    version: i16,
    topics: &dyn TopicsImage,
) -> Result<Bytes, ResponseError> {
    let named = assigned.iter().filter_map(|(id, own)| Some((topics.name_of(*id)?.to_string(), own.clone())));
    encode_assignment(version, &named.collect()).map_err(|_| ResponseError::UnknownServerError)
}
