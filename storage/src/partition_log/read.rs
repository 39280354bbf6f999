//! Reads: hot at once, cold when they have been fetched.

use super::{PartitionLog, ReadError};
use crate::env::Pool;
use crate::log::{self, LocalRead, Log, LogError};
use crate::offset::Offset;
use crate::segment::AbortedTransaction;
use crate::tier::TierError;
use bytes::Bytes;
use esker_protocol::record::batches;
use std::sync::Arc;
use std::time::Duration;

/// Bytes that are brought into memory at a time.
const WINDOW: u64 = 1 << 20;

/// What somebody wants to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// The first offset: of the batch that holds it, or else of the first one after it.
    pub from: Offset,
    /// Up to where, not including.
    pub upto: Offset,
    /// Bytes at most.
    pub max_bytes: u64,
    /// Whether a first batch that is larger is given all the same.
    pub at_least_one: bool,
    /// Whether the reader must be told which transactions were aborted. `upto` is at most the last stable offset then.
    pub committed: bool,
}

/// Whole batches in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// The batches.
    pub bytes: Bytes,
    /// For readers of committed records: the aborted transactions that overlap them, by their first offsets.
    pub aborted: Vec<AbortedTransaction>,
}

/// What there is to read.
pub enum Read {
    /// No batch below the bound.
    Nothing,
    /// Whole batches that are in memory.
    Hot(Records),
    /// Whole batches that must be fetched.
    Cold(Source),
}

/// Where a cold read's batches are.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    want: Want,
    is_tiered: bool,
}

/// Attempts at a range whose object went while it was being read: replaced, or deleted with what it held.
const ATTEMPTS: usize = 3;

impl Source {
    /// Whether they are read from the tier, or else from the local disk.
    pub fn is_tiered(&self) -> bool {
        self.is_tiered
    }
}

