//! What a partition's directory holds, before any of it is believed.

use super::checkpoint::Checkpoint;
use crate::env::{Disk, Open};
use crate::offset::{Offset, PartitionId};
use crate::segment::header::header_matches_name;
use crate::segment::name::{is_replaced, superseded_end};
use crate::segment::{DataHeader, FileName, HEADER_LEN, SegmentName};
use std::io;
use std::path::Path;

/// A data file.
#[derive(Clone, Copy, Debug)]
pub(super) struct DataFile {
    pub(super) name: SegmentName,
    pub(super) len: u64,
    /// `None` if it is damaged, or was never written.
    pub(super) header: Option<DataHeader>,
}

/// What there is.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Data files that count, oldest first; each ends, logically, where the next one begins.
    pub(super) files: Vec<DataFile>,
    /// Files without a right header: made just before the power went, or on a full disk. They say nothing about the
    /// others; if one of them held records, the chain of the others has a hole.
    pub(super) headless: Vec<SegmentName>,
    /// Those that newer ones have cut off whole, that a cleaned one stands for, or that were being dropped.
    pub(super) dead: Vec<SegmentName>,
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) highest_serial: u32,
}

/// Looks at a partition's directory.
pub(super) fn survey(disk: &dyn Disk, path: &Path, id: PartitionId) -> io::Result<Survey> {
    let mut found = Survey::default();
    let (mut files, mut indexes) = (Vec::new(), Vec::new());
    for entry in disk.list(path)? {
        match entry.name.parse() {
            Ok(FileName::Data(name)) => {
                found.highest_serial = found.highest_serial.max(name.serial);
                let header = read_header(disk, &path.join(&entry.name), id, name, entry.len)?;
                files.push(DataFile { name, len: entry.len, header });
            }
            Ok(FileName::Index(name)) => indexes.push(name),
            // Compaction's own; it concerns no record.
            Ok(FileName::Cleaned) => {}
            Ok(FileName::Checkpoint) => found.checkpoint = read_checkpoint(disk, &path.join(&entry.name), id)?,
            // Half of an atomic replacement.
            Err(()) if entry.name.ends_with(".tmp") => disk.remove_file(&path.join(&entry.name))?,
            Err(()) => tracing::warn!(partition = %id, name = entry.name, "not a file of this partition"),
        }
    }
    // Written in the moment in which its segment was dropped.
    indexes.retain(|index| !files.iter().any(|file: &DataFile| file.name == *index));
    for orphan in indexes {
        disk.remove_file(&path.join(FileName::Index(orphan).to_string()))?;
    }
    files.sort_by_key(|file| file.name.serial);
    found.headless = files.iter().filter(|file| file.header.is_none()).map(|file| file.name).collect();
    files.retain(|file| file.header.is_some());
    let names: Vec<_> = files.iter().map(|file| file.name).collect();
    let (replaced, files): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| is_replaced(file.name, &names));
    found.dead = replaced.into_iter().map(|file| file.name).collect();
    let names: Vec<_> = files.iter().map(|file| file.name).collect();
    let dropped = found.checkpoint.as_ref().map_or(Offset::ZERO, |checkpoint| checkpoint.local_start.offset());
    for file in files {
        match superseded_end(file.name, &names) {
            Some(end) if end <= file.name.base || end <= dropped => found.dead.push(file.name),
            _ => found.files.push(file),
        }
    }
    Ok(found)
}

fn read_header(
    disk: &dyn Disk,
    path: &Path,
    id: PartitionId,
    name: SegmentName,
    len: u64,
) -> io::Result<Option<DataHeader>> {
    if len < HEADER_LEN {
        return Ok(None);
    }
    let mut bytes = [0; HEADER_LEN as usize];
    disk.open(path, Open::Read)?.read_exact_at(&mut bytes, 0)?;
    match DataHeader::decode(&bytes) {
        Ok(header) if header_matches_name(&header, id, name) => Ok(Some(header)),
        Ok(_) => Ok(None),
        Err(error @ crate::segment::header::HeaderError::Version(_)) => {
            Err(io::Error::new(io::ErrorKind::InvalidData, error))
        }
        Err(_) => Ok(None),
    }
}

fn read_checkpoint(disk: &dyn Disk, path: &Path, id: PartitionId) -> io::Result<Option<Checkpoint>> {
    match Checkpoint::decode(&disk.read(path)?) {
        Ok(checkpoint) => Ok(Some(checkpoint)),
        Err(error @ super::checkpoint::CheckpointError::Version(_)) => {
            Err(io::Error::new(io::ErrorKind::InvalidData, error))
        }
        Err(error) => {
            tracing::warn!(partition = %id, %error, "going without the checkpoint: everything is scanned");
            Ok(None)
        }
    }
}
