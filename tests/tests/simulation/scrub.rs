//! The scrub of local segments: rot below what was synced is found before anybody may have missed it, and the tier serves
//! what was lost.
//!
//! Until it is found, a reader may be given the rotten batch, which its checksum tells; nobody is ever given anything else,
//! nothing is missing in the end, and other partitions do not notice.

use super::cast::{Cast, PARTITIONS, TOPIC};
use super::judge::judge_store;
use super::mutations::catches;
use super::rot::{NAMED, in_batch, is_loss};
use super::stage::{CALM, Stage, Weather, add_broker};
use esker_storage::env::mutation::Mutation;
use esker_storage::offset::PartitionId;
use esker_storage::segment::{FileName, SegmentName};
use esker_tests::checker;
use esker_tests::sim::client::CallError;
use esker_tests::sim::{Crash, NetFaults, StoreFaults, World, check};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const CORRUPT_MESSAGE: CallError = CallError::Kafka(2);

/// How many seeds this story runs with.
const SEEDS: u64 = 40;
/// How often segments are scrubbed.
const EVERY: &str = "log.scrub.interval.ms=2000";
/// How long rot lasts that is not found, at most: a broker that has just started may look for its partitions a minute later.
const FOUND_WITHIN: Duration = Duration::from_secs(75);

/// A sealed segment on the disk.
struct Victim {
    partition: PartitionId,
    segment: SegmentName,
    /// Its offsets.
    start: u64,
    end: u64,
    path: PathBuf,
}

/// One of those that there are now: of which the tier has everything, or nothing.
fn victim(stage: &Stage, is_tiered: bool) -> Option<Victim> {
    let mut all = Vec::new();
    for partition in stage.watch.led().iter().filter(|partition| &**partition.topic() == TOPIC) {
        let log = partition.log();
        let tiered = log.manifest().map(|manifest| manifest.end().offset()).unwrap_or_default();
        let local = log.local();
        for segment in local.segments().iter().filter(|segment| segment.sealed) {
            if if is_tiered { segment.end > tiered } else { segment.name.base < tiered } {
                continue;
            }
            let path = local.path().join(FileName::Data(segment.name).to_string());
            let (start, end) = (segment.name.base.get(), segment.end.get());
            all.push(Victim { partition: partition.id(), segment: segment.name, start, end, path });
        }
    }
    let chosen = stage.world.draw(|rng| rng.index(all.len()));
    (!all.is_empty()).then(|| all.swap_remove(chosen))
}

/// Changes a bit of one of its batches; the file's path.
fn spoil(stage: &Stage, victim: &Victim) -> String {
    let path = victim.path.to_str().unwrap();
    let within = stage.world.draw(|rng| rng.below(1500));
    let position = in_batch(stage, path, within, false).unwrap();
    stage.world.note(format_args!("a bit of byte {position} of {path} changes"));
    assert!(stage.world.disk(stage.node).flip_bit(&victim.path, position, 3));
    path.to_owned()
}

/// Whether the segment is still a part of the local log; `None` while nobody can tell.
fn is_local(stage: &Stage, victim: &Victim) -> Option<bool> {
    let led = stage.watch.led();
    let partition = led.iter().find(|partition| partition.id() == victim.partition)?;
    Some(partition.log().local().segments().iter().any(|segment| segment.name == victim.segment))
}

/// Returns (acknowledged records, how often a reader was given a rotten batch).
async fn story(world: World) -> (usize, u64) {
    let tail = world.draw(|rng| format!("tail.max.ms={}", rng.within(300..3000)));
    let stay = "log.local.retention.bytes=-2";
    let stage = add_broker(&world, "broker", 1, &["log.segment.bytes=1500", EVERY, stay, &tail]);
    world.announce(&["a segment is rotten; it is read from the tier from now on"]);
    stage.keep_running();
    stage.create(TOPIC, PARTITIONS, &[]).await;
    stage.set_weather(&Weather { store: StoreFaults::stormy(), net: NetFaults::stormy(), ..CALM });
    let cast = Cast::on(&stage);
    for partition in 0..PARTITIONS {
        world.spawn("consumer", Arc::clone(&cast).consume(100 + partition as u32, partition));
    }
    let (mut damaged, mut more) = (0, 100);
    for round in 0..3 {
        Arc::clone(&cast).produce_surely(1 + round, 20).await;
        let victim = loop {
            match victim(&stage, true) {
                Some(victim) => break victim,
                None => Arc::clone(&cast).produce_once(more, 1).await,
            }
            more += 1;
        };
        let path = spoil(&stage, &victim);
        let producer = world.spawn("producer", Arc::clone(&cast).produce_surely(11 + round, 10));
        let (since, partition) = (world.now(), victim.partition.partition as i32);
        let mut client = stage.client();
        while is_local(&stage, &victim) != Some(false) {
            assert!(world.now() < since + FOUND_WITHIN, "rot in {path} is not found");
            let read = client.fetch(TOPIC, partition, victim.start, 1).await;
            damaged += u64::from(matches!(read, Err(CallError::Damaged)));
            stage.pause().await;
        }
        // What was found is read from the tier, all of it.
        let mut at = victim.start;
        while at < victim.end {
            match client.fetch(TOPIC, partition, at, 1000).await {
                Ok(fetched) => at = fetched.next.unwrap_or(at),
                Err(CallError::Damaged) if is_local(&stage, &victim) == Some(false) => {
                    panic!("a batch of {path} is rotten, which is known, and it is sent")
                }
                Err(_) => stage.pause().await,
            }
        }
        producer.ended().await;
        if world.draw(|rng| rng.below(2)) == 0 {
            let kind = [Crash::Kill, Crash::PowerCut][world.draw(|rng| rng.index(2))];
            world.crash(stage.node, kind);
        }
    }
    stage.calm_down(Crash::PowerCut).await;
    world.start(stage.node);
    (cast.judge().await, damaged)
}

