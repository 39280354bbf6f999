//! Snapshots that are damaged, and what is left to do about them.
//!
//! A snapshot says nothing that the commits up to it do not say, and these stay for a while after it was written, as does the
//! snapshot before. So a damaged one can go, and whoever opens the log then begins earlier; but only once that was done
//! and led as far as the damaged one did, for it may be all that is left of commits that are gone.

use super::content::Record;
use super::snapshot::{list_snapshots, read_snapshot};
use super::{LogError, LogName};
use crate::env::store::Store;

/// How far a log can be read from one of its snapshots on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The snapshot itself is damaged, or something that it names.
    Nowhere,
    /// Up to and with this commit, after which there is none or a damaged one.
    To(u64),
}

/// Deletes the damaged snapshots of a log that it can do without; their keys. `S` is what their lines hold, and `reach` reads
/// the log from the snapshot after a commit on, or from before the first commit.
///
/// Another snapshot is newer than one that is deleted, or the log was read from an earlier one to beyond it. So this
/// may be done while the log is written: no writer needs what is deleted to settle a commit.
///
/// # Errors
/// What the store says, and what `reach` says.
pub async fn delete_damaged_snapshots<S: Record, E: From<LogError>>(
    store: &dyn Store,
    name: &LogName,
    reach: impl AsyncFn(Option<u64>) -> Result<Reach, E>,
) -> Result<Vec<String>, E> {
    let mut numbers: Vec<u64> = list_snapshots(store, name, 0).await?.into_iter().map(|(number, _)| number).collect();
    numbers.sort_unstable();
    let mut older = numbers.into_iter().rev();
    let mut damaged = Vec::new();
    // The newest that is whole decides: the log has to be read from there, or from before its first commit.
    loop {
        let from = older.next();
        match (reach(from).await?, from) {
            (Reach::Nowhere, Some(number)) => damaged.push(number),
            (Reach::To(end), _) if damaged.first().is_none_or(|newest| end >= *newest) => break,
            _ => return Ok(Vec::new()),
        }
    }
    for number in older {
        match read_snapshot::<S>(store, name, number).await {
            Err(LogError::Corrupt { .. }) => damaged.push(number),
            read => drop(read?),
        }
    }
    let mut deleted = Vec::new();
    for number in damaged {
        let key = name.snapshot(number);
        store.delete(&key).await.map_err(LogError::from)?;
        deleted.push(key);
    }
    Ok(deleted)
}

#[cfg(test)]
#[path = "mend_tests.rs"]
mod tests;
