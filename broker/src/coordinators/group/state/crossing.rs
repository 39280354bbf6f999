//! Where the two protocols meet: which of them a request finds, which it needs, and when a group goes from one to the
//! other.
//!
//! | request | finds | and then |
//! | --- | --- | --- |
//! | a join of the consumer protocol | nobody in a classic group | the group is one of the consumer protocol |
//! | | members | it is upgraded if that is possible, else GROUP_ID_NOT_FOUND |
//! | a join of the classic protocol | nobody in a consumer group | the group is a classic one |
//! | | members | a classic member in a consumer group |
//! | the last member of the consumer protocol goes | classic members | the group is downgraded if that is wanted |

use super::consumer::{ConsumerGroup, Joining, Leaving, validate};
use super::entry::Entry;
use super::group::{Group, fail_waiting};
use super::machine::GroupMachine;
use super::member::{Member, weight_of};
use super::migrate;
use super::step::Step;
use crate::coordinators::group::consumer_request::{Beat, ConsumerHeartbeat, DescribedConsumerGroup, Refusal};
use crate::coordinators::group::records::{GroupRecord, LogRecord};
use crate::coordinators::group::request::{Answer, GroupState, JoinAnswer, JoinRequest, Leaver, Token};
use kafka_protocol::error::ResponseError;
use std::time::Duration;

impl GroupMachine {
    /// ConsumerGroupHeartbeat.
    pub(super) fn beat(&mut self, request: ConsumerHeartbeat, step: &mut Step<'_>) -> Result<Beat, Refusal> {
        validate(&request, step.config)?;
        let id = request.group.clone();
        if request.epoch == 0 && NEW_MEMBER + said_by(&request) > step.room {
            let message = "The coordinator has no room for another member (group.coordinator.max.bytes).";
            return Err(Refusal::new(ResponseError::GroupMaxSizeReached, message));
        }
        let beat = if request.epoch < 0 { self.leave_by_beat(request, step) } else { self.live_beat(request, step) };
        self.settle(&id);
        beat
    }

    fn live_beat(&mut self, request: ConsumerHeartbeat, step: &mut Step<'_>) -> Result<Beat, Refusal> {
        let id = request.group.clone();
        let joins = request.epoch == 0;
        let (mut consumer, mut records) = match self.groups.get_mut(&id) {
            Some(Entry::Consumer(group)) => {
                let (records, beat) = group.beat(request, step)?;
                step.out.records.extend(records);
                return Ok(beat);
            }
            None if joins => (ConsumerGroup::new(&id), Vec::new()),
            Some(Entry::Classic(group)) if joins && group.state == GroupState::Empty => {
                let tombstone = group.written.then(|| GroupRecord::Group { group: id.clone(), value: None }.encode());
                (ConsumerGroup::new(&id), tombstone.into_iter().flatten().collect())
            }
            Some(Entry::Classic(group)) => {
                let upgraded = if joins { migrate::upgrade(group, step) } else { None };
                upgraded.ok_or_else(|| not_a_consumer_group(&id))?
            }
            None => {
                let message = format!("Consumer group {id} not found.");
                return Err(Refusal::new(ResponseError::GroupIdNotFound, message));
            }
        };
        // Only what succeeds changes anything.
        let (of_beat, beat) = consumer.beat(request, step)?;
        records.extend(of_beat);
        self.become_consumer_group(&id, consumer, records, step);
        Ok(beat)
    }

    /// Puts `consumer` in the place of what there was: it has the offsets, and who waited is told to join again.
    fn become_consumer_group(
        &mut self,
        id: &str,
        mut consumer: ConsumerGroup,
        records: Vec<LogRecord>,
        step: &mut Step<'_>,
    ) {
        if let Some(Entry::Classic(former)) = self.groups.remove(id) {
            consumer.offsets = former.offsets;
            for (member_id, mut member) in former.members {
                fail_waiting(&mut member, &member_id, ResponseError::RebalanceInProgress, step);
            }
        }
        step.out.records.extend(records);
        self.groups.insert(id.to_owned(), Entry::Consumer(consumer));
    }

