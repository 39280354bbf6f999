//! How an image is kept: pages, shards, and the root that names them.
//!
//! ```text
//! tier/snapshot/<n>  root: {"shard":{"index":3,"of":64,"key":"tier/shard/..","position":0,"len":9}} per shard that is
//!                          not empty, {"doomed":{..}} per doomed object
//! tier/shard/..      shards, one after the other; a snapshot writes those that changed, and one object takes many:
//!                    {"esker":"tier-shard","format":1,"cluster":".."}, then one line per partition, its recent units
//!                    and the names of its pages in it
//! tier/page/..       {"esker":"tier-page","format":1,"cluster":".."}, then one line per unit
//! ```
//!
//! Roots, pages and every single shard are sealed lines (see [`lines`](crate::numbered_log::lines)).

use super::TierError;
use super::image::{SHARDS, Shard, TierImage};
use super::key::ObjectKey;
use super::manifest::{Manifest, PageRef, units_tile};
use super::record::TierRecord;
use super::unit::{Revision, UnitMeta, is_first_stay, total};
use crate::env::Env;
use crate::env::store::{Store, StoreError};
use crate::numbered_log::lines::{seal, unseal};
use crate::numbered_log::{LogName, NumberedLog};
use crate::offset::{LeaderEpoch, LogStart, Offset, PartitionId, TierEnd};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The prefix of the tier log's commits and snapshots.
pub const TIER_LOG: &str = "tier";
const FORMAT: u32 = 1;
/// About as many bytes of shards go into one object.
const PACK_BYTES: usize = 32 << 20;
/// Shards that are read at the same time.
const READS: usize = 8;
/// Attempts at a shard after the first, and the pause between two.
const ATTEMPTS: u32 = 8;
const PAUSE: Duration = Duration::from_millis(200);

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
    /// The object that it is in.
    pub key: Arc<str>,
    /// Where it starts there.
    pub position: u64,
    /// Its bytes.
    pub len: u64,
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
    #[serde(default, skip_serializing_if = "is_first_stay")]
    stay: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pages: Vec<PageRef>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    recent: Vec<Arc<UnitMeta>>,
}

fn sealed<R: Serialize>(kind: Kind, cluster: Uuid, records: &[R]) -> Result<Bytes, TierError> {
    let header = Header { esker: kind, format: FORMAT, cluster };
    seal(&header, records).map_err(|reason| TierError::Invalid { reason })
}

/// The records of an object of `kind`.
///
/// # Errors
/// [`TierError::Corrupt`] if it is another, or was not written so.
pub(super) fn unsealed<R: DeserializeOwned>(
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
    let units: Vec<Arc<UnitMeta>> = unsealed(Kind::Page, cluster, &page.key, &store.get(&page.key).await?)?;
    let whole = units.len() == page.units as usize
        && units.first().is_some_and(|unit| unit.start == page.start)
        && units.last().is_some_and(|unit| unit.end == page.end)
        && units_tile(LogStart::at(page.end), &units);
    if whole { Ok(units) } else { Err(TierError::corrupt(&page.key, "it holds other units than its manifest says")) }
}

/// The shards that the existing snapshots name.
pub(super) struct NamedShards {
    newest: Option<u64>,
    keys: BTreeSet<Arc<str>>,
}

impl NamedShards {
    /// Reads the roots of all snapshots.
    ///
    /// # Errors
    /// As [`NumberedLog::snapshots`].
    pub(super) async fn read(store: &dyn Store, cluster: Uuid) -> Result<NamedShards, TierError> {
        let name = LogName::new(TIER_LOG, cluster);
        let roots = NumberedLog::<TierRecord, RootLine>::snapshots(store, &name).await?;
        let newest = roots.iter().map(|(number, _)| *number).max();
        let lines = roots.into_iter().flat_map(|(_, lines)| lines);
        let keys = lines.filter_map(|line| match line {
            RootLine::Shard(shard) => Some(shard.key),
            RootLine::Doomed { .. } => None,
        });
        Ok(NamedShards { newest, keys: keys.collect() })
    }

    /// Whether no snapshot names the shards in an object, and none will: those that are newer than the newest snapshot may
    /// belong to the next one.
    pub(super) fn is_stale(&self, key: &str) -> bool {
        match key.parse() {
            Ok(ObjectKey::Shard { number, .. }) => {
                self.newest.is_some_and(|newest| number < newest) && !self.keys.contains(key)
            }
            _ => false,
        }
    }
}

/// Writes the shards of one snapshot, many to an object.
pub(super) struct PackWriter<'a> {
    store: &'a dyn Store,
    env: &'a Env,
    cluster: Uuid,
    number: u64,
    key: Arc<str>,
    bytes: BytesMut,
    refs: Vec<ShardRef>,
}

