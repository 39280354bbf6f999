//! `esker inspect`: any file or object of Esker's, explained to a person, its checksums verified.
//!
//! What it is, is told by its first bytes; its name only says which key an object has. Nothing is changed.

use bytes::Bytes;
use esker_protocol::record::{BatchHeader, batches, check_stored};
use esker_storage::compaction::{Progress, told_progress};
use esker_storage::env::store::{MemoryStore, Store};
use esker_storage::env::{Disk, Env, Open};
use esker_storage::log::checkpoint::Checkpoint;
use esker_storage::log::{DamagedRange, identity, scrub_record, synced_record};
use esker_storage::numbered_log::lines::unseal;
use esker_storage::offset::FilePosition;
use esker_storage::segment::scan::{Stop, scan};
use esker_storage::segment::{Boundary, DataHeader, FileName, HEADER_LEN, Spacing, index_file};
use esker_storage::tier::{UnitMeta, check_unit, read_footer};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// What begins the line that explains damage.
const WRONG: &str = "WRONG";

/// An explanation, and whether everything in it was as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explained {
    /// What it is, a line each.
    pub lines: Vec<String>,
    /// Whether no checksum or bound is wrong.
    pub whole: bool,
}

impl Explained {
    fn new(what: impl Into<String>) -> Explained {
        Explained { lines: vec![what.into()], whole: true }
    }

    fn line(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    fn wrong(&mut self, line: impl std::fmt::Display) {
        self.lines.push(format!("{WRONG}: {line}"));
        self.whole = false;
    }
}

/// Explains a file on a disk: of a log directory, or of a store that is a directory.
///
/// # Errors
/// What the disk answers.
pub async fn inspect_file(env: &Env, path: &Path) -> anyhow::Result<Explained> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if let Ok(FileName::Data(segment)) = name.parse::<FileName>() {
        return explain_segment(&*env.disk, path, segment.base, segment.is_cleaned());
    }
    let bytes = Bytes::from(env.disk.read(path)?);
    Ok(explain(env, &key_of(path), bytes).await)
}

/// Explains an object of a store.
///
/// # Errors
/// What the store answers.
pub async fn inspect_object(env: &Env, store: &dyn Store, key: &str) -> anyhow::Result<Explained> {
    let bytes = store.get(key).await?;
    Ok(explain(env, key, bytes).await)
}

/// The key that a file of a directory store has, as far as its path tells.
fn key_of(path: &Path) -> String {
    let parts: Vec<String> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let roots = ["data", "tier", "cluster"];
    let root = parts.iter().rposition(|part| roots.contains(&part.as_str())).unwrap_or(parts.len().saturating_sub(1));
    parts.get(root..).unwrap_or_default().join("/")
}

/// Explains bytes that have `key` as their name.
pub async fn explain(env: &Env, key: &str, bytes: Bytes) -> Explained {
    let begins = |magic: &[u8]| bytes.starts_with(magic);
    if begins(b"eskerobj") {
        explain_object(env, key, bytes).await
    } else if begins(b"eskeridx") {
        explain_index(&bytes)
    } else if begins(b"eskerckp") {
        explain_checkpoint(&bytes)
    } else if begins(b"eskersyn") {
        explain_synced(&bytes)
    } else if begins(b"eskercln") {
        explain_cleaned(&bytes)
    } else if begins(b"eskerscr") {
        explain_scrubbed(&bytes)
    } else if begins(b"{\"esker\":\"store\"") {
        explain_json("the mark of a store", &bytes)
    } else if begins(b"{\"esker\":") {
        explain_sealed(&bytes)
    } else if key.ends_with(identity::FILE_NAME) {
        explain_json("the identity of a log directory", &bytes)
    } else {
        let mut explained = Explained::new(format!("{} bytes", bytes.len()));
        explained.wrong("not a file or object of Esker's, or its head is damaged");
        explained
    }
}

