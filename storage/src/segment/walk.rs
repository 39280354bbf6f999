//! Walking batch headers in a data file, by `pread`: how everything that looks into a segment finds batches.
//!
//! A **walk** goes from the start of one batch to a position that is known to end one, and yields a
//! [`BatchMark`] for each batch between. It reads 16 KiB at a time and skips over record data without reading it.
//! A walk looks at headers only: it checks that offsets and lengths chain, not what the records hold. In a file that was
//! cleaned whole batches may be missing: there offsets only ascend.

use super::index::BatchMark;
use crate::env::{File, Timestamp};
use crate::offset::{FilePosition, LeaderEpoch, Offset};
use esker_protocol::record::BatchHeader;
use std::io;
use std::sync::Arc;

/// Bytes that a walk reads at a time.
const WINDOW: usize = 16 << 10;

/// Why a segment could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The disk did not give the bytes.
    #[error("reading the segment: {0}")]
    Io(#[from] io::Error),
    /// The bytes at `position` are no batch that can follow the one before.
    #[error("no batch at position {position}: {reason}")]
    Broken {
        /// Where the batch should start.
        position: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// How the batches of a file follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// Without gap, as they were appended.
    Chained,
    /// With gaps, where compaction took batches away.
    Ascending,
}

impl Spacing {
    /// How they do in the file of that name.
    pub fn of(name: super::name::SegmentName) -> Spacing {
        if name.is_cleaned() { Spacing::Ascending } else { Spacing::Chained }
    }

    /// Whether `mark` may come after a batch that ended at `expected`.
    pub fn holds(self, expected: Offset, mark: &BatchMark) -> bool {
        match self {
            Spacing::Chained => offsets_chain(expected, mark),
            Spacing::Ascending => offsets_ascend(expected, mark),
        }
    }
}

/// A position in a walk.
pub struct Walk {
    file: Arc<dyn File>,
    at: u64,
    end: u64,
    expected: Option<Offset>,
    spacing: Spacing,
    window: Vec<u8>,
    window_at: u64,
}

impl Walk {
    /// A walk from the batch that starts at `from` to the batch end `end`.
    pub fn new(file: Arc<dyn File>, from: FilePosition, end: FilePosition, spacing: Spacing) -> Walk {
        Walk { file, at: from.get(), end: end.get(), expected: None, spacing, window: Vec::new(), window_at: 0 }
    }

    /// Demands that the next batch starts at `offset`, or in a cleaned file not before it.
    #[must_use]
    pub fn expecting(mut self, offset: Offset) -> Walk {
        self.expected = Some(offset);
        self
    }

    /// Where the next batch would start.
    pub fn position(&self) -> FilePosition {
        FilePosition::new(self.at)
    }

    /// The next batch's mark, or `None` at the end.
    ///
    /// # Errors
    /// [`SegmentError`]; the walk stays where it is.
    pub fn next_mark(&mut self) -> Result<Option<BatchMark>, SegmentError> {
        Ok(self.next_header()?.map(|(mark, _)| mark))
    }

    /// The next batch's mark and header, or `None` at the end.
    ///
    /// # Errors
    /// [`SegmentError`]; the walk stays where it is.
    pub fn next_header(&mut self) -> Result<Option<(BatchMark, BatchHeader)>, SegmentError> {
        if self.at >= self.end {
            return Ok(None);
        }
        let position = self.at;
        let broken = |reason| SegmentError::Broken { position, reason };
        let room = self.end - self.at;
        if room < BatchHeader::SIZE as u64 {
            return Err(broken("too few bytes for a batch header"));
        }
        let bytes = self.header_bytes()?;
        let (mark, header) = parse_mark(bytes, FilePosition::new(position)).map_err(broken)?;
        if u64::from(mark.len) > room {
            return Err(broken("the batch reaches beyond the end of what was published"));
        }
        if self.expected.is_some_and(|expected| !self.spacing.holds(expected, &mark)) {
            return Err(broken("its base offset does not follow the batch before"));
        }
        self.at += u64::from(mark.len);
        self.expected = Some(mark.next);
        Ok(Some((mark, header)))
    }

    fn header_bytes(&mut self) -> io::Result<&[u8]> {
        let held = self.window_at..self.window_at + self.window.len() as u64;
        if self.at < held.start || self.at + BatchHeader::SIZE as u64 > held.end {
            let len = usize::try_from(self.end - self.at).unwrap_or(WINDOW).min(WINDOW);
            self.window.resize(len, 0);
            if let Err(error) = self.file.read_exact_at(&mut self.window, self.at) {
                self.window.clear();
                return Err(error);
            }
            self.window_at = self.at;
        }
        let start = usize::try_from(self.at - self.window_at).map_err(io::Error::other)?;
        self.window.get(start..start + BatchHeader::SIZE).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// A batch follows the one before without a hole: each of a leader's batches starts where the last one ended.
pub fn offsets_chain(expected: Offset, mark: &BatchMark) -> bool {
    mark.base == expected
}

/// No batch of a cleaned file overlaps the one before; whole ones may be missing between.
pub fn offsets_ascend(expected: Offset, mark: &BatchMark) -> bool {
    mark.base >= expected
}

/// The mark and header of the batch whose first bytes are `bytes`, at `position` of its file.
///
/// # Errors
/// What is wrong with it, for a message. Zeros, which end a log, are an error as well.
pub fn parse_mark(bytes: &[u8], position: FilePosition) -> Result<(BatchMark, BatchHeader), &'static str> {
    let header = BatchHeader::parse(bytes).map_err(|_| "not a batch header")?;
    let mark = mark_of(&header, position).ok_or("its offsets or epoch are negative, or overflow")?;
    Ok((mark, header))
}

/// The mark of a batch with this header at `position`; `None` if its numbers are not those of a stored batch.
pub fn mark_of(header: &BatchHeader, position: FilePosition) -> Option<BatchMark> {
    let base = Offset::from_wire(header.base_offset)?;
    let records = u64::try_from(header.last_offset_delta).ok()?;
    let next = Offset::from_wire(base.plus(records).to_wire())?.next();
    Offset::from_wire(next.to_wire())?;
    Some(BatchMark {
        position,
        len: u32::try_from(header.total_len()).ok()?,
        base,
        next,
        max_timestamp: Timestamp::from_millis(header.max_timestamp),
        epoch: LeaderEpoch::from_wire(header.partition_leader_epoch)?,
    })
}
