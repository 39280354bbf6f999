//! Scanning what a crash may have left: every batch checked, until one is not whole.
//!
//! A **scan** reads data files by `pread`, verifies each batch's CRC-32C, and, since offset, length and epoch lie
//! outside of that, that they follow from the batch before. It ends with a [`Stop`] that says why; whether that is a torn
//! tail or rot is for the caller to tell, who knows what had been synced.

use super::index::BatchMark;
use super::lookup::Boundary;
use super::walk::{Spacing, mark_of};
use crate::env::File;
use crate::env::mutation::{self, Mutation};
use crate::offset::{LeaderEpoch, Offset};
use esker_protocol::record::{BatchHeader, check_stored};
use std::io;

/// Bytes read at a time; a larger batch is read by itself.
const WINDOW: u64 = 1 << 20;

/// Why a scan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// At the end of the file.
    EndOfFile,
    /// At the offset that it was limited to.
    Limit,
    /// At a zero length: space that was allocated and not written.
    Zeros,
    /// At bytes that are no batch that can spacing.
    Broken(&'static str),
}

/// Where a scan ended, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanEnd {
    /// The end of the last good batch.
    pub end: Boundary,
    /// Why there.
    pub stop: Stop,
}

/// Checks the batches of `file` from `from` on, and shows each to `seen`: its mark, its header, and all of it.
///
/// They must follow each other as `follow` says. `limit` is where a newer file takes over; `epochs` are the least and the greatest leader epoch that the next batch may
/// have: that of the batch before, and the newest one.
///
/// # Errors
/// What the disk answers.
pub fn scan(
    file: &dyn File,
    from: Boundary,
    spacing: Spacing,
    limit: Option<Offset>,
    epochs: (Option<LeaderEpoch>, Option<LeaderEpoch>),
    mut seen: impl FnMut(&BatchMark, &BatchHeader, &[u8]),
) -> io::Result<ScanEnd> {
    let len = file.len()?;
    let mut window = Window { file, len, at: from.position.get(), bytes: Vec::new() };
    let (mut end, (mut epoch, newest)) = (from, epochs);
    loop {
        if limit.is_some_and(|limit| end.offset >= limit) {
            return Ok(ScanEnd { end, stop: Stop::Limit });
        }
        let position = end.position.get();
        if position >= len {
            return Ok(ScanEnd { end, stop: Stop::EndOfFile });
        }
        let broken = |why| Ok(ScanEnd { end, stop: Stop::Broken(why) });
        let Some(head) = window.get(position, BatchHeader::SIZE as u64)? else {
            let rest = window.get(position, len - position)?.unwrap_or_default();
            return if is_zero(rest) {
                Ok(ScanEnd { end, stop: Stop::Zeros })
            } else {
                broken("a batch header is cut off")
            };
        };
        let header = match BatchHeader::parse(head) {
            Ok(header) => header,
            Err(_) if is_zero(head) => return Ok(ScanEnd { end, stop: Stop::Zeros }),
            Err(_) => return broken("not a batch header"),
        };
        let Some(mark) = mark_of(&header, end.position) else { return broken("offsets or epoch out of range") };
        if !spacing.holds(end.offset, &mark) {
            return broken("its base offset does not follow the batch before");
        }
        if !epochs_chain(epoch, mark.epoch) {
            return broken("its leader epoch is older than that of the batch before");
        }
        if newest.is_some_and(|newest| mark.epoch > newest) {
            return broken("its leader epoch was never given out");
        }
        let Some(batch) = window.get(position, u64::from(mark.len))? else { return broken("a batch is cut off") };
        if check_stored(batch).is_err() && !mutation::active(Mutation::TornBatchKept) {
            return broken("its checksum is wrong");
        }
        seen(&mark, &header, batch);
        epoch = Some(mark.epoch);
        end = Boundary { offset: mark.next, position: mark.end() };
    }
}

/// Leader epochs never fall along a log.
pub fn epochs_chain(before: Option<LeaderEpoch>, epoch: LeaderEpoch) -> bool {
    before.is_none_or(|before| before <= epoch)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

struct Window<'a> {
    file: &'a dyn File,
    len: u64,
    at: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// `need` bytes at `position`; `None` if the file ends before.
    fn get(&mut self, position: u64, need: u64) -> io::Result<Option<&[u8]>> {
        let room = self.len - position;
        if need > room {
            return Ok(None);
        }
        let held = self.at + self.bytes.len() as u64;
        if position < self.at || position + need > held {
            let len = need.max(WINDOW.min(room));
            self.bytes.resize(usize::try_from(len).map_err(io::Error::other)?, 0);
            self.at = position;
            if let Err(error) = self.file.read_exact_at(&mut self.bytes, position) {
                self.bytes.clear();
                return Err(error);
            }
        }
        let start = usize::try_from(position - self.at).map_err(io::Error::other)?;
        Ok(self.bytes.get(start..start + need as usize))
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
