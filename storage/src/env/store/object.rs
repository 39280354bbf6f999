//! Stores behind the `object_store` crate: S3, Google Cloud Storage, Azure, and a directory.
//!
//! ```text
//! caller, any executor -> ObjectBacked -> StoreRuntime -> commits: no retry, 10 s in all      -> service
//!                                                      -> writes: bounded retries, time by size -> service
//!                                                      -> bulk: bounded retries, read timeout -> service
//!                        StoreRuntime for history      -> ranges: as bulk                      -> service
//! ```
//!
//! There are several handles to the same bucket. Ranges of objects, which is how history is read, have connections and
//! threads of their own, so that a replay gets in nobody's way. And commits have one because the crate's retries are a trap for conditional creates: a
//! create whose answer was lost is sent again and then reports `AlreadyExists` for its own success. So commits are
//! sent once and settled by their caller, while everything else may be repeated without harm.
//!
//! An answer that trickles is given up (see [`Progress`]).
//!
//! A directory store stays with the directory that it was opened at (see [`Directory`]). It syncs files, and the directories of what it creates or deletes. Temporary files of unfinished
//! writes (`name#1`) do not appear in listings.

use super::directory::Directory;
use super::progress::{Progress, collect};
use super::runtime::StoreRuntime;
use super::{ObjectEntry, Store, StoreError, Upload};
use crate::env::Timestamp;
use crate::env::real_priority::step_aside;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions,
    PutPayload,
};
use std::collections::VecDeque;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long a conditional create may take in all before its outcome counts as unknown.
pub(super) const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);
/// Parts of one upload that are on their way at once.
const PARTS_IN_FLIGHT: usize = 4;

/// How long a write may take that brings no bytes, repetitions included.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes a second that a write has to make beyond that: the four uploads of a broker need 16 Mbit/s together. Slower than
/// that, a tier falls behind whatever is done.
const SLOWEST_WRITE: u64 = 512 << 10;
/// The most that one request brings, which is a shared object.
pub(super) const LARGEST_WRITE: usize = 64 << 20;

/// How long a write of so many bytes may take.
pub(super) fn write_limit(bytes: usize) -> Duration {
    WRITE_TIMEOUT + Duration::from_secs(bytes as u64 / SLOWEST_WRITE)
}

/// How long a listing of a service that pages may take: a page or two of names.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);

/// Whether a service lists keys in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listing {
    Ordered,
    Unordered,
}

/// What the handles of a store share.
pub(super) struct Handles {
    /// Conditional creates: sent once.
    pub(super) commits: Arc<dyn ObjectStore>,
    /// What else is written: repeated within bounds, and given time for what it brings.
    pub(super) writes: Arc<dyn ObjectStore>,
    /// What is read in one piece, and lists: repeated within bounds.
    pub(super) bulk: Arc<dyn ObjectStore>,
    /// Ranges of objects: repeated within bounds.
    pub(super) ranges: Arc<dyn ObjectStore>,
    /// The keys' prefix within the bucket.
    pub(super) prefix: Path,
    /// The directory of a directory store.
    pub(super) directory: Option<Directory>,
    /// The order of listings.
    pub(super) listing: Listing,
}

impl Handles {
    /// Whether the store is where it was when it was opened, as far as that can be told beforehand.
    async fn present(&self) -> Result<(), StoreError> {
        match &self.directory {
            Some(directory) => directory.check().await,
            None => Ok(()),
        }
    }

    /// Looks once more if something was not found: the store may have gone meanwhile.
    async fn absent<T>(&self, answer: &Result<T, StoreError>) -> Result<(), StoreError> {
        match answer {
            Err(StoreError::NotFound { .. }) => self.present().await,
            _ => Ok(()),
        }
    }

    /// What a write answered, if the store was there before and after it. If not, nobody knows where it took effect.
    async fn written<T>(&self, write: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        self.present().await?;
        let written = write.await;
        self.present().await?;
        written
    }
}

/// A store behind the `object_store` crate.
pub(super) struct ObjectBacked {
    handles: Arc<Handles>,
    runtime: Arc<StoreRuntime>,
    history: StoreRuntime,
}

