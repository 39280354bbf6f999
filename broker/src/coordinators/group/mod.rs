//! Consumer groups of the classic protocol, and the offsets that groups commit.
//!
//! Four nouns: a *group* is a set of members that share work; a *generation* is one agreement on who does what; a
//! *machine* holds the groups of one partition of `__consumer_offsets`; a *runtime* feeds it requests and time, and its
//! records to the partition.
//!
//! ```text
//! handlers ── GroupCoordinator ── partition_for(group) ──> Runtime N ──> GroupMachine ──> records, answers
//!               (facade)            hash of the id           │  ^                             │
//!                                                    append  v  │ committed                   v
//!                                             __consumer_offsets-N            answers wait for their records
//! ```
//!
//! - [`records`]: the bytes in the topic, Kafka's own.
//! - [`request`]: what a machine is asked and answers, free of the wire's versions.
//! - [`state`]: the pure machine; every rebalance path, membership, offsets, expiry.
//! - [`runtime`]: loading, and loading again; `serving`: appending, answering after the commit, timers.
//! - [`coordinator`]: the facade that handlers and the broker call.

pub mod config;
pub mod coordinator;
#[cfg(feature = "fuzz")]
pub mod fuzz;
pub mod log;
pub mod records;
pub mod request;
pub mod runtime;
mod serving;
pub mod state;
#[cfg(test)]
pub(crate) mod testbed;

pub use config::GroupConfig;
pub use coordinator::{Caller, GroupCoordinator, GroupTopics};
pub use log::{AppendError, CoordinatorLog, ReplayError};
pub use records::LogRecord;
