//! Sending: [`run`] spreads connections over threads; each sender fills batches and keeps a few under way.
//!
//! An acknowledgement is timed by a task of its own, the moment it arrives, however busy the sender is.

use super::options::Produce;
use super::pace::Pacer;
use super::payload::Payloads;
use super::report::{self, Measured, Spent, Watch};
use super::schedule::{Latencies, Schedule};
use super::{Clock, consume, runtime};
use crate::batch::Builder;
use crate::client::{At, Client, ClientError, produce_request, produced};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Semaphore, mpsc};

/// Room for a record's overhead in a batch.
const OVERHEAD: usize = 16;

/// What was sent and acknowledged, warm-up included, by (run, stream, partition).
pub type Acknowledged = BTreeMap<(u64, u32, i32), u64>;

/// What one sender, or all of them, did.
pub(crate) struct Sent {
    /// From when a record should have been sent to its acknowledgement.
    pub(crate) latency: Latencies,
    /// Records that were acknowledged between the start of the first phase and the end of the last.
    pub(crate) records: u64,
    /// Everything that was acknowledged, warm-up included.
    pub(crate) acknowledged: Acknowledged,
}

impl Sent {
    fn nothing(schedule: &Schedule) -> Self {
        Self { latency: Latencies::new(schedule), records: 0, acknowledged: Acknowledged::new() }
    }
}

/// The `produce` command.
///
/// # Errors
/// What the broker refuses, and a verification that fails.
pub fn run(options: &Produce) -> anyhow::Result<()> {
    let clock = Clock::start();
    prepare(options)?;
    let schedule = schedule(options, clock);
    let (sent, broker) = send_all(options, clock, &schedule)?;
    let latency = (options.acks != 0).then(|| ("acknowledged after", sent.latency.total()));
    let (bytes, seconds) = (sent.records * options.size as u64, schedule.seconds());
    println!("{}", Measured { what: "produce", records: sent.records, bytes, seconds, latency, broker });
    if options.verify {
        let (_, tracker) = consume::read_everything(&options.target, 8 << 20)?;
        report::verdict(tracker.seen(), tracker.faults(&sent.acknowledged))?;
    }
    Ok(())
}

/// Creates the topic if it is not there.
pub(crate) fn prepare(options: &Produce) -> anyhow::Result<()> {
    anyhow::ensure!(options.size >= super::payload::HEADER, "a value has at least {} bytes", super::payload::HEADER);
    anyhow::ensure!(options.partitions > 0 && options.target.connections > 0 && options.in_flight > 0, "0 of what?");
    let configs = options
        .topic_configs
        .iter()
        .map(|pair| pair.split_once('=').ok_or_else(|| anyhow::anyhow!("{pair} is not key=value")));
    let configs = configs.collect::<anyhow::Result<Vec<_>>>()?;
    let topic = &options.target.topic;
    runtime()?.block_on(async {
        let client = Client::new(&options.target.bootstrap);
        match client.create_topic(topic, options.partitions, &configs).await {
            Err(error) if error.code() != Some(36) => return Err(error.into()),
            _ => {}
        }
        // A cluster tells of a new topic a little later.
        for partition in 0..options.partitions {
            client.retry(|| client.offset(topic, partition, At::End)).await?;
        }
        Ok(())
    })
}

/// A warm-up and one phase.
pub(super) fn schedule(options: &Produce, clock: Clock) -> Schedule {
    let start = clock.now() + 100_000_000;
    let measure = start + (options.warmup * 1e9) as u64;
    Schedule::one(start, measure..measure + (options.seconds * 1e9) as u64)
}

/// A number for a run that no other has.
pub(crate) fn new_run() -> anyhow::Result<u64> {
    Ok(u64::from(std::process::id()) << 32 | u64::from(std::time::UNIX_EPOCH.elapsed()?.subsec_nanos()))
}

