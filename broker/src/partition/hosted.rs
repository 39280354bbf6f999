//! The partitions that this broker has: opened, configured and let go as the metadata says.
//!
//! [`Hosted`] follows the published images. For each change it opens the logs of the partitions that this broker leads
//! now, hands new settings to those that it has, and deletes those whose topic is gone. Look-ups are lock-free.
//!
//! A log is opened only after the tier log has the leader's `open` of it (one commit for all that start together): from
//! then on no older leader's upload counts.

use super::leader::Partition;
use super::waiters::NotCommitted;
use super::wakes::Wakes;
use crate::config::{BrokerConfig, TopicConfig};
use crate::metadata::{Image, Published, Topic};
use crate::metrics::Metrics;
use arc_swap::ArcSwap;
use esker_storage::env::{Env, Pool};
use esker_storage::log::{Log, LogConfig, LogDir, LogError, LogObserver, OpenFrom};
use esker_storage::offset::{LeaderEpoch, PartitionId};
use esker_storage::partition_log::PartitionLog;
use esker_storage::tier::{TierCommits, TierRecord};
use futures_util::stream::{self, StreamExt};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

/// Logs that are opened at the same time.
const PARALLEL_OPENS: usize = 8;

/// A partition, or why there is none.
#[derive(Clone)]
pub enum Here {
    /// This broker leads it.
    Led(Arc<Partition>),
    /// It should, but the partition's log cannot be opened, or its directory failed.
    Offline(Arc<str>),
}

/// The partitions of this broker.
pub struct Hosted {
    env: Env,
    config: Arc<BrokerConfig>,
    metrics: Arc<Metrics>,
    dirs: Vec<Arc<LogDir>>,
    tier: TierCommits,
    /// Which directory has a partition's files; kept for partitions that are offline, too.
    places: Mutex<Places>,
    partitions: ArcSwap<BTreeMap<PartitionId, Here>>,
    wakes: Arc<Wakes>,
}

/// What an image changed here.
#[derive(Clone, Debug, Default)]
pub struct Moved {
    /// Partitions that are led here now, or offline.
    pub opened: Vec<PartitionId>,
    /// Partitions that are not here any more.
    pub left: Vec<PartitionId>,
}

/// In which of the log directories partitions are, by its index.
#[derive(Default)]
struct Places {
    by_id: BTreeMap<PartitionId, usize>,
    counts: Vec<usize>,
}

impl Places {
    fn put(&mut self, id: PartitionId, index: usize) {
        if self.by_id.insert(id, index).is_none()
            && let Some(count) = self.counts.get_mut(index)
        {
            *count += 1;
        }
    }

    fn remove(&mut self, id: PartitionId) -> Option<usize> {
        let index = self.by_id.remove(&id)?;
        if let Some(count) = self.counts.get_mut(index) {
            *count = count.saturating_sub(1);
        }
        Some(index)
    }
}

/// A partition to be opened.
struct Opening {
    id: PartitionId,
    topic: Arc<str>,
    epoch: LeaderEpoch,
    config: Arc<TopicConfig>,
}

impl Hosted {
    /// Nothing yet, in `dirs`.
    ///
    /// # Errors
    /// If a directory cannot be listed.
    pub fn new(
        env: Env,
        config: Arc<BrokerConfig>,
        metrics: Arc<Metrics>,
        dirs: Vec<Arc<LogDir>>,
        tier: TierCommits,
    ) -> std::io::Result<Arc<Hosted>> {
        let mut places = Places { by_id: BTreeMap::new(), counts: vec![0; dirs.len()] };
        for (index, dir) in dirs.iter().enumerate() {
            for id in dir.partitions()? {
                places.put(id, index);
            }
        }
        Ok(Arc::new(Hosted {
            wakes: Wakes::start(&env),
            env,
            config,
            metrics,
            dirs,
            tier,
            places: Mutex::new(places),
            partitions: ArcSwap::default(),
        }))
    }

