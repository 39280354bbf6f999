//! Units that are rewritten while they are read: nothing is missing while somebody may be on it, and nothing that was
//! taken out comes back.
//!
//! Two rewriters work on one partition through two tier logs that both believe in themselves: one joins units as they
//! are, the other leaves batches out, as compaction does. Readers take their time.

use bytes::Bytes;
use esker_protocol::record::{BatchBuilder, batches};
use esker_storage::env::Env;
use esker_storage::env::mutation::{Mutation, switch_on};
use esker_storage::env::store::Store;
use esker_storage::offset::{LeaderEpoch, Offset, PartitionId};
use esker_storage::tier::{
    CommitterConfig, ObjectKey, ObjectWriter, ReadConfig, Rewriter, Run, ScrubDepth, Stretch, SweepConfig, Sweeper,
    TierCommits, TierError, TierReader, TierRecord, UnitBatches, UnitMeta, UnitRange, UnitState, joined_state,
    read_state, scrub,
};
use esker_tests::sim::{StoreFaults, World, check, first_failure};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const CLUSTER: Uuid = Uuid::from_u128(3);
const ID: PartitionId = PartitionId { topic: Uuid::from_u128(4), partition: 0 };
const EPOCH: LeaderEpoch = LeaderEpoch::new(1);
const UNITS: u64 = 40;
/// Batches, of one record each, in a unit.
const BATCHES: u64 = 4;
const GRACE: Duration = Duration::from_secs(60);

#[derive(Clone)]
struct Tier {
    env: Env,
    store: Arc<dyn Store>,
    commits: TierCommits,
    /// The offsets that were left out by a rewrite that took effect.
    gone: Arc<Mutex<BTreeSet<u64>>>,
}

async fn open(world: &World, gone: &Arc<Mutex<BTreeSet<u64>>>) -> Tier {
    let store: Arc<dyn Store> = Arc::new(world.store().clone());
    let config = CommitterConfig { snapshot_every: 15, ..CommitterConfig::default() };
    loop {
        if let Ok(commits) = TierCommits::start(Arc::clone(&store), world.env(), CLUSTER, config).await {
            return Tier { env: world.env().clone(), store, commits, gone: Arc::clone(gone) };
        }
    }
}

fn batch(offset: u64) -> Bytes {
    let mut builder = BatchBuilder::default();
    builder.push(offset as i64, None, Some(&offset.to_be_bytes()), &[]);
    builder.build_trusted().unwrap().stamp(offset as i64, 1, None).to_bytes()
}

/// What a unit that ends there says of producers and epochs; it is not looked into here.
fn state_at(end: Offset) -> UnitState {
    let producers = Bytes::copy_from_slice(&end.get().to_be_bytes());
    UnitState { producers, epochs: vec![(EPOCH, Offset::ZERO)], aborted: Vec::new() }
}

impl Tier {
    async fn upload(&self, start: u64) -> Result<Vec<UnitMeta>, TierError> {
        let (base, upto) = (Offset::new(start), Offset::new(start + BATCHES));
        let key = ObjectKey::Partition { partition: ID, base, attempt: self.env.random.uuid() };
        let mut writer = ObjectWriter::new(Arc::clone(&self.store), key);
        writer.begin_unit(UnitRange {
            partition: ID,
            start: base,
            upto,
            leader_epoch: EPOCH,
            revision: None,
            stay: 0,
        })?;
        for offset in start..start + BATCHES {
            writer.data(&batch(offset)).await?;
        }
        writer.end_unit(upto, state_at(upto)).await?;
        writer.finish().await
    }

    /// A run of up to four units, in pages or not.
    async fn choose(&self, reader: &TierReader) -> Option<Run> {
        let (image, random) = (self.commits.image(), &self.env.random);
        let manifest = image.get(&ID)?;
        let pages = manifest.pages().len();
        let stretch = if pages > 0 && random.below(2) == 0 {
            Stretch::paged(reader, ID, manifest, EPOCH, pages - 1..pages).await.ok()?
        } else {
            Stretch::recent(ID, manifest, EPOCH)
        };
        let from = random.below(stretch.units().len().max(1) as u64) as usize;
        stretch.run(from..stretch.units().len().min(from + 1 + random.below(4) as usize))
    }

