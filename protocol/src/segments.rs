//! A response as the socket takes it: [`Segments`], a list of byte slices of which the large ones are borrowed.
//!
//! ```text
//!  encoded by us        record data, a slice of      encoded by us       record data
//!  | length, header, …  | a mapped segment or cache  | … next partition  | …            |
//! ```
//!
//! Record data is never copied on its way out, unless it is short: below [`COALESCE_BELOW`] a copy costs less than one
//! more entry of a vectored write. All that we encode, copies included, lies in one buffer of which the segments are
//! slices, so a response of any number of partitions takes a handful of allocations.
//!
//! A `SegmentWriter` collects, its `finish` puts the frame's length in front, and the connection
//! writes: `io_slices`, a vectored write, `advance` by what was written. What was written is released at once.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::IoSlice;

/// Data shorter than this, in bytes, is copied to its neighbours.
pub const COALESCE_BELOW: usize = 4096;

/// How many slices one vectored write may have: Linux's `IOV_MAX`.
pub const MAX_IO_SLICES: usize = 1024;

/// A frame to be sent, with its length in front.
#[derive(Clone, Debug, Default)]
pub struct Segments {
    /// Not empty slices, in order.
    parts: VecDeque<Bytes>,
    remaining: usize,
}

impl Segments {
    /// A frame that lies in one piece already, its length included.
    pub fn whole(frame: Bytes) -> Segments {
        let remaining = frame.len();
        Segments { parts: [frame].into_iter().filter(|part| !part.is_empty()).collect(), remaining }
    }

    /// How many bytes are still to be written.
    pub fn len(&self) -> usize {
        self.remaining
    }

    /// Whether everything was written.
    pub fn is_empty(&self) -> bool {
        self.remaining == 0
    }

    /// The slices to be written next, at most [`MAX_IO_SLICES`].
    pub fn io_slices(&self) -> impl Iterator<Item = IoSlice<'_>> {
        self.parts.iter().take(MAX_IO_SLICES).map(|part| IoSlice::new(part))
    }

    /// The slices to be written next, as owned handles: to make them resident, or to count what they pin.
    pub fn parts(&self) -> impl Iterator<Item = &Bytes> {
        self.parts.iter()
    }

    /// Drops the first `bytes` bytes, or everything if there are fewer: they are written.
    pub fn advance(&mut self, bytes: usize) {
        let mut left = bytes.min(self.remaining);
        self.remaining -= left;
        while let Some(first) = self.parts.front_mut() {
            if first.len() > left {
                first.advance(left);
                return;
            }
            left -= first.len();
            self.parts.pop_front();
        }
    }

    /// All of it in one piece, copied: for tests and for transports that must copy anyway.
    pub fn to_bytes(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(self.remaining);
        self.parts.iter().for_each(|part| bytes.extend_from_slice(part));
        bytes.freeze()
    }
}

impl Buf for Segments {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&[], |part| part)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.iter_mut().zip(self.io_slices());
        filled.map(|(slice, part)| *slice = part).count()
    }

    fn advance(&mut self, bytes: usize) {
        Segments::advance(self, bytes);
    }
}

/// Collects a frame.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    /// All that was encoded or copied, the frame's length first.
    encoded: BytesMut,
    /// What is borrowed, each with its place: how much of `encoded` goes before it.
    borrowed: Vec<(usize, Bytes)>,
    borrowed_size: usize,
}

/// The frame would be longer than its length can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of more than 2 GiB")]
pub(crate) struct TooLong;

impl SegmentWriter {
    /// An empty frame, with room for `encoded` bytes of ours and `borrowed` slices.
    pub(crate) fn with_capacity(encoded: usize, borrowed: usize) -> SegmentWriter {
        let mut writer = SegmentWriter {
            encoded: BytesMut::with_capacity(encoded.saturating_add(size_of::<i32>())),
            borrowed: Vec::with_capacity(borrowed),
            borrowed_size: 0,
        };
        writer.encoded.put_i32(0);
        writer
    }

