//! Reading: every partition from its start to its end, each connection's next fetch under way while the last is checked.

use super::options::{Consume, Target};
use super::payload::Tracker;
use super::report::{self, Measured, Watch};
use super::runtime;
use crate::batch;
use crate::client::{At, Client, ClientError, Connection, Pending};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeMap;
use std::time::Instant;

/// A partition that is being read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    pub(crate) partition: i32,
    pub(crate) next: i64,
    pub(crate) end: i64,
}

/// The `consume` command.
///
/// # Errors
/// What the broker refuses, and a verification that fails.
pub fn run(options: &Consume) -> anyhow::Result<()> {
    for _ in 0..options.warmup_passes {
        read_everything(&options.target, options.fetch)?;
    }
    let mut passes = Vec::new();
    let mut last = Tracker::default();
    for _ in 0..options.passes.max(1) {
        let (measured, tracker) = read_everything(&options.target, options.fetch)?;
        println!("{measured}");
        passes.push(measured);
        last = tracker;
    }
    passes.sort_by(|a, b| a.megabytes_per_second().total_cmp(&b.megabytes_per_second()));
    if let [lowest, .., highest] = &passes[..] {
        println!(
            "median {:.1} MB/s of {} passes [{:.1}-{:.1}]",
            passes[passes.len() / 2].megabytes_per_second(),
            passes.len(),
            lowest.megabytes_per_second(),
            highest.megabytes_per_second()
        );
    }
    report::verdict(last.seen(), last.faults(&BTreeMap::new()))
}

