//! The checks of a produced batch, in Kafka's order: what passes them may be stored.
//!
//! [`validate`] takes the `records` field of a Produce request and the [`Rules`] of its topic, and returns the batch as
//! a [`ValidatedBatch`] or a [`Rejection`]. The order decides which error a client sees, and so what it does next: a
//! batch that is too large is split, one with a wrong checksum is sent again, everything else fails for good.
//!
//! 1. the request: not empty, magic 2, a codec that the request's version has, exactly one batch;
//! 2. the frame: base offset 0, size, CRC-32C;
//! 3. the header: counts that agree, no control batch, a producer with a sequence;
//! 4. each record: structure, consecutive offset deltas, key where the topic needs one, timestamp bounds.
//!
//! Every batch is walked, a compressed one through a window of its decompressed records: one lying count or delta would
//! stop the partition's consumers for ever. [`Walk::HeaderOnly`] trades that for speed.
//!
//! Measured on the reference machine, one core, 1 MiB uncompressed and in cache: 61 GB/s for header and checksum alone;
//! with the walk 44 GB/s at 1 KiB per record, and 110 to 125 million records/s (13 GB/s) at 100 bytes. Of compressed
//! batches the decoder is the cost: lz4 5, snappy 2, zstd 1.2 and gzip 0.3 GB/s of content at 100 bytes per record.
//!
//! We differ from Kafka on purpose in two places: bytes after the batch are refused (Kafka drops a partial batch in
//! silence), and so is a LogAppendTime bit set by the client, whatever the topic's own timestamp type.

use super::checksum::crc32c;
use super::codec::{Compression, Scratch};
use super::header::{BatchHeader, Damage, TimestampType};
use super::patch::{MaxTimestamp, ValidatedBatch};
use super::rejection::{Rejection, RejectionKind};
use super::shape::{self, ENDS_EARLY, Malformed, Shape, SliceCursor, TRAILING};
use super::varint;
use super::window::Window;
use bytes::Bytes;

/// How closely batches are checked (`log.batch.validation`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Walk {
    /// Every record is read.
    #[default]
    Strict,
    /// Only the header and the checksum. A compacted topic is walked nevertheless, since its records need keys.
    HeaderOnly,
}

/// What a topic and a request demand of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// `max.message.bytes`: the largest batch, as it comes.
    pub max_message_bytes: usize,
    /// Whether `cleanup.policy` contains `compact`: each record then needs a key.
    pub compacted: bool,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how far a CreateTime may lie in the past; `i64::MAX` for no bound.
    pub before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far a CreateTime may lie in the future.
    pub after_max_ms: i64,
    /// The broker's wall clock, in milliseconds since 1970.
    pub now_ms: i64,
    /// How closely to look.
    pub walk: Walk,
    /// The most that a batch's records may take in bytes once decompressed; see [`Rules::decompressed_limit`].
    pub max_decompressed: usize,
    /// Whether zstd may be used: from Produce version 7 on.
    pub zstd_allowed: bool,
}

impl Default for Rules {
    /// Kafka's defaults, at the clock's origin.
    fn default() -> Rules {
        Rules {
            max_message_bytes: 1_048_588,
            compacted: false,
            timestamp_type: TimestampType::CreateTime,
            before_max_ms: i64::MAX,
            after_max_ms: 3_600_000,
            now_ms: 0,
            walk: Walk::Strict,
            max_decompressed: 256 << 20,
            zstd_allowed: true,
        }
    }
}

impl Rules {
    /// What any batch may decompress to, however small it came: a client's batch of a few MiB of zeros is legitimate.
    const ALWAYS_DECOMPRESSED: usize = 32 << 20;
    /// How many times its size a larger batch may decompress to.
    const MAX_RATIO: usize = 100;

    /// How many bytes the records of a batch may decompress to that takes `compressed` bytes.
    pub fn decompressed_limit(&self, compressed: usize) -> u64 {
        let by_ratio = compressed.saturating_mul(Self::MAX_RATIO).max(Self::ALWAYS_DECOMPRESSED);
        by_ratio.min(self.max_decompressed) as u64
    }

    /// The least and the greatest timestamp that records may have.
    fn timestamp_bounds(&self) -> (i64, i64) {
        match self.timestamp_type {
            TimestampType::CreateTime => {
                (self.now_ms.saturating_sub(self.before_max_ms), self.now_ms.saturating_add(self.after_max_ms))
            }
            // The broker's own clock replaces them.
            TimestampType::LogAppendTime => (i64::MIN, i64::MAX),
        }
    }
}

/// The timestamp of a record that has none.
const NO_TIMESTAMP: i64 = -1;

