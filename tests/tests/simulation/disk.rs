//! The disk: what a kill keeps, what a power cut may take, what it must not, and what fails.

use esker_storage::env::{Disk, Open, create_dir_durably, write_atomically};
use esker_storage::log::{Durability, LogDir, LogDirConfig};
use esker_tests::sim::{
    Config, Crash, CrashOdds, DiskCall, DiskFault, DiskPlan, Failure, FailureKind, NodeEnv, NodeId, World, run,
};
use std::io::{ErrorKind, IoSlice};
use std::path::Path;
use std::time::Duration;
use uuid::Uuid;

const FILE: &str = "/data/file";

fn write(disk: &dyn Disk, path: &str, bytes: &[u8]) {
    disk.open(path.as_ref(), Open::Create).unwrap().write_all_at(&[IoSlice::new(bytes)], 0).unwrap();
}

/// Adds a node that does `work` once and then waits, and lets it do that.
async fn after(world: &World, work: impl Fn(&NodeEnv) + Send + Sync + 'static) -> NodeId {
    let node = world.add_node("n", move |node| {
        work(&node);
        Box::pin(std::future::pending())
    });
    world.start(node);
    world.sleep(Duration::from_millis(10)).await;
    node
}

fn made_durable(disk: &dyn Disk) {
    disk.create_dir_all("/data".as_ref()).unwrap();
    disk.sync_dir("/".as_ref()).unwrap();
}

#[test]
fn a_kill_keeps_everything_and_a_sync_survives_a_power_cut() {
    for seed in 0..50 {
        run(Config::seeded(seed), |world: World| async move {
            let node = after(&world, |node| {
                let disk = &node.env.disk;
                made_durable(&**disk);
                write(&**disk, FILE, &[7; 10_000]);
            })
            .await;
            world.crash(node, Crash::Kill);
            assert_eq!(world.disk(node).read(FILE.as_ref()).unwrap(), [7; 10_000]);
            world.disk(node).open(FILE.as_ref(), Open::Read).unwrap().sync_data().unwrap();
            world.disk(node).sync_dir("/data".as_ref()).unwrap();
            world.start(node);
            world.crash(node, Crash::PowerCut);
            assert_eq!(world.disk(node).read(FILE.as_ref()).unwrap(), [7; 10_000]);
        })
        .unwrap();
    }
}

#[test]
fn a_power_cut_loses_keeps_and_tears_by_sector() {
    let (mut missing, mut empty, mut whole, mut torn, mut torn_in_page) = (0, 0, 0, 0, 0);
    for seed in 0..400 {
        let file = run(Config::seeded(seed), |world: World| async move {
            let node = after(&world, |node| {
                made_durable(&*node.env.disk);
                write(&*node.env.disk, FILE, &[7; 16 << 10]);
            })
            .await;
            world.crash(node, Crash::PowerCut);
            world.disk(node).read(FILE.as_ref()).ok()
        })
        .unwrap()
        .output;
        let Some(bytes) = file else {
            missing += 1;
            continue;
        };
        let sectors: Vec<bool> = bytes
            .chunks(512)
            .map(|sector| {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is written or not");
                sector[0] == 7
            })
            .collect();
        match (sectors.len(), sectors.iter().filter(|written| **written).count()) {
            (0, _) | (_, 0) => empty += 1,
            (32, 32) => whole += 1,
            _ => torn += 1,
        }
        torn_in_page += usize::from(sectors.chunks(8).any(|page| page.contains(&true) && page.contains(&false)));
    }
    assert!(
        missing > 60 && empty > 30 && whole > 20 && torn > 60 && torn_in_page > 20,
        "missing {missing}, empty {empty}, whole {whole}, torn {torn}, within a page {torn_in_page}"
    );
}

#[test]
fn a_power_cut_touches_nothing_that_was_synced_before() {
    for seed in 0..200 {
        run(Config::seeded(seed), |world: World| async move {
            let node = after(&world, |node| {
                let disk = &node.env.disk;
                made_durable(&**disk);
                write(&**disk, FILE, &[1; 1000]);
                let file = disk.open(FILE.as_ref(), Open::Write).unwrap();
                file.allocate(64 << 10).unwrap();
                file.sync_data().unwrap();
                disk.sync_dir("/data".as_ref()).unwrap();
                file.write_all_at(&[IoSlice::new(&[2; 9000])], 1000).unwrap();
            })
            .await;
            world.crash(node, Crash::PowerCut);
            let bytes = world.disk(node).read(FILE.as_ref()).unwrap();
            assert_eq!(bytes.len(), 64 << 10);
            assert!(bytes[..1000].iter().all(|byte| *byte == 1));
            assert!(bytes[1000..10_000].iter().all(|byte| *byte == 2 || *byte == 0));
            assert!(bytes[10_000..].iter().all(|byte| *byte == 0));
        })
        .unwrap();
    }
}

