//! The directory of a directory store, which must stay the one that was opened.
//!
//! A store on a network's file system, or on a disk of its own, is *mounted*. When the mount goes away its path is still
//! there: an empty directory of the machine's own disk, in which everything could be created again that the store has
//! already, commits included. What is acknowledged by such a commit is gone when the mount comes back. So the directory
//! is known by its device and inode, which are looked at before and after everything that is done in it: a directory that
//! is gone, or is another, is a store that is away.

use super::StoreError;
use std::path::{Path, PathBuf};

/// A directory, and which one it is.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    path: PathBuf,
    identity: (u64, u64),
}

impl Directory {
    /// The directory that is at `path` now.
    pub(super) fn open(path: PathBuf) -> std::io::Result<Directory> {
        let identity = identity(&path)?;
        Ok(Directory { path, identity })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Looks whether it is still there.
    ///
    /// # Errors
    /// [`StoreError::Indefinite`] if it is not: it may come back.
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        let path = self.path.clone();
        // A file system on a network may take its time to answer.
        let found = tokio::task::spawn_blocking(move || identity(&path)).await;
        let away = |why: String| {
            Err(StoreError::Indefinite { reason: format!("the store's directory {} {why}", self.path.display()) })
        };
        match found {
            Ok(Ok(found)) if found == self.identity => Ok(()),
            Ok(Ok(_)) => away("is not the one that was opened: is its file system mounted?".to_owned()),
            Ok(Err(error)) => away(format!("cannot be looked at: {error}")),
            Err(_) => Err(StoreError::Indefinite { reason: "the store's threads have ended".to_owned() }),
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the door")]
fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let found = std::fs::metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the test moves directories")]
mod tests {
    use super::super::testing::{block_on, env};
    use super::super::{StoreError, open};
    use bytes::Bytes;

    #[test]
    fn nothing_is_read_or_written_in_a_directory_that_took_the_stores_place() {
        let folder = tempfile::tempdir().unwrap();
        let (here, away) = (folder.path().join("store"), folder.path().join("unmounted"));
        let store = open(&format!("file://{}", here.display()), &env(1)).unwrap();
        block_on(async {
            store.put_if_absent("log/1", Bytes::from_static(b"one")).await.unwrap();
            let mut begun = store.upload("large").await.unwrap();
            begun.part(Bytes::from_static(b"part")).await.unwrap();
            std::fs::rename(&here, &away).unwrap();
            for place_taken in [false, true] {
                if place_taken {
                    std::fs::create_dir(&here).unwrap();
                }
                let away = |answer: Result<(), StoreError>| {
                    let told =
                        matches!(&answer, Err(StoreError::Indefinite { reason }) if reason.contains("directory"));
                    assert!(told, "{answer:?}");
                };
                away(store.put_if_absent("log/1", Bytes::from_static(b"two")).await);
                away(store.put("log/2", Bytes::from_static(b"two")).await);
                away(store.upload("other").await.map(drop));
                away(begun.complete().await);
                away(store.get("log/1").await.map(drop));
                away(store.get_range("log/1", 0..1).await.map(drop));
                away(store.list("log/", None, 9).await.map(drop));
                away(store.delete("log/1").await);
            }
            assert_eq!(std::fs::read_dir(&here).unwrap().count(), 0, "nothing was written beside the store");
            std::fs::remove_dir(&here).unwrap();
            std::fs::rename(&away, &here).unwrap();
            assert_eq!(store.get("log/1").await.unwrap(), "one");
            begun.complete().await.unwrap();
            assert_eq!(store.get("large").await.unwrap(), "part");
        });
    }
}
