//! Uploads that end late: after their object was doomed, after the sweeper was there, after their partition has left the
//! tier. Nothing that was accepted is missing, and nothing that lands late leaks.
//!
//! The uploader and the sweeper work through two tier logs that both believe in themselves, as a leader and a controller
//! on two machines do. Between an object's writing and its commit the uploader takes its time, around the sweeper's grace.

use esker_protocol::record::BatchBuilder;
use esker_storage::env::Env;
use esker_storage::env::mutation::{Mutation, switch_on};
use esker_storage::env::store::Store;
use esker_storage::offset::{LeaderEpoch, Offset, PartitionId};
use esker_storage::tier::{
    CommitterConfig, ObjectKey, ObjectWriter, ReadConfig, Refusal, ScrubDepth, SweepConfig, Sweeper, TierCommits,
    TierReader, TierRecord, UnitMeta, UnitRange, Verdict, scrub,
};
use esker_tests::sim::{Config, StoreEffect, StoreFaults, World, check, first_failure, run};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const CLUSTER: Uuid = Uuid::from_u128(11);
const ID: PartitionId = PartitionId { topic: Uuid::from_u128(12), partition: 0 };
const EPOCH: LeaderEpoch = LeaderEpoch::new(1);
/// Offsets of a unit.
const UNIT: u64 = 3;
const UNITS: u64 = 12;
const GRACE: Duration = Duration::from_secs(30);

#[derive(Clone)]
struct Tier {
    env: Env,
    store: Arc<dyn Store>,
    commits: TierCommits,
}

async fn open(world: &World) -> Tier {
    let store: Arc<dyn Store> = Arc::new(world.store().clone());
    let config = CommitterConfig { snapshot_every: 9, ..CommitterConfig::default() };
    loop {
        if let Ok(commits) = TierCommits::start(Arc::clone(&store), world.env(), CLUSTER, config).await {
            return Tier { env: world.env().clone(), store, commits };
        }
    }
}

impl Tier {
    /// Where the next unit starts, and in which stay, by what this log knows.
    fn next(&self) -> (Offset, u32) {
        self.commits.image().get(&ID).map_or((Offset::ZERO, 0), |manifest| (manifest.next_start(), manifest.stay()))
    }

    /// Writes the next unit's object; nobody knows of it yet.
    async fn write(&self) -> UnitMeta {
        let (start, stay) = self.next();
        loop {
            let key = ObjectKey::Partition { partition: ID, base: start, attempt: self.env.random.uuid() };
            let upto = Offset::new(start.get() + UNIT);
            let mut writer = ObjectWriter::new(Arc::clone(&self.store), key);
            writer
                .begin_unit(UnitRange { partition: ID, start, upto, leader_epoch: EPOCH, revision: None, stay })
                .unwrap();
            for offset in start.get()..upto.get() {
                let mut builder = BatchBuilder::default();
                builder.push(offset as i64, None, Some(&offset.to_be_bytes()), &[]);
                let batch = builder.build_trusted().unwrap().stamp(offset as i64, 1, None).to_bytes();
                writer.data(&batch).await.unwrap();
            }
            writer.end_unit(upto, Default::default()).await.unwrap();
            // An attempt that failed may have written its object all the same: an orphan.
            if let Ok(units) = writer.finish().await {
                return units.into_iter().next().unwrap();
            }
        }
    }

    async fn commit(&self, record: TierRecord) -> Verdict {
        self.commits.commit(vec![record]).await.unwrap()[0]
    }

    fn sweeper(&self) -> Sweeper {
        let config = SweepConfig { every: Duration::from_secs(7), grace: GRACE, shard_grace: GRACE };
        let reader = self.reader();
        Sweeper::new(&self.env, Arc::clone(&self.store), CLUSTER, self.commits.clone(), reader, config)
    }

    fn reader(&self) -> Arc<TierReader> {
        TierReader::new(&self.env, Arc::clone(&self.store), CLUSTER, ReadConfig::default())
    }

