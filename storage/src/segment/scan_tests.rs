use super::*;
use crate::env::{Disk, Open, RealDisk};
use crate::segment::HEADER_LEN;
use esker_protocol::record::{BatchBuilder, Compression};
use proptest::prelude::*;
use std::io::IoSlice;
use std::sync::Arc;

/// Batches of so many records, in epochs that rise by so much, and where each ends.
fn batches(spec: &[(u32, i32)]) -> (Vec<u8>, Vec<Boundary>) {
    let start = Boundary { offset: Offset::ZERO, position: FilePosition::new(HEADER_LEN) };
    let (mut bytes, mut ends, mut epoch) = (vec![0; HEADER_LEN as usize], vec![start], 0);
    for (records, step) in spec {
        epoch += step;
        let mut builder = BatchBuilder::new(Compression::None);
        for n in 0..*records {
            builder.push(7, None, Some(&vec![b'x'; n as usize * 9]), &[]);
        }
        let base = ends.last().unwrap().offset;
        bytes.extend(builder.build_trusted().unwrap().stamp(base.to_wire(), epoch, None).to_bytes());
        let position = FilePosition::new(bytes.len() as u64);
        ends.push(Boundary { offset: base.plus(u64::from(*records)), position });
    }
    (bytes, ends)
}

fn file(bytes: &[u8]) -> (tempfile::TempDir, Arc<dyn File>) {
    let dir = tempfile::tempdir().unwrap();
    let file = RealDisk.open(&dir.path().join("f"), Open::Create).unwrap();
    file.write_all_at(&[IoSlice::new(bytes)], 0).unwrap();
    (dir, file)
}

fn scanned(bytes: &[u8], from: Boundary, limit: Option<Offset>) -> (ScanEnd, usize) {
    let (_dir, file) = file(bytes);
    let mut seen = 0;
    let end = scan(file.as_ref(), from, Spacing::Chained, limit, (None, None), |_, _, _| seen += 1).unwrap();
    (end, seen)
}

use crate::offset::FilePosition;

fn any_batches() -> impl Strategy<Value = Vec<(u32, i32)>> {
    prop::collection::vec((1u32..6, 0i32..2), 1..12)
}

proptest! {
    #[test]
    fn what_is_whole_is_found_from_any_boundary(spec in any_batches(), from: prop::sample::Index, zeros in 0usize..300) {
        let (mut bytes, ends) = batches(&spec);
        bytes.extend(vec![0; zeros]);
        let from = from.index(ends.len());
        let (end, seen) = scanned(&bytes, ends[from], None);
        prop_assert_eq!(end.end, *ends.last().unwrap());
        prop_assert_eq!(end.stop, if zeros == 0 { Stop::EndOfFile } else { Stop::Zeros });
        prop_assert_eq!(seen, spec.len() - from);
        let (end, _) = scanned(&bytes, ends[0], Some(ends[from].offset));
        prop_assert_eq!(end, ScanEnd { end: ends[from], stop: Stop::Limit });
    }

    #[test]
    fn a_scan_ends_before_a_cut(spec in any_batches(), cut: prop::sample::Index) {
        let (bytes, ends) = batches(&spec);
        let cut = HEADER_LEN as usize + cut.index(bytes.len() - HEADER_LEN as usize);
        let whole = ends.iter().rev().find(|end| end.position.get() as usize <= cut).unwrap();
        let (end, _) = scanned(&bytes[..cut], ends[0], None);
        prop_assert_eq!(end.end, *whole);
    }

    #[test]
    fn a_scan_ends_before_a_flipped_bit(spec in any_batches(), flip: prop::sample::Index) {
        let (mut bytes, ends) = batches(&spec);
        let bit = HEADER_LEN as usize * 8 + flip.index((bytes.len() - HEADER_LEN as usize) * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let before = ends.iter().rev().find(|end| end.position.get() as usize <= bit / 8).unwrap();
        let (end, _) = scanned(&bytes, ends[0], None);
        // An epoch lies outside of the checksum: a greater one is only seen by what follows.
        let epoch = bit / 8 >= before.position.get() as usize + 12 && bit / 8 < before.position.get() as usize + 16;
        prop_assert!(end.end == *before || epoch);
        prop_assert!(!epoch || end.end.position >= before.position);
    }
}

#[test]
fn an_older_epoch_cannot_follow() {
    let (bytes, ends) = batches(&[(1, 3), (1, -1)]);
    let (end, _) = scanned(&bytes, ends[0], None);
    assert_eq!(
        end,
        ScanEnd { end: ends[1], stop: Stop::Broken("its leader epoch is older than that of the batch before") }
    );
}
