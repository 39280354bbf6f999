//! The scrub of what is on this broker's disks: every segment is read now and then, and every batch checked, with the
//! indexes and checkpoints beside them.
//!
//! A partition is **due** `log.scrub.interval.ms` after its last whole scrub began, by the wall clock; those that waited
//! longest come first, one segment after the other, at `log.scrub.bytes.per.second`. How far each came is kept beside its
//! log, so that a restart goes on where the process before ended, and rereads neither what it had done nor waits as long
//! again. A segment in which an earlier process found rot is looked at within a minute of its partition's start: what was an error
//! of the disk that has passed is forgotten. What becomes of rot is said in `partition_log::scrub`.

use super::hosted::Hosted;
use super::leader::Partition;
use crate::config::BrokerConfig;
use crate::metrics::Metrics;
use esker_storage::env::{Env, Pool, Timestamp};
use esker_storage::log::ScrubProgress;
use esker_storage::offset::Offset;
use esker_storage::partition_log::Finding;
use esker_storage::segment::SegmentName;
use std::sync::Arc;
use std::time::Duration;

/// How soon a scrub that has just ended looks again at most, ...
const LEAST: Duration = Duration::from_millis(100);
/// ... and how late: partitions that are new meanwhile are due.
const MOST: Duration = Duration::from_secs(60);
/// Bytes after which it is kept how far a scrub of a partition came: what a restart reads again at most, beside a segment.
const KEEP_EVERY: u64 = 64 << 20;

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
        self.env.sleep(self.every.min(LEAST)).await;
        loop {
            let mut led = self.hosted.led();
            for partition in &led {
                let local = partition.log().local();
                for segment in local.take_remembered_damage() {
                    if !self.scrub_segment(partition, segment).await {
                        local.remember_damage();
                    }
                }
            }
            led.sort_by_key(|partition| partition.log().local().scrub_progress().whole);
            for partition in led.iter().filter(|partition| self.due_in(partition).is_zero()) {
                self.scrub(partition).await;
            }
            let next = self.hosted.led().iter().map(|partition| self.due_in(partition)).min();
            self.env.sleep(next.unwrap_or(MOST).clamp(LEAST.min(self.every), MOST)).await;
        }
    }

    /// How long until a partition is due.
    fn due_in(&self, partition: &Partition) -> Duration {
        let local = partition.log().local();
        if local.log_end().offset() == local.local_start().offset() {
            return MOST;
        }
        due_in(local.scrub_progress(), self.env.wall(), self.every)
    }

    async fn scrub(&self, partition: &Partition) {
        let log = partition.log();
        let progress = log.local().scrub_progress();
        let (began, next) = progress.under_way.unwrap_or((self.env.wall(), Offset::ZERO));
        let mut unkept = 0;
        for segment in log.local().segments().iter().filter(|segment| segment.end > next) {
            self.scrub_segment(partition, segment.name).await;
            if log.is_failed() || log.local().is_closed() {
                return;
            }
            unkept += segment.bytes;
            if unkept >= KEEP_EVERY {
                unkept = 0;
                self.keep(partition, ScrubProgress { under_way: Some((began, segment.end)), ..progress }).await;
            }
        }
        let local = Arc::clone(log.local());
        match self.env.blocking(Pool::Maintenance, move || local.scrub_checkpoint()).await {
            Ok(Ok(mended)) => {
                self.metrics.mended.inc_by(u64::from(mended));
            }
            Ok(Err(error)) => tracing::debug!(partition = %partition.id(), %error, "a checkpoint was not scrubbed"),
            Err(_) => return,
        }
        self.keep(partition, ScrubProgress { whole: Some(began), under_way: None }).await;
    }

    /// Whether it could be looked at.
    async fn scrub_segment(&self, partition: &Partition, name: SegmentName) -> bool {
        let log = partition.log();
        let read = |bytes| {
            self.metrics.scrubbed.inc_by(bytes);
        };
        match log.scrub(name, self.rate, read).await {
            // Rot has been logged where it was found.
            Ok(Finding::Sound | Finding::Covered(_) | Finding::Damaged(_)) => {}
            Ok(Finding::Mended) => {
                self.metrics.mended.inc();
            }
            Ok(Finding::Quarantined(_)) => {
                self.metrics.quarantined.inc();
            }
            Err(_) if log.local().is_closed() || log.is_failed() => {}
            Err(error) => {
                tracing::warn!(partition = %partition.id(), %error, "a segment could not be scrubbed");
                return false;
            }
        }
        true
    }

    async fn keep(&self, partition: &Partition, progress: ScrubProgress) {
        let local = Arc::clone(partition.log().local());
        let kept = self.env.blocking(Pool::Maintenance, move || local.note_scrubbed(progress)).await;
        if let Ok(Err(error)) = kept {
            tracing::debug!(partition = %partition.id(), %error, "a restart begins this scrub anew");
        }
    }
}

/// How long until a log is due that was scrubbed so far. A wall clock that was set back lets nobody wait.
fn due_in(progress: ScrubProgress, now: Timestamp, every: Duration) -> Duration {
    let (Some(last), None) = (progress.whole, progress.under_way) else { return Duration::ZERO };
    match u64::try_from(now.millis().saturating_sub(last.millis())) {
        Ok(since) => every.saturating_sub(Duration::from_millis(since)),
        Err(_) => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_due_when_its_interval_has_passed_or_a_scrub_of_it_was_interrupted() {
        let (at, every) = (Timestamp::from_millis, Duration::from_millis(1000));
        let whole = |millis| ScrubProgress { whole: Some(at(millis)), under_way: None };
        assert_eq!(due_in(ScrubProgress::default(), at(5), every), Duration::ZERO, "never scrubbed");
        assert_eq!(due_in(whole(5000), at(5400), every), Duration::from_millis(600));
        assert_eq!(due_in(whole(5000), at(6000), every), Duration::ZERO);
        assert_eq!(due_in(whole(5000), at(4999), every), Duration::ZERO, "the clock was set back");
        let interrupted = ScrubProgress { under_way: Some((at(5300), Offset::new(7))), ..whole(5000) };
        assert_eq!(due_in(interrupted, at(5400), every), Duration::ZERO);
    }
}
