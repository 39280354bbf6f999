//! One pass over a local log: reads what is dirty, then writes every segment up to there anew, a run at a time.
//!
//! ```text
//!   begin        the aborted index: whose records were aborted
//!   map          records of the dirty part: newest offset of each key, until the map is full
//!   filter       every segment that begins before the end of the map, oldest first, in runs that fit into one:
//!                batches -> rules -> cleaned file -> swap
//!   record       the first dirty offset moves to the end of the map
//! ```
//!
//! A [`Pass`] does its work in steps of bounded length, so that its driver can throttle it, stop it, and let others at the
//! disk. Runs are swapped in ascending order: what a tombstone hides is gone, durably, before the tombstone goes. A pass
//! that ends early, by a crash as well, leaves a log that holds the same newest records, and is done again.

use super::key_map::KeyMap;
use super::plan::{Candidate, CompactionConfig, group};
use super::progress::{self, Progress};
use super::rules::{Counts, DECOMPRESS_LIMIT, Kept, Rules};
use super::transactions::Aborted;
use crate::env::Timestamp;
use crate::log::{Log, LogError};
use crate::offset::{FilePosition, Offset};
use crate::segment::batches::BatchReader;
use crate::segment::{
    AbortedTransaction, Boundary, CleanedWriter, HEADER_LEN, SealedSegment, Segment, SegmentError, Spacing,
};
use esker_protocol::record::{BatchHeader, Malformed, Scratch, stream};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// How a pass is done.
#[derive(Clone, Copy, Debug)]
pub struct PassConfig {
    /// The topic's settings.
    pub topic: CompactionConfig,
    /// Bytes of memory that the keys may take.
    pub key_bytes: usize,
    /// A random number, for the keys' places.
    pub seed: u64,
    /// Below it everything of the partition that is older than its local log is clean.
    pub clean_below: Offset,
}

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassReport {
    /// What was seen and kept.
    pub counts: Counts,
    /// Keys of the dirty part.
    pub keys: usize,
    /// How full the map of the keys was, in percent.
    pub map_percent: u64,
    /// Runs that were swapped for their rewrite.
    pub swaps: u64,
    /// Where the next pass begins.
    pub cleaned_to: Offset,
}

/// How far a step came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more to do. Bytes that were read and written.
    More(u64),
    /// The pass is done.
    Done(PassReport),
    /// The log was dropped or cut at where the pass is: it must begin again.
    Overtaken,
}

/// A pass over one log.
pub struct Pass {
    log: Arc<Log>,
    config: PassConfig,
    now: Timestamp,
    upto: Offset,
    segments: Vec<Arc<SealedSegment>>,
    phase: Phase,
    scratch: Scratch,
    swaps: u64,
}

enum Phase {
    Begin { from: Offset },
    Map { left: VecDeque<usize>, from: Offset, aborted: Aborted, newest: KeyMap, reading: Option<BatchReader> },
    Filter { left: VecDeque<Range<usize>>, rules: Box<Rules>, run: Option<Box<Run>> },
    Done,
}

/// A run that is being written anew.
struct Run {
    of: Range<usize>,
    /// The segment that is read now.
    at: usize,
    reading: Option<BatchReader>,
    /// The transactions that were aborted in that segment.
    aborted: Vec<AbortedTransaction>,
    writer: CleanedWriter,
    changed: bool,
}

impl Pass {
    /// A pass over what `candidate` names of `log`.
    pub fn begin(log: &Arc<Log>, candidate: &Candidate, config: PassConfig, now: Timestamp) -> Pass {
        let segments = log.finished_segments();
        let phase = Phase::Begin { from: candidate.first_dirty };
        Pass {
            log: Arc::clone(log),
            config,
            now,
            upto: candidate.upto,
            segments,
            phase,
            scratch: Scratch::default(),
            swaps: 0,
        }
    }

