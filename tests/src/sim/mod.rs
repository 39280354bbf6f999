//! The simulation: nodes, disks, a network and a store on one thread, with every choice made by a seed.
//!
//! The code under test is the real one. What it reaches through `esker_storage::env` and the broker's `net::env` is
//! implemented here, so that one number decides what runs next, how long things take, what fails, and where a process
//! dies. A run of a seed can be made again, step by step.
//!
//! ```text
//!            scenario (async fn of a World) --- clients --> History --> checker
//!                 |  start, crash, faults          |
//!      +----------v-----------+                    |
//!      | node: main(NodeEnv)  |<------- net -------+
//!      |  env: clock, random, |
//!      |  tasks, disk | store-+--> one store for all
//!      +----------+-----------+
//!                 v
//!      executor: ready tasks, virtual time, trace
//! ```
//!
//! - [`world`]: [`World`], [`NodeEnv`], [`run`]; [`seeds`]: [`check`], [`first_failure`] and the environment variables.
//! - [`executor`]: what runs next and what time it is; [`process`]: where and how a process crashes.
//! - [`disk`], [`store`], [`net`]: what may go wrong there, and what never may.
//! - [`watch`]: what must hold at every step.
//! - What clients saw is judged by the crate's [`checker`](crate::checker).
//!
//! The rules for code that runs here: only tokio's `sync` and I/O traits and `select!` with `biased`; no clock, thread
//! or generator of its own; no decision from the order of a hash map with an unseeded hasher (caches included). A seed
//! that takes two courses is a breach of them.

pub mod broker;
pub mod chance;
pub mod client;
pub mod disk;
pub mod executor;
pub mod failure;
mod log_lines;
pub mod net;
pub mod process;
pub mod seeds;
pub mod store;
mod timer;
mod trace;
pub mod view;
pub mod watch;
pub mod world;

pub use chance::{Chance, Rng};
pub use disk::{DiskCall, DiskFault, DiskFaults, DiskPlan, SimDisk};
pub use failure::{Failure, FailureKind};
pub use net::{NetFaults, SimListener, SimNet, SimStream};
pub use process::{Crash, CrashOdds, Exit};
pub use seeds::{check, first_failure};
pub use store::{SimStore, StoreEffect, StoreEvent, StoreFaults};
pub use world::{Config, Finished, NodeEnv, NodeId, World, run};
