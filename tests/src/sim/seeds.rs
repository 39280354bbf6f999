//! Seeds: which ones a test runs, and what it does with one that fails.
//!
//! `ESKER_SIM_SEED=n` runs one seed alone, `ESKER_SIM_SEEDS=n` runs `0..n` instead of what the test asks for, and
//! `ESKER_SIM_TRACE=1` prints the whole trace.

use super::failure::Failure;
use super::world::{Config, Finished, World, run};
use std::future::Future;
use std::ops::Range;

/// Lines of the trace that are shown with a failure.
const SHOWN: usize = 150;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The seeds to run, where a test asks for `wanted`.
pub fn seeds(wanted: Range<u64>) -> Range<u64> {
    match (number("ESKER_SIM_SEED"), number("ESKER_SIM_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(count)) => 0..count,
        (None, None) => wanted,
    }
}

fn traced<T, F>(config: Config, scenario: &impl Fn(World) -> F) -> Result<Finished<T>, Failure>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let print = number("ESKER_SIM_TRACE").is_some();
    let config = Config { print, ..config };
    match run(config, scenario) {
        // Once more, to see how it came to that.
        Err(_) if !print => run(Config { trace_lines: SHOWN, ..config }, scenario),
        result => result,
    }
}

/// Runs a scenario with every seed, and every tenth one twice: it must take the same course again. Panics with the
/// seed and the end of the trace where one fails.
#[allow(clippy::panic, reason = "how a test fails")]
pub fn check<T, F>(wanted: Range<u64>, scenario: impl Fn(World) -> F) -> Vec<Finished<T>>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut finished = Vec::new();
    for seed in seeds(wanted) {
        let config = Config::seeded(seed);
        match traced(config, &scenario) {
            Ok(first) => {
                if seed % 10 == 0 {
                    let again = run(config, &scenario).map(|again| (again.hash, again.events));
                    match again {
                        Ok(again) if again == (first.hash, first.events) => {}
                        other => panic!("seed {seed}: another course the second time: {other:?}, {:x}", first.hash),
                    }
                }
                finished.push(first);
            }
            Err(failure) => panic!("{failure}"),
        }
    }
    finished
}

/// The first failure among the seeds, for scenarios that must fail: proof that a mutation is caught.
pub fn first_failure<T, F>(wanted: Range<u64>, scenario: impl Fn(World) -> F) -> Option<Failure>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    seeds(wanted).find_map(|seed| run(Config { trace_lines: 40, ..Config::seeded(seed) }, &scenario).err())
}
