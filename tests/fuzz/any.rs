//! The fuzzer of the target that this binary is named after; see `esker_protocol::fuzz` for what a target is.
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

fuzz_target!(|data: &[u8]| {
    let target = *TARGET;
    let peak = counting::peak_of(|| (target.run)(data));
    assert!(peak <= target.memory + target.per_byte * data.len(), "{peak} bytes held for {} bytes", data.len());
});
