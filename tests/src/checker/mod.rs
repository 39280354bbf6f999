//! The checker: what clients saw, judged without knowing how the broker works.
//!
//! A [`History`] holds what producers sent and were told, what consumers were given, what groups committed and were
//! told of it, and which of their members held which partition when. [`check`] looks for the anomalies of Jepsen's Kafka workload, as far as they can occur without
//! transactions. Histories come from the simulation and from real processes alike. Values are unique: no two records
//! carry the same one.
//!
//! ```text
//!  send v1 -> acked at 0        poll -> [(0, v1), (2, v3)]     v2 acked at 1 and read by nobody: lost write
//!  send v2 -> acked at 1                                       offset 1 is known to exist: internal poll skip
//! ```
//!
//! It raises no false alarm: a send whose outcome nobody knows may take effect at any time after it began, or never;
//! what lies below a log start that was shown to somebody may be gone; on a compacted partition a record may go once
//! a later one has its key.

mod anomaly;
mod commits;
mod facts;
mod history;
mod polls;
mod sends;
mod tenures;

pub use anomaly::Anomaly;
pub use history::{
    ClientNo, Event, GroupNo, History, Key, Outcome, PartitionNo, Polled, Sent, SentRecord, Span, Term, Tombstones,
    Value,
};

/// Every anomaly of a history, sorted; empty if it is as it must be.
pub fn check(history: &History) -> Vec<Anomaly> {
    let mut anomalies = Vec::new();
    let known = facts::gather(history);
    for (&partition, facts) in &known {
        sends::check(partition, facts, &mut anomalies);
    }
    polls::check(history, &known, &mut anomalies);
    commits::check(history, &mut anomalies);
    tenures::check(history, &mut anomalies);
    anomalies.sort();
    anomalies.dedup();
    anomalies
}

#[cfg(test)]
mod example_tests;
#[cfg(test)]
mod model_tests;
