//! The load that lives in the present: a producer at a rate, and a reader that follows it.

use crate::batch::Codec;
use crate::load::Schedule;
use crate::load::options::{Produce, Target};
use crate::rig::Broker;
use hdrhistogram::Histogram;

/// Seconds of load before the first phase.
const WARM_UP: f64 = 2.0;

/// One connection that sends `rate` records a second of `size` bytes to one partition, with acks=all.
pub(super) fn load(broker: &Broker, rate: f64, size: usize, topic_configs: &[&str]) -> Produce {
    Produce {
        target: Target {
            bootstrap: broker.bootstrap().to_owned(),
            topic: "hot".to_owned(),
            pid: Some(broker.pid()),
            threads: 1,
            connections: 1,
        },
        partitions: 1,
        topic_configs: topic_configs.iter().map(|config| (*config).to_owned()).collect(),
        size,
        batch: 128 << 10,
        linger: 0.0,
        in_flight: 5,
        acks: -1,
        codec: Codec::None,
        rate: Some(rate),
        seconds: 0.0,
        warmup: 0.0,
        idempotent: false,
        verify: false,
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
