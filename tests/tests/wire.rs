//! The data plane as a client meets it on the wire: every answer's codes and fields, by version, from a real broker.
//!
//! Each file is one API or concern, and its scenarios share a broker; `ask` builds requests and reads answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::indexing_slicing, clippy::disallowed_methods, clippy::disallowed_types, reason = "tests")]

#[path = "wire/ask.rs"]
mod ask;
#[path = "wire/deletion.rs"]
mod deletion;
#[path = "wire/fetch.rs"]
mod fetch;
#[path = "wire/lifecycle.rs"]
mod lifecycle;
#[path = "wire/log_dirs.rs"]
mod log_dirs;
#[path = "wire/offsets.rs"]
mod offsets;
#[path = "wire/produce.rs"]
mod produce;
#[path = "wire/recompression.rs"]
mod recompression;
#[path = "wire/sessions.rs"]
mod sessions;
#[path = "wire/settings.rs"]
mod settings;
#[path = "wire/topics.rs"]
mod topics;
#[path = "wire/versions.rs"]
mod versions;
