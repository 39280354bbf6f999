//! The object store: the narrow part of it that Esker uses.
//!
//! One primitive carries all agreement: [`Store::put_if_absent`]. Everything else writes keys that nobody else
//! writes, or reads.
//!
//! [`open`](fn@open) makes a [`Store`] from a URL. [`MemoryStore`] is the one that needs no runtime; the others drive the
//! `object_store` crate on threads of their own, and their futures may be awaited on any executor.

mod directory;
mod memory;
mod object;
mod open;
mod progress;
mod runtime;
#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
#[path = "conformance_tests.rs"]
mod conformance;

pub use memory::MemoryStore;
pub use open::open;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::ops::Range;

/// What became of a call that did not succeed: what its caller may do next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no such object.
    #[error("object {key} not found")]
    NotFound {
        /// The object's key.
        key: String,
    },
    /// The store says that the object was there already. **Not** a proof: S3 answers a conflict like this with no
    /// object there, and a retried request sees its own success. Read the object back.
    #[error("object {key} exists already")]
    AlreadyExists {
        /// The object's key.
        key: String,
    },
    /// Nothing is known: the call may have taken effect, or may yet. Worth another attempt after a pause.
    #[error("store unavailable: {reason}")]
    Indefinite {
        /// What the store or the connection to it said.
        reason: String,
    },
    /// The store refused, and will refuse again: credentials, a bucket that is not there, an invalid request.
    #[error("store refused: {reason}")]
    Refused {
        /// What the store said.
        reason: String,
    },
}

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectEntry {
    /// Its key, below the store's prefix.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// When it was last written, by the store's clock, in milliseconds since 1970.
    pub modified: super::Timestamp,
}

/// A bucket and a prefix in it. Keys are relative to the prefix, `/`-separated.
pub trait Store: Send + Sync {
    /// Creates an object, unless there is one. One attempt, never retried below this call, limited to 10 s.
    /// `Ok` means created by this call; anything else must be settled by reading the object back.
    fn put_if_absent(&self, key: &str, bytes: Bytes) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Writes an object under a key that is unique to the attempt. Retried within bounds.
    fn put(&self, key: &str, bytes: Bytes) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Starts writing a large object under a key that is unique to the attempt.
    fn upload(&self, key: &str) -> BoxFuture<'static, Result<Box<dyn Upload>, StoreError>>;

    /// A whole object.
    fn get(&self, key: &str) -> BoxFuture<'static, Result<Bytes, StoreError>>;

    /// A range of an object's bytes; `Indefinite` if the store sent fewer.
    fn get_range(&self, key: &str, range: Range<u64>) -> BoxFuture<'static, Result<Bytes, StoreError>>;

    /// The objects below `prefix` whose keys come after `after`, in the order of their keys, at most `limit`.
    /// For a whole listing, call again with the last key until fewer than `limit` come back.
    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<ObjectEntry>, StoreError>>;

    /// Deletes an object; no error if there is none.
    fn delete(&self, key: &str) -> BoxFuture<'static, Result<(), StoreError>>;
}

/// A large object being written. Dropping it leaves at most an incomplete upload that no listing shows.
pub trait Upload: Send {
    /// Adds the next part. Every part but the last has the same size, at least 5 MiB. A store may answer while the
    /// part is still on its way, a few parts ahead; that it failed is then told by a later call.
    fn part(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Makes the object visible.
    fn complete(&mut self) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Gives up and frees what was stored.
    fn abort(&mut self) -> BoxFuture<'_, Result<(), StoreError>>;
}
