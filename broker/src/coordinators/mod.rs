//! Coordinators: the state that Kafka keeps in internal topics, each as a pure state machine behind one runtime.
//!
//! A coordinator owns the groups (later: transactions, share groups) whose names hash to one partition of its internal
//! topic. Its *machine* turns `(state, request, now)` into records and answers and touches nothing else; its *runtime*
//! appends the records to the partition, and lets an answer go only when everything that the answer could have seen is
//! committed. Replaying the partition gives the state again, which is how a coordinator loads and how it recovers from
//! an append that failed.
//!
//! - [`group`]: consumer groups of the classic protocol, and committed offsets.

pub mod group;
mod internal_log;
mod placement;

pub use placement::{Coordinators, OFFSETS_TOPIC};
