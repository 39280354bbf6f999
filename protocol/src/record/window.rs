//! Records out of a decoder, through a window of fixed size.
//!
//! A [`Window`] holds the part of the decompressed records that is being parsed. A record that fits is handed out as a
//! slice; a larger one is either skipped through piece by piece (validation needs no memory for it) or makes the window
//! grow, doubling as its bytes really arrive and never beyond the limit. The limit counts everything that comes out of
//! the decoder: a bomb costs the time to decompress up to it, and no memory.

use super::codec::{Compression, Decoder, Scratch};
use super::header::BatchHeader;
use super::shape::{self, BAD_RECORD, Cursor, ENDS_EARLY, Malformed, Shape, SliceCursor};
use super::varint;
use std::io::{ErrorKind, Read};

/// The window's size as long as records are smaller.
const WINDOW: usize = 64 * 1024;
/// The longest varint.
const VARINT: usize = 10;

/// Decompressed records, partly read.
pub(super) struct Window<'a> {
    decoder: Decoder<'a>,
    buffer: &'a mut Vec<u8>,
    /// The unread part of `buffer`.
    start: usize,
    end: usize,
    /// How many bytes the decoder gave and may give.
    produced: u64,
    limit: u64,
    ended: bool,
}

impl<'a> Window<'a> {
    /// Starts on the records of `header`, which are `input`.
    pub(super) fn new(
        header: &BatchHeader,
        input: &'a [u8],
        scratch: &'a mut Scratch,
        limit: u64,
    ) -> Result<Window<'a>, Malformed> {
        scratch.shrink();
        let Scratch { window: buffer, decoders } = scratch;
        if buffer.len() < WINDOW {
            buffer.resize(WINDOW, 0);
        }
        // Compaction leaves batches without records, and without a stream of their codec.
        let codec = if input.is_empty() { Compression::None } else { header.compression() };
        let decoder = Decoder::new(codec, input, decoders, limit).map_err(|e| codec_error(&e, limit))?;
        Ok(Window { decoder, buffer, start: 0, end: 0, produced: 0, limit, ended: false })
    }

    fn unread(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Reads once from the decoder, behind what is unread.
    fn fill(&mut self) -> Result<(), Malformed> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let space = self.buffer.get_mut(self.end..).unwrap_or_default();
        match self.decoder.read(space) {
            Ok(0) => self.ended = true,
            Ok(n) => {
                self.end += n;
                self.produced += n as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(codec_error(&error, self.limit)),
        }
        if self.produced > self.limit { Err(Malformed::TooLarge { limit: self.limit }) } else { Ok(()) }
    }

    /// Has at least `wanted` bytes unread, or all that there are. `wanted` is within the buffer.
    fn want(&mut self, wanted: usize) -> Result<(), Malformed> {
        while self.end - self.start < wanted && !self.ended {
            self.fill()?;
        }
        Ok(())
    }

    /// The length of the next record.
    fn record_length(&mut self) -> Result<usize, Malformed> {
        self.want(VARINT)?;
        let mut at = 0;
        let length = varint::read_i32(self.unread(), &mut at).ok_or(ENDS_EARLY)?;
        self.start += at;
        usize::try_from(length).map_err(|_| BAD_RECORD)
    }

    /// Checks the next record and moves behind it.
    pub(super) fn next_shape(&mut self) -> Result<Shape, Malformed> {
        let length = self.record_length()?;
        if length > self.buffer.len() {
            return shape::shape(&mut LargeRecord { window: self, remaining: length });
        }
        self.want(length)?;
        let record = self.unread().get(..length).ok_or(ENDS_EARLY)?;
        let shape = shape::shape(&mut SliceCursor::new(record))?;
        self.start += length;
        Ok(shape)
    }

    /// The next record's bytes after its length, as a whole.
    pub(super) fn next_record(&mut self) -> Result<&[u8], Malformed> {
        let length = self.record_length()?;
        self.want(length.min(self.buffer.len()))?;
        while self.end - self.start < length {
            if self.ended {
                return Err(ENDS_EARLY);
            }
            // The buffer is full of this record: what it doubles by is backed by what has come.
            if self.end - self.start == self.buffer.len() {
                let larger = self.buffer.len().saturating_mul(2).min(length.max(WINDOW));
                self.buffer.resize(larger, 0);
            }
            self.fill()?;
        }
        let record = self.start..self.start + length;
        self.start = record.end;
        self.buffer.get(record).ok_or(ENDS_EARLY)
    }

    /// Everything that is still to come, as a whole.
    pub(super) fn read_all(mut self) -> Result<&'a [u8], Malformed> {
        while !self.ended {
            if self.end == self.buffer.len() && self.start == 0 {
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
            self.fill()?;
        }
        let Window { buffer, start, end, .. } = self;
        let buffer: &'a [u8] = buffer;
        Ok(buffer.get(start..end).unwrap_or_default())
    }

    /// Whether everything was read.
    pub(super) fn at_end(&mut self) -> Result<bool, Malformed> {
        self.want(1)?;
        Ok(self.start == self.end)
    }
}

/// A record that is larger than the window, read and forgotten.
struct LargeRecord<'w, 'a> {
    window: &'w mut Window<'a>,
    remaining: usize,
}

impl LargeRecord<'_, '_> {
    fn read<T>(&mut self, read: impl FnOnce(&[u8], &mut usize) -> Option<T>) -> Result<T, Malformed> {
        self.window.want(VARINT)?;
        let unread = self.window.unread();
        let unread = unread.get(..self.remaining).unwrap_or(unread);
        let mut at = 0;
        let value = read(unread, &mut at).ok_or(BAD_RECORD)?;
        self.window.start += at;
        self.remaining -= at;
        Ok(value)
    }
}

impl Cursor for LargeRecord<'_, '_> {
    fn read_i32(&mut self) -> Result<i32, Malformed> {
        self.read(varint::read_i32)
    }

    fn read_i64(&mut self) -> Result<i64, Malformed> {
        self.read(varint::read_i64)
    }

    fn skip(&mut self, length: usize) -> Result<(), Malformed> {
        self.remaining = self.remaining.checked_sub(length).ok_or(BAD_RECORD)?;
        let mut left = length;
        loop {
            let step = left.min(self.window.end - self.window.start);
            self.window.start += step;
            left -= step;
            if left == 0 {
                return Ok(());
            }
            if self.window.ended {
                return Err(ENDS_EARLY);
            }
            self.window.fill()?;
        }
    }

    fn remaining(&self) -> usize {
        self.remaining
    }
}

fn codec_error(error: &std::io::Error, limit: u64) -> Malformed {
    match error.kind() {
        ErrorKind::QuotaExceeded => Malformed::TooLarge { limit },
        _ => Malformed::Codec(error.to_string()),
    }
}
