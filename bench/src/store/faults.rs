//! What goes wrong with a store's answers, and how often.

use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;

/// What goes wrong with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 503 SlowDown, without effect.
    Unavailable,
    /// 429, without effect.
    Throttled,
    /// 409 for a conditional create, without effect: S3's word for "somebody else is at it, try again".
    Conflict,
    /// No answer, and no effect, as long as the fault lasts: the client's time-outs decide.
    Hanging,
    /// It takes effect, and its answer is lost with the connection.
    Lost,
    /// The answer comes at 64 kB/s.
    Slow,
    /// The connection ends in the middle of the answer.
    Truncated,
    /// The connection is closed, without effect.
    Outage,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Fault; 8] = [
        Fault::Unavailable,
        Fault::Throttled,
        Fault::Conflict,
        Fault::Hanging,
        Fault::Lost,
        Fault::Slow,
        Fault::Truncated,
        Fault::Outage,
    ];

    /// Its name on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Unavailable => "unavailable",
            Fault::Throttled => "throttled",
            Fault::Conflict => "conflict",
            Fault::Hanging => "hanging",
            Fault::Lost => "lost",
            Fault::Slow => "slow",
            Fault::Truncated => "truncated",
            Fault::Outage => "outage",
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Fault::ALL.into_iter().find(|fault| fault.name() == name).ok_or_else(|| format!("no fault is called {name}"))
    }
}

/// A fault, and in how many of 100 requests.
pub type Plan = Option<(Fault, u32)>;

/// The faults of a store. They change while it runs.
#[derive(Debug)]
pub struct Faults {
    plan: watch::Sender<Plan>,
    /// Where the sequence of draws is: a plain generator, so that a plan meets the same requests each time.
    draws: Mutex<u64>,
}

impl Default for Faults {
    fn default() -> Self {
        Self { plan: watch::Sender::new(None), draws: Mutex::new(0x9e37_79b9_7f4a_7c15) }
    }
}

impl Faults {
    /// From now on this goes wrong; what hung is let go.
    pub fn set(&self, plan: Plan) {
        self.plan.send_replace(plan);
    }

    /// What goes wrong with the next request.
    pub(super) fn draw(&self) -> Option<Fault> {
        let (fault, percent) = (*self.plan.borrow())?;
        let mut draws = self.draws.lock().unwrap_or_else(PoisonError::into_inner);
        *draws = draws.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((*draws >> 33) % 100 < u64::from(percent)).then_some(fault)
    }

    /// Waits until the plan changes.
    pub(super) async fn changed(&self) {
        // The sender is here as long as anybody waits.
        let _ = self.plan.subscribe().changed().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_meets_as_many_requests_as_it_says() {
        let faults = Faults::default();
        let met = || (0..1_000).filter(|_| faults.draw() == Some(Fault::Lost)).count();
        assert_eq!(met(), 0);
        faults.set(Some((Fault::Lost, 60)));
        assert!((550..650).contains(&met()));
        faults.set(Some((Fault::Lost, 100)));
        assert_eq!(met(), 1_000);
        assert_eq!("hanging".parse(), Ok(Fault::Hanging));
        assert!("bored".parse::<Fault>().is_err());
    }
}
