//! What goes wrong with a store's answers, and when: the vocabulary of every store that fails on demand.
//!
//! A *fault* is what becomes of one request. A *plan* decides it from what is *asked*. [`Faults`] holds the plan of a
//! store while it runs; [`spoil`](super::spoil) carries out what it decides.

use hyper::header::IF_NONE_MATCH;
use hyper::{Method, Request};
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
    /// It takes effect, and is answered by 500.
    Failed,
    /// It takes effect at once, and is answered some tenths of a second later.
    Late,
    /// A bit of what is read is another.
    Wrong,
    /// 404 for a read, though the object is there.
    Missing,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Fault; 12] = [
        Fault::Unavailable,
        Fault::Throttled,
        Fault::Conflict,
        Fault::Hanging,
        Fault::Lost,
        Fault::Slow,
        Fault::Truncated,
        Fault::Outage,
        Fault::Failed,
        Fault::Late,
        Fault::Wrong,
        Fault::Missing,
    ];

    /// The faults of a store that keeps its word: what it says about an object is so.
    pub const HONEST: [Fault; 10] = [
        Fault::Unavailable,
        Fault::Throttled,
        Fault::Conflict,
        Fault::Hanging,
        Fault::Lost,
        Fault::Slow,
        Fault::Truncated,
        Fault::Outage,
        Fault::Failed,
        Fault::Late,
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
            Fault::Failed => "failed",
            Fault::Late => "late",
            Fault::Wrong => "wrong",
            Fault::Missing => "missing",
        }
    }

    /// Whether it can happen to such a request.
    pub(super) fn fits(self, asked: &Asked) -> bool {
        match self {
            Fault::Conflict => asked.is_create,
            Fault::Wrong | Fault::Missing => asked.method == Method::GET && asked.is_object,
            _ => true,
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Fault::ALL.into_iter().find(|fault| fault.name() == name).ok_or_else(|| format!("no fault is called {name}"))
    }
}

/// What a request asks for, as far as a plan looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// GET, PUT, ...
    pub method: Method,
    /// The path, bucket first, as it is in the URL.
    pub path: String,
    /// Whether it creates an object unless there is one.
    pub is_create: bool,
    /// Whether it is about an object, rather than a listing of them.
    pub is_object: bool,
    /// Bytes that it brings.
    pub bytes: u64,
}

impl Asked {
    /// Of a request to an S3 store that has the bucket in its paths.
    pub fn of<B: hyper::body::Body>(request: &Request<B>) -> Asked {
        let path = request.uri().path();
        Asked {
            method: request.method().clone(),
            path: path.to_owned(),
            is_create: request.method() == Method::PUT && request.headers().contains_key(IF_NONE_MATCH),
            is_object: path.trim_start_matches('/').split_once('/').is_some_and(|(_, key)| !key.is_empty()),
            bytes: request.body().size_hint().lower(),
        }
    }
}

/// A fault, and in how many of 100 requests.
pub type Plan = Option<(Fault, u32)>;

type Decide = Box<dyn FnMut(&Asked) -> Option<Fault> + Send>;

/// The faults of a store. They change while it runs.
pub struct Faults {
    decide: Mutex<Decide>,
    /// Counts the plans.
    plan: watch::Sender<u64>,
}

impl Default for Faults {
    fn default() -> Self {
        Self { decide: Mutex::new(Box::new(|_| None)), plan: watch::Sender::new(0) }
    }
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Faults(plan {})", *self.plan.borrow())
    }
}

impl Faults {
    /// From now on this goes wrong; what hung is let go. A plan meets the same requests each time.
    pub fn set(&self, plan: Plan) {
        let mut draws: u64 = 0x9e37_79b9_7f4a_7c15;
        self.decide(move |_| {
            let (fault, percent) = plan?;
            draws = draws.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((draws >> 33) % 100 < u64::from(percent)).then_some(fault)
        });
    }

    /// From now on `decide` says what goes wrong with each request; what hung is let go.
    pub fn decide(&self, decide: impl FnMut(&Asked) -> Option<Fault> + Send + 'static) {
        *self.decide.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(decide);
        self.plan.send_modify(|plan| *plan += 1);
    }

    /// What goes wrong with the next request.
    pub fn draw(&self, asked: &Asked) -> Option<Fault> {
        let mut decide = self.decide.lock().unwrap_or_else(PoisonError::into_inner);
        decide(asked).filter(|fault| fault.fits(asked))
    }

    /// Waits until the plan changes.
    pub async fn changed(&self) {
        // The sender is here as long as anybody waits.
        let _ = self.plan.subscribe().changed().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: Method, path: &str) -> Asked {
        Asked { method, path: path.to_owned(), is_create: false, is_object: path.len() > 2, bytes: 0 }
    }

    #[test]
    fn a_plan_meets_as_many_requests_as_it_says() {
        let faults = Faults::default();
        let met = || (0..1_000).filter(|_| faults.draw(&asked(Method::GET, "/b/k")) == Some(Fault::Lost)).count();
        assert_eq!(met(), 0);
        faults.set(Some((Fault::Lost, 60)));
        assert!((550..650).contains(&met()));
        faults.set(Some((Fault::Lost, 100)));
        assert_eq!(met(), 1_000);
        assert_eq!("hanging".parse(), Ok(Fault::Hanging));
        assert!("bored".parse::<Fault>().is_err());
    }

    #[test]
    fn a_fault_happens_to_what_it_can_happen_to() {
        let faults = Faults::default();
        faults.decide(|asked| if asked.path.contains("log") { Some(Fault::Conflict) } else { Some(Fault::Wrong) });
        assert_eq!(faults.draw(&asked(Method::PUT, "/b/log")), None);
        assert_eq!(faults.draw(&Asked { is_create: true, ..asked(Method::PUT, "/b/log") }), Some(Fault::Conflict));
        assert_eq!(faults.draw(&asked(Method::GET, "/b/data")), Some(Fault::Wrong));
        assert_eq!(faults.draw(&asked(Method::PUT, "/b/data")), None);
        assert_eq!(faults.draw(&asked(Method::GET, "/b")), None, "a listing");
    }
}
