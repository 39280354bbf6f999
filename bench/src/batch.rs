//! Record batches (magic 2) as a client writes and reads them.
//!
//! A [`Builder`] takes records and yields the bytes of one batch; [`each_record`] walks the batches of a fetch answer
//! and hands out a [`View`] per record; [`read_all`] copies them into [`Record`]s. All integers are big-endian:
//!
//! ```text
//! base offset 8 | length 4 | leader epoch 4 | magic 1 | crc 4 | attributes 2 | last offset delta 4 |
//! base timestamp 8 | max timestamp 8 | producer id 8 | producer epoch 2 | base sequence 4 | count 4 | records
//! ```
//!
//! The CRC-32C covers everything after itself. A record is `length attributes delta-timestamp delta-offset key value
//! headers` in zig-zag varints, as in Kafka's message format.

use bytes::{Buf, BufMut, Bytes};
use std::io::{Read, Write};

/// Bytes before the records.
pub const HEADER: usize = 61;
/// Offset plus length: what stands before the part that the length counts.
const PREFIX: usize = 12;
/// Where the checksummed part starts.
const CHECKED: usize = 21;

/// A compression codec by its number in the attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// As it is.
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy in xerial's frames, as Java writes it.
    Snappy,
    /// LZ4's frame format.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Codec {
    /// Every codec.
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    /// Its name in Kafka's configuration.
    pub fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }

    fn id(self) -> u16 {
        match self {
            Codec::None => 0,
            Codec::Gzip => 1,
            Codec::Snappy => 2,
            Codec::Lz4 => 3,
            Codec::Zstd => 4,
        }
    }
}

impl std::str::FromStr for Codec {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Codec::ALL.into_iter().find(|c| c.name() == name).ok_or_else(|| format!("no codec is called {name}"))
    }
}

/// What is wrong with bytes that should be batches.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad batch at offset {offset}: {what}")]
pub struct BadBatch {
    /// The base offset in the batch's header.
    pub offset: i64,
    /// What is wrong.
    pub what: String,
}

/// A record that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Record {
    /// Its offset; ignored when written.
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// The key.
    pub key: Option<Bytes>,
    /// The value.
    pub value: Option<Bytes>,
    /// The headers, in order; names may repeat.
    pub headers: Vec<(String, Option<Bytes>)>,
}

/// A record in the bytes of its batch.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Its offset.
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: Option<&'a [u8]>,
    headers: &'a [u8],
}

/// Collects records into one batch.
#[derive(Clone, Debug)]
pub struct Builder {
    codec: Codec,
    producer: Option<(i64, i16, i32)>,
    base_timestamp: i64,
    max_timestamp: i64,
    count: i32,
    /// Room for the header, and the records behind it.
    bytes: Vec<u8>,
}

impl Builder {
    /// An empty batch.
    pub fn new(codec: Codec) -> Self {
        Self { codec, producer: None, base_timestamp: 0, max_timestamp: i64::MIN, count: 0, bytes: vec![0; HEADER] }
    }

    /// An empty batch with room for so many bytes.
    pub fn with_capacity(codec: Codec, bytes: usize) -> Self {
        let mut builder = Self::new(codec);
        builder.bytes.reserve(bytes);
        builder
    }

    /// Makes the batch idempotent: producer id, its epoch, the first record's sequence.
    #[must_use]
    pub fn producer(mut self, id: i64, epoch: i16, sequence: i32) -> Self {
        self.producer = Some((id, epoch, sequence));
        self
    }

    /// Adds a record.
    #[must_use]
    pub fn record(mut self, record: &Record) -> Self {
        self.push(record.timestamp, record.key.as_deref(), record.value.as_deref(), &record.headers);
        self
    }

