//! The same load through librdkafka, the client that most users have: same schedule, same records, same books.
//!
//! Each connection is a client instance with threads of its own. What librdkafka does with a record between `send` and the
//! wire counts as latency, as it does for its users. It is built here without OpenSSL, so it speaks plaintext only.

use super::fetcher::{Cursors, Part};
use super::keys::{self, KeyRing};
use super::meter::Meter;
use super::payload::{self, Payloads};
use super::reader::{Book, Reader};
use super::schedule::Schedule;
use super::sender::{Amount, Done, OVERTIME, Place};
use super::workload::{Endpoint, Producers};
use super::{Clock, reader, runtime};
use crate::batch::Codec;
use crate::client::At;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, NoCustomPartitioner, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long it may take to deliver what was sent, or to bring a record that is there.
const PATIENCE: Duration = Duration::from_secs(60);
/// While its queue is full.
const PAUSE: Duration = Duration::from_micros(200);
/// How long one poll may take.
const POLL: Duration = Duration::from_millis(50);
/// Records that are accounted for together.
const TOGETHER: usize = 512;

/// The version of the library.
pub(super) fn version() -> String {
    rdkafka::util::get_rdkafka_version().1
}

fn config(endpoint: &Endpoint) -> anyhow::Result<ClientConfig> {
    let security = endpoint.security.protocol();
    anyhow::ensure!(security == "PLAINTEXT", "librdkafka is built without {security} here: use our own client");
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &endpoint.bootstrap).set("client.id", "esker-bench");
    Ok(config)
}

