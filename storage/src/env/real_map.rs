//! Memory mappings, and the few system calls that have no safe wrapper: the only file with `unsafe` code.
#![allow(unsafe_code)]

use super::disk::Mapping;
use bytes::Bytes;
use memmap2::{Advice, Mmap, MmapOptions};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// A file's first bytes, mapped read-only and shared.
pub(super) struct RealMapping {
    map: Mmap,
}

impl RealMapping {
    #[allow(clippy::disallowed_types, reason = "this is the door")]
    pub(super) fn new(file: &std::fs::File, len: u64) -> io::Result<RealMapping> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        // SAFETY: a mapping is unsound when its memory changes under a `&[u8]`, or disappears (SIGBUS).
        // Esker's files are private to the process that holds their directory's lock, and `Mapping` gives out slices
        // only of ranges that its callers say were written and never change: a log is append-only, and a file is
        // never cut below what was published. The rest of the mapping, which may change or lie past the end of the
        // file, is never looked at.
        let map = unsafe { MmapOptions::new().len(len).map(file)? };
        Ok(RealMapping { map })
    }

    fn bounds(&self, range: &Range<u64>) -> Option<(usize, usize)> {
        let start = usize::try_from(range.start).ok()?;
        let end = usize::try_from(range.end).ok()?;
        (start < end && end <= self.map.len()).then_some((start, end))
    }
}

/// Keeps the mapping alive for as long as a slice of it is.
struct Slice {
    mapping: Arc<RealMapping>,
    start: usize,
    end: usize,
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        self.mapping.map.get(self.start..self.end).unwrap_or_default()
    }
}

impl Mapping for RealMapping {
    fn slice(self: Arc<Self>, range: Range<u64>) -> Bytes {
        match self.bounds(&range) {
            Some((start, end)) => Bytes::from_owner(Slice { mapping: self, start, end }),
            None => Bytes::new(),
        }
    }

    fn is_resident(&self, range: Range<u64>) -> bool {
        const PAGE: usize = 4096;
        const PAGES: usize = 256;
        let Some((start, end)) = self.bounds(&range) else { return true };
        let mut at = start / PAGE * PAGE;
        let mut pages = [0u8; PAGES];
        while at < end {
            let len = (end - at).min(PAGES * PAGE);
            // SAFETY: `at..at + len` lies inside of the mapping, whose start is page-aligned, so the address is too;
            // `pages` has one byte for each of the at most `PAGES` pages; `mincore` does not touch the memory.
            let answer = unsafe { libc::mincore(self.map.as_ptr().add(at).cast_mut().cast(), len, pages.as_mut_ptr()) };
            let count = len.div_ceil(PAGE);
            if answer != 0 || pages.iter().take(count).any(|page| page & 1 == 0) {
                return false;
            }
            at += len;
        }
        true
    }

    fn make_resident(&self, range: Range<u64>) -> io::Result<()> {
        match self.bounds(&range) {
            Some((start, end)) => self.map.advise_range(Advice::PopulateRead, start, end - start),
            None => Ok(()),
        }
    }
}

/// `sync_file_range(SYNC_FILE_RANGE_WRITE)`.
#[allow(clippy::disallowed_types, reason = "this is the door")]
pub(super) fn start_writeback(file: &std::fs::File, range: Range<u64>) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let (Ok(start), Ok(len)) = (i64::try_from(range.start), i64::try_from(range.end.saturating_sub(range.start)))
    else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    // SAFETY: takes a descriptor, which `file` keeps open, and three integers; touches no memory of ours.
    match unsafe { libc::sync_file_range(file.as_raw_fd(), start, len, libc::SYNC_FILE_RANGE_WRITE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
#[path = "real_map_tests.rs"]
mod tests;