    /// A partition.
    pub fn get(&self, id: PartitionId) -> Option<Here> {
        self.partitions.load().get(&id).cloned()
    }

    /// Every partition that is led here.
    pub fn led(&self) -> Vec<Arc<Partition>> {
        let led = |here: &Here| match here {
            Here::Led(partition) => Some(Arc::clone(partition)),
            Here::Offline(_) => None,
        };
        self.partitions.load().values().filter_map(led).collect()
    }

    /// The log directories.
    pub fn dirs(&self) -> &[Arc<LogDir>] {
        &self.dirs
    }

    /// Makes this broker's partitions what `published` says.
    pub async fn apply(&self, published: &Published) -> Moved {
        let Published { image, changes } = published;
        let mut opening = Vec::new();
        let mut leaving = Vec::new();
        for (topic, change) in &changes.topics {
            match &change.after {
                Some(after) => self.compare(image, after, &mut opening),
                None => {
                    let partitions = self.partitions.load();
                    leaving.extend(partitions.keys().filter(|id| id.topic == *topic).copied());
                }
            }
        }
        if changes.broker_configs {
            self.reconfigure(image);
        }
        let moved = Moved { opened: opening.iter().map(|opening| opening.id).collect(), left: leaving.clone() };
        self.leave(leaving).await;
        self.open(opening).await;
        self.metrics.leaders.set(i64::try_from(self.led().len()).unwrap_or(i64::MAX));
        moved
    }

    fn compare(&self, image: &Image, topic: &Arc<Topic>, opening: &mut Vec<Opening>) {
        let node = self.config.node_id;
        let config = Arc::new(image.topic_config(topic, node, &self.config.layers));
        for (number, partition) in (0u32..).zip(&topic.partitions) {
            if partition.leader != Some(node) {
                continue;
            }
            let id = PartitionId { topic: topic.id, partition: number };
            match self.get(id) {
                Some(Here::Led(led)) if led.leader_epoch() == partition.leader_epoch => {
                    led.configure(Arc::clone(&config), self.log_config(&config));
                }
                _ => opening.push(Opening {
                    id,
                    topic: Arc::clone(&topic.name),
                    epoch: partition.leader_epoch,
                    config: Arc::clone(&config),
                }),
            }
        }
    }

    /// Settings that topics fall back to changed.
    fn reconfigure(&self, image: &Image) {
        for partition in self.led() {
            if let Some(topic) = image.topic_by_id(partition.id().topic) {
                let config = Arc::new(image.topic_config(topic, self.config.node_id, &self.config.layers));
                partition.configure(Arc::clone(&config), self.log_config(&config));
            }
        }
    }

    async fn open(&self, opening: Vec<Opening>) {
        if opening.is_empty() {
            return;
        }
        self.open_in_tier(&opening).await;
        let opened: Vec<(PartitionId, Here)> = stream::iter(opening)
            .map(|opening| async move { (opening.id, self.open_one(opening).await) })
            .buffer_unordered(PARALLEL_OPENS)
            .collect()
            .await;
        let mut partitions = BTreeMap::clone(&self.partitions.load());
        for (id, here) in opened {
            if let Some(Here::Led(before)) = partitions.insert(id, here) {
                before.end(NotCommitted::Gone);
            }
        }
        self.partitions.store(Arc::new(partitions));
    }

    /// From here on no older leader's upload of these partitions counts. Waits for the store as long as it takes.
    async fn open_in_tier(&self, opening: &[Opening]) {
        let open = |opening: &Opening| TierRecord::Open { partition: opening.id, epoch: opening.epoch };
        if let Err(error) = self.tier.commit(opening.iter().map(open).collect()).await {
            tracing::error!(%error, "the tier log cannot be written; nothing is uploaded");
        }
    }