/// Hears what became of each record.
struct Deliveries {
    clock: Clock,
    meter: Meter,
    size: u64,
    acknowledged: Mutex<BTreeMap<i32, u64>>,
    failed: Mutex<Option<String>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext<NoCustomPartitioner> for Deliveries {
    /// The intended time, in nanoseconds of the clock.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, intended: usize) {
        match result {
            Ok(message) => {
                let now = self.clock.now();
                *lock(&self.acknowledged).entry(message.partition()).or_default() += 1;
                self.meter.lock().take(now, &[intended as u64], self.size);
            }
            Err((error, _)) => {
                lock(&self.failed).get_or_insert_with(|| error.to_string());
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One client instance that sends.
pub(super) struct Sender {
    config: ClientConfig,
    plan: Producers,
    place: Place,
    clock: Clock,
}

impl Sender {
    /// Makes its configuration; it connects when it sends.
    pub(super) fn new(endpoint: &Endpoint, plan: Producers, place: Place, clock: Clock) -> anyhow::Result<Self> {
        let mut config = config(endpoint)?;
        let codec = if plan.codec == Codec::None { "none" } else { plan.codec.name() };
        config
            .set("acks", plan.acks.to_string())
            .set("linger.ms", plan.linger.to_string())
            .set("batch.size", plan.batch.max(1).to_string())
            .set("compression.codec", codec)
            .set("enable.idempotence", plan.idempotent.to_string())
            .set("max.in.flight.requests.per.connection", plan.in_flight.to_string())
            .set("queue.buffering.max.messages", "1000000")
            .set("message.timeout.ms", PATIENCE.as_millis().to_string());
        if plan.batch <= 1 {
            config.set("batch.num.messages", "1");
        }
        Ok(Self { config, plan, place, clock })
    }

    /// Sends through the schedule, on the thread that calls.
    pub(super) fn send(self, schedule: &Schedule, amount: Amount, meter: Meter) -> anyhow::Result<Done> {
        let Self { config, plan, place, clock } = self;
        let stream = payload::stream(place.topic_number, place.connection);
        let deliveries = Deliveries {
            clock,
            meter: meter.clone(),
            size: plan.size as u64,
            acknowledged: Mutex::default(),
            failed: Mutex::default(),
        };
        let producer: ThreadedProducer<Deliveries> = config.create_with_context(deliveries)?;
        let mut payloads = Payloads::of(&plan, place.run, stream);
        let mut ring = plan.keys.map(|keys| KeyRing::new(keys, stream));
        let mut newest: BTreeMap<Box<[u8]>, u64> = BTreeMap::new();
        let mut next = vec![0_u64; place.partitions as usize];
        let (of, index) = (place.of as f64, place.index as f64);
        let each_turn = (plan.batch / plan.size.max(1)).max(1) as u64;
        let (mut records, mut blocked_until) = (0_u64, 0);
        clock.sleep_until(schedule.start);
        loop {
            let rate = plan.rate.filter(|_| matches!(amount, Amount::Scheduled));
            let due = rate.map(|rate| schedule.due(((records as f64 * of + index) / rate * 1e9) as u64));
            let over = match (amount, due) {
                (Amount::Records(limit), _) => records >= limit,
                (Amount::Scheduled, Some(due)) => due >= schedule.end || clock.now() >= schedule.end + OVERTIME,
                (Amount::Scheduled, None) => clock.now() >= schedule.end,
            };
            if over {
                break;
            }
            if let Some(due) = due {
                clock.sleep_until(due);
            }
            let now = clock.now();
            let intended = due.unwrap_or(now);
            let key = ring.as_mut().map(KeyRing::take);
            // A batch's worth to one partition, then to the next, as its own sticky partitioner does.
            let turn = || ((place.index + records / each_turn) % place.partitions as u64) as i32;
            let partition = key.map_or_else(turn, |key| keys::partition(&key, place.partitions));
            let sequence = next.get(partition as usize).copied().unwrap_or_default();
            let value = payloads.write_keyed(key.as_ref().map_or(&[], |key| &key[..]), partition, sequence, intended);
            let mut record: BaseRecord<'_, [u8], [u8], usize> =
                BaseRecord::with_opaque_to(&place.topic, intended as usize).partition(partition).payload(value);
            if let Some(key) = &key {
                record = record.key(&key[..]);
            }
            while let Err((error, back)) = producer.send(record) {
                anyhow::ensure!(
                    matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)),
                    "librdkafka: {error}"
                );
                std::thread::sleep(PAUSE);
                blocked_until = clock.now();
                record = back;
            }
            if due.is_some() {
                let mut counts = meter.lock();
                counts.sent_late(intended.max(blocked_until), now.max(blocked_until), 1);
                counts.sent(intended, intended, now.max(blocked_until));
            }
            if let Some(sequence) = next.get_mut(partition as usize) {
                *sequence += 1;
            }
            if let Some(key) = key {
                newest.insert(Box::from(key), sequence);
            }
            records += 1;
            if let Some(error) = lock(&producer.context().failed).take() {
                anyhow::bail!("librdkafka: {error}");
            }
        }
        if let (Amount::Scheduled, Some(rate)) = (amount, plan.rate) {
            let due = |record: u64| schedule.due(((record as f64 * of + index) / rate * 1e9) as u64);
            let unsent = (records..).map(due).take_while(|due| *due < schedule.end);
            let (now, mut counts) = (clock.now(), meter.lock());
            unsent.for_each(|due| counts.never_sent(due, now));
        }
        producer.flush(PATIENCE)?;
        if let Some(error) = lock(&producer.context().failed).take() {
            anyhow::bail!("librdkafka: {error}");
        }
        let acknowledged = std::mem::take(&mut *lock(&producer.context().acknowledged));
        let acknowledged = acknowledged.into_iter().map(|(p, count)| ((place.run, stream, p), count)).collect();
        // What it sends again by itself it tells nobody: nothing is excused.
        Ok(Done { acknowledged, newest, ..Done::default() })
    }
}

/// Reads `cursors` with one client instance, on the thread that calls, as [`Reader::read`] does.
pub(super) fn read(endpoint: &Endpoint, with: &Reader, cursors: &Cursors) -> anyhow::Result<()> {
    let mut config = config(endpoint)?;
    config
        .set("group.id", "esker-bench")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true")
        .set("fetch.message.max.bytes", with.fetch.to_string())
        .set("fetch.max.bytes", with.fetch.max(1 << 20).to_string());
    let consumer: BaseConsumer = config.create()?;
    let mut assignment = TopicPartitionList::new();
    for ((topic, partition), cursor) in cursors {
        if let Some(name) = with.topics.get(*topic as usize) {
            assignment.add_partition_offset(name, *partition, Offset::Offset(cursor.next))?;
        }
    }
    consumer.assign(&assignment)?;
    let mut left = cursors.clone();
    let numbers: BTreeMap<&str, u32> = with.topics.iter().zip(0..).map(|(name, at)| (name.as_str(), at)).collect();
    let (mut moved, mut over) = (Instant::now(), false);
    while !left.is_empty() {
        if !over && *with.over.borrow() {
            over = true;
            if with.leaves_off {
                return Ok(());
            }
            let parts: Vec<Part> = left.keys().copied().collect();
            let ends = runtime()?.block_on(reader::ends(&with.client, &with.topics, parts, At::End))?;
            for (part, cursor) in &mut left {
                cursor.end = cursor.end.min(ends.get(part).copied().unwrap_or(cursor.next));
            }
            left.retain(|_, cursor| cursor.next < cursor.end);
            continue;
        }
        let Some(first) = consumer.poll(POLL) else {
            let knows = left.values().all(|cursor| cursor.end < i64::MAX);
            anyhow::ensure!(!knows || moved.elapsed() < PATIENCE, "no record for {PATIENCE:?}");
            continue;
        };
        moved = Instant::now();
        let mut book = with.book.lock();
        let (mut arrived, mut bytes, mut records) = (Vec::new(), 0, 0);
        let now = with.clock.now();
        let mut message = Some(first);
        while let Some(read) = message.take() {
            let read = read?;
            let part = (numbers.get(read.topic()).copied().unwrap_or(u32::MAX), read.partition());
            take(&mut book, part, &read, &mut arrived, &mut bytes);
            records += 1;
            if let Some(cursor) = left.get_mut(&part) {
                cursor.next = read.offset() + 1;
                if cursor.next >= cursor.end {
                    left.remove(&part);
                }
            }
            if records < TOGETHER {
                message = consumer.poll(Duration::ZERO);
            }
        }
        book.records += records as u64;
        book.bytes += bytes;
        drop(book);
        if let Some(meter) = &with.meter {
            meter.lock().take(now, &arrived, bytes / records.max(1) as u64);
        }
    }
    Ok(())
}

fn take(book: &mut Book, part: Part, read: &impl Message, arrived: &mut Vec<u64>, bytes: &mut u64) {
    let position = book.read.entry(part).or_default();
    if read.offset() < *position {
        book.again += 1;
    }
    *position = (*position).max(read.offset() + 1);
    *bytes += read.payload().map_or(0, <[u8]>::len) as u64;
    arrived.extend(book.tracker.take(part.0, part.1, read.key(), read.payload()));
}

/// A reader's work on a thread of its own.
pub(super) async fn read_aside(endpoint: Endpoint, with: Arc<Reader>, cursors: Cursors) -> anyhow::Result<()> {
    tokio::task::spawn_blocking(move || read(&endpoint, &with, &cursors)).await?
}
