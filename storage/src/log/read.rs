//! Reading a log: whole batches of one segment as one mapped slice, and look-ups by time.
//!
//! A [`LocalRead`] names a range; its bytes are not touched before they go to a socket. Whether they are in memory is
//! a question of its own ([`LocalRead::is_resident`]): what was not appended recently is made resident on the cold
//! pool first, a window at a time. To find the range, an index and some batch headers may have to be read from the
//! disk as well: [`Log::read_in_memory`] does not, and says so, and [`Log::read`] is for the cold pool then.

use super::damage::DamagedRange;
use super::error::{LogError, ReadError, segment_error};
use super::local_log::{Log, SegmentList};
use crate::env::Timestamp;
use crate::offset::{FilePosition, Offset};
use crate::segment::{Boundary, MappedRange, Segment, SegmentError, Target};
use bytes::Bytes;
use esker_protocol::record::{RecordPosition, Scratch, check_stored, first_at_or_after, max_timestamp_record};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Bytes that a look-up by time decompresses at most of one batch.
const DECOMPRESS_LIMIT: u64 = 256 << 20;

/// Whole batches of one segment, in a row.
#[derive(Clone)]
pub struct LocalRead {
    /// The first offset of the first batch: at or before the one asked for. That one, if there are no batches.
    pub base: Offset,
    /// One past the last offset: where to go on.
    pub next: Offset,
    recent: bool,
    mapped: Option<MappedRange>,
}

impl LocalRead {
    fn empty(at: Offset) -> LocalRead {
        LocalRead { base: at, next: at, recent: true, mapped: None }
    }

    /// The batches' bytes, uncopied: for sockets only, where a bad sector closes a connection.
    pub fn bytes(&self) -> Bytes {
        self.mapped.as_ref().map_or_else(Bytes::new, MappedRange::bytes)
    }

    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        self.mapped.as_ref().map_or(0, MappedRange::len)
    }

    /// Whether there is no batch.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a part, in bytes from the start, can be sent without waiting for the disk.
    pub fn is_resident(&self, part: Range<u64>) -> bool {
        self.recent || self.mapped.as_ref().is_none_or(|mapped| mapped.is_resident(part))
    }

    /// Brings a part into memory. Waits for the disk: for the cold pool.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn make_resident(&self, part: Range<u64>) -> io::Result<()> {
        self.mapped.as_ref().map_or(Ok(()), |mapped| mapped.make_resident(part))
    }
}

impl std::fmt::Debug for LocalRead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LocalRead({}..{}, {} bytes)", self.base, self.next, self.len())
    }
}

