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

use esker_bench::batch::Codec;
use esker_bench::client::{fetch_request, produce_request};
use kafka_protocol::messages::{InitProducerIdRequest, RequestKind, ResponseKind};
use meter::Costs;
use rig::{Caller, Rig, compressed, records, sequenced};
use std::fmt::Write as _;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// What each request costs; the columns are explained at [`Costs`].
///
/// A produce of one small record is `recv`, `pwritev` and `writev`. A longer one is read in few steps, and what the first
/// brought moves once. With `fsync` there is a sync in addition, and two threads that wake each other. None of it depends
/// on the number of records, compressed or not; each partition is written for itself.
///
/// A segment goes up in one request, or in parts of 8 MiB between a beginning and an end; its commit is one that must be the
/// first and a look whether anybody was faster. A cold fetch asks for what describes the unit, for a piece that is answered
/// at once, and for the chunk around it; one that goes on asks for chunks only. A dash is what depends on who comes first.
const LEDGER: &str = "
request                      allocations polls socket_reads socket_writes file_writes syncs disk_calls store_requests copied
produce 1, os                          8     1            1             1           1     0          0              0    121
produce 1000, os                       9     1            3             1           1     0          0              0  65550
produce 9000, os                       9     1            4             1           1     0          0              0  65550
produce 1, fsync                      16     5            1             1           1     1          0              0    121
produce 1000, fsync                   17     5            3             1           1     1          0              0  65550
produce 9000, fsync                   17     5            4             1           1     1          0              0  65550
produce 100, lz4                      11     1            1             1           1     0          0              0    119
produce 9000, lz4                     12     1            4             1           1     0          0              0  65550
produce 9000, zstd                    10     1            3             1           1     0          0              0  65550
produce 1000, idempotent               9     1            3             1           1     0          0              0  65550
produce 4 partitions                   8     1            1             1           4     0          0              0    400
produce 16 partitions                 10     1            1             1          16     0          0              0   1529
fetch 1                               14     1            1             1           0     0          0              0    241
fetch 1000                            15     1            1             1           0     0          0              0     75
fetch 100 batches                     15     1            1             1           0     0          0              0     75
fetch that waits, produce 1           28     5            2             2           1     0          0              0    352
upload of 1 MiB                        -     -            -             -           -     -          -              3      -
upload of 20 MiB                       -     -            -             -           -     -          -              7      -
tiered fetch, cold                     -     -            -             -           -     -          -              3      -
tiered fetch, cached                  19    11            1             9           0     0          0              0 1044786
tiered fetches, 20 MiB                 -     -            -             -           -     -          -             13      -
";

/// Where the columns begin.
const NAME: usize = 28;
/// Rounds of which the usual one counts.
const ROUNDS: usize = 40;
/// Small segments that are uploaded, each of a topic of its own.
const SMALL: usize = 7;

const PRODUCE: i16 = 12;
const FETCH: i16 = 12;

