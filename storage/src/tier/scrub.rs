//! The scrub: a proof that the tier is whole.
//!
//! It walks every manifest and every object and tells what is *missing*, *damaged*, *orphaned*, *stale*, or leaves a *hole*. A
//! tier without findings has every unit's object, with every checksum right, tiling every partition from its log
//! start to its tier's end, and nothing else. Orphans are no harm while they are young: the sweeper comes for them.
//!
//! An object that was named a moment ago is none yet: its readers have a grace. So [`scrub_settled`] is told what was
//! named at a *horizon*, and takes for an orphan only what is older and was not named then either.
//!
//! It keeps the keys of all objects in memory; it is a tool, not a part of the broker's life.

use super::TierError;
use super::image::TierImage;
use super::key::{DATA_PREFIX, ObjectKey, PAGE_PREFIX, SHARD_PREFIX};
use super::manifest::Manifest;
use super::object::{check_unit, read_section};
use super::persist::{NamedShards, read_page};
use super::unit::UnitMeta;
use crate::env::Timestamp;
use crate::env::store::{ObjectEntry, Store};
use crate::offset::{Offset, PartitionId};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use uuid::Uuid;

/// Keys of one listing.
const PAGE: usize = 1000;

/// How much of each unit is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScrubDepth {
    /// Its index: the object is there and is the right one.
    Presence,
    /// All of it, with every checksum.
    Everything,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// An object that a manifest names is not there.
    Missing {
        /// Its key.
        key: String,
    },
    /// Bytes are not what was written.
    Damaged {
        /// What was found.
        reason: String,
    },
    /// Two units of a partition do not meet.
    Hole {
        /// The partition.
        partition: PartitionId,
        /// Where a unit should start.
        at: Offset,
    },
    /// An object that no manifest names.
    Orphan {
        /// Its key.
        key: String,
    },
    /// Shards of snapshots that no snapshot names, and none will.
    Stale {
        /// Their object's key.
        key: String,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Missing { key } => write!(f, "missing: {key} is named and not there"),
            Finding::Damaged { reason } => write!(f, "damaged: {reason}"),
            Finding::Hole { partition, at } => write!(f, "hole: partition {partition} has no unit from {at} on"),
            Finding::Orphan { key } => write!(f, "orphan: {key} is named by nothing"),
            Finding::Stale { key } => write!(f, "stale: {key} is named by no snapshot"),
        }
    }
}

/// What a scrub saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Units checked.
    pub units: u64,
    /// The bytes of their batches.
    pub bytes: u64,
    /// Objects that nothing names, too young to be orphans or stale.
    pub young: u64,
    /// Objects that a page may name which cannot be read: nobody can tell whether they are orphans.
    pub unjudged: u64,
    /// Everything that is wrong.
    pub findings: Vec<Finding>,
}

/// Checks all that an image names, and that there is nothing else.
///
/// # Errors
/// [`TierError::Retry`] and [`TierError::Refused`]: the store could not be asked. What is wrong with what it holds is
/// in the report.
pub async fn scrub(
    store: &dyn Store,
    cluster: Uuid,
    image: &TierImage,
    depth: ScrubDepth,
) -> Result<ScrubReport, TierError> {
    let (end, then) = (Timestamp::from_millis(i64::MAX), TierImage::default());
    let settled = Settled { horizon: end, then: &then, shards: Timestamp::from_millis(i64::MIN) };
    scrub_settled(store, cluster, image, depth, settled).await
}

/// What may be without a name for a while.
#[derive(Clone, Copy, Debug)]
pub struct Settled<'a> {
    /// Objects that were written later may be orphans,
    pub horizon: Timestamp,
    /// and so may those that were named then.
    pub then: &'a TierImage,
    /// Shards that were written later may be stale.
    pub shards: Timestamp,
}

