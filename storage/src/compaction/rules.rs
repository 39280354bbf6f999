//! What stays of a batch: the rules of compaction, without any I/O.
//!
//! ```text
//!  record                                                          stays
//!  at or beyond what the pass covers                               yes
//!  without a key (from before the topic was compacted)             no
//!  with a newer record of its key                                  no
//!  of an aborted transaction                                       no
//!  a tombstone whose batch's delete horizon has passed             no, if nothing older is left elsewhere
//!  any other                                                       yes
//!
//!  marker of a transaction
//!  some batch of the transaction is there                          yes
//!  none is                                                         until its delete horizon, which it gets now
//! ```
//!
//! The delete horizon (KIP-534) is set when a tombstone or a lonely marker is first cleaned: `delete.retention.ms` later
//! every reader that began before has seen it. A batch with no records left goes, unless it is the last one of a producer
//! that is still remembered: then its head stays, with the producer's epoch and sequence. Markers are never compared by
//! their keys, which are all the same.

use super::key_map::KeyMap;
use super::transactions::{Aborted, Open};
use crate::env::Timestamp;
use crate::env::mutation::{self, Mutation};
use crate::log::LastBatch;
use crate::offset::Offset;
use bytes::Bytes;
use esker_protocol::record::{BatchHeader, Filtered, Malformed, NewHorizon, Record, Scratch, filter, without_records};
use std::collections::BTreeMap;

/// The most that the records of a batch may take once decompressed: what produce admits at most.
pub const DECOMPRESS_LIMIT: u64 = 256 << 20;

/// Where there is nothing older than what a pass sees: everything that it sees may go.
pub const EVERYTHING: Offset = Offset::new(i64::MAX as u64);

/// What a pass knows when it filters.
pub struct Rules {
    /// The newest offset of each key, of the records from where the last pass ended up to `covered`.
    pub newest: KeyMap,
    /// Where the pass ends: nothing at or beyond it is taken.
    pub covered: Offset,
    /// Whose transactions were aborted.
    pub aborted: Aborted,
    /// The last batch of each producer that is remembered.
    pub last_batches: BTreeMap<i64, LastBatch>,
    /// When the pass began.
    pub now: Timestamp,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// Below it everything that is older, wherever it is, is clean: a tombstone there has nothing left to hide.
    pub clean_below: Offset,
    open: Open,
    counts: Counts,
}

/// What a pass saw and kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records read.
    pub records_read: u64,
    /// Records that stayed.
    pub records_kept: u64,
    /// Records without a key, which a compacted log does not keep.
    pub keyless: u64,
    /// Bytes of batches read.
    pub bytes_read: u64,
    /// Bytes of batches that stayed.
    pub bytes_kept: u64,
}

/// What becomes of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It stays as it is.
    AsIs,
    /// These bytes take its place.
    As(Bytes),
    /// Nothing of it stays.
    Nothing,
}

impl Rules {
    /// Rules over what was learnt of the log.
    #[allow(clippy::too_many_arguments, reason = "each is a different thing")]
    pub fn new(
        newest: KeyMap,
        covered: Offset,
        aborted: Aborted,
        last_batches: BTreeMap<i64, LastBatch>,
        now: Timestamp,
        delete_retention_ms: i64,
        clean_below: Offset,
    ) -> Rules {
        let (open, counts) = (Open::default(), Counts::default());
        Rules { newest, covered, aborted, last_batches, now, delete_retention_ms, clean_below, open, counts }
    }

    /// What was seen so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What stays of the next batch of the log. Batches come in their order, from the oldest there is.
    ///
    /// # Errors
    /// [`Malformed`]: the batch is damaged.
    pub fn apply(&mut self, header: &BatchHeader, batch: &[u8], scratch: &mut Scratch) -> Result<Kept, Malformed> {
        let filtered = if header.is_control() {
            self.control(header, batch, scratch)?
        } else if self.aborted.has(header) && self.covers_all(header) {
            Filtered::Nothing
        } else {
            self.open.data(header);
            self.data(header, batch, scratch)?
        };
        let kept = match filtered {
            Filtered::Unchanged => Kept::AsIs,
            Filtered::Rewritten(bytes) => Kept::As(bytes),
            Filtered::Nothing if !self.is_last_of_producer(header) => Kept::Nothing,
            Filtered::Nothing if header.record_count == 0 => Kept::AsIs,
            Filtered::Nothing => Kept::As(without_records(header)),
        };
        self.count(header, batch, &kept);
        Ok(kept)
    }