    /// Adds a record from its parts.
    pub fn push(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(String, Option<Bytes>)],
    ) {
        if self.count == 0 {
            self.base_timestamp = timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let (timestamp, offset) = (timestamp - self.base_timestamp, i64::from(self.count));
        let blob = |blob: Option<&[u8]>| match blob {
            None => varint_len(-1),
            Some(blob) => varint_len(blob.len() as i64) + blob.len(),
        };
        let names = headers.iter().map(|(name, value)| blob(Some(name.as_bytes())) + blob(value.as_deref()));
        let length = 1
            + varint_len(timestamp)
            + varint_len(offset)
            + blob(key)
            + blob(value)
            + varint_len(headers.len() as i64)
            + names.sum::<usize>();
        let out = &mut self.bytes;
        put_varint(out, length as i64);
        out.push(0);
        put_varint(out, timestamp);
        put_varint(out, offset);
        put_blob(out, key);
        put_blob(out, value);
        put_varint(out, headers.len() as i64);
        for (name, value) in headers {
            put_blob(out, Some(name.as_bytes()));
            put_blob(out, value.as_deref());
        }
        self.count += 1;
    }

    /// The uncompressed size so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// How many records there are.
    pub fn count(&self) -> i32 {
        self.count
    }

    /// Whether there is no record yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The batch's bytes, with base offset 0.
    ///
    /// # Errors
    /// What the codec answers, which it does not for bytes in memory.
    pub fn build(&self) -> std::io::Result<Bytes> {
        self.clone().finish()
    }

    /// As [`Builder::build`], without a copy where nothing is compressed.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn finish(self) -> std::io::Result<Bytes> {
        let mut out = match self.codec {
            Codec::None => self.bytes,
            codec => {
                let mut out = Vec::with_capacity(self.bytes.len());
                out.resize(HEADER, 0);
                compress(codec, &self.bytes[HEADER..], &mut out)?;
                out
            }
        };
        let (id, epoch, sequence) = self.producer.unwrap_or((-1, -1, -1));
        let length = (out.len() - PREFIX) as i32;
        let mut header = &mut out[..HEADER];
        header.put_i64(0);
        header.put_i32(length);
        header.put_i32(-1);
        header.put_u8(2);
        header.put_u32(0);
        header.put_u16(self.codec.id());
        header.put_i32(self.count - 1);
        header.put_i64(self.base_timestamp);
        header.put_i64(self.max_timestamp);
        header.put_i64(id);
        header.put_i16(epoch);
        header.put_i32(sequence);
        header.put_i32(self.count);
        seal(&mut out);
        Ok(Bytes::from(out))
    }
}

/// Gives a batch, of at least a header, the checksum that its bytes have.
pub fn seal(batch: &mut [u8]) {
    let crc = crc_fast::crc32_iscsi(&batch[CHECKED..]);
    batch[17..CHECKED].copy_from_slice(&crc.to_be_bytes());
}

impl View<'_> {
    /// The headers, copied.
    ///
    /// # Errors
    /// [`BadBatch`] where they do not fit their bytes.
    pub fn headers(&self) -> Result<Vec<(String, Option<Bytes>)>, BadBatch> {
        let mut rest = self.headers;
        let bad = || BadBatch { offset: self.offset, what: "headers".to_owned() };
        let count = get_varint(&mut rest).ok_or_else(bad)?;
        let mut headers = Vec::new();
        for _ in 0..count {
            let name = get_blob(&mut rest).flatten().ok_or_else(bad)?;
            let value = get_blob(&mut rest).ok_or_else(bad)?;
            headers.push((String::from_utf8_lossy(name).into_owned(), value.map(Bytes::copy_from_slice)));
        }
        if rest.is_empty() { Ok(headers) } else { Err(bad()) }
    }

    /// The record, copied.
    ///
    /// # Errors
    /// As [`View::headers`].
    pub fn to_record(&self) -> Result<Record, BadBatch> {
        Ok(Record {
            offset: self.offset,
            timestamp: self.timestamp,
            key: self.key.map(Bytes::copy_from_slice),
            value: self.value.map(Bytes::copy_from_slice),
            headers: self.headers()?,
        })
    }
}

