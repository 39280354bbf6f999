//! Compressing a batch's records: the five codecs at their levels (KIP-390).
//!
//! A [`StoredAs`] names a codec with its level, as `compression.type` and `compression.<codec>.level` do. What comes out
//! is read by every Kafka client: the formats are those of the table in `codec`.
//!
//! | codec  | levels | default | what the level does |
//! | ---    | ---    | ---     | --- |
//! | gzip   | 1 to 9, -1 | -1  | zlib's; -1 stands for 6 |
//! | lz4    | 1 to 17 | 9      | how many places a match is sought at, see `lz4_high` |
//! | zstd   | -131072 to 22 | 3 | zstd's own; the size is told to it, so that the highest levels take memory for no more than that |
//! | snappy | none   |         | |

use super::codec::{Compression, XERIAL_MAGIC, bad};
use super::lz4_high;
use std::io::{self, Write};

/// How a topic has its batches stored: a codec at a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredAs {
    /// Not compressed.
    Uncompressed,
    /// gzip at a level.
    Gzip(i32),
    /// Snappy, which has no levels.
    Snappy,
    /// LZ4 at a level.
    Lz4(i32),
    /// Zstandard at a level.
    Zstd(i32),
}

impl StoredAs {
    /// The codec in a batch's attributes.
    pub const fn codec(self) -> Compression {
        match self {
            StoredAs::Uncompressed => Compression::None,
            StoredAs::Gzip(_) => Compression::Gzip,
            StoredAs::Snappy => Compression::Snappy,
            StoredAs::Lz4(_) => Compression::Lz4,
            StoredAs::Zstd(_) => Compression::Zstd,
        }
    }
}

impl From<Compression> for StoredAs {
    /// The codec at Kafka's default level.
    fn from(codec: Compression) -> StoredAs {
        match codec {
            Compression::None => StoredAs::Uncompressed,
            Compression::Gzip => StoredAs::Gzip(GZIP_DEFAULT),
            Compression::Snappy => StoredAs::Snappy,
            Compression::Lz4 => StoredAs::Lz4(LZ4_DEFAULT),
            Compression::Zstd => StoredAs::Zstd(ZSTD_DEFAULT),
        }
    }
}

/// The levels of gzip besides [`GZIP_DEFAULT`].
pub const GZIP_LEVELS: std::ops::RangeInclusive<i32> = 1..=9;
/// Whatever zlib thinks best.
pub const GZIP_DEFAULT: i32 = -1;
/// The levels of LZ4.
pub const LZ4_LEVELS: std::ops::RangeInclusive<i32> = 1..=17;
/// Kafka's default level of LZ4.
pub const LZ4_DEFAULT: i32 = 9;
/// The levels of Zstandard.
pub const ZSTD_LEVELS: std::ops::RangeInclusive<i32> = -131_072..=22;
/// Kafka's default level of Zstandard, and Zstandard's own.
pub const ZSTD_DEFAULT: i32 = 3;

/// snappy-java's magic, with its version and the lowest compatible one.
const XERIAL_VERSIONS: &[u8] = &[0, 0, 0, 1, 0, 0, 0, 1];
/// snappy-java's block size.
const XERIAL_BLOCK: usize = 32 * 1024;

/// Appends `records` to `out`, compressed. A level that the codec does not have is taken for the nearest that it has.
pub(super) fn compress(how: StoredAs, records: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    match how {
        StoredAs::Uncompressed => out.extend_from_slice(records),
        StoredAs::Gzip(level) => {
            let level = match u32::try_from(level) {
                Ok(level) => flate2::Compression::new(level.clamp(1, 9)),
                Err(_) => flate2::Compression::default(),
            };
            let mut encoder = flate2::write::GzEncoder::new(out, level);
            encoder.write_all(records)?;
            encoder.finish()?;
        }
        StoredAs::Snappy => {
            out.extend_from_slice(XERIAL_MAGIC);
            out.extend_from_slice(XERIAL_VERSIONS);
            let mut encoder = snap::raw::Encoder::new();
            for block in records.chunks(XERIAL_BLOCK) {
                let block = encoder.compress_vec(block)?;
                let length = u32::try_from(block.len()).map_err(|_| bad("snappy block too large"))?;
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(&block);
            }
        }
        StoredAs::Lz4(level) => lz4_high::compress_frame(records, level, out),
        StoredAs::Zstd(level) => {
            let level = level.clamp(*ZSTD_LEVELS.start(), *ZSTD_LEVELS.end());
            let mut encoder = zstd::stream::Encoder::new(out, level)?;
            encoder.set_pledged_src_size(Some(records.len() as u64))?;
            encoder.write_all(records)?;
            encoder.finish()?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "compress_tests.rs"]
mod tests;
