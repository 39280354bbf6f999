//! Leaving: for good, or as a static member that will be back; and being put out.

use super::draft::Draft;
use super::group::ConsumerGroup;
use super::heartbeat::fenced_instance;
use super::timers::Timer;
use crate::coordinators::group::consumer_request::{ConsumerHeartbeat, LEAVES_FOR_A_WHILE, Refusal};
use crate::coordinators::group::records::{
    ConsumerRecord, CurrentValue, HeldPartitions, LogRecord, MemberState, RecordError,
};
use crate::coordinators::group::state::step::Step;
use kafka_protocol::error::ResponseError;

/// What a heartbeat that leaves comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::coordinators::group::state) enum Leaving {
    /// This member goes for good.
    Gone(String),
    /// This static member will be back before its session ends.
    Away(String),
}

impl ConsumerGroup {
    /// Who leaves by `request`, and how.
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID.
    pub(in crate::coordinators::group::state) fn leaving(
        &self,
        request: &ConsumerHeartbeat,
    ) -> Result<Leaving, Refusal> {
        let Some(instance) = &request.instance else {
            return if self.members.contains_key(&request.member) {
                Ok(Leaving::Gone(request.member.clone()))
            } else {
                Err(self.not_a_member(&request.member))
            };
        };
        match self.instances.get(instance) {
            None => Err(Refusal::new(ResponseError::UnknownMemberId, format!("Instance id {instance} is unknown."))),
            Some(holder) if *holder != request.member => Err(fenced_instance(&request.member, instance, holder)),
            Some(holder) if request.epoch == LEAVES_FOR_A_WHILE => Ok(Leaving::Away(holder.clone())),
            Some(holder) => Ok(Leaving::Gone(holder.clone())),
        }
    }

    /// A static member is away: it keeps its partitions until its session ends, but for those that it had to give up.
    ///
    /// # Errors
    /// None that can happen: the record is smaller than the one before.
    pub(in crate::coordinators::group::state) fn set_away(
        &mut self,
        id: &str,
        step: &Step<'_>,
    ) -> Result<Vec<LogRecord>, RecordError> {
        let Some(member) = self.members.get(id) else { return Ok(Vec::new()) };
        let away = CurrentValue {
            epoch: LEAVES_FOR_A_WHILE,
            state: MemberState::Stable,
            revoking: HeldPartitions::new(),
            ..member.current.clone()
        };
        let records =
            self.accept(vec![ConsumerRecord::Current { member: id.to_owned(), value: Some(away) }], step.config)?;
        self.timers.cancel(id, Timer::Rebalance);
        Ok(records)
    }

    /// Puts members out; the group needs another assignment, which the next heartbeat computes.
    ///
    /// # Errors
    /// None that can happen: only tombstones and the group's own record are written.
    pub(in crate::coordinators::group::state) fn remove(
        &mut self,
        ids: &[String],
        step: &Step<'_>,
    ) -> Result<Vec<LogRecord>, RecordError> {
        let mut draft = Draft::of(self, step.topics);
        for id in ids {
            draft.remove(id);
        }
        let hash = draft.hash();
        draft.bump(hash);
        let records = draft.finish();
        self.accept(records, step.config)
    }

    /// What removes the group from the log: everything of its members, then the group itself.
    pub(in crate::coordinators::group::state) fn tombstones(&self) -> Vec<ConsumerRecord> {
        let mut records = Vec::new();
        for member in self.members.keys() {
            records.push(ConsumerRecord::Current { member: member.clone(), value: None });
        }
        for member in self.targets.keys() {
            records.push(ConsumerRecord::Target { member: member.clone(), value: None });
        }
        records.push(ConsumerRecord::TargetEpoch(None));
        for member in self.members.keys() {
            records.push(ConsumerRecord::Member { member: member.clone(), value: None });
        }
        for regex in self.regexes.keys() {
            records.push(ConsumerRecord::Regex { regex: regex.clone(), value: None });
        }
        records.push(ConsumerRecord::Group(None));
        records
    }
}
