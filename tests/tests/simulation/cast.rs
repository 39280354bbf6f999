//! The clients of a topic, and what they saw: producers, consumers, and the last one, who reads everything.

use super::judge::judge_store;
use super::stage::Stage;
use esker_bench::batch::Codec;
use esker_tests::checker::{self, Event, History, Outcome, Sent, SentRecord, Span, Tombstones};
use esker_tests::sim::Chance;
use esker_tests::sim::client::{CallError, Fetched, SimClient, large_batch, value_of};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) const TOPIC: &str = "events";
pub(crate) const PARTITIONS: i32 = 2;

/// Kafka's numbers of errors: a position that the log has not, a batch that is damaged.
const OUT_OF_RANGE: CallError = CallError::Kafka(1);
const CORRUPT_MESSAGE: CallError = CallError::Kafka(2);

/// The topic whose records have keys, and of each key only the last need stay.
pub(crate) const COMPACTED: &str = "compacted";
/// How many keys there are.
const KEYS: u64 = 4;

/// The clients of one topic, and what they saw.
pub(crate) struct Cast {
    pub(crate) stage: Stage,
    pub(crate) topic: &'static str,
    pub(crate) history: Mutex<History>,
    /// Whether the log start may rise while consumers read.
    pub(crate) expires: bool,
    /// By how many bytes its producers make each record larger, at most.
    pub(crate) padding: u64,
    /// The newest generation of a group that a member was synced with, and when that was known.
    pub(crate) generations: Mutex<BTreeMap<u32, (i32, u64)>>,
}

impl Cast {
    pub(crate) fn on(stage: &Stage) -> Arc<Cast> {
        Cast::with(stage, History::default(), false)
    }

    /// The clients that go on where a history ended.
    pub(crate) fn with(stage: &Stage, history: History, expires: bool) -> Arc<Cast> {
        Arc::new(Cast::of(stage, TOPIC, history, expires))
    }

    fn of(stage: &Stage, topic: &'static str, history: History, expires: bool) -> Cast {
        let (history, generations) = (Mutex::new(history), Mutex::default());
        Cast { stage: stage.clone(), topic, history, expires, padding: 0, generations }
    }

    /// Clients whose batches span several pages of a disk.
    pub(crate) fn of_large_batches(stage: &Stage) -> Arc<Cast> {
        Arc::new(Cast { padding: 12 << 10, ..Cast::of(stage, TOPIC, History::default(), false) })
    }

    /// The clients of the compacted topic.
    pub(crate) fn of_compacted(stage: &Stage, tombstones: Tombstones) -> Arc<Cast> {
        let mut history = History::default();
        (0..PARTITIONS as u32).for_each(|partition| history.compacts(partition, tombstones));
        Arc::new(Cast::of(stage, COMPACTED, history, false))
    }

    /// Records as this topic takes them.
    fn records(&self, values: impl Iterator<Item = u64>) -> Vec<SentRecord> {
        let record = |value| {
            let (key, tombstone) = self.stage.world.draw(|rng| (rng.below(KEYS), rng.happens(Chance::percent(20))));
            if self.topic == COMPACTED {
                SentRecord { value, key: Some(key), tombstone }
            } else {
                SentRecord::plain(value)
            }
        };
        values.map(record).collect()
    }

    /// What began at `began` has ended now.
    pub(crate) fn since(&self, began: u64) -> Span {
        Span { began, ended: self.stage.clock() }
    }

    pub(crate) fn push(&self, event: Event) {
        self.history.lock().push(event);
    }

    fn draw_partition(&self) -> i32 {
        self.stage.world.draw(|rng| rng.below(PARTITIONS as u64) as i32)
    }

    /// Bytes that do not compress.
    fn draw_padding(&self) -> Vec<u8> {
        if self.padding == 0 {
            return Vec::new();
        }
        self.stage.world.draw(|rng| (0..rng.below(self.padding)).map(|_| rng.draw() as u8).collect())
    }

    /// A producer id and its epoch, however often it must be asked for.
    async fn producer_id(&self, client: &mut SimClient) -> (i64, i16) {
        loop {
            match client.init_producer().await {
                Ok(producer) => return producer,
                Err(_) => self.stage.pause().await,
            }
        }
    }

