//! Reads: hot at once, cold when they have been fetched.

use super::{PartitionLog, ReadError};
use crate::env::Pool;
use crate::log::{self, LocalRead};
use crate::offset::Offset;
use crate::tier::TierError;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// Bytes that are brought into memory with one call on the cold pool.
const WINDOW: u64 = 1 << 20;

/// What there is to read.
pub enum Read {
    /// No batch below the bound.
    Nothing,
    /// Whole batches that are in memory.
    Hot(Bytes),
    /// Whole batches that must be fetched.
    Cold(Source),
}

/// Where a cold read's batches are.
pub enum Source {
    /// On the local disk.
    Disk(LocalRead),
    /// In the tier.
    Tier(TierSource),
}

/// A range to be read from the tier.
#[derive(Clone, Copy, Debug)]
pub struct TierSource {
    from: Offset,
    upto: Offset,
    max_bytes: u64,
    at_least_one: bool,
}

/// Attempts at a range whose object went while it was being read: replaced, or deleted with what it held.
const ATTEMPTS: usize = 3;

impl PartitionLog {
    /// Whole batches from the one that holds `from` up to `upto`: at most `max_bytes`, but at least one if
    /// `at_least_one`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(&self, from: Offset, upto: Offset, max_bytes: u64, at_least_one: bool) -> Result<Read, ReadError> {
        let read = match self.log.read(from, upto, max_bytes, at_least_one) {
            Ok(read) => read,
            Err(log::ReadError::BelowLocalStart { .. }) if from >= self.log_start().offset() => {
                return Ok(Read::Cold(Source::Tier(TierSource { from, upto, max_bytes, at_least_one })));
            }
            Err(error) => return Err(error.into()),
        };
        Ok(if read.is_empty() {
            Read::Nothing
        } else if read.is_resident(0..read.len()) {
            Read::Hot(read.bytes())
        } else {
            Read::Cold(Source::Disk(read))
        })
    }

    /// Fetches a cold read's batches, for at most `limit`; `None` if they are not there by then. Goes on in the
    /// background, so that the next attempt finds them.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn complete(&self, source: Source, limit: Duration) -> Result<Option<Bytes>, ReadError> {
        match source {
            Source::Disk(read) => {
                let bytes = read.bytes();
                let warm = self.env.blocking(Pool::Cold, move || {
                    let mut at = 0;
                    while at < read.len() {
                        let end = read.len().min(at + WINDOW);
                        read.make_resident(at..end)?;
                        at = end;
                    }
                    Ok::<(), std::io::Error>(())
                });
                match self.env.timeout(limit, warm).await {
                    Ok(Ok(Ok(()))) => Ok(Some(bytes)),
                    Ok(Ok(Err(error))) => Err(crate::log::LogError::Io(error).into()),
                    Ok(Err(_)) | Err(_) => Ok(None),
                }
            }
            Source::Tier(source) => match self.env.timeout(limit, self.read_tier(source)).await {
                Ok(Ok(Tiered::Batches(bytes))) => Ok(Some(bytes)),
                Ok(Ok(Tiered::NoneBefore(next))) => self.read_on(source, next, limit).await,
                Ok(Ok(Tiered::NotNow)) => Ok(None),
                Ok(Err(error)) => Err(error),
                // What was fetched is kept for the next attempt.
                Err(_) => Ok(None),
            },
        }
    }

    /// Goes on where the tier has no batch any more: they were compacted away.
    async fn read_on(&self, source: TierSource, from: Offset, limit: Duration) -> Result<Option<Bytes>, ReadError> {
        if from >= source.upto {
            return Ok(Some(Bytes::new()));
        }
        match self.read(from, source.upto, source.max_bytes, source.at_least_one)? {
            Read::Nothing => Ok(Some(Bytes::new())),
            Read::Hot(bytes) => Ok(Some(bytes)),
            Read::Cold(rest) => Box::pin(self.complete(rest, limit)).await,
        }
    }

    async fn read_tier(&self, source: TierSource) -> Result<Tiered, ReadError> {
        let TierSource { from, max_bytes, at_least_one, .. } = source;
        let mut before = None;
        for _ in 0..ATTEMPTS {
            if from < self.log_start().offset() {
                return Err(ReadError::OutOfRange);
            }
            let Some(manifest) = self.manifest() else { return Err(ReadError::OutOfRange) };
            match self.tier.reader.read(self.id(), &manifest, from, max_bytes, at_least_one).await {
                Ok(read) if read.is_empty() && read.next > from => return Ok(Tiered::NoneBefore(read.next)),
                Ok(read) => return Ok(Tiered::Batches(joined(read.pieces))),
                // The manifest has named it all the while: the store has lost it.
                Err(error @ TierError::Gone { .. }) if before.is_some_and(|before| Arc::ptr_eq(&before, &manifest)) => {
                    tracing::error!(partition = %self.id(), offset = %from, %error, "the store has lost an object");
                    return Err(error.into());
                }
                // Look at the newest manifest: the object was replaced, or retention passed by.
                Err(TierError::Gone { .. } | TierError::OutOfRange { .. }) => {}
                Err(TierError::Retry { reason }) => {
                    tracing::debug!(partition = %self.id(), %reason, "a tiered read is tried again later");
                    return Ok(Tiered::NotNow);
                }
                Err(error) => {
                    tracing::error!(partition = %self.id(), offset = %from, %error, "a tiered read failed");
                    return Err(error.into());
                }
            }
            before = Some(manifest);
        }
        // Never OFFSET_OUT_OF_RANGE for a state that passes: consumers would jump.
        if from < self.log_start().offset() { Err(ReadError::OutOfRange) } else { Ok(Tiered::NotNow) }
    }
}

/// What a read of the tier came to.
enum Tiered {
    /// Whole batches.
    Batches(Bytes),
    /// There are none up to this offset, where the tier ends.
    NoneBefore(Offset),
    /// The store is away, or the manifest changes too fast to follow.
    NotNow,
}

/// One piece is handed on as it is; several lie in chunks of their own and are put together.
fn joined(pieces: Vec<Bytes>) -> Bytes {
    match <[Bytes; 1]>::try_from(pieces) {
        Ok([piece]) => piece,
        Err(pieces) => pieces.concat().into(),
    }
}
