//! What the benchmarks share: real doors, batches, and how often work allocates.
#![allow(dead_code, clippy::expect_used, clippy::indexing_slicing, reason = "not every benchmark uses all of it")]

#[path = "../../../tests/fuzz/counting.rs"]
pub(crate) mod counting;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use esker_protocol::record::{BatchBuilder, Compression};
use esker_storage::env::{Env, RealClock, RealDisk, RealRandom, RealTasks};
use std::sync::Arc;

/// Its name, records in a batch, bytes of each value: a single event, many small ones, and a full batch of large ones.
pub(crate) const SHAPES: [(&str, usize, usize); 3] =
    [("1 x 100 B", 1, 100), ("1,200 x 100 B", 1200, 100), ("970 x 1 KiB", 970, 1024)];

/// The machine, with one connection runtime.
pub(crate) fn env() -> Env {
    Env {
        clock: Arc::new(RealClock::start()),
        random: Arc::new(RealRandom::seeded().expect("the system gives randomness")),
        tasks: Arc::new(RealTasks::start(1).expect("the system gives threads")),
        disk: Arc::new(RealDisk),
    }
}

/// How much to write before something is timed: `bytes`, and less where everything is run but once, to see that it works.
pub(crate) fn filled(bytes: usize) -> usize {
    let says = |argument: &str| std::env::args().any(|given| given == argument);
    // As criterion itself has it: `cargo bench` says the first, and `cargo test` nothing.
    if says("--bench") && !says("--test") { bytes } else { bytes / 8 }
}

/// A batch as a producer sends it.
pub(crate) fn batch(records: usize, size: usize, codec: Compression) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    // As compressible as text.
    let words: Vec<u8> = (0..size).map(|at| b"lorem ipsum dolor sit amet, "[(at * at / 7) % 28]).collect();
    for n in 0..records {
        builder.push(1_700_000_000_000 + n as i64, None, Some(&words), &[]);
    }
    builder.build_trusted().expect("a batch in memory can be built").bytes().clone()
}

/// Times `work` on `bytes` of data, and says how often one turn of it allocates.
pub(crate) fn bench<T>(criterion: &mut Criterion, group: &str, name: &str, bytes: usize, mut work: impl FnMut() -> T) {
    // Whatever is made once is made by now.
    drop(work());
    let (_, measured) = counting::measure(&mut work);
    println!("{group}/{name}: {} allocations each time", measured.allocations);
    let mut group = criterion.benchmark_group(group);
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function(BenchmarkId::from_parameter(name), |bencher| bencher.iter(&mut work));
    group.finish();
}
