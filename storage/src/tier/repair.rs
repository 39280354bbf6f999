//! Mending what can be mended: pages of manifests, from what the objects say of themselves.
//!
//! | what is wrong | what mends it |
//! | --- | --- |
//! | an orphan, or stale shards | they are deleted, as the sweeper does it |
//! | a page that is missing or damaged | [`mend_pages`]: its units are described in the footers of their objects |
//! | an object with batches that is missing or damaged | nothing in the store: it was the only copy there |
//! | a hole between units | nothing: no commit makes one, so somebody else has changed the tier log |
//! | a snapshot that is damaged, or the shards that it names | [`delete_damaged_snapshots`]: the log is read from an earlier one, if that leads as far |
//! | a commit that cannot be read | nothing: what the log says after it would be a guess |
//!
//! A manifest says of a page where it starts and ends, how many units it has, how many bytes, and their latest timestamp.
//! Units that tile just that, out of all that the footers tell of the partition, are the page's; a new page with them
//! takes the place of the old one in one swap, which is refused if the manifest has moved on meanwhile. So this may be done
//! while brokers run.

use super::TierError;
use super::committer::TierCommits;
use super::image::TierImage;
use super::key::{DATA_PREFIX, ObjectKey};
use super::manifest::{Manifest, PageRef};
use super::object::read_footer;
use super::persist::{RootLine, TIER_LOG, read_page, write_page};
use super::record::TierRecord;
use super::swap::{Change, Swap};
use super::tier_log::TierLog;
use super::unit::UnitMeta;
use crate::env::Env;
use crate::env::store::{ObjectEntry, Store};
use crate::numbered_log::{self, LogName};
use crate::offset::{Offset, PartitionId};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// Keys of one listing.
const LISTED: usize = 1000;
/// Units that are tried in the search for those of one page.
const MAX_TRIED: usize = 1_000_000;

/// A page that was written anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MendedPage {
    /// The key of the one that could not be read.
    pub old: Arc<str>,
    /// The key of the one that took its place.
    pub new: Arc<str>,
}

/// Deletes the damaged snapshots of the tier log that it can do without; their keys.
///
/// # Errors
/// [`TierError::Retry`], [`TierError::Refused`], and [`TierError::Corrupt`] for a snapshot that is of another format.
pub async fn delete_damaged_snapshots(
    env: &Env,
    store: &Arc<dyn Store>,
    cluster: Uuid,
) -> Result<Vec<String>, TierError> {
    let name = LogName::new(TIER_LOG, cluster);
    numbered_log::delete_damaged_snapshots::<RootLine, _>(&**store, &name, async |from| {
        TierLog::reach(store, env, cluster, from).await
    })
    .await
}

/// Units by where they start.
type Described = BTreeMap<(PartitionId, Offset), Vec<Arc<UnitMeta>>>;

/// Writes the pages anew that are missing or damaged, as far as the objects of their units are all there.
///
/// # Errors
/// What the store says; what was mended until then stays mended.
pub async fn mend_pages(
    env: &Env,
    store: &Arc<dyn Store>,
    cluster: Uuid,
    commits: &TierCommits,
) -> Result<Vec<MendedPage>, TierError> {
    let image = commits.image();
    let broken = broken_pages(&**store, cluster, &image).await?;
    if broken.is_empty() {
        return Ok(Vec::new());
    }
    let described = describe(&**store, &broken).await?;
    let mut mended = Vec::new();
    for (partition, page) in broken {
        let image = commits.image();
        let Some(manifest) = image.get(&partition) else { continue };
        let (Some(units), Some(epoch)) = (units_of(&described, partition, manifest, &page), manifest.open_epoch())
        else {
            continue;
        };
        let revision = manifest.revision();
        let new = write_page(&**store, env, cluster, revision, &units).await?;
        let key = Arc::clone(&new.key);
        let change = Change::Pages { old: vec![Arc::clone(&page.key)], new: vec![new] };
        let swap = TierRecord::Swap(Swap { partition, epoch, revision, change });
        if commits.commit(vec![swap]).await?.first().is_some_and(|verdict| verdict.is_applied()) {
            mended.push(MendedPage { old: page.key, new: key });
        }
    }
    Ok(mended)
}

