//! Who reads in sequence, and how far ahead of it to read: a pure tracker.
//!
//! A *stream* is a reader that goes on where its last read ended. Its *window* is how many chunks are loaded ahead of
//! it: none at first, then four, then four times as many with each read in sequence, up to a limit: a reader that goes on
//! mostly goes on to the end, and a store is far. A reader that jumps begins anew.

use crate::offset::{Offset, PartitionId};
use std::collections::BTreeMap;

/// Streams that are remembered; the one that read least recently is forgotten.
const MAX_STREAMS: usize = 4096;

/// By how much a window grows, and where it begins.
const FACTOR: usize = 4;

#[derive(Clone, Copy, Debug)]
struct Stream {
    window: usize,
    stamp: u64,
}

/// The streams of a broker's tiered reads.
#[derive(Clone, Debug, Default)]
pub(super) struct Streams {
    /// By where each goes on.
    streams: BTreeMap<(PartitionId, Offset), Stream>,
    by_use: BTreeMap<u64, (PartitionId, Offset)>,
    next_stamp: u64,
}

impl Streams {
    /// Whether somebody's last read ended at `from`.
    pub(super) fn knows(&self, partition: PartitionId, from: Offset) -> bool {
        self.streams.contains_key(&(partition, from))
    }

    /// Notes a read of `from..next`; how many chunks to load ahead.
    pub(super) fn note(&mut self, partition: PartitionId, from: Offset, next: Offset, limit: usize) -> usize {
        let window = match self.streams.remove(&(partition, from)) {
            Some(stream) => {
                self.by_use.remove(&stream.stamp);
                (stream.window * FACTOR).clamp(FACTOR.min(limit.max(1)), limit.max(1))
            }
            None => 0,
        };
        let stamp = self.next_stamp;
        self.next_stamp += 1;
        if let Some(merged) = self.streams.insert((partition, next), Stream { window, stamp }) {
            self.by_use.remove(&merged.stamp);
        }
        self.by_use.insert(stamp, (partition, next));
        if self.streams.len() > MAX_STREAMS
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.streams.remove(&oldest);
        }
        window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(n: u32) -> PartitionId {
        PartitionId { topic: uuid::Uuid::nil(), partition: n }
    }

    #[test]
    fn the_window_grows_while_a_reader_goes_on_and_not_when_it_jumps() {
        let mut streams = Streams::default();
        let mut read = |from, next| streams.note(partition(0), Offset::new(from), Offset::new(next), 6);
        let windows = [read(0, 10), read(10, 20), read(20, 30), read(30, 40), read(40, 50), read(5, 15), read(15, 20)];
        assert_eq!(windows, [0, 4, 6, 6, 6, 0, 4]);
        assert!(streams.knows(partition(0), Offset::new(20)) && !streams.knows(partition(0), Offset::new(21)));
    }

    #[test]
    fn streams_are_forgotten_in_the_order_of_their_last_read() {
        let mut streams = Streams::default();
        for n in 0..MAX_STREAMS as u32 + 10 {
            streams.note(partition(n), Offset::new(0), Offset::new(10), 8);
        }
        assert_eq!((streams.streams.len(), streams.by_use.len()), (MAX_STREAMS, MAX_STREAMS));
        assert_eq!(streams.note(partition(5), Offset::new(10), Offset::new(20), 8), 0);
        assert_eq!(streams.note(partition(500), Offset::new(10), Offset::new(20), 8), 4);
    }
}
