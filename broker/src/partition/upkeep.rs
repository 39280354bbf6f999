//! What logs need now and then: segments sealed by age, retention, checkpoints.
//!
//! A pass over all partitions every `log.retention.check.interval.ms`; and as soon as the tier has more of a partition,
//! one over just that, so that local copies go when they may.

use super::hosted::{Here, Hosted};
use super::leader::Partition;
use crate::config::{BrokerConfig, TopicConfig};
use esker_storage::env::{Env, Pool};
use esker_storage::log::retention::RetentionConfig;
use esker_storage::offset::{LogStart, PartitionId, TierEnd};
use esker_storage::partition_log::Retention;
use esker_storage::tier::{TierCommits, TierImage};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The pause after news of the tier, so that many commits make one pass.
const SETTLE: Duration = Duration::from_millis(200);

/// How long one partition's retention may keep the others waiting.
const LIMIT: Duration = Duration::from_secs(10);

/// Keeps the partitions of a broker in order.
pub struct Upkeep {
    env: Env,
    hosted: Arc<Hosted>,
    images: watch::Receiver<Arc<TierImage>>,
    every: Duration,
    seen: BTreeMap<PartitionId, (TierEnd, LogStart)>,
}

impl Upkeep {
    /// For the partitions of `hosted`.
    pub fn new(env: &Env, config: &BrokerConfig, hosted: &Arc<Hosted>, commits: &TierCommits) -> Upkeep {
        Upkeep {
            env: env.clone(),
            hosted: Arc::clone(hosted),
            images: commits.watch(),
            every: Duration::from_millis(config.retention_check_interval_ms.max(1)),
            seen: BTreeMap::new(),
        }
    }

    /// Goes on until it is dropped.
    pub async fn run(mut self) {
        let mut next = self.env.now().plus(self.every);
        loop {
            let left = next.since(self.env.now());
            let news = match self.env.timeout(left, self.images.changed()).await {
                // News without end must not keep the pass over all from its turn.
                Ok(Ok(())) => !left.is_zero(),
                // The tier's committer is gone: this process is of no more use, but its logs are.
                Ok(Err(_)) => {
                    self.env.sleep(left).await;
                    false
                }
                Err(_) => false,
            };
            if news {
                self.env.sleep(SETTLE).await;
                for partition in self.grown() {
                    // Only copies go now; what goes for good, goes at the interval that was asked for.
                    let keep = keep(&partition.topic_config());
                    self.retain(&partition, RetentionConfig { total_ms: None, total_bytes: None, ..keep }).await;
                }
            } else {
                next = self.env.now().plus(self.every);
                for partition in self.hosted.led() {
                    self.tick(&partition).await;
                    self.retain(&partition, keep(&partition.topic_config())).await;
                }
            }
        }
    }

    /// The partitions of which the tier has more than it had, or less.
    fn grown(&mut self) -> Vec<Arc<Partition>> {
        let image = Arc::clone(&self.images.borrow_and_update());
        let mut grown = Vec::new();
        for (id, manifest) in image.partitions() {
            let now = (manifest.end(), manifest.log_start());
            let changed = self.seen.insert(*id, now) != Some(now);
            if let Some(Here::Led(partition)) = self.hosted.get(*id).filter(|_| changed) {
                grown.push(partition);
            }
        }
        self.seen.retain(|id, _| image.get(id).is_some());
        grown
    }

    async fn tick(&self, partition: &Arc<Partition>) {
        let log = Arc::clone(partition.log().local());
        let now = self.env.wall();
        if let Ok(Err(error)) = self.env.blocking(Pool::Maintenance, move || log.tick(now)).await
            && !partition.log().local().is_closed()
        {
            tracing::warn!(partition = %partition.id(), %error, "upkeep of a log failed");
        }
    }

    async fn retain(&self, partition: &Arc<Partition>, keep: RetentionConfig) {
        if partition.log().is_failed() {
            return;
        }
        // A commit costs a PUT; of a tiered partition nothing local waits for it, and an upload's will come by.
        let config = partition.topic_config();
        let patience = if keep.tiered { Duration::from_millis(config.tail_max_ms) } else { Duration::ZERO };
        let retention = Retention {
            keep,
            leaves_tier: config.leaves_tier(),
            epoch: partition.leader_epoch(),
            committed: partition.high_watermark(),
            patience,
        };
        // What needs the store waits for it as long as it is away, and the others must not.
        match self.env.timeout(LIMIT, partition.log().retain(retention, self.env.wall())).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) if partition.log().local().is_closed() => {}
            Ok(Err(error)) => tracing::warn!(partition = %partition.id(), %error, "retention could not be kept"),
            Err(_) => tracing::warn!(partition = %partition.id(), "retention waits for the store; next time"),
        }
    }
}

fn keep(config: &TopicConfig) -> RetentionConfig {
    let millis = |limit: Option<u64>| limit.map(|millis| i64::try_from(millis).unwrap_or(i64::MAX));
    RetentionConfig {
        total_ms: millis(config.retention_ms),
        total_bytes: config.retention_bytes,
        local_ms: millis(config.local_retention_ms),
        local_bytes: config.local_retention_bytes,
        tiered: config.is_tiered(),
    }
}