    /// A run as one unit, without the batch at `without`.
    async fn rewrite(&self, run: &Run, without: Option<u64>) -> Result<Vec<UnitMeta>, TierError> {
        let (first, last) = (run.units().first().unwrap(), run.units().last().unwrap());
        let (base, revision) = (first.start, run.revision());
        let key = ObjectKey::Rewrite { partition: ID, base, revision, attempt: self.env.random.uuid() };
        let mut writer = ObjectWriter::new(Arc::clone(&self.store), key);
        writer.begin_unit(run.range(base, last.end))?;
        let mut states = Vec::new();
        for unit in run.units() {
            let mut data = UnitBatches::new(&*self.store, unit);
            while let Some(all) = data.next().await? {
                for batch in batches(&all).filter(|batch| Some(batch.header.base_offset as u64) != without) {
                    writer.data(&Bytes::copy_from_slice(batch.bytes)).await?;
                }
            }
            states.push(read_state(&*self.store, unit).await?);
        }
        writer.end_unit(last.end, joined_state(states).unwrap()).await?;
        writer.finish().await
    }

    /// Rewrites now and then, some time after it chose what.
    async fn keep_rewriting(self, world: World, leaves_out: bool) {
        let reader = self.reader();
        for _ in 0..25 {
            world.sleep(world.draw(|rng| Duration::from_millis(rng.below(4000)))).await;
            let Some(run) = self.choose(&reader).await else { continue };
            let (first, end) = (run.units().first().unwrap().start.get(), run.units().last().unwrap().end.get());
            // Never the last of a run: a unit has at least one batch.
            let without = leaves_out.then(|| first + world.draw(|rng| rng.below(end - first - 1)));
            if let Ok(new) = self.rewrite(&run, without).await {
                world.sleep(world.draw(|rng| Duration::from_millis(rng.below(3000)))).await;
                let rewriter = Rewriter::new(&self.env, Arc::clone(&self.store), CLUSTER, self.commits.clone());
                let verdicts = rewriter.commit(vec![(run, new)]).await;
                if verdicts.is_ok_and(|verdicts| verdicts[0].is_applied()) {
                    self.gone.lock().extend(without);
                }
            }
        }
    }

    fn reader(&self) -> Arc<TierReader> {
        TierReader::new(&self.env, Arc::clone(&self.store), CLUSTER, ReadConfig::default())
    }

    /// Reads everything with one manifest, a reader of its own, and pauses that stay within the grace.
    async fn read(&self, world: &World, pause: u64) -> Vec<u64> {
        let (gone, began) = (self.gone.lock().clone(), world.now());
        let (reader, image) = (self.reader(), self.commits.image());
        let manifest = image.get(&ID).unwrap();
        world.sleep(Duration::from_secs(world.draw(|rng| rng.below(pause + 1)))).await;
        let (mut at, mut offsets) = (Offset::ZERO, Vec::new());
        while at < manifest.end().offset() {
            match reader.read(ID, manifest, at, 300, true).await {
                Ok(read) => {
                    let all = read.pieces.concat();
                    offsets.extend(batches(&all).map(|batch| batch.header.base_offset as u64));
                    at = read.next;
                }
                Err(error) if error.is_retry() => world.sleep(Duration::from_millis(100)).await,
                // In a storm a single request may take so long.
                Err(TierError::Gone { .. }) if world.now() > began + GRACE => break,
                Err(error) => panic!("a reader that began before the grace cannot finish at {at}: {error}"),
            }
        }
        assert!(offsets.is_sorted_by(|a, b| a < b), "{offsets:?}");
        let back: Vec<_> = offsets.iter().filter(|offset| gone.contains(offset)).collect();
        assert!(back.is_empty(), "{back:?} were taken out and are back");
        offsets
    }
}

