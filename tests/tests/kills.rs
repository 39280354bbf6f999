//! kill -9 under load, at random moments, with tiering active: what was acknowledged is there, once and in order.
//!
//! One idempotent producer per partition sends numbered records and retries until it has an answer, over every kill; a
//! reader follows. What they saw is a history, which the checker of the simulation judges. Since each partition has one
//! producer, its log must besides be exactly the numbers from 0 on, each with the bytes that were sent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "tests measure real time and run tasks of their own")]

use bytes::Bytes;
use esker_bench::batch::{Builder, Codec, Record};
use esker_bench::client::{At, Client};
use esker_tests::checker::{self, Event, History, Sent, SentRecord, Span};
use esker_tests::harness::records::Noise;
use esker_tests::harness::{Broker, Fault, Options, S3};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const TOPIC: &str = "killed";
const PARTITIONS: i32 = 4;

/// The bytes of record `number` of `partition`: its number, then noise that only this record has.
fn value(partition: i32, number: i64) -> Bytes {
    let mut noise = Noise(1 + number as u64 * 31 + partition as u64);
    let size = 50 + noise.below(900) as usize;
    let mut value = number.to_be_bytes().to_vec();
    value.extend_from_slice(&noise.bytes(size));
    Bytes::from(value)
}

/// What the history calls record `number` of `partition`.
fn named(partition: i32, number: i64) -> u64 {
    partition as u64 * 1_000_000_000 + number as u64
}

/// What everybody saw, on one clock.
struct Witness {
    history: Mutex<History>,
    origin: Instant,
    stop: AtomicBool,
}

impl Witness {
    fn clock(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    fn since(&self, began: u64) -> Span {
        Span { began, ended: self.clock() }
    }

    fn push(&self, event: Event) {
        self.history.lock().unwrap().push(event);
    }

    /// Sends numbered records until it is told to stop.
    async fn produce(self: Arc<Self>, client: Client, partition: i32) {
        let producer = client.retry(|| client.init_producer()).await.unwrap();
        let mut noise = Noise(100 + partition as u64);
        let mut next = 0_i64;
        while !self.stop.load(Ordering::Relaxed) {
            let count = 1 + noise.below(20) as i64;
            let codec = Codec::ALL[noise.below(5) as usize];
            let mut builder = Builder::new(codec).producer(producer.id, producer.epoch, next as i32);
            for number in next..next + count {
                let record = Record { timestamp: number, value: Some(value(partition, number)), ..Record::default() };
                builder = builder.record(&record);
            }
            let began = self.clock();
            let produced = client.produce_surely(TOPIC, partition, builder.build().unwrap()).await;
            let produced = produced.unwrap_or_else(|e| panic!("partition {partition}, records from {next}: {e}"));
            assert_eq!(produced.base_offset, next, "partition {partition}: acknowledged elsewhere than expected");
            let records = (next..next + count).map(|number| SentRecord::plain(named(partition, number))).collect();
            let (span, sent) = (self.since(began), Sent::Acked(produced.base_offset as u64));
            let partition = partition as u32;
            self.push(Event::Send { client: partition, partition, records, span, sent });
            next += count;
        }
    }

    /// Follows a partition until it is told to stop; returns how far it came.
    async fn follow(self: Arc<Self>, client: Client, partition: i32) -> i64 {
        let mut next = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let began = self.clock();
            let fetched = client.retry(|| client.fetch(TOPIC, partition, next, 200)).await.unwrap();
            let mut records = esker_bench::batch::read_all(&fetched.batches).unwrap();
            records.retain(|record| record.offset >= next);
            next = records.last().map_or(next, |last| last.offset + 1);
            let (span, records) = (self.since(began), seen(partition, &records));
            let (client, partition, log_start) = (100 + partition as u32, partition as u32, fetched.log_start as u64);
            self.push(Event::Poll { client, partition, span, log_start, records });
        }
        next
    }

    /// Reads a partition from its start to `end`.
    async fn drain(&self, client: &Client, partition: i32, end: i64) {
        let began = self.clock();
        let records = client.read(TOPIC, partition, 0, end).await.unwrap();
        assert_eq!(records.len() as i64, end, "partition {partition}: the numbers from 0 on");
        let (span, records) = (self.since(began), seen(partition, &records));
        self.push(Event::Drain { partition: partition as u32, span, start: 0, records });
    }
}

