//! Clients that do not keep the rules, against a real broker: whatever they send or leave out, it lives, holds little
//! memory, logs nothing alarming, and answers its other clients promptly.
//!
//! - [`bombs`]: batches that decompress to much, or claim more than they hold.
//! - [`malformed`]: frames that are wrong, for every API and version.
//! - [`pressure`]: clients that stop half-way, drip, flood, or never read.
//! - [`mutations`]: valid requests, as they are and with bytes changed, by seed.
//! - [`storms`]: very many connections, slow ones, and large answers that nobody reads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests drive real sockets, clocks and tasks")]

#[path = "hostile/bombs.rs"]
mod bombs;
#[path = "hostile/malformed.rs"]
mod malformed;
#[path = "hostile/mutations.rs"]
mod mutations;
#[path = "hostile/pressure.rs"]
mod pressure;
#[path = "hostile/raw.rs"]
mod raw;
#[path = "hostile/storms.rs"]
mod storms;
