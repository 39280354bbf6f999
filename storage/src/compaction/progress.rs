//! Up to where a partition was cleaned, kept over restarts: what Kafka's `cleaner-offset-checkpoint` is.
//!
//! The file `cleaned` of a partition's directory, replaced atomically after each pass. If it is missing or damaged all of
//! the log counts as dirty, and is cleaned once more.
//!
//! ```text
//! 0   8  magic "eskercln"
//! 8   2  format version, 1                   (integers big-endian)
//! 10  2  flags, 0
//! 12  8  the first dirty offset
//! 20  4  CRC-32 of bytes 0..20
//! ```

use crate::log::{Log, LogError};
use crate::offset::Offset;
use crate::segment::FileName;
use crate::segment::fields::{BadField, Fields};
use std::io;

const MAGIC: &[u8; 8] = b"eskercln";
const VERSION: u16 = 1;

/// The first dirty offset of `log`; `None` if that is not known.
///
/// # Errors
/// [`LogError::Io`]: what the disk answers, except that there is no such file; `InvalidData` for an unknown version.
pub fn read(log: &Log) -> Result<Option<Offset>, LogError> {
    match log.dir().disk().read(&log.path().join(FileName::Cleaned.to_string())) {
        Ok(bytes) => decode(&bytes).map_err(LogError::Io),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LogError::Io(error)),
    }
}

/// Notes that everything before `first_dirty` was cleaned.
///
/// # Errors
/// [`LogError`].
pub fn write(log: &Log, first_dirty: Offset) -> Result<(), LogError> {
    log.write_beside(FileName::Cleaned, &encode(first_dirty))
}

pub(super) fn encode(first_dirty: Offset) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(24);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&[0; 2]);
    bytes.extend_from_slice(&first_dirty.get().to_be_bytes());
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> io::Result<Option<Offset>> {
    let Some((body, crc)) = bytes.split_last_chunk::<4>() else { return Ok(None) };
    if !body.starts_with(MAGIC) || crc32fast::hash(body).to_be_bytes() != *crc {
        return Ok(None);
    }
    let mut fields = Fields::new(body);
    let mut read = || {
        fields.take(MAGIC.len())?;
        let version = fields.u16()?;
        let _flags = fields.u16()?;
        Ok::<_, BadField>((version, fields.offset()?))
    };
    match read() {
        Ok((VERSION, first_dirty)) => Ok(Some(first_dirty)),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "unknown version of the record of what was cleaned")),
        Err(BadField) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::LogConfig;
    use crate::log::test_support::{TestDisk, open};
    use proptest::prelude::*;

    #[test]
    fn it_is_read_back_and_missing_at_first() {
        let disk = TestDisk::new();
        let dir = disk.open();
        let log = open(&dir, LogConfig::default());
        assert_eq!(read(&log).unwrap(), None);
        for offset in [7, 9000] {
            write(&log, Offset::new(offset)).unwrap();
            assert_eq!(read(&log).unwrap(), Some(Offset::new(offset)));
        }
        disk.close(dir, log);
    }

    proptest! {
        #[test]
        fn damage_counts_as_missing(offset in 0..=i64::MAX as u64, flip: prop::sample::Index, cut in 0usize..24) {
            let bytes = encode(Offset::new(offset));
            prop_assert_eq!(decode(&bytes).unwrap(), Some(Offset::new(offset)));
            let mut flipped = bytes.clone();
            let bit = flip.index(bytes.len() * 8);
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(decode(&flipped).unwrap(), None);
            prop_assert_eq!(decode(&bytes[..cut]).unwrap(), None);
        }
    }
}
