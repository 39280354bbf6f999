//! Fetch (key 1).

pub mod session;
