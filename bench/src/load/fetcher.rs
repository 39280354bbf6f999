//! One connection that fetches from one broker, in a fetch session (KIP-227): after the first request, only the
//! partitions that moved are named.
//!
//! A [`Fetcher`] sends a fetch, and takes its answer in two steps, so that the next fetch can be under way while the
//! records are checked: [`Fetcher::advance`] moves the cursors, [`check`] looks at every record.

use super::payload::Tracker;
use crate::batch;
use crate::client::{ClientError, Connection, Pending};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use kafka_protocol::protocol::StrBytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Kafka's FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH, FETCH_SESSION_TOPIC_ID_ERROR: begin anew.
const SESSION_ERRORS: [i16; 3] = [70, 71, 106];

/// A topic by its number, and one of its partitions.
pub(crate) type Part = (u32, i32);

/// A partition that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The offset that comes next.
    pub(crate) next: i64,
    /// Where it ends.
    pub(crate) end: i64,
}

/// Cursors by partition.
pub(crate) type Cursors = BTreeMap<Part, Cursor>;

/// A connection with a fetch session.
pub(crate) struct Fetcher {
    connection: Connection,
    topics: Arc<[String]>,
    cursors: Cursors,
    changed: BTreeSet<Part>,
    done: BTreeSet<Part>,
    fetch: i32,
    wait_ms: i32,
    session: i32,
    epoch: i32,
}

impl Fetcher {
    /// Reads `cursors`, whose leader `connection` leads to; `topics` has the names by number.
    pub(crate) fn new(
        connection: Connection,
        topics: Arc<[String]>,
        mut cursors: Cursors,
        fetch: i32,
        wait_ms: i32,
    ) -> Self {
        cursors.retain(|_, cursor| cursor.next < cursor.end);
        let (changed, done) = (BTreeSet::new(), BTreeSet::new());
        Self { connection, topics, cursors, changed, done, fetch, wait_ms, session: 0, epoch: 0 }
    }

    /// What is not read yet.
    pub(crate) fn cursors(&self) -> &Cursors {
        &self.cursors
    }

    /// Sets where each partition ends, and drops those that are there already.
    pub(super) fn end_at(&mut self, ends: &BTreeMap<Part, i64>) {
        for (part, cursor) in &mut self.cursors {
            cursor.end = ends.get(part).copied().unwrap_or(cursor.next);
        }
        let done: Vec<Part> = self.cursors.iter().filter(|(_, c)| c.next >= c.end).map(|(part, _)| *part).collect();
        for part in done {
            self.drop_part(part);
        }
    }

    fn drop_part(&mut self, part: Part) {
        self.cursors.remove(&part);
        self.changed.remove(&part);
        self.done.insert(part);
    }

    /// Asks for what comes next.
    pub(crate) async fn send(&mut self) -> Result<Pending<FetchResponse>, ClientError> {
        let whole = self.session == 0;
        let mut topics: BTreeMap<u32, Vec<FetchPartition>> = BTreeMap::new();
        for (part, cursor) in &self.cursors {
            if whole || self.changed.contains(part) {
                let partition = FetchPartition::default()
                    .with_partition(part.1)
                    .with_fetch_offset(cursor.next)
                    .with_partition_max_bytes(self.fetch);
                topics.entry(part.0).or_default().push(partition);
            }
        }
        let mut forgotten: BTreeMap<u32, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in self.done.iter().filter(|_| !whole) {
            forgotten.entry(*topic).or_default().push(*partition);
        }
        self.changed.clear();
        self.done.clear();
        let topics = topics
            .into_iter()
            .map(|(topic, parts)| FetchTopic::default().with_topic(self.name(topic).into()).with_partitions(parts));
        let forgotten = forgotten
            .into_iter()
            .map(|(topic, parts)| ForgottenTopic::default().with_topic(self.name(topic).into()).with_partitions(parts));
        let request = FetchRequest::default()
            .with_max_wait_ms(self.wait_ms)
            .with_min_bytes(1)
            .with_max_bytes(self.fetch)
            .with_session_id(self.session)
            .with_session_epoch(self.epoch)
            .with_topics(topics.collect())
            .with_forgotten_topics_data(forgotten.collect());
        self.connection.send(&request).await
    }

