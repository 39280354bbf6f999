//! Merging: small units of a partition become larger ones, a few at a time.
//!
//! ```text
//!   [..][4K][3K][4K][5K] ... [2K]  --sixteen or more, small, of about the same size-->  [..][  60K  ]
//! ```
//!
//! A trickle makes a unit per `tail.max.ms`, and each costs a description in every manifest and a request to read. The
//! planner ([`plan_merges`]) is pure. It takes, of each partition, the oldest run of small units in which none is much
//! larger than the rest: so the sizes grow in steps, a byte is rewritten once per step, and there are few steps. A plan
//! is bounded in bytes, units and objects to read.
//!
//! Units leave the manifest for pages once there are many, small ones too where merging could not keep up: the store was
//! bad, a unit could not be read, the topic's settings were others. [`pages_to_merge`] says by the sums in a manifest which
//! pages are worth reading; what is in them is planned as what is held one by one, and one swap brings the new page.
//!
//! Nothing of the data is interpreted: batches are copied as they are once their checksums are found right
//! ([`gather`]); the index is made anew, the last unit's state goes on, and the aborted transactions are those of all.
//! Where merged units go, and with which commit, is the uploader's affair.

use super::TierError;
use super::image::TierImage;
use super::manifest::{PAGE_UNITS, PageRef};
use super::object::slice_of;
use super::rewrite::{Run, Stretch, joined_state};
use super::sections::{decode_aborted, decode_epochs};
use super::source::PartitionView;
use super::unit::UnitMeta;
use super::writer::{ObjectWriter, UnitState, check_batches};
use crate::env::store::Store;
use crate::offset::{Offset, PartitionId};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Units of one run at most.
const MAX_RUN: usize = 256;
/// What lies between two units of an object is read along if it is no more than this.
const GAP: u64 = 64 << 10;

/// What is merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergeConfig {
    /// Units below this are merged.
    pub small_bytes: u64,
    /// No merged unit is larger than this.
    pub max_bytes: u64,
    /// So many small units are worth it.
    pub fan_in: usize,
    /// Objects that one plan reads from.
    pub max_objects: usize,
    /// How far apart the latest timestamps of what is merged may be.
    pub max_span: Duration,
}

impl Default for MergeConfig {
    fn default() -> MergeConfig {
        MergeConfig { small_bytes: 4 << 20, max_bytes: 16 << 20, fan_in: 16, max_objects: 256, max_span: Duration::MAX }
    }
}

impl MergeConfig {
    /// What of it holds for a partition, which may keep its units for a short time only.
    pub(super) fn of_view(&self, view: &PartitionView) -> MergeConfig {
        let max_bytes = self.max_bytes.min(view.tail.merged_max_bytes);
        MergeConfig {
            max_bytes,
            small_bytes: self.small_bytes.min(max_bytes / 4),
            max_span: self.max_span.min(view.tail.merged_max_span),
            ..*self
        }
    }
}

/// The oldest pages from `from` on that are worth reading, because their units are small on average. They are as many
/// adjacent ones as have the units of one page, together with those that merging has left with a few units before.
pub fn pages_to_merge(config: &MergeConfig, pages: &[PageRef], from: Offset) -> Option<Range<usize>> {
    let is_small = |page: &PageRef| page.bytes < config.small_bytes.saturating_mul(u64::from(page.units));
    let is_sparse = |page: &PageRef| (page.units as usize) < config.fan_in;
    let is_due = |page: &PageRef| page.start >= from && is_small(page) && !is_sparse(page);
    let first = pages.iter().position(is_due)?;
    let mut units = 0;
    let mut fits = |page: &&PageRef| {
        units += page.units as usize;
        units <= PAGE_UNITS
    };
    let more = pages.iter().skip(first).take_while(|page| is_small(page) || is_sparse(page));
    let past = first + more.take_while(&mut fits).count();
    let before = pages.iter().take(first).rev().take_while(|page| is_sparse(page));
    // The one that did not fit any more was counted.
    let mut units: usize = pages.get(first..past)?.iter().map(|page| page.units as usize).sum();
    let before = before.take_while(|page| {
        units += page.units as usize;
        units <= PAGE_UNITS
    });
    let start = first - before.count();
    Some(start..past)
}

/// The oldest run of adjacent units that is worth merging; `None` if there is none.
///
/// Worth it is a run of enough units, or of enough bytes, as long as its largest unit is a minor part of it: then every
/// byte that is copied ends in a unit of several times the size.
pub fn run_to_merge(config: &MergeConfig, units: &[Arc<UnitMeta>]) -> Option<Range<usize>> {
    let is_small = |unit: &Arc<UnitMeta>| unit.data.len() < config.small_bytes;
    (0..units.len()).find_map(|first| {
        let (mut bytes, mut largest, mut count) = (0u64, 0u64, 0usize);
        for unit in units.iter().skip(first).take(MAX_RUN).take_while(|unit| is_small(unit)) {
            let span = units.get(first).map_or(0, |first| millis_between(first, unit));
            if bytes.saturating_add(unit.data.len()) > config.max_bytes || span > config.max_span.as_millis() {
                break;
            }
            bytes = bytes.saturating_add(unit.data.len());
            largest = largest.max(unit.data.len());
            count += 1;
        }
        let many = count >= config.fan_in && largest.saturating_mul(4) <= bytes;
        let much = bytes >= config.max_bytes / 2 && largest.saturating_mul(2) <= bytes;
        (many || much).then(|| first..first + count)
    })
}

