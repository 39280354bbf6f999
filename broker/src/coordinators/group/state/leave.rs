//! Heartbeats, departures, and members that fell silent.

use super::group::Group;
use super::step::Step;
use crate::coordinators::group::request::{Answer, GroupState, Leaver, MemberRequest, Token};
use esker_storage::env::Monotonic;
use kafka_protocol::error::ResponseError;

impl Group {
    /// Heartbeat.
    pub(super) fn heartbeat(&mut self, request: &MemberRequest, token: Token, step: &mut Step<'_>) {
        let mut check = || {
            self.check_member(&request.member, request.instance.as_deref())?;
            if request.generation != self.generation {
                return Err(ResponseError::IllegalGeneration);
            }
            if let Some(member) = self.members.get_mut(&request.member) {
                member.seen(step.now.monotonic);
            }
            match self.state {
                GroupState::PreparingRebalance => Err(ResponseError::RebalanceInProgress),
                GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
                GroupState::Empty | GroupState::Dead => Err(ResponseError::UnknownMemberId),
            }
        };
        let result = check();
        step.reply(token, Answer::Heartbeat(result));
    }

    /// LeaveGroup: one rebalance for all who leave together.
    pub(super) fn leave(&mut self, leavers: Vec<Leaver>, token: Token, step: &mut Step<'_>) {
        let mut results = Vec::new();
        let members = self.members.len();
        for leaver in leavers {
            let left = self.leaving_member(&leaver);
            if let Ok(id) = &left {
                self.remove(id, step);
            }
            results.push((leaver, left.err()));
        }
        if self.members.len() < members {
            self.rebalance_or_complete_join(step);
        } else {
            self.maybe_complete_join(step);
        }
        step.reply(token, Answer::Leave(Ok(results)));
    }

    /// The id of who leaves: a member, a pending member, or by its instance id alone a static member that an
    /// administrator removes.
    fn leaving_member(&self, leaver: &Leaver) -> Result<String, ResponseError> {
        if leaver.member.is_empty() {
            let id = leaver.instance.as_ref().and_then(|instance| self.instances.get(instance));
            return id.cloned().ok_or(ResponseError::UnknownMemberId);
        }
        if !self.pending.contains_key(&leaver.member) {
            self.check_member(&leaver.member, leaver.instance.as_deref())?;
        }
        Ok(leaver.member.clone())
    }

    /// Does what is due. Ends because each round moves a deadline behind `now` or removes a member.
    pub(super) fn advance(&mut self, step: &mut Step<'_>) {
        let now = step.now.monotonic;
        while self.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.expire_silent(now, step);
            if self.sync_deadline.is_some_and(|deadline| deadline <= now) {
                self.expire_unsynced(step);
            }
            if self.join_timer.as_ref().is_some_and(|timer| timer.at() <= now) {
                self.join_timer_passed(step);
            }
        }
    }

    /// Removes those whose session ended, excusing those who wait here.
    fn expire_silent(&mut self, now: Monotonic, step: &mut Step<'_>) {
        let mut gone: Vec<String> = Vec::new();
        for (id, member) in &mut self.members {
            if member.session_deadline.is_some_and(|deadline| deadline <= now) {
                if member.is_excused() {
                    member.session_deadline = None;
                } else {
                    gone.push(id.clone());
                }
            }
        }
        gone.extend(self.pending.iter().filter(|(_, deadline)| **deadline <= now).map(|(id, _)| id.clone()));
        for id in gone {
            let was_member = self.members.contains_key(&id);
            self.remove(&id, step);
            match self.state {
                GroupState::Stable | GroupState::CompletingRebalance if was_member => self.prepare_rebalance(step),
                _ => self.maybe_complete_join(step),
            }
        }
    }

    /// Removes those who joined this generation and never synced.
    fn expire_unsynced(&mut self, step: &mut Step<'_>) {
        self.sync_deadline = None;
        let gone: Vec<String> =
            self.members.iter().filter(|(_, member)| member.owes_sync).map(|(id, _)| id.clone()).collect();
        if gone.is_empty() {
            return;
        }
        for id in &gone {
            self.remove(id, step);
        }
        self.prepare_rebalance(step);
    }
}
