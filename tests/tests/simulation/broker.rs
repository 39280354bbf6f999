//! The broker, simulated: clients produce and consume while it is killed, its power is cut, its network hiccups and
//! its store loses answers; afterwards everything that was acknowledged is there, once and in order.

use super::cast::TOPIC;
use super::stage::{CALM, FAILING_SYNCS, POWER_CUTS, STORM, add_broker};
use super::story::{story, story_of_a_late_leader, story_of_a_lost_disk};
use super::swarm::swarm;
use esker_tests::sim::{Config, Crash, CrashOdds, Exit, StoreFaults, World, check, run};
use std::time::Duration;

/// How many seeds the stories run with.
pub(crate) const STORM_SEEDS: u64 = 150;
pub(crate) const POWER_CUT_SEEDS: u64 = 80;
pub(crate) const FAILING_SYNC_SEEDS: u64 = 40;
const SWARM_SEEDS: u64 = 300;
pub(crate) const LATE_LEADER_SEEDS: u64 = 20;

#[test]
fn a_broker_starts_whatever_call_it_crashed_in() {
    for crash in [Crash::Kill, Crash::PowerCut] {
        for call in 0..150 {
            let config = Config { trace_lines: 60, ..Config::seeded(call) };
            let finished = run(config, move |world: World| async move {
                let stage = add_broker(&world, "broker", 1, &[]);
                let node = stage.node;
                world.set_crash_odds(node, CrashOdds { at_call: Some((call, crash)), ..CrashOdds::default() });
                world.start(node);
                world.sleep(Duration::from_secs(10)).await;
                world.crash(node, crash);
                world.set_crash_odds(node, CrashOdds::default());
                world.start(node);
                stage.create(TOPIC, 1, &[]).await;
                world.terminate(node);
                assert_eq!(world.ended(node).await, Some(Exit::Returned));
            });
            if let Err(failure) = finished {
                panic!("{crash:?} in call {call}: {failure}");
            }
        }
    }
}

#[test]
fn what_was_acknowledged_is_read_in_calm_weather() {
    for finished in check(0..10, |world| story(world, CALM)) {
        println!("{finished:?}");
    }
}

#[test]
fn what_was_acknowledged_survives_the_storm() {
    for finished in check(0..STORM_SEEDS, |world| story(world, STORM)) {
        println!("{finished:?}");
    }
}

#[test]
fn what_was_acknowledged_survives_power_cuts() {
    for finished in check(0..POWER_CUT_SEEDS, |world| story(world, POWER_CUTS)) {
        println!("{finished:?}");
    }
}

#[test]
fn what_was_acknowledged_survives_failing_syncs() {
    check(0..FAILING_SYNC_SEEDS, |world| story(world, FAILING_SYNCS));
}

#[test]
fn what_was_acknowledged_survives_the_swarm() {
    for finished in check(0..SWARM_SEEDS, swarm) {
        println!("{finished:?}");
    }
}

#[test]
fn what_was_tiered_survives_the_loss_of_the_disk() {
    for finished in check(0..40, |world| story_of_a_lost_disk(world, STORM)) {
        println!("{finished:?}");
    }
}

#[test]
fn a_broker_that_was_replaced_changes_nothing_any_more() {
    for finished in check(0..LATE_LEADER_SEEDS, |world| story_of_a_late_leader(world, StoreFaults::none())) {
        println!("{finished:?}");
    }
    for finished in check(20..40, |world| story_of_a_late_leader(world, StoreFaults::stormy())) {
        println!("{finished:?}");
    }
}

#[test]
fn a_broker_that_was_replaced_ends_though_nobody_asks_it_for_anything() {
    check(0..3, |world| async move {
        let old = add_broker(&world, "old", 1, &[]);
        world.announce(&["another controller was elected"]);
        world.start(old.node);
        old.create(TOPIC, 1, &[]).await;
        let new = add_broker(&world, "new", 1, &[]);
        world.start(new.node);
        new.exists(TOPIC).await;
        world.sleep(Duration::from_secs(20)).await;
        assert!(!world.is_running(old.node) && world.is_running(new.node));
    });
}
