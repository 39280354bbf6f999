//! The simulation tests: first of the simulator itself, then of what it runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod simulation {
    mod broker;
    mod disk;
    mod executor;
    mod failures;
    mod judge;
    mod log;
    mod mutations;
    mod net;
    mod rewrites;
    mod sample;
    mod store;
    mod story;
}
