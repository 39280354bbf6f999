//! A budget of bytes that the requests of all connections share. A connection that is not charged for more bytes does
//! not read them, which TCP passes on to its client.
//!
//! ```text
//!  frame of at most SMALL bytes: read into the connection's own buffer, charged whole before it is handled
//!  longer frame:                 charged step by step, each step before the room for it is made
//!                                no room left -> holds nothing yet: waits in turn
//!                                             -> holds some already: waits for the overdraft, one frame at a time
//! ```
//!
//! Nothing is charged that a client only announced, so announcing costs others nothing. The small have a share of
//! their own: heartbeats and fetches go on while long frames fill the rest. A frame that holds part of its bytes never
//! waits for what other such frames hold, since all of them might: one at a time is read to its end beyond the budget,
//! and keeps that [`Charge`] until it is answered. So what all requests hold is at most the budget and one frame.
//!
//! A request is decoded to many times its bytes, if it is one of many elements. So a small one is charged for that
//! beyond its first [`PLAIN`] bytes, and of the long ones [`WIDE`] are handled at a time; but for those APIs whose
//! answers wait for other requests.
//!
//! A client could still send part of a long frame and stop; see [`ByteBudget::is_wanted`] for what becomes of it.

use super::spares::Spares;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Frames up to this size, with their length, lie in the connection's own read buffer and are charged to a share of
/// their own.
pub(super) const SMALL: usize = 64 * 1024;
/// Bytes are counted in units of this, so that the counter's 32 bits reach far enough.
const UNIT: u64 = 1024;
/// One in so many bytes of the budget is for small frames.
const SMALL_SHARE: u64 = 4;

/// What any request may have without being charged for what it is decoded to.
pub(super) const PLAIN: usize = 1024;
/// What a byte beyond that is charged: arrays of structs take about so much more room than their bytes.
const WEIGHT: usize = 32;
/// Long requests, but for those that may wait for others, that are handled at a time.
const WIDE: usize = 2;

/// What a small request of `size` bytes is charged, one that is decoded to many elements or one that stays bytes.
pub(super) fn weight(size: usize, is_decoded: bool) -> usize {
    if is_decoded { size + size.saturating_sub(PLAIN).saturating_mul(WEIGHT - 1) } else { size }
}

/// The budget. Clones share it.
#[derive(Clone, Debug)]
pub struct ByteBudget {
    small: Share,
    large: Share,
    overdraft: Arc<Semaphore>,
    wide: Arc<Semaphore>,
    /// How many connections wait.
    waiting: Arc<AtomicUsize>,
    spares: Spares,
}

#[derive(Clone, Debug)]
struct Share {
    units: Arc<Semaphore>,
    total: u32,
}

impl Share {
    fn new(bytes: u64) -> Share {
        let total = u32::try_from(bytes.div_ceil(UNIT).clamp(1, Semaphore::MAX_PERMITS as u64)).unwrap_or(u32::MAX);
        Share { units: Arc::new(Semaphore::new(total as usize)), total }
    }

    /// More than the whole share takes all of it: it is served alone rather than never.
    fn units_of(&self, bytes: usize) -> u32 {
        u32::try_from((bytes as u64).div_ceil(UNIT)).unwrap_or(u32::MAX).clamp(1, self.total)
    }

    fn try_charge(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.units).try_acquire_many_owned(self.units_of(bytes)).ok()
    }

    async fn charge(self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = self.units_of(bytes);
        self.units.acquire_many_owned(units).await.ok()
    }

    fn available(&self) -> u64 {
        self.units.available_permits() as u64 * UNIT
    }
}

/// What one request holds of the budget, until it is dropped.
#[derive(Debug, Default)]
pub struct Charge {
    units: Option<OwnedSemaphorePermit>,
    overdraft: Option<OwnedSemaphorePermit>,
    wide: Option<OwnedSemaphorePermit>,
}

impl Charge {
    fn of(units: OwnedSemaphorePermit) -> Charge {
        Charge { units: Some(units), ..Charge::default() }
    }

    /// Whether a long request may be decoded to many elements.
    pub fn is_wide(&self) -> bool {
        self.wide.is_some()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.units.is_none() && self.overdraft.is_none()
    }

    /// Whether the frame may be read to its end without another charge.
    pub fn is_overdraft(&self) -> bool {
        self.overdraft.is_some()
    }

    /// Holds `more` as well, which is of the same share.
    pub fn add(&mut self, more: Charge) {
        match (&mut self.units, more.units) {
            (Some(units), Some(more)) => units.merge(more),
            (units @ None, more) => *units = more,
            (Some(_), None) => {}
        }
        self.overdraft = self.overdraft.take().or(more.overdraft);
        self.wide = self.wide.take().or(more.wide);
    }
}

impl ByteBudget {
    /// A budget of `bytes`.
    pub fn new(bytes: u64) -> ByteBudget {
        ByteBudget {
            small: Share::new(bytes / SMALL_SHARE),
            large: Share::new(bytes - bytes / SMALL_SHARE),
            overdraft: Arc::new(Semaphore::new(1)),
            wide: Arc::new(Semaphore::new(WIDE)),
            waiting: Arc::default(),
            spares: Spares::default(),
        }
    }

