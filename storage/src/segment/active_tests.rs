//! Where zeros are written ahead, and where not.

use super::*;
use crate::env::RealDisk;
use crate::offset::{LeaderEpoch, PartitionId};
use crate::segment::IndexLimits;
use uuid::Uuid;

struct Written {
    writer: ActiveWriter,
    _folder: tempfile::TempDir,
}

impl Written {
    fn new(capacity: u64, is_synced: bool) -> Written {
        let folder = tempfile::tempdir().unwrap();
        let files = OpenFiles::new(Arc::new(RealDisk), 4);
        let header = DataHeader {
            partition: PartitionId { topic: Uuid::from_u128(1), partition: 0 },
            name: SegmentName::appended(Offset::new(0), 1),
            created: Timestamp::from_millis(1),
            stands_to: None,
        };
        let plan = FilePlan { capacity, preallocate: false, is_synced, index: IndexLimits::default() };
        let writer = ActiveWriter::create(&files, folder.path(), header, plan).unwrap();
        Written { writer, _folder: folder }
    }

    /// Appends a batch of `len` bytes; whether its blocks had been written before.
    fn append(&mut self, len: u32) -> bool {
        let Boundary { offset, position } = self.writer.end();
        let was_written = position.get() + u64::from(len) <= self.writer.ahead;
        let mark = BatchMark {
            position,
            len,
            base: offset,
            next: offset.next(),
            max_timestamp: Timestamp::from_millis(1),
            epoch: LeaderEpoch::new(1),
        };
        self.writer.append(&[1; 61], &vec![1; len as usize - 61], &mark).unwrap();
        was_written
    }

    /// The bytes behind the end, as far as the file goes.
    fn rest(&self) -> Vec<u8> {
        let file = self.writer.segment().open().unwrap();
        let (end, len) = (self.writer.end().position.get(), file.file().len().unwrap());
        let mut rest = vec![9; (len - end) as usize];
        file.file().read_exact_at(&mut rest, end).unwrap();
        rest
    }
}

#[test]
fn small_batches_that_are_synced_find_their_blocks_written() {
    let mut log = Written::new(1 << 30, true);
    // A file that is hardly written stays as it is.
    while log.writer.end().position.get() < AHEAD_FROM {
        assert!(!log.append(170));
    }
    assert_eq!(log.writer.ahead, 0);
    let found = (0..10_000).filter(|_| log.append(170)).count();
    assert!(found > 9_900, "{found}");
    assert!(log.writer.ahead <= log.writer.end().position.get() + AHEAD);
    assert!(log.rest().iter().all(|byte| *byte == 0), "zeros end the log");
}

#[test]
fn nothing_is_written_ahead_that_nobody_waits_for_or_that_is_long() {
    for (is_synced, len) in [(false, 170), (true, 100_000)] {
        let mut log = Written::new(1 << 30, is_synced);
        (0..300).for_each(|_| assert!(!log.append(len)));
        assert_eq!(log.writer.ahead, 0);
    }
}

#[test]
fn zeros_end_where_the_segment_does() {
    let mut log = Written::new(40_000, true);
    while log.writer.end().position.get() < 39_000 {
        log.append(170);
    }
    assert!(log.writer.ahead > 39_000 && log.writer.ahead <= 40_000 + HEADER_LEN, "{}", log.writer.ahead);
    // A batch that is longer than the rest is appended by whoever seals too late, and is whole.
    log.append(5_000);
    assert!(log.rest().iter().all(|byte| *byte == 0));
}