    fn name(&self, topic: u32) -> StrBytes {
        StrBytes::from_string(self.topics.get(topic as usize).cloned().unwrap_or_default())
    }

    fn number(&self, name: &str) -> Option<u32> {
        self.topics.iter().position(|topic| topic == name).map(|at| at as u32)
    }

    /// Moves the cursors behind what came, and drops those at their end; whether anything came.
    ///
    /// # Errors
    /// What the broker answers; where it says that the session is gone, the next request begins a new one.
    pub(crate) fn advance(&mut self, answer: &FetchResponse) -> Result<bool, ClientError> {
        if SESSION_ERRORS.contains(&answer.error_code) {
            (self.session, self.epoch) = (0, 0);
            return Ok(false);
        }
        ClientError::check(answer.error_code, "Fetch")?;
        self.session = answer.session_id;
        // 0 asks for a session; a broker that has none to give answers without.
        self.epoch = if self.session == 0 { 0 } else { self.epoch % i32::MAX + 1 };
        let (mut any, mut failed) = (false, Ok(()));
        for topic in &answer.responses {
            let Some(number) = self.number(topic.topic.as_str()) else { continue };
            for partition in &topic.partitions {
                // The others' records count all the same.
                failed = failed.and(ClientError::check(partition.error_code, "Fetch"));
                let part = (number, partition.partition_index);
                let end = partition.records.as_deref().and_then(batch::end_offset);
                if let (Some(end), Some(cursor)) = (end, self.cursors.get_mut(&part)) {
                    cursor.next = end;
                    any = true;
                    if end >= cursor.end {
                        self.drop_part(part);
                    } else {
                        self.changed.insert(part);
                    }
                }
            }
        }
        failed.map(|()| any)
    }

    /// Calls `visit` with each partition of an answer and its batches.
    pub(crate) fn each_part<'a>(&self, answer: &'a FetchResponse, mut visit: impl FnMut(Part, &'a [u8])) {
        for topic in &answer.responses {
            let Some(number) = self.number(topic.topic.as_str()) else { continue };
            for partition in &topic.partitions {
                if let Some(records) = partition.records.as_deref().filter(|records| !records.is_empty()) {
                    visit((number, partition.partition_index), records);
                }
            }
        }
    }

    /// Checks every record of an answer; `arrived` hears the intended time of each sound one. Returns the bytes of the
    /// values.
    pub(crate) fn check(&self, answer: &FetchResponse, tracker: &mut Tracker, mut arrived: impl FnMut(u64)) -> u64 {
        let mut bytes = 0;
        self.each_part(answer, |part, batches| bytes += check(part, batches, 0, tracker, &mut arrived).bytes);
        bytes
    }
}

/// What was found in a partition's part of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Bytes of the values.
    pub(super) bytes: u64,
    /// Records.
    pub(super) records: u64,
    /// Records before the offset that was asked for.
    pub(super) before: u64,
    /// The offset behind the last record.
    pub(super) end: i64,
}

/// Checks every record at `from` or behind it in the batches of a partition.
pub(super) fn check(
    part: Part,
    batches: &[u8],
    from: i64,
    tracker: &mut Tracker,
    mut arrived: impl FnMut(u64),
) -> Found {
    let mut found = Found::default();
    let read = batch::each_record(batches, |record| {
        found.end = record.offset + 1;
        if record.offset < from {
            found.before += 1;
            return;
        }
        found.records += 1;
        found.bytes += record.value.map_or(0, <[u8]>::len) as u64;
        if let Some(intended) = tracker.take(part.0, part.1, record.key, record.value) {
            arrived(intended);
        }
    });
    if read.is_err() {
        tracker.corrupt_batch();
    }
    found
}
