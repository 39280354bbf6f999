//! How large an answer may grow where a short request can ask for much: the same group or resource, named a thousand
//! times, costs nothing to ask for.
//!
//! Sizes are those on the wire, about. What does not fit any more is refused item by item; the first always fits.

/// The most that such an answer has, in bytes: as many as 1,600 topics described with every word, and more than any one
/// group that `group.coordinator.max.bytes` lets grow by default should be.
const MAX_ANSWER: usize = 16 << 20;

/// What is left of an answer.
#[derive(Debug)]
pub(super) struct AnswerRoom {
    left: usize,
    is_empty: bool,
}

impl AnswerRoom {
    /// Room for a whole answer.
    pub(super) fn new() -> AnswerRoom {
        AnswerRoom { left: MAX_ANSWER, is_empty: true }
    }

    /// Whether an item of `bytes` fits; then it has its room.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let fits = self.is_empty || bytes <= self.left;
        if fits {
            self.left = self.left.saturating_sub(bytes);
            self.is_empty = false;
        }
        fits
    }
}

/// What a client is told of an item that did not fit.
pub(super) const TOO_MUCH: &str = "The answer would be too large: ask for less at a time.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_fits_and_the_rest_share_what_is_left() {
        let mut room = AnswerRoom::new();
        assert!(room.take(MAX_ANSWER + 1) && !room.take(1) && room.take(0));
        let mut room = AnswerRoom::new();
        assert!(room.take(MAX_ANSWER - 10) && room.take(10) && !room.take(1));
    }
}
