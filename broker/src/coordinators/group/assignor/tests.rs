//! What must hold of every assignment, over random groups and over random changes to them.

use super::spec::Targets;
use super::{Assignor, MemberSpec, Spec};
use crate::coordinators::group::records::Partitions;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

fn topic(number: u128) -> Uuid {
    Uuid::from_u128(number + 1)
}

fn spec(topics: &[i32], members: &[(&str, &[u128])]) -> Spec {
    let topics = topics.iter().enumerate().map(|(number, count)| (topic(number as u128), *count)).collect();
    let member = |subscribed: &[u128]| MemberSpec {
        topics: subscribed.iter().map(|number| topic(*number)).collect(),
        ..MemberSpec::default()
    };
    Spec { topics, members: members.iter().map(|(id, subscribed)| ((*id).to_owned(), member(subscribed))).collect() }
}

/// `spec` with what was assigned as what members were to have.
fn after(mut spec: Spec, targets: &Targets) -> Spec {
    for (id, member) in &mut spec.members {
        member.target = targets.get(id).cloned().unwrap_or_default();
    }
    spec
}

fn size(target: &Partitions) -> usize {
    target.values().map(BTreeSet::len).sum()
}

/// Every partition that somebody subscribes to belongs to exactly one member, who subscribes to its topic.
fn check_complete(spec: &Spec, targets: &Targets) {
    assert!(targets.keys().eq(spec.members.keys()));
    let mut owned: BTreeSet<(Uuid, i32)> = BTreeSet::new();
    for (id, target) in targets {
        for (topic, partitions) in target {
            assert!(spec.members[id].topics.contains(topic), "{id} does not subscribe to {topic}");
            assert!(!partitions.is_empty());
            for partition in partitions {
                assert!((0..spec.topics[topic]).contains(partition));
                assert!(owned.insert((*topic, *partition)), "{topic}-{partition} is assigned twice");
            }
        }
    }
    let subscribed: BTreeSet<Uuid> = spec.members.values().flat_map(|member| &member.topics).copied().collect();
    let all: i32 = subscribed.iter().map(|topic| spec.topics[topic]).sum();
    assert_eq!(i32::try_from(owned.len()).unwrap(), all, "every partition is assigned");
}

/// No single partition could move and make it more even.
fn check_balanced(spec: &Spec, targets: &Targets) {
    for (from, target) in targets {
        for topic in target.keys() {
            for (to, other) in targets.iter().filter(|(to, _)| spec.members[*to].topics.contains(topic)) {
                assert!(size(target) < size(other) + 2, "{from} has {} and {to} has {}", size(target), size(other));
            }
        }
    }
}

/// Topic by topic, subscribers have contiguous ranges that differ by one at most.
fn check_ranges(spec: &Spec, targets: &Targets) {
    for topic in spec.topics.keys() {
        let sizes = targets.iter().filter(|(id, _)| spec.members[*id].topics.contains(topic)).map(|(_, target)| {
            let Some(own) = target.get(topic) else { return 0 };
            let span = own.last().unwrap() - own.first().unwrap() + 1;
            assert_eq!(usize::try_from(span).unwrap(), own.len(), "contiguous");
            own.len()
        });
        let sizes: Vec<usize> = sizes.collect();
        let (most, fewest) = (sizes.iter().max().unwrap_or(&0), sizes.iter().min().unwrap_or(&0));
        assert!(most - fewest <= 1);
    }
}

fn moved(before: &Targets, now: &Targets) -> usize {
    let lost = |(id, target): (&String, &Partitions)| -> usize {
        let kept = now.get(id).cloned().unwrap_or_default();
        target.iter().map(|(topic, own)| own.difference(kept.get(topic).unwrap_or(&BTreeSet::new())).count()).sum()
    };
    before.iter().map(lost).sum::<usize>()
}

#[test]
fn assignors_have_kafkas_names() {
    assert_eq!(Assignor::named("uniform"), Some(Assignor::Uniform));
    assert_eq!(Assignor::named("range"), Some(Assignor::Range));
    assert_eq!(Assignor::named("Range"), None);
}

#[test]
fn ranges_are_those_of_kafka() {
    let group = spec(&[3, 3], &[("a", &[0, 1]), ("b", &[0, 1])]);
    let targets = Assignor::Range.assign(&group);
    let both = |range: &[i32]| -> Partitions {
        [topic(0), topic(1)].into_iter().map(|topic| (topic, range.iter().copied().collect())).collect()
    };
    assert_eq!(targets, BTreeMap::from([("a".to_owned(), both(&[0, 1])), ("b".to_owned(), both(&[2]))]));
}