/// Sends through the schedule; also what the broker spent from its measured start to its end.
pub(super) fn send_all(options: &Produce, clock: Clock, schedule: &Schedule) -> anyhow::Result<(Sent, Option<Spent>)> {
    let run = new_run()?;
    let threads = options.target.threads.clamp(1, options.target.connections);
    let handles: Vec<_> = (0..threads)
        .map(|thread| {
            let (options, schedule) = (options.clone(), schedule.clone());
            std::thread::spawn(move || -> anyhow::Result<Vec<Sent>> {
                runtime()?.block_on(async {
                    let mine = (thread..options.target.connections).step_by(threads);
                    let tasks: Vec<_> = mine
                        .map(|connection| {
                            let (options, schedule) = (options.clone(), schedule.clone());
                            tokio::spawn(async move {
                                Sender::new(options, clock, schedule, run, connection).await?.send().await
                            })
                        })
                        .collect();
                    let mut sent = Vec::new();
                    for task in tasks {
                        sent.push(task.await??);
                    }
                    Ok(sent)
                })
            })
        })
        .collect();
    clock.sleep_until(schedule.measured().start);
    let watch = Watch::start(options.target.pid)?;
    clock.sleep_until(schedule.end);
    let broker = watch.end()?;
    let mut total = Sent::nothing(schedule);
    for handle in handles {
        for sent in handle.join().map_err(|_| anyhow::anyhow!("a sender died"))?? {
            total.latency.add(&sent.latency);
            total.records += sent.records;
            total.acknowledged.extend(sent.acknowledged);
        }
    }
    Ok((total, broker))
}

/// One connection's records.
struct Sender {
    options: Produce,
    clock: Clock,
    schedule: Schedule,
    run: u64,
    stream: u32,
    client: Client,
    pacer: Pacer,
    payloads: Payloads,
    producer: Option<crate::client::Producer>,
    next: Vec<u64>,
    sequences: Vec<i32>,
    under_way: Arc<Semaphore>,
    sent: Arc<Mutex<Sent>>,
    failed: (mpsc::UnboundedSender<ClientError>, mpsc::UnboundedReceiver<ClientError>),
}

impl Sender {
    async fn new(
        options: Produce,
        clock: Clock,
        schedule: Schedule,
        run: u64,
        connection: usize,
    ) -> anyhow::Result<Self> {
        let client = Client::new(&options.target.bootstrap);
        let producer = if options.idempotent { Some(client.init_producer().await?) } else { None };
        for partition in 0..options.partitions {
            client.leader(&options.target.topic, partition).await?;
        }
        let sent = Sent::nothing(&schedule);
        Ok(Self {
            stream: connection as u32,
            pacer: Pacer::new(clock)?,
            payloads: Payloads::new(run, connection as u32, options.size),
            producer,
            next: vec![0; options.partitions as usize],
            sequences: vec![0; options.partitions as usize],
            under_way: Arc::new(Semaphore::new(options.in_flight)),
            sent: Arc::new(Mutex::new(sent)),
            failed: mpsc::unbounded_channel(),
            options,
            clock,
            schedule,
            run,
            client,
        })
    }

