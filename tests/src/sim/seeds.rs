//! Seeds: which ones a test runs, and what it does with one that fails.
//!
//! `ESKER_SIM_SEED=n` runs one seed alone; `ESKER_SIM_SEEDS=n` runs `0..n` instead of what the test asks for, and
//! `ESKER_SIM_SEEDS=m..n` these; `ESKER_SIM_TRACE=1` prints the whole trace.

use super::failure::Failure;
use super::world::{Config, Finished, World, run};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Lines of the trace that are shown with a failure.
const SHOWN: usize = 150;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The seeds to run, where a test asks for `wanted`.
pub fn seeds(wanted: Range<u64>) -> Range<u64> {
    let asked = std::env::var("ESKER_SIM_SEEDS").ok().and_then(|text| parse(&text));
    match (number("ESKER_SIM_SEED"), asked) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(asked)) => asked,
        (None, None) => wanted,
    }
}

/// `n` or `m..n`.
fn parse(text: &str) -> Option<Range<u64>> {
    match text.split_once("..") {
        Some((from, to)) => Some(from.parse().ok()?..to.parse().ok()?),
        None => Some(0..text.parse().ok()?),
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
/// seed and the end of the trace where one fails, the smallest where several do.
///
/// Seeds have nothing to do with each other, so they are spread over as many threads as there are cores, or as
/// `ESKER_SIM_THREADS` says. Results come in the order of the seeds.
#[allow(clippy::panic, reason = "how a test fails")]
pub fn check<T, F>(wanted: Range<u64>, scenario: impl Fn(World) -> F + Sync) -> Vec<Finished<T>>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let seeds = seeds(wanted);
    let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let threads = number("ESKER_SIM_THREADS").unwrap_or_else(cores).clamp(1, (seeds.end - seeds.start).max(1));
    let next = AtomicU64::new(seeds.start);
    let failure: Mutex<Option<(u64, String)>> = Mutex::new(None);
    let finished = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || failure.lock().is_some() {
                        return;
                    }
                    match check_one(seed, &scenario) {
                        Ok(one) => {
                            finished.lock().insert(seed, one);
                        }
                        Err(what) => {
                            let mut failure = failure.lock();
                            if failure.as_ref().is_none_or(|(other, _)| seed < *other) {
                                *failure = Some((seed, what));
                            }
                        }
                    }
                }
            });
        }
    });
    if let Some((_, what)) = failure.into_inner() {
        panic!("{what}");
    }
    finished.into_inner().into_values().collect()
}

fn check_one<T, F>(seed: u64, scenario: &impl Fn(World) -> F) -> Result<Finished<T>, String>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let config = Config::seeded(seed);
    let first = traced(config, scenario).map_err(|failure| failure.to_string())?;
    if seed.is_multiple_of(10) {
        match run(config, scenario).map(|again| (again.hash, again.events)) {
            Ok(again) if again == (first.hash, first.events) => {}
            other => {
                return Err(format!("seed {seed}: another course the second time: {other:?}, {:x}", first.hash));
            }
        }
    }
    Ok(first)
}

/// The first failure among the seeds, for scenarios that must fail: proof that a mutation is caught.
pub fn first_failure<T, F>(wanted: Range<u64>, scenario: impl Fn(World) -> F) -> Option<Failure>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    seeds(wanted).find_map(|seed| run(Config { trace_lines: 40, ..Config::seeded(seed) }, &scenario).err())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_counted_from_zero_or_named_by_both_ends() {
        assert_eq!(parse("12"), Some(0..12));
        assert_eq!(parse("5..12"), Some(5..12));
        assert_eq!([parse(""), parse("5.."), parse("-1"), parse("a..b")], [None, None, None, None]);
    }
}
