//! The snapshots of a numbered log: listed, read, and swept together with the commits that they replace.

use super::content::{self, Kind, Record, Writers};
use super::{LogError, LogName};
use crate::env::Timestamp;
use crate::env::store::Store;

/// Keys per listing.
const PAGE: usize = 1000;

/// What [`sweep`](super::NumberedLog::sweep) deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Commits deleted.
    pub commits: usize,
    /// Snapshots deleted.
    pub snapshots: usize,
}

/// The numbers of the snapshots at or past `from`, ascending, and when each was written.
pub(super) async fn list_snapshots(
    store: &dyn Store,
    name: &LogName,
    from: u64,
) -> Result<Vec<(u64, Timestamp)>, LogError> {
    let prefix = name.snapshots();
    let mut after = from.checked_sub(1).map(|before| name.snapshot(before));
    let mut snapshots = Vec::new();
    loop {
        let page = store.list(&prefix, after.as_deref(), PAGE).await?;
        for entry in &page {
            if let Some(number) = name.parse_snapshot(&entry.key) {
                snapshots.push((number, entry.modified));
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.key.clone()),
            _ => return Ok(snapshots),
        }
    }
}

/// The snapshot of a number: the writers that it remembers, and its lines.
pub(super) async fn read_snapshot<S: Record>(
    store: &dyn Store,
    name: &LogName,
    number: u64,
) -> Result<(Writers, Vec<S>), LogError> {
    let key = name.snapshot(number);
    let bytes = store.get(&key).await?;
    let (header, lines) = content::decode(name, Kind::Snapshot, number, &key, &bytes)?;
    Ok((header.writers.unwrap_or_default(), lines))
}

/// Deletes, oldest first, the commits at or below the newest snapshot that was written by `horizon`, and the snapshots
/// below it.
pub(super) async fn sweep(store: &dyn Store, name: &LogName, horizon: Timestamp) -> Result<Swept, LogError> {
    let snapshots = list_snapshots(store, name, 0).await?;
    let old = snapshots.iter().filter(|(_, modified)| *modified <= horizon).map(|(number, _)| *number);
    let Some(floor) = old.max() else { return Ok(Swept::default()) };
    let mut swept = Swept::default();
    let mut after: Option<String> = None;
    'pages: loop {
        let page = store.list(&name.commits(), after.as_deref(), PAGE).await?;
        for entry in &page {
            match name.parse_commit(&entry.key) {
                Some(number) if number <= floor => {
                    store.delete(&entry.key).await?;
                    swept.commits += 1;
                }
                Some(_) => break 'pages,
                None => tracing::debug!(key = %entry.key, "not a commit's name"),
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.key.clone()),
            _ => break,
        }
    }
    for (number, _) in snapshots {
        if number < floor {
            store.delete(&name.snapshot(number)).await?;
            swept.snapshots += 1;
        }
    }
    Ok(swept)
}
