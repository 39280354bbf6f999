//! Whether there is room for more: the high-water mark of a log directory, as a state machine without a disk.
//!
//! ```text
//!   available   |----------- least -----|-- a quarter of it --|--------------->
//!                 appends are refused     as it was before      appends are taken
//! ```
//!
//! A **look** says how much room the file system has; what is appended until the next one is taken off. Below the
//! **least** room appends are refused, so that checkpoints, indexes and whatever frees room can still be written; they
//! are taken again once there is a quarter more than that, and not to and fro with every segment that retention drops.
//! Logs of the broker's own (group offsets) may use half of what is kept free: they are what consumers commit to while
//! nobody produces.

use parking_lot::Mutex;

/// The room of a log directory, in bytes.
#[derive(Debug, Default)]
pub(super) struct Room {
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Nothing is refused while it is 0.
    least: u64,
    /// What there was at the last look, less what was appended since.
    available: u64,
    refusing: bool,
    /// What the last look said of it.
    told: bool,
}

/// What a directory has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomLeft {
    /// Bytes that may still be used, as of the last look.
    pub available: u64,
    /// The mark: `log.dirs.min.free.bytes`.
    pub least: u64,
    /// Whether appends are refused.
    pub refusing: bool,
}

impl Room {
    /// Sets the mark; 0 refuses nothing.
    pub(super) fn set_least(&self, least: u64) {
        let mut state = self.state.lock();
        *state = State { least, refusing: least > 0 && state.refusing, ..*state };
    }

    /// Takes note of how much room there is. Whether appends are dealt with otherwise than at the look before.
    pub(super) fn looked(&self, available: u64) -> bool {
        let mut state = self.state.lock();
        state.available = available;
        state.refusing = refuses(state.refusing, available, state.least);
        let refusing = state.refusing;
        std::mem::replace(&mut state.told, refusing) != refusing
    }

    /// Whether `bytes` may be appended; they are taken off if so. Of what is kept free, `reserve` says who may use half.
    pub(super) fn take(&self, bytes: u64, reserve: bool) -> bool {
        let mut state = self.state.lock();
        if state.least == 0 {
            return true;
        }
        let left = state.available.saturating_sub(bytes);
        state.refusing = refuses(state.refusing, left, state.least);
        if state.refusing && !(reserve && left >= state.least / 2) {
            return false;
        }
        state.available = left;
        true
    }

    pub(super) fn left(&self) -> RoomLeft {
        let State { least, available, refusing, .. } = *self.state.lock();
        RoomLeft { available, least, refusing }
    }
}

/// Whether appends are refused with so much room, given that they were or were not before.
fn refuses(before: bool, available: u64, least: u64) -> bool {
    if least == 0 {
        return false;
    }
    available < if before { least.saturating_add(least / 4) } else { least }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appends_are_refused_below_the_mark_and_taken_again_above_it() {
        let room = Room::default();
        assert!(room.take(1 << 40, false), "without a mark nothing is refused");
        room.looked(1000);
        room.set_least(400);
        assert!(room.take(500, false) && room.take(100, false));
        assert!(!room.take(1, false), "what was appended since the look counts");
        assert!(room.take(150, true) && !room.take(51, true), "half of the rest is the broker's own");
        assert!(room.looked(499), "it is said, though an append was the first to know");
        assert!(!room.looked(499) && !room.take(1, false), "not to and fro at the mark");
        assert!(room.looked(500), "a quarter more");
        assert!(room.take(100, false));
        assert_eq!(room.left(), RoomLeft { available: 400, least: 400, refusing: false });
        assert!(room.looked(399) && !room.take(0, false));
        room.set_least(0);
        assert!(room.take(1, false), "a mark that is taken away refuses nothing");
    }
}