/// Offsets and names of records whose bytes are what was sent.
fn seen(partition: i32, records: &[Record]) -> Vec<(u64, u64)> {
    let seen = |record: &Record| {
        let bytes = record.value.as_deref().unwrap_or_default();
        let number = i64::from_be_bytes(bytes[..8].try_into().unwrap());
        assert_eq!(bytes, value(partition, number), "partition {partition}, record {number}");
        (record.offset as u64, named(partition, number))
    };
    records.iter().map(seen).collect()
}

async fn kill_under_load(options: Options, kills: usize, announced: &'static [&'static str]) {
    let started = Instant::now();
    let mut broker = Broker::start(options.eager_tier()).await;
    announced.iter().for_each(|text| broker.announce(text));
    let configs = [("segment.bytes", "65536"), ("local.retention.bytes", "65536"), ("retention.ms", "-1")];
    broker.client().create_topic(TOPIC, PARTITIONS, &configs).await.unwrap();

    let witness = Arc::new(Witness { history: Mutex::default(), origin: Instant::now(), stop: AtomicBool::new(false) });
    let (producers, readers): (Vec<_>, Vec<_>) = (0..PARTITIONS)
        .map(|partition| {
            (
                tokio::spawn(Arc::clone(&witness).produce(broker.client(), partition)),
                tokio::spawn(Arc::clone(&witness).follow(broker.client(), partition)),
            )
        })
        .unzip();
    let mut noise = Noise(started.elapsed().as_nanos() as u64 | 1);
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(20 + noise.below(600))).await;
        broker.kill();
        broker.restart().await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    witness.stop.store(true, Ordering::Relaxed);

    let client = broker.client();
    let mut total = 0;
    let mut from_tier = 0;
    for (partition, (producer, reader)) in (0..).zip(producers.into_iter().zip(readers)) {
        producer.await.unwrap();
        let followed = reader.await.unwrap();
        let (end, _) = client.offset(TOPIC, partition, At::End).await.unwrap().unwrap();
        assert!(followed <= end, "partition {partition}: read {followed} of {end}");
        witness.drain(&client, partition, end).await;
        total += end;
        from_tier += client.offset(TOPIC, partition, At::LocalStart).await.unwrap().unwrap().0;
    }
    let history = witness.history.lock().unwrap();
    let anomalies = checker::check(&history);
    assert!(anomalies.is_empty(), "{anomalies:?}");
    assert_eq!(history.acknowledged() as i64, total, "the logs end where the last acknowledgements say");
    drop(history);
    assert!(from_tier > 0, "tiering was not active: nothing was dropped locally");
    println!("{kills} kills in {:?}: {total} records, {from_tier} of them only in the tier", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_lose_nothing() {
    kill_under_load(Options::new(), 50, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_with_page_cache_acknowledgements_lose_nothing() {
    kill_under_load(Options::new().set("log.durability", "os"), 10, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_with_a_failing_store_lose_nothing() {
    let s3 = S3::start();
    let mut chance = Noise(11);
    s3.set_faults(move |_| match chance.below(20) {
        0 => Some(Fault::Unavailable),
        1 => Some(Fault::Failed),
        2 => Some(Fault::Lost),
        3 => Some(Fault::Conflict),
        _ => None,
    });
    kill_under_load(s3.serve(Options::new()), 10, &["store"]).await;
}

/// The same story with a mistake in the broker must fail.
async fn notices(mutation: &str, options: Options) {
    // The broker may well complain of its own mistake: that is not what must find it.
    let story = kill_under_load(options.env("ESKER_MUTATION", mutation), 10, &[""]);
    let failure = tokio::spawn(story).await.expect_err("nobody noticed");
    let message = match failure.try_into_panic().map(|panic| panic.downcast::<String>()) {
        Ok(Ok(message)) => *message,
        other => panic!("the story ended otherwise than by a check that failed: {other:?}"),
    };
    println!("{mutation} was noticed: {message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_notice_an_answer_before_the_write() {
    notices("answer-before-write", Options::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_notice_a_local_copy_that_goes_before_its_commit() {
    // A store that takes its time, so that there is a moment between the two.
    let s3 = S3::start();
    s3.set_faults(|asked| (asked.method == "PUT").then_some(Fault::Late));
    notices("local-drop-before-commit", s3.serve(Options::new())).await;
}
