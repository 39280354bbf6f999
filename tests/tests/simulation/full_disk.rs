//! A disk that fills up under a broker, and one that does not open: what goes on, what is refused, what comes back.

use super::failures::{TOPIC, client, create, start_with};
use esker_protocol::error_code::ErrorCode;
use esker_storage::env::mutation::{Mutation, switch_on};
use esker_tests::sim::client::{CallError, Membership, SimClient, values_batch};
use esker_tests::sim::{Config, Crash, Exit, Failure, World, run};
use std::time::Duration;

const NOT_ENOUGH_REPLICAS: CallError = CallError::Kafka(ErrorCode::NOT_ENOUGH_REPLICAS.code());
const KAFKA_STORAGE_ERROR: CallError = CallError::Kafka(ErrorCode::KAFKA_STORAGE_ERROR.code());
const MIB: u64 = 1 << 20;

/// A disk of 8 MiB, of which 2 are kept free; what is tiered does not stay.
async fn fill(world: World) {
    world.announce(&["the disk is nearly full"]);
    let (node, address) = start_with(
        &world,
        "/data/a",
        &["log.dirs.min.free.bytes=2097152", "log.retention.check.interval.ms=500", "tail.max.ms=60000"],
    );
    world.disk(node).set_total(8 * MIB);
    create(&world, address, 2).await;
    let mut client = client(&world, address);
    let configs = [
        ("segment.bytes", "65536"),
        ("local.retention.bytes", "0"),
        ("remote.storage.enable", "false"),
        ("retention.ms", "-1"),
    ];
    while client.create_topic("untiered", 1, &configs).await.is_err() {
        world.sleep(Duration::from_millis(100)).await;
    }
    while client.find_coordinator("group").await.is_err()
        || client.commit_offset("group", &Membership::none(), TOPIC, 0, 1).await.is_err()
    {
        world.sleep(Duration::from_millis(100)).await;
    }
    let payload: Vec<u64> = (0..900).collect();
    let mut sent = 0;
    let refused = loop {
        match client.produce("untiered", 0, values_batch(&payload, 0, None)).await {
            Ok(_) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 2000, "the disk is full, and nobody says so");
        world.sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(refused, NOT_ENOUGH_REPLICAS);
    let (used, total) = (world.disk(node).used(), 8 * MIB);
    assert!(total - used > MIB, "{used} of {total} bytes are used: the mark was passed by far");
    // Everything else goes on.
    assert!(!client.fetch("untiered", 0, 0, 1000).await.unwrap().records.is_empty());
    client.commit_offset("group", &Membership::none(), TOPIC, 0, 2).await.unwrap();
    assert_eq!(client.committed_offset("group", TOPIC, 0).await.unwrap(), Some(2));
    assert_eq!(client.produce(TOPIC, 0, values_batch(&[1], 0, None)).await, Err(NOT_ENOUGH_REPLICAS));
    world.sleep(Duration::from_secs(5)).await;
    assert_eq!(client.produce(TOPIC, 0, values_batch(&[1], 0, None)).await, Err(NOT_ENOUGH_REPLICAS));
    // Retention makes room; nobody else does anything.
    client.alter_topic("untiered", "retention.bytes", "1048576").await.unwrap();
    let started = world.now();
    while client.produce(TOPIC, 0, values_batch(&[1], 0, None)).await.is_err() {
        assert!(world.now() - started < Duration::from_secs(30), "there is room again");
        world.sleep(Duration::from_millis(500)).await;
    }
    world.terminate(node);
    assert_eq!(world.ended(node).await, Some(Exit::Returned));
}

#[test]
fn produce_is_refused_before_the_disk_is_full_and_goes_on_by_itself() {
    for seed in 1..4 {
        run(Config::seeded(seed), fill).unwrap_or_else(|failure| panic!("{failure}"));
    }
}

#[test]
fn mutation_mark_ignored_is_caught() {
    let _on = switch_on(Mutation::MarkIgnored);
    assert!(run(Config::seeded(1), fill).is_err(), "a disk that fills up is not noticed");
}

/// One of two directories cannot be read when the broker starts.
fn lose_a_directory(seed: u64) -> Result<(), Failure> {
    run(Config::seeded(seed), |world: World| async move {
        world.announce(&["a log directory failed at the start", "the partition is offline"]);
        let (node, address) = start_with(&world, "/data/a,/data/b", &[]);
        create(&world, address, 4).await;
        for partition in 0..4 {
            let batch = values_batch(&[u64::try_from(partition).unwrap()], 0, None);
            client(&world, address).produce(TOPIC, partition, batch).await.unwrap();
        }
        let lost: Vec<bool> = {
            let files = world.disk(node).files();
            let topic_in = |dir: &str, partition: i32| {
                files.iter().any(|(path, _)| path.starts_with(dir) && path.contains(&format!("-{partition}/")))
            };
            (0..4).map(|partition| topic_in("/data/b/", partition)).collect()
        };
        assert!(lost.contains(&true) && lost.contains(&false));
        world.crash(node, Crash::Kill);
        world.disk(node).break_sectors("/data/b/identity".as_ref(), 0..1 << 20).unwrap();
        world.start(node);
        let mut client = client(&world, address);
        for (partition, lost) in (0i32..).zip(&lost) {
            let answer = loop {
                match client.fetch(TOPIC, partition, 0, 1000).await {
                    Err(CallError::Lost | CallError::Kafka(6 | 5)) => world.sleep(Duration::from_millis(100)).await,
                    answer => break answer,
                }
            };
            if *lost {
                assert_eq!(answer.err(), Some(KAFKA_STORAGE_ERROR), "partition {partition}");
                let batch = values_batch(&[9], 0, None);
                assert_eq!(client.produce(TOPIC, partition, batch).await, Err(KAFKA_STORAGE_ERROR));
            } else {
                assert!(!answer.unwrap().records.is_empty());
                client.produce(TOPIC, partition, values_batch(&[9], 0, None)).await.unwrap();
            }
        }
        // What is new finds a place.
        client.create_topic("new", 3, &[]).await.unwrap();
        for partition in 0..3 {
            client.produce("new", partition, values_batch(&[1], 0, None)).await.unwrap();
        }
        world.terminate(node);
        assert_eq!(world.ended(node).await, Some(Exit::Returned));
    })
    .map(|_| ())
}

#[test]
fn a_directory_that_does_not_open_takes_down_its_own_partitions_only() {
    for seed in 1..4 {
        lose_a_directory(seed).unwrap_or_else(|failure| panic!("{failure}"));
    }
}

/// A log that cannot be read when the broker starts, and later can.
async fn unreadable_for_a_while(world: World) {
    world.announce(&["the partition is offline, and tried again"]);
    let (node, address) = start_with(&world, "/data/a", &[]);
    create(&world, address, 2).await;
    for partition in 0..2 {
        client(&world, address).produce(TOPIC, partition, values_batch(&[7], 0, None)).await.unwrap();
    }
    world.crash(node, Crash::Kill);
    let disk = world.disk(node);
    let is_of_one = |path: &str| path.contains("-1/") && path.ends_with(".log");
    let broken: Vec<String> = disk.files().into_iter().map(|(path, _)| path).filter(|path| is_of_one(path)).collect();
    // Those of internal topics, too: what they have is not asked for here.
    broken.iter().for_each(|path| disk.break_sectors(path.as_ref(), 0..1 << 20).unwrap());
    world.start(node);
    let mut client = client(&world, address);
    let mut is_up = false;
    while !is_up {
        world.sleep(Duration::from_millis(100)).await;
        is_up = client.fetch(TOPIC, 0, 0, 1000).await.is_ok_and(|fetched| !fetched.records.is_empty());
    }
    for _ in 0..30 {
        world.sleep(Duration::from_secs(1)).await;
        assert_eq!(client.fetch(TOPIC, 1, 0, 1000).await.err(), Some(KAFKA_STORAGE_ERROR));
    }
    broken.iter().for_each(|path| disk.mend_sectors(path.as_ref()).unwrap());
    let mended = world.now();
    while client.fetch(TOPIC, 1, 0, 1000).await.is_err() {
        assert!(world.now() - mended < Duration::from_secs(20), "it can be read again, and nobody looks");
        world.sleep(Duration::from_millis(500)).await;
    }
    assert!(!client.fetch(TOPIC, 1, 0, 1000).await.unwrap().records.is_empty());
    client.produce(TOPIC, 1, values_batch(&[8], 0, None)).await.unwrap();
    world.terminate(node);
    assert_eq!(world.ended(node).await, Some(Exit::Returned));
}

#[test]
fn a_log_that_could_not_be_read_at_the_start_opens_once_it_can() {
    for seed in 1..4 {
        run(Config::seeded(seed), unreadable_for_a_while).unwrap_or_else(|failure| panic!("{failure}"));
    }
}

#[test]
fn mutation_lost_made_anew_is_caught() {
    let _on = switch_on(Mutation::LostMadeAnew);
    assert!(lose_a_directory(1).is_err(), "records that are in a directory which does not open count as gone");
}

/// One segment of an untiered topic rots; a scrub finds it.
fn rot(seed: u64) -> Result<(), Failure> {
    run(Config::seeded(seed), |world: World| async move {
        world.announce(&["records are damaged, and the tier does not have them"]);
        let (node, address) = start_with(&world, "/data/a", &["log.scrub.interval.ms=1000"]);
        let mut client = client(&world, address);
        let configs = [("segment.bytes", "4096"), ("remote.storage.enable", "false"), ("retention.ms", "-1")];
        while client.create_topic(TOPIC, 2, &configs).await.is_err() {
            world.sleep(Duration::from_millis(100)).await;
        }
        for n in 0..20 {
            for partition in 0..2 {
                client.produce(TOPIC, partition, values_batch(&[n; 90], 0, None)).await.unwrap();
            }
        }
        let files = world.disk(node).files();
        let (path, len) =
            files.iter().find(|(path, _)| path.contains("-0/") && path.contains("-00000002.log")).unwrap();
        assert!(world.disk(node).flip_bit(path.as_ref(), len / 2, 3));
        let started = world.now();
        let mut at = 0;
        let refused = loop {
            match client.fetch(TOPIC, 0, at, 1).await {
                Ok(fetched) => match fetched.records.last() {
                    Some(last) => at = u64::try_from(last.offset).unwrap() + 1,
                    // Not found yet.
                    None => at = 0,
                },
                // The client checks what it gets, too.
                Err(CallError::Damaged) => at = 0,
                Err(CallError::Kafka(code)) => break code,
                Err(error) => panic!("{error:?}"),
            }
            assert!(world.now() - started < Duration::from_secs(60), "the rot is never found");
            world.sleep(Duration::from_millis(50)).await;
        };
        assert_eq!(refused, ErrorCode::CORRUPT_MESSAGE.code());
        assert!(at > 0, "what lies before it is read");
        assert!(!client.fetch(TOPIC, 0, at + 90, 1000).await.unwrap().records.is_empty(), "and what lies behind it");
        assert!(!client.fetch(TOPIC, 1, at, 1000).await.unwrap().records.is_empty());
        client.produce(TOPIC, 0, values_batch(&[1], 0, None)).await.unwrap();
        world.terminate(node);
        assert_eq!(world.ended(node).await, Some(Exit::Returned));
    })
    .map(|_| ())
}

#[test]
fn rot_is_found_and_only_that_is_refused() {
    for seed in 1..4 {
        rot(seed).unwrap_or_else(|failure| panic!("{failure}"));
    }
}

/// A read that gave something else for a while: a later process looks at what an earlier one found, long before its scrub
/// is due.
async fn rot_that_passes(world: World) {
    world.announce(&["records are damaged, and the tier does not have them", "can be read again"]);
    let (node, address) = start_with(&world, "/data/a", &["log.scrub.interval.ms=36000000"]);
    let mut client = client(&world, address);
    let configs = [("segment.bytes", "4096"), ("remote.storage.enable", "false"), ("retention.ms", "-1")];
    while client.create_topic(TOPIC, 1, &configs).await.is_err() {
        world.sleep(Duration::from_millis(100)).await;
    }
    let disk = world.disk(node);
    for n in 0..20 {
        client.produce(TOPIC, 0, values_batch(&[n; 90], 0, None)).await.unwrap();
    }
    let files = disk.files();
    let (path, len) = files.iter().find(|(path, _)| path.contains("-0/") && path.contains("-00000002.log")).unwrap();
    let flip = || assert!(disk.flip_bit(path.as_ref(), len / 2, 3));
    flip();
    let base: u64 = path.rsplit('/').next().and_then(|name| name.split('-').next()).unwrap().parse().unwrap();
    let is_refused = async |client: &mut SimClient| {
        for at in base..base + 200 {
            if client.fetch(TOPIC, 0, at, 1).await.err() == Some(CallError::Kafka(ErrorCode::CORRUPT_MESSAGE.code())) {
                return true;
            }
        }
        false
    };
    let started = world.now();
    while !is_refused(&mut client).await {
        assert!(world.now() - started < Duration::from_secs(90), "the rot is never found");
        world.sleep(Duration::from_secs(5)).await;
    }
    world.crash(node, Crash::Kill);
    flip();
    world.start(node);
    while client.fetch(TOPIC, 0, 0, 1000).await.is_err() {
        world.sleep(Duration::from_millis(100)).await;
    }
    world.sleep(Duration::from_secs(65)).await;
    assert!(!is_refused(&mut client).await, "it can be read again, and nobody looks");
    world.terminate(node);
    assert_eq!(world.ended(node).await, Some(Exit::Returned));
}

#[test]
fn what_an_earlier_process_found_rotten_is_looked_at_again() {
    // In these the first scrub comes after the rot; the second is not due as long as the story lasts.
    for seed in 1..3 {
        run(Config::seeded(seed), rot_that_passes).unwrap_or_else(|failure| panic!("{failure}"));
    }
}

#[test]
fn mutation_rot_served_is_caught() {
    let _on = switch_on(Mutation::RotServed);
    assert!(rot(1).is_err(), "rot is served although a scrub has found it");
}
