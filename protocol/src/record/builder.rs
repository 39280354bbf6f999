//! Building a batch from records: for internal topics, control records, our own client and tests.
//!
//! A [`BatchBuilder`] takes records one by one and gives, from [`BatchBuilder::build`], the bytes of a batch, or from
//! [`BatchBuilder::build_trusted`] a [`ValidatedBatch`] that a log accepts without another check. The records of
//! clients never pass through here: they are stored as they come.

use super::checksum::crc32c;
use super::codec::Compression;
use super::compress::compress;
use super::header::{BatchHeader, Producer, TimestampType};
use super::patch::{MaxTimestamp, ValidatedBatch};
use super::varint;
use bytes::Bytes;

/// Why a batch cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A batch has at least one record.
    #[error("a batch needs a record")]
    Empty,
    /// A length does not fit the 31 bits that the format has for it.
    #[error("a batch cannot be that large")]
    TooLarge,
    /// The codec failed.
    #[error("cannot compress: {0}")]
    Codec(#[from] std::io::Error),
}

/// A header of a record to be built: key and value; the value may be null.
pub type RecordHeader<'a> = (&'a [u8], Option<&'a [u8]>);

/// A batch in the making. Offsets and leader epoch are given at the append, not here.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    header: BatchHeader,
    codec: Compression,
    /// Encoded records, not compressed yet.
    records: Vec<u8>,
    /// One record's fields, while its length is not known.
    record: Vec<u8>,
    count: usize,
    max: MaxTimestamp,
    too_large: bool,
}

impl Default for BatchBuilder {
    fn default() -> BatchBuilder {
        BatchBuilder::new(Compression::None)
    }
}

impl BatchBuilder {
    /// An empty batch.
    pub fn new(codec: Compression) -> BatchBuilder {
        let mut header = BatchHeader {
            base_offset: 0,
            batch_length: 0,
            partition_leader_epoch: -1,
            crc: 0,
            attributes: 0,
            last_offset_delta: 0,
            base_timestamp: -1,
            max_timestamp: -1,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            record_count: 0,
        };
        header.set_compression(codec);
        BatchBuilder {
            header,
            codec,
            records: Vec::new(),
            record: Vec::new(),
            count: 0,
            max: MaxTimestamp { timestamp: None, offset_delta: Some(0) },
            too_large: false,
        }
    }

    /// Makes it a batch of an idempotent producer.
    #[must_use]
    pub fn producer(mut self, producer: Producer) -> BatchBuilder {
        self.header.producer_id = producer.id;
        self.header.producer_epoch = producer.epoch;
        self.header.base_sequence = producer.base_sequence.unwrap_or(-1);
        self
    }

    /// Makes it a part of a transaction.
    #[must_use]
    pub fn transactional(mut self) -> BatchBuilder {
        self.header.set_transactional();
        self
    }

    /// Makes it a batch of control records.
    #[must_use]
    pub fn control(mut self) -> BatchBuilder {
        self.header.set_control();
        self
    }

    /// Marks the timestamps as the broker's. Only logs hold such batches; validation refuses them from a client.
    #[must_use]
    pub fn log_append_time(mut self) -> BatchBuilder {
        self.header.set_timestamp_type(TimestampType::LogAppendTime);
        self
    }

    /// Adds a record. `timestamp` is in milliseconds since 1970, -1 for none; a value of `None` is a tombstone.
    pub fn push(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[RecordHeader<'_>],
    ) -> &mut BatchBuilder {
        if self.count == 0 {
            self.header.base_timestamp = timestamp;
        }
        let delta = i32::try_from(self.count).unwrap_or(i32::MAX);
        let record = &mut self.record;
        record.clear();
        record.push(0);
        varint::write_i64(record, timestamp.wrapping_sub(self.header.base_timestamp));
        varint::write_i32(record, delta);
        let mut fits = write_nullable(record, key) & write_nullable(record, value);
        fits &= write_length(record, headers.len());
        for (key, value) in headers {
            fits &= write_nullable(record, Some(key)) & write_nullable(record, *value);
        }
        fits &= write_length(&mut self.records, record.len());
        self.records.extend_from_slice(record);
        self.too_large |= !fits;
        if self.max.timestamp.unwrap_or(-1) < timestamp {
            self.max = MaxTimestamp { timestamp: Some(timestamp), offset_delta: Some(delta.unsigned_abs()) };
        }
        self.count += 1;
        self
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no record yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The batch's size in bytes, if it were not compressed.
    pub fn uncompressed_size(&self) -> usize {
        BatchHeader::SIZE + self.records.len()
    }

    /// The batch as a producer sends it: base offset 0, no leader epoch.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn build(&self) -> Result<Bytes, BuildError> {
        self.build_trusted().map(|batch| batch.bytes().clone())
    }

    /// The batch as a log accepts it.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn build_trusted(&self) -> Result<ValidatedBatch, BuildError> {
        if self.count == 0 {
            return Err(BuildError::Empty);
        }
        let mut header = self.header;
        header.record_count = i32::try_from(self.count).map_err(|_| BuildError::TooLarge)?;
        header.last_offset_delta = header.record_count - 1;
        header.max_timestamp = self.max.timestamp.unwrap_or(-1);
        let mut bytes = vec![0; BatchHeader::SIZE];
        compress(self.codec.into(), &self.records, &mut bytes)?;
        let length = bytes.len() - BatchHeader::PREFIX;
        header.batch_length = i32::try_from(length).ok().filter(|_| !self.too_large).ok_or(BuildError::TooLarge)?;
        header.write_to(&mut bytes);
        header.crc = crc32c(bytes.get(BatchHeader::CRC_START..).unwrap_or_default());
        header.write_to(&mut bytes);
        Ok(ValidatedBatch::checked(bytes.into(), header, self.max))
    }
}

/// Whether the length fits.
fn write_length(out: &mut Vec<u8>, length: usize) -> bool {
    let fitting = i32::try_from(length);
    varint::write_i32(out, fitting.unwrap_or(0));
    fitting.is_ok()
}

/// Whether the length fits.
fn write_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) -> bool {
    let Some(bytes) = bytes else {
        varint::write_i32(out, -1);
        return true;
    };
    let fits = write_length(out, bytes.len());
    out.extend_from_slice(bytes);
    fits
}

#[cfg(test)]
#[path = "builder_tests.rs"]
mod tests;
