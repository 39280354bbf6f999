//! Passes over a tier in memory: whatever was uploaded and however often it is compacted, the newest record of each key
//! is read back where it was, by readers of the old units as of the new ones.

use super::super::{CompactionConfig, PassConfig, tier_candidate};
use super::*;
use crate::env::store::MemoryStore;
use crate::env::store::testing::{block_on, hasty_env};
use crate::tier::{
    CommitterConfig, Finding, ReadConfig, ScrubDepth, TierRecord, UnitRange, UnitState, scrub, units_tile,
};
use esker_protocol::record::{BatchBuilder, Compression, Producer, records};
use proptest::prelude::*;
use std::time::Duration;

const CLUSTER: Uuid = Uuid::from_u128(5);
const KEEP: i64 = 1000;

fn no_pause(_: u64) -> BoxFuture<'static, ()> {
    Box::pin(async {})
}

struct Bench {
    env: Env,
    memory: Arc<MemoryStore>,
    store: Arc<dyn Store>,
    commits: TierCommits,
    compactor: TierCompactor,
    end: u64,
}

type Content = BTreeMap<u64, (Vec<u8>, Option<Vec<u8>>)>;

fn partition() -> TierPartition {
    let id = PartitionId { topic: Uuid::from_u128(9), partition: 0 };
    TierPartition { id, epoch: LeaderEpoch::new(1), last_batches: BTreeMap::new() }
}

fn settings(key_bytes: usize) -> PassConfig {
    let topic = CompactionConfig { min_dirty_ratio: 0.0, delete_retention_ms: KEEP, ..CompactionConfig::default() };
    PassConfig { topic, key_bytes, seed: 3, clean_below: Offset::ZERO }
}

impl Bench {
    async fn new(seed: u64) -> Bench {
        let (env, clock) = hasty_env(seed);
        let memory = Arc::new(MemoryStore::new(clock));
        let store: Arc<dyn Store> = Arc::clone(&memory) as Arc<dyn Store>;
        let config = CommitterConfig { snapshot_every: 7, keep: Duration::ZERO };
        let commits = TierCommits::start(Arc::clone(&store), &env, CLUSTER, config).await.unwrap();
        let open = TierRecord::Open { partition: partition().id, epoch: partition().epoch };
        commits.commit(vec![open]).await.unwrap();
        let reader = TierReader::new(&env, Arc::clone(&store), CLUSTER, ReadConfig::default());
        let compactor = TierCompactor::new(&env, Arc::clone(&store), CLUSTER, commits.clone(), reader);
        Bench { env, memory, store, commits, compactor, end: 0 }
    }

    fn manifest(&self) -> Arc<Manifest> {
        Arc::clone(self.commits.image().get(&partition().id).unwrap())
    }

    /// Uploads a unit of these batches.
    async fn upload(&mut self, batches: &[Bytes], end: u64, aborted: Vec<AbortedTransaction>) {
        let (id, attempt) = (partition().id, self.env.random.uuid());
        let start = Offset::new(self.end);
        let mut writer =
            ObjectWriter::new(Arc::clone(&self.store), ObjectKey::Partition { partition: id, base: start, attempt });
        let range = UnitRange {
            partition: id,
            start,
            upto: Offset::new(end),
            leader_epoch: partition().epoch,
            revision: None,
            stay: 0,
        };
        writer.begin_unit(range).unwrap();
        for batch in batches {
            writer.data(batch).await.unwrap();
        }
        let producers = Bytes::from(format!("producers at {end}"));
        let state = UnitState { producers, epochs: vec![(LeaderEpoch::new(0), Offset::ZERO)], aborted };
        writer.end_unit(Offset::new(end), state).await.unwrap();
        let units = writer.finish().await.unwrap();
        let verdicts = self.commits.commit(units.into_iter().map(TierRecord::Unit).collect()).await.unwrap();
        assert!(verdicts.iter().all(|verdict| verdict.is_applied()), "{verdicts:?}");
        self.end = end;
    }

    async fn pass(&self, from: Option<Offset>, key_bytes: usize, now: i64) -> Option<PassReport> {
        let now = Timestamp::from_millis(now);
        let settings = settings(key_bytes);
        let found = tier_candidate(partition().id, &self.manifest(), from, &settings.topic, now);
        if !found.is_due(&settings.topic) {
            return None;
        }
        self.compactor.pass(&partition(), &found, settings, now, &no_pause).await.unwrap()
    }

    /// Everything that a reader of this manifest gets from `from` on.
    async fn read(&self, manifest: &Arc<Manifest>, from: u64) -> Content {
        let reader = TierReader::new(&self.env, Arc::clone(&self.store), CLUSTER, ReadConfig::default());
        let (mut at, mut content) = (Offset::new(from), Content::new());
        while at < manifest.end().offset() {
            let read = reader.read(partition().id, manifest, at, 300, true).await.unwrap();
            assert!(read.next > at);
            for batch in batches(&Bytes::from(read.pieces.concat())) {
                for record in records(batch.bytes, &mut Scratch::default(), 1 << 20).unwrap() {
                    let record = record.unwrap();
                    let seen = (record.key.unwrap().to_vec(), record.value.map(<[u8]>::to_vec));
                    if record.offset as u64 >= from && !batch.header.is_control() {
                        assert_eq!(content.insert(record.offset as u64, seen), None);
                    }
                }
            }
            at = read.next;
        }
        content
    }

