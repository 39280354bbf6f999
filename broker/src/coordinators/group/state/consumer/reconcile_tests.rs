use super::*;
use std::collections::BTreeMap;

fn topic(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn target(partitions: &[i32]) -> Partitions {
    if partitions.is_empty() {
        Partitions::new()
    } else {
        Partitions::from([(topic(1), partitions.iter().copied().collect())])
    }
}

fn held(partitions: &[(i32, i32)]) -> HeldPartitions {
    if partitions.is_empty() {
        HeldPartitions::new()
    } else {
        BTreeMap::from([(topic(1), partitions.iter().copied().collect())])
    }
}

fn current(epoch: i32, state: MemberState, assigned: &[(i32, i32)], revoking: &[(i32, i32)]) -> CurrentValue {
    CurrentValue { epoch, previous_epoch: epoch - 1, state, assigned: held(assigned), revoking: held(revoking) }
}

/// One step with `taken` held by others.
fn step(current: &CurrentValue, epoch: i32, wanted: &[i32], owned: Option<&[i32]>, taken: &[i32]) -> CurrentValue {
    let owned = owned.map(target);
    let goal = Goal {
        epoch,
        target: &target(wanted),
        subscribed: &BTreeSet::from([topic(1)]),
        resubscribed: false,
        owned: owned.as_ref(),
        is_free: &|_, partition| !taken.contains(&partition),
    };
    next(current, &goal)
}

#[test]
fn who_has_everything_goes_to_the_target_epoch() {
    let stable = current(1, MemberState::Stable, &[(0, 1)], &[]);
    let next = step(&stable, 2, &[0], None, &[]);
    assert_eq!(next, CurrentValue { previous_epoch: 1, ..current(2, MemberState::Stable, &[(0, 1)], &[]) });
    assert_eq!(step(&next, 2, &[0], None, &[]), next, "and stays there");
}

#[test]
fn what_is_to_go_goes_first() {
    let stable = current(1, MemberState::Stable, &[(0, 1), (1, 1)], &[]);
    // It does not say what it has: it may have all of it.
    let revoking = step(&stable, 2, &[0, 2], None, &[]);
    assert_eq!((revoking.epoch, revoking.state), (1, MemberState::UnrevokedPartitions));
    assert_eq!((&revoking.assigned, &revoking.revoking), (&held(&[(0, 1)]), &held(&[(1, 1)])));
    assert_eq!(step(&revoking, 2, &[0, 2], None, &[]), revoking, "nothing is given before");
    assert_eq!(step(&revoking, 2, &[0, 2], Some(&[0, 1]), &[]), revoking, "it has not given it up yet");
    let done = step(&revoking, 2, &[0, 2], Some(&[0]), &[]);
    assert_eq!((done.epoch, done.state), (2, MemberState::Stable));
    assert_eq!((&done.assigned, &done.revoking), (&held(&[(0, 1), (2, 2)]), &held(&[])));
}

#[test]
fn what_others_have_is_waited_for() {
    let stable = current(1, MemberState::Stable, &[], &[]);
    let waits = step(&stable, 2, &[0, 1], None, &[1]);
    assert_eq!((waits.epoch, waits.state), (2, MemberState::UnreleasedPartitions));
    assert_eq!(waits.assigned, held(&[(0, 2)]));
    let has_all = step(&waits, 2, &[0, 1], None, &[]);
    assert_eq!((has_all.epoch, has_all.state), (2, MemberState::Stable));
    assert_eq!(has_all.assigned, held(&[(0, 2), (1, 2)]));
}

#[test]
fn a_target_that_comes_back_while_it_is_given_up_stays() {
    let revoking = current(1, MemberState::UnrevokedPartitions, &[(0, 1)], &[(1, 1)]);
    // It has given up 1, which the newest target gives to it again.
    let next = step(&revoking, 3, &[0, 1], Some(&[0]), &[]);
    assert_eq!((next.epoch, next.state), (3, MemberState::Stable));
    assert_eq!(next.assigned, held(&[(0, 1), (1, 3)]));
}

#[test]
fn topics_that_are_not_subscribed_to_any_more_go_at_once() {
    let stable = current(2, MemberState::Stable, &[(0, 1)], &[]);
    let (nothing, own) = (BTreeSet::new(), target(&[0]));
    let goal =
        Goal { epoch: 2, target: &own, subscribed: &nothing, resubscribed: true, owned: None, is_free: &|_, _| true };
    let next = super::next(&stable, &goal);
    assert_eq!((next.epoch, next.state), (2, MemberState::UnrevokedPartitions));
    assert_eq!((&next.assigned, &next.revoking), (&held(&[]), &held(&[(0, 1)])));
}
