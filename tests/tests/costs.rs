//! What a request costs, counted: allocations, tasks run, system calls by the door that they go through, syncs, requests
//! to the store, bytes copied. Counts do not depend on the machine, as times do; so they are what CI can hold to.
//!
//! [`LEDGER`] is the one place with the numbers. They are what the code does, not what it should do: a change that makes
//! one rise says why in its commit, and one that makes it fall writes the lower one down. They are those of the `dev`
//! profile, in which the tests run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::indexing_slicing, clippy::disallowed_methods, clippy::disallowed_types, reason = "tests")]

#[path = "../fuzz/counting.rs"]
mod counting;
#[path = "costs/doors.rs"]
mod doors;
#[path = "costs/meter.rs"]
mod meter;
#[path = "costs/rig.rs"]
mod rig;

use esker_bench::client::{fetch_request, produce_request};
use kafka_protocol::messages::{RequestKind, ResponseKind};
use meter::Costs;
use rig::{Caller, Rig, records};
use std::fmt::Write as _;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// What each request costs; the columns are explained at [`Costs`].
///
/// A produce of one small record is `recv`, `pwritev` and `writev`. A longer one is read in few steps, and what the first
/// brought moves once. With `fsync` there is a sync in addition, and two threads that wake each other. None of it depends
/// on the number of records.
const LEDGER: &str = "
request                      allocations polls socket_reads socket_writes file_writes syncs disk_calls store_requests copied
produce 1, os                          8     1            1             1           1     0          0              0    121
produce 1000, os                       9     1            3             1           1     0          0              0  65550
produce 9000, os                       9     1            4             1           1     0          0              0  65550
produce 1, fsync                      16     5            1             1           1     1          0              0    121
produce 1000, fsync                   17     5            3             1           1     1          0              0  65550
produce 9000, fsync                   17     5            4             1           1     1          0              0  65550
fetch 1                               14     1            1             1           0     0          0              0    241
fetch 1000                            15     1            1             1           0     0          0              0     75
fetch 100 batches                     15     1            1             1           0     0          0              0     75
fetch that waits, produce 1           28     5            2             2           1     0          0              0    352
";

/// Where the columns begin.
const NAME: usize = 28;
/// Rounds of which the usual one counts.
const ROUNDS: usize = 40;

const PRODUCE: i16 = 12;
const FETCH: i16 = 12;

async fn produce(caller: &mut Caller, request: &RequestKind) {
    let ResponseKind::Produce(answer) = caller.call(PRODUCE, request).await else { panic!("no answer to Produce") };
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
}

/// The bytes of records in the answer.
async fn fetched(caller: &mut Caller, request: &RequestKind) -> usize {
    let ResponseKind::Fetch(answer) = caller.answer(FETCH, request).await else { panic!("no answer to Fetch") };
    let partition = &answer.responses[0].partitions[0];
    assert_eq!((answer.error_code, partition.error_code), (0, 0));
    partition.records.as_ref().map_or(0, |records| records.len())
}

fn produces(topic: &str, count: usize) -> RequestKind {
    produce_request(topic, 0, records(count), -1).into()
}

fn fetches(topic: &str, offset: usize, wait_ms: i32) -> RequestKind {
    fetch_request(topic, 0, offset as i64, 1 << 20, wait_ms).into()
}

/// Runs every scenario; what it cost, by name.
async fn count() -> Vec<(String, Costs)> {
    let mut counted = Vec::new();
    for durability in ["os", "fsync"] {
        let rig = Rig::start(durability).await;
        let mut caller = rig.client();
        for count in [1, 1000, 9000] {
            let topic = format!("produce-{count}");
            rig.create(&topic).await;
            let request = produces(&topic, count);
            produce(&mut caller, &request).await;
            let costs = rig.usual(ROUNDS, async || produce(&mut caller, &request).await).await;
            counted.push((format!("produce {count}, {durability}"), costs));
        }
        rig.stop().await;
    }
    let rig = Rig::start("os").await;
    let (mut producer, mut caller) = (rig.client(), rig.client());
    for (name, batches, of) in [("1", 1, 1), ("1000", 1, 1000), ("100 batches", 100, 10)] {
        let topic = format!("fetch-{batches}-{of}");
        rig.create(&topic).await;
        for _ in 0..batches {
            produce(&mut producer, &produces(&topic, of)).await;
        }
        let request = fetches(&topic, 0, 500);
        let costs = rig
            .usual(ROUNDS, async || {
                caller.send(FETCH, &request).await;
                assert!(fetched(&mut caller, &request).await > batches * of * 100);
            })
            .await;
        counted.push((format!("fetch {name}"), costs));
    }
    rig.create("wait").await;
    let mut end = 0;
    let request = produces("wait", 1);
    let costs = rig
        .usual(ROUNDS, async || {
            let fetch = fetches("wait", end, 10_000);
            caller.send(FETCH, &fetch).await;
            // It sleeps by then, nearly always.
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            produce(&mut producer, &request).await;
            assert!(fetched(&mut caller, &fetch).await > 100);
            end += 1;
        })
        .await;
    counted.push(("fetch that waits, produce 1".to_owned(), costs));
    rig.stop().await;
    counted
}

