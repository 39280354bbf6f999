//! File names of a partition's directory: one grammar, parsed beside its format.
//!
//! ```text
//! <log dir>/<topic id, 32 hex>-<partition>/        the partition directory: PartitionId's own format
//!     00000000000000000000-00000001.log            data file:  base offset, 20 digits - serial, 8 digits
//!     00000000000000000000-00000001.index          its index, written when it was sealed
//!     checkpoint                                   see `log::checkpoint`
//! ```
//!
//! The serial counts the data files of a partition, and says which of two files is the newer one. That is all it
//! takes to cut a diverged tail: a file whose base offset lies below the end of an older file *is* the record that the
//! older file logically ends there (see [`superseded_end`]), so no mapped byte is ever removed.

use crate::offset::Offset;
use std::fmt;
use std::str::FromStr;

/// What identifies a segment within its partition: where it starts, and the how-manieth data file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// The offset of its first record, or where that will be.
    pub base: Offset,
    /// Counts the data files that this partition ever had on this disk; higher is newer.
    pub serial: u32,
}

/// A name in a partition's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileName {
    /// A segment's batches.
    Data(SegmentName),
    /// A sealed segment's index.
    Index(SegmentName),
    /// The partition's checkpoint.
    Checkpoint,
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}-{:08}", self.base.get(), self.serial)
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileName::Data(name) => write!(f, "{name}.log"),
            FileName::Index(name) => write!(f, "{name}.index"),
            FileName::Checkpoint => f.write_str("checkpoint"),
        }
    }
}

impl FromStr for FileName {
    type Err = ();

    fn from_str(text: &str) -> Result<FileName, ()> {
        let name = match text.split_once('.') {
            Some((stem, "log")) => FileName::Data(parse_stem(stem)?),
            Some((stem, "index")) => FileName::Index(parse_stem(stem)?),
            None if text == "checkpoint" => FileName::Checkpoint,
            _ => return Err(()),
        };
        // One spelling only: names are compared as bytes elsewhere.
        if name.to_string() == text { Ok(name) } else { Err(()) }
    }
}

fn parse_stem(stem: &str) -> Result<SegmentName, ()> {
    let (base, serial) = stem.split_once('-').ok_or(())?;
    let base = base.parse::<i64>().ok().and_then(Offset::from_wire).ok_or(())?;
    Ok(SegmentName { base, serial: serial.parse().map_err(|_| ())? })
}

/// Where the segment `name` logically ends because a newer file starts there; `None` if no newer file cuts it.
///
/// A result at or below the segment's own base says that all of it was cut.
pub fn superseded_end(name: SegmentName, all: &[SegmentName]) -> Option<Offset> {
    all.iter().filter(|other| other.serial > name.serial).map(|other| other.base).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn names_parse_back(base in 0..=i64::MAX as u64, serial: u32) {
            let name = SegmentName { base: Offset::new(base), serial };
            for name in [FileName::Data(name), FileName::Index(name), FileName::Checkpoint] {
                prop_assert_eq!(name.to_string().parse(), Ok(name));
            }
        }

        #[test]
        fn what_parses_is_spelled_the_one_way(text in "[0-9]{1,21}-[0-9]{1,9}\\.(log|index)") {
            if let Ok(name) = text.parse::<FileName>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }

    #[test]
    fn names_sort_as_offsets_do() {
        let name = |base, serial| FileName::Data(SegmentName { base: Offset::new(base), serial }).to_string();
        assert!(name(9, 2) < name(10, 1));
        assert_eq!(name(10, 1), "00000000000000000010-00000001.log");
    }

    #[test]
    fn foreign_names_are_refused() {
        for text in ["", "checkpoint.tmp", "1-1.log", "00000000000000000010-00000001.log.tmp", "lock"] {
            assert_eq!(text.parse::<FileName>(), Err(()), "{text}");
        }
    }

    #[test]
    fn a_newer_file_cuts_older_ones() {
        let name = |base, serial| SegmentName { base: Offset::new(base), serial };
        // Rolled at 10 and 20, then cut at 15, then rolled at 18.
        let all = [name(0, 1), name(10, 2), name(20, 3), name(15, 4), name(18, 5)];
        let end = |of| superseded_end(of, &all).map(Offset::get);
        assert_eq!(end(all[0]), Some(10));
        assert_eq!(end(all[1]), Some(15));
        assert_eq!(end(all[2]), Some(15), "cut whole: below its base");
        assert_eq!(end(all[3]), Some(18));
        assert_eq!(end(all[4]), None);
    }
}