#[test]
fn an_atomic_write_is_old_or_new() {
    let mut seen = [0; 2];
    for seed in 0..200 {
        let new = run(Config::seeded(seed), |world: World| async move {
            let node = after(&world, |node| {
                let disk = &*node.env.disk;
                made_durable(disk);
                write_atomically(disk, FILE.as_ref(), b"the old content").unwrap();
                if node.life == 2 {
                    let _ = write_atomically(disk, FILE.as_ref(), b"new");
                }
            })
            .await;
            // The second life crashes in one of its calls.
            world.crash(node, Crash::Kill);
            let call = world.draw(|rng| rng.within(7..13));
            let at_call = Some((call, Crash::PowerCut));
            world.set_crash_odds(node, esker_tests::sim::CrashOdds { at_call, ..Default::default() });
            world.start(node);
            world.sleep(Duration::from_millis(1)).await;
            world.crash(node, Crash::PowerCut);
            match &world.disk(node).read(FILE.as_ref()).unwrap()[..] {
                b"new" => 1,
                b"the old content" => 0,
                other => panic!("torn: {other:?}"),
            }
        })
        .unwrap()
        .output;
        seen[new] += 1;
    }
    assert!(seen[0] > 20 && seen[1] > 20, "{seen:?}");
}

#[test]
fn names_that_were_not_synced_come_and_go() {
    let mut kinds = std::collections::BTreeMap::new();
    for seed in 0..300 {
        let names = run(Config::seeded(seed), |world: World| async move {
            let node = after(&world, |node| {
                let disk = &*node.env.disk;
                made_durable(disk);
                write(disk, "/data/a", b"");
                write(disk, "/data/b", b"");
                disk.sync_dir("/data".as_ref()).unwrap();
                write(disk, "/data/c", b"");
                disk.rename("/data/a".as_ref(), "/data/d".as_ref()).unwrap();
                disk.remove_file("/data/b".as_ref()).unwrap();
            })
            .await;
            world.crash(node, Crash::PowerCut);
            let entries = world.disk(node).list("/data".as_ref()).unwrap();
            entries.into_iter().map(|entry| entry.name).collect::<String>()
        })
        .unwrap()
        .output;
        // The renamed file has exactly one of its names.
        assert_ne!(names.contains('a'), names.contains('d'), "{names}");
        *kinds.entry(names).or_insert(0) += 1;
    }
    // c or not, a or d, b or not.
    assert_eq!(kinds.len(), 8, "{kinds:?}");
}

#[test]
fn a_failed_sync_drops_what_was_dirty_and_the_next_one_does_not_bring_it_back() {
    let mut lost = 0;
    for seed in 0..100 {
        lost += run(Config::seeded(seed), |world: World| async move {
            let node = after(&world, |node| {
                let disk = &*node.env.disk;
                if node.life == 1 {
                    made_durable(disk);
                    write(disk, FILE, &[1; 8192]);
                    disk.sync_dir("/data".as_ref()).unwrap();
                    return;
                }
                let file = disk.open(FILE.as_ref(), Open::Write).unwrap();
                assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(5));
                file.sync_data().unwrap();
            })
            .await;
            world.crash(node, Crash::Kill);
            let (path, fault) = ("file".to_owned(), DiskFault::Io);
            world.disk(node).plan(DiskPlan { call: DiskCall::Sync, path, after: 0, fault });
            world.start(node);
            world.sleep(Duration::from_millis(1)).await;
            world.crash(node, Crash::PowerCut);
            let bytes = world.disk(node).read(FILE.as_ref()).unwrap();
            usize::from(bytes != [1; 8192])
        })
        .unwrap()
        .output;
    }
    assert!(lost > 50, "{lost}");
}

fn violation(seed: u64, work: impl Fn(&NodeEnv) + Send + Sync + 'static) -> Failure {
    run(Config::seeded(seed), |world: World| async move {
        after(&world, work).await;
    })
    .unwrap_err()
}

#[test]
fn what_was_published_may_not_change_and_what_is_not_there_may_not_be_published() {
    fn mapped(node: &NodeEnv) -> std::sync::Arc<dyn esker_storage::env::File> {
        let disk = &*node.env.disk;
        made_durable(disk);
        write(disk, FILE, &[5; 3000]);
        let file = disk.open(FILE.as_ref(), Open::Write).unwrap();
        let mapping = file.map(1 << 20).unwrap();
        assert_eq!(mapping.clone().slice(100..2000), &[5; 1900][..]);
        assert_eq!(mapping.slice((1 << 20) - 1..(1 << 20) + 1), &[][..], "outside of the mapping");
        file
    }
    run(Config::seeded(1), |world: World| async move {
        // Around it, and the same bytes over it.
        after(&world, |node| {
            let file = mapped(node);
            file.write_all_at(&[IoSlice::new(&[6; 100]), IoSlice::new(&[5; 1900]), IoSlice::new(&[6; 50])], 0).unwrap();
            file.set_len(2000).unwrap();
        })
        .await;
    })
    .unwrap();
    let overwrite = violation(1, |node| mapped(node).write_all_at(&[IoSlice::new(&[6])], 1999).unwrap());
    let cut = violation(1, |node| mapped(node).set_len(1999).unwrap());
    let replace = violation(1, |node| {
        let _file = mapped(node);
        node.env.disk.open(FILE.as_ref(), Open::Replace).unwrap();
    });
    let past_end = violation(1, |node| drop(mapped(node).map(1 << 20).unwrap().slice(2999..3001)));
    for failure in [overwrite, cut, replace, past_end] {
        assert!(matches!(failure.kind, FailureKind::Violated { .. }), "{failure}");
    }
}