    async fn assert_sound(&self) {
        let manifest = self.manifest();
        assert!(units_tile(manifest.log_start(), manifest.recent()));
        assert_eq!(manifest.end().offset().get(), self.end);
        // What was replaced waits for the sweeper.
        let image = self.commits.image();
        let mut report = scrub(self.store.as_ref(), CLUSTER, &image, ScrubDepth::Everything).await.unwrap();
        report.findings.retain(|finding| !matches!(finding, Finding::Orphan { .. }));
        assert_eq!(report.findings, []);
    }
}

fn newest(content: &Content) -> BTreeMap<Vec<u8>, (u64, Vec<u8>)> {
    let mut map = BTreeMap::new();
    for (offset, (key, value)) in content {
        match value {
            Some(value) => map.insert(key.clone(), (*offset, value.clone())),
            None => map.remove(key),
        };
    }
    map
}

fn batch(base: u64, codec: u8, specs: &[(u8, Option<u8>)]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::from_code(codec).unwrap());
    for (key, value) in specs {
        let value = value.map(|value| vec![value; 30]);
        builder.push(1000, Some(&[b'k', *key]), value.as_deref(), &[]);
    }
    builder.build_trusted().unwrap().stamp(base as i64, 0, None).to_bytes()
}

/// Key and value of a record.
type Spec = (u8, Option<u8>);

#[derive(Clone, Debug)]
enum Act {
    Upload(Vec<(u8, Vec<Spec>)>),
    Pass { key_bytes: usize, after: i64 },
}

