//! The scrub of what is on this broker's disks: every sealed segment is read now and then, and every batch checked.
//!
//! A **pass** goes over all partitions, one segment after the other, at `log.scrub.bytes.per.second`; the next one begins
//! `log.scrub.interval.ms` after it began. What becomes of rot is said in `partition_log::scrub`.

use super::hosted::Hosted;
use super::leader::Partition;
use crate::config::BrokerConfig;
use crate::metrics::Metrics;
use esker_storage::env::Env;
use esker_storage::partition_log::Finding;
use std::sync::Arc;
use std::time::Duration;

/// How often a scrub that is switched off, or has just ended, looks again at most.
const LEAST: Duration = Duration::from_millis(100);

/// Scrubs the partitions of a broker.
pub struct Scrubber {
    env: Env,
    hosted: Arc<Hosted>,
    metrics: Arc<Metrics>,
    every: Duration,
    rate: u64,
}

impl Scrubber {
    /// For the partitions of `hosted`.
    pub fn new(env: &Env, config: &BrokerConfig, hosted: &Arc<Hosted>, metrics: &Arc<Metrics>) -> Scrubber {
        Scrubber {
            env: env.clone(),
            hosted: Arc::clone(hosted),
            metrics: Arc::clone(metrics),
            every: Duration::from_millis(config.scrub_interval_ms),
            rate: config.scrub_bytes_per_second,
        }
    }

    /// Goes on until it is dropped.
    pub async fn run(self) {
        loop {
            let next = self.env.now().plus(self.every);
            self.env.sleep(self.every.min(LEAST)).await;
            for partition in self.hosted.led() {
                self.scrub(&partition).await;
            }
            self.env.sleep(next.since(self.env.now()).max(LEAST)).await;
        }
    }

    async fn scrub(&self, partition: &Partition) {
        let log = partition.log();
        for segment in log.local().segments().iter().filter(|segment| segment.sealed) {
            if log.is_failed() || log.local().is_closed() {
                return;
            }
            let read = |bytes| {
                self.metrics.scrubbed.inc_by(bytes);
            };
            match log.scrub(segment.name, self.rate, read).await {
                Ok(Finding::Sound) => {}
                // It has been logged where it was found.
                Ok(Finding::Quarantined(_)) => {
                    self.metrics.quarantined.inc();
                }
                Ok(Finding::Damaged(_)) => {}
                Err(_) if log.local().is_closed() || log.is_failed() => return,
                Err(error) => tracing::warn!(partition = %partition.id(), %error, "a segment could not be scrubbed"),
            }
        }
    }
}
