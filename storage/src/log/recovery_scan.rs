//! A log being opened ([`Recovery`]), and what is read of its files: summaries, headers, whole batches.
//!
//! A **scan** checks every batch and shows it to what follows along: the indexes of the file, and from some point on the
//! producers and the epochs of the log. Where it stops, `recovery` (with the mark of what was synced) tells rot from a
//! torn tail. Behind rot it goes on where batches are good again (`good_again`): what lies between is a damaged range.

use super::config::LogConfig;
use super::damage::DamagedRange;
use super::dir::LogDir;
use super::epochs::LeaderEpochs;
use super::error::{LogError, segment_error};
use super::good_again::good_again;
use super::producers::Producers;
use super::producers_codec;
use super::scrub_record::ScrubProgress;
use super::survey::DataFile;
use super::synced_record::SyncedMark;
use super::unstable::{note, note_in};
use crate::env::{File, Timestamp};
use crate::offset::{FilePosition, LeaderEpoch, Offset, PartitionId, TierEnd};
use crate::segment::scan::{ScanEnd, Stop, epochs_chain, scan};
use crate::segment::{
    AbortedTransaction, Boundary, HEADER_LEN, SealedSegment, Segment, SegmentName, Spacing, SparseIndex, Walk,
    index_file, parse_mark,
};
use esker_protocol::record::BatchHeader;
use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes that are written again at a time.
const REWRITE: u64 = 1 << 20;

/// Where to look in a segment, and the transactions that were aborted in it.
pub(super) type Indexes = (SparseIndex, Vec<AbortedTransaction>);

/// How much of a file the checkpoint knows of.
pub(super) enum Behind {
    /// All of it: producers and epochs are those of a later point.
    All,
    /// What lies before a point, and the transactions that were aborted there.
    Part(Boundary, Vec<AbortedTransaction>),
}

/// What follows along with a scan.
#[derive(Clone, Copy)]
pub(super) struct Follow {
    /// From where on.
    pub(super) from: Boundary,
    /// Whether the epochs do, and not only the producers.
    pub(super) epochs: bool,
}

/// What opening a log found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Bytes that were read and checked.
    pub scanned_bytes: u64,
    /// Bytes of a torn tail that were cut off.
    pub cut_bytes: u64,
    /// Whether the log is empty and starts at the tier's end (or the log start): it lacks the producers and epochs of that
    /// point until [`install_state`](super::Log::install_state) is called with the tier's.
    pub needs_state: bool,
    /// Offsets that are neither in the tier nor on this disk, from the first one up to, not including, the second.
    pub hole: Option<(Offset, Offset)>,
}

/// A log being opened.
pub(super) struct Recovery<'a> {
    pub(super) dir: &'a Arc<LogDir>,
    pub(super) id: PartitionId,
    pub(super) path: PathBuf,
    pub(super) config: LogConfig,
    pub(super) now: Timestamp,
    pub(super) mark: Option<SyncedMark>,
    pub(super) newest_epoch: Option<LeaderEpoch>,
    pub(super) tier_end: Option<TierEnd>,
    pub(super) producers: Producers,
    pub(super) epochs: LeaderEpochs,
    pub(super) sealed: Vec<Arc<SealedSegment>>,
    pub(super) unfinished: Vec<(Arc<SealedSegment>, Option<Arc<Producers>>)>,
    /// The data files that were found.
    pub(super) files: Vec<DataFile>,
    /// What is known to be damaged, and whether any of it was not known before.
    pub(super) damage: Vec<DamagedRange>,
    pub(super) new_damage: bool,
    /// Where the log goes on behind a newest file that is lost.
    pub(super) lost_end: Option<Offset>,
    pub(super) scrubbed: ScrubProgress,
    pub(super) report: OpenReport,
}

