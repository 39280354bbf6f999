//! Up to where a partition was cleaned, kept over restarts: what Kafka's `cleaner-offset-checkpoint` is.
//!
//! [`Progress`] is in the file `cleaned` of a partition's directory, replaced atomically after each pass. If it is missing or damaged all of
//! the log counts as dirty, and is cleaned once more.
//!
//! ```text
//! 0   8  magic "eskercln"
//! 8   2  format version, 1                   (integers big-endian)
//! 10  2  flags, 0
//! 12  8  the first dirty offset of the local log; -1 if unknown
//! 20  8  the first dirty offset of the tier; -1 if unknown
//! 28  4  CRC-32 of bytes 0..28
//! ```

use crate::log::{Log, LogError};
use crate::offset::Offset;
use crate::segment::FileName;
use crate::segment::fields::{BadField, Fields};
use std::io;

/// Up to where passes came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The first dirty offset of the local log.
    pub local: Option<Offset>,
    /// The first dirty offset of the tier.
    pub tier: Option<Offset>,
}

const MAGIC: &[u8; 8] = b"eskercln";
const VERSION: u16 = 1;

/// Up to where `log` and its tier were cleaned, as far as is known.
///
/// # Errors
/// [`LogError::Io`]: what the disk answers, except that there is no such file; `InvalidData` for an unknown version.
pub fn read(log: &Log) -> Result<Progress, LogError> {
    match log.dir().disk().read(&log.path().join(FileName::Cleaned.to_string())) {
        Ok(bytes) => decode(&bytes).map_err(LogError::Io),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Progress::default()),
        Err(error) => Err(LogError::Io(error)),
    }
}

/// Notes up to where `log` and its tier were cleaned.
///
/// # Errors
/// [`LogError`].
pub fn write(log: &Log, progress: Progress) -> Result<(), LogError> {
    log.write_beside(FileName::Cleaned, &encode(progress))
}

/// What the bytes of such a file tell; `None` if they are damaged, or of another version.
pub fn told(bytes: &[u8]) -> Option<Progress> {
    let progress = decode(bytes).ok()?;
    (encode(progress) == bytes).then_some(progress)
}

pub(super) fn encode(progress: Progress) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&[0; 2]);
    for offset in [progress.local, progress.tier] {
        bytes.extend_from_slice(&offset.map_or(-1, Offset::to_wire).to_be_bytes());
    }
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> io::Result<Progress> {
    let Some((body, crc)) = bytes.split_last_chunk::<4>() else { return Ok(Progress::default()) };
    if !body.starts_with(MAGIC) || crc32fast::hash(body).to_be_bytes() != *crc {
        return Ok(Progress::default());
    }
    let mut fields = Fields::new(body);
    let mut read = || {
        fields.take(MAGIC.len())?;
        let version = fields.u16()?;
        let _flags = fields.u16()?;
        let mut offset = || fields.i64().map(Offset::from_wire);
        let progress = Progress { local: offset()?, tier: offset()? };
        Ok::<_, BadField>((version, progress))
    };
    match read() {
        Ok((VERSION, progress)) => Ok(progress),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "unknown version of the record of what was cleaned")),
        Err(BadField) => Ok(Progress::default()),
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
        assert_eq!(read(&log).unwrap(), Progress::default());
        for offset in [7, 9000] {
            let progress = Progress { local: Some(Offset::new(offset)), tier: Some(Offset::new(3)) };
            write(&log, progress).unwrap();
            assert_eq!(read(&log).unwrap(), progress);
        }
        disk.close(dir, log);
    }

    proptest! {
        #[test]
        fn damage_counts_as_missing(offset in 0..=i64::MAX as u64, flip: prop::sample::Index, cut in 0usize..32) {
            let progress = Progress { local: None, tier: Some(Offset::new(offset)) };
            let bytes = encode(progress);
            prop_assert_eq!(decode(&bytes).unwrap(), progress);
            let mut flipped = bytes.clone();
            let bit = flip.index(bytes.len() * 8);
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(decode(&flipped).unwrap(), Progress::default());
            prop_assert_eq!(decode(&bytes[..cut]).unwrap(), Progress::default());
        }
    }
}
