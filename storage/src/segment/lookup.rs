//! Finding batches in a segment, active or sealed, and slicing them.
//!
//! A **segment** here is whatever can say where it ends and where to start looking ([`Segment`]); a **boundary** is
//! where one batch ends and the next begins. Every look-up takes the index's entry at or before its target, and walks
//! batch headers from there.

use super::index::{BatchMark, SparseIndex};
use super::name::SegmentName;
use super::open_files::OpenFile;
use super::walk::{SegmentError, Spacing, Walk};
use crate::env::{Mapping, Timestamp};
use crate::offset::{FilePosition, Offset};
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;

/// Where a batch starts, or where the last one ended: an offset and its place in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boundary {
    /// The first offset from here on.
    pub offset: Offset,
    /// Its place.
    pub position: FilePosition,
}

/// What a look-up aims at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The batch that holds an offset.
    Offset(Offset),
    /// The batch that holds a byte.
    Position(FilePosition),
    /// The first batch whose latest timestamp is this or later.
    Timestamp(Timestamp),
}

/// Where in a segment to start looking for `target`, by its index.
pub(super) fn floor_in(index: &SparseIndex, target: Target) -> FilePosition {
    match target {
        Target::Offset(offset) => index.floor_offset(offset),
        Target::Position(position) => index.floor_position(position),
        Target::Timestamp(timestamp) => index.floor_timestamp(timestamp),
    }
}

/// The bytes from the index's entry at or before the target to the next one.
pub(super) fn span_in(index: &SparseIndex, target: Target, end: Boundary) -> Range<FilePosition> {
    let (from, to) = index.span(floor_in(index, target));
    from..to.unwrap_or(end.position).min(end.position)
}

/// A segment that can be looked into.
pub trait Segment: Send + Sync {
    /// Which one.
    fn name(&self) -> SegmentName;
    /// Where its published batches end. Of an active segment this moves on; take it once per look-up.
    fn end(&self) -> Boundary;
    /// A batch start at or before the target, as near as the index knows.
    ///
    /// # Errors
    /// [`SegmentError`] if an index had to be read and could not be.
    fn floor(&self, target: Target) -> Result<FilePosition, SegmentError>;
    /// The bytes that a walk to the target may look at; `None` if the index or the file is not in memory.
    fn span(&self, target: Target, end: Boundary) -> Option<Range<FilePosition>>;
    /// Its file.
    ///
    /// # Errors
    /// [`SegmentError::Io`].
    fn open(&self) -> Result<Arc<OpenFile>, SegmentError>;
    /// The bytes that a new mapping should cover.
    fn mapped_len(&self) -> u64;
    /// The boundary at exactly `offset`, if that is known without reading.
    fn known_boundary(&self, offset: Offset) -> Option<Boundary>;
}

impl dyn Segment + '_ {
    /// The last boundary at or before `offset`: where the batch that holds it starts, or the end. In a cleaned segment, where
    /// a batch may be missing, the first boundary after it.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn boundary_at_offset(&self, offset: Offset, end: Boundary) -> Result<Boundary, SegmentError> {
        if offset >= end.offset {
            return Ok(end);
        }
        if let Some(known) = self.known_boundary(offset) {
            return Ok(known);
        }
        let mark = self.seek(Target::Offset(offset), end, |mark| mark.next > offset)?;
        Ok(mark.map_or(end, |mark| Boundary { offset: mark.base, position: mark.position }))
    }

    /// The last boundary at or before `position`.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn boundary_at_position(&self, position: FilePosition, end: Boundary) -> Result<Boundary, SegmentError> {
        if position >= end.position {
            return Ok(end);
        }
        let mark = self.seek(Target::Position(position), end, |mark| mark.end() > position)?;
        Ok(mark.map_or(end, |mark| Boundary { offset: mark.base, position: mark.position }))
    }

    /// The first batch whose latest timestamp is `target` or later.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn batch_at_timestamp(&self, target: Timestamp, end: Boundary) -> Result<Option<BatchMark>, SegmentError> {
        self.seek(Target::Timestamp(target), end, |mark| mark.max_timestamp >= target)
    }

    /// Whether the batch of the target can be found, and its header read, without waiting for the disk.
    pub fn is_in_memory(&self, target: Target, end: Boundary) -> bool {
        let Some(span) = self.span(target, end) else { return false };
        span.start >= span.end || self.map(span).is_ok_and(|mapped| mapped.is_resident(0..mapped.len()))
    }

    /// The batch that starts at `boundary`; in a cleaned segment its offset may be a later one.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn batch_at(&self, boundary: Boundary, end: Boundary) -> Result<Option<BatchMark>, SegmentError> {
        self.walk(boundary.position, end)?.expecting(boundary.offset).next_mark()
    }

    /// A walk from a batch start.
    ///
    /// # Errors
    /// [`SegmentError::Io`].
    pub fn walk(&self, from: FilePosition, end: Boundary) -> Result<Walk, SegmentError> {
        Ok(Walk::new(Arc::clone(self.open()?.file()), from, end.position, Spacing::of(self.name())))
    }

    /// The first batch from the target's index entry on that satisfies `found`.
    ///
    /// # Errors
    /// [`SegmentError`].
    fn seek(
        &self,
        target: Target,
        end: Boundary,
        found: impl Fn(&BatchMark) -> bool,
    ) -> Result<Option<BatchMark>, SegmentError> {
        let mut walk = self.walk(self.floor(target)?, end)?;
        while let Some(mark) = walk.next_mark()? {
            if found(&mark) {
                return Ok(Some(mark));
            }
        }
        Ok(None)
    }

    /// The bytes of a published range, mapped.
    ///
    /// # Errors
    /// [`SegmentError::Io`].
    pub fn map(&self, range: Range<FilePosition>) -> Result<MappedRange, SegmentError> {
        let mapping = self.open()?.mapping(range.end.get(), self.mapped_len())?;
        Ok(MappedRange { mapping, range: range.start.get()..range.end.get() })
    }
}

/// A published range of a mapped segment.
#[derive(Clone)]
pub struct MappedRange {
    mapping: Arc<dyn Mapping>,
    range: Range<u64>,
}

impl MappedRange {
    /// Its bytes, uncopied.
    pub fn bytes(&self) -> Bytes {
        Arc::clone(&self.mapping).slice(self.range.clone())
    }

    /// Whether a part of it, in bytes from its start, is in memory.
    pub fn is_resident(&self, part: Range<u64>) -> bool {
        self.mapping.is_resident(self.part(part))
    }

    /// Brings a part of it, in bytes from its start, into memory, and waits for that.
    ///
    /// # Errors
    /// What the disk answers: `EIO` on a bad sector.
    pub fn make_resident(&self, part: Range<u64>) -> std::io::Result<()> {
        self.mapping.make_resident(self.part(part))
    }

    /// Bytes in it.
    pub fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn part(&self, part: Range<u64>) -> Range<u64> {
        let clip = |at: u64| self.range.start.saturating_add(at).min(self.range.end);
        clip(part.start)..clip(part.end)
    }
}
