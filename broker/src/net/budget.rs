//! A budget of bytes that all connections share: a request is charged before its body is read, and pays back when
//! its answer is ready. A connection that cannot be charged stops reading, which TCP passes on to its client.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes are counted in units of this, so that the counter's 32 bits reach far enough.
const UNIT: u64 = 1024;

/// The budget. Clones share it.
#[derive(Clone, Debug)]
pub struct ByteBudget {
    units: Arc<Semaphore>,
    total: u32,
}

/// What one request holds of the budget, until it is dropped.
#[derive(Debug)]
pub struct Charge {
    _permit: OwnedSemaphorePermit,
}

impl ByteBudget {
    /// A budget of `bytes`.
    pub fn new(bytes: u64) -> ByteBudget {
        let total = u32::try_from(bytes.div_ceil(UNIT).clamp(1, Semaphore::MAX_PERMITS as u64)).unwrap_or(u32::MAX);
        ByteBudget { units: Arc::new(Semaphore::new(total as usize)), total }
    }

    /// A request larger than the whole budget takes all of it: it is served alone rather than never.
    fn units_of(&self, bytes: u64) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).clamp(1, self.total)
    }

    /// Charges `bytes` if there is room now.
    pub fn try_charge(&self, bytes: u64) -> Option<Charge> {
        let permit = Arc::clone(&self.units).try_acquire_many_owned(self.units_of(bytes)).ok()?;
        Some(Charge { _permit: permit })
    }

    /// Charges `bytes`, in turn with the others that wait. `None` only if the budget was closed.
    pub async fn charge(self, bytes: u64) -> Option<Charge> {
        let units = self.units_of(bytes);
        let permit = self.units.acquire_many_owned(units).await.ok()?;
        Some(Charge { _permit: permit })
    }

    /// Bytes that are not charged now, rounded down.
    pub fn available(&self) -> u64 {
        self.units.available_permits() as u64 * UNIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_are_paid_back() {
        let budget = ByteBudget::new(10 * UNIT);
        let first = budget.try_charge(6 * UNIT).unwrap();
        assert!(budget.try_charge(5 * UNIT).is_none());
        drop(first);
        assert!(budget.try_charge(5 * UNIT).is_some());
    }

    #[test]
    fn a_request_beyond_the_budget_is_served_alone() {
        let budget = ByteBudget::new(4 * UNIT);
        let all = budget.try_charge(u64::MAX).unwrap();
        assert!(budget.try_charge(1).is_none());
        drop(all);
        assert_eq!(budget.available(), 4 * UNIT);
    }
}