    /// Sends batches of one to three values, each until it is acknowledged.
    pub(crate) async fn produce_surely(self: Arc<Self>, number: u32, batches: u64) {
        let world = &self.stage.world;
        let mut client = self.stage.client();
        let (id, epoch) = self.producer_id(&mut client).await;
        let mut sequences = [0; PARTITIONS as usize];
        let mut value = u64::from(number) * 1_000_000;
        for _ in 0..batches {
            let partition = self.draw_partition();
            let (count, codec) = world.draw(|rng| (1 + rng.below(3), Codec::ALL[rng.index(Codec::ALL.len())]));
            let records = self.records(value..value + count);
            value += count;
            let sequence = &mut sequences[partition as usize];
            let padding = self.draw_padding();
            let now = world.env().wall().millis();
            let batch = large_batch(codec, &records, &padding, now, Some((id, epoch, *sequence)));
            *sequence += count as i32;
            let began = self.stage.clock();
            let offset = loop {
                match client.produce(self.topic, partition, batch.clone()).await {
                    Ok(offset) => break offset,
                    // Those that say that a retry is wrong.
                    Err(CallError::Kafka(code @ (45 | 46 | 47 | 59))) => {
                        panic!("sequence error {code} of a producer that is right")
                    }
                    Err(_) => self.stage.pause().await,
                }
            };
            let (span, sent) = (self.since(began), offset.map_or(Sent::AckedSomewhere, Sent::Acked));
            self.push(Event::Send { client: number, partition: partition as u32, records, span, sent });
            if world.draw(|rng| rng.happens(Chance::percent(60))) {
                self.stage.pause().await;
            }
        }
    }

    /// Sends each batch once, without a producer id. Some are damaged on the way, and must be refused.
    pub(crate) async fn produce_once(self: Arc<Self>, number: u32, batches: u64) {
        let world = &self.stage.world;
        let mut client = self.stage.client();
        let mut value = u64::from(number) * 1_000_000;
        for _ in 0..batches {
            let partition = self.draw_partition();
            let records = self.records(value..value + 2);
            value += 2;
            let (padding, now) = (self.draw_padding(), world.env().wall().millis());
            let mut batch = large_batch(Codec::None, &records, &padding, now, None).to_vec();
            let damaged = world.draw(|rng| rng.happens(Chance::percent(10)));
            if let Some(last) = batch.last_mut().filter(|_| damaged) {
                *last ^= 1;
            }
            let began = self.stage.clock();
            let sent = match client.produce(self.topic, partition, batch.into()).await {
                Ok(offset) => {
                    assert!(!damaged, "a damaged batch was acknowledged");
                    offset.map_or(Sent::AckedSomewhere, Sent::Acked)
                }
                Err(CORRUPT_MESSAGE) => {
                    assert!(damaged, "a batch was damaged on its way");
                    Sent::Refused
                }
                Err(_) if damaged => Sent::Refused,
                Err(_) => Sent::Unknown,
            };
            let span = self.since(began);
            self.push(Event::Send { client: number, partition: partition as u32, records, span, sent });
            self.stage.pause().await;
        }
    }

    /// Takes note of what a consumer was given; where it goes on.
    pub(crate) fn polled(&self, client: u32, partition: i32, began: u64, position: u64, fetched: &Fetched) -> u64 {
        let records: Vec<_> = fetched.records.iter().map(|record| (record.offset as u64, value_of(record))).collect();
        let end = fetched.high_watermark;
        assert!(records.iter().all(|(offset, _)| *offset < end), "above the high watermark");
        let next = fetched.next.unwrap_or(position).max(position);
        let (span, log_start) = (self.since(began), fetched.log_start);
        self.push(Event::Poll { client, partition: partition as u32, span, log_start, records });
        next
    }

    /// A position that the log has not any more becomes its start; one that it never had is a mistake.
    pub(crate) async fn reset(&self, client: u32, partition: i32, position: u64) -> u64 {
        let start = self.stage.mark(self.topic, partition, -2).await.unwrap_or_default();
        assert!(self.expires && start > position, "partition {partition}: {position} was read and is out of range");
        self.push(Event::Seek { client, partition: partition as u32 });
        start
    }

    /// Reads a partition again and again from its start, until the stage is over.
    pub(crate) async fn consume(self: Arc<Self>, number: u32, partition: i32) {
        let mut client = self.stage.client();
        let mut position = 0;
        while !self.stage.is_over() {
            let began = self.stage.clock();
            match client.fetch(self.topic, partition, position, 300).await {
                Ok(fetched) => {
                    position = self.polled(number, partition, began, position, &fetched);
                    if self.stage.world.draw(|rng| rng.happens(Chance::percent(3))) {
                        position = fetched.log_start;
                        self.push(Event::Seek { client: number, partition: partition as u32 });
                    }
                }
                Err(OUT_OF_RANGE) => position = self.reset(number, partition, position).await,
                Err(_) => self.stage.pause().await,
            }
        }
    }

    /// Reads a partition from its start, batch by batch and with all the time in the world, again and again.
    pub(crate) async fn dawdle(self: Arc<Self>, number: u32, partition: i32) {
        let mut client = self.stage.client();
        let mut position = 0;
        while !self.stage.is_over() {
            let began = self.stage.clock();
            match client.fetch_some(self.topic, partition, position, 300, 1).await {
                Ok(fetched) => {
                    let next = self.polled(number, partition, began, position, &fetched);
                    if next == position {
                        self.push(Event::Seek { client: number, partition: partition as u32 });
                        position = fetched.log_start;
                    } else {
                        position = next;
                    }
                    self.stage.between(0, 2).await;
                }
                Err(OUT_OF_RANGE) => position = self.reset(number, partition, position).await,
                Err(_) => self.stage.pause().await,
            }
        }
    }