async fn produce(caller: &mut Caller, request: &RequestKind) {
    let ResponseKind::Produce(answer) = caller.call(PRODUCE, request).await else { panic!("no answer to Produce") };
    assert!(answer.responses[0].partition_responses.iter().all(|partition| partition.error_code == 0), "{answer:?}");
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

/// A request's name, and what it costs by column; a column is left out where it depends on who comes first.
type Row = (String, Vec<Option<usize>>);

fn row(name: String, costs: Costs) -> Row {
    (name, costs.each().into_iter().map(|(_, number)| Some(number)).collect())
}

/// What threads do beside each other costs now this and now that; what it asks of the store does not change.
fn store_row(name: &str, costs: Costs) -> Row {
    let told = |(column, number)| (column == "store_requests").then_some(number);
    (name.to_owned(), costs.each().into_iter().map(told).collect())
}

/// Runs every scenario; what it cost, by name.
async fn count() -> Vec<Row> {
    let mut counted = Vec::new();
    for durability in ["os", "fsync"] {
        let rig = Rig::start(&[&format!("log.durability={durability}")]).await;
        let mut caller = rig.client();
        for count in [1, 1000, 9000] {
            let topic = format!("produce-{count}");
            rig.create(&topic).await;
            let request = produces(&topic, count);
            produce(&mut caller, &request).await;
            let costs = rig.usual(ROUNDS, async || produce(&mut caller, &request).await).await;
            counted.push(row(format!("produce {count}, {durability}"), costs));
        }
        rig.stop().await;
    }
    let rig = Rig::start(&["log.durability=os"]).await;
    count_produces(&rig, &mut counted).await;
    count_fetches(&rig, &mut counted).await;
    rig.stop().await;
    count_tier(&mut counted).await;
    counted
}

/// What is compressed, what an idempotent producer sends, and what goes to several partitions.
async fn count_produces(rig: &Rig, counted: &mut Vec<Row>) {
    let mut caller = rig.client();
    for (codec, count) in [(Codec::Lz4, 100), (Codec::Lz4, 9000), (Codec::Zstd, 9000)] {
        let topic = format!("{}-{count}", codec.name());
        rig.create(&topic).await;
        let request = produce_request(&topic, 0, compressed(codec, count), -1).into();
        produce(&mut caller, &request).await;
        let costs = rig.usual(ROUNDS, async || produce(&mut caller, &request).await).await;
        counted.push(row(format!("produce {count}, {}", codec.name()), costs));
    }
    let request = InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
    let ResponseKind::InitProducerId(producer) = caller.call(4, &request.into()).await else {
        panic!("no answer to InitProducerId")
    };
    assert_eq!(producer.error_code, 0);
    rig.create("idempotent").await;
    let (id, mut sequence) = ((producer.producer_id.0, producer.producer_epoch), 0);
    let costs = rig
        .usual(ROUNDS, async || {
            let batch = sequenced(id, sequence, 1000);
            produce(&mut caller, &produce_request("idempotent", 0, batch, -1).into()).await;
            sequence += 1000;
        })
        .await;
    counted.push(row("produce 1000, idempotent".to_owned(), costs));
    for partitions in [4, 16] {
        let topic = format!("wide-{partitions}");
        rig.create_with(&topic, partitions, &[]).await;
        let mut request = produce_request(&topic, 0, records(10), -1);
        let first = request.topic_data[0].partition_data[0].clone();
        request.topic_data[0].partition_data = (0..partitions).map(|index| first.clone().with_index(index)).collect();
        let request = request.into();
        produce(&mut caller, &request).await;
        let costs = rig.usual(ROUNDS, async || produce(&mut caller, &request).await).await;
        counted.push(row(format!("produce {partitions} partitions"), costs));
    }
}

async fn count_fetches(rig: &Rig, counted: &mut Vec<Row>) {
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
        counted.push(row(format!("fetch {name}"), costs));
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
    counted.push(row("fetch that waits, produce 1".to_owned(), costs));
}

/// What a segment's upload asks of the store, and what reading it back does.
async fn count_tier(counted: &mut Vec<Row>) {
    // An upload waits until somebody looks for work, which is every second, and finds it on disk.
    let settings = ["log.durability=fsync", "log.local.retention.bytes=1", "log.retention.check.interval.ms=1000"];
    let rig = Rig::start_in_time(&settings, 1).await;
    let mut caller = rig.client();
    let mut topics = Vec::new();
    for (name, mib, of, times) in [("1 MiB", 1, 100, SMALL), ("20 MiB", 20, 9000, 3)] {
        let mut uploads = Vec::new();
        for number in 0..times {
            let topic = format!("tier-{mib}-{number}");
            let segment = mib << 20;
            rig.create_with(&topic, 1, &[("segment.bytes", segment.to_string())]).await;
            let request = produces(&topic, of);
            // The last one begins another segment.
            let batches = segment / records(of).len() + 1;
            let costs = rig.whole(async || {
                for _ in 0..batches {
                    produce(&mut caller, &request).await;
                }
                rig.until(&topic, |partition| partition.latest_tiered().is_some()).await;
            });
            uploads.push(costs.await);
            topics.push(topic);
        }
        counted.push(store_row(&format!("upload of {name}"), Costs::usual(&uploads)));
    }
    for topic in &topics {
        rig.until(topic, |partition| partition.local_start().offset().get() > 0).await;
    }
    let mut cold = Vec::new();
    for topic in &topics[..SMALL] {
        let costs = rig.whole(async || assert!(fetch_at(&mut caller, topic, 0).await > 10_000));
        cold.push(costs.await);
    }
    counted.push(store_row("tiered fetch, cold", Costs::usual(&cold)));
    let costs = rig.usual(ROUNDS, async || assert!(fetch_at(&mut caller, &topics[0], 0).await > 10_000));
    counted.push(row("tiered fetch, cached".to_owned(), costs.await));
    let mut through = Vec::new();
    for topic in &topics[SMALL..] {
        let costs = rig.whole(async || {
            let batches = (20 << 20) / records(9000).len();
            for batch in 0..batches {
                assert!(fetch_at(&mut caller, topic, batch * 9000).await > 900_000);
            }
        });
        through.push(costs.await);
    }
    counted.push(store_row("tiered fetches, 20 MiB", Costs::usual(&through)));
    rig.stop().await;
}

/// The bytes that a fetch of at most 1 MiB brings from an offset.
async fn fetch_at(caller: &mut Caller, topic: &str, offset: usize) -> usize {
    let request = fetches(topic, offset, 30_000);
    caller.send(FETCH, &request).await;
    fetched(caller, &request).await
}

fn counted() -> Vec<Row> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(count())
}

