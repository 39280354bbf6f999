//! What trials say of records on paper, and the bounds of every histogram.

use super::Faults;
use hdrhistogram::Histogram;

/// The longest latency that is told apart from longer ones.
const MAX_NANOS: u64 = 600_000_000_000;

/// Latencies in nanoseconds, to three digits.
pub fn histogram() -> Histogram<u64> {
    // The bounds are constants, and valid ones.
    Histogram::new_with_bounds(1_000, MAX_NANOS, 3).unwrap_or_else(|_| unreachable!("the bounds are valid"))
}

/// Prints what was verified; an error if anything is wrong.
///
/// # Errors
/// With the faults.
pub fn verdict(seen: u64, faults: Faults) -> anyhow::Result<()> {
    println!("verified: {seen} records, {faults}");
    anyhow::ensure!(faults.none(), "what was read is not what was acknowledged: {faults}");
    Ok(())
}
