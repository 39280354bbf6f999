//! JoinGroup: new members, members that come back, and static members that come back under a new id.

use super::group::{Group, JoinTimer, fail_waiting};
use super::member::{Member, distinct};
use super::step::Step;
use crate::coordinators::group::request::{Answer, GroupState, JoinAnswer, JoinRequest, Joined, Token};
use bytes::Bytes;
use kafka_protocol::error::ResponseError;

/// The longest part of a `client.id` that goes into a member id, in bytes.
const CLIENT_ID_IN_MEMBER_ID: usize = 255;

impl Group {
    /// JoinGroup.
    pub(super) fn join(&mut self, request: JoinRequest, token: Token, step: &mut Step<'_>) {
        if !self.has_room_for(&request, step) {
            self.remove(&request.member, step);
            self.maybe_complete_join(step);
            step.refuse_join(token, "", ResponseError::GroupMaxSizeReached);
        } else if !self.accepts_protocols(&request.protocol_type, &request.protocols) {
            step.refuse_join(token, &request.member, ResponseError::InconsistentGroupProtocol);
        } else if request.member.is_empty() {
            self.join_as_new(request, token, step);
        } else if self.pending.contains_key(&request.member) && request.instance.is_none() {
            let id = request.member.clone();
            self.join_with_id(id, request, token, step);
        } else {
            self.join_again(request, token, step);
        }
    }

    /// `group.max.size`. While a rebalance waits for joins, those who have joined count, so that a group that grew too
    /// large (the limit may have been lowered) leaves out the last to join. A static member that is back takes the
    /// place that it has.
    fn has_room_for(&self, request: &JoinRequest, step: &Step<'_>) -> bool {
        let max = step.config.max_size;
        let instance = request.instance.as_ref().and_then(|instance| self.instances.get(instance));
        let id = if request.member.is_empty() { instance } else { Some(&request.member) };
        let present = id.and_then(|id| self.members.get(id));
        match self.state {
            GroupState::Empty | GroupState::Dead => true,
            GroupState::PreparingRebalance => {
                present.is_some_and(|member| member.joining.is_some())
                    || self.members.values().filter(|member| member.joining.is_some()).count() < max
            }
            GroupState::CompletingRebalance | GroupState::Stable => present.is_some() || self.members.len() < max,
        }
    }

    fn join_as_new(&mut self, request: JoinRequest, token: Token, step: &mut Step<'_>) {
        let id = fresh_id(&request);
        match &request.instance {
            Some(instance) => match self.instances.get(instance).cloned() {
                Some(previous) => self.replace_static(&previous, id, request, token, step),
                None => self.join_with_id(id, request, token, step),
            },
            None if request.requires_member_id => {
                if self.pending.len() >= step.config.max_pending {
                    return step.refuse_join(token, "", ResponseError::GroupMaxSizeReached);
                }
                let session = request.session_timeout.unwrap_or_default();
                self.pending.insert(id.clone(), step.now.monotonic.plus(session));
                step.refuse_join(token, &id, ResponseError::MemberIdRequired);
            }
            None => self.join_with_id(id, request, token, step),
        }
    }

    /// Adds a member and rebalances. Its session does not run yet, since without an answer it does not know its id;
    /// but a client that gave up meanwhile would leave a dead member behind with every try, so that there is a limit.
    fn join_with_id(&mut self, id: String, request: JoinRequest, token: Token, step: &mut Step<'_>) {
        if let Some(JoinTimer::Initial { member_added, .. }) = &mut self.join_timer {
            *member_added = true;
        }
        let member = Member {
            instance: request.instance,
            client_id: request.client_id,
            client_host: request.client_host,
            session_timeout: request.session_timeout.unwrap_or_default(),
            rebalance_timeout: request.rebalance_timeout,
            protocols: distinct(request.protocols),
            assignment: Bytes::new(),
            joining: Some(token),
            syncing: None,
            is_new: true,
            owes_sync: false,
            session_deadline: Some(step.now.monotonic.plus(step.config.new_member_join_timeout)),
        };
        self.add(&id, &request.protocol_type, member);
        self.rebalance_or_complete_join(step);
    }

