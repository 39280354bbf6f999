//! Fetch sessions (KIP-227): a consumer names its partitions once, then only what changes.
//!
//! A [`Session`] remembers the partitions that a client fetches and what it was last told about each, so that an
//! incremental request is short and its answer holds only partitions with news. [`Sessions`] are the slots of one
//! connection runtime, bounded in number; an id names its runtime (`id % runtimes`), so an id that arrives on
//! another connection runtime, or after a restart, is simply not found: the client starts a new session.
//!
//! What a session keeps of a request is copied and bounded: a name that is a slice of its frame would keep the whole
//! frame, and a client that names ever more partitions gets no session for them.
//!
//! Pure but for the lock: time and randomness are arguments.

use esker_storage::env::Monotonic;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchRequest};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::protocol::StrBytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// `epoch` of a request that wants no session, or closes the one it names.
const FINAL_EPOCH: i32 = -1;
/// `epoch` of a request that opens a session.
const INITIAL_EPOCH: i32 = 0;
/// A session that was used more recently than this is not evicted for a new one
/// (Kafka's `min.incremental.fetch.session.eviction.ms`).
const EVICTION_AGE: Duration = Duration::from_secs(120);
/// Partitions that a session remembers; a client with more fetches without one.
const MAX_PARTITIONS: usize = 10_000;
/// The longest name that a topic can have: a longer one is not remembered, since nothing of that name comes to be.
const MAX_TOPIC_NAME: usize = 249;
/// Kafka's version that names topics by id.
const TOPIC_ID_VERSION: i16 = 13;

/// Names a partition as its client did: by topic name before version 13, by topic id from then on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Empty where the client uses ids.
    pub topic: TopicName,
    /// Nil where the client uses names.
    pub topic_id: Uuid,
    /// The partition's number.
    pub partition: i32,
}

/// What a client wants of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The first offset it wants.
    pub offset: i64,
    /// The most bytes it wants.
    pub max_bytes: i32,
    /// The leader epoch that it knows; -1 for none.
    pub current_leader_epoch: i32,
    /// The epoch of the last record it has; -1 for none.
    pub last_fetched_epoch: i32,
}

impl Wanted {
    fn of(partition: &FetchPartition) -> Wanted {
        Wanted {
            offset: partition.fetch_offset,
            max_bytes: partition.partition_max_bytes,
            current_leader_epoch: partition.current_leader_epoch,
            last_fetched_epoch: partition.last_fetched_epoch,
        }
    }
}

/// What the client was last told; `None` if nothing, or if an error was reported since.
type Told = Option<(i64, i64)>;

#[derive(Debug)]
struct Cached {
    wanted: Wanted,
    told: Told,
    /// Later is further back in the order of service.
    order: u64,
}

/// A client's partitions.
#[derive(Debug)]
pub struct Session {
    id: i32,
    /// The epoch that the next request must carry.
    next_epoch: i32,
    by_id: bool,
    partitions: BTreeMap<Name, Cached>,
    next_order: u64,
    last_used: Monotonic,
}

/// How a request is to be answered.
#[derive(Debug)]
pub struct Plan {
    /// The partitions to fetch, in order.
    pub partitions: Vec<(Name, Wanted)>,
    /// The session to account to, if there is one.
    session: Option<Arc<Mutex<Session>>>,
    /// The session's id for the answer; 0 for none.
    pub session_id: i32,
    /// Whether partitions without news are left out of the answer.
    pub incremental: bool,
}

impl Plan {
    /// Whether `answer` belongs into the response, remembering that it was told if so.
    ///
    /// An incremental answer leaves out what is no news (KIP-227): no records, no error, nothing diverged, and the
    /// marks as they were told before.
    pub fn include(&self, name: &Name, answer: &PartitionData) -> bool {
        let Some(session) = &self.session else { return true };
        let mut session = session.lock();
        let order = session.next_order;
        let Some(cached) = session.partitions.get_mut(name) else { return true };
        let marks = (answer.high_watermark, answer.log_start_offset);
        let has_records = answer.records.as_ref().is_some_and(|records| !records.is_empty());
        let failed = answer.error_code != 0;
        let diverged = answer.diverging_epoch.end_offset >= 0;
        let news = has_records || failed || diverged || cached.told != Some(marks);
        cached.told = (!failed).then_some(marks);
        if has_records {
            // To the end of the line, so that a busy partition does not starve those behind it.
            cached.order = order;
            session.next_order += 1;
        }
        news || !self.incremental
    }
}