    /// Everything that was accepted is read, byte for byte, and nothing else is there.
    async fn is_whole(&self) {
        let image = self.commits.image();
        let manifest = image.get(&ID).unwrap();
        let (reader, mut at) = (self.reader(), manifest.log_start().offset());
        while at < manifest.end().offset() {
            let read = reader.read(ID, manifest, at, 1 << 20, true).await.expect("what was accepted is there");
            assert_eq!(read.base, at);
            at = read.next;
        }
        let report = scrub(&*self.store, CLUSTER, &image, ScrubDepth::Everything).await.unwrap();
        assert_eq!(report.findings, []);
    }
}

/// What became of uploads that took longer than the sweeper waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ends {
    /// Their object was doomed first.
    doomed: u32,
    /// They were accepted first, though the sweeper had the object in mind.
    accepted: u32,
    /// A last attempt at the object landed after it was deleted.
    resurrected: u32,
}

async fn story(world: World, faults: fn() -> StoreFaults) -> Ends {
    world.announce(&["a commit is unsettled", "trying again", "a sweep stopped"]);
    let (leader, controller) = (open(&world).await, open(&world).await);
    assert!(leader.commit(TierRecord::Open { partition: ID, epoch: EPOCH }).await.is_applied());
    world.store().set_faults(faults());
    let sweeping = controller.sweeper().start();
    let mut ends = Ends::default();
    while leader.next().0 < Offset::new(UNIT * UNITS) {
        let unit = leader.write().await;
        // Around when the sweeper, which comes every 7 s, takes what it has known for 30 s.
        let pause = world.draw(|rng| Duration::from_millis(rng.below(60_000)));
        world.sleep(pause).await;
        match leader.commit(TierRecord::Unit(unit.clone())).await {
            Verdict::Applied if pause > Duration::from_secs(8) => ends.accepted += 1,
            Verdict::Ignored(Refusal::Doomed) => {
                ends.doomed += 1;
                // The client below had sent the object twice, and the second time arrives now.
                if world.draw(|rng| rng.below(2)) == 0 {
                    world.sleep(Duration::from_secs(5)).await;
                    let bytes = world.store().history().into_iter().rev().find_map(|event| match event.effect {
                        StoreEffect::Created(bytes) if event.key == *unit.key => Some(bytes),
                        _ => None,
                    });
                    if let (Some(bytes), false) = (bytes, world.store().contains(&unit.key)) {
                        ends.resurrected += u32::from(leader.store.put(&unit.key, bytes).await.is_ok());
                    }
                }
            }
            _ => {}
        }
    }
    world.store().set_faults(StoreFaults::none());
    // What is on its way lands, and the sweeper takes what nothing names.
    world.sleep(Duration::from_secs(300)).await;
    sweeping.abort();
    open(&world).await.is_whole().await;
    ends
}

#[test]
fn an_upload_that_ends_after_its_object_was_doomed_loses_nothing_and_leaks_nothing() {
    let mut all = Ends::default();
    let calm = check(0..12, |world| story(world, StoreFaults::none));
    let stormy = check(12..20, |world| story(world, StoreFaults::stormy));
    for finished in calm.iter().chain(&stormy) {
        let Ends { doomed, accepted, resurrected } = finished.output;
        all = Ends {
            doomed: all.doomed + doomed,
            accepted: all.accepted + accepted,
            resurrected: all.resurrected + resurrected,
        };
    }
    println!("{all:?}");
    assert!(all.doomed > 5 && all.accepted > 5 && all.resurrected > 2, "each order takes place: {all:?}");
}

