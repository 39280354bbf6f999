//! What a partition's directory holds, before any of it is believed.

use super::checkpoint::Checkpoint;
use super::scrub_record::{self, ScrubRecord};
use crate::env::{Disk, Open, Timestamp};
use crate::offset::{FilePosition, Offset, PartitionId};
use crate::segment::header::header_matches_name;
use crate::segment::name::{is_replaced, superseded_end};
use crate::segment::{DataHeader, FileName, HEADER_LEN, SegmentName, parse_mark};
use esker_protocol::record::{BatchHeader, check_stored};
use std::io::{self, IoSlice};
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
    pub(super) scrubbed: ScrubRecord,
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
                let data = path.join(&entry.name);
                let header = match read_header(disk, &data, id, name, entry.len)? {
                    None => rebuild_header(disk, &data, id, name, entry.len)?,
                    header => header,
                };
                files.push(DataFile { name, len: entry.len, header });
            }
            Ok(FileName::Index(name)) => indexes.push(name),
            // Compaction's own, and what is kept of rotten segments; neither concerns any record.
            Ok(FileName::Cleaned | FileName::Rotten(_)) => {}
            Ok(FileName::Scrubbed) => found.scrubbed = scrub_record::read(disk, &path.join(&entry.name))?,
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

/// The header of a file that has a good first batch where its name says, and so had one: what it said is in the name.
fn rebuild_header(
    disk: &dyn Disk,
    path: &Path,
    id: PartitionId,
    name: SegmentName,
    len: u64,
) -> io::Result<Option<DataHeader>> {
    if name.is_cleaned() || len < HEADER_LEN + BatchHeader::SIZE as u64 {
        return Ok(None);
    }
    let file = disk.open(path, Open::Write)?;
    let mut head = [0; BatchHeader::SIZE];
    file.read_exact_at(&mut head, HEADER_LEN)?;
    let Ok((mark, _)) = parse_mark(&head, FilePosition::new(HEADER_LEN)) else { return Ok(None) };
    if mark.base != name.base || mark.end().get() > len {
        return Ok(None);
    }
    let mut batch = vec![0; mark.len as usize];
    file.read_exact_at(&mut batch, HEADER_LEN)?;
    if check_stored(&batch).is_err() {
        return Ok(None);
    }
    tracing::warn!(partition = %id, segment = %name, "the header of a data file is damaged; it is written again");
    let header = DataHeader { partition: id, name, created: Timestamp::from_millis(0), stands_to: None };
    file.write_all_at(&[IoSlice::new(&header.encode())], 0)?;
    file.sync_data()?;
    Ok(Some(header))
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
