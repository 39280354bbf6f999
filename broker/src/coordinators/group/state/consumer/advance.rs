//! What a heartbeat and a join of the classic protocol have in common: a member says what it wants and what it holds,
//! and group, targets and member go as far forward as that allows.

use super::draft::Draft;
use super::group::{ConsumerGroup, Member};
use super::subscription::REFRESH_INTERVAL;
use super::timers::Timer;
use crate::coordinators::group::records::{ConsumerMemberValue, ConsumerRecord, MemberState, Partitions};
use crate::coordinators::group::state::step::Step;
use std::time::Duration;

/// A draft with its member, ready to be accepted.
pub(super) struct Advanced {
    pub(super) records: Vec<ConsumerRecord>,
    /// The member as it will be.
    pub(super) member: Member,
    /// What it may use is not what it was.
    pub(super) is_reassigned: bool,
    /// The group needed another assignment.
    pub(super) is_bumped: bool,
    /// Every expression was matched against the topics as they are now.
    pub(super) is_resolved: bool,
    /// Everybody's target was computed.
    pub(super) is_targeted: bool,
}

/// Another assignment is computed at most every `interval`. Takes `about` for what member `id` says of itself, and `owned` for what it says that it holds.
pub(super) fn advance(
    mut draft: Draft<'_>,
    group: &ConsumerGroup,
    id: &str,
    about: ConsumerMemberValue,
    owned: Option<&Partitions>,
    interval: Duration,
    step: &Step<'_>,
) -> Advanced {
    let before = draft.member(id).cloned().unwrap_or_default();
    let resubscribed = before.about.topics != about.topics || before.about.regex != about.regex;
    draft.describe(id, about);
    let version = step.topics.version();
    let is_resolved =
        group.resolved.is_none_or(|(looked, at)| looked < version && step.now.monotonic >= at.plus(REFRESH_INTERVAL));
    let rematched = draft.resolve_regexes(id, is_resolved, step);
    let must_bump = draft.epoch() == 0 || resubscribed || rematched;
    let mut is_bumped = false;
    if must_bump || group.compared != Some(version) {
        let hash = draft.hash();
        if must_bump || hash != draft.metadata_hash() {
            draft.bump(hash);
            is_bumped = true;
        }
    }
    // Members that come and go close together make one assignment, not one each.
    let is_due = group.targeted.is_none_or(|last| step.now.monotonic >= last.plus(interval));
    let is_targeted = draft.epoch() > draft.target_epoch() && is_due;
    if is_targeted {
        draft.retarget(step);
    }
    draft.reconcile(id, resubscribed, owned);
    let member = draft.member(id).cloned().unwrap_or_default();
    let is_reassigned = before.current.assigned != member.current.assigned;
    Advanced { records: draft.finish(), member, is_reassigned, is_bumped, is_resolved, is_targeted }
}

impl ConsumerGroup {
    /// After a draft was accepted: remembers what it looked at.
    pub(super) fn has_looked(&mut self, is_resolved: bool, is_targeted: bool, step: &Step<'_>) {
        let version = step.topics.version();
        if is_targeted {
            self.targeted = Some(step.now.monotonic);
        }
        self.compared = Some(version);
        if is_resolved {
            self.resolved = Some((version, step.now.monotonic));
        }
    }

    /// A member of the consumer protocol has as long as it asked for to give up what it must.
    pub(super) fn watch_revocation(&mut self, id: &str, before: Option<&Member>, step: &Step<'_>) {
        let Some(member) = self.members.get(id) else { return };
        if member.current.state != MemberState::UnrevokedPartitions {
            self.timers.cancel(id, Timer::Rebalance);
        } else if before.is_none_or(|before| before.current != member.current) {
            self.timers.set(id, Timer::Rebalance, step.now.monotonic.plus(member.rebalance_timeout()));
        }
    }
}