#[test]
fn a_static_member_gets_its_range_again_under_another_id() {
    let mut group = spec(&[4], &[("x", &[0]), ("y", &[0])]);
    group.members.get_mut("y").unwrap().instance = Some("first".to_owned());
    let before = Assignor::Range.assign(&group);
    let member = group.members.remove("y").unwrap();
    group.members.insert("another".to_owned(), member);
    assert_eq!(Assignor::Range.assign(&group)["another"], before["y"]);
    assert_eq!(before["y"], Partitions::from([(topic(0), BTreeSet::from([0, 1]))]));
}

#[test]
fn a_group_without_topics_or_members_gets_nothing() {
    for assignor in [Assignor::Uniform, Assignor::Range] {
        assert!(assignor.assign(&Spec::default()).is_empty());
        let targets = assignor.assign(&spec(&[], &[("a", &[])]));
        assert_eq!(targets["a"], Partitions::new());
    }
}

#[test]
fn members_beyond_the_partitions_get_nothing() {
    let group = spec(&[1], &[("a", &[0]), ("b", &[0]), ("c", &[0])]);
    for assignor in [Assignor::Uniform, Assignor::Range] {
        let targets = assignor.assign(&group);
        check_complete(&group, &targets);
    }
}

#[derive(Clone, Debug)]
enum Change {
    Join(u8, Vec<u128>),
    Leave(u8),
    Subscribe(u8, Vec<u128>),
    Grow(u128, i32),
}

const TOPICS: u128 = 4;

fn subscription() -> impl Strategy<Value = Vec<u128>> {
    prop_oneof![
        3 => Just((0..TOPICS).collect()),
        2 => proptest::collection::vec(0..TOPICS, 0..4),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (0u8..8, subscription()).prop_map(|(member, topics)| Change::Join(member, topics)),
        2 => (0u8..8).prop_map(Change::Leave),
        1 => (0u8..8, subscription()).prop_map(|(member, topics)| Change::Subscribe(member, topics)),
        1 => (0..TOPICS, 0i32..6).prop_map(|(topic, more)| Change::Grow(topic, more)),
    ]
}

fn apply(group: &mut Spec, change: Change) {
    let ids = |topics: Vec<u128>| topics.into_iter().map(topic).collect::<BTreeSet<Uuid>>();
    match change {
        Change::Join(member, topics) => {
            let spec = MemberSpec { topics: ids(topics), ..MemberSpec::default() };
            group.members.entry(format!("m{member}")).or_insert(spec);
        }
        Change::Leave(member) => {
            group.members.remove(&format!("m{member}"));
        }
        Change::Subscribe(member, topics) => {
            if let Some(member) = group.members.get_mut(&format!("m{member}")) {
                member.topics = ids(topics);
            }
        }
        Change::Grow(number, more) => *group.topics.get_mut(&topic(number)).unwrap() += more,
    }
}

proptest! {
    #[test]
    fn assignments_are_complete_and_even_over_any_history(
        counts in proptest::collection::vec(0i32..12, TOPICS as usize),
        changes in proptest::collection::vec(change(), 1..20),
    ) {
        for assignor in [Assignor::Uniform, Assignor::Range] {
            let mut group = spec(&counts, &[]);
            for change in changes.clone() {
                apply(&mut group, change);
                let targets = assignor.assign(&group);
                check_complete(&group, &targets);
                match assignor {
                    Assignor::Uniform => check_balanced(&group, &targets),
                    Assignor::Range => check_ranges(&group, &targets),
                }
                group = after(group, &targets);
                prop_assert_eq!(assignor.assign(&group), targets, "nothing changed, and yet somebody moved");
            }
        }
    }

    /// What a change costs with everybody subscribed to the same: a leaver's partitions move and no others; a new member
    /// takes what it gets and nothing else moves.
    #[test]
    fn nothing_moves_that_need_not(
        counts in proptest::collection::vec(0i32..12, 1..4),
        members in 1u8..8,
        leaver in 0u8..8,
    ) {
        let all: Vec<u128> = (0..counts.len() as u128).collect();
        let ids: Vec<String> = (0..members).map(|member| format!("m{member}")).collect();
        let named: Vec<(&str, &[u128])> = ids.iter().map(|id| (id.as_str(), all.as_slice())).collect();
        let group = spec(&counts, &named);
        let before = Assignor::Uniform.assign(&group);
        let mut grown = after(group.clone(), &before);
        let newcomer = MemberSpec { topics: all.iter().map(|number| topic(*number)).collect(), ..MemberSpec::default() };
        // Before and after the others in the order of ids.
        for id in ["a", "z"] {
            let mut grown = grown.clone();
            grown.members.insert(id.to_owned(), newcomer.clone());
            let now = Assignor::Uniform.assign(&grown);
            prop_assert_eq!(moved(&before, &now), size(&now[id]));
        }
        if grown.members.remove(&format!("m{leaver}")).is_some() {
            let now = Assignor::Uniform.assign(&grown);
            let of_leaver = size(&before[&format!("m{leaver}")]);
            if !grown.members.is_empty() {
                prop_assert_eq!(moved(&before, &now), of_leaver);
            }
        }
    }
}
