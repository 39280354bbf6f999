//! Commits that take effect exactly once, whatever the store does to their answers.

use super::*;
use crate::env::store::MemoryStore;
use crate::env::store::testing::{Faults, FaultyStore, HastyClock, block_on, hasty_env};
use std::collections::BTreeMap;

type Log = NumberedLog<String, String>;

fn name() -> LogName {
    LogName::new("cluster", Uuid::from_u128(1))
}

struct Bench {
    env: Env,
    clock: Arc<HastyClock>,
    memory: Arc<MemoryStore>,
    store: FaultyStore,
}

impl Bench {
    fn new(seed: u64, faults: Faults) -> Bench {
        let (env, clock) = hasty_env(seed);
        let memory = Arc::new(MemoryStore::new(Arc::<HastyClock>::clone(&clock)));
        let store = FaultyStore::new(Arc::<MemoryStore>::clone(&memory), seed, faults);
        Bench { env, clock, memory, store }
    }

    /// A log at its tail, and the state: every record so far, in order.
    async fn open(&self) -> Result<(Log, Vec<String>), LogError> {
        let opened = Log::open(Arc::new(self.store.clone()), self.env.clone(), name()).await?;
        let (mut log, mut state) = (opened.log, opened.snapshot.unwrap_or_default());
        loop {
            let commits = log.read_ahead(4).await?;
            if commits.is_empty() {
                return Ok((log, state));
            }
            state.extend(commits.into_iter().flat_map(|commit| commit.records));
        }
    }

    async fn open_patiently(&self) -> (Log, Vec<String>) {
        loop {
            match self.open().await {
                Ok(opened) => return opened,
                Err(error) => assert!(error.is_retry(), "{error}"),
            }
        }
    }
}

fn record(text: &str) -> Vec<String> {
    vec![text.to_owned()]
}

#[test]
fn commits_are_read_in_order_and_snapshots_shorten_the_replay() {
    block_on(async {
        let bench = Bench::new(1, Faults::default());
        let (mut log, state) = bench.open().await.unwrap();
        assert!(state.is_empty() && log.number() == 0);
        for number in 1..=10u64 {
            let outcome = log.commit(record(&number.to_string())).await.unwrap();
            assert!(matches!(outcome, Outcome::Committed(commit) if commit.number == number));
        }
        let (mut reader, state) = bench.open().await.unwrap();
        assert_eq!(state.len(), 10);
        assert_eq!(log.write_snapshot(&state).await.unwrap(), SnapshotOutcome::Written);
        assert_eq!(reader.write_snapshot(&state).await.unwrap(), SnapshotOutcome::Existed);
        log.commit(record("11")).await.unwrap();
        assert_eq!(reader.next().await.unwrap().unwrap().records, record("11"));
        assert_eq!(reader.next().await.unwrap(), None);

        assert_eq!(log.sweep(Duration::from_secs(60)).await.unwrap(), Swept::default(), "the grace has not passed");
        bench.clock.advance(Duration::from_secs(60));
        assert_eq!(log.sweep(Duration::from_secs(60)).await.unwrap(), Swept { commits: 10, snapshots: 0 });
        let (log, state) = bench.open().await.unwrap();
        assert_eq!((log.number(), state.len()), (11, 11));
    });
}

#[test]
fn a_foreign_commit_is_replayed_before_the_next_decision() {
    block_on(async {
        let bench = Bench::new(1, Faults::default());
        let (mut one, _) = bench.open().await.unwrap();
        let (mut two, _) = bench.open().await.unwrap();
        one.commit(record("one")).await.unwrap();
        match two.commit(record("two")).await.unwrap() {
            Outcome::Foreign(commit) => assert_eq!((commit.number, commit.records), (1, record("one"))),
            other => panic!("{other:?}"),
        }
        assert!(matches!(two.commit(record("two")).await.unwrap(), Outcome::Committed(commit) if commit.number == 2));
    });
}

#[test]
fn an_unsettled_commit_is_never_passed() {
    block_on(async {
        let bench = Bench::new(1, Faults::default());
        let (mut log, _) = bench.open().await.unwrap();
        bench.store.set(Faults { unavailable: 100, ..Faults::default() });
        assert!(matches!(log.commit(record("a")).await.unwrap(), Outcome::Unsettled { .. }));
        assert!(log.is_unsettled());
        assert!(matches!(log.commit(record("b")).await, Err(LogError::Invalid { .. })));
        assert!(matches!(log.next().await, Err(LogError::Invalid { .. })));
        bench.store.set(Faults::default());
        assert!(matches!(log.settle().await.unwrap(), Outcome::Committed(commit) if commit.records == record("a")));
        assert_eq!(bench.open().await.unwrap().1, record("a"));
    });
}

/// A writer sleeps with a commit unsettled, while others write on, snapshot and delete.
async fn sleep_through_truncation(lands: bool) -> (Outcome<String>, Vec<String>) {
    let bench = Bench::new(1, Faults::default());
    let (mut sleeper, _) = bench.open().await.unwrap();
    let faults = if lands {
        Faults { lost_answer: 100, ..Faults::default() }
    } else {
        Faults { unavailable: 100, ..Faults::default() }
    };
    bench.store.set(faults);
    assert!(matches!(sleeper.commit(record("sleeper")).await.unwrap(), Outcome::Unsettled { .. }));
    bench.store.set(Faults::default());
    let (mut other, mut state) = bench.open().await.unwrap();
    for text in ["x", "y"] {
        assert!(matches!(other.commit(record(text)).await.unwrap(), Outcome::Committed(_)));
        state.push(text.to_owned());
    }
    other.write_snapshot(&state).await.unwrap();
    other.sweep(Duration::ZERO).await.unwrap();
    assert!(bench.memory.list("cluster/log/", None, 9).await.unwrap().is_empty());
    let outcome = sleeper.settle().await.unwrap();
    (outcome, bench.open().await.unwrap().1)
}

