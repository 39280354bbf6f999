//! Reads an object's own account of itself, and checks a unit against it.

use super::TierError;
use super::footer::{HEAD_LEN, TRAILER_LEN, decode_footer, decode_trailer};
use super::unit::{Section, UnitMeta};
use crate::env::store::Store;
use bytes::Bytes;
use esker_protocol::record::{batches, check_stored};

/// Bytes that a check of a unit's data holds at a time.
const CHECK_LEN: u64 = 4 << 20;

/// The units of the object `key` of `size` bytes, as its footer lists them. Three GETs.
///
/// # Errors
/// [`TierError::Corrupt`] if it is no object of this version; [`TierError::Gone`], [`TierError::Retry`],
/// [`TierError::Refused`].
pub async fn read_footer(store: &dyn Store, key: &str, size: u64) -> Result<Vec<UnitMeta>, TierError> {
    if size < HEAD_LEN + TRAILER_LEN {
        return Err(TierError::corrupt(key, "it is too short"));
    }
    let trailer = store.get_range(key, size - TRAILER_LEN..size).await?;
    let trailer = decode_trailer(key, size, &trailer)?;
    let footer = store.get_range(key, trailer.position..trailer.position + u64::from(trailer.len)).await?;
    let head = store.get_range(key, 0..HEAD_LEN).await?;
    decode_footer(key, trailer, &head, &footer)
}

/// One section of a unit, checked.
///
/// # Errors
/// [`TierError::Corrupt`] if its checksum differs; [`TierError::Gone`], [`TierError::Retry`], [`TierError::Refused`].
pub async fn read_section(store: &dyn Store, key: &str, section: Section) -> Result<Bytes, TierError> {
    if section.is_empty() {
        return Ok(Bytes::new());
    }
    let bytes = store.get_range(key, section.range()).await?;
    check_section(key, section, &bytes)?;
    Ok(bytes)
}

/// Whether `bytes` are what was written as `section`.
///
/// # Errors
/// [`TierError::Corrupt`] if they are not.
pub fn check_section(key: &str, section: Section, bytes: &[u8]) -> Result<(), TierError> {
    if bytes.len() as u64 == section.len() && crc32fast::hash(bytes) == section.crc() {
        Ok(())
    } else {
        Err(TierError::corrupt(key, format!("the section at {} is damaged", section.position())))
    }
}

/// Reads all of a unit and checks every checksum of it: those of its sections and those of its batches.
///
/// # Errors
/// [`TierError::Corrupt`] if anything differs; [`TierError::Gone`], [`TierError::Retry`], [`TierError::Refused`].
pub async fn check_unit(store: &dyn Store, unit: &UnitMeta) -> Result<(), TierError> {
    for (_, section) in unit.sections().iter().skip(1) {
        read_section(store, &unit.key, *section).await?;
    }
    let mut hasher = crc32fast::Hasher::new();
    let mut pending = Vec::new();
    let (mut position, end) = (unit.data.position(), unit.data.range().end);
    while position < end {
        let until = end.min(position + CHECK_LEN);
        let bytes = store.get_range(&unit.key, position..until).await?;
        hasher.update(&bytes);
        pending.extend_from_slice(&bytes);
        let mut split = batches(&pending);
        for batch in split.by_ref() {
            check_stored(batch.bytes).map_err(|damage| TierError::corrupt(&unit.key, damage))?;
        }
        let done = split.position();
        pending.drain(..done);
        position = until;
    }
    if !pending.is_empty() || hasher.finalize() != unit.data.crc() {
        return Err(TierError::corrupt(&unit.key, "its batches are damaged"));
    }
    Ok(())
}
