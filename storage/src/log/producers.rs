//! What a partition remembers of the idempotent producers that wrote to it (KIP-98), as a pure state machine.
//!
//! Three nouns: the [`Producers`] of a partition; of each the last five batches ([`WrittenBatch`]); and the
//! [`Verdict`] on a batch that wants to be appended. [`Producers::check`] decides, [`Producers::record`] takes note of
//! what was appended: live, on replay, and on a follower alike.
//!
//! ```text
//!  known epoch > batch's epoch                       -> InvalidProducerEpoch
//!  (first, last) sequence of a remembered batch      -> Duplicate, answered as the original was
//!  producer unknown, or expired                      -> Append, whatever the sequence
//!  batch's epoch > known epoch: sequence 0           -> Append; else OutOfOrderSequence
//!  sequence = last + 1 (2^31-1 is followed by 0)     -> Append; else OutOfOrderSequence
//! ```
//!
//! A transactional batch opens its producer's transaction, and the marker that follows ends it: see `transactions`.
//!
//! A producer that has been silent for `producer.id.expiration.ms` is forgotten, by the broker's own clock and not by
//! the timestamps of its records, which are the client's. Their number is bounded too: beyond the limit those that
//! have been silent longest go first, except within a transaction.

use crate::env::Timestamp;
use crate::offset::Offset;
use esker_protocol::record::{BatchHeader, ControlKind, Marker, Producer, TimestampType};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Batches remembered of each producer: what a client may have in flight at once.
pub const WINDOW: usize = 5;

/// Producers remembered per partition, unless a configuration says otherwise.
pub const DEFAULT_LIMIT: usize = 100_000;

/// A batch that a producer wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrittenBatch {
    /// The sequence of its first record.
    pub first_sequence: i32,
    /// The sequence of its last record.
    pub last_sequence: i32,
    /// The offset of its first record.
    pub base_offset: Offset,
    /// The offset of its last record.
    pub last_offset: Offset,
    /// When it was appended, if that is the time that its records carry.
    pub log_append_time: Option<Timestamp>,
}

/// What is remembered of one producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerState {
    /// Its newest epoch.
    pub epoch: i16,
    /// Its last batches of that epoch, oldest first, at most [`WINDOW`].
    pub batches: VecDeque<WrittenBatch>,
    /// The first offset of its open transaction.
    pub transaction_start: Option<Offset>,
    /// The epoch of the transaction coordinator that wrote the last marker; -1 stands nowhere: `None`.
    pub coordinator_epoch: Option<i32>,
    /// When it was last heard of, by the broker's clock.
    pub last_seen: Timestamp,
}

/// A producer as an administrator sees it (KIP-664).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    /// Its id.
    pub id: i64,
    /// Its newest epoch.
    pub epoch: i16,
    /// The sequence of its last record; `None` if only a marker is known of it.
    pub last_sequence: Option<i32>,
    /// When it was last heard of, by the broker's clock.
    pub last_seen: Timestamp,
    /// The epoch of the transaction coordinator that wrote the last marker.
    pub coordinator_epoch: Option<i32>,
    /// The first offset of its open transaction.
    pub transaction_start: Option<Offset>,
}

/// What of a producer compaction must leave in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastBatch {
    /// Its newest epoch.
    pub epoch: i16,
    /// The offset of its last record; `None` if only a marker is known of it.
    pub last_offset: Option<Offset>,
}

/// What a batch claims of its producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The producer's id.
    pub producer_id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// The sequence of the batch's first record.
    pub first_sequence: i32,
    /// The sequence of its last record.
    pub last_sequence: i32,
}

/// What becomes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is new and in order.
    Append,
    /// It was appended before.
    Duplicate(WrittenBatch),
}

/// Why a batch cannot be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProducerError {
    /// A batch before it is missing, or it is too old to tell (OUT_OF_ORDER_SEQUENCE_NUMBER).
    #[error("producer {producer_id}: sequence {got} out of order, {expected} expected")]
    OutOfOrderSequence {
        /// The producer.
        producer_id: i64,
        /// The batch's first sequence.
        got: i32,
        /// What should have come.
        expected: i32,
    },
    /// A newer instance of the producer has written already (INVALID_PRODUCER_EPOCH).
    #[error("producer {producer_id}: epoch {got} is older than {known}")]
    InvalidProducerEpoch {
        /// The producer.
        producer_id: i64,
        /// The batch's epoch.
        got: i16,
        /// The newest one.
        known: i16,
    },
    /// A newer transaction coordinator has written already (TRANSACTION_COORDINATOR_FENCED).
    #[error("producer {producer_id}: coordinator epoch {got} is older than {known}")]
    CoordinatorFenced {
        /// The producer.
        producer_id: i64,
        /// The marker's coordinator epoch.
        got: i32,
        /// The newest one.
        known: i32,
    },
}