impl Recovery<'_> {
    /// The summary in a segment's index file, if it is of this very segment.
    pub(super) fn summary(&self, file: DataFile, end: Offset) -> Option<index_file::Summary> {
        let path = self.path.join(crate::segment::FileName::Index(file.name).to_string());
        let index = self.dir.env().disk.open(&path, crate::env::Open::Read).ok()?;
        let mut bytes = [0; index_file::SUMMARY_LEN];
        index.read_exact_at(&mut bytes, 0).ok()?;
        let summary = index_file::decode_summary(&bytes).ok()?;
        (summary.name == file.name && summary.end == end && file.len >= summary.data_end.get()).then_some(summary)
    }

    /// Has producers and epochs follow a sealed segment that the checkpoint does not cover. Whether its headers could be
    /// read; if not it is to be scanned.
    pub(super) fn follows(&mut self, segment: &SealedSegment, behind: &Behind) -> Result<bool, LogError> {
        let Behind::Part(from, _) = behind else { return Ok(true) };
        let before = (self.producers.clone(), self.epochs.clone());
        match self.replay(segment, *from) {
            Err(LogError::Corrupt { .. }) => {
                (self.producers, self.epochs) = before;
                Ok(false)
            }
            replayed => replayed.map(|()| true),
        }
    }

    /// Producers and epochs of a sealed segment's batches from `from` on.
    fn replay(&mut self, segment: &SealedSegment, from: Boundary) -> Result<(), LogError> {
        let error = |error| segment_error(self.id, segment.name(), error);
        let file = segment.open().map_err(error)?;
        let end = segment.end();
        let spacing = Spacing::of(segment.name());
        let (name, at) = (segment.name(), from.position.get());
        if self.damage.iter().any(|range| range.segment == name && range.to > from.offset) {
            return Err(self.corrupt(name, at, "a part of it is known to be damaged"));
        }
        let mut walk = Walk::new(Arc::clone(file.file()), from.position, end.position, spacing).expecting(from.offset);
        while let Some((mark, header)) = walk.next_header().map_err(error)? {
            let given_out = self.newest_epoch.is_none_or(|newest| mark.epoch <= newest);
            if !given_out || !epochs_chain(self.epochs.latest(), mark.epoch) {
                return Err(self.corrupt(name, at, "a leader epoch that does not follow"));
            }
            self.epochs.begin(mark.epoch, mark.base);
            note_in(file.file().as_ref(), &mut self.producers, (&mark, &header), self.now).map_err(error)?;
        }
        Ok(())
    }

    /// Whether the tier has everything that the files had, by the headers of the newest one's batches: they tell where it
    /// ended if they follow each other up to what was synced, and on to where nothing follows.
    pub(super) fn tier_has_all(&self) -> bool {
        let (Some(tier_end), Some(mark), Some(last)) = (self.tier_end, self.mark, self.files.last()) else {
            return false;
        };
        let path = self.path.join(crate::segment::FileName::Data(last.name).to_string());
        let Ok(data) = self.dir.env().disk.open(&path, crate::env::Open::Read) else { return false };
        if mark.serial > last.name.serial {
            // It is lost; more than the record says is not known of it.
            return mark.offset <= tier_end.offset();
        }
        let start = start_of(last.name);
        let spacing = crate::segment::Spacing::of(last.name);
        let mut walk = Walk::new(data, start.position, FilePosition::new(last.len), spacing).expecting(start.offset);
        let mut end = start.offset;
        // What was synced ended with a batch: a length that rotted leads past that place, and past what is there.
        let mut reached = mark.serial < last.name.serial;
        while let Ok(Some(batch)) = walk.next_mark() {
            end = batch.next;
            reached |= mark.serial == last.name.serial && batch.end() == mark.position;
        }
        reached && end <= tier_end.offset()
    }

    /// The producers at the end of the last segment that was recovered, as well as they are known: whoever has written
    /// nothing on this disk is of no concern to its segments.
    pub(super) fn producers_before(&self) -> Result<Producers, LogError> {
        let Some(last) = self.sealed.last() else { return Ok(Producers::default()) };
        if let Some((_, Some(producers))) = self.unfinished.iter().find(|(segment, _)| Arc::ptr_eq(segment, last)) {
            return Ok(Producers::clone(producers));
        }
        let stored = last.attachment().map_err(LogError::Io)?;
        Ok(stored.and_then(|bytes| producers_codec::decode(&bytes).ok()).unwrap_or_default())
    }

    /// Scans a file from `from`, takes note of its batches, and cuts off what is no batch; from a point on, producers and
    /// epochs follow along. What is rotten, and not in the tier with all the rest, is taken note of and passed over: see
    /// [`Recovery::damage`].
    pub(super) fn scan_file(
        &mut self,
        file: DataFile,
        from: Boundary,
        limit: Option<Offset>,
        indexes: &mut Indexes,
        follow: Follow,
    ) -> Result<ScanEnd, LogError> {
        let path = self.path.join(crate::segment::FileName::Data(file.name).to_string());
        let data = self.dir.env().disk.open(&path, crate::env::Open::Write).map_err(LogError::Io)?;
        let mut at = from;
        let (scanned, reason) = loop {
            let known = self.damage_ahead(data.as_ref(), file, at)?;
            let upto = known.or(limit);
            let scanned = self.scan_batches(data.as_ref(), file, (at, at != from), upto, indexes, follow)?;
            let reason = match scanned.stop {
                Stop::Limit if known == Some(scanned.end.offset) => "it was damaged before",
                Stop::Limit => break (scanned, None),
                Stop::EndOfFile if file.name.is_cleaned() => break (scanned, None),
                Stop::EndOfFile => "the file ends before what was synced",
                Stop::Zeros => "zeros where batches were synced",
                Stop::Broken(reason) => reason,
            };
            if !self.was_synced(file.name, scanned.end.position.get() + 1) {
                break (scanned, Some(reason));
            }
            at = self.pass_over(data.as_ref(), file, scanned.end, limit, reason)?;
            if at.position.get() >= file.len {
                // The records in between are not there to be read, and nothing follows.
                let end = Boundary { offset: at.offset, position: scanned.end.position };
                break (ScanEnd { end, stop: Stop::Limit }, None);
            }
        };
        let end = scanned.end.position.get();
        self.report.scanned_bytes += end - from.position.get();
        self.write_again(data.as_ref(), file.name, from, end)?;
        let Some(reason) = reason else { return Ok(scanned) };
        if let Stop::Broken(_) = scanned.stop {
            self.report.cut_bytes += file.len - end;
            tracing::info!(partition = %self.id, segment = %file.name, position = end, reason, "cutting a torn tail");
        }
        if file.len > end {
            // Behind zeros there may still be what a lost page did not hold.
            data.set_len(end).map_err(LogError::Io)?;
        }
        Ok(scanned)
    }

    /// Where damage begins, at or behind `at`, that is known and is to be passed over again: what an earlier recovery passed
    /// over, and what a scrub found and does not read whole. By what a file below its synced mark has.
    fn damage_ahead(&self, data: &dyn File, file: DataFile, at: Boundary) -> Result<Option<Offset>, LogError> {
        for range in self.damage.iter().filter(|range| range.segment == file.name && range.from.offset >= at.offset) {
            let stays = range.passed_over || !self.reads_whole(data, file, range)?;
            if stays && self.was_synced(file.name, range.from.position.get() + 1) {
                return Ok(Some(range.from.offset));
            }
        }
        Ok(None)
    }

    /// Whether what a scrub found damaged is as it was appended, as far as its checksums, and the epoch of the batch behind
    /// it, can tell.
    fn reads_whole(&self, data: &dyn File, file: DataFile, range: &DamagedRange) -> Result<bool, LogError> {
        let before = range.from.offset.previous().and_then(|before| self.epochs.at(before));
        let (spacing, mut newest) = (Spacing::of(file.name), before);
        let epochs = (before, self.newest_epoch);
        let scanned = scan(data, range.from, spacing, Some(range.to), epochs, |mark, _, _| newest = Some(mark.epoch));
        let scanned = scanned.map_err(LogError::Io)?;
        if scanned.stop != Stop::Limit {
            return Ok(false);
        }
        let mut head = [0; BatchHeader::SIZE];
        let behind = data.read_exact_at(&mut head, scanned.end.position.get()).ok();
        let behind = behind.and_then(|()| parse_mark(&head, scanned.end.position).ok());
        Ok(behind.is_none_or(|(behind, _)| epochs_chain(newest, behind.epoch)))
    }

    /// Scans a file up to where something is wrong with it.
    fn scan_batches(
        &mut self,
        data: &dyn File,
        file: DataFile,
        (from, mut behind_damage): (Boundary, bool),
        limit: Option<Offset>,
        (index, aborted): &mut Indexes,
        follow: Follow,
    ) -> Result<ScanEnd, LogError> {
        let epoch = from.offset.previous().and_then(|before| self.epochs.at(before));
        let (producers, epochs, now) = (&mut self.producers, &mut self.epochs, self.now);
        let spacing = Spacing::of(file.name);
        scan(data, from, spacing, limit, (epoch, self.newest_epoch), |mark, header, batch| {
            if std::mem::take(&mut behind_damage) {
                index.push_behind_damage(mark);
            } else {
                index.push(mark);
            }
            if mark.position >= follow.from.position {
                if follow.epochs {
                    epochs.begin(mark.epoch, mark.base);
                }
                let ended = note(producers, header, batch, now);
                aborted.extend(ended.and_then(|ended| ended.aborted()));
            }
        })
        .map_err(LogError::Io)
    }

    /// Takes note of the rot at `at`, below what was synced; where the file goes on. If the tier has all that there was, or
    /// nobody can tell where the log would go on, that is an error instead.
    fn pass_over(
        &mut self,
        data: &dyn File,
        file: DataFile,
        at: Boundary,
        limit: Option<Offset>,
        reason: &str,
    ) -> Result<Boundary, LogError> {
        let rotten = self.corrupt(file.name, at.position.get(), reason);
        let synced = self.mark.filter(|mark| mark.serial == file.name.serial && !file.name.is_cleaned());
        let bound = match (limit, synced) {
            // A newer file begins there.
            (Some(end), _) => Boundary { offset: end, position: FilePosition::new(file.len) },
            (None, Some(mark)) => Boundary { offset: mark.offset, position: mark.position },
            (None, None) => return Err(rotten),
        };
        if self.tier_has_all() || bound.offset <= at.offset {
            return Err(rotten);
        }
        let next = good_again(data, at, bound, Spacing::of(file.name), self.newest_epoch).map_err(LogError::Io)?;
        self.note_damage(DamagedRange { segment: file.name, from: at, to: next.offset, passed_over: true }, reason);
        Ok(next)
    }

    fn note_damage(&mut self, range: DamagedRange, reason: &str) {
        if self.damage.iter().any(|known| known.passed_over && known.covers(&range)) {
            return;
        }
        self.new_damage = true;
        if let Some(known) = self.damage.iter_mut().find(|known| known.covers(&range)) {
            known.passed_over = true;
            return;
        }
        self.damage.push(range);
        let DamagedRange { segment, from, to, .. } = range;
        let position = from.position.get();
        if self.tier_end.is_some_and(|end| to <= end.offset()) {
            tracing::error!(partition = %self.id, %segment, position, from = %from.offset, %to, reason, "a segment is rotten; the tier has those records");
        } else {
            tracing::error!(
                partition = %self.id, %segment, position, from = %from.offset, %to, reason,
                "records are damaged, and the tier does not have them"
            );
        }
    }

    /// Whether the last thing that is known of a file is that it has damage.
    pub(super) fn is_damaged(&self, name: SegmentName) -> bool {
        self.damage.iter().any(|range| range.segment == name)
    }

    /// Writes what is not known to be synced again, as it is read. After a failed sync Linux takes the pages for clean, so a
    /// process that reads them after a restart and syncs the file would be told that all is well, and write nothing. The
    /// header of a file that has no batch yet is a part of it: without it the file would be none, and its record a lie.
    fn write_again(&self, data: &dyn File, name: SegmentName, from: Boundary, end: u64) -> Result<(), LogError> {
        let nothing = end == from.position.get() && from != start_of(name);
        if nothing || self.was_synced(name, end) {
            return Ok(());
        }
        let synced = self.mark.filter(|mark| mark.serial == name.serial).map_or(0, |mark| mark.position.get());
        let before = if from == start_of(name) { 0 } else { from.position.get() };
        let mut at = synced.max(before);
        let mut bytes = vec![0; (end - at.min(end)).min(REWRITE) as usize];
        while at < end {
            let len = (end - at).min(REWRITE) as usize;
            let Some(piece) = bytes.get_mut(..len) else { break };
            data.read_exact_at(piece, at).map_err(LogError::Io)?;
            data.write_all_at(&[IoSlice::new(piece)], at)
                .map_err(|error| self.dir.write_failed("writing a tail again", error))?;
            at += len as u64;
        }
        Ok(())
    }

    /// Whether a file was synced up to `position`, by the record of that. A cleaned one has its name only once it is.
    fn was_synced(&self, name: SegmentName, position: u64) -> bool {
        name.is_cleaned()
            || self.mark.is_some_and(|mark| {
                mark.serial > name.serial || mark.serial == name.serial && mark.position.get() >= position
            })
    }

    pub(super) fn corrupt(&self, segment: SegmentName, position: u64, reason: &str) -> LogError {
        LogError::Corrupt { partition: self.id, segment, position, reason: reason.to_owned() }
    }
}

pub(super) fn start_of(name: SegmentName) -> Boundary {
    Boundary { offset: name.base, position: FilePosition::new(HEADER_LEN) }
}
