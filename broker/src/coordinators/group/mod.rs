//! Groups of consumers, of both protocols, and the offsets that groups commit.
//!
//! Four nouns: a *group* is a set of members that share work; a *generation* is one agreement on who does what (classic
//! members make it among themselves; in a consumer group, KIP-848, the coordinator does and calls it an *epoch*); a
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
//! - [`request`], [`consumer_request`]: what a machine is asked and answers, free of the wire's versions.
//! - [`assignor`]: who of a consumer group is to have which partitions; pure functions.
//! - [`state`]: the pure machine; every rebalance path, membership, offsets, expiry.
//! - [`topics`]: what groups must know of the cluster's topics.
//! - [`runtime`]: loading, and loading again; `serving`: appending, answering after the commit, timers.
//! - [`coordinator`]: the facade that handlers and the broker call.

pub mod assignor;
pub mod config;
pub mod consumer_request;
pub mod coordinator;
#[cfg(test)]
pub(crate) mod fixed_topics;
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
pub mod topics;

pub use config::GroupConfig;
pub use coordinator::{Caller, GroupCoordinator};
pub use log::{AppendError, CoordinatorLog, ReplayError};
pub use records::LogRecord;
pub use topics::{GroupTopics, TopicInfo, TopicsImage};
