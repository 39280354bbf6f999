//! The objects themselves: immutable pieces of memory by key, and uploads in parts.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Why a request has no effect, by S3's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such object.
    #[error("NoSuchKey")]
    NoSuchKey,
    /// There is no such upload.
    #[error("NoSuchUpload")]
    NoSuchUpload,
    /// There is an object under the key of a conditional create.
    #[error("PreconditionFailed")]
    PreconditionFailed,
    /// The range begins behind the object's end.
    #[error("InvalidRange")]
    InvalidRange,
    /// The request is none of those that this store knows.
    #[error("NotImplemented")]
    NotImplemented,
}

/// An object, or a range of one.
#[derive(Clone, Debug)]
pub struct Found {
    /// The bytes.
    pub pieces: Vec<Bytes>,
    /// Which of the object's bytes they are.
    pub range: Range<u64>,
    /// How many bytes the object has.
    pub size: u64,
    /// Its number: unique per write.
    pub tag: u64,
    /// When it was written.
    pub modified: SystemTime,
}

/// A line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The key.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// The object's number.
    pub tag: u64,
    /// When it was written.
    pub modified: SystemTime,
}

#[derive(Clone, Debug)]
struct Object {
    pieces: Vec<Bytes>,
    size: u64,
    tag: u64,
    modified: SystemTime,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<u64, BTreeMap<u32, Bytes>>,
    next: u64,
}

/// Every object of a store.
#[derive(Debug, Default)]
pub struct Objects {
    state: Mutex<State>,
}

impl Objects {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes an object, or refuses if there is one and `if_absent` is set; its number.
    ///
    /// # Errors
    /// [`Refused::PreconditionFailed`].
    pub fn put(&self, key: &str, bytes: Bytes, if_absent: bool) -> Result<u64, Refused> {
        let mut state = self.lock();
        if if_absent && state.objects.contains_key(key) {
            return Err(Refused::PreconditionFailed);
        }
        Ok(state.insert(key, vec![bytes]))
    }

    /// A range of an object; all of it without a range.
    ///
    /// # Errors
    /// [`Refused::NoSuchKey`], [`Refused::InvalidRange`].
    pub fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Found, Refused> {
        let object = self.lock().objects.get(key).cloned().ok_or(Refused::NoSuchKey)?;
        let range = match range {
            None => 0..object.size,
            Some(range) => range.start..range.end.min(object.size),
        };
        if range.start >= range.end && !(range.start == 0 && object.size == 0) {
            return Err(Refused::InvalidRange);
        }
        let mut at = 0;
        let mut pieces = Vec::new();
        for piece in &object.pieces {
            let end = at + piece.len() as u64;
            let (from, to) = (range.start.max(at), range.end.min(end));
            if from < to {
                pieces.push(piece.slice((from - at) as usize..(to - at) as usize));
            }
            at = end;
        }
        Ok(Found { pieces, range, size: object.size, tag: object.tag, modified: object.modified })
    }

    /// The first `limit` keys after `after` that begin with `prefix`, and whether there are more.
    pub fn list(&self, prefix: &str, after: &str, limit: usize) -> (Vec<Listed>, bool) {
        let state = self.lock();
        let from = prefix.max(after).to_owned();
        let mut found: Vec<Listed> = state
            .objects
            .range(from..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(key, _)| key.as_str() > after)
            .take(limit + 1)
            .map(|(key, object)| Listed {
                key: key.clone(),
                size: object.size,
                tag: object.tag,
                modified: object.modified,
            })
            .collect();
        let more = found.len() > limit;
        found.truncate(limit);
        (found, more)
    }

    /// Deletes an object, if it is there.
    pub fn delete(&self, key: &str) {
        self.lock().objects.remove(key);
    }

    /// Begins an upload in parts; its id.
    pub fn begin(&self) -> u64 {
        let mut state = self.lock();
        state.next += 1;
        let id = state.next;
        state.uploads.insert(id, BTreeMap::new());
        id
    }

    /// Takes a part of an upload.
    ///
    /// # Errors
    /// [`Refused::NoSuchUpload`].
    pub fn part(&self, id: u64, number: u32, bytes: Bytes) -> Result<(), Refused> {
        self.lock().uploads.get_mut(&id).ok_or(Refused::NoSuchUpload)?.insert(number, bytes);
        Ok(())
    }

    /// Makes an object of an upload's parts; its number.
    ///
    /// # Errors
    /// [`Refused::NoSuchUpload`].
    pub fn complete(&self, key: &str, id: u64) -> Result<u64, Refused> {
        let mut state = self.lock();
        let parts = state.uploads.remove(&id).ok_or(Refused::NoSuchUpload)?;
        Ok(state.insert(key, parts.into_values().collect()))
    }

    /// Forgets an upload.
    pub fn abort(&self, id: u64) {
        self.lock().uploads.remove(&id);
    }
}

impl State {
    fn insert(&mut self, key: &str, pieces: Vec<Bytes>) -> u64 {
        self.next += 1;
        let size = pieces.iter().map(|piece| piece.len() as u64).sum();
        let object = Object { pieces, size, tag: self.next, modified: SystemTime::now() };
        self.objects.insert(key.to_owned(), object);
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_created_once() {
        let objects = Objects::default();
        let first = objects.put("a", Bytes::from_static(b"one"), true).unwrap();
        assert_eq!(objects.put("a", Bytes::from_static(b"two"), true), Err(Refused::PreconditionFailed));
        assert_eq!(objects.get("a", None).unwrap().pieces, [&b"one"[..]]);
        assert!(objects.put("a", Bytes::from_static(b"two"), false).unwrap() > first);
        objects.delete("a");
        assert_eq!(objects.get("a", None).unwrap_err(), Refused::NoSuchKey);
    }

    #[test]
    fn a_range_crosses_the_parts_of_an_upload() {
        let objects = Objects::default();
        let id = objects.begin();
        for (number, part) in [(2, "def"), (1, "abc"), (3, "ghi")] {
            objects.part(id, number, Bytes::from(part)).unwrap();
        }
        assert_eq!(objects.get("k", None).unwrap_err(), Refused::NoSuchKey, "not before it is complete");
        objects.complete("k", id).unwrap();
        assert_eq!(objects.complete("k", id), Err(Refused::NoSuchUpload));
        let found = objects.get("k", Some(2..8)).unwrap();
        assert_eq!((found.pieces.concat(), found.range, found.size), (b"cdefgh".to_vec(), 2..8, 9));
        assert_eq!(objects.get("k", Some(7..100)).unwrap().pieces.concat(), b"hi", "cut at the end, as S3 does");
        assert_eq!(objects.get("k", Some(9..12)).unwrap_err(), Refused::InvalidRange);
    }

    #[test]
    fn a_listing_is_sorted_paged_and_keeps_to_its_prefix() {
        let objects = Objects::default();
        for key in ["b/2", "a/1", "b/1", "b/3", "c/1"] {
            objects.put(key, Bytes::new(), false).unwrap();
        }
        let list = |after: &str, limit| {
            let (found, more) = objects.list("b/", after, limit);
            (found.into_iter().map(|line| line.key).collect::<Vec<_>>().join(" "), more)
        };
        assert_eq!(list("", 2), ("b/1 b/2".to_owned(), true));
        assert_eq!(list("b/2", 2), ("b/3".to_owned(), false));
        assert_eq!(list("b/9", 2), (String::new(), false));
        assert_eq!(list("a", 9), ("b/1 b/2 b/3".to_owned(), false));
    }
}