/// The ledger, read.
fn ledger() -> Vec<Row> {
    let mut lines = LEDGER.trim().lines();
    let columns: Vec<&str> = lines.next().unwrap().split_whitespace().skip(1).collect();
    assert_eq!(columns, Costs::default().each().map(|(column, _)| column), "the columns are those of `Costs`");
    lines
        .map(|line| {
            let number = |text: &str| (text != "-").then(|| text.parse().unwrap());
            (line[..NAME].trim().to_owned(), line[NAME..].split_whitespace().map(number).collect())
        })
        .collect()
}

/// The ledger as it should be, to be put in the place of the one above.
fn written(counted: &[Row]) -> String {
    let mut text = format!("{:NAME$}", "request");
    for (column, _) in Costs::default().each() {
        write!(text, " {column}").unwrap();
    }
    for (name, costs) in counted {
        write!(text, "\n{name:NAME$}").unwrap();
        for ((column, _), number) in Costs::default().each().iter().zip(costs) {
            let number = number.map_or("-".to_owned(), |number| number.to_string());
            write!(text, " {number:>width$}", width = column.len()).unwrap();
        }
    }
    text
}

/// What is different from the ledger, in words.
fn differences(ledger: &[Row], counted: &[Row]) -> String {
    let mut text = String::new();
    for (name, now) in counted {
        let Some((_, then)) = ledger.iter().find(|(known, _)| known == name) else {
            writeln!(text, "{name:?} is not in the ledger").unwrap();
            continue;
        };
        for (((which, _), now), then) in Costs::default().each().iter().zip(now).zip(then) {
            match (now, then) {
                (Some(now), Some(then)) if now > then => {
                    writeln!(
                        text,
                        "{name}: {which} rose from {then} to {now}; the commit that writes it down says why"
                    )
                    .unwrap();
                }
                (Some(now), Some(then)) if now < then => {
                    writeln!(text, "{name}: {which} fell from {then} to {now}: write the lower number down").unwrap();
                }
                (now, then) if now != then => {
                    writeln!(text, "{name}: {which} is counted in one of them only: {then:?} and {now:?}").unwrap();
                }
                _ => {}
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
    let rows = |one: Costs| [row("one".to_owned(), one), row("two".to_owned(), costs)];
    let counted = rows(costs);
    assert_eq!(differences(&rows(costs), &counted), "");
    let rise = differences(&rows(Costs { allocations: 4, ..costs }), &counted);
    assert!(rise.starts_with("one: allocations rose from 4 to 5;"), "{rise}");
    let fall = differences(&rows(Costs { syncs: 2, ..costs }), &counted);
    assert!(fall.starts_with("one: syncs fell from 2 to 1:"), "{fall}");
    let more = [row("three".to_owned(), costs)];
    assert_eq!(differences(&rows(costs), &more).lines().count(), 3, "one is new, two are gone");
    // A column that is left out is compared with nothing, but has to be left out on both sides.
    let store = |costs| [store_row("one", costs)];
    assert_eq!(differences(&store(costs), &store(Costs { allocations: 6, ..costs })), "");
    let rise = differences(&store(costs), &store(Costs { store_requests: 1, ..costs }));
    assert!(rise.starts_with("one: store_requests rose from 0 to 1;"), "{rise}");
    assert_eq!(differences(&store(costs), &[row("one".to_owned(), costs)]).lines().count(), 8);
}

#[test]
fn what_a_request_allocates_does_not_depend_on_its_records() {
    let ledger = ledger();
    let allocations = |name: &str| ledger.iter().find(|(known, _)| known == name).unwrap().1[0].unwrap();
    for durability in ["os", "fsync"] {
        let [one, many, most] = [1, 1000, 9000].map(|count| allocations(&format!("produce {count}, {durability}")));
        assert!(many <= one + 1 && most == many, "{one} {many} {most}");
    }
    let [many, most] = ["produce 100, lz4", "produce 9000, lz4"].map(allocations);
    assert!(most <= many + 1, "{many} {most}");
    let [one, many] = ["fetch 1", "fetch 1000"].map(allocations);
    assert!(many <= one + 1 && allocations("fetch 100 batches") == many, "{one} {many}");
}