    /// Goes on for about `bytes` of reading and writing. Blocks on the disk: for the maintenance pool.
    ///
    /// # Errors
    /// [`LogError`]: with `Corrupt` the log cannot be compacted. The pass has ended then; nothing is lost.
    pub fn step(&mut self, bytes: u64) -> Result<Step, LogError> {
        let mut moved = 0;
        while moved < bytes {
            let phase = std::mem::replace(&mut self.phase, Phase::Done);
            let next = match phase {
                Phase::Begin { from } => self.learn(from),
                Phase::Map { left, from, aborted, newest, reading } => {
                    self.map(left, from, aborted, newest, reading, &mut moved)
                }
                Phase::Filter { left, rules, run } => match self.filter(left, rules, run, &mut moved)? {
                    Filtering::More(phase) => Ok(phase),
                    Filtering::Done(report) => return Ok(Step::Done(report)),
                    Filtering::Overtaken => return Ok(Step::Overtaken),
                },
                Phase::Done => return Ok(Step::Overtaken),
            };
            match next {
                Ok(phase) => self.phase = phase,
                // Swapped or dropped meanwhile: somebody else's doing.
                Err(LogError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Step::Overtaken),
                Err(error) => return Err(error),
            }
        }
        Ok(Step::More(moved))
    }

    /// Learns what was aborted. Everything before the end of the pass is stable: no transaction there is still open.
    fn learn(&mut self, from: Offset) -> Result<Phase, LogError> {
        let aborted = Aborted::of(&self.log.aborted_between(from, self.upto)?);
        let newest = KeyMap::new(self.config.key_bytes, self.config.seed);
        let left = dirty_segments(&self.segments, from, self.upto);
        Ok(Phase::Map { left, from, aborted, newest, reading: None })
    }

    /// Takes the keys of one dirty batch.
    fn map(
        &mut self,
        mut left: VecDeque<usize>,
        from: Offset,
        aborted: Aborted,
        mut newest: KeyMap,
        reading: Option<BatchReader>,
        moved: &mut u64,
    ) -> Result<Phase, LogError> {
        let Some(segment) = left.front().and_then(|index| self.segments.get(*index)).cloned() else {
            return Ok(self.begin_filter(self.upto, aborted, newest));
        };
        let error = |error| self.log.segment_error(segment.name(), error);
        let mut reading = match reading {
            Some(reading) => reading,
            None => reader(&segment, segment_start(segment.as_ref(), from).map_err(error)?).map_err(error)?,
        };
        let upto = self.upto;
        let reached = reading.at();
        let Some(batch) = reading.next_batch().map_err(error)? else {
            reads_whole(&self.log, &segment, reached)?;
            left.pop_front();
            return Ok(Phase::Map { left, from, aborted, newest, reading: None });
        };
        *moved += batch.bytes.len() as u64;
        if batch.mark.base >= upto {
            return Ok(self.begin_filter(upto, aborted, newest));
        }
        if !batch.header.is_control() && !aborted.has(&batch.header) {
            let position = batch.mark.position;
            let full = take_keys(&mut newest, batch.bytes, from, upto, &mut self.scratch);
            if let Some(full) = full.map_err(|why| malformed(&self.log, &segment, position, &why))? {
                return Ok(self.begin_filter(full, aborted, newest));
            }
        }
        Ok(Phase::Map { left, from, aborted, newest, reading: Some(reading) })
    }

    /// The keys of everything before `covered` are known.
    fn begin_filter(&self, covered: Offset, aborted: Aborted, newest: KeyMap) -> Phase {
        let topic = self.config.topic;
        let rules = Rules::new(
            newest,
            covered,
            aborted,
            self.log.last_batches(),
            self.now,
            topic.delete_retention_ms,
            self.config.clean_below,
        );
        let before = self.segments.iter().take_while(|segment| segment.summary().name.base < covered);
        let bytes: Vec<u64> = before.map(|segment| segment.summary().data_end.get()).collect();
        Phase::Filter { left: group(&bytes, topic.segment_bytes).into(), rules: Box::new(rules), run: None }
    }

