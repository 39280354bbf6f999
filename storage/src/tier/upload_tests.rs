//! Uploads from logs in memory, over stores that fail, compared byte for byte.

use super::super::committer::CommitterConfig;
use super::super::merge::MergeConfig;
use super::super::object::check_unit;
use super::super::testing::{FakeBroker, batch, batches_of, open, partition};
use super::*;
use crate::env::store::MemoryStore;
use crate::env::store::testing::{Faults, FaultyStore, block_on, env};
use uuid::Uuid;

struct Running {
    env: Env,
    memory: Arc<MemoryStore>,
    commits: TierCommits,
    broker: Arc<FakeBroker>,
    uploader: Uploader,
}

async fn start(faults: Faults, config: UploadConfig) -> Running {
    let env = env(7);
    let memory = Arc::new(MemoryStore::new(Arc::clone(&env.clock)));
    let store: Arc<dyn Store> = Arc::new(FaultyStore::new(Arc::<MemoryStore>::clone(&memory), 7, faults));
    let commits = loop {
        let started = TierCommits::start(Arc::clone(&store), &env, Uuid::nil(), CommitterConfig::default()).await;
        if let Ok(commits) = started {
            break commits;
        }
    };
    let broker = Arc::new(FakeBroker::default());
    let sources = Arc::<FakeBroker>::clone(&broker);
    let uploader = Uploader::start(&env, store, Uuid::nil(), commits.clone(), sources, config);
    Running { env, memory, commits, broker, uploader }
}

impl Running {
    async fn until_tiered(&self, n: u32, end: Offset) {
        for _ in 0..2000 {
            self.uploader.wake();
            if self.commits.image().get(&partition(n)).is_some_and(|manifest| manifest.end().offset() == end) {
                return;
            }
            self.env.sleep(Duration::from_millis(10)).await;
        }
        panic!("partition {n} was not tiered up to {end}: {:?}", self.uploader.counts());
    }

    /// All that the tier has of a partition, after checking every unit.
    async fn tiered(&self, n: u32) -> Vec<u8> {
        let image = self.commits.image();
        let mut bytes = Vec::new();
        for unit in image.get(&partition(n)).unwrap().recent() {
            check_unit(&*self.memory, unit).await.unwrap();
            bytes.extend_from_slice(&self.memory.get_range(&unit.key, unit.data.range()).await.unwrap());
        }
        bytes
    }
}

#[test]
fn logs_arrive_byte_for_byte_and_small_ones_share_objects() {
    block_on(async {
        let running = start(Faults::default(), UploadConfig::default()).await;
        for n in 0..10 {
            running.broker.log(n).append(&batches_of(0, 50, 1, 100));
        }
        running.broker.log(10).append(&batches_of(0, 1000, 1, 10_000));
        let opens = (0..11).map(|n| open(n, 1)).collect();
        running.commits.commit(opens).await.unwrap();
        for n in 0..11 {
            let log = running.broker.log(n);
            running.until_tiered(n, log.end()).await;
            assert_eq!(running.tiered(n).await, log.bytes(), "partition {n}");
        }
        let objects = running.memory.list("data/", None, 99).await.unwrap();
        assert!(objects.len() < 11, "{} objects", objects.len());
        // What comes later is uploaded from where the tier ends.
        running.broker.log(0).append(&batches_of(50, 90, 1, 100));
        running.until_tiered(0, Offset::new(90)).await;
        assert_eq!(running.tiered(0).await, running.broker.log(0).bytes());
    });
}

#[test]
fn a_large_range_is_cut_into_units() {
    block_on(async {
        let merge = MergeConfig { small_bytes: 0, ..MergeConfig::default() };
        let config = UploadConfig { unit_max_bytes: 2 << 20, merge, ..UploadConfig::default() };
        let running = start(Faults::default(), config).await;
        let log = running.broker.log(0);
        log.append(&batches_of(0, 1000, 1, 10_000));
        running.commits.commit(vec![open(0, 1)]).await.unwrap();
        running.until_tiered(0, log.end()).await;
        assert!(running.commits.image().get(&partition(0)).unwrap().recent().len() >= 4);
        assert_eq!(running.tiered(0).await, log.bytes());
    });
}

#[test]
fn a_store_that_fails_now_and_then_gets_everything_once() {
    block_on(async {
        let faults = Faults { lost_answer: 5, unavailable: 5, late: 3, false_conflict: 3 };
        let running = start(faults, UploadConfig::default()).await;
        running.commits.commit((0..4).map(|n| open(n, 1)).collect()).await.unwrap();
        for round in 0..5u64 {
            for n in 0..4 {
                running.broker.log(n).append(&batches_of(round * 30, round * 30 + 30, 1, 50));
            }
            for n in 0..4 {
                running.until_tiered(n, Offset::new(round * 30 + 30)).await;
            }
        }
        for n in 0..4 {
            assert_eq!(running.tiered(n).await, running.broker.log(n).bytes());
        }
    });
}

#[test]
fn a_rotten_log_is_not_uploaded_and_keeps_nobody_back() {
    block_on(async {
        let running = start(Faults::default(), UploadConfig::default()).await;
        let mut rotten = batch(0, 10, 1, 50).to_vec();
        rotten[100] ^= 1;
        running.broker.log(0).append(&[rotten.into()]);
        running.broker.log(1).append(&batches_of(0, 50, 1, 100));
        running.commits.commit(vec![open(0, 1), open(1, 1)]).await.unwrap();
        running.until_tiered(1, Offset::new(50)).await;
        assert!(running.commits.image().get(&partition(0)).unwrap().recent().is_empty());
        assert!(running.uploader.counts().failures >= 1);
    });
}
