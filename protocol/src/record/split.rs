//! Batch by batch through contiguous bytes: a part of a segment, or the answer to a fetch.
//!
//! [`batches`] reads headers only. Bytes may end within a batch (a fetch answer may, a torn segment does): the iterator
//! then ends in front of it, and [`Batches::position`] says where that is and [`Batches::rest`] why.

use super::header::{BatchHeader, Damage};

/// A batch within larger bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSlice<'a> {
    /// Its header; the checksum has not been looked at.
    pub header: BatchHeader,
    /// Where it starts in the bytes given to [`batches`].
    pub position: usize,
    /// The whole batch.
    pub bytes: &'a [u8],
}

/// An iterator over batches; see [`batches`].
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    bytes: &'a [u8],
    position: usize,
}

/// The complete batches at the start of `bytes`, one after the other.
pub fn batches(bytes: &[u8]) -> Batches<'_> {
    Batches { bytes, position: 0 }
}

impl<'a> Batches<'a> {
    /// Where the next batch starts, or what is no complete batch.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Once the iterator has ended: `None` if it ended with the bytes, else why what follows is not a batch.
    pub fn rest(&self) -> Option<Damage> {
        if self.position == self.bytes.len() { None } else { self.peek().err() }
    }

    fn peek(&self) -> Result<BatchSlice<'a>, Damage> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let header = BatchHeader::parse(rest)?;
        let needed = header.total_len();
        let bytes = rest.get(..needed).ok_or(Damage::Truncated { needed })?;
        Ok(BatchSlice { header, position: self.position, bytes })
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = BatchSlice<'a>;

    fn next(&mut self) -> Option<BatchSlice<'a>> {
        let batch = self.peek().ok()?;
        self.position += batch.bytes.len();
        Some(batch)
    }
}

impl std::iter::FusedIterator for Batches<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::BatchBuilder;
    use proptest::prelude::*;

    fn batch(value: &[u8]) -> Vec<u8> {
        BatchBuilder::default().push(1, None, Some(value), &[]).build().unwrap().to_vec()
    }

    #[test]
    fn batches_follow_each_other_up_to_a_truncated_one() {
        let (one, two) = (batch(b"one"), batch(b"second"));
        let all = [&one[..], &two].concat();
        for end in 0..=all.len() {
            let mut split = batches(&all[..end]);
            let found: Vec<_> = split.by_ref().map(|b| (b.position, b.bytes.to_vec())).collect();
            let complete = usize::from(end >= one.len()) + usize::from(end == all.len());
            assert_eq!(found.len(), complete);
            assert_eq!(split.rest().is_none(), end == 0 || end == one.len() || end == all.len());
            assert_eq!(split.position(), [0, one.len(), all.len()][complete]);
        }
    }

    #[test]
    fn zeros_end_the_batches() {
        let mut all = batch(b"one");
        let end = all.len();
        all.resize(end + 4096, 0);
        let mut split = batches(&all);
        assert_eq!(split.by_ref().count(), 1);
        assert_eq!((split.position(), split.rest()), (end, Some(Damage::Length(0))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_split_without_panic(bytes: Vec<u8>) {
            let mut split = batches(&bytes);
            let total: usize = split.by_ref().map(|b| b.bytes.len()).sum();
            prop_assert_eq!(total, split.position());
        }
    }
}
