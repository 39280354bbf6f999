//! One partition's bytes, local and tiered, and the numbered logs of the object store.
//!
//! Layers, each importing only those to its left:
//! `offset`, [`mod@env`] -> [`segment`] -> [`log`] -> [`tier`] -> [`compaction`] -> [`partition_log`];
//! [`numbered_log`] stands beside `segment` and `log`, below `tier`.
//!
//! This crate knows no sockets, roles or topic names. Everything that the outside world decides (time, chance,
//! threads, disks, object stores) is reached through [`mod@env`] alone.

pub mod compaction;
pub mod env;
pub mod log;
pub mod numbered_log;
pub mod offset;
pub mod partition_log;
pub mod segment;
pub mod tier;

/// Every fuzz target of this crate.
#[cfg(feature = "fuzz")]
pub const FUZZ_TARGETS: &[&[esker_protocol::fuzz::Target]] = &[
    segment::fuzz::TARGETS,
    log::fuzz::TARGETS,
    compaction::fuzz::TARGETS,
    tier::fuzz::TARGETS,
    numbered_log::fuzz::TARGETS,
];