/// Checks the `records` of one partition in a Produce request.
///
/// `records` may be a slice of the request's frame; it is kept, not copied. `scratch` is only used by compressed
/// batches.
///
/// # Errors
/// A [`Rejection`]: the partition's error code, and which records are to blame.
pub fn validate(records: Bytes, rules: &Rules, scratch: &mut Scratch) -> Result<ValidatedBatch, Rejection> {
    let header = one_batch(&records, rules)?;
    check_frame(&records, &header, rules)?;
    check_header(&header)?;
    let max_timestamp = if rules.walk == Walk::Strict || rules.compacted {
        walk(records.get(BatchHeader::SIZE..).unwrap_or_default(), &header, rules, scratch)?
    } else {
        check_header_timestamp(&header, rules)?;
        MaxTimestamp { timestamp: header.max_timestamp(), offset_delta: None }
    };
    Ok(ValidatedBatch::checked(records, header, max_timestamp))
}

/// The first group of checks: the request's.
fn one_batch(records: &[u8], rules: &Rules) -> Result<BatchHeader, Rejection> {
    if records.is_empty() {
        return Err(Rejection::invalid("a produce request needs a record batch for each partition"));
    }
    let header = BatchHeader::parse(records).map_err(|damage| match damage {
        Damage::Magic(magic) => Rejection::invalid(format!("record batches need magic 2, not {magic}")),
        damage => Rejection::invalid(format!("not a record batch: {damage}")),
    })?;
    if header.compression() == Compression::Zstd && !rules.zstd_allowed {
        let message = "zstd needs version 7 of the produce request";
        return Err(Rejection::new(RejectionKind::UnsupportedCompression, message));
    }
    if header.total_len() > records.len() {
        return Err(Rejection::invalid("the record batch is truncated"));
    }
    if header.total_len() < records.len() {
        return Err(Rejection::invalid("a produce request has exactly one record batch for each partition"));
    }
    Ok(header)
}

/// The second group: what frames the records.
fn check_frame(records: &[u8], header: &BatchHeader, rules: &Rules) -> Result<(), Rejection> {
    if header.base_offset != 0 {
        let message = format!("a produced batch has base offset 0, not {}", header.base_offset);
        return Err(Rejection::invalid(message));
    }
    if records.len() > rules.max_message_bytes {
        return Err(too_large(records.len(), rules.max_message_bytes));
    }
    let computed = crc32c(records.get(BatchHeader::CRC_START..).unwrap_or_default());
    if computed != header.crc {
        let damage = Damage::Checksum { stored: header.crc, computed };
        return Err(Rejection::new(RejectionKind::CorruptMessage, damage.to_string()));
    }
    Ok(())
}

pub(super) fn too_large(size: usize, limit: usize) -> Rejection {
    let message = format!("the record batch has {size} bytes, more than the limit of {limit}");
    Rejection::new(RejectionKind::MessageTooLarge, message)
}

/// The third group: what the header says.
fn check_header(header: &BatchHeader) -> Result<(), Rejection> {
    if header.record_count <= 0 || header.last_offset_delta != header.record_count - 1 {
        let (count, delta) = (header.record_count, header.last_offset_delta);
        let message = format!("the batch has {count} records, and a last offset delta of {delta}");
        return Err(Rejection::invalid(message));
    }
    if header.is_control() {
        return Err(Rejection::invalid("clients may not write control records"));
    }
    if header.producer().is_some_and(|producer| producer.base_sequence.is_none()) {
        let message = format!("producer {} has the invalid sequence {}", header.producer_id, header.base_sequence);
        return Err(Rejection::invalid(message));
    }
    if header.timestamp_type() == TimestampType::LogAppendTime {
        let message = "a producer may not set the timestamp type LogAppendTime";
        return Err(Rejection::new(RejectionKind::InvalidTimestamp, message));
    }
    Ok(())
}

/// The timestamp bounds, as far as the header shows them.
fn check_header_timestamp(header: &BatchHeader, rules: &Rules) -> Result<(), Rejection> {
    let (least, greatest) = rules.timestamp_bounds();
    match header.max_timestamp() {
        Some(timestamp) if timestamp < least || timestamp > greatest => {
            Err(Rejection::new(RejectionKind::InvalidTimestamp, out_of_bounds(timestamp, least, greatest)))
        }
        _ => Ok(()),
    }
}

fn out_of_bounds(timestamp: i64, least: i64, greatest: i64) -> String {
    format!("timestamp {timestamp} is not within [{least}, {greatest}]")
}