impl Log {
    /// The batches from the one that holds `from` up to, at most, the last one that ends at or before `upto`, of one
    /// segment and at most `max_bytes`. A first batch that is larger is given whole if `at_least_one` is set.
    ///
    /// Empty at `upto` and at the log end. A next call with [`LocalRead::next`] goes on, in the next segment if need be.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(&self, from: Offset, upto: Offset, max_bytes: u64, at_least_one: bool) -> Result<LocalRead, ReadError> {
        let read = self.look(from, upto, max_bytes, at_least_one, Patience::Waits)?;
        Ok(read.unwrap_or_else(|| LocalRead::empty(from)))
    }

    /// As [`Log::read`], if it can be told without waiting for the disk what there is; `None` if not.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read_in_memory(
        &self,
        from: Offset,
        upto: Offset,
        max_bytes: u64,
        at_least_one: bool,
    ) -> Result<Option<LocalRead>, ReadError> {
        self.look(from, upto, max_bytes, at_least_one, Patience::InMemory)
    }

    /// `None` only for who does not wait.
    fn look(
        &self,
        from: Offset,
        upto: Offset,
        max_bytes: u64,
        at_least_one: bool,
        patience: Patience,
    ) -> Result<Option<LocalRead>, ReadError> {
        self.dir.check().map_err(LogError::from)?;
        let mut at = from;
        loop {
            let list = self.segments.load_full();
            // The end first: a segment of the list that is rolled meanwhile still holds all up to there.
            let log_end = self.log_end();
            if at > log_end.offset() {
                return Err(ReadError::AboveEnd { log_end });
            }
            let local_start = self.local_start();
            if at < local_start.offset() {
                return Err(ReadError::BelowLocalStart { local_start });
            }
            if at >= upto.min(log_end.offset()) {
                return Ok(Some(LocalRead::empty(at)));
            }
            let Some(segment) = list.holding(at) else { return Err(ReadError::BelowLocalStart { local_start }) };
            let recent = segment.name() == list.active.name() && list.active.is_recent(at);
            let patience = if recent { Patience::Waits } else { patience };
            let published = self.good_end(segment.as_ref(), at)?;
            match find(segment.as_ref(), published, at, upto, max_bytes, at_least_one, patience) {
                Ok(Find::Range(start, end, mapped)) => {
                    return Ok(Some(LocalRead { base: start.offset, next: end.offset, recent, mapped: Some(mapped) }));
                }
                Ok(Find::TooLarge) => return Ok(Some(LocalRead::empty(at))),
                Ok(Find::NotInMemory) => return Ok(None),
                Ok(Find::Nothing) if segment.name() != list.active.name() && published.offset < upto => {
                    self.check_sparse(segment.as_ref(), at)?;
                    at = published.offset;
                }
                // The segment was sealed, and a new one has what was asked for.
                Ok(Find::Nothing) if self.segments.load().active.name() != list.active.name() => {}
                Ok(Find::Nothing) => return Ok(Some(LocalRead::empty(at))),
                // It was swapped for its rewrite meanwhile, or dropped.
                Err(error) if is_missing(&error) && !Arc::ptr_eq(&list, &self.segments.load()) => {}
                Err(error) => return Err(segment_error(self.id, segment.name(), error).into()),
            }
        }
    }

    /// The first record below `upto`, at or after the local start, whose timestamp is `target` or later. Reads from the
    /// disk: for the cold pool.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn offset_for_timestamp(&self, target: Timestamp, upto: Offset) -> Result<Option<RecordPosition>, LogError> {
        self.dir.check()?;
        self.on_segments(|list| {
            let start = self.local_start().offset();
            let mut scratch = Scratch::default();
            for segment in list.all() {
                if !may_hold(list, segment.as_ref(), target) {
                    continue;
                }
                if let Some(found) = self.find_time(segment.as_ref(), target, start, upto, &mut scratch)? {
                    return Ok(Some(found));
                }
                if segment.end().offset >= upto {
                    break;
                }
            }
            Ok(None)
        })
    }

    /// The first record with the greatest timestamp of all that are on this disk (KIP-734). Reads from the disk: for the
    /// cold pool.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn max_timestamp_offset(&self) -> Result<Option<RecordPosition>, LogError> {
        self.dir.check()?;
        self.on_segments(|list| self.max_timestamp_in(list))
    }

    fn max_timestamp_in(&self, list: &SegmentList) -> Result<Option<RecordPosition>, LogError> {
        let sealed = list.sealed.iter().filter_map(|segment| segment.latest());
        // Of equal ones the first.
        let latest =
            sealed.chain(list.active.latest()).fold(None, |best: Option<crate::segment::LatestTimestamp>, next| {
                if best.is_none_or(|best| next.timestamp > best.timestamp) { Some(next) } else { best }
            });
        let Some(latest) = latest else { return Ok(None) };
        let Some(segment) = list.holding(latest.batch) else { return Ok(None) };
        let error = |error| segment_error(self.id, segment.name(), error);
        let end = segment.end();
        let at = segment.boundary_at_offset(latest.batch, end).map_err(error)?;
        let Some(batch) = self.checked_batch(segment.as_ref(), at, end)? else { return Ok(None) };
        max_timestamp_record(&batch, &mut Scratch::default(), DECOMPRESS_LIMIT)
            .map_err(|malformed| self.malformed(segment.as_ref(), at, &malformed))
    }

    fn find_time(
        &self,
        segment: &dyn Segment,
        target: Timestamp,
        start: Offset,
        upto: Offset,
        scratch: &mut Scratch,
    ) -> Result<Option<RecordPosition>, LogError> {
        let error = |error| segment_error(self.id, segment.name(), error);
        let end = segment.end();
        let mut mark = segment.batch_at_timestamp(target, end).map_err(error)?;
        while let Some(batch) = mark {
            if batch.base >= upto {
                return Ok(None);
            }
            let at = Boundary { offset: batch.base, position: batch.position };
            if batch.max_timestamp >= target
                && batch.next > start
                && let Some(bytes) = self.checked_batch(segment, at, end)?
            {
                let found = first_at_or_after(&bytes, target.millis(), start.to_wire(), scratch, DECOMPRESS_LIMIT)
                    .map_err(|malformed| self.malformed(segment, at, &malformed))?;
                if let Some(found) = found.filter(|found| found.offset < upto.to_wire()) {
                    return Ok(Some(found));
                }
            }
            let next = Boundary { offset: batch.next, position: batch.end() };
            mark = if next.position < end.position { segment.batch_at(next, end).map_err(error)? } else { None };
        }
        Ok(None)
    }

    /// Where `segment` ends for who comes to `at`: where damage begins that is known, as if nothing followed.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] within the damage.
    pub(super) fn good_end(&self, segment: &dyn Segment, at: Offset) -> Result<Boundary, LogError> {
        let Some(damaged) = self.damage.ahead(at) else { return Ok(segment.end()) };
        let DamagedRange { segment: name, from, to, .. } = damaged;
        if from.offset <= at {
            let reason = format!("offsets {} to {to} are damaged", from.offset);
            return Err(LogError::Corrupt { partition: self.id, segment: name, position: from.position.get(), reason });
        }
        Ok(if name == segment.name() { from } else { segment.end() })
    }

    /// Compaction left nothing from `at` to a segment's end, so that what follows is in the next one; of a segment that was
    /// appended to nothing may be missing.
    ///
    /// # Errors
    /// [`LogError::Corrupt`].
    pub(super) fn check_sparse(&self, segment: &dyn Segment, at: Offset) -> Result<(), LogError> {
        if segment.name().is_cleaned() {
            return Ok(());
        }
        let reason = format!("the segment ends before offset {at}, which it had when it was sealed");
        let position = segment.end().position.get();
        Err(LogError::Corrupt { partition: self.id, segment: segment.name(), position, reason })
    }

    /// The batch at `at`, read and not mapped: it is for our own eyes, and looked into only if it is what was appended.
    fn checked_batch(&self, segment: &dyn Segment, at: Boundary, end: Boundary) -> Result<Option<Bytes>, LogError> {
        let read = || {
            let Some(mark) = segment.batch_at(at, end)? else { return Ok(None) };
            let mut bytes = vec![0; mark.len as usize];
            segment.open()?.file().read_exact_at(&mut bytes, at.position.get())?;
            Ok(Some(bytes))
        };
        let Some(bytes) = read().map_err(|error| segment_error(self.id, segment.name(), error))? else {
            return Ok(None);
        };
        check_stored(&bytes).map_err(|damage| self.malformed(segment, at, &damage))?;
        Ok(Some(Bytes::from(bytes)))
    }

    fn malformed(&self, segment: &dyn Segment, at: Boundary, why: &dyn std::fmt::Display) -> LogError {
        LogError::Corrupt {
            partition: self.id,
            segment: segment.name(),
            position: at.position.get(),
            reason: why.to_string(),
        }
    }
}

