//! How an image is kept: pages, shards, and the root that names them.
//!
//! ```text
//! tier/snapshot/<n>  root: {"shard":{"index":3,"of":64,"key":"tier/shard/0003/.."}} per shard that is not empty,
//!                          {"doomed":{..}} per doomed object
//! tier/shard/..      {"esker":"tier-shard","format":1,"cluster":".."}, then one line per partition, its recent units
//!                    and the names of its pages in it
//! tier/page/..       {"esker":"tier-page","format":1,"cluster":".."}, then one line per unit
//! ```
//!
//! All three are sealed lines (see [`lines`](crate::numbered_log::lines)).

use super::TierError;
use super::image::{SHARDS, Shard, TierImage};
use super::key::ObjectKey;
use super::manifest::{Manifest, PageRef, units_tile};
use super::unit::{Revision, UnitMeta, total};
use crate::env::Env;
use crate::env::store::Store;
use crate::numbered_log::lines::{seal, unseal};
use crate::offset::{LeaderEpoch, LogStart, Offset, PartitionId, TierEnd};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use uuid::Uuid;

const FORMAT: u32 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    #[serde(rename = "tier-shard")]
    Shard,
    #[serde(rename = "tier-page")]
    Page,
}

#[derive(Serialize, Deserialize)]
struct Header {
    esker: Kind,
    format: u32,
    cluster: Uuid,
}

/// A line of a root snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RootLine {
    /// Where a shard is.
    Shard(ShardRef),
    /// An object about to be deleted.
    Doomed {
        /// Its key.
        key: Arc<str>,
        /// What of it could still be accepted.
        starts: Vec<(PartitionId, Offset)>,
    },
}

/// Where a shard is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRef {
    /// Which one.
    pub index: u16,
    /// Of how many.
    pub of: u16,
    /// Its object.
    pub key: Arc<str>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct PartitionLine {
    partition: PartitionId,
    open: Option<LeaderEpoch>,
    log_start: LogStart,
    end: TierEnd,
    bytes: u64,
    #[serde(default, skip_serializing_if = "Revision::is_first")]
    revision: Revision,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pages: Vec<PageRef>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    recent: Vec<Arc<UnitMeta>>,
}

fn sealed<R: Serialize>(kind: Kind, cluster: Uuid, records: &[R]) -> Result<Bytes, TierError> {
    let header = Header { esker: kind, format: FORMAT, cluster };
    seal(&header, records).map_err(|reason| TierError::Invalid { reason })
}

async fn read<R: DeserializeOwned>(
    store: &dyn Store,
    kind: Kind,
    cluster: Uuid,
    key: &str,
) -> Result<Vec<R>, TierError> {
    let bytes = store.get(key).await?;
    decode(kind, cluster, key, &bytes)
}

/// The records of an object of `kind`.
///
/// # Errors
/// [`TierError::Corrupt`] if it is another, or was not written so.
pub(super) fn decode<R: DeserializeOwned>(
    kind: Kind,
    cluster: Uuid,
    key: &str,
    bytes: &[u8],
) -> Result<Vec<R>, TierError> {
    let (header, records): (Header, Vec<R>) = unseal(bytes).map_err(|error| TierError::corrupt(key, error))?;
    if header.esker == kind && header.format == FORMAT && header.cluster == cluster {
        Ok(records)
    } else {
        Err(TierError::corrupt(key, format!("it is no {kind:?} of format {FORMAT} of this cluster")))
    }
}

/// Writes units as a page of a manifest's `revision`, and describes it.
///
/// # Errors
/// [`TierError::Invalid`] for no units; otherwise what the store says.
pub async fn write_page(
    store: &dyn Store,
    env: &Env,
    cluster: Uuid,
    revision: Revision,
    units: &[Arc<UnitMeta>],
) -> Result<PageRef, TierError> {
    let (Some(first), Some(last)) = (units.first(), units.last()) else {
        return Err(TierError::Invalid { reason: "a page without units".to_owned() });
    };
    let (partition, base, attempt) = (first.partition, first.start, env.random.uuid());
    let key = ObjectKey::Page { partition, base, revision, attempt };
    let key: Arc<str> = Arc::from(key.to_string());
    store.put(&key, sealed(Kind::Page, cluster, units)?).await?;
    Ok(PageRef {
        key,
        start: first.start,
        end: last.end,
        units: units.len() as u32,
        bytes: total(units.iter().map(|unit| unit.data.len())),
        max_timestamp: units.iter().filter_map(|unit| unit.max_timestamp).max(),
        revision,
    })
}

