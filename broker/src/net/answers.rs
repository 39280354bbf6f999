//! A budget of bytes for answers: what clients have asked for and do not fetch.
//!
//! ```text
//!  request in turn --room?--> made --charged--> waits to be written --written--> given back
//!                  \--none: waits, and whoever holds some and does not read is closed (queued.max.request.stall.ms)
//! ```
//!
//! A request of thirty bytes can ask for an answer of megabytes: the metadata of every topic, the members of every group.
//! One connection has one such answer in progress, as in Kafka; this bounds those of all connections. An answer is
//! charged once it is made: nobody knows its size before, and were those charged that wait for a commit, they would keep
//! everybody else waiting. So the answers that are being made go beyond the budget: about one for each runtime. Fetches
//! are not charged, since what they send are slices of mapped files.

use super::budget::Charge;
use esker_protocol::segments::Segments;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use tokio::sync::Notify;

/// The budget. Clones share it.
#[derive(Clone, Debug)]
pub struct AnswerBudget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limit: u64,
    held: AtomicU64,
    waiting: AtomicUsize,
    freed: Notify,
}

/// The right to make an answer, and what that holds of the budget, until it is dropped.
#[derive(Debug)]
pub struct Room {
    shared: Arc<Shared>,
    bytes: u64,
}

impl AnswerBudget {
    /// A budget of `bytes`; beyond it no answer is begun.
    pub fn new(bytes: u64) -> AnswerBudget {
        let shared =
            Shared { limit: bytes, held: AtomicU64::new(0), waiting: AtomicUsize::new(0), freed: Notify::new() };
        AnswerBudget { shared: Arc::new(shared) }
    }

    /// Room for another answer, if there is some now.
    pub fn try_room(&self) -> Option<Room> {
        let shared = &self.shared;
        (self.held() < shared.limit.max(1)).then(|| Room { shared: Arc::clone(shared), bytes: 0 })
    }

    /// As [`AnswerBudget::try_room`], once there is some.
    pub async fn room(self) -> Room {
        let _waiting = Waiting::new(&self.shared);
        loop {
            // Registered before looking: what is freed in between is not missed.
            let freed = self.shared.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if let Some(room) = self.try_room() {
                return room;
            }
            freed.await;
        }
    }

    /// Whether somebody waits: then those who do not fetch their answers are in the way.
    pub fn is_wanted(&self) -> bool {
        self.shared.waiting.load(Ordering::Relaxed) > 0
    }

    /// Bytes that are held now.
    pub fn held(&self) -> u64 {
        self.shared.held.load(Ordering::Relaxed)
    }
}

impl Room {
    /// The answer has `bytes`, no more and no less.
    pub fn settle(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        self.shared.held.fetch_add(bytes, Ordering::AcqRel);
        self.give_back();
        self.bytes = bytes;
    }

    fn give_back(&mut self) {
        self.shared.held.fetch_sub(self.bytes, Ordering::AcqRel);
        self.shared.freed.notify_waiters();
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// A request that is handled when those before it on its connection are answered, and there is room for its answer.
pub(super) struct InTurn {
    answer: BoxFuture<'static, Option<Segments>>,
    /// For its answer, and what waits for that.
    room: Option<Room>,
    waiting: BoxFuture<'static, Room>,
    _charge: Charge,
}

impl InTurn {
    pub(super) fn new(answer: BoxFuture<'static, Option<Segments>>, charge: Charge, answers: &AnswerBudget) -> InTurn {
        InTurn { answer, room: None, waiting: Box::pin(answers.clone().room()), _charge: charge }
    }

    /// Goes on with it, since it is its turn; ready with the answer and its room.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Option<Segments>, Option<Room>)> {
        if self.room.is_none() {
            self.room = Some(ready!(self.waiting.as_mut().poll(cx)));
        }
        self.answer.as_mut().poll(cx).map(|answer| (answer, self.room.take()))
    }
}

/// Counts one that waits, until it is dropped.
struct Waiting(Arc<Shared>);

impl Waiting {
    fn new(shared: &Arc<Shared>) -> Waiting {
        shared.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(Arc::clone(shared))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn answers_are_charged_what_they_have_until_they_are_written() {
        let budget = AnswerBudget::new(3 << 20);
        let (mut first, mut second) = (budget.try_room().unwrap(), budget.try_room().unwrap());
        first.settle(2 << 20);
        assert!(budget.try_room().is_some());
        second.settle(2 << 20);
        assert_eq!(budget.held(), 4 << 20);
        assert!(budget.try_room().is_none());
        let mut third = Box::pin(budget.clone().room());
        assert!(third.as_mut().now_or_never().is_none() && budget.is_wanted());
        drop(first);
        let third = third.now_or_never().unwrap();
        assert!(!budget.is_wanted());
        drop((second, third));
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn one_answer_is_made_however_small_the_budget() {
        let budget = AnswerBudget::new(0);
        let mut room = budget.try_room().unwrap();
        room.settle(1);
        assert!(budget.try_room().is_none());
        drop(room);
        assert!(budget.try_room().is_some());
    }
}
