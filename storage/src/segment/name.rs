//! File names of a partition's directory: one grammar, parsed beside its format.
//!
//! ```text
//! <log dir>/<topic id, 32 hex>-<partition>/        the partition directory: PartitionId's own format
//!     00000000000000000000-00000001.log            data file:  base offset, 20 digits - serial, 8 digits
//!     00000000000000000000-00000001.index          its index, written when it was sealed
//!     00000000000000000000-00000004-00000001.log   a cleaned data file: base - serial - generation, 8 digits
//!     00000000000000000000-00000004-00000001.index its index
//!     00000000000000000000-00000001.rot            a data file that was found rotten, for a person to look at
//!     checkpoint                                   see `log::checkpoint`
//!     cleaned                                      see `compaction::progress`
//!     scrubbed                                     see `log::scrub_record`
//! ```
//!
//! The serial counts the data files of a partition, and says which of two files is the newer one. That is all it
//! takes to cut a diverged tail: a file whose base offset lies below the end of an older file *is* the record that the
//! older file logically ends there (see [`superseded_end`]), so no mapped byte is ever removed.
//!
//! A **cleaned** file is what compaction left of a run of files. It has the base of the first and the serial of the last
//! one, and a generation above all of theirs; its name *is* the record that it stands for every file of a lower
//! generation that starts at or after its base and has no higher serial (see [`is_replaced`]). So one rename swaps the run
//! for its rewrite. To everything newer it is a file of its serial: it can be cut as any other.

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
    /// How often what it holds was cleaned: 0 for a file that was appended to.
    pub generation: u32,
}

impl SegmentName {
    /// The name of a file that is appended to.
    pub fn appended(base: Offset, serial: u32) -> SegmentName {
        SegmentName { base, serial, generation: 0 }
    }

    /// Whether it was written by compaction: its batches ascend, but need not follow each other without gap.
    pub fn is_cleaned(self) -> bool {
        self.generation > 0
    }
}

/// A name in a partition's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileName {
    /// A segment's batches.
    Data(SegmentName),
    /// A sealed segment's index.
    Index(SegmentName),
    /// What is kept of a rotten segment.
    Rotten(SegmentName),
    /// The partition's checkpoint.
    Checkpoint,
    /// Up to where the partition was cleaned.
    Cleaned,
    /// Up to where it was scrubbed, and what was found.
    Scrubbed,
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}-{:08}", self.base.get(), self.serial)?;
        if self.is_cleaned() { write!(f, "-{:08}", self.generation) } else { Ok(()) }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileName::Data(name) => write!(f, "{name}.log"),
            FileName::Index(name) => write!(f, "{name}.index"),
            FileName::Rotten(name) => write!(f, "{name}.rot"),
            FileName::Checkpoint => f.write_str("checkpoint"),
            FileName::Cleaned => f.write_str("cleaned"),
            FileName::Scrubbed => f.write_str("scrubbed"),
        }
    }
}

impl FromStr for FileName {
    type Err = ();

    fn from_str(text: &str) -> Result<FileName, ()> {
        let name = match text.split_once('.') {
            Some((stem, "log")) => FileName::Data(parse_stem(stem)?),
            Some((stem, "index")) => FileName::Index(parse_stem(stem)?),
            Some((stem, "rot")) => FileName::Rotten(parse_stem(stem)?),
            None if text == "checkpoint" => FileName::Checkpoint,
            None if text == "cleaned" => FileName::Cleaned,
            None if text == "scrubbed" => FileName::Scrubbed,
            _ => return Err(()),
        };
        // One spelling only: names are compared as bytes elsewhere.
        if name.to_string() == text { Ok(name) } else { Err(()) }
    }
}

fn parse_stem(stem: &str) -> Result<SegmentName, ()> {
    let (base, serial) = stem.split_once('-').ok_or(())?;
    let (serial, generation) = serial.split_once('-').unwrap_or((serial, "0"));
    let base = base.parse::<i64>().ok().and_then(Offset::from_wire).ok_or(())?;
    let number = |text: &str| text.parse().map_err(|_| ());
    Ok(SegmentName { base, serial: number(serial)?, generation: number(generation)? })
}

/// Where the segment `name` logically ends because a newer file starts there; `None` if no newer file cuts it.
///
/// A result at or below the segment's own base says that all of it was cut.
pub fn superseded_end(name: SegmentName, all: &[SegmentName]) -> Option<Offset> {
    all.iter().filter(|other| other.serial > name.serial).map(|other| other.base).min()
}

