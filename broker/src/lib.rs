//! The Esker broker: partitions, coordinators, controller, handlers, and what runs them.
//!
//! Layers, each importing only those to its left:
//! [`config`], [`metrics`] -> [`metadata`] -> [`controller`] -> [`partition`] -> [`coordinators`] -> [`net`] -> [`handlers`],
//! [`admin`] -> [`tools`] -> [`server`] -> [`cli`].

pub mod admin;
pub mod cli;
pub mod config;
pub mod controller;
pub mod coordinators;
pub mod handlers;
pub mod metadata;
pub mod metrics;
pub mod net;
pub mod partition;
pub mod server;
pub mod tools;

/// Every fuzz target of this crate.
#[cfg(feature = "fuzz")]
pub const FUZZ_TARGETS: &[&[esker_protocol::fuzz::Target]] =
    &[config::fuzz::TARGETS, metadata::fuzz::TARGETS, coordinators::group::fuzz::TARGETS, net::fuzz::TARGETS];
