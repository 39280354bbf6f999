//! Stores behind the `object_store` crate: S3, Google Cloud Storage, Azure, and a directory.
//!
//! ```text
//! caller, any executor -> ObjectBacked -> StoreRuntime -> commits: no retry, 10 s in all      -> service
//!                                                      -> bulk: bounded retries, read timeout -> service
//!                        StoreRuntime for history      -> ranges: as bulk                      -> service
//! ```
//!
//! There are several handles to the same bucket. Ranges of objects, which is how history is read, have connections and
//! threads of their own, so that a replay gets in nobody's way. And commits have one because the crate's retries are a trap for conditional creates: a
//! create whose answer was lost is sent again and then reports `AlreadyExists` for its own success. So commits are
//! sent once and settled by their caller, while everything else may be repeated without harm.
//!
//! A directory store syncs files, and the directories of what it creates or deletes. Temporary files of unfinished
//! writes (`name#1`) do not appear in listings.

use super::runtime::StoreRuntime;
use super::{ObjectEntry, Store, StoreError, Upload};
use crate::env::Timestamp;
use crate::env::real_priority::step_aside;
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, GetResult, GetResultPayload, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode,
    PutMultipartOptions, PutOptions, PutPayload,
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

/// Bytes of a range that are received between two looks for others.
const STEP: usize = 128 * 1024;
/// Room that is made for a range before its bytes come.
const MAX_AHEAD: usize = 4 << 20;

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
    /// Everything else: repeated within bounds.
    pub(super) bulk: Arc<dyn ObjectStore>,
    /// Ranges of objects: repeated within bounds.
    pub(super) ranges: Arc<dyn ObjectStore>,
    /// The keys' prefix within the bucket.
    pub(super) prefix: Path,
    /// The directory of a directory store.
    pub(super) directory: Option<PathBuf>,
    /// The order of listings.
    pub(super) listing: Listing,
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
            match tokio_timeout(COMMIT_TIMEOUT, put).await {
                Some(Ok(_)) => Ok(()),
                Some(Err(error)) => Err(write_error(&key, error)),
                None => Err(StoreError::Indefinite { reason: format!("no answer to the creation of {key}") }),
            }
        })
    }

    fn put(&self, key: &str, bytes: Bytes) -> BoxFuture<'static, Result<(), StoreError>> {
        let (handles, path, key) = (Arc::clone(&self.handles), self.path(key), key.to_owned());
        self.runtime.run(async move {
            match handles.bulk.put(&path, PutPayload::from(bytes)).await {
                Ok(_) => Ok(()),
                Err(error) => Err(write_error(&key, error)),
            }
        })
    }

    fn upload(&self, key: &str) -> BoxFuture<'static, Result<Box<dyn Upload>, StoreError>> {
        let (handles, path, key) = (Arc::clone(&self.handles), self.path(key), key.to_owned());
        let runtime = Arc::clone(&self.runtime);
        self.runtime.run(async move {
            match handles.bulk.put_multipart_opts(&path, PutMultipartOptions::default()).await {
                Ok(upload) => Ok(Box::new(ObjectUpload {
                    key: Arc::from(key),
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
            let read = async { handles.bulk.get(&path).await?.bytes().await };
            read.await.map_err(|error| read_error(&key, error))
        })
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> BoxFuture<'static, Result<Bytes, StoreError>> {
        let (handles, path, key) = (Arc::clone(&self.handles), self.path(key), key.to_owned());
        self.history.run_read(async move {
            let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
            let read = async { collect(handles.ranges.get_opts(&path, options).await?).await };
            let bytes = read.await.map_err(|error| read_error(&key, error))?;
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
                Listing::Ordered => matching.take(limit).try_collect().await,
                Listing::Unordered => matching.try_collect().await,
            };
            let mut entries = found.map_err(|error| read_error(&prefix, error))?;
            entries.sort_by(|a, b| a.key.cmp(&b.key));
            entries.truncate(limit);
            Ok(entries)
        })
    }

    fn delete(&self, key: &str) -> BoxFuture<'static, Result<(), StoreError>> {
        let (handles, path, key) = (Arc::clone(&self.handles), self.path(key), key.to_owned());
        self.runtime.run(async move {
            match handles.bulk.delete(&path).await {
                Ok(()) => {}
                Err(object_store::Error::NotFound { .. }) => return Ok(()),
                Err(error) => return Err(write_error(&key, error)),
            }
            match &handles.directory {
                Some(directory) => sync_parent(directory.join(path.as_ref())).await,
                None => Ok(()),
            }
        })
    }
}

/// The bytes of an answer. Threads of the present come first after every [`STEP`] of them.
async fn collect(answer: GetResult) -> object_store::Result<Bytes> {
    let GetResultPayload::Stream(mut pieces) = answer.payload else { return answer.bytes().await };
    let size = answer.range.end.saturating_sub(answer.range.start);
    let mut bytes = BytesMut::with_capacity(usize::try_from(size).unwrap_or(0).min(MAX_AHEAD));
    let mut next = STEP;
    while let Some(piece) = pieces.try_next().await? {
        bytes.extend_from_slice(&piece);
        if bytes.len() >= next {
            next = bytes.len() + STEP;
            step_aside();
        }
    }
    Ok(bytes.freeze())
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

struct ObjectUpload {
    key: Arc<str>,
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
            let part = upload.put_part(PutPayload::from(bytes));
            let key = Arc::clone(&self.key);
            let part = self.runtime.run_read(async move { part.await.map_err(|error| write_error(&key, error)) });
            self.in_flight.push_back(part);
            Ok(())
        })
    }

    fn complete(&mut self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.drain(0).await?;
            let Some(mut upload) = self.upload.take() else { return Err(self.over()) };
            let key = Arc::clone(&self.key);
            // The upload is handed to the task and comes back when it failed, to be completed again or aborted.
            let (upload, outcome) = self
                .runtime
                .run(async move {
                    let outcome = upload.complete().await;
                    Ok((upload, outcome))
                })
                .await?;
            match outcome {
                Ok(_) => Ok(()),
                Err(error) => {
                    self.upload = Some(upload);
                    Err(write_error(&key, error))
                }
            }
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

    #[test]
    fn a_missing_bucket_is_no_missing_object() {
        let missing = || object_store::Error::NotFound { path: "k".to_owned(), source: "gone".into() };
        assert_eq!(read_error("k", missing()), StoreError::NotFound { key: "k".to_owned() });
        assert!(matches!(write_error("k", missing()), StoreError::Refused { .. }));
    }
}
