//! ConsumerGroupHeartbeat: joining, staying, and learning of one's assignment.

use super::advance::advance;
use super::draft::Draft;
use super::group::{ConsumerGroup, Member};
use super::subscription;
use super::timers::Timer;
use crate::coordinators::group::assignor::Assignor;
use crate::coordinators::group::config::GroupConfig;
use crate::coordinators::group::consumer_request::{Beat, ConsumerHeartbeat, LEAVES, LEAVES_FOR_A_WHILE, Refusal};
use crate::coordinators::group::records::{ConsumerMemberValue, HeldPartitions, LogRecord, Partitions};
use crate::coordinators::group::state::step::Step;
use kafka_protocol::error::ResponseError;

/// What can be said of a heartbeat without knowing its group.
///
/// # Errors
/// INVALID_REQUEST, UNSUPPORTED_ASSIGNOR, INVALID_REGULAR_EXPRESSION.
pub(in crate::coordinators::group::state) fn validate(
    request: &ConsumerHeartbeat,
    config: &GroupConfig,
) -> Result<(), Refusal> {
    let invalid = |message: &str| Err(Refusal::new(ResponseError::InvalidRequest, message));
    let is_empty = |text: &Option<String>| text.as_ref().is_some_and(String::is_empty);
    if request.member.trim().is_empty() && (request.brings_own_id || request.epoch != 0) {
        return invalid("MemberId can't be empty.");
    }
    if request.group.trim().is_empty() {
        return invalid("GroupId can't be empty.");
    }
    if is_empty(&request.instance) {
        return invalid("InstanceId can't be empty.");
    }
    if is_empty(&request.rack) {
        return invalid("RackId can't be empty.");
    }
    match request.epoch {
        0 => {
            if request.rebalance_timeout_ms.is_none() {
                return invalid("RebalanceTimeoutMs must be provided in first request.");
            }
            if !request.owned.as_ref().is_some_and(Partitions::is_empty) {
                return invalid("TopicPartitions must be empty when (re-)joining.");
            }
            let names_topics = request.topics.as_ref().is_some_and(|topics| !topics.is_empty());
            let has_regex = request.regex.as_ref().is_some_and(|regex| !regex.is_empty());
            if !names_topics && !has_regex {
                return invalid(
                    "Either SubscribedTopicNames or SubscribedTopicRegex must be non-empty when (re-)joining.",
                );
            }
        }
        LEAVES_FOR_A_WHILE if request.instance.is_none() => return invalid("InstanceId can't be null."),
        LEAVES | LEAVES_FOR_A_WHILE => {}
        epoch if epoch < LEAVES_FOR_A_WHILE => return invalid("MemberEpoch is invalid."),
        _ => {}
    }
    if let Some(assignor) = &request.assignor
        && !Assignor::named(assignor).is_some_and(|assignor| config.assignors.contains(&assignor))
    {
        let supported: Vec<&str> = config.assignors.iter().map(|assignor| assignor.name()).collect();
        let supported = supported.join(", ");
        let message = format!("ServerAssignor {assignor} is not supported. Supported assignors: {supported}.");
        return Err(Refusal::new(ResponseError::UnsupportedAssignor, message));
    }
    if let Some(regex) = request.regex.as_ref().filter(|regex| !regex.is_empty()) {
        subscription::compile(regex).map_err(|reason| {
            let message = format!("SubscribedTopicRegex `{regex}` is not a valid regular expression: {reason}.");
            Refusal::new(ResponseError::InvalidRegularExpression, message)
        })?;
    }
    Ok(())
}

impl ConsumerGroup {
    /// Handles a valid heartbeat of a member that does not leave: the records and the answer, or an error that leaves
    /// everything as it was.
    ///
    /// # Errors
    /// Kafka's.
    pub(in crate::coordinators::group::state) fn beat(
        &mut self,
        request: ConsumerHeartbeat,
        step: &Step<'_>,
    ) -> Result<(Vec<LogRecord>, Beat), Refusal> {
        let id = if request.member.is_empty() { request.fresh.to_string() } else { request.member.clone() };
        self.check_room(&id, request.instance.as_deref(), step.config.consumer_max_size)?;
        let mut draft = Draft::of(self, step.topics);
        self.find_or_join(&mut draft, &id, &request)?;
        let before = self.members.get(&id).cloned();
        let about = updated(draft.member(&id), &request);
        let interval = request.assignment_interval;
        let advanced = advance(draft, self, &id, about, request.owned.as_ref(), interval, step);
        let records = self.accept(advanced.records, step.config).map_err(|_| too_large())?;
        self.has_looked(advanced.is_resolved, advanced.is_targeted, step);
        self.timers.set(&id, Timer::Session, step.now.monotonic.plus(request.session_timeout));
        self.timers.cancel(&id, Timer::Join);
        self.timers.cancel(&id, Timer::Sync);
        self.watch_revocation(&id, before.as_ref(), step);
        let says_all = request.rebalance_timeout_ms.is_some()
            && (request.topics.is_some() || request.regex.is_some())
            && request.owned.is_some();
        let is_told = request.epoch == 0 || says_all || advanced.is_reassigned;
        let beat = Beat {
            member: id,
            epoch: advanced.member.current.epoch,
            interval: request.heartbeat_interval,
            assignment: is_told.then(|| without_epochs(&advanced.member.current.assigned)),
        };
        Ok((records, beat))
    }