/// Calls `visit` for every record of every complete batch in `bytes`, and returns the offset after the last one.
///
/// A batch cut off at the end is left out, as a fetch answer may hold one. `None` if there is no complete batch.
///
/// # Errors
/// [`BadBatch`] where a checksum, a length or a count does not hold.
pub fn each_record(mut bytes: &[u8], mut visit: impl FnMut(View<'_>)) -> Result<Option<i64>, BadBatch> {
    let mut next = None;
    while bytes.len() >= HEADER {
        let header = bytes;
        let offset = be64(header, 0);
        let bad = |what: &str| BadBatch { offset, what: what.to_owned() };
        let length = usize::try_from(be32(header, 8)).map_err(|_| bad("negative length"))?;
        if length < HEADER - PREFIX {
            return Err(bad("length below a header's"));
        }
        let Some(batch) = bytes.get(..PREFIX + length) else { break };
        bytes = &bytes[PREFIX + length..];
        if batch[16] != 2 {
            return Err(bad("magic"));
        }
        if crc_fast::crc32_iscsi(&batch[CHECKED..]) != be32(batch, 17) as u32 {
            return Err(bad("checksum"));
        }
        let attributes = u16::from_be_bytes([batch[21], batch[22]]);
        let codec = Codec::ALL.into_iter().find(|c| c.id() == attributes & 7).ok_or_else(|| bad("codec"))?;
        next = Some(offset + i64::from(be32(batch, 23)) + 1);
        if attributes & 0x20 != 0 {
            // A control batch marks a transaction's end; it holds no record of an application.
            continue;
        }
        let log_append = attributes & 8 != 0;
        let (base_timestamp, max_timestamp, count) = (be64(batch, 27), be64(batch, 35), be32(batch, 57));
        let inflated;
        let mut rest = if codec == Codec::None {
            &batch[HEADER..]
        } else {
            inflated = decompress(codec, &batch[HEADER..]).map_err(|e| bad(&format!("{}: {e}", codec.name())))?;
            &inflated[..]
        };
        for _ in 0..count {
            let record = record(&mut rest, offset, base_timestamp).ok_or_else(|| bad("record"))?;
            visit(if log_append { View { timestamp: max_timestamp, ..record } } else { record });
        }
        if !rest.is_empty() {
            return Err(bad("bytes after the last record"));
        }
    }
    Ok(next)
}

/// The offset after the last complete batch in `bytes`, from the headers alone; `None` if there is none.
pub fn end_offset(mut bytes: &[u8]) -> Option<i64> {
    let mut end = None;
    while bytes.len() >= HEADER {
        let length = usize::try_from(be32(bytes, 8)).ok()?;
        let Some(rest) = bytes.get(PREFIX + length..) else { break };
        end = Some(be64(bytes, 0) + i64::from(be32(bytes, 23)) + 1);
        bytes = rest;
    }
    end
}

/// Every record of the complete batches in `bytes`.
///
/// # Errors
/// As [`each_record`].
pub fn read_all(bytes: &[u8]) -> Result<Vec<Record>, BadBatch> {
    let mut records = Vec::new();
    let mut failed = None;
    each_record(bytes, |view| match view.to_record() {
        Ok(record) => records.push(record),
        Err(bad) => failed = failed.take().or(Some(bad)),
    })?;
    failed.map_or(Ok(records), Err)
}

fn record<'a>(rest: &mut &'a [u8], base_offset: i64, base_timestamp: i64) -> Option<View<'a>> {
    let length = usize::try_from(get_varint(rest)?).ok()?;
    let mut body = rest.get(..length)?;
    *rest = &rest[length..];
    body.advance(usize::from(!body.is_empty()));
    let timestamp = base_timestamp + get_varint(&mut body)?;
    let offset = base_offset + get_varint(&mut body)?;
    let key = get_blob(&mut body)?;
    let value = get_blob(&mut body)?;
    Some(View { offset, timestamp, key, value, headers: body })
}

fn be64(bytes: &[u8], at: usize) -> i64 {
    (&bytes[at..]).get_i64()
}

fn be32(bytes: &[u8], at: usize) -> i32 {
    (&bytes[at..]).get_i32()
}

fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut bits = ((value << 1) ^ (value >> 63)) as u64;
    while bits >= 0x80 {
        out.push(bits as u8 | 0x80);
        bits >>= 7;
    }
    out.push(bits as u8);
}

/// How many bytes [`put_varint`] writes.
fn varint_len(value: i64) -> usize {
    let bits = ((value << 1) ^ (value >> 63)) as u64;
    (64 - bits.leading_zeros()).div_ceil(7).max(1) as usize
}

fn get_varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut bits = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        bits |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((bits >> 1) as i64 ^ -((bits & 1) as i64));
        }
    }
    None
}

