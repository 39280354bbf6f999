//! A bit that changes on the disk while nobody looks.
//!
//! Where it is part of a record, that record's batch may be gone, but it is never given out as something else, and never
//! gets into the tier; other partitions do not notice. Where it is part of anything else (an index, a checkpoint, the
//! record of what was synced), nothing is lost at all.

use super::cast::{Cast, PARTITIONS, TOPIC};
use super::judge::judge_store;
use super::stage::{CALM, Stage, Weather, add_broker};
use esker_storage::env::{Disk, Open};
use esker_tests::checker::{self, Anomaly};
use esker_tests::sim::{Chance, Crash, StoreFaults, World, check};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What a broker says of rot.
pub(crate) const NAMED: [&str; 9] = [
    "was rotten; ",
    "is damaged; it is written again",
    "is rotten",
    "records are damaged",
    "the partition is offline",
    "an upload failed",
    "upkeep of a log failed",
    "log maintenance was put off",
    "going without the checkpoint",
];

/// How many seeds each of these stories runs with.
pub(crate) const ROT_SEEDS: u64 = 60;

/// Which files rot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    /// Those with the batches, in what a batch's checksum covers.
    Data,
    /// The same, in what it does not: a batch's base offset, its length, its leader epoch.
    Heads,
    /// All the others.
    Beside,
}

/// The header of a data file, in bytes.
const HEADER: u64 = 64;
/// What comes before the part of a batch that has, or is covered by, a checksum: offset, length and epoch.
const UNCOVERED: u64 = 16;

