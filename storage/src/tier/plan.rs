//! What to upload now: a pure planner.
//!
//! Its goals, in this order:
//! 1. Only what can never be truncated is uploaded: below [`PartitionView::uploadable_end`].
//! 2. A unit starts where the tier of its partition ends, so that nothing is uploaded twice.
//! 3. Sealed segments go at once. The rest waits until it is [`TailLimits::max_bytes`] large or a period of
//!    [`TailLimits::max_age`] has ended: together these bound what a replacement must copy and what a lost disk can
//!    cost. Periods are those of the clock, the same for all partitions, so that what trickles into many of them is due
//!    at once, in one object and one commit.
//! 4. The partition with most to lose comes first.
//! 5. Small ranges share an object, large ones have one of their own.
//!
//! A *range* is what is due of one partition; an *object plan* is what goes into one object: ranges, and, where there is
//! room, runs to merge.

use super::image::TierImage;
use super::merge::MergeConfig;
use super::rewrite::Run;
use super::source::PartitionView;
#[cfg(doc)]
use super::source::TailLimits;
use super::writer::UnitRange;
use crate::env::Monotonic;
use crate::offset::{Offset, PartitionId};
use std::collections::{BTreeMap, BTreeSet};

/// When and how much is uploaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadConfig {
    /// The greatest unit.
    pub unit_max_bytes: u64,
    /// A range below this shares its object with others.
    pub shared_below_bytes: u64,
    /// Bytes that a shared object takes, which are in memory while it is written: it goes up in one request.
    pub shared_max_bytes: u64,
    /// Objects that are uploaded at the same time; of shared ones there is one at a time.
    pub concurrency: usize,
    /// What is merged.
    pub merge: MergeConfig,
}

impl Default for UploadConfig {
    fn default() -> UploadConfig {
        UploadConfig {
            unit_max_bytes: 256 << 20,
            shared_below_bytes: 16 << 20,
            shared_max_bytes: 64 << 20,
            concurrency: 4,
            merge: MergeConfig::default(),
        }
    }
}

/// Ranges that one shared object takes: as many as one commit.
const SHARED_MAX_RANGES: usize = 2000;

/// What is due of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueRange {
    /// The range, which the upload may cut short at [`DueRange::max_bytes`].
    pub range: UnitRange,
    /// About how many bytes it has.
    pub bytes: u64,
    /// The upload ends with the batch that reaches this.
    pub max_bytes: u64,
}

/// What goes into one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectPlan {
    /// One range, or several of different partitions.
    pub ranges: Vec<DueRange>,
    /// What is merged along.
    pub merges: Vec<Run>,
}

impl ObjectPlan {
    /// About how many bytes go up.
    pub fn bytes(&self) -> u64 {
        let ranges: u64 = self.ranges.iter().map(|due| due.bytes).sum();
        ranges.saturating_add(self.merges.iter().map(Run::bytes).sum())
    }

    /// Whether it is, or could be, one that several partitions share.
    pub fn is_shared(&self, config: &UploadConfig) -> bool {
        self.ranges.iter().all(|due| due.bytes < config.shared_below_bytes)
    }
}

/// Since when something of a partition is missing in the tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waiting {
    from: Offset,
    since: Monotonic,
}

/// The planner's memory: since when each partition's tail waits.
#[derive(Clone, Debug, Default)]
pub struct UploadPlanner {
    waiting: BTreeMap<PartitionId, Waiting>,
}

impl UploadPlanner {
    /// What to upload now. Partitions in `busy` are left alone.
    pub fn plan(
        &mut self,
        config: &UploadConfig,
        image: &TierImage,
        views: &[PartitionView],
        busy: &BTreeSet<PartitionId>,
        now: Monotonic,
    ) -> Vec<ObjectPlan> {
        let known: BTreeSet<PartitionId> = views.iter().map(|view| view.partition).collect();
        self.waiting.retain(|partition, _| known.contains(partition));
        let mut due: Vec<DueRange> = views.iter().filter_map(|view| self.due(config, image, view, now)).collect();
        due.retain(|due| !busy.contains(&due.range.partition));
        due.sort_by_key(|due| (std::cmp::Reverse(due.bytes), due.range.partition));
        let plans = group(config, due);
        debug_assert!(plans_are_disjoint(&plans), "{plans:?}");
        plans
    }

