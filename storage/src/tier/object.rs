//! Reads an object's own account of itself, and checks a unit against it.

use super::TierError;
use super::footer::{HEAD_LEN, TRAILER_LEN, decode_footer, decode_trailer};
use super::sections::{decode_aborted, decode_epochs};
use super::unit::{Section, UnitMeta};
use super::writer::UnitState;
use crate::env::store::Store;
use bytes::{Bytes, BytesMut};
use esker_protocol::record::{batches, check_stored};

/// Bytes of a unit's data that are read at a time.
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

/// The state that goes with a unit. One GET.
///
/// # Errors
/// As [`read_section`].
pub async fn read_state(store: &dyn Store, unit: &UnitMeta) -> Result<UnitState, TierError> {
    let (start, end) = (unit.producers.position(), unit.aborted.range().end);
    let all = store.get_range(&unit.key, start..end).await?;
    let section = |section| slice_of(&unit.key, section, start, &all);
    Ok(UnitState {
        producers: section(unit.producers)?,
        epochs: decode_epochs(&section(unit.epochs)?)?,
        aborted: decode_aborted(&section(unit.aborted)?)?,
    })
}

/// A section, checked, of bytes that begin at `start` of the object.
///
/// # Errors
/// [`TierError::Corrupt`] if it is not in there, or not what was written.
pub(super) fn slice_of(key: &str, section: Section, start: u64, bytes: &Bytes) -> Result<Bytes, TierError> {
    let from = section.position().checked_sub(start).and_then(|from| usize::try_from(from).ok());
    let until = from.zip(usize::try_from(section.len()).ok()).and_then(|(from, len)| from.checked_add(len));
    let range = from.zip(until).filter(|(_, until)| *until <= bytes.len());
    let slice = range.map(|(from, until)| bytes.slice(from..until)).unwrap_or_default();
    check_section(key, section, &slice)?;
    Ok(slice)
}

/// The batches of a unit, read in pieces of a few MiB, in order. Each batch is checked, and at the end the whole.
pub struct UnitBatches<'a> {
    store: &'a dyn Store,
    unit: &'a UnitMeta,
    position: u64,
    hasher: crc32fast::Hasher,
    /// What was read of a batch whose rest comes with the next piece.
    pending: BytesMut,
}

impl<'a> UnitBatches<'a> {
    /// From the first batch on.
    pub fn new(store: &'a dyn Store, unit: &'a UnitMeta) -> UnitBatches<'a> {
        let (position, hasher) = (unit.data.position(), crc32fast::Hasher::new());
        UnitBatches { store, unit, position, hasher, pending: BytesMut::new() }
    }

    /// The next whole batches; `None` after the last, once the checksum over all of them has been found right.
    ///
    /// # Errors
    /// [`TierError::Corrupt`] for anything that is not what was written: then nothing that came before may be used
    /// either. [`TierError::Gone`], [`TierError::Retry`], [`TierError::Refused`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, TierError> {
        let (key, data) = (&self.unit.key, self.unit.data);
        while self.position < data.range().end {
            let until = data.range().end.min(self.position + CHECK_LEN);
            let bytes = self.store.get_range(key, self.position..until).await?;
            self.hasher.update(&bytes);
            self.pending.extend_from_slice(&bytes);
            self.position = until;
            let mut split = batches(&self.pending);
            for batch in split.by_ref() {
                check_stored(batch.bytes).map_err(|damage| TierError::corrupt(key, damage))?;
            }
            let whole = split.position();
            if whole > 0 {
                return Ok(Some(self.pending.split_to(whole).freeze()));
            }
        }
        if !self.pending.is_empty() || self.hasher.clone().finalize() != data.crc() {
            return Err(TierError::corrupt(key, "its batches are damaged"));
        }
        Ok(None)
    }
}

impl std::fmt::Debug for UnitBatches<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UnitBatches")
            .field("key", &self.unit.key)
            .field("position", &self.position)
            .finish_non_exhaustive()
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
    let mut data = UnitBatches::new(store, unit);
    while data.next().await?.is_some() {}
    Ok(())
}