    /// Room for long frames.
    pub(super) fn spares(&self) -> &Spares {
        &self.spares
    }

    /// Charges a small frame of `bytes` if there is room now.
    pub fn try_small(&self, bytes: usize) -> Option<Charge> {
        self.small.try_charge(bytes).map(Charge::of)
    }

    /// Charges a small frame of `bytes`, in turn with the others that wait. `None` only if the budget was closed.
    pub async fn small(self, bytes: usize) -> Option<Charge> {
        let _waiting = Waiting::new(&self.waiting);
        self.small.charge(bytes).await.map(Charge::of)
    }

    /// Charges the next `bytes` of a long frame if there is room now.
    pub fn try_large(&self, bytes: usize) -> Option<Charge> {
        self.large.try_charge(bytes).map(Charge::of)
    }

    /// Charges the first `bytes` of a long frame, in turn with the others that wait. `None` only if the budget was
    /// closed.
    pub async fn first_of_large(self, bytes: usize) -> Option<Charge> {
        let _waiting = Waiting::new(&self.waiting);
        self.large.charge(bytes).await.map(Charge::of)
    }

    /// The right to read a frame to its end that is charged in part; one frame at a time has it. `None` only if the
    /// budget was closed.
    pub async fn overdraw(self) -> Option<Charge> {
        let _waiting = Waiting::new(&self.waiting);
        let overdraft = self.overdraft.acquire_owned().await.ok()?;
        Some(Charge { overdraft: Some(overdraft), ..Charge::default() })
    }

    /// The right to handle a complete long request that waits for no other; if it can be had now.
    pub fn try_wide(&self) -> Option<Charge> {
        let wide = Arc::clone(&self.wide).try_acquire_owned().ok()?;
        Some(Charge { wide: Some(wide), ..Charge::default() })
    }

    /// As [`ByteBudget::try_wide`], in turn with the others that wait. `None` only if the budget was closed.
    pub async fn wide(self) -> Option<Charge> {
        let wide = self.wide.acquire_owned().await.ok()?;
        Some(Charge { wide: Some(wide), ..Charge::default() })
    }

    /// Whether somebody waits for bytes: then those who hold some for a frame that does not come are in the way.
    pub fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Bytes that are not charged now, rounded down.
    pub fn available(&self) -> u64 {
        self.small.available() + self.large.available()
    }
}

/// Counts one that waits, until it is dropped.
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn new(count: &Arc<AtomicUsize>) -> Waiting {
        count.fetch_add(1, Ordering::Relaxed);
        Waiting(Arc::clone(count))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    const KB: usize = UNIT as usize;

    #[test]
    fn charges_are_paid_back() {
        let budget = ByteBudget::new(40 * UNIT);
        let first = budget.try_small(6 * KB).unwrap();
        assert!(budget.try_small(5 * KB).is_none());
        drop(first);
        assert!(budget.try_small(5 * KB).is_some());
        let mut frame = budget.try_large(20 * KB).unwrap();
        frame.add(budget.try_large(10 * KB).unwrap());
        assert!(budget.try_large(1).is_none() && budget.try_small(10 * KB).is_some());
        drop(frame);
        assert_eq!(budget.available(), 40 * UNIT);
    }

    #[test]
    fn a_request_beyond_the_budget_is_served_alone() {
        let budget = ByteBudget::new(4 * UNIT);
        let all = budget.try_small(usize::MAX).unwrap();
        assert!(budget.try_small(1).is_none());
        drop(all);
        assert_eq!(budget.available(), 4 * UNIT);
    }

    #[test]
    fn one_frame_at_a_time_goes_beyond_the_budget() {
        let budget = ByteBudget::new(4 * UNIT);
        let mut first = budget.try_large(3 * KB).unwrap();
        assert!(budget.try_large(1).is_none() && !budget.is_wanted());
        first.add(budget.clone().overdraw().now_or_never().unwrap().unwrap());
        assert!(first.is_overdraft());
        let mut second = Box::pin(budget.clone().overdraw());
        assert!(second.as_mut().now_or_never().is_none() && budget.is_wanted());
        drop(first);
        assert!(second.now_or_never().unwrap().unwrap().is_overdraft());
        assert!(!budget.is_wanted());
    }

    #[test]
    fn what_is_decoded_weighs_more() {
        assert_eq!((weight(500, true), weight(PLAIN, true)), (500, PLAIN));
        assert_eq!((weight(2 * PLAIN, true), weight(2 * PLAIN, false)), (33 * PLAIN, 2 * PLAIN));
        let budget = ByteBudget::new(4 * UNIT);
        let held: Vec<_> = std::iter::from_fn(|| budget.try_wide()).collect();
        assert_eq!(held.len(), WIDE);
        assert!(budget.clone().wide().now_or_never().is_none());
        drop(held);
        assert!(budget.try_wide().is_some_and(|charge| charge.is_wide()));
    }

    #[test]
    fn who_stops_to_wait_is_not_counted() {
        let budget = ByteBudget::new(4 * UNIT);
        let _all = budget.try_small(KB).unwrap();
        let mut waits = Box::pin(budget.clone().small(1));
        assert!(waits.as_mut().now_or_never().is_none() && budget.is_wanted());
        drop(waits);
        assert!(!budget.is_wanted());
    }
}