/// The fourth group: reads every record.
fn walk(input: &[u8], header: &BatchHeader, rules: &Rules, scratch: &mut Scratch) -> Result<MaxTimestamp, Rejection> {
    let mut checks = RecordChecks::new(header, rules);
    let done = match header.compression() {
        Compression::None => walk_slice(input, header.record_count, &mut checks),
        _ => {
            let done = walk_stream(input, header, rules, scratch, &mut checks);
            scratch.shrink();
            done
        }
    };
    match done {
        Ok(()) => checks.finish(),
        Err(malformed @ Malformed::TooLarge { .. }) => {
            Err(Rejection::new(RejectionKind::MessageTooLarge, malformed.to_string()))
        }
        Err(malformed) => {
            let mut rejection = Rejection::invalid(format!("the batch cannot be read: {malformed}"));
            rejection.record_errors.push((checks.index, malformed.to_string()));
            Err(rejection)
        }
    }
}

/// Walks uncompressed records. Each record's end comes from its length alone, so that a processor can work on several
/// records at once; the check that its fields fill it is no part of that chain.
fn walk_slice(mut rest: &[u8], count: i32, checks: &mut RecordChecks) -> Result<(), Malformed> {
    for _ in 0..count {
        let mut at = 0;
        let length = varint::read_i32(rest, &mut at).ok_or(ENDS_EARLY)?;
        let length = usize::try_from(length).map_err(|_| shape::BAD_RECORD)?;
        let (record, after) = rest.get(at..).unwrap_or_default().split_at_checked(length).ok_or(ENDS_EARLY)?;
        checks.record(shape::shape(&mut SliceCursor::new(record))?)?;
        rest = after;
    }
    if rest.is_empty() { Ok(()) } else { Err(TRAILING) }
}

/// Walks compressed records.
fn walk_stream(
    input: &[u8],
    header: &BatchHeader,
    rules: &Rules,
    scratch: &mut Scratch,
    checks: &mut RecordChecks,
) -> Result<(), Malformed> {
    let mut window = Window::new(header, input, scratch, rules.decompressed_limit(input.len()))?;
    for _ in 0..header.record_count {
        let shape = window.next_shape()?;
        checks.record(shape)?;
    }
    if window.at_end()? { Ok(()) } else { Err(TRAILING) }
}

/// The checks of single records, and what they find on the way.
struct RecordChecks {
    base_timestamp: i64,
    least: i64,
    greatest: i64,
    key_required: bool,
    index: i32,
    max_timestamp: i64,
    max_delta: i32,
    errors: Vec<(i32, String)>,
    /// The kind of the first error decides for the batch.
    kind: RejectionKind,
}

impl RecordChecks {
    fn new(header: &BatchHeader, rules: &Rules) -> RecordChecks {
        let (least, greatest) = rules.timestamp_bounds();
        RecordChecks {
            base_timestamp: header.base_timestamp,
            least,
            greatest,
            key_required: rules.compacted,
            index: 0,
            max_timestamp: NO_TIMESTAMP,
            max_delta: 0,
            errors: Vec::new(),
            kind: RejectionKind::InvalidRecord,
        }
    }

    #[inline(always)]
    fn record(&mut self, shape: Shape) -> Result<(), Malformed> {
        if shape.offset_delta != self.index {
            return Err(Malformed::Structure("the records' offset deltas are not consecutive from 0"));
        }
        // As Kafka's clients compute it.
        let timestamp = self.base_timestamp.wrapping_add(shape.timestamp_delta);
        if self.key_required && !shape.has_key {
            self.refuse(RejectionKind::InvalidRecord, "a compacted topic does not accept records without key".into());
        } else if (timestamp < self.least || timestamp > self.greatest) && timestamp != NO_TIMESTAMP {
            let message = out_of_bounds(timestamp, self.least, self.greatest);
            self.refuse(RejectionKind::InvalidTimestamp, message);
        }
        if timestamp > self.max_timestamp {
            self.max_timestamp = timestamp;
            self.max_delta = shape.offset_delta;
        }
        self.index += 1;
        Ok(())
    }

    #[cold]
    fn refuse(&mut self, kind: RejectionKind, message: String) {
        if self.errors.is_empty() {
            self.kind = kind;
        }
        if self.errors.len() < Rejection::MAX_RECORD_ERRORS {
            self.errors.push((self.index, message));
        }
    }

    fn finish(self) -> Result<MaxTimestamp, Rejection> {
        if self.errors.is_empty() {
            let timestamp = (self.max_timestamp != NO_TIMESTAMP).then_some(self.max_timestamp);
            return Ok(MaxTimestamp { timestamp, offset_delta: Some(self.max_delta as u32) });
        }
        let message = match self.kind {
            RejectionKind::InvalidTimestamp => "records were rejected because of their timestamps",
            _ => "records were rejected",
        };
        Err(Rejection { kind: self.kind, message: message.to_owned(), record_errors: self.errors })
    }
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