impl<'a> PackWriter<'a> {
    /// For the snapshot after commit `number`.
    pub(super) fn new(store: &'a dyn Store, env: &'a Env, cluster: Uuid, number: u64) -> PackWriter<'a> {
        let key = pack_key(env, number);
        PackWriter { store, env, cluster, number, key, bytes: BytesMut::new(), refs: Vec::new() }
    }

    /// Adds a shard.
    pub(super) async fn add(&mut self, index: u16, shard: &Shard) -> Result<(), TierError> {
        let lines = shard.iter().map(|(partition, manifest)| PartitionLine::of(*partition, manifest));
        let sealed = sealed(Kind::Shard, self.cluster, &lines.collect::<Vec<_>>())?;
        if !self.bytes.is_empty() && self.bytes.len() + sealed.len() > PACK_BYTES {
            self.write().await?;
            self.key = pack_key(self.env, self.number);
        }
        let (position, len) = (self.bytes.len() as u64, sealed.len() as u64);
        self.bytes.extend_from_slice(&sealed);
        self.refs.push(ShardRef { index, of: SHARDS as u16, key: Arc::clone(&self.key), position, len });
        Ok(())
    }

    /// Writes what is left; where every shard is.
    pub(super) async fn finish(mut self) -> Result<Vec<ShardRef>, TierError> {
        if !self.bytes.is_empty() {
            self.write().await?;
        }
        Ok(self.refs)
    }

    async fn write(&mut self) -> Result<(), TierError> {
        Ok(self.store.put(&self.key, self.bytes.split().freeze()).await?)
    }
}

fn pack_key(env: &Env, number: u64) -> Arc<str> {
    Arc::from(ObjectKey::Shard { number, attempt: env.random.uuid() }.to_string())
}

/// The manifests of a shard. A failure that may pass is not worth beginning again with all of them, so the store is
/// asked a few times.
async fn read_shard(
    store: &dyn Store,
    env: &Env,
    cluster: Uuid,
    shard: &ShardRef,
) -> Result<(usize, Arc<Shard>), TierError> {
    let index = usize::from(shard.index);
    if usize::from(shard.of) != SHARDS || index >= SHARDS {
        return Err(TierError::corrupt(&shard.key, "it is of another number of shards"));
    }
    let range = shard.position..shard.position.saturating_add(shard.len);
    let mut attempt = 0;
    let bytes = loop {
        match store.get_range(&shard.key, range.clone()).await {
            Ok(bytes) => break bytes,
            // What a snapshot names is there, or the store has lost it.
            Err(StoreError::NotFound { key }) => return Err(TierError::corrupt(&key, "it is missing")),
            Err(StoreError::Refused { reason }) => return Err(TierError::Refused { reason }),
            Err(error) if attempt == ATTEMPTS => return Err(error.into()),
            Err(_) => env.sleep(PAUSE).await,
        }
        attempt += 1;
    };
    let lines: Vec<PartitionLine> = unsealed(Kind::Shard, cluster, &shard.key, &bytes)?;
    Ok((index, Arc::new(lines.into_iter().map(PartitionLine::manifest).collect())))
}

/// The image that a root's lines describe, as of commit `number`.
pub(super) async fn read_image(
    store: &dyn Store,
    env: &Env,
    cluster: Uuid,
    number: u64,
    root: &[RootLine],
) -> Result<TierImage, TierError> {
    let mut image = TierImage { number, ..TierImage::default() };
    let mut doomed = super::image::Doomed::new();
    let mut shards = Vec::new();
    for line in root {
        match line {
            RootLine::Doomed { key, starts } => {
                doomed.insert(Arc::clone(key), starts.clone());
            }
            RootLine::Shard(shard) => shards.push(read_shard(store, env, cluster, shard)),
        }
    }
    let mut shards = stream::iter(shards).buffered(READS);
    while let Some((index, shard)) = shards.try_next().await? {
        if let Some(slot) = image.shards.get_mut(index) {
            *slot = shard;
        }
    }
    image.doomed = Arc::new(doomed);
    Ok(image)
}

impl PartitionLine {
    pub(super) fn of(partition: PartitionId, manifest: &Manifest) -> PartitionLine {
        PartitionLine {
            partition,
            open: manifest.open,
            log_start: manifest.log_start,
            end: manifest.end,
            bytes: manifest.bytes,
            revision: manifest.revision,
            stay: manifest.stay,
            pages: manifest.pages.clone(),
            recent: manifest.recent.clone(),
        }
    }

    pub(super) fn manifest(self) -> (PartitionId, Arc<Manifest>) {
        let PartitionLine { partition, open, log_start, end, bytes, revision, stay, pages, recent } = self;
        (partition, Arc::new(Manifest { open, log_start, end, bytes, pages, recent, revision, stay }))
    }
}
