//! Damaged snapshots of a log whose state is all of its records in order.

use super::super::NumberedLog;
use super::super::lines::{seal, unseal};
use super::*;
use crate::env::Env;
use crate::env::store::MemoryStore;
use crate::env::store::testing::{HastyClock, block_on, hasty_env};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

type Log = NumberedLog<String, String>;

struct Bench {
    env: Env,
    clock: Arc<HastyClock>,
    store: Arc<MemoryStore>,
    name: LogName,
}

impl Bench {
    /// Thirty commits, with snapshots after 10, 20 and 30.
    async fn new() -> Bench {
        let (env, clock) = hasty_env(1);
        let store = Arc::new(MemoryStore::new(Arc::<HastyClock>::clone(&clock)));
        let bench = Bench { env, clock, store, name: LogName::new("cluster", Uuid::from_u128(1)) };
        let mut log = bench.at(None).await.unwrap();
        let mut state = Vec::new();
        for number in 1..=30_u64 {
            state.push(number.to_string());
            log.commit(vec![number.to_string()]).await.unwrap();
            if number % 10 == 0 {
                log.write_snapshot(&state).await.unwrap();
                bench.clock.advance(Duration::from_secs(60));
            }
        }
        bench
    }

    async fn at(&self, snapshot: Option<u64>) -> Result<Log, LogError> {
        let store = Arc::<MemoryStore>::clone(&self.store);
        Ok(Log::open_at(store, self.env.clone(), self.name.clone(), snapshot).await?.log)
    }

    async fn reach(&self, from: Option<u64>) -> Result<Reach, LogError> {
        let mut log = match self.at(from).await {
            Err(LogError::Corrupt { .. }) => return Ok(Reach::Nowhere),
            log => log?,
        };
        while log.next().await.unwrap_or_default().is_some() {}
        Ok(Reach::To(log.number()))
    }

    async fn damage(&self, key: &str) {
        let mut bytes = self.store.get(key).await.unwrap().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        self.store.put(key, Bytes::from(bytes)).await.unwrap();
    }

    async fn try_mend(&self) -> Result<Vec<String>, LogError> {
        let reach = async |from| self.reach(from).await;
        delete_damaged_snapshots::<String, _>(&*self.store, &self.name, reach).await
    }

    async fn mend(&self) -> Vec<String> {
        self.try_mend().await.unwrap()
    }

    fn keys(&self, numbers: &[u64]) -> Vec<String> {
        numbers.iter().map(|number| self.name.snapshot(*number)).collect()
    }
}

#[test]
fn a_damaged_snapshot_goes_where_the_log_is_whole_without_it() {
    block_on(async {
        // Each set of the three, as long as every commit is there.
        for set in 0..8_u32 {
            let bench = Bench::new().await;
            let damaged: Vec<u64> = (0..3).filter(|at| set & (1 << at) != 0).map(|at| 30 - at * 10).collect();
            for key in bench.keys(&damaged) {
                bench.damage(&key).await;
            }
            assert_eq!(bench.mend().await, bench.keys(&damaged));
            assert_eq!(bench.mend().await, bench.keys(&[]));
            let store = Arc::<MemoryStore>::clone(&bench.store);
            let opened = Log::open(store, bench.env.clone(), bench.name.clone()).await.unwrap();
            let left = [30, 20, 10, 0].into_iter().find(|number| !damaged.contains(number)).unwrap();
            assert_eq!(opened.log.number(), left);
        }
    });
}

#[test]
fn the_only_one_that_tells_of_commits_that_are_gone_stays_as_it_is() {
    block_on(async {
        let bench = Bench::new().await;
        // A sweep that takes everything that the newest one stands for.
        bench.at(Some(30)).await.unwrap().sweep(Duration::ZERO).await.unwrap();
        bench.damage(&bench.keys(&[30])[0]).await;
        assert!(bench.mend().await.is_empty(), "it would take an empty log for this one");
        assert_eq!(bench.reach(Some(30)).await.unwrap(), Reach::Nowhere);

        // A commit between the two cannot be read: what comes before is not all.
        let bench = Bench::new().await;
        bench.damage(&bench.name.commit(25)).await;
        bench.damage(&bench.keys(&[30])[0]).await;
        assert!(bench.mend().await.is_empty());

        // That of a version which does not exist yet is not damaged.
        let bench = Bench::new().await;
        let key = &bench.keys(&[30])[0];
        let (mut header, lines): (serde_json::Value, Vec<String>) =
            unseal(&bench.store.get(key).await.unwrap()).unwrap();
        header["format"] = 2.into();
        header.as_object_mut().unwrap().remove("crc32");
        bench.store.put(key, seal(&header, &lines).unwrap()).await.unwrap();
        let mended = bench.try_mend().await;
        assert!(matches!(mended, Err(LogError::Incompatible { .. })), "{mended:?}");
    });
}