#[test]
fn a_deleted_number_that_is_created_again_commits_nothing() {
    let (outcome, state) = block_on(sleep_through_truncation(false));
    assert_eq!(outcome, Outcome::Behind);
    assert_eq!(state, ["x", "y"]);
}

#[test]
fn a_commit_that_was_deleted_since_is_still_committed() {
    let (outcome, state) = block_on(sleep_through_truncation(true));
    assert!(matches!(outcome, Outcome::Committed(_)), "{outcome:?}");
    assert_eq!(state, ["sleeper", "x", "y"]);
}

#[test]
fn a_reader_learns_that_it_is_behind() {
    block_on(async {
        let bench = Bench::new(1, Faults::default());
        let (mut reader, _) = bench.open().await.unwrap();
        let (mut log, _) = bench.open().await.unwrap();
        log.commit(record("a")).await.unwrap();
        assert!(!reader.is_behind().await.unwrap());
        log.write_snapshot(&record("a")).await.unwrap();
        log.sweep(Duration::ZERO).await.unwrap();
        assert_eq!(reader.next().await.unwrap(), None);
        assert!(reader.is_behind().await.unwrap());
    });
}

#[test]
fn a_damaged_commit_stops_its_reader() {
    block_on(async {
        let bench = Bench::new(1, Faults::default());
        let (mut log, _) = bench.open().await.unwrap();
        let (mut reader, _) = bench.open().await.unwrap();
        log.commit(record("a")).await.unwrap();
        let key = name().commit(1);
        let mut bytes = bench.memory.get(&key).await.unwrap().to_vec();
        bytes[40] ^= 1;
        bench.memory.put(&key, Bytes::from(bytes)).await.unwrap();
        assert!(matches!(reader.next().await, Err(LogError::Corrupt { .. })));
        assert_eq!(reader.number(), 0);
    });
}

/// One of several writers: its log, the state that it has replayed, and the record that it wants to have committed.
struct Writer {
    log: Log,
    state: Vec<String>,
    next: u32,
    wanted: Option<String>,
}

/// Several writers append, snapshot, truncate and crash over a store that loses, delays and denies.
async fn storm(seed: u64) {
    let faults = Faults { lost_answer: 12, unavailable: 12, late: 8, false_conflict: 8 };
    let bench = Bench::new(seed, faults);
    let mut acknowledged: Vec<String> = Vec::new();
    let mut writers: BTreeMap<u64, Writer> = BTreeMap::new();
    for _ in 0..150 {
        let id = bench.env.random.below(3);
        let mut writer = match writers.remove(&id) {
            Some(writer) => writer,
            None => {
                let (log, state) = bench.open_patiently().await;
                Writer { log, state, next: 0, wanted: None }
            }
        };
        let outcome = match bench.env.random.below(12) {
            // It crashes, and its successor starts from what the store holds.
            0 => continue,
            1 if !writer.log.is_unsettled() => {
                let _ = writer.log.write_snapshot(&writer.state).await;
                writers.insert(id, writer);
                continue;
            }
            2 => {
                let _ = writer.log.sweep(Duration::ZERO).await;
                writers.insert(id, writer);
                continue;
            }
            _ if writer.log.is_unsettled() => writer.log.settle().await.unwrap(),
            _ => {
                let text = writer.wanted.take().unwrap_or_else(|| {
                    writer.next += 1;
                    format!("{}-{}", writer.log.writer().simple(), writer.next)
                });
                writer.wanted = Some(text.clone());
                writer.log.commit(record(&text)).await.unwrap()
            }
        };
        match outcome {
            Outcome::Committed(commit) => {
                writer.wanted = None;
                acknowledged.extend(commit.records.iter().cloned());
                writer.state.extend(commit.records);
            }
            // What was wanted is tried again: it must not be in the log already.
            Outcome::Foreign(commit) => writer.state.extend(commit.records),
            Outcome::Behind => continue,
            Outcome::Unsettled { .. } => {}
        }
        writers.insert(id, writer);
    }
    bench.store.set(Faults::default());
    let (_, state) = bench.open_patiently().await;
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for text in &state {
        *seen.entry(text).or_default() += 1;
    }
    assert!(acknowledged.len() > 20, "seed {seed}: too little happened: {}", acknowledged.len());
    for (text, count) in &seen {
        assert_eq!(*count, 1, "seed {seed}: {text} was committed {count} times");
    }
    for text in &acknowledged {
        assert!(seen.contains_key(text.as_str()), "seed {seed}: {text} was acknowledged and is lost");
    }
    let mut last: BTreeMap<&str, u32> = BTreeMap::new();
    for text in &state {
        let (writer, sequence) = text.split_once('-').unwrap();
        let before = last.insert(writer, sequence.parse().unwrap()).unwrap_or(0);
        assert!(before < last[writer], "seed {seed}: {text} comes after {before}");
    }
    for writer in writers.values() {
        assert!(state.starts_with(&writer.state), "seed {seed}: a writer's state is no prefix of the log's");
    }
}

#[test]
fn every_acknowledged_commit_is_there_once_whatever_the_store_does() {
    block_on(async {
        for seed in 0..60 {
            storm(seed).await;
        }
    });
}