fn millis_between(a: &UnitMeta, b: &UnitMeta) -> u128 {
    let both = a.max_timestamp.zip(b.max_timestamp);
    both.map_or(0, |(a, b)| u128::from(a.millis().abs_diff(b.millis())))
}

/// The runs to merge now, of the partitions that this broker leads: together at most `budget` bytes.
pub fn plan_merges(
    config: &MergeConfig,
    image: &TierImage,
    views: &[PartitionView],
    busy: &BTreeSet<PartitionId>,
    budget: u64,
) -> Vec<Run> {
    let (mut runs, mut objects, mut left) = (Vec::new(), BTreeSet::new(), budget);
    for view in views.iter().filter(|view| view.enabled && !busy.contains(&view.partition)) {
        let manifest = image.get(&view.partition).filter(|manifest| manifest.open_epoch() == Some(view.leader_epoch));
        let Some(manifest) = manifest else { continue };
        let Some(run) = run_to_merge(&config.of_view(view), manifest.recent()) else { continue };
        let Some(run) = Stretch::recent(view.partition, manifest, view.leader_epoch).run(run) else { continue };
        let new = run.units().iter().filter(|unit| !objects.contains(&unit.key));
        let keys: BTreeSet<Arc<str>> = new.map(|unit| Arc::clone(&unit.key)).collect();
        if run.bytes() > left || objects.len() + keys.len() > config.max_objects {
            continue;
        }
        left -= run.bytes();
        objects.extend(keys);
        runs.push(run);
    }
    runs
}

/// A run with all that is in its units, checked.
pub(super) struct Gathered {
    run: Run,
    /// Of each unit, its batches and its state.
    units: Vec<(Bytes, UnitState)>,
}

/// Reads all of some runs into memory: one request per object, as far as their units lie side by side.
///
/// # Errors
/// [`TierError::Corrupt`] for a section that is not what was written; what the store says.
pub(super) async fn gather(store: &dyn Store, runs: &[Run]) -> Result<Vec<Gathered>, TierError> {
    let mut spans: BTreeMap<Arc<str>, Vec<Range<u64>>> = BTreeMap::new();
    for unit in runs.iter().flat_map(|run| run.units()) {
        spans.entry(Arc::clone(&unit.key)).or_default().push(extent(unit));
    }
    let mut pieces: BTreeMap<Arc<str>, Vec<(u64, Bytes)>> = BTreeMap::new();
    for (key, spans) in spans {
        for span in coalesced(spans) {
            let bytes = store.get_range(&key, span.clone()).await?;
            pieces.entry(Arc::clone(&key)).or_default().push((span.start, bytes));
        }
    }
    let gathered = runs.iter().map(|run| {
        let gathered = Gathered { run: run.clone(), units: unpack(run, &pieces)? };
        let (start, end) = gathered.bounds()?;
        // Found here, damage concerns this run; found while it is written, all that shares its object.
        check_batches(run.range(start, end), gathered.units.iter().map(|(batches, _)| batches))?;
        Ok(gathered)
    });
    gathered.collect()
}

/// All of a unit: its sections lie side by side.
fn extent(unit: &UnitMeta) -> Range<u64> {
    unit.data.position()..unit.aborted.range().end
}

/// Ranges in order, those that nearly touch as one.
fn coalesced(mut spans: Vec<Range<u64>>) -> Vec<Range<u64>> {
    spans.sort_by_key(|span| (span.start, span.end));
    let mut joined: Vec<Range<u64>> = Vec::new();
    for span in spans {
        match joined.last_mut() {
            Some(last) if span.start <= last.end.saturating_add(GAP) => last.end = last.end.max(span.end),
            _ => joined.push(span),
        }
    }
    joined
}

fn unpack(run: &Run, pieces: &BTreeMap<Arc<str>, Vec<(u64, Bytes)>>) -> Result<Vec<(Bytes, UnitState)>, TierError> {
    let mut units = Vec::new();
    for unit in run.units() {
        let of_object = pieces.get(&unit.key).map(Vec::as_slice).unwrap_or_default();
        let piece = of_object.partition_point(|(start, _)| *start <= unit.data.position()).checked_sub(1);
        let missing = || TierError::corrupt(&unit.key, "a unit was not read");
        let (start, bytes) = piece.and_then(|piece| of_object.get(piece)).ok_or_else(missing)?;
        let section = |section| slice_of(&unit.key, section, *start, bytes);
        let state = UnitState {
            producers: section(unit.producers)?,
            epochs: decode_epochs(&section(unit.epochs)?)?,
            aborted: decode_aborted(&section(unit.aborted)?)?,
        };
        units.push((section(unit.data)?, state));
    }
    Ok(units)
}

impl Gathered {
    /// What was gathered.
    pub(super) fn run(&self) -> &Run {
        &self.run
    }

    /// Writes the run as one unit.
    ///
    /// # Errors
    /// As [`ObjectWriter::data`] and [`ObjectWriter::end_unit`].
    pub(super) async fn write(self, writer: &mut ObjectWriter) -> Result<(), TierError> {
        let (start, end) = self.bounds()?;
        writer.begin_unit(self.run.range(start, end))?;
        let mut states = Vec::new();
        for (batches, state) in self.units {
            writer.data(&batches).await?;
            states.push(state);
        }
        writer.end_unit(end, joined_state(states).unwrap_or_default()).await
    }

    fn bounds(&self) -> Result<(Offset, Offset), TierError> {
        let bounds = self.run.units().first().zip(self.run.units().last()).map(|(first, last)| (first.start, last.end));
        bounds.ok_or_else(|| TierError::Invalid { reason: "an empty run".to_owned() })
    }
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