/// The last byte of a file that is not zero; what lies behind is room for more.
fn filled(stage: &Stage, path: &str) -> u64 {
    let file = stage.world.disk(stage.node).open(Path::new(path), Open::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}

/// A position in the last batch that begins before `within`: in its first 16 bytes, or behind them.
pub(crate) fn in_batch(stage: &Stage, path: &str, within: u64, head: bool) -> Option<u64> {
    let file = stage.world.disk(stage.node).open(Path::new(path), Open::Read).unwrap();
    let mut batches = Vec::new();
    let (mut at, len) = (HEADER, file.len().unwrap());
    while at + UNCOVERED < len {
        let mut size = [0; 4];
        file.read_exact_at(&mut size, at + 8).unwrap();
        let next = at + 12 + u64::from(u32::from_be_bytes(size));
        if next <= at + UNCOVERED || next > len {
            break;
        }
        batches.push((at, next));
        at = next;
    }
    let (start, end) = batches.iter().rev().find(|(start, _)| *start <= within).or(batches.first()).copied()?;
    let range = if head { start..start + UNCOVERED } else { start + UNCOVERED..end };
    Some(stage.world.draw(|rng| rng.within(range)))
}

/// Changes a bit of a file of the log directory; the partition that it belongs to, if there is one.
fn rot(stage: &Stage, place: Where) -> Option<u32> {
    let disk = stage.world.disk(stage.node);
    let fits = |path: &str| {
        let kind = Path::new(path).extension().is_some_and(|kind| kind == "log");
        let apart = ["/lock", "/identity", "/clean"].iter().any(|name| path.ends_with(name));
        !apart && kind == (place != Where::Beside)
    };
    let files: Vec<(String, u64)> =
        disk.files().into_iter().map(|(path, _)| (path.clone(), filled(stage, &path))).collect();
    let files: Vec<_> = files.into_iter().filter(|(path, filled)| fits(path) && *filled > 0).collect();
    let (path, filled) = &files[stage.world.draw(|rng| rng.index(files.len()))];
    let (within, bit) = stage.world.draw(|rng| (rng.below(*filled), rng.below(8) as u32));
    let position = match place {
        Where::Beside => within,
        Where::Data | Where::Heads => in_batch(stage, path, within, place == Where::Heads)?,
    };
    stage.world.note(format_args!("bit {bit} of byte {position} of {path} changes"));
    assert!(disk.flip_bit(Path::new(path), position, bit));
    let directory = Path::new(path).parent()?.file_name()?.to_str()?;
    directory.rsplit_once('-').and_then(|(_, partition)| partition.parse().ok())
}

/// Everything that may be said of a partition that lost a batch to rot.
pub(crate) fn is_loss(anomaly: &Anomaly, damaged: Option<u32>) -> bool {
    match anomaly {
        Anomaly::LostWrite { partition, .. }
        | Anomaly::Unseen { partition, .. }
        | Anomaly::PollSkip { partition, .. }
        | Anomaly::InternalPollSkip { partition, .. } => Some(*partition) == damaged,
        _ => false,
    }
}

/// Returns how much was acknowledged.
async fn story_of_rot(world: World, place: Where) -> usize {
    let (late, local, segment) = world.draw(|rng| {
        let local = if rng.happens(Chance::percent(50)) { "log.local.retention.bytes=-2" } else { "num.partitions=1" };
        // Sealed and tiered before it rots, or neither.
        let segment =
            if rng.happens(Chance::percent(50)) { "log.segment.bytes=1024" } else { "log.segment.bytes=16384" };
        (format!("tail.max.ms={}", rng.within(500..30_000)), local, segment)
    });
    let stage = add_broker(&world, "broker", 1, &["tail.max.bytes=65536", &late, local, segment]);
    world.announce(&NAMED);
    stage.keep_running();
    stage.create(TOPIC, PARTITIONS, &[]).await;
    stage.set_weather(&Weather { store: StoreFaults::none(), ..CALM });
    let cast = Cast::on(&stage);
    // No consumer can know of an offset that it is the wrong one; what the tier gets is looked at below.
    let readers = if place == Where::Heads { 0 } else { PARTITIONS };
    for partition in 0..readers {
        world.spawn("consumer", Arc::clone(&cast).consume(100 + partition as u32, partition));
    }
    Arc::clone(&cast).produce_once(1, 15).await;
    // What was written is known to be synced by then: what is wrong with it later is no torn tail.
    world.sleep(Duration::from_secs(1)).await;
    let damaged = if world.draw(|rng| rng.happens(Chance::percent(50))) {
        world.crash(stage.node, Crash::Kill);
        rot(&stage, place)
    } else {
        rot(&stage, place)
    };
    Arc::clone(&cast).produce_once(2, 10).await;
    stage.between(1, 40).await;
    world.crash(stage.node, Crash::Kill);
    Arc::clone(&cast).produce_once(3, 5).await;
    stage.calm_down(Crash::PowerCut).await;
    world.start(stage.node);
    if place == Where::Beside {
        stage.everything_is_tiered(false).await;
    }
    for partition in 0..PARTITIONS {
        let mine = damaged == Some(partition as u32);
        if place == Where::Data && mine {
            // Whether it can be read to its end or is offline.
            let _ = cast.try_drain(partition, 30).await;
        } else if place != Where::Heads || !mine {
            cast.drain(partition).await;
        }
    }
    world.terminate(stage.node);
    world.ended(stage.node).await;
    judge_store(&world).await;
    let history = cast.history.lock();
    let damaged = damaged.filter(|_| place != Where::Beside);
    let wrong: Vec<_> = checker::check(&history).into_iter().filter(|anomaly| !is_loss(anomaly, damaged)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    history.acknowledged()
}

/// Rot in batches, as the test of a mutation needs it.
pub(crate) async fn rot_in_data(world: World) -> usize {
    story_of_rot(world, Where::Data).await
}

#[test]
fn rot_in_batches_is_never_given_out_as_something_else() {
    check(0..ROT_SEEDS, rot_in_data);
}

#[test]
fn rot_in_heads_of_batches_stays_where_it_is() {
    check(0..ROT_SEEDS, |world| story_of_rot(world, Where::Heads));
}

#[test]
fn rot_beside_the_batches_loses_nothing() {
    check(0..ROT_SEEDS, |world| story_of_rot(world, Where::Beside));
}
