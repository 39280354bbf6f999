//! The load that lives in the present: a producer at a rate, and a reader that follows it.

use crate::client::Security;
use crate::load::workload::{Check, Driver, Endpoint, Limits, Producers, Readers, Topics, Workload};
use crate::load::{Outcome, Schedule, report};
use crate::rig::Broker;
use hdrhistogram::Histogram;

/// Seconds of load before the first phase.
const WARM_UP: f64 = 2.0;

/// One connection that sends `rate` records a second of `size` bytes to one partition, with acks=all, and one that reads
/// them.
pub(super) fn load(broker: &Broker, rate: f64, size: usize, topic_configs: &[(&str, &str)]) -> Workload {
    let configs = topic_configs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Workload {
        name: "hot".to_owned(),
        endpoint: Endpoint {
            bootstrap: broker.bootstrap().to_owned(),
            security: Security::default(),
            pid: Some(broker.pid()),
            threads: 2,
            driver: Driver::Own,
        },
        topics: Topics { name: "hot".to_owned(), count: 1, partitions: 1, configs },
        producers: Some(Producers { rate: Some(rate), size, ..Producers::default() }),
        readers: vec![Readers::tail("tail")],
        backlog: None,
        restart: None,
        check: Check::Nothing,
        search: false,
        warmup: 0.0,
        rest: 0.0,
        seconds: 0.0,
        limits: Limits::default(),
    }
}

/// A warm-up, and then one phase after the other, of which the first `settling` seconds are not measured.
pub(super) fn schedule(phases: usize, settling: f64, seconds: f64, now: u64) -> Schedule {
    let nanos = |seconds: f64| (seconds * 1e9) as u64;
    let start = now + nanos(0.1);
    let phases = (1..=phases).map(|phase| {
        let end = start + nanos(WARM_UP + phase as f64 * (settling + seconds));
        end - nanos(seconds)..end
    });
    Schedule::new(start, phases.collect())
}

/// Prints what was verified.
///
/// # Errors
/// If what was read is not what was acknowledged, or anything had to be sent twice.
pub(super) fn verdict(outcome: &Outcome) -> anyhow::Result<()> {
    let (records, faults) = outcome.verified();
    anyhow::ensure!(outcome.resent == 0, "{} batches were not acknowledged at once", outcome.resent);
    outcome.verdict()?;
    report::verdict(records, faults)
}

/// Latencies by phase.
pub(super) type Phases<'a> = &'a [Histogram<u64>];

/// Latencies of acknowledgement and of reading, by phase.
///
/// # Errors
/// If nobody read.
pub(super) fn phases(outcome: &Outcome) -> anyhow::Result<(Phases<'_>, Phases<'_>)> {
    let read = outcome.read.first().ok_or_else(|| anyhow::anyhow!("nobody read"))?;
    Ok((outcome.sent.latencies.phases(), read.latencies.phases()))
}

/// Some quantiles in milliseconds.
pub(super) fn quantiles(latencies: &Histogram<u64>) -> String {
    let at = |quantile: f64| latencies.value_at_quantile(quantile) as f64 / 1e6;
    format!("p50 {:.2}, p99 {:.2}, p99.9 {:.2} ms", at(0.5), at(0.99), at(0.999))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_follow_each_other_with_time_to_settle() {
        let schedule = schedule(2, 0.5, 1.5, 0);
        let ms = |nanos: u64| nanos / 1_000_000;
        let phases: Vec<_> = schedule.phases().iter().map(|phase| (ms(phase.start), ms(phase.end))).collect();
        assert_eq!((ms(schedule.start), phases), (100, vec![(2_600, 4_100), (4_600, 6_100)]));
    }
}