/// The two commits race: whichever is first in the tier log decides.
#[test]
fn whichever_of_doom_and_unit_is_first_decides() {
    for doom_first in [true, false] {
        run(Config::seeded(1), move |world: World| async move {
            let (leader, controller) = (open(&world).await, open(&world).await);
            assert!(leader.commit(TierRecord::Open { partition: ID, epoch: EPOCH }).await.is_applied());
            let unit = leader.write().await;
            let starts = vec![(ID, unit.start)];
            let doom = TierRecord::Doom { key: Arc::clone(&unit.key), starts, rewrites: Vec::new() };
            if doom_first {
                assert!(controller.commit(doom).await.is_applied());
                assert_eq!(
                    leader.commit(TierRecord::Unit(unit.clone())).await,
                    Verdict::Ignored(Refusal::Doomed),
                    "by a log that had not heard of it"
                );
            } else {
                assert!(leader.commit(TierRecord::Unit(unit.clone())).await.is_applied());
                assert_eq!(controller.commit(doom).await, Verdict::Ignored(Refusal::Stale), "it is named");
            }
            let mut sweeper = controller.sweeper();
            for _ in 0..3 {
                sweeper.pass().await.unwrap();
                world.sleep(GRACE).await;
            }
            assert_eq!(world.store().contains(&unit.key), !doom_first);
            if doom_first {
                let again = leader.write().await;
                assert!(leader.commit(TierRecord::Unit(again)).await.is_applied(), "another object has its place");
            }
            open(&world).await.is_whole().await;
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    }
}

#[test]
fn mutation_doomed_unit_accepted_is_caught() {
    let caught = {
        let _on = switch_on(Mutation::DoomedUnitAccepted);
        first_failure(0..12, |world| story(world, StoreFaults::none))
    };
    println!("{:?}", caught.expect("a unit whose object goes is accepted, and nobody notices").kind);
}

#[test]
fn mutation_pending_deleted_undoomed_is_caught() {
    let caught = {
        let _on = switch_on(Mutation::PendingDeletedUndoomed);
        first_failure(0..12, |world| story(world, StoreFaults::none))
    };
    println!("{:?}", caught.expect("an object goes that can be named, and nobody notices").kind);
}

/// An upload is on its way when its partition leaves the tier, and begins just where the log will.
async fn left_meanwhile(world: World) {
    let tier = open(&world).await;
    assert!(tier.commit(TierRecord::Open { partition: ID, epoch: EPOCH }).await.is_applied());
    let first = tier.write().await;
    assert!(tier.commit(TierRecord::Unit(first)).await.is_applied());
    let on_its_way = tier.write().await;
    let leave = TierRecord::Leave { partition: ID, epoch: EPOCH, offset: on_its_way.start };
    assert!(tier.commit(leave).await.is_applied());
    let landed = tier.commit(TierRecord::Unit(on_its_way.clone())).await;
    assert_eq!(landed, Verdict::Ignored(Refusal::Stale), "a unit counts that was begun before the partition left");
    let anew = tier.write().await;
    assert_eq!(anew.start, on_its_way.start);
    assert!(tier.commit(TierRecord::Unit(anew)).await.is_applied());
    let mut sweeper = tier.sweeper();
    for _ in 0..3 {
        sweeper.pass().await.unwrap();
        world.sleep(GRACE).await;
    }
    // By a snapshot as by the commits.
    for _ in 0..10 {
        let unit = tier.write().await;
        assert!(tier.commit(TierRecord::Unit(unit)).await.is_applied());
    }
    let late = tier.commit(TierRecord::Unit(UnitMeta { start: tier.next().0, ..on_its_way })).await;
    assert!(!late.is_applied());
    assert_eq!(open(&world).await.next(), tier.next());
    open(&world).await.is_whole().await;
}

#[test]
fn an_upload_that_began_before_its_partition_left_the_tier_never_counts() {
    run(Config::seeded(1), left_meanwhile).unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn mutation_earlier_stay_accepted_is_caught() {
    let _on = switch_on(Mutation::EarlierStayAccepted);
    assert!(run(Config::seeded(1), left_meanwhile).is_err(), "what was begun before counts, and nobody notices");
}
