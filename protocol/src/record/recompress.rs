//! Recompression: a checked batch under another codec, as a topic's `compression.type` asks.
//!
//! The records' bytes stay what the producer wrote, length prefixes, deltas and headers included: they are decompressed
//! as one piece and compressed as one piece, never taken apart. Of the header only codec, length and checksum change, so
//! that offsets are assigned to the result as to any other batch.
//!
//! It takes memory for the decompressed records, which [`Rules::decompressed_limit`] bounds, and the time of the encoder:
//! call it where nobody else waits.

use super::checksum::crc32c;
use super::codec::{Compression, Scratch};
use super::compress::{StoredAs, compress};
use super::header::BatchHeader;
use super::patch::ValidatedBatch;
use super::rejection::{Rejection, RejectionKind};
use super::shape::Malformed;
use super::validate::{Rules, too_large};
use super::window::Window;

impl ValidatedBatch {
    /// Whether a topic that stores its batches so must have this one compressed anew. Another level of the same codec is
    /// no reason, as in Kafka.
    pub fn differs_from(&self, how: StoredAs) -> bool {
        self.header().compression() != how.codec()
    }

    /// The same records, stored as `how` says.
    ///
    /// # Errors
    /// [`RejectionKind::MessageTooLarge`] if that is more than `max.message.bytes`; [`RejectionKind::InvalidRecord`] if the
    /// records cannot be decompressed, which only a batch can come to that was not walked.
    pub fn recompressed(
        self,
        how: StoredAs,
        rules: &Rules,
        scratch: &mut Scratch,
    ) -> Result<ValidatedBatch, Rejection> {
        let compressed = self.bytes().get(BatchHeader::SIZE..).unwrap_or_default();
        let limit = rules.decompressed_limit(compressed.len());
        let built = match self.header().compression() {
            Compression::None => rebuild(self.header(), compressed, how),
            _ => Window::new(self.header(), compressed, scratch, limit)
                .and_then(Window::read_all)
                .and_then(|records| rebuild(self.header(), records, how)),
        };
        scratch.shrink();
        let (bytes, header) = built.map_err(|malformed| match malformed {
            Malformed::TooLarge { .. } => Rejection::new(RejectionKind::MessageTooLarge, malformed.to_string()),
            malformed => Rejection::invalid(format!("the batch cannot be compressed anew: {malformed}")),
        })?;
        if bytes.len() > rules.max_message_bytes {
            return Err(too_large(bytes.len(), rules.max_message_bytes));
        }
        Ok(self.with_records_of(bytes.into(), header))
    }
}

/// The batch of `header` with these records, which are not compressed yet.
fn rebuild(header: &BatchHeader, records: &[u8], how: StoredAs) -> Result<(Vec<u8>, BatchHeader), Malformed> {
    let mut bytes = vec![0; BatchHeader::SIZE];
    compress(how, records, &mut bytes).map_err(|error| Malformed::Codec(error.to_string()))?;
    let mut header = *header;
    header.set_compression(how.codec());
    let length = i32::try_from(bytes.len() - BatchHeader::PREFIX);
    header.batch_length = length.map_err(|_| Malformed::TooLarge { limit: i32::MAX as u64 })?;
    header.write_to(&mut bytes);
    header.crc = crc32c(bytes.get(BatchHeader::CRC_START..).unwrap_or_default());
    header.write_to(&mut bytes);
    Ok((bytes, header))
}

#[cfg(test)]
#[path = "recompress_tests.rs"]
mod tests;