impl PartitionLog {
    /// Whole batches, without waiting for anything.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(&self, want: Want) -> Result<Read, ReadError> {
        let Want { from, upto, max_bytes, at_least_one, committed } = want;
        let read = match self.log.read_in_memory(from, upto, max_bytes, at_least_one) {
            Ok(read) => read,
            Err(log::ReadError::BelowLocalStart { .. }) if from >= self.log_start().offset() => {
                return Ok(Read::Cold(Source { want, is_tiered: true }));
            }
            Err(log::ReadError::Log(LogError::Corrupt { .. })) if self.tier_stands_in(from) => {
                return Ok(Read::Cold(Source { want, is_tiered: true }));
            }
            Err(error) => return Err(error.into()),
        };
        let cold = Ok(Read::Cold(Source { want, is_tiered: false }));
        let Some(read) = read.filter(|read| read.is_resident(0..read.len())) else { return cold };
        if read.is_empty() {
            return Ok(Read::Nothing);
        }
        let aborted = if committed { self.log.aborted_in_memory(read.base, read.next) } else { Some(Vec::new()) };
        let Some(aborted) = aborted else { return cold };
        Ok(Read::Hot(Records { bytes: read.bytes(), aborted }))
    }

    /// Fetches a cold read's batches, for at most `limit`; `None` if they are not there by then. Goes on in the
    /// background, so that the next attempt finds them.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn complete(&self, source: Source, limit: Duration) -> Result<Option<Records>, ReadError> {
        // What was fetched until then is kept for the next attempt.
        self.env.timeout(limit, self.fetch(source)).await.unwrap_or(Ok(None))
    }

    async fn fetch(&self, source: Source) -> Result<Option<Records>, ReadError> {
        let Source { mut want, mut is_tiered } = source;
        while want.from < want.upto {
            let next = if is_tiered {
                match self.read_tier(want).await? {
                    Tiered::Batches(records) => return Ok(Some(records)),
                    Tiered::NoneBefore(next) => Want { from: next, ..want },
                    Tiered::NotNow => return Ok(None),
                }
            } else {
                let log = Arc::clone(&self.log);
                let Ok(read) = self.env.blocking(Pool::Cold, move || read_disk(&log, want)).await else {
                    return Ok(None);
                };
                match read {
                    // Dropped meanwhile.
                    Err(log::ReadError::BelowLocalStart { .. }) if want.from >= self.log_start().offset() => want,
                    // Found to be rotten meanwhile.
                    Err(log::ReadError::Log(LogError::Corrupt { .. })) if self.tier_stands_in(want.from) => want,
                    read => return Ok(Some(read?)),
                }
            };
            match self.read(next)? {
                Read::Nothing => break,
                Read::Hot(records) => return Ok(Some(records)),
                Read::Cold(rest) => Source { want, is_tiered } = rest,
            }
        }
        Ok(Some(Records::default()))
    }

    async fn read_tier(&self, want: Want) -> Result<Tiered, ReadError> {
        let Want { from, max_bytes, at_least_one, committed, .. } = want;
        let mut before = None;
        for _ in 0..ATTEMPTS {
            if from < self.log_start().offset() {
                return Err(ReadError::OutOfRange);
            }
            // Before the manifest: what is dropped from this disk is in the one that is read afterwards.
            let local_start = self.local_start().offset();
            let Some(manifest) = self.manifest() else { return Ok(self.hole(from, local_start)) };
            match self.tier.reader.read(self.id(), &manifest, from, max_bytes, at_least_one).await {
                Ok(read) if read.is_empty() && read.next > from => return Ok(Tiered::NoneBefore(read.next)),
                Ok(read) => {
                    let mut aborted = if committed { read.aborted } else { Vec::new() };
                    aborted.sort_by_key(|entry| (entry.first, entry.last));
                    return Ok(Tiered::Batches(Records { bytes: joined(read.pieces), aborted }));
                }
                Err(TierError::OutOfRange { .. }) if from >= self.log_start().offset() => {
                    return Ok(self.hole(from, local_start));
                }
                // The manifest has named it all the while: the store has lost it.
                Err(error @ TierError::Gone { .. }) if before.is_some_and(|before| Arc::ptr_eq(&before, &manifest)) => {
                    self.complain(from, &error, "the store has lost an object");
                    return Err(error.into());
                }
                // Look at the newest manifest: the object was replaced, or retention passed by.
                Err(TierError::Gone { .. } | TierError::OutOfRange { .. }) => {}
                Err(TierError::Retry { reason }) => {
                    tracing::debug!(partition = %self.id(), %reason, "a tiered read is tried again later");
                    return Ok(Tiered::NotNow);
                }
                Err(error) => {
                    self.complain(from, &error, "a tiered read failed");
                    return Err(error.into());
                }
            }
            before = Some(manifest);
        }
        // Never OFFSET_OUT_OF_RANGE for a state that passes: consumers would jump.
        if from < self.log_start().offset() { Err(ReadError::OutOfRange) } else { Ok(Tiered::NotNow) }
    }

    /// Logs that what the tier should have cannot be read: a consumer tries again and again, and one line a minute tells as much.
    fn complain(&self, from: Offset, error: &TierError, what: &str) {
        if let Some(unlogged) = self.complaints.lock().next(self.env.now()) {
            tracing::error!(partition = %self.id(), offset = %from, %error, unlogged, "{what}");
        }
    }

    /// Where a reader goes on whose offset is neither in the tier nor on this disk: at the local start. The open has named
    /// what is lost; to call the offset out of range would send consumers back to the log start, and here again, or else
    /// past everything that there is.
    fn hole(&self, from: Offset, local_start: Offset) -> Tiered {
        tracing::debug!(partition = %self.id(), %from, %local_start, "a reader passes over what is lost");
        Tiered::NoneBefore(local_start.max(from))
    }
}

/// What a read of the tier came to.
enum Tiered {
    /// Whole batches.
    Batches(Records),
    /// There are none before this offset.
    NoneBefore(Offset),
    /// The store is away, or the manifest changes too fast to follow.
    NotNow,
}

/// A read that waits for the local disk.
fn read_disk(log: &Log, want: Want) -> Result<Records, log::ReadError> {
    let Want { from, upto, max_bytes, at_least_one, committed } = want;
    let read = log.read(from, upto, max_bytes, at_least_one)?;
    if read.is_empty() {
        return Ok(Records::default());
    }
    make_resident(&read).map_err(LogError::Io)?;
    let aborted = if committed { log.aborted_between(read.base, read.next)? } else { Vec::new() };
    Ok(Records { bytes: read.bytes(), aborted })
}

fn make_resident(read: &LocalRead) -> std::io::Result<()> {
    let mut at = 0;
    while at < read.len() {
        let end = read.len().min(at + WINDOW);
        read.make_resident(at..end)?;
        at = end;
    }
    Ok(())
}

impl Records {
    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is no batch.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// One past the last offset; `None` without a batch.
    pub fn next(&self) -> Option<Offset> {
        batches(&self.bytes).last().and_then(|last| Offset::from_wire(last.header.next_offset()))
    }
}

/// One piece is handed on as it is; several lie in chunks of their own and are put together.
fn joined(pieces: Vec<Bytes>) -> Bytes {
    match <[Bytes; 1]>::try_from(pieces) {
        Ok([piece]) => piece,
        Err(pieces) => pieces.concat().into(),
    }
}