impl ObjectBacked {
    pub(super) fn new(handles: Handles, runtime: StoreRuntime, history: StoreRuntime) -> ObjectBacked {
        ObjectBacked { handles: Arc::new(handles), runtime: Arc::new(runtime), history }
    }

    fn path(&self, key: &str) -> Path {
        if self.handles.prefix.as_ref().is_empty() {
            Path::from(key)
        } else {
            Path::from(format!("{}/{key}", self.handles.prefix))
        }
    }
}

impl Store for ObjectBacked {
    fn put_if_absent(&self, key: &str, bytes: Bytes) -> BoxFuture<'static, Result<(), StoreError>> {
        let (handles, path, key) = (Arc::clone(&self.handles), self.path(key), key.to_owned());
        self.runtime.run(async move {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            let put = handles.commits.put_opts(&path, PutPayload::from(bytes), options);
            let put = handles.written(async { put.await.map_err(|error| write_error(&key, error)) });
            match tokio_timeout(COMMIT_TIMEOUT, put).await {
                Some(answer) => answer.map(drop),
                None => Err(StoreError::Indefinite { reason: format!("no answer to the creation of {key}") }),
            }
        })
    }

    fn put(&self, key: &str, bytes: Bytes) -> BoxFuture<'static, Result<(), StoreError>> {
        let (handles, path, key) = (Arc::clone(&self.handles), self.path(key), key.to_owned());
        self.runtime.run(async move {
            let limit = write_limit(bytes.len());
            let put = handles.writes.put(&path, PutPayload::from(bytes));
            let put = handles.written(async { put.await.map_err(|error| write_error(&key, error)) });
            in_time(limit, &key, put).await.map(drop)
        })
    }

    fn upload(&self, key: &str) -> BoxFuture<'static, Result<Box<dyn Upload>, StoreError>> {
        let (handles, path, key) = (Arc::clone(&self.handles), self.path(key), key.to_owned());
        let runtime = Arc::clone(&self.runtime);
        self.runtime.run(async move {
            handles.present().await?;
            match handles.writes.put_multipart_opts(&path, PutMultipartOptions::default()).await {
                Ok(upload) => Ok(Box::new(ObjectUpload {
                    key: Arc::from(key),
                    handles: Arc::clone(&handles),
                    runtime,
                    upload: Some(upload),
                    in_flight: VecDeque::new(),
                }) as Box<dyn Upload>),
                Err(error) => Err(write_error(&key, error)),
            }
        })
    }

    fn get(&self, key: &str) -> BoxFuture<'static, Result<Bytes, StoreError>> {
        let (handles, path, key) = (Arc::clone(&self.handles), self.path(key), key.to_owned());
        self.runtime.run_read(async move {
            handles.present().await?;
            let read = async { collect(handles.bulk.get(&path).await?, Progress::LEAST, || ()).await };
            let answer = read.await.map_err(|error| read_error(&key, error));
            handles.absent(&answer).await?;
            answer
        })
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> BoxFuture<'static, Result<Bytes, StoreError>> {
        let (handles, path, key) = (Arc::clone(&self.handles), self.path(key), key.to_owned());
        self.history.run_read(async move {
            let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
            handles.present().await?;
            let read =
                async { collect(handles.ranges.get_opts(&path, options).await?, Progress::LEAST, step_aside).await };
            let answer = read.await.map_err(|error| read_error(&key, error));
            handles.absent(&answer).await?;
            let bytes = answer?;
            if bytes.len() as u64 == range.end.saturating_sub(range.start) {
                Ok(bytes)
            } else {
                Err(StoreError::Indefinite { reason: format!("{key} sent {} bytes of {range:?}", bytes.len()) })
            }
        })
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<ObjectEntry>, StoreError>> {
        let handles = Arc::clone(&self.handles);
        // The crate lists whole path segments; the last one of ours may be a part of a name.
        let folder = prefix.rfind('/').map(|end| self.path(prefix.get(..end).unwrap_or_default()));
        let folder = folder.unwrap_or_else(|| handles.prefix.clone());
        let offset = after.map(|after| self.path(after));
        let (prefix, own) = (prefix.to_owned(), self.path("x").as_ref().len() - 1);
        self.runtime.run_read(async move {
            handles.present().await?;
            let folder = Some(&folder).filter(|folder| !folder.as_ref().is_empty());
            let listing = match &offset {
                Some(offset) => handles.bulk.list_with_offset(folder, offset),
                None => handles.bulk.list(folder),
            };
            let matching = listing.try_filter_map(|meta| {
                let key = meta.location.as_ref().get(own..).filter(|key| key.starts_with(&prefix));
                let entry = key.map(|key| ObjectEntry {
                    key: key.to_owned(),
                    size: meta.size,
                    modified: Timestamp::from_millis(meta.last_modified.timestamp_millis()),
                });
                std::future::ready(Ok(entry))
            });
            let found: Result<Vec<ObjectEntry>, _> = match handles.listing {
                Listing::Ordered => match tokio_timeout(LIST_TIMEOUT, matching.take(limit).try_collect()).await {
                    Some(found) => found,
                    None => return Err(StoreError::Indefinite { reason: format!("no listing of {prefix}") }),
                },
                Listing::Unordered => matching.try_collect().await,
            };
            let mut entries = found.map_err(|error| read_error(&prefix, error))?;
            handles.present().await?;
            entries.sort_by(|a, b| a.key.cmp(&b.key));
            entries.truncate(limit);
            Ok(entries)
        })
    }

    fn delete(&self, key: &str) -> BoxFuture<'static, Result<(), StoreError>> {
        let (handles, path, key) = (Arc::clone(&self.handles), self.path(key), key.to_owned());
        self.runtime
            .run(async move { in_time(WRITE_TIMEOUT, &key, handles.written(delete(&handles, &key, &path))).await })
    }
}

