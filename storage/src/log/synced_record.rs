//! The record of what was synced: how recovery tells a torn tail from rot.
//!
//! A power cut may tear what was written and not synced yet, and nothing else; so a bad batch *below* what is known to
//! have been synced is rot. The file `synced` of a log directory holds one **slot** per partition with a **mark**: the data
//! file, position and offset up to which a sync had completed. It is written after the fact, at most every 100 ms, and nobody
//! waits for it: it may be late, which only makes recovery more forgiving, but never early.
//!
//! ```text
//! slot n at 64 * (n + 1), big-endian; the first 64 bytes are the header: "eskersyn", version, zeros, CRC-32
//! 0   16  topic id
//! 16   4  partition
//! 20   4  serial of the data file; all older ones are synced whole
//! 24   8  position in it up to which it is synced
//! 32   8  the offset there: where a log goes on whose records before it cannot be read any more
//! 40  20  zero
//! 60   4  CRC-32 of bytes 0..60
//! ```
//!
//! A slot is overwritten in place; a torn one has a wrong checksum and claims nothing.

use crate::env::{Disk, File, Open};
use crate::offset::{FilePosition, Offset, PartitionId};
use crate::segment::fields::Fields;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

/// The file's name.
pub const FILE_NAME: &str = "synced";

pub(super) const SLOT: usize = 64;
const MAGIC: &[u8; 8] = b"eskersyn";
const VERSION: u16 = 1;

/// How much of a partition's data files is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SyncedMark {
    /// The newest file that is synced at all; all older ones are synced whole.
    pub serial: u32,
    /// Up to where.
    pub position: FilePosition,
    /// One past the last record before that.
    pub offset: Offset,
}

/// A log directory's marks, and its file.
pub struct SyncedRecord {
    file: Arc<dyn File>,
    slots: BTreeMap<PartitionId, (u64, Option<SyncedMark>)>,
    free: Vec<u64>,
    next: u64,
    unwritten: BTreeSet<PartitionId>,
    erased: Vec<u64>,
}

/// Slots to be written, apart from the record so that nobody waits for the disk.
pub struct Writing {
    file: Arc<dyn File>,
    slots: Vec<(u64, [u8; SLOT])>,
}

impl SyncedRecord {
    /// Opens or makes the record of `directory`.
    ///
    /// # Errors
    /// What the disk answers, and `InvalidData` for a version that is not known.
    pub fn open(disk: &dyn Disk, directory: &Path) -> io::Result<SyncedRecord> {
        let path = directory.join(FILE_NAME);
        let exists = disk.exists(&path)?;
        let file = disk.open(&path, if exists { Open::Write } else { Open::Create })?;
        let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, 0)?;
        let mut record = SyncedRecord {
            file,
            slots: BTreeMap::new(),
            free: Vec::new(),
            next: 0,
            unwritten: BTreeSet::new(),
            erased: Vec::new(),
        };
        if record.header_is_ours(&bytes)? {
            for (index, slot) in bytes.chunks_exact(SLOT).skip(1).enumerate() {
                let index = index as u64;
                match decode(slot) {
                    Some((id, mark)) if !record.slots.contains_key(&id) => {
                        record.slots.insert(id, (index, Some(mark)));
                    }
                    _ => record.free.push(index),
                }
                record.next = index + 1;
            }
        } else {
            record.file.write_all_at(&[IoSlice::new(&header())], 0)?;
        }
        Ok(record)
    }

    fn header_is_ours(&self, bytes: &[u8]) -> io::Result<bool> {
        let Some((head, _)) = bytes.split_first_chunk::<SLOT>() else { return Ok(false) };
        let (body, crc) = head.split_at(SLOT - 4);
        if crc32fast::hash(body).to_be_bytes() != crc || !body.starts_with(MAGIC) {
            // It claims nothing; that is safe, and the next marks are written over it.
            return Ok(false);
        }
        if *head == header() {
            return Ok(true);
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "unknown version of the record of what was synced"))
    }

    /// What is known to be synced of a partition.
    pub fn mark(&self, id: PartitionId) -> Option<SyncedMark> {
        self.slots.get(&id).and_then(|(_, mark)| *mark)
    }

    /// Takes note of a completed sync. An older mark than the known one changes nothing.
    pub fn note(&mut self, id: PartitionId, mark: SyncedMark) {
        let next = &mut self.next;
        let free = &mut self.free;
        let slot = self.slots.entry(id).or_insert_with(|| {
            let index = free.pop().unwrap_or_else(|| {
                *next += 1;
                *next - 1
            });
            (index, None)
        });
        if slot.1.is_none_or(|known| known < mark) {
            slot.1 = Some(mark);
            self.unwritten.insert(id);
        }
    }

    /// Forgets a partition that is no longer in this directory.
    pub fn forget(&mut self, id: PartitionId) {
        self.unwritten.remove(&id);
        if let Some((index, _)) = self.slots.remove(&id) {
            self.erased.push(index);
        }
    }

    /// Whether there are marks to be written.
    pub fn is_dirty(&self) -> bool {
        !self.unwritten.is_empty() || !self.erased.is_empty()
    }

    /// Takes back what could not be written, for the next time.
    pub fn put_back(&mut self, writing: Writing) {
        for (index, slot) in writing.slots {
            match self.slots.iter().find(|(_, (at, _))| *at == index).map(|(id, _)| *id) {
                Some(id) => {
                    self.unwritten.insert(id);
                }
                // An erased slot, free by now: nobody may have it before it is erased.
                None if slot == [0; SLOT] => {
                    self.free.retain(|free| *free != index);
                    self.erased.push(index);
                }
                None => {}
            }
        }
    }

    /// Takes what is to be written, to be given to [`Writing::write`] elsewhere.
    pub fn take(&mut self) -> Writing {
        let mut slots = Vec::new();
        for index in self.erased.drain(..) {
            slots.push((index, [0; SLOT]));
            self.free.push(index);
        }
        for id in std::mem::take(&mut self.unwritten) {
            if let Some((index, Some(mark))) = self.slots.get(&id) {
                slots.push((*index, encode(id, *mark)));
            }
        }
        Writing { file: Arc::clone(&self.file), slots }
    }
}

