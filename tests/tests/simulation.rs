//! The simulation tests: first of the simulator itself, then of what it runs.

mod simulation {
    mod disk;
    mod executor;
    mod net;
    mod sample;
    mod store;
}
