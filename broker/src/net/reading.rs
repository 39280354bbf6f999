//! Whether a client reads history or the present, as its fetches tell: it decides on which threads its connection lives.

use std::sync::atomic::{AtomicU32, Ordering};

/// Fetches in the present after which a client that read history has caught up.
const CAUGHT_UP: u32 = 32;

/// What a connection's fetches read: history, or the present.
#[derive(Debug, Default)]
pub struct Reading {
    /// How many fetches in the present are missing until it counts as having caught up.
    behind: AtomicU32,
}

impl Reading {
    /// A fetch that read something which was not in memory, or did not.
    pub fn note(&self, history: bool) {
        let behind = self.behind.load(Ordering::Relaxed);
        self.behind.store(if history { CAUGHT_UP } else { behind.saturating_sub(1) }, Ordering::Relaxed);
    }

    pub(super) fn is_history(&self) -> bool {
        self.behind.load(Ordering::Relaxed) > 0
    }
}
