//! From one generation to the next: who must join, how long the group waits, who leads.

use super::group::{Group, JoinTimer};
use super::step::Step;
use crate::coordinators::group::request::{Answer, GroupState, JoinAnswer};
use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use std::time::Duration;

/// How long the join phase is prolonged at least when nobody joined: a client's rebalance timeout may be zero.
const LEAST_PROLONGING: Duration = Duration::from_secs(1);

impl Group {
    /// Starts a rebalance, or if one is under way, ends its join phase if that is possible.
    pub(super) fn rebalance_or_complete_join(&mut self, step: &mut Step<'_>) {
        if self.state == GroupState::PreparingRebalance {
            self.maybe_complete_join(step);
        } else {
            self.prepare_rebalance(step);
        }
    }

    /// Asks every member to join again. Syncs that wait are answered REBALANCE_IN_PROGRESS.
    pub(super) fn prepare_rebalance(&mut self, step: &mut Step<'_>) {
        if self.state == GroupState::CompletingRebalance {
            self.end_syncs(ResponseError::RebalanceInProgress, step);
        }
        for member in self.members.values_mut() {
            member.owes_sync = false;
        }
        self.sync_deadline = None;
        let is_initial = self.state == GroupState::Empty;
        self.transition(GroupState::PreparingRebalance, step);
        if is_initial {
            let delay = step.config.initial_rebalance_delay;
            self.join_timer = Some(JoinTimer::Initial {
                at: step.now.monotonic.plus(delay),
                delay,
                remaining: self.rebalance_timeout().saturating_sub(delay),
                member_added: false,
            });
        } else if self.all_joined() {
            self.complete_join(step);
        } else {
            self.join_timer = Some(JoinTimer::Rebalance { at: step.now.monotonic.plus(self.rebalance_timeout()) });
        }
    }

    /// Gives up the assignment under way: empties every assignment and answers the waiting syncs with `error`.
    pub(super) fn end_syncs(&mut self, error: ResponseError, step: &mut Step<'_>) {
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
            if let Some(token) = member.syncing.take() {
                member.seen(step.now.monotonic);
                step.reply(token, Answer::Sync(Err(error)));
            }
        }
    }

    /// Ends the join phase if everybody is there. The first rebalance of an empty group waits for its time instead,
    /// since nobody knows how many will come.
    pub(super) fn maybe_complete_join(&mut self, step: &mut Step<'_>) {
        let is_initial = matches!(self.join_timer, Some(JoinTimer::Initial { .. }));
        if self.state == GroupState::PreparingRebalance && !is_initial && self.all_joined() {
            self.complete_join(step);
        }
    }

    /// The time of the join phase is up.
    pub(super) fn join_timer_passed(&mut self, step: &mut Step<'_>) {
        match self.join_timer.take() {
            Some(JoinTimer::Initial { delay, remaining, member_added: true, .. }) if !remaining.is_zero() => {
                let next = step.config.initial_rebalance_delay.min(remaining);
                self.join_timer = Some(JoinTimer::Initial {
                    at: step.now.monotonic.plus(next),
                    delay: next,
                    remaining: remaining.saturating_sub(delay),
                    member_added: false,
                });
            }
            Some(_) => self.complete_join(step),
            None => {}
        }
    }

    /// Ends the join phase: dynamic members that did not join are out, and a generation begins. Static members that
    /// did not join stay, until their session ends.
    fn complete_join(&mut self, step: &mut Step<'_>) {
        self.join_timer = None;
        let absent: Vec<String> = self
            .members
            .iter()
            .filter(|(_, member)| member.joining.is_none() && member.instance.is_none())
            .map(|(id, _)| id.clone())
            .collect();
        for id in absent {
            self.remove(&id, step);
        }
        if !self.elect_joined_leader() && !self.members.is_empty() {
            let wait = self.rebalance_timeout().max(LEAST_PROLONGING);
            self.join_timer = Some(JoinTimer::Rebalance { at: step.now.monotonic.plus(wait) });
            return;
        }
        self.generation = self.generation.checked_add(1).unwrap_or(0);
        self.protocol = self.select_protocol();
        self.subscribed = self.subscriptions();
        if self.members.is_empty() {
            self.transition(GroupState::Empty, step);
            // A group without members fits a record, or its id would have been refused.
            let _ = self.write(step);
            return;
        }
        self.transition(GroupState::CompletingRebalance, step);
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let joined = self.joined(&id);
            let Some(member) = self.members.get_mut(&id) else {
                continue;
            };
            member.is_new = false;
            member.owes_sync = true;
            member.seen(step.now.monotonic);
            if let Some(token) = member.joining.take() {
                step.reply(token, Answer::Join(JoinAnswer { result: Ok(joined), member: id }));
            }
        }
        self.sync_deadline = Some(step.now.monotonic.plus(self.rebalance_timeout()));
    }

    /// Makes sure that the leader is one who joined; false if nobody did.
    fn elect_joined_leader(&mut self) -> bool {
        let has_joined = |id: &String| self.members.get(id).is_some_and(|member| member.joining.is_some());
        if self.leader.as_ref().is_some_and(has_joined) {
            return true;
        }
        match self.members.iter().find(|(_, member)| member.joining.is_some()) {
            Some((id, _)) => {
                self.leader = Some(id.clone());
                true
            }
            None => false,
        }
    }
}
