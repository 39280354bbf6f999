//! One connection that sends: it fills batches, keeps a few requests under way, and knows what was acknowledged.
//!
//! ```text
//! due records -> Open (a batch being filled, per partition) -> Sealed -> request --+--> acknowledged: Meter, books
//!                                                                   ^              +--> failed: a pause, then again in order
//!                                                                   +-------------------------+
//! ```
//!
//! An acknowledgement is timed by a task of its own, the moment it arrives, however busy the sender is. After a failure
//! that may pass, everything under way is awaited, and what failed is sent again in its order before anything new: an
//! idempotent producer so neither loses, duplicates nor reorders anything, and one that has a single request under way
//! does not reorder.

use super::books::{Books, DUPLICATE, Failure, Sealed};
use super::keys::{self, KeyRing};
use super::meter::Meter;
use super::pace::Pacer;
use super::payload::{self, Payloads};
use super::schedule::Schedule;
use super::workload::Producers;
use super::{Acknowledged, Clock, Resent};
use crate::batch::Builder;
use crate::client::{Client, ClientError, Connection, Producer};
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// The most bytes that a batch has room for before it has anything.
const MOST_ROOM: usize = 1 << 20;
/// Room for a record's overhead in a batch.
const OVERHEAD: usize = 16;
/// How long a batch that fails is tried again.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long what was due before the end is sent behind it, in nanoseconds.
pub(super) const OVERTIME: u64 = 10_000_000_000;
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(20);
/// Kafka's OUT_OF_ORDER_SEQUENCE_NUMBER: what follows a batch that failed.
const OUT_OF_ORDER: i16 = 45;

/// Which sender of a run this is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The run's number, which no other has.
    pub(super) run: u64,
    /// The topic's number.
    pub(super) topic_number: u32,
    /// The topic's name.
    pub(super) topic: String,
    /// Its partitions.
    pub(super) partitions: i32,
    /// Which of the topic's senders.
    pub(super) connection: u32,
    /// Which of all senders, for the rate.
    pub(super) index: u64,
    /// How many they are.
    pub(super) of: u64,
}

/// How long a sender goes on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Amount {
    /// Until the schedule ends.
    Scheduled,
    /// Until it has sent so many records.
    Records(u64),
}

/// What a sender has done.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// What was acknowledged, warm-up included.
    pub(super) acknowledged: Acknowledged,
    /// The sequence of each key's newest record, if there are keys.
    pub(super) newest: BTreeMap<Box<[u8]>, u64>,
    /// Batches that were sent again.
    pub(super) resent: u64,
    /// Their records.
    pub(super) repeated: Resent,
}

/// A batch that is being filled.
struct Open {
    builder: Builder,
    intended: Vec<u64>,
}

/// One connection's records.
pub(super) struct Sender {
    plan: Producers,
    place: Place,
    client: Client,
    clock: Clock,
    pacer: Pacer,
    payloads: Payloads,
    producer: Option<Producer>,
    keys: Option<KeyRing>,
    /// Where the next batch goes, if there are no keys.
    turn: i32,
    /// The next sequence of each partition, in the payload and as an idempotent producer.
    next: Vec<u64>,
    sequences: Vec<i32>,
    newest: BTreeMap<Box<[u8]>, u64>,
    records: u64,
    batches: u64,
    resent: u64,
    /// Records that were sent again, by partition.
    repeated: BTreeMap<i32, u64>,
    /// At a rate: until when the batch that is being filled waits for records.
    closed: Option<u64>,
    /// Until when the broker kept this sender from sending.
    blocked_until: u64,
    under_way: Arc<Semaphore>,
    failures: mpsc::UnboundedReceiver<Failure>,
    failed: mpsc::UnboundedSender<Failure>,
}