/// The units of a page.
///
/// # Errors
/// [`TierError::Corrupt`] if it is not what was written; [`TierError::Gone`] if another has taken its place, or the store
/// has lost it; [`TierError::Retry`], [`TierError::Refused`].
pub async fn read_page(store: &dyn Store, cluster: Uuid, page: &PageRef) -> Result<Vec<Arc<UnitMeta>>, TierError> {
    let units: Vec<Arc<UnitMeta>> = read(store, Kind::Page, cluster, &page.key).await?;
    let whole = units.len() == page.units as usize
        && units.first().is_some_and(|unit| unit.start == page.start)
        && units.last().is_some_and(|unit| unit.end == page.end)
        && units_tile(LogStart::at(page.end), &units);
    if whole { Ok(units) } else { Err(TierError::corrupt(&page.key, "it holds other units than its manifest says")) }
}

/// A shard's lines, one for each of its partitions.
pub(super) fn shard_lines(shard: &Shard) -> Vec<PartitionLine> {
    shard
        .iter()
        .map(|(partition, manifest)| PartitionLine {
            partition: *partition,
            open: manifest.open,
            log_start: manifest.log_start,
            end: manifest.end,
            bytes: manifest.bytes,
            revision: manifest.revision,
            pages: manifest.pages.clone(),
            recent: manifest.recent.clone(),
        })
        .collect()
}

/// Writes a shard under a key of its own.
pub(super) async fn write_shard(
    store: &dyn Store,
    env: &Env,
    cluster: Uuid,
    index: u16,
    number: u64,
    shard: &Shard,
) -> Result<ShardRef, TierError> {
    let key = ObjectKey::Shard { shard: index, number, attempt: env.random.uuid() }.to_string();
    store.put(&key, sealed(Kind::Shard, cluster, &shard_lines(shard))?).await?;
    Ok(ShardRef { index, of: SHARDS as u16, key: Arc::from(key) })
}

/// The image that a root's lines describe, as of commit `number`.
pub(super) async fn read_image(
    store: &dyn Store,
    cluster: Uuid,
    number: u64,
    root: &[RootLine],
) -> Result<TierImage, TierError> {
    let mut image = TierImage { number, ..TierImage::default() };
    let mut doomed = super::image::Doomed::new();
    for line in root {
        match line {
            RootLine::Doomed { key, starts } => {
                doomed.insert(Arc::clone(key), starts.clone());
            }
            RootLine::Shard(shard) => {
                let lines: Vec<PartitionLine> = match read(store, Kind::Shard, cluster, &shard.key).await {
                    // What a snapshot names is there, or the store has lost it.
                    Err(TierError::Gone { key }) => return Err(TierError::corrupt(&key, "it is missing")),
                    other => other?,
                };
                let slot = image.shards.get_mut(usize::from(shard.index)).filter(|_| usize::from(shard.of) == SHARDS);
                let slot = slot.ok_or_else(|| TierError::corrupt(&shard.key, "it is of another number of shards"))?;
                *slot = Arc::new(lines.into_iter().map(PartitionLine::manifest).collect());
            }
        }
    }
    image.doomed = Arc::new(doomed);
    Ok(image)
}

impl PartitionLine {
    pub(super) fn manifest(self) -> (PartitionId, Arc<Manifest>) {
        let PartitionLine { partition, open, log_start, end, bytes, revision, pages, recent } = self;
        (partition, Arc::new(Manifest { open, log_start, end, bytes, pages, recent, revision }))
    }
}