    /// Where to encode.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.encoded
    }

    /// Appends `data` without copying it, unless it is short.
    pub(crate) fn append(&mut self, data: &Bytes) {
        if data.len() < COALESCE_BELOW {
            self.encoded.extend_from_slice(data);
        } else {
            self.borrowed_size += data.len();
            self.borrowed.push((self.encoded.len(), data.clone()));
        }
    }

    /// The frame, with its length in front.
    ///
    /// # Errors
    /// [`TooLong`].
    pub(crate) fn finish(mut self) -> Result<Segments, TooLong> {
        let total = self.encoded.len() + self.borrowed_size;
        let length = i32::try_from(total - size_of::<i32>()).map_err(|_| TooLong)?;
        if let Some(prefix) = self.encoded.first_chunk_mut() {
            *prefix = length.to_be_bytes();
        }
        let mut encoded = self.encoded.freeze();
        let mut parts = VecDeque::with_capacity(2 * self.borrowed.len() + 1);
        let mut taken = 0;
        for (place, data) in self.borrowed {
            if place > taken {
                parts.push_back(encoded.split_to(place - taken));
                taken = place;
            }
            parts.push_back(data);
        }
        if !encoded.is_empty() {
            parts.push_back(encoded);
        }
        Ok(Segments { parts, remaining: total })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(pieces: &[(usize, bool)]) -> (Segments, Vec<u8>) {
        let mut writer = SegmentWriter::with_capacity(0, 0);
        let mut plain = Vec::new();
        for (index, (size, encode)) in pieces.iter().enumerate() {
            let data = Bytes::from(vec![index as u8; *size]);
            plain.extend_from_slice(&data);
            if *encode { writer.buffer().put_slice(&data) } else { writer.append(&data) }
        }
        let framed = [&(plain.len() as u32).to_be_bytes()[..], &plain].concat();
        (writer.finish().unwrap(), framed)
    }

    #[test]
    fn short_data_is_copied_and_long_data_is_not() {
        let long = Bytes::from(vec![1; COALESCE_BELOW]);
        let mut writer = SegmentWriter::with_capacity(10, 1);
        writer.append(&Bytes::from_static(b"short"));
        writer.append(&long);
        writer.append(&long);
        let segments = writer.finish().unwrap();
        let parts: Vec<_> = segments.parts().map(|part| (part.as_ptr() == long.as_ptr(), part.len())).collect();
        assert_eq!(parts, [(false, 9), (true, COALESCE_BELOW), (true, COALESCE_BELOW)]);
    }

    #[test]
    fn a_vectored_write_gets_at_most_iov_max_slices() {
        let (segments, plain) = written(&vec![(COALESCE_BELOW, false); 3000]);
        assert_eq!(segments.io_slices().count(), MAX_IO_SLICES);
        assert_eq!(segments.len(), plain.len());
        let mut few = [IoSlice::new(&[]); 7];
        assert_eq!(segments.chunks_vectored(&mut few), 7);
    }

    #[test]
    fn what_was_written_is_released() {
        let (mut segments, plain) = written(&[(5000, false), (5000, false)]);
        segments.advance(4 + 5000);
        assert_eq!(segments.parts().count(), 1);
        segments.advance(usize::MAX);
        assert!(segments.is_empty() && segments.parts().count() == 0);
        assert_eq!(plain.len(), 10_004);
    }

    proptest! {
        #[test]
        fn bytes_come_out_in_order_whatever_each_write_takes(
            pieces in prop::collection::vec((prop_oneof![0usize..50, 4000usize..5000], any::<bool>()), 0..12),
            steps in prop::collection::vec(1usize..7000, 1..20),
        ) {
            let (mut segments, expected) = written(&pieces);
            prop_assert_eq!(&segments.to_bytes()[..], &expected[..]);
            let mut out = Vec::new();
            for step in steps.iter().cycle() {
                let offered: Vec<u8> = segments.io_slices().flat_map(|slice| slice.to_vec()).collect();
                prop_assert!(!segments.io_slices().any(|slice| slice.is_empty()));
                let taken = (*step).min(offered.len());
                out.extend_from_slice(&offered[..taken]);
                segments.advance(taken);
                prop_assert_eq!(segments.len(), expected.len() - out.len());
                if segments.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(out, expected);
        }
    }
}