fn put_blob(out: &mut Vec<u8>, blob: Option<&[u8]>) {
    match blob {
        None => put_varint(out, -1),
        Some(blob) => {
            put_varint(out, blob.len() as i64);
            out.extend_from_slice(blob);
        }
    }
}

/// `Some(None)` for null; `None` where the bytes do not hold what they announce.
fn get_blob<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = get_varint(bytes)?;
    if length == -1 {
        return Some(None);
    }
    let length = usize::try_from(length).ok()?;
    let blob = bytes.get(..length)?;
    *bytes = &bytes[length..];
    Some(Some(blob))
}

/// Before the chunks of xerial's framing: magic, version 1, compatible with 1.
const XERIAL: [u8; 16] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];

fn compress(codec: Codec, records: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    match codec {
        Codec::None => out.extend_from_slice(records),
        Codec::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
            encoder.write_all(records)?;
            encoder.finish()?;
        }
        Codec::Snappy => {
            out.extend_from_slice(&XERIAL);
            for chunk in records.chunks(32 * 1024) {
                let packed = snap::raw::Encoder::new().compress_vec(chunk).map_err(std::io::Error::other)?;
                out.extend_from_slice(&(packed.len() as u32).to_be_bytes());
                out.extend_from_slice(&packed);
            }
        }
        Codec::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(out);
            encoder.write_all(records)?;
            encoder.finish().map_err(std::io::Error::other)?;
        }
        Codec::Zstd => out.extend_from_slice(&zstd::encode_all(records, 1)?),
    }
    Ok(())
}

fn decompress(codec: Codec, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    match codec {
        Codec::None => out.extend_from_slice(bytes),
        Codec::Gzip => {
            flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut out)?;
        }
        Codec::Snappy => {
            let Some(mut rest) = bytes.strip_prefix(&XERIAL[..8]).and_then(|rest| rest.get(8..)) else {
                return snap::raw::Decoder::new().decompress_vec(bytes).map_err(std::io::Error::other);
            };
            while rest.len() >= 4 {
                let length = rest.get_u32() as usize;
                let chunk = rest.get(..length).ok_or_else(|| std::io::Error::other("chunk cut off"))?;
                out.extend(snap::raw::Decoder::new().decompress_vec(chunk).map_err(std::io::Error::other)?);
                rest = &rest[length..];
            }
        }
        Codec::Lz4 => {
            lz4_flex::frame::FrameDecoder::new(bytes).read_to_end(&mut out)?;
        }
        Codec::Zstd => out = zstd::decode_all(bytes)?,
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Record> {
        let mut records: Vec<Record> = (0..100)
            .map(|i| Record {
                offset: i,
                timestamp: 1_700_000_000_000 + i * 7,
                key: (i % 3 != 0).then(|| Bytes::from(format!("key {i}"))),
                value: (i % 5 != 0).then(|| Bytes::from(vec![i as u8; i as usize * 40])),
                headers: vec![("twice".into(), Some(Bytes::from_static(b"1"))), ("twice".into(), None)],
            })
            .collect();
        records[3].headers.clear();
        records
    }

    #[test]
    fn what_is_written_is_read_with_every_codec() {
        for codec in Codec::ALL {
            let builder = samples().iter().fold(Builder::new(codec).producer(7, 1, 0), Builder::record);
            let bytes = builder.build().unwrap();
            assert_eq!(read_all(&bytes).unwrap(), samples(), "{}", codec.name());
            assert_eq!(end_offset(&bytes), Some(100));
            let cut = &bytes[..bytes.len() - 1];
            assert_eq!(read_all(cut).unwrap(), [], "a batch that is cut off is left out");
        }
    }

    #[test]
    fn every_flipped_bit_after_the_epoch_is_found() {
        let bytes = samples().iter().take(5).fold(Builder::new(Codec::None), Builder::record).build().unwrap();
        for at in 16..bytes.len() {
            let mut bad = bytes.to_vec();
            bad[at] ^= 1;
            assert!(read_all(&bad).is_err(), "byte {at}");
        }
    }

    #[test]
    fn varints_of_all_sizes_come_back() {
        for value in [0, 1, -1, 63, 64, -64, -65, i64::from(i32::MAX), i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(get_varint(&mut &out[..]), Some(value));
        }
        assert_eq!(get_varint(&mut &[0xff; 11][..]), None);
    }
}
