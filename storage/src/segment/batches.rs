//! Whole batches of a sealed segment, one after the other, each checked: what compaction and the tier's rewrites read.
//!
//! A [`BatchReader`] reads by `pread`, a MiB at a time and a larger batch by itself; it never holds more than that. A batch
//! whose checksum is wrong, or that does not follow the one before, ends it with an error.

use super::index::BatchMark;
use super::lookup::Boundary;
use super::walk::{SegmentError, Spacing, parse_mark};
use crate::env::File;
use crate::offset::FilePosition;
use esker_protocol::record::{BatchHeader, check_stored};
use std::io;
use std::sync::Arc;

/// Bytes that are read at a time.
const WINDOW: u64 = 1 << 20;

/// A batch as it is in the file.
#[derive(Clone, Copy, Debug)]
pub struct StoredBatch<'a> {
    /// Where it is.
    pub mark: BatchMark,
    /// Its header.
    pub header: BatchHeader,
    /// All of it.
    pub bytes: &'a [u8],
}

/// Reads the batches of a part of a file.
pub struct BatchReader {
    file: Arc<dyn File>,
    at: Boundary,
    end: FilePosition,
    spacing: Spacing,
    window: Vec<u8>,
    window_at: u64,
}

impl BatchReader {
    /// The batches from the one at `from` to the batch end `end`.
    pub fn new(file: Arc<dyn File>, from: Boundary, end: FilePosition, spacing: Spacing) -> BatchReader {
        BatchReader { file, at: from, end, spacing, window: Vec::new(), window_at: 0 }
    }

    /// Where the next batch would start.
    pub fn at(&self) -> Boundary {
        self.at
    }

    /// The next batch; `None` at the end.
    ///
    /// # Errors
    /// [`SegmentError`]; the reader stays where it is.
    pub fn next_batch(&mut self) -> Result<Option<StoredBatch<'_>>, SegmentError> {
        let position = self.at.position.get();
        let room = self.end.get().saturating_sub(position);
        if room == 0 {
            return Ok(None);
        }
        let broken = |reason| SegmentError::Broken { position, reason };
        if room < BatchHeader::SIZE as u64 {
            return Err(broken("too few bytes for a batch header"));
        }
        let place = self.at.position;
        let (mark, header) = parse_mark(self.fill(BatchHeader::SIZE as u64)?, place).map_err(broken)?;
        if u64::from(mark.len) > room {
            return Err(broken("the batch reaches beyond the end of the segment"));
        }
        if !self.spacing.holds(self.at.offset, &mark) {
            return Err(broken("its base offset does not follow the batch before"));
        }
        let bytes = self.fill(u64::from(mark.len))?;
        check_stored(bytes).map_err(|_| broken("its checksum is wrong"))?;
        self.at = Boundary { offset: mark.next, position: mark.end() };
        let start = usize::try_from(position - self.window_at).map_err(io::Error::other)?;
        let bytes = self.window.get(start..start + mark.len as usize);
        let bytes = bytes.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        Ok(Some(StoredBatch { mark, header, bytes }))
    }

    /// At least `need` bytes from where the reader is, which the file has.
    fn fill(&mut self, need: u64) -> io::Result<&[u8]> {
        let position = self.at.position.get();
        let held = self.window_at..self.window_at + self.window.len() as u64;
        if position < held.start || position + need > held.end {
            let len = need.max(WINDOW.min(self.end.get() - position));
            self.window.clear();
            // What one large batch made grow is given back.
            self.window.shrink_to(WINDOW as usize);
            self.window.resize(usize::try_from(len).map_err(io::Error::other)?, 0);
            if let Err(error) = self.file.read_exact_at(&mut self.window, position) {
                self.window.clear();
                return Err(error);
            }
            self.window_at = position;
        }
        let start = usize::try_from(position - self.window_at).map_err(io::Error::other)?;
        let end = start + usize::try_from(need).map_err(io::Error::other)?;
        self.window.get(start..end).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}
