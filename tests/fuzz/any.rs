//! The fuzzer of the target that this binary is named after; see `esker_protocol::fuzz` for what a target is.
//!
//! What is valid is far from chance: the target's seeds are written to the folder `ESKER_FUZZ_SEEDS` first, if there is
//! one, which is then named among the folders that the fuzzer begins with.
#![no_main]

mod counting;

use esker_protocol::fuzz::{self, Target};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

static TARGET: LazyLock<&'static Target> = LazyLock::new(|| {
    let all = [&[fuzz::TARGETS], esker_storage::FUZZ_TARGETS, esker_broker::FUZZ_TARGETS].into_iter().flatten();
    all.copied().flatten().find(|target| target.name == env!("CARGO_BIN_NAME")).expect("a target of this name")
});

/// A file for each seed of the target.
fn write_seeds() {
    let Some(folder) = std::env::var_os("ESKER_FUZZ_SEEDS") else { return };
    for (number, seed) in (TARGET.seeds)().into_iter().enumerate() {
        std::fs::write(std::path::Path::new(&folder).join(format!("seed-{number}")), seed).expect("a seed is written");
    }
}

fuzz_target!(init: write_seeds(), |data: &[u8]| {
    let target = *TARGET;
    let peak = counting::peak_of(|| (target.run)(data));
    assert!(peak <= target.memory + target.per_byte * data.len(), "{peak} bytes held for {} bytes", data.len());
});