fn any_act() -> impl Strategy<Value = Act> {
    let spec = (0u8..9, prop::option::weighted(0.8, any::<u8>()));
    let unit = prop::collection::vec((0u8..5, prop::collection::vec(spec, 1..6)), 1..4);
    prop_oneof![
        3 => unit.prop_map(Act::Upload),
        1 => (prop_oneof![Just(120usize), Just(1 << 16)], 0i64..2 * KEEP)
            .prop_map(|(key_bytes, after)| Act::Pass { key_bytes, after }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn the_newest_of_every_key_is_read_back(acts in prop::collection::vec(any_act(), 1..25), seed: u64) {
        block_on(async {
            let mut bench = Bench::new(seed).await;
            let (mut all, mut now, mut cleaned) = (Content::new(), 10_000, None);
            for act in acts {
                match act {
                    Act::Upload(unit) => {
                        let (mut bytes, mut base) = (Vec::new(), bench.end);
                        for (codec, specs) in &unit {
                            bytes.push(batch(base, *codec, specs));
                            for (key, value) in specs {
                                all.insert(base, (vec![b'k', *key], value.map(|value| vec![value; 30])));
                                base += 1;
                            }
                        }
                        bench.upload(&bytes, base, Vec::new()).await;
                    }
                    Act::Pass { key_bytes, after } => {
                        now += after;
                        let before = bench.manifest();
                        let seen = bench.read(&before, 0).await;
                        if let Some(report) = bench.pass(cleaned, key_bytes, now).await {
                            assert!(Some(report.cleaned_to) > cleaned, "a pass gets on");
                            cleaned = Some(report.cleaned_to);
                        }
                        assert_eq!(bench.read(&before, 0).await, seen, "readers of the old units finish on them");
                    }
                }
                let content = bench.read(&bench.manifest(), 0).await;
                assert!(content.iter().all(|(offset, seen)| all.get(offset) == Some(seen)));
                assert_eq!(newest(&content), newest(&all));
                bench.assert_sound().await;
            }
            // Fully cleaned and past every horizon, only what has a value is left.
            for _ in 0..2 {
                while bench.pass(cleaned, 1 << 16, now).await.map(|report| cleaned = Some(report.cleaned_to)).is_some() {}
                (cleaned, now) = (None, now + 2 * KEEP);
            }
            let content = bench.read(&bench.manifest(), 0).await;
            assert_eq!(newest(&content), newest(&all));
            assert_eq!(content.len(), newest(&all).len());
            for from in [1, 5, 20].into_iter().filter(|from| *from < bench.end) {
                let expected: Content = content.range(from..).map(|(offset, seen)| (*offset, seen.clone())).collect();
                assert_eq!(bench.read(&bench.manifest(), from).await, expected);
            }
            bench.assert_sound().await;
        });
    }
}

#[test]
fn aborted_records_go_with_what_tells_of_them() {
    block_on(async {
        let mut bench = Bench::new(1).await;
        let transactional = |base: i64, key: &[u8]| {
            let producer = Producer { id: 7, epoch: 0, base_sequence: Some(base as i32) };
            let mut builder = BatchBuilder::default().producer(producer).transactional();
            builder.push(1000, Some(key), Some(b"v"), &[]);
            builder.build_trusted().unwrap().stamp(base, 0, None).to_bytes()
        };
        let marker = |kind, base| {
            let marker = esker_protocol::record::end_transaction_marker(kind, 7, 0, 0, 1000).unwrap();
            marker.stamp(base, 0, None).to_bytes()
        };
        let entry = AbortedTransaction {
            producer_id: 7,
            first: Offset::new(1),
            last: Offset::new(3),
            last_stable: Offset::new(4),
        };
        use esker_protocol::record::ControlKind::{Abort, Commit};
        // The transaction's records are in two units, its marker in the second; what follows is committed.
        bench.upload(&[batch(0, 0, &[(0, Some(1))]), transactional(1, b"k0")], 2, vec![entry]).await;
        bench
            .upload(
                &[transactional(2, b"k1"), marker(Abort, 3), transactional(4, b"k2"), marker(Commit, 5)],
                6,
                vec![entry],
            )
            .await;
        let now = 10_000;
        bench.pass(None, 1 << 16, now).await.unwrap();
        let content = bench.read(&bench.manifest(), 0).await;
        assert_eq!(content.keys().copied().collect::<Vec<_>>(), [0, 4], "what is aborted is gone, whatever its key");
        let told = async |bench: &Bench| {
            let mut told = Vec::new();
            for unit in bench.manifest().recent() {
                told.extend(read_state(bench.store.as_ref(), unit).await.unwrap().aborted);
            }
            told
        };
        assert_eq!(told(&bench).await, [entry], "as long as the marker is there");
        bench.pass(None, 1 << 16, now + KEEP).await.unwrap();
        assert_eq!(told(&bench).await, [], "a reader that never meets the marker must not wait for it");
        assert_eq!(bench.read(&bench.manifest(), 0).await, content);
        bench.assert_sound().await;
        let last = read_state(bench.store.as_ref(), bench.manifest().last().unwrap()).await.unwrap();
        assert_eq!(last.producers, Bytes::from("producers at 6"), "the state at the end is what it was");
    });
}

#[test]
fn a_pass_that_is_overtaken_changes_nothing_more() {
    block_on(async {
        let mut bench = Bench::new(2).await;
        for n in 0..3u64 {
            bench.upload(&[batch(n * 2, 0, &[(1, Some(n as u8)), (2, None)])], n * 2 + 2, Vec::new()).await;
        }
        let found = tier_candidate(partition().id, &bench.manifest(), None, &settings(0).topic, Timestamp::default());
        let deposed = TierRecord::Open { partition: partition().id, epoch: LeaderEpoch::new(2) };
        bench.commits.commit(vec![deposed]).await.unwrap();
        let before = bench.manifest();
        let report =
            bench.compactor.pass(&partition(), &found, settings(1 << 16), Timestamp::default(), &no_pause).await;
        assert_eq!(report.unwrap(), None);
        assert_eq!(bench.manifest().recent(), before.recent());
    });
}

#[test]
fn rot_in_any_part_of_a_unit_is_never_copied() {
    block_on(async {
        let mut bench = Bench::new(4).await;
        for unit in 0..3u64 {
            let base = unit * 4;
            let records = |n: u8| [(1, Some(n)), (n, Some(n))];
            let batches = [batch(base, 0, &records(2)), batch(base + 2, 0, &records(3 + unit as u8))];
            let marker = AbortedTransaction {
                producer_id: 5,
                first: Offset::new(base),
                last: Offset::new(base),
                last_stable: Offset::new(base + 1),
            };
            bench.upload(&batches, base + 4, vec![marker]).await;
        }
        let before = bench.manifest();
        let content = bench.read(&before, 0).await;
        let unit = before.recent()[1].clone();
        let whole = bench.memory.get(&unit.key).await.unwrap();
        let settings = settings(1 << 16);
        let now = Timestamp::from_millis(20_000);
        let found = tier_candidate(partition().id, &before, None, &settings.topic, now);
        for (part, section) in unit.sections() {
            for at in section.range() {
                let mut rotten = whole.to_vec();
                rotten[at as usize] ^= 1 << (at % 8);
                bench.memory.put(&unit.key, Bytes::from(rotten)).await.unwrap();
                if part == "index" {
                    // It is made anew, and not read.
                    continue;
                }
                let passed = bench.compactor.pass(&partition(), &found, settings, now, &no_pause).await;
                assert!(matches!(passed, Err(TierError::Corrupt { .. })), "{part}, byte {at}: {passed:?}");
                assert_eq!(bench.manifest().recent(), before.recent(), "{part}, byte {at}");
            }
        }
        bench.memory.put(&unit.key, whole).await.unwrap();
        assert!(bench.pass(None, 1 << 16, 20_000).await.is_some());
        assert_eq!(newest(&bench.read(&bench.manifest(), 0).await), newest(&content));
        bench.assert_sound().await;
    });
}
