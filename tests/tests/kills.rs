//! kill -9 under load, at random moments, with tiering active: what was acknowledged is there, once and in order.
//!
//! One idempotent producer per partition sends numbered records and retries until it has an answer, over every kill; a
//! reader follows. Since each partition has one producer, its log must be exactly the numbers from 0 on: a hole is a
//! lost record, a repeated number a duplicate.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "tests measure real time and run tasks of their own")]

use bytes::Bytes;
use esker_bench::batch::{Builder, Codec, Record};
use esker_bench::client::{At, Client};
use esker_tests::harness::records::Noise;
use esker_tests::harness::{Broker, Fault, Options, S3};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const TOPIC: &str = "killed";
const PARTITIONS: i32 = 4;

/// The value of record `number` of `partition`: its number, then noise that only this record has.
fn value(partition: i32, number: i64) -> Bytes {
    let mut noise = Noise(1 + number as u64 * 31 + partition as u64);
    let size = 50 + noise.below(900) as usize;
    let mut value = number.to_be_bytes().to_vec();
    value.extend_from_slice(&noise.bytes(size));
    Bytes::from(value)
}

/// Sends numbered records until `stop`; returns how many were acknowledged.
async fn produce(client: Client, partition: i32, stop: Arc<AtomicBool>) -> i64 {
    let producer = client.retry(|| client.init_producer()).await.unwrap();
    let mut noise = Noise(100 + partition as u64);
    let mut next = 0_i64;
    while !stop.load(Ordering::Relaxed) {
        let count = 1 + noise.below(20) as i64;
        let codec = Codec::ALL[noise.below(5) as usize];
        let mut builder = Builder::new(codec).producer(producer.id, producer.epoch, next as i32);
        for number in next..next + count {
            let record = Record { timestamp: number, value: Some(value(partition, number)), ..Record::default() };
            builder = builder.record(&record);
        }
        let produced = client.produce_surely(TOPIC, partition, builder.build().unwrap()).await;
        let produced = produced.unwrap_or_else(|e| panic!("partition {partition}, records from {next}: {e}"));
        assert_eq!(produced.base_offset, next, "partition {partition}: acknowledged elsewhere than expected");
        next += count;
    }
    next
}

/// Follows a partition until `stop`, checking every record; returns how far it came.
async fn follow(client: Client, partition: i32, stop: Arc<AtomicBool>) -> i64 {
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        let fetched = client.retry(|| client.fetch(TOPIC, partition, next, 200)).await.unwrap();
        let mut records = esker_bench::batch::read_all(&fetched.batches).unwrap();
        records.retain(|record| record.offset >= next);
        next = check(partition, next, &records);
    }
    next
}

/// Checks that `records` are the numbers from `next` on; returns the number after the last.
fn check(partition: i32, next: i64, records: &[Record]) -> i64 {
    for (record, number) in records.iter().zip(next..) {
        assert_eq!(record.offset, number, "partition {partition}: a hole or a repetition");
        assert_eq!(record.value, Some(value(partition, number)), "partition {partition}, record {number}");
    }
    next + records.len() as i64
}

async fn kill_under_load(options: Options, kills: usize, announced: &'static [&'static str]) {
    let started = Instant::now();
    let mut broker = Broker::start(options.eager_tier()).await;
    announced.iter().for_each(|text| broker.announce(text));
    let configs = [("segment.bytes", "65536"), ("local.retention.bytes", "65536"), ("retention.ms", "-1")];
    broker.client().create_topic(TOPIC, PARTITIONS, &configs).await.unwrap();

    let stop = Arc::new(AtomicBool::new(false));
    let (producers, readers): (Vec<_>, Vec<_>) = (0..PARTITIONS)
        .map(|partition| {
            (
                tokio::spawn(produce(broker.client(), partition, Arc::clone(&stop))),
                tokio::spawn(follow(broker.client(), partition, Arc::clone(&stop))),
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
    stop.store(true, Ordering::Relaxed);

    let client = broker.client();
    let mut total = 0;
    let mut from_tier = 0;
    for (partition, (producer, reader)) in (0..).zip(producers.into_iter().zip(readers)) {
        let acknowledged = producer.await.unwrap();
        let followed = reader.await.unwrap();
        let (end, _) = client.offset(TOPIC, partition, At::End).await.unwrap().unwrap();
        assert_eq!(end, acknowledged, "partition {partition}: the log ends where the last acknowledgement says");
        assert!(followed <= end, "partition {partition}: read {followed} of {end}");
        let records = client.read(TOPIC, partition, 0, end).await.unwrap();
        assert_eq!(check(partition, 0, &records), end);
        let local = client.offset(TOPIC, partition, At::LocalStart).await.unwrap().unwrap().0;
        total += end;
        from_tier += local;
    }
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
    s3.set_faults(move |_, _| match chance.below(20) {
        0 => Fault::Unavailable,
        1 => Fault::ErrorAfter,
        2 => Fault::AnswerLost,
        3 => Fault::Conflict,
        _ => Fault::None,
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
    s3.set_faults(|method, _| if method == "PUT" { Fault::Late(Duration::from_millis(300)) } else { Fault::None });
    notices("local-drop-before-commit", s3.serve(Options::new())).await;
}