async fn delete(handles: &Handles, key: &str, path: &Path) -> Result<(), StoreError> {
    match handles.writes.delete(path).await {
        Ok(()) => {}
        Err(object_store::Error::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(write_error(key, error)),
    }
    match &handles.directory {
        Some(directory) => sync_parent(directory.path().join(path.as_ref())).await,
        None => Ok(()),
    }
}

/// The crate syncs what it creates, but not the directory of what it deletes.
#[allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "this is the door")]
async fn sync_parent(file: PathBuf) -> Result<(), StoreError> {
    let synced = tokio::task::spawn_blocking(move || match file.parent() {
        Some(parent) => std::fs::File::open(parent)?.sync_all(),
        None => Ok(()),
    });
    match synced.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(StoreError::Indefinite { reason: format!("could not sync a deletion: {error}") }),
        Err(_) => Err(StoreError::Indefinite { reason: "the store's threads have ended".to_owned() }),
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the door, on a runtime of its own")]
async fn tokio_timeout<F: Future>(limit: Duration, work: F) -> Option<F::Output> {
    tokio::time::timeout(limit, work).await.ok()
}

/// What a write answered; nobody knows what became of one that takes longer than `limit`.
async fn in_time<T>(
    limit: Duration,
    key: &str,
    write: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let late = || StoreError::Indefinite { reason: format!("no answer to a write of {key} in {limit:?}") };
    tokio_timeout(limit, write).await.unwrap_or_else(|| Err(late()))
}

struct ObjectUpload {
    key: Arc<str>,
    handles: Arc<Handles>,
    runtime: Arc<StoreRuntime>,
    /// `None` once complete or aborted.
    upload: Option<Box<dyn MultipartUpload>>,
    in_flight: VecDeque<BoxFuture<'static, Result<(), StoreError>>>,
}

impl ObjectUpload {
    async fn drain(&mut self, leave: usize) -> Result<(), StoreError> {
        while self.in_flight.len() > leave {
            if let Some(oldest) = self.in_flight.front_mut() {
                let outcome = oldest.await;
                self.in_flight.pop_front();
                outcome?;
            }
        }
        Ok(())
    }

    fn over(&self) -> StoreError {
        StoreError::Refused { reason: format!("the upload of {} is over", self.key) }
    }
}

impl Upload for ObjectUpload {
    fn part(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.drain(PARTS_IN_FLIGHT - 1).await?;
            let Some(upload) = &mut self.upload else { return Err(self.over()) };
            let limit = write_limit(bytes.len());
            let part = upload.put_part(PutPayload::from(bytes));
            let key = Arc::clone(&self.key);
            let part = self.runtime.run_read(async move {
                let part = async { part.await.map_err(|error| write_error(&key, error)) };
                in_time(limit, &key, part).await
            });
            self.in_flight.push_back(part);
            Ok(())
        })
    }

    fn complete(&mut self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.drain(0).await?;
            let Some(mut upload) = self.upload.take() else { return Err(self.over()) };
            let (key, handles) = (Arc::clone(&self.key), Arc::clone(&self.handles));
            // The upload is handed to the task and comes back when it failed, to be completed again or aborted.
            let (upload, outcome) = self
                .runtime
                .run(async move {
                    let complete = async { upload.complete().await.map_err(|error| write_error(&key, error)) };
                    let outcome = handles.written(complete).await;
                    Ok((upload, outcome))
                })
                .await?;
            if outcome.is_err() {
                self.upload = Some(upload);
            }
            outcome.map(drop)
        })
    }

    fn abort(&mut self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.in_flight.clear();
            let Some(mut upload) = self.upload.take() else { return Ok(()) };
            let key = Arc::clone(&self.key);
            self.runtime.run(async move { upload.abort().await.map_err(|error| write_error(&key, error)) }).await
        })
    }
}

