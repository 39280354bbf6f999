//! Batches that span several pages of a disk, and a machine that loses its power: a part of a batch is there, and the rest
//! of it is not.

use super::cast::{Cast, PARTITIONS, TOPIC};
use super::stage::{CALM, Stage, add_broker};
use esker_storage::env::mutation::Mutation;
use esker_tests::sim::{Crash, DiskCall, DiskFault, DiskPlan, World, check};
use std::sync::Arc;

/// How many seeds this story runs with.
const SEEDS: u64 = 30;

/// The power fails when a file of batches is about to be synced, again and again.
async fn lightning(stage: Stage) {
    let disk = stage.world.disk(stage.node);
    while !stage.is_over() {
        let after = stage.world.draw(|rng| rng.below(4)) as u32;
        disk.plan(DiskPlan { call: DiskCall::Sync, path: ".log".to_owned(), after, fault: DiskFault::PowerCut });
        while disk.planned() > 0 && !stage.is_over() {
            stage.pause().await;
        }
        stage.between(0, 2).await;
    }
}

/// Returns (acknowledged records, lives of the broker).
async fn story(world: World) -> (usize, u32) {
    let stage = add_broker(&world, "broker", 1, &["log.segment.bytes=200000", "tail.max.bytes=200000"]);
    stage.keep_running();
    stage.create(TOPIC, PARTITIONS, &[]).await;
    stage.set_weather(&CALM);
    world.spawn("lightning", lightning(stage.clone()));
    let cast = Cast::of_large_batches(&stage);
    for partition in 0..PARTITIONS {
        world.spawn("consumer", Arc::clone(&cast).consume(100 + partition as u32, partition));
    }
    let mut clients = Vec::new();
    for number in 1..3 {
        clients.push(world.spawn("producer", Arc::clone(&cast).produce_surely(number, 20)));
        clients.push(world.spawn("producer-once", Arc::clone(&cast).produce_once(10 + number, 12)));
    }
    for client in clients {
        client.ended().await;
    }
    stage.calm_down(Crash::PowerCut).await;
    world.start(stage.node);
    (cast.judge().await, world.lives(stage.node))
}

#[test]
fn a_batch_that_a_power_cut_tore_is_cut_off() {
    for finished in check(0..SEEDS, story) {
        println!("{finished:?}");
    }
}

#[test]
fn mutation_torn_batch_kept_is_caught() {
    super::mutations::catches(Mutation::TornBatchKept, SEEDS, story);
}
