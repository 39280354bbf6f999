//! The esker-bench command: see the library for what it does.
fn main() {}
