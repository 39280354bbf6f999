//! The five codecs: decompressing a batch's records as a stream. (Compressing them is `compress`.)
//!
//! A [`Decoder`] yields a batch's records piece by piece, so that validating a batch needs memory for a window of it
//! and not for all of it: a megabyte can decompress to gigabytes. The formats are those that Kafka's own clients read.
//!
//! | codec  | format |
//! | ---    | ---    |
//! | gzip   | one or more gzip members |
//! | snappy | snappy-java's framing (16 bytes of header, then blocks with their length), or one raw block (librdkafka) |
//! | lz4    | one LZ4 frame of independent blocks |
//! | zstd   | one or more zstd frames |

use flate2::bufread::MultiGzDecoder;
use lz4_flex::frame::FrameDecoder;
use std::io::{self, Read};
use zstd::zstd_safe::DCtx;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// Snappy, framed as snappy-java does.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard (KIP-110).
    Zstd,
}

impl Compression {
    /// All codecs.
    pub const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    /// The codec with this number in a batch's attributes.
    pub const fn from_code(code: u8) -> Option<Compression> {
        match code {
            0 => Some(Compression::None),
            1 => Some(Compression::Gzip),
            2 => Some(Compression::Snappy),
            3 => Some(Compression::Lz4),
            4 => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// The number in a batch's attributes.
    pub const fn code(self) -> u8 {
        match self {
            Compression::None => 0,
            Compression::Gzip => 1,
            Compression::Snappy => 2,
            Compression::Lz4 => 3,
            Compression::Zstd => 4,
        }
    }

    /// The name in configurations (`compression.type`).
    pub const fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

/// Buffers that decoding needs, kept between batches. An empty one allocates nothing, and an uncompressed batch never
/// fills one; have one per runtime or per task.
#[derive(Default)]
pub struct Scratch {
    /// Decompressed bytes on their way to the record parser.
    pub(super) window: Vec<u8>,
    pub(super) decoders: Decoders,
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scratch").field("window", &self.window.len()).finish_non_exhaustive()
    }
}

impl Scratch {
    /// The largest buffer that is kept between batches.
    const KEPT_BUFFER: usize = 1 << 20;
    /// The largest zstd decoder that is kept: one of the common levels takes up to 8 MiB.
    const KEPT_DECODER: usize = 16 << 20;

    /// Gives back what one large batch made grow.
    pub(super) fn shrink(&mut self) {
        for buffer in [&mut self.window, &mut self.decoders.block] {
            if buffer.capacity() > Self::KEPT_BUFFER {
                *buffer = Vec::new();
            }
        }
        self.decoders.zstd.take_if(|context| context.sizeof() > Self::KEPT_DECODER);
    }

    /// How many bytes are held between batches.
    pub fn size(&self) -> usize {
        let zstd = self.decoders.zstd.as_ref().map_or(0, |context| context.sizeof());
        self.window.capacity() + self.decoders.block.capacity() + zstd
    }
}

/// The part of [`Scratch`] that codecs own.
#[derive(Default)]
pub(super) struct Decoders {
    /// One decompressed snappy block.
    block: Vec<u8>,
    zstd: Option<DCtx<'static>>,
}

/// Decompressed records as a stream.
pub(super) enum Decoder<'a> {
    Plain(&'a [u8]),
    Gzip(Box<MultiGzDecoder<&'a [u8]>>),
    Snappy(SnappyReader<'a>),
    Lz4(Box<FrameDecoder<&'a [u8]>>),
    Zstd(Box<zstd::stream::read::Decoder<'a, &'a [u8]>>),
}

impl<'a> Decoder<'a> {
    /// Starts to decompress `input`. No more than `limit` bytes are wanted: a codec that cannot stream refuses a block
    /// that is larger.
    pub(super) fn new(
        codec: Compression,
        input: &'a [u8],
        decoders: &'a mut Decoders,
        limit: u64,
    ) -> io::Result<Decoder<'a>> {
        Ok(match codec {
            Compression::None => Decoder::Plain(input),
            Compression::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(input))),
            Compression::Snappy => Decoder::Snappy(SnappyReader::new(input, &mut decoders.block, limit)),
            Compression::Lz4 => {
                check_lz4_frame(input)?;
                Decoder::Lz4(Box::new(FrameDecoder::new(input)))
            }
            Compression::Zstd => {
                // A frame of the highest levels declares a window of 128 MiB, whose pages are touched only as far as
                // the content goes; the limit on the content is what bounds the memory.
                let context = decoders.zstd.get_or_insert_with(DCtx::create);
                Decoder::Zstd(Box::new(zstd::stream::read::Decoder::with_context(input, context)))
            }
        })
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Decoder::Plain(input) => input.read(out),
            Decoder::Gzip(decoder) => decoder.read(out),
            Decoder::Snappy(decoder) => decoder.read(out),
            Decoder::Lz4(decoder) => match decoder.read(out) {
                // An empty block looks like the end.
                Ok(0) if !out.is_empty() && !decoder.get_ref().is_empty() => Err(bad("empty lz4 block")),
                result => result,
            },
            Decoder::Zstd(decoder) => decoder.read(out),
        }
    }
}

pub(super) fn bad(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// The start of a stream that snappy-java framed; its version and lowest compatible version follow, 4 bytes each.
pub(super) const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";

/// Snappy, block by block.
pub(super) struct SnappyReader<'a> {
    input: &'a [u8],
    framed: bool,
    block: &'a mut Vec<u8>,
    /// What of `block` has not been read yet.
    unread: std::ops::Range<usize>,
    limit: u64,
}

impl<'a> SnappyReader<'a> {
    /// A snappy element of three bytes yields at most 64: no block is larger than this many times its input.
    const MAX_EXPANSION: usize = 22;

