//! Compaction of what the tier has, while it is produced to and read, and while the broker crashes.
//!
//! Nearly everything of the topic is in the tier, in small units, and passes over them come all the time; uploads merge
//! units, too, so that swaps meet. One reader is quick, one takes a batch at a time and is in the middle of old units
//! whenever they are replaced. In the end it is read again and again while passes go on: what a tombstone deleted does not
//! come back.

use super::cast::{COMPACTED, Cast, PARTITIONS};
use super::mutations::catches;
use super::stage::{CALM, STORM, Stage, Weather, add_broker};
use super::story::{COMPACTION, TOMBSTONES_GO};
use esker_storage::env::mutation::Mutation;
use esker_tests::checker::Tombstones;
use esker_tests::sim::{Chance, Crash, CrashOdds, StoreEffect, StoreFaults, World, check};
use std::sync::Arc;
use std::time::Duration;

/// How many seeds each of these stories runs with.
const SEEDS: u64 = 30;

/// What a run came to, so that one in which nothing was compacted is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compacted {
    acknowledged: usize,
    /// Records that were there in the end.
    left: usize,
    /// Commits with swaps.
    swaps: usize,
}

/// A store that takes its time, so that a pass is in the middle of something whenever anything else happens.
fn slow_store() -> StoreFaults {
    StoreFaults { slow: Chance::percent(5), ..StoreFaults::none() }
}

/// Crashes only, so that nothing hides what they do to a pass.
fn crashes() -> Weather {
    let crashes = CrashOdds {
        per_call: Chance::one_in(2000),
        per_step: Chance::one_in(4000),
        power_cut: Chance::percent(50),
        at_call: None,
    };
    Weather { crashes, store: slow_store(), ..CALM }
}

fn swaps(world: &World) -> usize {
    let has_swap = |bytes: &[u8]| bytes.windows(6).any(|part| part == b"\"swap\"");
    let commits = world.store().history().into_iter().filter(|event| event.key.starts_with("tier/log/"));
    commits.filter(|event| matches!(&event.effect, StoreEffect::Created(bytes) if has_swap(bytes))).count()
}

/// All of the topic is in the tier.
async fn tiered(stage: &Stage) {
    for partition in 0..PARTITIONS {
        let mut patience = 300;
        let end = stage.mark(COMPACTED, partition, -1).await.unwrap_or_default();
        while stage.mark(COMPACTED, partition, -5).await.map_or(0, |last| last + 1) < end {
            patience -= 1;
            assert!(patience > 0, "{COMPACTED}-{partition} is not tiered in calm weather");
            stage.world.sleep(Duration::from_secs(1)).await;
        }
    }
}

async fn story(world: World, weather: Weather) -> Compacted {
    let local = world.draw(|rng| format!("log.local.retention.bytes={}", [1, 2000, 6000][rng.index(3)]));
    let may_go = world.draw(|rng| rng.happens(Chance::percent(60)));
    let tombstones = if may_go { Tombstones::MayGo } else { Tombstones::Stay };
    let small = ["tail.max.ms=700", "log.cleaner.backoff.ms=300", &local];
    let stage = add_broker(&world, "broker", 1, &small);
    stage.keep_running();
    let mut topic = COMPACTION.to_vec();
    topic.extend(may_go.then_some(TOMBSTONES_GO));
    stage.create(COMPACTED, PARTITIONS, &topic).await;
    stage.set_weather(&weather);
    let cast = Cast::of_compacted(&stage, tombstones);
    for partition in 0..PARTITIONS {
        world.spawn("consumer", Arc::clone(&cast).consume(100 + partition as u32, partition));
        world.spawn("dawdler", Arc::clone(&cast).dawdle(110 + partition as u32, partition));
    }
    for round in 0..6 {
        let producers =
            [1, 2].map(|number| world.spawn("producer", Arc::clone(&cast).produce_surely(number + 10 * round, 8)));
        world.spawn("producer-once", Arc::clone(&cast).produce_once(3 + 10 * round, 2)).ended().await;
        for producer in producers {
            producer.ended().await;
        }
        stage.between(1, 8).await;
    }
    stage.calm_down(Crash::PowerCut).await;
    world.start(stage.node);
    // Once more, so that there is something to do; and each look is judged by itself.
    Arc::clone(&cast).produce_surely(91, 12).await;
    for _ in 0..10 {
        let before = cast.history.lock().clone();
        cast.judge_clients().await;
        *cast.history.lock() = before;
        stage.between(0, 2).await;
    }
    tiered(&stage).await;
    world.sleep(Duration::from_secs(20)).await;
    let acknowledged = cast.judge().await;
    let left = cast.drained();
    Compacted { acknowledged, left, swaps: swaps(&world) }
}

fn in_weather(weather: &Weather) {
    let mut all = Compacted { acknowledged: 0, left: 0, swaps: 0 };
    for finished in check(0..SEEDS, |world| story(world, weather.clone())) {
        println!("{finished:?}");
        let Compacted { acknowledged, left, swaps } = finished.output;
        all.acknowledged += acknowledged;
        all.left += left;
        all.swaps += swaps;
    }
    println!("{all:?}");
    assert!(all.left * 3 < all.acknowledged && all.swaps > 4, "{all:?}");
}

#[test]
fn what_the_tier_has_is_compacted_in_the_storm() {
    in_weather(&STORM);
}

#[test]
fn what_the_tier_has_is_compacted_whenever_the_broker_crashes() {
    in_weather(&crashes());
}

#[test]
fn mutation_newest_record_dropped_is_caught_in_the_tier() {
    catches(Mutation::NewestRecordDropped, SEEDS, |world| story(world, STORM));
}

#[test]
fn mutation_tombstone_removed_early_is_caught_in_the_tier() {
    catches(Mutation::TombstoneRemovedEarly, SEEDS, |world| story(world, STORM));
}
