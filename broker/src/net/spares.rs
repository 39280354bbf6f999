//! Memory of long frames, used again: a frame that is done with leaves its [`Spares`] room for the next one.
//!
//! A megabyte that comes fresh from the operating system costs 256 page faults, and memory that was just written is
//! still in the CPU's cache. What is kept is bounded for all connections together, and no connection keeps any.

use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;

/// Bytes that are kept for frames to come.
const KEEP: usize = 16 << 20;
/// The largest room that is kept.
const LARGEST: usize = 4 << 20;

/// Room for long frames. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Spares {
    free: Arc<Mutex<Free>>,
}

#[derive(Debug, Default)]
struct Free {
    /// The last one that came back is the warmest: it goes out first.
    rooms: Vec<Vec<u8>>,
    bytes: usize,
}

/// A frame's bytes, which go back where they came from.
struct Frame {
    bytes: Vec<u8>,
    spares: Spares,
}

impl Spares {
    /// An empty buffer, with room if there is any to spare.
    pub(super) fn take(&self) -> Vec<u8> {
        let mut free = self.free.lock();
        let room = free.rooms.pop().unwrap_or_default();
        free.bytes -= room.capacity();
        room
    }

    /// `bytes` as a frame whose room comes back here once nothing refers to it any more.
    pub(super) fn lend(&self, bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(Frame { bytes, spares: self.clone() })
    }

    fn give(&self, mut room: Vec<u8>) {
        let size = room.capacity();
        let mut free = self.free.lock();
        if size <= LARGEST && free.bytes + size <= KEEP {
            room.clear();
            free.bytes += size;
            free.rooms.push(room);
        }
    }
}

impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        self.spares.give(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_comes_back_with_the_last_slice() {
        let spares = Spares::default();
        assert_eq!(spares.take().capacity(), 0);
        let frame = spares.lend(vec![7; 1000]);
        let slice = frame.slice(10..20);
        drop(frame);
        assert_eq!(spares.take().capacity(), 0);
        drop(slice);
        let room = spares.take();
        assert!(room.is_empty() && room.capacity() >= 1000);
        assert_eq!(spares.take().capacity(), 0);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let spares = Spares::default();
        let frames: Vec<Bytes> = (0..10).map(|_| spares.lend(vec![0; 3 << 20])).collect();
        drop(frames);
        drop(spares.lend(vec![0; LARGEST + 1]));
        let free = spares.free.lock();
        assert_eq!(free.bytes, free.rooms.iter().map(Vec::capacity).sum::<usize>());
        assert!(free.bytes <= KEEP && free.rooms.len() == 5);
    }
}
