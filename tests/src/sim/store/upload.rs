//! Multipart uploads: parts that nobody sees until they are completed.

use super::{Request, SimStore};
use bytes::{Bytes, BytesMut};
use esker_storage::env::store::{StoreError, Upload};
use futures_util::future::BoxFuture;

/// S3's smallest part, the last one apart.
const MIN_PART: usize = 5 << 20;

pub(super) struct SimUpload {
    store: SimStore,
    key: String,
    parts: Vec<Bytes>,
    /// A part failed: the upload cannot be completed any more.
    broken: bool,
}

impl SimUpload {
    pub(super) fn new(store: SimStore, key: String) -> SimUpload {
        SimUpload { store, key, parts: Vec::new(), broken: false }
    }
}

impl Upload for SimUpload {
    fn part(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            if let Some(last) = self.parts.last()
                && (last.len() < MIN_PART || self.parts.iter().any(|part| part.len() != last.len()))
            {
                self.store.core.violated(format!("the parts of {} are too small, or not equal", self.key));
            }
            let what = format!("store part {} of {}", self.parts.len(), self.key);
            let result = self.store.clone().ask(what, |_| Ok(())).await;
            match &result {
                Ok(()) => self.parts.push(bytes),
                Err(_) => self.broken = true,
            }
            result
        })
    }

    fn complete(&mut self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            if self.broken {
                return Err(StoreError::Refused { reason: "a part is missing".to_owned() });
            }
            let mut whole = BytesMut::new();
            for part in &self.parts {
                whole.extend_from_slice(part);
            }
            self.store.clone().change(Request::Put(self.key.clone(), whole.freeze())).await
        })
    }

    fn abort(&mut self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.parts.clear();
            self.broken = true;
            self.store.clone().ask(format!("store abort {}", self.key), |_| Ok(())).await
        })
    }
}
