//! The partitions that this broker has: opened, configured and let go as the metadata says.
//!
//! [`Hosted`] follows the published images. For each change it opens the logs of the partitions that this broker leads
//! now, hands new settings to those that it has, and deletes those whose topic is gone. Look-ups are lock-free.
//!
//! A log is opened only after the tier log has the leader's `open` of it (one commit for all that start together): from
//! then on no older leader's upload counts.

use super::leader::Partition;
use super::waiter::NotCommitted;
use super::wakes::Wakes;
use crate::config::{BrokerConfig, TopicConfig};
use crate::metadata::{Image, Published, Topic, is_internal};
use crate::metrics::Metrics;
use arc_swap::ArcSwap;
use esker_storage::env::mutation::{self, Mutation};
use esker_storage::env::{Env, Monotonic, Pool};
use esker_storage::log::{LogDir, LogError, LogObserver};
use esker_storage::offset::{LeaderEpoch, PartitionId};
use esker_storage::partition_log::{OpenError, PartitionLog, Tier};
use esker_storage::tier::TierRecord;
use futures_util::stream::{self, StreamExt};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Logs that are opened at the same time.
const PARALLEL_OPENS: usize = 8;
/// The pause before a log is opened again that could not be read.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(10);

/// A partition, or why there is none.
#[derive(Clone)]
pub enum Here {
    /// This broker leads it.
    Led(Arc<Partition>),
    /// It should, but the partition's log cannot be opened, or its directory failed.
    Offline(Arc<str>),
}

impl Here {
    fn is_offline(&self) -> bool {
        match self {
            Here::Led(partition) => partition.ended() == Some(NotCommitted::Failed),
            Here::Offline(_) => true,
        }
    }
}

/// The partitions of this broker.
pub struct Hosted {
    env: Env,
    config: Arc<BrokerConfig>,
    metrics: Arc<Metrics>,
    dirs: Vec<Arc<LogDir>>,
    /// How many more there should be, that failed at the start.
    lost_dirs: usize,
    /// Whether partitions may be in a directory of which nothing is known.
    may_lack: bool,
    /// Whether the first image was applied.
    applied: AtomicBool,
    tier: Tier,
    /// Which directory has a partition's files; kept for partitions that are offline, too.
    places: Mutex<Places>,
    partitions: ArcSwap<BTreeMap<PartitionId, Here>>,
    /// Those whose logs could not be opened for a reason that may pass, and from when on that is tried again.
    waiting: Mutex<BTreeMap<PartitionId, (Opening, Monotonic)>>,
    wakes: Arc<Wakes>,
    /// Whether a log did not open.
    offline: AtomicBool,
    /// Whether a topic may be stored with another codec than its producers'.
    recompresses: AtomicBool,
    /// Whether the broker is about to stop.
    ending: AtomicBool,
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
    /// Partitions that were there before and are in none of the directories: in one that failed at the start, perhaps.
    lost: BTreeSet<PartitionId>,
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
        self.lost.remove(&id);
        let index = self.by_id.remove(&id)?;
        if let Some(count) = self.counts.get_mut(index) {
            *count = count.saturating_sub(1);
        }
        Some(index)
    }
}

/// A partition to be opened.
#[derive(Clone)]
struct Opening {
    id: PartitionId,
    topic: Arc<str>,
    epoch: LeaderEpoch,
    config: Arc<TopicConfig>,
}