/// The producers of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producers {
    states: BTreeMap<i64, ProducerState>,
    /// The first offsets of the open transactions, with their producers.
    open: BTreeSet<(Offset, i64)>,
    limit: usize,
}

/// A transaction that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Whose it was.
    pub producer_id: i64,
    /// Its first offset.
    pub first: Offset,
    /// The offset of its marker.
    pub last: Offset,
    /// Where the oldest of those began that are open now; one past the marker if there is none.
    pub last_stable: Offset,
    /// Whether it was aborted.
    pub aborted: bool,
}

impl Default for Producers {
    fn default() -> Producers {
        Producers::with_limit(DEFAULT_LIMIT)
    }
}

/// The sequence after `sequence`: 2^31-1 is followed by 0.
pub fn next_sequence(sequence: i32) -> i32 {
    sequence.checked_add(1).unwrap_or(0)
}

/// The sequence `records` after `sequence`, with the same wrap.
pub fn sequence_plus(sequence: i32, records: i32) -> i32 {
    ((i64::from(sequence) + i64::from(records)) % (1 << 31)) as i32
}

impl Claim {
    /// What `header` claims; `None` for a batch without producer or sequence.
    pub fn of(header: &BatchHeader) -> Option<Claim> {
        let Producer { id, epoch, base_sequence } = header.producer()?;
        let first_sequence = base_sequence?;
        let last_sequence = sequence_plus(first_sequence, header.last_offset_delta);
        Some(Claim { producer_id: id, epoch, first_sequence, last_sequence })
    }
}

impl Producers {
    /// None yet, and never more than `limit`.
    pub fn with_limit(limit: usize) -> Producers {
        Producers { states: BTreeMap::new(), open: BTreeSet::new(), limit: limit.max(1) }
    }