fn explain_segment(
    disk: &dyn Disk,
    path: &Path,
    base: esker_storage::offset::Offset,
    cleaned: bool,
) -> anyhow::Result<Explained> {
    let file = disk.open(path, Open::Read)?;
    let mut head = [0; HEADER_LEN as usize];
    let mut explained = Explained::new(format!("a segment's data file, {} bytes", file.len()?));
    if file.len()? < HEADER_LEN {
        explained.wrong("its header is cut off");
        return Ok(explained);
    }
    file.read_exact_at(&mut head, 0)?;
    match DataHeader::decode(&head) {
        Ok(header) => {
            let (partition, name) = (header.partition, header.name);
            explained.line(format!("partition {partition}, segment {name}, made at {}", header.created.millis()));
        }
        Err(error) => explained.wrong(error),
    }
    let from = Boundary { offset: base, position: FilePosition::new(HEADER_LEN) };
    let spacing = if cleaned { Spacing::Ascending } else { Spacing::Chained };
    let (mut count, mut records, mut epochs) = (0u64, 0u64, Vec::new());
    let end = scan(&*file, from, spacing, None, (None, None), |mark, header, _| {
        count += 1;
        records += u64::try_from(header.record_count).unwrap_or_default();
        if epochs.last().is_none_or(|(epoch, _)| *epoch != mark.epoch) {
            epochs.push((mark.epoch, header.base_offset));
        }
    })?;
    explained.line(format!("{count} batches, {records} records, offsets {base} to {}", end.end.offset));
    for (epoch, start) in epochs {
        explained.line(format!("leader epoch {epoch} from offset {start}"));
    }
    match end.stop {
        Stop::EndOfFile | Stop::Limit => explained.line("every checksum is right, up to the end of the file"),
        Stop::Zeros => explained.line("every checksum is right; the rest of the file is space to be written"),
        Stop::Broken(why) => explained.wrong(format!(
            "at position {}, where offset {} should be: {why} (a torn tail of a crash, or rot)",
            end.end.position.get(),
            end.end.offset
        )),
    }
    Ok(explained)
}

fn explain_index(bytes: &[u8]) -> Explained {
    let mut explained = Explained::new(format!("the index of a sealed segment, {} bytes", bytes.len()));
    match index_file::decode(bytes) {
        Ok(contents) => {
            let summary = contents.summary;
            explained.line(format!("segment {}, up to offset {}", summary.name, summary.end));
            explained.line(format!("its data ends at position {}", summary.data_end.get()));
            explained.line(format!("{} aborted transactions", contents.aborted.len()));
            explained.line(format!("producers: {} bytes; every checksum is right", contents.attachment.len()));
        }
        Err(error) => explained.wrong(error),
    }
    explained
}

fn explain_cleaned(bytes: &[u8]) -> Explained {
    let mut explained = Explained::new("up to where a partition was compacted".to_owned());
    match told_progress(bytes) {
        Some(Progress { local, tier }) => {
            for (place, offset) in [("the local log", local), ("the tier", tier)] {
                explained.line(match offset {
                    Some(offset) => format!("{place}: up to offset {offset}"),
                    None => format!("{place}: nothing is known"),
                });
            }
        }
        None => explained.wrong("damaged, or of another version: all of the log is compacted once more"),
    }
    explained
}

fn explain_scrubbed(bytes: &[u8]) -> Explained {
    let mut explained = Explained::new("what scrubs of a partition came to".to_owned());
    match scrub_record::told(bytes) {
        Some((progress, damage)) => {
            if let Some(whole) = progress.whole {
                explained.line(format!("the last whole scrub began at {} ms", whole.millis()));
            }
            if let Some((began, next)) = progress.under_way {
                explained.line(format!("one that began at {} ms goes on at offset {next}", began.millis()));
            }
            for DamagedRange { segment, from, to, .. } in damage {
                let (offset, position) = (from.offset, from.position.get());
                explained
                    .line(format!("damaged: offsets {offset} to {to}, in segment {segment} at position {position}"));
            }
        }
        None => explained.wrong("damaged, or of another version: the partition is scrubbed once more"),
    }
    explained
}

fn explain_checkpoint(bytes: &[u8]) -> Explained {
    let mut explained = Explained::new(format!("the checkpoint of a partition, {} bytes", bytes.len()));
    match Checkpoint::decode(bytes) {
        Ok(checkpoint) => {
            let Checkpoint { log_start, local_start, point, epochs, .. } = checkpoint;
            explained.line(format!("the log starts at {log_start}, on this disk at {local_start}"));
            let (offset, position) = (point.at.offset, point.at.position.get());
            explained.line(format!("recovery begins in file {} at position {position}, offset {offset}", point.serial));
            for start in epochs.entries() {
                explained.line(format!("leader epoch {} from offset {}", start.epoch, start.start));
            }
            explained.line("its checksum is right");
        }
        Err(error) => explained.wrong(error),
    }
    explained
}