    fn leave_by_beat(&mut self, request: ConsumerHeartbeat, step: &mut Step<'_>) -> Result<Beat, Refusal> {
        let id = request.group.clone();
        let group = match self.groups.get_mut(&id) {
            Some(Entry::Consumer(group)) => group,
            Some(Entry::Classic(_)) => return Err(not_a_consumer_group(&id)),
            None => {
                let message = format!("Group {id} not found.");
                return Err(Refusal::new(ResponseError::GroupIdNotFound, message));
            }
        };
        let member = match group.leaving(&request)? {
            Leaving::Away(member) => {
                let records = group.set_away(&member, step);
                step.out.records.extend(records.map_err(|_| Refusal::from(ResponseError::UnknownServerError))?);
                member
            }
            Leaving::Gone(member) => {
                self.put_out(&id, std::slice::from_ref(&member), step);
                member
            }
        };
        Ok(Beat { member, epoch: request.epoch, interval: Duration::ZERO, assignment: None })
    }

    /// LeaveGroup of classic members of a consumer group.
    pub(super) fn leave_consumer_group(&mut self, id: &str, leavers: Vec<Leaver>, token: Token, step: &mut Step<'_>) {
        let Some(Entry::Consumer(group)) = self.groups.get(id) else { return };
        let mut gone: Vec<String> = Vec::new();
        let mut results = Vec::new();
        for leaver in leavers {
            // Who is named twice leaves once.
            let left = group.leaver(&leaver).and_then(|member| {
                if gone.contains(&member) { Err(ResponseError::UnknownMemberId) } else { Ok(member) }
            });
            let error = left.map(|member| gone.push(member)).err();
            results.push((leaver, error));
        }
        if !gone.is_empty() {
            self.put_out(id, &gone, step);
        }
        step.reply(token, Answer::Leave(Ok(results)));
        self.settle(id);
    }

    /// Puts members out of a consumer group. If only classic ones are left, it is a classic group from then on, which
    /// rebalances.
    pub(super) fn put_out(&mut self, id: &str, members: &[String], step: &mut Step<'_>) {
        let Some(Entry::Consumer(group)) = self.groups.get_mut(id) else { return };
        let had_consumers = group.members.values().any(|member| !member.is_classic());
        if let Some(classic) = migrate::downgrade(group, members, step).filter(|_| had_consumers)
            && self.become_classic_group(id, classic, true, step)
        {
            return;
        }
        let Some(Entry::Consumer(group)) = self.groups.get_mut(id) else { return };
        // Tombstones and the group's own record always fit.
        let removed = group.remove(members, step);
        debug_assert!(removed.is_ok(), "{removed:?}");
        step.out.records.extend(removed.unwrap_or_default());
    }

    /// Puts `classic` in the place of a consumer group; false, and nothing happened, if it does not fit the log.
    fn become_classic_group(&mut self, id: &str, mut classic: Group, rebalances: bool, step: &mut Step<'_>) -> bool {
        let Some(former) = self.groups.get(id) else { return false };
        let before = step.out.records.len();
        Self::write_tombstones(former, step);
        if classic.write(step).is_err() {
            step.out.records.truncate(before);
            return false;
        }
        if let Some(former) = self.groups.get_mut(id) {
            classic.offsets = std::mem::take(former.offsets_mut());
        }
        if rebalances {
            classic.prepare_rebalance(step);
        }
        self.groups.insert(id.to_owned(), Entry::Classic(classic));
        true
    }

    /// JoinGroup.
    pub(super) fn join(&mut self, request: JoinRequest, token: Token, step: &mut Step<'_>) {
        let bounds = step.config.min_session_timeout..=step.config.max_session_timeout;
        if !request.session_timeout.is_some_and(|session| bounds.contains(&session)) {
            return step.refuse_join(token, &request.member, ResponseError::InvalidSessionTimeout);
        }
        if let Err(error) = self.check_size(&request, step) {
            return step.refuse_join(token, &request.member, error);
        }
        let id = request.group.clone();
        if let Some(Entry::Consumer(group)) = self.groups.get_mut(&id)
            && !group.members.is_empty()
        {
            match group.join(request, step) {
                Ok(joining) => self.joined_consumer_group(&id, joining, token, step),
                Err((error, member)) => step.refuse_join(token, &member, error),
            }
            return self.settle(&id);
        }
        if !matches!(self.groups.get(&id), Some(Entry::Classic(_))) {
            if !request.member.is_empty() {
                return step.refuse_join(token, &request.member, ResponseError::UnknownMemberId);
            }
            let mut classic = Group::new(&id, step.now.wall);
            if let Some(mut deserted) = self.groups.remove(&id) {
                Self::write_tombstones(&deserted, step);
                classic.offsets = std::mem::take(deserted.offsets_mut());
            }
            self.groups.insert(id.clone(), Entry::Classic(classic));
        }
        if let Some(Entry::Classic(group)) = self.groups.get_mut(&id) {
            group.join(request, token, step);
        }
        self.settle(&id);
    }