#[test]
fn the_kinds_of_errors_are_those_of_a_file_system() {
    run(Config::seeded(1), |world: World| async move {
        let node = world.add_node("n", |_| Box::pin(async {}));
        let disk = world.disk(node);
        let kind = |result: std::io::Result<()>| result.unwrap_err().kind();
        let at = |path: &'static str| Path::new(path);
        made_durable(&disk);
        assert_eq!(kind(disk.open(at("/data/x"), Open::Read).map(drop)), ErrorKind::NotFound);
        assert_eq!(kind(disk.open(at("/no/x"), Open::Create).map(drop)), ErrorKind::NotFound);
        write(&disk, "/data/x", b"12345");
        assert_eq!(kind(disk.open(at("/data/x"), Open::Create).map(drop)), ErrorKind::AlreadyExists);
        assert_eq!(kind(disk.list(at("/no")).map(drop)), ErrorKind::NotFound);
        assert_eq!(kind(disk.remove_file(at("/data"))), ErrorKind::IsADirectory);
        let file = disk.open(at("/data/x"), Open::Read).unwrap();
        assert_eq!(kind(file.read_exact_at(&mut [0; 3], 3)), ErrorKind::UnexpectedEof);
        assert!(file.write_all_at(&[IoSlice::new(b"1")], 0).is_err());
        assert_eq!(disk.read(at("/data/x")).unwrap(), b"12345");
        assert!(disk.exists(at("/data/x")).unwrap() && !disk.exists(at("/data/y")).unwrap());
        // A removed file is still there for those who have it open, as long as they do.
        disk.remove_file(at("/data/x")).unwrap();
        assert_eq!(file.len().unwrap(), 5);
        assert_eq!(disk.space(at("/data")).unwrap().total, disk.space(at("/data")).unwrap().available);
        drop(file);
        disk.set_total(8192);
        write(&disk, "/data/y", &[0; 8000]);
        let file = disk.open(at("/data/y"), Open::Write).unwrap();
        assert_eq!(kind(file.allocate(9000)), ErrorKind::StorageFull);
        let lock = disk.lock(at("/data/lock")).unwrap();
        assert_eq!(kind(disk.lock(at("/data/lock")).map(drop)), ErrorKind::WouldBlock);
        drop(lock);
        drop(disk.lock(at("/data/lock")).unwrap());
        disk.break_sectors(at("/data/y"), 512..1024).unwrap();
        assert_eq!(file.read_exact_at(&mut [0; 10], 1020).unwrap_err().raw_os_error(), Some(5));
        file.read_exact_at(&mut [0; 10], 1024).unwrap();
        assert!(disk.flip_bit(at("/data/y"), 2000, 3));
        assert_eq!(disk.read(at("/data/y")).unwrap_err().raw_os_error(), Some(5));
        disk.remove_dir_all(at("/data")).unwrap();
        assert!(!disk.exists(at("/data")).unwrap());
    })
    .unwrap();
}

fn log_dir(node: &NodeEnv) {
    let config = LogDirConfig { cluster: Uuid::from_u128(1), broker: 1, durability: Durability::Fsync, open_files: 16 };
    LogDir::open(&node.env, "/var/lib/esker".as_ref(), config).unwrap();
}

#[test]
fn a_log_directory_that_was_opened_survives_a_power_cut_with_its_parents() {
    for seed in 0..50 {
        run(Config::seeded(seed), |world: World| async move {
            let node = after(&world, log_dir).await;
            world.crash(node, Crash::PowerCut);
            assert!(world.disk(node).exists("/var/lib/esker/identity".as_ref()).unwrap(), "the identity is gone");
        })
        .unwrap();
    }
}

#[test]
fn a_directory_is_durable_though_an_earlier_life_died_while_making_it() {
    for call in 0..12 {
        run(Config::seeded(call), |world: World| async move {
            let make = |node: &NodeEnv| {
                // Of a process that dies here nobody asks what it got.
                let _ = create_dir_durably(&*node.env.disk, "/var/lib/esker".as_ref());
            };
            let node = world.add_node("n", move |node| {
                make(&node);
                Box::pin(std::future::pending())
            });
            world.set_crash_odds(node, CrashOdds { at_call: Some((call, Crash::Kill)), ..CrashOdds::default() });
            world.start(node);
            world.sleep(Duration::from_millis(10)).await;
            world.crash(node, Crash::Kill);
            world.set_crash_odds(node, CrashOdds::default());
            world.start(node);
            world.sleep(Duration::from_millis(10)).await;
            world.crash(node, Crash::PowerCut);
            assert!(world.disk(node).exists("/var/lib/esker".as_ref()).unwrap(), "killed in call {call}");
        })
        .unwrap();
    }
}
