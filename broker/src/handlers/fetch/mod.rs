//! Fetch (key 1): from a consumer's wish to slices of logs.

pub mod session;