    fn data(&mut self, header: &BatchHeader, batch: &[u8], scratch: &mut Scratch) -> Result<Filtered, Malformed> {
        let horizon_passed = self.may_go(header);
        let mut keyless = 0;
        let horizon = NewHorizon { at: self.new_horizon(), marker: false };
        let filtered = filter(batch, scratch, DECOMPRESS_LIMIT, horizon, |record| {
            keyless += u64::from(record.key.is_none());
            self.keeps(record, horizon_passed)
        })?;
        self.counts.keyless += keyless;
        Ok(filtered)
    }

    fn keeps(&self, record: &Record<'_>, horizon_passed: bool) -> bool {
        if record.offset >= self.covered.to_wire() {
            return true;
        }
        let Some(key) = record.key else { return false };
        let newest = self.newest.newest(key).map_or(record.offset, Offset::to_wire);
        is_newest(record.offset, newest) && (record.value.is_some() || !horizon_passed)
    }

    fn control(&mut self, header: &BatchHeader, batch: &[u8], scratch: &mut Scratch) -> Result<Filtered, Malformed> {
        let alone = self.open.marker_is_alone(header) && self.hides_nothing(header) && self.covers_all(header);
        let goes = alone && self.may_go(header);
        let horizon = NewHorizon { at: self.new_horizon(), marker: alone };
        filter(batch, scratch, DECOMPRESS_LIMIT, horizon, |_| !goes)
    }

    fn covers_all(&self, header: &BatchHeader) -> bool {
        header.last_offset() < self.covered.to_wire()
    }

    /// Whether the tombstones or the marker of a batch may go.
    fn may_go(&self, header: &BatchHeader) -> bool {
        may_go(header.delete_horizon(), self.now, self.hides_nothing(header))
    }

    fn hides_nothing(&self, header: &BatchHeader) -> bool {
        hides_nothing(header.last_offset(), self.clean_below)
    }

    fn new_horizon(&self) -> i64 {
        self.now.millis().saturating_add(self.delete_retention_ms)
    }

    /// Its head is all that is left of what the producer wrote last.
    fn is_last_of_producer(&self, header: &BatchHeader) -> bool {
        header.producer().and_then(|producer| self.last_batches.get(&producer.id)).is_some_and(|last| {
            match last.last_offset {
                Some(offset) => offset.to_wire() == header.last_offset(),
                None => header.is_control() && header.producer_epoch == last.epoch,
            }
        })
    }

    fn count(&mut self, header: &BatchHeader, batch: &[u8], kept: &Kept) {
        let records = |header: &BatchHeader| u64::try_from(header.record_count).unwrap_or(0);
        let counts = &mut self.counts;
        counts.records_read += records(header);
        counts.bytes_read += batch.len() as u64;
        match kept {
            Kept::AsIs => {
                counts.records_kept += records(header);
                counts.bytes_kept += batch.len() as u64;
            }
            Kept::As(bytes) => {
                counts.records_kept += BatchHeader::parse(bytes).map_or(0, |header| records(&header));
                counts.bytes_kept += bytes.len() as u64;
            }
            Kept::Nothing => {}
        }
    }
}

/// A compaction keeps the newest record of every key: `newest` is the offset of the newest record of the key of the one at
/// `offset`, as far as the pass covers.
pub fn is_newest(offset: i64, newest: i64) -> bool {
    if mutation::active(Mutation::NewestRecordDropped) {
        return offset < newest;
    }
    offset >= newest
}

/// What a tombstone or a marker hides is gone from everything that is older, the tier included: the batch lies below where
/// all of that was cleaned. Otherwise what it hides would be read again once the tombstone is gone.
pub fn hides_nothing(last_offset: i64, clean_below: Offset) -> bool {
    last_offset < clean_below.to_wire() || mutation::active(Mutation::TierNotAwaited)
}

/// A tombstone or marker goes when its horizon has passed, and only if it hides nothing any more.
pub fn may_go(horizon: Option<i64>, now: Timestamp, hides_nothing: bool) -> bool {
    if mutation::active(Mutation::TombstoneRemovedEarly) {
        return true;
    }
    hides_nothing && horizon.is_some_and(|horizon| horizon <= now.millis())
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
