//! Fuzz targets of segment files: names, headers, index files, and batches as a crash or rot may have left them.
//!
//! See `esker_protocol::fuzz` for what a target is.

use super::aborted::{self, AbortedTransaction};
use super::header::{DataHeader, HEADER_LEN};
use super::index::{BatchMark, SparseIndex};
use super::index_file::{self, SUMMARY_LEN, Summary};
use super::lookup::Boundary;
use super::name::{FileName, SegmentName};
use super::scan::scan;
use super::walk::{Spacing, Walk};
use crate::env::{File, Mapping, Timestamp};
use crate::offset::{FilePosition, LeaderEpoch, Offset, PartitionId};
use esker_protocol::fuzz::{MEMORY, PER_BYTE, Target};
use esker_protocol::record::BatchBuilder;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;

/// The targets of this module.
pub const TARGETS: &[Target] = &[
    Target {
        name: "file_name",
        covers: &["storage/src/segment/name.rs", "storage/src/offset.rs"],
        memory: MEMORY,
        per_byte: PER_BYTE,
        run: file_name,
        seeds: file_name_seeds,
    },
    Target {
        name: "segment_header",
        covers: &["storage/src/segment/header.rs", "storage/src/segment/fields.rs"],
        memory: MEMORY,
        per_byte: PER_BYTE,
        run: header,
        seeds: header_seeds,
    },
    Target {
        name: "segment_index",
        covers: &[
            "storage/src/segment/index_file.rs",
            "storage/src/segment/aborted.rs",
            "storage/src/segment/fields.rs",
        ],
        memory: MEMORY,
        per_byte: PER_BYTE,
        run: index,
        seeds: index_seeds,
    },
    Target {
        name: "segment_scan",
        covers: &["storage/src/segment/scan.rs", "storage/src/segment/walk.rs"],
        memory: 4 << 20,
        per_byte: PER_BYTE,
        run: batches,
        seeds: batch_seeds,
    },
];

/// A name has one spelling, parsed or not.
fn file_name(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(name) = text.parse::<FileName>() {
        assert_eq!(name.to_string(), text);
    }
    if let Ok(partition) = text.parse::<PartitionId>() {
        assert_eq!(partition.to_string(), text);
    }
}

fn example_name() -> SegmentName {
    SegmentName::appended(Offset::new(12), 3)
}

fn example_partition() -> PartitionId {
    PartitionId { topic: uuid::Uuid::from_u128(0xabcd), partition: 7 }
}

fn file_name_seeds() -> Vec<Vec<u8>> {
    let names = [FileName::Data(example_name()), FileName::Index(example_name()), FileName::Checkpoint];
    let names = names.iter().map(|name| name.to_string().into_bytes());
    names.chain([example_partition().to_string().into_bytes()]).collect()
}

/// `body` with its CRC-32 behind it.
fn sealed(body: &[u8]) -> Vec<u8> {
    [body, &crc32fast::hash(body).to_be_bytes()].concat()
}

/// The first bytes of a data file, as they are and with a checksum that matches.
fn header(data: &[u8]) {
    let body = data.get(..HEADER_LEN as usize - 4).map(sealed).unwrap_or_default();
    for bytes in [data, &body] {
        let Some(bytes) = bytes.first_chunk() else { continue };
        if let Ok(header) = DataHeader::decode(bytes) {
            assert_eq!(DataHeader::decode(&header.encode()), Ok(header));
        }
    }
}

fn header_seeds() -> Vec<Vec<u8>> {
    let created = Timestamp::from_millis(1_764_000_000_000);
    let header = |stands_to| DataHeader { partition: example_partition(), name: example_name(), created, stands_to };
    [None, Some(Offset::new(30))].map(|stands_to| header(stands_to).encode().to_vec()).to_vec()
}

/// An index file, as it is and with checksums that match.
fn index(data: &[u8]) {
    let resealed = data.split_at_checked(SUMMARY_LEN).map(|(head, body)| {
        let body = body.get(..body.len().saturating_sub(4)).unwrap_or_default();
        [sealed(head.get(..SUMMARY_LEN - 4).unwrap_or_default()), sealed(body)].concat()
    });
    for bytes in [data, &resealed.unwrap_or_default()] {
        let summary = index_file::decode_summary(bytes);
        let Ok(whole) = index_file::decode(bytes) else { continue };
        assert_eq!(summary, Ok(whole.summary));
        let again = index_file::encode(&whole.summary, &whole.index, &whole.aborted, whole.attachment);
        assert_eq!(index_file::decode(&again).as_ref(), Ok(&whole));
        let index = &whole.index;
        let mut found = Vec::new();
        aborted::collect(&whole.aborted, Offset::ZERO, Offset::new(u64::MAX), &mut found);
        assert!(found.len() <= whole.aborted.len());
        // Whatever is looked up lies at an entry.
        for entry in index.entries() {
            assert_eq!(index.floor_offset(entry.offset), entry.position);
            assert_eq!(index.floor_position(entry.position), entry.position);
        }
    }
}

