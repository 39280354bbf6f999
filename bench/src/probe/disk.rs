//! How fast a directory's disk syncs: 4 KiB appends to a new file, each followed by fdatasync.

use crate::results::SyncProbe;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// The most appends.
const MOST: usize = 1_000;
/// How long it goes on at most; a slow disk has fewer appends.
const LIMIT: Duration = Duration::from_secs(1);

/// Probes the disk that `directory`, which must exist, lies on.
///
/// # Errors
/// What the file system answers.
pub fn probe(directory: &Path) -> std::io::Result<SyncProbe> {
    // Without a name: whatever happens, nothing stays.
    let file = tempfile::tempfile_in(directory)?;
    let mut took = appends(file)?;
    took.sort_unstable();
    let at = |part: usize| took.get((took.len() * part).div_ceil(100).saturating_sub(1));
    let micros = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_nanos() as f64 / 1e3);
    let file_system = file_system(directory)?;
    Ok(SyncProbe { file_system, count: took.len() as u64, p50_us: micros(at(50)), p99_us: micros(at(99)) })
}

fn appends(mut file: File) -> std::io::Result<Vec<Duration>> {
    let page = [0xe5; 4096];
    let started = Instant::now();
    let mut took = Vec::with_capacity(MOST);
    while took.len() < MOST && (took.is_empty() || started.elapsed() < LIMIT) {
        let before = Instant::now();
        file.write_all(&page)?;
        file.sync_data()?;
        took.push(before.elapsed());
    }
    Ok(took)
}

/// The kind of file system, by the longest mount point above it.
fn file_system(directory: &Path) -> std::io::Result<String> {
    let directory = directory.canonicalize()?;
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let found = mounts.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (place, kind) = (fields.next()?, fields.next()?);
        directory.starts_with(place).then_some((place.len(), kind))
    });
    Ok(found.max_by_key(|(length, _)| *length).map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_probed_and_nothing_stays() {
        let folder = tempfile::tempdir().unwrap();
        let probe = probe(folder.path()).unwrap();
        assert!(probe.count > 0 && probe.p50_us > 0.0 && probe.p99_us >= probe.p50_us, "{probe:?}");
        assert_ne!(probe.file_system, "unknown");
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
        assert!(super::probe(&folder.path().join("nowhere")).is_err());
    }
}