    async fn send(mut self) -> anyhow::Result<Sent> {
        self.pacer.wait_until(self.schedule.start).await?;
        // Connections start at different partitions.
        let mut partition = self.stream as i32 % self.options.partitions;
        let mut index = 0_u64;
        while self.clock.now() < self.schedule.end {
            let batch = match self.options.rate {
                Some(rate) => self.fill_at(rate, partition, &mut index).await?,
                None => self.fill(partition),
            };
            let Some((batch, intended)) = batch else { break };
            self.dispatch(partition, &batch, intended).await?;
            partition = (partition + 1) % self.options.partitions;
            if let Ok(error) = self.failed.1.try_recv() {
                return Err(error.into());
            }
        }
        let all = self.options.in_flight as u32;
        drop(self.under_way.acquire_many(all).await?);
        if let Ok(error) = self.failed.1.try_recv() {
            return Err(error.into());
        }
        let sent = Arc::into_inner(self.sent).ok_or_else(|| anyhow::anyhow!("an answer is still awaited"))?;
        Ok(sent.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn batch(&self, partition: i32) -> Builder {
        let builder = Builder::new(self.options.codec);
        match self.producer {
            Some(producer) => builder.producer(producer.id, producer.epoch, self.sequences[partition as usize]),
            None => builder,
        }
    }

    fn push(&mut self, batch: &mut Builder, partition: i32, intended: u64) {
        let sequence = &mut self.next[partition as usize];
        let value = self.payloads.write(partition, *sequence, intended);
        *sequence += 1;
        let timestamp = std::time::UNIX_EPOCH.elapsed().map_or(0, |t| t.as_millis() as i64);
        batch.push(timestamp, None, Some(value), &[]);
    }

    fn is_full(&self, batch: &Builder) -> bool {
        batch.len() + self.options.size + OVERHEAD > self.options.batch
    }

    /// A full batch, intended for now.
    fn fill(&mut self, partition: i32) -> Option<(Builder, Vec<u64>)> {
        let now = self.clock.now();
        let mut batch = self.batch(partition);
        while batch.is_empty() || !self.is_full(&batch) {
            self.push(&mut batch, partition, now);
        }
        let count = batch.count() as usize;
        Some((batch, vec![now; count]))
    }

    /// The records that are due, after waiting for the first and for the linger time.
    async fn fill_at(
        &mut self,
        rate: f64,
        partition: i32,
        index: &mut u64,
    ) -> anyhow::Result<Option<(Builder, Vec<u64>)>> {
        let (start, stream, connections) =
            (self.schedule.start, f64::from(self.stream), self.options.target.connections as f64);
        let due = |index: u64| start + ((index as f64 * connections + stream) / rate * 1e9) as u64;
        let first = due(*index);
        if first >= self.schedule.end {
            return Ok(None);
        }
        self.pacer.wait_until(first + (self.options.linger * 1e6) as u64).await?;
        let now = self.clock.now();
        let mut batch = self.batch(partition);
        let mut intended = Vec::new();
        while batch.is_empty() || (due(*index) <= now && !self.is_full(&batch)) {
            let due = due(*index);
            self.push(&mut batch, partition, due);
            intended.push(due);
            *index += 1;
        }
        Ok(Some((batch, intended)))
    }

    /// Sends a batch when there is room, and leaves a task that waits for its answer.
    async fn dispatch(&mut self, partition: i32, batch: &Builder, intended: Vec<u64>) -> anyhow::Result<()> {
        let permit = Arc::clone(&self.under_way).acquire_owned().await?;
        let count = batch.count();
        self.sequences[partition as usize] = self.sequences[partition as usize].wrapping_add(count) & i32::MAX;
        let (topic, acks) = (&self.options.target.topic, self.options.acks);
        let request = produce_request(topic, partition, batch.build()?, acks);
        let connection = self.client.leader(topic, partition).await?;
        let (sent, clock, measured) = (Arc::clone(&self.sent), self.clock, self.schedule.measured());
        let key = (self.run, self.stream, partition);
        if acks == 0 {
            connection.send_unanswered(&request).await?;
            record(&sent, key, &intended, clock.now(), &measured);
            return Ok(());
        }
        let pending = connection.send(&request).await?;
        let failed = self.failed.0.clone();
        tokio::spawn(async move {
            match pending.answer().await.and_then(|answer| produced(&answer)) {
                Ok(_) => record(&sent, key, &intended, clock.now(), &measured),
                // The receiver is there as long as the sender goes on.
                Err(error) => drop(failed.send(error)),
            }
            drop(sent);
            drop(permit);
        });
        Ok(())
    }
}

fn record(sent: &Mutex<Sent>, key: (u64, u32, i32), intended: &[u64], now: u64, measured: &Range<u64>) {
    let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
    *sent.acknowledged.entry(key).or_default() += intended.len() as u64;
    if measured.contains(&now) {
        sent.records += intended.len() as u64;
    }
    for run in intended.chunk_by(|a, b| a == b) {
        sent.latency.record(run[0], now, run.len() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warm_up_counts_as_acknowledged_and_for_nothing_else() {
        let schedule = Schedule::one(0, 100..200);
        let measured = schedule.measured();
        let sent = Mutex::new(Sent::nothing(&schedule));
        record(&sent, (1, 0, 0), &[10, 10], 50, &measured);
        record(&sent, (1, 0, 0), &[90, 105, 105], 150, &measured);
        record(&sent, (1, 0, 0), &[190], 250, &measured);
        let sent = sent.into_inner().unwrap();
        // A throughput counts what was acknowledged meanwhile, latencies those that began meanwhile.
        assert_eq!((sent.records, sent.latency.total().len(), sent.acknowledged[&(1, 0, 0)]), (3, 3, 6));
    }
}
