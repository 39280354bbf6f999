//! What the append lock guards: the [`Appender`] of a log.
//!
//! It is the writer of the active segment with what changes along with it: the producers, the lists of what is not
//! synced yet and of sealed segments that are not finished yet, and snapshots of the producers at a few recent offsets.
//! Whoever holds it may add to the log; `append`, `upkeep`, `cut` and `recovery` do.

use super::producers::Producers;
use crate::env::Timestamp;
use crate::offset::Offset;
use crate::segment::open_files::OpenFile;
use crate::segment::{ActiveWriter, SealedSegment, Segment};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the append lock guards.
pub(super) struct Appender {
    pub(super) writer: ActiveWriter,
    /// The serial of the newest data file that was attempted: a failed attempt may leave a file, whose serial is not
    /// used again.
    pub(super) last_serial: u32,
    pub(super) producers: Producers,
    /// Whether the sync group has this log among the dirty ones.
    pub(super) queued: bool,
    pub(super) unsynced_files: Vec<Arc<OpenFile>>,
    pub(super) unsynced_directories: Vec<PathBuf>,
    /// Sealed segments without an index file, each with the producers at its end if they are known.
    pub(super) unfinished: Vec<(Arc<SealedSegment>, Option<Arc<Producers>>)>,
    /// The producers at some recent offsets, from which those at others follow.
    pub(super) snapshots: VecDeque<(Offset, Arc<Producers>)>,
    pub(super) since_checkpoint: u64,
    /// When the first batch of the active segment was appended by this process.
    pub(super) first_append: Option<Timestamp>,
    /// What chance takes off `segment.ms` for the active segment.
    pub(super) jitter_ms: i64,
}

/// Snapshots kept in memory per log.
const SNAPSHOTS: usize = 4;

impl Appender {
    pub(super) fn new(writer: ActiveWriter, producers: Producers) -> Appender {
        Appender {
            last_serial: writer.segment().name().serial,
            writer,
            producers,
            queued: false,
            unsynced_files: Vec::new(),
            unsynced_directories: Vec::new(),
            unfinished: Vec::new(),
            snapshots: VecDeque::new(),
            since_checkpoint: 0,
            first_append: None,
            jitter_ms: 0,
        }
    }

    pub(super) fn remember_snapshot(&mut self, at: Offset) -> Arc<Producers> {
        let producers = Arc::new(self.producers.clone());
        if self.snapshots.len() >= SNAPSHOTS {
            self.snapshots.pop_front();
        }
        self.snapshots.push_back((at, Arc::clone(&producers)));
        producers
    }

    pub(super) fn note_new_name(&mut self, directory: &Path) {
        if !self.unsynced_directories.iter().any(|known| known == directory) {
            self.unsynced_directories.push(directory.to_owned());
        }
    }

    pub(super) fn note_unsynced(&mut self, file: Arc<OpenFile>) {
        if !self.unsynced_files.iter().any(|known| Arc::ptr_eq(known, &file)) {
            self.unsynced_files.push(file);
        }
    }
}