impl Hosted {
    /// Nothing yet, in `dirs`, to which `failed` more should belong.
    pub fn new(
        env: Env,
        config: Arc<BrokerConfig>,
        metrics: Arc<Metrics>,
        dirs: Vec<Arc<LogDir>>,
        failed: usize,
        tier: Tier,
    ) -> Arc<Hosted> {
        let mut may_lack = failed > 0;
        let mut places = Places { counts: vec![0; dirs.len()], ..Places::default() };
        for (index, dir) in dirs.iter().enumerate() {
            match dir.partitions() {
                Ok(partitions) => partitions.into_iter().for_each(|id| places.put(id, index)),
                Err(error) => {
                    dir.fail("listing the log directory", &error);
                    may_lack = true;
                }
            }
        }
        Arc::new(Hosted {
            wakes: Wakes::start(&env),
            env,
            config,
            metrics,
            dirs,
            lost_dirs: failed,
            may_lack,
            applied: AtomicBool::new(false),
            tier,
            places: Mutex::new(places),
            partitions: ArcSwap::default(),
            waiting: Mutex::new(BTreeMap::new()),
            offline: AtomicBool::new(false),
            recompresses: AtomicBool::new(false),
            ending: AtomicBool::new(false),
        })
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

    /// Whether this broker leads a partition in the metadata, but cannot serve it: its log did not open, or the
    /// directory failed since.
    pub fn is_offline(&self, id: PartitionId) -> bool {
        self.partitions.load().get(&id).is_some_and(Here::is_offline)
    }

    /// Whether there may be any such partition; cheap.
    pub fn has_offline(&self) -> bool {
        self.offline.load(Ordering::Acquire) || self.dirs.iter().any(|dir| dir.failure().is_some())
    }

    /// How many ranges of the partitions' local logs are damaged, and not in the tier.
    pub fn damaged_ranges(&self) -> usize {
        self.led().iter().map(|partition| partition.log().lost().count()).sum()
    }

    /// Whether any partition here may have to store a batch otherwise than it came, or had to once; cheap.
    pub fn recompresses(&self) -> bool {
        self.recompresses.load(Ordering::Acquire)
    }

    /// The settings of a topic, whose partitions are told them next.
    fn settings(&self, image: &Image, topic: &Topic) -> Arc<TopicConfig> {
        let config = image.topic_config(topic, self.config.node_id, &self.config.layers);
        if config.stored_as.is_some() {
            self.recompresses.store(true, Ordering::Release);
        }
        Arc::new(config)
    }

    /// Ends the waits in directories that failed, also for partitions that had nothing to sync.
    pub fn end_failed(&self) {
        for partition in self.led().iter().filter(|partition| partition.log().is_failed()) {
            partition.end(NotCommitted::Failed);
        }
    }

    /// The broker is about to stop: long polls are answered with what there is.
    pub fn end_polls(&self) {
        self.ending.store(true, Ordering::Release);
        for partition in self.led() {
            partition.wake_polls();
        }
    }

    /// Whether nobody should wait for records any more.
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// How many log directories failed at the start, and are not among [`Hosted::dirs`].
    pub fn lost_dirs(&self) -> usize {
        self.lost_dirs
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
        if !self.applied.swap(true, Ordering::AcqRel) && self.may_lack {
            self.note_lost(&opening);
        }
        let moved = Moved { opened: opening.iter().map(|opening| opening.id).collect(), left: leaving.clone() };
        self.leave(leaving).await;
        self.open(opening).await;
        self.metrics.leaders.set(i64::try_from(self.led().len()).unwrap_or(i64::MAX));
        moved
    }

    /// What was there before this start, and is in none of the directories that work, is not made anew in one of them: it
    /// would be without its last records. It waits for the directory, or for a start without it in `log.dirs`.
    fn note_lost(&self, opening: &[Opening]) {
        let mut places = self.places.lock();
        let lost: Vec<_> =
            opening.iter().map(|opening| opening.id).filter(|id| !places.by_id.contains_key(id)).collect();
        if !mutation::active(Mutation::LostMadeAnew) {
            places.lost.extend(lost);
        }
    }

    fn compare(&self, image: &Image, topic: &Arc<Topic>, opening: &mut Vec<Opening>) {
        let node = self.config.node_id;
        let config = self.settings(image, topic);
        for (number, partition) in (0u32..).zip(&topic.partitions) {
            if partition.leader != Some(node) {
                continue;
            }
            let id = PartitionId { topic: topic.id, partition: number };
            match self.get(id) {
                Some(Here::Led(led)) if led.leader_epoch() == partition.leader_epoch => {
                    led.configure(Arc::clone(&config));
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
                let config = self.settings(image, topic);
                partition.configure(config);
            }
        }
    }

    async fn open(&self, opening: Vec<Opening>) {
        if opening.is_empty() {
            return;
        }
        self.open_in_tier(&opening).await;
        let opened: Vec<(PartitionId, Here)> = stream::iter(opening)
            .map(|opening| async move { (opening.id, self.open_one(opening, false).await) })
            .buffer_unordered(PARALLEL_OPENS)
            .collect()
            .await;
        let mut partitions = BTreeMap::clone(&self.partitions.load());
        for (id, here) in opened {
            if matches!(here, Here::Offline(_)) {
                self.offline.store(true, Ordering::Release);
            }
            if let Some(Here::Led(before)) = partitions.insert(id, here) {
                before.end(NotCommitted::Gone);
            }
        }
        self.partitions.store(Arc::new(partitions));
    }

    /// Whether there are partitions that wait to be opened.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.lock().is_empty()
    }

    /// Opens the partitions that could not be opened before, if there is room for them now, or their disk can be read. To be
    /// called by who applies images, in between.
    pub async fn open_waiting(&self) -> Moved {
        let now = self.env.now();
        let (due, later) = std::mem::take(&mut *self.waiting.lock()).into_iter().partition(|(_, (_, due))| *due <= now);
        *self.waiting.lock() = later;
        let mut moved = Moved::default();
        for (id, (opening, _)) in due {
            // Those that were deleted meanwhile, or opened in a later epoch, are of no concern.
            if !matches!(self.get(id), Some(Here::Offline(_))) {
                continue;
            }
            let here = self.open_one(opening, true).await;
            if let Here::Led(_) = here {
                tracing::info!(partition = %id, "the partition is open at last");
                moved.opened.push(id);
            }
            let mut partitions = BTreeMap::clone(&self.partitions.load());
            partitions.insert(id, here);
            self.partitions.store(Arc::new(partitions));
        }
        self.metrics.leaders.set(i64::try_from(self.led().len()).unwrap_or(i64::MAX));
        moved
    }

    /// From here on no older leader's upload of these partitions counts. Waits for the store as long as it takes.
    async fn open_in_tier(&self, opening: &[Opening]) {
        let open = |opening: &Opening| TierRecord::Open { partition: opening.id, epoch: opening.epoch };
        if let Err(error) = self.tier.commits.commit(opening.iter().map(open).collect()).await {
            tracing::error!(%error, "the tier log cannot be written; nothing is uploaded");
        }
    }

    async fn open_one(&self, opening: Opening, is_known: bool) -> Here {
        let Opening { id, topic, epoch, config } = opening.clone();
        let dir = self.place(id);
        let Some(dir) = dir else { return Here::Offline("its log directory failed".into()) };
        let settings = config.log_config();
        let opened = PartitionLog::open(&self.env, &self.tier, dir, id, settings, epoch).await;
        match opened {
            Ok(log) => {
                let log = Arc::new(log);
                let local = Arc::clone(log.local());
                if is_internal(&topic) {
                    local.use_reserve();
                }
                let partition = Partition::lead(self.env.clone(), topic, log, epoch, config, Arc::clone(&self.wakes));
                let observer: Weak<dyn LogObserver> = Arc::downgrade(&partition) as Weak<dyn LogObserver>;
                local.observe(observer);
                // What was synced before anybody observed it.
                partition.advance();
                Here::Led(partition)
            }
            Err(OpenError::Log(error @ LogError::NoSpace)) => {
                if !is_known {
                    tracing::warn!(partition = %id, %topic, "the partition waits for room on the disk");
                }
                self.waiting.lock().insert(id, (opening, self.env.now()));
                Here::Offline(error.to_string().into())
            }
            // A disk that cannot be read now may be read later; not so a file of a version that is not known here.
            Err(OpenError::Log(LogError::Io(error))) if error.kind() != io::ErrorKind::InvalidData => {
                if !is_known {
                    tracing::error!(partition = %id, %topic, %error, "the partition is offline, and tried again");
                }
                self.waiting.lock().insert(id, (opening, self.env.now().plus(UNREADABLE_PAUSE)));
                Here::Offline(error.to_string().into())
            }
            Err(error) => {
                tracing::error!(partition = %id, %topic, %error, "the partition is offline");
                Here::Offline(error.to_string().into())
            }
        }
    }

    /// The directory that has a partition's files, or else the one with the fewest partitions that works.
    fn place(&self, id: PartitionId) -> Option<Arc<LogDir>> {
        let mut places = self.places.lock();
        if let Some(dir) = places.by_id.get(&id).and_then(|index| self.dirs.get(*index)) {
            return Some(Arc::clone(dir));
        }
        if places.lost.contains(&id) {
            return None;
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
        self.delete(leaving).await;
    }

    /// Deletes partitions that nobody uses any more, from the tier and from the disk.
    async fn delete(&self, leaving: Vec<PartitionId>) {
        let remove = leaving.iter().map(|id| TierRecord::Remove { partition: *id }).collect();
        if let Err(error) = self.tier.commits.commit(remove).await {
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

    /// Deletes what is left, here and in the tier, of topics that were deleted while this broker ended or was away.
    ///
    /// Not where none at all is known: then it is the metadata that somebody lost.
    pub async fn remove_strays(&self, image: &Image) {
        let tier = self.tier.commits.image();
        let mut all: BTreeSet<PartitionId> = tier.partitions().map(|(id, _)| *id).collect();
        all.extend(self.places.lock().by_id.keys().copied());
        let is_stray = |id: &PartitionId| image.topic_by_id(id.topic).is_none();
        let (strays, known): (Vec<_>, Vec<_>) = all.into_iter().partition(is_stray);
        let partitions = strays.len();
        match (strays.is_empty(), known.is_empty()) {
            (true, _) => {}
            (false, true) => tracing::info!(partitions, "there are logs of no known topic; they are left alone"),
            (false, false) => {
                tracing::info!(partitions, "deleting what is left of deleted topics");
                self.delete(strays).await;
            }
        }
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
