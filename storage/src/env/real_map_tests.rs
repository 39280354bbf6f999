//! Mappings: what slices hold on to, and ranges at every edge. Valgrind runs these (`just memcheck`).
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests drive real threads and files")]

use super::*;

const PAGE: u64 = 4096;

/// A mapping of memory without a file.
fn in_memory(len: usize) -> Arc<RealMapping> {
    let map = MmapOptions::new().len(len).map_anon().unwrap().make_read_only().unwrap();
    Arc::new(RealMapping { map })
}

#[test]
fn slices_keep_their_mapping_alive() {
    let mapping = in_memory(3 * PAGE as usize);
    let slice = Arc::clone(&mapping).slice(PAGE - 1..2 * PAGE + 1);
    let part = slice.slice(1..PAGE as usize);
    assert_eq!(Arc::strong_count(&mapping), 2);
    drop(mapping);
    assert!(slice.iter().all(|byte| *byte == 0) && slice.len() as u64 == PAGE + 2);
    drop(slice);
    assert_eq!(part.len() as u64, PAGE - 1);
    assert!(part.iter().all(|byte| *byte == 0));
    let other = std::thread::spawn(move || part.len());
    assert_eq!(other.join().unwrap() as u64, PAGE - 1);
}

#[test]
#[allow(clippy::reversed_empty_ranges, reason = "that is what is tested")]
fn a_range_outside_is_empty() {
    let mapping = in_memory(PAGE as usize);
    for range in [0..0, 5..5, 5..4, 0..PAGE + 1, PAGE..PAGE + 1, PAGE..PAGE, u64::MAX - 1..u64::MAX, 0..u64::MAX] {
        assert!(Arc::clone(&mapping).slice(range.clone()).is_empty(), "{range:?}");
    }
    assert_eq!(Arc::clone(&mapping).slice(0..PAGE).len() as u64, PAGE);
    assert_eq!(Arc::strong_count(&mapping), 1, "an empty slice holds on to nothing");
}

#[cfg(not(miri))]
mod of_files {
    use super::*;
    use std::io::Write;

    fn file(len: u64) -> std::fs::File {
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
        file.write_all(&bytes).unwrap();
        file
    }

    #[test]
    fn residency_is_asked_for_at_every_edge() {
        // More pages than are asked for at once, and a part of one.
        let len = 256 * PAGE + 3 * PAGE + 100;
        let file = file(len);
        let mapping = RealMapping::new(&file, len).unwrap();
        let ranges =
            [0..1, 0..len, PAGE - 1..PAGE + 1, 255 * PAGE..257 * PAGE, 256 * PAGE..256 * PAGE + 1, len - 1..len];
        for range in ranges {
            mapping.make_resident(range.clone()).unwrap();
            assert!(mapping.is_resident(range.clone()), "{range:?}");
        }
        for outside in [0..len + 1, len..len + 1, 7..7] {
            assert!(mapping.is_resident(outside.clone()), "nothing to wait for: {outside:?}");
            mapping.make_resident(outside).unwrap();
        }
    }

    #[test]
    fn what_is_written_later_shows_through() {
        let mut file = file(100);
        let mapping = Arc::new(RealMapping::new(&file, 4 * PAGE).unwrap());
        let first = Arc::clone(&mapping).slice(0..100);
        file.write_all(&[7; 2 * PAGE as usize]).unwrap();
        let second = mapping.slice(100..100 + 2 * PAGE);
        drop(file);
        assert!(first.iter().enumerate().all(|(n, byte)| *byte == (n % 251) as u8));
        assert!(second.iter().all(|byte| *byte == 7) && second.len() as u64 == 2 * PAGE);
    }

    #[test]
    fn write_back_takes_any_range() {
        let file = file(3 * PAGE);
        for range in [0..PAGE, 5..5, PAGE..100 * PAGE] {
            start_writeback(&file, range).unwrap();
        }
        let refused = start_writeback(&file, u64::MAX - 1..u64::MAX).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    }
}