    /// Filters one batch, or ends a run.
    fn filter(
        &mut self,
        mut left: VecDeque<Range<usize>>,
        mut rules: Box<Rules>,
        run: Option<Box<Run>>,
        moved: &mut u64,
    ) -> Result<Filtering, LogError> {
        let mut run = match run {
            Some(run) => run,
            None => match left.pop_front() {
                Some(of) => Box::new(self.begin_run(of)?),
                None => return self.finish(&rules).map(Filtering::Done),
            },
        };
        match self.filter_batch(&mut rules, &mut run, moved) {
            Ok(true) => Ok(Filtering::More(Phase::Filter { left, rules, run: Some(run) })),
            Ok(false) => Ok(match self.end_run(*run)? {
                true => Filtering::More(Phase::Filter { left, rules, run: None }),
                false => Filtering::Overtaken,
            }),
            Err(LogError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                run.writer.discard();
                Ok(Filtering::Overtaken)
            }
            Err(error) => {
                run.writer.discard();
                Err(error)
            }
        }
    }

    fn begin_run(&self, of: Range<usize>) -> Result<Run, LogError> {
        let segments = self.segments.get(of.clone()).unwrap_or_default();
        let writer = self.log.cleaned_writer(segments, self.now)?;
        Ok(Run { at: of.start, of, reading: None, aborted: Vec::new(), writer, changed: false })
    }

    /// Whether there was another batch in the run.
    fn filter_batch(&mut self, rules: &mut Rules, run: &mut Run, moved: &mut u64) -> Result<bool, LogError> {
        let Some(segment) = self.segments.get(run.at).filter(|_| run.at < run.of.end).cloned() else {
            return Ok(false);
        };
        let error = |error| self.log.segment_error(segment.name(), error);
        let reading = match &mut run.reading {
            Some(reading) => reading,
            empty => {
                run.aborted = self.log.aborted_in_segment(segment.name())?;
                empty.insert(reader(&segment, start_of(segment.as_ref())).map_err(error)?)
            }
        };
        let reached = reading.at();
        let Some(batch) = reading.next_batch().map_err(error)? else {
            reads_whole(&self.log, &segment, reached)?;
            (run.reading, run.at) = (None, run.at + 1);
            return Ok(true);
        };
        let kept = rules
            .apply(&batch.header, batch.bytes, &mut self.scratch)
            .map_err(|why| malformed(&self.log, &segment, batch.mark.position, &why))?;
        *moved += batch.bytes.len() as u64;
        // Readers skip what a marker ends until they have met it: without it they must not hear of the transaction.
        let marker_stays = batch.header.is_control()
            && match &kept {
                Kept::AsIs => batch.header.record_count > 0,
                Kept::As(bytes) => BatchHeader::parse(bytes).is_ok_and(|header| header.record_count > 0),
                Kept::Nothing => false,
            };
        match kept {
            Kept::AsIs => {
                self.log.push_cleaned(&mut run.writer, batch.bytes, &batch.header)?;
                *moved += batch.bytes.len() as u64;
            }
            Kept::As(bytes) => {
                let header = BatchHeader::parse(&bytes)
                    .map_err(|damage| malformed(&self.log, &segment, batch.mark.position, &damage.into()))?;
                self.log.push_cleaned(&mut run.writer, &bytes, &header)?;
                run.changed = true;
                *moved += bytes.len() as u64;
            }
            Kept::Nothing => run.changed = true,
        }
        if marker_stays {
            let entries = run.aborted.iter().filter(|entry| entry.last == batch.mark.base);
            entries.for_each(|entry| run.writer.note_aborted(*entry));
        }
        Ok(true)
    }

