//! Figures on paper: [`Measured`] holds what a run measured, and prints it.

use super::Faults;
use super::process::Usage;
use hdrhistogram::Histogram;

/// The longest latency that is told apart from longer ones.
const MAX_NANOS: u64 = 600_000_000_000;

/// Latencies in nanoseconds, to three digits.
pub fn histogram() -> Histogram<u64> {
    // The bounds are constants, and valid ones.
    Histogram::new_with_bounds(1_000, MAX_NANOS, 3).unwrap_or_else(|_| unreachable!("the bounds are valid"))
}

/// What one run measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// What was done.
    pub what: &'static str,
    /// Records.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// In how many seconds.
    pub seconds: f64,
    /// How long each took, in nanoseconds, and from what to what.
    pub latency: Option<(&'static str, Histogram<u64>)>,
    /// What the broker's process spent meanwhile.
    pub broker: Option<Spent>,
}

/// What a process spent during a run.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    /// CPU-seconds.
    pub cpu: f64,
    /// Resident memory at the end, in bytes.
    pub resident: u64,
    /// What of it belongs to no file.
    pub anonymous: u64,
    /// Its highest value since the process started, in bytes.
    pub peak: u64,
}

/// Watches the broker's process, if there is one to watch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    pid: Option<u32>,
    start: Option<Usage>,
}

impl Watch {
    /// From now on.
    pub(super) fn start(pid: Option<u32>) -> std::io::Result<Self> {
        Ok(Self { pid, start: pid.map(Usage::of).transpose()? })
    }

    /// What was spent since.
    pub(super) fn end(self) -> std::io::Result<Option<Spent>> {
        let (Some(pid), Some(start)) = (self.pid, self.start) else { return Ok(None) };
        let end = Usage::of(pid)?;
        let Usage { resident, anonymous, peak, .. } = end;
        Ok(Some(Spent { cpu: end.cpu - start.cpu, resident, anonymous, peak }))
    }
}

impl Measured {
    /// MB a second.
    pub fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.seconds
    }
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: {} records, {:.1} MB in {:.2} s: {:.1} MB/s, {:.0} records/s",
            self.what,
            self.records,
            self.bytes as f64 / 1e6,
            self.seconds,
            self.megabytes_per_second(),
            self.records as f64 / self.seconds
        )?;
        if let Some((what, latency)) = self.latency.as_ref().filter(|(_, latency)| !latency.is_empty()) {
            let at = |quantile: f64| latency.value_at_quantile(quantile) as f64 / 1e6;
            write!(
                f,
                "\n  {what}: p50 {:.3} ms, p90 {:.3} ms, p99 {:.3} ms, p99.9 {:.3} ms, max {:.3} ms",
                at(0.5),
                at(0.9),
                at(0.99),
                at(0.999),
                latency.max() as f64 / 1e6
            )?;
        }
        if let Some(Spent { cpu, resident, anonymous, peak }) = self.broker {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            write!(
                f,
                "\n  broker: {cpu:.2} CPU-s, {:.2} CPU-s/GB, {:.1} us a record, {:.0} MiB resident ({:.0} anonymous), \
                 {:.0} MiB at most",
                cpu / (self.bytes as f64 / 1e9),
                cpu * 1e6 / self.records as f64,
                mib(resident),
                mib(anonymous),
                mib(peak)
            )?;
        }
        Ok(())
    }
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