fn mark(n: u64) -> BatchMark {
    BatchMark {
        position: FilePosition::new(HEADER_LEN + n * 5000),
        len: 5000,
        base: Offset::new(12 + n),
        next: Offset::new(13 + n),
        max_timestamp: Timestamp::from_millis(n as i64),
        epoch: LeaderEpoch::new(0),
    }
}

fn index_seeds() -> Vec<Vec<u8>> {
    let mut index = SparseIndex::default();
    let empty = SparseIndex::default();
    (0..3).for_each(|n| index.push(&mark(n)));
    let aborted = AbortedTransaction {
        producer_id: 7,
        first: Offset::new(12),
        last: Offset::new(14),
        last_stable: Offset::new(12),
    };
    let whole = |index: &SparseIndex, batches: u64, aborted: &[AbortedTransaction], attachment: &[u8]| {
        let end =
            Boundary { offset: Offset::new(12 + batches), position: FilePosition::new(HEADER_LEN + batches * 5000) };
        index_file::encode(&Summary::of(example_name(), end, index, aborted), index, aborted, attachment)
    };
    vec![whole(&index, 3, &[aborted], b"attached"), whole(&empty, 0, &[], &[])]
}

/// A file in memory, to be read from.
struct Bytes(Vec<u8>);

impl File for Bytes {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        let start = usize::try_from(position).map_err(io::Error::other)?;
        let bytes = self.0.get(start..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_all_at(&self, _: &[IoSlice<'_>], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn start_writeback(&self, _: Range<u64>) -> io::Result<()> {
        Ok(())
    }

    fn drop_cache(&self, _: Range<u64>) -> io::Result<()> {
        Ok(())
    }

    fn map(&self, _: u64) -> io::Result<Arc<dyn Mapping>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The batches of a data file after its header: a scan never goes past the file, a walk over what it found good finds
/// the same, and one over everything ends.
fn batches(data: &[u8]) {
    let start = FilePosition::new(HEADER_LEN);
    let size = HEADER_LEN + data.len() as u64;
    let file: Arc<dyn File> = Arc::new(Bytes([&[0; HEADER_LEN as usize], data].concat()));
    let base = super::walk::parse_mark(data, start).map_or(Offset::ZERO, |(mark, _)| mark.base);
    let from = Boundary { offset: base, position: start };
    for spacing in [Spacing::Chained, Spacing::Ascending] {
        let mut marks = Vec::new();
        let scanned = scan(file.as_ref(), from, spacing, None, (None, None), |mark, _, bytes| {
            assert_eq!(bytes.len(), mark.len as usize);
            marks.push(*mark);
        });
        let Ok(scanned) = scanned else { unreachable!("a file in memory cannot fail: {scanned:?}") };
        assert!(scanned.end.position.get() <= size && scanned.end.position >= start);
        let mut walk = Walk::new(Arc::clone(&file), start, scanned.end.position, spacing).expecting(base);
        for mark in &marks {
            assert!(walk.next_mark().is_ok_and(|walked| walked == Some(*mark)), "a walk misses {mark:?}");
        }
        assert!(walk.next_mark().is_ok_and(|walked| walked.is_none()));
        let mut walk = Walk::new(Arc::clone(&file), start, FilePosition::new(size), spacing);
        while let Ok(Some(_)) = walk.next_mark() {}
        assert!(walk.position().get() <= size);
    }
}

fn batch_seeds() -> Vec<Vec<u8>> {
    let batch = |base: i64, epoch| {
        let mut builder = BatchBuilder::default();
        builder.push(1, None, Some(b"one"), &[]).push(2, None, Some(b"two"), &[]);
        let trusted = builder.build_trusted().ok();
        trusted.map(|batch| batch.stamp(base, epoch, None).to_bytes().to_vec()).unwrap_or_default()
    };
    let whole = [batch(12, 1), batch(14, 1), batch(16, 2)].concat();
    let torn = whole.get(..whole.len() - 5).unwrap_or_default().to_vec();
    vec![
        [&whole[..], &[0; 100]].concat(),
        torn,
        [batch(12, 2), batch(15, 2)].concat(),
        [batch(0, 2), batch(2, 1)].concat(),
    ]
}
