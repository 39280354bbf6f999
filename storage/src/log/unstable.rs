//! Which transactions hold back readers of committed records, and what a batch says of its transaction.
//!
//! The nouns: a transaction is **open** from its first batch to its marker; **unstable** until the marker is below the
//! high watermark, since until then a crash may take the marker, and what readers were told with it; **aborted** if its
//! marker says so.

use super::producers::{Ended, Producers};
use crate::env::{File, Timestamp};
use crate::offset::{HighWatermark, LastStable, Offset};
use crate::segment::{AbortedTransaction, BatchMark, SegmentError};
use esker_protocol::record::{BatchHeader, Marker};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// What holds back the last stable offset.
pub(super) struct Unstable {
    /// The first offset of the oldest unstable transaction; `u64::MAX` stands for none, here only.
    first: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Where the oldest open transaction began.
    open: Option<Offset>,
    /// Ended transactions whose markers may not be committed yet: first offset and marker.
    ended: BTreeMap<Offset, Offset>,
}

impl State {
    fn first(&self) -> Option<Offset> {
        let ended = self.ended.first_key_value().map(|(first, _)| *first);
        self.open.into_iter().chain(ended).min()
    }
}

impl Unstable {
    pub(super) fn new(open: Option<Offset>) -> Unstable {
        let first = AtomicU64::new(open.map_or(u64::MAX, Offset::get));
        Unstable { first, state: Mutex::new(State { open, ended: BTreeMap::new() }) }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        self.first.store(state.first().map_or(u64::MAX, Offset::get), Ordering::Release);
    }

    /// After an append: where the oldest open transaction began, and the one that ended with it.
    pub(super) fn appended(&self, open: Option<Offset>, ended: Option<&Ended>) {
        if ended.is_none() && open.map_or(u64::MAX, Offset::get) == self.first.load(Ordering::Acquire) {
            return;
        }
        self.change(|state| {
            state.open = open;
            if let Some(ended) = ended {
                state.ended.insert(ended.first, ended.last);
            }
        });
    }

    /// The log was cut off at `end`, or given other producers.
    pub(super) fn reset(&self, open: Option<Offset>, end: Offset) {
        self.change(|state| {
            state.open = open;
            state.ended.retain(|_, last| *last < end);
        });
    }

    /// Where the oldest unstable transaction begins, or the high watermark if that is lower.
    pub(super) fn last_stable(&self, high_watermark: HighWatermark) -> LastStable {
        let committed = high_watermark.offset();
        if Offset::new(self.first.load(Ordering::Acquire)) >= committed {
            return LastStable::at(committed);
        }
        self.change(|state| state.ended.retain(|_, last| *last >= committed));
        LastStable::at(committed.min(Offset::new(self.first.load(Ordering::Acquire))))
    }
}

/// Takes note of a batch that is in the log: of its producer, and of the transaction that it is part of or ends. The
/// aborted transaction, if this is the marker of one.
pub(super) fn note(producers: &mut Producers, header: &BatchHeader, batch: &[u8], now: Timestamp) -> Option<Ended> {
    if !header.is_control() {
        producers.record(header, now);
        return None;
    }
    match Marker::of(batch) {
        Ok(marker) => producers.record_marker(header, marker?, now),
        Err(error) => {
            tracing::warn!(offset = header.base_offset, %error, "a control batch that nobody can read");
            None
        }
    }
}

/// As [`note`], of a batch in a file.
pub(super) fn note_in(
    file: &dyn File,
    producers: &mut Producers,
    (mark, header): (&BatchMark, &BatchHeader),
    now: Timestamp,
) -> Result<Option<Ended>, SegmentError> {
    let mut batch = Vec::new();
    if header.is_control() {
        batch.resize(mark.len as usize, 0);
        file.read_exact_at(&mut batch, mark.position.get())?;
    }
    Ok(note(producers, header, &batch, now))
}

impl Ended {
    /// The entry of the aborted index; `None` for a transaction that was committed.
    pub(super) fn aborted(&self) -> Option<AbortedTransaction> {
        let Ended { producer_id, first, last, last_stable, aborted } = *self;
        aborted.then_some(AbortedTransaction { producer_id, first, last, last_stable })
    }
}
