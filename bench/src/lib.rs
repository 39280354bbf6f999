//! Load, verification and comparison against any Kafka endpoint.
//!
//! - [`batch`] writes and reads record batches. It is a second implementation of the format on purpose: what the
//!   broker's own code gets wrong on both ways, this one shows.
//! - [`client`] is a thin Kafka client: one request is one call, nothing happens behind the caller's back. The
//!   scenario tests use it too.
//! - [`load`] is what the `esker-bench` command does with them.
//! - [`probe`] finds out what must be told beside figures, [`results`] holds both, [`report`] shows them.
//! - [`store`] is an object store that says how fast it is.
//! - [`neighbour`] fetches and runs Apache Kafka, [`versus`] compares a broker of ours with it, goal by goal.
//! - [`rig`] starts a broker and what it needs; [`trial`] holds the programs that prove a promise with it.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a load generator measures real time on real sockets; it never runs inside the simulation"
)]

pub mod batch;
pub mod cli;
pub mod client;
pub mod load;
pub mod neighbour;
pub mod probe;
pub mod report;
pub mod results;
pub mod rig;
pub mod store;
pub mod trial;
pub mod versus;