    fn joined_consumer_group(&mut self, id: &str, joining: Joining, token: Token, step: &mut Step<'_>) {
        let Joining { records, member, joined, replaced_last_consumer, is_bumped } = joining;
        step.out.records.extend(records);
        if replaced_last_consumer
            && let Some(Entry::Consumer(group)) = self.groups.get(id)
            && let Some(classic) = migrate::downgrade(group, &[], step)
        {
            // With the same subscription everybody keeps what it has, and there is nothing to agree upon.
            self.become_classic_group(id, classic, is_bumped, step);
        }
        step.reply(token, Answer::Join(JoinAnswer { result: Ok(joined), member }));
    }

    /// ConsumerGroupDescribe of one group.
    pub(super) fn describe_consumers(&self, id: &str, step: &Step<'_>) -> Result<DescribedConsumerGroup, Refusal> {
        match self.groups.get(id) {
            Some(Entry::Consumer(group)) => Ok(group.describe(step)),
            Some(Entry::Classic(_)) => Err(not_a_consumer_group(id)),
            None => Err(Refusal::new(ResponseError::GroupIdNotFound, format!("Group {id} not found."))),
        }
    }

    /// Whether what a member says of itself can be written at all, and kept in memory until it is.
    ///
    /// # Errors
    /// UNKNOWN_SERVER_ERROR, which is what Kafka makes of a group that is too large to be written;
    /// GROUP_MAX_SIZE_REACHED beyond `group.coordinator.max.bytes`.
    fn check_size(&self, request: &JoinRequest, step: &Step<'_>) -> Result<(), ResponseError> {
        let protocols = weight_of(&request.protocols);
        if protocols > step.config.max_record_bytes {
            return Err(ResponseError::UnknownServerError);
        }
        let present = match self.groups.get(&request.group) {
            Some(Entry::Classic(group)) => group.members.get(&request.member).map(Member::weight),
            Some(Entry::Consumer(group)) => group.members.contains_key(&request.member).then_some(NEW_MEMBER),
            None => None,
        };
        let new = NEW_MEMBER + protocols + request.group.len() + request.client_id.len();
        let growth = present.map_or(new, |before| protocols.saturating_sub(before));
        if growth > step.room { Err(ResponseError::GroupMaxSizeReached) } else { Ok(()) }
    }

    /// Writes that everything that the log has of a group is gone, but for its offsets.
    pub(super) fn write_tombstones(entry: &Entry, step: &mut Step<'_>) {
        let id = entry.id().to_owned();
        let records: Vec<GroupRecord> = match entry {
            _ if !entry.is_written() => Vec::new(),
            Entry::Classic(_) => vec![GroupRecord::Group { group: id, value: None }],
            Entry::Consumer(group) => {
                let of_group = |record| GroupRecord::Consumer { group: id.clone(), record };
                group.tombstones().into_iter().map(of_group).collect()
            }
        };
        // Their keys were written before, so that they fit.
        step.out.records.extend(records.iter().filter_map(|record| record.encode().ok()));
    }
}

/// What a member takes in memory with its ids, beyond what it says of itself, about.
const NEW_MEMBER: usize = 2048;

/// What a member of a consumer group says of itself that is kept, in bytes, about.
fn said_by(request: &ConsumerHeartbeat) -> usize {
    let topics: usize = request.topics.iter().flatten().map(|topic| 64 + topic.len()).sum();
    topics + request.regex.as_ref().map_or(0, String::len) + request.group.len() + request.client_id.len()
}

fn not_a_consumer_group(id: &str) -> Refusal {
    Refusal::new(ResponseError::GroupIdNotFound, format!("Group {id} is not a consumer group."))
}
