//! How large an answer may grow where a short request can ask for much: the same group or resource, named a thousand
//! times, costs nothing to ask for.
//!
//! Sizes are those on the wire, about. What does not fit any more is refused item by item; the first always fits.

use std::future::poll_fn;
use std::task::Poll;

/// The most that such an answer has, in bytes: as many as 1,600 topics described with every word, and more than any one
/// group that `group.coordinator.max.bytes` lets grow by default should be.
const MAX_ANSWER: usize = 16 << 20;

/// What is left of an answer.
#[derive(Debug)]
pub(super) struct AnswerRoom {
    left: usize,
    is_empty: bool,
    is_full: bool,
}

impl AnswerRoom {
    /// Room for a whole answer.
    pub(super) fn new() -> AnswerRoom {
        AnswerRoom { left: MAX_ANSWER, is_empty: true, is_full: false }
    }

    /// Whether something did not fit, so that there is no use in making more.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Whether an item of `bytes` fits; then it has its room.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let fits = self.is_empty || bytes <= self.left;
        self.is_full |= !fits;
        if fits {
            self.left = self.left.saturating_sub(bytes);
            self.is_empty = false;
        }
        fits
    }
}

/// Has a long answer make way for the other connections of its runtime; nothing waits for it but time.
pub(super) async fn make_way() {
    let mut waited = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// What a client is told of an item that did not fit.
pub(super) const TOO_MUCH: &str = "The answer would be too large: ask for less at a time.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_fits_and_the_rest_share_what_is_left() {
        let mut room = AnswerRoom::new();
        assert!(room.take(MAX_ANSWER + 1) && !room.is_full());
        assert!(!room.take(1) && room.is_full() && room.take(0));
        let mut room = AnswerRoom::new();
        assert!(room.take(MAX_ANSWER - 10) && room.take(10) && !room.take(1));
    }
}
