//! Look-ups by time in the tier, as ListOffsets asks.

use super::TierError;
use super::manifest::{Located, Manifest};
use super::read::TierReader;
use super::unit::UnitMeta;
use super::view::{TierChunk, UnitView};
use crate::env::{Pool, Timestamp};
use crate::offset::Offset;
use esker_protocol::record::{RecordPosition, Scratch, first_at_or_after};
use std::sync::Arc;

/// Bytes that a look-up decompresses at most of one batch.
const DECOMPRESS_LIMIT: u64 = 256 << 20;

impl TierReader {
    /// The first tiered record, at or after the log start, whose timestamp is `timestamp` or later.
    ///
    /// # Errors
    /// As [`TierReader::read`], except that there is no offset to be out of range.
    pub async fn offset_for_timestamp(
        &self,
        manifest: &Manifest,
        timestamp: Timestamp,
    ) -> Result<Option<RecordPosition>, TierError> {
        let mut from = manifest.log_start().offset();
        while let Some(located) = manifest.locate_timestamp(timestamp, from) {
            let unit = match located {
                Located::Unit(unit) => unit,
                Located::Page(page) => {
                    let units = self.page(&page).await?;
                    match units.iter().find(|unit| unit.end > from && is_late(unit, timestamp)) {
                        Some(unit) => Arc::clone(unit),
                        None => {
                            from = page.end;
                            continue;
                        }
                    }
                }
            };
            let view = self.view(&unit).await?;
            if let Some(found) = self.find_in_unit(&view, timestamp, manifest.log_start().offset()).await? {
                return Ok(Some(found));
            }
            from = unit.end;
        }
        Ok(None)
    }

    /// The first tiered record with the greatest timestamp (KIP-734).
    ///
    /// # Errors
    /// As [`TierReader::offset_for_timestamp`].
    pub async fn max_timestamp_offset(&self, manifest: &Manifest) -> Result<Option<RecordPosition>, TierError> {
        let mut bound = None;
        while let Some(latest) = self.latest_below(manifest, bound).await? {
            if let Some(found) = self.offset_for_timestamp(manifest, latest).await? {
                return Ok(Some(found));
            }
            // The record with it lies before the log start, in the one unit that this cuts: what is left is earlier.
            bound = Some(latest);
        }
        Ok(None)
    }

    /// The latest timestamp of what the manifest has, below `bound` if that is given.
    async fn latest_below(
        &self,
        manifest: &Manifest,
        bound: Option<Timestamp>,
    ) -> Result<Option<Timestamp>, TierError> {
        let start = manifest.log_start().offset();
        let Some(first) = self.unit_at(manifest, start.max(manifest.first_start())).await? else { return Ok(None) };
        let mut found = vec![first.max_timestamp];
        if bound.is_some() && first.start < start {
            let view = self.view(&first).await?;
            for chunk in view.chunk_of_offset(start)..view.chunks() {
                let loaded = self.chunk(&view, chunk).await?;
                found.extend(loaded.batches.iter().filter(|batch| batch.next > start).map(|batch| batch.max_timestamp));
            }
        }
        for (index, page) in manifest.pages().iter().enumerate() {
            if index == 0 {
                let units = self.page(page).await?;
                found.extend(units.iter().filter(|unit| unit.start > first.start).map(|unit| unit.max_timestamp));
            } else {
                found.push(page.max_timestamp);
            }
        }
        let recent = manifest.recent().iter().filter(|unit| unit.start > first.start);
        found.extend(recent.map(|unit| unit.max_timestamp));
        Ok(found.into_iter().flatten().filter(|latest| bound.is_none_or(|bound| *latest < bound)).max())
    }

    async fn find_in_unit(
        &self,
        view: &UnitView,
        timestamp: Timestamp,
        from: Offset,
    ) -> Result<Option<RecordPosition>, TierError> {
        for chunk in view.chunk_of_timestamp(timestamp)..view.chunks() {
            let loaded = self.chunk(view, chunk).await?;
            let may_have = loaded
                .batches
                .iter()
                .any(|batch| batch.next > from && batch.max_timestamp.is_some_and(|latest| latest >= timestamp));
            if !may_have {
                continue;
            }
            let key = Arc::clone(&view.meta.key);
            let found = self.env().blocking(Pool::Cold, move || find_in_chunk(&key, &loaded, timestamp, from));
            if let Some(found) = found.await.map_err(|_| TierError::Closed)?? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

fn is_late(unit: &UnitMeta, timestamp: Timestamp) -> bool {
    unit.max_timestamp.is_some_and(|latest| latest >= timestamp)
}

fn find_in_chunk(
    key: &str,
    chunk: &TierChunk,
    timestamp: Timestamp,
    from: Offset,
) -> Result<Option<RecordPosition>, TierError> {
    let mut scratch = Scratch::default();
    for batch in &chunk.batches {
        let bytes = chunk.bytes.get(batch.start..batch.end).unwrap_or_default();
        let found = first_at_or_after(bytes, timestamp.millis(), from.to_wire(), &mut scratch, DECOMPRESS_LIMIT)
            .map_err(|error| TierError::corrupt(key, error))?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}