/// What a failed read means.
fn read_error(key: &str, error: object_store::Error) -> StoreError {
    match error {
        object_store::Error::NotFound { .. } => StoreError::NotFound { key: key.to_owned() },
        error => classify(error),
    }
}

/// What a failed write means. "Not found" is then the bucket, and a failed precondition an object that was there.
fn write_error(key: &str, error: object_store::Error) -> StoreError {
    match error {
        object_store::Error::AlreadyExists { .. }
        | object_store::Error::Precondition { .. }
        | object_store::Error::NotModified { .. } => StoreError::AlreadyExists { key: key.to_owned() },
        object_store::Error::NotFound { .. } => StoreError::Refused { reason: error.to_string() },
        error => classify(error),
    }
}

fn classify(error: object_store::Error) -> StoreError {
    let reason = error.to_string();
    let refused = match error {
        object_store::Error::InvalidPath { .. }
        | object_store::Error::NotSupported { .. }
        | object_store::Error::NotImplemented { .. }
        | object_store::Error::PermissionDenied { .. }
        | object_store::Error::Unauthenticated { .. }
        | object_store::Error::UnknownConfigurationKey { .. } => true,
        _ => is_refusal(&reason),
    };
    if refused { StoreError::Refused { reason } } else { StoreError::Indefinite { reason } }
}

/// Whether the text of an error shows a 4xx status that another attempt will see again. The crate keeps the status of
/// an unclassified answer only in its text.
fn is_refusal(reason: &str) -> bool {
    let Some((_, status)) = reason.split_once("status code: 4") else { return false };
    let transient = status.starts_with("08") || status.starts_with("09") || status.starts_with("29");
    !transient && !reason.contains("RequestTimeout") && !reason.contains("SlowDown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_final_answers_are_refusals() {
        for (status, refused) in
            [("400 Bad Request", true), ("408 x", false), ("409 x", false), ("429 x", false), ("503 x", false)]
        {
            assert_eq!(is_refusal(&format!("Server returned non-2xx status code: {status}: ")), refused, "{status}");
        }
        assert!(!is_refusal("Server returned non-2xx status code: 400 Bad Request: <Code>RequestTimeout</Code>"));
        assert!(!is_refusal("connection closed"));
    }

    #[tokio::test]
    async fn a_write_has_the_time_that_its_size_takes_and_is_unknown_afterwards() {
        assert_eq!([0, 16 << 20, LARGEST_WRITE].map(write_limit), [60, 92, 188].map(Duration::from_secs));
        let limit = Duration::from_millis(20);
        assert_eq!(in_time(limit, "k", async { Ok(7) }).await, Ok(7));
        let late = in_time(limit, "k", std::future::pending::<Result<(), _>>()).await;
        let reason = "no answer to a write of k in 20ms".to_owned();
        assert_eq!(late, Err(StoreError::Indefinite { reason }));
    }

    #[test]
    fn a_missing_bucket_is_no_missing_object() {
        let missing = || object_store::Error::NotFound { path: "k".to_owned(), source: "gone".into() };
        assert_eq!(read_error("k", missing()), StoreError::NotFound { key: "k".to_owned() });
        assert!(matches!(write_error("k", missing()), StoreError::Refused { .. }));
    }
}