/// As [`scrub`], but tolerant of what is not settled yet.
///
/// # Errors
/// As [`scrub`].
pub async fn scrub_settled(
    store: &dyn Store,
    cluster: Uuid,
    image: &TierImage,
    depth: ScrubDepth,
    settled: Settled<'_>,
) -> Result<ScrubReport, TierError> {
    let Settled { horizon, then, shards } = settled;
    let mut report = ScrubReport::default();
    let mut named: BTreeSet<Arc<str>> = BTreeSet::new();
    let mut blind: BTreeSet<PartitionId> = BTreeSet::new();
    for (partition, manifest) in image.partitions() {
        named.extend(manifest.pages().iter().map(|page| Arc::clone(&page.key)));
        let so_far = report.findings.len();
        let units = units_of(store, cluster, manifest, &mut report).await?;
        if report.findings.len() > so_far {
            blind.insert(*partition);
        }
        let mut expected = None;
        for unit in &units {
            // Where a page cannot be read, that is what is wrong.
            let meets = expected.is_none_or(|end| unit.start == end || unit.start <= manifest.log_start().offset())
                || blind.contains(partition);
            if let (false, Some(at)) = (meets, expected) {
                report.findings.push(Finding::Hole { partition: *partition, at });
            }
            expected = Some(unit.end);
            named.insert(Arc::clone(&unit.key));
            report.units += 1;
            report.bytes += unit.data.len();
            let checked = match depth {
                ScrubDepth::Presence => read_section(store, &unit.key, unit.index).await.map(drop),
                ScrubDepth::Everything => check_unit(store, unit).await,
            };
            note(checked, &mut report)?;
        }
        if expected.is_some_and(|end| end != manifest.end().offset()) {
            report.findings.push(Finding::Hole { partition: *partition, at: manifest.end().offset() });
        }
    }
    // Pages that are gone meanwhile tell nothing, and what they named is younger than they.
    let mut unreadable = ScrubReport::default();
    for (_, manifest) in then.partitions() {
        named.extend(manifest.pages().iter().map(|page| Arc::clone(&page.key)));
        let units = units_of(store, cluster, manifest, &mut unreadable).await?;
        named.extend(units.iter().map(|unit| Arc::clone(&unit.key)));
    }
    let may_be_named = |key: &str| match key.parse() {
        Ok(ObjectKey::Partition { partition, .. } | ObjectKey::Rewrite { partition, .. }) => blind.contains(&partition),
        Ok(ObjectKey::Shared { .. }) => !blind.is_empty(),
        _ => false,
    };
    for prefix in [DATA_PREFIX, PAGE_PREFIX] {
        unnamed(store, prefix, &mut report, |entry| match entry.modified <= horizon {
            _ if named.contains(entry.key.as_str()) => Judged::Named,
            _ if may_be_named(&entry.key) => Judged::Unknown,
            true => Judged::Wrong(Finding::Orphan { key: entry.key.clone() }),
            false => Judged::Young,
        })
        .await?;
    }
    match NamedShards::read(store, cluster).await {
        Ok(snapshots) => {
            unnamed(store, SHARD_PREFIX, &mut report, |entry| match entry.modified <= shards {
                _ if !snapshots.is_stale(&entry.key) => Judged::Named,
                true => Judged::Wrong(Finding::Stale { key: entry.key.clone() }),
                false => Judged::Young,
            })
            .await?;
        }
        // What a snapshot names that cannot be read is nobody's to take.
        Err(error) => note(Err(error), &mut report)?,
    }
    report.findings.dedup();
    Ok(report)
}

async fn units_of(
    store: &dyn Store,
    cluster: Uuid,
    manifest: &Manifest,
    report: &mut ScrubReport,
) -> Result<Vec<Arc<UnitMeta>>, TierError> {
    let mut units = Vec::new();
    for page in manifest.pages() {
        match read_page(store, cluster, page).await {
            Ok(paged) => units.extend(paged.into_iter().filter(|unit| unit.end > manifest.log_start().offset())),
            Err(error) => note(Err(error), report)?,
        }
    }
    units.extend(manifest.recent().iter().cloned());
    Ok(units)
}

/// What an object is.
enum Judged {
    Named,
    Unknown,
    Young,
    Wrong(Finding),
}

/// Goes through a listing, and notes what of it is wrong.
async fn unnamed(
    store: &dyn Store,
    prefix: &str,
    report: &mut ScrubReport,
    judge: impl Fn(&ObjectEntry) -> Judged,
) -> Result<(), TierError> {
    let mut after: Option<String> = None;
    loop {
        let page = store.list(prefix, after.as_deref(), PAGE).await?;
        for judged in page.iter().map(&judge) {
            match judged {
                Judged::Named => {}
                Judged::Unknown => report.unjudged += 1,
                Judged::Young => report.young += 1,
                Judged::Wrong(finding) => report.findings.push(finding),
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.key.clone()),
            _ => return Ok(()),
        }
    }
}

fn note(checked: Result<(), TierError>, report: &mut ScrubReport) -> Result<(), TierError> {
    match checked {
        Ok(()) => {}
        Err(TierError::Gone { key }) => report.findings.push(Finding::Missing { key }),
        Err(error @ TierError::Corrupt { .. }) => report.findings.push(Finding::Damaged { reason: error.to_string() }),
        Err(error) => return Err(error),
    }
    Ok(())
}
