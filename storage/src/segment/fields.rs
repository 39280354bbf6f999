//! Reading our own files field by field: big-endian integers, and never more than the bytes hold.

use crate::offset::{FilePosition, LeaderEpoch, Offset};

/// The bytes ended before the field did, or the field cannot hold what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a field is damaged or missing")]
pub struct BadField;

/// Takes fields from the front of a slice.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Reads `bytes` from their start.
    pub fn new(bytes: &'a [u8]) -> Fields<'a> {
        Fields { rest: bytes }
    }

    /// What was not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// [`BadField`] if there are fewer.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], BadField> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(BadField)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`BadField`] if there are fewer.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], BadField> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(BadField)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// An offset, written as 8 bytes and never above `i64::MAX`.
    ///
    /// # Errors
    /// [`BadField`].
    pub fn offset(&mut self) -> Result<Offset, BadField> {
        Offset::from_wire(self.i64()?).ok_or(BadField)
    }

    /// A position in a file, written as 8 bytes and never above `i64::MAX`, which no file is longer than.
    ///
    /// # Errors
    /// [`BadField`].
    pub fn position(&mut self) -> Result<FilePosition, BadField> {
        Some(self.u64()?).filter(|at| i64::try_from(*at).is_ok()).map(FilePosition::new).ok_or(BadField)
    }

    /// A leader epoch, written as 4 bytes and never above `i32::MAX`.
    ///
    /// # Errors
    /// [`BadField`].
    pub fn epoch(&mut self) -> Result<LeaderEpoch, BadField> {
        LeaderEpoch::from_wire(self.i32()?).ok_or(BadField)
    }

    /// A count of items that take at least `item_len` bytes each: never more than the rest can hold.
    ///
    /// # Errors
    /// [`BadField`].
    pub fn count(&mut self, item_len: usize) -> Result<usize, BadField> {
        let count = usize::try_from(self.u32()?).map_err(|_| BadField)?;
        if count.checked_mul(item_len.max(1)).is_some_and(|len| len <= self.rest.len()) {
            Ok(count)
        } else {
            Err(BadField)
        }
    }
}

macro_rules! integers {
    ($($name:ident $type:ty,)*) => {
        impl Fields<'_> {$(
            /// A big-endian integer.
            ///
            /// # Errors
            /// [`BadField`] if the bytes end before.
            pub fn $name(&mut self) -> Result<$type, BadField> {
                Ok(<$type>::from_be_bytes(self.array()?))
            }
        )*}
    };
}

integers! { u8 u8, u16 u16, i16 i16, u32 u32, i32 i32, u64 u64, i64 i64, }