    fn new(input: &'a [u8], block: &'a mut Vec<u8>, limit: u64) -> SnappyReader<'a> {
        let (framed, input) = match input.strip_prefix(XERIAL_MAGIC).and_then(|rest| rest.get(8..)) {
            Some(blocks) => (true, blocks),
            None => (false, input),
        };
        SnappyReader { input, framed, block, unread: 0..0, limit }
    }

    /// The next block's compressed bytes; a raw stream is one block.
    fn next_input(&mut self) -> io::Result<&'a [u8]> {
        if !self.framed {
            return Ok(std::mem::take(&mut self.input));
        }
        let (length, rest) = self.input.split_first_chunk().ok_or_else(|| bad("truncated snappy block"))?;
        let length = u32::from_be_bytes(*length) as usize;
        let (block, rest) = rest.split_at_checked(length).ok_or_else(|| bad("truncated snappy block"))?;
        self.input = rest;
        Ok(block)
    }
}

impl Read for SnappyReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.unread.is_empty() {
            if self.input.is_empty() {
                return Ok(0);
            }
            let input = self.next_input()?;
            let length = snap::raw::decompress_len(input)?;
            if length > input.len().saturating_mul(Self::MAX_EXPANSION) {
                return Err(bad("a snappy block cannot be that large"));
            }
            if length as u64 > self.limit {
                return Err(io::Error::new(io::ErrorKind::QuotaExceeded, "snappy block above the limit"));
            }
            if self.block.len() < length {
                self.block.resize(length, 0);
            }
            let length = snap::raw::Decoder::new().decompress(input, self.block)?;
            self.unread = 0..length;
        }
        let block = self.block.get(self.unread.clone()).unwrap_or_default();
        let n = block.len().min(out.len());
        if let (Some(to), Some(from)) = (out.get_mut(..n), block.get(..n)) {
            to.copy_from_slice(from);
        }
        self.unread.start += n;
        Ok(n)
    }
}

/// Checks that `input` is exactly one complete LZ4 frame of the kind that Kafka's clients read. The frame decoder takes
/// a frame without its end mark for a finished one, and would go on with what follows the frame.
fn check_lz4_frame(input: &[u8]) -> io::Result<()> {
    const MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();
    let truncated = || bad("truncated lz4 frame");
    let rest = input.strip_prefix(&MAGIC).ok_or_else(|| bad("not an lz4 frame"))?;
    let (&flags, rest) = rest.split_first().ok_or_else(truncated)?;
    if flags >> 6 != 1 {
        return Err(bad("unknown version of the lz4 frame"));
    }
    if flags & 1 << 5 == 0 {
        return Err(bad("lz4 blocks depend on each other, which Kafka's clients do not read"));
    }
    if flags & 1 != 0 {
        return Err(bad("lz4 frame with a dictionary"));
    }
    let content_size = if flags & 1 << 3 == 0 { 0 } else { 8 };
    // The block size, the content size, the header's checksum.
    let mut rest = rest.get(1 + content_size + 1..).ok_or_else(truncated)?;
    let checksum = if flags & 1 << 4 == 0 { 0 } else { 4 };
    loop {
        let (length, after) = rest.split_first_chunk().ok_or_else(truncated)?;
        let length = u32::from_le_bytes(*length);
        if length == 0 {
            let content_checksum = if flags & 1 << 2 == 0 { 0 } else { 4 };
            return if after.len() == content_checksum { Ok(()) } else { Err(bad("bytes after the lz4 frame")) };
        }
        // The highest bit says that the block is not compressed.
        rest = after.get((length & 0x7fff_ffff) as usize + checksum..).ok_or_else(truncated)?;
    }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