/// Reads the whole topic once.
pub(crate) fn read_everything(target: &Target, fetch: i32) -> anyhow::Result<(Measured, Tracker)> {
    let cursors = runtime()?.block_on(cursors(target))?;
    let threads = target.threads.clamp(1, target.connections.max(1));
    let watch = Watch::start(target.pid)?;
    let started = Instant::now();
    let handles: Vec<_> = (0..threads)
        .map(|thread| {
            let target = target.clone();
            let shares: Vec<Vec<Cursor>> = (thread..target.connections)
                .step_by(threads)
                .map(|connection| cursors.iter().skip(connection).step_by(target.connections).copied().collect())
                .collect();
            std::thread::spawn(move || -> anyhow::Result<Vec<(Tracker, u64)>> {
                runtime()?.block_on(async {
                    let tasks: Vec<_> = shares
                        .into_iter()
                        .filter(|share| !share.is_empty())
                        .map(|share| tokio::spawn(read_share(target.clone(), share, fetch)))
                        .collect();
                    let mut read = Vec::new();
                    for task in tasks {
                        read.push(task.await??);
                    }
                    Ok(read)
                })
            })
        })
        .collect();
    let mut tracker = Tracker::default();
    let mut bytes = 0;
    for handle in handles {
        for (part, size) in handle.join().map_err(|_| anyhow::anyhow!("a reader died"))?? {
            tracker.merge(part);
            bytes += size;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let broker = watch.end()?;
    let measured = Measured { what: "consume", records: tracker.seen(), bytes, seconds, latency: None, broker };
    Ok((measured, tracker))
}

/// Where every partition of the topic starts and ends now.
pub(super) async fn cursors(target: &Target) -> anyhow::Result<Vec<Cursor>> {
    let client = Client::new(&target.bootstrap);
    let found = client.topics(Some(&target.topic)).await?;
    let topic = found.first().ok_or_else(|| anyhow::anyhow!("no metadata of the topic"))?;
    ClientError::check(topic.error, "Metadata")?;
    let mut cursors = Vec::new();
    for partition in 0..topic.partitions.len() as i32 {
        let start = client.retry(|| client.offset(&target.topic, partition, At::Start)).await?;
        let end = client.retry(|| client.offset(&target.topic, partition, At::End)).await?;
        cursors.push(Cursor {
            partition,
            next: start.map_or(0, |(offset, _)| offset),
            end: end.map_or(0, |(offset, _)| offset),
        });
    }
    Ok(cursors)
}

/// Reads some partitions through one connection to the end; returns the bytes of their values as well.
pub(crate) async fn read_share(target: Target, mut cursors: Vec<Cursor>, fetch: i32) -> anyhow::Result<(Tracker, u64)> {
    let client = Client::new(&target.bootstrap);
    let mut tracker = Tracker::default();
    let mut bytes = 0;
    cursors.retain(|cursor| cursor.next < cursor.end);
    let Some(first) = cursors.first() else { return Ok((tracker, 0)) };
    let connection = client.own_connection(&target.topic, first.partition).await?;
    let mut pending = send(&connection, &target.topic, &cursors, fetch, 1_000).await?;
    let mut moved = Instant::now();
    loop {
        let answer = pending.answer().await?;
        let next = advance(&answer, &mut cursors)?;
        if next {
            moved = Instant::now();
        }
        anyhow::ensure!(moved.elapsed().as_secs() < 60, "no record for a minute, {} partitions unread", cursors.len());
        let more = !cursors.is_empty();
        let following = if more { Some(send(&connection, &target.topic, &cursors, fetch, 1_000).await?) } else { None };
        bytes += check(&answer, &mut tracker, |_| {});
        match following {
            Some(following) => pending = following,
            None => return Ok((tracker, bytes)),
        }
    }
}

/// Asks for what comes next in each partition.
pub(crate) async fn send(
    connection: &Connection,
    topic: &str,
    cursors: &[Cursor],
    fetch: i32,
    wait_ms: i32,
) -> Result<Pending<FetchResponse>, ClientError> {
    let partitions = cursors.iter().map(|cursor| {
        FetchPartition::default()
            .with_partition(cursor.partition)
            .with_fetch_offset(cursor.next)
            .with_partition_max_bytes(fetch)
    });
    let topic = FetchTopic::default()
        .with_topic(StrBytes::from_string(topic.to_owned()).into())
        .with_partitions(partitions.collect());
    let request = FetchRequest::default()
        .with_max_wait_ms(wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(fetch)
        .with_topics(vec![topic]);
    connection.send(&request).await
}

/// Moves the cursors behind what came, and drops those at their end; whether anything came.
///
/// Partitions that had their turn go last: an answer is filled in the order of the request.
pub(super) fn advance(answer: &FetchResponse, cursors: &mut Vec<Cursor>) -> Result<bool, ClientError> {
    ClientError::check(answer.error_code, "Fetch")?;
    let mut moved = Vec::new();
    for partition in answer.responses.iter().flat_map(|topic| &topic.partitions) {
        ClientError::check(partition.error_code, "Fetch")?;
        let end = partition.records.as_deref().and_then(batch::end_offset);
        if let Some(end) = end
            && let Some(at) = cursors.iter().position(|c| c.partition == partition.partition_index)
        {
            moved.push(Cursor { next: end, ..cursors.remove(at) });
        }
    }
    let any = !moved.is_empty();
    cursors.extend(moved.into_iter().filter(|cursor| cursor.next < cursor.end));
    Ok(any)
}

/// Checks every record of an answer; `arrived` hears the intended time of each. Returns the bytes of the values.
pub(super) fn check(answer: &FetchResponse, tracker: &mut Tracker, mut arrived: impl FnMut(u64)) -> u64 {
    let mut bytes = 0;
    for partition in answer.responses.iter().flat_map(|topic| &topic.partitions) {
        let Some(records) = &partition.records else { continue };
        let read = batch::each_record(records, |record| {
            bytes += record.value.map_or(0, <[u8]>::len) as u64;
            if let Some(intended) = tracker.take(partition.partition_index, record.value) {
                arrived(intended);
            }
        });
        if read.is_err() {
            tracker.corrupt_batch();
        }
    }
    bytes
}