impl Sender {
    /// Connects.
    pub(super) async fn new(plan: Producers, place: Place, client: Client, clock: Clock) -> anyhow::Result<Self> {
        // A cluster that has just started finds its coordinators a little later.
        let producer = if plan.idempotent { Some(client.retry(|| client.init_producer()).await?) } else { None };
        let leaders = client.retry(|| client.by_leader(&place.topic, 0..place.partitions)).await?;
        for leader in leaders.keys() {
            client.at(leader).await?;
        }
        let stream = payload::stream(place.topic_number, place.connection);
        let (failed, failures) = mpsc::unbounded_channel();
        let payloads = Payloads::of(&plan, place.run, stream);
        Ok(Self {
            pacer: Pacer::new(clock)?,
            payloads,
            producer,
            keys: plan.keys.map(|keys| KeyRing::new(keys, stream)),
            // Connections start at different partitions.
            turn: (place.index % place.partitions as u64) as i32,
            next: vec![0; place.partitions as usize],
            sequences: vec![0; place.partitions as usize],
            newest: BTreeMap::new(),
            records: 0,
            batches: 0,
            resent: 0,
            repeated: BTreeMap::new(),
            closed: None,
            blocked_until: 0,
            under_way: Arc::new(Semaphore::new(plan.in_flight)),
            failures,
            failed,
            plan,
            place,
            client,
            clock,
        })
    }

    /// Sends, and waits for every answer.
    pub(super) async fn send(mut self, schedule: &Schedule, amount: Amount, meter: Meter) -> anyhow::Result<Done> {
        let books = Arc::new(Books::new(self.clock, meter, self.plan.size as u64, self.failed.clone()));
        self.pacer.wait_until(schedule.start).await?;
        loop {
            let open = match amount {
                Amount::Scheduled if self.is_over(schedule) => break,
                Amount::Records(limit) if self.records >= limit => break,
                _ => match self.plan.rate {
                    Some(rate) if matches!(amount, Amount::Scheduled) => {
                        self.fill_at(rate, schedule, &books.meter).await?
                    }
                    _ => self.fill(amount),
                },
            };
            if open.is_empty() {
                break;
            }
            self.dispatch(open, &books).await?;
            self.mend(&books).await?;
        }
        if let (Amount::Scheduled, Some(rate)) = (amount, self.plan.rate) {
            self.give_up(rate, schedule, &books.meter);
        }
        let all = self.plan.in_flight as u32;
        drop(Arc::clone(&self.under_way).acquire_many_owned(all).await?);
        self.mend(&books).await?;
        let stream = payload::stream(self.place.topic_number, self.place.connection);
        let run = self.place.run;
        let by_stream =
            |counts: BTreeMap<i32, u64>| counts.into_iter().map(|(p, count)| ((run, stream, p), count)).collect();
        Ok(Done {
            acknowledged: by_stream(books.acknowledged()),
            newest: self.newest,
            resent: self.resent,
            repeated: by_stream(self.repeated),
        })
    }

    /// As fast as possible it ends with the schedule. At a rate, what was due before the end is sent behind it as well: a
    /// broker that stalls at the end is charged like one that stalls before.
    fn is_over(&self, schedule: &Schedule) -> bool {
        let overtime = if self.plan.rate.is_some() { OVERTIME } else { 0 };
        self.clock.now() >= schedule.end.saturating_add(overtime)
    }

    /// Counts what was due and never sent as late as it is by now.
    fn give_up(&mut self, rate: f64, schedule: &Schedule, meter: &Meter) {
        let now = self.clock.now();
        let mut counts = meter.lock();
        while self.due(rate, schedule) < schedule.end {
            counts.never_sent(self.due(rate, schedule), now);
            self.records += 1;
        }
    }

    /// When the next record is due, at a rate.
    fn due(&self, rate: f64, schedule: &Schedule) -> u64 {
        let (of, index) = (self.place.of as f64, self.place.index as f64);
        schedule.due(((self.records as f64 * of + index) / rate * 1e9) as u64)
    }

