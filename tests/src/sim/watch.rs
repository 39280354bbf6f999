//! What must hold of a broker and of the store at every step of a run, whatever crashes meanwhile.
//!
//! - A partition's offsets keep their rules ([`broken_rule`]); its high watermark, its log start and the end of its tier
//!   never go back, not even over a crash, for what counted was synced or committed.
//! - Each numbered log gets its commits one by one, and none ever changes.
//! - What the tier names is there: an object goes only after the last unit that named it.
//!
//! A check looks only at what may have changed since it looked last, so that it can be made after each step.

use super::store::StoreEffect;
use super::world::{NodeEnv, World};
use esker_broker::partition::{Hosted, Partition};
use esker_storage::offset::{HighWatermark, LogStart, PartitionId, TierEnd};
use esker_storage::partition_log::{Marks, broken_rule};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

/// The numbered logs of a cluster, by the prefix of their commits.
const LOGS: [&str; 2] = ["cluster/log/", "tier/log/"];

/// What the lives of one broker must have in common. Cheap to clone.
#[derive(Clone, Default)]
pub struct Watch(Arc<Mutex<Watched>>);

#[derive(Default)]
struct Watched {
    life: Option<(NodeEnv, Weak<Hosted>)>,
    seen: BTreeMap<PartitionId, Seen>,
    /// How far the broker had come when it was looked at last.
    polls: u64,
}

/// How far a partition has come.
#[derive(Default)]
struct Seen {
    marks: Option<Marks>,
    high_watermark: HighWatermark,
    log_start: LogStart,
    tier_end: TierEnd,
}

impl Watch {
    /// From now on the run fails when a rule is broken.
    pub fn over(world: &World) -> Watch {
        let watch = Watch::default();
        let (of_world, world2) = (watch.clone(), world.clone());
        world.invariant("offsets", move || of_world.check(&world2));
        watch
    }

    /// The broker's disk is lost: what was not tiered is as well, and its offsets are given out again.
    pub fn disk_lost(&self) {
        for seen in self.0.lock().seen.values_mut() {
            seen.high_watermark = HighWatermark::default();
        }
    }

    /// The partitions that the broker leads now; none while it is down.
    pub fn led(&self) -> Vec<Arc<Partition>> {
        let watched = self.0.lock();
        let life = watched.life.as_ref().filter(|(node, _)| node.is_alive());
        life.and_then(|(_, hosted)| hosted.upgrade()).map(|hosted| hosted.led()).unwrap_or_default()
    }

    /// A new life began.
    pub(super) fn began(&self, node: &NodeEnv, hosted: &Arc<Hosted>) {
        self.0.lock().life = Some((node.clone(), Arc::downgrade(hosted)));
    }

    fn check(&self, world: &World) -> Result<(), String> {
        let mut guard = self.0.lock();
        let watched = &mut *guard;
        let Some((node, hosted)) = &watched.life else { return Ok(()) };
        let polls = world.polls(node.node);
        if std::mem::replace(&mut watched.polls, polls) == polls || !node.is_alive() {
            return Ok(());
        }
        let Some(hosted) = hosted.upgrade() else { return Ok(()) };
        for partition in hosted.led() {
            let marks = partition.log().marks(partition.high_watermark());
            let seen = watched.seen.entry(partition.id()).or_default();
            if seen.marks.as_ref() == Some(&marks) {
                continue;
            }
            let broken = |rule: &str| format!("{rule}: {} {} {marks:?}", partition.topic(), partition.id());
            if let Some(rule) = broken_rule(&marks) {
                return Err(broken(rule));
            }
            if marks.high_watermark < seen.high_watermark {
                return Err(broken(&format!("the high watermark was {}", seen.high_watermark)));
            }
            if marks.tier_end < seen.tier_end {
                return Err(broken(&format!("the tier's end was {}", seen.tier_end)));
            }
            if marks.log_start < seen.log_start {
                return Err(broken(&format!("the log start was {}", seen.log_start)));
            }
            let manifest = partition.log().manifest();
            for unit in manifest.iter().flat_map(|manifest| manifest.recent()) {
                let key = unit.key.to_string();
                if !world.store().contains(&key) {
                    return Err(broken(&format!("a unit names {key}, which is not there")));
                }
            }
            let Marks { high_watermark, log_start, tier_end, .. } = marks;
            *seen = Seen { marks: Some(marks), high_watermark, log_start, tier_end };
        }
        Ok(())
    }
}

/// From now on the run fails when a numbered log has a gap, or one of its commits or data objects changes.
pub fn watch_store(world: &World) {
    for prefix in LOGS.iter().chain(&["data/"]) {
        world.store().immutable_below(prefix);
    }
    let (of_world, mut seen, mut last) = (world.clone(), 0, [0_u64; LOGS.len()]);
    world.invariant("numbered logs", move || {
        if of_world.store().changes() == seen {
            return Ok(());
        }
        let changes = of_world.store().changes_after(seen);
        seen += changes.len();
        for change in changes {
            let Some((log, number)) = LOGS.iter().enumerate().find_map(|(log, prefix)| {
                let number = change.key.strip_prefix(prefix)?.parse::<u64>().ok()?;
                Some((log, number))
            }) else {
                continue;
            };
            match change.effect {
                // One that was deleted may come again, by a writer that slept: it counts for nothing.
                StoreEffect::Created(_) if number <= last[log] => {}
                StoreEffect::Created(_) if number == last[log] + 1 => last[log] = number,
                StoreEffect::Created(_) => {
                    return Err(format!("{} follows {} in {}", number, last[log], LOGS[log]));
                }
                StoreEffect::Replaced(_) | StoreEffect::Deleted => {}
            }
        }
        Ok(())
    });
}