/// Whether a cleaned file among `all` stands for the segment `name`.
pub fn is_replaced(name: SegmentName, all: &[SegmentName]) -> bool {
    all.iter().any(|other| replaces(*other, name))
}

/// Whether the file `cleaned` stands for `other`: it does for every file of a lower generation between its base and its
/// serial.
pub fn replaces(cleaned: SegmentName, other: SegmentName) -> bool {
    cleaned.generation > other.generation && cleaned.serial >= other.serial && cleaned.base <= other.base
}

/// The name of what is left of a run of segments, in their order; `None` for an empty run, and after four thousand million
/// generations.
pub fn cleaned_name(run: &[SegmentName]) -> Option<SegmentName> {
    let generation = run.iter().map(|name| name.generation).max()?.checked_add(1)?;
    Some(SegmentName { base: run.first()?.base, serial: run.last()?.serial, generation })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn names_parse_back(base in 0..=i64::MAX as u64, serial: u32, generation: u32) {
            let name = SegmentName { base: Offset::new(base), serial, generation };
            for name in [FileName::Data(name), FileName::Index(name), FileName::Rotten(name), FileName::Checkpoint, FileName::Cleaned, FileName::Scrubbed] {
                prop_assert_eq!(name.to_string().parse(), Ok(name));
            }
        }

        #[test]
        fn what_parses_is_spelled_the_one_way(text in "[0-9]{1,21}(-[0-9]{1,9}){1,3}\\.(log|index)") {
            if let Ok(name) = text.parse::<FileName>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }

    #[test]
    fn names_sort_as_offsets_do() {
        let name = |base, serial| FileName::Data(SegmentName::appended(Offset::new(base), serial)).to_string();
        assert!(name(9, 2) < name(10, 1));
        assert_eq!(name(10, 1), "00000000000000000010-00000001.log");
    }

    #[test]
    fn foreign_names_are_refused() {
        let zero_generation = "00000000000000000010-00000001-00000000.log";
        for text in ["", "checkpoint.tmp", "1-1.log", "00000000000000000010-00000001.log.tmp", "lock", zero_generation]
        {
            assert_eq!(text.parse::<FileName>(), Err(()), "{text}");
        }
    }

    #[test]
    fn a_newer_file_cuts_older_ones() {
        let name = |base, serial| SegmentName::appended(Offset::new(base), serial);
        // Rolled at 10 and 20, then cut at 15, then rolled at 18.
        let all = [name(0, 1), name(10, 2), name(20, 3), name(15, 4), name(18, 5)];
        let end = |of| superseded_end(of, &all).map(Offset::get);
        assert_eq!(end(all[0]), Some(10));
        assert_eq!(end(all[1]), Some(15));
        assert_eq!(end(all[2]), Some(15), "cut whole: below its base");
        assert_eq!(end(all[3]), Some(18));
        assert_eq!(end(all[4]), None);
    }
    #[test]
    fn a_cleaned_file_stands_for_its_run_and_is_cut_as_any_other() {
        let name = |base, serial| SegmentName::appended(Offset::new(base), serial);
        // Rolled at 10 and 20, cut at 15, rolled at 30; the run before the cut is cleaned, then all but the newest.
        let plain = [name(0, 1), name(10, 2), name(15, 4), name(30, 5)];
        let first = cleaned_name(&plain[..2]).unwrap();
        assert_eq!(first, SegmentName { base: Offset::ZERO, serial: 2, generation: 1 });
        let with = |cleaned: &[SegmentName]| [&plain[..], cleaned].concat();
        let replaced = |all: &[SegmentName]| all.iter().filter(|name| is_replaced(**name, all)).count();
        assert_eq!(replaced(&with(&[first])), 2);
        assert_eq!(superseded_end(first, &plain[2..]), Some(Offset::new(15)));
        let second = cleaned_name(&[first, plain[2]]).unwrap();
        assert_eq!((second.serial, second.generation), (4, 2));
        assert_eq!(replaced(&with(&[first, second])), 4, "all but the newest and the second rewrite");
        // Cut at 5: the newer file's base is where even a cleaned one ends.
        assert_eq!(superseded_end(second, &[second, name(5, 6)]), Some(Offset::new(5)));
        assert_eq!(cleaned_name(&[]), None);
    }
}
