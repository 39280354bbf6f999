//! The uniform assignor: every member has as many partitions as every other, or one more, over all topics together; and
//! as few partitions move as that allows.
//!
//! 1. What a member was to have stays its own, as far as it subscribes to it and it exists.
//! 2. Partitions without an owner go to whoever subscribes to their topic and has the fewest.
//! 3. Partitions move from members with more to members with fewer, as long as the difference is two or more.
//!
//! If all members subscribe to the same topics, 1 and 2 know how many each may have and 3 is never needed. Otherwise 3
//! goes on until no single move makes it more even: each lowers the sum of the squares of what members have, so it ends.

use super::spec::{Spec, Targets};
use crate::coordinators::group::records::Partitions;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// A partition.
type Partition = (Uuid, i32);

pub(super) fn assign(spec: &Spec) -> Targets {
    let mut kept = Kept::of(spec);
    if spec.is_homogeneous() {
        share_evenly(&mut kept);
    } else {
        place(spec, &mut kept);
        balance(spec, &mut kept);
    }
    kept.into_targets()
}

/// Who has what so far. Members are numbered in the order of their ids.
struct Kept<'a> {
    ids: Vec<&'a String>,
    /// Of each member, its partitions.
    held: Vec<BTreeSet<Partition>>,
    /// The partitions without an owner, in order.
    free: Vec<Partition>,
}

impl<'a> Kept<'a> {
    /// What members may keep of what they were to have.
    fn of(spec: &'a Spec) -> Kept<'a> {
        let mut taken: BTreeSet<Partition> = BTreeSet::new();
        let mut held = Vec::with_capacity(spec.members.len());
        for member in spec.members.values() {
            let mut own = BTreeSet::new();
            for (topic, partitions) in member.target.iter().filter(|(topic, _)| member.topics.contains(*topic)) {
                let count = spec.partitions(topic);
                let there = partitions.iter().filter(|partition| (0..count).contains(*partition));
                own.extend(there.map(|partition| (*topic, *partition)).filter(|partition| taken.insert(*partition)));
            }
            held.push(own);
        }
        let subscribed: BTreeSet<Uuid> = spec.members.values().flat_map(|member| &member.topics).copied().collect();
        let all = subscribed.iter().flat_map(|topic| (0..spec.partitions(topic)).map(move |number| (*topic, number)));
        let free = all.filter(|partition| !taken.contains(partition)).collect();
        Kept { ids: spec.members.keys().collect(), held, free }
    }

    fn into_targets(self) -> Targets {
        let mut targets = Targets::new();
        for (id, held) in self.ids.into_iter().zip(self.held) {
            let mut target = Partitions::new();
            for (topic, partition) in held {
                target.entry(topic).or_default().insert(partition);
            }
            targets.insert(id.clone(), target);
        }
        targets
    }
}

/// All subscribe to the same: each may have a quota, and some one more. Those who have more already keep the ones more.
fn share_evenly(kept: &mut Kept<'_>) {
    let members = kept.held.len();
    if members == 0 {
        return;
    }
    let total: usize = kept.held.iter().map(BTreeSet::len).sum::<usize>() + kept.free.len();
    let (quota, mut extra) = (total / members, total % members);
    let mut by_size: Vec<usize> = (0..members).collect();
    by_size.sort_by_key(|member| std::cmp::Reverse(kept.held.get(*member).map_or(0, BTreeSet::len)));
    let mut open = Vec::new();
    for member in by_size {
        let may_have = quota + usize::from(extra > 0);
        extra = extra.saturating_sub(1);
        let Some(held) = kept.held.get_mut(member) else { continue };
        while held.len() > may_have {
            kept.free.extend(held.pop_last());
        }
        open.push((member, may_have - held.len()));
    }
    let mut free = std::mem::take(&mut kept.free).into_iter();
    for (member, room) in open {
        if let Some(held) = kept.held.get_mut(member) {
            held.extend(free.by_ref().take(room));
        }
    }
}

/// Of each topic, the members that subscribe to it.
fn subscribers(spec: &Spec) -> BTreeMap<Uuid, Vec<usize>> {
    let mut subscribers: BTreeMap<Uuid, Vec<usize>> = BTreeMap::new();
    for (number, member) in spec.members.values().enumerate() {
        for topic in &member.topics {
            subscribers.entry(*topic).or_default().push(number);
        }
    }
    subscribers
}

/// Gives partitions without an owner to whoever has the fewest; topics with few subscribers first, since theirs cannot
/// go elsewhere.
fn place(spec: &Spec, kept: &mut Kept<'_>) {
    let subscribers = subscribers(spec);
    let choices = |topic: &Uuid| subscribers.get(topic).map_or(0, Vec::len);
    let mut free = std::mem::take(&mut kept.free);
    free.sort_by_key(|(topic, number)| (choices(topic), *topic, *number));
    for partition in free {
        let who = subscribers.get(&partition.0).into_iter().flatten();
        let fewest = who.copied().min_by_key(|member| kept.held.get(*member).map_or(usize::MAX, BTreeSet::len));
        if let Some(held) = fewest.and_then(|member| kept.held.get_mut(member)) {
            held.insert(partition);
        }
    }
}

/// Moves partitions until no single move makes it more even.
fn balance(spec: &Spec, kept: &mut Kept<'_>) {
    let subscribers = subscribers(spec);
    loop {
        let mut moved = false;
        for (topic, members) in &subscribers {
            while let Some((from, to)) = uneven(topic, members, &kept.held) {
                let partition = kept.held.get(from).and_then(|held| of_topic(held, topic).next_back().copied());
                let (Some(partition), true) = (partition, from != to) else { break };
                if let Some(held) = kept.held.get_mut(from) {
                    held.remove(&partition);
                }
                if let Some(held) = kept.held.get_mut(to) {
                    held.insert(partition);
                }
                moved = true;
            }
        }
        if !moved {
            return;
        }
    }
}

/// Who has the most among those with a partition of `topic`, and who the fewest of its subscribers, if they are two
/// apart or more.
fn uneven(topic: &Uuid, members: &[usize], held: &[BTreeSet<Partition>]) -> Option<(usize, usize)> {
    let size = |member: &usize| held.get(*member).map_or(0, BTreeSet::len);
    let has_one = |member: &usize| held.get(*member).is_some_and(|held| of_topic(held, topic).next().is_some());
    let most = members.iter().filter(|member| has_one(member)).max_by_key(|member| size(member))?;
    let fewest = members.iter().min_by_key(|member| size(member))?;
    (size(most) >= size(fewest) + 2).then_some((*most, *fewest))
}

fn of_topic<'a>(held: &'a BTreeSet<Partition>, topic: &Uuid) -> impl DoubleEndedIterator<Item = &'a Partition> {
    held.range((*topic, 0)..=(*topic, i32::MAX))
}
