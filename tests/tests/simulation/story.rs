//! The stories of a simulated broker: what happens to it, what its clients do meanwhile, and how they are judged.
//!
//! ```text
//!  a stage (a broker, its weather) -> a cast: producers, consumers, groups, topics that come and go
//!     -> calm: what is late lands, everything is tiered -> every partition is read from its start -> judgement
//! ```

use super::cast::{COMPACTED, Cast, PARTITIONS, TOPIC, what_is_below};
use super::consumers::Crew;
use super::stage::{CALM, Stage, Weather, add_broker};
use esker_tests::checker::{History, Tombstones};
use esker_tests::sim::{Crash, StoreFaults, World};
use std::sync::Arc;
use std::time::Duration;

/// What becomes of sealed segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tiering {
    /// They stay.
    None,
    /// They are tiered.
    Copied,
    /// They are tiered, and the local copy goes soon.
    AndGoes,
}

/// What a story is about, besides its weather.
#[derive(Debug)]
pub(crate) struct Script {
    /// The topic's settings.
    pub(crate) topic: Vec<(&'static str, String)>,
    pub(crate) tiering: Tiering,
    /// Whether records are deleted on demand.
    pub(crate) trims: bool,
    /// What becomes of those of the compacted topic.
    pub(crate) tombstones: Tombstones,
    /// Whether there is a consumer group of the newer kind.
    pub(crate) crew: bool,
    /// How the last life in bad weather ends.
    pub(crate) crash: Crash,
}

/// The compacted topic's settings.
pub(crate) const COMPACTION: [(&str, &str); 2] = [("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0.01")];
/// How long tombstones stay at most, where they may go; otherwise it is a day, which no story lasts.
pub(crate) const TOMBSTONES_GO: (&str, &str) = ("delete.retention.ms", "1000");

/// Clients, weather, and the judgement. Returns (acknowledged records, lives of the broker).
pub(crate) async fn story(world: World, weather: Weather) -> (usize, u32) {
    let stage = add_broker(&world, "broker", 1, &[]);
    let script = Script {
        topic: Vec::new(),
        tiering: Tiering::AndGoes,
        trims: false,
        tombstones: Tombstones::Stay,
        crew: false,
        crash: Crash::PowerCut,
    };
    play(&stage, &weather, &script).await
}

/// A whole story on a stage. Returns (acknowledged records, lives of the broker).
pub(crate) async fn play(stage: &Stage, weather: &Weather, script: &Script) -> (usize, u32) {
    let world = &stage.world;
    stage.keep_running();
    let topic: Vec<(&str, &str)> = script.topic.iter().map(|(key, value)| (*key, value.as_str())).collect();
    stage.create(TOPIC, PARTITIONS, &topic).await;
    let mut compaction = COMPACTION.to_vec();
    compaction.extend((script.tombstones == Tombstones::MayGo).then_some(TOMBSTONES_GO));
    stage.create(COMPACTED, PARTITIONS, &compaction).await;
    let crew = if script.crew { Some(Crew::on(stage).await) } else { None };
    stage.set_weather(weather);
    let expires = script.trims || topic.iter().any(|(key, _)| matches!(*key, "retention.bytes" | "retention.ms"));
    let cast = Cast::with(stage, History::default(), expires);
    for partition in 0..PARTITIONS {
        world.spawn("consumer", Arc::clone(&cast).consume(100 + partition as u32, partition));
    }
    let mut members: Vec<_> =
        [200, 201].into_iter().map(|number| world.spawn("member", Arc::clone(&cast).member(number))).collect();
    if let Some(crew) = &crew {
        members.extend([(); 3].map(|()| world.spawn("crew", Arc::clone(crew).work())));
    }
    let mut clients = Vec::new();
    for number in 1..4 {
        clients.push(world.spawn("producer", Arc::clone(&cast).produce_surely(number, 15)));
    }
    clients.push(world.spawn("producer-once", Arc::clone(&cast).produce_once(4, 10)));
    let keyed = Cast::of_compacted(stage, script.tombstones);
    clients.push(world.spawn("keyed-producer", Arc::clone(&keyed).produce_surely(1, 30)));
    clients.push(world.spawn("keyed-producer-once", Arc::clone(&keyed).produce_once(2, 6)));
    world.spawn("keyed-consumer", Arc::clone(&keyed).consume(100, 0));
    if script.trims {
        clients.push(world.spawn("trim", Arc::clone(&cast).trim(4)));
    }
    clients.push(world.spawn("committer", Arc::clone(&cast).commit_offsets(24)));
    clients.push(world.spawn("churn", Arc::clone(&cast).churn("churn", 3)));
    clients.push(world.spawn("alter", Arc::clone(&cast).alter(6)));
    for client in clients {
        client.ended().await;
    }
    stage.calm_down(script.crash).await;
    world.start(stage.node);
    for member in members {
        member.ended().await;
    }
    cast.ask_for_committed().await;
    if script.tiering != Tiering::None {
        stage.everything_is_tiered(script.tiering == Tiering::AndGoes).await;
    }
    if let Some(crew) = crew {
        crew.judge().await;
    }
    let acknowledged = keyed.judge_clients().await + cast.judge().await;
    (acknowledged, world.lives(stage.node))
}

/// The disk is lost between two lives: what was tiered is there, at its offsets, and the topics go on from it.
pub(crate) async fn story_of_a_lost_disk(world: World, weather: Weather) -> (usize, u32) {
    let stage = add_broker(&world, "broker", 1, &[]);
    stage.keep_running();
    for topic in [TOPIC, "other"] {
        stage.create(topic, PARTITIONS, &[]).await;
    }
    stage.set_weather(&weather);
    let before = Cast::on(&stage);
    let mut clients = Vec::new();
    for number in 1..3 {
        clients.push(world.spawn("producer", Arc::clone(&before).produce_surely(number, 15)));
    }
    clients.push(world.spawn("producer-once", Arc::clone(&before).produce_once(3, 10)));
    for client in clients {
        client.ended().await;
    }
    stage.pause().await;
    let mut promised = Vec::new();
    for partition in 0..PARTITIONS {
        promised.push(stage.tier_end(partition).await);
    }
    world.crash(stage.node, Crash::PowerCut);
    world.disk(stage.node).wipe();
    stage.watch.disk_lost();
    // The next life serves only what the tier has: where it ends now, it ended when the disk was lost.
    let mut ends = Vec::new();
    for partition in 0..PARTITIONS {
        let end = stage.tier_end(partition).await;
        assert_eq!(
            stage.mark(TOPIC, partition, -1).await,
            Some(end),
            "partition {partition} goes on at the tier's end"
        );
        ends.push(end);
    }
    assert!(promised.iter().zip(&ends).all(|(before, after)| before <= after), "{promised:?} became {ends:?}");
    stage.exists("other").await;
    let after = Cast::with(&stage, what_is_below(&before.history.lock(), &ends), false);
    let mut clients = Vec::new();
    for partition in 0..PARTITIONS {
        world.spawn("consumer", Arc::clone(&after).consume(100 + partition as u32, partition));
        clients.push(world.spawn("producer", Arc::clone(&after).produce_surely(11 + partition as u32, 15)));
    }
    for client in clients {
        client.ended().await;
    }
    stage.calm_down(Crash::Kill).await;
    world.start(stage.node);
    stage.everything_is_tiered(true).await;
    let acknowledged = after.judge().await;
    (acknowledged, world.lives(stage.node))
}

/// A broker was replaced while it still ran: what it uploads afterwards counts for nothing.
pub(crate) async fn story_of_a_late_leader(world: World, store: StoreFaults) -> usize {
    let late = world.draw(|rng| format!("tail.max.ms={}", rng.within(3000..9000)));
    let settings = ["log.segment.bytes=65536", "tail.max.bytes=65536", &late];
    let old = add_broker(&world, "old", 1, &settings);
    world.announce(&["another controller was elected"]);
    world.start(old.node);
    old.create(TOPIC, PARTITIONS, &[]).await;
    let before = Cast::on(&old);
    Arc::clone(&before).produce_surely(1, 10).await;
    for partition in 0..PARTITIONS {
        let end = old.mark(TOPIC, partition, -1).await.unwrap_or_default();
        while old.tier_end(partition).await < end {
            old.pause().await;
        }
    }
    old.set_weather(&Weather { store, ..CALM });
    // Its tail, which is not due yet.
    Arc::clone(&before).produce_surely(2, 6).await;
    let new = add_broker(&world, "new", 1, &["log.segment.bytes=65536", "tail.max.bytes=65536"]);
    world.start(new.node);
    let mut ends = Vec::new();
    for partition in 0..PARTITIONS {
        ends.push(new.tier_end(partition).await);
    }
    let after = Cast::with(&new, what_is_below(&before.history.lock(), &ends), false);
    Arc::clone(&after).produce_surely(11, 12).await;
    // The old one tries to upload what it has.
    world.sleep(Duration::from_secs(30)).await;
    world.crash(old.node, Crash::Kill);
    new.calm_down(Crash::PowerCut).await;
    world.start(new.node);
    after.judge().await
}