    /// Swaps the run for its rewrite, if that is any different. `false` if the run is not there any more.
    fn end_run(&mut self, run: Run) -> Result<bool, LogError> {
        if !run.changed && run.of.len() == 1 {
            run.writer.discard();
            return Ok(true);
        }
        let segments = self.segments.get(run.of).unwrap_or_default();
        let cleaned = self.log.finish_cleaned(segments, run.writer)?;
        let swapped = self.log.swap(segments, cleaned)?;
        self.swaps += u64::from(swapped);
        Ok(swapped)
    }

    fn finish(&self, rules: &Rules) -> Result<PassReport, LogError> {
        let before = progress::read(&self.log)?;
        progress::write(&self.log, Progress { local: Some(rules.covered), ..before })?;
        let map_percent = (rules.newest.bytes() as u64 * 100) / (self.config.key_bytes as u64).max(1);
        Ok(PassReport {
            counts: rules.counts(),
            keys: rules.newest.len(),
            map_percent,
            swaps: self.swaps,
            cleaned_to: rules.covered,
        })
    }
}

enum Filtering {
    More(Phase),
    Done(PassReport),
    Overtaken,
}

/// Takes the keys of a batch's records from `from` to `upto`. Where the pass must end if they do not all fit.
pub(super) fn take_keys(
    newest: &mut KeyMap,
    batch: &[u8],
    from: Offset,
    upto: Offset,
    scratch: &mut Scratch,
) -> Result<Option<Offset>, Malformed> {
    let mut records = stream(batch, scratch, DECOMPRESS_LIMIT)?;
    while let Some(record) = records.next_record()? {
        let (Some(offset), Some(key)) = (Offset::from_wire(record.offset), record.key) else { continue };
        if offset >= from && offset < upto && !newest.put(key, offset) {
            return Ok(Some(offset));
        }
    }
    Ok(None)
}

/// The indexes of the segments that have something between the two.
fn dirty_segments(segments: &[Arc<SealedSegment>], from: Offset, upto: Offset) -> VecDeque<usize> {
    let dirty = |segment: &SealedSegment| segment.summary().end > from && segment.summary().name.base < upto;
    segments.iter().enumerate().filter(|(_, segment)| dirty(segment)).map(|(index, _)| index).collect()
}

fn start_of(segment: &dyn Segment) -> Boundary {
    Boundary { offset: segment.name().base, position: FilePosition::new(HEADER_LEN) }
}

/// Where the batch that holds `from` starts, or the segment.
fn segment_start(segment: &dyn Segment, from: Offset) -> Result<Boundary, SegmentError> {
    if from <= segment.name().base { Ok(start_of(segment)) } else { segment.boundary_at_offset(from, segment.end()) }
}

fn reader(segment: &SealedSegment, from: Boundary) -> Result<BatchReader, SegmentError> {
    let file = Arc::clone(segment.open()?.file());
    Ok(BatchReader::new(file, from, segment.end().position, Spacing::of(segment.name())))
}

/// A segment of which nothing is known to be damaged, and that was read to its end: only such a one may be replaced.
///
/// # Errors
/// [`LogError::Corrupt`] otherwise.
fn reads_whole(log: &Log, segment: &SealedSegment, reached: Boundary) -> Result<(), LogError> {
    log.check_undamaged(segment.name())?;
    if segment.name().is_cleaned() || reached.offset == segment.end().offset {
        return Ok(());
    }
    let reason = "the segment ends before it did when it was sealed".to_owned();
    let position = reached.position.get();
    Err(LogError::Corrupt { partition: log.id(), segment: segment.name(), position, reason })
}

fn malformed(log: &Log, segment: &SealedSegment, at: FilePosition, why: &Malformed) -> LogError {
    LogError::Corrupt { partition: log.id(), segment: segment.name(), position: at.get(), reason: why.to_string() }
}

impl std::fmt::Debug for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pass").field("log", &self.log).field("upto", &self.upto).finish_non_exhaustive()
    }
}