impl Writing {
    /// Writes the slots and syncs them.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn write(&self) -> io::Result<()> {
        for (index, slot) in &self.slots {
            self.file.write_all_at(&[IoSlice::new(slot)], (index + 1) * SLOT as u64)?;
        }
        self.file.sync_data()
    }
}

fn header() -> [u8; SLOT] {
    let mut bytes = [0; SLOT];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..10].copy_from_slice(&VERSION.to_be_bytes());
    sealed(bytes)
}

pub(super) fn encode(id: PartitionId, mark: SyncedMark) -> [u8; SLOT] {
    let mut bytes = [0; SLOT];
    bytes[..16].copy_from_slice(id.topic.as_bytes());
    bytes[16..20].copy_from_slice(&id.partition.to_be_bytes());
    bytes[20..24].copy_from_slice(&mark.serial.to_be_bytes());
    bytes[24..32].copy_from_slice(&mark.position.get().to_be_bytes());
    bytes[32..40].copy_from_slice(&mark.offset.get().to_be_bytes());
    sealed(bytes)
}

fn sealed(mut bytes: [u8; SLOT]) -> [u8; SLOT] {
    let crc = crc32fast::hash(&bytes[..SLOT - 4]);
    bytes[SLOT - 4..].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// The marks in a record's bytes; `None` if its header is damaged or of another version.
pub fn marks(bytes: &[u8]) -> Option<Vec<(PartitionId, SyncedMark)>> {
    let slots = bytes.get(SLOT..).filter(|_| bytes.starts_with(&header()))?;
    Some(slots.chunks_exact(SLOT).filter_map(decode).collect())
}

pub(super) fn decode(slot: &[u8]) -> Option<(PartitionId, SyncedMark)> {
    let (body, crc) = slot.split_last_chunk::<4>()?;
    if crc32fast::hash(body).to_be_bytes() != *crc {
        return None;
    }
    let mut fields = Fields::new(body);
    let topic = uuid::Uuid::from_bytes(fields.array().ok()?);
    let partition = fields.u32().ok()?;
    let serial = fields.u32().ok()?;
    let position = fields.position().ok()?;
    let offset = fields.offset().ok()?;
    // An erased slot is all zeros, whose checksum is zero too.
    (position.get() > 0).then_some((PartitionId { topic, partition }, SyncedMark { serial, position, offset }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::RealDisk;

    fn id(partition: u32) -> PartitionId {
        PartitionId { topic: uuid::Uuid::from_u128(7), partition }
    }

    fn mark(serial: u32, position: u64) -> SyncedMark {
        SyncedMark { serial, position: FilePosition::new(position), offset: Offset::new(position / 2) }
    }

    #[test]
    fn marks_survive_and_only_rise() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = SyncedRecord::open(&RealDisk, dir.path()).unwrap();
        assert_eq!(record.mark(id(1)), None);
        record.note(id(1), mark(1, 100));
        record.note(id(2), mark(3, 70));
        record.note(id(1), mark(1, 90));
        record.take().write().unwrap();
        record.note(id(1), mark(2, 64));
        record.take().write().unwrap();
        assert!(!record.is_dirty());
        let mut record = SyncedRecord::open(&RealDisk, dir.path()).unwrap();
        assert_eq!(record.mark(id(1)), Some(mark(2, 64)));
        assert_eq!(record.mark(id(2)), Some(mark(3, 70)));
        // A forgotten partition's slot is used again.
        record.forget(id(1));
        record.take().write().unwrap();
        record.note(id(3), mark(9, 9));
        record.take().write().unwrap();
        let record = SyncedRecord::open(&RealDisk, dir.path()).unwrap();
        assert_eq!((record.mark(id(1)), record.mark(id(3)), record.next), (None, Some(mark(9, 9)), 2));
    }

    #[test]
    fn a_torn_slot_claims_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = SyncedRecord::open(&RealDisk, dir.path()).unwrap();
        record.note(id(1), mark(1, 100));
        record.note(id(2), mark(1, 200));
        record.take().write().unwrap();
        record.file.write_all_at(&[IoSlice::new(&[0xff])], SLOT as u64 + 30).unwrap();
        let mut record = SyncedRecord::open(&RealDisk, dir.path()).unwrap();
        assert_eq!(record.mark(id(1)), None);
        assert_eq!(record.mark(id(2)), Some(mark(1, 200)));
        record.note(id(1), mark(1, 50));
        record.take().write().unwrap();
        let record = SyncedRecord::open(&RealDisk, dir.path()).unwrap();
        assert_eq!(record.mark(id(1)), Some(mark(1, 50)));
    }
}