    fn due(
        &mut self,
        config: &UploadConfig,
        image: &TierImage,
        view: &PartitionView,
        now: Monotonic,
    ) -> Option<DueRange> {
        // Until the partition is open in this leader's epoch, its units would be refused.
        let manifest = image.get(&view.partition).filter(|manifest| manifest.open_epoch() == Some(view.leader_epoch));
        let manifest = manifest.filter(|_| view.enabled)?;
        let start = manifest.next_start();
        if start >= view.uploadable_end {
            self.waiting.remove(&view.partition);
            return None;
        }
        let waiting = self.waiting.entry(view.partition).or_insert(Waiting { from: start, since: now });
        if waiting.from != start {
            *waiting = Waiting { from: start, since: now };
        }
        let sealed = view.segments.iter().filter(|segment| segment.sealed && segment.end <= view.uploadable_end);
        let sealed_end = sealed.map(|segment| segment.end).max().filter(|end| *end > start);
        let tail = bytes_between(view, start, view.uploadable_end);
        let is_old = period(now, view.tail.max_age) > period(waiting.since, view.tail.max_age);
        let is_due = tail >= view.tail.max_bytes || is_old;
        let upto = if is_due { view.uploadable_end } else { sealed_end? };
        let (partition, leader_epoch) = (view.partition, view.leader_epoch);
        let range = UnitRange { partition, start, upto, leader_epoch, revision: None, stay: manifest.stay() };
        let max_bytes = config.unit_max_bytes.min(view.tail.unit_max_bytes).max(1);
        Some(DueRange { range, bytes: bytes_between(view, start, upto).min(max_bytes), max_bytes })
    }
}

/// Which of the clock's periods of `length` a moment is in.
fn period(at: Monotonic, length: std::time::Duration) -> u128 {
    at.origin_elapsed().as_nanos() / length.as_nanos().max(1)
}

/// About how many bytes of a log lie in `from..upto`: whole segments exactly, parts in proportion to their offsets.
pub fn bytes_between(view: &PartitionView, from: Offset, upto: Offset) -> u64 {
    let part = |segment: &super::source::SegmentView| {
        let all = segment.end.since(segment.base).max(1);
        let within = upto.min(segment.end).since(from.max(segment.base)).min(all);
        (u128::from(segment.bytes) * u128::from(within) / u128::from(all)) as u64
    };
    view.segments.iter().map(part).sum()
}

/// Ranges in the order of their plans: large ones alone, small ones together.
fn group(config: &UploadConfig, due: Vec<DueRange>) -> Vec<ObjectPlan> {
    let (small, large): (Vec<DueRange>, Vec<DueRange>) =
        due.into_iter().partition(|due| due.bytes < config.shared_below_bytes);
    let mut plans: Vec<ObjectPlan> =
        large.into_iter().map(|due| ObjectPlan { ranges: vec![due], merges: Vec::new() }).collect();
    let mut shared: Option<(ObjectPlan, u64)> = None;
    for due in small {
        let fits = shared.as_ref().is_some_and(|(plan, bytes)| {
            plan.ranges.len() < SHARED_MAX_RANGES && bytes + due.bytes <= config.shared_max_bytes
        });
        match shared.as_mut().filter(|_| fits) {
            Some((plan, bytes)) => {
                plan.ranges.push(due);
                *bytes += due.bytes;
            }
            None => {
                let next = ObjectPlan { ranges: vec![due], merges: Vec::new() };
                plans.extend(shared.replace((next, due.bytes)).map(|(plan, _)| plan));
            }
        }
    }
    plans.extend(shared.map(|(plan, _)| plan));
    plans
}

/// Whether plans name each partition once: two units of one partition cannot both start where its tier ends.
pub fn plans_are_disjoint(plans: &[ObjectPlan]) -> bool {
    let mut seen = BTreeSet::new();
    plans.iter().flat_map(|plan| &plan.ranges).all(|due| seen.insert(due.range.partition))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
