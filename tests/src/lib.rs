//! What proves the broker: the harness of the scenario tests, the simulation, and the checks of the sources.
//!
//! - [`checker`] judges what clients saw, in simulated and in real runs.
//! - [`sim`] is a world of brokers on one thread, with a seeded schedule and simulated disks, network and store.
//! - [`harness`] starts brokers, stores and clients for the scenarios.
//! - [`fuzz`] has what the fuzz targets need beyond a fuzzer.
//! - [`tidy`] reads the sources and finds what the house rules forbid.
//!
//! The scenarios themselves are in `tests/tests/`, one file per story.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests drive real processes, files, clocks and sockets"
)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

pub mod checker;
pub mod fuzz;
pub mod harness;
pub mod sim;
pub mod tidy;