    fn push(&mut self, open: &mut BTreeMap<i32, Open>, intended: u64) {
        let key = self.keys.as_mut().map(KeyRing::take);
        let partition = key.map_or(self.turn, |key| keys::partition(&key, self.place.partitions));
        let codec = self.plan.codec;
        let (producer, first) = (self.producer, self.sequences[partition as usize]);
        // Of several batches in a request, few are full.
        let room = if self.keys.is_some() { 0 } else { self.plan.batch.min(MOST_ROOM) };
        let batch = open.entry(partition).or_insert_with(|| {
            let builder = Builder::with_capacity(codec, room);
            let builder = match producer {
                Some(producer) => builder.producer(producer.id, producer.epoch, first),
                None => builder,
            };
            Open { builder, intended: Vec::new() }
        });
        let sequence = &mut self.next[partition as usize];
        let timestamp = std::time::UNIX_EPOCH.elapsed().map_or(0, |t| t.as_millis() as i64);
        match key {
            Some(key) => {
                let value = self.payloads.write_keyed(&key, partition, *sequence, intended);
                batch.builder.push(timestamp, Some(&key), Some(value), &[]);
                match self.newest.get_mut(&key[..]) {
                    Some(newest) => *newest = *sequence,
                    None => drop(self.newest.insert(Box::from(key), *sequence)),
                }
            }
            None => {
                let value = self.payloads.write(partition, *sequence, intended);
                batch.builder.push(timestamp, None, Some(value), &[]);
            }
        }
        batch.intended.push(intended);
        *sequence += 1;
        self.records += 1;
    }

    /// Whether another record would make it too much.
    fn is_full(&self, open: &BTreeMap<i32, Open>) -> bool {
        let size: usize = open.values().map(|open| open.builder.len()).sum();
        size + self.plan.size + OVERHEAD > self.plan.batch
    }

    /// As much as a request holds, intended for now.
    fn fill(&mut self, amount: Amount) -> BTreeMap<i32, Open> {
        let now = self.clock.now();
        let mut open = BTreeMap::new();
        let limit = if let Amount::Records(limit) = amount { limit } else { u64::MAX };
        while open.is_empty() || (self.records < limit && !self.is_full(&open)) {
            self.push(&mut open, now);
        }
        open
    }

    /// The records that are due, after waiting for the first and for the linger time; none when the schedule is over.
    async fn fill_at(&mut self, rate: f64, schedule: &Schedule, meter: &Meter) -> anyhow::Result<BTreeMap<i32, Open>> {
        let first = self.due(rate, schedule);
        let mut open = BTreeMap::new();
        if first >= schedule.end {
            return Ok(open);
        }
        let close = first + (self.plan.linger * 1e6) as u64;
        self.pacer.wait_until(close).await?;
        let now = self.clock.now();
        let before = self.records;
        self.closed = Some(close);
        let mut due = first;
        while open.is_empty() || (due <= now && due < schedule.end && !self.is_full(&open)) {
            self.push(&mut open, due);
            due = self.due(rate, schedule);
        }
        meter.lock().sent_late(close.max(self.blocked_until), now, self.records - before);
        Ok(open)
    }

    /// Waits until there is room for a request, and sends what failed again before that: nothing new overtakes it.
    async fn room(&mut self, books: &Arc<Books>) -> anyhow::Result<OwnedSemaphorePermit> {
        loop {
            let permit = match Arc::clone(&self.under_way).try_acquire_owned() {
                Ok(permit) => permit,
                Err(_) => {
                    let permit = Arc::clone(&self.under_way).acquire_owned().await?;
                    self.blocked_until = self.clock.now();
                    permit
                }
            };
            if self.failures.is_empty() {
                return Ok(permit);
            }
            drop(permit);
            self.mend(books).await?;
        }
    }

    /// Sends batches when there is room, and leaves tasks that wait for their answers.
    async fn dispatch(&mut self, open: BTreeMap<i32, Open>, books: &Arc<Books>) -> anyhow::Result<()> {
        let permit = Arc::new(self.room(books).await?);
        if let Some(closed) = self.closed.take() {
            let (now, mut counts) = (self.clock.now(), books.meter.lock());
            open.values().flat_map(|open| &open.intended).for_each(|due| counts.sent(*due, closed, now));
        }
        self.turn = (self.turn + 1) % self.place.partitions;
        let mut sealed = Vec::with_capacity(open.len());
        for (partition, open) in open {
            let sequence = &mut self.sequences[partition as usize];
            *sequence = sequence.wrapping_add(open.builder.count()) & i32::MAX;
            let order = self.batches;
            self.batches += 1;
            sealed.push(Sealed { order, partition, bytes: open.builder.finish()?, intended: open.intended });
        }
        let partitions: Vec<i32> = sealed.iter().map(|batch| batch.partition).collect();
        let leaders = self.client.by_leader(&self.place.topic, partitions).await;
        let leaders = match leaders {
            Ok(leaders) => leaders,
            Err(error) => {
                books.fail(error, sealed);
                return Ok(());
            }
        };
        for (leader, partitions) in leaders {
            let (mine, rest): (Vec<_>, Vec<_>) =
                sealed.into_iter().partition(|batch| partitions.binary_search(&batch.partition).is_ok());
            sealed = rest;
            match self.client.at(&leader).await {
                Ok(connection) => self.hand_over(&connection, mine, books, Arc::clone(&permit)).await,
                Err(error) => books.fail(error, mine),
            }
        }
        Ok(())
    }

