//! The same faults in front of a directory store, under a broker in this process.

use crate::{KAFKA_STORAGE_ERROR, Log, is_data};
use esker_tests::harness::{Fault, Inside};
use std::time::Duration;

const A_WHILE: Duration = Duration::from_millis(1_000);

/// As `Options::eager_tier` has it.
const SETTINGS: [&str; 4] = [
    "log.retention.check.interval.ms=200",
    "tail.max.bytes=65536",
    "tail.max.ms=500",
    "remote.log.manager.copier.thread.pool.size=2",
];

async fn begin() -> (Inside, Log) {
    let broker = Inside::start(&SETTINGS).await;
    let log = Log::begin(broker.client(), 1_000).await;
    (broker, log)
}

/// Everything is there with an empty disk, and the store is whole.
async fn end(mut broker: Inside, log: &Log) {
    log.all_is_there(0, "in the end").await;
    broker.stop();
    broker.wipe_disk();
    broker.restart().await;
    log.client.forget().await;
    log.all_is_there(0, "without the disk").await;
    broker.stop();
    let scrubbed = broker.scrub();
    assert!(scrubbed.findings.is_empty(), "{:?}", scrubbed.findings);
}

#[tokio::test]
async fn calls_that_fail_in_any_way_are_made_again_and_take_effect_once() {
    let (broker, mut log) = begin().await;
    let faults =
        [Fault::Unavailable, Fault::Conflict, Fault::Lost, Fault::Failed, Fault::Late, Fault::Hanging, Fault::Outage];
    for fault in faults {
        let first = log.sent;
        broker.set_faults(move |_| Some(fault));
        log.produce(40).await;
        log.all_is_there(first, &format!("{fault:?}: who reads the tail")).await;
        tokio::time::sleep(A_WHILE).await;
        log.produce(8).await;
        broker.heal();
        log.caught_up().await;
    }
    end(broker, &log).await;
}

#[tokio::test]
async fn reads_that_go_wrong_are_made_again_or_are_an_error() {
    let (mut broker, mut log) = begin().await;
    log.produce(40).await;
    log.caught_up().await;
    for fault in [Fault::Slow, Fault::Truncated, Fault::Wrong, Fault::Missing] {
        // Nothing is in a cache.
        broker.stop();
        broker.restart().await;
        log.client.forget().await;
        let (lies, mut every_other) = (matches!(fault, Fault::Wrong | Fault::Missing), false);
        broker.set_faults(move |asked| {
            every_other = !every_other;
            (is_data(asked) && (lies || every_other)).then_some(fault)
        });
        if lies {
            log.oldest(&format!("{fault:?} to be told"), |told| {
                told.as_ref().is_err_and(|error| error.code() == KAFKA_STORAGE_ERROR)
            })
            .await;
        } else {
            log.all_is_there(0, &format!("{fault:?}")).await;
        }
        log.produce(8).await;
        broker.heal();
        log.caught_up().await;
        log.oldest(&format!("{fault:?} to be over"), |told| told.as_ref().is_ok_and(|records| *records > 0)).await;
    }
    end(broker, &log).await;
}