/// A segment rots before it is in the tier: just what rotted is refused, and never uploaded. Returns how much was
/// acknowledged.
async fn before_it_is_tiered(world: World) -> usize {
    let stay = "log.local.retention.bytes=-2";
    let stage = add_broker(&world, "broker", 1, &["log.segment.bytes=1500", EVERY, stay]);
    world.announce(&NAMED);
    stage.keep_running();
    stage.create(TOPIC, PARTITIONS, &[]).await;
    stage.set_weather(&Weather { net: NetFaults::stormy(), ..CALM });
    let cast = Cast::on(&stage);
    for partition in 0..PARTITIONS {
        world.spawn("consumer", Arc::clone(&cast).consume(100 + partition as u32, partition));
    }
    Arc::clone(&cast).produce_surely(1, 12).await;
    world.store().outage(Duration::from_secs(90));
    Arc::clone(&cast).produce_surely(2, 25).await;
    let mut more = 10;
    let victim = loop {
        match victim(&stage, false) {
            Some(victim) => break victim,
            None => Arc::clone(&cast).produce_once(more, 1).await,
        }
        more += 1;
    };
    let path = spoil(&stage, &victim);
    let since = world.now();
    let damaged = || {
        let led = stage.watch.led();
        let partition = led.iter().find(|partition| partition.id() == victim.partition);
        partition.and_then(|partition| partition.log().local().damaged().first().copied())
    };
    let range = loop {
        match damaged() {
            Some(range) => break range,
            None => stage.pause().await,
        }
        assert!(world.now() < since + FOUND_WITHIN, "rot in {path} is not found");
    };
    assert!(range.from.offset.get() >= victim.start && range.to.get() <= victim.end, "{range:?}");
    let mut client = stage.client();
    let partition = victim.partition.partition as i32;
    for (at, rotten) in [(range.from.offset, true), (range.to, false)] {
        let read = loop {
            match client.fetch(TOPIC, partition, at.get(), 300).await {
                Err(CallError::Lost) => stage.pause().await,
                read => break read.map(|_| ()),
            }
        };
        assert_eq!(read, if rotten { Err(CORRUPT_MESSAGE) } else { Ok(()) }, "at {at}, damaged is {range:?}");
    }
    Arc::clone(&cast).produce_surely(4, 10).await;
    // The store is back, and nothing rotten gets there.
    world.sleep(Duration::from_secs(120)).await;
    for other in (0..PARTITIONS).filter(|other| *other != partition) {
        cast.drain(other).await;
    }
    let _ = cast.try_drain(partition, 30).await;
    stage.calm_down(Crash::Kill).await;
    judge_store(&world).await;
    let history = cast.history.lock();
    let damaged = Some(partition as u32);
    let wrong: Vec<_> = checker::check(&history).into_iter().filter(|anomaly| !is_loss(anomaly, damaged)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    history.acknowledged()
}

#[test]
fn rot_that_nothing_can_make_up_for_is_refused_and_not_uploaded() {
    for finished in check(0..SEEDS, before_it_is_tiered) {
        println!("{finished:?}");
    }
}

#[test]
fn rot_is_found_and_the_tier_serves_instead() {
    let damaged: u64 = check(0..SEEDS, story).iter().map(|finished| finished.output.1).sum();
    println!("readers met rot {damaged} times");
}

#[test]
fn mutation_rot_overlooked_is_caught() {
    catches(Mutation::RotOverlooked, SEEDS, story);
}

#[test]
fn mutation_quarantined_untiered_is_caught() {
    catches(Mutation::QuarantinedUntiered, SEEDS, before_it_is_tiered);
}