    async fn hand_over(
        &self,
        connection: &Connection,
        batches: Vec<Sealed>,
        books: &Arc<Books>,
        permit: Arc<OwnedSemaphorePermit>,
    ) {
        let request = self.request(&batches);
        if self.plan.acks == 0 {
            match connection.send_unanswered(&request).await {
                Ok(()) => batches.iter().for_each(|batch| books.acknowledge(batch)),
                Err(error) => books.fail(error, batches),
            }
            return;
        }
        let pending = match connection.send(&request).await {
            Ok(pending) => pending,
            Err(error) => return books.fail(error, batches),
        };
        let books = Arc::clone(books);
        tokio::spawn(async move {
            let answer = pending.answer().await;
            books.settle(answer, batches);
            drop(permit);
        });
    }

    fn request(&self, batches: &[Sealed]) -> ProduceRequest {
        let data = batches.iter().map(|batch| {
            PartitionProduceData::default().with_index(batch.partition).with_records(Some(batch.bytes.clone()))
        });
        let topic = TopicProduceData::default()
            .with_name(StrBytes::from_string(self.place.topic.clone()).into())
            .with_partition_data(data.collect());
        ProduceRequest::default().with_acks(self.plan.acks).with_timeout_ms(30_000).with_topic_data(vec![topic])
    }

    /// Sends again what failed, if anything did and it may pass.
    async fn mend(&mut self, books: &Arc<Books>) -> anyhow::Result<()> {
        let Ok(first) = self.failures.try_recv() else { return Ok(()) };
        // Only with nothing under way is an order an order.
        drop(Arc::clone(&self.under_way).acquire_many_owned(self.plan.in_flight as u32).await?);
        let mut failures = vec![first];
        while let Ok(failure) = self.failures.try_recv() {
            failures.push(failure);
        }
        let mut batches: Vec<Sealed> = Vec::new();
        for failure in failures {
            let follows = self.plan.idempotent && failure.error.code() == Some(OUT_OF_ORDER);
            if !failure.error.is_retriable() && !follows {
                return Err(failure.error.into());
            }
            batches.extend(failure.batches);
        }
        batches.sort_by_key(|batch| batch.order);
        let started = Instant::now();
        self.client.forget().await;
        for batch in batches {
            self.resent += 1;
            let mut batch = Some(batch);
            while let Some(mine) = batch.take() {
                *self.repeated.entry(mine.partition).or_default() += mine.intended.len() as u64;
                let sent = self.again(&mine).await;
                match sent {
                    Ok(()) => books.acknowledge(&mine),
                    Err(error) if error.code() == Some(DUPLICATE) => books.acknowledge(&mine),
                    Err(error) if error.is_retriable() && started.elapsed() < PATIENCE => {
                        self.client.forget().await;
                        tokio::time::sleep(PAUSE).await;
                        batch = Some(mine);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        self.blocked_until = self.clock.now();
        Ok(())
    }

    async fn again(&self, batch: &Sealed) -> Result<(), ClientError> {
        let connection = self.client.leader(&self.place.topic, batch.partition).await?;
        let request = self.request(std::slice::from_ref(batch));
        if self.plan.acks == 0 {
            return connection.send_unanswered(&request).await;
        }
        crate::client::produced(&connection.call(&request).await?).map(drop)
    }
}