fn may_hold(list: &SegmentList, segment: &dyn Segment, target: Timestamp) -> bool {
    let latest = if segment.name() == list.active.name() {
        list.active.latest()
    } else {
        let at = list.sealed.partition_point(|sealed| sealed.summary().name < segment.name());
        list.sealed.get(at).and_then(|sealed| sealed.latest())
    };
    latest.is_some_and(|latest| latest.timestamp >= target)
}

/// Whether a look-up may wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    Waits,
    InMemory,
}

/// What a read gives.
enum Find {
    /// No batch below the bound.
    Nothing,
    /// A first batch that is larger than the reader wants.
    TooLarge,
    /// The disk must be asked.
    NotInMemory,
    /// Start, end, and the mapping of what lies between.
    Range(Boundary, Boundary, MappedRange),
}

fn find(
    segment: &dyn Segment,
    published: Boundary,
    from: Offset,
    upto: Offset,
    max_bytes: u64,
    at_least_one: bool,
    patience: Patience,
) -> Result<Find, SegmentError> {
    let must_wait = |target| patience == Patience::InMemory && !segment.is_in_memory(target, published);
    if must_wait(Target::Offset(from)) || upto < published.offset && must_wait(Target::Offset(upto)) {
        return Ok(Find::NotInMemory);
    }
    let start = segment.boundary_at_offset(from, published)?;
    let mut end = segment.boundary_at_offset(upto, published)?;
    if start.position >= end.position {
        return Ok(Find::Nothing);
    }
    if end.position.get() - start.position.get() > max_bytes {
        let limit = FilePosition::new(start.position.get().saturating_add(max_bytes));
        if must_wait(Target::Position(limit)) {
            return Ok(Find::NotInMemory);
        }
        end = segment.boundary_at_position(limit, end)?;
        if end.position <= start.position {
            let first = if at_least_one { segment.batch_at(start, published)? } else { None };
            let Some(first) = first else { return Ok(Find::TooLarge) };
            end = Boundary { offset: first.next, position: first.end() };
        }
    }
    let mapped = segment.map(start.position..end.position)?;
    Ok(Find::Range(start, end, mapped))
}

fn is_missing(error: &SegmentError) -> bool {
    matches!(error, SegmentError::Io(error) if error.kind() == io::ErrorKind::NotFound)
}