/// Returns how many units are left, and how many records.
async fn story(world: World, faults: fn() -> StoreFaults) -> (usize, usize) {
    world.announce(&["a commit is unsettled", "trying again", "a sweep stopped"]);
    let gone = Arc::default();
    let tiers = [open(&world, &gone).await, open(&world, &gone).await];
    let [one, other] = &tiers;
    one.commits.commit(vec![TierRecord::Open { partition: ID, epoch: EPOCH }]).await.unwrap();
    for at in 0..UNITS {
        let units = one.upload(at * BATCHES).await.unwrap();
        let verdicts = one.commits.commit(units.into_iter().map(TierRecord::Unit).collect()).await.unwrap();
        assert!(verdicts[0].is_applied());
    }
    world.store().set_faults(faults());
    let sweep = SweepConfig { every: Duration::from_secs(7), grace: GRACE, shard_grace: GRACE };
    let (store, reader) = (Arc::clone(&one.store), one.reader());
    let sweeper = Sweeper::new(&one.env, store, CLUSTER, one.commits.clone(), reader, sweep).start();
    let mut rewriters = Vec::new();
    for (tier, leaves_out) in [(one, true), (other, false), (one, false)] {
        rewriters.push(world.spawn("rewriter", tier.clone().keep_rewriting(world.clone(), leaves_out)));
    }
    for _ in 0..3 {
        let (tier, of) = (one.clone(), world.clone());
        rewriters.push(world.spawn("reader", async move {
            for _ in 0..4 {
                tier.read(&of, 40).await;
            }
        }));
    }
    for rewriter in rewriters {
        rewriter.ended().await;
    }
    world.store().set_faults(StoreFaults::none());
    // What is on its way lands, and the sweeper takes what nothing names.
    world.sleep(Duration::from_secs(300)).await;
    drop(sweeper);
    let last = open(&world, &gone).await;
    let offsets = last.read(&world, 0).await;
    let kept: Vec<u64> = (0..UNITS * BATCHES).filter(|offset| !gone.lock().contains(offset)).collect();
    assert_eq!(offsets, kept);
    // Where nobody's disk has it any more, a leader goes on from this.
    let (reader, image) = (last.reader(), last.commits.image());
    let state = reader.last_state(image.get(&ID).unwrap()).await.unwrap();
    assert_eq!(state, Some(state_at(Offset::new(UNITS * BATCHES))));
    let report = scrub(&*last.store, CLUSTER, &last.commits.image(), ScrubDepth::Everything).await.unwrap();
    assert_eq!(report.findings, []);
    (report.units as usize, offsets.len())
}

#[test]
fn what_is_rewritten_is_neither_missed_nor_back() {
    for finished in check(0..15, |world| story(world, StoreFaults::none)) {
        println!("{finished:?}");
        assert!(finished.output.0 < UNITS as usize && finished.output.1 < (UNITS * BATCHES) as usize);
    }
    for finished in check(15..30, |world| story(world, StoreFaults::stormy)) {
        println!("{finished:?}");
    }
}

#[test]
fn mutation_changed_unit_swapped_is_caught() {
    let caught = {
        let _on = switch_on(Mutation::ChangedUnitSwapped);
        first_failure(0..30, |world| story(world, StoreFaults::none))
    };
    println!("{:?}", caught.expect("a stale rewrite is not noticed").kind);
}

#[test]
fn mutation_oldest_state_kept_is_caught() {
    let caught = {
        let _on = switch_on(Mutation::OldestStateKept);
        first_failure(0..30, |world| story(world, StoreFaults::none))
    };
    println!("{:?}", caught.expect("forgotten producers are not noticed").kind);
}

#[test]
fn mutation_replaced_deleted_at_once_is_caught() {
    let caught = {
        let _on = switch_on(Mutation::ReplacedDeletedAtOnce);
        first_failure(0..30, |world| story(world, StoreFaults::none))
    };
    println!("{:?}", caught.expect("a deletion within the grace is not noticed").kind);
}