    async fn open_one(&self, opening: Opening) -> Here {
        let Opening { id, topic, epoch, config } = opening;
        let dir = self.place(id);
        let Some(dir) = dir else { return Here::Offline("every log directory failed".into()) };
        let settings = self.log_config(&config);
        let from = match self.tier.image().get(&id) {
            Some(manifest) if manifest.open_epoch() != Some(epoch) => {
                return Here::Offline("a newer leader has opened the partition in the tier".into());
            }
            Some(manifest) => OpenFrom {
                tier_end: Some(manifest.end()).filter(|_| manifest.last().is_some() || !manifest.pages().is_empty()),
                log_start: manifest.log_start(),
                newest_epoch: Some(epoch),
            },
            None => OpenFrom { newest_epoch: Some(epoch), ..OpenFrom::default() },
        };
        let open = move || -> Result<Arc<Log>, LogError> {
            let (log, _) = Log::open(&dir, id, settings, from)?;
            log.begin_epoch(epoch).map_err(|_| LogError::Invalid("the log has a newer leader epoch"))?;
            Ok(log)
        };
        match self.env.blocking(Pool::Cold, open).await {
            Ok(Ok(log)) => {
                let whole = Arc::new(PartitionLog::new(self.env.clone(), Arc::clone(&log)));
                let partition = Partition::lead(self.env.clone(), topic, whole, epoch, config, Arc::clone(&self.wakes));
                let observer: Weak<dyn LogObserver> = Arc::downgrade(&partition) as Weak<dyn LogObserver>;
                log.observe(observer);
                partition.advance();
                Here::Led(partition)
            }
            Ok(Err(error)) => {
                tracing::error!(partition = %id, %topic, %error, "the partition is offline");
                Here::Offline(error.to_string().into())
            }
            Err(error) => Here::Offline(error.to_string().into()),
        }
    }

    /// The directory that has a partition's files, or else the one with the fewest partitions that works.
    fn place(&self, id: PartitionId) -> Option<Arc<LogDir>> {
        let mut places = self.places.lock();
        if let Some(dir) = places.by_id.get(&id).and_then(|index| self.dirs.get(*index)) {
            return Some(Arc::clone(dir));
        }
        let working = self.dirs.iter().enumerate().filter(|(_, dir)| dir.failure().is_none());
        let (index, dir) = working.min_by_key(|(index, _)| places.counts.get(*index).copied())?;
        places.put(id, index);
        Some(Arc::clone(dir))
    }

    async fn leave(&self, leaving: Vec<PartitionId>) {
        if leaving.is_empty() {
            return;
        }
        let mut partitions = BTreeMap::clone(&self.partitions.load());
        for id in &leaving {
            if let Some(Here::Led(partition)) = partitions.remove(id) {
                partition.end(NotCommitted::Gone);
            }
        }
        self.partitions.store(Arc::new(partitions));
        let remove = leaving.iter().map(|id| TierRecord::Remove { partition: *id }).collect();
        if let Err(error) = self.tier.commit(remove).await {
            tracing::error!(%error, "the tier log cannot be written; what deleted topics had there stays");
        }
        for id in leaving {
            let place = self.places.lock().remove(id);
            let Some(dir) = place.and_then(|index| self.dirs.get(index)).cloned() else { continue };
            let deleted = self.env.blocking(Pool::Maintenance, move || dir.delete_partition(id)).await;
            if let Ok(Err(error)) = deleted {
                tracing::warn!(partition = %id, %error, "could not delete the partition's files; the next start will");
            }
        }
    }

    fn log_config(&self, config: &TopicConfig) -> LogConfig {
        config.log_config(self.config.producer_id_expiration_ms)
    }

    /// Syncs and checkpoints everything, so that the next start replays nothing. Appends must have ended.
    pub async fn close(&self) {
        for partition in self.led() {
            partition.end(NotCommitted::Gone);
        }
        for dir in &self.dirs {
            if let Err(error) = dir.close().await {
                tracing::warn!(%error, "could not close a log directory cleanly; the next start will check it");
            }
        }
    }
}
