//! Reads: hot at once, cold when they have been fetched.

use super::{PartitionLog, ReadError};
use crate::env::Pool;
use crate::log::LocalRead;
use crate::offset::Offset;
use bytes::Bytes;
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
}

impl PartitionLog {
    /// Whole batches from the one that holds `from` up to `upto`: at most `max_bytes`, but at least one if
    /// `at_least_one`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(&self, from: Offset, upto: Offset, max_bytes: u64, at_least_one: bool) -> Result<Read, ReadError> {
        let read = self.log.read(from, upto, max_bytes, at_least_one)?;
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
        }
    }
}