    /// Deletes records from the front of a partition, now and then.
    pub(crate) async fn trim(self: Arc<Self>, times: u64) {
        let mut client = self.stage.client();
        for _ in 0..times {
            self.stage.between(1, 20).await;
            let partition = self.draw_partition();
            let Ok(Some(end)) = client.list_offset(self.topic, partition, -1).await else { continue };
            let before = self.stage.world.draw(|rng| rng.below(end + 1));
            let began = self.stage.clock();
            let outcome = match client.delete_records(self.topic, partition, before).await {
                Ok(start) => {
                    assert!(start >= before, "asked to start at {before}, the log starts at {start}");
                    Outcome::Done
                }
                Err(_) => Outcome::Unknown,
            };
            let (span, partition) = (self.since(began), partition as u32);
            self.push(Event::Trim { partition, before, span, outcome });
        }
    }

    /// Reads a partition from its start to its end, in calm weather.
    pub(crate) async fn drain(&self, partition: i32) {
        if let Err(position) = self.try_drain(partition, 400).await {
            panic!("{}-{partition} cannot be read at {position} in calm weather", self.topic);
        }
    }

    /// The same, giving up after so many attempts in vain; the position then.
    pub(crate) async fn try_drain(&self, partition: i32, mut patience: u32) -> Result<(), u64> {
        let mut client = self.stage.client();
        let began = self.stage.clock();
        let (mut records, mut position): (Vec<_>, _) = (Vec::new(), 0);
        let mut start = None;
        loop {
            match client.fetch(self.topic, partition, position, 100).await {
                // Retention may pass by at any time.
                Err(OUT_OF_RANGE) => match self.stage.mark(self.topic, partition, -2).await {
                    Some(earliest) if start.is_none() || earliest > position => {
                        (position, start) = (earliest, Some(earliest));
                    }
                    _ => {
                        patience -= 1;
                        self.stage.pause().await;
                    }
                },
                Ok(fetched) => {
                    start.get_or_insert(fetched.log_start);
                    records.extend(fetched.records.iter().map(|record| (record.offset as u64, value_of(record))));
                    let next = fetched.next.unwrap_or(position);
                    if next <= position {
                        patience -= 1;
                    }
                    position = next.max(position);
                    if position >= fetched.high_watermark {
                        break;
                    }
                }
                Err(_) => {
                    patience -= 1;
                    self.stage.pause().await;
                }
            }
            if patience == 0 {
                return Err(position);
            }
        }
        // What expired meanwhile is nobody's loss.
        let start = self.stage.mark(self.topic, partition, -2).await.max(start).unwrap_or_default();
        records.retain(|(offset, _)| *offset >= start);
        let span = self.since(began);
        self.push(Event::Drain { partition: partition as u32, span, start, records });
        Ok(())
    }

    /// The judgement of what clients saw, over a broker that runs in calm weather; how much was acknowledged.
    pub(crate) async fn judge_clients(&self) -> usize {
        for partition in 0..PARTITIONS {
            self.drain(partition).await;
        }
        let history = self.history.lock();
        let anomalies = checker::check(&history);
        assert!(anomalies.is_empty(), "{}: {anomalies:?}", self.topic);
        history.acknowledged()
    }

    /// How many records there were when every partition was read to its end for the last time.
    pub(crate) fn drained(&self) -> usize {
        let mut last = BTreeMap::new();
        for event in self.history.lock().events() {
            if let Event::Drain { partition, records, .. } = event {
                last.insert(*partition, records.len());
            }
        }
        last.values().sum()
    }

    /// The whole judgement: clients first, then the store, which needs the broker stopped.
    pub(crate) async fn judge(&self) -> usize {
        let acknowledged = self.judge_clients().await;
        self.stage.world.terminate(self.stage.node);
        self.stage.world.ended(self.stage.node).await;
        judge_store(&self.stage.world).await;
        acknowledged
    }
}

/// A history without what lay beyond `ends`, of which nothing is promised.
pub(crate) fn what_is_below(history: &History, ends: &[u64]) -> History {
    let end_of = |partition: &u32| ends[*partition as usize];
    history.map(|event| match event {
        Event::Send { client, partition, records, span, sent } => {
            let kept = matches!(sent, Sent::Acked(offset) if offset + records.len() as u64 <= end_of(&partition));
            let sent = if kept || sent == Sent::Refused { sent } else { Sent::Unknown };
            Event::Send { client, partition, records, span, sent }
        }
        Event::Poll { client, partition, span, log_start, mut records } => {
            records.retain(|(offset, _)| *offset < end_of(&partition));
            Event::Poll { client, partition, span, log_start, records }
        }
        other => other,
    })
}