    /// `group.consumer.max.size`. A static member that is back takes the place that it has.
    pub(super) fn check_room(&self, id: &str, instance: Option<&str>, max: usize) -> Result<(), Refusal> {
        let has_place = || instance.is_some_and(|instance| self.instances.contains_key(instance));
        if self.members.len() < max || self.members.contains_key(id) || has_place() {
            return Ok(());
        }
        let message = format!("The consumer group has reached its maximum capacity of {max} members.");
        Err(Refusal::new(ResponseError::GroupMaxSizeReached, message))
    }

    /// Finds the member that a heartbeat is of, or lets it take the place of a static one that left.
    fn find_or_join(&self, draft: &mut Draft<'_>, id: &str, request: &ConsumerHeartbeat) -> Result<(), Refusal> {
        let joins = request.epoch == 0;
        let Some(instance) = &request.instance else {
            return match self.members.get(id) {
                Some(member) => check_epoch(member, request.epoch, request.owned.as_ref()),
                None if joins => Ok(()),
                None => Err(self.not_a_member(id)),
            };
        };
        let holder = self.instances.get(instance).and_then(|holder| Some((holder, self.members.get(holder)?)));
        match holder {
            Some((holder, member)) if holder == id => check_epoch(member, request.epoch, request.owned.as_ref()),
            Some((holder, member)) if joins => {
                if !member.is_classic() && member.current.epoch != LEAVES_FOR_A_WHILE {
                    let message = format!(
                        "Static member {id} with instance id {instance} cannot join the group because the instance id \
                         is owned by {holder} member."
                    );
                    return Err(Refusal::new(ResponseError::UnreleasedInstanceId, message));
                }
                draft.replace(holder, id);
                Ok(())
            }
            Some((holder, _)) => Err(fenced_instance(id, instance, holder)),
            // A dynamic member may become a static one by joining again.
            None if joins => {
                self.members.get(id).map_or(Ok(()), |member| check_epoch(member, 0, request.owned.as_ref()))
            }
            None => Err(Refusal::new(ResponseError::UnknownMemberId, format!("Instance id {instance} is unknown."))),
        }
    }

    pub(super) fn not_a_member(&self, id: &str) -> Refusal {
        let message = format!("Member {id} is not a member of group {}.", self.id);
        Refusal::new(ResponseError::UnknownMemberId, message)
    }
}

pub(super) fn fenced_instance(id: &str, instance: &str, holder: &str) -> Refusal {
    let message = format!("Static member {id} with instance id {instance} was fenced by member {holder}.");
    Refusal::new(ResponseError::FencedInstanceId, message)
}

fn too_large() -> Refusal {
    Refusal::new(ResponseError::UnknownServerError, "The group has become too large for its log.")
}

/// A member must be at the epoch that is known of it. At the one before it may be as well, since an answer may have been
/// lost, and whoever joins again has given everything up; but not if it holds what it does not have.
fn check_epoch(member: &Member, epoch: i32, owned: Option<&Partitions>) -> Result<(), Refusal> {
    let known = member.current.epoch;
    if epoch == known {
        return Ok(());
    }
    let is_behind = epoch < known && (epoch == member.current.previous_epoch || epoch == 0);
    if is_behind && owned.is_some_and(|owned| is_within(owned, &member.current.assigned)) {
        return Ok(());
    }
    let side = if epoch > known { "greater" } else { "smaller" };
    let message = format!(
        "The consumer group member has a {side} member epoch ({epoch}) than the one known by the group coordinator \
         ({known}). The member must abandon all its partitions and rejoin."
    );
    Err(Refusal::new(ResponseError::FencedMemberEpoch, message))
}

fn is_within(owned: &Partitions, assigned: &HeldPartitions) -> bool {
    owned.iter().all(|(topic, partitions)| {
        partitions.iter().all(|partition| assigned.get(topic).is_some_and(|own| own.contains_key(partition)))
    })
}

/// What a member says of itself now: what it said before, but for what the request says.
fn updated(before: Option<&Member>, request: &ConsumerHeartbeat) -> ConsumerMemberValue {
    let about = before.map(|member| member.about.clone());
    let about =
        about.unwrap_or_else(|| ConsumerMemberValue { rebalance_timeout_ms: -1, ..ConsumerMemberValue::default() });
    let regex = match &request.regex {
        Some(regex) if regex.is_empty() => None,
        Some(regex) => Some(regex.clone()),
        None => about.regex,
    };
    ConsumerMemberValue {
        instance: request.instance.clone().or(about.instance),
        rack: request.rack.clone().or(about.rack),
        client_id: request.client_id.clone(),
        client_host: request.client_host.clone(),
        topics: request.topics.as_ref().map_or(about.topics, |topics| topics.iter().cloned().collect()),
        regex,
        rebalance_timeout_ms: request.rebalance_timeout_ms.unwrap_or(about.rebalance_timeout_ms),
        assignor: request.assignor.clone().or(about.assignor),
        classic: None,
    }
}

pub(super) fn without_epochs(held: &HeldPartitions) -> Partitions {
    held.iter().map(|(topic, partitions)| (*topic, partitions.keys().copied().collect())).collect()
}