    /// Changes how many are remembered at most; those that are too many, and silent longest, go with the next new one.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit.max(1);
    }

    pub(super) fn from_states(states: BTreeMap<i64, ProducerState>) -> Producers {
        let open = states.iter().filter_map(|(id, state)| Some((state.transaction_start?, *id))).collect();
        Producers { states, open, limit: DEFAULT_LIMIT }
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// The last batch of each.
    pub fn last_batches(&self) -> BTreeMap<i64, LastBatch> {
        let last = |state: &ProducerState| LastBatch {
            epoch: state.epoch,
            last_offset: state.batches.back().map(|batch| batch.last_offset),
        };
        self.states.iter().map(|(id, state)| (*id, last(state))).collect()
    }

    /// Everyone as an administrator sees them, by id.
    pub fn active(&self) -> Vec<ActiveProducer> {
        let active = |(id, state): (&i64, &ProducerState)| ActiveProducer {
            id: *id,
            epoch: state.epoch,
            last_sequence: state.batches.back().map(|batch| batch.last_sequence),
            last_seen: state.last_seen,
            coordinator_epoch: state.coordinator_epoch,
            transaction_start: state.transaction_start,
        };
        self.states.iter().map(active).collect()
    }

    /// Everyone, by id.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &ProducerState)> {
        self.states.iter().map(|(id, state)| (*id, state))
    }

    /// What is remembered of a producer.
    pub fn get(&self, producer_id: i64) -> Option<&ProducerState> {
        self.states.get(&producer_id)
    }

    /// What becomes of a batch with this claim.
    ///
    /// # Errors
    /// [`ProducerError`].
    pub fn check(&self, claim: &Claim) -> Result<Verdict, ProducerError> {
        let Some(state) = self.states.get(&claim.producer_id) else { return Ok(Verdict::Append) };
        if claim.epoch < state.epoch {
            return Err(ProducerError::InvalidProducerEpoch {
                producer_id: claim.producer_id,
                got: claim.epoch,
                known: state.epoch,
            });
        }
        let newer = claim.epoch > state.epoch;
        if !newer && let Some(original) = state.batches.iter().find(|batch| is_duplicate(claim, batch)) {
            return Ok(Verdict::Duplicate(*original));
        }
        let expected = match state.batches.back() {
            _ if newer => 0,
            Some(last) => next_sequence(last.last_sequence),
            // Known by a transaction marker alone: nothing was ever promised about its sequence.
            None => claim.first_sequence,
        };
        if claim.first_sequence == expected {
            return Ok(Verdict::Append);
        }
        Err(ProducerError::OutOfOrderSequence { producer_id: claim.producer_id, got: claim.first_sequence, expected })
    }

    /// Takes note of a batch that is in the log, at the offsets in its header; batches without producer are ignored.
    pub fn record(&mut self, header: &BatchHeader, now: Timestamp) {
        let (Some(claim), Some(base_offset), Some(last_offset)) =
            (Claim::of(header), Offset::from_wire(header.base_offset), Offset::from_wire(header.last_offset()))
        else {
            return;
        };
        let log_append_time = (header.timestamp_type() == TimestampType::LogAppendTime)
            .then(|| Timestamp::from_millis(header.max_timestamp));
        let state = self.state(claim.producer_id, claim.epoch, now);
        let begins = header.is_transactional() && state.transaction_start.is_none();
        if begins {
            state.transaction_start = Some(base_offset);
        }
        if state.batches.len() >= WINDOW {
            state.batches.pop_front();
        }
        state.batches.push_back(WrittenBatch {
            first_sequence: claim.first_sequence,
            last_sequence: claim.last_sequence,
            base_offset,
            last_offset,
            log_append_time,
        });
        if begins {
            self.open.insert((base_offset, claim.producer_id));
        }
    }

    /// Whether the marker that ends a transaction may be written.
    ///
    /// # Errors
    /// [`ProducerError`], if somebody newer has written already.
    pub fn check_marker(&self, producer_id: i64, epoch: i16, coordinator_epoch: i32) -> Result<(), ProducerError> {
        let Some(state) = self.states.get(&producer_id) else { return Ok(()) };
        if epoch < state.epoch {
            return Err(ProducerError::InvalidProducerEpoch { producer_id, got: epoch, known: state.epoch });
        }
        match state.coordinator_epoch {
            Some(known) if coordinator_epoch < known => {
                Err(ProducerError::CoordinatorFenced { producer_id, got: coordinator_epoch, known })
            }
            _ => Ok(()),
        }
    }

    /// Takes note of a marker that is in the log, in a batch with this header; the transaction that it ended, if one was
    /// open.
    pub fn record_marker(&mut self, header: &BatchHeader, marker: Marker, now: Timestamp) -> Option<Ended> {
        let (producer, last) = (header.producer()?, Offset::from_wire(header.last_offset())?);
        let state = self.state(producer.id, producer.epoch, now);
        if let Some(epoch) = marker.coordinator_epoch {
            state.coordinator_epoch = Some(epoch);
        }
        let first = state.transaction_start.take()?;
        self.open.remove(&(first, producer.id));
        let last_stable = self.first_open_transaction().unwrap_or(last.next());
        let aborted = marker.kind == ControlKind::Abort;
        Some(Ended { producer_id: producer.id, first, last, last_stable, aborted })
    }

    /// What is remembered of a producer that writes with `epoch` now.
    fn state(&mut self, producer_id: i64, epoch: i16, now: Timestamp) -> &mut ProducerState {
        if !self.states.contains_key(&producer_id) {
            self.make_room();
        }
        let state = self.states.entry(producer_id).or_insert_with(|| ProducerState {
            epoch,
            batches: VecDeque::new(),
            transaction_start: None,
            coordinator_epoch: None,
            last_seen: now,
        });
        if state.epoch != epoch {
            state.epoch = epoch;
            state.batches.clear();
        }
        state.last_seen = now;
        state
    }

    /// Forgets who has been silent for `expiration` milliseconds, except within a transaction.
    pub fn expire(&mut self, now: Timestamp, expiration: i64) {
        self.states.retain(|_, state| {
            state.transaction_start.is_some() || now.millis().saturating_sub(state.last_seen.millis()) < expiration
        });
    }

    /// The first offset of the oldest open transaction.
    pub fn first_open_transaction(&self) -> Option<Offset> {
        self.open.first().map(|(first, _)| *first)
    }

    fn make_room(&mut self) {
        if self.states.len() < self.limit {
            return;
        }
        // A sixteenth at a time, so that a flood of new producers does not search all of them for each.
        let mut silent: Vec<(Timestamp, i64)> = self
            .states
            .iter()
            .filter(|(_, state)| state.transaction_start.is_none())
            .map(|(id, state)| (state.last_seen, *id))
            .collect();
        silent.sort_unstable();
        let too_many = self.states.len() - self.limit;
        for (_, id) in silent.into_iter().take(too_many + self.limit / 16 + 1) {
            self.states.remove(&id);
        }
    }
}

/// The same sequences under the same epoch are the same batch, sent again.
fn is_duplicate(claim: &Claim, batch: &WrittenBatch) -> bool {
    claim.first_sequence == batch.first_sequence && claim.last_sequence == batch.last_sequence
}

/// No producer has more than [`WINDOW`] batches, and their offsets ascend.
pub fn windows_bounded(producers: &Producers) -> bool {
    producers.states.values().all(|state| {
        state.batches.len() <= WINDOW && state.batches.iter().is_sorted_by(|a, b| a.last_offset < b.base_offset)
    })
}

#[cfg(test)]
#[path = "producers_tests.rs"]
mod tests;