async fn broken_pages(
    store: &dyn Store,
    cluster: Uuid,
    image: &TierImage,
) -> Result<Vec<(PartitionId, PageRef)>, TierError> {
    let mut broken = Vec::new();
    for (partition, manifest) in image.partitions() {
        for page in manifest.pages() {
            match read_page(store, cluster, page).await {
                Ok(_) => {}
                Err(TierError::Corrupt { .. } | TierError::Gone { .. }) => broken.push((*partition, page.clone())),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(broken)
}

/// What the objects tell of the partitions whose pages are broken.
async fn describe(store: &dyn Store, broken: &[(PartitionId, PageRef)]) -> Result<Described, TierError> {
    let concerns = |entry: &ObjectEntry| match entry.key.parse() {
        Ok(ObjectKey::Partition { partition, base, .. } | ObjectKey::Rewrite { partition, base, .. }) => {
            broken.iter().any(|(of, page)| *of == partition && (page.start..page.end).contains(&base))
        }
        Ok(ObjectKey::Shared { .. }) => true,
        _ => false,
    };
    let mut described = Described::new();
    let mut after: Option<String> = None;
    loop {
        let listed = store.list(DATA_PREFIX, after.as_deref(), LISTED).await?;
        for entry in listed.iter().filter(|entry| concerns(entry)) {
            let units = match read_footer(store, &entry.key, entry.size).await {
                Ok(units) => units,
                // Swept meanwhile, or damaged itself: it tells nothing.
                Err(TierError::Corrupt { .. } | TierError::Gone { .. }) => continue,
                Err(error) => return Err(error),
            };
            for unit in units.into_iter().filter(|unit| broken.iter().any(|(of, _)| *of == unit.partition)) {
                described.entry((unit.partition, unit.start)).or_default().push(Arc::new(unit));
            }
        }
        match listed.last() {
            Some(last) if listed.len() == LISTED => after = Some(last.key.clone()),
            _ => return Ok(described),
        }
    }
}

/// The units that a page has by what its manifest says of it; `None` if they are not all described.
fn units_of(
    described: &Described,
    partition: PartitionId,
    manifest: &Manifest,
    page: &PageRef,
) -> Option<Vec<Arc<UnitMeta>>> {
    // Of the same start the latest rewrite first: it is what would be named if nothing else is known.
    let from = |at: Offset| -> Vec<Arc<UnitMeta>> {
        let all = described.get(&(partition, at)).map(Vec::as_slice).unwrap_or_default();
        let mut all: Vec<Arc<UnitMeta>> = all
            .iter()
            .filter(|unit| unit.revision.is_some() || unit.stay == manifest.stay())
            .filter(|unit| unit.end <= page.end)
            .cloned()
            .collect();
        all.sort_by_key(|unit| unit.revision);
        all
    };
    let mut chosen: Vec<Arc<UnitMeta>> = Vec::new();
    // For each unit that is chosen, and for the next one, what else could be.
    let mut open = vec![from(page.start)];
    for _ in 0..MAX_TRIED {
        let options = open.last_mut()?;
        let Some(unit) = options.pop() else {
            open.pop();
            chosen.pop();
            continue;
        };
        let bytes = super::unit::total(chosen.iter().chain([&unit]).map(|unit| unit.data.len()));
        if bytes > page.bytes || chosen.len() >= page.units as usize {
            continue;
        }
        let end = unit.end;
        chosen.push(unit);
        if end < page.end {
            open.push(from(end));
            continue;
        }
        let latest = chosen.iter().filter_map(|unit| unit.max_timestamp).max();
        if (chosen.len(), bytes, latest) == (page.units as usize, page.bytes, page.max_timestamp) {
            return Some(chosen);
        }
        chosen.pop();
    }
    None
}

#[cfg(test)]
#[path = "repair_tests.rs"]
mod tests;
