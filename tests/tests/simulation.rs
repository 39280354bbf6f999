//! The simulation tests: first of the simulator itself, then of what it runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod simulation {
    mod admin;
    mod broker;
    mod cast;
    mod compaction;
    mod consumers;
    mod disk;
    mod executor;
    mod failures;
    mod full_disk;
    mod groups;
    mod judge;
    mod late_uploads;
    mod log;
    mod mutations;
    mod net;
    mod old_pages;
    mod outage;
    mod rewrites;
    mod rot;
    mod sample;
    mod scrub;
    mod stage;
    mod store;
    mod story;
    mod swarm;
    mod tier_compaction;
    mod torn;
    mod trickle;
}
