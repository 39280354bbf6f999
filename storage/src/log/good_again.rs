//! Where batches are good again behind rot, in a data file that is being recovered.
//!
//! ```text
//!   | good | good | rot      | good | good |
//!                 ^ at       ^ where it goes on          ^ bound: a batch boundary that is known
//! ```
//!
//! A rotten batch whose header still chains to the next one is stepped over. If the header itself is rotten, the first
//! position is taken at which a batch starts that fits between `at` and the bound and has a right checksum: of what a
//! client wrote into its records nothing passes for that, but a batch that somebody put there on purpose, whose offsets
//! then would have to fit as well. Failing that the **bound** is where it goes on: where the next file begins, or what
//! the record of syncs says.

use crate::env::File;
use crate::offset::{FilePosition, LeaderEpoch};
use crate::segment::{BatchMark, Boundary, Spacing, parse_mark};
use esker_protocol::record::{BatchHeader, check_stored};
use std::io;

/// Bytes that are searched at a time.
const WINDOW: usize = 1 << 20;
/// Where a batch's header has its format version, and which one that is.
const MAGIC: (usize, u8) = (16, 2);

/// The first boundary behind the rot at `at` from which on batches are good, at or before `bound`.
///
/// # Errors
/// What the disk answers.
pub(super) fn good_again(
    file: &dyn File,
    at: Boundary,
    bound: Boundary,
    spacing: Spacing,
    newest_epoch: Option<LeaderEpoch>,
) -> io::Result<Boundary> {
    let len = file.len()?;
    let looking = Looking { file, at, bound, spacing, newest_epoch, end: len.min(bound.position.get()) };
    if let Some(next) = looking.step_over()? {
        return Ok(next);
    }
    Ok(looking.search()?.unwrap_or(bound))
}

struct Looking<'a> {
    file: &'a dyn File,
    at: Boundary,
    bound: Boundary,
    spacing: Spacing,
    newest_epoch: Option<LeaderEpoch>,
    /// Where the bytes end that may hold a batch before the bound.
    end: u64,
}

