//! What a scrub keeps over restarts: how far it came, and what it found damaged.
//!
//! The file `scrubbed` of a partition's directory, replaced atomically whenever rot was found, and now and then while a
//! scrub is under way. Without it the partition counts as never scrubbed: it is looked at again, and what is rotten is
//! found once more.
//!
//! ```text
//! 0   8  magic "eskerscr"
//! 8   2  format version, 1                   (integers big-endian)
//! 10  2  flags, 0
//! 12  8  when the last whole scrub began, milliseconds since 1970; -1 if there was none
//! 20  8  when the one under way began; -1 if none is
//! 28  8  the first offset that it has not looked at
//! 36  4  damaged ranges
//! 40     of each, 40 bytes: 8 base offset, 4 serial, 4 generation of its segment
//!                           8 first offset, 8 position, 8 one past the last offset; its topmost bit is
//!                           set where a scrub found it, and not where a recovery passed over it
//!      4  CRC-32 of everything before
//! ```

use super::damage::DamagedRange;
use crate::env::{Disk, Timestamp};
use crate::offset::Offset;
use crate::segment::fields::{BadField, Fields};
use crate::segment::{Boundary, SegmentName};
use std::io;
use std::path::Path;

const MAGIC: &[u8; 8] = b"eskerscr";
const VERSION: u16 = 1;
const RANGE_LEN: usize = 40;
/// Offsets have 63 bits.
const FOUND_BY_SCRUB: u64 = 1 << 63;

/// How far the scrubs of a log came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubProgress {
    /// When the last one began that came to the end.
    pub whole: Option<Timestamp>,
    /// The one under way: when it began, and the first offset that it has not looked at.
    pub under_way: Option<(Timestamp, Offset)>,
}

/// What the file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ScrubRecord {
    pub(super) progress: ScrubProgress,
    pub(super) damage: Vec<DamagedRange>,
}

/// What the file at `path` tells; nothing if it is damaged.
///
/// # Errors
/// What the disk answers; `InvalidData` for an unknown version.
pub(super) fn read(disk: &dyn Disk, path: &Path) -> io::Result<ScrubRecord> {
    decode(&disk.read(path)?)
}

/// What the bytes of such a file tell; `None` if they are damaged, or of another version.
pub fn told(bytes: &[u8]) -> Option<(ScrubProgress, Vec<DamagedRange>)> {
    let record = decode(bytes).ok()?;
    (encode(&record) == bytes).then_some((record.progress, record.damage))
}

pub(super) fn encode(record: &ScrubRecord) -> Vec<u8> {
    let ScrubRecord { progress: ScrubProgress { whole, under_way }, damage } = record;
    let mut bytes = Vec::with_capacity(44 + damage.len() * RANGE_LEN);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&[0; 2]);
    let millis = |at: Option<Timestamp>| at.map_or(-1, Timestamp::millis).to_be_bytes();
    bytes.extend_from_slice(&millis(*whole));
    bytes.extend_from_slice(&millis(under_way.map(|(began, _)| began)));
    bytes.extend_from_slice(&under_way.map_or(0, |(_, next)| next.get()).to_be_bytes());
    bytes.extend_from_slice(&(damage.len() as u32).to_be_bytes());
    for DamagedRange { segment, from, to, passed_over } in damage {
        bytes.extend_from_slice(&segment.base.get().to_be_bytes());
        bytes.extend_from_slice(&segment.serial.to_be_bytes());
        bytes.extend_from_slice(&segment.generation.to_be_bytes());
        let to = if *passed_over { to.get() } else { to.get() | FOUND_BY_SCRUB };
        for number in [from.offset.get(), from.position.get(), to] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
    }
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> io::Result<ScrubRecord> {
    let Some((body, crc)) = bytes.split_last_chunk::<4>() else { return Ok(ScrubRecord::default()) };
    if !body.starts_with(MAGIC) || crc32fast::hash(body).to_be_bytes() != *crc {
        return Ok(ScrubRecord::default());
    }
    match fields(body) {
        Ok((VERSION, record)) => Ok(record),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "unknown version of the record of scrubs")),
        Err(BadField) => Ok(ScrubRecord::default()),
    }
}

fn fields(body: &[u8]) -> Result<(u16, ScrubRecord), BadField> {
    let mut fields = Fields::new(body);
    fields.take(MAGIC.len())?;
    let version = fields.u16()?;
    if version != VERSION {
        return Ok((version, ScrubRecord::default()));
    }
    let _flags = fields.u16()?;
    let time = |millis: i64| (millis >= 0).then(|| Timestamp::from_millis(millis));
    let (whole, began) = (time(fields.i64()?), time(fields.i64()?));
    let next = fields.offset()?;
    let count = fields.count(RANGE_LEN)?;
    let mut damage = Vec::with_capacity(count);
    for _ in 0..count {
        let segment = SegmentName { base: fields.offset()?, serial: fields.u32()?, generation: fields.u32()? };
        let from = Boundary { offset: fields.offset()?, position: fields.position()? };
        let to = fields.u64()?;
        let (to, passed_over) = (Offset::new(to & !FOUND_BY_SCRUB), to & FOUND_BY_SCRUB == 0);
        if from.offset < to {
            damage.push(DamagedRange { segment, from, to, passed_over });
        }
    }
    let progress = ScrubProgress { whole, under_way: began.map(|began| (began, next)) };
    Ok((version, ScrubRecord { progress, damage }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offset::FilePosition;
    use proptest::prelude::*;

    fn any_record() -> impl Strategy<Value = ScrubRecord> {
        let offset = 0..=i64::MAX as u64 - 10;
        let range = (offset.clone(), any::<u32>(), any::<u32>(), 0..=i64::MAX as u64, 1u64..10, any::<bool>())
            .prop_map(|(base, serial, generation, position, len, passed_over)| DamagedRange {
                passed_over,
                segment: SegmentName { base: Offset::new(base), serial, generation },
                from: Boundary { offset: Offset::new(base), position: FilePosition::new(position) },
                to: Offset::new(base + len),
            });
        let time = || proptest::option::of((0..=i64::MAX).prop_map(Timestamp::from_millis));
        (time(), time(), offset, prop::collection::vec(range, 0..4)).prop_map(|(whole, began, next, damage)| {
            let under_way = began.map(|began| (began, Offset::new(next)));
            ScrubRecord { progress: ScrubProgress { whole, under_way }, damage }
        })
    }

    proptest! {
        #[test]
        fn records_decode_back_and_damaged_ones_count_as_none(
            record in any_record(), flip: prop::sample::Index, cut: prop::sample::Index,
        ) {
            let bytes = encode(&record);
            prop_assert_eq!(decode(&bytes).unwrap(), record);
            let mut flipped = bytes.clone();
            let bit = flip.index(bytes.len() * 8);
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(decode(&flipped).unwrap(), ScrubRecord::default());
            prop_assert_eq!(decode(&bytes[..cut.index(bytes.len())]).unwrap(), ScrubRecord::default());
        }
    }
}
