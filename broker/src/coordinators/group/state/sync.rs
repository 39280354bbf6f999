//! SyncGroup: the leader hands in the assignment, everybody else waits for it.

use super::group::Group;
use super::step::Step;
use crate::coordinators::group::request::{Answer, GroupState, SyncRequest, Token};
use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use std::collections::BTreeMap;

impl Group {
    /// SyncGroup.
    pub(super) fn sync(&mut self, request: SyncRequest, token: Token, step: &mut Step<'_>) {
        if let Err(error) = self.check_sync(&request) {
            return step.reply(token, Answer::Sync(Err(error)));
        }
        // It could not be written either: Kafka says the same once it has tried.
        if request.assignments.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() > step.config.max_record_bytes {
            return step.reply(token, Answer::Sync(Err(ResponseError::UnknownServerError)));
        }
        let id = request.from.member;
        let is_completing = self.state == GroupState::CompletingRebalance;
        let Some(member) = self.members.get_mut(&id) else {
            return step.reply(token, Answer::Sync(Err(ResponseError::UnknownMemberId)));
        };
        member.owes_sync = false;
        if !is_completing {
            let assignment = member.assignment.clone();
            step.reply(token, Answer::Sync(Ok(self.synced(assignment))));
        } else if let Some(superseded) = member.syncing.replace(token) {
            step.reply(superseded, Answer::Sync(Err(ResponseError::RebalanceInProgress)));
        }
        if self.members.values().all(|member| !member.owes_sync) {
            self.sync_deadline = None;
        }
        if is_completing && self.leads(&id) {
            self.assign(request.assignments, step);
        }
    }

    fn check_sync(&self, request: &SyncRequest) -> Result<(), ResponseError> {
        let from = &request.from;
        self.check_member(&from.member, from.instance.as_deref())?;
        if from.generation != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        let differs = |said: &Option<String>, is: &Option<String>| said.is_some() && is.is_some() && said != is;
        if differs(&request.protocol_type, &self.protocol_type) || differs(&request.protocol, &self.protocol) {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        match self.state {
            GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
            GroupState::PreparingRebalance => Err(ResponseError::RebalanceInProgress),
            GroupState::Empty | GroupState::Dead => Err(ResponseError::UnknownMemberId),
        }
    }

    /// The leader's word: each member gets its bytes as they are, whoever is not named gets none, and names that are
    /// not members are dropped.
    fn assign(&mut self, assignments: Vec<(String, Bytes)>, step: &mut Step<'_>) {
        let mut assignments: BTreeMap<String, Bytes> = assignments.into_iter().collect();
        for (id, member) in &mut self.members {
            member.assignment = assignments.remove(id).unwrap_or_default();
        }
        self.transition(GroupState::Stable, step);
        if self.write(step).is_err() {
            // Too large for the partition: say so, as Kafka does, and let them try again with less.
            self.end_syncs(ResponseError::UnknownServerError, step);
            return self.prepare_rebalance(step);
        }
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let Some(member) = self.members.get_mut(&id) else {
                continue;
            };
            if let Some(token) = member.syncing.take() {
                // Its session may have run out unnoticed while it waited.
                member.seen(step.now.monotonic);
                let assignment = member.assignment.clone();
                step.reply(token, Answer::Sync(Ok(self.synced(assignment))));
            }
        }
    }
}