/// The session slots of one connection runtime.
#[derive(Debug)]
pub struct Sessions {
    runtime: i32,
    runtimes: i32,
    bounds: Bounds,
    sessions: BTreeMap<i32, Arc<Mutex<Session>>>,
}

/// What the sessions of one connection runtime may be.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How many (`max.incremental.fetch.session.cache.slots`, shared among the runtimes).
    pub slots: usize,
    /// Partitions of all together (`max.incremental.fetch.session.cache.partitions`, likewise).
    pub partitions: usize,
}

impl Sessions {
    /// Sessions for runtime number `runtime` of `runtimes`.
    pub fn new(runtime: usize, runtimes: usize, bounds: Bounds) -> Sessions {
        let runtimes = i32::try_from(runtimes.max(1)).unwrap_or(1);
        let runtime = i32::try_from(runtime).unwrap_or(0) % runtimes;
        Sessions { runtime, runtimes, bounds, sessions: BTreeMap::new() }
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// What `request` of `version` asks for, and how it wants it answered.
    ///
    /// # Errors
    /// The error code of the whole response: the session is not here, its epoch is not the next one, or the client
    /// changed between topic names and ids within a session.
    pub fn plan(
        &mut self,
        request: &FetchRequest,
        version: i16,
        now: Monotonic,
        random: u64,
    ) -> Result<Plan, ResponseError> {
        let by_id = version >= TOPIC_ID_VERSION;
        match request.session_epoch {
            FINAL_EPOCH => {
                self.sessions.remove(&request.session_id);
                Ok(sessionless(request))
            }
            INITIAL_EPOCH => {
                self.sessions.remove(&request.session_id);
                Ok(self.open(request, by_id, now, random))
            }
            epoch => self.go_on(request, epoch, by_id, now),
        }
    }

    fn open(&mut self, request: &FetchRequest, by_id: bool, now: Monotonic, random: u64) -> Plan {
        let mut plan = sessionless(request);
        let count = plan.partitions.len();
        let nameable = plan.partitions.iter().all(|(name, _)| name.topic.len() <= MAX_TOPIC_NAME);
        if count == 0 || count > MAX_PARTITIONS || !nameable || !self.make_room(now) {
            return plan;
        }
        if self.partitions() + count > self.bounds.partitions {
            return plan;
        }
        let Some(id) = self.free_id(random) else { return plan };
        let mut session = Session {
            id,
            next_epoch: INITIAL_EPOCH + 1,
            by_id,
            partitions: BTreeMap::new(),
            next_order: 0,
            last_used: now,
        };
        for (name, wanted) in &plan.partitions {
            session.set(name, *wanted);
        }
        let session = Arc::new(Mutex::new(session));
        self.sessions.insert(id, Arc::clone(&session));
        plan.session = Some(session);
        plan.session_id = id;
        plan
    }

    fn go_on(
        &mut self,
        request: &FetchRequest,
        epoch: i32,
        by_id: bool,
        now: Monotonic,
    ) -> Result<Plan, ResponseError> {
        let Some(found) = self.sessions.get(&request.session_id) else {
            return Err(ResponseError::FetchSessionIdNotFound);
        };
        let found = Arc::clone(found);
        let mut session = found.lock();
        if session.next_epoch != epoch {
            return Err(ResponseError::InvalidFetchSessionEpoch);
        }
        if session.by_id != by_id {
            return Err(ResponseError::FetchSessionTopicIdError);
        }
        session.next_epoch = if epoch == i32::MAX { INITIAL_EPOCH + 1 } else { epoch + 1 };
        session.last_used = now;
        let before = session.partitions.len();
        let named = named(request);
        let nameable = named.iter().all(|(name, _)| name.topic.len() <= MAX_TOPIC_NAME);
        for (name, wanted) in named.into_iter().filter(|_| nameable) {
            session.set(&name, wanted);
        }
        for topic in &request.forgotten_topics_data {
            for partition in &topic.partitions {
                session.partitions.remove(&name(&topic.topic, topic.topic_id, *partition));
            }
        }
        let count = session.partitions.len();
        // Those of the other sessions are counted only when this one grows.
        let grown = count > before && {
            drop(session);
            let all = self.partitions();
            session = found.lock();
            all > self.bounds.partitions
        };
        if count > MAX_PARTITIONS || grown || !nameable {
            self.sessions.remove(&request.session_id);
            return Err(ResponseError::FetchSessionIdNotFound);
        }
        if session.partitions.is_empty() {
            self.sessions.remove(&request.session_id);
            return Ok(Plan { partitions: Vec::new(), session: None, session_id: 0, incremental: false });
        }
        let mut ordered: Vec<_> = session.partitions.iter().collect();
        ordered.sort_by_key(|(_, cached)| cached.order);
        let partitions = ordered.into_iter().map(|(name, cached)| (name.clone(), cached.wanted)).collect();
        let session_id = session.id;
        drop(session);
        Ok(Plan { partitions, session: Some(found), session_id, incremental: true })
    }

    /// Partitions that all sessions remember.
    fn partitions(&self) -> usize {
        self.sessions.values().map(|session| session.lock().partitions.len()).sum()
    }

    /// Whether there is a slot, after evicting the session that was unused for longest if it was for long enough.
    fn make_room(&mut self, now: Monotonic) -> bool {
        if self.sessions.len() < self.bounds.slots {
            return true;
        }
        let oldest = self.sessions.iter().map(|(id, session)| (session.lock().last_used, *id)).min();
        match oldest {
            Some((last_used, id)) if now.since(last_used) >= EVICTION_AGE => {
                self.sessions.remove(&id);
                self.sessions.len() < self.bounds.slots
            }
            _ => false,
        }
    }

    /// A positive id of this runtime that is not taken, starting the search at a random one: ids are not to be
    /// guessed from other ids.
    fn free_id(&self, random: u64) -> Option<i32> {
        let groups = i32::MAX / self.runtimes - 1;
        let start = i32::try_from(random % u64::try_from(groups).ok()?).ok()?;
        (0..=self.bounds.slots)
            .map(|step| (start + i32::try_from(step).unwrap_or(0)) % groups)
            .map(|group| (group + 1) * self.runtimes + self.runtime)
            .find(|id| !self.sessions.contains_key(id))
    }
}

impl Session {
    fn set(&mut self, name: &Name, wanted: Wanted) {
        match self.partitions.get_mut(name) {
            Some(cached) => cached.wanted = wanted,
            None => {
                let order = self.next_order;
                self.next_order += 1;
                // The client's name is a slice of its request, which the session must not keep.
                let topic = TopicName(StrBytes::from_string(name.topic.to_string()));
                let name = Name { topic, topic_id: name.topic_id, partition: name.partition };
                self.partitions.insert(name, Cached { wanted, told: None, order });
            }
        }
    }
}

fn name(topic: &TopicName, topic_id: Uuid, partition: i32) -> Name {
    Name { topic: topic.clone(), topic_id, partition }
}

/// What `request` names, in its order and each partition once: the last word on it counts, as in Kafka. Named a hundred
/// thousand times, one partition would be looked at and waited for as often.
fn named(request: &FetchRequest) -> Vec<(Name, Wanted)> {
    let mut named: Vec<(Name, Wanted)> = Vec::new();
    let mut places: BTreeMap<Name, usize> = BTreeMap::new();
    let several = request.topics.iter().map(|topic| topic.partitions.len()).sum::<usize>() > 1;
    for topic in &request.topics {
        for partition in &topic.partitions {
            let (name, wanted) = (name(&topic.topic, topic.topic_id, partition.partition), Wanted::of(partition));
            let place = if several { *places.entry(name.clone()).or_insert(named.len()) } else { 0 };
            match named.get_mut(place) {
                Some((_, before)) => *before = wanted,
                None => named.push((name, wanted)),
            }
        }
    }
    named
}

fn sessionless(request: &FetchRequest) -> Plan {
    Plan { partitions: named(request), session: None, session_id: 0, incremental: false }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