    fn join_again(&mut self, request: JoinRequest, token: Token, step: &mut Step<'_>) {
        let id = request.member.clone();
        if let Err(error) = self.check_member(&id, request.instance.as_deref()) {
            return step.refuse_join(token, &id, error);
        }
        let unchanged =
            self.members.get(&id).is_some_and(|member| member.protocols == distinct(request.protocols.clone()));
        let keeps_generation = match self.state {
            GroupState::PreparingRebalance => false,
            // The answer to its last join may have been lost.
            GroupState::CompletingRebalance => unchanged,
            // A leader that joins again wants a rebalance, for reasons that its metadata need not show.
            GroupState::Stable => unchanged && !self.leads(&id),
            GroupState::Empty | GroupState::Dead => {
                return step.refuse_join(token, &id, ResponseError::UnknownMemberId);
            }
        };
        if keeps_generation {
            return step.reply(token, Answer::Join(JoinAnswer { result: Ok(self.joined(&id)), member: id }));
        }
        self.update(&id, request, token, step);
        self.rebalance_or_complete_join(step);
    }

    /// Takes over what a present member says of itself now, and its join as one that waits.
    fn update(&mut self, id: &str, request: JoinRequest, token: Token, step: &mut Step<'_>) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        member.protocols = distinct(request.protocols);
        member.session_timeout = request.session_timeout.unwrap_or_default();
        member.rebalance_timeout = request.rebalance_timeout;
        member.client_id = request.client_id;
        member.client_host = request.client_host;
        if let Some(superseded) = member.joining.replace(token) {
            // The client gave up on that join: it may not be left unanswered, and must not lose its id over it.
            step.refuse_join(superseded, id, ResponseError::RebalanceInProgress);
        }
    }

    /// A static member is back under the id `id`: it takes the place of `previous`, whose requests are fenced.
    /// In a stable group whose choice of protocol stands, that is all: no rebalance (KIP-345).
    fn replace_static(&mut self, previous: &str, id: String, request: JoinRequest, token: Token, step: &mut Step<'_>) {
        let Some(mut member) = self.members.remove(previous) else {
            return step.refuse_join(token, "", ResponseError::UnknownMemberId);
        };
        fail_waiting(&mut member, previous, ResponseError::FencedInstanceId, step);
        member.is_new = false;
        if let Some(instance) = &member.instance {
            self.instances.insert(instance.clone(), id.clone());
        }
        let previous_leader = self.leader.clone();
        if self.leads(previous) {
            self.leader = Some(id.clone());
        }
        self.members.insert(id.clone(), member);
        let skips_assignment = request.supports_skipping_assignment;
        self.update(&id, request, token, step);
        if let Some(member) = self.members.get_mut(&id) {
            member.seen(step.now.monotonic);
        }
        let generation_stands = self.state == GroupState::Stable && self.select_protocol() == self.protocol;
        match self.state {
            GroupState::Stable if generation_stands => {
                if self.write(step).is_err() {
                    return self.prepare_rebalance(step);
                }
                self.subscribed = self.subscriptions();
                if let Some(member) = self.members.get_mut(&id) {
                    member.joining = None;
                }
                let joined = self.joined(&id);
                let leads = self.leads(&id);
                let joined = if skips_assignment {
                    Joined { skip_assignment: leads, ..joined }
                } else {
                    // Before KIP-814 a leader that is back must not find itself leading, or it would assign anew.
                    Joined { members: Vec::new(), leader: previous_leader.unwrap_or_default(), ..joined }
                };
                step.reply(token, Answer::Join(JoinAnswer { result: Ok(joined), member: id }));
            }
            // The leader may be assigning to the old id: its assignment would miss the new one.
            GroupState::Stable | GroupState::CompletingRebalance => self.prepare_rebalance(step),
            GroupState::PreparingRebalance => self.maybe_complete_join(step),
            GroupState::Empty | GroupState::Dead => {}
        }
    }
}

/// The instance id or the client's name, so that a person recognises it, and a random part that makes it unique.
pub(super) fn fresh_id(request: &JoinRequest) -> String {
    let name = request.instance.as_deref().unwrap_or(&request.client_id);
    let mut end = name.len().min(CLIENT_ID_IN_MEMBER_ID);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}-{}", name.get(..end).unwrap_or_default(), request.fresh)
}