fn explain_synced(bytes: &[u8]) -> Explained {
    let mut explained = Explained::new(format!("what is known to be synced in a log directory, {} bytes", bytes.len()));
    match synced_record::marks(bytes) {
        Some(marks) => {
            for (partition, mark) in marks {
                let (serial, position) = (mark.serial, mark.position.get());
                explained.line(format!("partition {partition}: file {serial} up to position {position}"));
            }
            explained.line("slots whose checksum is wrong claim nothing, and are not listed");
        }
        None => explained.wrong("its header is damaged, or of another version"),
    }
    explained
}

fn explain_json(what: &str, bytes: &[u8]) -> Explained {
    let mut explained = Explained::new(what);
    match serde_json::from_slice::<Value>(bytes) {
        Ok(value) => explained.line(value.to_string()),
        Err(error) => explained.wrong(error),
    }
    explained
}

/// Commits, snapshots, pages and shards: sealed lines, of shards several behind each other.
fn explain_sealed(bytes: &[u8]) -> Explained {
    let mut explained = Explained::new("sealed lines");
    let starts = |at: &usize| bytes.get(*at..).is_some_and(|rest| rest.starts_with(b"{\"esker\":"));
    let after_lines = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    let mut bounds: Vec<usize> = std::iter::once(0).chain(after_lines.filter(starts)).collect();
    bounds.push(bytes.len());
    for (start, end) in bounds.iter().zip(bounds.iter().skip(1)) {
        match unseal::<Value, Value>(bytes.get(*start..*end).unwrap_or_default()) {
            Ok((header, records)) => {
                explained.line(format!("{header}: {} lines, the checksum is right", records.len()));
                for record in records {
                    explained.line(format!("  {record}"));
                }
            }
            Err(error) => explained.wrong(format!("at position {start}: {error}")),
        }
    }
    explained
}

async fn explain_object(env: &Env, key: &str, bytes: Bytes) -> Explained {
    let mut explained = Explained::new(format!("an object of the tier, {} bytes", bytes.len()));
    let memory = MemoryStore::new(Arc::clone(&env.clock));
    let size = bytes.len() as u64;
    let units = match memory.put(key, bytes.clone()).await {
        Ok(()) => read_footer(&memory, key, size).await,
        Err(error) => Err(error.into()),
    };
    match units {
        Ok(units) => {
            explained.line(format!("{} units; head and footer are as they were written", units.len()));
            for unit in units {
                explain_unit(&memory, &unit, &bytes, &mut explained).await;
            }
        }
        Err(error) => explained.wrong(error),
    }
    explained
}

async fn explain_unit(store: &MemoryStore, unit: &UnitMeta, bytes: &Bytes, explained: &mut Explained) {
    let origin = match unit.revision {
        None => "uploaded".to_owned(),
        Some(revision) => format!("rewritten, of revision {revision}"),
    };
    let (partition, start, end) = (unit.partition, unit.start, unit.end);
    explained.line(format!(
        "partition {partition}: offsets {start} to {end}, {origin} in leader epoch {}",
        unit.leader_epoch
    ));
    for (name, section) in unit.sections() {
        explained.line(format!("  {name}: {} bytes at {}", section.len(), section.position()));
    }
    let data = unit.data.range();
    let range = usize::try_from(data.start).ok().zip(usize::try_from(data.end).ok());
    let of_unit = range.and_then(|(start, end)| bytes.get(start..end)).unwrap_or_default();
    let headers = batches(of_unit).map(|batch| (batch.header, check_stored(batch.bytes).is_ok()));
    let all: Vec<(BatchHeader, bool)> = headers.collect();
    let records: i64 = all.iter().map(|(header, _)| i64::from(header.record_count)).sum();
    explained.line(format!("  {} batches, {records} records", all.len()));
    match check_unit(store, unit).await {
        Ok(()) => explained.line("  every checksum is right"),
        Err(error) => explained.wrong(error),
    }
}