impl Looking<'_> {
    /// Where the rotten batch ends, if its header tells and is borne out by what follows there.
    fn step_over(&self) -> io::Result<Option<Boundary>> {
        let Some(mark) = self.mark_at(self.at.position)? else { return Ok(None) };
        if !self.spacing.holds(self.at.offset, &mark) || !self.fits(&mark) {
            return Ok(None);
        }
        let next = Boundary { offset: mark.next, position: mark.end() };
        if next == self.bound {
            return Ok(Some(next));
        }
        let follows = self.mark_at(next.position)?.filter(|follower| self.spacing.holds(next.offset, follower));
        let good = follows.map(|follower| self.is_good(&follower)).transpose()?.unwrap_or(false);
        Ok(good.then_some(next))
    }

    /// The first good batch behind the start of the rotten one.
    fn search(&self) -> io::Result<Option<Boundary>> {
        let mut from = self.at.position.get() + 1;
        let mut window = Vec::new();
        while from + BatchHeader::SIZE as u64 <= self.end {
            let len = usize::try_from(self.end - from).unwrap_or(WINDOW).min(WINDOW);
            window.resize(len, 0);
            self.file.read_exact_at(&mut window, from)?;
            let heads = window.windows(BatchHeader::SIZE).enumerate();
            for (index, head) in heads.filter(|(_, head)| head.get(MAGIC.0) == Some(&MAGIC.1)) {
                let position = FilePosition::new(from + index as u64);
                let Ok((mark, _)) = parse_mark(head, position) else { continue };
                if mark.base > self.at.offset && self.fits(&mark) && self.is_good(&mark)? {
                    return Ok(Some(Boundary { offset: mark.base, position }));
                }
            }
            from += (len - (BatchHeader::SIZE - 1)) as u64;
        }
        Ok(None)
    }

    fn mark_at(&self, position: FilePosition) -> io::Result<Option<BatchMark>> {
        if position.get() + BatchHeader::SIZE as u64 > self.end {
            return Ok(None);
        }
        let mut head = [0; BatchHeader::SIZE];
        self.file.read_exact_at(&mut head, position.get())?;
        Ok(parse_mark(&head, position).ok().map(|(mark, _)| mark))
    }

    /// Whether a batch lies before the bound, in offsets and in bytes, and may have been written at all.
    fn fits(&self, mark: &BatchMark) -> bool {
        mark.next <= self.bound.offset
            && mark.end().get() <= self.end
            && self.newest_epoch.is_none_or(|newest| mark.epoch <= newest)
    }

    fn is_good(&self, mark: &BatchMark) -> io::Result<bool> {
        if !self.fits(mark) {
            return Ok(false);
        }
        let mut batch = vec![0; mark.len as usize];
        self.file.read_exact_at(&mut batch, mark.position.get())?;
        Ok(check_stored(&batch).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{Disk, Open, RealDisk};
    use crate::offset::Offset;
    use crate::segment::HEADER_LEN;
    use esker_protocol::record::{BatchBuilder, Compression};
    use proptest::prelude::*;
    use std::io::IoSlice;

    const EPOCH: i32 = 3;

    /// A file with a header's room and batches of so many records each, and the boundaries between them.
    fn file_of(records: &[u32]) -> (Vec<u8>, Vec<Boundary>) {
        let mut bytes = vec![0; HEADER_LEN as usize];
        let mut ends = vec![Boundary { offset: Offset::ZERO, position: FilePosition::new(HEADER_LEN) }];
        for count in records {
            let at = *ends.last().unwrap();
            let mut builder = BatchBuilder::new(Compression::None);
            for n in 0..*count {
                // Bytes that look like a batch's version are everywhere.
                builder.push(1000, None, Some(&[2, n as u8, 2, 2, 2]), &[]);
            }
            let batch = builder.build_trusted().unwrap().stamp(at.offset.to_wire(), EPOCH, None).to_bytes();
            bytes.extend_from_slice(&batch);
            let position = FilePosition::new(bytes.len() as u64);
            ends.push(Boundary { offset: at.offset.plus(u64::from(*count)), position });
        }
        (bytes, ends)
    }

    fn look(bytes: &[u8], at: Boundary, bound: Boundary) -> Boundary {
        let folder = tempfile::tempdir().unwrap();
        let file = RealDisk.open(&folder.path().join("file"), Open::Create).unwrap();
        file.write_all_at(&[IoSlice::new(bytes)], 0).unwrap();
        good_again(file.as_ref(), at, bound, Spacing::Chained, Some(LeaderEpoch::new(EPOCH as u32))).unwrap()
    }

    proptest! {
        #[test]
        fn whichever_bit_of_a_batch_rots_the_next_one_is_found(
            records in prop::collection::vec(1u32..6, 2..8), which: prop::sample::Index, flip: prop::sample::Index,
        ) {
            let (bytes, ends) = file_of(&records);
            let rotten = which.index(records.len());
            let (at, next) = (ends[rotten], ends[rotten + 1]);
            let bits = (next.position.get() - at.position.get()) as usize * 8;
            let bit = at.position.get() as usize * 8 + flip.index(bits);
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(look(&flipped, at, *ends.last().unwrap()), next);
        }

        #[test]
        fn where_nothing_good_follows_it_goes_on_at_the_bound(
            records in prop::collection::vec(1u32..6, 1..6), cut: prop::sample::Index, zeroed: bool,
        ) {
            let (mut bytes, ends) = file_of(&records);
            let bound = *ends.last().unwrap();
            let from = ends[cut.index(ends.len() - 1)];
            if zeroed {
                bytes[from.position.get() as usize..].fill(0);
            } else {
                bytes.truncate(from.position.get() as usize);
            }
            prop_assert_eq!(look(&bytes, from, bound), bound);
        }
    }

    #[test]
    fn a_batch_that_does_not_fit_is_not_taken() {
        let (bytes, ends) = file_of(&[2, 3, 4]);
        let (at, last) = (ends[0], ends[3]);
        let mut rotten = bytes.clone();
        rotten[HEADER_LEN as usize + 9] ^= 0xff;
        assert_eq!(look(&rotten, at, last), ends[1]);
        // With an epoch that was never given out, or offsets beyond the bound, it is nobody's.
        let second = ends[1].position.get() as usize;
        let mut foreign = rotten.clone();
        foreign[second + 15] = EPOCH as u8 + 1;
        assert_eq!(look(&foreign, at, last), ends[2]);
        let bound = Boundary { offset: Offset::new(4), ..last };
        assert_eq!(look(&rotten, at, bound), bound);
    }
}