fn counted() -> Vec<(String, Costs)> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(count())
}

/// The ledger, read.
fn ledger() -> Vec<(String, Vec<usize>)> {
    let mut lines = LEDGER.trim().lines();
    let columns: Vec<&str> = lines.next().unwrap().split_whitespace().skip(1).collect();
    assert_eq!(columns, Costs::default().each().map(|(column, _)| column), "the columns are those of `Costs`");
    lines
        .map(|line| {
            (line[..NAME].trim().to_owned(), line[NAME..].split_whitespace().map(|n| n.parse().unwrap()).collect())
        })
        .collect()
}

/// The ledger as it should be, to be put in the place of the one above.
fn written(counted: &[(String, Costs)]) -> String {
    let mut text = format!("{:NAME$}", "request");
    for (column, _) in Costs::default().each() {
        write!(text, " {column}").unwrap();
    }
    for (name, costs) in counted {
        write!(text, "\n{name:NAME$}").unwrap();
        for (column, number) in costs.each() {
            write!(text, " {number:width$}", width = column.len()).unwrap();
        }
    }
    text
}

/// What is different from the ledger, in words.
fn differences(ledger: &[(String, Vec<usize>)], counted: &[(String, Costs)]) -> String {
    let mut text = String::new();
    for (name, now) in counted {
        let Some((_, then)) = ledger.iter().find(|(known, _)| known == name) else {
            writeln!(text, "{name:?} is not in the ledger").unwrap();
            continue;
        };
        for ((which, now), then) in now.each().into_iter().zip(then) {
            if now > *then {
                writeln!(text, "{name}: {which} rose from {then} to {now}; the commit that writes it down says why")
                    .unwrap();
            } else if now < *then {
                writeln!(text, "{name}: {which} fell from {then} to {now}: write the lower number down").unwrap();
            }
        }
    }
    for (name, _) in ledger.iter().filter(|(name, _)| !counted.iter().any(|(other, _)| other == name)) {
        writeln!(text, "{name:?} is in the ledger and was not counted").unwrap();
    }
    text
}

#[test]
fn requests_cost_what_the_ledger_says() {
    let counted = counted();
    let different = differences(&ledger(), &counted);
    assert!(different.is_empty(), "\n{different}\nAll of it as it is now:\n{}", written(&counted));
}

#[test]
fn a_rise_and_a_fall_are_told_apart() {
    let costs = Costs { allocations: 5, syncs: 1, ..Costs::default() };
    let counted = [("one".to_owned(), costs), ("two".to_owned(), costs)];
    let as_counted = |costs: Costs| costs.each().iter().map(|(_, number)| *number).collect::<Vec<_>>();
    let known = |one: Costs| vec![("one".to_owned(), as_counted(one)), ("two".to_owned(), as_counted(costs))];
    assert_eq!(differences(&known(costs), &counted), "");
    let rise = differences(&known(Costs { allocations: 4, ..costs }), &counted);
    assert!(rise.starts_with("one: allocations rose from 4 to 5;"), "{rise}");
    let fall = differences(&known(Costs { syncs: 2, ..costs }), &counted);
    assert!(fall.starts_with("one: syncs fell from 2 to 1:"), "{fall}");
    let more = [("three".to_owned(), costs)];
    assert_eq!(differences(&known(costs), &more).lines().count(), 3, "one is new, two are gone");
}

#[test]
fn what_a_request_allocates_does_not_depend_on_its_records() {
    let ledger = ledger();
    let allocations = |name: &str| ledger.iter().find(|(known, _)| known == name).unwrap().1[0];
    for durability in ["os", "fsync"] {
        let [one, many, most] = [1, 1000, 9000].map(|count| allocations(&format!("produce {count}, {durability}")));
        assert!(many <= one + 1 && most == many, "{one} {many} {most}");
    }
    let [one, many] = ["fetch 1", "fetch 1000"].map(allocations);
    assert!(many <= one + 1 && allocations("fetch 100 batches") == many, "{one} {many}");
}
